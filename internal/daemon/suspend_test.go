//go:build unix

package daemon_test

import (
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/simnet"
)

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
		before := s.blobBytes()
		var pulls sync.WaitGroup
		for i := round; i < slayerLayers; i += 3 {
			pulls.Go(func() {
				if !s.get(client, addr, i) {
					t.Errorf("round %d: layer %d did not come", round, i)
				}
			})
		}
		for s.blobBytes()-before < 4<<20 { // it is in the middle of them
			time.Sleep(time.Millisecond)
		}
		if err := v.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond) // this is how long the machine sleeps
		if err := v.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		pulls.Wait()
	}
	if !s.get(client, addr, slayerLayers) {
		t.Error("the manifest did not come")
	}
	if n := s.net.Ledger().Count(simnet.Filter{Server: "a", Class: simnet.Blobs}); n == 0 {
		t.Error("the first upstream was not asked")
	}
}
