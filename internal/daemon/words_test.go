package daemon_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// What an upstream refuses is told in its own words and by its own status, through
// the whole chain and with a cache, and costs no other request anything.
func TestAnUpstreamsWords(t *testing.T) {
	t.Parallel()
	const says = `{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}`
	const legal = `{"errors":[{"code":"DENIED","message":"unavailable for legal reasons"}]}`
	for name, tc := range map[string]struct {
		path    string
		status  int
		body    string
		want    int
		code    string
		message string
	}{
		"referrers 400":  {"referrers", 400, "bad request", 404, "UNSUPPORTED", "no list of referrers"},
		"referrers 404":  {"referrers", 404, "", 404, "UNSUPPORTED", "no list of referrers"},
		"referrers 405":  {"referrers", 405, says, 404, "UNSUPPORTED", "The operation is unsupported."},
		"referrers 406":  {"referrers", 406, "{}", 404, "UNSUPPORTED", "no list of referrers"},
		"tags 405":       {"tags", 405, says, 405, "UNSUPPORTED", "The operation is unsupported."},
		"manifests 451":  {"manifests", 451, legal, 451, "DENIED", "unavailable for legal reasons"},
		"manifests 400":  {"manifests", 400, "", 400, "UNSUPPORTED", "the upstream refuses it"},
		"v2 in the path": {"v2", 404, `{"errors":[{"code":"NAME_UNKNOWN","message":"no such repository"}]}`, 404, "MANIFEST_UNKNOWN", "override_path"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p := newPair(t, func(c *rigConfig) { c.Cache = cacheIn(dir) })
			path := map[string]string{
				"referrers": "/v2/library/odd/referrers/" + p.image.Root.Digest.String(),
				"tags":      "/v2/library/odd/tags/list",
				"manifests": "/v2/library/odd/manifests/3",
				"v2":        "/v2/docker.io/v2/library/odd/manifests/3",
			}[tc.path]
			for _, m := range []*simnet.Mirror{p.a, p.b} {
				m.Inject(simnet.Fault{Match: "library/odd", Status: tc.status, Body: tc.body, Header: map[string]string{"Content-Type": "application/json"}})
			}
			e := p.wantError(p.get(path), tc.want, tc.code).Errors[0]
			if !strings.Contains(e.Message, tc.message) || strings.Contains(e.Message, "needs a login") {
				t.Errorf("the message is %q, want %q and no talk of a login", e.Message, tc.message)
			}
			if got := p.do(http.MethodHead, path); tc.path == "manifests" && got.Status != tc.want {
				t.Errorf("HEAD: %d, want %d", got.Status, tc.want)
			}
			if got := p.manifest(); got.servedBy() != "a" {
				t.Errorf("another image is served by %q, want a", got.servedBy())
			}
		})
	}
}
