package fill

import (
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/snooze"
)

// A worker brings missing bytes of a fill, one request after another. What is not
// its goroutine's alone is guarded by the fill's mutex.
type worker struct {
	f      *fill
	ctx    context.Context
	cancel context.CancelFunc
	claim
	pace
	written
	company company

	lane   string   // the upstream that answered last; empty before the first answer
	took   string   // the login that the answer at hand took; see [LoginOf]
	helper bool     // only there to make the fill faster
	others []string // upstreams to ask last, besides those of wrong copies
}

// A claim is the bytes that a worker is to bring. [done, end) is its own: no other
// worker writes there. Its end may be cut at any time, for a reader that waits far
// ahead or for a helper that takes half of it. A read that is under way then may
// bring bytes beyond the cut: firm is where a cut is allowed, and what comes beyond
// the end all the same is dropped, for it is another worker's to write.
type claim struct {
	done   int64 // up to here its bytes are there
	pos    int64 // up to here they have been read; those from done on are being written
	end    int64 // where it stops; others may cut it, down to pos
	firm   int64 // up to here the read under way may bring bytes: a claim is cut beyond it
	reach  int64 // where the body at hand ends; 0 if there is none
	serial bool  // its upstream sends the whole from 0: it passes over what is there or claimed
}

// take makes the claim [from, to).
func (c *claim) take(from, to int64) { *c = claim{done: from, pos: from, end: to, firm: from} }

// written is what a worker has written and not journaled yet: [mark, wrote), all
// from one source.
type written struct {
	mark, wrote int64
	source      string
	login       string // that they took; "" if that is not known
}

// run fetches claim after claim until nothing is left to do.
func (w *worker) run() {
	defer func() {
		w.f.mu.Lock()
		defer w.f.mu.Unlock()
		w.f.plan.drop(w)
		w.f.plan.kick()
	}()
	for {
		err := w.fetch()
		w.settle()
		if w.ctx.Err() != nil || err == errNotNeeded {
			return
		}
		if err != nil {
			pause, again := w.failed(err)
			if !again || !snooze.For(w.ctx, pause) {
				return
			}
		}
		if !w.next() {
			return
		}
	}
}

func (w *worker) next() bool {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	return w.f.plan.next(w)
}

// fetch asks for the claim and writes what comes.
func (w *worker) fetch() error {
	f := w.f
	f.mu.Lock()
	reg, req := f.reg, w.requestLocked()
	w.pace = pace{asked: time.Now()}
	w.source = ""
	f.mu.Unlock()
	resp, err := reg.Next.Fetch(w.ctx, req)
	if err != nil {
		w.logFailure(err)
		return err
	}
	defer f.logged(f.log.begin(resp))
	defer resp.Body.Close() // as soon as the claim is done: what comes after it is not wanted
	err = w.accept(req, resp)
	switch {
	case err == errAskWhole:
		return nil
	case err != nil:
		return err
	}
	return w.pour(resp.Body)
}

// logFailure adds a failed fetch to the attempt log. That a helper was not let in
// is of no interest.
func (w *worker) logFailure(err error) {
	e, ok := errors.AsType[*pullchain.Error](err)
	if ok && !w.helper && w.ctx.Err() == nil {
		w.f.log.add(e.Attempts...)
	}
}

func (w *worker) requestLocked() pullchain.Request {
	f := w.f
	limit := f.copy.limit()
	req := f.req
	req.Options = pullchain.FetchOptions{Unverified: true, Speculative: w.helper && !w.company.urgent, NoForce: w.helper, Avoid: slices.Concat(f.repairs.avoid, w.others), Via: f.req.Options.Via}
	switch {
	case f.copy.size < 0 && w.done == 0:
		req.Range = f.copy.ask
	case w.done == 0 && w.end >= limit:
		req.Range = pullchain.Range{}
	case w.end >= limit:
		req.Range = pullchain.Range{From: w.done}
	default:
		req.Range = pullchain.Range{From: w.done, To: w.end}
	}
	return req
}

// pour writes the body to the claim. It returns nil when the claim is done, or
// the body has ended where it should.
func (w *worker) pour(body pullchain.Body) error {
	defer w.journal()
	g := w.gather(body)
	defer g.end()
	for {
		p, err := g.space()
		if err != nil {
			return err
		}
		if len(p) == 0 {
			return w.short()
		}
		n, err := body.Read(p)
		if n > 0 {
			if err := g.take(n); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			if err := g.flush(); err != nil {
				return err
			}
			return w.bodyEnded()
		case err != nil:
			return err
		}
	}
}

// room returns where the claim goes on and how much of it is still to be read,
// which is done next.
func (w *worker) room() (pos, n int64) {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	return w.roomLocked()
}

// extend is room at the end of a claim, all of which is written: it may go on.
func (w *worker) extend() (pos, n int64) {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	if w.pos >= w.end {
		w.f.plan.extend(w)
	}
	return w.roomLocked()
}

func (w *worker) roomLocked() (pos, n int64) {
	w.since = time.Now()
	n = min(w.end, w.reach) - w.pos
	w.firm = w.pos + max(min(n, gatherStep), 0)
	return w.pos, n
}

// receivedLocked counts n bytes from upstream.
func (w *worker) receivedLocked(n int64) {
	now := time.Now()
	ramp := &w.f.plan.rampUp
	if w.received(n, now) {
		ramp.answered(now.Sub(w.asked))
	}
	ramp.bytes += n
	w.f.fills.counts.bytes.Add(n)
}

// near reports whether w will be at the byte at soon.
func (w *worker) near(at int64) bool {
	rate := w.rate(time.Now())
	if rate <= 0 {
		return at-w.pos <= nearBytes
	}
	return float64(at-w.pos) <= max(rate*nearTime.Seconds(), 2*minPiece)
}

// reserve moves the worker on by n bytes that it has read, so that its claim can
// no longer be cut there, and adds to pending what of them is to be written: as a
// rule all. awaited tells whether a reader waits for bytes.
func (w *worker) reserve(pending []run, n int64) (_ []run, awaited bool) {
	f := w.f
	f.mu.Lock()
	defer f.mu.Unlock()
	w.receivedLocked(n)
	off := w.pos
	if n > w.end-off { // the claim was cut meanwhile, and the body is past the cut
		n = max(w.end-off, 0)
		w.reach = min(w.reach, off+n)
	}
	w.pos += n
	switch {
	case w.company.of != nil:
		pending = w.reserveBeside(pending, off)
	case w.serial:
		pending = w.missingLocked(pending, off)
	default:
		pending = join(pending, off, w.pos)
	}
	if len(pending) == 0 {
		w.done = w.pos
	}
	return pending, w.pos%gatherStep == 0 && f.readers.wait()
}

// missingLocked adds to pending what of [off, pos) is neither there nor brought by another.
func (w *worker) missingLocked(pending []run, off int64) []run {
	done := w.done
	w.done = w.pos // nothing of [off, pos) is free until done is right again
	for {
		from, to, ok := w.f.plan.free(off, w.pos)
		if !ok {
			break
		}
		pending = join(pending, from, to)
		off = to
	}
	w.done = done
	return pending
}

// join adds [from, to) to runs that all lie before it.
func join(runs []run, from, to int64) []run {
	switch last := len(runs) - 1; {
	case from >= to:
		return runs
	case last >= 0 && runs[last].to == from:
		runs[last].to = to
		return runs
	}
	return append(runs, run{from: from, to: to})
}

// brought notes that all which was read is written, and wakes the readers.
func (w *worker) brought(pieces []run, source string, origin pullchain.Source) {
	f := w.f
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, piece := range pieces {
		w.journalLocked(piece.from, piece.to, source, w.loginOf(origin))
		f.copy.have.add(piece.from, piece.to, source)
	}
	w.done = w.pos
	f.access.add(origin.Private)
	f.copy.unproved = f.copy.unproved || origin.Unproved
	f.changes.notify()
}

// recordEvery is how much may be lost to a kill (docs/faults.md F35).
const recordEvery = 1 << 20

// journalLocked notes that [from, to) is written. What is noted is recorded by
// the goroutine of the fill.
func (w *worker) journalLocked(from, to int64, source, login string) {
	if w.wrote-w.mark >= recordEvery || source != w.source || login != w.login || from != w.wrote {
		w.flushLocked()
		w.mark = from
	}
	w.wrote, w.source, w.login = to, source, login
}

// loginOf returns the login that bytes of origin took, which the answer at hand began.
func (w *worker) loginOf(origin pullchain.Source) string {
	switch {
	case origin.Login != "":
		return origin.Login
	case origin.Private && w.took == Anonymous: // the body has gone on from a lane whose login is not known
		return ""
	}
	return w.took
}

func (w *worker) flushLocked() {
	if w.mark < w.wrote {
		c := w.f.copy
		c.journal = append(c.journal, blobstore.Extent{From: w.mark, To: w.wrote, Source: sourceOf(w.source, w.login)})
		w.mark = w.wrote
	}
}

func (w *worker) journal() {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	w.flushLocked()
	w.f.changes.notify()
}

// bodyEnded judges the end of a body.
func (w *worker) bodyEnded() error {
	f := w.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if end := min(w.end, w.reach); w.pos < end && end != math.MaxInt64 {
		return w.truncatedLocked()
	}
	if c := f.copy; c.size < 0 { // now it is known
		c.size, w.end = w.pos, w.pos
		c.have.trim(c.size)
		f.changes.notify()
	}
	return nil
}

// short says what it means that there is nothing more to read: that the claim is
// done, or that the answer was to less than was asked, as a server may do, but
// not in crumbs.
func (w *worker) short() error {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	if w.pos < w.end && w.bytes < minPiece {
		w.f.copy.crumbs = true
		return w.truncatedLocked()
	}
	return nil
}

func (w *worker) truncatedLocked() error {
	return &pullchain.Error{
		Reason: pullchain.Unavailable, Code: pullchain.CodeTruncated, Upstream: w.source, Err: io.ErrUnexpectedEOF,
	}
}
