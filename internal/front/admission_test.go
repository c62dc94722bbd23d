package front

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/pullchain/pullchain/internal/access"
)

// admit gives h the access rules of c.
func admit(t *testing.T, h *Handler, c access.Config) {
	t.Helper()
	a, err := access.New(c, h.log)
	if err != nil {
		t.Fatal(err)
	}
	h.SetAccess(a)
}

// secretFile makes a file of the test.
func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func htpasswd(t *testing.T, user, password string) access.Config {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return access.Config{HtpasswdFile: secretFile(t, user+":"+string(hash)+"\n")}
}

// everyPath has one of each kind that is answered.
var everyPath = []string{
	"/v2/", "/v2", "/ghcr/v2/", "/v2/alpine/manifests/3.20", "/v2/ghcr.io/o/a/manifests/1", blobPath, blobPath + "?ns=ghcr.io",
	"/v2/alpine/tags/list", "/v2/alpine/referrers/" + string(layerDigest), "/v2/_catalog", "/v2/unknown.example/a/manifests/1", "/", "/favicon.ico", "/v2/..%2fa",
}

// Without a login nothing is told, not even which registries are served; with it all is as
// it would be without [access], and it goes no further than the front.
func TestLoginIsAskedForEverywhere(t *testing.T) {
	t.Parallel()
	f := &fakeFetcher{fetch: healthy}
	h, logs := newHandler(t, Config{}, f)
	s := serve(t, h)
	open := map[string]int{}
	for _, path := range everyPath {
		open[path] = do(t, s.Client(), "GET", s.URL+path).Status
	}
	asked := len(f.ledger())
	admit(t, h, htpasswd(t, "alice", "wonderland"))
	for _, path := range everyPath {
		for _, method := range []string{"GET", "HEAD"} {
			for _, login := range []string{"X: y", "Authorization: Basic YWxpY2U6bm8=", "Authorization: Bearer x"} {
				g := do(t, s.Client(), method, s.URL+path, login)
				if g.Status != 401 || g.Header.Get("WWW-Authenticate") != `Basic realm="pullchain"` || g.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s %s with %s: %d %v", method, path, login, g.Status, g.Header)
				}
				if method == "GET" && decodeError(t, g.Body).Code != "UNAUTHORIZED" {
					t.Errorf("%s: %s", path, g.Body)
				}
			}
		}
	}
	if n := len(f.ledger()); n != asked {
		t.Errorf("the chain was asked %d times for clients without a login", n-asked)
	}
	for _, path := range everyPath {
		g := do(t, s.Client(), "GET", s.URL+path, "Authorization: Basic YWxpY2U6d29uZGVybGFuZA==")
		if g.Status != open[path] || g.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s with the login: %d, want %d", path, g.Status, open[path])
		}
	}
	if log := fmt.Sprint(logs.all(t)); strings.Contains(log, "YWxpY2U6") || strings.Contains(log, "wonderland") {
		t.Errorf("the log has a login: %s", log)
	}
}

// What is refused for its form is so for all, and costs no hashing.
func TestFormComesBeforeTheLogin(t *testing.T) {
	t.Parallel()
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: healthy})
	admit(t, h, htpasswd(t, "alice", "wonderland"))
	s := serve(t, h)
	for _, tt := range []struct {
		method, header string
		want           int
	}{
		{"PUT", "X: y", 405}, {"OPTIONS", "X: y", 405}, {"GET", "Sec-Fetch-Site: cross-site", 403}, {"GET", "Host: evil.example", 403}, {"GET", "X: y", 401},
	} {
		if g := do(t, s.Client(), tt.method, s.URL+"/v2/", tt.header); g.Status != tt.want {
			t.Errorf("%s, %s: %d, want %d", tt.method, tt.header, g.Status, tt.want)
		}
	}
}

// F65: where a client is, is what its connection says. X-Forwarded-For counts only from a
// trusted proxy, and there only the last address that is not a proxy's.
func TestF65ForgedAddresses(t *testing.T) {
	t.Parallel()
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	office := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	for _, tt := range []struct {
		name    string
		trusted []netip.Prefix
		forward []string
		want    int
	}{
		{"no proxy", nil, nil, 403},
		{"forged", nil, []string{"10.1.2.3"}, 403},
		{"of a proxy", local, []string{"10.1.2.3"}, 200},
		{"of a proxy, from elsewhere", local, []string{"203.0.113.1"}, 403},
		{"forged before a proxy", local, []string{"10.1.2.3, 203.0.113.1"}, 403},
		{"forged in a line of its own", local, []string{"10.1.2.3", "203.0.113.1"}, 403},
		{"two proxies", local, []string{"10.1.2.3, 127.0.0.9"}, 200},
		{"no word of a proxy", local, nil, 403},
		{"no address", local, []string{"10.1.2.3, unknown"}, 403},
		{"mapped", local, []string{"::ffff:10.1.2.3"}, 200},
		{"IPv6", local, []string{"2001:db8::1"}, 200},
		{"IPv6 with a zone", local, []string{"2001:db8::1%eth0"}, 200},
	} {
		h, _ := newHandler(t, Config{TrustedProxies: tt.trusted}, &fakeFetcher{fetch: healthy})
		admit(t, h, access.Config{AllowCIDRs: office})
		s := serve(t, h)
		var headers []string
		for _, value := range tt.forward {
			headers = append(headers, "X-Forwarded-For: "+value)
		}
		g := do(t, s.Client(), "GET", s.URL+"/v2/", slices.Concat(headers, []string{"X-Real-IP: 10.1.2.3", "Forwarded: for=10.1.2.3"})...)
		if g.Status != tt.want {
			t.Errorf("%s: %d, want %d: %s", tt.name, g.Status, tt.want, g.Body)
		}
		if g.Status == 403 && decodeError(t, g.Body).Code != "DENIED" {
			t.Errorf("%s: %s", tt.name, g.Body)
		}
	}
}

// What a CDN shows is a secret of the two: it goes no further, and no other header does.
func TestOriginSecret(t *testing.T) {
	t.Parallel()
	const secret = "0123456789abcdef0123456789abcdef"
	h, logs := newHandler(t, Config{}, &fakeFetcher{fetch: healthy})
	admit(t, h, access.Config{OriginSecretHeader: "X-Origin-Secret", OriginSecretFile: secretFile(t, secret)})
	s := serve(t, h)
	for header, want := range map[string]int{
		"X-Origin-Secret: " + secret: 200, "x-origin-secret: " + secret: 200, "X-Origin-Secret: " + secret[1:]: 403, "X-Origin-Secret: ": 403, "X: " + secret: 403,
	} {
		if g := do(t, s.Client(), "GET", s.URL+"/v2/", header); g.Status != want || strings.Contains(g.Body, secret[1:]) || g.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: %d, want %d: %s", header, g.Status, want, g.Body)
		}
	}
	if log := fmt.Sprint(logs.all(t)); strings.Contains(log, secret) {
		t.Errorf("the log has the secret: %s", log)
	}
}

// F64: the refusal says when to come back, in whole seconds, and a /64 of IPv6 is one client.
func TestF64RateOfAClient(t *testing.T) {
	t.Parallel()
	f := &fakeFetcher{fetch: healthy}
	h, _ := newHandler(t, Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}, f)
	admit(t, h, access.Config{RateLimit: 0.1, RateBurst: 2})
	s := serve(t, h)
	for _, tt := range []struct {
		client string
		want   int
	}{
		{"2001:db8::1", 200}, {"2001:db8::ffff:2", 200}, {"2001:db8::3", 429}, {"2001:db8:0:1::1", 200},
		{"192.0.2.1", 200}, {"192.0.2.1", 200}, {"192.0.2.1", 429}, {"192.0.2.2", 200},
	} {
		g := do(t, s.Client(), "GET", s.URL+blobPath, "X-Forwarded-For: "+tt.client)
		if g.Status != tt.want {
			t.Errorf("%s: %d, want %d", tt.client, g.Status, tt.want)
		}
		if g.Status == 429 && (decodeError(t, g.Body).Code != "TOOMANYREQUESTS" || g.Header.Get("Retry-After") != "10") {
			t.Errorf("%s: %v %s", tt.client, g.Header, g.Body)
		}
	}
	if n := len(f.ledger()); n != 6 {
		t.Errorf("the chain was asked %d times, want 6", n)
	}
}
