package fill

import "time"

// A demand is a reader's wait for a missing byte, and what is being done about it.
type demand struct {
	running    bool // the fill takes workers
	workers    int
	divisible  bool  // several streams may bring the copy at once
	backingOff bool  // a further connection was refused a moment ago
	held       bool  // a worker has claimed the byte
	holder     claim // its claim
	near       bool  // it will be at the byte soon
}

// A remedy is what a demand asks for.
type remedy uint8

const (
	waitForIt remedy = iota // the byte is on its way
	fetchFree               // a new worker is to fetch it
	cutClaim                // the worker that claimed it is too far away: a new one takes its claim over from there
)

// remedyFor decides about the byte at, for which a reader waits.
func (d demand) remedyFor(at int64) remedy {
	alone := !d.divisible || d.workers >= maxWorkers || d.backingOff
	switch {
	case !d.running:
		return waitForIt
	case alone && d.workers > 0:
		return waitForIt
	case d.held && (d.holder.serial || at < d.holder.pos || d.near):
		return waitForIt
	case d.held:
		return cutClaim
	}
	return fetchFree
}

// demand sees to it that the missing byte at, which a reader of [at, end) waits
// for, will come soon.
func (p *plan) demand(at, end int64) {
	c := p.f.copy
	holder := p.holderOf(at)
	d := demand{
		running: p.f.phase == running, workers: len(p.workers), divisible: c.divisible(),
		backingOff: time.Now().Before(p.backoff), held: holder != nil,
	}
	if holder != nil {
		d.holder, d.near = holder.claim, holder.near(at)
	}
	switch d.remedyFor(at) {
	case waitForIt:
		return
	case cutClaim:
		holder.end = at
	}
	from, to, ok := p.free(at, min(max(end, at+minPiece), c.limit()))
	if !ok || c.oneStream {
		from, to, ok = p.free(0, c.limit())
	}
	if !ok {
		return
	}
	w := p.newWorker()
	w.take(from, to)
	p.launch(w)
}

// holderOf returns the worker that has claimed the byte at, or nil.
func (p *plan) holderOf(at int64) *worker {
	var holder *worker
	for _, w := range p.workers {
		if w.company.of == nil && w.done <= at && at < w.end {
			holder = w
		}
	}
	return holder
}
