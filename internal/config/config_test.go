package config_test

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/healthcheck"
	"github.com/pullchain/pullchain/internal/access"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/front"
	"github.com/pullchain/pullchain/internal/notify"
	"github.com/pullchain/pullchain/internal/otlp"
	"github.com/pullchain/pullchain/upstreams"
)

// full is what testdata/full.toml says. Its secrets are compared apart from
// this literal too, for cmp would call two different secrets "***".
func full() *config.Config {
	yes, no := true, false
	return &config.Config{
		Server: front.Config{
			Listen:            "0.0.0.0:5151",
			AllowedHosts:      []string{"mirror.example.com", "*.mirror.example.com"},
			TrustedProxies:    []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
			Drain:             front.DrainServe,
			DrainTimeout:      20 * time.Second,
			MaxInFlight:       500,
			ReserveInFlight:   200,
			MaxConnsPerClient: 100,
		},
		Listeners: []front.Listener{{Listen: "127.0.0.1:5001", Registry: "docker.io"}},
		Access: access.Config{
			AllowCIDRs:         []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
			DenyCIDRs:          []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")},
			OriginSecretHeader: "X-Origin-Secret",
			OriginSecretFile:   filepath.Join("testdata", "origin.txt"),
			HtpasswdFile:       filepath.Join("testdata", "htpasswd.txt"),
			RateLimit:          50,
			RateBurst:          200,
		},
		Admin: admin.Config{
			Listen: "127.0.0.1:6152", TokenFile: "secret.txt", Token: "correct horse battery staple",
			AllowedHosts: []string{"admin.example.com"}, Pprof: true,
		},
		Cache: cache.Config{
			Enabled: &no, Dir: "/var/lib/pullchain/cache", MaxSize: 50 << 30, TagTTL: new(2 * time.Minute), StaleIfError: 24 * time.Hour, VerifyMax: 2 << 30,
		},
		Log: config.Log{Level: "debug", Format: "json"},
		Egress: map[string]egress.Config{"clash": {
			Name: "clash", URL: "socks5://127.0.0.1:7891",
			Username: "me", PasswordFile: "secret.txt", Password: "correct horse battery staple",
		}},
		Registries: []config.Registry{{
			Name: "docker.io", Aliases: []string{"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"}, Strategy: balancer.Ordered, ClientAuth: "none",
			Upstreams: []config.Upstream{{
				Config: upstreams.Config{
					Name: "hub", URL: "https://registry-1.docker.io", Authoritative: &yes, Trust: upstreams.TrustResolve,
					Username: "alice", PasswordFile: "secret.txt", Password: "correct horse battery staple",
				},
				Egress: "clash", IKnow: true,
			}, {
				Config: upstreams.Config{
					Name: "worker", URL: "https://relay.example.workers.dev/v2", Authoritative: &no, Trust: upstreams.TrustResolve,
					Headers:        map[string]pullchain.Secret{"X-Worker-Key": "sesame"},
					RedirectHosts:  []string{"*.r2.cloudflarestorage.com"},
					AuthHosts:      []string{"auth.example.com"},
					NS:             true,
					Rewrite:        []upstreams.Rewrite{{From: "coredns/coredns", To: "coredns"}, {From: "library/", To: ""}},
					MaxConnections: 16,
					Timeouts:       upstreams.Timeouts{Connect: 3 * time.Second, Header: 12 * time.Second, Stall: 15 * time.Second, Token: 45 * time.Second},
				},
				Egress: "direct", Metered: true, Weight: 0.5,
				Probe: healthcheck.Config{
					Interval: 30 * time.Second, IdleInterval: 5 * time.Minute, UrgentInterval: 10 * time.Second,
					Timeout: 4 * time.Second, Rise: 3, Fall: 4, History: 50,
				},
				Patience: balancer.Patience{Connect: 2 * time.Second, Manifest: 400 * time.Millisecond, Rate: 32 << 10, Ratio: 4},
				Breaker:  balancer.BreakerConfig{Failures: 7, Ratio: 0.25, MinRequests: 20, Open: time.Minute, OpenMax: 10 * time.Minute},
			}, {
				Config: upstreams.Config{
					Name: "harbor", URL: "http://10.1.2.3:8080/dockerhub", Authoritative: &no, Trust: upstreams.TrustPull,
					AllowPrivate: true, InsecureSkipVerify: true,
				},
				Egress: "direct",
			}},
		}, {
			Name: "registry.lan:5000", Strategy: balancer.Spread, ClientAuth: "none",
			Upstreams: []config.Upstream{{
				Config: upstreams.Config{Name: "lan", URL: "http://registry.lan:5000", Authoritative: &yes, Trust: upstreams.TrustResolve},
				Egress: "direct",
			}},
		}},
		Notify: []notify.Config{{
			Name: "ops", Kind: "telegram", URLFile: "notify-url.txt", Address: "https://telegram.example.com/sesame-door",
			TokenFile: "secret.txt", Token: "correct horse battery staple", ChatID: "-1001234567890", Egress: "clash", Lang: "zh", MinLevel: "outage",
			Ping: []string{"operator"}, Headers: map[string]pullchain.Secret{"X-Room": "sesame"},
			OutageAfter: 10 * time.Second, DegradedAfter: 2 * time.Minute, RecoveredAfter: time.Minute, RepeatAfter: new(time.Duration(0)),
		}, {
			Name: "dingtalk", Kind: "dingtalk", URLFile: "notify-url.txt", Address: "https://telegram.example.com/sesame-door",
			SecretFile: "secret.txt", Secret: "correct horse battery staple", Egress: "direct",
		}},
		Traces: otlp.Config{
			Endpoint: "https://otlp.example.com", TokenFile: "secret.txt", Token: "correct horse battery staple",
			Headers: map[string]pullchain.Secret{"X-Scope-OrgID": "sesame"}, Egress: "clash", Service: "mirror", Sample: 0.25,
		},
		File: filepath.Join("testdata", "full.toml"),
	}
}

func loadFull(t *testing.T) *config.Config {
	t.Helper()
	t.Setenv("PULLCHAIN_TEST_USER", "alice")
	t.Setenv("PULLCHAIN_TEST_KEY", "sesame")
	cfg, err := config.Load(filepath.Join("testdata", "full.toml"))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestLoadFull(t *testing.T) {
	got, want := loadFull(t), full()
	got.Advice = nil   // TestAdvice has it
	got.Warnings = nil // they depend on the modes of the checkout; TestWarnings has them
	got.Lines = nil    // TestSettings has them
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestDefault(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	got := map[string][]string{}
	for _, r := range cfg.Registries {
		got[r.Name] = r.Aliases
		if len(r.Upstreams) != 1 {
			t.Fatalf("%s has %d upstreams, want its origin alone", r.Name, len(r.Upstreams))
		}
		u := r.Upstreams[0]
		if !*u.Authoritative || u.Trust != upstreams.TrustResolve {
			t.Errorf("%s: authoritative %v, trust %q; the origin is both", r.Name, *u.Authoritative, u.Trust)
		}
		if e := cfg.EgressOf(u); e.URL != egress.Environment {
			t.Errorf("%s: egress %q, want the environment's", r.Name, e.URL)
		}
	}
	want := map[string][]string{
		"docker.io": {"registry-1.docker.io", "index.docker.io", "registry.hub.docker.com"}, "ghcr.io": nil, "quay.io": nil, "gcr.io": nil,
		"registry.k8s.io": {"k8s.gcr.io"}, "mcr.microsoft.com": nil, "nvcr.io": nil, "docker.elastic.co": nil, "public.ecr.aws": nil,
		"*": nil,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("registries and aliases (-want +got):\n%s", d)
	}
	if cfg.Server.Listen != "127.0.0.1:5151" || cfg.Admin.Listen != "127.0.0.1:5152" || cfg.Server.DrainTimeout != 25*time.Second {
		t.Errorf("listeners %q and %q, drain %v", cfg.Server.Listen, cfg.Admin.Listen, cfg.Server.DrainTimeout)
	}
	if c := cfg.Cache; !c.On() || c.Dir != "" || c.MaxSize != 0 || *c.TagTTL != time.Minute || c.StaleIfError != 7*24*time.Hour {
		t.Errorf("the cache is %+v, want it on, where and as large as the machine says, with its times", c)
	}
	if len(cfg.Warnings) > 0 {
		t.Errorf("warnings: %q", cfg.Warnings)
	}
}

func TestEmptyFileIsTheDefault(t *testing.T) {
	t.Parallel()
	cfg, err := config.Parse("empty.toml", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg.File = config.Embedded
	if d := cmp.Diff(config.Default(), cfg); d != "" {
		t.Errorf("(-default +empty):\n%s", d)
	}
}

func TestTrustDefaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		registry, url string
		origin        bool
	}{
		{"docker.io", "https://registry-1.docker.io", true},
		{"docker.io", "https://registry-1.docker.io/", true},
		{"docker.io", "https://REGISTRY-1.docker.io:443/v2", true},
		{"docker.io", "https://docker.io", true},
		{"docker.io", "https://registry-1.docker.io/v2/", true},
		{"docker.io", "https://registry-1.docker.io/v2/library", false},
		{"docker.io", "https://docker.io.example.com", false},
		{"docker.io", "https://mirror.gcr.io", false},
		{"docker.io", "https://relay.example.workers.dev", false},
		{"docker.io", "https://registry-1.docker.io:8443", false},
		{"ghcr.io", "https://ghcr.io", true},
		{"ghcr.io", "https://ghcr.io/mirror", false},
		{"ghcr.io", "https://registry-1.docker.io", false},
		{"registry.lan:5000", "http://registry.lan:5000", true},
		{"registry.lan:5000", "http://registry.lan:5001", false},
	}
	for _, tt := range tests {
		text := "[[registry]]\nname = \"" + tt.registry + "\"\n[[registry.upstream]]\nname = \"a\"\nurl = \"" + tt.url + "\"\n" +
			"[[registry.upstream]]\nname = \"b\"\nurl = \"https://b.example.com\"\ntrust = \"resolve\"\nauthoritative = true\n"
		cfg, err := config.Parse("x.toml", []byte(text), nil)
		if err != nil {
			t.Fatalf("%s at %s: %v", tt.registry, tt.url, err)
		}
		u, typed := cfg.Registries[0].Upstreams[0], cfg.Registries[0].Upstreams[1]
		if *u.Authoritative != tt.origin || (u.Trust == upstreams.TrustResolve) != tt.origin {
			t.Errorf("%s at %s: authoritative %v, trust %q; origin is %v", tt.registry, tt.url, *u.Authoritative, u.Trust, tt.origin)
		}
		if !*typed.Authoritative || typed.Trust != upstreams.TrustResolve {
			t.Errorf("%s: what was typed did not stand: %v, %q", tt.registry, *typed.Authoritative, typed.Trust)
		}
	}
}

func TestEgressOf(t *testing.T) {
	cfg := loadFull(t)
	for name, want := range map[string]egress.Config{
		"":       {Name: "", URL: ""},
		"direct": {Name: "direct", URL: "direct"},
		"env":    {Name: "env", URL: "env"},
		"clash":  full().Egress["clash"],
	} {
		if got := cfg.EgressOf(config.Upstream{Egress: name}); got != want {
			t.Errorf("%q: %+v, want %+v", name, got, want)
		}
	}
}

func TestSlogLevel(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]slog.Level{
		"": slog.LevelInfo, "debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	} {
		if got := (config.Log{Level: word}).SlogLevel(); got != want {
			t.Errorf("%q: %v, want %v", word, got, want)
		}
	}
}

// TestMirrorWithLogin has the rows of docs/faults.md 5, distribution's mirror doc.
func TestMirrorWithLogin(t *testing.T) {
	t.Parallel()
	const refusal = "everybody who can reach"
	tests := []struct {
		listen, login string
		refused       bool
	}{
		{"127.0.0.1:5151", "token_file = \"t\"", false},
		{"localhost:5151", "token_file = \"t\"", false},
		{"[::1]:5151", "token_file = \"t\"", false},
		{"0.0.0.0:5151", "token_file = \"t\"", true},
		{":5151", "token_file = \"t\"", true},
		{"192.168.1.2:5151", "username = \"me\"\npassword_file = \"p\"", true},
		{"mirror.example.com:5151", "token_file = \"t\"", true},
		{"0.0.0.0:5151", "token_file = \"t\"\ni_know = true", false},
		{"0.0.0.0:5151", "", false},
		{"0.0.0.0:5151", "token_file = \"t\"\n[access]\nhtpasswd_file = \"h\"", false},
		{"0.0.0.0:5151", "token_file = \"t\"\n[access]\norigin_secret_header = \"X-Origin\"\norigin_secret_file = \"h\"", false},
		{"0.0.0.0:5151", "token_file = \"t\"\n[access]\nallow_cidrs = [\"10.0.0.0/8\"]", true}, // an address proves nothing
	}
	for _, tt := range tests {
		text := "[server]\nlisten = \"" + tt.listen + "\"\n[[registry]]\nname = \"ghcr.io\"\n[[registry.upstream]]\nname = \"ghcr\"\nurl = \"https://ghcr.io\"\n" + tt.login
		_, err := config.Parse("x.toml", []byte(text), nil)
		if refused := err != nil && strings.Contains(err.Error(), refusal); refused != tt.refused || err != nil && !refused {
			t.Errorf("listen %s with %q: %v; refused should be %v", tt.listen, tt.login, err, tt.refused)
		}
	}
}

// TestCheckLogins has the addresses that no file says: of a flag, and of a
// listener that a reload does not move.
func TestCheckLogins(t *testing.T) {
	t.Parallel()
	const text = "[[registry]]\nname = \"ghcr.io\"\n[[registry.upstream]]\nname = \"ghcr\"\nurl = \"https://ghcr.io\"\n"
	tests := []struct {
		listen, login string
		refused       bool
	}{
		{"127.0.0.1:5151", "token_file = \"t\"", false},
		{"0.0.0.0:5151", "token_file = \"t\"", true},
		{"[::]:5151", "username = \"me\"\npassword_file = \"p\"", true},
		{"[::]:5151", "token_file = \"t\"\ni_know = true", false},
		{"[::]:5151", "", false},
		{"[::]:5151", "token_file = \"t\"\n[access]\nhtpasswd_file = \"h\"", false},
		{"[::]:5151", "token_file = \"t\"\n[access]\nallow_cidrs = [\"10.0.0.0/8\"]", true},
	}
	for _, tt := range tests {
		cfg, err := config.Parse("x.toml", []byte(text+tt.login), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := cfg.CheckLogins(tt.listen); (err != nil) != tt.refused {
			t.Errorf("listen %s with %q: %v; refused should be %v", tt.listen, tt.login, err, tt.refused)
		}
	}
}
