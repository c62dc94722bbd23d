package dashboard_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/admin"
)

// The address on the page of setting up is one that clients can use from where the page
// is read.
func TestMirrorAddress(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, listen string
		tls          bool
		adminURL     string
		host         string // that the browser used
		want         string
	}{
		{"of this machine", "127.0.0.1:5151", false, "", "127.0.0.1:5152", "http://127.0.0.1:5151"},
		{"by TLS", "127.0.0.1:5151", true, "", "127.0.0.1:5152", "https://127.0.0.1:5151"},
		{"of all addresses", "[::]:5151", true, "", "mirror.example.com:5152", "https://mirror.example.com:5151"},
		{"of all addresses, at the default port", ":5151", false, "", "10.0.0.5", "http://10.0.0.5:5151"},
		{"of all addresses, by IPv6", "[::]:5151", false, "", "[2001:db8::1]:5152", "http://[2001:db8::1]:5151"},
		{"through a tunnel", "0.0.0.0:5151", true, "https://mirror.example.com/", "localhost:5152", "https://mirror.example.com:5151"},
		{"through a tunnel, to one address", "10.0.0.5:5151", true, "https://mirror.example.com/", "localhost:5152", "https://10.0.0.5:5151"},
		{"as the browser has it", "0.0.0.0:5151", false, "https://mirror.example.com/", "10.0.0.5:5152", "http://10.0.0.5:5151"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := over(func() admin.Snapshot {
				s := healthy()
				s.Listen, s.ListenTLS, s.AdminURL = tt.listen, tt.tls, tt.adminURL
				return s
			})
			r := httptest.NewRequest(http.MethodGet, "/setup", nil)
			r.Host = tt.host
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			page := w.Body.String()
			if !strings.Contains(page, "<code>"+tt.want+"</code>") || !strings.Contains(page, "&#34;registry-mirrors&#34;: [&#34;"+tt.want+"&#34;]") {
				t.Errorf("no %s", tt.want)
			}
			other := "http://"
			if !tt.tls {
				other = "https://"
			}
			if strings.Contains(page, other+strings.SplitN(tt.want, "://", 2)[1]) {
				t.Error("it is there with the other scheme as well")
			}
			if got := strings.Contains(page, "insecure = true"); got == tt.tls {
				t.Errorf("insecure is said: %v", got)
			}
			if got := strings.Contains(page, "ca.crt"); got != tt.tls {
				t.Errorf("certificates are spoken of: %v", got)
			}
		})
	}
}
