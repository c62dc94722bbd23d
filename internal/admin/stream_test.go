package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/guard"
)

// fakeEvents are events by hand. Those up to dropped are forgotten.
type fakeEvents struct {
	mu      sync.Mutex
	events  []balancer.Event
	first   uint64
	dropped uint64
	wake    chan struct{}
}

func newEvents() *fakeEvents { return &fakeEvents{first: 100, wake: make(chan struct{})} }

func (f *fakeEvents) last() uint64 { return f.first + uint64(len(f.events)) }

func (f *fakeEvents) add(kind balancer.EventKind, registry string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, balancer.Event{Seq: f.last() + 1, Kind: kind, Registry: registry, Upstream: "hub"})
	close(f.wake)
	f.wake = make(chan struct{})
}

func (f *fakeEvents) Since(seq uint64) (events []balancer.Event, next uint64, lost bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	lost = seq < f.dropped || seq > f.last() || seq != 0 && seq < f.first
	if seq > f.last() {
		seq = 0
	}
	for _, e := range f.events {
		if e.Seq > max(seq, f.dropped) {
			events = append(events, e)
		}
	}
	return events, f.last(), lost
}

func (f *fakeEvents) Last() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last()
}

func (f *fakeEvents) Wait(ctx context.Context, seq uint64) error {
	for {
		f.mu.Lock()
		ready, wake := f.last() != seq, f.wake
		f.mu.Unlock()
		if ready {
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A follower reads a stream within a synctest bubble: what the handler writes can be
// looked at between two steps.
type follower struct {
	t      *testing.T
	w      *syncRecorder
	cancel context.CancelFunc
	done   chan struct{}
}

// A syncRecorder is a ResponseRecorder that can be read while it is written.
type syncRecorder struct {
	mu sync.Mutex
	*httptest.ResponseRecorder
}

func (w *syncRecorder) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ResponseRecorder.Write(b)
}

// take returns what was written since the last take.
func (w *syncRecorder) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := w.Body.String()
	w.Body.Reset()
	return text
}

func follow(t *testing.T, h http.Handler, target string, header ...string) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	r.Host = "127.0.0.1:5152"
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	f := &follower{t: t, w: &syncRecorder{ResponseRecorder: httptest.NewRecorder()}, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		h.ServeHTTP(f.w, r)
	}()
	return f
}

// next lets everything happen that can, and returns what was written, an event in a
// line: its name, its number and its registry or text.
func (f *follower) next() string {
	f.t.Helper()
	synctest.Wait()
	var out []string
	for event := range strings.SplitSeq(f.w.take(), "\n\n") {
		if event == "" {
			continue
		}
		name, id, data := "", "-", struct {
			Registry string
			Text     string
			Seq      uint64
		}{}
		for line := range strings.SplitSeq(event, "\n") {
			switch field, value, _ := strings.Cut(line, ":"); field {
			case "event":
				name = strings.TrimSpace(value)
			case "id":
				id = strings.TrimSpace(value)
			case "data":
				if err := json.Unmarshal([]byte(value), &data); err != nil {
					f.t.Fatalf("%q: %v", event, err)
				}
			case "":
				name = ":"
			}
		}
		switch name {
		case "hello", "reset":
			out = append(out, fmt.Sprint(name, " ", id, " ", data.Seq))
		case ":":
			out = append(out, ":")
		default:
			out = append(out, fmt.Sprint(name, " ", id, " ", data.Registry, data.Text))
		}
	}
	return strings.Join(out, "; ")
}

func (f *follower) stop() {
	f.cancel()
	<-f.done
}

// plane is an operator's plane with events.
func plane(events admin.Events) http.Handler {
	return admin.New(admin.Config{}, admin.Sources{Snapshot: snapshot, Events: events})
}

func TestStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		events := newEvents()
		events.add(balancer.KindTransition, "docker.io")
		f := follow(t, plane(events), "/api/v1/events?topics=transition,failover")
		defer f.stop()
		if got := f.next(); got != "hello 101 101" {
			t.Fatalf("it begins with %q", got)
		}
		events.add(balancer.KindFailover, "ghcr.io")
		events.add(balancer.KindForced, "ghcr.io") // which was not asked for
		if got := f.next(); got != "failover 102 ghcr.io" {
			t.Errorf("a failover: %q", got)
		}
		time.Sleep(time.Second)
		events.add(balancer.KindTransition, "docker.io")
		if got := f.next(); got != "transition 104 docker.io" {
			t.Errorf("a transition at once: %q", got)
		}
		time.Sleep(16 * time.Second)
		if got := f.next(); got != ":" {
			t.Errorf("after 15 s of silence: %q", got)
		}
		h := f.w.Header()
		if h.Get("Content-Type") != "text/event-stream" || h.Get("Cache-Control") != "no-store" || h.Get("X-Accel-Buffering") != "no" || h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("headers: %v", h)
		}
	})
}

// A reader that was cut off comes back and has missed nothing, or is told that it has.
func TestStreamResumes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, query, lastID string
		dropped             uint64
		want                string
	}{
		{"after the second", "", "102", 0, "hello 102 102; failover 103 c"},
		{"by the address", "&since=102", "", 0, "hello 102 102; failover 103 c"},
		{"the header is newer than the address", "&since=101", "102", 0, "hello 102 102; failover 103 c"},
		{"nothing missed", "", "103", 0, "hello 103 103"},
		{"some are gone", "", "100", 101, "hello 100 100; reset - 103; failover 102 b; failover 103 c"},
		{"all are gone", "", "100", 103, "hello 100 100; reset 103 103"},
		{"of an earlier process", "", "7", 0, "hello 7 7; reset - 103; failover 101 a; failover 102 b; failover 103 c"},
		{"of a clock that was ahead", "", "999", 0, "hello 999 999; reset - 103; failover 101 a; failover 102 b; failover 103 c"},
		{"all that are kept", "&since=0", "", 101, "hello - 0; failover 102 b; failover 103 c"},
		{"of one registry", "&since=0&registry=b", "", 0, "hello - 0; failover 102 b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				events := newEvents()
				for _, registry := range []string{"a", "b", "c"} {
					events.add(balancer.KindFailover, registry)
				}
				events.dropped = tt.dropped
				var header []string
				if tt.lastID != "" {
					header = []string{"Last-Event-ID", tt.lastID}
				}
				f := follow(t, plane(events), "/api/v1/events?topics=failover"+tt.query, header...)
				defer f.stop()
				if diff := cmp.Diff(tt.want, f.next()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

// The verdict is told at the beginning and when it changes, and the daemon is looked at
// twice a second at most, however many readers there are.
func TestStreamVerdict(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		events := newEvents()
		var mu sync.Mutex
		looks, text := 0, "all is well"
		h := admin.New(admin.Config{}, admin.Sources{Events: events, Snapshot: func() admin.Snapshot {
			mu.Lock()
			defer mu.Unlock()
			looks++
			return admin.Snapshot{Summary: admin.Summary{Level: admin.LevelOK, Text: text}}
		}})
		var all []*follower
		for range 10 {
			all = append(all, follow(t, h, "/api/v1/events?topics=verdict"))
		}
		for i, f := range all {
			if got := f.next(); got != "hello 100 100; verdict - all is well" {
				t.Fatalf("reader %d: %q", i, got)
			}
		}
		mu.Lock()
		looks, text = 0, "hub is down"
		mu.Unlock()
		for range 100 { // a busy second
			events.add(balancer.KindTransition, "docker.io")
			time.Sleep(10 * time.Millisecond)
		}
		for i, f := range all {
			if got := f.next(); got != "verdict - hub is down" {
				t.Errorf("reader %d: %q", i, got)
			}
			f.stop()
		}
		mu.Lock()
		defer mu.Unlock()
		if looks < 1 || looks > 2 {
			t.Errorf("it was looked at %d times in a second", looks)
		}
	})
}

// What changes without an event, as a full disk does, is seen too.
func TestStreamVerdictWithoutEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		text := "all is well"
		h := admin.New(admin.Config{}, admin.Sources{Snapshot: func() admin.Snapshot {
			mu.Lock()
			defer mu.Unlock()
			return admin.Snapshot{Summary: admin.Summary{Text: text}}
		}})
		f := follow(t, h, "/api/v1/events")
		defer f.stop()
		if got := f.next(); got != "hello - 0; verdict - all is well" {
			t.Errorf("at the beginning: %q", got)
		}
		mu.Lock()
		text = "the disk is full"
		mu.Unlock()
		time.Sleep(2 * time.Second)
		if got := f.next(); got != "verdict - the disk is full" {
			t.Errorf("two seconds later: %q", got)
		}
	})
}

// A look that fails for a mistake of ours ends neither the process nor the stream.
func TestStreamOutlivesABrokenLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		text, broken := "all is well", false
		g := guard.New(slog.New(slog.DiscardHandler))
		h := admin.New(admin.Config{}, admin.Sources{Guard: g, Snapshot: func() admin.Snapshot {
			mu.Lock()
			defer mu.Unlock()
			if broken {
				panic("no such lane")
			}
			return admin.Snapshot{Summary: admin.Summary{Text: text}}
		}})
		f := follow(t, h, "/api/v1/events")
		defer f.stop()
		f.next()
		mu.Lock()
		text, broken = "the disk is full", true
		mu.Unlock()
		time.Sleep(time.Minute)
		if got, n := f.next(), g.Counts()[guard.Stream]; strings.Contains(got, "verdict") || n == 0 {
			t.Errorf("while it is broken: %q, %d panics", got, n)
		}
		mu.Lock()
		broken = false
		mu.Unlock()
		time.Sleep(10 * time.Second)
		if got := f.next(); !strings.Contains(got, "verdict - the disk is full") {
			t.Errorf("later: %q", got)
		}
	})
}

func TestStreamAsLines(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"&format=ndjson", ""} {
		synctest.Test(t, func(t *testing.T) {
			events := newEvents()
			events.add(balancer.KindFailover, "docker.io")
			f := follow(t, plane(events), "/api/v1/events?since=0&follow=false&topics=failover"+how, "Accept", "application/x-ndjson")
			<-f.done // it ends by itself
			f.cancel()
			scanner := bufio.NewScanner(strings.NewReader(f.w.take()))
			var got []string
			for scanner.Scan() {
				var e struct {
					Event string
					ID    uint64
					Data  map[string]any
				}
				if err := json.Unmarshal(scanner.Bytes(), &e); err != nil {
					t.Fatalf("%q: %v", scanner.Text(), err)
				}
				got = append(got, fmt.Sprintf("%s %d %v %v", e.Event, e.ID, e.Data["registry"], e.Data["schema"]))
			}
			if diff := cmp.Diff([]string{"hello 0 <nil> 1", "failover 101 docker.io <nil>"}, got); diff != "" || f.w.Header().Get("Content-Type") != "application/x-ndjson" {
				t.Errorf("%s, (-want +got):\n%s", f.w.Header().Get("Content-Type"), diff)
			}
		})
	}
}

func TestStreamRefuses(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"/api/v1/events?topics=transition,gossip": "there is no topic",
		"/api/v1/events?since=yesterday":          "is no event's number",
		"/api/v1/events?follow=perhaps":           "follow is true or false",
	} {
		w := ask(admin.Config{}, snapshot(), "GET", target)
		if w.Code != 400 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	if w := ask(admin.Config{}, snapshot(), "HEAD", "/api/v1/events"); w.Code != 200 || w.Body.Len() > 0 {
		t.Errorf("HEAD: %d %q", w.Code, w.Body)
	}
}

// Readers take connections and memory, so there are so many and no more; one that leaves
// makes place.
func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := plane(newEvents())
		var all []*follower
		for range 64 {
			all = append(all, follow(t, h, "/api/v1/events"))
		}
		synctest.Wait()
		one := follow(t, h, "/api/v1/events")
		<-one.done
		if one.w.Code != 503 || !strings.Contains(one.w.take(), "too_many_streams") || one.w.Header().Get("Retry-After") != "5" {
			t.Errorf("the 65th: %d", one.w.Code)
		}
		all[0].stop()
		again := follow(t, h, "/api/v1/events?topics=failover")
		if got := again.next(); got != "hello 100 100" {
			t.Errorf("there is a place, and it says %q", got)
		}
		again.stop()
		for _, f := range all[1:] {
			f.stop()
		}
	})
}

// A reader that takes nothing is dropped, and nothing is kept for it.
func TestStreamDropsSlowReaders(t *testing.T) {
	t.Parallel()
	events := newEvents()
	refuse := &stuckWriter{header: http.Header{}}
	r := httptest.NewRequest(http.MethodGet, "/api/v1/events", nil)
	r.Host = "127.0.0.1"
	plane(events).ServeHTTP(refuse, r) // returns, although nothing has cancelled the request
	if refuse.deadline.IsZero() || refuse.writes != 1 {
		t.Errorf("%d writes, deadline %s", refuse.writes, refuse.deadline)
	}
}

// Readers are counted while they read, and what they miss.
func TestStreamsAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		events, counts := newEvents(), new(admin.StreamCounts)
		h := admin.New(admin.Config{}, admin.Sources{Snapshot: snapshot, Events: events, Streams: counts})
		f := follow(t, h, "/api/v1/events?topics=failover", "Last-Event-ID", "7") // of an earlier process
		f.next()
		if counts.Readers() != 1 || counts.Missed() != 1 {
			t.Errorf("%d readers, %d missed something", counts.Readers(), counts.Missed())
		}
		f.stop()
		synctest.Wait()
		r := httptest.NewRequest(http.MethodGet, "/api/v1/events", nil)
		r.Host = "127.0.0.1"
		h.ServeHTTP(&stuckWriter{header: http.Header{}}, r)
		if counts.Readers() != 0 || counts.Missed() != 2 {
			t.Errorf("afterwards %d readers, %d missed something", counts.Readers(), counts.Missed())
		}
	})
}

// The server's time-outs, which are for short answers, do not end a stream.
func TestStreamOutlivesTimeouts(t *testing.T) {
	t.Parallel()
	events := newEvents()
	s := httptest.NewUnstartedServer(plane(events))
	s.Config.WriteTimeout = time.Nanosecond // each write would fail
	s.Start()
	defer s.Close()
	resp, err := s.Client().Get(s.URL + "/api/v1/events?topics=failover")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	scanner := bufio.NewScanner(resp.Body)
	scanner.Scan()
	if scanner.Text() != "id: 100" {
		t.Fatalf("it begins with %q: %v", scanner.Text(), scanner.Err())
	}
	events.add(balancer.KindFailover, "docker.io")
	for scanner.Scan() {
		if scanner.Text() == "id: 101" {
			return
		}
	}
	t.Errorf("it ended: %v", scanner.Err())
}

// A stuckWriter is a connection whose write deadline has passed.
type stuckWriter struct {
	header   http.Header
	deadline time.Time
	writes   int
}

func (w *stuckWriter) Header() http.Header                { return w.header }
func (w *stuckWriter) WriteHeader(int)                    {}
func (w *stuckWriter) SetWriteDeadline(t time.Time) error { w.deadline = t; return nil }
func (w *stuckWriter) Flush()                             {}
func (w *stuckWriter) Write([]byte) (int, error) {
	w.writes++
	return 0, os.ErrDeadlineExceeded // as a connection's
}

// What clients pull is told as a change, to be asked for.
func TestStreamPulls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := admin.New(admin.Config{}, admin.Sources{Snapshot: snapshot, Traffic: used()})
		f := follow(t, h, "/api/v1/events?topics=pulls")
		defer f.stop()
		if got := f.next(); got != "hello - 0" {
			t.Fatalf("it begins with %q", got)
		}
		time.Sleep(time.Second)
		if got := f.next(); !strings.HasPrefix(got, "pulls - ") {
			t.Errorf("after a pull: %q", got)
		}
	})
}
