package egress

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain/internal/amount"
)

// read reads through b for as long as ctx lasts, with a buffer of that size, and returns the bytes.
func read(ctx context.Context, b *Bandwidth, buffer int) (total int) {
	for {
		n := len(b.Piece(make([]byte, buffer)))
		if !b.Pay(ctx, n) {
			return total
		}
		total += n
	}
}

// Two pulls share a bound equally, whatever their buffers, and get all of it together; one
// that comes later gets its part at once.
func TestBandwidthIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const bound, seconds = 1 << 20, 10
		b := NewBandwidth(bound)
		ctx, stop := context.WithTimeout(t.Context(), seconds*time.Second)
		defer stop()
		var got [3]int
		var all sync.WaitGroup
		all.Go(func() { got[0] = read(ctx, b, 1<<20) })
		all.Go(func() { got[1] = read(ctx, b, 32<<10) })
		all.Go(func() {
			time.Sleep(seconds / 2 * time.Second)
			got[2] = read(ctx, b, 1<<20)
		})
		all.Wait()
		if sum := got[0] + got[1] + got[2]; sum < bound*seconds*99/100 || sum > bound*seconds*101/100 {
			t.Errorf("%d bytes in %d s at %d", sum, seconds, bound)
		}
		for i, want := range []int{bound * 25 / 6, bound * 25 / 6, bound * 10 / 6} { // 2.5 + 1.67 s of it, and 1.67 s
			if got[i] < want*97/100 || got[i] > want*103/100 {
				t.Errorf("reader %d has %d bytes, want %d", i, got[i], want)
			}
		}
		if held := b.Held(); time.Since(held) > time.Second {
			t.Errorf("held back until %v", held)
		}
	})
}

// A reader of a large rate that comes late, as each does that a timer wakes, makes up for it;
// and no wait is too short for a timer.
func TestBandwidthOfALargeRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const bound = 1 << 30
		b := NewBandwidth(bound)
		start, naps := time.Now(), 0
		for total := 0; total < bound; {
			n := len(b.Piece(make([]byte, maxPiece)))
			before := time.Now()
			b.Pay(t.Context(), n)
			if took := time.Since(before); took > 0 {
				if took < leastWait {
					t.Fatalf("a nap of %v", took)
				}
				naps++
				time.Sleep(time.Millisecond) // it wakes late
			}
			total += n
		}
		if took := time.Since(start); naps == 0 || took < 970*time.Millisecond || took > 1010*time.Millisecond {
			t.Errorf("%d bytes took %v, with %d naps", bound, took, naps)
		}
	})
}

// A clock that is set back must not make a wait of long ago one to come. A bubble has no
// monotonic clock.
func TestHeldIsMonotonic(t *testing.T) {
	t.Parallel()
	b := NewBandwidth(MinRate)
	b.Pay(t.Context(), 1<<10)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	b.Pay(ctx, 1<<10)
	if held := b.Held(); held.IsZero() || held == held.Round(0) {
		t.Errorf("held back until %v", held)
	}
}

func TestBandwidthWithoutABound(t *testing.T) {
	t.Parallel()
	b := NewBandwidth(0)
	if !b.Pay(t.Context(), 1<<30) || len(b.Piece(make([]byte, 1<<20))) != 1<<20 || !b.Held().IsZero() {
		t.Error("no bound holds something back")
	}
	if err := (Config{Rate: 100}).Validate(); err == nil {
		t.Error("a bound under which nothing comes through is taken")
	}
	for _, r := range []amount.Rate{MinRate, 1 << 62} {
		if b := NewBandwidth(r); !b.Pay(t.Context(), len(b.Piece(make([]byte, 1<<20)))) {
			t.Errorf("%s: a first piece waits for ever", r)
		}
	}
}
