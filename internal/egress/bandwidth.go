package egress

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/pullchain/pullchain/internal/amount"
	"github.com/pullchain/pullchain/internal/snooze"
)

// A Bandwidth is a number of bytes a second that all readers of it share. Each pays for a
// small piece and waits for its turn, in the order in which they came, so that one that
// reads fast takes no more than one beside it. It is safe for concurrent
// use; a nil Bandwidth has no bound.
type Bandwidth struct {
	limiter *rate.Limiter
	piece   int
	held    atomic.Pointer[time.Time] // a reader has last waited, or was to wait, till then
}

// A piece is what a fiftieth of a second brings, within these.
const (
	minPiece = 1 << 10
	maxPiece = 256 << 10
)

// A shorter wait is left to the limiter, as a debt: a timer takes about as long beyond its
// time, and for each piece of a large rate that would cost a good part of it.
const leastWait = time.Millisecond

// MinRate is the least bound: below it a piece takes so long that clients give up.
const MinRate amount.Rate = 1 << 10

// NewBandwidth returns a bound of r; nil for none, if r is 0.
func NewBandwidth(r amount.Rate) *Bandwidth {
	if r <= 0 {
		return nil
	}
	burst := max(int(min(r, 1<<40))/50, minPiece) // what a reader that comes late may make up for
	return &Bandwidth{limiter: rate.NewLimiter(rate.Limit(r), burst), piece: min(burst, maxPiece)}
}

// Piece returns how much of p may be read at once.
func (b *Bandwidth) Piece(p []byte) []byte {
	if b == nil {
		return p
	}
	return p[:min(len(p), b.piece)]
}

// Pay waits until n bytes that have been read, a piece at the most, may be passed on. It
// returns false if ctx has ended first.
func (b *Bandwidth) Pay(ctx context.Context, n int) bool {
	if b == nil || n <= 0 {
		return true
	}
	now := time.Now()
	wait := b.limiter.ReserveN(now, n).DelayFrom(now)
	if wait > 0 {
		until := now.Add(wait) // by the monotonic clock too: the other may be set back
		b.held.Store(&until)
	}
	if wait < leastWait {
		wait = 0
	}
	return snooze.For(ctx, wait)
}

// Held returns until when a reader has last been made to wait; zero for never.
func (b *Bandwidth) Held() time.Time {
	if b == nil {
		return time.Time{}
	}
	if held := b.held.Load(); held != nil {
		return *held
	}
	return time.Time{}
}
