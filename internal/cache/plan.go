package cache

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// This file decides which bytes are fetched next, and by whom.

const (
	// minPiece is the least that is asked for at once.
	minPiece = 64 << 10

	// maxWorkers bounds the connections of a fill; beyond maxHelped only those are
	// added that a reader waits for.
	maxWorkers = 16
	maxHelped  = 12

	// smallRest is up to how much is fetched to the end although nobody waits for
	// it (FAULTS.md F31).
	smallRest = 64 << 20

	// A worker that will be at a byte within nearTime, or, as long as its pace is
	// not known, nearBytes, is waited for; else a reader's byte gets a worker of
	// its own.
	nearTime  = time.Second
	nearBytes = 4 << 20

	// crowdedTime is how long no further connection is tried after one was
	// refused while others flow.
	crowdedTime = 2 * time.Second
)

// goesOnLocked reports whether the whole blob is to be fetched: somebody reads
// all of it, or little is missing, or most is there (FAULTS.md F31).
func (f *fill) goesOnLocked() bool {
	for r := range f.readers {
		if r.whole {
			return true
		}
	}
	if f.size < 0 {
		return false
	}
	return f.size-f.have.total <= smallRest || f.have.total > f.size/2
}

// wantedLocked reports whether any of [from, to) is wanted.
func (f *fill) wantedLocked(from, to int64) bool {
	if f.goesOnLocked() {
		return true
	}
	for r := range f.readers {
		if r.at < to && r.to > from {
			return true
		}
	}
	return false
}

// awaitedLocked reports whether a reader waits for bytes.
func (f *fill) awaitedLocked() bool {
	for r := range f.readers {
		if r.waiting {
			return true
		}
	}
	return false
}

// freeLocked returns the first bytes in [p, limit) that nobody has and nobody
// fetches.
func (f *fill) freeLocked(p, limit int64) (from, to int64, ok bool) {
search:
	for {
		from, to, ok = f.have.gap(p, limit)
		if !ok {
			return 0, 0, false
		}
		for _, w := range f.workers {
			switch {
			case w.done <= from && from < w.end:
				p = w.end
				continue search
			case from < w.done && w.done < to && w.done < w.end:
				to = w.done
			}
		}
		return from, to, true
	}
}

// demandedLocked returns the first free bytes that a reader waits for.
func (f *fill) demandedLocked() (from, to int64, ok bool) {
	for r := range f.readers {
		if !r.waiting || ok && r.at >= from {
			continue
		}
		if a, b, free := f.freeLocked(r.at, min(max(r.to, r.at+minPiece), f.limitLocked())); free && f.have.reach(r.at) == a {
			from, to, ok = a, b, true
		}
	}
	return from, to, ok
}

// startFirstLocked starts the worker whose answer opens the fill, at the bytes
// that the first reader wants.
func (f *fill) startFirstLocked() {
	w := f.newWorkerLocked()
	want := f.req.Range
	if f.ask = want; want.To > 0 {
		f.ask.To = max(want.To, want.From+minPiece)
	}
	if f.size < 0 {
		w.claim(0, math.MaxInt64) // until the answer says
	} else if !f.claimFirstLocked(w, want) {
		w.claim(0, f.size) // an empty blob
	}
	f.launchLocked(w)
}

// claimFirstLocked gives w the first missing bytes of what is wanted, or else of
// the blob.
func (f *fill) claimFirstLocked(w *worker, want pullchain.Range) bool {
	from, end := int64(0), f.size
	if abs, ok := wire.ResolveRange(want, f.size); ok {
		from, end = abs.From, min(f.size, max(abs.To, abs.From+minPiece))
	}
	a, b, ok := f.freeLocked(from, end)
	if !ok {
		a, b, ok = f.freeLocked(0, f.size)
	}
	if ok {
		w.claim(a, b)
	}
	return ok
}

// demandLocked sees to it that the missing byte p, which a reader of [p, end)
// waits for, will come soon.
func (f *fill) demandLocked(p, end int64) {
	if f.halted || f.state != running {
		return
	}
	var holder *worker
	for _, w := range f.workers {
		if w.done <= p && p < w.end {
			holder = w
		}
	}
	alone := f.size < 0 || f.fresh || f.single || f.noRange || len(f.workers) >= maxWorkers || time.Now().Before(f.crowded)
	if alone && len(f.workers) > 0 || holder != nil && (holder.serial || p < holder.pos || holder.near(p)) {
		return
	}
	if holder != nil {
		holder.end = p
	}
	from, to, ok := f.freeLocked(p, min(max(end, p+minPiece), f.limitLocked()))
	if !ok || f.single {
		from, to, ok = f.freeLocked(0, f.limitLocked())
	}
	if !ok {
		return
	}
	w := f.newWorkerLocked()
	w.claim(from, to)
	f.launchLocked(w)
}

// kickLocked starts a worker where none is left and more is wanted.
func (f *fill) kickLocked() {
	if f.halted || f.state != running || len(f.workers) > 0 {
		return
	}
	w := f.newWorkerLocked()
	if !f.nextLocked(w) {
		w.cancel()
		return
	}
	f.launchLocked(w)
}

// nextLocked gives w what to fetch next: what is demanded, what nobody fetches,
// or half of what another still has before it. It returns false if there is
// nothing that is worth a request.
func (f *fill) nextLocked(w *worker) bool {
	w.claim(0, 0)
	if f.halted {
		return false
	}
	from, to, demanded := f.demandedLocked()
	ok := demanded
	if !ok && f.goesOnLocked() {
		from, to, ok = f.freeLocked(0, f.limitLocked())
	}
	if f.size < 0 || f.single { // a single stream
		from, to, ok = f.freeLocked(0, f.limitLocked())
	}
	if ok {
		w.helper = w.helper && !demanded && len(f.workers) > 1
		w.claim(from, to)
		return true
	}
	enough := f.growth.best > 0 && len(f.workers) > f.growth.best
	return !enough && f.stealLocked(w, max(stealWorth, 2*f.growth.delay))
}

// extendLocked lets w, which is at the end of its claim, go on with what its body
// has after it, if that is wanted and nobody has taken it.
func (f *fill) extendLocked(w *worker) {
	if w.pos >= w.reach || f.halted || !f.wantedLocked(w.pos, w.reach) {
		return
	}
	if w.serial { // it passes over what is there
		w.end = w.reach
		return
	}
	w.done = w.end // its own claim is empty now
	if from, to, ok := f.freeLocked(w.pos, w.reach); ok && from == w.pos {
		w.end = to
	}
}

// trimLocked stops the workers that fetch what nobody wants any more.
func (f *fill) trimLocked() {
	for _, w := range f.workers {
		if f.state == running && !f.wantedLocked(w.done, w.end) {
			w.cancel()
		}
	}
}

func (f *fill) newWorkerLocked() *worker {
	w := &worker{f: f, asked: time.Now()}
	w.ctx, w.cancel = context.WithCancel(f.ctx)
	return w
}

func (f *fill) launchLocked(w *worker) {
	f.workers = append(f.workers, w)
	f.s.wg.Go(w.run)
}

// dropLocked takes w, which has ended, out of the fill.
func (f *fill) dropLocked(w *worker) {
	w.cancel()
	f.workers = slices.DeleteFunc(f.workers, func(other *worker) bool { return other == w })
	f.wakeLocked()
}
