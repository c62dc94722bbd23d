package daemon_test

import (
	"bytes"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// TestProfiles pulls through a daemon from each registry and each kind of mirror that simnet knows: what a client gets,
// and that each of its questions is one to the registry.
func TestProfiles(t *testing.T) {
	t.Parallel()
	for _, p := range simnet.Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			img := simnet.Image{Tags: []string{"1.0", "latest"}, Layers: []simnet.Layer{{Size: 64 << 10}}}
			if p.Name == "ollama" { // models are large, and in one layer
				img.Docker, img.Layers = true, []simnet.Layer{simnet.BigLayer(modelSize(), 1)}
			}
			newProfiled(t, p, img).pull()
		})
	}
}

// modelSize stands for gigabytes: more than any buffer on the way.
func modelSize() int64 {
	if testing.Short() {
		return 4 << 20
	}
	return 64 << 20
}

// profiled is a daemon before one registry.
type profiled struct {
	*rig
	simnet.Profile
	image *simnet.Content
	repo  string // path that does, with the repository
}

func newProfiled(t *testing.T, p simnet.Profile, img simnet.Image) *profiled {
	t.Helper()
	n := newNet(t)
	s := p.Start(n, img)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "client.cert"), filepath.Join(dir, "client.key")
	certPEM, keyPEM := n.ClientPEM("robot")
	write(t, cert, certPEM)
	write(t, key, keyPEM)
	l := lane{Name: "a", URL: s.URL() + p.Path, Origin: true, Keys: strings.NewReplacer("CERT", cert, "KEY", key).Replace(p.Keys)}
	img.Repo = p.Repo
	d := &profiled{Profile: p, image: n.Build(img), repo: "/v2/" + p.Repo}
	if p.Registry != "docker.io" {
		registry := fmt.Sprintf("[[registry]]\nname = %q\n", p.Registry)
		if p.Host != "" {
			registry += fmt.Sprintf("aliases = [%q]\n", p.Host)
		} else {
			d.repo = "/v2/" + p.Registry + "/" + p.Repo
		}
		l.After = registry + l.toml(caFile(t, n))
	}
	more := ""
	if p.Host != "" {
		more = fmt.Sprintf("allowed_hosts = [%q]", p.Host)
	}
	d.rig = newRig(t, rigConfig{Net: n, Chain: []lane{l}, More: more})
	return d
}

// ask asks as a client that names the registry by Host, if it has one.
func (d *profiled) ask(method, path string, headers ...string) reply {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, "http://"+d.Daemon.Addr()+d.repo+path, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	if d.Host != "" {
		req.Host = d.Host
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := d.client.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(resp.Body)
	return reply{Status: resp.StatusCode, Header: resp.Header, Body: body.Bytes(), Err: err, Request: method + " " + path}
}

// pull asks for everything that there is of the image.
func (d *profiled) pull() {
	d.t.Helper()
	manifest, layer := d.image.Manifest(), d.image.LayerList[0][0]
	content := d.image.Blobs[layer.Digest]
	want := func(got reply, status int, body []byte) {
		d.t.Helper()
		if got.Status != status || got.Err != nil || body != nil && !bytes.Equal(got.Body, body) {
			d.t.Errorf("%s: status %d, %v, %d bytes; want %d with %d: %.200q", got.Request, got.Status, got.Err, len(got.Body), status, len(body), got.Body)
		}
	}
	head := d.ask("HEAD", "/manifests/1.0")
	want(head, 200, []byte{})
	if got := head.Header; got.Get("Docker-Content-Digest") != d.image.Root.Digest.String() || got.Get("Content-Length") != fmt.Sprint(len(manifest)) || got.Get("Content-Type") != d.image.Root.MediaType {
		d.t.Errorf("HEAD tells %v", got)
	}
	want(d.ask("GET", "/manifests/1.0"), 200, manifest)
	want(d.ask("GET", "/manifests/"+d.image.Root.Digest.String()), 200, manifest)
	blob := "/blobs/" + layer.Digest.String()
	want(d.ask("GET", blob), 200, content)
	want(d.ask("GET", blob, "Range", "bytes=100-1099"), 206, content[100:1100])
	for path, none := range map[string]bool{"/tags/list": d.NoTags, "/referrers/" + d.image.Root.Digest.String(): d.NoReferrers} {
		got := d.ask("GET", path)
		switch {
		case none && strings.HasPrefix(path, "/tags"): // in a router's words, which may be a registry's that restarts
			want(got, 503, nil)
		case none:
			want(got, 404, nil)
		case strings.HasPrefix(path, "/tags") && !bytes.Contains(got.Body, []byte(`"tags":["1.0","latest"]`)):
			d.t.Errorf("tags: %d %s", got.Status, got.Body)
		default:
			want(got, 200, nil)
		}
	}
	d.wantNoMore()
}

// wantNoMore fails the test if the registry was asked more often than the client has asked us: once for each question, but
// for what a challenge or a label that says nothing costs.
func (d *profiled) wantNoMore() {
	d.t.Helper()
	for _, c := range []struct {
		class simnet.Class
		want  int
	}{{simnet.Manifests, 3}, {simnet.Blobs, 2}, {simnet.Tags, 1}, {simnet.Referrers, 1}} {
		asked := d.net.Ledger().Count(simnet.Filter{Server: d.Name, Class: c.class}) - d.net.Ledger().Count(simnet.Filter{Server: d.Name, Class: c.class, Status: 401})
		if c.class == simnet.Manifests {
			c.want++ // whether the first digest that it names for a tag is there; or for a label that says nothing, the GET that does
		}
		if asked != c.want {
			d.t.Errorf("the registry saw %d requests of class %v, want %d", asked, c.class, c.want)
		}
	}
	if n := d.net.Ledger().Count(simnet.Filter{Status: 401}); n > 4 { // two pings, a challenge, and that of a registry to which redirects lead
		d.t.Errorf("refused %d times", n)
	}
}
