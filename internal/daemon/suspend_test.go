//go:build unix

package daemon_test

import (
	"net/http"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/simnet"
)

// sleepInPulls begins the pulls of a round, and stops the daemon in the middle of them for as
// long as asleep takes. They are under way when it returns.
func (s *slayer) sleepInPulls(v *victim, client *http.Client, addr string, round int, asleep func()) *sync.WaitGroup {
	s.t.Helper()
	before := s.blobBytes()
	pulls := new(sync.WaitGroup)
	for i := round; i < slayerLayers; i += 3 {
		pulls.Go(func() {
			if !s.get(client, addr, i) {
				s.t.Errorf("round %d: layer %d did not come", round, i)
			}
		})
	}
	for s.blobBytes()-before < 4<<20 { // it is in the middle of them
		time.Sleep(time.Millisecond)
	}
	if err := v.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		s.t.Fatal(err)
	}
	asleep()
	if err := v.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		s.t.Fatal(err)
	}
	return pulls
}

// TestSuspendAndResume stops a daemon in the middle of pulls, as a laptop's lid does, for
// longer than an upstream may stall, and lets it go on: what was under way comes, and
// nothing is shut for it.
func TestSuspendAndResume(t *testing.T) {
	t.Parallel()
	s := newSlayer(t, "[registry.upstream.timeouts]", `stall = "1s"`)
	for _, name := range []string{"a", "b"} {
		defer s.net.Server(name).Inject(simnet.Fault{On: simnet.Blobs, BytesPerSec: slayerRate})()
	}
	v := s.start()
	addr, ok := <-v.addr
	if !ok {
		t.Fatal("the daemon has not begun")
	}
	defer func() {
		v.kill()
		<-v.ended
	}()
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}, Timeout: 2 * time.Minute}
	defer client.CloseIdleConnections()
	for round := range 3 {
		s.sleepInPulls(v, client, addr, round, func() { time.Sleep(1500 * time.Millisecond) }).Wait()
	}
	if !s.get(client, addr, slayerLayers) {
		t.Error("the manifest did not come")
	}
	if n := s.net.Ledger().Count(simnet.Filter{Server: "a", Class: simnet.Blobs}); n == 0 {
		t.Error("the first upstream was not asked")
	}
}

// TestF60_ResumeWithATokenThatHasExpired stops a daemon in the middle of pulls over HTTP/2.
// Meanwhile its token expires at the registry, of which it learns by a 401 alone, for its own
// clock has not gone on as far: no pull fails, and probes go on.
func TestF60_ResumeWithATokenThatHasExpired(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	s := &slayer{t: t, net: n, dir: filepath.Join(t.TempDir(), "cache")}
	img := simnet.Image{Repo: "library/asleep", Tags: []string{"1"}}
	for i := range slayerLayers {
		img.Layers = append(img.Layers, simnet.BigLayer(2<<20, uint64(i+1)))
	}
	hub := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub", HTTP2: true}, Images: []simnet.Image{img}, Direct: true, Auth: simnet.AuthConfig{TTL: time.Hour}})
	defer hub.Inject(simnet.Fault{On: simnet.Blobs, BytesPerSec: 4 << 20})()
	s.image = n.Build(img)
	s.config = writeConfig(t, rigConfig{Net: n, Cache: cacheIn(s.dir) + "\ntag_ttl = \"0s\"", Chain: []lane{
		{Name: "hub", URL: hub.URL(), Origin: true, Probe: eager},
	}})
	v := s.start()
	addr, ok := <-v.addr
	if !ok {
		t.Fatalf("the daemon has not begun: %s", s.stderr.String())
	}
	defer func() {
		v.kill()
		<-v.ended
	}()
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}, Timeout: 2 * time.Minute}
	defer client.CloseIdleConnections()
	if !s.get(client, addr, slayerLayers) {
		t.Fatal("the manifest did not come")
	}
	refused := func() int { return n.Ledger().Count(simnet.Filter{Server: "hub", Status: http.StatusUnauthorized}) }
	for round := range 3 {
		tokens := refused()
		pulls := s.sleepInPulls(v, client, addr, round, func() {
			hub.Auth.ExpireTokens()
			time.Sleep(500 * time.Millisecond)
		})
		if !s.get(client, addr, slayerLayers) {
			t.Errorf("round %d: the manifest did not come", round)
		}
		pulls.Wait()
		if refused() == tokens {
			t.Errorf("round %d: no token has expired: nothing was proved", round)
		}
	}
	probes := func() int { return n.Ledger().Count(simnet.Filter{Server: "hub", Class: simnet.Ping}) }
	for known := probes(); probes() == known; { // until the next round of them
		time.Sleep(time.Millisecond)
	}
}
