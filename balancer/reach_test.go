package balancer_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/wire"
)

// What a lane answers to one request, or of one image, costs no other image a pull
// (docs/faults.md 0.2).
func TestOneImageCostsNoOther(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]pullchain.Error{
		"500 in a loop":          internal,
		"a web page":             webPage,
		"wrong bytes":            {Reason: pullchain.Corrupt, Code: pullchain.CodeDigestMismatch, Reach: pullchain.ReachContent},
		"503 with an hour":       {Reason: pullchain.Limited, Code: pullchain.CodeServerError, Status: 503, RetryAfter: time.Hour, Reach: pullchain.ReachContent},
		"429 with an hour":       {Reason: pullchain.Limited, Code: pullchain.CodeQuota, Status: 429, RetryAfter: time.Hour},
		"522 of one name":        {Reason: pullchain.Unavailable, Code: pullchain.CodeOriginDown, Status: 522, Reach: pullchain.ReachLane},
		"its token, 500":         {Reason: pullchain.Unavailable, Code: pullchain.CodeToken, Status: 500, Reach: pullchain.ReachToken},
		"its token, for an hour": {Reason: pullchain.Limited, Code: pullchain.CodeToken, Status: 429, RetryAfter: time.Hour, Reach: pullchain.ReachToken},
		"403":                    {Reason: pullchain.Denied, Code: pullchain.CodeForbidden, Status: 403, Reach: pullchain.ReachContent},
		"cut bodies":             {Reason: pullchain.Unavailable, Code: pullchain.CodeTruncated},
		"a blocked redirect":     {Reason: pullchain.Refused, Code: pullchain.CodeRedirectBlocked, Reach: pullchain.ReachRequest},
		"429 of a foreign host":  {Reason: pullchain.Limited, Code: pullchain.CodeAbuse, Status: 429, RetryAfter: time.Hour, Reach: pullchain.ReachRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				odd := of(99, tag)
				r := newRig(serve)
				r.ups[0].token = e.Reach == pullchain.ReachToken
				r.ups[0].become(func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
					if req.Repo == odd.Repo {
						return fail(e)(ctx, req)
					}
					return serve(ctx, req)
				})
				for i := range 40 {
					ask := odd
					if e.Status >= 500 && i%2 == 1 { // another tag of it
						ask.Tag = fmt.Sprint(i)
					}
					if _, err := r.Fetch(t.Context(), ask); err == nil {
						t.Fatal("the odd image was served")
					}
					r.mustGet(t, of(i, tag))
					r.mustGet(t, of(i, blob))
				}
				if s := r.state(0); s.State != balancer.StateServing {
					t.Errorf("the lane is %q", s.State)
				}
			})
		})
	}
}

// A limit that several images have met is the lane's: it binds until its time, with no
// other lane left too (docs/faults.md F06). What the upstream says to the address, and a
// quota of which nothing is left, does so at once.
func TestALimitOfSeveralImagesBindsAll(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		e    pullchain.Error
		asks int // until it is not asked any more
	}{
		"a quota":       {pullchain.Error{Code: pullchain.CodeQuota}, 3},
		"a throttle":    {pullchain.Error{Code: pullchain.CodeThrottle}, 3},
		"no quota left": {pullchain.Error{Code: pullchain.CodeQuota, Quota: &pullchain.Quota{Limit: 100}}, 1},
		"abuse":         {pullchain.Error{Code: pullchain.CodeAbuse}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limited := tt.e
				limited.Reason, limited.Status, limited.RetryAfter = pullchain.Limited, 429, time.Hour
				r := newRig(fail(limited))
				for range 2 {
					for i := range 10 {
						_, err := r.Fetch(t.Context(), of(i, tag))
						if e := errorOf(t, err); e.Status != 429 || e.RetryAfter != time.Hour {
							t.Errorf("%v, retry after %v", e, e.RetryAfter)
						}
					}
				}
				if got := r.ups[0].count(); got != tt.asks {
					t.Errorf("asked %d times, want %d", got, tt.asks)
				}
				r.ups[0].become(serve)
				time.Sleep(time.Hour + time.Second)
				r.mustGet(t, of(0, tag))
			})
		})
	}
}

// Words of different kinds, or with a served request in between, are not one limit of all.
func TestWhatIsNotALimitOfAll(t *testing.T) {
	t.Parallel()
	abuse := pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeAbuse, Status: 429, RetryAfter: time.Hour}
	throttle := abuse
	throttle.Code = pullchain.CodeThrottle
	for name, first := range map[string]pullchain.Error{"other code": throttle, "served in between": abuse} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(fail(first))
				r.Fetch(t.Context(), of(0, tag))
				time.Sleep(time.Second)
				if first.Code == pullchain.CodeAbuse {
					r.ups[0].become(serve)
					r.mustGet(t, of(1, tag))
					time.Sleep(time.Second)
				}
				r.ups[0].become(fail(abuse))
				r.Fetch(t.Context(), of(2, tag))
				r.ups[0].become(serve)
				r.mustGet(t, of(3, tag))
			})
		})
	}
}

// A guard before /v2/ that names no time does not shut the last lane: it cools, and what is
// served opens it. One that names a time binds (docs/faults.md F09).
func TestAGuardBeforeTheProbeAlone(t *testing.T) {
	t.Parallel()
	for name, assumed := range map[string]bool{"no time": true, "a time": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(serve)
				pings := 0
				r.ups[0].ping = func(context.Context) error {
					pings++
					return &pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeAbuse, Status: 429, RetryAfter: time.Minute, Assumed: assumed}
				}
				for range 5 {
					r.lanes[0].Probe(t.Context())
					time.Sleep(time.Second)
				}
				if s := r.state(0); pings != 1 || len(s.Cooldowns) != 2 {
					t.Errorf("asked %d times, cooldowns %+v", pings, s.Cooldowns)
				}
				_, err := r.get(t.Context(), tag)
				if (err == nil) != assumed {
					t.Errorf("a pull: %v", err)
				}
				if s := r.state(0); assumed && len(s.Cooldowns) != 1 {
					t.Errorf("cooldowns %+v, want that of blobs alone", s.Cooldowns)
				}
			})
		})
	}
}

// Where every first answer is a failure, the breaker opens, and a forced try gets its
// second one all the same (docs/faults.md 0.3).
func TestAForcedTryIsMadeOnceMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := map[string]bool{}
		r := newRig(func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
			if !asked[req.Repo] {
				asked[req.Repo] = true
				return fail(internal)(ctx, req)
			}
			return serve(ctx, req)
		})
		for i := range 20 {
			r.mustGet(t, of(i, blob))
		}
	})
}

// contradicts serves documents whose digest header names other bytes.
func contradicts(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	if !req.Options.AnyHeader {
		return pullchain.Response{}, &pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeDigestMismatch, Reach: pullchain.ReachRequest}
	}
	return serve(ctx, req)
}

// A document by a tag that does not agree with its digest header is another lane's turn;
// where there is none it is taken, as by clients that do not look at the header.
func TestADocumentThatItsHeaderContradicts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(contradicts, serve)
		r.mustGet(t, tag)
		if got := r.counts(); !slices.Equal(got, []int{1, 1}) {
			t.Errorf("asked %v", got)
		}
		alone := newRig(contradicts)
		alone.mustGet(t, tag)
		if got := alone.counts(); !slices.Equal(got, []int{2}) {
			t.Errorf("asked %v", got)
		}
	})
}

// A digest in a header proves nothing: neither a HEAD's, which comes without bytes, nor
// one that speaks of its request alone. What it says in however many repositories, the
// GET is asked for as before (docs/faults.md 0.1).
func TestAWrongHeaderClosesNothing(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		head  bool
		reach pullchain.Reach
	}{
		"HEAD":       {true, pullchain.ReachClass},
		"of a label": {false, pullchain.ReachRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(fail(pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeDigestMismatch, Reach: tt.reach}), serve)
				for i := range 4 {
					req := of(i, byDigest)
					req.Head = tt.head
					r.mustGet(t, req)
				}
				r.ups[0].become(serve)
				for i := range 4 {
					r.mustGet(t, of(i, byDigest))
				}
				if got := r.counts(); !slices.Equal(got, []int{8, 4}) {
					t.Errorf("asked %v, want the first lane for all", got)
				}
			})
		})
	}
}

// "Not found" is remembered for a moment, for the method that was told it.
func TestMemoryOfNo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(fail(missing))
		asked := func(req pullchain.Request, want int) {
			t.Helper()
			before := r.ups[0].count()
			r.Fetch(t.Context(), req)
			if got := r.ups[0].count() - before; got != want {
				t.Errorf("%s, HEAD %v: asked %d times, want %d", req.Image(), req.Head, got, want)
			}
		}
		head := byDigest
		head.Head = true
		asked(head, 1)
		asked(byDigest, 1) // of another method
		asked(byDigest, 0)
		for range 4 { // where no lane has it, an answer that is older is no answer
			time.Sleep(2*time.Second - time.Nanosecond)
			asked(byDigest, 0)
			time.Sleep(time.Nanosecond)
			asked(byDigest, 1)
		}
	})
}

// A lane that has not got it is passed over for a while, as long as another serves.
func TestMemoryOfNoWhereAnotherServes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		no := missing
		no.Final = false
		r := newRig(fail(no), serve)
		asked := func(req pullchain.Request, want int) {
			t.Helper()
			before := r.ups[0].count()
			r.mustGet(t, req)
			if got := r.ups[0].count() - before; got != want {
				t.Errorf("%s: asked %d times, want %d", req.Image(), got, want)
			}
		}
		asked(byDigest, 1)
		time.Sleep(4 * time.Second)
		asked(byDigest, 0)
		asked(tag, 1)
		asked(tag, 0)
		time.Sleep(2 * time.Second)
		asked(byDigest, 1)
		asked(tag, 1)
		time.Sleep(2 * time.Second)
		asked(tag, 1) // for the third time
		time.Sleep(29 * time.Second)
		asked(tag, 0)
		time.Sleep(time.Second)
		asked(tag, 1)
		time.Sleep(2 * time.Minute)
		asked(tag, 1)
		time.Sleep(2 * time.Second)
		asked(tag, 1) // it begins anew
	})
}

// What a client is told that takes other types says nothing to those that take this one.
func TestMemoryOfNoIsByWhatClientsTake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		index := wire.TypeOCIIndex
		r := newRig(func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
			if !slices.Contains(req.Accept, index) {
				return fail(missing)(ctx, req)
			}
			return serve(ctx, req)
		})
		for _, req := range []pullchain.Request{tag, byDigest} {
			odd := req
			odd.Accept = []string{"text/html"}
			if _, err := r.Fetch(t.Context(), odd); err == nil {
				t.Fatal("the odd client was served")
			}
			req.Accept = []string{index}
			r.mustGet(t, req)
		}
		// Other types that are not known are another question, and it is asked.
		odd := tag
		odd.Accept = []string{"application/vnd.wasm.config.v1+json"}
		before := r.ups[0].count()
		if _, err := r.Fetch(t.Context(), odd); err == nil || r.ups[0].count() != before+1 {
			t.Errorf("asked %d times, want once: %v", r.ups[0].count()-before, err)
		}
		// The same types are the same question.
		same := tag
		same.Accept = []string{wire.TypeDockerManifest}
		for range 2 {
			if _, err := r.Fetch(t.Context(), same); err == nil {
				t.Fatal("what it does not take was served")
			}
		}
		if n := r.ups[0].count() - before; n != 2 {
			t.Errorf("asked %d times, want twice", n)
		}
	})
}

// A server that takes its time for each failure is not asked on for ever, be it of one
// repository: what costs seconds counts for each tag.
func TestSlowFailuresOfOneRepositoryTrip(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		takes time.Duration
		want  string
	}{"at once": {0, "closed"}, "slow": {1100 * time.Millisecond, "open"}} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
				time.Sleep(tt.takes)
				return fail(internal)(ctx, req)
			}, serve)
			for i := range 12 {
				req := tag
				req.Tag = fmt.Sprint(i)
				r.mustGet(t, req)
			}
			if got := r.state(0).Breakers[0]; got.State != tt.want {
				t.Errorf("%s: the breaker is %+v, want it %s", name, got, tt.want)
			}
		})
	}
}

// How long a "no" is remembered is a setting of the registry.
func TestMemoryOfNoIsSet(t *testing.T) {
	t.Parallel()
	for ttl, want := range map[time.Duration][]int{0: {1, 1, 1, 1}, time.Minute: {1, 0, 0, 1}} {
		synctest.Test(t, func(t *testing.T) {
			up := &fake{name: "a", fetch: fail(missing)}
			b := balancer.New(balancer.Config{Registry: "docker.io", Lanes: []*balancer.Lane{balancer.NewLane(up, balancer.LaneConfig{})}, NotFoundTTL: &ttl})
			for i, after := range []time.Duration{0, 0, 59 * time.Second, time.Second} {
				time.Sleep(after)
				before := up.count()
				b.Fetch(t.Context(), byDigest)
				if got := up.count() - before; got != want[i] {
					t.Errorf("%v: request %d asked %d times, want %d", ttl, i, got, want[i])
				}
			}
		})
	}
}

// A lane that cuts every body is not asked for ever before one whose gate is closed on a
// guess (docs/faults.md 0.3).
func TestALaneThatCutsDoesNotHideTheLastPath(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		later := pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeServerError, Status: 503, RetryAfter: time.Hour, Reach: pullchain.ReachContent}
		r := newRig(fail(later), serve)
		r.mustGet(t, blob)
		time.Sleep(time.Minute)
		r.ups[0].become(serve)
		r.ups[1].become(cutAt(1000))
		r.mustGet(t, blob)
	})
}

// A HEAD, which no quota counts, does not end a pause that the upstream named; and what is
// said to all binds for as long as that was said, not as long as something else was said
// to one image.
func TestWhatEndsANamedPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, Status: 429, RetryAfter: 6 * time.Hour}
		r := newRig(fail(limit))
		ask := func(req pullchain.Request, want int) {
			t.Helper()
			before := r.ups[0].count()
			r.Fetch(t.Context(), req)
			if got := r.ups[0].count() - before; got != want {
				t.Errorf("%s: asked %d times, want %d", req.Image(), got, want)
			}
		}
		ask(of(1, tag), 1)
		r.ups[0].become(serve)
		head := of(2, tag)
		head.Head = true
		ask(head, 1)
		if s := r.state(0); len(s.Cooldowns) != 1 {
			t.Errorf("cooldowns %+v", s.Cooldowns)
		}
		abuse := pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeAbuse, Status: 429, RetryAfter: time.Minute}
		time.Sleep(time.Minute)
		r.ups[0].become(fail(abuse))
		ask(of(3, tag), 1)
		ask(of(5, tag), 1)
		ask(of(4, tag), 0)
		time.Sleep(time.Minute)
		r.ups[0].become(serve)
		ask(of(4, tag), 1)
	})
}

// Where one lane is unwell and another labels a document wrong, the bytes are taken.
func TestALabelIsNoReasonBesideAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(fail(internal), contradicts)
		r.mustGet(t, tag)
		if got := r.counts(); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("asked %v", got)
		}
	})
}

// A lane whose bytes of a blob were wrong is not asked for them before one that was cut
// twice and goes on (docs/faults.md F20).
func TestWrongBytesAreNotForcedBeforeALaneThatIsCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(corrupt, serve)
		n := 0
		r.ups[1].become(func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
			if n++; n <= 3 {
				return cutAt(1000)(ctx, req)
			}
			return serve(ctx, req)
		})
		wrong := pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeDigestMismatch, Reach: pullchain.ReachContent}
		r.Blame("a", blob, &wrong)
		r.mustGet(t, blob)
	})
}

// A "no" of a moment ago is no reason for an error now: the lane is asked again where the
// others have failed. Where all say no, nothing is asked.
func TestANoOfAMomentAgoIsAskedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		no := missing
		no.Final = false
		r := newRig(fail(no), serve)
		for range 3 { // it is remembered for 30 s now
			r.mustGet(t, byDigest)
			time.Sleep(6 * time.Second)
		}
		r.ups[0].become(serve)
		r.ups[1].become(fail(internal))
		r.mustGet(t, byDigest)

		none := newRig(fail(no), fail(no))
		for range 3 {
			none.Fetch(t.Context(), byDigest)
		}
		if got := none.counts(); !slices.Equal(got, []int{1, 1}) {
			t.Errorf("asked %v", got)
		}
	})
}

// A lane whose gates stand open and that is asked again for an old "no" is forced to
// nothing: that opens none of its other gates, and is no event.
func TestAnOldNoOpensNoGates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		no := missing
		no.Final = false
		r := newRig(fail(no))
		for range 4 {
			r.Fetch(t.Context(), tag)
			time.Sleep(3 * time.Second)
		}
		if got := r.ups[0].count(); got != 4 {
			t.Errorf("asked %d times", got)
		}
		events, _, _ := r.Events().Since(0)
		for _, ev := range events {
			if ev.Kind == balancer.KindForced {
				t.Errorf("%+v", ev)
			}
		}
	})
}
