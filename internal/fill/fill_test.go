package fill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
)

var whole = pullchain.Range{}

func TestFill(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 64 * kib, 64*kib + 1, 256 * kib, 3*mib + 7} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			fillBubble(t, noise(size, 1), func(t *testing.T, r *fillRig) {
				resp, err := r.fetch(t.Context(), whole)
				if err != nil {
					t.Fatal(err)
				}
				if resp.Status != 200 || resp.Size != int64(size) || resp.Cache != pullchain.CacheMiss || len(resp.Attempts) != 1 {
					t.Errorf("response %+v", resp)
				}
				if err := r.read(resp, whole); err != nil {
					t.Error(err)
				}
				resp.Body.Close()
				r.settled(true)
				r.sentAtMost(int64(size))
				if n := len(r.chain.requests()); n != 1 {
					t.Errorf("%d requests", n)
				}
				info, _ := r.store.Stat(r.chain.digest)
				if !info.Public {
					t.Error("not public")
				}
			})
		})
	}
}

// TestF40Herd is 200 clients of one cold blob: one fetch, and a private one is
// bound to who asked for it first.
func TestF40Herd(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(2*mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(int, pullchain.Request) reply { return reply{private: true, wait: time.Second, rate: 2 * mib} }
		var wg sync.WaitGroup
		results := make(chan pullchain.CacheResult, 200)
		for i := range 200 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 5 * time.Millisecond)
				resp, err := r.fetch(t.Context(), whole)
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				if err := r.read(resp, whole); err != nil {
					t.Error(err)
				}
				results <- resp.Cache
			})
		}
		wg.Wait()
		close(results)
		counts := map[pullchain.CacheResult]int{}
		for result := range results {
			counts[result]++
		}
		if counts[pullchain.CacheMiss] != 1 || counts[pullchain.CacheCoalesced] != 199 {
			t.Errorf("results %v", counts)
		}
		r.settled(true)
		r.sentAtMost(2 * mib)
		if n := len(r.chain.requests()); n != 1 {
			t.Errorf("%d requests", n)
		}
		info, _ := r.store.Stat(r.chain.digest)
		if _, ok := info.Repos["docker.io/library/app"]; info.Public || !ok {
			t.Errorf("meta %+v", info.Meta)
		}
	})
}

// TestFirstError goes to those of the same repository alone.
func TestFirstError(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		denied := &pullchain.Error{Reason: pullchain.Denied, Status: 403, Attempts: []pullchain.Attempt{{Upstream: "a"}}}
		r.chain.answer = func(_ int, req pullchain.Request) reply {
			if req.Repo == "library/app" {
				return reply{wait: time.Second, err: denied}
			}
			return reply{wait: time.Second}
		}
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if err := r.get(whole); err != denied {
					t.Errorf("error %v", err)
				}
			})
			wg.Go(func() {
				time.Sleep(time.Duration(i+1) * time.Millisecond)
				resp, err := r.fills.Fetch(t.Context(), r.reg, r.request("team/app", whole), func(bool) error { return errors.New("not asked") })
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				if err := r.read(resp, whole); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := len(r.chain.requests()); n != 2 {
			t.Errorf("%d requests", n)
		}
		r.settled(true)
	})
}

// TestAdmit asks whether who joins another repository's fill may have it.
func TestAdmit(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(int, pullchain.Request) reply { return reply{private: true, rate: mib} }
		no := errors.New("no")
		var wg sync.WaitGroup
		wg.Go(func() { r.mustGet(whole) })
		synctest.Wait()
		u, ok := r.fills.Underway(r.chain.digest)
		if u.Size != mib || !u.Private || u.By != (Repository{Registry: "docker.io", Name: "library/app"}) || !ok {
			t.Errorf("head = %+v, %t", u, ok)
		}
		_, err := r.fills.Fetch(t.Context(), r.reg, r.request("team/app", whole), func(private bool) error {
			if !private {
				t.Error("not private")
			}
			return no
		})
		if err != no {
			t.Errorf("error %v", err)
		}
		wg.Wait()
		r.sentAtMost(mib)
	})
}

// TestF31Abort is a client that leaves: little missing is fetched to the end, a
// large rest is kept for the next who asks.
func TestF31Abort(t *testing.T) {
	t.Parallel()
	large := noise(90*mib, 1)
	for _, tt := range []struct {
		name    string
		leaveAt int
		stored  bool
	}{{"little is there", 10 * mib, false}, {"little is missing", 30 * mib, true}, {"most is there", 50 * mib, true}} {
		t.Run(tt.name, func(t *testing.T) {
			fillBubble(t, large, func(t *testing.T, r *fillRig) {
				r.chain.answer = func(int, pullchain.Request) reply { return reply{rate: 300 * mib} }
				resp, err := r.fetch(t.Context(), whole)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.CopyN(io.Discard, resp.Body, int64(tt.leaveAt)); err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				r.settled(tt.stored)
				if !tt.stored {
					r.sentAtMost(int64(tt.leaveAt) + 20*mib)
					if r.store.Stats().Partial != 1 {
						t.Error("nothing was kept")
					}
				}
				r.mustGet(whole)
				r.settled(true)
				r.sentAtMost(int64(len(large)) + 5*mib)
			})
		})
	}
}

// TestAbortBeforeAnswer ends a fetch that nobody waits for any more.
func TestAbortBeforeAnswer(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(n int, _ pullchain.Request) reply {
			if n == 0 {
				return reply{wait: time.Hour}
			}
			return reply{}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := r.fetch(ctx, whole)
		if pullchain.ReasonOf(err) != pullchain.Canceled {
			t.Errorf("error %v", err)
		}
		r.mustGet(whole)
		r.settled(true)
	})
}

// TestF32SlowClient holds nobody up, not even the fill.
func TestF32SlowClient(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(2*mib, 1), func(t *testing.T, r *fillRig) {
		slow, err := r.fetch(t.Context(), whole)
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Body.Close()
		began := time.Now()
		r.mustGet(whole)
		if took := time.Since(began); took > time.Second {
			t.Errorf("another client took %v", took)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, ok := r.store.Stat(r.chain.digest); !ok {
			t.Error("not stored while a client is slow")
		}
		if err := r.read(slow, whole); err != nil {
			t.Error(err)
		}
	})
}

// TestF35Resume fetches after a restart only what was missing.
func TestF35Resume(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(8*mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(int, pullchain.Request) reply { return reply{rate: mib} }
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		resp, err := r.fetch(ctx, whole)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, resp.Body, 3*mib); err != nil {
			t.Fatal(err)
		}
		r.restart()
		if _, err := io.ReadAll(resp.Body); pullchain.ReasonOf(err) != pullchain.Canceled {
			t.Errorf("the client of the old process got %v", err)
		}
		resp.Body.Close()
		r.mustGet(whole)
		r.settled(true)
		r.sentAtMost(8*mib + mib/2)
	})
}

// TestResumeOfSomethingElse throws a partial file away that is of another size.
func TestResumeOfSomethingElse(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{5 * mib, 300 * kib} {
		fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
			sp, err := r.store.Spool(t.Context(), r.chain.digest)
			if err != nil {
				t.Fatal(err)
			}
			_, err = sp.WriteAt(make([]byte, 200*kib), 100)
			err = errors.Join(err, sp.SetSize(size), sp.Record(extent(100, 200*kib)), sp.Suspend())
			if err != nil {
				t.Fatal(err)
			}
			r.mustGet(pullchain.Range{From: 150 * kib, To: 800 * kib})
			r.mustGet(whole)
			r.settled(true)
		})
	}
}

// TestCompletePartial asks upstream all the same: only an answer says that this
// repository has the blob.
func TestCompletePartial(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		sp, err := r.store.Spool(t.Context(), r.chain.digest)
		if err != nil {
			t.Fatal(err)
		}
		_, err = sp.WriteAt(r.chain.content, 0)
		if err = errors.Join(err, sp.SetSize(mib), sp.Record(extent(0, mib)), sp.Suspend()); err != nil {
			t.Fatal(err)
		}
		r.mustGet(whole)
		r.settled(true)
		r.sentAtMost(holdBack)
		if n := len(r.chain.requests()); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// TestFileBody reads as one who sends files does.
func TestFileBody(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(2*mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(int, pullchain.Request) reply { return reply{rate: mib} }
		for _, want := range []pullchain.Range{{From: mib, To: 2*mib - 100}, {}, {From: 3}} {
			resp, err := r.fetch(t.Context(), want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := sendFile(resp.Body.Sections())
			resp.Body.Close()
			to := int(want.To)
			if to == 0 {
				to = 2 * mib
			}
			if err != nil || string(got) != string(r.chain.content[want.From:to]) {
				t.Errorf("%v: %d bytes, %v", want, len(got), err)
			}
		}
	})
}

// sendFile reads a body's sections, as front does.
func sendFile(body pullchain.Sections) ([]byte, error) {
	var got []byte
	for {
		section, err := body.Next()
		if err == io.EOF {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		p := make([]byte, min(section.Size, 100_000))
		m, err := section.Content.ReadAt(p, section.Offset)
		body.Sent(int64(m))
		got = append(got, p[:m]...)
		if err != nil {
			return got, err
		}
	}
}
