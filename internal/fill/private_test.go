package fill

import (
	"context"
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

// TestResumedPartOfALoginIsNotPublished is about a partial blob that was fetched with a login; after a restart an
// anonymous answer to the rest must not publish it.
func TestResumedPartOfALoginIsNotPublished(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(90*mib, 1), func(t *testing.T, r *fillRig) {
		login := true
		r.chain.pipe = 4 * mib
		r.chain.answer = func(n int, req pullchain.Request) reply {
			return reply{lane: "origin", private: login}
		}
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
		login = false
		r.mustGet(whole)
		r.settled(true)
		if info, _ := r.store.Stat(r.chain.digest); info.Public {
			t.Errorf("Meta %+v: what a login fetched became public", info.Meta)
		} else if info.Logins["docker.io/library/app"] != Anonymous {
			t.Errorf("Meta %+v: the repository has been let in without a login", info.Meta)
		}
	})
}
