package cache

import (
	"cmp"
	"errors"
	"slices"

	"github.com/pullchain/pullchain"
)

// A leg is what is known of the attempts behind one fetch of a fill.
type leg struct {
	attempts []pullchain.Attempt
	resp     pullchain.Response // while its body is read; else zero
}

// now returns the attempts so far.
func (l leg) now() []pullchain.Attempt {
	if l.resp.Body != nil {
		return l.resp.Trace()
	}
	return l.attempts
}

// maxLegs bounds the trace of a fill: its first fetches are kept and its last.
const maxLegs = 64

// tell adds an answer to the trace.
func (f *fill) tell(resp pullchain.Response) *leg {
	l := &leg{resp: resp}
	f.addLeg(l)
	return l
}

func (f *fill) addLeg(l *leg) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trace = append(f.trace, l)
	if len(f.trace) > maxLegs {
		f.trace = slices.Delete(f.trace, maxLegs/2, maxLegs/2+1)
	}
}

// told completes a leg whose body is read.
func (f *fill) told(l *leg) {
	attempts, login := l.now(), l.resp.Body.Source().Login // of a lane that has taken over since
	f.mu.Lock()
	defer f.mu.Unlock()
	f.login = cmp.Or(login, f.login)
	l.attempts, l.resp = attempts, pullchain.Response{}
}

// tellError adds a failed fetch to the trace. That a helper was not let in is of
// no interest.
func (f *fill) tellError(w *worker, err error) {
	e, ok := errors.AsType[*pullchain.Error](err)
	if ok && !w.helper && w.ctx.Err() == nil {
		f.addLeg(&leg{attempts: e.Attempts})
	}
}

// attempts returns every try so far, in the order in which they were begun.
func (f *fill) attempts() []pullchain.Attempt {
	f.mu.Lock()
	legs := make([]leg, len(f.trace))
	for i, l := range f.trace {
		legs[i] = *l
	}
	f.mu.Unlock()
	var all []pullchain.Attempt
	for _, l := range legs {
		all = append(all, l.now()...)
	}
	slices.SortStableFunc(all, func(a, b pullchain.Attempt) int { return a.Start.Compare(b.Start) })
	return all
}

// asError returns err as a *pullchain.Error, which all that leaves a fill is.
func asError(err error) *pullchain.Error {
	if e, ok := errors.AsType[*pullchain.Error](err); ok {
		return e
	}
	return &pullchain.Error{Reason: pullchain.ReasonOf(err), Err: err}
}
