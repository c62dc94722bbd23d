package fill

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
)

// TestColdRange has a worker of its own, and never waits for the whole.
func TestColdRange(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(8*mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(int, pullchain.Request) reply { return reply{rate: mib} }
		resp, err := r.fetch(t.Context(), whole)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.CopyN(io.Discard, resp.Body, 200*kib); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		r.mustGet(pullchain.Range{From: 6 * mib, To: 6*mib + 512*kib})
		if took := time.Since(began); took > 600*time.Millisecond {
			t.Errorf("the range took %v", took)
		}
		r.settled(true)
		r.sentAtMost(8*mib + 400*kib)
	})
}

// TestRangeFirst asks for what is wanted first. A blob that a client reads to its end is
// fetched whole then; of one that clients want parts of, they are all that is fetched.
func TestRangeFirst(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		want   pullchain.Range
		status int
		carry  pullchain.Range
		ask    pullchain.Range // the first request upstream
		stored bool
	}{
		{pullchain.Range{From: mib, To: mib + 10}, 206, pullchain.Range{From: mib, To: mib + 10}, pullchain.Range{From: mib, To: mib + minPiece}, false},
		{pullchain.Range{From: -100}, 206, pullchain.Range{From: 2*mib - 100, To: 2 * mib}, pullchain.Range{From: -100}, false},
		{pullchain.Range{From: mib}, 206, pullchain.Range{From: mib, To: 2 * mib}, pullchain.Range{From: mib}, true},
		{pullchain.Range{To: 10 * mib}, 206, pullchain.Range{To: 2 * mib}, pullchain.Range{To: 10 * mib}, true},
	} {
		fillBubble(t, noise(2*mib, 1), func(t *testing.T, r *fillRig) {
			resp, err := r.fetch(t.Context(), tt.want)
			if err != nil {
				t.Fatal(err)
			}
			if resp.Status != tt.status || resp.Range != tt.carry || resp.Size != 2*mib {
				t.Errorf("%v: %d, %v of %d", tt.want, resp.Status, resp.Range, resp.Size)
			}
			if err := r.read(resp, tt.want); err != nil {
				t.Errorf("%v: %v", tt.want, err)
			}
			resp.Body.Close()
			if got := r.chain.requests()[0].Range; got != tt.ask {
				t.Errorf("%v: asked for %v, want %v", tt.want, got, tt.ask)
			}
			r.settled(tt.stored)
			most := int64(minPiece)
			if tt.stored {
				most = 2*mib + 100*kib
			}
			r.sentAtMost(most)
		})
	}
}

// TestPartsAhead is a client that wants many parts of a blob, whose front opens them
// ahead of their turn: they take two round trips and not one each, nothing else of the
// blob is fetched, and what one stream brings anyway needs no other.
func TestPartsAhead(t *testing.T) {
	t.Parallel()
	for _, ignores := range []bool{false, true} {
		fillBubble(t, noise(8*mib, 1), func(t *testing.T, r *fillRig) {
			r.chain.answer = func(int, pullchain.Request) reply { return reply{wait: 150 * time.Millisecond, ignores: ignores} }
			const parts, length = 9, 70 * kib
			began := time.Now()
			var opened []pullchain.Response
			var wants []pullchain.Range
			for i := range int64(parts) {
				want := pullchain.Range{From: i * 800 * kib, To: i*800*kib + length}
				resp, err := r.fetch(t.Context(), want)
				if err != nil {
					t.Fatal(err)
				}
				opened, wants = append(opened, resp), append(wants, want)
			}
			for i, resp := range opened {
				if err := r.read(resp, wants[i]); err != nil {
					t.Error(err)
				}
				resp.Body.Close()
			}
			if took := time.Since(began); took > 350*time.Millisecond {
				t.Errorf("took %v", took)
			}
			r.settled(ignores)
			switch n := len(r.chain.requests()); {
			case ignores:
				r.sentAtMost(9 * mib)
			case n != parts:
				t.Errorf("%d requests for %d parts", n, parts)
			default:
				r.sentAtMost(parts * length)
			}
		})
	}
}

// TestUnsatisfiable is the answer to one client, and nobody else's.
func TestUnsatisfiable(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(int, pullchain.Request) reply { return reply{wait: time.Second} }
		beyond := pullchain.Range{From: 5 * mib}
		done := make(chan error)
		go func() { done <- r.get(beyond) }()
		synctest.Wait()
		r.mustGet(whole)
		check := func(err error) {
			t.Helper()
			e := AsError(err)
			if e.Reason != pullchain.Invalid || e.Status != 416 || e.Size != mib {
				t.Errorf("error %#v", e)
			}
		}
		check(<-done)
		check(r.get(beyond))
		r.settled(true)
	})
}

// TestF46IgnoredRange spools what a lane sends from 0 although a range was asked
// for, and asks it for no other range meanwhile.
func TestF46IgnoredRange(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(4*mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(int, pullchain.Request) reply { return reply{rate: mib, ignores: true} }
		first := make(chan error)
		go func() { first <- r.get(pullchain.Range{From: 2 * mib, To: 3 * mib}) }()
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		r.mustGet(pullchain.Range{From: 3 * mib})
		r.mustGet(whole)
		if err := <-first; err != nil {
			t.Error(err)
		}
		r.settled(true)
		r.sentAtMost(4*mib + 100*kib)
		if n := len(r.chain.requests()); n > 2 {
			t.Errorf("%d requests", n)
		}
	})
}

// TestWholeWhereSomeIsThere passes over what is there when a lane sends all.
func TestWholeWhereSomeIsThere(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(4*mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(n int, _ pullchain.Request) reply {
			if n == 0 {
				return reply{cut: mib}
			}
			return reply{lane: "b", ignores: true}
		}
		r.mustGet(whole)
		r.settled(true)
		r.sentAtMost(5 * mib)
		if diff := cmp.Diff(0, len(r.chain.blamed)); diff != "" {
			t.Error(r.chain.blamed)
		}
	})
}

// TestF18F21Resume goes on at the byte where a body was cut or hung, wherever
// that is.
func TestF18F21Resume(t *testing.T) {
	t.Parallel()
	for _, at := range []int64{1, 100, 64 * kib, mib - 1} {
		fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
			r.chain.answer = func(n int, _ pullchain.Request) reply {
				switch n {
				case 0:
					return reply{cut: at}
				case 1:
					return reply{lane: "b", stall: at + (mib-at)/2}
				}
				return reply{lane: "c"}
			}
			began := time.Now()
			r.mustGet(whole)
			if took := time.Since(began); took > 11*time.Second {
				t.Errorf("took %v", took)
			}
			r.settled(true)
			r.sentAtMost(mib)
			if len(r.chain.requests()) != 3 && at < mib-1 {
				t.Errorf("%d requests", len(r.chain.requests()))
			}
		})
	}
}

// TestShortRanges takes an answer to a part of what was asked for. Crumbs are not asked
// for again and again: the whole, which the holes around them come to, is as cheap.
func TestShortRanges(t *testing.T) {
	t.Parallel()
	for _, most := range []int64{200 * kib, 10} {
		fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
			r.chain.answer = func(int, pullchain.Request) reply { return reply{most: most} }
			err := r.get(pullchain.Range{From: 100 * kib})
			if err != nil {
				t.Errorf("at most %d: %v", most, err)
			}
			if n := len(r.chain.requests()); n > 8 {
				t.Errorf("at most %d: %d requests", most, n)
			}
		})
	}
}

// TestGiveUp ends a fill whose every fetch dies, after what is there was read.
func TestGiveUp(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(n int, _ pullchain.Request) reply {
			if n > 20 {
				return reply{}
			}
			return reply{cut: 300 * kib}
		}
		resp, err := r.fetch(t.Context(), whole)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if n != 300*kib || pullchain.CodeOf(err) != pullchain.CodeTruncated {
			t.Errorf("%d bytes, %v", n, err)
		}
		resp.Body.Close()
		if n := len(r.chain.requests()); n > 6 {
			t.Errorf("%d requests", n)
		}
		r.settled(false)
		r.chain.answer = nil
		r.mustGet(whole)
		r.sentAtMost(mib)
	})
}

// TestNotThereAnyMore gives up at once where another try is of no use.
func TestNotThereAnyMore(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		gone := &pullchain.Error{Reason: pullchain.NotFound, Code: pullchain.CodeNotFound, Status: 404}
		r.chain.answer = func(n int, _ pullchain.Request) reply {
			if n > 0 {
				return reply{err: gone}
			}
			return reply{cut: 300 * kib}
		}
		if err := r.get(whole); err != gone {
			t.Errorf("error %v", err)
		}
		if n := len(r.chain.requests()); n != 2 {
			t.Errorf("%d requests", n)
		}
	})
}

// TestUnknownSize is one stream from 0 whose end is held back until it is right.
func TestUnknownSize(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(n int, _ pullchain.Request) reply { return reply{unknown: true, rate: mib} }
		resp, err := r.fetch(t.Context(), whole)
		if err != nil || resp.Size != -1 || resp.Status != 200 {
			t.Fatalf("%+v, %v", resp, err)
		}
		defer resp.Body.Close()
		part := make(chan error)
		go func() { part <- r.get(pullchain.Range{From: 100, To: 200}) }()
		time.Sleep(510 * time.Millisecond)
		if ready, err := resp.Body.Sections().Next(); ready.Size != 448*kib || err != nil {
			t.Errorf("ready: %d, %v", ready.Size, err)
		}
		if err := r.read(resp, whole); err != nil {
			t.Error(err)
		}
		if err := <-part; err != nil {
			t.Error(err)
		}
		r.settled(true)
		r.sentAtMost(mib)
	})
}

// TestUnknownSizeFaults go on as well as a lane lets them.
func TestUnknownSizeFaults(t *testing.T) {
	t.Parallel()
	for name, second := range map[string]reply{
		"a range":            {},
		"of unknown size":    {unknown: true},
		"ignored":            {ignores: true},
		"ignored, no size":   {ignores: true, unknown: true},
		"and a part at last": {cut: 800 * kib},
	} {
		t.Run(name, func(t *testing.T) {
			fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
				r.chain.answer = func(n int, _ pullchain.Request) reply {
					switch n {
					case 0:
						return reply{unknown: true, cut: 500 * kib}
					case 1:
						return second
					}
					return reply{}
				}
				r.mustGet(whole)
				r.settled(true)
			})
		})
	}
	t.Run("to a range", func(t *testing.T) {
		fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
			r.chain.answer = func(n int, _ pullchain.Request) reply { return reply{unknown: true} }
			r.mustGet(pullchain.Range{From: 100 * kib, To: 500 * kib})
			r.settled(true)
		})
	})
}
