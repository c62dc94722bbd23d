package daemon_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// Docker Hub's own hosts mean docker.io in every form in which a client can name a
// registry, though the file names none of them: regctl asks for
// ?ns=registry-1.docker.io, and helm's users type it.
func TestARegistrysOwnHosts(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	path := p.image.Path()
	for _, host := range []string{"docker.io", "registry-1.docker.io", "index.docker.io", "registry.hub.docker.com", "Registry-1.Docker.IO:443"} {
		p.wantBytes(path+"?ns="+host, p.image.Manifest())
		p.wantBytes("/v2/"+host+strings.TrimPrefix(path, "/v2"), p.image.Manifest())
		p.wantBytes("/v2/"+host+strings.Replace(strings.TrimPrefix(path, "/v2"), "/library", "", 1), p.image.Manifest())
	}
}

// An address with /v2/ in front of a project means the project, as it does to
// containerd.
func TestAProjectBehindV2(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	project := alpine
	project.Repo = "proxy-dockerhub/library/alpine"
	m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "harbor"}, Images: []simnet.Image{project}})
	image := n.Build(alpine)
	for _, slash := range []string{"", "/"} {
		r := newRig(t, rigConfig{Net: n, Chain: []lane{{Name: "harbor", URL: m.URL() + "/v2/proxy-dockerhub" + slash}}})
		r.wantBytes(image.Path(), image.Manifest())
		layer, content := image.Layer(1)
		r.wantBytes(image.BlobPath(layer.Digest), content)
	}
}

// A tag_ttl of 0 asks for the tag each time, with what no quota counts, also when
// only a reload says so.
func TestATagIsAlwaysAskedFor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := newPair(t, func(c *rigConfig) { c.Cache = cacheIn(dir) + "\ntag_ttl = \"1h\"" })
	p.manifest()
	p.manifest()
	p.wantAsked("a", http.MethodHead, simnet.Manifests, 0)
	p.rewrite(`tag_ttl = "1h"`, `tag_ttl = "0s"`)
	if err := p.hangup(); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		p.manifest()
		p.wantAsked("a", http.MethodHead, simnet.Manifests, n+1)
	}
	p.wantAsked("a", http.MethodGet, simnet.Manifests, 1)
}
