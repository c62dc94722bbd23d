package cache_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/cache"
)

// reload puts the cache before a newer chain, which has these logins.
func (r *rig) reload(logins ...string) {
	r.hub = r.cache.Chain(cache.Registry{Name: "docker.io", Next: r.up, Holds: func(login string) bool {
		for _, own := range logins {
			if own == login {
				return true
			}
		}
		return false
	}})
}

// secretRig has fetched team/secret:1 and its layer by the login "ann".
func secretRig(r *rig) (m, layer digest.Digest) {
	m, layer = private(r, "secret")
	r.up.tag("team/secret:1", m)
	r.up.set(func() { r.up.login = "ann" })
	r.reload("ann")
	r.do(byTag(secret, "1"))
	r.do(blob(secret, layer))
	synctest.Wait()
	r.asked(getManifest, getBlob)
	return m, layer
}

// What a login has fetched is nobody's once a reload has taken the login away, be
// it a moment ago: who asks is judged by what the upstreams say to the chain of
// now, and gets nothing where they say nothing (docs/faults.md 6: bound to the
// credential's id).
func TestProofGoesWithItsLogin(t *testing.T) {
	for name, logins := range map[string][]string{"removed": nil, "another": {"bob"}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				m, layer := secretRig(r)
				all := []pullchain.Request{byTag(secret, "1"), head(byTag(secret, "1")), byDigest(secret, m), head(byDigest(secret, m)),
					blob(secret, layer), head(blob(secret, layer))}
				for _, req := range all {
					r.want(r.do(req), hit, r.do(req).digest)
				}
				r.asked() // the proofs are fresh

				r.reload(logins...)
				r.up.down(errDown)
				for _, req := range all {
					if a := r.do(req); a.err != errDown {
						t.Errorf("all down: %s HEAD %v: %s %s, %v", req.Image(), req.Head, a.result, a.digest, a.err)
					}
				}
				r.up.down(errDenied)
				for _, req := range all {
					if a := r.do(req); a.err != errDenied {
						t.Errorf("denied: %s HEAD %v: %s %s, %v", req.Image(), req.Head, a.result, a.digest, a.err)
					}
				}
			})
		})
	}
}

// A login that comes instead proves it anew, by a part of the bytes that it shows, and
// from then on by HEADs; and one that comes back finds its proofs, after a restart too.
func TestLoginThatComesBack(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		m, layer := secretRig(r)
		r.reload()
		r.restart()
		r.reload("ann")
		r.want(r.do(byTag(secret, "1")), hit, m)
		r.want(r.do(byDigest(secret, m)), hit, m)
		r.asked()
		r.up.set(func() { r.up.login = "bob" })
		r.reload("bob")
		r.want(r.do(byDigest(secret, m)), hit, m)
		r.want(r.do(blob(secret, layer)), hit, layer)
		r.asked(getManifest, getBlob)
		r.want(r.do(blob(secret, layer)), hit, layer)
		time.Sleep(time.Hour)
		r.want(r.do(byDigest(secret, m)), hit, m)
		r.want(r.do(blob(secret, layer)), hit, layer)
		r.asked(headManifest, headBlob)
		time.Sleep(time.Hour)
		r.up.down(errDown)
		r.want(r.do(blob(secret, layer)), stale, layer)
		if info, _ := r.store.Stat(layer); info.Logins["docker.io/"+secret] != "bob" {
			t.Errorf("Meta %+v", info.Meta)
		}
	})
}

// fillOfLoginThatIsGone is a layer on its way to first, who holds the login that a
// reload has then taken away. It comes when hold is closed.
func fillOfLoginThatIsGone(r *rig) (layer digest.Digest, first chan answer, hold chan struct{}) {
	_, layer = private(r, "secret")
	first, hold = make(chan answer), make(chan struct{})
	r.up.set(func() { r.up.login, r.up.hold = "ann", hold })
	r.reload("ann")
	go func() { first <- r.do(blob(secret, layer)) }()
	synctest.Wait()
	r.reload()
	return layer, first, hold
}

// A blob that is being fetched with a login is for those alone who hold it.
func TestFillOfLoginThatIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		layer, first, hold := fillOfLoginThatIsGone(r)
		r.up.down(errDown)
		late := make(chan answer)
		go func() { late <- r.do(blob(secret, layer)) }()
		synctest.Wait()
		close(hold)
		if a := <-late; a.err != errDown {
			t.Errorf("without the login: %s %q, %v", a.result, a.body, a.err)
		}
		if a := <-first; a.body != "layer of secret" {
			t.Errorf("with it: %s %q, %v", a.result, a.body, a.err)
		}
	})
}

// verdict is what the balancer says of a mirror without a login, and the origin.
func verdict(reason pullchain.Reason, status int, mirror, origin error) error {
	e := &pullchain.Error{Reason: reason, Status: status}
	e.Attempts = append(e.Attempts, pullchain.Attempt{Upstream: "mirror", Err: mirror})
	if origin != nil {
		e.Attempts = append(e.Attempts, pullchain.Attempt{Upstream: "origin", Err: origin})
	}
	return e
}

// To a mirror without a login what is private has never been there: its "no" does
// not end what is served of it while the origin is down, and no proof either. The
// "no" of who could tell does.
func TestNoOfAMirrorThatCannotKnow(t *testing.T) {
	gone := &pullchain.Error{Reason: pullchain.NotFound, Status: 404}
	forbidden := &pullchain.Error{Reason: pullchain.Denied, Status: 403}
	for name, tt := range map[string]struct {
		err    error
		served bool
	}{
		"404, origin down":    {verdict(pullchain.Unavailable, 0, gone, errDown), true},
		"401, origin down":    {verdict(pullchain.Unavailable, 0, forbidden, errDown), true},
		"404, origin drained": {verdict(pullchain.NotFound, 404, gone, nil), true},
		"403, origin drained": {verdict(pullchain.Denied, 403, forbidden, nil), true},
		"both say no":         {verdict(pullchain.NotFound, 404, gone, gone), false},
		"the origin says no":  {verdict(pullchain.Unavailable, 0, errDown, forbidden), false},
		"nobody was asked":    {&pullchain.Error{Reason: pullchain.NotFound, Status: 404}, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				m, layer := secretRig(r)
				r.hub = r.cache.Chain(cache.Registry{Name: "docker.io", Next: r.up, Knows: func(upstream string) bool { return upstream != "mirror" }})
				time.Sleep(time.Hour)
				r.up.down(tt.err)
				for _, req := range []pullchain.Request{byTag(secret, "1"), byDigest(secret, m), blob(secret, layer), head(blob(secret, layer))} {
					a := r.do(req)
					if tt.served {
						r.want(a, stale, a.digest)
					} else if a.err != tt.err {
						t.Errorf("%s: %s %s, %v", req.Image(), a.result, a.digest, a.err)
					}
				}
				r.up.down(errDown)
				time.Sleep(time.Minute)
				a := r.do(byTag(secret, "1"))
				if tt.served {
					r.want(a, stale, m)
				} else if a.err != errDown {
					t.Errorf("after the no: %s %s, %v", a.result, a.digest, a.err)
				}
				if a := r.do(blob(intruder, layer)); a.body != "" {
					t.Errorf("another repository got %q", a.body)
				}
			})
		})
	}
}

// What anybody may fetch is not there any more when any of those says so who have
// shown it before.
func TestNoOfAnyMirrorToAnybody(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		_, layer := secretRig(r)
		r.up.set(func() { r.up.private, r.up.login, r.up.absent = false, "", map[string]bool{} })
		r.hub = r.cache.Chain(cache.Registry{Name: "docker.io", Next: r.up, Knows: func(upstream string) bool { return upstream != "mirror" }})
		r.want(r.do(blob("open/copy", layer)), hit, layer) // by a part that took no login
		time.Sleep(time.Hour)
		down := verdict(pullchain.Unavailable, 0, &pullchain.Error{Reason: pullchain.NotFound, Status: 404}, errDown)
		r.up.down(down)
		if a := r.do(blob("open/copy", layer)); a.err != down {
			t.Errorf("%s %s, %v", a.result, a.digest, a.err)
		}
	})
}

// What an older chain, with the login, is just being told is not for clients of the newer one, without it.
func TestAnswersOfTheOldChain(t *testing.T) {
	t.Parallel()
	for name, held := range map[string]bool{"not here yet": false, "here, proof too old": true} {
		for kind, pick := range map[string]int{"tag": 0, "tag HEAD": 1, "digest": 2, "digest HEAD": 3} {
			t.Run(name+", "+kind, func(t *testing.T) {
				bubble(t, func(t *testing.T, r *rig) {
					m, _ := private(r, "secret")
					r.up.tag("team/secret:1", m)
					r.up.set(func() { r.up.login = "ann" })
					r.reload("ann")
					req := []pullchain.Request{byTag(secret, "1"), head(byTag(secret, "1")), byDigest(secret, m), head(byDigest(secret, m))}[pick]
					if held {
						r.do(byTag(secret, "1"))
						synctest.Wait()
						time.Sleep(time.Hour)
					}
					r.up.set(func() { r.up.wait = 5 * time.Second })
					first := make(chan answer)
					old := r.hub
					go func() { first <- fetch(t, old, req) }()
					synctest.Wait()
					r.reload()
					r.up.down(errDenied)
					late := make(chan answer)
					go func() { late <- r.do(req) }()
					if a := <-late; a.err == nil {
						t.Errorf("without the login: %s %s, %d bytes", a.result, a.digest, len(a.body))
					}
					<-first
				})
			})
		}
	}
}

// Nor is the size of a blob that the older chain fetches.
func TestHeadOfAFillWhoseLoginIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		layer, first, hold := fillOfLoginThatIsGone(r)
		r.up.down(errDenied)
		if a := r.do(head(blob(secret, layer))); a.err == nil {
			t.Errorf("HEAD without the login: %s %d bytes", a.result, a.resp.Size)
		}
		close(hold)
		<-first
	})
}

// What took a login is told to be private by every answer, from the cache as well: caches in
// front of us keep what is not.
func TestHitsArePrivate(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		d, layer := r.up.image("one")
		r.up.tag("library/alpine:3.20", d)
		r.up.set(func() { r.up.private, r.up.login = true, "robot" })
		r.hub = r.cache.Chain(cache.Registry{Name: "docker.io", Next: r.up, Holds: func(login string) bool { return login == "robot" }})
		all := []pullchain.Request{byTag(alpine, "3.20"), byDigest(alpine, d), {Op: pullchain.Blob, Repo: alpine, Digest: layer}}
		for round := range 4 {
			for _, req := range all {
				for _, one := range []pullchain.Request{req, head(req)} {
					if got := r.do(one); got.err != nil || !got.resp.Private {
						t.Errorf("round %d, %+v: %s, private %t, %v", round, one, got.result, got.resp.Private, got.err)
					}
				}
			}
			synctest.Wait()
			time.Sleep(45 * time.Second)
		}
	})
}
