package cli_test

import (
	"encoding/json"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/golden"
	"github.com/pullchain/pullchain/internal/traffic"
)

var (
	noon     = time.Date(2026, 5, 4, 12, 0, 0, 0, time.Local)
	layerSum = "sha256:4444444444444444444444444444444444444444444444444444444444444444"
	imageSum = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
)

// story is a journal of three pulls: one with a failover and a resume, one that is well,
// one that failed.
func story() *traffic.Journal {
	j := traffic.New()
	id := uint64(1000)
	ask := func(after time.Duration, family string, req pullchain.Request, o traffic.Outcome) {
		id++
		f := &traffic.Flight{ID: id, At: noon.Add(after), Addr: netip.MustParseAddr("192.0.2.7"), Family: family, Form: "ns", Request: &req}
		j.Begin(f)
		o.Method = "GET"
		if o.Status == 0 {
			o.Status = 200
		}
		j.End(f, &o)
	}
	manifest := func(repo, tag string) pullchain.Request {
		return pullchain.Request{Op: pullchain.Manifest, Registry: "docker.io", Repo: repo, Tag: tag}
	}
	quota := traffic.Attempt{
		Upstream: "docker-hub", Outcome: "limited", Word: "http_429_quota", Code: "http_429_quota", Status: 429, MS: 38, RetryS: 840, Trouble: true,
		Text: `limited http_429_quota (HTTP 429): TOOMANYREQUESTS "You have reached your pull rate limit"` + "\x1b[2J",
	}
	ask(0, "docker", manifest("library/alpine", "3.20"), traffic.Outcome{
		Took: 409 * time.Millisecond, Bytes: 500, Upstream: "cf-worker", Cache: pullchain.CacheMiss,
		Attempts: []traffic.Attempt{quota, {Upstream: "cf-worker", Outcome: "ok", Word: "ok", AtMS: 38, MS: 371}},
		Response: &pullchain.Response{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: digest.Digest(imageSum), Links: []pullchain.Descriptor{
			{MediaType: "application/vnd.oci.image.config.v1+json", Digest: digest.Digest(imageSum[:len(imageSum)-1] + "3"), Size: 1000},
			{MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: digest.Digest(layerSum), Size: 3600000},
		}},
	})
	blob := pullchain.Request{Op: pullchain.Blob, Registry: "docker.io", Repo: "library/alpine", Digest: digest.Digest(imageSum[:len(imageSum)-1] + "3")}
	ask(time.Second, "docker", blob, traffic.Outcome{Took: 2 * time.Millisecond, Bytes: 1000, Cache: pullchain.CacheHit})
	blob.Digest = digest.Digest(layerSum)
	ask(time.Second, "docker", blob, traffic.Outcome{
		Took: 14 * time.Second, Bytes: 3600000, Upstream: "mirror", Cache: pullchain.CacheMiss,
		Attempts: []traffic.Attempt{
			{Upstream: "docker-hub", Outcome: "not asked", Word: "cooldown", Code: "http_429_quota", Gate: "cooldown", RetryS: 839, Trouble: true},
			{Upstream: "cf-worker", Outcome: "ok", Word: "ok", AtMS: 1, MS: 90},
			{Upstream: "cf-worker", Outcome: "unavailable", Word: "stall", Code: "stall", AtMS: 12000, Offset: 1800000, Cut: true, Trouble: true},
			{Upstream: "mirror", Outcome: "ok", Word: "ok", AtMS: 12001, MS: 40, Offset: 1800000},
		},
	})
	ask(2*time.Second, "podman", manifest("library/busybox", "1"), traffic.Outcome{Took: time.Millisecond, Bytes: 500, Cache: pullchain.CacheHit})
	ask(3*time.Second, "crane", manifest("library/nginx", "1"), traffic.Outcome{
		Status: 503, Failed: true, Code: pullchain.CodeDNS, Error: "hub: unavailable dns", Took: 20 * time.Millisecond,
		Attempts: []traffic.Attempt{{Upstream: "docker-hub", Outcome: "unavailable", Word: "dns", Code: "dns", MS: 20, Trouble: true, Text: "no such host"}},
	})
	return j
}

func trafficOf(t *testing.T, j *traffic.Journal) string {
	t.Helper()
	s := httptest.NewServer(admin.New(admin.Config{}, admin.Sources{
		Snapshot: func() admin.Snapshot {
			return admin.Snapshot{Schema: admin.Schema, Started: noon.Add(-time.Hour), Listen: "127.0.0.1:5151"}
		},
		Traffic: j,
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// What people are told of a real pull.
func TestWhy(t *testing.T) {
	t.Parallel()
	addr, empty := trafficOf(t, story()), trafficOf(t, traffic.New())
	tests := []struct {
		name, addr string
		args       []string
	}{
		{"why", addr, nil},
		{"why_image", addr, []string{"alpine:3.20"}},
		{"why_image_zh", addr, []string{"alpine:3.20", "--lang", "zh"}},
		{"why_digest", addr, []string{"alpine@" + imageSum}},
		{"why_failed", addr, []string{"nginx"}},
		{"why_client", addr, []string{"podman"}},
		{"why_request", addr, []string{"rt"}},
		{"why_unknown", addr, []string{"no/such:image"}},
		{"why_nothing", empty, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := run(t.Context(), append([]string{"why", "--addr", tt.addr}, tt.args...))
			if got.code != 0 || got.errors != "" || strings.Contains(got.out, "\x1b") {
				t.Errorf("exit code %d, errors %q", got.code, got.errors)
			}
			golden.Compare(t, "testdata/"+tt.name+".txt", got.out)
		})
	}
}

func TestWhyJSON(t *testing.T) {
	t.Parallel()
	addr := trafficOf(t, story())
	var answer struct {
		Schema   int
		Pull     *traffic.Pull
		Request  *traffic.Request
		Findings []admin.Finding
	}
	got := run(t.Context(), []string{"why", "alpine", "--addr", addr, "-o", "json"})
	if err := json.Unmarshal([]byte(got.out), &answer); err != nil || got.code != 0 {
		t.Fatalf("%v:\n%s%s", err, got.out, got.errors)
	}
	if answer.Schema != 1 || answer.Pull == nil || answer.Pull.Image() != "docker.io/library/alpine:3.20" || len(answer.Findings) != 2 || answer.Request != nil {
		t.Errorf("%+v", answer)
	}
	got = run(t.Context(), []string{"why", "nothing-of-this-name", "--addr", addr, "-o", "json"})
	if got.code != 0 || !strings.Contains(got.out, `"pull": null`) || !strings.Contains(got.out, `"findings": []`) {
		t.Errorf("exit code %d:\n%s", got.code, got.out)
	}
}

func TestPulls(t *testing.T) {
	t.Parallel()
	addr := trafficOf(t, story())
	plain := httptest.NewServer(admin.New(admin.Config{}, admin.Sources{Snapshot: func() admin.Snapshot { return admin.Snapshot{} }}))
	t.Cleanup(plain.Close)
	tests := []struct {
		name        string
		args        []string
		code        int
		out, errors string
	}{
		{"all", []string{"pulls", "--addr", addr}, 0, "docker 192.0.2.7  docker.io/library/alpine:3.20", ""},
		{"how far", []string{"pulls", "--addr", addr}, 0, "1/1  3.4 MiB / 3.4 MiB", ""},
		{"what is wrong", []string{"pulls", "--addr", addr}, 0, "failed dns", ""},
		{"in Chinese", []string{"pulls", "--addr", addr, "--lang", "zh"}, 0, "失败 dns", ""},
		{"as JSON", []string{"pulls", "--addr", addr, "-o", "json"}, 0, `"schema": 1`, ""},
		{"none", []string{"pulls", "--addr", trafficOf(t, traffic.New())}, 0, "No pull has come", ""},
		{"not remembered", []string{"pulls", "--addr", plain.URL}, 1, "", "does not remember"},
		{"why, not remembered", []string{"why", "--addr", plain.URL}, 1, "", "does not remember"},
		{"no daemon", []string{"pulls", "--addr", "127.0.0.1:1"}, 4, "", "no pullchain answers"},
		{"why, no daemon", []string{"why", "--addr", "127.0.0.1:1"}, 4, "", "no pullchain answers"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := run(t.Context(), tt.args)
			if got.code != tt.code || !strings.Contains(got.out, tt.out) || !strings.Contains(got.errors, tt.errors) {
				t.Errorf("exit code %d\n%s%s; want %d with %q and %q", got.code, got.out, got.errors, tt.code, tt.out, tt.errors)
			}
		})
	}
}

func TestPullsWatchEndsOnInterrupt(t *testing.T) {
	t.Parallel()
	got := runUntil(t, "\n", func(string) {}, []string{"pulls", "-w", "--addr", trafficOf(t, story()), "-o", "json"})
	if got.code != 130 || !strings.HasPrefix(got.out, `{"schema":1,`) {
		t.Errorf("exit code %d:\n%s%s", got.code, got.out, got.errors)
	}
}
