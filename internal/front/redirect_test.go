package front

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What asks for http is sent to https, by the name that it used, and gets nothing else.
func TestRedirectToHTTPS(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		listen, method, url, host string
		status                    int
		location                  string
	}{
		{":443", "GET", "/v2/alpine/manifests/3?ns=docker.io", "mirror.example.com", 308, "https://mirror.example.com/v2/alpine/manifests/3?ns=docker.io"},
		{":8443", "HEAD", "/", "mirror.example.com:80", 308, "https://mirror.example.com:8443/"},
		{":443", "GET", "/a%2fb", "[2001:db8::1]:80", 308, "https://[2001:db8::1]/a%2fb"},
		{":443", "GET", "//evil.example/x", "10.1.2.3", 308, "https://10.1.2.3//evil.example/x"},
		{":443", "POST", "/v2/", "mirror.example.com", 405, ""},
		{":443", "OPTIONS", "/v2/", "mirror.example.com", 405, ""},
		{":443", "GET", "/", "evil.example", 403, ""},
		{":443", "GET", "/", "mirror.example.com@evil.example", 403, ""},
		{":443", "GET", "/", "", 403, ""},
	} {
		c := Config{Listen: tt.listen, AllowedHosts: []string{"mirror.example.com"}}
		r := httptest.NewRequest(tt.method, tt.url, nil)
		if strings.HasPrefix(tt.url, "//") {
			r = httptest.NewRequest(tt.method, "/", nil)
			r.URL.Path = tt.url
		}
		r.Host = tt.host
		r.Header.Set("Authorization", "Basic x")
		w := httptest.NewRecorder()
		NewRedirect(c, tt.listen, slog.New(slog.DiscardHandler)).Handler.ServeHTTP(w, r)
		if w.Code != tt.status || w.Header().Get("Location") != tt.location || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s of %s: %d to %q, want %d to %q", tt.method, tt.url, tt.host, w.Code, w.Header().Get("Location"), tt.status, tt.location)
		}
		if tt.method == http.MethodHead && w.Body.Len() != 0 {
			t.Errorf("HEAD has a body: %q", w.Body)
		}
	}
}
