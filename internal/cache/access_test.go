package cache_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/wire"
)

const (
	secret   = "team/secret"
	intruder = "somebody/else"
)

// private makes the upstream a login's: what it has is team/secret's alone.
func private(r *rig, text string) (manifest, layer digest.Digest) {
	manifest, layer = r.up.image(text)
	r.up.set(func() {
		r.up.private = true
		for d := range r.up.content {
			r.up.absent[intruder+"@"+d.String()] = true
		}
	})
	return manifest, layer
}

// zot served a deduplicated blob to whoever knew its digest, through any
// repository. docs/faults.md 5: a cached object is read through a repository only that
// proved access, or when an anonymous fetch proved it public.
func TestCVE_2024_39897_CachedContentOfAnotherRepository(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		m, layer := private(r, "secret")
		r.want(r.do(byDigest(secret, m)), miss, m)
		r.do(blob(secret, layer))
		synctest.Wait()
		r.asked(getManifest, getBlob)

		for _, test := range []struct {
			name  string
			req   pullchain.Request
			asked string
		}{
			{"manifest GET", byDigest(intruder, m), headManifest},
			{"manifest HEAD", head(byDigest(intruder, m)), headManifest},
			{"blob GET", blob(intruder, layer), headBlob},
			{"blob HEAD", head(blob(intruder, layer)), headBlob},
			{"blob Range", ranged(blob(intruder, layer), 3, 5), headBlob},
			{"manifest as a blob", blob(intruder, m), headBlob},
		} {
			if a := r.do(test.req); a.reason != pullchain.NotFound || a.body != "" {
				t.Errorf("%s: %q, %v", test.name, a.body, a.err)
			}
			r.asked(test.asked)
		}
		// Nor with all upstreams down, when nobody can say no.
		r.up.down(errDown)
		for _, req := range []pullchain.Request{byDigest(intruder, m), blob(intruder, layer), head(blob(intruder, layer))} {
			if a := r.do(req); a.err != errDown {
				t.Errorf("%s %s, %v", a.result, a.digest, a.err)
			}
		}
		// Nor through another registry's repository of the same name.
		other := r.cache.Chain(cache.Registry{Name: "ghcr.io", Next: r.up})
		if a := fetch(t, other, byDigest(secret, m)); a.err != errDown {
			t.Errorf("through another registry: %s, %v", a.result, a.err)
		}
		// And a proved manifest proves nothing for the blobs that it names: each is
		// asked for itself.
		r.up.up()
		r.up.set(func() {
			r.up.absent = map[string]bool{intruder + "@" + layer.String(): true}
			r.up.asked = map[string]int{}
		})
		r.want(r.do(byDigest(intruder, m)), hit, m)
		if a := r.do(blob(intruder, layer)); a.reason != pullchain.NotFound {
			t.Errorf("the blob of a proved manifest: %q, %v", a.body, a.err)
		}
		r.asked(headManifest, headBlob)
	})
}

func ranged(req pullchain.Request, from, to int64) pullchain.Request {
	req.Range = pullchain.Range{From: from, To: to}
	return req
}

func TestPublicContentIsEverybodys(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		m, layer := r.up.image("one")
		r.do(byDigest(alpine, m))
		r.do(blob(alpine, layer))
		synctest.Wait()
		r.asked(getManifest, getBlob)
		r.want(r.do(byDigest(intruder, m)), hit, m)
		if a := r.do(blob(intruder, layer)); a.result != hit || a.body != "layer of one" {
			t.Errorf("%s %q %v", a.result, a.body, a.err)
		}
		if a := r.do(head(blob(intruder, layer))); a.result != hit || a.resp.Size != int64(len("layer of one")) {
			t.Errorf("%s %d %v", a.result, a.resp.Size, a.err)
		}
		r.asked()
	})
}

func TestAccessIsProvedForTagTTL(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		m, layer := private(r, "secret")
		r.do(byDigest(secret, m))
		r.do(blob(secret, layer))
		synctest.Wait()
		r.asked(getManifest, getBlob)

		time.Sleep(59 * time.Second)
		r.want(r.do(byDigest(secret, m)), hit, m)
		r.want(r.do(blob(secret, layer)), hit, layer)
		r.asked()

		time.Sleep(2 * time.Second)
		a := r.do(byDigest(secret, m))
		r.want(a, hit, m)
		if len(a.resp.Attempts) != 1 {
			t.Errorf("attempts %v, want those of the proof", a.resp.Attempts)
		}
		r.want(r.do(blob(secret, layer)), hit, layer)
		r.want(r.do(head(blob(secret, layer))), hit, layer)
		r.want(r.do(byDigest(secret, m)), hit, m)
		r.asked(headManifest, headBlob)

		// A proof outlives a restart.
		time.Sleep(30 * time.Second)
		r.restart()
		r.want(r.do(byDigest(secret, m)), hit, m)
		r.asked()
	})
}

// Whose gate is shut is asked only when there is nothing to fall back on.
func TestProofIsSparing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		m, _ := private(r, "secret")
		r.do(byDigest(secret, m))
		r.do(byDigest("team/copy", m)) // never proved before
		time.Sleep(time.Hour)
		r.do(byDigest(secret, m))
		time.Sleep(8 * 24 * time.Hour)
		r.do(byDigest(secret, m)) // too long ago
		var spares []bool
		for _, req := range r.up.requests {
			spares = append(spares, req.Options.NoForce)
		}
		if diff := cmp.Diff([]bool{false, false, true, false}, spares); diff != "" {
			t.Errorf("Spare (-want +got):\n%s", diff)
		}
	})
}

func TestAccessIsProvedOnceAtATime(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		m, _ := private(r, "secret")
		r.do(byDigest(secret, m))
		time.Sleep(time.Hour)
		r.asked(getManifest)
		r.up.wait = time.Second
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { r.want(r.do(byDigest(secret, m)), hit, m) })
		}
		wg.Wait()
		r.asked(headManifest)
	})
}

func TestAccessThatIsTakenAway(t *testing.T) {
	for _, no := range []error{errDenied, failed(pullchain.Denied, pullchain.CodeUnauthorized, 401), notFound} {
		t.Run(string(pullchain.CodeOf(no)), func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				m, layer := private(r, "secret")
				r.up.tag("team/secret:1", m)
				r.do(byTag(secret, "1"))
				r.do(blob(secret, layer))
				time.Sleep(time.Hour)
				r.up.down(no)
				for _, req := range []pullchain.Request{byDigest(secret, m), blob(secret, layer)} {
					if a := r.do(req); a.err != no {
						t.Errorf("%s %s %v", a.result, a.digest, a.err)
					}
				}
				// The proof is gone: nothing stands when all are down after that, the tag
				// neither, now or after a restart.
				r.up.down(errDown)
				check := func(when string) {
					for _, req := range []pullchain.Request{byDigest(secret, m), blob(secret, layer), byTag(secret, "1")} {
						if a := r.do(req); a.err != errDown {
							t.Errorf("%s: %s %s %v", when, a.result, a.digest, a.err)
						}
					}
				}
				check("at once")
				r.restart()
				check("after a restart")
				if info, _ := r.store.Stat(m); len(info.Repos) != 0 || info.Public {
					t.Errorf("Meta %+v", info.Meta)
				}
				r.up.up()
				r.want(r.do(byDigest(secret, m)), hit, m)
			})
		})
	}
}

func TestPrivateContentIsStaleForItsOwnRepository(t *testing.T) {
	for _, test := range []struct {
		name   string
		err    error
		served bool
	}{
		{"down", errDown, true},
		{"429", failed(pullchain.Limited, pullchain.CodeQuota, 429), true},
		{"503", failed(pullchain.Unavailable, pullchain.CodeServerError, 503), true},
		{"refused by policy", failed(pullchain.Refused, pullchain.CodeRedirectBlocked, 0), false},
		{"one down, one says 403", &pullchain.Error{Reason: pullchain.Unavailable, Attempts: []pullchain.Attempt{
			{Upstream: "a", Err: errDown}, {Upstream: "b", Err: errDenied},
		}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				m, layer := private(r, "secret")
				r.do(byDigest(secret, m))
				r.do(blob(secret, layer))
				time.Sleep(time.Hour)
				r.asked(getManifest, getBlob)
				r.up.down(test.err)
				for _, req := range []pullchain.Request{byDigest(secret, m), head(byDigest(secret, m)), blob(secret, layer), head(blob(secret, layer))} {
					a := r.do(req)
					switch {
					case !test.served && a.err != test.err:
						t.Errorf("%s %s, %v", a.result, a.digest, a.err)
					case test.served:
						r.want(a, stale, req.Digest)
						if len(a.resp.Attempts) != 1 || a.resp.Attempts[0].Err == nil {
							t.Errorf("attempts %v", a.resp.Attempts)
						}
					}
				}
				if test.served {
					r.asked(headManifest, headBlob) // and a pause: not for each of them
					time.Sleep(7 * 24 * time.Hour)
					if a := r.do(byDigest(secret, m)); a.err != test.err {
						t.Errorf("after a week: %s, %v", a.result, a.err)
					}
				}
			})
		})
	}
}

// What front logs and shows of a blob are the attempts that its body knows of.
func TestStaleBlobTellsOfItsAttempts(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		_, layer := private(r, "secret")
		r.do(blob(secret, layer))
		time.Sleep(time.Hour)
		r.up.down(errDown)
		resp, err := r.hub.Fetch(t.Context(), blob(secret, layer))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if attempts := resp.Body.Attempts(); len(attempts) != 1 {
			t.Errorf("the body knows of %d attempts", len(attempts))
		}
	})
}

// What a login has fetched becomes readable by a repository that an upstream without one
// shows the bytes for, and by no other: only all of the bytes make it public.
func TestShownBytesGrantTheirRepositoryAlone(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		m, layer := private(r, "once secret")
		r.do(byDigest(secret, m))
		r.do(blob(secret, layer))
		synctest.Wait()
		r.asked(getManifest, getBlob)
		r.up.set(func() { r.up.private, r.up.absent = false, map[string]bool{} })
		r.want(r.do(blob("open/copy", layer)), hit, layer)
		r.want(r.do(blob("open/copy", layer)), hit, layer)
		r.asked(headBlob, getBlob)
		r.want(r.do(byDigest("open/copy", m)), hit, m)
		r.asked(headManifest, getManifest) // all there is of it has come
		r.want(r.do(byDigest(intruder, m)), hit, m)
		r.up.set(func() { r.up.absent = map[string]bool{intruder + "@" + layer.String(): true} })
		if a := r.do(blob(intruder, layer)); a.reason != pullchain.NotFound {
			t.Errorf("%s %v", a.result, a.err)
		}
		if info, _ := r.store.Stat(layer); info.Public {
			t.Errorf("Meta of %s: %+v", layer, info.Meta)
		}
	})
}

// A tag is its repository's own: that it means this digest proves access to it.
func TestTagProvesAccess(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		m, _ := private(r, "secret")
		r.up.tag("team/secret:1", m)
		r.want(r.do(byTag(secret, "1")), miss, m)
		time.Sleep(time.Hour)
		r.want(r.do(byTag(secret, "1")), hit, m)
		r.want(r.do(byDigest(secret, m)), hit, m)
		r.asked(getManifest, headManifest)
		if a := r.do(byDigest(intruder, m)); a.reason != pullchain.NotFound {
			t.Errorf("%s %v", a.result, a.err)
		}
	})
}

// A registry that says yes to every HEAD, and has nothing, opens to nobody what a
// login has fetched from another: not by a tag, nor by a digest.
func TestHeadThatLiesProvesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		m, layer := private(r, "secret")
		liar := r.cache.Chain(cache.Registry{Name: "liar.example", Next: yesMan{m}})
		latest := byTag("any/thing", "latest")
		ask := func(when string) {
			t.Helper()
			fetch(t, liar, head(latest))
			fetch(t, liar, head(blob("any/thing", layer)))
			for _, req := range []pullchain.Request{latest, byDigest("any/thing", m), blob("any/thing", layer)} {
				if a := fetch(t, liar, req); a.body != "" {
					t.Errorf("%s: %s: %q", when, req.Image(), a.body)
				}
			}
			if a := r.do(blob(intruder, layer)); a.reason != pullchain.NotFound {
				t.Errorf("%s: the layer is public: %q %v", when, a.body, a.err)
			}
		}
		ask("before it is here")
		r.do(byDigest(secret, m))
		r.do(blob(secret, layer))
		synctest.Wait()
		time.Sleep(time.Hour)
		ask("when it is here")
	})
}

// yesMan answers HEADs with whatever is asked for, a tag with the digest.
type yesMan struct{ digest digest.Digest }

func (y yesMan) Fetch(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
	if !req.Head {
		return pullchain.Response{}, notFound
	}
	resp := pullchain.Response{Status: 200, Digest: req.Digest, Size: 5, MediaType: wire.TypeOCIManifest, Body: pullchain.NoBody}
	if resp.Digest == "" {
		resp.Digest = y.digest
	}
	return resp, nil
}
