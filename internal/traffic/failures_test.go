package traffic_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/traffic"
)

// denied is how a request ends that no upstream would answer.
func denied() traffic.Outcome {
	return traffic.Outcome{Status: 403, Failed: true, Code: pullchain.CodeForbidden}
}

// Three failures in five minutes without a success are a registry that fails; what does
// not speak of the registry counts for neither side.
func TestFailures(t *testing.T) {
	t.Parallel()
	const name = "docker.io"
	tests := []struct {
		name   string
		play   func(*puller)
		expect string // requests, repositories, the last one's repository, code and status
	}{
		{"nothing was asked", func(*puller) {}, ""},
		{"two are too few", func(p *puller) { p.deny(2) }, ""},
		{"three of one image", func(p *puller) { p.deny(3) }, "3 1 library/alpine http_403 403"},
		{"of several images", func(p *puller) {
			p.deny(2)
			p.repo = "library/busybox"
			p.deny(1)
			p.repo = "library/alpine"
			p.deny(1)
		}, "4 2 library/alpine http_403 403"},
		{"of too many images to tell apart", func(p *puller) {
			for i := range 30 {
				p.repo = fmt.Sprint("team/app-", i)
				p.deny(1)
			}
		}, "30 20 team/app-29 http_403 403"},
		{"one success", func(p *puller) {
			p.deny(3)
			p.ask(pullchain.Blob, string(layerSum), traffic.Outcome{Cache: pullchain.CacheHit})
			p.deny(2)
		}, ""},
		{"what says nothing of the registry", func(p *puller) {
			p.deny(2)
			p.ask(pullchain.Manifest, "gone", traffic.Outcome{Status: 404, Failed: true})
			p.ask(pullchain.Manifest, "3", traffic.Outcome{Status: 499, Gone: true})
			p.ask(pullchain.Manifest, "3", traffic.Outcome{Status: 429, Failed: true})
			p.ask(pullchain.Tags, "", traffic.Outcome{})
			p.ask(pullchain.Tags, "", denied())
			p.deny(1)
		}, "3 1 library/alpine http_403 403"},
		{"answers that were cut", func(p *puller) {
			p.deny(2)
			p.ask(pullchain.Blob, string(layerSum), traffic.Outcome{Failed: true, Code: pullchain.CodeTruncated})
		}, "3 1 library/alpine truncated 200"},
		{"the first is too long ago", func(p *puller) {
			p.deny(1)
			time.Sleep(5*time.Minute + time.Second)
			p.deny(2)
		}, ""},
		{"a long row, of which three are new", func(p *puller) {
			for range 9 {
				p.deny(1)
				time.Sleep(2 * time.Minute)
			}
			p.deny(1)
		}, "10 1 library/alpine http_403 403"},
		{"nothing was asked any more", func(p *puller) {
			p.deny(9)
			time.Sleep(5*time.Minute + time.Second)
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p, start := newPuller(traffic.New()), time.Now()
				tt.play(p)
				got := ""
				if f := p.Failures(name, time.Now()); f != nil {
					got = fmt.Sprintf("%d %d %s %s %d", f.Requests, f.Repositories, f.Repository, f.Code, f.Status)
					if !f.First.Equal(start) || f.Many() != (f.Repositories == 20) {
						t.Errorf("since %v, want %v; many: %v", f.First, start, f.Many())
					}
				}
				if got != tt.expect {
					t.Errorf("got %q, want %q", got, tt.expect)
				}
				if f := p.Failures("ghcr.io", time.Now()); f != nil {
					t.Errorf("of another registry: %+v", f)
				}
			})
		})
	}
}

// deny asks for a manifest n times and is refused.
func (p *puller) deny(n int) {
	for range n {
		p.ask(pullchain.Manifest, "3", denied())
	}
}
