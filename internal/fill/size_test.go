package fill

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
)

// avoids reports whether req would rather not be answered by lane.
func avoids(req pullchain.Request, lane string) bool { return slices.Contains(req.Options.Avoid, lane) }

// TestF19WrongLength answers with the right length, and nothing amiss, although the
// first lane has named another: the manifest has told.
func TestF19WrongLength(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{200 * kib, mib} {
		for name, liar := range map[string]reply{
			"short":           {lane: "a", size: size - 1000},
			"long":            {lane: "a", size: size + 1000},
			"long, then cut":  {lane: "a", size: size + 1000, cut: 100 * kib},
			"short, then cut": {lane: "a", size: size - 1000, cut: 100 * kib},
		} {
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				t.Parallel()
				fillBubble(t, noise(int(size), 1), func(t *testing.T, r *fillRig) {
					r.size = size
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
					defer resp.Body.Close()
					if resp.Size != size {
						t.Errorf("told a size of %d, want %d", resp.Size, size)
					}
					if err := r.read(resp, whole); err != nil {
						t.Error(err)
					}
					if n := len(r.chain.requests()); n > 2 {
						t.Errorf("%d requests, want 2 at most", n)
					}
					r.settled(true)
					r.sentAtMost(size + bufferSize)
					if len(r.chain.blamed) > 0 {
						t.Errorf("%v were blamed", r.chain.blamed)
					}
				})
			})
		}
	}
}

// TestF19LengthOfAStream: where no answer tells the size, the manifest does, and the
// blob is fetched in parts as any other.
func TestF19LengthOfAStream(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		r.size = mib
		r.chain.answer = func(int, pullchain.Request) reply { return reply{unknown: true} }
		for _, want := range []pullchain.Range{{From: 300 * kib, To: 400 * kib}, whole} {
			resp, err := r.fetch(t.Context(), want)
			if err != nil {
				t.Fatal(err)
			}
			if resp.Size != mib {
				t.Errorf("%v: told a size of %d, want %d", want, resp.Size, mib)
			}
			if err := r.read(resp, want); err != nil {
				t.Errorf("%v: %v", want, err)
			}
			resp.Body.Close()
		}
		r.settled(true)
		r.sentAtMost(mib + 2*minPiece)
	})
}

// TestF19WrongLengthUntold: no manifest has told the size, and the first lane names a
// wrong one. The client is cut short of it: it never holds a complete wrong blob, and
// the lane that was right is not blamed.
func TestF19WrongLengthUntold(t *testing.T) {
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
				if err == nil || n >= resp.Size {
					t.Errorf("%d bytes of %d, %v, for a client that was told of %d", n, size, err, resp.Size)
				}
				if slices.Contains(r.chain.blamed, "b") {
					t.Error("the honest lane was blamed")
				}
				r.mustGet(whole) // the manifest may be one that the client had before
				r.settled(true)
			})
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
// when another says that there is not.
func TestEndNamedByAnother(t *testing.T) {
	t.Parallel()
	const size = mib
	fillBubble(t, noise(size, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(n int, req pullchain.Request) reply {
			if n > 0 && req.Range.From >= 950*kib && !avoids(req, "b") || avoids(req, "a") {
				return reply{lane: "b", size: size - 100*kib}
			}
			if n == 0 {
				return reply{lane: "a", rate: 8 * mib, cut: 970 * kib}
			}
			return reply{lane: "a"}
		}
		if err := r.get(whole); err != nil {
			t.Error(err)
		}
		r.mustGet(whole)
		if n := len(r.chain.requests()); n > 5 {
			t.Errorf("%d requests", n)
		}
		r.settled(true)
	})
}

// The lane that named the size, and kept its word, is busy for a moment; one that has
// something else answers meanwhile.
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

// A manifest of another repository says that the blob has another size, and is wrong:
// what the first one has fetched of it is kept.
func TestWrongManifestKeepsThePartial(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(4*mib, 1), func(t *testing.T, r *fillRig) {
		r.size = 4 * mib
		r.chain.answer = func(n int, _ pullchain.Request) reply {
			if n == 0 {
				return reply{cut: 3 * mib}
			}
			return reply{err: &pullchain.Error{Reason: pullchain.NotFound}}
		}
		if err := r.get(whole); err == nil {
			t.Fatal("no partial blob")
		}
		r.settled(false)
		r.chain.answer = func(int, pullchain.Request) reply { // what a balancer says that knows of the same manifest
			return reply{err: &pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeWrongSize}}
		}
		other := r.request("team/app", whole)
		other.Size = 42
		if _, err := r.fills.Fetch(t.Context(), r.reg, other, func(bool) error { return nil }); err == nil {
			t.Error("the other repository got a blob of the wrong size")
		}
		r.settled(false)
		r.chain.answer = nil
		r.mustGet(whole)
		r.settled(true)
		r.sentAtMost(4*mib + bufferSize)
	})
}

// The partial is of something else than the blob, as its manifest has it: it goes, and
// the blob is fetched.
func TestPartialOfAnotherSize(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{mib, 4 * mib} {
		fillBubble(t, noise(int(size), 1), func(t *testing.T, r *fillRig) {
			sp, err := r.store.Spool(t.Context(), r.chain.digest)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := sp.WriteAt(make([]byte, 3*mib), 0); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(sp.SetSize(3*mib+1), sp.Record(extent(0, 3*mib)), sp.Suspend()); err != nil {
				t.Fatal(err)
			}
			r.size = size
			r.mustGet(whole)
			r.settled(true)
		})
	}
}
