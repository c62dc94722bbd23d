package daemon_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/simnet"
)

// newLagging is a chain of a mirror, which may only be believed about digests
// and whose tag is of yesterday, and of the hub.
func newLagging(t *testing.T) (r *rig, hub *simnet.Hub, old, fresh *simnet.Content) {
	t.Helper()
	n := newNet(t)
	yesterday := simnet.Image{Repo: "library/alpine", Tags: []string{"3"}, Layers: alpine.Layers, Labels: map[string]string{"day": "1"}}
	today := yesterday
	today.Labels = map[string]string{"day": "2"}
	mirror := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "mirror"}, Images: []simnet.Image{yesterday}})
	hub = n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Images: []simnet.Image{yesterday, today}})
	r = newRig(t, rigConfig{Net: n, Chain: []lane{
		{Name: "mirror", URL: mirror.URL(), Pull: true}, {Name: "hub", URL: hub.URL(), Origin: true},
	}})
	return r, hub, n.Build(yesterday), n.Build(today)
}

// A mirror that lags is not asked what a tag means, and stays of use for all
// that has a digest.
func TestF17_LaggingMirror(t *testing.T) {
	t.Parallel()
	r, _, old, fresh := newLagging(t)
	got := r.wantBytes(fresh.Path(), fresh.Manifest())
	if d := got.Header.Get("Docker-Content-Digest"); d != fresh.Root.Digest.String() {
		t.Errorf("the tag is %s, want the newest, %s", d, fresh.Root.Digest)
	}
	if head := r.do(http.MethodHead, fresh.Path()); head.Header.Get("Docker-Content-Digest") != fresh.Root.Digest.String() {
		t.Errorf("by HEAD the tag is %s, want %s", head.Header.Get("Docker-Content-Digest"), fresh.Root.Digest)
	}
	r.wantAsked("mirror", "", simnet.Manifests, 0)

	layer, content := fresh.Layer(1)
	r.wantBytes(fresh.BlobPath(layer.Digest), content)
	r.wantBytes(old.ManifestPath(old.Root.Digest.String()), old.Manifest())
	r.wantAsked("mirror", http.MethodGet, simnet.Blobs|simnet.Manifests, 2)
	r.wantAsked("hub", http.MethodGet, simnet.Blobs, 0)
	r.wantBytes(fresh.ManifestPath(fresh.Root.Digest.String()), fresh.Manifest()) // new to the mirror: its 404 is no last word
	r.wantOpen("mirror", "manifest")
	if n := r.breaker("mirror", "manifest").Failures; n != 0 {
		t.Errorf("the mirror's breaker counts %d failures, want 0: not to have something is no failure", n)
	}
}

// Without an upstream that may say what a tag means there is no answer, and not
// yesterday's.
func TestF17_NobodyToResolve(t *testing.T) {
	t.Parallel()
	r, hub, old, fresh := newLagging(t)
	hub.Inject(simnet.Fault{On: simnet.Manifests, Status: http.StatusInternalServerError})
	r.wantError(r.get(fresh.Path()), http.StatusServiceUnavailable, "UNAVAILABLE")
	r.wantAsked("mirror", "", simnet.Manifests, 0)
	r.wantBytes(old.ManifestPath(old.Root.Digest.String()), old.Manifest())
}

// A manifest beyond 8 MiB is not read, and says nothing of the path's others.
func TestF25_HugeManifest(t *testing.T) {
	t.Parallel()
	const size = 32 << 20
	for name, length := range map[string]bool{"with a length": true, "without one": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, nil)
			undo := p.a.Inject(simnet.HugeManifest(size, length))
			for range 4 { // more than the refusals that quarantine
				p.wantCode(p.manifest(), "a", pullchain.CodeTooLarge)
			}
			p.wantAsked("a", http.MethodGet, simnet.Manifests, 4)
			for _, e := range p.net.Ledger().Find(simnet.Filter{Server: "a", Class: simnet.Manifests}) {
				if e.Bytes >= size {
					t.Errorf("all %d bytes of it were fetched", e.Bytes)
				}
			}
			p.wantOpen("a", "manifest")
			if n := p.breaker("a", "manifest").Failures; n != 0 {
				t.Errorf("a's breaker counts %d failures, want 0", n)
			}
			p.b.Inject(simnet.HugeManifest(size, length))
			got := p.get(p.image.Path())
			body := p.wantError(got, http.StatusBadGateway, "UNKNOWN")
			if !strings.Contains(body.Errors[0].Message, "manifest exceeds") {
				t.Errorf("the message does not say what is wrong: %q", body.Errors[0].Message)
			}
			undo()
			if served := p.manifest().servedBy(); served != "a" {
				t.Errorf("served by %q, want a, which is as good as ever", served)
			}
		})
	}
}

// No client ever sees the page of a captive portal, whatever it calls itself. It is in
// the place of one answer: whether a registry is there at all is the probe's to say, and
// until it does all else is asked for as before.
func TestF26_CaptivePortal(t *testing.T) {
	t.Parallel()
	const everything = simnet.Manifests | simnet.Blobs | simnet.Tags | simnet.Ping
	for name, contentType := range map[string]string{
		"as HTML":     "text/html; charset=UTF-8",
		"as JSON":     "application/json",
		"as manifest": simnet.TypeOCIManifest,
		"as bytes":    "application/octet-stream",
		"as nothing":  "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for path, what := range map[string]func(p *pair) string{
				"manifest": func(p *pair) string { return p.image.Path() },
				"blob":     func(p *pair) string { d, _ := p.image.Layer(1); return p.image.BlobPath(d.Digest) },
				"tags":     func(*pair) string { return "/v2/library/alpine/tags/list" },
			} {
				p := newPair(t, nil)
				page := simnet.HTML200()
				page.On = everything
				page.Header = map[string]string{"Content-Type": contentType}
				lift := p.a.Inject(page)
				got := p.wantStatus(what(p), http.StatusOK)
				if strings.HasPrefix(string(got.Body), "<") || got.servedBy() != "b" {
					t.Errorf("%s: served by %q: %.80q", path, got.servedBy(), got.Body)
				}
				// Bytes that are no blob may be anything; the others are seen to be a page.
				if path != "blob" {
					p.wantCode(got, "a", pullchain.CodeNotRegistry)
				}
				p.wantOpen("a", "manifest")
				p.wantOpen("a", "blob")
				lift()
				if path != "blob" {
					p.wantServedBy(p.wantStatus(what(p), http.StatusOK), "a")
				}
				p.wantServedBy(p.manifestOf(p.another()), "a")
				p.wantServedBy(p.blobOf(p.another()), "a")
				p.a.Inject(page)
				p.b.Inject(page)
				p.wantError(p.get(what(p)), http.StatusBadGateway, "UNKNOWN")
			}
		})
	}
}

// A path whose probe meets a page is down for every image, and back once a registry
// answers: a portal is logged into, and wrong bytes never came.
func TestF26_ProbeOfACaptivePortal(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *rigConfig) {
		c.Chain[0].Probe = "interval = \"1s\"\nurgent_interval = \"1s\"\nfall = 1\nrise = 1"
	})
	page := simnet.HTML200()
	page.On = simnet.Manifests | simnet.Ping
	p.a.Inject(page)
	p.wantCode(p.manifest(), "a", pullchain.CodeNotRegistry)
	p.eventually("a probe has met the page", func() bool {
		s := p.Daemon.Snapshot()
		probes, _ := s.Find("docker.io").Probe("a")
		return !probes.Up && len(probes.History) > 0 && p.gate("a", "manifest").Gate != ""
	})
	p.wantGate("a", "manifest", "probe", pullchain.CodeNotRegistry)
	p.wantGate("a", "blob", "probe", pullchain.CodeNotRegistry)
	before := p.asked("a", "", simnet.Manifests)
	p.wantServedBy(p.manifestOf(p.another()), "b")
	p.wantAsked("a", "", simnet.Manifests, before)
	p.a.Clear()
	p.eventually("a is let back", func() bool { return p.gate("a", "manifest").Gate == "" })
}

// A manifest under a wrong type is served under its own, if its digest verifies
// it; by tag there is nothing to verify it by.
func TestF27_WrongType(t *testing.T) {
	t.Parallel()
	for name, contentType := range map[string]string{
		"plain text":    "text/plain",
		"none":          "",
		"another known": simnet.TypeDockerList,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, nil)
			fault := simnet.WrongType(contentType)
			fault.On = simnet.Manifests
			p.a.Inject(fault)
			got := p.wantBytes(p.image.ManifestPath(p.image.Root.Digest.String()), p.image.Manifest())
			if kind := got.Header.Get("Content-Type"); kind != p.image.Root.MediaType || got.servedBy() != "a" {
				t.Errorf("by digest: %q served by %q, want %q by a", kind, got.servedBy(), p.image.Root.MediaType)
			}
			got = p.manifest()
			if kind := got.Header.Get("Content-Type"); kind != p.image.Root.MediaType || got.servedBy() != "a" {
				t.Errorf("by tag: %q served by %q, want %q by a: the document names itself", kind, got.servedBy(), p.image.Root.MediaType)
			}
			p.wantOpen("a", "manifest")
		})
	}
}

// What an upstream says of a digest is compared with the bytes, not believed. Wrong bytes
// cost it what they were asked for as, and nothing else; a HEAD has none, so that what it
// says costs nothing at all.
func TestF28_WrongDigest(t *testing.T) {
	t.Parallel()
	lie := simnet.WrongDigest()
	other := simnet.Image{Repo: alpine.Repo, Layers: alpine.Layers, Labels: map[string]string{"is": "another"}}.Build()
	another := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { // right in itself, and not what was asked for
		w.Header().Set("Content-Type", other.Root.MediaType)
		w.Header().Set("Docker-Content-Digest", other.Root.Digest.String())
		_, _ = w.Write(other.Manifest())
	})
	nameless := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", other.Root.MediaType)
		_, _ = w.Write(other.Manifest())
	})
	odd := simnet.Fault{Header: map[string]string{"Docker-Content-Digest": "sha256:../../x"}}
	for name, tc := range map[string]struct {
		fault  simnet.Fault
		method string
		path   func(p *pair) string
	}{
		"GET by tag":             {lie, http.MethodGet, func(p *pair) string { return p.image.Path() }},
		"GET by digest":          {lie, http.MethodGet, func(p *pair) string { return p.image.ManifestPath(p.image.Root.Digest.String()) }},
		"HEAD by digest":         {lie, http.MethodHead, func(p *pair) string { return p.image.ManifestPath(p.image.Root.Digest.String()) }},
		"blob":                   {lie, http.MethodGet, func(p *pair) string { d, _ := p.image.Layer(1); return p.image.BlobPath(d.Digest) }},
		"bytes of another":       {simnet.Fault{Flip: true, FlipAt: 60}, http.MethodGet, func(p *pair) string { return p.image.ManifestPath(p.image.Root.Digest.String()) }},
		"another image":          {simnet.Fault{Respond: another}, http.MethodGet, func(p *pair) string { return p.image.ManifestPath(p.image.Root.Digest.String()) }},
		"another, nameless":      {simnet.Fault{Respond: nameless}, http.MethodGet, func(p *pair) string { return p.image.ManifestPath(p.image.Root.Digest.String()) }},
		"another image's HEAD":   {simnet.Fault{Respond: another}, http.MethodHead, func(p *pair) string { return p.image.ManifestPath(p.image.Root.Digest.String()) }},
		"bytes under the tag":    {simnet.Fault{Flip: true, FlipAt: 60}, http.MethodGet, func(p *pair) string { return p.image.Path() }},
		"not even a digest":      {odd, http.MethodGet, func(p *pair) string { return p.image.Path() }},
		"small blob's own bytes": {simnet.Fault{Flip: true, FlipAt: 60}, http.MethodGet, func(p *pair) string { d, _ := p.image.Layer(0); return p.image.BlobPath(d.Digest) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, nil)
			// Where the bytes are right they decide, but a digest that contradicts those
			// under a tag may be the right one.
			byTag := name == "GET by tag" || name == "bytes under the tag"
			label := reflect.DeepEqual(tc.fault, lie) && !byTag || reflect.DeepEqual(tc.fault, odd)
			tc.fault.On = simnet.Manifests | simnet.Blobs
			p.a.Inject(tc.fault)
			got := p.do(tc.method, tc.path(p))
			server := "b"
			if label {
				server = "a"
			}
			if got.Status != http.StatusOK || got.servedBy() != server {
				t.Fatalf("status %d served by %q, want 200 by %s", got.Status, got.servedBy(), server)
			}
			_, asked, _ := strings.Cut(tc.path(p), "sha256:")
			if asked == "" {
				asked = p.image.Root.Digest.Encoded()
			}
			if d := got.Header.Get("Docker-Content-Digest"); d != "sha256:"+asked {
				t.Errorf("Docker-Content-Digest %q, want sha256:%s", d, asked)
			}
			p.wantOpen("a", "manifest")
			p.wantOpen("a", "blob")
			if label {
				return
			}
			p.wantCode(got, "a", pullchain.CodeDigestMismatch)
			if n := p.breaker("a", "manifest").Failures + p.breaker("a", "blob").Failures; n != 0 {
				t.Errorf("a's breakers count %d failures, want 0: it is not down", n)
			}
			p.a.Clear()
			before := p.asked("a", "", simnet.Manifests|simnet.Blobs)
			if tc.method == http.MethodHead || byTag { // of a tag nothing is proved
				p.wantServedBy(p.do(tc.method, tc.path(p)), "a")
				before++
			} else {
				again := p.wantStatus(tc.path(p), http.StatusOK)
				p.wantServedBy(again, "b")
				p.wantCode(again, "a", pullchain.CodeDigestMismatch)
			}
			p.wantAsked("a", "", simnet.Manifests|simnet.Blobs, before)
			other := p.another()
			p.wantServedBy(p.byDigest(other), "a")
			p.wantServedBy(p.blobOf(other), "a")
		})
	}
}

// Wrong bytes of three repositories are the upstream's: its storage is gone, or it lies.
func TestF28_WrongInManyRepositories(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	p.a.Inject(simnet.Fault{On: simnet.Manifests, Flip: true, FlipAt: 60})
	for n := range 3 {
		if l := p.lane("a"); l.State == balancer.StateQuarantined {
			t.Errorf("quarantined after %d repositories, want 3", n)
		}
		odd := p.another()
		for range 3 { // the same again makes no repository more
			p.wantServedBy(p.byDigest(odd), "b")
		}
	}
	p.wantAsked("a", http.MethodGet, simnet.Manifests, 3)
	for _, class := range []string{"manifest", "blob"} {
		p.wantUntil(p.wantGate("a", class, "quarantine", pullchain.CodeDigestMismatch), 5*time.Minute, 5*time.Minute)
	}
	if got := p.lane("a").State; got != balancer.StateQuarantined {
		t.Errorf("shown as %s", got)
	}
	p.wantServedBy(p.manifest(), "b")
	p.wantServedBy(p.blob(0), "b")
	p.wantAsked("a", http.MethodGet, simnet.Manifests, 3)
	p.wantAsked("a", http.MethodGet, simnet.Blobs, 0)
}

// A digest that no upstream claims is computed.
func TestF28_NoDigest(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.a.Inject(simnet.Fault{On: simnet.Manifests, Header: map[string]string{"Docker-Content-Digest": "", "ETag": ""}})
	got := p.manifest()
	if d := got.Header.Get("Docker-Content-Digest"); d != p.image.Root.Digest.String() || got.servedBy() != "a" {
		t.Errorf("%q served by %q, want %q by a", d, got.servedBy(), p.image.Root.Digest)
	}
}
