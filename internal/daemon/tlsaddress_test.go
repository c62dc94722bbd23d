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

// A listener with a certificate is https:// wherever its address is shown.
func TestAddressOfATLSListener(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server := httptest.NewUnstartedServer(nil) // it has a certificate for 127.0.0.1
	server.StartTLS()
	cert := server.TLS.Certificates[0]
	server.Close()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certFile := write("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))
	keyFile := write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	r := &rig{t: t, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, log: &safeBuffer{}, path: write("pullchain.toml", fmt.Appendf(nil, `
[server]
listen = "127.0.0.1:0"
tls_cert = %q
tls_key = %q
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
`, certFile, keyFile))}
	r.start()
	defer r.end()
	if s := r.Daemon.Snapshot(); !s.ListenTLS || s.AdminURL != "https://mirror.example.com/" {
		t.Errorf("the snapshot says listen_tls %t, admin_url %q", s.ListenTLS, s.AdminURL)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.Daemon.AdminAddr()+"/setup", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	resp, err := r.client.Do(req)
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
