package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
)

// pastEvents are events that have happened; one more happens by add.
type pastEvents struct {
	mu   sync.Mutex
	all  []balancer.Event
	wake chan struct{}
}

func (p *pastEvents) add(e balancer.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.Seq = uint64(len(p.all) + 1)
	p.all = append(p.all, e)
	close(p.wake)
	p.wake = make(chan struct{})
}

func (p *pastEvents) Last() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return uint64(len(p.all))
}

func (p *pastEvents) Since(seq uint64) ([]balancer.Event, uint64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]balancer.Event{}, p.all[min(seq, uint64(len(p.all))):]...), uint64(len(p.all)), false
}

func (p *pastEvents) Wait(ctx context.Context, seq uint64) error {
	for {
		p.mu.Lock()
		ready, wake := uint64(len(p.all)) != seq, p.wake
		p.mu.Unlock()
		if ready {
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// happening is a daemon that two things have happened to.
func happening(t *testing.T) (*pastEvents, string) {
	t.Helper()
	p := &pastEvents{wake: make(chan struct{})}
	at := time.Date(2026, 11, 21, 10, 42, 7, 0, time.Local)
	p.add(balancer.Event{At: at, Kind: balancer.KindTransition, Registry: "docker.io", Upstream: "hub", From: "serving", To: "cooling", Code: "http_429_quota"})
	p.add(balancer.Event{At: at, Kind: balancer.KindFailover, Registry: "ghcr.io", Upstream: "ghcr\x1b[2J", Code: "dns", Failover: &balancer.Failover{
		From: "ghcr", To: "mirror", Phase: "manifest", Code: "dns", AddedMS: 38, Image: "ghcr.io/a/b:1",
	}})
	s := httptest.NewServer(admin.New(admin.Config{}, admin.Sources{
		Snapshot: func() admin.Snapshot { return admin.Snapshot{Summary: admin.Summary{Level: "ok", Text: "all is well"}} }, Events: p,
	}))
	t.Cleanup(s.Close)
	return p, s.URL
}

func TestEvents(t *testing.T) {
	t.Parallel()
	_, addr := happening(t)
	tests := []struct {
		name string
		args []string
		code int
		out  []string // are contained
		not  string
	}{
		{"all", nil, 0, []string{"10:42:07  docker.io/hub  serving → cooling", "10:42:07  ghcr.io/ghcr", "mirror", "+38 ms", "all is well"}, "\x1b"},
		{"in Chinese", []string{"--lang", "zh"}, 0, []string{"使用中 → 冷却中"}, "serving"},
		{"of one registry", []string{"--registry", "docker.io"}, 0, []string{"docker.io/hub"}, "ghcr.io"},
		{"of one topic", []string{"--topics", "failover"}, 0, []string{"ghcr.io"}, "docker.io/hub"},
		{"of no topic", []string{"--topics", "gossip"}, 2, nil, "docker.io"},
		{"as lines", []string{"-o", "jsonl", "--topics", "failover"}, 0, []string{`{"event":"failover","id":2,"data":{`}, "\n  "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := run(t.Context(), append([]string{"events", "--addr", addr}, tt.args...))
			if got.code != tt.code || strings.Contains(got.out, tt.not) {
				t.Errorf("exit code %d\n%s%s", got.code, got.out, got.errors)
			}
			for _, want := range tt.out {
				if !strings.Contains(got.out, want) {
					t.Errorf("%q is not in\n%s%s", want, got.out, got.errors)
				}
			}
		})
	}
	got := run(t.Context(), []string{"events", "--addr", addr, "-o", "json"})
	var doc struct {
		Schema int
		Events []struct{ Event string }
	}
	if err := json.Unmarshal([]byte(got.out), &doc); err != nil || doc.Schema != 1 || len(doc.Events) != 4 {
		t.Errorf("%v %+v", err, doc)
	}
}

// What happens is told as it happens, until the command is interrupted.
func TestEventsFollow(t *testing.T) {
	t.Parallel()
	p, addr := happening(t)
	got := runUntil(t, "quay.io/quay", func(string) {}, []string{"events", "-f", "--addr", addr, "--topics", "transition"}, "STARTED="+func() string {
		p.add(balancer.Event{At: time.Now(), Kind: balancer.KindTransition, Registry: "quay.io", Upstream: "quay", From: "serving", To: "down"})
		return "1"
	}())
	if got.code != 130 {
		t.Errorf("exit code %d\n%s%s", got.code, got.out, got.errors)
	}
}

func TestEventsWithoutDaemon(t *testing.T) {
	t.Parallel()
	nowhere := httptest.NewServer(nil)
	nowhere.Close()
	if got := run(t.Context(), []string{"events", "-f", "--addr", nowhere.URL}); got.code != 4 {
		t.Errorf("exit code %d\n%s", got.code, got.errors)
	}
}

// oneImage explains alpine; its upstreams mean different things by it if they differ.
type oneImage struct{ differ bool }

func (oneImage) Explain(_ context.Context, image string) (admin.Explanation, error) {
	e := admin.Explanation{Image: image, Name: "docker.io/library/alpine:latest", Registry: "docker.io", Served: true}
	switch image {
	case "alpine":
	case "nope.io/x":
		e.Registry, e.Served = "nope.io", false
		return e, nil
	default:
		return e, admin.ErrNoImage
	}
	e.Candidates = []admin.Candidate{
		{Candidate: balancer.Candidate{Upstream: "mirror", Turn: 1}, State: "serving", Via: "direct"},
		{Candidate: balancer.Candidate{Upstream: "hub\x1b[2J", Gate: "cooldown", Code: "http_429_quota"}, State: "cooling", Via: "home"},
	}
	e.Forms = []admin.ClientForm{{Form: "path", Path: "/v2/docker.io/library/alpine/manifests/latest", Pull: "127.0.0.1:5151/docker.io/library/alpine:latest"}}
	return e, nil
}

func (o oneImage) Digests(context.Context, string) ([]admin.UpstreamDigest, error) {
	list := []admin.UpstreamDigest{{Upstream: "mirror", Digest: "sha256:aa", MS: 3}, {Upstream: "hub", Digest: "sha256:aa", MS: 4}}
	if o.differ {
		list[1].Digest = "sha256:bb"
	}
	return list, nil
}

func TestExplain(t *testing.T) {
	t.Parallel()
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead || r.URL.Path != "/v2/docker.io/library/alpine/manifests/latest" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Docker-Content-Digest", "sha256:aa")
		w.Header().Set("Cache-Status", "pullchain; hit")
	}))
	t.Cleanup(mirror.Close)
	plane := func(differ bool) string {
		s := httptest.NewServer(admin.New(admin.Config{}, admin.Sources{Snapshot: func() admin.Snapshot {
			return admin.Snapshot{Schema: admin.Schema, Listen: strings.TrimPrefix(mirror.URL, "http://")}
		}, Explainer: oneImage{differ}}))
		t.Cleanup(s.Close)
		return s.URL
	}
	same, differ := plane(false), plane(true)
	tests := []struct {
		name, addr string
		args       []string
		code       int
		out        []string
	}{
		{"an image", same, []string{"alpine"}, 0, []string{"docker.io/library/alpine:latest", "1  mirror  serving  direct", "-  hub", "cooling"}},
		{"in Chinese", same, []string{"alpine", "--lang", "zh"}, 0, []string{"使用中"}},
		{"no registry of ours", same, []string{"nope.io/x"}, 1, []string{"nope.io"}},
		{"no image", same, []string{"a b"}, 2, nil},
		{"what it means to all", same, []string{"alpine", "--digests"}, 0, []string{"mirror  sha256:aa  3 ms"}},
		{"they differ", differ, []string{"alpine", "--digests"}, 8, []string{"hub  sha256:bb  4 ms"}},
		{"they differ, as JSON", differ, []string{"alpine", "--digests", "-o", "json"}, 8, []string{`"agree": false`}},
		{"a real request", same, []string{"alpine", "--try"}, 0, []string{"200", "sha256:aa", "pullchain; hit"}},
		{"one to another mirror", same, []string{"alpine", "--try", "--mirror", same}, 1, []string{"404"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := run(t.Context(), append([]string{"explain", "--addr", tt.addr}, tt.args...))
			if got.code != tt.code || bytes.ContainsAny([]byte(got.out), "\x1b") {
				t.Errorf("exit code %d, want %d\n%s%s", got.code, tt.code, got.out, got.errors)
			}
			for _, want := range tt.out {
				if !strings.Contains(got.out, want) {
					t.Errorf("%q is not in\n%s", want, got.out)
				}
			}
		})
	}
}
