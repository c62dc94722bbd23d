package cache_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/cache"
)

// docs/protocol.md 4.8: stale on network errors, 408, 429 and 5xx; never on 401, 403
// and 404. The refresh of what is private is stricter.
func TestStaleIfError(t *testing.T) {
	denied := &pullchain.Error{Reason: pullchain.Denied}
	absent := &pullchain.Error{Reason: pullchain.NotFound}
	mixed := func(reason pullchain.Reason, no error) error {
		return &pullchain.Error{Reason: reason, Attempts: []pullchain.Attempt{
			{Upstream: "a", Err: &pullchain.Error{Reason: pullchain.Unavailable}}, {Upstream: "b", Err: no},
		}}
	}
	for _, test := range []struct {
		name            string
		err             error
		public, private bool // is the last answer served?
	}{
		{"nobody classified it", http.ErrHandlerTimeout, true, true},
		{"refused connection", failed(pullchain.Unavailable, pullchain.CodeConnRefused, 0), true, true},
		{"408", failed(pullchain.Unavailable, pullchain.CodeUnexpected, 408), true, true},
		{"500", failed(pullchain.Unavailable, pullchain.CodeServerError, 500), true, true},
		{"503", failed(pullchain.Unavailable, pullchain.CodeServerError, 503), true, true},
		{"504", failed(pullchain.Unavailable, pullchain.CodeHeaderTimeout, 504), true, true},
		{"429", failed(pullchain.Limited, pullchain.CodeQuota, 429), true, true},
		{"egress", failed(pullchain.Egress, pullchain.CodeEgressProxy, 0), true, true},
		{"corrupt", failed(pullchain.Corrupt, pullchain.CodeNotRegistry, 200), true, true},
		{"a router's 404", failed(pullchain.Unavailable, pullchain.CodeNotRegistry, 404), true, true},
		{"401", failed(pullchain.Denied, pullchain.CodeUnauthorized, 401), false, false},
		{"403", failed(pullchain.Denied, pullchain.CodeForbidden, 403), false, false},
		{"404", failed(pullchain.NotFound, pullchain.CodeNotFound, 404), false, false},
		{"no without a status", denied, false, false},
		{"a 403 that nobody classified", failed(pullchain.Unavailable, pullchain.CodeUnexpected, 403), false, false},
		{"refused by policy", failed(pullchain.Refused, pullchain.CodeRedirectBlocked, 0), false, false},
		{"invalid", failed(pullchain.Invalid, pullchain.CodeInvalid, 400), false, false},
		{"one down, one says 404", mixed(pullchain.Unavailable, absent), true, false},
		{"one down, one says 403", mixed(pullchain.Unavailable, denied), true, false},
		{"one limited, one says 403", mixed(pullchain.Limited, denied), true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Run("public", func(t *testing.T) { staleCase(t, test.err, false, test.public) })
			t.Run("private", func(t *testing.T) { staleCase(t, test.err, true, test.private) })
		})
	}
}

func staleCase(t *testing.T, err error, private, served bool) {
	bubble(t, func(t *testing.T, r *rig) {
		r.up.private = private
		d, _ := r.up.image("one")
		r.up.tag("library/alpine:3.20", d)
		r.do(byTag(alpine, "3.20"))
		time.Sleep(time.Minute)
		r.up.down(err)
		for _, req := range []pullchain.Request{byTag(alpine, "3.20"), head(byTag(alpine, "3.20"))} {
			a := r.do(req)
			if served {
				r.want(a, stale, d)
				continue
			}
			if by := r.cache.Snapshot().StaleBy; len(by) != 0 {
				t.Errorf("counted %+v", by)
			}
			if a.err != err {
				t.Errorf("got %s and the error %v, want the error %v", a.result, a.err, err)
			}
		}
		r.up.up()
		time.Sleep(11 * time.Second)
		if a := r.do(byTag(alpine, "3.20")); a.err != nil || a.digest != d {
			t.Errorf("afterwards: %v", a.err)
		}
	})
}

// Stale answers are counted by registry and by what the upstreams failed of.
func TestStaleAnswersAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, _ := r.up.image("one")
		r.up.tag("library/alpine:3.20", d)
		r.do(byTag(alpine, "3.20"))
		for _, code := range []pullchain.Code{pullchain.CodeDNS, pullchain.CodeConnRefused} {
			time.Sleep(time.Minute)
			r.up.down(&pullchain.Error{Reason: pullchain.Unavailable, Code: code, Attempts: []pullchain.Attempt{
				{Upstream: "a", Gate: "breaker", Err: failed(pullchain.Unavailable, pullchain.CodeGate, 0)},
				{Upstream: "b", Err: failed(pullchain.Unavailable, code, 0)},
			}})
			r.want(r.do(byTag(alpine, "3.20")), stale, d)
		}
		want := []cache.Stale{{Registry: "docker.io", Code: pullchain.CodeConnRefused, N: 1}, {Registry: "docker.io", Code: pullchain.CodeDNS, N: 1}}
		if diff := cmp.Diff(want, r.cache.Snapshot().StaleBy); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// After a "no" the tag is forgotten: it is not served when all are down later.
func TestTagIsForgottenAfterANo(t *testing.T) {
	for _, no := range []error{notFound, errDenied} {
		t.Run(string(pullchain.CodeOf(no)), func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				d, _ := r.up.image("one")
				r.up.tag("library/alpine:3.20", d)
				r.do(byTag(alpine, "3.20"))
				time.Sleep(time.Minute)
				r.up.down(no)
				if a := r.do(byTag(alpine, "3.20")); a.err != no {
					t.Errorf("got %v", a.err)
				}
				r.up.down(errDown)
				if a := r.do(byTag(alpine, "3.20")); a.err != errDown {
					t.Errorf("got %s %v", a.result, a.err)
				}
				r.restart()
				if a := r.do(byTag(alpine, "3.20")); a.err != errDown {
					t.Errorf("after a restart: %s %v", a.result, a.err)
				}
			})
		})
	}
}

func TestStaleHasAnEnd(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, _ := r.up.image("one")
		r.up.tag("library/alpine:3.20", d)
		r.do(byTag(alpine, "3.20"))
		r.up.down(errDown)
		time.Sleep(7*24*time.Hour - time.Second)
		a := r.do(byTag(alpine, "3.20"))
		r.want(a, stale, d)
		time.Sleep(2 * time.Second)
		if a := r.do(byTag(alpine, "3.20")); a.err != errDown {
			t.Errorf("after a week: %s %v", a.result, a.err)
		}
		r.cache.SetTimes(nil, 30*24*time.Hour)
		r.want(r.do(byTag(alpine, "3.20")), stale, d)
	})
}

func TestPauseBetweenFailedRefreshes(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, _ := r.up.image("one")
		r.up.tag("library/alpine:3.20", d)
		r.do(byTag(alpine, "3.20"))
		r.asked(getManifest)
		time.Sleep(time.Minute)
		r.up.down(errDown)
		for range 10 { // within 9 seconds
			a := r.do(byTag(alpine, "3.20"))
			r.want(a, stale, d)
			if len(a.resp.Attempts) != 1 {
				t.Errorf("attempts %v", a.resp.Attempts)
			}
			r.want(r.do(head(byTag(alpine, "3.20"))), stale, d)
			time.Sleep(900 * time.Millisecond)
		}
		r.asked(headManifest)
		time.Sleep(time.Second)
		r.up.up()
		a := r.do(byTag(alpine, "3.20"))
		r.want(a, hit, d)
		r.asked(headManifest)
	})
}

// docs/architecture.md, Gates: cache, then stale, then one forced try. With something to
// fall back on nobody is asked whose gate is shut; without, somebody is.
func TestSpareWhileThereIsSomethingStale(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, _ := r.up.image("one")
		r.up.tag("library/alpine:3.20", d)
		shut := failed(pullchain.Unavailable, pullchain.CodeGate, 0)
		r.up.set(func() {
			r.up.fail = func(req pullchain.Request) error {
				if req.Options.NoForce {
					return shut // a forced try would go well
				}
				return nil
			}
		})
		r.want(r.do(byTag(alpine, "3.20")), miss, d) // nothing to serve: forced
		time.Sleep(time.Minute)
		r.want(r.do(byTag(alpine, "3.20")), stale, d)
		time.Sleep(7 * 24 * time.Hour)
		r.want(r.do(byTag(alpine, "3.20")), hit, d) // too old to serve: forced
		var spares []bool
		for _, req := range r.up.requests {
			spares = append(spares, req.Options.NoForce)
		}
		if diff := cmp.Diff([]bool{false, true, false}, spares); diff != "" {
			t.Errorf("Spare (-want +got):\n%s", diff)
		}
	})
}

// At Docker Hub's limit a HEAD still tells that a tag has changed, and the new
// manifest cannot be had: the one before is better than none.
func TestChangedTagThatCannotBeFetchedStaysStale(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		one, _ := r.up.image("one")
		two, _ := r.up.image("two")
		r.up.tag("library/alpine:3.20", one)
		r.do(byTag(alpine, "3.20"))
		r.up.tag("library/alpine:3.20", two)
		limited := failed(pullchain.Limited, pullchain.CodeQuota, 429)
		r.up.set(func() {
			r.up.fail = func(req pullchain.Request) error {
				if !req.Head {
					return limited
				}
				return nil
			}
		})
		time.Sleep(time.Minute)
		a := r.do(byTag(alpine, "3.20"))
		r.want(a, stale, one)
		if a.age != time.Minute {
			t.Errorf("age %v", a.age)
		}
		r.up.up()
		time.Sleep(10 * time.Second)
		r.want(r.do(byTag(alpine, "3.20")), miss, two)
	})
}
