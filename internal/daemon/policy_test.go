package daemon_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// What [policy] forbids is refused by name, costs no upstream a request, and is refused when
// it is in the cache already, also to what is fetched ahead. A pinned tag is never asked for.
func TestPolicy(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(cfg *rigConfig) {
		cfg.Cache = "dir = \"cache\"\nmax_size = \"64MiB\""
		cfg.Chain = cfg.Chain[:1]
		cfg.Top = "[policy]\ndeny = [\"docker.io/nothing\"]\n[[warm]]\nimages = [\"library/alpine:3\"]\nevery = \"6h\"\n"
	})
	p.probed("a")
	blob := ""
	for d := range p.image.Blobs {
		blob = d.String()
	}
	paths := []string{
		"/v2/alpine/manifests/3", "/v2/library/alpine/manifests/3", "/v2/docker.io/alpine/manifests/3", "/v2/index.docker.io/library/alpine/manifests/3?ns=docker.io",
		"/v2/alpine/manifests/" + p.image.Root.Digest.String(), "/v2/alpine/blobs/" + blob, "/v2/alpine/tags/list", "/v2/alpine/referrers/" + p.image.Root.Digest.String(),
	}
	for _, path := range paths[:6] {
		if got := p.get(path); got.Status != http.StatusOK {
			t.Fatalf("%s: %d", path, got.Status)
		}
	}
	p.rewrite("docker.io/nothing", "docker.io/library/al*")
	if err := p.hangup(); err != nil {
		t.Fatal(err)
	}
	asked := p.asked("a", "", simnet.Manifests) + p.asked("a", "", simnet.Blobs)
	for _, path := range paths {
		got := p.get(path)
		var body struct {
			Errors []struct{ Code, Message string }
		}
		if err := json.Unmarshal(got.Body, &body); err != nil || got.Status != http.StatusForbidden || body.Errors[0].Code != "DENIED" ||
			!strings.Contains(body.Errors[0].Message, `deny under [policy] has 'docker.io/library/al*'`) {
			t.Errorf("%s: %d %s", path, got.Status, got.Body)
		}
	}
	if run := p.runWarmth(); run.OK || !strings.Contains(run.Images[0].Error, "403") {
		t.Errorf("fetched ahead: %+v", run)
	}
	p.rewrite(`deny = ["docker.io/library/al*"]`, `pin = { "docker.io/alpine:3" = "`+p.image.Root.Digest.String()+`", "docker.io/alpine:4" = "`+p.image.Root.Digest.String()+`" }`)
	if err := p.hangup(); err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"3", "4"} { // of which there is no 4
		if got := p.get("/v2/alpine/manifests/" + tag); got.Status != http.StatusOK || got.Header.Get("Docker-Content-Digest") != p.image.Root.Digest.String() {
			t.Errorf("the pinned tag %s: %d %v", tag, got.Status, got.Header)
		}
	}
	if now := p.asked("a", "", simnet.Manifests) + p.asked("a", "", simnet.Blobs); now != asked {
		t.Errorf("%d requests were made for what is forbidden or pinned", now-asked)
	}
}
