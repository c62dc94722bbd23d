package daemon_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/simnet"
)

var (
	soakTime = flag.Duration("soak", 0, "how long TestSoak pulls; 0 is three rounds")
	soakSeed = flag.Uint64("soak-seed", 1, "what goes wrong in TestSoak, and when")
)

// TestSoak pulls all the time, through a chain of a registry and a mirror, while quirks
// of the registry and faults of the mirror come and go by a seed:
//
//	go test ./internal/daemon -run TestSoak -soak 30m -timeout 40m -v
//
// No pull fails that a direct client would have finished, the bytes are right, and
// memory, goroutines and descriptors stay what they were.
func TestSoak(t *testing.T) {
	s := newSoak(t)
	began := time.Now()
	var early, late usage
	for s.round = 0; ; s.round++ {
		done := time.Since(began)
		if *soakTime == 0 && s.round == 3 || *soakTime > 0 && done > *soakTime {
			break
		}
		s.play(64)
		now := s.usage()
		if *soakTime > 0 && s.round%20 == 0 {
			t.Logf("%5.0f s: %v; %d pulls, %d failed, %d of them directly too or while the registry banned us", done.Seconds(), now, s.pulls.Load(), s.failed.Load(), s.failed.Load()-s.worse.Load())
		}
		switch {
		case done < *soakTime/4:
			early = early.max(now)
		case done > *soakTime*3/4:
			late = late.max(now)
		}
	}
	t.Logf("%d pulls, %d failed, %d of them directly too or while the registry banned us; most in the first quarter: %v; in the last: %v",
		s.pulls.Load(), s.failed.Load(), s.failed.Load()-s.worse.Load(), early, late)
	if *soakTime > 0 && late.grewFrom(early) {
		t.Error("it grows")
	}
}

// A soak is what TestSoak pulls from.
type soak struct {
	*rig
	hub    *simnet.Hub
	mirror *simnet.Mirror
	direct *http.Client
	images []*simnet.Content
	rng    *rand.Rand
	round  int
	banned time.Time // until then the registry may have told our address to go away

	pulls, failed, worse atomic.Int64
}

func newSoak(t *testing.T) *soak {
	s, cfg := newSoaked(t)
	s.rig = newRig(t, cfg)
	return s
}

// newSoaked is a soak without its daemon, and the configuration of that.
func newSoaked(t *testing.T) (*soak, rigConfig) {
	n := newNet(t)
	s := &soak{rng: rand.New(rand.NewPCG(*soakSeed, 0))}
	s.hub = n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}})
	s.mirror = n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "mirror"}})
	for i := range 24 {
		img := simnet.Image{Repo: fmt.Sprintf("library/app%d", i), Tags: []string{"1"}}
		if i == 0 {
			img.Repo = simnet.OddRepo
		}
		for layer := range 3 { // 24 MiB in all, of which the cache holds 16
			img.Layers = append(img.Layers, simnet.Layer{Size: 64<<10 + s.rng.Int64N(600<<10), Seed: uint64(100*i + layer)})
		}
		s.hub.Push(img)
		s.images = append(s.images, s.mirror.Push(img))
	}
	s.direct = directClient(n)
	return s, rigConfig{
		Net: n, Serving: true,
		Cache: fmt.Sprintf("dir = %q\nmax_size = \"16MiB\"\ntag_ttl = \"1s\"", t.TempDir()),
		Chain: []lane{
			{Name: "hub", URL: s.hub.URL(), Origin: true, Probe: eager, Patience: "connect = \"1s\""},
			{Name: "mirror", URL: s.mirror.URL(), Probe: eager, Patience: "connect = \"1s\""},
		},
	}
}

// play makes n pulls, eight at a time, with a quirk at the registry and perhaps a fault at
// the mirror.
func (s *soak) play(n int) {
	all := simnet.Quirks()
	quirk := all[s.rng.IntN(len(all))]
	undo := quirk.Play(s.hub)
	fault := s.fault()
	if fault.On != 0 {
		defer s.mirror.Inject(fault)()
	}
	defer undo()
	if quirk.Name == "blobs-429-plain" {
		s.banned = time.Now().Add(2 * time.Minute) // a minute from its last answer
	}
	s.t.Logf("round %d: %s, mirror %+v", s.round, quirk.Name, fault)
	images := make(chan *simnet.Content)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for img := range images {
				s.judge(quirk.Name, fault, img)
			}
		})
	}
	for range n {
		images <- s.images[s.rng.IntN(len(s.images))]
	}
	close(images)
	clients.Wait()
	s.net.Ledger().Reset()
	s.log.reset()
}

// fault is what is wrong with the mirror: half of the time nothing.
func (s *soak) fault() simnet.Fault {
	faults := []simnet.Fault{
		{Status: http.StatusInternalServerError}, {Status: http.StatusServiceUnavailable, Times: 5}, {Status: http.StatusNotFound},
		{On: simnet.Blobs, Cut: simnet.EndRST, CutFraction: 0.5}, {On: simnet.Blobs, Flip: true, FlipAt: 60}, {Delay: 300 * time.Millisecond},
		simnet.TooManyAfter(2*time.Second, false), {On: simnet.Blobs, BytesPerSec: 200 << 10},
	}
	f := faults[s.rng.IntN(len(faults))]
	if s.rng.IntN(2) == 0 {
		return simnet.Fault{}
	}
	if f.On == 0 {
		f.On = simnet.Manifests | simnet.Blobs
	}
	return f
}

// judge pulls img, and where that fails directly as well: what fails there too, and at the
// mirror, is no fault of ours. Clients try again before they give up, and so do these.
func (s *soak) judge(quirk string, fault simnet.Fault, img *simnet.Content) {
	s.pulls.Add(1)
	err := s.pull(s.client, "http://"+s.Daemon.Addr(), img)
	if err == nil {
		return
	}
	s.failed.Add(1)
	if time.Now().Before(s.banned) { // docs/faults.md F09: no asking on, not as a last resort either
		return
	}
	if fault.On == 0 || s.pull(s.direct, s.hub.URL(), img) == nil {
		s.worse.Add(1)
		s.t.Errorf("round %d, %s and %+v: a pull of %s fails, and works at the registry or at the mirror: %v", s.round, quirk, fault, img.Repo, err)
	}
}

// pull pulls an image as containerd does: HEAD, then all by digest. Each part is tried three times.
func (s *soak) pull(client *http.Client, base string, img *simnet.Content) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	if err := tryPart(ctx, client, http.MethodHead, base+img.Path(), ""); err != nil {
		return err
	}
	for d := range img.Manifests {
		if err := tryPart(ctx, client, http.MethodGet, base+img.ManifestPath(d.String()), d); err != nil {
			return err
		}
	}
	for d := range img.Blobs {
		if err := tryPart(ctx, client, http.MethodGet, base+img.BlobPath(d), d); err != nil {
			return err
		}
	}
	return nil
}

func tryPart(ctx context.Context, client *http.Client, method, at string, want digest.Digest) (err error) {
	for try := range 3 {
		if err = fetchPart(ctx, client, method, at, want); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(1+2*try) * time.Second):
		}
	}
	return err
}

// fetchPart asks for one thing and holds it against its digest.
func fetchPart(ctx context.Context, client *http.Client, method, at string, want digest.Digest) error {
	req, err := http.NewRequestWithContext(ctx, method, at, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", simnet.TypeOCIManifest+", */*")
	resp, err := client.Do(req)
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		resp.Body.Close()
		var token string
		if token, err = fetchToken(ctx, client, resp.Header.Get("Www-Authenticate")); err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err = client.Do(req)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode/100 != 2: // what is no error is for the digest to judge
		return fmt.Errorf("%s %s: HTTP %d %.2000s", method, req.URL.Path, resp.StatusCode, bytes.TrimSpace(body))
	case want != "" && want.Algorithm().FromBytes(body) != want:
		return fmt.Errorf("%s %s: wrong bytes", method, req.URL.Path)
	}
	return nil
}

// directClient is a client without a mirror: it follows redirects, with its login within
// one origin.
func directClient(n *simnet.Net) *http.Client {
	client := n.Client()
	client.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if req.URL.Host != via[0].URL.Host { // net/http looks at the name alone, and here all are of one
			req.Header.Del("Authorization")
		}
		return nil
	}
	return client
}

// hubChallenge is that of simnet's hub.
var hubChallenge = regexp.MustCompile(`^Bearer realm="([^"]*)",service="([^"]*)",scope="([^"]*)"$`)

// fetchToken answers a challenge, without a login.
func fetchToken(ctx context.Context, client *http.Client, header string) (string, error) {
	m := hubChallenge.FindStringSubmatch(header)
	if m == nil {
		return "", fmt.Errorf("the challenge %q", header)
	}
	query := url.Values{"service": {m[2]}, "scope": {m[3]}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m[1]+"?"+query.Encode(), nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var token struct{ Token string }
	err = json.NewDecoder(resp.Body).Decode(&token)
	return token.Token, err
}

// usage is what the process takes: the daemon, the simulated internet and the clients.
type usage struct{ heap, goroutines, files int64 }

func (s *soak) usage() usage {
	s.client.CloseIdleConnections()
	s.direct.CloseIdleConnections()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	files, _ := os.ReadDir("/proc/self/fd") // none elsewhere than on Linux
	return usage{int64(m.HeapAlloc), int64(runtime.NumGoroutine()), int64(len(files))}
}

func (u usage) String() string {
	return fmt.Sprintf("%.1f MiB heap, %d goroutines, %d files", float64(u.heap)/(1<<20), u.goroutines, u.files)
}

func (u usage) max(v usage) usage {
	return usage{max(u.heap, v.heap), max(u.goroutines, v.goroutines), max(u.files, v.files)}
}

// grewFrom reports whether u is more than the noise above v.
func (u usage) grewFrom(v usage) bool {
	return u.heap > v.heap*3/2 || u.goroutines > v.goroutines*3/2 || u.files > v.files*3/2
}
