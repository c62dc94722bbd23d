package fill

import (
	"testing"
	"time"

	"github.com/pullchain/pullchain"
)

// TestUseOf names every case of what an answer is good for.
func TestUseOf(t *testing.T) {
	t.Parallel()
	const size = 1000
	part := func(from, to, total int64) pullchain.Response {
		return pullchain.Response{Status: 206, Range: pullchain.Range{From: from, To: to}, Size: total}
	}
	all := func(n int64) pullchain.Response { return pullchain.Response{Status: 200, Size: n} }
	fresh := known{size: -1}
	told := known{size: -1, expected: size}
	resumed := known{size: size, end: 600}
	confirmed := known{confirmed: true, size: size, end: 600}
	endless := known{confirmed: true, size: -1, end: 600}
	half := pullchain.Range{From: 500}
	for _, tt := range []struct {
		name     string
		k        known
		want     pullchain.Range
		resp     pullchain.Response
		use      use
		from, to int64
		code     pullchain.Code
	}{
		{"the first answer says what the blob is", fresh, pullchain.Range{}, all(size), useFirst, 0, size, ""},
		{"the first answer, of unknown size", fresh, pullchain.Range{}, all(-1), useFirst, 0, 0, ""},
		{"the first answer is a part", fresh, half, part(500, size, size), useFirst, 500, size, ""},
		{"a part of something of unknown size", fresh, half, part(500, size, -1), useAskWhole, 0, 0, ""},
		{"the same, but a manifest has told", told, half, part(500, size, -1), useFirst, 500, size, ""},
		{"the first answer agrees with the manifest", told, pullchain.Range{}, all(size), useFirst, 0, size, ""},
		{"the manifest has told what the answer does not", told, pullchain.Range{}, all(-1), useFirst, 0, 0, ""},
		{"the manifest says that it is longer", told, pullchain.Range{}, all(size - 1), useNone, 0, 0, pullchain.CodeWrongSize},
		{"the manifest says that it is shorter", told, half, part(500, size+1, -1), useNone, 0, 0, pullchain.CodeWrongSize},
		{"what an earlier attempt left is no word on the size", resumed, half, part(500, 900, 900), useFirst, 500, 900, ""},
		{"a part that fits", confirmed, half, part(500, size, size), usePart, 500, size, ""},
		{"a part of unknown size that fits", confirmed, half, part(500, size, -1), usePart, 500, size, ""},
		{"the whole where a part was asked for", confirmed, half, all(size), usePart, 0, size, ""},
		{"a part of something else", confirmed, half, part(500, 999, 999), useNone, 0, 0, pullchain.CodeWrongSize},
		{"a part beyond the end", confirmed, half, part(500, size+1, -1), useNone, 0, 0, pullchain.CodeWrongSize},
		{"something shorter than what is there", endless, half, part(500, 550, 550), useNone, 0, 0, pullchain.CodeWrongSize},
		{"now the size is known", endless, half, part(500, size, size), usePart, 500, size, ""},
		{"a part that begins elsewhere", confirmed, half, part(400, size, size), useNone, 0, 0, pullchain.CodeWrongRange},
		{"a part where the whole was asked for", confirmed, pullchain.Range{}, part(0, 10, size), useNone, 0, 0, pullchain.CodeWrongRange},
		{"a part of no bytes", confirmed, half, part(500, 500, size), useNone, 0, 0, pullchain.CodeWrongRange},
		{"a part that contradicts itself", confirmed, half, part(500, size, 900), useNone, 0, 0, pullchain.CodeWrongRange},
		{"the last bytes, wherever they begin", fresh, pullchain.Range{From: -10}, part(size-10, size, size), useFirst, size - 10, size, ""},
	} {
		u, from, to, err := tt.k.useOf(pullchain.Request{Range: tt.want}, tt.resp)
		if u != tt.use || from != tt.from || to != tt.to || pullchain.CodeOf(err) != tt.code || (err != nil) != (tt.use == useNone) {
			t.Errorf("%s: use %d of [%d, %d), %v; want use %d of [%d, %d), %q", tt.name, u, from, to, err, tt.use, tt.from, tt.to, tt.code)
		}
	}
}

// TestNextMove names every case of what a reader does next.
func TestNextMove(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		v    view
		want move
	}{
		{"there are bytes", view{phase: running, current: true, ready: 1}, sendReady},
		{"there are none yet", view{phase: running, current: true}, waitMore},
		{"the rest is held back", view{phase: running, current: true, started: true, ready: -5}, waitMore},
		{"all was sent", view{phase: verified, current: true, started: true, complete: true}, endWell},
		{"a part was sent, the blob is still fetched", view{phase: running, current: true, started: true, complete: true}, endWell},
		{"bytes that are there are sent though the fill has failed", view{phase: failed, current: true, ready: 1}, sendReady},
		{"nothing more will come", view{phase: failed, current: true, started: true}, failWithFill},
		{"bytes that are there are sent though the disk is full", view{phase: detached, current: true, ready: 1}, sendReady},
		{"the disk is full", view{phase: detached, current: true, started: true}, leaveFill},
		{"another copy, and nothing was sent", view{phase: running}, changeCopy},
		{"another copy, verified", view{phase: verified, started: true}, changeCopy},
		{"another copy, not verified: which bytes are right is not known", view{phase: running, started: true}, waitMore},
		{"the copy is being replaced", view{phase: replacing, current: true, started: true}, waitMore},
		{"another copy, and it failed as well", view{phase: failed, started: true}, failWithFill},
		{"another copy, and the disk is full", view{phase: detached, started: true}, leaveFill},
		{"it has another size than the client was told", view{phase: running, started: true, resized: true}, failResized},
		{"and nothing was sent: another file shows it", view{phase: running, resized: true}, changeCopy},
		{"it took a login after all", view{phase: running, current: true, ready: 1, exposed: true}, failExposed},
		{"the client has gone", view{phase: running, current: true, ready: 1, left: true}, failLeft},
		{"the client has gone, with everything", view{phase: verified, current: true, complete: true, left: true}, endWell},
		{"the body was closed", view{phase: verified, current: true, complete: true, closed: true}, failClosed},
	} {
		if got := tt.v.next(); got != tt.want {
			t.Errorf("%s: move %d, want %d", tt.name, got, tt.want)
		}
	}
}

// TestRemedyFor names every case of what a missing byte asks for.
func TestRemedyFor(t *testing.T) {
	t.Parallel()
	const at = 1000
	ahead := claim{done: 900, pos: 950, end: 2000}
	for _, tt := range []struct {
		name string
		d    demand
		want remedy
	}{
		{"the fill takes no workers", demand{divisible: true}, waitForIt},
		{"no worker is there", demand{running: true, divisible: true}, fetchFree},
		{"no worker is there, and one stream alone may bring it", demand{running: true}, fetchFree},
		{"another stream may bring it", demand{running: true, divisible: true, workers: 3}, fetchFree},
		{"one stream alone may bring it", demand{running: true, workers: 1}, waitForIt},
		{"there are too many streams", demand{running: true, divisible: true, workers: maxWorkers}, waitForIt},
		{"a stream was refused a moment ago", demand{running: true, divisible: true, workers: 1, backingOff: true}, waitForIt},
		{"refused, and none is left", demand{running: true, divisible: true, backingOff: true}, fetchFree},
		{"its worker is near", demand{running: true, divisible: true, workers: 1, held: true, holder: ahead, near: true}, waitForIt},
		{"its worker is far", demand{running: true, divisible: true, workers: 1, held: true, holder: ahead}, cutClaim},
		{"its worker has read it", demand{running: true, divisible: true, workers: 1, held: true, holder: claim{done: 900, pos: 1001, end: 2000}}, waitForIt},
		{"its worker brings all from 0", demand{running: true, divisible: true, workers: 1, held: true, holder: claim{pos: 10, end: 2000, serial: true}}, waitForIt},
	} {
		if got := tt.d.remedyFor(at); got != tt.want {
			t.Errorf("%s: remedy %d, want %d", tt.name, got, tt.want)
		}
	}
}

// TestRetries counts what brought nothing, and what did.
func TestRetries(t *testing.T) {
	t.Parallel()
	var r retries
	have := int64(0)
	for i, want := range []time.Duration{0, 400 * time.Millisecond, 800 * time.Millisecond} {
		r.failed(have)
		if r.spent() || r.pause() != want {
			t.Errorf("after %d failures: spent %t, pause %v, want %v", i+1, r.spent(), r.pause(), want)
		}
	}
	r.failed(have + minPiece)
	if r.spent() || r.pause() != 0 {
		t.Errorf("progress counts for nothing: %+v", r)
	}
	for range maxFails {
		r.failed(have + minPiece)
	}
	if !r.spent() {
		t.Errorf("%+v goes on for ever", r)
	}
}
