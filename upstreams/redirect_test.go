package upstreams_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
	"github.com/pullchain/pullchain/upstreams"
)

// withSecrets gives an upstream everything that must stay with its origin.
func withSecrets(c *upstreams.Config) {
	c.Username, c.PasswordFile, c.Password = "robot", "from-a-file", "marker-password"
	c.Headers = map[string]pullchain.Secret{"X-Relay-Key": "marker-key", "Referer": "https://marker-referer/"}
}

// TestRedirectHeaders: past the first hop goes the allow-list of docs/faults.md 6
// and nothing else: no login, no cookie, no referer, no custom header
// (CVE-2023-45289, CVE-2024-45336, CVE-2025-4673: what Go's own client leaks).
func TestRedirectHeaders(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Auth: simnet.AuthConfig{Users: map[string]string{"robot": "marker-password"}}})
	defer r.hub.Inject(simnet.Fault{On: simnet.Blobs, Header: map[string]string{"Set-Cookie": "session=marker-cookie"}})()
	u := r.upstream(t, withSecrets)
	req := r.blob()
	req.Range = pullchain.Range{From: 10, To: 20}
	for range 2 {
		mustFetch(t, u, req)
	}
	at := r.Ledger().Find(simnet.Filter{Server: "hub-cdn"})
	if len(at) != 2 {
		t.Fatalf("%d requests at the CDN, want 2", len(at))
	}
	want := http.Header{"User-Agent": at[0].Header["User-Agent"], "Range": {"bytes=10-19"}, "Accept-Encoding": {"identity"}}
	for _, e := range at {
		if diff := cmp.Diff(want, e.Header); diff != "" {
			t.Errorf("headers at the CDN (-want +got)\n%s", diff)
		}
	}
	for _, marker := range []string{"marker-password", "marker-cookie", "simnet-"} { // the tokens begin so
		if leaks := r.Ledger().Leaks(marker, "hub", "hub-auth"); len(leaks) > 0 {
			t.Errorf("%s went to %s", marker, leaks[0].Server)
		}
	}
	for _, marker := range []string{"marker-key", "marker-referer", "marker-cookie"} {
		if leaks := r.Ledger().Leaks(marker, "hub"); len(leaks) > 0 {
			t.Errorf("%s went to %s", marker, leaks[0].Server)
		}
	}
	// And they do go where they belong.
	first := r.Ledger().Find(simnet.Filter{Server: "hub", Class: simnet.Blobs})
	if first[0].Header.Get("X-Relay-Key") != "marker-key" || !strings.HasPrefix(first[len(first)-1].Authorization, "Bearer ") {
		t.Errorf("the hub itself got %v", first[len(first)-1].Header)
	}
	if login := r.Ledger().Find(simnet.Filter{Server: "hub-auth"}); !basic(login[0].Authorization, "robot", "marker-password") {
		t.Errorf("the token server got %q", login[0].Authorization)
	}
}

// TestRedirectOtherPort: another port of the same host is another origin; Go's
// client would keep the login there (docs/faults.md 11.4, CVE-2026-49349).
func TestRedirectOtherPort(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Auth: simnet.AuthConfig{Users: map[string]string{"robot": "marker-password"}}})
	other := r.origin("other-port", answering(200, nil, "stolen"))
	u := r.upstream(t, withSecrets)
	mustFetch(t, u, r.tag()) // a token is at hand
	defer r.hub.Inject(simnet.Fault{On: simnet.Blobs, Respond: http.RedirectHandler(other.URL()+"/x", http.StatusTemporaryRedirect)})()
	mustFetch(t, u, r.blob())
	got := r.Ledger().Find(simnet.Filter{Server: "other-port"})
	if len(got) != 1 || got[0].Authorization != "" || got[0].Header.Get("X-Relay-Key") != "" || got[0].Header.Get("Referer") != "" {
		t.Errorf("%+v", got)
	}
}

// TestRedirectStatuses: the five redirects are followed, with the method kept.
func TestRedirectStatuses(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			r := newRig(t, simnet.HubConfig{Open: true, Direct: true})
			_, content := r.img.Layer(0)
			cdn := r.origin("cdn", answering(200, nil, string(content)))
			defer r.hub.Inject(simnet.Fault{On: simnet.Blobs, Respond: http.RedirectHandler(cdn.URL()+"/data", status)})()
			req := r.blob()
			req.Head = method == http.MethodHead
			mustFetch(t, r.upstream(t, nil), req)
			if n := r.count(simnet.Filter{Server: "cdn", Method: method}); n != 1 {
				t.Errorf("%d: %d %ss at the CDN, want 1", status, n, method)
			}
		}
	}
}

// TestRedirectRelative: a relative Location belongs to the URL that was asked
// (pkg.dev answers so: docs/protocol.md 4.7).
func TestRedirectRelative(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Open: true})
	registry := r.origin("registry", func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path != "/artifacts-downloads/x" {
			w.Header().Set("Location", "/artifacts-downloads/x?sig=1")
			w.WriteHeader(302)
			return
		}
		_, content := r.img.Layer(0)
		_, _ = w.Write(content)
	})
	u := r.upstream(t, func(c *upstreams.Config) { c.URL = registry.URL() })
	_, body := mustFetch(t, u, r.blob())
	_, content := r.img.Layer(0)
	sameBytes(t, body, content)
}

// TestRedirectRefused: where an upstream may not send us. The place itself is
// never connected to (docs/faults.md F22-F24).
func TestRedirectRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		to     func(other *simnet.Server) string
		change func(*upstreams.Config)
		code   pullchain.Code
	}{
		"a loopback address":   {func(o *simnet.Server) string { return o.URL() + "/" }, private(false), pullchain.CodeRedirectBlocked},
		"localhost":            {func(o *simnet.Server) string { return "https://localhost:" + port(o) + "/" }, private(false), pullchain.CodeRedirectBlocked},
		"loopback in hex":      {func(o *simnet.Server) string { return "https://0x7f.1:" + port(o) + "/" }, private(false), pullchain.CodeRedirectBlocked},
		"loopback in decimal":  {func(o *simnet.Server) string { return "https://2130706433:" + port(o) + "/" }, private(true), pullchain.CodeRedirectBlocked},
		"mapped loopback":      {func(o *simnet.Server) string { return "https://[::ffff:127.0.0.1]:" + port(o) + "/" }, private(false), pullchain.CodeRedirectBlocked},
		"metadata":             {func(*simnet.Server) string { return "http://169.254.169.254/latest/meta-data/" }, private(true), pullchain.CodeRedirectBlocked},
		"metadata by https":    {func(*simnet.Server) string { return "https://169.254.169.254/" }, private(true), pullchain.CodeRedirectBlocked},
		"metadata by name":     {func(*simnet.Server) string { return "https://metadata.google.internal/" }, private(true), pullchain.CodeRedirectBlocked},
		"unspecified":          {func(*simnet.Server) string { return "https://0.0.0.0/" }, private(true), pullchain.CodeRedirectBlocked},
		"a private network":    {func(*simnet.Server) string { return "https://10.1.2.3/" }, private(false), pullchain.CodeRedirectBlocked},
		"plain http":           {func(o *simnet.Server) string { return "http://" + o.Addr() + "/" }, private(true), pullchain.CodeRedirectBlocked},
		"another scheme":       {func(*simnet.Server) string { return "file:///etc/passwd" }, private(true), pullchain.CodeRedirectBlocked},
		"a login in it":        {func(o *simnet.Server) string { return "https://u:p@" + o.Addr() + "/" }, private(true), pullchain.CodeRedirectBlocked},
		"a host not listed":    {func(o *simnet.Server) string { return o.URL() + "/" }, hosts("*.docker.com", "*.r2.dev"), pullchain.CodeRedirectBlocked},
		"a host beyond a glob": {func(o *simnet.Server) string { return o.URL() + "/" }, hosts("127.0.0.2"), pullchain.CodeRedirectBlocked},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, simnet.HubConfig{Open: true, Direct: true})
			other := r.origin("other", answering(200, nil, "inside"))
			defer r.hub.Inject(simnet.Fault{On: simnet.Blobs, Respond: redirect(tt.to(other))})()
			_, _, err := fetch(t, r.upstream(t, tt.change), r.blob())
			e := expectError(t, err, pullchain.Refused, tt.code)
			if strings.Contains(e.Error(), "meta-data") {
				t.Errorf("repeats the path: %v", e)
			}
			r.expectUntouched(t, "other")
			if n := r.count(simnet.Filter{Server: "hub"}); n != 1 {
				t.Errorf("the hub was asked %d times, want 1", n)
			}
		})
	}
}

func redirect(to string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
}

func private(ok bool) func(*upstreams.Config) {
	return func(c *upstreams.Config) { c.AllowPrivate = ok }
}

func hosts(globs ...string) func(*upstreams.Config) {
	return func(c *upstreams.Config) { c.RedirectHosts = globs }
}

func port(s *simnet.Server) string { return s.Addr()[strings.LastIndexByte(s.Addr(), ':')+1:] }

// TestRedirectHosts: what redirect_hosts names is followed.
func TestRedirectHosts(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{})
	_, body := mustFetch(t, r.upstream(t, hosts("*.docker.com", "127.*")), r.blob())
	_, content := r.img.Layer(0)
	sameBytes(t, body, content)
}

// TestRedirectLoops: five hops are enough, and none leads back (docs/faults.md F22).
func TestRedirectLoops(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault simnet.Fault
		asked int
	}{
		"to itself": {simnet.RedirectLoop(), 1},
		"for ever":  {simnet.RedirectChain(), 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, simnet.HubConfig{Open: true, Direct: true})
			defer r.hub.Inject(tt.fault)()
			_, _, err := fetch(t, r.upstream(t, nil), r.blob())
			expectError(t, err, pullchain.Refused, pullchain.CodeRedirectLoop)
			if n := r.count(simnet.Filter{}); n != tt.asked {
				t.Errorf("%d requests, want %d", n, tt.asked)
			}
		})
	}
}

// TestRedirectManifest: registry.k8s.io redirects manifests too (docs/protocol.md
// 4.7); a relay that sends library/ elsewhere is one more case.
func TestRedirectManifest(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Open: true})
	geo := r.origin("geo", func(w http.ResponseWriter, q *http.Request) {
		http.Redirect(w, q, r.hub.URL()+q.URL.RequestURI(), http.StatusTemporaryRedirect)
	})
	req := r.tag()
	req.Accept = []string{simnet.TypeOCIManifest, "application/vnd.example+json"}
	_, body := mustFetch(t, r.upstream(t, func(c *upstreams.Config) { c.URL = geo.URL() }), req)
	sameBytes(t, body, r.img.Manifest())
	at := r.Ledger().Find(simnet.Filter{Server: "hub"})
	if len(at) != 1 || !slices.Equal(at[0].Header["Accept"], []string{strings.Join(req.Accept, ", ")}) {
		t.Errorf("the hub got %+v", at)
	}
}

// TestExpiredSignedURL: a CDN that refuses a signed URL gets one fresh one, and the whole
// is asked for where a part was (docs/faults.md F14, 0.4).
func TestExpiredSignedURL(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		times, asked int
		ok           bool
	}{
		"once":   {1, 2, true},
		"always": {0, 3, false}, // the third without a range: it may be that which is refused
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, simnet.HubConfig{})
			fault := simnet.ExpiredURL()
			fault.Times = tt.times
			defer r.hub.CDN.Inject(fault)()
			u := r.upstream(t, nil)
			mustFetch(t, u, r.tag())
			req := r.blob()
			req.Range = pullchain.Range{From: 100}
			_, body, err := fetch(t, u, req)
			if tt.ok {
				if _, content := r.img.Layer(0); err == nil {
					sameBytes(t, body, content[100:])
				} else {
					t.Error(err)
				}
			} else if e := expectError(t, err, pullchain.Unavailable, pullchain.CodeSignedURL); isPage(e.Error()) || e.Reach != pullchain.ReachRequest {
				t.Errorf("scope %v: %v", e.Reach, e)
			}
			for server, want := range map[string]int{"hub": tt.asked, "hub-cdn": tt.asked, "hub-auth": 1} {
				if n := r.count(simnet.Filter{Server: server, Class: simnet.Blobs | simnet.Token}); n != want {
					t.Errorf("%s: %d requests, want %d", server, n, want)
				}
			}
			for i, e := range r.Ledger().Find(simnet.Filter{Server: "hub-cdn"}) {
				if e.Range != "bytes=100-" && i < 2 {
					t.Errorf("the CDN was asked for %q", e.Range)
				}
			}
		})
	}
}

// TestCDN404IsNotFinal: that an object is missing at the CDN is no word of the
// registry, which has just said that it is there.
func TestCDN404IsNotFinal(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{})
	u := r.upstream(t, nil)
	lift := r.hub.CDN.Inject(simnet.Fault{Status: 404})
	_, _, err := fetch(t, u, r.blob())
	if e := expectError(t, err, pullchain.NotFound, pullchain.CodeNotFound); e.Final {
		t.Error("a CDN's 404 is final")
	}
	lift()
	r.hub.DropBlob(r.img.Repo, r.blob().Digest)
	_, _, err = fetch(t, u, r.blob())
	if e := expectError(t, err, pullchain.NotFound, pullchain.CodeNotFound); !e.Final {
		t.Error("the registry's own 404 is not final")
	}
}
