package fill

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
)

// TestF20OneSource blames the one lane that sent wrong bytes, and fetches again
// from others; no client notices.
func TestF20OneSource(t *testing.T) {
	t.Parallel()
	for _, size := range []int{100, 200 * kib, mib} {
		fillBubble(t, noise(size, 1), func(t *testing.T, r *fillRig) {
			r.chain.answer = func(n int, req pullchain.Request) reply {
				if n == 0 {
					return reply{lane: "bad", flip: []int64{int64(size) - 1}}
				}
				if !slices.Equal(req.Options.Avoid, []string{"bad"}) || !req.Range.Whole() {
					t.Errorf("request %+v", req)
				}
				return reply{lane: "good"}
			}
			r.mustGet(whole)
			r.settled(true)
			if diff := cmp.Diff([]string{"bad"}, r.chain.blamed); diff != "" {
				t.Errorf("blamed (-want +got):\n%s", diff)
			}
			if n := len(r.chain.requests()); n != 2 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// TestF20Empty: an answer without bytes, to a blob of which no manifest has told the
// size, is as wrong as any, and others are asked for until one is right.
func TestF20Empty(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(n int, _ pullchain.Request) reply {
			switch n {
			case 0:
				return reply{lane: "bad", empty: true}
			case 1: // which is tried again
				return reply{err: &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeServerError, Status: 500}}
			}
			return reply{lane: "good"}
		}
		r.mustGet(whole)
		r.settled(true)
		if diff := cmp.Diff([]string{"bad"}, r.chain.blamed); diff != "" {
			t.Errorf("blamed (-want +got):\n%s", diff)
		}
	})
}

// TestF20SeveralSources finds the liar by comparing with a right copy.
func TestF20SeveralSources(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(n int, req pullchain.Request) reply {
			switch n {
			case 0:
				return reply{lane: "a", cut: 300 * kib}
			case 1:
				return reply{lane: "b", cut: 700 * kib, flip: []int64{960 * kib, 650 * kib}}
			case 2:
				return reply{lane: "c"}
			}
			if !slices.Equal(req.Options.Avoid, []string{"a", "b", "c"}) {
				t.Errorf("avoids %v", req.Options.Avoid)
			}
			return reply{lane: "a"}
		}
		resp, err := r.fetch(t.Context(), whole)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.CopyN(io.Discard, resp.Body, 100*kib); err != nil { // these were right
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		rest, err := io.ReadAll(resp.Body)
		if err != nil || string(rest) != string(r.chain.content[100*kib:]) {
			t.Errorf("%d bytes, %v", len(rest), err)
		}
		r.settled(true)
		if diff := cmp.Diff([]string{"b"}, r.chain.blamed); diff != "" {
			t.Errorf("blamed (-want +got):\n%s", diff)
		}
	})
}

// TestF20Consumed cuts off who has read wrong bytes, and nobody else.
func TestF20Consumed(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(n int, req pullchain.Request) reply {
			if n == 0 {
				return reply{lane: "bad", rate: mib, flip: []int64{100 * kib}}
			}
			return reply{lane: "good"}
		}
		resp, err := r.fetch(t.Context(), whole)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		patient, err := r.fetch(t.Context(), pullchain.Range{From: 200 * kib})
		if err != nil {
			t.Fatal(err)
		}
		defer patient.Body.Close()
		n, err := io.Copy(io.Discard, resp.Body)
		if n != mib-holdBack || pullchain.CodeOf(err) != pullchain.CodeDigestMismatch || pullchain.ReasonOf(err) != pullchain.Corrupt {
			t.Errorf("%d bytes, %v", n, err)
		}
		if err := r.read(patient, pullchain.Range{From: 200 * kib}); err != nil {
			t.Error(err)
		}
		r.settled(true)
	})
}

// TestF20Hopeless gives up after three copies, and stores nothing.
func TestF20Hopeless(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(n int, req pullchain.Request) reply {
			return reply{lane: string(rune('a' + n)), flip: []int64{mib - 1}}
		}
		err := r.get(whole)
		if pullchain.CodeOf(err) != pullchain.CodeDigestMismatch {
			t.Errorf("error %v", err)
		}
		r.settled(false)
		if diff := cmp.Diff([]string{"a", "b", "c"}, r.chain.blamed); diff != "" {
			t.Errorf("blamed (-want +got):\n%s", diff)
		}
		if st := r.store.Stats(); st.Partial != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// TestHoldBack lets nobody have the end of a blob that is not known to be right.
func TestHoldBack(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ size, held int }{{mib, 64 * kib}, {200 * kib, 200 * kib}} {
		fillBubble(t, noise(tt.size, 1), func(t *testing.T, r *fillRig) {
			r.chain.answer = func(n int, req pullchain.Request) reply {
				return reply{lane: string(rune('a' + n)), flip: []int64{int64(tt.size) - 1}, wait: time.Duration(n) * time.Minute}
			}
			resp, err := r.fetch(t.Context(), whole)
			if tt.held == tt.size { // not even the headers leave
				if pullchain.CodeOf(err) != pullchain.CodeDigestMismatch {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			n, err := io.Copy(io.Discard, resp.Body)
			if n > int64(tt.size-tt.held) || err == nil { // fewer, if it was behind when the copy proved wrong
				t.Errorf("%d of %d bytes, %v", n, tt.size, err)
			}
		})
	}
}

// TestWrongSize is a lane whose blob is shorter or longer than the right one. Who
// was told that size is cut off; who looked late enough notices nothing.
func TestWrongSize(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{600 * kib, 3 * mib} {
		fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
			r.chain.answer = func(n int, req pullchain.Request) reply {
				if n == 0 {
					return reply{lane: "bad", size: size}
				}
				return reply{lane: "good"}
			}
			if err := r.get(whole); errors.Is(err, errWrongBytes) || err != nil && pullchain.ReasonOf(err) != pullchain.Corrupt {
				t.Errorf("size %d: error %v", size, err)
			}
			r.mustGet(whole)
			r.settled(true)
		})
	}
}

// store puts bytes into the store under the content's digest, as if by an
// earlier process.
func (r *fillRig) stored(content []byte) {
	r.t.Helper()
	if err := r.store.Put(r.t.Context(), r.chain.digest, content, blobstore.Meta{Public: true}); err != nil {
		r.t.Fatal(err)
	}
	r.restart()
}

// TestF34FirstRead hashes a stored blob while it is read for the first time.
func TestF34FirstRead(t *testing.T) {
	t.Parallel()
	for _, want := range []pullchain.Range{whole, {From: 10}, {From: 5 * kib, To: 300 * kib}, {From: -1}} {
		fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
			r.stored(r.chain.content)
			resp, err := r.fetch(t.Context(), want)
			if err != nil {
				t.Fatal(err)
			}
			if resp.Cache != pullchain.CacheHit || len(resp.Attempts) != 0 {
				t.Errorf("%s, %v", resp.Cache, resp.Attempts)
			}
			if err := r.read(resp, want); err != nil {
				t.Error(err)
			}
			resp.Body.Close()
			r.settled(true)
			r.sentAtMost(0)
		})
	}
}

// TestF34Corrupt sets a stored blob aside that has rotted, and fetches it within
// the same request.
func TestF34Corrupt(t *testing.T) {
	t.Parallel()
	for _, at := range []int{0, mib / 2, mib - 1} {
		fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
			r.stored(r.chain.content)
			r.rot(at)
			resp, err := r.fetch(t.Context(), whole)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			synctest.Wait() // nothing is consumed before it is known to be wrong
			if err := r.read(resp, whole); err != nil {
				t.Errorf("byte %d: %v", at, err)
			}
			r.mustGet(pullchain.Range{From: 100, To: 300 * kib})
			r.settled(true)
			r.sentAtMost(mib)
			if len(r.chain.blamed) != 0 {
				t.Errorf("blamed %v", r.chain.blamed)
			}
			if st := r.store.Stats(); st.Corrupt != 1 {
				t.Errorf("%d set aside", st.Corrupt)
			}
		})
	}
}

// TestF34ProvedBeforeShown: of a stored blob that is not too large no reader gets a byte, nor
// a word, before it has been hashed; so that one flipped bit cuts no pull, that of the first
// reader neither, and none of a part.
func TestF34ProvedBeforeShown(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		size int
		want pullchain.Range
	}{
		{"a small layer", 500_000, whole},
		{"as large as can be", holdStored, whole},
		{"a part", 500_000, pullchain.Range{From: 1, To: 400_000}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fillBubble(t, noise(tt.size, 1), func(t *testing.T, r *fillRig) {
				r.stored(r.chain.content)
				r.rot(300_000)
				resp, err := r.fetch(t.Context(), tt.want)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if resp.Cache != pullchain.CacheMiss { // else the store's word was the answer
					t.Errorf("answered with %s", resp.Cache)
				}
				if err := r.read(resp, tt.want); err != nil {
					t.Error(err)
				}
				r.settled(true)
			})
		})
	}
}

func TestHeld(t *testing.T) {
	t.Parallel()
	stored := backing{object: new(blobstore.Object)}
	for _, tt := range []struct {
		name  string
		copy  blobCopy
		whole bool
		want  bool
	}{
		{"a small one from the network", blobCopy{size: holdAll}, true, true},
		{"a part of it", blobCopy{size: holdAll}, false, false},
		{"a larger one", blobCopy{size: holdAll + 1}, true, false},
		{"of unknown size", blobCopy{size: -1}, true, false},
		{"stored", blobCopy{size: holdStored, back: stored}, true, true},
		{"a part of what is stored", blobCopy{size: holdStored, back: stored}, false, true},
		{"stored and large", blobCopy{size: holdStored + 1, back: stored}, true, false},
		{"a part of what is stored and large", blobCopy{size: holdStored + 1, back: stored}, false, false},
	} {
		if got := tt.copy.held(tt.whole); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// TestWrongObjectIsReplacedBesideAReader: whose fetch it is changes while a client asks
// whether it may join; the race detector looks on. In a bubble it would see less, for
// all that blocks there is ordered.
func TestWrongObjectIsReplacedBesideAReader(t *testing.T) {
	t.Parallel()
	c := newChainFake(noise(mib, 1))
	r := &fillRig{t: t, dir: t.TempDir(), chain: c, reg: c.registry("docker.io")}
	r.start()
	defer func() { r.stop() }()
	if err := r.store.Put(t.Context(), c.digest, c.content, blobstore.Meta{}); err != nil { // private to no repository
		t.Fatal(err)
	}
	r.restart()
	r.rot(mib - 1)
	open, opened := r.fills.open, 0
	r.fills.open = func(d digest.Digest) (backing, error) {
		if opened++; opened == 2 { // let the client get on, without a word that would order the two
			for range 10_000 {
				runtime.Gosched()
			}
		}
		return open(d)
	}
	replaced := make(chan struct{})
	var once sync.Once
	c.answer = func(int, pullchain.Request) reply {
		once.Do(func() { close(replaced) })
		return reply{}
	}
	admit := func(bool) error { <-replaced; return nil }
	resp, err := r.fills.Fetch(t.Context(), r.reg, r.request("team/app", pullchain.Range{From: 1}), admit)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// rot changes a byte of the stored blob behind the store's back.
func (r *fillRig) rot(at int) {
	r.t.Helper()
	o, err := r.store.Open(r.chain.digest)
	if err != nil {
		r.t.Fatal(err)
	}
	name := o.File.Name()
	o.Close()
	if err := os.Chmod(name, 0o600); err != nil {
		r.t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Clean(name), os.O_RDWR, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{r.chain.content[at] ^ 1}, int64(at)); err != nil {
		r.t.Fatal(err)
	}
}

// TestF20EmptyOnce: an upstream that answers with nothing, once, is asked again, and no
// client notices.
func TestF20EmptyOnce(t *testing.T) {
	t.Parallel()
	for name, unknown := range map[string]bool{"of length 0": false, "of unknown length": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fillBubble(t, noise(200*kib, 1), func(t *testing.T, r *fillRig) {
				r.chain.answer = func(n int, _ pullchain.Request) reply { return reply{empty: n == 0, unknown: unknown && n == 0} }
				r.mustGet(whole)
				r.settled(true)
				if n := len(r.chain.requests()); n != 2 {
					t.Errorf("%d requests, want 2", n)
				}
			})
		})
	}
}
