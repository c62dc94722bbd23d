package warm

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Our own daemon is known by its certificate, whatever name that is for; another's
// is not ours.
func TestPinned(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	ours := server.Certificate()
	other := *ours
	other.Raw = append([]byte{}, ours.Raw...)
	other.Raw[len(other.Raw)-1] ^= 1 // its signature, which no check reads
	for cert, want := range map[*x509.Certificate]bool{ours: true, &other: false} {
		path := filepath.Join(t.TempDir(), "cert.pem")
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		transport, err := Pinned(path)
		if err != nil {
			t.Fatal(err)
		}
		m := NewMirror(server.URL, transport, "test")
		resp, err := m.http.Get(strings.Replace(server.URL, "127.0.0.1", "localhost", 1))
		if (err == nil) != want {
			t.Errorf("trusted %v, want %v: %v", err == nil, want, err)
		}
		if err == nil {
			resp.Body.Close()
		}
		m.Close()
	}
	if _, err := Pinned("pinned.go"); err == nil {
		t.Error("any file is a certificate")
	}
}
