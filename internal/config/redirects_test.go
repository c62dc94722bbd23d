package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain/internal/config"
)

// TestAdvice tells each upstream behind a proxy of its own where it may redirect to,
// unless the file says so, and no other.
func TestAdvice(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "")
	t.Setenv("https_proxy", "")
	t.Setenv("HTTP_PROXY", "")
	t.Setenv("http_proxy", "")
	t.Setenv("ALL_PROXY", "")
	t.Setenv("all_proxy", "")
	const text = `[egress.home]
url = "socks5://127.0.0.1:1080"
[egress.none]
url = "direct"
[[registry]]
name = "docker.io"
[[registry.upstream]]
name = "hub"
url = "https://registry-1.docker.io"
egress = "home"
[[registry.upstream]]
name = "mirror"
url = "https://mirror.example"
authoritative = false
egress = "home"
[[registry.upstream]]
name = "said"
url = "https://said.example"
egress = "home"
redirect_hosts = ["cdn.example"]
[[registry.upstream]]
name = "direct"
url = "https://direct.example"
egress = "none"
[[registry.upstream]]
name = "env"
url = "https://env.example"
egress = "env"
`
	advice := func() string {
		cfg, err := config.Parse("x.toml", []byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(cfg.Warnings) > 0 {
			t.Errorf("warnings %q: advice is for people that ask", cfg.Warnings)
		}
		return strings.Join(cfg.Advice, "\n")
	}
	const because = `its proxy resolves the names, so pullchain sees no address of where a redirect leads: redirect_hosts says where it may lead `
	want := `x.toml:7:1: registry "docker.io": upstream "hub": ` + because + `(as of today redirect_hosts = ["*.docker.com", "docker-images-prod.*.r2.cloudflarestorage.com"])
x.toml:11:1: registry "docker.io": upstream "mirror": ` + because + `(the hosts that its blobs come from)`
	if d := cmp.Diff(want, advice()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	t.Setenv("https_proxy", "http://proxy.example:3128")
	want += "\nx.toml:25:1: registry \"docker.io\": upstream \"env\": " + because + "(the hosts that its blobs come from)"
	if d := cmp.Diff(want, advice()); d != "" {
		t.Errorf("with a proxy in the environment (-want +got):\n%s", d)
	}
}
