package cache

import (
	"context"
	"time"
)

// How the store is looked through for content that a disk has spoilt: slowly, and
// only while nobody wants anything. A tenth of the time at most is spent on it, so
// that 50 GiB take a day and a half.
const (
	scrubRate  = 4 << 20            // bytes/s
	scrubRest  = 9                  // times as long as it took is the pause after each object
	scrubPause = 10 * time.Second   // but no less, and before the first
	scrubQuiet = 5 * time.Second    // without a request, before it goes on
	scrubHold  = time.Minute        // without that: an object is let go of, for it cannot make room meanwhile
	scrubAge   = 7 * 24 * time.Hour // content that was right is not looked at again for so long
)

// Scrub begins to look through the store in the background, until Close. What is
// wrong is set aside and told of as [Cache.Verify] does it.
func (c *Cache) Scrub() {
	c.life.spawn(func() {
		s := &scrubber{c: c, quiet: time.Now()}
		for pause := scrubPause; sleep(c.life.ctx, pause); {
			pause = max(scrubPause, scrubRest*s.one(c.life.ctx))
		}
	})
}

// A scrubber is one that looks through the store. It belongs to one goroutine.
type scrubber struct {
	c     *Cache
	asked uint64    // requests, when they were last counted
	quiet time.Time // since when there have been no more
}

// one looks at one object, and returns how long that took, without the waits.
func (s *scrubber) one(ctx context.Context) (took time.Duration) {
	s.wait(ctx)
	ctx, letGo := context.WithCancel(ctx)
	defer letGo()
	found, ok := s.c.store.Scrub(ctx, scrubAge, func(n int64) {
		read := time.Duration(n) * time.Second / scrubRate
		took += read
		sleep(ctx, read)
		busy := time.AfterFunc(scrubHold, letGo)
		s.wait(ctx)
		busy.Stop()
	})
	if ok && found.Err != nil {
		s.c.manifests.mend(found.Digest)
	}
	return took
}

// wait waits until nobody wants anything.
func (s *scrubber) wait(ctx context.Context) {
	for {
		asked, now := s.c.counts.total(), time.Now()
		if asked != s.asked || s.c.fills.Snapshot().Active > 0 {
			s.asked, s.quiet = asked, now
		}
		if now.Sub(s.quiet) >= scrubQuiet || !sleep(ctx, time.Second) {
			return
		}
	}
}
