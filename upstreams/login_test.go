package upstreams_test

import (
	"strings"
	"testing"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
	"github.com/pullchain/pullchain/upstreams"
)

// TestLogin: answers name the login that they took by a fingerprint, which is
// another one for every other login and holds no secret (docs/faults.md 6: bound to the
// credential's id).
func TestLogin(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	r := newRig(t, simnet.HubConfig{Auth: simnet.AuthConfig{Users: map[string]string{"ann": "secret"}}})
	ann := func(c *upstreams.Config) { c.Username, c.PasswordFile, c.Password = "ann", "f", "secret" }
	changed := func(more func(*upstreams.Config)) string {
		return r.upstream(t, func(c *upstreams.Config) { ann(c); more(c) }).Login()
	}
	own := changed(func(*upstreams.Config) {})
	if own == "" || own != changed(func(*upstreams.Config) {}) {
		t.Fatalf("%q is not the fingerprint of one login", own)
	}
	if strings.Contains(own, "secret") || strings.Contains(own, "ann") {
		t.Errorf("%q tells of the login", own)
	}
	seen := map[string]string{own: "the login itself"}
	for name, more := range map[string]func(*upstreams.Config){
		"another password": func(c *upstreams.Config) { c.Password = "secret2" },
		"another user":     func(c *upstreams.Config) { c.Username = "bob" },
		"another lane":     func(c *upstreams.Config) { c.Name = "second" },
		"a header more":    func(c *upstreams.Config) { c.Headers = map[string]pullchain.Secret{"X-Key": "k"} },
		"another header":   func(c *upstreams.Config) { c.Headers = map[string]pullchain.Secret{"X-Key": "l"} },
		"no login at all": func(c *upstreams.Config) {
			c.Username, c.PasswordFile, c.Password, c.Private = "", "", "", &yes
		},
	} {
		login := changed(more)
		if other, taken := seen[login]; taken || login == "" {
			t.Errorf("%s: %q is that of %s", name, login, other)
		}
		seen[login] = name
	}
	if login := changed(func(c *upstreams.Config) { c.Private = &no }); login != "" {
		t.Errorf("what is public has the login %q", login)
	}
	u := r.upstream(t, ann)
	for _, req := range []pullchain.Request{r.tag(), r.head(r.tag()), r.blob(), r.head(r.blob())} {
		if resp, _ := mustFetch(t, u, req); resp.Login != own {
			t.Errorf("%v, HEAD %v: login %q, want %q", req.Op, req.Head, resp.Login, own)
		}
	}
}
