package daemon_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// vault is what only a login may pull.
var vault = simnet.Image{Repo: "team/vault", Tags: []string{"1"}, Layers: []simnet.Layer{{Size: 300 << 10, Seed: 49}}}

// A private is a daemon whose cache has an image that took a login, and whose every
// request has to be answered for anew: nothing is believed for a while.
type private struct {
	*rig
	hub   *simnet.Hub
	image *simnet.Content
	yes   *simnet.Server // a mirror without a login that says yes to every HEAD, and has nothing
}

// newPrivate pulls the image. With mirrorFirst the yes of the mirror comes before the
// registry itself.
func newPrivate(t *testing.T, mirrorFirst bool) *private {
	t.Helper()
	n := newNet(t)
	p := &private{image: n.Build(vault)}
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("open sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.hub = n.AddHub(simnet.HubConfig{
		Origin: simnet.Origin{Name: "hub"}, Images: []simnet.Image{vault}, Direct: true,
		Auth: simnet.AuthConfig{Users: map[string]string{"robot": "open sesame"}, Private: []string{vault.Repo, "someone/else"}},
	})
	p.yes = n.AddOrigin(simnet.Origin{Name: "yes", Handler: http.HandlerFunc(p.sayYes)})
	hub := lane{Name: "hub", URL: p.hub.URL(), Keys: fmt.Sprintf("username = \"robot\"\npassword_file = %q", password)}
	yes := lane{Name: "yes", URL: p.yes.URL()}
	chain := []lane{hub, yes}
	if mirrorFirst {
		chain = []lane{yes, hub}
	}
	other := lane{Name: "elsewhere", URL: p.yes.URL()}
	chain[1].After = "\n[[registry]]\nname = \"other.example\"\n" + other.toml(caFile(t, n))
	p.rig = newRig(t, rigConfig{Net: n, Chain: chain, Cache: fmt.Sprintf("dir = %q\ntag_ttl = \"0s\"", t.TempDir())})
	layer, content := p.image.Layer(0)
	p.wantBytes(p.image.Path(), p.image.Manifest())
	p.wantBytes(p.image.BlobPath(layer.Digest), content)
	p.eventually("the layer is stored", func() bool { return p.Daemon.Snapshot().Cache.Objects >= 2 })
	p.net.Ledger().Reset()
	return p
}

// sayYes answers every HEAD as the one that has the content would.
func (p *private) sayYes(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	layer, content := p.image.Layer(0)
	size := len(p.image.Manifest())
	switch {
	case r.URL.Path == "/v2/":
		fmt.Fprint(w, "{}")
		return
	case r.Method != http.MethodHead:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"errors":[{"code":"BLOB_UNKNOWN","message":"not here"}]}`)
		return
	case strings.Contains(r.URL.Path, "/manifests/"):
		w.Header().Set("Content-Type", p.image.Root.MediaType)
		w.Header().Set("Docker-Content-Digest", p.image.Root.Digest.String())
	default:
		size = len(content)
		w.Header().Set("Docker-Content-Digest", layer.Digest.String())
	}
	w.Header().Set("Content-Length", strconv.Itoa(size))
}

// paths are the ways to ask for what is private, in the name of a repository.
func (p *private) paths(repo string) []string {
	layer, _ := p.image.Layer(0)
	root := p.image.Root.Digest.String()
	return []string{"/v2/" + repo + "/manifests/" + root, "/v2/" + repo + "/blobs/" + layer.Digest.String(), "/v2/" + repo + "/manifests/1"}
}

// wantNothing checks that no byte of what is private comes, whichever way it is asked for.
func (p *private) wantNothing(when, repo string) {
	p.t.Helper()
	for _, path := range p.paths(repo) {
		if got := p.get(path); got.Status == http.StatusOK {
			p.t.Errorf("%s: GET %s: %d, %d bytes", when, path, got.Status, len(got.Body))
		}
		if got := p.get(path, "Range", "bytes=0-3"); got.Status < 300 {
			p.t.Errorf("%s: GET %s of a part: %d, %d bytes", when, path, got.Status, len(got.Body))
		}
	}
}

// F52 The login is revoked, and a mirror without one, which has not got a byte, says yes to every HEAD.
func TestF52_YesAfterTheLoginIsRevoked(t *testing.T) {
	t.Parallel()
	for name, mirrorFirst := range map[string]bool{"registry first": false, "mirror first": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPrivate(t, mirrorFirst)
			for _, path := range p.paths(vault.Repo) {
				p.wantStatus(path, http.StatusOK)
			}
			p.wantAsked("hub", http.MethodHead, simnet.Manifests|simnet.Blobs, 3) // and nothing else: the login's own lane is asked
			p.wantAsked("hub", http.MethodGet, simnet.Manifests|simnet.Blobs, 0)
			p.wantAsked("yes", "", simnet.Manifests|simnet.Blobs, 0)
			revoked := p.hub.Inject(simnet.Fault{On: simnet.Manifests | simnet.Blobs, Status: http.StatusForbidden,
				Body: `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`})
			p.wantNothing("revoked", vault.Repo)
			revoked()
			p.hub.Break(simnet.ConnRefused)
			p.wantNothing("revoked, and then down", vault.Repo)
			p.hub.Mend()
			for _, path := range p.paths(vault.Repo) {
				p.eventually("it is let in again", func() bool { return p.get(path).Status == http.StatusOK })
			}
		})
	}
}

// F52 The name of another registry, or of another repository, is no way to what a login has fetched.
func TestF52_YesThroughAnotherName(t *testing.T) {
	t.Parallel()
	for name, mirrorFirst := range map[string]bool{"registry first": false, "mirror first": true} {
		for where, repo := range map[string]string{"another registry": "other.example/" + vault.Repo, "another repository": "someone/else"} {
			t.Run(where+", "+name, func(t *testing.T) {
				t.Parallel()
				newPrivate(t, mirrorFirst).wantNothing(where, repo)
			})
		}
	}
}

// F52 The registry is down: what its login has fetched is stale, and the mirror that says yes takes nothing from that.
func TestF52_YesWhileTheRegistryIsDown(t *testing.T) {
	t.Parallel()
	p := newPrivate(t, true)
	p.hub.Break(simnet.ConnRefused)
	for range 2 {
		for _, path := range p.paths(vault.Repo) {
			if got := p.wantStatus(path, http.StatusOK); !strings.Contains(got.Header.Get("Cache-Status"), "ttl=-1") {
				t.Errorf("GET %s: it is not said to be stale: %v", path, got.Header)
			}
		}
	}
	p.wantNothing("down", "someone/else")
}
