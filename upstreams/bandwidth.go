package upstreams

import (
	"context"
	"time"

	"github.com/pullchain/pullchain/internal/egress"
)

// bounds are those of the configuration on how fast blobs may come: the upstream's own, and
// its egress's, which it shares with others. What we hold back ourselves is no slowness of
// the upstream, so that a reader's wait stands outside the time for a stall. Manifests,
// tokens and probes are small, and wait for nothing.
type bounds [2]*egress.Bandwidth

// Share bounds what comes from u by b as well, which others share; nil for no bound. It is
// to be called before u is used.
func (u *Upstream) Share(b *egress.Bandwidth) { u.bounds[1] = b }

// piece returns how much of p may be read at once.
func (b *bounds) piece(p []byte) []byte { return b[1].Piece(b[0].Piece(p)) }

// pay waits until n bytes may be passed on, or ctx ends.
func (b *bounds) pay(ctx context.Context, n int) bool { return b[0].Pay(ctx, n) && b[1].Pay(ctx, n) }

// held returns when a reader was last held back by one of them.
func (b *bounds) held() time.Time {
	own, shared := b[0].Held(), b[1].Held()
	if own.After(shared) {
		return own
	}
	return shared
}
