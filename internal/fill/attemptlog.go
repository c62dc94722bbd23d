package fill

import (
	"cmp"
	"slices"
	"sync"

	"github.com/pullchain/pullchain"
)

// An attemptLog is every try behind a fill, those of bodies that are still read
// included. It is safe for concurrent use.
type attemptLog struct {
	mu      sync.Mutex
	entries []*logEntry
}

// A logEntry is the tries behind one fetch.
type logEntry struct {
	attempts []pullchain.Attempt
	resp     pullchain.Response // while its body is read; else zero
}

// maxEntries bounds the log: its first entries are kept and its last.
const maxEntries = 64

// add adds tries that are over.
func (l *attemptLog) add(attempts ...pullchain.Attempt) { l.append(&logEntry{attempts: attempts}) }

// begin adds an answer, whose body may tell of more tries until end.
func (l *attemptLog) begin(resp pullchain.Response) *logEntry {
	e := &logEntry{resp: resp}
	l.append(e)
	return e
}

func (l *attemptLog) append(e *logEntry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, e)
	if len(l.entries) > maxEntries {
		l.entries = slices.Delete(l.entries, maxEntries/2, maxEntries/2+1)
	}
}

// end completes an entry whose body is read.
func (l *attemptLog) end(e *logEntry) {
	attempts := e.resp.Trace()
	l.mu.Lock()
	defer l.mu.Unlock()
	e.attempts, e.resp = attempts, pullchain.Response{}
}

// all returns every try so far, in the order in which they were begun.
func (l *attemptLog) all() []pullchain.Attempt {
	l.mu.Lock()
	entries := make([]logEntry, len(l.entries))
	for i, e := range l.entries {
		entries[i] = *e
	}
	l.mu.Unlock()
	var all []pullchain.Attempt
	for _, e := range entries {
		if e.resp.Body != nil { // asked without the lock: a body has its own
			e.attempts = e.resp.Trace()
		}
		all = append(all, e.attempts...)
	}
	slices.SortStableFunc(all, func(a, b pullchain.Attempt) int { return a.Start.Compare(b.Start) })
	return all
}

// logged completes the entry of an answer whose body is read, and takes note of the
// login of an upstream that has taken over meanwhile.
func (f *fill) logged(e *logEntry) {
	login := e.resp.Body.Source().Login
	f.log.end(e)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.access.login = cmp.Or(login, f.access.login)
}
