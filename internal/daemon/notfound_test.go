package daemon_test

import (
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
)

// F16 What one mirror lacks another may have. The 404 is no failure, and is
// remembered: the mirror is asked once for each thing.
func TestF16_FoundElsewhere(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	p.a.Forget("library/alpine")
	p.wantOneNo(func() {
		for range 3 {
			if got := p.manifest(); got.servedBy() != "b" || got.Header.Get("Warning") != "" {
				t.Errorf("served by %q with warning %q", got.servedBy(), got.Header.Get("Warning"))
			}
			if got := p.blob(0); got.servedBy() != "b" {
				t.Errorf("the blob was served by %q", got.servedBy())
			}
		}
	}, func() {
		p.wantAsked("a", "", simnet.Manifests, 1)
		p.wantAsked("a", "", simnet.Blobs, 1)
		for _, class := range []string{"manifest", "blob"} {
			if b := p.breaker("a", class); b.Requests != 1 {
				t.Errorf("%s: the breaker is %+v, want one success", class, b)
			}
		}
	})
	for _, class := range []string{"manifest", "blob"} {
		if b := p.breaker("a", class); b.Failures != 0 {
			t.Errorf("%s: the breaker is %+v, want no failure", class, b)
		}
	}
	if got := p.lane("a").State; got != "serving" {
		t.Errorf("shown as %s", got)
	}
}

// F16 The registry's own 404 is final: mirrors behind it are not asked for what
// it does not have, now or when it is asked again.
func TestF16_FinalFromTheOrigin(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *rigConfig) { c.Chain[0].Origin = true })
	p.probed("a", "b")
	p.a.Forget("library/alpine")
	p.wantOneNo(func() {
		for range 3 {
			p.wantError(p.get(p.image.Path()), 404, "MANIFEST_UNKNOWN")
		}
	}, func() { p.wantAsked("a", "", simnet.Manifests, 1) })
	p.wantAsked("b", "", simnet.Manifests, 0)
}

// F16 In front of the registry a mirror's 404 is not final.
func TestF16_MirrorBeforeTheOrigin(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *rigConfig) { c.Chain[1].Origin = true })
	p.probed("a", "b")
	p.a.Forget("library/alpine")
	if got := p.manifest(); got.servedBy() != "b" {
		t.Errorf("served by %q", got.servedBy())
	}
	p.b.Forget("library/alpine")
	d, _ := p.image.Layer(0)
	p.wantOneNo(func() {
		for range 3 {
			p.wantError(p.get(p.image.BlobPath(d.Digest)), 404, "BLOB_UNKNOWN")
		}
	}, func() {
		p.wantAsked("a", "", simnet.Blobs, 1)
		p.wantAsked("b", "", simnet.Blobs, 1)
	})
}

// F16 When all lack it the answer is 404, and stays so for a moment without asking any
// upstream. That is the answer to a GET: a HEAD is another question.
func TestF16_NobodyHasIt(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	path := p.image.ManifestPath("nosuch")
	p.wantOneNo(func() {
		for range 3 {
			p.wantError(p.get(path), 404, "MANIFEST_UNKNOWN")
		}
		if got := p.do("HEAD", path); got.Status != 404 || len(got.Body) != 0 {
			t.Errorf("HEAD: %d with %d bytes", got.Status, len(got.Body))
		}
	}, func() {
		for _, name := range []string{"a", "b"} {
			p.wantAsked(name, "GET", simnet.Manifests, 1)
			p.wantAsked(name, "HEAD", simnet.Manifests, 1)
		}
	})
}

// wantOneNo makes requests for what is not there, and then counts those that an
// upstream has seen. On a machine so slow that the "no" of a tag was forgotten in
// between there is nothing to count; how long it is remembered is the balancer's test.
func (r *rig) wantOneNo(requests, count func()) {
	r.t.Helper()
	began := time.Now()
	requests()
	if time.Since(began) < 2*time.Second {
		count()
	}
}

// F16 A mirror that lacks it and a registry that is down are "down", not "not
// found": clients must not take it for gone.
func TestF16_DownIsNotNotFound(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *rigConfig) { c.Chain[1].Origin = true })
	p.probed("a", "b")
	p.a.Forget("library/alpine")
	p.b.Break(simnet.ConnRefused)
	p.wantError(p.get(p.image.Path()), 503, "UNAVAILABLE")
}

// F16 What the mirror lacks, the registry behind a gate that is closed on a guess is
// asked for: it is the last path.
func TestF16_TheLastPathIsAsked(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *rigConfig) { c.Chain[1].Origin = true })
	p.probed("a", "b")
	p.b.Break(simnet.ConnRefused)
	for range 3 {
		odd := p.another()
		p.a.Forget(odd.Repo)
		p.wantError(p.get(odd.Path()), 503, "UNAVAILABLE")
	}
	if b := p.breaker("b", "manifest"); b.State != "open" {
		t.Fatalf("b's breaker is %+v, want it open", b)
	}
	p.b.Mend()
	p.a.Forget(p.image.Repo)
	p.wantServedBy(p.manifest(), "b")
}

// F16 The 404 page of a parked domain is not a registry's word, even where the
// registry's would be final.
func TestF16_ParkedDomain(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *rigConfig) { c.Chain[0].Origin = true })
	p.probed("a", "b")
	p.a.Inject(simnet.Fault{
		On: simnet.Manifests, Status: 404, Body: "<html>this domain is for sale</html>", Header: map[string]string{"Content-Type": "text/html"},
	})
	if got := p.manifest(); got.servedBy() != "b" {
		t.Errorf("served by %q", got.servedBy())
	}
}

// F16 An allow-list's 403 is as good as a 404: the next upstream serves, and
// neither the lane nor its user is in trouble.
func TestF16_AllowList(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *rigConfig) {
		c.Chain[0].URL = c.Net.AddMirror(simnet.MirrorConfig{
			Origin: simnet.Origin{Name: "choosy"}, Images: []simnet.Image{alpine}, Allow: []string{"library/nothing"},
		}).URL()
	})
	p.wantOneNo(func() {
		for range 3 {
			p.wantCode(p.manifest(), "a", pullchain.CodeForbidden)
		}
	}, func() { p.wantAsked("choosy", "", simnet.Manifests, 1) })
	if b := p.breaker("a", "manifest"); b.Failures != 0 || b.State != "closed" {
		t.Errorf("a refusal is no failure: %+v", b)
	}
}
