//go:build e2e

package worker_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/simnet"
	"github.com/pullchain/pullchain/upstreams"
)

const secret = "canary-shared-secret"

var image = simnet.Image{Repo: "library/app", Tags: []string{"1"}, Layers: []simnet.Layer{{Size: 1 << 20}}}

// world is a hub, the image that it has, and a Worker in front of it.
type world struct {
	net     *simnet.Net
	hub     *simnet.Hub
	content *simnet.Content
	url     string // the Worker's
}

// newWorld starts them. The hub is the Worker's docker.io and its ghcr.io, and
// change, if not nil, may alter its entry in the Worker's table.
func newWorld(t *testing.T, change func(entry map[string]any)) *world {
	t.Helper()
	n := simnet.New(simnet.Config{})
	t.Cleanup(n.Close)
	hub := n.AddHub(simnet.HubConfig{
		Origin: simnet.Origin{Name: "hub"},
		Images: []simnet.Image{image},
		Quota:  simnet.Quota{Limit: 100},
		Auth:   simnet.AuthConfig{Users: map[string]string{"ann": "canary-password"}},
	})
	entry := map[string]any{"origin": hub.URL(), "auth": []string{hub.Auth.Addr()}, "blobs": []string{hub.CDN.Addr()}}
	if change != nil {
		change(entry)
	}
	table, err := json.Marshal(map[string]any{"docker.io": entry, "ghcr.io": entry})
	if err != nil {
		t.Fatal(err)
	}
	return &world{net: n, hub: hub, content: n.Build(image), url: startWorker(t, n.CAPEM(), string(table))}
}

// startWorker runs test/run.mjs until the test ends and returns its URL.
func startWorker(t *testing.T, ca []byte, registries string) string {
	t.Helper()
	if _, err := os.Stat(filepath.Join("test", "node_modules", "workerd")); errors.Is(err, os.ErrNotExist) {
		t.Fatal("workerd is not installed: run `npm install` in examples/worker/test")
	}
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", filepath.Join("test", "run.mjs"), "--ca", caFile, "--registries", registries)
	cmd.Env = append(os.Environ(), "SHARED_SECRET="+secret)
	cmd.Stderr = t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that workerd can be ended too, whatever happens
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(2*time.Minute, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("run.mjs after SIGTERM: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	at, ready := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if !ready {
		t.Fatalf("run.mjs says %q, %v", line, err)
	}
	return at
}

// ask sends one request to the Worker, with the shared secret, and reads the
// whole answer. headers are pairs.
func (w *world) ask(t *testing.T, method, path string, headers ...string) (*http.Response, []byte, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Pullchain-Key", secret)
	for pair := range slices.Chunk(headers, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	transport := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

// login returns the Authorization for pulling the image, got as a client gets
// it: by the challenge.
func (w *world) login(t *testing.T) string {
	t.Helper()
	resp, _, _ := w.ask(t, "HEAD", w.content.Path())
	fields := map[string]string{}
	for param := range strings.SplitSeq(strings.TrimPrefix(resp.Header.Get("WWW-Authenticate"), "Bearer "), ",") {
		key, value, _ := strings.Cut(param, "=")
		fields[key] = strings.Trim(value, `"`)
	}
	realm, own := strings.CutPrefix(fields["realm"], w.url)
	if resp.StatusCode != http.StatusUnauthorized || !own {
		t.Fatalf("HEAD without a token: %d, realm %q", resp.StatusCode, fields["realm"])
	}
	_, body, err := w.ask(t, "GET", realm+"&"+url.Values{"service": {fields["service"]}, "scope": {fields["scope"]}}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Token string }
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("token answer %q: %v", body, err)
	}
	return "Bearer " + answer.Token
}

// asked are the requests that the servers saw, as "METHOD server class status".
func (w *world) asked() []string {
	var lines []string
	for _, e := range w.net.Ledger().All() {
		lines = append(lines, strings.Join([]string{e.Method, e.Server, e.Class.String(), http.StatusText(e.Status)}, " "))
	}
	return lines
}

func TestPullOverTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	layer, want := w.content.Layer(0)
	auth := w.login(t)
	w.net.Ledger().Reset()

	head, _, _ := w.ask(t, "HEAD", w.content.Path(), "Authorization", auth)
	if got := head.Header.Get("Docker-Content-Digest"); got != w.content.Root.Digest.String() || head.ContentLength != w.content.Root.Size {
		t.Errorf("HEAD: digest %s, length %d, want %s, %d", got, head.ContentLength, w.content.Root.Digest, w.content.Root.Size)
	}
	if got := w.hub.Remaining("127.0.0.1"); got != 100 {
		t.Errorf("a HEAD has spent the quota: %d of 100 left", got)
	}
	get, body, err := w.ask(t, "GET", "/v2/app/manifests/1", "Authorization", auth)
	if err != nil || !bytes.Equal(body, w.content.Manifest()) {
		t.Errorf("manifest: %d bytes, %v", len(body), err)
	}
	if got := get.Header.Get("ratelimit-remaining"); got != "99;w=21600" {
		t.Errorf("ratelimit-remaining = %q", got)
	}
	_, body, err = w.ask(t, "GET", w.content.BlobPath(layer.Digest), "Authorization", auth)
	if err != nil || !bytes.Equal(body, want) {
		t.Errorf("blob: %d bytes, %v", len(body), err)
	}
	part, body, err := w.ask(t, "GET", w.content.BlobPath(layer.Digest), "Authorization", auth, "Range", "bytes=1000-")
	if err != nil || part.StatusCode != http.StatusPartialContent || !bytes.Equal(body, want[1000:]) {
		t.Errorf("range: status %d, %d bytes, %v", part.StatusCode, len(body), err)
	}
	if diff := cmp.Diff([]string{
		"HEAD hub manifest OK", "GET hub manifest OK",
		"GET hub blob Temporary Redirect", "GET hub-cdn blob OK",
		"GET hub blob Temporary Redirect", "GET hub-cdn blob Partial Content",
	}, w.asked()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	token := strings.TrimPrefix(auth, "Bearer docker.io~")
	if got := w.net.Ledger().Leaks(token, "hub"); len(got) > 0 {
		t.Errorf("the token was seen by %s", got[0].Server)
	}
	if got := w.net.Ledger().Leaks(secret); len(got) > 0 {
		t.Errorf("the shared secret was seen by %s", got[0].Server)
	}
}

func TestRefusalsOfTheRegistryArrive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	auth := w.login(t)
	w.hub.SetRemaining("127.0.0.1", 0)
	resp, body, _ := w.ask(t, "GET", w.content.Path(), "Authorization", auth)
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("ratelimit-remaining") != "0;w=21600" || !bytes.Contains(body, []byte("TOOMANYREQUESTS")) {
		t.Errorf("spent quota: %d %v %s", resp.StatusCode, resp.Header, body)
	}
	if resp, _, _ := w.ask(t, "HEAD", w.content.Path(), "Authorization", auth); resp.StatusCode != http.StatusOK {
		t.Errorf("HEAD with a spent quota: %d", resp.StatusCode)
	}
	layer, _ := w.content.Layer(0)
	if resp, _, _ := w.ask(t, "GET", w.content.BlobPath(layer.Digest), "Authorization", auth); resp.StatusCode != http.StatusOK {
		t.Errorf("blob with a spent quota: %d", resp.StatusCode)
	}
	undo := w.hub.Inject(simnet.HAP429())
	if resp, body, _ := w.ask(t, "GET", "/v2/"); resp.StatusCode != http.StatusTooManyRequests || string(body) != "Too Many Requests (HAP429).\n" {
		t.Errorf("abuse limit: %d %q", resp.StatusCode, body)
	}
	undo()
	w.hub.Inject(simnet.TooManyAfter(7*time.Second, false))
	if resp, _, _ := w.ask(t, "GET", w.content.Path(), "Authorization", auth); resp.Header.Get("Retry-After") != "7" {
		t.Errorf("Retry-After = %q", resp.Header.Get("Retry-After"))
	}
}

func TestRedirectsAreGuarded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	auth := w.login(t)
	other := w.net.AddOrigin(simnet.Origin{Name: "other", Handler: http.NotFoundHandler()})
	for name, to := range map[string]string{
		"a host that is not listed": other.URL() + "/x",
		"plain http":                strings.Replace(w.hub.CDN.URL(), "https:", "http:", 1) + "/x",
		"the metadata service":      "https://169.254.169.254/latest",
	} {
		undo := w.hub.Inject(simnet.RedirectTo(to))
		resp, body, _ := w.ask(t, "GET", w.content.Path(), "Authorization", auth)
		if resp.StatusCode != http.StatusBadGateway || !bytes.Contains(body, []byte("UNAVAILABLE")) {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
		undo()
	}
	if n := w.net.Ledger().Count(simnet.Filter{Server: "other"}) + w.net.Ledger().Count(simnet.Filter{Server: "hub-cdn"}); n != 0 {
		t.Errorf("%d requests went where a redirect must not lead", n)
	}
	w.net.Ledger().Reset()
	w.hub.Inject(simnet.RedirectChain())
	if resp, _, _ := w.ask(t, "GET", w.content.Path(), "Authorization", auth); resp.StatusCode != http.StatusBadGateway {
		t.Errorf("endless redirects: %d", resp.StatusCode)
	}
	if n := w.net.Ledger().Count(simnet.Filter{}); n != 6 {
		t.Errorf("%d requests for endless redirects, want 6", n)
	}
}

func TestBrokenBodiesStayBroken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	auth := w.login(t)
	layer, want := w.content.Layer(0)
	for name, end := range map[string]simnet.Ending{"FIN": simnet.EndFIN, "RST": simnet.EndRST} {
		undo := w.hub.CDN.Inject(simnet.Fault{Cut: end, CutFraction: 0.4})
		_, body, err := w.ask(t, "GET", w.content.BlobPath(layer.Digest), "Authorization", auth)
		if err == nil || len(body) == len(want) || !bytes.HasPrefix(want, body) {
			t.Errorf("%s: %d bytes, error %v: want a true prefix and an error", name, len(body), err)
		}
		undo()
	}
}

func TestTLSFaultsAreNotOverlooked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, fault := range []simnet.ConnFault{simnet.ConnExpiredCert, simnet.ConnWrongHost, simnet.ConnUnknownCA, simnet.ConnNotTLS, simnet.ConnRefused} {
		w.hub.CloseConnections()
		w.hub.Break(fault)
		if resp, body, _ := w.ask(t, "GET", "/v2/"); resp.StatusCode != http.StatusBadGateway || !json.Valid(body) {
			t.Errorf("%v: %d %s", fault, resp.StatusCode, body)
		}
		w.hub.Mend()
	}
	if resp, _, _ := w.ask(t, "GET", "/v2/"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("after the faults: %d", resp.StatusCode)
	}
}

func TestRealmsAreGuarded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	thief := w.net.AddOrigin(simnet.Origin{Name: "thief", Handler: http.NotFoundHandler()})
	w.hub.SetRealm(thief.URL() + "/token")
	req := "/v2/auth?ns=docker.io&scope=repository:library/app:pull"
	if resp, body, _ := w.ask(t, "GET", req, "Authorization", "Basic YW5uOmNhbmFyeS1wYXNzd29yZA=="); resp.StatusCode != http.StatusBadGateway {
		t.Errorf("a thief's realm: %d %s", resp.StatusCode, body)
	}
	w.hub.SetRealm("")
	if resp, body, _ := w.ask(t, "GET", req, "Authorization", "Basic YW5uOmNhbmFyeS1wYXNzd29yZA=="); resp.StatusCode != http.StatusOK {
		t.Errorf("a login: %d %s", resp.StatusCode, body)
	}
	if got := w.net.Ledger().Leaks("canary-password", "hub-auth"); len(got) > 0 || w.net.Ledger().Count(simnet.Filter{Server: "thief"}) > 0 {
		t.Errorf("the login was seen by others: %v", got)
	}
}

// TestAsUpstream is the Worker as README.md puts it into pullchain.toml, asked
// by the very code that does so.
func TestAsUpstream(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"bare": "", "docker.io": "/docker.io/v2", "ghcr.io": "/ghcr.io/v2", "ghcr.io as a prefix": "/ghcr.io"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			u := w.upstream(t, path, secret)
			if err := u.Ping(t.Context()); err != nil {
				t.Fatalf("Ping: %v", err)
			}
			layer, want := w.content.Layer(0)
			req := pullchain.Request{Op: pullchain.Manifest, Registry: "docker.io", Repo: image.Repo, Tag: "1"}
			if got := fetch(t, u, req); !bytes.Equal(got, w.content.Manifest()) {
				t.Errorf("manifest of %d bytes", len(got))
			}
			blob := pullchain.Request{Op: pullchain.Blob, Registry: "docker.io", Repo: image.Repo, Digest: digest.Digest(layer.Digest)}
			if got := fetch(t, u, blob); !bytes.Equal(got, want) {
				t.Errorf("blob of %d bytes", len(got))
			}
			blob.Range = pullchain.Range{From: 1000}
			if got := fetch(t, u, blob); !bytes.Equal(got, want[1000:]) {
				t.Errorf("range of %d bytes", len(got))
			}
			tokens := w.net.Ledger().Count(simnet.Filter{Server: "hub-auth", Status: http.StatusOK})
			if counted := w.net.Ledger().Count(simnet.Filter{Server: "hub", Method: "GET", Class: simnet.Manifests, Status: http.StatusOK}); counted != 1 || tokens != 1 {
				t.Errorf("%d counted pulls, %d token calls, want 1 and 1:\n%s", counted, tokens, strings.Join(w.asked(), "\n"))
			}
			if got := w.net.Ledger().Leaks(secret); len(got) > 0 {
				t.Errorf("the shared secret was seen by %s", got[0].Server)
			}
		})
	}
}

func TestAsUpstreamWithTheWrongSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	u := w.upstream(t, "", "guess")
	_, err := u.Fetch(t.Context(), pullchain.Request{Op: pullchain.Manifest, Registry: "docker.io", Repo: image.Repo, Tag: "1"})
	if got := pullchain.ReasonOf(err); got != pullchain.Denied {
		t.Errorf("reason %v (%v), want %v", got, err, pullchain.Denied)
	}
	if asked := w.asked(); len(asked) > 0 {
		t.Errorf("the registry was asked: %q", asked)
	}
}

func (w *world) upstream(t *testing.T, path, key string) *upstreams.Upstream {
	t.Helper()
	u, err := upstreams.New(upstreams.Config{
		Name:    "cf-worker",
		URL:     w.url + path,
		Headers: map[string]pullchain.Secret{"X-Pullchain-Key": pullchain.Secret(key)},
		// The machine may be slow.
		Timeouts: upstreams.Timeouts{Connect: time.Minute, Header: time.Minute, Stall: time.Minute},
	}, egress.Config{URL: "direct"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Close)
	return u
}

// fetch returns the body of what req asks for.
func fetch(t *testing.T, u *upstreams.Upstream, req pullchain.Request) []byte {
	t.Helper()
	resp, err := u.Fetch(t.Context(), req)
	if err != nil {
		t.Fatalf("%v: %v", req.Op, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%v: %v", req.Op, err)
	}
	return body
}
