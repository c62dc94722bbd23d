package egress

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		cfg  Config
		want string // "" for valid
	}{
		{"zero", Config{}, ""},
		{"direct", Config{URL: "direct"}, ""},
		{"env", Config{URL: "env"}, ""},
		{"http", Config{URL: "http://proxy.example"}, ""},
		{"https", Config{URL: "https://proxy.example:8443/"}, ""},
		{"socks5", Config{URL: "socks5://127.0.0.1:1080", Username: "u", Password: "p"}, ""},
		{"socks5h IPv6", Config{URL: "SOCKS5H://[::1]:1080"}, ""},
		{"password from a file", Config{URL: "http://p:1", Username: "u", PasswordFile: "/f"}, ""},
		{"unknown word", Config{Name: "x", URL: "tor"}, `egress.x: url: is neither "direct", "env" nor scheme://host:port`},
		{"unknown scheme", Config{URL: "socks4://h:1"}, "egress: url: scheme must be http, https, socks5 or socks5h"},
		{"no host", Config{URL: "http://:3128"}, `egress: url: is neither "direct", "env" nor scheme://host:port`},
		{"path", Config{URL: "http://h:1/proxy.pac"}, "egress: url: must end after the port"},
		{"host that is dialled by another name", Config{URL: "https://prüfer.example:8443"}, "egress: url: host must be in ASCII: write it in punycode, as xn--…"},
		{"login in the URL", Config{URL: "http://u:" + canary + "@h:1"}, "egress: url: holds a login; use username and password_file"},
		{"login in a broken URL", Config{URL: "http://u:" + canary + "@h:port"}, `egress: url: is neither "direct", "env" nor scheme://host:port`},
		{"login without proxy", Config{Username: "u"}, "egress: username and password_file need a proxy url"},
		{"login with env", Config{URL: "env", Username: "u"}, "egress: username and password_file need a proxy url"},
		{"password alone", Config{URL: "http://h", Password: canary}, "egress: username: is missing beside password_file"},
		{"long SOCKS user", Config{URL: "socks5://h", Username: strings.Repeat("u", 256)}, "egress: username, password_file: SOCKS5 takes 255 bytes at most"},
	} {
		got := ""
		if err := tt.cfg.Validate(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: Validate() = %q; want %q", tt.name, got, tt.want)
		}
	}
}

// TestEnvironment names for some targets the proxy that the variables lead to.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		env  map[string]string
		want map[string]string // target -> proxy, "" for direct
	}{
		{"nothing set", nil, map[string]string{"https://a.example/": ""}},
		{"HTTPS_PROXY", map[string]string{"HTTPS_PROXY": "http://p.example:3128"}, map[string]string{
			"https://a.example/": "http://p.example:3128",
			"http://a.example/":  "",
		}},
		{"each its own", map[string]string{"HTTPS_PROXY": "socks5h://s.example", "HTTP_PROXY": "p.example:8080"}, map[string]string{
			"https://a.example/": "socks5h://s.example:1080",
			"http://a.example/":  "http://p.example:8080",
		}},
		{"ALL_PROXY fills in", map[string]string{"ALL_PROXY": "socks5://s.example:9", "http_proxy": "http://p.example"}, map[string]string{
			"https://a.example/": "socks5://s.example:9",
			"http://a.example/":  "http://p.example:80",
		}},
		{"lower case wins", map[string]string{"HTTPS_PROXY": "http://upper", "https_proxy": "http://lower"}, map[string]string{
			"https://a.example/": "http://lower:80",
		}},
		{"login", map[string]string{"HTTPS_PROXY": "https://u:p@p.example"}, map[string]string{
			"https://a.example/": "https://u:p@p.example:443",
		}},
	} {
		checkEnvironment(t, tt.name, tt.env, tt.want)
	}
}

func TestNoProxy(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		env  map[string]string
		want map[string]string
	}{
		{"NO_PROXY", map[string]string{"ALL_PROXY": "http://p", "NO_PROXY": "corp.example, .sub.test,10.0.0.0/8,[2001:db8::1]:443,*.star.test,x.test:5000,fe80::1%eth0,,:80"}, map[string]string{
			"https://corp.example/":      "",
			"https://a.corp.example/":    "",
			"https://notcorp.example/":   "http://p:80",
			"https://sub.test/":          "http://p:80",
			"https://a.sub.test/":        "",
			"https://a.star.test/":       "",
			"https://star.test/":         "http://p:80",
			"https://10.1.2.3:5000/":     "",
			"https://[::ffff:10.1.2.3]/": "",
			"https://11.1.2.3/":          "http://p:80",
			"https://[2001:db8::1]/":     "",
			"https://[2001:db8::1]:81/":  "http://p:80",
			"https://x.test:5000/":       "",
			"https://x.test/":            "http://p:80",
			"https://localhost:1/":       "",
			"https://127.9.9.9/":         "",
			"https://[::1]/":             "",
			"https://[fe80::1%25eth0]/":  "http://p:80",
		}},
		{"NO_PROXY for all", map[string]string{"ALL_PROXY": "http://p", "no_proxy": "a.test, *"}, map[string]string{
			"https://corp.example/": "",
			"http://10.0.0.1/":      "",
		}},
		// Go's own matcher once let a zone id pass for a domain.
		{"CVE-2025-22870", map[string]string{"ALL_PROXY": "http://p", "NO_PROXY": "*.example.com"}, map[string]string{
			"https://[fe80::1%25.example.com]/": "http://p:80",
		}},
	} {
		checkEnvironment(t, tt.name, tt.env, tt.want)
	}
}

// checkEnvironment asserts which proxy env leads to for the targets of want.
func checkEnvironment(t *testing.T, name string, env, want map[string]string) {
	t.Helper()
	r, err := newRoute(Config{URL: Environment}, func(name string) string { return env[name] })
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	got := make(map[string]string)
	for target := range want {
		got[target] = ""
		if r.pick == nil {
			continue
		}
		if proxy := r.pick(mustURL(t, target)); proxy != nil {
			got[target] = proxy.String()
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestEnvironmentThatIsWrong(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"socks4://p:1080":               `egress "env": HTTPS_PROXY: scheme must be http, https, socks5 or socks5h`,
		"http://u:" + canary + "@p:abc": `egress "env": HTTPS_PROXY: is neither "direct", "env" nor scheme://host:port`,
	} {
		_, err := newRoute(Config{URL: Environment}, func(name string) string {
			if name == "HTTPS_PROXY" {
				return value
			}
			return ""
		})
		if err == nil || err.Error() != want {
			t.Errorf("HTTPS_PROXY=%s: %v; want %s", value, err, want)
		}
	}
}

// TestEnvironmentIsReadOnce: a changed variable must not split one upstream's
// pulls over two proxies.
func TestEnvironmentIsReadOnce(t *testing.T) {
	p := &fakeProxy{to: refusing(t)}
	first := listen(t, p.serveHTTP)
	t.Setenv("http_proxy", "http://"+first)
	t.Setenv("no_proxy", "")
	transport, err := NewTransport(TransportConfig{Egress: Config{URL: Environment}})
	if err != nil {
		t.Fatal(err)
	}
	defer transport.CloseIdleConnections()
	t.Setenv("http_proxy", "http://"+refusing(t))
	if got := get(t, transport, "http://plain.example/v2/"); got != "proxied" {
		t.Errorf("body = %q; want the first proxy's", got)
	}
	if diff := cmp.Diff([]string{"GET http://plain.example/v2/"}, p.requests()); diff != "" {
		t.Errorf("requests at the proxy (-want +got):\n%s", diff)
	}
}
