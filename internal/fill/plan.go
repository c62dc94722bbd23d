package fill

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

const (
	// minPiece is the least that is asked for at once: below it the request costs
	// more than the bytes.
	minPiece = 64 << 10

	// maxWorkers bounds the connections of a fill; beyond maxHelped only those are
	// added that a reader waits for, so that helpers never keep a reader waiting.
	maxWorkers = 16
	maxHelped  = 12

	// smallRest is up to how much is fetched to the end although no reader waits
	// for it (docs/faults.md F31).
	smallRest = 64 << 20

	// smallPart is the same where no client has asked for the blob to its end, but
	// for parts of it, as of a layer of which it has most already: what costs little
	// more than the request.
	smallPart = 1 << 20

	// maxSought is how many workers fetch what readers will come to, of a blob that
	// is not wanted as a whole.
	maxSought = 8

	// A worker that will be at a byte within nearTime, or, as long as its pace is
	// not known, nearBytes, is waited for; else a reader's byte gets a worker of
	// its own.
	nearTime  = time.Second
	nearBytes = 4 << 20

	// backoffTime is how long no further connection is tried after one was
	// refused while others flow: the upstream or its CDN has a limit of connections,
	// and what flows is not to be put at risk.
	backoffTime = 2 * time.Second
)

// A plan decides which bytes are fetched next, and by which worker. It is guarded
// by its fill's mutex.
type plan struct {
	f       *fill
	workers []*worker
	backoff time.Time // until then no other range is asked for beside those that flow
	rampUp  rampUp
	toEnd   bool // a client has asked for the blob to its end

	companions companions
}

// goesOn reports whether the whole blob is to be fetched: a reader reads all of it,
// or little is missing, or most is there (docs/faults.md F31). Where all clients want
// parts, most of the blob may be what they have already: it is not fetched for them,
// unless there is no way to have a part alone.
func (p *plan) goesOn() bool {
	if p.f.readers.wantAll() {
		return true
	}
	c := p.f.copy
	switch {
	case c.size < 0:
		return false
	case !p.toEnd && !c.noRange && !c.oneStream:
		return c.missing() <= smallPart
	}
	return c.missing() <= smallRest || c.have.total > c.size/2
}

// wanted reports whether any of [from, to) is wanted.
func (p *plan) wanted(from, to int64) bool { return p.goesOn() || p.f.readers.want(from, to) }

// free returns the first bytes in [at, limit) that are neither there nor claimed by
// a worker. Claims and runs are few, so that each gap is checked against all claims;
// one that covers its beginning sends the search beyond that claim's end.
func (p *plan) free(at, limit int64) (from, to int64, ok bool) {
search:
	for {
		from, to, ok = p.f.copy.have.gap(at, limit)
		if !ok {
			return 0, 0, false
		}
		for _, w := range p.workers {
			switch {
			case w.company.of != nil: // its claim is another's
			case w.done <= from && from < w.end:
				at = w.end
				continue search
			case from < w.done && w.done < to && w.done < w.end:
				to = w.done
			}
		}
		return from, to, true
	}
}

// maxJoined is up to how much several holes are fetched as one: a reader that waits
// at the end of it waits for all of it.
const maxJoined = 4 << 20

// joined returns what is free from from to to with the holes after it that are close,
// and whether there are such. What lies between is fetched once more: less than
// minPiece costs less than another request.
func (p *plan) joined(from, to, limit int64) (end int64, more bool) {
	for {
		next := p.f.copy.have.reach(to)
		a, b, ok := p.free(next, limit)
		if next == to || next-to >= minPiece || !ok || a != next || b-from > maxJoined {
			return to, more
		}
		to, more = b, true
	}
}

// assign gives w what is free from from to to, and what lies close after it.
func (p *plan) assign(w *worker, from, to int64) {
	end, more := to, false
	if c := p.f.copy; c.confirmed && c.size >= 0 {
		end, more = p.joined(from, to, c.size)
	}
	w.take(from, end)
	w.serial = more
}

// unclaimed returns the free bytes that are wanted first where all are wanted: those
// that the readers come to next.
func (p *plan) unclaimed() (from, to int64, ok bool) {
	c := p.f.copy
	if c.size >= 0 && !c.oneStream && !c.crumbs {
		if from, to, ok = p.free(p.f.readers.first(c.size), c.size); ok {
			return from, to, true
		}
	}
	return p.free(0, c.limit())
}

// demanded returns the first free bytes that a reader waits for.
func (p *plan) demanded() (from, to int64, ok bool) {
	c := p.f.copy
	for r := range p.f.readers {
		if !r.waiting || ok && r.at >= from {
			continue
		}
		if a, b, free := p.free(r.at, min(max(r.to, r.at+minPiece), c.limit())); free && a < r.to && c.have.reach(r.at) == a {
			from, to, ok = a, b, true
		}
	}
	return from, to, ok
}

// sought returns the first free bytes that a reader will come to.
func (p *plan) sought() (from, to int64, ok bool) {
	for r := range p.f.readers {
		if r.copy == nil { // what it wants is not known yet
			continue
		}
		if a, b, free := p.free(r.at, min(r.to, p.f.copy.limit())); free && (!ok || a < from) {
			from, to, ok = a, b, true
		}
	}
	return from, to, ok
}

// startFirst starts the worker whose answer opens the fill, at the bytes that the
// first reader wants.
func (p *plan) startFirst() {
	c, want := p.f.copy, p.f.req.Range
	w := p.newWorker()
	if c.ask = want; want.To > 0 {
		c.ask.To = max(want.To, want.From+minPiece)
	}
	if c.size < 0 {
		w.take(0, math.MaxInt64) // until the answer says
	} else if from, to, ok := p.firstMissing(want); ok {
		w.take(from, to)
	} else {
		w.take(0, c.size) // an empty blob
	}
	p.launch(w)
}

// firstMissing returns the first missing bytes of what is wanted, or else of the
// blob.
func (p *plan) firstMissing(want pullchain.Range) (from, to int64, ok bool) {
	size := p.f.copy.size
	at, limit := int64(0), size
	if abs, ok := wire.ResolveRange(want, size); ok {
		at, limit = abs.From, min(size, max(abs.To, abs.From+minPiece))
	}
	if from, to, ok = p.free(at, limit); ok {
		return from, to, true
	}
	return p.free(0, size)
}

// kick starts a worker where none is left and more is wanted, or where parts are: a
// client that asks for many has a request for each of them under way at once, and does
// not wait for a round trip after the other.
func (p *plan) kick() {
	if p.f.phase != running {
		return
	}
	if len(p.workers) > 0 && (p.goesOn() || len(p.workers) >= maxSought || !p.divides(time.Now())) {
		return
	}
	w := p.newWorker()
	if !p.next(w) {
		w.cancel()
		return
	}
	p.launch(w)
}

// next gives w what to fetch next: what is demanded, what no worker fetches, or
// half of what another still has before it. It returns false if there is nothing
// that is worth a request.
func (p *plan) next(w *worker) bool {
	w.take(0, 0)
	if p.f.phase.halted() {
		return false
	}
	c := p.f.copy
	from, to, demanded := p.demanded()
	ok := demanded
	if !ok && p.goesOn() || c.size < 0 || c.oneStream || c.crumbs {
		from, to, ok = p.unclaimed()
	}
	if !ok && !p.goesOn() {
		from, to, ok = p.sought()
	}
	if ok {
		w.helper = w.helper && !demanded && len(p.workers) > 1
		p.assign(w, from, to)
		return true
	}
	enough := p.rampUp.best > 0 && len(p.workers) > p.rampUp.best
	return !enough && p.steal(w, max(stealWorth, 2*p.rampUp.delay))
}

// extend lets w, which is at the end of its claim, go on with what its body has
// after it, if that is wanted and no other worker has taken it: the bytes are on
// their way already, and a new request costs a round trip.
func (p *plan) extend(w *worker) {
	if w.company.of != nil || w.pos >= w.reach || p.f.phase.halted() || !p.wanted(w.pos, w.reach) {
		return
	}
	if w.serial { // it passes over what is there
		w.end = w.reach
		return
	}
	w.done = w.end // its own claim is empty now
	if from, to, ok := p.free(w.pos, w.reach); ok && from == w.pos {
		w.end = to
	}
}

// trim stops the workers that fetch what is not wanted any more.
func (p *plan) trim() {
	for _, w := range p.workers {
		if p.f.phase == running && !p.wanted(w.done, w.end) {
			w.cancel()
		}
	}
}

// upstreams returns those that the workers fetch from.
func (p *plan) upstreams() []upstreamOf {
	var all []upstreamOf
	for _, w := range p.workers {
		if u := (upstreamOf{p.f.reg.Name, w.lane}); w.lane != "" && !slices.Contains(all, u) {
			all = append(all, u)
		}
	}
	return all
}

func (p *plan) newWorker() *worker {
	w := &worker{f: p.f, pace: pace{asked: time.Now()}}
	w.ctx, w.cancel = context.WithCancel(p.f.ctx)
	return w
}

func (p *plan) launch(w *worker) {
	p.workers = append(p.workers, w)
	p.f.fills.wg.Go(w.run)
}

// drop takes w, which has ended, out of the plan.
func (p *plan) drop(w *worker) {
	w.cancel()
	p.workers = slices.DeleteFunc(p.workers, func(other *worker) bool { return other == w })
	p.f.changes.notify()
}

// halt stops the workers.
func (p *plan) halt() {
	for _, w := range p.workers {
		w.cancel()
	}
}
