package blobstore

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/snooze"
)

// The pace of a scrub: slow, and only while the rest of the program is idle. A
// tenth of the time at most is spent on it, so that 50 GiB take a day and a half.
const (
	scrubRate  = 4 << 20            // bytes/s
	scrubRest  = 9                  // times as long as it took is the pause after each object
	scrubPause = 10 * time.Second   // but no less, and before the first
	scrubQuiet = 5 * time.Second    // without activity, before it goes on
	scrubHold  = time.Minute        // without that: an object is let go of, for it cannot make room meanwhile
	scrubAge   = 7 * 24 * time.Hour // content that was right is not looked at again for so long
)

// scrubSample is from how many objects the one is taken that is due most: to know
// the order of all would cost more than it is worth.
const scrubSample = 16

// ScrubConfig says what a scrub gives way to, and where its findings go.
type ScrubConfig struct {
	// Activity returns a count that grows with every request, and whether work
	// goes on right now. It is asked about once a second. Nil: all is always quiet.
	Activity func() (requests uint64, working bool)
	// Report is told of each object that was hashed, after a wrong one has been
	// quarantined. Nil: Stats tell.
	Report func(Finding)
}

// Scrub hashes one object after the other, slowly, until ctx ends, and quarantines
// those whose bytes a disk has spoilt (docs/faults.md F34): of a few objects always the
// one that has not been looked at for the longest, and none twice in a week. It
// counts as no use. [Store.Verify] hashes all of them at once.
func (s *Store) Scrub(ctx context.Context, cfg ScrubConfig) {
	if cfg.Activity == nil {
		cfg.Activity = func() (uint64, bool) { return 0, false }
	}
	if cfg.Report == nil {
		cfg.Report = func(Finding) {}
	}
	b := &scrubber{store: s, cfg: cfg, quiet: time.Now()}
	for pause := scrubPause; snooze.For(ctx, pause); {
		pause = max(scrubPause, scrubRest*b.one(ctx))
	}
}

// A scrubber is a Scrub under way. It belongs to one goroutine.
type scrubber struct {
	store    *Store
	cfg      ScrubConfig
	requests uint64    // when they were last counted
	quiet    time.Time // since when there have been no more
}

// one hashes one object, and returns how long that took, without the waits.
func (b *scrubber) one(ctx context.Context) (took time.Duration) {
	b.wait(ctx)
	d, size, ok := b.due(time.Now().Add(-scrubAge))
	if !ok {
		return 0
	}
	ctx, letGo := context.WithCancel(ctx)
	defer letGo()
	err := b.store.verify(untilDone{ctx: ctx, slow: func(n int64) {
		read := time.Duration(n) * time.Second / scrubRate
		took += read
		snooze.For(ctx, read)
		busy := time.AfterFunc(scrubHold, letGo)
		b.wait(ctx)
		busy.Stop()
	}}, d, make([]byte, 64<<10))
	if ctx.Err() != nil || err == ErrNotFound {
		return took
	}
	if err != nil && err != errWrongBytes {
		b.store.log.Warn("a stored blob cannot be read", "digest", d, "error", err)
		b.postpone(d)
	}
	b.cfg.Report(Finding{d, size, err})
	return took
}

// wait waits until there has been no activity for a while.
func (b *scrubber) wait(ctx context.Context) {
	for {
		requests, working := b.cfg.Activity()
		now := time.Now()
		if working || requests != b.requests {
			b.requests, b.quiet = requests, now
		}
		if now.Sub(b.quiet) >= scrubQuiet || !snooze.For(ctx, time.Second) {
			return
		}
	}
}

// postpone counts d as looked at, so that others get their turn.
func (b *scrubber) postpone(d digest.Digest) {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	if e := b.store.index.objects[d]; e != nil {
		e.right = time.Now()
	}
}

// due returns an object that was last found right before a time, if a few that
// are picked at random have one.
func (b *scrubber) due(before time.Time) (d digest.Digest, size int64, ok bool) {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	for range min(scrubSample, len(b.store.index.all)) {
		e := b.store.index.all[rand.IntN(len(b.store.index.all))]
		if right := e.foundRight(); right.Before(before) {
			d, size, ok, before = e.Digest, e.Size, true, right
		}
	}
	return d, size, ok
}

// foundRight is when e's bytes were last known to be right: when it came, if they
// were hashed on the way.
func (e *entry) foundRight() time.Time {
	if e.right.IsZero() && e.Verified {
		return e.Added
	}
	return e.right
}
