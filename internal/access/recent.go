package access

import (
	"container/list"
	"sync"
	"time"
)

// A recent is a map of bounded size that forgets what was not used for the longest time. It
// is safe for concurrent use.
type recent[K comparable, V any] struct {
	max   int
	lasts time.Duration // after the last use

	mu    sync.Mutex
	at    map[K]*list.Element
	order list.List // of *remembered, the last used first
}

type remembered[K comparable, V any] struct {
	key   K
	value V
	used  time.Time
}

func newRecent[K comparable, V any](max int, lasts time.Duration) *recent[K, V] {
	return &recent[K, V]{max: max, lasts: lasts, at: make(map[K]*list.Element)}
}

// get returns the value of a key, which counts as a use.
func (r *recent[K, V]) get(key K, now time.Time) (value V, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.getLocked(key, now)
}

func (r *recent[K, V]) getLocked(key K, now time.Time) (value V, ok bool) {
	e := r.at[key]
	if e == nil {
		return value, false
	}
	m := e.Value.(*remembered[K, V])
	if now.Sub(m.used) >= r.lasts {
		r.dropLocked(e)
		return value, false
	}
	m.used = now
	r.order.MoveToFront(e)
	return m.value, true
}

// put sets the value of a key.
func (r *recent[K, V]) put(key K, value V, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.putLocked(key, value, now)
}

func (r *recent[K, V]) putLocked(key K, value V, now time.Time) {
	if e := r.at[key]; e != nil {
		r.dropLocked(e)
	}
	r.at[key] = r.order.PushFront(&remembered[K, V]{key, value, now})
	if r.order.Len() > r.max {
		r.dropLocked(r.order.Back())
	}
}

// getOrAdd returns the value of a key, that of add if there is none.
func (r *recent[K, V]) getOrAdd(key K, now time.Time, add func() V) V {
	r.mu.Lock()
	defer r.mu.Unlock()
	value, ok := r.getLocked(key, now)
	if !ok {
		value = add()
		r.putLocked(key, value, now)
	}
	return value
}

func (r *recent[K, V]) dropLocked(e *list.Element) {
	delete(r.at, r.order.Remove(e).(*remembered[K, V]).key)
}
