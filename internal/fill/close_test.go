package fill

import (
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
)

// TestCloseWhileReading closes bodies that another goroutine reads, as a server does
// that gives up on a client: the race detector looks on, and every Read ends.
func TestCloseWhileReading(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(2*mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(n int, _ pullchain.Request) reply {
			if n == 0 { // replaced in the middle: readers change their file
				return reply{lane: "a", rate: 2 * mib, flip: []int64{2*mib - 1}}
			}
			return reply{lane: "b", rate: 2 * mib}
		}
		var wg sync.WaitGroup
		for i := range 20 {
			resp, err := r.fetch(t.Context(), whole)
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				for buf := make([]byte, 32*kib); ; {
					if _, err := resp.Body.Read(buf); err != nil {
						return
					}
				}
			})
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 150 * time.Millisecond)
				resp.Body.Close()
				resp.Body.Attempts()
			})
		}
		wg.Wait()
	})
}

// TestTakeAfterClose: a reader that is closed while it changes over to another copy
// lets go of the file that it has just opened.
func TestTakeAfterClose(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(2*mib, 1), func(t *testing.T, r *fillRig) {
		r.chain.answer = func(int, pullchain.Request) reply { return reply{rate: mib} }
		resp, err := r.fetch(t.Context(), whole)
		if err != nil {
			t.Fatal(err)
		}
		reader := resp.Body.(*reader)
		resp.Body.Close()
		before := descriptors(t)
		err = reader.change() // as it goes on when Close comes just before
		if pullchain.ReasonOf(err) != pullchain.Canceled {
			t.Errorf("the closed reader took another file: %v", err)
		}
		if after := descriptors(t); after != before {
			t.Errorf("%d descriptors of the blob were open, now %d", before, after)
		}
		synctest.Wait()
	})
}

// descriptors counts the open files of this test's store.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("the system has no /proc/self/fd")
	}
	n := 0
	for _, e := range entries {
		if name, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name())); err == nil && filepath.IsAbs(name) && inTempDirOf(t, name) {
			n++
		}
	}
	return n
}

// inTempDirOf reports whether name is in a directory that t has made.
func inTempDirOf(t *testing.T, name string) bool {
	rel, err := filepath.Rel(filepath.Dir(filepath.Dir(t.TempDir())), name)
	return err == nil && filepath.IsLocal(rel) && len(rel) > len(t.Name()) && rel[:len(t.Name())] == t.Name()
}

// TestCloseWhileDetached closes a body that goes on without its fill and waits for
// an upstream that is silent: the wait ends, and the upstream's body is closed.
func TestCloseWhileDetached(t *testing.T) {
	t.Parallel()
	fillBubble(t, noise(2*mib, 1), func(t *testing.T, r *fillRig) {
		r.tighten(mib)
		r.chain.answer = func(n int, req pullchain.Request) reply {
			if !req.Options.Unverified {
				return reply{stall: mib + 200*kib}
			}
			return reply{rate: 4 * mib}
		}
		resp, err := r.fetch(t.Context(), whole)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() {
			_, err := io.Copy(io.Discard, resp.Body)
			ended <- err
		}()
		time.Sleep(time.Second) // it waits for the silent upstream
		closed := time.Now()
		resp.Body.Close()
		if err := <-ended; err == nil || time.Since(closed) > 0 {
			t.Errorf("the read ended with %v after %v", err, time.Since(closed))
		}
	})
}
