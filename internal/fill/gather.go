package fill

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pullchain/pullchain"
)

// TLS hands out what it decrypts a record at a time, which is 16 KiB at most and
// at the start of a connection often one packet. Written like that, each record
// costs a call, wakes the readers, and lies in a page cache of small pieces, which
// every later hit pays for. So what comes is gathered before it is written.
const (
	gatherTime  = 5 * time.Millisecond // after which no byte waits for others to come
	gatherStep  = 64 << 10             // what is written at once while a reader waits for it
	gatherSmall = 32 << 10             // a buffer for a body that is slow, or new
	gatherLarge = 256 << 10            // and for one that is fast
	maxLarge    = 32                   // so many of these, for memory's sake
)

var (
	smallBuffers = sync.Pool{New: func() any { return new([gatherSmall]byte) }}
	largeBuffers = sync.Pool{New: func() any { return new([gatherLarge]byte) }}
)

// A gather is the bytes of a body on their way to the file. It is used by the
// goroutine of its worker, and by its own timer, which writes what has waited
// while the next read takes long.
type gather struct {
	w    *worker
	body pullchain.Body
	used *atomic.Int64 // large buffers of all fills

	mu      sync.Mutex // guards what follows; held while bytes are written
	small   *[gatherSmall]byte
	large   *[gatherLarge]byte
	buf     []byte // a part of one of them: the bytes from base on
	base    int64
	read    int64 // up to here they have come
	pending []run // of those, what is to be written
	source  string
	origin  pullchain.Source // what the lanes that they came from have in common: a login, mistrust
	slow    bool             // the timer has written a little
	timer   *time.Timer
	err     error // of a write
	ended   bool
}

func (w *worker) gather(body pullchain.Body) *gather {
	g := &gather{w: w, body: body, used: &w.f.fills.large}
	g.small = smallBuffers.Get().(*[gatherSmall]byte)
	return g
}

// space returns where the next bytes belong, or nothing if the claim is done.
func (g *gather) space() ([]byte, error) {
	pos, n := g.w.room()
	if n <= 0 { // of the claim; the body may have more that is wanted
		if err := g.flush(); err != nil {
			return nil, err
		}
		pos, n = g.w.extend()
	}
	if n <= 0 {
		return nil, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return nil, g.err
	}
	if len(g.pending) == 0 {
		g.beginLocked(pos)
	}
	rest := g.buf[g.read-g.base:]
	return rest[:min(n, int64(len(rest)), gatherStep-g.read%gatherStep)], nil
}

// beginLocked begins a buffer at pos that ends where a page of its size does:
// the kernel keeps in one piece what is written in one and aligned.
func (g *gather) beginLocked(pos int64) {
	g.resizeLocked()
	buf := g.small[:]
	if g.large != nil {
		buf = g.large[:]
	}
	g.buf = buf[:int64(len(buf))-pos%int64(len(buf))]
	g.base, g.read = pos, pos
}

// resizeLocked takes a large buffer when the last one has been filled before its
// time was over, and gives it back when little comes.
func (g *gather) resizeLocked() {
	switch {
	case g.large != nil && g.slow:
		g.returnLarge()
	case g.large == nil && !g.slow && g.buf != nil && g.read == g.base+int64(len(g.buf)):
		if g.used.Add(1) > maxLarge {
			g.used.Add(-1)
			break
		}
		g.large = largeBuffers.Get().(*[gatherLarge]byte)
	}
	g.slow = false
}

func (g *gather) returnLarge() {
	largeBuffers.Put(g.large)
	g.large = nil
	g.used.Add(-1)
}

// take takes in n bytes that were read into the space, and writes what there is
// if it is much, or enough for a reader that waits.
func (g *gather) take(n int) error {
	from := g.body.Source()
	g.mu.Lock()
	defer g.mu.Unlock()
	if from.Upstream != g.source { // the body goes on from another lane
		if err := g.writeLocked(); err != nil {
			return err
		}
	}
	g.source = from.Upstream
	g.origin.Private, g.origin.Unproved = g.origin.Private || from.Private, g.origin.Unproved || from.Unproved
	g.origin.Login = cmp.Or(from.Login, g.origin.Login)
	fresh := len(g.pending) == 0
	var awaited bool
	g.pending, awaited = g.w.reserve(g.pending, int64(n))
	g.read += int64(n)
	if g.read == g.base+int64(len(g.buf)) || awaited && g.read%gatherStep == 0 {
		return g.writeLocked()
	}
	if fresh {
		g.startLocked()
	}
	return nil
}

// startLocked starts the time of what has begun to wait.
func (g *gather) startLocked() {
	if g.timer == nil {
		g.timer = time.AfterFunc(gatherTime, g.late)
		return
	}
	g.timer.Reset(gatherTime)
}

// late writes what has waited long enough.
func (g *gather) late() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended || len(g.pending) == 0 {
		return
	}
	g.slow = g.read-g.pending[0].from < gatherSmall
	_ = g.writeLocked() // the worker will be told
}

func (g *gather) flush() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.writeLocked()
}

// writeLocked writes what is pending and tells the readers. A disk that takes
// no more ends the fill.
func (g *gather) writeLocked() error {
	if g.timer != nil {
		g.timer.Stop()
	}
	if g.err != nil || len(g.pending) == 0 {
		return g.err
	}
	for _, piece := range g.pending {
		if _, err := g.w.f.copy.back.spool.WriteAt(g.buf[piece.from-g.base:piece.to-g.base], piece.from); err != nil {
			g.err = err
			g.w.f.detach(err)
			return err
		}
	}
	g.w.brought(g.pending, g.source, g.origin)
	g.pending = g.pending[:0]
	return nil
}

// end writes what is left and lets go of the buffers.
func (g *gather) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = g.writeLocked() // the fill knows
	g.ended = true
	smallBuffers.Put(g.small)
	if g.large != nil {
		g.returnLarge()
	}
	g.small, g.buf = nil, nil
}
