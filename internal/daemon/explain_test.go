package daemon_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/simnet"
)

// explain asks the operator's plane about an image.
func (r *rig) explain(image, more string) (e admin.Explanation) {
	r.t.Helper()
	resp, err := r.client.Get("http://" + r.Daemon.AdminAddr() + "/api/v1/explain?image=" + url.QueryEscape(image) + more)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(text, &e)
	}
	if err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatalf("%d %s %v", resp.StatusCode, text, err)
	}
	return e
}

func TestExplainNames(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	sum := "sha256:" + strings.Repeat("ab", 32)
	tests := []struct {
		image, name, registry string
		served                bool
	}{
		{"alpine", "docker.io/library/alpine:latest", "docker.io", true},
		{"alpine:3.20", "docker.io/library/alpine:3.20", "docker.io", true},
		{"grafana/grafana", "docker.io/grafana/grafana:latest", "docker.io", true},
		{"docker.io/alpine:3.20", "docker.io/library/alpine:3.20", "docker.io", true},
		{"index.docker.io/library/alpine:3.20", "docker.io/library/alpine:3.20", "docker.io", true},
		{"alpine:3.20@" + sum, "docker.io/library/alpine@" + sum, "docker.io", true},
		{"nope.example:5000/team/app", "nope.example:5000/team/app:latest", "nope.example:5000", false},
		{"localhost/app:1", "localhost/app:1", "localhost", false},
	}
	for _, tt := range tests {
		e := p.explain(tt.image, "")
		if e.Name != tt.name || e.Registry != tt.registry || e.Served != tt.served || e.Schema != 1 || e.Image != tt.image {
			t.Errorf("%s: %+v", tt.image, e)
		}
	}
	for _, image := range []string{"", "UPPER", "a b", "alpine:", "alpine@sha256:12", "-x", "a//b", "alpine:\x1b[31m"} {
		if status, text := p.admin("/api/v1/explain?image=" + url.QueryEscape(image)); status != http.StatusBadRequest || !strings.Contains(text, "no image's name") {
			t.Errorf("%q: %d %s", image, status, text)
		}
	}
}

// What would become of a pull is told without asking an upstream.
func TestExplain(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.a.Inject(limited())
	p.manifest()
	asked := func() int { return p.net.Ledger().Count(simnet.Filter{Path: "/manifests/"}) } // a probe may come of its own
	before := asked()
	e := p.explain(strings.TrimPrefix(p.image.Repo, "library/")+":"+p.image.Tags[0], "")
	var got []string
	for _, c := range e.Candidates {
		got = append(got, strings.Join([]string{c.Upstream, c.State, c.Gate, string(c.Code), c.Via, c.Trust}, " "))
	}
	if diff := cmp.Diff([]string{"b serving   direct resolve", "a cooling content http_429_quota direct resolve"}, got); diff != "" {
		t.Errorf("candidates (-want +got):\n%s", diff)
	}
	if e.Candidates[0].Turn != 1 || e.Candidates[1].Turn != 0 || e.Candidates[1].Until == nil || e.Strategy != "ordered" || e.Cache != nil || e.Digests != nil {
		t.Errorf("%+v", e)
	}
	if after := asked(); after != before {
		t.Errorf("%d requests were sent", after-before)
	}
	// Every form that is named works.
	p.a.Clear()
	for _, f := range e.Forms {
		if resp := p.get(f.Path); resp.Status != http.StatusOK {
			t.Errorf("%s: %d", f.Path, resp.Status)
		}
	}
	if len(e.Forms) != 3 {
		t.Errorf("forms: %+v", e.Forms)
	}
}

// Two upstreams that mean different things by a tag are found out, and none is
// judged by that question.
func TestExplainDigests(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	name := p.image.Repo + ":" + p.image.Tags[0]
	e := p.explain(name, "&digests=1")
	if len(e.Digests) != 2 || e.Digests[0].Digest == "" || e.Digests[0].Digest != e.Digests[1].Digest || e.Agree == nil || !*e.Agree {
		t.Fatalf("they mean the same: %+v", e)
	}
	resp, err := p.client.Get("http://" + p.Daemon.AdminAddr() + "/api/v1/explain?digests=1&image=" + name)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Errorf("at once again: %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}

	q := newPair(t, nil)
	q.b.Push(simnet.Image{Repo: q.image.Repo, Tags: q.image.Tags, Layers: []simnet.Layer{{Size: 1 << 10, Seed: 77}}})
	q.a.Inject(limited())
	e = q.explain(name, "&digests=1")
	if e.Digests[0].Code != pullchain.CodeThrottle || e.Digests[1].Digest == "" || e.Agree != nil {
		t.Errorf("one does not answer: %+v", e.Digests)
	}
	for _, l := range q.Daemon.Snapshot().Registries[0].Lanes {
		if len(l.Gates) > 0 || l.InFlight != 0 {
			t.Errorf("%s was judged: %+v", l.Upstream, l.Gates)
		}
	}

	d := newPair(t, nil)
	d.b.Push(simnet.Image{Repo: d.image.Repo, Tags: d.image.Tags, Layers: []simnet.Layer{{Size: 1 << 10, Seed: 77}}})
	if e = d.explain(name, "&digests=1"); e.Agree == nil || *e.Agree {
		t.Errorf("they mean different things: %+v", e)
	}
}

// With a cache it is told what is here.
func TestExplainCache(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(cfg *rigConfig) { cfg.Cache = cacheIn(t.TempDir()) })
	name := p.image.Repo + ":" + p.image.Tags[0]
	if e := p.explain(name, ""); e.Cache == nil || e.Cache.Digest != "" {
		t.Errorf("before a pull: %+v", e.Cache)
	}
	p.manifest()
	if e := p.explain(name, ""); e.Cache == nil || e.Cache.Digest == "" || !e.Cache.Fresh {
		t.Errorf("after one: %+v", e.Cache)
	}
}

func TestConfigDocument(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	doc := p.Daemon.Config()
	found := map[string]admin.Setting{}
	for _, s := range doc.Settings {
		found[s.Key] = s
	}
	if s := found["registry[0].upstream[1].name"]; s.Value != `"b"` || !strings.HasPrefix(s.Origin, p.path+":") {
		t.Errorf("the second upstream's name: %+v", s)
	}
	if s := found["registry[0].upstream[1].weight"]; s.Value != "1" || s.Origin != "default" {
		t.Errorf("its weight: %+v", s)
	}
	if !strings.Contains(doc.TOML, `name = "b"`) || doc.Source != p.path || doc.LoadedAt.IsZero() {
		t.Errorf("%+v", doc)
	}
}
