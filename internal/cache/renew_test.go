package cache_test

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/cache"
)

// A pair is a chain of a registry with a login and a mirror without one: the lane whose
// login is asked for comes first, as it does with the balancer. What one cannot answer
// the other may.
type pair struct {
	origin, mirror pullchain.Fetcher
}

func (p pair) Fetch(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	lanes := []struct {
		name string
		up   pullchain.Fetcher
	}{{"mirror", p.mirror}, {"origin", p.origin}}
	if req.Options.Login == "ann" {
		lanes[0], lanes[1] = lanes[1], lanes[0]
	}
	var attempts []pullchain.Attempt
	var last error
	for _, l := range lanes {
		resp, err := l.up.Fetch(ctx, req)
		attempts = append(attempts, pullchain.Attempt{Upstream: l.name, Err: err})
		if err == nil {
			resp.Attempts = attempts
			return resp, nil
		}
		if last == nil || l.name == "origin" {
			last = err
		}
	}
	e := &pullchain.Error{Reason: pullchain.ReasonOf(last), Code: pullchain.CodeOf(last), Attempts: attempts}
	return pullchain.Response{}, e
}

// pairWith puts the rig's cache before a pair, an hour later: what is here has to be
// proved anew.
func (r *rig) pairWith(mirror pullchain.Fetcher) {
	synctest.Wait()
	time.Sleep(time.Hour)
	r.hub = r.cache.Chain(cache.Registry{Name: "docker.io", Next: pair{r.up, mirror},
		Holds: func(login string) bool { return login == "ann" },
		Knows: func(upstream string) bool { return upstream == "origin" },
	})
}

// anonymous has what up has, for everybody, and counts what it is asked for.
func anonymous(up *upstream) *upstream {
	mirror := newUpstream()
	mirror.content, mirror.tags = up.content, up.tags
	return mirror
}

// The login's own lane is asked, and costs one HEAD.
func TestTheLaneOfTheLoginIsAsked(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		mirror := &counted{Fetcher: yesMan{}}
		m, layer := secretRig(r)
		r.pairWith(mirror)
		for _, req := range []pullchain.Request{byTag(secret, "1"), byDigest(secret, m), blob(secret, layer)} {
			r.want(r.do(req), hit, r.do(req).digest)
		}
		r.asked(headManifest, headBlob)
		if mirror.n != 0 {
			t.Errorf("the mirror was asked %d times", mirror.n)
		}
	})
}

// counted counts requests.
type counted struct {
	pullchain.Fetcher
	n int
}

func (c *counted) Fetch(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	c.n++
	return c.Fetcher.Fetch(ctx, req)
}

// While the registry is down, a mirror that says yes to everything changes nothing: what
// the login has fetched is stale, for as long as it would be without the mirror. When the
// registry says no, it ends at once, and the yes of the mirror does not bring it back.
func TestYesOfAMirrorThatHasNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		err    error
		served bool
	}{
		"down": {errDown, true}, "403": {errDenied, false}, "404": {notFound, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				m, layer := secretRig(r)
				r.pairWith(liar{r.up, m})
				r.up.down(tt.err)
				all := []pullchain.Request{byTag(secret, "1"), byDigest(secret, m), blob(secret, layer), head(blob(secret, layer))}
				for range 3 {
					for _, req := range all {
						a := r.do(req)
						switch {
						case tt.served:
							r.want(a, stale, a.digest)
						case a.err == nil:
							t.Errorf("%s: %s %s, %d bytes", req.Image(), a.result, a.digest, len(a.body))
						}
					}
					time.Sleep(2 * 24 * time.Hour)
				}
				time.Sleep(2 * 24 * time.Hour)
				for _, req := range all {
					a := r.do(req)
					if tt.served && req.Head && a.result == pullchain.CacheBypass {
						continue // the mirror's own word, and nothing of what is here
					}
					if a.err == nil || a.reason != pullchain.ReasonOf(tt.err) {
						t.Errorf("after a week: %s: %s %s, %v", req.Image(), a.result, a.digest, a.err)
					}
				}
			})
		})
	}
}

// A liar says yes to every HEAD as the upstream that has the content would.
type liar struct {
	up *upstream
	m  digest.Digest
}

func (l liar) Fetch(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	resp, err := yesMan{l.m}.Fetch(ctx, req)
	if err == nil {
		l.up.mu.Lock()
		defer l.up.mu.Unlock()
		resp.Size = int64(len(l.up.content[resp.Digest].body))
	}
	return resp, err
}

// A mirror that has the bytes shows them, once the registry refuses: a pull that works
// without us works. Of a large blob a part is asked for, and nothing becomes public by it.
func TestMirrorThatShowsTheBytes(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		large := r.up.add("", bytes.Repeat([]byte("0123456789abcdef"), 4<<10))
		r.up.tag("team/secret:1", r.up.manifest(large, "config"))
		r.up.set(func() { r.up.private, r.up.login = true, "ann" })
		r.reload("ann")
		r.do(blob(secret, large))
		synctest.Wait()
		mirror := anonymous(r.up)
		r.pairWith(mirror)
		r.up.down(errDenied)
		r.want(r.do(blob(secret, large)), hit, large)
		if n := len(mirror.requests); n != 2 || !mirror.requests[0].Head || mirror.requests[1].Range.To-mirror.requests[1].Range.From != 4<<10 {
			t.Errorf("the mirror was asked %+v", mirror.requests)
		}
		r.want(r.do(blob(secret, large)), hit, large) // proved a moment ago
		time.Sleep(time.Hour)
		r.want(r.do(blob(secret, large)), hit, large)
		if n := len(mirror.requests); n != 3 || mirror.requests[2].Head {
			t.Errorf("then the mirror was asked %+v", mirror.requests[2:])
		}
		if info, _ := r.store.Stat(large); info.Public {
			t.Errorf("Meta %+v", info.Meta)
		}
		// Other bytes of the same length are no proof: the client gets what its upstreams send,
		// which the balancer verifies, and none of what is here.
		wrong := bytes.Repeat([]byte("0123456789abcdeF"), 4<<10)
		mirror.set(func() { mirror.content = map[digest.Digest]document{large: {"", wrong}} })
		time.Sleep(time.Hour)
		if a := r.do(blob("team/other", large)); a.err != nil || a.result != bypass || a.body != string(wrong) {
			t.Errorf("wrong bytes: %s %d bytes, %v", a.result, len(a.body), a.err)
		}
	})
}

// Where an upstream cannot show a part, as one that sends no ranges, the client gets the
// blob from it as it would without us, and what is here stays unread. What an upstream says
// no to stays a no.
func TestUpstreamThatShowsNoPart(t *testing.T) {
	noRange := failed(pullchain.Corrupt, pullchain.CodeWrongRange, 200)
	for name, tt := range map[string]struct {
		err    error // of a part
		served bool
	}{
		"no ranges": {noRange, true}, "breaks off": {errDown, true}, "403": {errDenied, false}, "404": {notFound, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				body := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
				large := r.up.add("", body)
				r.up.set(func() { r.up.private, r.up.login = true, "ann" })
				r.reload("ann")
				r.do(blob(secret, large))
				synctest.Wait()
				r.reload() // without that login
				r.up.set(func() {
					r.up.private, r.up.login, r.up.requests = false, "", nil
					r.up.fail = func(req pullchain.Request) error {
						if !req.Head && !req.Range.Whole() {
							return tt.err
						}
						return nil
					}
				})
				a := r.do(blob(secret, large))
				if !tt.served {
					if a.err != tt.err {
						t.Errorf("%s %d bytes, %v", a.result, len(a.body), a.err)
					}
					return
				}
				if a.err != nil || a.result != bypass || a.body != string(body) || len(r.up.requests) != 2 {
					t.Errorf("%s %d bytes, %v, after %d requests", a.result, len(a.body), a.err, len(r.up.requests))
				}
				if a := r.do(head(blob(secret, large))); a.err != nil || a.result != bypass {
					t.Errorf("HEAD: %s, %v", a.result, a.err)
				}
			})
		})
	}
}

// What is here and has not been hashed since the start cannot be held against what an
// upstream shows. A client whose repository has it by a login that is gone gets what the
// upstream sends, and not that.
func TestUnhashedAndUnproved(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		large := r.up.add("", bytes.Repeat([]byte("0123456789abcdef"), 4<<10))
		r.up.set(func() { r.up.private, r.up.login = true, "ann" })
		r.reload("ann")
		r.do(blob(secret, large))
		r.restart()
		other := bytes.Repeat([]byte("0123456789abcdeF"), 4<<10)
		r.up.set(func() {
			r.up.private, r.up.login = false, ""
			r.up.content[large] = document{"", other}
		})
		r.reload()
		if a := r.do(blob(secret, large)); a.err != nil || a.result != bypass || a.body != string(other) {
			t.Errorf("%s %d bytes, %v", a.result, len(a.body), a.err)
		}
	})
}

// A client whose upstream only says that it has what is being fetched with a login gets
// what that upstream sends, and none of what the login fetches.
func TestApartFromTheFillOfALogin(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		body := bytes.Repeat([]byte("0123456789abcdef"), 32<<10) // too large to be kept back whole
		layer, hold := r.up.add("", body), make(chan struct{})
		r.up.set(func() { r.up.private, r.up.login, r.up.hold = true, "ann", hold })
		r.reload("ann")
		mirror := anonymous(r.up)
		other := r.cache.Chain(cache.Registry{Name: "other.example", Next: mirror, Holds: func(string) bool { return false }})
		liars := r.cache.Chain(cache.Registry{Name: "liar.example", Next: liar{r.up, layer}, Holds: func(string) bool { return false }})
		first := make(chan answer)
		go func() { first <- r.do(blob(secret, layer)) }()
		synctest.Wait()
		if a := fetch(t, other, blob("open/copy", layer)); a.body != string(body) || a.result != bypass {
			t.Errorf("from the mirror: %s %d bytes, %v", a.result, len(a.body), a.err)
		}
		if a := fetch(t, other, head(blob("open/copy", layer))); a.err != nil || a.result != bypass {
			t.Errorf("HEAD: %s, %v", a.result, a.err)
		}
		if a := fetch(t, liars, blob("open/copy", layer)); a.reason != pullchain.NotFound {
			t.Errorf("from the liar: %s %d bytes, %v", a.result, len(a.body), a.err)
		}
		close(hold)
		if a := <-first; a.body != string(body) {
			t.Errorf("with the login: %s %d bytes, %v", a.result, len(a.body), a.err)
		}
	})
}
