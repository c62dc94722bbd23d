// Package worker_test tests what stands in this folder: the configuration that
// README.md shows, and, with the tag e2e, the Cloudflare Worker in workerd, the
// runtime of Workers, against internal/simnet. What the Worker does with each
// path and header is tested in test/worker.test.mjs.
package worker_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/upstreams"
)

func TestReadmeConfigLoads(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```toml\n(.*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("README.md shows no configuration")
	}
	env := func(name string) (string, bool) { return "the-key", name == "PULLCHAIN_WORKER_KEY" }
	cfg, err := config.Parse("README.md", block[1], env)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, registry := range cfg.Registries {
		for _, u := range registry.Upstreams {
			if u.Trust == upstreams.TrustResolve && u.Headers["X-Pullchain-Key"].Reveal() == "the-key" {
				got[registry.Name] = u.URL
			}
		}
	}
	want := map[string]string{
		"docker.io": "https://pullchain-worker.example.workers.dev/docker.io/v2",
		"ghcr.io":   "https://pullchain-worker.example.workers.dev/ghcr.io/v2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the Worker's upstreams (-want +got):\n%s", diff)
	}
}
