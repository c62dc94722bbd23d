package daemon_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/simnet"
)

// A canary is a secret that sings when it is found where it must not be.
type canary struct {
	secret string
	at     []string // the servers that may see it, the first of which does; none: it stays in the client or in us
}

var canaries = map[string]canary{
	"password":        {"canary-password-5f1", []string{"hub-auth", "hub"}},
	"token":           {"canary-token-9a2", []string{"vault"}},
	"own header":      {"canary-header-c37", []string{"relay"}},
	"egress login":    {"canary-egress-d84", []string{"corp"}},
	"SOCKS login":     {"canary-socks-e15", []string{"socks"}},
	"client's login":  {"canary-client-b66", nil},
	"client's cookie": {"canary-cookie-a77", nil},
	"issued token":    {"simnet-", []string{"hub"}}, // so the hub's tokens begin
	"signed URL":      {"Signature=", []string{"hub-cdn"}},
}

// canaryWorld is a chain of three upstreams with a secret each: a hub behind a
// CONNECT proxy, a vault behind a SOCKS proxy, a relay; and two thieves.
type canaryWorld struct {
	*rig
	hub          *simnet.Hub
	vault, relay *simnet.Mirror
	corp, socks  *simnet.Proxy
	thief        *simnet.Auth   // a token server
	fence        *simnet.Server // whatever a redirect leads to
	image        *simnet.Content
	file         string // the configuration
	said         bytes.Buffer
}

func newCanaryWorld(t *testing.T) *canaryWorld {
	t.Helper()
	n := newNet(t)
	images := []simnet.Image{alpine}
	secret := func(name string) string { return canaries[name].secret }
	w := &canaryWorld{image: n.Build(alpine)}
	w.hub = n.AddHub(simnet.HubConfig{
		Origin: simnet.Origin{Name: "hub", ByName: true}, Images: images, Quota: simnet.Quota{Limit: 100},
		Auth: simnet.AuthConfig{Users: map[string]string{"robot": secret("password")}},
	})
	w.vault = n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "vault"}, Images: images})
	w.relay = n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "relay"}, Images: images})
	w.corp = n.AddConnectProxy(simnet.ProxyConfig{Origin: simnet.Origin{Name: "corp"}, Username: "u", Password: secret("egress login")})
	w.socks = n.AddSOCKSProxy(simnet.ProxyConfig{Origin: simnet.Origin{Name: "socks"}, Username: "u", Password: secret("SOCKS login")})
	w.thief = n.AddAuth(simnet.AuthConfig{Origin: simnet.Origin{Name: "thief", ByName: true}})
	w.fence = n.AddOrigin(simnet.Origin{Name: "fence", ByName: true, Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("WWW-Authenticate", `Basic realm="fence"`)
		rw.Header().Add("WWW-Authenticate", `Bearer realm="`+w.thief.Realm()+`",service="fence"`)
		rw.WriteHeader(http.StatusUnauthorized)
	})})
	dir := t.TempDir()
	file := func(name string) string {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if err := os.WriteFile(path, []byte(secret(name)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	short := "[registry.upstream.timeouts]\nheader = \"500ms\"\nstall = \"300ms\"\n"
	cfg := rigConfig{
		Net: n,
		Top: fmt.Sprintf("[egress.corp]\nurl = %q\nusername = \"u\"\npassword_file = %q\n[egress.socks]\nurl = %q\nusername = \"u\"\npassword_file = %q\n",
			w.corp.URL(), file("egress login"), w.socks.URL(), file("SOCKS login")),
		Chain: []lane{
			{Name: "hub", URL: w.hub.NameURL(), Tables: short,
				Keys: fmt.Sprintf("egress = \"corp\"\nusername = \"robot\"\npassword_file = %q\nauth_hosts = [\"auth.hub.sim\"]", file("password"))},
			{Name: "vault", URL: w.vault.NameURL(), Tables: short, Keys: fmt.Sprintf("egress = \"socks\"\ntoken_file = %q", file("token"))},
			{Name: "relay", URL: w.relay.URL(), Tables: short, Keys: fmt.Sprintf("headers = { X-Relay-Key = %q }", secret("own header"))},
		},
	}
	w.rig = newRig(t, cfg)
	w.file = writeConfig(t, cfg)
	return w
}

// pull reads everything there is to read, as a client with secrets of its own.
func (w *canaryWorld) pull() {
	layer, _ := w.image.Layer(1)
	small, _ := w.image.Layer(0)
	root := w.image.Root.Digest.String()
	for _, path := range []string{
		"/v2/", w.image.Path(), w.image.ManifestPath(root), w.image.BlobPath(layer.Digest), w.image.BlobPath(small.Digest),
		"/v2/library/alpine/tags/list?n=1", "/v2/library/alpine/referrers/" + root, "/v2/library/none/manifests/x",
		"/v2/ghcr.io/x/y/manifests/z", "/v2/_catalog", "/v2/UPPER/manifests/x",
	} {
		w.ask(http.MethodGet, path)
		w.ask(http.MethodHead, path)
	}
	w.ask(http.MethodGet, w.image.BlobPath(layer.Digest), "Range", "bytes=1000-")
	w.ask(http.MethodPut, w.image.Path())
	w.ask(http.MethodPost, "/v2/library/alpine/blobs/uploads/")
}

// ask makes one request with the client's secrets and keeps all that comes
// back except the content itself.
func (w *canaryWorld) ask(method, path string, headers ...string) {
	login := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:"+canaries["client's login"].secret))
	cookie := "session=" + canaries["client's cookie"].secret
	headers = append(headers, "Authorization", login, "Authorization", "Bearer "+canaries["client's login"].secret, "Cookie", cookie,
		"Proxy-Authorization", login, "X-Registry-Auth", canaries["client's login"].secret, "Referer", "https://x/?t="+canaries["client's login"].secret)
	req, err := http.NewRequestWithContext(w.t.Context(), method, "http://"+w.Daemon.Addr()+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := w.client.Do(req)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode >= 300 {
		w.said.Write(body)
	}
	fmt.Fprintf(&w.said, "%d %v %v\n", resp.StatusCode, resp.Header, err)
}

// publish collects everything that people get to see.
func (w *canaryWorld) publish() map[string]string {
	w.t.Helper()
	out := map[string]string{"the log": w.log.String(), "an answer": w.said.String()}
	snapshot, err := json.Marshal(w.Daemon.Snapshot())
	if err != nil {
		w.t.Fatal(err)
	}
	out["the snapshot"] = string(snapshot)
	for _, path := range []string{"/", "/-/readyz", "/-/readyz?registry=docker.io", "/api/v1/snapshot"} {
		resp, err := w.client.Get("http://" + w.Daemon.AdminAddr() + path)
		if err != nil {
			w.t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		out["admin "+path] = string(body)
	}
	cfg, err := config.Load(w.file)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, effective := range []bool{false, true} {
		var b bytes.Buffer
		if err := cfg.Show(&b, effective); err != nil {
			w.t.Fatal(err)
		}
		out[fmt.Sprintf("config show, effective %t", effective)] = b.String()
	}
	out["the config, printed"] = fmt.Sprintf("%v %+v %#v", *cfg, *cfg, *cfg)
	return out
}

// listen fails the test if any canary sings.
func (w *canaryWorld) listen() {
	w.t.Helper()
	shown := w.publish()
	for name, c := range canaries {
		for _, e := range w.net.Ledger().Leaks(c.secret, c.at...) {
			w.t.Errorf("the %s went to %s: %s %s?%s %v", name, e.Server, e.Method, e.Path, e.Query, e.Header)
		}
		for where, text := range shown {
			for _, form := range forms(c.secret) {
				if i := strings.Index(text, form); i >= 0 {
					w.t.Errorf("the %s is in %s: …%.200q", name, where, text[max(0, i-100):])
				}
			}
		}
	}
}

// forms are the spellings of a secret that would give it away.
func forms(secret string) []string {
	out := []string{secret}
	if escaped := url.QueryEscape(secret); escaped != secret {
		out = append(out, escaped)
	}
	for _, user := range []string{"u:", "robot:", "me:"} {
		out = append(out, base64.StdEncoding.EncodeToString([]byte(user+secret)))
	}
	return out
}

// TestCanary: no secret is found in a request to a foreign server, in a log
// line, an answer, the snapshot or the shown configuration, whatever the
// upstreams do (issue 2, "The secret canary"; docs/faults.md 5 and 6).
func TestCanary(t *testing.T) {
	t.Parallel()
	for name, break_ := range canaryFaults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newCanaryWorld(t)
			break_(w)
			w.pull()
			w.listen()
		})
	}
}

// everywhere injects f into the three upstreams.
func (w *canaryWorld) everywhere(f simnet.Fault) {
	for _, s := range []*simnet.Server{w.hub.Server, w.vault.Server, w.relay.Server} {
		s.Inject(f)
	}
}

// elsewhere is a redirect that keeps what it was asked in the query.
func elsewhere(to string) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Location", to)
		rw.WriteHeader(http.StatusTemporaryRedirect)
	})
}

var canaryFaults = map[string]func(*canaryWorld){
	"nothing":           func(*canaryWorld) {},
	"hub is down":       func(w *canaryWorld) { w.hub.Break(simnet.ConnRefused) },
	"two are down":      func(w *canaryWorld) { w.hub.Break(simnet.ConnRefused); w.vault.Break(simnet.ConnUnknownCA) },
	"all are down":      func(w *canaryWorld) { w.everywhere(simnet.Fault{Status: 503}) },
	"quota":             func(w *canaryWorld) { w.hub.SetRemaining("robot", 0); w.vault.Inject(simnet.HAP429()) },
	"proxies are down":  func(w *canaryWorld) { w.corp.Break(simnet.ConnRefused); w.socks.Break(simnet.ConnClose) },
	"logins refused":    func(w *canaryWorld) { w.corp.Refuse(simnet.ProxyBadLogin); w.socks.Refuse(simnet.ProxyBadLogin) },
	"targets refused":   func(w *canaryWorld) { w.corp.Refuse(simnet.ProxyDenied); w.socks.Refuse(simnet.ProxyUnreachable) },
	"401 loop":          func(w *canaryWorld) { w.hub.RejectTokens(true); w.vault.Inject(simnet.Fault{Status: 401}) },
	"tokens expire":     func(w *canaryWorld) { w.pull(); w.hub.Auth.ExpireTokens() },
	"foreign realm":     func(w *canaryWorld) { w.hub.SetRealm(w.thief.Realm()) },
	"every realm":       func(w *canaryWorld) { w.everywhere(challenge(`Bearer realm="` + w.thief.Realm() + `",service="x"`)) },
	"Basic at all":      func(w *canaryWorld) { w.everywhere(challenge(`Basic realm="x"`)) },
	"redirect to fence": func(w *canaryWorld) { w.everywhere(simnet.Fault{Respond: elsewhere(w.fence.NameURL() + "/x")}) },
	"by address":        func(w *canaryWorld) { w.everywhere(simnet.Fault{Respond: elsewhere(w.fence.URL() + "/x")}) },
	"token redirected": func(w *canaryWorld) {
		w.hub.Auth.Inject(simnet.Fault{Respond: elsewhere(w.fence.NameURL() + "/token")})
	},
	"token server down": func(w *canaryWorld) { w.hub.Auth.Inject(simnet.Fault{Status: 500, Body: "oops"}) },
	"token junk":        func(w *canaryWorld) { w.hub.Auth.Inject(simnet.HTML200()) },
	"redirect inward":   func(w *canaryWorld) { w.everywhere(simnet.RedirectTo("http://169.254.169.254/latest/")) },
	"redirect loop":     func(w *canaryWorld) { w.everywhere(simnet.RedirectChain()) },
	"expired URLs":      func(w *canaryWorld) { w.hub.CDN.Inject(simnet.ExpiredURL()) },
	"CDN cuts":          func(w *canaryWorld) { w.hub.CDN.Inject(simnet.Fault{Cut: simnet.EndRST, CutFraction: 0.4}) },
	"CDN stalls":        func(w *canaryWorld) { w.hub.CDN.Inject(simnet.Fault{Cut: simnet.EndStall, CutAt: 100}) },
	"CDN lies":          func(w *canaryWorld) { w.hub.CDN.Inject(simnet.Fault{Flip: true, FlipAt: 100}) },
	"CDN refused":       func(w *canaryWorld) { w.hub.CDN.Break(simnet.ConnRefused) },
	"pages":             func(w *canaryWorld) { w.everywhere(simnet.HTML200()) },
	"cookies":           func(w *canaryWorld) { w.everywhere(simnet.Fault{Header: map[string]string{"Set-Cookie": "a=b"}}) },
	"echo":              func(w *canaryWorld) { w.everywhere(simnet.Fault{Respond: http.HandlerFunc(echo)}) },
	"echo in XML":       func(w *canaryWorld) { w.everywhere(simnet.Fault{Respond: http.HandlerFunc(echoXML)}) },
	"echo in the type":  func(w *canaryWorld) { w.everywhere(simnet.Fault{Respond: http.HandlerFunc(echoType)}) },
	"reload":            func(w *canaryWorld) { w.reload() },
}

func challenge(value string) simnet.Fault {
	return simnet.Fault{Status: http.StatusUnauthorized, Header: map[string]string{"WWW-Authenticate": value}}
}

// sent is what a server that repeats its clients' words would repeat.
func sent(r *http.Request) string {
	return r.Header.Get("Authorization") + " " + r.Header.Get("X-Relay-Key") + " " + r.URL.RawQuery
}

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusForbidden)
	body, _ := json.Marshal(map[string]any{"errors": []map[string]string{{"code": "DENIED", "message": "not with " + sent(r)}}})
	_, _ = w.Write(body)
}

// echoXML is S3's way: it names the argument that it does not like.
func echoXML(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusBadRequest)
	fmt.Fprintf(w, "<Error><Code>InvalidArgument</Code><Message>Unsupported Authorization Type</Message><ArgumentValue>%s</ArgumentValue></Error>", sent(r))
}

func echoType(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x "+sent(r))
	w.Header().Set("Docker-Content-Digest", sent(r))
	w.Header().Set("Docker-Ratelimit-Source", sent(r))
	w.Header().Set("Ratelimit-Remaining", "5;w=60")
	_, _ = io.WriteString(w, "{}")
}

// reload loads a file that names an egress that is not there, and then the good
// one again.
func (w *canaryWorld) reload() {
	good, err := os.ReadFile(w.file)
	if err != nil {
		w.t.Fatal(err)
	}
	bad := strings.Replace(string(good), `egress = "corp"`, `egress = "`+"u:"+`nowhere"`, 1) + "\nnonsense = 1\n"
	if err := os.WriteFile(w.file, []byte(bad), 0o600); err != nil {
		w.t.Fatal(err)
	}
	_, err = config.Load(w.file)
	if err == nil {
		w.t.Fatal("the bad file is good")
	}
	w.Daemon.ReloadFailed(err)
	if err := os.WriteFile(w.file, good, 0o600); err != nil {
		w.t.Fatal(err)
	}
	cfg, err := config.Load(w.file)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.Daemon.Reload(cfg); err != nil {
		w.t.Fatal(err)
	}
}

// TestCanariesAreUsed: each secret does reach the one that it is for; else
// TestCanary would prove nothing.
func TestCanariesAreUsed(t *testing.T) {
	t.Parallel()
	w := newCanaryWorld(t)
	w.probed("hub", "vault", "relay")
	w.pull()
	w.hub.Break(simnet.ConnRefused)
	w.eventually("the vault is asked", func() bool { w.pull(); return w.asked("vault", "", simnet.Manifests) > 0 })
	w.vault.Break(simnet.ConnRefused)
	w.eventually("the relay is asked", func() bool { w.pull(); return w.asked("relay", "", simnet.Manifests) > 0 })
	for name, c := range canaries {
		for _, server := range c.at[:min(1, len(c.at))] {
			found := false
			for _, e := range w.net.Ledger().Leaks(c.secret) {
				found = found || e.Server == server
			}
			if !found {
				t.Errorf("%s never saw the %s", server, name)
			}
		}
	}
	w.listen()
}
