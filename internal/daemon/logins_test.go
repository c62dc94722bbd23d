package daemon_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
)

// twoLogins is one registry that two upstreams reach with a login each, before a mirror.
type twoLogins struct {
	*rig
	hub   *simnet.Hub
	image *simnet.Content
}

func newTwoLogins(t *testing.T) *twoLogins {
	t.Helper()
	n := newNet(t)
	images := []simnet.Image{alpine}
	k := &twoLogins{image: n.Build(alpine), hub: n.AddHub(simnet.HubConfig{
		Origin: simnet.Origin{Name: "hub"}, Images: images, Quota: simnet.Quota{Limit: 200},
		Auth: simnet.AuthConfig{Users: map[string]string{"ann": "of ann", "bob": "of bob"}},
	})}
	login := func(user string) lane {
		file := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(file, []byte("of "+user), 0o600); err != nil {
			t.Fatal(err)
		}
		keys := fmt.Sprintf("username = %q\npassword_file = %q\nprivate = false\nauth_hosts = [\"auth.hub.sim\"]", user, file)
		return lane{Name: user, URL: k.hub.URL(), Origin: user == "ann", Keys: keys}
	}
	mirror := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "mirror"}, Images: images})
	k.rig = newRig(t, rigConfig{Net: n, Chain: []lane{login("ann"), login("bob"), {Name: "mirror", URL: mirror.URL()}}})
	k.probed("ann", "bob", "mirror")
	return k
}

// F66 Two logins at one registry are used in turn, by what each has left; when both are
// low, the next upstream spares them; and the blobs stay where they are.
func TestF66_LoginsInTurn(t *testing.T) {
	t.Parallel()
	k := newTwoLogins(t)
	k.hub.SetRemaining("ann", 40)
	k.hub.SetRemaining("bob", 42)
	for range 6 {
		k.wantBytes(k.image.Path(), k.image.Manifest())
	}
	if ann, bob := k.hub.Remaining("ann"), k.hub.Remaining("bob"); ann+bob != 76 || ann-bob > 1 || bob-ann > 1 {
		t.Errorf("%d and %d are left, want 76 in equal parts", ann, bob)
	}
	layer, content := k.image.Layer(1)
	for range 3 {
		if got := k.wantBytes(k.image.BlobPath(layer.Digest), content); got.servedBy() != "ann" {
			t.Errorf("the blob was served by %q", got.servedBy())
		}
		if got := k.do(http.MethodHead, k.image.Path()); got.servedBy() != "ann" {
			t.Errorf("HEAD was answered by %q", got.servedBy())
		}
	}
	k.hub.SetRemaining("ann", 20) // a tenth
	k.do(http.MethodHead, k.image.Path())
	for range 3 {
		if got := k.get(k.image.Path()); got.servedBy() != "bob" {
			t.Errorf("served by %q, while bob has more", got.servedBy())
		}
	}
	k.hub.SetRemaining("bob", 21)
	for i, want := range []string{"bob", "mirror", "mirror"} {
		if got := k.get(k.image.Path()); got.servedBy() != want {
			t.Errorf("%d: served by %q, want %q", i, got.servedBy(), want)
		}
	}
	if k.lane("ann").Quota.SparedUntil == nil || k.lane("bob").Quota.SparedUntil == nil || k.hub.Remaining("ann") != 20 || k.hub.Remaining("bob") != 20 {
		t.Errorf("the last tenth is not spared: %+v, %+v", k.lane("ann").Quota, k.lane("bob").Quota)
	}
}

// F66 Two logins at one host share nothing: not the token, nor a connection, nor a gate.
func TestF66_LoginsShareNothing(t *testing.T) {
	t.Parallel()
	k := newTwoLogins(t)
	k.hub.SetRemaining("ann", 100)
	k.wantBytes(k.image.Path(), k.image.Manifest()) // bob has more
	k.hub.SetRemaining("bob", 50)
	k.wantBytes(k.image.Path(), k.image.Manifest())
	k.wantBytes(k.image.Path(), k.image.Manifest())
	k.wantAsked("hub-auth", "GET", simnet.Token, 2)
	conns, tokens := map[string]string{}, map[string]string{}
	for _, e := range k.net.Ledger().Find(simnet.Filter{Server: "hub", Class: simnet.Manifests}) {
		if e.Authorization == "" {
			continue
		}
		if other, ok := conns[e.Remote]; ok && other != e.Authorization {
			t.Errorf("two logins over one connection: %+v", e)
		}
		conns[e.Remote], tokens[e.Authorization] = e.Authorization, e.Remote
	}
	if len(tokens) != 2 || len(conns) != 2 {
		t.Errorf("%d tokens over %d connections, want two of each", len(tokens), len(conns))
	}

	k.hub.SetRemaining("ann", 0)
	got := k.get(k.image.Path())
	k.wantCode(got, "ann", pullchain.CodeQuota) // ann had more
	if got.servedBy() != "bob" {
		t.Errorf("served by %q", got.servedBy())
	}
	k.wantGate("ann", "manifest", "cooldown", pullchain.CodeQuota)
	k.wantOpen("bob", "manifest")
	if b := k.breaker("bob", "manifest"); b.Failures+b.Excluded != 0 {
		t.Errorf("bob's breaker has counted what ann was told: %+v", b)
	}
}

// F08 An unchanged tag costs no quota, however often it is asked for: what the cache wants
// to know of it HEAD tells, which the registry does not count.
func TestF08_RevalidationCostsNothing(t *testing.T) {
	t.Parallel()
	p := newHubPair(t, simnet.Quota{Limit: 100}, func(c *rigConfig) { c.Cache = cacheIn(t.TempDir()) + "\ntag_ttl = \"0s\"" })
	p.wantBytes(p.image.Path(), p.image.Manifest())
	if left := p.hub.Remaining("127.0.0.1"); left != 99 {
		t.Fatalf("%d pulls are left after one, want 99", left)
	}
	const rounds = 20
	for range rounds {
		p.wantBytes(p.image.Path(), p.image.Manifest())
	}
	p.wantAsked("hub", http.MethodHead, simnet.Manifests, rounds)
	p.wantAsked("hub", http.MethodGet, simnet.Manifests, 1)
	if left := p.hub.Remaining("127.0.0.1"); left != 99 {
		t.Errorf("%d pulls are left after %d questions, want 99", left, rounds)
	}
}
