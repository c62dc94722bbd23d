package upstreams_test

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/simnet"
	"github.com/pullchain/pullchain/upstreams"
)

// certFiles are the files of a client's certificate, which are written anew.
type certFiles struct {
	t         *testing.T
	net       *simnet.Net
	cert, key string
	written   int
}

func newCertFiles(t *testing.T, n *simnet.Net, name string) *certFiles {
	t.Helper()
	dir := t.TempDir()
	f := &certFiles{t: t, net: n, cert: filepath.Join(dir, "client.cert"), key: filepath.Join(dir, "client.key")}
	f.renew(name)
	return f
}

// renew writes a new certificate for name.
func (f *certFiles) renew(name string) {
	f.t.Helper()
	cert, key := f.net.ClientPEM(name)
	f.write(cert, key)
}

// write winds the clock of the files forward: its ticks may be coarse.
func (f *certFiles) write(cert, key []byte) {
	f.t.Helper()
	f.written++
	at := time.Now().Add(time.Duration(f.written) * time.Minute)
	for path, content := range map[string][]byte{f.cert: cert, f.key: key} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			f.t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *certFiles) shown(c *upstreams.Config) { c.ClientCert, c.ClientKey = f.cert, f.key }

// mutualTLS is a hub that wants certificates, between a token server and a CDN that ask for
// them and serve without.
var mutualTLS = simnet.HubConfig{Origin: simnet.Origin{Name: "hub", ClientAuth: tls.RequireAndVerifyClientCert}}

// names returns the names in the certificates of all requests that a server has seen.
func (r *rig) names(server string) string {
	var names []string
	for _, e := range r.Ledger().Find(simnet.Filter{Server: server}) {
		names = append(names, e.Cert)
	}
	return strings.Join(names, " ")
}

// TestClientCert: the certificate is for the registry's own host, and neither for its token server nor for
// its CDN. What it opens is private.
func TestClientCert(t *testing.T) {
	t.Parallel()
	r := newRig(t, mutualTLS)
	if _, err := r.upstream(t, nil).Fetch(t.Context(), r.tag()); err == nil {
		t.Fatal("served without a certificate")
	}
	u := r.upstream(t, newCertFiles(t, r.Net, "robot").shown)
	_, layer := r.img.Layer(0)
	for _, when := range []string{"cold", "warm"} {
		got, body := mustFetch(t, u, r.tag())
		if string(body) != string(r.img.Manifest()) || !got.Private || got.Login == "" {
			t.Errorf("%s: %d bytes, private %v, login %q", when, len(body), got.Private, got.Login)
		}
		if _, body := mustFetch(t, u, r.blob()); string(body) != string(layer) {
			t.Errorf("%s: a blob of %d bytes", when, len(body))
		}
	}
	if n := r.names("hub"); strings.ReplaceAll(n, "robot", "") != strings.Repeat(" ", r.count(simnet.Filter{Server: "hub"})-1) {
		t.Errorf("the hub was shown %q", n)
	}
	if r.count(simnet.Filter{Server: "hub-auth"}) == 0 || r.count(simnet.Filter{Server: "hub-cdn"}) == 0 {
		t.Error("token server and CDN were not asked: nothing is proved")
	}
	for _, e := range r.Ledger().Leaks("robot", "hub") {
		t.Errorf("%s was shown the certificate for %s", e.Server, e.Path)
	}
}

// TestClientCertStaysAtHome: a redirect that has left the registry brings no certificate back to it, for
// manifests and for tokens; one that stays there keeps it.
func TestClientCertStaysAtHome(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{})
	var home, abroad *simnet.Server
	manifest := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", simnet.TypeOCIManifest)
		_, _ = w.Write(r.img.Manifest())
	}
	home = r.AddOrigin(simnet.Origin{Name: "home", ClientAuth: tls.RequestClientCert, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch {
		case strings.HasPrefix(q.URL.Path, "/token"):
			if q.URL.Path == "/token" {
				http.Redirect(w, q, abroad.URL()+"/token-back", http.StatusFound)
				return
			}
			_, _ = w.Write([]byte(`{"token":"t"}`))
		case q.URL.Path == "/moved", q.URL.Path == "/back":
			manifest(w)
		case q.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+home.URL()+`/token",service="home"`)
			w.WriteHeader(http.StatusUnauthorized)
		case strings.HasSuffix(q.URL.Path, "/3.20"):
			http.Redirect(w, q, "/moved", http.StatusTemporaryRedirect)
		default:
			http.Redirect(w, q, abroad.URL()+"/away", http.StatusTemporaryRedirect)
		}
	})})
	abroad = r.AddOrigin(simnet.Origin{Name: "abroad", ClientAuth: tls.RequestClientCert, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		to := home.URL() + "/back"
		if q.URL.Path == "/token-back" {
			to = home.URL() + "/token-here"
		}
		http.Redirect(w, q, to, http.StatusTemporaryRedirect)
	})})
	files := newCertFiles(t, r.Net, "robot")
	u := r.upstream(t, func(c *upstreams.Config) { files.shown(c); c.URL = home.URL() })
	mustFetch(t, u, r.tag())
	away := r.tag()
	away.Tag = "latest"
	mustFetch(t, u, away)
	for path, want := range map[string]string{
		"/manifests/3.20": "robot", "/token": "robot", "/token-here": "", "/moved": "robot", "/manifests/latest": "robot", "/back": "",
	} {
		found := 0
		for _, e := range r.Ledger().Find(simnet.Filter{Server: "home"}) {
			if !strings.HasSuffix(e.Path, path) {
				continue
			}
			found++
			if e.Cert != want {
				t.Errorf("%s was asked with the certificate %q, want %q", path, e.Cert, want)
			}
		}
		if found == 0 {
			t.Errorf("%s was not asked for", path)
		}
	}
	for _, e := range r.Ledger().Leaks("robot", "home") {
		t.Errorf("%s was shown the certificate for %s", e.Server, e.Path)
	}
}

// TestClientCertRenewed: a new pair in the files is the one of the next handshake. One that cannot be used is
// not, and is told of when that matters; the identity is what Login goes by.
func TestClientCertRenewed(t *testing.T) {
	t.Parallel()
	r := newRig(t, mutualTLS)
	files := newCertFiles(t, r.Net, "robot")
	u := r.upstream(t, files.shown)
	next := func(want string) string {
		t.Helper()
		r.hub.CloseConnections()
		r.Ledger().Reset()
		got, _ := mustFetch(t, u, r.pinned())
		if n := r.names("hub"); n != want {
			t.Errorf("the hub was shown %q, want %q", n, want)
		}
		return got.Login
	}
	mustFetch(t, u, r.pinned())
	first := next("robot")
	files.renew("robot")
	if again := next("robot"); again != first {
		t.Error("the renewed certificate is another login")
	}
	files.renew("other")
	other := next("other")
	if other == first {
		t.Error("another name is the same login")
	}
	files.write([]byte("not a certificate"), []byte("nor a key"))
	if broken := next("other"); broken != other {
		t.Error("the login is not that of the pair in use")
	}
	if err := os.Remove(files.key); err != nil {
		t.Fatal(err)
	}
	next("other")
	r.hub.Break(simnet.ConnNotTLS)
	r.hub.CloseConnections()
	if _, err := u.Fetch(t.Context(), r.pinned()); err == nil || !strings.Contains(err.Error(), "renewed client_cert cannot be used") {
		t.Errorf("error %v", err)
	}
	r.hub.Mend()
	files.renew("third")
	next("third")
}

// TestClientCertsShareNothing: two upstreams at one host with a certificate each have connections
// of their own, through a proxy too, which sees neither.
func TestClientCertsShareNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, mutualTLS)
	proxy := r.AddConnectProxy(simnet.ProxyConfig{Origin: simnet.Origin{Name: "proxy", ClientAuth: tls.RequestClientCert}, TLS: true})
	for name, via := range map[string]egress.Config{"direct": {}, "proxied": {Name: "proxy", URL: proxy.ProxyURL().String()}} {
		t.Run(name, func(t *testing.T) {
			var both []*upstreams.Upstream
			for _, robot := range []string{"ann", "bob"} {
				cfg := upstreams.Config{Name: robot, URL: r.hub.URL(), CAFile: r.ca, AllowPrivate: true, Timeouts: unhurried}
				newCertFiles(t, r.Net, robot).shown(&cfg)
				u, err := upstreams.New(cfg, via)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(u.Close)
				both = append(both, u)
			}
			r.Ledger().Reset()
			for range 2 {
				for _, u := range both {
					mustFetch(t, u, r.pinned())
				}
			}
			owner := map[string]string{}
			asked := map[string]int{}
			for _, e := range r.Ledger().Find(simnet.Filter{Server: "hub"}) {
				asked[e.Cert]++
				if was := owner[e.Remote]; was != "" && was != e.Cert {
					t.Errorf("%s and %s on one connection", was, e.Cert)
				}
				owner[e.Remote] = e.Cert
			}
			if asked["ann"] != 3 || asked["bob"] != 3 || len(asked) != 2 { // the first of each is told where the tokens are
				t.Errorf("asked by %v", asked)
			}
			if both[0].Login() == both[1].Login() {
				t.Error("one login")
			}
			for _, robot := range []string{"ann", "bob"} {
				for _, e := range r.Ledger().Leaks(robot, "hub") {
					t.Errorf("%s was shown the certificate of %s", e.Server, robot)
				}
			}
		})
	}
}

// TestValidateClientCert: both or none, and over TLS alone.
func TestValidateClientCert(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ url, cert, key, want string }{
		{"https://x", "c", "k", ""},
		{"https://x", "c", "", "client_cert: client_cert and client_key go together"},
		{"https://x", "", "k", "client_key: client_cert and client_key go together"},
		{"http://x", "c", "k", "client_cert: no server asks for a certificate over plain http"},
	} {
		err := upstreams.Config{Name: "x", URL: tt.url, ClientCert: tt.cert, ClientKey: tt.key}.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	_, err := upstreams.New(upstreams.Config{Name: "x", URL: "https://x", ClientCert: "/nowhere/c", ClientKey: "/nowhere/k"}, egress.Config{})
	if err == nil || !strings.Contains(err.Error(), "client_cert") {
		t.Errorf("missing files: %v", err)
	}
}
