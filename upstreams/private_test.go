package upstreams_test

import (
	"testing"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
	"github.com/pullchain/pullchain/upstreams"
)

// TestPrivate: what a login got is told from what every client gets, in every kind
// of answer; the operator knows better (CVE-2024-39897).
func TestPrivate(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	r := newRig(t, simnet.HubConfig{Auth: simnet.AuthConfig{Users: map[string]string{"ann": "secret"}}})
	for name, tt := range map[string]struct {
		change func(*upstreams.Config)
		want   bool
	}{
		"anonymous":      {func(*upstreams.Config) {}, false},
		"another header": {func(c *upstreams.Config) { c.Headers = map[string]pullchain.Secret{"X-Relay-Key": "k"} }, false},
		"user":           {func(c *upstreams.Config) { c.Username, c.PasswordFile, c.Password = "ann", "f", "secret" }, true},
		"public all the same": {func(c *upstreams.Config) {
			c.Username, c.PasswordFile, c.Password, c.Private = "ann", "f", "secret", &no
		}, false},
		"private without a login": {func(c *upstreams.Config) { c.Private = &yes }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := r.upstream(t, tt.change)
			part := r.blob()
			part.Range = pullchain.Range{From: 10, To: 20}
			for _, req := range []pullchain.Request{r.tag(), r.head(r.tag()), r.pinned(), r.blob(), part, r.head(r.blob()), {Op: pullchain.Tags, Repo: r.img.Repo}} {
				if resp, _ := mustFetch(t, u, req); resp.Private != tt.want {
					t.Errorf("%v, HEAD %v: private is %v, want %v", req.Op, req.Head, resp.Private, tt.want)
				}
			}
		})
	}
	t.Run("token", func(t *testing.T) {
		s := r.origin("tokened", answering(200, nil, "bytes"))
		u := r.upstream(t, func(c *upstreams.Config) { c.URL, c.TokenFile, c.Token = s.URL(), "f", "t" })
		if resp, _ := mustFetch(t, u, r.blob()); !resp.Private {
			t.Error("what a token got is public")
		}
	})
}
