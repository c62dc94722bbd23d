package cache

import (
	"context"
	"sync"

	"github.com/pullchain/pullchain/internal/fill"
)

// A life is the time from New to Close: the context of work that belongs to no
// client, and the goroutines that do it.
type life struct {
	ctx context.Context
	end context.CancelCauseFunc

	mu   sync.Mutex
	over bool
	wg   sync.WaitGroup
}

func newLife() *life {
	l := &life{}
	l.ctx, l.end = context.WithCancelCause(context.Background())
	return l
}

// spawn runs f in a goroutine that close waits for. It returns false when it is
// too late for that.
func (l *life) spawn(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false
	}
	l.wg.Go(f)
	return true
}

func (l *life) close() {
	l.mu.Lock()
	l.over = true
	l.mu.Unlock()
	l.end(fill.ErrClosed)
	l.wg.Wait()
}
