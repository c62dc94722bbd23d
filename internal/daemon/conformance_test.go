package daemon_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/simnet"
	"github.com/pullchain/pullchain/internal/wire"
)

// A clientForm spells one registry's paths as a kind of client does.
type clientForm struct{ before, after, query string }

// path is where a client of this form asks for what is at path in the repository.
func (f clientForm) path(path, query string) string {
	all := strings.Trim(f.query+"&"+query, "&")
	return strings.TrimSuffix(f.before+"/v2/"+f.after+path+"?"+all, "?")
}

// The cases of the OCI conformance program's pull, content discovery and referrers
// workflows, by their names there, in every form in which a client can name a registry.
func TestConformance(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	image := simnet.Image{Repo: "library/alpine", Tags: []string{"1", "2", "3", "4", "5"}, Layers: alpine.Layers}
	hub := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Images: []simnet.Image{image}, Open: true, Direct: true, AbsoluteLinks: true})
	c := n.Build(image)
	signature := hub.Push(simnet.Image{Repo: image.Repo, ArtifactType: "application/vnd.example.signature", Subject: c.Root.Digest})
	hub.Push(simnet.Image{Repo: image.Repo, ArtifactType: "application/vnd.example.sbom", Subject: c.Root.Digest})
	r := newRig(t, rigConfig{Net: n, Chain: []lane{{Name: "hub", URL: hub.URL(), Origin: true, After: "[[registry]]\nname = \"ghcr.io\"\naliases = [\"team\"]\n" +
		lane{Name: "hub", URL: hub.URL(), Origin: true}.toml(caFile(t, n))}}})
	layer, content := c.Layer(0)
	none := digest.FromString("none")
	for name, form := range map[string]clientForm{
		"default": {}, "path": {after: "docker.io/"}, "ns": {query: "ns=docker.io"}, "path and ns": {after: "docker.io/", query: "ns=docker.io"},
		"word before": {before: "/ghcr"}, "alias before": {before: "/team"}, "alias after": {after: "team/"}, "word after": {after: "ghcr/"}, "v2 twice": {after: "docker.io/v2/", query: "ns=docker.io"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, tt := range []struct {
				name, method, path string
				status             int
				body               []byte
			}{
				{"GET nonexistent blob should result in 404 response", "GET", "library/alpine/blobs/" + none.String(), 404, nil},
				{"HEAD request to nonexistent blob should result in 404 response", "HEAD", "library/alpine/blobs/" + none.String(), 404, nil},
				{"GET request to existing blob URL should yield 200", "GET", "library/alpine/blobs/" + layer.Digest.String(), 200, content},
				{"HEAD request to existing blob should yield 200", "HEAD", "library/alpine/blobs/" + layer.Digest.String(), 200, nil},
				{"GET nonexistent manifest should return 404", "GET", "library/alpine/manifests/nosuch", 404, nil},
				{"HEAD request to nonexistent manifest should return 404", "HEAD", "library/alpine/manifests/nosuch", 404, nil},
				{"GET request to manifest path (digest) should yield 200 response", "GET", "library/alpine/manifests/" + c.Root.Digest.String(), 200, c.Manifest()},
				{"GET request to manifest path (tag) should yield 200 response", "GET", "library/alpine/manifests/1", 200, c.Manifest()},
				{"HEAD request to manifest path (digest) should yield 200 response", "HEAD", "library/alpine/manifests/" + c.Root.Digest.String(), 200, nil},
				{"HEAD request to manifest path (tag) should yield 200 response", "HEAD", "library/alpine/manifests/1", 200, nil},
				{"GET request with a malformed digest should return 4xx", "GET", "library/alpine/blobs/sha256:totallywrong", 400, nil},
			} {
				got := r.do(tt.method, form.path(tt.path, ""))
				if got.Status != tt.status || tt.body != nil && string(got.Body) != string(tt.body) {
					t.Errorf("%s: %d, %d bytes", tt.name, got.Status, len(got.Body))
				}
				if tt.method == "HEAD" && tt.status == 200 && (len(got.Body) != 0 || got.Header.Get("Content-Length") == "" || got.Header.Get("Docker-Content-Digest") == "") {
					t.Errorf("%s: headers %v", tt.name, got.Header)
				}
				if tt.method == "GET" && tt.status >= 400 && !wire.IsErrorBody(got.Body) {
					t.Errorf("%s: 4xx response body is no error of the specification: %s", tt.name, got.Body)
				}
			}
			if got := pages(t, r, form.path("library/alpine/tags/list", "n=2")); !slices.Equal(got, image.Tags) {
				t.Errorf("GET request to list tags with pagination: %q", got)
			}
			if got := pages(t, r, form.path("library/alpine/tags/list", "")); !slices.Equal(got, image.Tags) {
				t.Errorf("GET request to list tags should yield 200 response: %q", got)
			}
			about := "library/alpine/referrers/"
			if got := pages(t, r, form.path(about+c.Root.Digest.String(), "n=1")); len(got) != 2 {
				t.Errorf("GET request to existing blob should yield 200 (referrers), in pages: %q", got)
			}
			if got := pages(t, r, form.path(about+c.Root.Digest.String(), "artifactType=application/vnd.example.signature")); !slices.Equal(got, []string{signature.Root.Digest.String()}) {
				t.Errorf("GET request to existing blob with filter should yield 200: %q", got)
			}
			if got := pages(t, r, form.path(about+none.String(), "")); len(got) != 0 {
				t.Errorf("GET request to nonexistent blob should result in empty 200 response: %q", got)
			}
		})
	}
}

// pages follows a list through the links of its answers to the last page. Each link must
// lead on in the client's own form.
func pages(t *testing.T, r *rig, path string) []string {
	t.Helper()
	var out []string
	form, _, _ := strings.Cut(path, "?")
	ns := strings.Contains(path, "ns=")
	for range 10 {
		got := r.wantStatus(path, http.StatusOK)
		var doc struct {
			Tags      []string
			Manifests []struct{ Digest string }
		}
		if err := json.Unmarshal(got.Body, &doc); err != nil {
			t.Fatal(err)
		}
		out = append(out, doc.Tags...)
		for _, m := range doc.Manifests {
			out = append(out, m.Digest)
		}
		link := got.Header.Get("Link")
		if link == "" {
			return out
		}
		if _, err := fmt.Sscanf(link, "<%s", &path); err != nil {
			t.Fatal(err)
		}
		path = strings.TrimSuffix(path, ">;")
		if own, _, _ := strings.Cut(path, "?"); own != form || strings.Contains(path, "ns=") != ns {
			t.Fatalf("Link %s leaves the form %s", link, form)
		}
	}
	t.Fatal("no last page")
	return nil
}
