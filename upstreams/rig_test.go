package upstreams_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/simnet"
	"github.com/pullchain/pullchain/upstreams"
)

// A rig is a hub with token server and CDN on the simulated internet, and the
// one image that the tests read.
type rig struct {
	*simnet.Net
	hub *simnet.Hub
	img *simnet.Content
	ca  string
}

var testImage = simnet.Image{
	Repo: "library/alpine", Tags: []string{"3.20", "latest"},
	Layers: []simnet.Layer{{Size: 64 << 10}, {Size: 1000, Seed: 1}},
}

// newRig starts hub with testImage in it.
func newRig(t *testing.T, cfg simnet.HubConfig) *rig {
	t.Helper()
	n := simnet.New(simnet.Config{})
	t.Cleanup(n.Close)
	if cfg.Name == "" {
		cfg.Name = "hub"
	}
	if cfg.Images == nil {
		cfg.Images = []simnet.Image{testImage}
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, n.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return &rig{Net: n, hub: n.AddHub(cfg), img: n.Build(testImage), ca: ca}
}

// unhurried are limits of no matter on however slow a machine.
var unhurried = upstreams.Timeouts{Connect: 10 * time.Minute, Header: 10 * time.Minute, Stall: 10 * time.Minute}

// upstream returns one that leads to the hub, after change has seen its config.
func (r *rig) upstream(t *testing.T, change func(*upstreams.Config)) *upstreams.Upstream {
	t.Helper()
	cfg := upstreams.Config{
		Name: "hub", URL: r.hub.URL(), CAFile: r.ca, AllowPrivate: true,
		Timeouts: unhurried,
	}
	if change != nil {
		change(&cfg)
	}
	u, err := upstreams.New(cfg, egress.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Close)
	return u
}

// upstreamAt returns one that leads to s.
func (r *rig) upstreamAt(t *testing.T, s *simnet.Server) *upstreams.Upstream {
	t.Helper()
	return r.upstream(t, func(c *upstreams.Config) { c.URL = s.URL() })
}

// origin adds a server of the test's own making.
func (r *rig) origin(name string, h http.HandlerFunc) *simnet.Server {
	return r.AddOrigin(simnet.Origin{Name: name, Handler: h})
}

// The requests that tests make.

func (r *rig) tag() pullchain.Request {
	return pullchain.Request{Op: pullchain.Manifest, Registry: "docker.io", Repo: r.img.Repo, Tag: "3.20"}
}

func (r *rig) pinned() pullchain.Request {
	req := r.tag()
	req.Tag, req.Digest = "", r.img.Root.Digest
	return req
}

func (r *rig) blob() pullchain.Request {
	d, _ := r.img.Layer(0)
	return pullchain.Request{Op: pullchain.Blob, Registry: "docker.io", Repo: r.img.Repo, Digest: d.Digest}
}

func (r *rig) head(req pullchain.Request) pullchain.Request {
	req.Head = true
	return req
}

// count is short for the ledger's.
func (r *rig) count(f simnet.Filter) int { return r.Ledger().Count(f) }

// arrived waits until some server has been asked something.
func (r *rig) arrived() {
	for r.count(simnet.Filter{}) == 0 {
		time.Sleep(time.Millisecond)
	}
}

// fetch makes one attempt and reads its body.
func fetch(t *testing.T, u *upstreams.Upstream, req pullchain.Request) (pullchain.Response, []byte, error) {
	t.Helper()
	resp, err := u.Fetch(t.Context(), req)
	if err != nil {
		return resp, nil, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	return resp, body, err
}

// mustFetch is fetch for what has to work.
func mustFetch(t *testing.T, u *upstreams.Upstream, req pullchain.Request) (pullchain.Response, []byte) {
	t.Helper()
	resp, body, err := fetch(t, u, req)
	if err != nil {
		t.Fatalf("%s: %v", req.Image(), err)
	}
	return resp, body
}

// expectError fails unless err is what an upstream called hub says for reason
// and code.
func expectError(t *testing.T, err error, reason pullchain.Reason, code pullchain.Code) *pullchain.Error {
	t.Helper()
	e, ok := errors.AsType[*pullchain.Error](err)
	if !ok {
		t.Fatalf("%v (%T) is no *pullchain.Error", err, err)
	}
	if e.Reason != reason || e.Code != code || e.Upstream != "hub" {
		t.Fatalf("%v\nis %v %v of %q, want %v %v", err, e.Reason, e.Code, e.Upstream, reason, code)
	}
	return e
}

// expectUntouched fails if the named server was asked anything, or connected to.
func (r *rig) expectUntouched(t *testing.T, server string) {
	t.Helper()
	if n := r.Ledger().Connections(server); n != 0 {
		t.Errorf("%s was connected to %d times: %v", server, n, r.Ledger().Find(simnet.Filter{Server: server}))
	}
}

// sameBytes fails unless body is want.
func sameBytes(t *testing.T, body, want []byte) {
	t.Helper()
	if len(body) != len(want) || digest.FromBytes(body) != digest.FromBytes(want) {
		t.Errorf("%d bytes of %s, want %d of %s", len(body), digest.FromBytes(body), len(want), digest.FromBytes(want))
	}
}

// answering is a handler with one fixed answer.
func answering(status int, header map[string]string, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, body)
		}
	}
}

// within is a context that bounds what must be quick.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// basic reports whether header is the login user:password.
func basic(header, user, password string) bool {
	r := &http.Request{Header: http.Header{"Authorization": {header}}}
	u, p, ok := r.BasicAuth()
	return ok && u == user && p == password
}

// isPage reports whether s shows markup or a signed URL that a far end wrote.
func isPage(s string) bool {
	return strings.Contains(s, "<") || strings.Contains(s, "Signature=")
}

// ioPatience bounds waits for what happens at once.
const ioPatience = 2 * time.Minute
