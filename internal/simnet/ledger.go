package simnet

import (
	"context"
	"encoding/base64"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"
)

// An Entry is one request as a server saw it.
type Entry struct {
	Seq    int       // 1 for the first request since New
	Time   time.Time // when its headers had been read
	Server string    // name of the server
	Method string
	Host   string // the Host header; for Connect and SOCKS5 the target
	Path   string // decoded, without the query
	Query  string // raw
	Class  Class
	Repo   string // of registry paths
	Ref    string // tag, digest, or target of a tunnel
	Header http.Header
	// Authorization is the header's value, for tests that look for secrets;
	// for egress proxies it is Proxy-Authorization, and for SOCKS5
	// "user:password".
	Authorization string
	Cert          string // the name in the client's certificate; "" if it has shown none
	Range         string
	Remote        string // client's address and port: one per connection
	Proto         string

	Status int   // what was answered; 0 when nothing was (yet)
	Bytes  int64 // body bytes sent so far
	Done   bool  // the handler has returned
	Cut    bool  // the answer was broken off on purpose, or its client left
	Took   time.Duration
}

// A Filter selects entries: those that fit each field that is set.
type Filter struct {
	Server string
	Method string
	Class  Class  // any of these classes
	Repo   string // exact
	Ref    string // exact
	Path   string // substring of path
	Status int
	Ranged bool // only requests with a Range header
}

// fits reports whether f selects e. Fields that are not set select everything.
func (f Filter) fits(e *Entry) bool {
	return (f.Server == "" || f.Server == e.Server) &&
		(f.Method == "" || f.Method == e.Method) &&
		(f.Class == 0 || f.Class&e.Class != 0) &&
		(f.Repo == "" || f.Repo == e.Repo) &&
		(f.Ref == "" || f.Ref == e.Ref) &&
		strings.Contains(e.Path, f.Path) &&
		(f.Status == 0 || f.Status == e.Status) &&
		(!f.Ranged || e.Range != "")
}

// A Ledger is the record of all requests of one Net, in the order of their
// arrival. A request stands in it from the moment that its headers are read;
// its Status is set before the client can see it, while Bytes and Done may be
// a moment late: see [Ledger.WaitIdle]. It is safe for concurrent use.
type Ledger struct {
	mu       sync.Mutex
	seq      int
	entries  []*Entry
	conns    map[string]int
	inflight int
	idle     chan struct{} // closed and replaced when inflight falls to 0
}

func newLedger() *Ledger {
	return &Ledger{conns: map[string]int{}, idle: make(chan struct{})}
}

// All returns a copy of every entry.
func (l *Ledger) All() []Entry { return l.Find(Filter{}) }

// Find returns copies of the entries that fit f.
func (l *Ledger) Find(f Filter) []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Entry
	for _, e := range l.entries {
		if f.fits(e) {
			out = append(out, *e)
		}
	}
	return out
}

// Count returns how many entries fit f.
func (l *Ledger) Count(f Filter) int { return len(l.Find(f)) }

// Bytes returns the body bytes sent in answer to the requests that fit f.
func (l *Ledger) Bytes(f Filter) int64 {
	var sum int64
	for _, e := range l.Find(f) {
		sum += e.Bytes
	}
	return sum
}

// Connections returns how many TCP connections the server of that name has
// accepted, since New or [Ledger.Reset]; "" counts those of all servers.
func (l *Ledger) Connections(server string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if server != "" {
		return l.conns[server]
	}
	sum := 0
	for n := range maps.Values(l.conns) {
		sum += n
	}
	return sum
}

// Reset forgets all entries and connections. Requests under way are forgotten
// too.
func (l *Ledger) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries, l.conns = nil, map[string]int{}
}

// WaitIdle waits until no request is being answered, so that Bytes and Done
// are final. It returns the context's error if that comes first.
func (l *Ledger) WaitIdle(ctx context.Context) error {
	for {
		l.mu.Lock()
		busy, idle := l.inflight > 0, l.idle
		l.mu.Unlock()
		if !busy {
			return nil
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Leaks returns the entries in which secret occurs, in whatever header, path,
// query or client's certificate, base64 of Basic logins decoded, except those of the allowed
// servers.
func (l *Ledger) Leaks(secret string, allowed ...string) []Entry {
	ok := map[string]bool{}
	for _, name := range allowed {
		ok[name] = true
	}
	var out []Entry
	for _, e := range l.All() {
		if !ok[e.Server] && e.mentions(secret) {
			out = append(out, e)
		}
	}
	return out
}

// mentions reports whether secret stands anywhere in the request, also encoded as
// in a Basic login.
func (e *Entry) mentions(secret string) bool {
	for _, s := range []string{e.Path, e.Query, e.Host, e.Authorization, e.Cert} {
		if strings.Contains(s, secret) {
			return true
		}
	}
	for k, vs := range e.Header {
		for _, v := range vs {
			if strings.Contains(v, secret) || strings.Contains(k, secret) || strings.Contains(unbasic(v), secret) {
				return true
			}
		}
	}
	return false
}

// unbasic returns the user:password of a Basic login, else "".
func unbasic(header string) string {
	b64, ok := strings.CutPrefix(header, "Basic ")
	if !ok {
		return ""
	}
	plain, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		return ""
	}
	return string(plain)
}

// A record is the pen for one entry.
type record struct {
	ledger *Ledger
	entry  *Entry
}

// open enters e.
func (l *Ledger) open(e *Entry) *record {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	l.inflight++
	e.Seq, e.Time = l.seq, time.Now()
	l.entries = append(l.entries, e)
	return &record{ledger: l, entry: e}
}

func (l *Ledger) accepted(server string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[server]++
}

func (r *record) status(code int) { r.change(func(e *Entry) { e.Status = code }) }

func (r *record) sent(n int) { r.change(func(e *Entry) { e.Bytes += int64(n) }) }

func (r *record) cut() { r.change(func(e *Entry) { e.Cut = true }) }

func (r *record) change(f func(*Entry)) {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	f(r.entry)
}

// close ends the entry.
func (r *record) close() {
	l := r.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	r.entry.Done, r.entry.Took = true, time.Since(r.entry.Time)
	l.inflight--
	if l.inflight == 0 {
		close(l.idle)
		l.idle = make(chan struct{})
	}
}
