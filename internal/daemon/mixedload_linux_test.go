package daemon_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"strconv"
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
// What that takes of descriptors, connections, goroutines and memory, in a process that is
// the daemon's alone, is given back once the last client is gone, and every part that was
// read to its end is right.
func TestMixedLoad(t *testing.T) {
	t.Parallel()
	s, cfg := newSoaked(t)
	p := newApart(t, cfg)
	s.rig = p.rig
	load := &mixedLoad{soak: s, at: "http://" + p.data, client: &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 8}}}
	load.play(simnet.Fault{}, simnet.Fault{}, 0) // connections and buffers that stay
	for range 2 {
		load.play(s.trouble(), s.trouble(), 0.3)
	}
	start := load.settled(p)
	most := start
	began := time.Now()
	for round := 0; *soakTime == 0 && round < 2 || time.Since(began) < *soakTime; round++ {
		load.play(s.trouble(), s.trouble(), 0.3)
		now := p.takes()
		most = most.max(now)
		if *soakTime > 0 {
			t.Logf("%5.0f s: %v, %d pulls", time.Since(began).Seconds(), now, s.pulls.Load())
		}
	}
	gone := time.Now()
	var end taken
	s.eventually("what the load took is given back", func() bool {
		end = load.settled(p)
		return end.fits(start)
	})
	t.Logf("%d pulls; at the start %v, at most %v, %.1f s after the last client %v", s.pulls.Load(), start, most, time.Since(gone).Seconds(), end)
}

// A taken is what a daemon takes of the machine.
type taken struct{ memory, goroutines, files, connections int64 }

var (
	residentLine   = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)
	goroutinesLine = regexp.MustCompile(`(?m)^go_goroutines (\d+)$`)
)

// takes looks at the process from outside, and asks it for its goroutines.
func (p *apart) takes() (u taken) {
	p.t.Helper()
	proc := fmt.Sprintf("/proc/%d/", p.pid)
	files, err := os.ReadDir(proc + "fd")
	if err != nil {
		p.t.Fatal(err)
	}
	for _, f := range files {
		if to, _ := os.Readlink(proc + "fd/" + f.Name()); strings.HasPrefix(to, "socket:") {
			u.connections++
		}
	}
	u.files = int64(len(files))
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		p.t.Fatal(err)
	}
	u.memory = 1024 * number(p.t, residentLine, string(status))
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + p.operator + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	metrics, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	u.goroutines = number(p.t, goroutinesLine, string(metrics))
	return u
}

func number(t testing.TB, line *regexp.Regexp, text string) int64 {
	t.Helper()
	m := line.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no %v in %.200s", line, text)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (u taken) String() string {
	return fmt.Sprintf("%.1f MiB resident, %d goroutines, %d files of which %d are sockets", float64(u.memory)/(1<<20), u.goroutines, u.files, u.connections)
}

func (u taken) max(v taken) taken {
	return taken{max(u.memory, v.memory), max(u.goroutines, v.goroutines), max(u.files, v.files), max(u.connections, v.connections)}
}

// fits reports whether u is within a tenth of v; a short run has not yet filled what is kept
// of the last requests, which is some MiB.
func (u taken) fits(v taken) bool {
	fits := func(now, then int64) bool { return now*10 <= then*11 }
	if *soakTime == 0 {
		v.memory += 8 << 20
	}
	return fits(u.memory, v.memory) && fits(u.goroutines, v.goroutines) && fits(u.files, v.files) && fits(u.connections, v.connections)
}

// A mixedLoad is clients that pull from a soak's daemon, some of which hang up.
type mixedLoad struct {
	*soak
	at     string
	client *http.Client
}

// settled returns what the daemon takes once no download is under way and the connections
// are closed that clients and upstreams keep for later: how many those are says nothing of
// what is given back.
func (l *mixedLoad) settled(p *apart) (now taken) {
	l.client.CloseIdleConnections()
	for p.snapshot().Cache.Fills.Active > 0 { // those without a reader have a minute at most
		time.Sleep(20 * time.Millisecond)
	}
	l.eventually("the connections are closed", func() bool {
		for _, name := range []string{"hub", "hub-auth", "hub-cdn", "mirror"} {
			l.net.Server(name).CloseConnections()
		}
		before := now
		now = p.takes()
		return now.goroutines == before.goroutines && now.connections == before.connections
	})
	return now
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

// play has eight clients pull for a while with those faults at the registry and at the
// mirror; so many of their requests are given up.
func (l *mixedLoad) play(hub, mirror simnet.Fault, give float64) {
	for fault, at := range map[*simnet.Fault]func(simnet.Fault) func(){&hub: l.hub.Inject, &mirror: l.mirror.Inject} {
		if fault.On != 0 {
			defer at(*fault)()
		}
	}
	var clients sync.WaitGroup
	for range 8 {
		rng := rand.New(rand.NewPCG(l.rng.Uint64(), 0))
		clients.Go(func() {
			for range 8 {
				l.pulls.Add(1)
				img := l.images[rng.IntN(len(l.images))]
				for d := range img.Blobs {
					if rng.Float64() < give {
						l.hangUp(img.BlobPath(d), time.Duration(rng.IntN(500))*time.Millisecond)
						continue
					}
					l.readPart(img.BlobPath(d), d)
				}
			}
		})
	}
	clients.Wait()
	l.net.Ledger().Reset()
	l.log.reset()
}

// readPart reads a blob for a while: a fault may win, and never with wrong bytes.
func (l *mixedLoad) readPart(path string, d digest.Digest) {
	ctx, cancel := context.WithTimeout(l.t.Context(), 15*time.Second)
	defer cancel()
	if err := fetchPart(ctx, l.client, http.MethodGet, l.at+path, d); err != nil && strings.HasSuffix(err.Error(), "wrong bytes") {
		l.t.Error(err)
	}
}

// hangUp asks for a blob and leaves after a while.
func (l *mixedLoad) hangUp(path string, after time.Duration) {
	ctx, cancel := context.WithTimeout(l.t.Context(), after)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.at+path, nil)
	if err != nil {
		l.t.Error(err)
		return
	}
	if resp, err := l.client.Do(req); err == nil {
		_, _ = io.Copy(io.Discard, resp.Body) // until the time is over
		resp.Body.Close()
	}
}
