package daemon_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
)

// A redirect that leads nowhere is given up for the next path, however often: it says
// nothing of what leads elsewhere.
func TestF22_RedirectLoop(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault simnet.Fault
		asked int // requests that one pull of the layer may cost
	}{
		"to itself":  {simnet.RedirectLoop(), 1},
		"ever on":    {simnet.RedirectChain(), 6},
		"to nowhere": {simnet.Fault{Status: http.StatusFound}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newBig(t, true, nil)
			tc.fault.On = simnet.Blobs
			p.a.Inject(tc.fault)
			path, content := p.layer()
			code := pullchain.CodeRedirectLoop
			if name == "to nowhere" { // no redirect at all, but an answer that makes no sense
				code = pullchain.CodeUnexpected
			}
			for n := 1; n <= 5; n++ {
				p.wantCode(p.wantBytes(path, content), "a", code)
				p.wantAsked("a", http.MethodGet, simnet.Blobs, n*tc.asked)
				p.wantOpen("a", "blob")
			}
			if n := p.breaker("a", "blob").Failures; n != 0 && code == pullchain.CodeRedirectLoop {
				t.Errorf("a's blob breaker counts %d failures, want 0", n)
			}
			p.a.Clear()
			p.wantServedBy(p.wantBytes(path, content), "a")
		})
	}
}

// guarded is a pair whose first path may not be led into private networks, and
// a server in there that must not be reached.
func guarded(t *testing.T) (*pair, *simnet.Server) {
	t.Helper()
	var internal *simnet.Server
	p := newBig(t, false, func(c *rigConfig) {
		internal = c.Net.AddOrigin(simnet.Origin{Name: "internal", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("secret of the inside"))
		})})
		c.Chain[0].Guard = true
	})
	return p, internal
}

// wantUntouched fails the test if the server saw as much as a connection.
func (r *rig) wantUntouched(s *simnet.Server) {
	r.t.Helper()
	if n := r.net.Ledger().Connections(s.Name()); n != 0 {
		r.t.Errorf("%s was connected to %d times, want never", s.Name(), n)
	}
}

// No redirect reaches a private address, however it is spelled: no connection
// is even begun.
func TestF23_RedirectToPrivateAddress(t *testing.T) {
	t.Parallel()
	for name, to := range map[string]func(port string) string{
		"loopback":           func(port string) string { return "https://127.0.0.1:" + port + "/secret" },
		"another loopback":   func(port string) string { return "https://127.9.9.9:" + port + "/secret" },
		"mapped into IPv6":   func(port string) string { return "https://[::ffff:127.0.0.1]:" + port + "/secret" },
		"IPv6":               func(port string) string { return "https://[::1]:" + port + "/secret" },
		"by name":            func(port string) string { return "https://localhost:" + port + "/secret" },
		"short form":         func(port string) string { return "https://127.1:" + port + "/secret" },
		"as one number":      func(port string) string { return "https://2130706433:" + port + "/secret" },
		"in hex":             func(port string) string { return "https://0x7f.0.0.1:" + port + "/secret" },
		"unspecified":        func(port string) string { return "https://0.0.0.0:" + port + "/secret" },
		"with a login":       func(port string) string { return "https://user:pass@127.0.0.1:" + port + "/secret" },
		"RFC 1918":           func(string) string { return "https://10.1.2.3/secret" },
		"cloud metadata":     func(string) string { return "https://169.254.169.254/latest/meta-data/" },
		"metadata by name":   func(string) string { return "https://metadata.google.internal/computeMetadata/v1/" },
		"another scheme":     func(string) string { return "file:///etc/passwd" },
		"another port of it": func(string) string { return "https://example.com:22/secret" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, internal := guarded(t)
			_, port, _ := strings.Cut(internal.Addr(), ":")
			fault := simnet.RedirectTo(to(port))
			fault.On = simnet.Manifests | simnet.Blobs
			p.a.Inject(fault)
			p.wantCode(p.manifest(), "a", pullchain.CodeRedirectBlocked)
			path, content := p.layer()
			p.wantCode(p.wantBytes(path, content), "a", pullchain.CodeRedirectBlocked)
			p.wantUntouched(internal)
			p.wantOpen("a", "blob")
			if last := p.lane("a").LastError; last == nil || last.Code != pullchain.CodeRedirectBlocked {
				t.Errorf("a's last error is %+v, want it to tell of the redirect", last)
			}
		})
	}
}

// What an upstream may do to us by redirects it may not do by its realm.
func TestF23_RealmAtPrivateAddress(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	image := n.Build(alpine)
	hub := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Images: []simnet.Image{alpine}, Direct: true})
	b := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "b"}, Images: []simnet.Image{alpine}})
	internal := n.AddOrigin(simnet.Origin{Name: "internal", Handler: http.NotFoundHandler()})
	hub.SetRealm(internal.URL() + "/token")
	r := newRig(t, rigConfig{Net: n, Chain: []lane{{Name: "hub", URL: hub.URL(), Guard: true}, {Name: "b", URL: b.URL()}}})
	r.wantCode(r.wantBytes(image.Path(), image.Manifest()), "hub", pullchain.CodeAuthRealm)
	r.wantUntouched(internal)
}

// Being led nowhere but inwards, by every path, is the client's to read about.
func TestF23_NothingElseLeft(t *testing.T) {
	t.Parallel()
	p, internal := guarded(t)
	fault := simnet.RedirectTo(internal.URL() + "/secret")
	fault.On = simnet.Blobs
	p.a.Inject(fault)
	p.b.Inject(simnet.Fault{On: simnet.Blobs, Respond: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json") // a router's 404 would be no registry's word
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}`)
	})})
	path, _ := p.layer()
	got := p.get(path)
	p.wantError(got, http.StatusBadGateway, "UNKNOWN")
	if strings.Contains(string(got.Body), "secret") || strings.Contains(string(got.Body), internal.Addr()) {
		t.Errorf("the error tells where the redirect led: %s", got.Body)
	}
	p.wantUntouched(internal)
}

// A path that began with https does not go on without it, wherever to.
func TestF24_Downgrade(t *testing.T) {
	t.Parallel()
	p := newBig(t, true, nil) // allow_private: it is the scheme alone that is wrong
	plain := p.net.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "plain", Plain: true}, Images: []simnet.Image{big}})
	path, content := p.layer()
	fault := simnet.RedirectTo(plain.URL() + path)
	fault.On = simnet.Blobs
	p.a.Inject(fault)
	p.wantCode(p.wantBytes(path, content), "a", pullchain.CodeRedirectBlocked)
	p.wantUntouched(plain.Server)
}

// A realm without https gets no request, let alone a login.
func TestF24_DowngradeOfTheRealm(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	image := n.Build(alpine)
	hub := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Images: []simnet.Image{alpine}, Direct: true})
	b := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "b"}, Images: []simnet.Image{alpine}})
	plain := n.AddAuth(simnet.AuthConfig{Origin: simnet.Origin{Name: "plain-auth", Plain: true}})
	hub.SetRealm(plain.Realm())
	r := newRig(t, rigConfig{Net: n, Chain: []lane{{Name: "hub", URL: hub.URL()}, {Name: "b", URL: b.URL()}}})
	r.wantCode(r.wantBytes(image.Path(), image.Manifest()), "hub", pullchain.CodeAuthRealm)
	r.wantUntouched(plain.Server)
}

// Plain http is for upstreams that the configuration writes so.
func TestF24_PlainWhereConfigured(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	image := n.Build(alpine)
	plain := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "plain", Plain: true}, Images: []simnet.Image{alpine}})
	r := newRig(t, rigConfig{Net: n, Chain: []lane{{Name: "plain", URL: plain.URL(), Guard: true}}})
	r.wantBytes(image.Path(), image.Manifest())
}
