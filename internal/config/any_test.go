package config_test

import (
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/upstreams"
)

func anyOf(t *testing.T, toml string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("test.toml", []byte(toml), nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestAny(t *testing.T) {
	t.Parallel()
	cfg := anyOf(t, `
[[registry]]
name = "*"
  [[registry.upstream]]
  name = "mirror"
  url = "https://mirror.example.com/{registry}"
  [[registry.upstream]]
  name = "router"
  url = "https://router.example.com"
  ns = true
  [[registry.upstream]]
  name = "direct"
  url = "https://{registry}"
`)
	for asked, want := range map[string][]string{
		"Registry.GitLab.com":    {"registry.gitlab.com", "https://mirror.example.com/registry.gitlab.com", "https://router.example.com", "https://registry.gitlab.com"},
		"registry.ollama.ai:443": {"registry.ollama.ai", "https://mirror.example.com/registry.ollama.ai", "https://router.example.com", "https://registry.ollama.ai"},
		"docker.io":              {"docker.io", "https://mirror.example.com/docker.io", "https://router.example.com", "https://registry-1.docker.io"},
	} {
		r, err := cfg.Any(asked)
		if err != nil {
			t.Errorf("%s: %v", asked, err)
			continue
		}
		got := []string{r.Name}
		for _, u := range r.Upstreams {
			got = append(got, u.URL)
			direct := u.Name == "direct"
			if u.Asked != direct || *u.Authoritative != direct || (u.Trust == upstreams.TrustResolve) != direct {
				t.Errorf("%s: %s has asked = %t, authoritative = %t, trust = %q", asked, u.Name, u.Asked, *u.Authoritative, u.Trust)
			}
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s:\ngot  %v\nwant %v", asked, got, want)
		}
	}
	for _, name := range []string{"", "localhost", "ghcr", "a b.example", "shop.example:8443", "a/b.example", ".example", "*", "*.example", strings.Repeat("a.", 130) + "example"} {
		if r, err := cfg.Any(name); err == nil {
			t.Errorf("%q is served as %+v", name, r)
		}
	}
	if _, err := anyOf(t, "[server]\nlisten = \"127.0.0.1:1\"\n[[registry]]\nname = \"ghcr.io\"\n[[registry.upstream]]\nname = \"a\"\nurl = \"https://ghcr.io\"\n").Any("shop.example"); err == nil {
		t.Error("a file without such a block serves any")
	}
}

// The embedded configuration serves any registry to its own machine, and only what it names
// to others.
func TestAnyOfTheEmbedded(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]bool{"127.0.0.1:5151": true, "localhost:5151": true, "0.0.0.0:5151": false, ":5151": false} {
		cfg := anyOf(t, "[server]\nlisten = \""+listen+"\"\n")
		if _, err := cfg.Any("shop.example"); (err == nil) != want || len(cfg.Warnings) != 0 {
			t.Errorf("%s: %v, warnings %q", listen, err, cfg.Warnings)
		}
	}
	for access, want := range map[string]bool{"allow_cidrs = [\"10.0.0.0/8\"]": true, "deny_cidrs = [\"10.0.0.0/8\"]": false, "allow_cidrs = [\"0.0.0.0/0\", \"::/0\"]": false} {
		cfg := anyOf(t, "[server]\nlisten = \":5151\"\n[access]\n"+access+"\n")
		if _, err := cfg.Any("shop.example"); (err == nil) != want {
			t.Errorf("%s: %v", access, err)
		}
	}
	for _, open := range []string{"trusted_proxies = [\"127.0.0.1/32\"]", "allowed_hosts = [\"mirror.example.com\"]"} {
		if _, err := anyOf(t, "[server]\nlisten = \"127.0.0.1:5151\"\n"+open+"\n").Any("shop.example"); err == nil {
			t.Errorf("%s: any registry is served to what is behind the proxy", open)
		}
	}
	cfg := anyOf(t, "") // as with --listen
	if err := cfg.CheckAny("0.0.0.0:5151"); err != nil {
		t.Error(err)
	}
	if _, err := cfg.Any("shop.example"); err == nil {
		t.Error("any registry is served to other machines")
	}
	if _, err := config.Default().Any("shop.example"); err != nil {
		t.Errorf("what all share has changed: %v", err)
	}
}
