package admin

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pullchain/pullchain/internal/guard"
	"github.com/pullchain/pullchain/internal/snooze"
)

const (
	// wakeGap is how long after one wake-up the readers get the next: where
	// something happens a thousand times a second, each reader looks ten times.
	wakeGap = 100 * time.Millisecond

	// lookGap and lookEvery are how soon after a look at the whole daemon the next
	// may follow, because something has happened, and how late it follows if
	// nothing has: what is wrong with the cache comes with no event.
	lookGap   = 500 * time.Millisecond
	lookEvery = time.Second

	// maxStreams is how many readers there may be. Each costs a connection.
	maxStreams = 64
)

// A hub wakes the readers of streams when there is something for them, and looks at
// the daemon once for all of them. It works only while there are readers.
type hub struct {
	from   *Sources
	counts *StreamCounts

	mu      sync.Mutex
	readers int
	work    *hubWork      // nil without readers
	wake    chan struct{} // closed when there is something new
	verdict Verdict       // of the last look
	changes uint64        // how often the verdict has changed; 0 before the first look
	pulls   uint64        // of the last change of what clients pull; 0 before one is seen
}

// StreamCounts count the readers of events, for metrics. The zero value is ready.
type StreamCounts struct {
	readers atomic.Int64
	missed  atomic.Uint64
}

// Readers is how many there are.
func (c *StreamCounts) Readers() int64 { return c.readers.Load() }

// Missed is how often a reader missed events: it was too slow and was cut off, or came
// back when they were no longer kept.
func (c *StreamCounts) Missed() uint64 { return c.missed.Load() }

// hubWork is what runs while there are readers.
type hubWork struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func newHub(from *Sources) *hub {
	b := &hub{from: from, counts: from.Streams, wake: make(chan struct{})}
	if b.counts == nil {
		b.counts = new(StreamCounts)
	}
	return b
}

// join counts one more reader, and reports whether there is a place for it. The reader
// that got one calls leave.
func (b *hub) join() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.readers == maxStreams {
		return false
	}
	b.readers++
	b.counts.readers.Add(1)
	if b.work == nil {
		ctx, cancel := context.WithCancel(context.Background())
		w := &hubWork{cancel: cancel}
		b.work = w
		happened := make(chan struct{}, 1)
		if b.from.Events != nil {
			// Here and not in await: nothing may happen unseen between the reader's
			// first look and that one's.
			seq := b.from.Events.Last()
			w.done.Go(func() { b.await(ctx, seq, happened) })
		}
		w.done.Go(func() { b.look(ctx, happened) })
		if b.from.Traffic != nil {
			w.done.Go(func() { b.awaitPulls(ctx) })
		}
	}
	return true
}

// leave ends what join began.
func (b *hub) leave() {
	b.mu.Lock()
	b.readers--
	b.counts.readers.Add(-1)
	var ended *hubWork
	if b.readers == 0 {
		ended, b.work, b.changes = b.work, nil, 0
	}
	b.mu.Unlock()
	if ended != nil {
		ended.cancel()
		ended.done.Wait()
	}
}

// await wakes the readers for what happens to lanes after the event seq.
func (b *hub) await(ctx context.Context, seq uint64, happened chan<- struct{}) {
	b.from.Guard.Loop(ctx, guard.Stream, func() bool {
		if b.from.Events.Wait(ctx, seq) != nil {
			return false
		}
		seq = b.from.Events.Last()
		b.signal()
		select {
		case happened <- struct{}{}:
		default: // the last one is not yet looked at
		}
		return snooze.For(ctx, wakeGap)
	})
}

// awaitPulls wakes the readers for what changes of pulls, twice a second at most.
func (b *hub) awaitPulls(ctx context.Context) {
	var seen uint64
	b.from.Guard.Loop(ctx, guard.Stream, func() bool {
		n, err := b.from.Traffic.Changed(ctx, seen)
		if err != nil {
			return false
		}
		seen = n
		b.mu.Lock()
		b.pulls = n
		b.mu.Unlock()
		b.signal()
		return snooze.For(ctx, lookGap)
	})
}

// look looks at the daemon now, after what happens, and from time to time.
func (b *hub) look(ctx context.Context, happened <-chan struct{}) {
	b.from.Guard.Loop(ctx, guard.Stream, func() bool {
		b.judge()
		if !snooze.For(ctx, lookGap) {
			return false
		}
		select {
		case <-happened:
		case <-time.After(lookEvery - lookGap):
		case <-ctx.Done():
		}
		return true
	})
}

// judge takes a snapshot, and wakes the readers if its verdict is another one.
func (b *hub) judge() {
	v := verdictOf(b.from.Snapshot())
	b.mu.Lock()
	changed := b.changes == 0 || !reflect.DeepEqual(b.verdict, v)
	if changed {
		b.verdict = v
		b.changes++
	}
	b.mu.Unlock()
	if changed {
		b.signal()
	}
}

// signal wakes all readers.
func (b *hub) signal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.wake)
	b.wake = make(chan struct{})
}

// news is what a hub has for its readers beside the events of lanes.
type news struct {
	wake    <-chan struct{} // closed when there is something newer
	verdict Verdict
	changes uint64 // of the verdict
	pulls   uint64 // number of the last change
}

// news returns what there is now.
func (b *hub) news() news {
	b.mu.Lock()
	defer b.mu.Unlock()
	return news{b.wake, b.verdict, b.changes, b.pulls}
}
