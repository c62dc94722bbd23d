package balancer_test

import (
	"context"
	"testing"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
)

// loggedIn is an upstream with a login.
type loggedIn struct {
	*fake
	login string
}

func (u loggedIn) Login() string { return u.login }

func (u loggedIn) Fetch(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	resp, err := u.fake.Fetch(ctx, req)
	resp.Private, resp.Login = u.login != "", u.login
	return resp, err
}

// A chain knows which logins it holds, whose "no" about private content counts, and
// which login a body took in the end.
func TestLogins(t *testing.T) {
	t.Parallel()
	mirror := loggedIn{&fake{name: "mirror", fetch: cutAt(600 << 10)}, ""}
	team := loggedIn{&fake{name: "team", fetch: serve}, "ann"}
	origin := loggedIn{&fake{name: "origin", fetch: serve}, ""}
	b := balancer.New(balancer.Config{Registry: "docker.io", Lanes: []*balancer.Lane{
		balancer.NewLane(mirror, balancer.LaneConfig{}),
		balancer.NewLane(team, balancer.LaneConfig{}),
		balancer.NewLane(origin, balancer.LaneConfig{Authoritative: true}),
	}})
	for login, want := range map[string]bool{"ann": true, "bob": false, "": false} {
		if got := b.Holds(login); got != want {
			t.Errorf("holds %q: %v", login, got)
		}
	}
	for upstream, want := range map[string]bool{"mirror": false, "team": true, "origin": true, "gone": true} {
		if got := b.Knows(upstream); got != want {
			t.Errorf("%s knows: %v", upstream, got)
		}
	}
	resp, err := b.Fetch(t.Context(), on(unverified, blob))
	if err != nil {
		t.Fatal(err)
	}
	if resp.Login != "" || resp.Body.Source().Login != "" {
		t.Errorf("the mirror took the login %q", resp.Login)
	}
	mustRead(t, resp)
	if login := resp.Body.Source().Login; login != "ann" {
		t.Errorf("the body took the login %q", login)
	}
}
