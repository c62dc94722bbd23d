package daemon_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/simnet"
)

// TestMixedLoad pulls through a registry and a mirror that trickle, stall, lie and fail by
// turns, while three in ten clients hang up in mid-blob:
//
//	go test ./internal/daemon -run TestMixedLoad -soak 10m -timeout 20m -v
//
// What that takes of descriptors, goroutines and memory is given back once the last
// client is gone, and every part that was read to its end is right.
func TestMixedLoad(t *testing.T) {
	s := newSoak(t)
	s.mixed(simnet.Fault{}, simnet.Fault{}, 0) // connections and buffers that stay
	start := s.usage()
	var most usage
	began := time.Now()
	for round := 0; *soakTime == 0 && round < 2 || time.Since(began) < *soakTime; round++ {
		s.mixed(s.trouble(), s.trouble(), 0.3)
		now := s.usage()
		most = most.max(now)
		if *soakTime > 0 {
			t.Logf("%5.0f s: %v, %d pulls", time.Since(began).Seconds(), now, s.pulls.Load())
		}
	}
	gone := time.Now()
	var end usage
	s.eventually("what the load took is given back", func() bool {
		end = s.usage()
		fits := func(now, then int64) bool { return now*10 <= then*11 }
		return fits(end.goroutines, start.goroutines) && fits(end.files, start.files) && fits(end.heap, start.heap+8<<20) &&
			s.Daemon.Snapshot().Cache.Fills.Active == 0
	})
	t.Logf("%d pulls; at the start %v, at most %v, %.1f s after the last client %v", s.pulls.Load(), start, most, time.Since(gone).Seconds(), end)
}

// trouble is what is wrong with an upstream for a while.
func (s *soak) trouble() simnet.Fault {
	all := []simnet.Fault{
		{}, {On: simnet.Blobs, BytesPerSec: 1}, {On: simnet.Blobs, BytesPerSec: 10 << 10}, {On: simnet.Manifests, BytesPerSec: 50},
		{On: simnet.Blobs, Status: http.StatusInternalServerError, Times: 20}, {On: simnet.Blobs, Cut: simnet.EndRST, CutFraction: 0.5, Times: 20},
		{On: simnet.Blobs, Flip: true, FlipAt: 60, Times: 3}, {On: simnet.Blobs, Delay: 300 * time.Millisecond},
	}
	return all[s.rng.IntN(len(all))]
}

// mixed has eight clients pull for a while with those faults at the registry and at the
// mirror; so many of their requests are given up.
func (s *soak) mixed(hub, mirror simnet.Fault, give float64) {
	for fault, at := range map[*simnet.Fault]func(simnet.Fault) func(){&hub: s.hub.Inject, &mirror: s.mirror.Inject} {
		if fault.On != 0 {
			defer at(*fault)()
		}
	}
	var clients sync.WaitGroup
	for range 8 {
		rng := rand.New(rand.NewPCG(s.rng.Uint64(), 0))
		clients.Go(func() {
			for range 8 {
				s.pulls.Add(1)
				img := s.images[rng.IntN(len(s.images))]
				for d := range img.Blobs {
					if rng.Float64() < give {
						s.hangUp(img.BlobPath(d), time.Duration(rng.IntN(500))*time.Millisecond)
						continue
					}
					s.readPart(img.BlobPath(d), d)
				}
			}
		})
	}
	clients.Wait()
	s.net.Ledger().Reset()
	s.log.reset()
}

// readPart reads a blob for a while: a fault may win, and never with wrong bytes.
func (s *soak) readPart(path string, d digest.Digest) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 15*time.Second)
	defer cancel()
	if err := fetchPart(ctx, s.client, http.MethodGet, "http://"+s.Daemon.Addr()+path, d); err != nil && strings.HasSuffix(err.Error(), "wrong bytes") {
		s.t.Error(err)
	}
}

// hangUp asks for a blob and leaves after a while.
func (s *soak) hangUp(path string, after time.Duration) {
	ctx, cancel := context.WithTimeout(s.t.Context(), after)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Daemon.Addr()+path, nil)
	if err != nil {
		s.t.Error(err)
		return
	}
	if resp, err := s.client.Do(req); err == nil {
		_, _ = io.Copy(io.Discard, resp.Body) // until the time is over
		resp.Body.Close()
	}
}
