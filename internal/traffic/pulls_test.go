package traffic_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/traffic"
)

const (
	indexType = "application/vnd.oci.image.index.v1+json"
	imageType = "application/vnd.oci.image.manifest.v1+json"
	indexSum  = digest.Digest("sha256:1111111111111111111111111111111111111111111111111111111111111111")
	imageSum  = digest.Digest("sha256:2222222222222222222222222222222222222222222222222222222222222222")
	configSum = digest.Digest("sha256:3333333333333333333333333333333333333333333333333333333333333333")
	layerSum  = digest.Digest("sha256:4444444444444444444444444444444444444444444444444444444444444444")
	otherSum  = digest.Digest("sha256:5555555555555555555555555555555555555555555555555555555555555555")
)

// A puller asks as a client does, and its answers come at once.
type puller struct {
	*traffic.Journal
	addr   netip.Addr
	family string
	repo   string
	ids    uint64
}

func newPuller(j *traffic.Journal) *puller {
	return &puller{Journal: j, addr: home, family: "docker", repo: "library/alpine"}
}

func (p *puller) start(op pullchain.Op, reference string) *traffic.Flight {
	req := &pullchain.Request{Op: op, Registry: "docker.io", Repo: p.repo, Tag: reference}
	if strings.Contains(reference, ":") {
		req.Tag, req.Digest = "", digest.Digest(reference)
	}
	p.ids++
	f := &traffic.Flight{ID: p.ids, At: time.Now(), Addr: p.addr, Family: p.family, Form: "default", Request: req}
	p.Begin(f)
	return f
}

func (p *puller) finish(f *traffic.Flight, o traffic.Outcome) {
	o.Method, o.Took = "GET", time.Since(f.At)
	if o.Status == 0 {
		o.Status = 200
	}
	p.End(f, &o)
}

func (p *puller) ask(op pullchain.Op, reference string, o traffic.Outcome) {
	p.finish(p.start(op, reference), o)
}

func (p *puller) index() {
	p.ask(pullchain.Manifest, string(indexSum), traffic.Outcome{Bytes: 10, Upstream: "hub", Response: &pullchain.Response{
		MediaType: indexType, Digest: indexSum, Links: []pullchain.Descriptor{
			{MediaType: imageType, Digest: imageSum, Size: 20, Platform: pullchain.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}},
			{MediaType: imageType, Digest: otherSum, Size: 20, Platform: pullchain.Platform{OS: "linux", Architecture: "amd64"}},
		},
	}})
}

func (p *puller) image() {
	p.ask(pullchain.Manifest, string(imageSum), traffic.Outcome{Bytes: 20, Upstream: "hub", Response: &pullchain.Response{
		MediaType: imageType, Digest: imageSum, Links: []pullchain.Descriptor{
			{MediaType: "application/vnd.oci.image.config.v1+json", Digest: configSum, Size: 100},
			{MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: layerSum, Size: 1000},
			{MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: otherSum, Size: 2000},
		},
	}})
}

func (p *puller) active(t *testing.T, n int) []traffic.Pull {
	t.Helper()
	active, _ := p.Pulls()
	if len(active) != n {
		t.Fatalf("%d active pulls, want %d: %+v", len(active), n, active)
	}
	return active
}

// A whole pull of an index, from the tag to the last layer, and what becomes of it.
func TestPull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPuller(traffic.New())
		began := time.Now()
		p.ask(pullchain.Manifest, "3.20", traffic.Outcome{Upstream: "hub"})
		p.index()
		p.image()
		p.ask(pullchain.Blob, string(configSum), traffic.Outcome{Bytes: 100, Cache: pullchain.CacheHit})
		under := p.start(pullchain.Blob, string(layerSum))
		p.Answered(under, pullchain.CacheMiss, "worker")
		p.active(t, 1)
		time.Sleep(time.Second)
		under.Sent(400)
		got := p.active(t, 1)[0]
		want := traffic.Pull{
			ID: got.ID, Client: "docker", Addr: "192.0.2.7", Form: "default", Registry: "docker.io", Repo: "library/alpine", Reference: "3.20",
			Digest: string(imageSum), Platform: "linux/arm64/v8", State: traffic.StateActive, Started: began, Updated: began,
			LayersTotal: 2, Bytes: 530, Total: 3100, RateBPS: 400, InFlight: 1, Upstreams: []string{"hub", "worker"},
			Cache: map[string]int{"none": 3, "hit": 1}, Asked: 4, Requests: []traffic.Request{},
			Contents: []traffic.Content{
				{Digest: string(layerSum), Layer: true, Size: 1000, Sent: 400, Active: true, Upstream: "worker", Cache: "miss"},
				{Digest: string(otherSum), Layer: true, Size: 2000},
				{Digest: string(configSum), Size: 100, Sent: 100, Done: true, Cache: "hit"},
			},
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("under way (-want +got):\n%s", d)
		}
		p.finish(under, traffic.Outcome{Bytes: 1000, Cache: pullchain.CacheMiss, Upstream: "worker"})
		p.ask(pullchain.Blob, string(otherSum), traffic.Outcome{Bytes: 2000, Cache: pullchain.CacheMiss, Upstream: "worker"})
		if got := p.active(t, 1)[0]; got.LayersDone != 2 || got.Bytes != 3130 || got.State != traffic.StateActive {
			t.Errorf("%+v", got)
		}
		time.Sleep(6 * time.Second)
		if got := p.active(t, 1)[0]; got.State != traffic.StateDone {
			t.Errorf("six seconds later it is %s", got.State)
		}
		p.ask(pullchain.Manifest, "3.20", traffic.Outcome{})
		if all := p.active(t, 2); all[0].Asked != 1 {
			t.Error("what comes after a pull that is complete is not another one")
		}
		time.Sleep(2 * time.Minute)
		p.active(t, 0)
		_, recent := p.Pulls()
		if len(recent) != 2 || recent[1].ID != want.ID || recent[1].LayersDone != 2 || recent[1].State != traffic.StateDone {
			t.Errorf("recent: %+v", recent)
		}
		one, ok := p.Pull(want.ID)
		if !ok || len(one.Requests) != 6 || one.Requests[0].Reference != "3.20" || one.Requests[5].Reference != string(otherSum) {
			t.Errorf("the pull itself: %+v", one)
		}
		if _, ok := p.Pull("p-0"); ok {
			t.Error("a pull that never was")
		}
		if c := p.Counts().Pulls; len(c) != 1 || c[0] != (traffic.PullCount{Registry: "docker.io", Done: 2}) {
			t.Errorf("counts %+v", c)
		}
	})
}

// What makes two requests one pull, and what does not.
func TestPullsAreGrouped(t *testing.T) {
	t.Parallel()
	later := func(d time.Duration) func(*puller) { return func(*puller) { time.Sleep(d) } }
	tag := func(name string) func(*puller) {
		return func(p *puller) { p.ask(pullchain.Manifest, name, traffic.Outcome{}) }
	}
	sum := func(p *puller) { p.ask(pullchain.Manifest, string(imageSum), traffic.Outcome{}) }
	blob := func(p *puller) { p.ask(pullchain.Blob, string(layerSum), traffic.Outcome{}) }
	fail := func(p *puller) {
		p.ask(pullchain.Manifest, "1", traffic.Outcome{Status: 503, Failed: true, Code: pullchain.CodeDNS})
	}
	tests := []struct {
		name  string
		steps []func(*puller)
		want  []string // references, the newest first
	}{
		{"a tag and what follows", []func(*puller){tag("1"), sum, blob}, []string{"1"}},
		{"a digest", []func(*puller){sum, blob}, []string{string(imageSum)}},
		{"a digest, then its tag", []func(*puller){sum, tag("1"), blob}, []string{"1"}},
		{"contents alone", []func(*puller){blob, blob}, []string{""}},
		{"within the gap", []func(*puller){tag("1"), later(29 * time.Second), blob, later(29 * time.Second), blob}, []string{"1"}},
		{"after the gap", []func(*puller){tag("1"), later(30 * time.Second), blob}, []string{"", "1"}},
		{"another tag", []func(*puller){tag("1"), blob, tag("2"), blob}, []string{"2", "1"}},
		{"the same tag again", []func(*puller){tag("1"), sum, tag("1")}, []string{"1"}},
		{"a signature", []func(*puller){tag("1"), tag("sha256-" + strings.Repeat("a", 64) + ".sig"), blob}, []string{"1"}},
		{"a signature alone", []func(*puller){tag("sha256-" + strings.Repeat("a", 64) + ".sig")}, nil},
		{"tries again after an error", []func(*puller){fail, later(20 * time.Second), fail, later(20 * time.Second), tag("1")}, []string{"1"}},
		{"another client", []func(*puller){tag("1"), func(p *puller) { p.family = "podman" }, tag("1")}, []string{"1", "1"}},
		{"another address", []func(*puller){tag("1"), func(p *puller) { p.addr = netip.MustParseAddr("::1") }, tag("1")}, []string{"1", "1"}},
		{"another repository", []func(*puller){tag("1"), func(p *puller) { p.repo = "library/busybox" }, tag("1"), func(p *puller) { p.repo = "library/alpine" }, blob}, []string{"1", "1"}},
		{"a list of tags", []func(*puller){func(p *puller) { p.ask(pullchain.Tags, "", traffic.Outcome{}) }}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPuller(traffic.New())
				for _, step := range tt.steps {
					step(p)
				}
				var got []string
				active, recent := p.Pulls()
				for _, pull := range append(active, recent...) {
					got = append(got, pull.Reference)
				}
				if d := cmp.Diff(tt.want, got); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
			})
		})
	}
}

// How a pull ends.
func TestPullStates(t *testing.T) {
	t.Parallel()
	failed := traffic.Outcome{Status: 503, Failed: true, Code: pullchain.CodeQuota}
	tests := []struct {
		name  string
		steps func(*puller)
		wait  time.Duration
		want  string
		code  string
	}{
		{"an error, just now", func(p *puller) { p.ask(pullchain.Manifest, "1", failed) }, 4 * time.Second, traffic.StateActive, "http_429_quota"},
		{"an error", func(p *puller) { p.ask(pullchain.Manifest, "1", failed) }, 5 * time.Second, traffic.StateFailed, "http_429_quota"},
		{"an error and then it works", func(p *puller) {
			p.ask(pullchain.Manifest, "1", failed)
			p.ask(pullchain.Manifest, "1", traffic.Outcome{})
		}, 30 * time.Second, traffic.StateDone, "http_429_quota"},
		{"only looked", func(p *puller) { p.ask(pullchain.Manifest, "1", traffic.Outcome{}) }, 29 * time.Second, traffic.StateActive, ""},
		{"the client has the layers", func(p *puller) { p.image() }, 30 * time.Second, traffic.StateDone, ""},
		{"a layer that was cut", func(p *puller) {
			p.image()
			p.ask(pullchain.Blob, string(layerSum), traffic.Outcome{Bytes: 10, Failed: true, Code: pullchain.CodeStall})
		}, 5 * time.Second, traffic.StateFailed, "stall"},
		{"the client gave up", func(p *puller) {
			p.image()
			p.ask(pullchain.Blob, string(layerSum), traffic.Outcome{Status: 200, Bytes: 10, Gone: true})
		}, 5 * time.Second, traffic.StateFailed, ""},
		{"the client hung up when it had all", func(p *puller) {
			p.image()
			p.ask(pullchain.Blob, string(layerSum), traffic.Outcome{Status: 206, Bytes: 500, Gone: true, Range: "bytes=0-"})
			p.ask(pullchain.Blob, string(layerSum), traffic.Outcome{Status: 206, Bytes: 500, Range: "bytes=500-"})
		}, 30 * time.Second, traffic.StateDone, ""},
		{"a signature that is not there", func(p *puller) {
			p.image()
			p.ask(pullchain.Manifest, "sha256-"+strings.Repeat("a", 64)+".sig", traffic.Outcome{Status: 404, Failed: true, Code: pullchain.CodeNotFound})
		}, 30 * time.Second, traffic.StateDone, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPuller(traffic.New())
				tt.steps(p)
				time.Sleep(tt.wait)
				if got := p.active(t, 1)[0]; got.State != tt.want || got.Code != tt.code {
					t.Errorf("%s %q, want %s %q", got.State, got.Code, tt.want, tt.code)
				}
			})
		})
	}
}

// What the last requests tell, by what they are looked for.
func TestRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPuller(traffic.New())
		failover := []traffic.Attempt{
			{Upstream: "hub", Outcome: "limited", Word: "http_429_quota", Code: "http_429_quota", Text: "\x1b[31mslow\u202edown", Trouble: true},
			{Upstream: "gated", Outcome: "not asked", Word: "cooldown", Gate: "cooldown", Trouble: true},
			{Upstream: "worker", Outcome: "ok", Word: "ok", Offset: 0},
		}
		p.ask(pullchain.Manifest, "1", traffic.Outcome{Attempts: failover, Upstream: "worker", UserAgent: "docker/29\x00\xff" + strings.Repeat("x", 300)})
		time.Sleep(time.Millisecond)
		p.ask(pullchain.Blob, string(layerSum), traffic.Outcome{Bytes: 100, Upstream: "worker", Attempts: []traffic.Attempt{
			{Upstream: "hub", Outcome: "ok"},
			{Upstream: "hub", Outcome: "unavailable", Code: "stall", Offset: 60, Cut: true, Trouble: true},
			{Upstream: "worker", Outcome: "ok", Offset: 60},
		}})
		time.Sleep(time.Millisecond)
		p.ask(pullchain.Manifest, "1", traffic.Outcome{Status: 503, Failed: true, Code: pullchain.CodeDNS, Error: "no \u001b such host"})
		time.Sleep(time.Millisecond)
		p.End(&traffic.Flight{ID: 99, At: time.Now(), Addr: home, Family: "other"}, &traffic.Outcome{Method: "GET", Status: 404, Failed: true})
		for range 3000 { // which wash away what is well
			p.ask(pullchain.Manifest, "2", traffic.Outcome{Cache: pullchain.CacheHit})
		}
		ids := func(w traffic.RequestFilter) (got []string) {
			for _, r := range p.Requests(w) {
				got = append(got, r.ID)
			}
			return got
		}
		tests := []struct {
			name string
			want traffic.RequestFilter
			ids  []string
		}{
			{"failed", traffic.RequestFilter{Failed: true}, []string{"3"}},
			{"degraded", traffic.RequestFilter{Degraded: true}, []string{"2", "1"}},
			{"either", traffic.RequestFilter{Failed: true, Degraded: true}, []string{"3", "2", "1"}},
			{"of an upstream that served nothing", traffic.RequestFilter{Upstream: "hub"}, []string{"2", "1"}},
			{"of one that was not asked", traffic.RequestFilter{Upstream: "gated"}, nil},
			{"of an image", traffic.RequestFilter{Image: "alpine:1"}, []string{"3", "1"}},
			{"of another", traffic.RequestFilter{Image: "alpine:10"}, nil},
			{"of a registry", traffic.RequestFilter{Registry: "ghcr.io"}, nil},
			{"of a client", traffic.RequestFilter{Client: "podman"}, nil},
			{"the last", traffic.RequestFilter{Failed: true, Degraded: true, Client: "192.0.2.7", Limit: 2}, []string{"3", "2"}},
		}
		for _, tt := range tests {
			if d := cmp.Diff(tt.ids, ids(tt.want)); d != "" {
				t.Errorf("%s (-want +got):\n%s", tt.name, d)
			}
		}
		if n := len(p.Requests(traffic.RequestFilter{})); n < 2000 || n > 2003 {
			t.Errorf("%d requests in all", n)
		}
		if got := p.Requests(traffic.RequestFilter{Limit: 7}); len(got) != 7 || got[0].Reference != "2" || got[0].Cache != "hit" {
			t.Errorf("the last seven: %+v", got)
		}
		first, ok := p.Request("1")
		if !ok || !first.Degraded || first.Failed || first.Attempts[0].Text != "?[31mslow?down" || !strings.HasPrefix(first.UserAgent, "docker/29??xxx") || len(first.UserAgent) > 120 {
			t.Errorf("%+v", first)
		}
		second, _ := p.Request("2")
		if second.Resumes != 1 || second.ResumedBytes != 60 {
			t.Errorf("resumes: %+v", second)
		}
		if third, _ := p.Request("3"); third.Error != "no ? such host" || third.Code != "dns" || third.Kind != "manifest" {
			t.Errorf("%+v", third)
		}
		for _, id := range []string{"zzz", "-", ""} {
			if _, ok := p.Request(id); ok {
				t.Errorf("there is a request %q", id)
			}
		}
		if c := p.Counts().Resumes; len(c) != 1 || c[0].N != 1 || c[0].Bytes != 60 {
			t.Errorf("counts of resumes %+v", c)
		}
	})
}

func TestNamed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		typed, image string
		want         bool
	}{
		{"alpine", "docker.io/library/alpine:3.20", true},
		{"alpine:3.20", "docker.io/library/alpine:3.20", true},
		{"alpine:3.2", "docker.io/library/alpine:3.20", false},
		{"alp", "docker.io/library/alpine:3.20", false},
		{"library/alpine", "docker.io/library/alpine:3.20", true},
		{"docker.io/library/alpine", "docker.io/library/alpine@" + string(imageSum), true},
		{"alpine@sha256:22222222", "docker.io/library/alpine@" + string(imageSum), true},
		{"alpine@sha256:2", "docker.io/library/alpine@" + string(imageSum), false},
		{"docker://ghcr.io/a/b", "ghcr.io/a/b:1", true},
		{"a/b", "ghcr.io/a/b:1", false},
		{"ghcr.io/a", "ghcr.io/a/b:1", false},
	}
	for _, tt := range tests {
		if got := traffic.Named(tt.typed, tt.image); got != tt.want {
			t.Errorf("%q names %q: %v", tt.typed, tt.image, got)
		}
	}
}

// Is my mirror used, and by what?
func TestClients(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPuller(traffic.New())
		began := time.Now()
		p.ask(pullchain.Manifest, "1", traffic.Outcome{Status: 503, Failed: true})
		time.Sleep(time.Second)
		p.End(&traffic.Flight{At: time.Now(), Addr: home, Family: "docker"}, &traffic.Outcome{Method: "GET", Status: 200, Ping: true})
		time.Sleep(time.Second)
		p.End(&traffic.Flight{At: time.Now(), Family: "other"}, &traffic.Outcome{Method: "GET", Status: 200, Ping: true})
		want := []traffic.Client{
			{Family: "other", First: began.Add(2 * time.Second), Last: began.Add(2 * time.Second), Forms: []string{}, Registries: []string{}, Requests: 1},
			{
				Family: "docker", Addr: "192.0.2.7", First: began, Last: began.Add(time.Second), Forms: []string{"default"}, Registries: []string{"docker.io"},
				Requests: 2, Errors: 1, LastPull: &traffic.LastPull{Image: "docker.io/library/alpine:1", At: began, State: traffic.StateActive},
			},
		}
		if d := cmp.Diff(want, p.Clients(), cmpopts.IgnoreFields(traffic.LastPull{}, "ID")); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		time.Sleep(time.Hour)
		if last := p.Clients()[1].LastPull; last.State != traffic.StateFailed || last.Image != "docker.io/library/alpine:1" {
			t.Errorf("an hour later: %+v", last)
		}
		for i := range 1500 { // more than are kept
			p.addr = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			p.ask(pullchain.Manifest, "1", traffic.Outcome{})
		}
		if all := p.Clients(); len(all) != 1000 || all[0].Addr != "10.0.5.219" || all[999].Addr != "10.0.1.244" {
			t.Errorf("%d clients, %s to %s", len(all), all[0].Addr, all[len(all)-1].Addr)
		}
		if active, recent := p.Pulls(); len(active) > 256 || len(recent) > 200 {
			t.Errorf("%d active pulls, %d recent ones", len(active), len(recent))
		}
	})
}

// A reader is woken by what happens, by bytes that flow and by time, not more often than
// it can look, and not by what it has seen.
func TestChanged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPuller(traffic.New())
		began := time.Now()
		var woken []time.Duration
		ctx, cancel := context.WithCancel(t.Context())
		var reader sync.WaitGroup
		reader.Go(func() {
			for seq := uint64(0); ; woken = append(woken, time.Since(began)) {
				var err error
				if seq, err = p.Changed(ctx, seq); err != nil {
					return
				}
			}
		})
		time.Sleep(10 * time.Second)
		for range 100 {
			p.ask(pullchain.Manifest, "1", traffic.Outcome{})
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		f := p.start(pullchain.Blob, string(layerSum))
		time.Sleep(1100 * time.Millisecond)
		p.finish(f, traffic.Outcome{Bytes: 10})
		time.Sleep(10 * time.Minute)
		cancel()
		reader.Wait()
		want := []time.Duration{
			10 * time.Second, 10250 * time.Millisecond, // what came together
			11100 * time.Millisecond, 11600 * time.Millisecond, 12100 * time.Millisecond, // bytes flow
			12350 * time.Millisecond,  // the end
			42200 * time.Millisecond,  // it is done
			102200 * time.Millisecond, // and gone
		}
		if d := cmp.Diff(want, woken); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	})
}

// Everything at once, for the race detector; and whatever came, nothing is under way.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	j := traffic.New()
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				j.Counts()
				j.Clients()
				j.Served("docker.io")
				active, _ := j.Pulls()
				for _, p := range active {
					j.Pull(p.ID)
				}
				j.Requests(traffic.RequestFilter{Limit: 10})
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for i := range 4 {
		writers.Go(func() {
			p := newPuller(j)
			p.ids = uint64(i) << 32
			for n := range 200 {
				p.repo = fmt.Sprintf("r/%d", n%3)
				p.index()
				p.image()
				f := p.start(pullchain.Blob, string(layerSum))
				p.Answered(f, pullchain.CacheMiss, "hub")
				f.Sent(7)
				p.finish(f, traffic.Outcome{Bytes: 1000, Attempts: []traffic.Attempt{{Upstream: "hub", Outcome: "ok"}}})
				p.ask(pullchain.Manifest, "1", traffic.Outcome{Status: 503, Failed: true})
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	if c := j.Counts(); c.InFlight["blob"] != 0 || c.InFlight["manifest"] != 0 {
		t.Errorf("under way: %v", c.InFlight)
	}
}
