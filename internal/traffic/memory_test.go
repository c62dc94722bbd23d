package traffic_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/traffic"
)

// heap is what a Journal takes after fill, in bytes.
func heap(fill func(*traffic.Journal)) int64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	j := traffic.New()
	fill(j)
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(j)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

// What the package comment says of memory. Not parallel: the heap is the process's.
func TestMemoryIsBounded(t *testing.T) {
	day := heap(func(j *traffic.Journal) { // a team's mirror: 30 clients, two upstreams
		for i := range 5000 {
			p := newPuller(j)
			p.addr, p.ids = netip.AddrFrom4([4]byte{10, 0, 0, byte(i % 30)}), uint64(i)
			p.repo = fmt.Sprintf("team/app-%d", i%40)
			o := traffic.Outcome{Cache: pullchain.CacheHit, UserAgent: "containerd/v2.1.0", Bytes: 1000}
			if i%10 == 0 {
				o.Cache, o.Upstream = pullchain.CacheMiss, "docker-hub"
				o.Attempts = []traffic.Attempt{{Upstream: "docker-hub", Outcome: "ok", Word: "ok"}}
			}
			p.ask(pullchain.Blob, fmt.Sprintf("sha256:%064d", i), o)
		}
	})
	worst := heap(func(j *traffic.Journal) {
		long := strings.Repeat("x", 5000)
		for i := range 6000 {
			p := newPuller(j)
			p.addr, p.ids = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), uint64(i)
			p.repo = fmt.Sprintf("%d/%s", i, long)
			o := traffic.Outcome{Status: 503, Failed: true, UserAgent: long, Error: long, Range: long, Attempts: make([]traffic.Attempt, 100)}
			for n := range o.Attempts {
				o.Attempts[n] = traffic.Attempt{Upstream: fmt.Sprint("u", (i+n)%300), Code: "http_5xx", Text: long[n:]}
			}
			p.ask(pullchain.Manifest, fmt.Sprintf("sha256:%064d", i), o)
			if i%20 != 0 {
				continue
			}
			links := make([]pullchain.Descriptor, 600)
			for n := range links {
				links[n] = pullchain.Descriptor{Digest: digest.Digest(fmt.Sprintf("sha256:%032d%032d", i, n)), Size: 1, MediaType: long}
			}
			p.ask(pullchain.Manifest, fmt.Sprintf("sha256:%064d", i), traffic.Outcome{Response: &pullchain.Response{Digest: digest.Digest(fmt.Sprint("sha256:", i)), Links: links}})
		}
	})
	t.Logf("a team's day takes %d KB, the worst %d KB", day>>10, worst>>10)
	if day > 2<<20 || worst > 80<<20 {
		t.Error("that is more than the package comment says")
	}
}
