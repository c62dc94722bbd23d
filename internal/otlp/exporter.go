// Package otlp sends finished requests as traces to an OpenTelemetry collector: OTLP over
// HTTP in its JSON form, a span for each request of a client and one for each attempt
// at an upstream.
//
// It is a reader of the journal of requests like any other. Nothing of it is on the way
// of a request, and nothing waits for it: where a collector is slow or down, what does
// not fit into a bounded queue is counted and forgotten. Without a collector it does
// nothing at all.
//
// It is no SDK: there is no context that carries spans, no other protocol and no other
// signal. docs/traces.md has what is sent.
package otlp

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/guard"
	"github.com/pullchain/pullchain/internal/snooze"
	"github.com/pullchain/pullchain/internal/traffic"
)

const (
	maxQueued = 2048             // requests, of some 1 KB each
	maxBatch  = 256              // requests in one post: 0.3 MB, or 0.9 MB where each has three attempts
	gather    = time.Second      // how long a batch waits for others
	flushTime = 2 * time.Second  // for what is left at the end
	patience  = 2 * time.Minute  // after which a batch is given up
	firstWait = time.Second      // before a batch is tried again
	longWait  = 30 * time.Second // the same, where it has failed often
)

// A Resource is what is said of the process that sends.
type Resource struct {
	Version string
	Host    string // the name of this machine; may be empty
}

// An Exporter sends what the journal has to the collector that there is. Its methods may
// be called by several goroutines at once, Run once.
type Exporter struct {
	of       Resource
	instance string // of this process alone: what two of them send is told apart, on one machine too
	log      *slog.Logger
	guard    *guard.Guard

	mu      sync.Mutex
	client  *Client       // nil: there is no collector
	changed chan struct{} // closed when client is another
	counts  admin.Traces
	lost    bool // it was said that something is lost
	queue   []traffic.Request
	wake    chan struct{} // has one when the queue may have something
}

// New returns an Exporter without a collector. log may be nil, which discards, and g too,
// which guards and tells of nothing.
func New(of Resource, log *slog.Logger, g *guard.Guard) *Exporter {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Exporter{of: of, instance: newInstance(), log: log, guard: g, changed: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// Use sends to another collector from now on, or to none. One that is configured as it
// was goes on.
func (e *Exporter) Use(c *Client) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client != nil && c != nil && reflect.DeepEqual(e.client.cfg, c.cfg) {
		return
	}
	e.client = c
	close(e.changed)
	e.changed = make(chan struct{})
}

// Run sends until ctx is done, and then what is left if the collector takes it at once.
func (e *Exporter) Run(ctx context.Context, from *traffic.Journal) {
	for ctx.Err() == nil {
		e.mu.Lock()
		client, changed := e.client, e.changed
		e.mu.Unlock()
		if client == nil {
			select {
			case <-ctx.Done():
			case <-changed:
			}
			continue
		}
		e.export(ctx, changed, client, from)
	}
}

// export sends to one collector until ctx is done or there is another.
func (e *Exporter) export(ctx context.Context, changed <-chan struct{}, client *Client, from *traffic.Journal) {
	defer client.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	last := from.Last()
	from.Traceparents.Store(true)
	defer from.Traceparents.Store(false)
	var working sync.WaitGroup
	working.Go(func() { e.read(ctx, client.cfg.Config, from, last) })
	working.Go(func() { e.send(ctx, client) })
	select {
	case <-ctx.Done():
	case <-changed:
		cancel()
	}
	working.Wait()
	e.guard.Do(guard.Traces, func() { e.flush(client) })
}

// read queues what is traced of the requests after that number, until ctx is done.
func (e *Exporter) read(ctx context.Context, cfg Config, from *traffic.Journal, last uint64) {
	for seen := uint64(0); ; {
		var err error
		seen, err = from.Changed(ctx, seen)
		e.guard.Do(guard.Traces, func() { last = e.take(cfg, from, last) })
		if err != nil {
			return
		}
	}
}

// take reads all that has come since the request of that number, and returns the last one's.
func (e *Exporter) take(cfg Config, from *traffic.Journal, last uint64) uint64 {
	for {
		some, next, missed := from.Since(last)
		e.lose(int(missed), "they ended faster than they could be read")
		last = next
		if len(some) == 0 {
			return last
		}
		for _, r := range some {
			if cfg.samples(parseParent(r.Traceparent)) {
				e.put(r)
			}
		}
	}
}

// put queues a request. The oldest makes room: what has just happened is what people
// look for.
func (e *Exporter) put(r traffic.Request) {
	e.mu.Lock()
	full := len(e.queue) >= maxQueued
	if full {
		e.queue = e.queue[1:]
	}
	e.queue = append(e.queue, r)
	e.mu.Unlock()
	if full {
		e.lose(1, "the collector does not keep up")
	}
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// next takes a batch from the queue.
func (e *Exporter) next() []traffic.Request {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := min(maxBatch, len(e.queue))
	batch := e.queue[:n:n]
	if e.queue = e.queue[n:]; len(e.queue) == 0 {
		e.queue = nil
	}
	return batch
}

// send posts what is queued until ctx is done.
func (e *Exporter) send(ctx context.Context, client *Client) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		}
		for {
			if e.waiting() < maxBatch && !snooze.For(ctx, gather) {
				return
			}
			batch := e.next()
			if len(batch) == 0 {
				break
			}
			if !e.guard.Do(guard.Traces, func() { e.deliver(ctx, client, batch) }) {
				e.lose(len(batch), "a mistake in the program, of which the log tells")
			}
		}
	}
}

func (e *Exporter) waiting() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.queue)
}

// deliver posts a batch until the collector takes it, refuses it for good, or patience is
// at its end.
func (e *Exporter) deliver(ctx context.Context, client *Client, batch []traffic.Request) {
	text, spans := e.encode(client.cfg.Config, batch)
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstWait), backoff.WithMaxInterval(longWait), backoff.WithMaxElapsedTime(0))
	for began := time.Now(); ; {
		rejected, why, err := client.post(ctx, text)
		if ctx.Err() != nil {
			e.back(batch)
			return
		}
		e.note(client, err)
		if err == nil {
			e.count(spans, int(rejected), why, len(batch))
			return
		}
		no, isNo := errors.AsType[*refusal](err)
		pause := wait.NextBackOff()
		if isNo {
			pause = max(pause, no.after)
		}
		if !isNo || !no.retry || time.Since(began)+pause > patience {
			e.lose(len(batch), err.Error())
			return
		}
		if !snooze.For(ctx, pause) {
			e.back(batch)
			return
		}
	}
}

// back puts a batch back that was not sent, as far as there is room for it.
func (e *Exporter) back(batch []traffic.Request) {
	e.mu.Lock()
	room := max(0, maxQueued-len(e.queue))
	lost := max(0, len(batch)-room)
	e.queue = append(batch[lost:len(batch):len(batch)], e.queue...)
	e.mu.Unlock()
	e.lose(lost, "the collector does not keep up")
}

// flush posts what is left, once and within a moment, if the collector took what came
// before.
func (e *Exporter) flush(client *Client) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	for {
		batch := e.next()
		if len(batch) == 0 {
			return
		}
		if !e.works() {
			e.lose(len(batch), "the collector was not there at the end")
			continue
		}
		text, spans := e.encode(client.cfg.Config, batch)
		rejected, why, err := client.post(ctx, text)
		e.note(client, err)
		if err != nil {
			e.lose(len(batch), err.Error())
			continue
		}
		e.count(spans, int(rejected), why, len(batch))
	}
}

// works reports whether the last try went well, or there was none.
func (e *Exporter) works() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counts.LastError == ""
}

// encode writes a batch.
func (e *Exporter) encode(cfg Config, batch []traffic.Request) (text []byte, spans int) {
	var all []span
	for i := range batch {
		all = append(all, spansOf(&batch[i], parseParent(batch[i].Traceparent))...)
	}
	var of attributes
	of.text("service.name", cfg.Service)
	of.text("service.version", e.of.Version)
	of.text("service.instance.id", e.instance)
	of.text("host.name", e.of.Host)
	text, err := json.Marshal(export{[]resourceSpans{{resource{of}, []scopeSpans{{scope{scopeName, e.of.Version}, all}}}}})
	if err != nil {
		panic("otlp: " + err.Error()) // of strings and numbers: it cannot fail
	}
	return text, len(all)
}

// scopeName is what the instrumentation calls itself.
const scopeName = "github.com/pullchain/pullchain/internal/otlp"

// note keeps how a try went, and logs where that changes.
func (e *Exporter) note(client *Client, err error) {
	e.mu.Lock()
	failing := e.counts.LastError != ""
	e.counts.LastError = ""
	if err != nil {
		e.counts.LastError = err.Error()
	}
	e.mu.Unlock()
	switch {
	case err != nil && !failing:
		e.log.Warn("the collector does not take traces; pulls do not wait for it", "endpoint", client.cfg.Endpoint, "error", err.Error())
	case err == nil && failing:
		e.log.Info("the collector takes traces again", "endpoint", client.cfg.Endpoint)
	}
}

// count takes note of a batch that was taken. Requests whose spans were thrown away
// are not told apart: at most all of the batch's.
func (e *Exporter) count(spans, rejected int, why string, requests int) {
	now := time.Now()
	e.mu.Lock()
	e.counts.Spans += uint64(max(0, spans-rejected))
	e.counts.LastSent = &now
	e.mu.Unlock()
	e.lose(min(rejected, requests), why)
}

// lose counts requests whose spans no collector has, and says so for the first of them.
func (e *Exporter) lose(n int, why string) {
	if n == 0 {
		return
	}
	e.mu.Lock()
	e.counts.Lost += uint64(n)
	said := e.lost
	e.lost = true
	e.mu.Unlock()
	if !said {
		e.log.Warn("traces of requests are lost; the count goes on in the status and is said once", "requests", n, "error", why)
	}
}

// Snapshot returns how it fares; nil without a collector.
func (e *Exporter) Snapshot() *admin.Traces {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client == nil {
		return nil
	}
	out := e.counts
	out.Endpoint, out.Queued = e.client.cfg.Endpoint, len(e.queue)
	return &out
}
