package upstreams_test

import (
	"strings"
	"testing"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
)

// TestEntityTag: the entity tag of a manifest is handed on as it came, and one that
// no registry would send is not.
func TestEntityTag(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{})
	u := r.upstream(t, nil)
	for _, tt := range []struct{ sent, want string }{
		{"", `"` + r.img.Root.Digest.String() + `"`}, // the registry's own
		{`"v1"`, `"v1"`},
		{`"` + strings.Repeat("x", 300) + `"`, ""},
	} {
		if tt.sent != "" {
			defer r.hub.Inject(simnet.Fault{On: simnet.Manifests, Header: map[string]string{"Etag": tt.sent}})()
		}
		for _, req := range []pullchain.Request{r.tag(), r.head(r.tag())} {
			if resp, _ := mustFetch(t, u, req); resp.Header.Get("Etag") != tt.want {
				t.Errorf("HEAD %v of %.9q: %q", req.Head, tt.sent, resp.Header.Get("Etag"))
			}
		}
	}
}
