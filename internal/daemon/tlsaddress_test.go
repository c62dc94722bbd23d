package daemon_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// keyPair writes a certificate for 127.0.0.1 and its key, and returns where they are.
func keyPair(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	cert := server.TLS.Certificates[0]
	server.Close()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	write(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))
	write(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	return certFile, keyFile
}

// write writes a file for one test.
func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A listener with a certificate is https:// wherever its address is shown.
func TestAddressOfATLSListener(t *testing.T) {
	t.Parallel()
	certFile, keyFile := keyPair(t)
	path := filepath.Join(t.TempDir(), "pullchain.toml")
	r := &rig{t: t, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, log: &safeBuffer{}, path: path}
	write(t, path, fmt.Appendf(nil, `
[server]
listen = "127.0.0.1:0"
tls_cert = %q
tls_key = %q
redirect_listen = "127.0.0.1:0"
drain_timeout = "1s"
[admin]
listen = "127.0.0.1:0"
state_dir = "off"
url = "https://mirror.example.com/"
[cache]
enabled = false
[[registry]]
name = "docker.io"
[[registry.upstream]]
name = "hub"
url = "https://127.0.0.1:1"
trust = "resolve"
allow_private = true
`, certFile, keyFile))
	r.start()
	defer r.end()
	if s := r.Daemon.Snapshot(); !s.ListenTLS || s.AdminURL != "https://mirror.example.com/" {
		t.Errorf("the snapshot says listen_tls %t, admin_url %q", s.ListenTLS, s.AdminURL)
	}
	client := &http.Client{Transport: r.client.Transport, CheckRedirect: noRedirect}
	resp, err := client.Get("http://" + r.Daemon.RedirectAddr() + "/v2/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if to := resp.Header.Get("Location"); resp.StatusCode != http.StatusPermanentRedirect || to != "https://"+r.Daemon.Addr()+"/v2/" {
		t.Errorf("redirect_listen: %d to %q", resp.StatusCode, to)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.Daemon.AdminAddr()+"/setup", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	resp, err = r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var page strings.Builder
	if err := resp.Write(&page); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(page.String(), "<code>https://"+r.Daemon.Addr()+"</code>") || strings.Contains(page.String(), "http://"+r.Daemon.Addr()) {
		t.Errorf("the page of setting up does not say https://%s", r.Daemon.Addr())
	}
}
