package daemon_test

import (
	"testing"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
)

// F15 A registry that refuses fresh tokens: one token is fetched, the next
// upstream serves, and for a moment it is not asked again for that image.
func TestF15_RefusedTokens(t *testing.T) {
	t.Parallel()
	other := simnet.Image{Repo: "library/busybox", Tags: []string{"1"}}
	p := newHubPair(t, simnet.Quota{}, nil)
	p.hub.Push(other)
	p.b.Push(other)
	p.hub.RejectTokens(true)
	var asked int
	p.wantOneNo(func() {
		got := p.manifest()
		p.wantCode(got, "hub", pullchain.CodeUnauthorized)
		p.wantAsked("hub-auth", "GET", simnet.Token, 1)
		if n := p.asked("hub", "GET", simnet.Manifests); n > 2 {
			t.Errorf("the registry was asked %d times, want 2 at the most", n)
		}
		asked = p.asked("hub", "", simnet.Manifests)
		p.manifest()
	}, func() {
		p.wantAsked("hub", "", simnet.Manifests, asked)
		p.wantAsked("hub-auth", "GET", simnet.Token, 1)
	})
	if b := p.breaker("hub", "manifest"); b.Failures != 0 || b.State != "closed" {
		t.Errorf("a refusal is no failure: %+v", b)
	}
	p.wantOpen("hub", "manifest")

	p.hub.RejectTokens(false) // it speaks of that image alone
	image := p.net.Build(other)
	if got := p.wantBytes(image.Path(), image.Manifest()); got.servedBy() != "hub" {
		t.Errorf("the other image was served by %q", got.servedBy())
	}
}

// F15 Tokens that were good and are refused from one moment to the next: one
// more is fetched, once a request.
func TestF15_RefusedOldToken(t *testing.T) {
	t.Parallel()
	p := newHubPair(t, simnet.Quota{}, nil)
	p.manifest()
	p.wantAsked("hub-auth", "GET", simnet.Token, 1)
	p.hub.RejectTokens(true)
	if got := p.blob(0); got.servedBy() != "b" {
		t.Errorf("served by %q", got.servedBy())
	}
	p.wantAsked("hub-auth", "GET", simnet.Token, 2)
	p.wantAsked("hub", "GET", simnet.Blobs, 2)
}

// F15 With no other upstream the client is told 403 in JSON, and is not sent to
// any token server. A 401 would need a challenge that the client can answer, and
// until clients can log in here there is none.
func TestF15_NobodyElse(t *testing.T) {
	t.Parallel()
	p := newHubPair(t, simnet.Quota{}, func(c *rigConfig) {
		c.Chain[1].URL = c.Net.AddMirror(simnet.MirrorConfig{
			Origin: simnet.Origin{Name: "closed"}, Allow: []string{"library/nothing"}, Images: []simnet.Image{alpine},
		}).URL()
	})
	p.hub.RejectTokens(true)
	p.wantOneNo(func() {
		for range 3 {
			p.wantError(p.get(p.image.Path()), 403, "DENIED")
		}
	}, func() {
		p.wantAsked("hub-auth", "GET", simnet.Token, 1)
		p.wantAsked("closed", "GET", simnet.Manifests, 1)
	})
}

// F15 A token server that gives out nothing is asked once a request, and is
// not the registry's failure.
func TestF15_TokenServerDown(t *testing.T) {
	t.Parallel()
	p := newHubPair(t, simnet.Quota{}, nil)
	p.hub.Auth.Inject(simnet.Fault{Status: 500})
	if got := p.manifest(); got.servedBy() != "b" {
		t.Errorf("served by %q", got.servedBy())
	}
	p.wantAsked("hub-auth", "GET", simnet.Token, 1)
	if b := p.breaker("hub", "manifest"); b.Failures != 0 {
		t.Errorf("the registry is blamed: %+v", b)
	}
	if b := p.breaker("hub", "token"); b.Failures != 1 {
		t.Errorf("the token server is not blamed: %+v", b)
	}
}

// F15 A registry that has moved to another token server: the token of the old
// one is refused, the challenge names the new one, and the pull goes through.
func TestF15_MovedTokenServer(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	hub := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Images: []simnet.Image{alpine}})
	old := n.AddAuth(simnet.AuthConfig{Origin: simnet.Origin{Name: "old-auth"}})
	hub.SetRealm(old.Realm())
	r := newRig(t, rigConfig{Net: n, Chain: []lane{{Name: "hub", URL: hub.URL(), Origin: true}}})
	r.probed("hub")
	hub.SetRealm("")
	image := n.Build(alpine)
	r.wantBytes(image.Path(), image.Manifest())
	r.wantAsked("old-auth", "GET", simnet.Token, 1)
	r.wantAsked("hub-auth", "GET", simnet.Token, 1)
	r.wantAsked("hub", "GET", simnet.Manifests, 2)
}
