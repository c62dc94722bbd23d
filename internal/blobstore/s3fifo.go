package blobstore

import "github.com/opencontainers/go-digest"

// maxFreq bounds how often main passes an entry over (two bits in the paper).
const maxFreq = 3

// An s3fifo decides what goes first (Yang et al., "FIFO queues are all you need
// for cache eviction", SOSP 2023). New content enters small, a tenth of the room,
// and leaves it soon: into main when it was used again, else out, leaving its
// digest in ghost. What comes back while its digest is there goes to main. So a
// flood of content that is asked for once passes through a tenth of the room.
//
// The one departure: an entry in small moves to main when it was used once after
// it was stored, not twice. To be stored it was asked for, and what missed is
// dear here: it costs an upstream.
type s3fifo struct {
	small, main queue
	ghost       ghost
}

// admit gives a new entry its place.
func (f *s3fifo) admit(e *entry) {
	if f.ghost.take(e.Digest) {
		f.main.push(e)
		return
	}
	f.small.push(e)
}

// victim takes the entry that goes first out of its queue; nil when none may.
// Entries that are busy leave the queues until they no longer are, so that each
// call ends.
func (f *s3fifo) victim(limit int64) *entry {
	for {
		fromSmall := f.small.tail != nil && (f.small.bytes > limit/10 || f.main.tail == nil)
		e := f.main.tail
		if fromSmall {
			e = f.small.tail
		}
		if e == nil {
			return nil
		}
		e.where.remove(e)
		switch {
		case e.busy():
			e.parked = true
		case e.freq > 0 && fromSmall:
			e.freq = 0
			f.main.push(e)
		case e.freq > 0:
			e.freq--
			f.main.push(e)
		default:
			if fromSmall {
				f.ghost.add(e.Digest, e.Size, limit)
			}
			return e
		}
	}
}

// A queue is a list of entries, in by the head and out by the tail.
type queue struct {
	head, tail *entry
	bytes      int64
}

// push puts e, which is in no queue, at the head.
func (q *queue) push(e *entry) {
	e.where, e.prev, e.next = q, nil, q.head
	if q.head != nil {
		q.head.prev = e
	} else {
		q.tail = e
	}
	q.head = e
	q.bytes += e.Size
}

// remove takes e out of q.
func (q *queue) remove(e *entry) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		q.head = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		q.tail = e.prev
	}
	e.where, e.prev, e.next = nil, nil, nil
	q.bytes -= e.Size
}

// maxGhosts bounds the memory of a ghost: some 10 MB of digests.
const maxGhosts = 1 << 16

// A ghost remembers the digests of what was evicted from small, as much as would
// fill the room once.
type ghost struct {
	sizes map[digest.Digest]int64
	order []digest.Digest // oldest first; may name what was taken
	bytes int64
}

// add remembers a digest.
func (g *ghost) add(d digest.Digest, size, limit int64) {
	if g.sizes == nil {
		g.sizes = make(map[digest.Digest]int64)
	}
	if _, ok := g.sizes[d]; ok {
		return
	}
	g.sizes[d] = size
	g.order = append(g.order, d)
	g.bytes += size
	for len(g.order) > 0 && (g.bytes > limit || len(g.order) > maxGhosts) {
		g.take(g.order[0])
		g.order = g.order[1:]
	}
}

// take forgets a digest, and reports whether it was remembered.
func (g *ghost) take(d digest.Digest) bool {
	size, ok := g.sizes[d]
	if ok {
		delete(g.sizes, d)
		g.bytes -= size
	}
	return ok
}
