package traffic_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/traffic"
)

var home = netip.MustParseAddr("192.0.2.7")

// begin begins a request of docker.
func begin(j *traffic.Journal, req pullchain.Request) *traffic.Flight {
	f := &traffic.Flight{ID: 1, At: time.Now(), Addr: home, Family: "docker", Form: "default", Request: &req}
	j.Begin(f)
	return f
}

// hit is how a request ends that the cache answered.
func hit(bytes int64, took time.Duration) *traffic.Outcome {
	return &traffic.Outcome{Method: "GET", Status: 200, Bytes: bytes, TTFB: took / 2, Took: took, Cache: pullchain.CacheHit}
}

var (
	alpine = pullchain.Request{Op: pullchain.Manifest, Registry: "docker.io", Repo: "library/alpine", Tag: "3.20"}
	layer  = pullchain.Request{Op: pullchain.Blob, Registry: "docker.io", Repo: "library/alpine", Digest: "sha256:aa"}
)

// What metrics are made of: bounded labels, bytes that only grow, and what is under way.
func TestCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := traffic.New()
		j.End(begin(j, alpine), hit(100, time.Millisecond))
		j.End(begin(j, alpine), hit(100, 7*time.Second))
		failed := &traffic.Outcome{Method: "GET", Status: 503, Bytes: 9, Failed: true, TTFB: time.Hour, Took: time.Hour}
		j.End(begin(j, alpine), failed)
		odd := &traffic.Flight{At: time.Now(), Addr: home, Family: "other"}
		j.End(odd, &traffic.Outcome{Method: "BREW", Status: 1234, Failed: true})
		j.End(odd, &traffic.Outcome{Method: "GET", Status: 200, Ping: true})

		under := begin(j, layer)
		under.Sent(5)
		if c := j.Counts(); len(c.Bytes) != 2 {
			t.Errorf("bytes of an answer of which nothing is known are counted: %+v", c.Bytes)
		}
		j.Answered(under, pullchain.CacheMiss, "hub")
		under.Sent(1 << 20)
		last := begin(j, layer)

		c := j.Counts()
		wantRequests := []traffic.RequestCount{
			{Kind: "other", Method: "other", Code: 0, Cache: "none", N: 1},
			{Kind: "ping", Method: "GET", Code: 200, Cache: "none", N: 1},
			{Registry: "docker.io", Kind: "manifest", Method: "GET", Code: 503, Cache: "none", N: 1},
			{Registry: "docker.io", Kind: "manifest", Method: "GET", Code: 200, Cache: "hit", N: 2},
		}
		if d := cmp.Diff(wantRequests, c.Requests); d != "" {
			t.Errorf("requests (-want +got):\n%s", d)
		}
		if c.Requests[0].CodeWord() != "other" || c.Requests[1].CodeWord() != "200" {
			t.Error("words of codes")
		}
		wantBytes := []traffic.ByteCount{
			{Registry: "docker.io", Kind: "manifest", Source: "upstream", N: 9},
			{Registry: "docker.io", Kind: "manifest", Source: "cache", N: 200},
			{Registry: "docker.io", Kind: "blob", Source: "upstream", N: 1 << 20},
		}
		if d := cmp.Diff(wantBytes, c.Bytes); d != "" {
			t.Errorf("bytes (-want +got):\n%s", d)
		}
		if d := cmp.Diff(map[string]int{"manifest": 0, "blob": 2, "tags": 0, "referrers": 0}, c.InFlight); d != "" {
			t.Errorf("in flight (-want +got):\n%s", d)
		}
		for _, timing := range c.Timings {
			if timing.Registry == "docker.io" && timing.Cache == "hit" {
				h := timing.Duration
				if len(h.Counts) != len(h.Bounds)+1 || h.Counts[0] != 1 || h.Counts[12] != 1 || h.Count != 2 || h.Sum != 7.001 {
					t.Errorf("times %+v", h)
				}
			}
			if timing.Registry == "docker.io" && timing.Cache == "none" && timing.TTFB.Counts[len(timing.TTFB.Bounds)] != 1 {
				t.Errorf("an hour is in no bucket: %+v", timing.TTFB)
			}
		}
		wantClients := []traffic.ClientCount{
			{Family: "docker", Form: "default", N: 3, Errors: 1, Last: time.Now().Add(time.Hour)},
			{Family: "other", N: 2, Errors: 1, Last: time.Now()},
		}
		if d := cmp.Diff(wantClients, c.Clients); d != "" {
			t.Errorf("clients (-want +got):\n%s", d)
		}
		// In any order, and each byte once.
		j.End(under, &traffic.Outcome{Method: "GET", Status: 200, Bytes: 2 << 20, Cache: pullchain.CacheMiss})
		j.End(last, &traffic.Outcome{Method: "GET", Status: 200, Cache: pullchain.CacheMiss})
		c = j.Counts()
		if got := c.Bytes[2].N; got != 2<<20 || c.InFlight["blob"] != 0 {
			t.Errorf("%d bytes of blobs, %d in flight", got, c.InFlight["blob"])
		}
	})
}
