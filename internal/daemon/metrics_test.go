package daemon_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain/internal/simnet"
)

// metrics are the lines of /metrics that are ours.
func (r *rig) metrics() []string {
	r.t.Helper()
	resp, err := r.client.Get("http://" + r.Daemon.AdminAddr() + "/metrics")
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatalf("/metrics: %d, %v", resp.StatusCode, err)
	}
	var lines []string
	for line := range strings.Lines(string(body)) {
		if strings.Contains(line, "pullchain_") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// series are the names and labels of what /metrics has, without values.
func (r *rig) series() []string {
	var out []string
	for _, line := range r.metrics() {
		if name, _, ok := cutLast(line, " "); ok && !strings.HasPrefix(line, "#") {
			out = append(out, name)
		}
	}
	return out
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// A daemon that has had every kind of trouble has the metrics of the table in
// docs/metrics.md, with their types and labels, and no others.
func TestMetricsOfTheTable(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	hub := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Images: []simnet.Image{alpine}, Quota: simnet.Quota{Limit: 100}})
	mirror := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "mirror"}, Images: []simnet.Image{alpine}})
	proxy := n.AddSOCKSProxy(simnet.ProxyConfig{Origin: simnet.Origin{Name: "proxy"}})
	r := newRig(t, rigConfig{
		Net: n, Top: fmt.Sprintf("[egress.socks]\nurl = %q\n", proxy.URL()), Cache: cacheIn(t.TempDir()) + "\ntag_ttl = \"0s\"",
		Chain: []lane{{Name: "hub", URL: hub.URL(), Origin: true}, {Name: "mirror", URL: mirror.URL(), Keys: "egress = \"socks\""}},
	})
	r.probed("hub", "mirror")
	img := n.Build(alpine)
	r.wantBytes(img.Path(), img.Manifest())
	layer, content := img.Layer(1)
	r.wantBytes(img.BlobPath(layer.Digest), content)
	hub.Inject(simnet.Fault{Status: 500})
	r.wantBytes(img.Path(), img.Manifest()) // by the mirror
	mirror.Inject(simnet.Fault{Status: 500})
	r.wantBytes(img.Path(), img.Manifest()) // by the cache, unconfirmed
	r.wantStatus("/v2/library/alpine/manifests/other", http.StatusServiceUnavailable)
	r.eventually("all metrics are there", func() bool { return len(r.rowsOfMetrics()) == len(rowsOfTable(t)) })
	if diff := cmp.Diff(rowsOfTable(t), r.rowsOfMetrics()); diff != "" {
		t.Errorf("docs/metrics.md and /metrics (-table +metrics):\n%s", diff)
	}
	for _, want := range []string{
		`pullchain_egress_up{egress="socks"} 1`,
		`pullchain_failovers_total{from="hub",phase="manifest",reason="http_5xx",registry="docker.io",to="mirror"} 1`,
		`pullchain_chain_exhausted_total{kind="manifest",registry="docker.io"} 1`,
		`pullchain_stale_served_total{reason="http_5xx",registry="docker.io"} 1`,
		`pullchain_ratelimit_limit{registry="docker.io",source="ip",upstream="hub"} 100`,
		`pullchain_upstream_requests_total{kind="blob",outcome="ok",registry="docker.io",upstream="hub"} 1`,
		`pullchain_upstream_requests_total{kind="blob",outcome="digest_mismatch",registry="docker.io",upstream="hub"} 0`,
		`pullchain_probes_total{reason="",registry="docker.io",result="pass",upstream="mirror"} 1`,
	} {
		if !slices.Contains(r.metrics(), want) {
			t.Errorf("no %s", want)
		}
	}
}

// A row is a metric with its type and its labels, as "name type label label".
var row = regexp.MustCompile("^\\| `(pullchain_\\w+)` \\| (\\w+) \\| ([\\w, ]*) \\|")

func rowsOfTable(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for line := range strings.Lines(string(text)) {
		if m := row.FindStringSubmatch(line); m != nil {
			rows = append(rows, rowOf(m[1], m[2], strings.FieldsFunc(m[3], func(r rune) bool { return r == ',' || r == ' ' })))
		}
	}
	slices.Sort(rows)
	return rows
}

func rowOf(name, kind string, labels []string) string {
	slices.Sort(labels)
	return strings.Join(append([]string{name, kind}, labels...), " ")
}

var label = regexp.MustCompile(`(\w+)="`)

// rowsOfMetrics are the rows that /metrics amounts to.
func (r *rig) rowsOfMetrics() []string {
	var name, kind string
	rows := map[string]bool{}
	for _, line := range r.metrics() {
		if is, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ = strings.Cut(is, " ")
			continue
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		var labels []string
		for _, m := range label.FindAllStringSubmatch(line, -1) {
			if m[1] != "le" {
				labels = append(labels, m[1])
			}
		}
		rows[rowOf(name, kind, labels)] = true
	}
	out := make([]string, 0, len(rows))
	for row := range rows {
		out = append(out, row)
	}
	slices.Sort(out)
	return out
}

// What clients call things makes no series: a stranger could fill the memory of whatever
// scrapes us.
func TestHostileRequestsAddNoSeries(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *rigConfig) { c.Cache = cacheIn(t.TempDir()) })
	p.probed("a", "b")
	p.manifest()
	shapes := []struct {
		method, path string
		header       [2]string
	}{
		{"GET", "/v2/library/x%d/manifests/latest", [2]string{}},
		{"HEAD", "/v2/library/x%d/manifests/t%[1]d", [2]string{}},
		{"GET", "/v2/library/x%d/blobs/sha256:%064[1]x", [2]string{}},
		{"GET", "/v2/library/x%d/tags/list", [2]string{}},
		{"GET", "/v2/library/app/manifests/latest?ns=registry%d.example", [2]string{}},
		{"GET", "/v2/registry%d.example/app/manifests/latest", [2]string{}},
		{"GET", "/%d%%22%%7D%%0Apullchain_x%%7Ba=%%22", [2]string{}},
		{"PURGE%d", "/v2/", [2]string{}},
		{"GET", "/v2/", [2]string{"User-Agent", "evil-%d\"}"}},
		{"GET", "/v2/", [2]string{"X-Forwarded-For", "10.0.%d.1"}},
	}
	ask := func(i int) {
		s := shapes[i%len(shapes)]
		method := s.method
		if strings.Contains(method, "%") {
			method = fmt.Sprintf(method, i)
		}
		path := s.path
		if strings.Contains(path, "%") {
			path = fmt.Sprintf(path, i)
		}
		if s.header[0] == "" {
			p.do(method, path)
			return
		}
		p.do(method, path, s.header[0], fmt.Sprintf(s.header[1], i))
	}
	for i := range 2 * len(shapes) {
		ask(i)
	}
	p.settled()
	before := p.series()
	for i := range 1000 {
		ask(100 + i)
	}
	p.settled()
	if diff := cmp.Diff(before, p.series()); diff != "" {
		t.Errorf("series (-before +after):\n%s", diff)
	}
	for _, s := range before {
		if strings.Contains(s, "evil") || strings.Contains(s, "PURGE") || strings.Contains(s, "library") {
			t.Errorf("a client's words: %s", s)
		}
	}
}

// settled waits until what was asked for is counted: a request is so after its last byte.
func (r *rig) settled() {
	r.t.Helper()
	r.eventually("nothing is under way", func() bool {
		return !slices.ContainsFunc(r.metrics(), func(line string) bool {
			return strings.HasPrefix(line, "pullchain_http_in_flight_requests") && !strings.HasSuffix(line, " 0")
		})
	})
}

// Health is of the process, and readiness of the registries, as a load balancer asks.
func TestHealthAndReadiness(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	ask := func(path string) int {
		resp, err := p.client.Get("http://" + p.Daemon.AdminAddr() + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for path, want := range map[string]int{
		"/-/healthz": 200, "/-/readyz": 200, "/-/readyz?registry=docker.io": 200, "/-/readyz?registry=other.example": 404, "/metrics": 200,
	} {
		if got := ask(path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	for _, m := range []*simnet.Mirror{p.a, p.b} {
		m.Inject(simnet.TooManyAfter(time.Hour, false))
	}
	p.wantStatus(p.image.Path(), http.StatusTooManyRequests)
	if got := ask("/-/readyz"); got != http.StatusServiceUnavailable {
		t.Errorf("with no path left readyz is %d", got)
	}
	if got := ask("/-/healthz"); got != http.StatusOK {
		t.Errorf("with no path left healthz is %d", got)
	}
}
