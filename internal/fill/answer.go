package fill

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// attach adds a reader to the fill, or returns nil if the fill is about to end.
func (f *fill) attach(ctx context.Context, reg *Registry, req pullchain.Request) *reader {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return nil
	}
	r := &reader{f: f, ctx: ctx, reg: reg, req: req, by: RepositoryOf(reg, req), size: -1, to: math.MaxInt64}
	r.whole = req.Range.Whole()
	f.plan.toEnd = f.plan.toEnd || req.Range.To == 0 && req.Range.From >= 0
	if r.by == f.by {
		f.reg = reg // a reload may have made a newer chain
	}
	f.readers[r] = struct{}{}
	f.abandonment.end()
	return r
}

// open waits for the fill's first answer and returns the client's. The reader is
// closed if that is an error, or if the body goes past the fill.
func (r *reader) open(admit func(private bool) error) (pullchain.Response, error) {
	resp, err := r.answer(admit)
	if err == errDetached || err == ErrApart {
		r.Close()
		return r.f.fills.Bypass(r.ctx, r.reg, r.req)
	}
	if err != nil {
		r.Close()
		return pullchain.Response{}, err
	}
	return resp, nil
}

// ErrApart is what admit returns to [Fills.Fetch] for a client that may not read what
// the fill has, and has a right to what its own upstreams send: it goes past the fill.
var ErrApart = errors.New("the fill is for those who have its login")

// errDetached says that the disk takes no more.
var errDetached = errors.New("the fill has no disk")

func (r *reader) answer(admit func(private bool) error) (pullchain.Response, error) {
	private, err := r.await()
	if err != nil {
		return pullchain.Response{}, err
	}
	if r.mustBeAdmitted() {
		if err := admit(private); err != nil {
			return pullchain.Response{}, err
		}
	}
	resp, err := r.resolve(private)
	if err != nil {
		return pullchain.Response{}, err
	}
	if err := r.change(); err != nil {
		return pullchain.Response{}, err
	}
	r.f.mu.Lock()
	r.f.plan.kick()
	r.f.mu.Unlock()
	return resp, nil
}

// mustBeAdmitted reports whether the client has no part in the fetch that gives it a
// right to what comes: it was made for another repository, or with a login that is
// gone since.
func (r *reader) mustBeAdmitted() bool {
	r.f.mu.Lock()
	u := r.f.underwayLocked()
	r.f.mu.Unlock()
	return r.by != u.By || !r.first && u.Expired(r.reg)
}

// await waits until an upstream has answered, and for the size where the answer
// depends on it. A failure is for those of the same repository: that another one
// has not got it, or may not say so, says nothing of here.
func (r *reader) await() (private bool, err error) {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	held, late := false, lateness{f: f}
	defer late.stop()
	for {
		switch {
		case r.ctx.Err() != nil:
			return false, Canceled(r.ctx)
		case f.phase == detached:
			return false, errDetached
		case f.phase == failed && (r.first || r.by == f.by && (held || !f.answered) && !ofRange(f.err)):
			return false, f.err
		case f.phase == failed:
			return false, errRetryFill
		case r.heldLocked() && !(late.is && f.repairs.copies == 0):
			held = true
			late.begin(f.req.Size > 0)
		case f.phase != opening && f.phase != replacing && f.copy.described() && (f.copy.size >= 0 || r.whole):
			r.trusting = !f.access.private && r.by != f.by
			return f.access.private, nil
		}
		f.changes.wait(&f.mu, r.ctx.Done())
	}
}

// How long an answer waits for the bytes of a small blob, of which none has proved wrong:
// longer where no manifest has told its size. A client has 30 s for headers
// (docs/protocol.md 4.3), and a lane may trickle.
const (
	sureAnswer   = 2 * time.Second
	unsureAnswer = 10 * time.Second
)

// A lateness is set once an answer has waited long enough. It is guarded by the fill's
// mutex.
type lateness struct {
	f     *fill
	is    bool
	timer *time.Timer
}

// begin begins the time, if it has not begun; sure says that the size is known.
func (l *lateness) begin(sure bool) {
	if l.timer != nil {
		return
	}
	after := unsureAnswer
	if sure {
		after = sureAnswer
	}
	l.timer = time.AfterFunc(after, func() {
		l.f.mu.Lock()
		defer l.f.mu.Unlock()
		l.is = true
		l.f.changes.notify()
	})
}

func (l *lateness) stop() {
	if l.timer != nil {
		l.timer.Stop()
	}
}

// heldLocked reports whether all of the blob is kept back until it is verified.
// Then the answer can wait as well, and a length that an upstream made up never gets
// into it (docs/faults.md F19).
func (r *reader) heldLocked() bool {
	f := r.f
	return (f.phase == running || f.phase == replacing) && f.copy.held(r.whole)
}

// resolve turns the request into bytes of the blob, and into an answer.
func (r *reader) resolve(private bool) (pullchain.Response, error) {
	f := r.f
	f.mu.Lock()
	size, stored := f.copy.size, f.copy.back.object != nil
	unproved := f.copy.unproved && size <= f.fills.verifyMax.Load()
	f.mu.Unlock()
	resp, carried, err := AnswerOf(r.req, size)
	if err != nil {
		return resp, err
	}
	resp.Unproved = unproved
	resp.Private, resp.Cache, resp.Attempts, resp.Body = private, pullchain.CacheMiss, f.log.all(), r
	switch {
	case stored:
		resp.Cache = pullchain.CacheHit
	case !r.first:
		resp.Cache = pullchain.CacheCoalesced
		f.fills.counts.coalesced.Add(1)
	}
	r.size, r.from, r.stop = size, carried.From, carried.To
	r.pos = r.from
	f.mu.Lock()
	defer f.mu.Unlock()
	r.whole = r.from == 0 && r.stop == size
	if r.at = r.from; r.stop >= 0 {
		r.to = r.stop
	}
	return resp, nil
}

// AnswerOf returns the answer to req for a blob of size bytes, but for its Body, and
// the bytes that it carries. The size may be unknown (-1) for a whole. The error has
// the Reason Invalid and the status 416: the range is none of the blob.
func AnswerOf(req pullchain.Request, size int64) (pullchain.Response, pullchain.Range, error) {
	resp := pullchain.Response{Status: http.StatusOK, Digest: req.Digest, Size: size}
	if req.Range.Whole() {
		return resp, pullchain.Range{To: size}, nil
	}
	abs, ok := wire.ResolveRange(req.Range, size)
	if !ok {
		return pullchain.Response{}, abs, &pullchain.Error{
			Reason: pullchain.Invalid, Code: pullchain.CodeWrongRange, Status: http.StatusRequestedRangeNotSatisfiable, Size: size,
			Err: fmt.Errorf("%v of %d bytes", req.Range, size),
		}
	}
	resp.Status, resp.Range = http.StatusPartialContent, abs
	return resp, abs, nil
}
