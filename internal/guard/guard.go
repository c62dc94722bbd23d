// Package guard runs what makes pictures of the program for people, so that a mistake there
// ends one picture, and not all pulls with the process: a panic is logged with its stack,
// counted, and gone on from. It is not for the data plane: what moves bytes and decides
// about them must not go on from a state that no line of it was written for.
package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"
)

// The parts of the program that are guarded, as logs and metrics call them.
const (
	History = "history" // what was seen of upstreams, for bars
	Metrics = "metrics" // a scrape
	Notify  = "notify"  // notifications
	Page    = "page"    // an answer of the operator's plane
	Stream  = "stream"  // the stream of events
	Traces  = "traces"  // traces of requests, to a collector
	Warm    = "warm"    // fetching ahead of need
)

// parts are all of them.
var parts = []string{History, Metrics, Notify, Page, Stream, Traces, Warm}

const (
	// tellEvery is how often a part's panics are logged at the most: each has a stack, and
	// what fails once fails at each look.
	tellEvery = time.Hour

	// pause is how long Loop waits after a panic.
	pause = 5 * time.Second
)

// A Guard runs functions that may panic, and goes on. It is safe for concurrent use. A nil
// Guard does the same, and neither logs nor counts.
type Guard struct {
	log *slog.Logger

	mu     sync.Mutex
	panics map[string]uint64
	told   map[string]time.Time
}

// New returns a Guard that logs to log.
func New(log *slog.Logger) *Guard {
	return &Guard{log: log, panics: map[string]uint64{}, told: map[string]time.Time{}}
}

// A Panic is the error that a panic has been made of.
type Panic struct {
	Value any
	Stack []byte // of the goroutine
}

// Error says what it was, without the stack.
func (p *Panic) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// Try returns f's error, or a *Panic.
func Try(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &Panic{v, debug.Stack()}
		}
	}()
	return f()
}

// Do runs f, which belongs to part, and reports whether it returned.
func (g *Guard) Do(part string, f func()) bool {
	err := Try(func() error { f(); return nil })
	g.Note(part, err)
	return err == nil
}

// Loop runs f, which belongs to part, until it returns false or ctx is done. After a panic
// it waits a while and runs it again.
func (g *Guard) Loop(ctx context.Context, part string, f func() (more bool)) {
	for ctx.Err() == nil {
		more := false
		if g.Do(part, func() { more = f() }) {
			if !more {
				return
			}
			continue
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// Note counts and logs the panic that err has in it, if it has one. It is for a part that
// hands its errors on.
func (g *Guard) Note(part string, err error) {
	p, ok := errors.AsType[*Panic](err)
	if !ok || g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.panics[part]++
	now := time.Now()
	if told, ok := g.told[part]; ok && now.Sub(told) < tellEvery {
		return
	}
	g.told[part] = now
	g.log.Error("a mistake in the program: a part of it that shows how things stand has failed, and pulls go on",
		"part", part, "panic", fmt.Sprint(p.Value), "times", g.panics[part], "stack", string(p.Stack))
}

// Counts returns how often each part has panicked, all parts among them.
func (g *Guard) Counts() map[string]uint64 {
	out := make(map[string]uint64, len(parts))
	for _, part := range parts {
		out[part] = 0
	}
	if g == nil {
		return out
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for part, n := range g.panics {
		out[part] = n
	}
	return out
}

// Handler returns h so that its panics are logged and counted. The connection ends then, as
// net/http has it: what has been sent is no whole answer.
func (g *Guard) Handler(part string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := Try(func() error { h.ServeHTTP(w, r); return nil })
		if p, ok := errors.AsType[*Panic](err); ok {
			if p.Value != http.ErrAbortHandler { // a handler's own way to end a connection
				g.Note(part, err)
			}
			panic(http.ErrAbortHandler)
		}
	})
}
