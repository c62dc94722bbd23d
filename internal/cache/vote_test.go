package cache

import (
	"io"
	"slices"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
)

// avoids reports whether req would rather not be answered by lane.
func avoids(req pullchain.Request, lane string) bool { return slices.Contains(req.Options.Avoid, lane) }

// TestSmallBlobOfWrongLength answers with the right length, and nothing amiss,
// although the first lane has named another: no byte and no header has left before
// the digest is right.
func TestSmallBlobOfWrongLength(t *testing.T) {
	t.Parallel()
	for _, shift := range []int64{-1000, 1000} {
		const size = 200 * kib
		fillBubble(t, noise(size, 1), func(t *testing.T, r *fillRig) {
			r.chain.answer = func(_ int, req pullchain.Request) reply {
				if avoids(req, "a") {
					return reply{lane: "b"}
				}
				return reply{lane: "a", size: size + shift}
			}
			resp, err := r.fetch(t.Context(), whole)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.Size != size {
				t.Errorf("%+d: told a size of %d, want %d", shift, resp.Size, size)
			}
			if err := r.read(resp, whole); err != nil {
				t.Errorf("%+d: %v", shift, err)
			}
			if n := len(r.chain.requests()); n > 2 {
				t.Errorf("%+d: %d requests, want 2", shift, n)
			}
			r.settled(true)
		})
	}
}

// TestSmallBlobThatFails is answered with the error, and not with a body that
// breaks off, for all who wait for it.
func TestSmallBlobThatFails(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(200*kib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(int, pullchain.Request) reply { return reply{lane: "a", cut: 100 * kib, rate: mib} }
		errs := make(chan error)
		for range 3 {
			go func() { errs <- r.get(whole) }()
		}
		for range 3 {
			if err := <-errs; pullchain.ReasonOf(err) != pullchain.Unavailable {
				t.Errorf("%v, want that it is unavailable", err)
			}
		}
		if n := len(r.chain.requests()); n > maxFails+1 {
			t.Errorf("%d requests for clients that came together", n)
		}
		if _, err := r.fetch(t.Context(), whole); err == nil {
			t.Error("a later client got an answer, and not the error")
		}
		r.settled(false)
	})
}

// TestOutvotedSize takes the size from the second lane, once the one that named
// another could not send as much: who was told the wrong size is cut, once, what
// was right of the bytes is kept, and the next client has all.
func TestOutvotedSize(t *testing.T) {
	t.Parallel()
	const size = mib
	for name, liar := range map[string]reply{
		"long":            {lane: "a", size: size + 1000, rate: 4 * mib},
		"long, then cut":  {lane: "a", size: size + 1000, rate: 4 * mib, cut: 600 * kib},
		"short, then cut": {lane: "a", size: size - 1000, rate: 4 * mib, cut: 600 * kib},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fillBubble(t, noise(size, 1), func(t *testing.T, r *fillRig) {
				r.chain.answer = func(_ int, req pullchain.Request) reply {
					if avoids(req, "a") {
						return reply{lane: "b"}
					}
					return liar
				}
				resp, err := r.fetch(t.Context(), whole)
				if err != nil {
					t.Fatal(err)
				}
				n, err := io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if err == nil || n >= size {
					t.Errorf("%d bytes of %d, %v, for a client that was told of %d", n, size, err, resp.Size)
				}
				r.mustGet(whole)
				if n := len(r.chain.requests()); n > 3 {
					t.Errorf("%d requests, want 2 or 3", n)
				}
				r.settled(true)
				r.sentAtMost(size + bufferSize)
				if slices.Contains(r.chain.blamed, "b") {
					t.Error("the honest lane was blamed")
				}
			})
		})
	}
}

// TestSizeOfHonestLaneStands asks the lane that named the size, and has broken no
// promise, before it believes another.
func TestSizeOfHonestLaneStands(t *testing.T) {
	t.Parallel()
	const size = mib
	fillBubble(t, noise(size, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(n int, req pullchain.Request) reply {
			if n > 0 && !avoids(req, "b") {
				return reply{lane: "b", size: size + 5}
			}
			return reply{lane: "a"}
		}
		part, err := r.fetch(t.Context(), pullchain.Range{To: 64 * kib})
		if err != nil {
			t.Fatal(err)
		}
		r.mustGet(whole)
		if err := r.read(part, pullchain.Range{To: 64 * kib}); err != nil || part.Size != size {
			t.Errorf("a part of %d bytes in all, %v", part.Size, err)
		}
		part.Body.Close()
		if n := len(r.chain.requests()); n != 3 {
			t.Errorf("%d requests, want 3", n)
		}
		r.settled(true)
	})
}

// TestEndNamedByAnother asks the lane that named the size whether there is more,
// when another says that there is not, and believes that one if there is not.
func TestEndNamedByAnother(t *testing.T) {
	t.Parallel()
	const size = mib
	for name, honest := range map[string]bool{"there is": true, "there is not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fillBubble(t, noise(size, 1), func(t *testing.T, r *fillRig) {
				liar, named := reply{lane: "b", size: size - 100*kib}, reply{lane: "a"}
				if !honest {
					liar, named = reply{lane: "b"}, reply{lane: "a", size: size + 1000}
				}
				r.chain.answer = func(n int, req pullchain.Request) reply {
					if n > 0 && req.Range.From >= 950*kib && !avoids(req, "b") || avoids(req, "a") {
						return liar
					}
					if n == 0 {
						named := named
						named.rate, named.cut = 8*mib, 970*kib
						return named
					}
					return named
				}
				if err := r.get(whole); honest && err != nil {
					t.Error(err)
				}
				r.mustGet(whole)
				if n := len(r.chain.requests()); n > 5 {
					t.Errorf("%d requests", n)
				}
				r.settled(true)
			})
		})
	}
}

// The lane that named the size, and kept its word, is busy for a moment; one that has something else answers meanwhile.
func TestBusyLaneKeepsItsWord(t *testing.T) {
	t.Parallel()
	const size = mib
	fillBubble(t, noise(size, 1), func(t *testing.T, r *fillRig) {
		began := time.Now()
		r.chain.answer = func(n int, req pullchain.Request) reply {
			if n > 0 && time.Since(began) < 300*time.Millisecond {
				return reply{lane: "b", size: size + 5}
			}
			return reply{lane: "a"}
		}
		part, err := r.fetch(t.Context(), pullchain.Range{To: 64 * kib})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.get(whole); err != nil {
			t.Errorf("%v after %v and %d requests", err, time.Since(began), len(r.chain.requests()))
		}
		part.Body.Close()
	})
}
