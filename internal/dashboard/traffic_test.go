package dashboard_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/dashboard"
	"github.com/pullchain/pullchain/internal/golden"
	"github.com/pullchain/pullchain/internal/traffic"
)

// journal is what clients asked for, as if a daemon remembered it.
type journal struct {
	active, recent []traffic.Pull
	clients        []traffic.Client
	requests       []traffic.Request
}

func (j journal) Pulls() (active, recent []traffic.Pull)           { return j.active, j.recent }
func (j journal) Clients() []traffic.Client                        { return slices.Clone(j.clients) }
func (j journal) Requests(traffic.RequestFilter) []traffic.Request { return j.requests }

func (j journal) Pull(id string) (traffic.Pull, bool) {
	for _, p := range append(slices.Clone(j.active), j.recent...) {
		if p.ID == id {
			p.Requests = j.requests
			return p, true
		}
	}
	return traffic.Pull{}, false
}

func (j journal) Request(id string) (traffic.Request, bool) {
	for _, r := range j.requests {
		if r.ID == id {
			return r, true
		}
	}
	return traffic.Request{}, false
}

func (j journal) Changed(ctx context.Context, _ uint64) (uint64, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

const other = "sha256:fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"

// busyDay has one of everything.
func busyDay() journal {
	return journal{
		active: []traffic.Pull{
			{ID: "a1", Client: "docker", Addr: "10.0.0.17", Form: "ns", Registry: "docker.io", Repo: "library/postgres", Reference: "17", Platform: "linux/amd64", State: traffic.StateActive,
				Started: now.Add(-22 * time.Second), Updated: now, LayersDone: 5, LayersTotal: 14, Bytes: 63 << 20, Total: 152 << 20, RateBPS: 6 << 20, InFlight: 3,
				Upstreams: []string{"cf-worker", "mirror-x"}, Cache: map[string]int{"hit": 2, "miss": 4, "coalesced": 1}, Asked: 8, Resumes: 1, ResumedBytes: 1887436, Degraded: 1,
				Contents: []traffic.Content{{Digest: sum, Layer: true, Size: 48 << 20, Sent: 20 << 20, Active: true, Upstream: "cf-worker"}, {Digest: other, Layer: true, Size: 3 << 20, Sent: 3 << 20, Done: true}, {Digest: sum[:70] + "1", Size: 1472, Sent: 1472, Done: true, Upstream: "cf-worker"}}},
			{ID: "a0", Client: "containerd", Addr: "10.0.0.21", Form: "ns", Registry: "ghcr.io", Repo: "acme/api", Reference: "v3.1", Platform: "linux/arm64", State: traffic.StateDone,
				Started: now.Add(-50 * time.Second), Updated: now.Add(-31 * time.Second), LayersDone: 9, LayersTotal: 9, Bytes: 214 << 20, Total: 214 << 20, Upstreams: []string{"ghcr"}, Asked: 11},
		},
		recent: []traffic.Pull{
			{ID: "r1", Client: "podman", Addr: "127.0.0.1", Form: "path", Registry: "quay.io", Repo: "prometheus/prometheus", Reference: "v3.1.0", State: traffic.StateFailed, Started: now.Add(-9 * time.Minute), Updated: now.Add(-9 * time.Minute), Asked: 1, Failures: 1, Code: "conn_timeout"},
			{ID: "r0", Client: "docker", Addr: "10.0.0.17", Form: "default", Registry: "docker.io", Repo: "library/alpine", Reference: "3.20", Platform: "linux/amd64", State: traffic.StateDone,
				Started: now.Add(-26 * time.Minute), Updated: now.Add(-26 * time.Minute), LayersDone: 1, LayersTotal: 1, Bytes: 3626897, Total: 3626897, Cache: map[string]int{"hit": 3}, Asked: 3},
		},
		clients: []traffic.Client{
			{Family: "docker", Addr: "10.0.0.17", First: now.Add(-70 * time.Hour), Last: now.Add(-time.Second), Forms: []string{"default"}, Registries: []string{"docker.io"}, Requests: 1284, LastPull: &traffic.LastPull{ID: "a1", Image: "docker.io/library/postgres:17", At: now, State: traffic.StateActive}},
			{Family: "containerd", Addr: "10.0.0.21", First: now.Add(-7 * time.Hour), Last: now.Add(-31 * time.Second), Forms: []string{"ns"}, Registries: []string{"docker.io", "ghcr.io"}, Requests: 311, LastPull: &traffic.LastPull{ID: "a0", Image: "ghcr.io/acme/api:v3.1", At: now, State: traffic.StateDone}},
			{Family: "podman", Addr: "127.0.0.1", First: now.Add(-9 * time.Minute), Last: now.Add(-9 * time.Minute), Forms: []string{"path"}, Registries: []string{"quay.io"}, Requests: 1, Errors: 1, LastPull: &traffic.LastPull{ID: "r1", Image: "quay.io/prometheus/prometheus:v3.1.0", At: now, State: traffic.StateFailed}},
		},
		requests: []traffic.Request{
			{ID: "q1", Pull: "a1", At: now.Add(-22 * time.Second), Client: "docker", Addr: "10.0.0.17", UserAgent: "docker/29.7.2 go/go1.26 kernel/6.12", Form: "default", Registry: "docker.io", Repo: "library/postgres", Reference: "17", Kind: "manifest", Method: "HEAD", Status: 200,
				TTFBMS: 409, TookMS: 410, Cache: "miss", Upstream: "cf-worker", Degraded: true, Attempts: []traffic.Attempt{
					{Upstream: "docker-hub", Outcome: "rate limited", Word: "http_429_quota", Code: "http_429_quota", Status: 429, Text: `429 Too Many Requests: {"errors":[{"code":"TOOMANYREQUESTS"}]}`, MS: 38, RetryS: 840, Trouble: true},
					{Upstream: "mirror-x", Outcome: "not asked", Word: "cooldown", Code: "http_429_quota", Gate: "cooldown", AtMS: 38},
					{Upstream: "cf-worker", Outcome: "ok", Word: "ok", Status: 200, AtMS: 38, MS: 371}}},
			{ID: "q2", Pull: "a1", At: now.Add(-20 * time.Second), Client: "docker", Registry: "docker.io", Repo: "library/postgres", Reference: other, Kind: "blob", Method: "GET", Status: 200, Bytes: 3 << 20, TTFBMS: 0.4, TookMS: 21, Cache: "hit"},
			{ID: "q3", Pull: "r1", At: now.Add(-9 * time.Minute), Client: "podman", Addr: "127.0.0.1", Form: "path", Registry: "quay.io", Repo: "prometheus/prometheus", Reference: "v3.1.0", Kind: "manifest", Method: "GET", Status: 503, TookMS: 5012, TTFBMS: 5011, Failed: true, Code: "conn_timeout", Error: "quay: dial tcp 203.0.113.9:443: i/o timeout",
				Attempts: []traffic.Attempt{{Upstream: "quay", Outcome: "unavailable", Word: "conn_timeout", Code: "conn_timeout", Text: "dial tcp 203.0.113.9:443: i/o timeout", MS: 5011, Trouble: true}}},
		},
	}
}

// What people read of pulls, requests and clients, in both languages.
func TestTrafficReads(t *testing.T) {
	t.Parallel()
	h := over(troubled)
	for name, path := range map[string]string{"pulls": "/pulls", "pull": "/pulls/a1", "request": "/requests/q1", "request-failed": "/requests/q3", "clients": "/clients"} {
		for _, lang := range []string{"en", "zh"} {
			t.Run(name+"-"+lang, func(t *testing.T) {
				t.Parallel()
				golden.Compare(t, "testdata/"+name+"-"+lang+".txt", text(elements(get(t, h, path+"?lang="+lang).tree, "main")[0]))
			})
		}
	}
}

// Client headers and image names are foreign text.
func TestHostileClientsAreText(t *testing.T) {
	t.Parallel()
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>` + "\u202e\x1b[2J"
	j := busyDay()
	for i := range j.active {
		p := &j.active[i]
		p.Client, p.Addr, p.Repo, p.Reference, p.Platform, p.Upstreams, p.Form = evil, evil, evil, evil, evil, []string{evil}, evil
	}
	for i := range j.clients {
		c := &j.clients[i]
		c.Family, c.Addr, c.Forms, c.Registries, c.LastPull.Image = evil, evil, []string{evil}, []string{evil}, evil
	}
	for i := range j.requests {
		r := &j.requests[i]
		r.UserAgent, r.Error, r.Repo, r.Reference, r.Range, r.Upstream, r.Code, r.Method = evil, evil, evil, evil, evil, evil, evil, evil
		for k := range r.Attempts {
			a := &r.Attempts[k]
			a.Upstream, a.Text, a.Code = evil, evil, evil
		}
	}
	from := sources(troubled)
	from.Traffic = j
	h := dashboard.New(from)
	for _, path := range []string{"/", "/pulls", "/pulls/a1", "/requests/q1", "/clients"} {
		a := get(t, h, path)
		for _, f := range faults(a) {
			t.Errorf("%s: %s", path, f)
		}
		if len(elements(a.tree, "img")) > 0 || strings.ContainsAny(a.body, "\u202e\x1b") {
			t.Errorf("%s: foreign text got through", path)
		}
	}
}

// A request that is no longer known is a page that says so.
func TestForgottenRequest(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/requests/zz", "/pulls/zz"} {
		a := get(t, over(healthy), path)
		if a.StatusCode != 404 || !strings.Contains(text(a.tree), "no longer known") {
			t.Errorf("%s: %s\n%s", path, a.Status, text(a.tree))
		}
	}
	bare := dashboard.New(admin.Sources{Snapshot: healthy})
	for _, path := range []string{"/", "/pulls", "/clients", "/events", "/cache", "/setup", "/r/docker.io", "/r/docker.io/u/docker-hub"} {
		a := get(t, bare, path)
		for _, f := range faults(a) {
			t.Errorf("%s of a daemon that remembers nothing: %s", path, f)
		}
	}
}
