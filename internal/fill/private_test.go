package fill

import (
	"context"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
)

// TestWrongAnonymousCopyDoesNotPublish is an anonymous mirror that answers 200 with junk, and then the origin with a login:
// what is stored must not be public.
func TestWrongAnonymousCopyDoesNotPublish(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(n int, req pullchain.Request) reply {
			if n == 0 {
				return reply{lane: "junk-mirror", flip: []int64{mib - 1}}
			}
			return reply{lane: "origin", private: true}
		}
		r.mustGet(whole)
		r.settled(true)
		if info, _ := r.store.Stat(r.chain.digest); info.Public {
			t.Errorf("Meta %+v: private content became public", info.Meta)
		}
	})
}

// TestCutAnonymousAnswerDoesNotPublish is the same, cut: the anonymous lane sent nothing but headers.
func TestCutAnonymousAnswerDoesNotPublish(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(n int, req pullchain.Request) reply {
			if n == 0 {
				return reply{lane: "junk-mirror", cut: 1}
			}
			return reply{lane: "origin", private: true}
		}
		r.mustGet(whole)
		r.settled(true)
		if info, _ := r.store.Stat(r.chain.digest); info.Public {
			t.Errorf("Meta %+v: private content became public", info.Meta)
		}
	})
}

// TestJoinAfterWrongAnonymousCopyIsTold is a client of another repository that joins while the second copy comes in.
func TestJoinAfterWrongAnonymousCopyIsTold(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(n int, req pullchain.Request) reply {
			if n == 0 {
				return reply{lane: "junk-mirror", flip: []int64{mib - 1}}
			}
			return reply{lane: "origin", private: true, rate: mib / 8}
		}
		var wg sync.WaitGroup
		wg.Go(func() { r.mustGet(whole) })
		time.Sleep(2 * time.Second)
		synctest.Wait()
		told := false
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		resp, err := r.fills.Fetch(ctx, r.reg, r.request("intruder/app", whole), func(private bool) error {
			told = private
			return nil
		})
		if err == nil {
			resp.Body.Close()
		}
		if !told {
			t.Errorf("admit was told that the blob is public (err %v)", err)
		}
		wg.Wait()
	})
}

// What is left of a blob that a login was fetching goes on with that login, after a restart
// too, and what is left of one that took none goes on as it will, and is public. Of what a
// login has left, no byte is shown on the word of an upstream that has not got that login: it
// begins anew.
func TestF52PartOfALogin(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		first, then reply
		continues   bool
		public      bool
	}{
		"the same login":             {reply{lane: "origin", private: true, login: "ann"}, reply{lane: "origin", private: true, login: "ann"}, true, false},
		"another login":              {reply{lane: "origin", private: true, login: "ann"}, reply{lane: "origin", private: true, login: "bob"}, false, false},
		"without the login":          {reply{lane: "origin", private: true, login: "ann"}, reply{lane: "mirror"}, false, true},
		"a login that was not known": {reply{lane: "origin", private: true}, reply{lane: "origin", private: true}, false, false},
		"none before, a login now":   {reply{lane: "mirror"}, reply{lane: "origin", private: true, login: "ann"}, true, false},
		"none":                       {reply{lane: "mirror"}, reply{lane: "other"}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fillBubble(t, noise(90*mib, 1), func(t *testing.T, r *fillRig) {
				how := tt.first
				r.chain.pipe = 4 * mib
				r.chain.answer = func(int, pullchain.Request) reply { return how }
				ctx, cancel := context.WithCancel(t.Context())
				resp, err := r.fetch(ctx, whole)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * time.Second)
				cancel()
				resp.Body.Close()
				synctest.Wait()
				r.restart()
				how = tt.then
				before := r.chain.sent.Load()
				r.mustGet(whole)
				r.settled(true)
				if rest := r.chain.sent.Load() - before; (rest < 85*mib) != tt.continues {
					t.Errorf("%d MiB were fetched then, of 90", rest/mib)
				}
				if info, _ := r.store.Stat(r.chain.digest); info.Public != tt.public {
					t.Errorf("Meta %+v", info.Meta)
				}
			})
		})
	}
}

// A mirror that answers as if it had the rest, and has not got a byte, brings nothing to light
// of what a login has left.
func TestF52LiarBringsNoPartToLight(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(90*mib, 1), func(t *testing.T, r *fillRig) {
		how := reply{lane: "origin", private: true, login: "ann"}
		r.chain.pipe = 4 * mib
		r.chain.answer = func(int, pullchain.Request) reply { return how }
		ctx, cancel := context.WithCancel(t.Context())
		resp, err := r.fetch(ctx, whole)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		cancel()
		resp.Body.Close()
		synctest.Wait()
		how = reply{lane: "liar", rate: 16} // bytes a second, so that what else comes is not its own
		late, leave := context.WithTimeout(t.Context(), 5*time.Second)
		defer leave()
		resp, err = r.fills.Fetch(late, r.reg, r.request("intruder/app", whole), func(bool) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); err == nil || len(got) > 100 {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}
