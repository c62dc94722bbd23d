package fill

import (
	"errors"
	"io"
	"os"

	"github.com/pullchain/pullchain"
)

// A view is what a reader sees of its fill at a moment.
type view struct {
	phase    phase
	current  bool  // the reader reads the copy at hand
	started  bool  // bytes have been sent
	complete bool  // all has been sent, and rightly
	ready    int64 // bytes of the copy at hand that may be sent
	closed   bool  // the body was closed
	left     bool  // the client has gone away
	exposed  bool  // the reader was let in because the blob seemed public, and it is not
	resized  bool  // the blob has another size than the client was told
}

// A move is what a reader does next.
type move uint8

const (
	waitMore     move = iota // nothing may be sent yet
	sendReady                // there are bytes
	endWell                  // all was sent
	failClosed               // the body was closed
	failLeft                 // the client has gone away
	failExposed              // it may not be read any more
	failResized              // the client was told a wrong size
	failWithFill             // nothing more will come
	changeCopy               // the bytes are in another file
	leaveFill                // the fill has no disk: go on alone
)

// next decides what a reader does that sees v. A reader that has sent bytes of a copy
// which is being replaced waits for the verified one: only then it is known whether
// what was sent is the blob's, and whether the answer can be completed.
func (v view) next() move {
	switch {
	case v.closed:
		return failClosed
	case v.left && !v.complete: // a client that has everything may leave at once
		return failLeft
	case v.exposed:
		return failExposed
	case !v.current && (!v.started || v.phase == verified):
		return changeCopy
	case v.resized:
		return failResized
	case v.current && v.ready > 0:
		return sendReady
	case v.complete:
		return endWell
	case v.phase == detached:
		return leaveFill
	case v.phase == failed:
		return failWithFill
	}
	return waitMore // where the copy is not the one at hand: until it is known which bytes are right
}

// viewLocked returns what r sees now.
func (r *reader) viewLocked() view {
	f := r.f
	v := view{
		phase: f.phase, current: r.copy == f.copy, started: r.pos > r.from,
		closed: r.closed, left: r.ctx.Err() != nil, exposed: r.trusting && f.access.private,
	}
	v.resized = f.answered && f.copy.confirmed && r.size >= 0 && f.copy.size >= 0 && r.size != f.copy.size
	if !v.current {
		return v
	}
	if r.stop < 0 && f.phase == verified {
		r.stop = f.copy.size
	}
	v.complete = r.pos == r.stop && (!r.whole || f.phase == verified)
	v.ready = min(f.copy.have.reach(r.pos), r.limitLocked()) - r.pos
	return v
}

// limitLocked returns where the bytes end that may be sent: short of the blob's
// end, as long as that could make a complete wrong blob.
func (r *reader) limitLocked() int64 {
	f := r.f
	c := f.copy
	switch {
	case f.phase == verified:
	case r.stop < 0:
		return c.have.reach(0) - holdBack
	case c.held(r.whole), r.whole && c.unproved && c.size <= f.fills.verifyMax.Load():
		return 0
	case r.whole || c.have.total == c.size: // a part waits for nothing but the hash
		return min(r.stop, c.size-holdBack)
	}
	return r.stop
}

var (
	// errChanged says that the fill goes on in another file.
	errChanged = errors.New("another copy of the blob is used")

	errNotPublic = errors.New("the blob turned out to take a login")
)

// lookLocked returns how many bytes may be sent now, or why none ever will be,
// or neither.
func (r *reader) lookLocked() (int64, error) {
	v := r.viewLocked()
	switch v.next() {
	case sendReady:
		return v.ready, nil
	case endWell:
		return 0, io.EOF
	case failClosed:
		return 0, canceledBy(os.ErrClosed)
	case failLeft:
		return 0, Canceled(r.ctx)
	case failExposed:
		return 0, &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeUnauthorized, Err: errNotPublic}
	case failResized:
		return 0, mismatched("%d bytes instead of %d", r.f.copy.size, r.size)
	case failWithFill:
		return 0, r.f.err
	case changeCopy:
		return 0, errChanged
	case leaveFill:
		return 0, errDetached
	}
	return 0, nil
}
