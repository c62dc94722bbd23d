package cache

import (
	"context"
	"sync"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/fill"
)

// A group has one piece of work done at a time for a key. A caller that comes while
// it runs waits for its outcome, for as long as the caller's own context lasts; the
// work runs on in the cache's context, and is called off when the last has left.
//
// (golang.org/x/sync/singleflight has the first half of this: it does not know of
// callers that leave.)
type group[K comparable, V any] struct {
	life *life

	mu      sync.Mutex
	flights map[K]*flight[V]
}

// A flight is the work under way for one key.
type flight[V any] struct {
	cancel  context.CancelFunc
	done    chan struct{} // closed when value and err stand
	waiters int           // guarded by the group's mu
	value   V
	err     error
}

// do returns the outcome of work for key, and whether another caller had begun it.
// The value is that of the work even when there is an error.
// Work under way for one of the keys of as is as good.
func (g *group[K, V]) do(ctx context.Context, key K, work func(context.Context) (V, error), as ...K) (value V, joined bool, err error) {
	g.mu.Lock()
	c, joined := g.flights[key]
	for i := 0; !joined && i < len(as); i++ {
		if c, joined = g.flights[as[i]]; joined {
			key = as[i]
		}
	}
	if !joined {
		if c = g.beginLocked(key, work); c == nil {
			g.mu.Unlock()
			return value, false, fill.Canceled(g.life.ctx)
		}
	}
	c.waiters++
	g.mu.Unlock()
	select {
	case <-c.done:
		return c.value, joined, c.err
	case <-ctx.Done():
		g.leave(key, c)
		return value, joined, fill.Canceled(ctx)
	}
}

// beginLocked starts work, or returns nil when the cache is closed.
func (g *group[K, V]) beginLocked(key K, work func(context.Context) (V, error)) *flight[V] {
	ctx, cancel := context.WithCancel(g.life.ctx)
	c := &flight[V]{cancel: cancel, done: make(chan struct{})}
	run := func() {
		defer cancel()
		c.value, c.err = work(ctx)
		g.mu.Lock()
		g.forgetLocked(key, c)
		g.mu.Unlock()
		close(c.done)
	}
	if !g.life.spawn(run) {
		cancel()
		return nil
	}
	if g.flights == nil {
		g.flights = make(map[K]*flight[V])
	}
	g.flights[key] = c
	return c
}

// leave takes a caller that waited off c. One that comes after the last has left
// begins anew.
func (g *group[K, V]) leave(key K, c *flight[V]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.waiters--; c.waiters == 0 {
		c.cancel()
		g.forgetLocked(key, c)
	}
}

func (g *group[K, V]) forgetLocked(key K, c *flight[V]) {
	if g.flights[key] == c {
		delete(g.flights, key)
	}
}

// shared returns the result of an answer that others got as well.
func shared(result pullchain.CacheResult, joined bool) pullchain.CacheResult {
	if joined && result == pullchain.CacheMiss {
		return pullchain.CacheCoalesced
	}
	return result
}
