package blobstore

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/clocktest"
)

// TestF60_ClockOfPartials leaves a part of a blob and sets the clock by a day: between two
// runs, where only the file's time tells of it, and while a store has it. The bytes are there
// for the client that pulls on; and they go when they have not been written for a day.
func TestF60_ClockOfPartials(t *testing.T) {
	t.Parallel()
	for _, jump := range clocktest.Jumps {
		t.Run(jump.Name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t, Config{Dir: t.TempDir()})
			b, d := content(1, 100)
			sp := newSpool(t, s, d)
			fill(t, sp, b, 0, 50, "")
			if err := sp.Suspend(); err != nil {
				t.Fatal(err)
			}
			sweep := func(what string, now time.Time, want int) {
				t.Helper()
				<-s.scanned
				sweeper{s}.sweepOld(now)
				if n := s.Stats().Partial; n != want {
					t.Errorf("%s: %d partial blobs, want %d", what, n, want)
				}
			}
			sweep("while it runs", clocktest.Set(time.Now(), jump.By), 1)
			_ = s.Close()

			left := time.Now().Add(-time.Hour - jump.By) // as the clock after the jump sees it
			if err := os.Chtimes(filepath.Join(s.dir, partialDir, "sha256-"+d.Encoded()+partSuffix), left, left); err != nil {
				t.Fatal(err)
			}
			s = newStore(t, Config{Dir: s.dir})
			sweep("after a restart", time.Now(), 1)
			sweep("and after another jump", clocktest.Set(time.Now(), jump.By), 1)
			sweep("a day later", time.Now().Add(partialAge+time.Minute), 0)
		})
	}
}
