// Package config_test starts every example of this folder and pulls through it.
//
// An example is run as it stands, but for what a test cannot have (start):
//   - what lies below /etc/pullchain and /srv/pullchain is in a folder of the test,
//   - it listens at free ports of 127.0.0.1,
//   - its ways out, "direct" and "env" among them, are proxies into a simulated internet,
//     where each host that it names is a server with a certificate of that internet's CA.
package config_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/daemon"
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/leaktest"
	"github.com/pullchain/pullchain/internal/simnet"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const workerKey = "the-key-of-the-worker"

// secret is what a file of that name holds.
func secret(file string) string { return "the-secret-of-" + file }

// An example is a daemon that runs one.
type example struct {
	t      *testing.T
	world  *world
	Daemon *daemon.Daemon
	base   string // its first listener, as "https://127.0.0.1:40001"
	host   string // by which clients know it; "" is its address
	header http.Header
	client *http.Client
}

// start runs an example in w. It ends with the test.
func start(t *testing.T, w *world, file string) *example {
	t.Helper()
	cfg, err := config.Load(settle(t, w, file))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Server.Listen, cfg.Server.DrainTimeout, cfg.Server.Drain = "127.0.0.1:0", time.Second, "refuse"
	cfg.Admin.Listen, cfg.Admin.StateDir, cfg.Cache.Dir = "127.0.0.1:0", "off", t.TempDir()
	for i := range cfg.Listeners {
		cfg.Listeners[i].Listen = "127.0.0.1:0"
	}
	ca := filepath.Join(t.TempDir(), "internet.pem")
	write(t, ca, w.CAPEM())
	for i := range cfg.Registries {
		for j := range cfg.Registries[i].Upstreams {
			if u := &cfg.Registries[i].Upstreams[j]; u.CAFile == "" {
				u.CAFile = ca
			}
		}
	}
	cfg.Egress = waysOut(t, w, cfg.Egress)

	d, err := daemon.New(cfg, daemon.Options{Version: "test", Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Listen(); err != nil {
		t.Fatal(err)
	}
	e := &example{t: t, world: w, Daemon: d, base: "http://" + d.Addr(), header: http.Header{}}
	if cfg.Server.TLSCert != "" {
		e.base = "https://" + d.Addr()
	}
	if hosts := cfg.Server.AllowedHosts; len(hosts) > 0 {
		e.host = hosts[0]
	}
	transport := &http.Transport{TLSClientConfig: trusting(certificate(t))}
	e.client = &http.Client{Transport: transport, Timeout: time.Minute}
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the daemon ended: %v", err)
		}
	})
	return e
}

// settle copies an example to where its files are, and returns the copy.
func settle(t *testing.T, w *world, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	hash, err := bcrypt.GenerateFromPassword([]byte(secret("team.password")), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "users"), fmt.Appendf(nil, "alice:%s\n", hash))
	write(t, filepath.Join(dir, "site-ca.pem"), w.CAPEM())
	both := certificate(t)
	write(t, filepath.Join(dir, "tls.crt"), both)
	write(t, filepath.Join(dir, "tls.key"), both)
	for _, name := range []string{"hub.password", "team.password", "proxy.password", "socks.password", "origin.secret", "admin.token",
		"telegram.token", "dingtalk.secret", "feishu.secret", "pager.secret"} {
		write(t, filepath.Join(dir, name), []byte(secret(name)+"\n"))
	}
	for _, name := range []string{"slack.url", "dingtalk.url", "feishu.url", "wecom.url"} {
		write(t, filepath.Join(dir, name), []byte("https://chat.example.com/hook\n"))
	}
	path := filepath.Join(dir, "pullchain.toml")
	write(t, path, []byte(strings.NewReplacer("/etc/pullchain/", dir+"/", "/srv/pullchain", dir+"/srv").Replace(string(text))))
	return path
}

// waysOut are proxies into w: one for each egress of the example, of its kind and with its
// login, and one that stands for the cable.
func waysOut(t *testing.T, w *world, named map[string]egress.Config) map[string]egress.Config {
	t.Helper()
	out := map[string]egress.Config{}
	for name, e := range named {
		cfg := simnet.ProxyConfig{Origin: simnet.Origin{Name: name}, Username: e.Username, Password: string(e.Password)}
		if strings.HasPrefix(e.URL, "socks5://") {
			e.URL = w.AddSOCKSProxy(cfg).URL()
		} else {
			e.URL = w.AddConnectProxy(cfg).URL()
		}
		out[name] = e
	}
	for _, name := range []string{egress.Direct, "env"} {
		cable := w.Server("cable")
		if cable == nil {
			cable = w.AddConnectProxy(simnet.ProxyConfig{Origin: simnet.Origin{Name: "cable"}}).Server
		}
		out[name] = egress.Config{Name: name, URL: "http://" + cable.Addr()}
	}
	return out
}

// certificate is one for 127.0.0.1 with its key, in PEM.
func certificate(t *testing.T) []byte {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	cert := server.TLS.Certificates[0]
	server.Close()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
}

func trusting(roots []byte) *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	return &tls.Config{RootCAs: pool}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// get asks at url, which begins with "/" where the first listener is meant.
func (e *example) get(url string) (int, []byte) {
	e.t.Helper()
	if strings.HasPrefix(url, "/") {
		url = e.base + url
	}
	req, err := http.NewRequestWithContext(e.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	req.Host, req.Header = e.host, e.header
	resp, err := e.client.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatalf("%s: %v", url, err)
	}
	return resp.StatusCode, body
}

// pull fetches an image as a client does, and compares each byte of it. The form is a URL of
// which "*" is what follows /v2/ at the registry itself: "/v2/ghcr.io/*", "/v2/*?ns=quay.io".
func (e *example) pull(form string, image *simnet.Content) {
	e.t.Helper()
	want := map[string][]byte{image.Path(): image.Manifest()}
	for d, blob := range image.Blobs {
		want[image.BlobPath(d)] = blob
	}
	for path, bytesOf := range want {
		url := strings.Replace(form, "*", strings.TrimPrefix(path, "/v2/"), 1)
		if status, body := e.get(url); status != http.StatusOK || !bytes.Equal(body, bytesOf) {
			e.t.Fatalf("%s: status %d, %d bytes, want %d: %.300q", url, status, len(body), len(bytesOf), body)
		}
	}
}

// wantStatus asks for an image's manifest, and wants no more than a status.
func (e *example) wantStatus(image *simnet.Content, status int) {
	e.t.Helper()
	if got, body := e.get(image.Path()); got != status {
		e.t.Errorf("%s: status %d, want %d: %.300q", image.Path(), got, status, body)
	}
}
