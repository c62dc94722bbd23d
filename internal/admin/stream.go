package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pullchain/pullchain/balancer"
)

// Events are what happens to lanes, by number; [*balancer.Events] are some.
type Events interface {
	Since(seq uint64) (events []balancer.Event, next uint64, lost bool)
	Last() uint64
	Wait(ctx context.Context, seq uint64) error
}

// The events of a stream that no lane has. Those of lanes are called by their kind.
const (
	eventHello   = "hello"   // the first: from which number on there will be events
	eventReset   = "reset"   // events that the reader has not seen are no longer kept
	eventVerdict = "verdict" // the summary has changed
	eventPulls   = "pulls"   // what clients pull has changed
)

// topics are what a stream can be asked for.
var topics = []string{string(balancer.KindTransition), string(balancer.KindFailover), string(balancer.KindForced), string(balancer.KindOverride), eventVerdict, eventPulls}

// StreamEvent is one event of GET /api/v1/events as a line of JSON. As an event stream the
// same is in the fields event, id and data.
type StreamEvent struct {
	Event string `json:"event"`
	ID    uint64 `json:"id"`   // to go on from, by Last-Event-ID or since; 0: it is of no number
	Data  any    `json:"data"` // a StreamStart, a balancer's Event, a Verdict or a PullsChanged
}

// StreamStart is the data of "hello" and "reset".
type StreamStart struct {
	Schema int    `json:"schema"` // the constant Schema
	Seq    uint64 `json:"seq"`    // of the last event before
}

// PullsChanged is the data of "pulls": that GET /api/v1/pulls has something new. It comes
// twice a second at most.
type PullsChanged struct {
	Changes uint64 `json:"changes"` // number of the last change
}

// Verdict is the data of "verdict".
type Verdict struct {
	Level    string   `json:"level"`
	Text     string   `json:"text"` // in English
	Draining bool     `json:"draining"`
	Warnings []string `json:"warnings"` // their ids
}

func verdictOf(s Snapshot) Verdict {
	v := Verdict{Level: s.Summary.Level, Text: s.Summary.Text, Draining: s.Draining, Warnings: []string{}}
	for _, w := range s.Warnings {
		v.Warnings = append(v.Warnings, w.ID)
	}
	return v
}

const (
	// heartbeat is how often a stream says that it is there: proxies cut what is
	// silent for a minute.
	heartbeat = 15 * time.Second

	// maxWrite is how long a reader may take to take what is sent. One that is
	// slower is dropped, for it can come back and go on from its number.
	maxWrite = 10 * time.Second
)

// eventRoutes are the stream of what happens.
var eventRoutes = []route{{
	method: http.MethodGet, path: "/api/v1/events", serve: (*handler).events,
	doc: doc{
		id: "events", media: "text/event-stream",
		about: "What happens, as it happens: an event stream, or lines of JSON (each a StreamEvent) where application/x-ndjson is accepted. " +
			"It begins with hello. Events of lanes have a number to go on from, by Last-Event-ID or since; reset tells that some were missed.",
		query: []param{
			{"topics", "string", "of " + strings.Join(topics, ", ") + ", separated by commas; all if it is left out"},
			{"since", "integer", "the number after which to begin: 0 for all that are kept; what comes from now on if it is left out"},
			{"registry", "string", "only what happens to this registry"},
			{"follow", "boolean", "false ends the answer once what has happened is told"},
			{"format", "string", "ndjson for lines of JSON"},
		},
		problems: []string{"bad_request", "cross_origin", "too_many_streams"},
	},
}}

// A stream is one reader of events.
type stream struct {
	from   Events // nil: there are none
	topics []string
	only   string // a registry's name, or empty
	seq    uint64
	resume bool // the reader named seq
	follow bool
	lines  bool // JSON instead of an event stream
	counts *StreamCounts

	out     *http.ResponseController
	w       http.ResponseWriter
	changes uint64 // of the verdict that was sent last
	pulls   uint64 // the change of pulls that was sent last
}

// events streams what happens until the reader leaves, or is too slow. It is refused to
// pages of other sites: they could not read it, and would take the readers' places.
func (h *handler) events(w http.ResponseWriter, r *http.Request) {
	if IsForeign(r) {
		crossOrigin(w, r)
		return
	}
	s, err := newStream(h.Sources.Events, w, r)
	if err != nil {
		problem(w, r, http.StatusBadRequest, "bad_request", err.Error())
		return
	}
	if !h.hub.join() {
		w.Header().Set("Retry-After", "5")
		problem(w, r, http.StatusServiceUnavailable, "too_many_streams", fmt.Sprintf("there are %d readers already", maxStreams))
		return
	}
	defer h.hub.leave()
	s.counts = h.hub.counts
	s.header()
	if r.Method != http.MethodHead {
		s.run(r.Context(), h.hub)
	}
}

// newStream reads what a request asks for. Last-Event-ID is what a browser sends that
// comes back, so it is newer than the address.
func newStream(from Events, w http.ResponseWriter, r *http.Request) (*stream, error) {
	q := r.URL.Query()
	s := &stream{from: from, topics: topics, only: q.Get("registry"), follow: true, w: w, out: http.NewResponseController(w)}
	if list := q.Get("topics"); list != "" {
		s.topics = strings.Split(list, ",")
		for _, t := range s.topics {
			if !slices.Contains(topics, t) {
				return nil, fmt.Errorf("there is no topic %q, but %s", t, strings.Join(topics, ", "))
			}
		}
	}
	since := r.Header.Get("Last-Event-ID")
	if since == "" {
		since = q.Get("since")
	}
	if since != "" {
		seq, err := strconv.ParseUint(since, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is no event's number", since)
		}
		s.seq, s.resume = seq, true
	}
	if text := q.Get("follow"); text != "" {
		follow, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("follow is true or false, and not %q", text)
		}
		s.follow = follow
	}
	s.lines = q.Get("format") == "ndjson" || strings.Contains(r.Header.Get("Accept"), linesMedia)
	return s, nil
}

// header begins the answer. The server's time-outs are for short ones.
func (s *stream) header() {
	media := "text/event-stream"
	if s.lines {
		media = linesMedia
	}
	s.w.Header().Set("Content-Type", media)
	s.w.Header().Set("X-Accel-Buffering", "no") // nginx would gather the events
	_ = s.out.SetReadDeadline(time.Time{})      // or its end would look like the reader's leaving
	s.w.WriteHeader(http.StatusOK)
}

// run sends what there is and what comes.
func (s *stream) run(ctx context.Context, b *hub) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	first := s.begin()
	for {
		// Before it is looked at what there is: what comes in between wakes again.
		now := b.news()
		batch := s.batch(first)
		s.tell(&batch, now)
		if batch.Len() > 0 && !s.flush(batch.Bytes()) {
			return
		}
		if !s.follow && (now.changes > 0 || !slices.Contains(s.topics, eventVerdict)) {
			return
		}
		first = nil
		select {
		case <-now.wake:
		case <-beat.C:
			first = s.beat()
		case <-ctx.Done():
			return
		}
	}
}

// tell adds what is new of the daemon as a whole.
func (s *stream) tell(batch *bytes.Buffer, now news) {
	if slices.Contains(s.topics, eventVerdict) && now.changes != s.changes && now.changes > 0 {
		s.changes = now.changes
		s.write(batch, eventVerdict, 0, now.verdict)
	}
	if slices.Contains(s.topics, eventPulls) && now.pulls != s.pulls {
		s.pulls = now.pulls
		s.write(batch, eventPulls, 0, PullsChanged{now.pulls})
	}
}

// begin returns the first event: where the stream begins.
func (s *stream) begin() []byte {
	var b bytes.Buffer
	if s.from == nil {
		s.write(&b, eventHello, 0, StreamStart{Schema, 0})
		return b.Bytes()
	}
	if !s.resume {
		s.seq = s.from.Last()
	}
	s.write(&b, eventHello, s.seq, StreamStart{Schema, s.seq})
	return b.Bytes()
}

// beat is what a stream says that has nothing to say.
func (s *stream) beat() []byte {
	if s.lines {
		return []byte("\n")
	}
	return []byte(":\n\n")
}

// batch is what has happened to lanes since the last one, behind what comes before it.
func (s *stream) batch(before []byte) bytes.Buffer {
	var b bytes.Buffer
	b.Write(before)
	if s.from == nil {
		return b
	}
	seq := s.seq
	events, next, lost := s.from.Since(seq)
	s.seq = next
	events = slices.DeleteFunc(events, func(e balancer.Event) bool {
		return s.only != "" && e.Registry != s.only || !slices.Contains(s.topics, string(e.Kind))
	})
	if lost && seq != 0 { // from 0 on nothing was promised
		s.counts.missed.Add(1)
		// The reader goes on from the last number that it was given. Where events
		// follow that is one of theirs: it has not seen them yet.
		id := next
		if len(events) > 0 {
			id = 0
		}
		s.write(&b, eventReset, id, StreamStart{Schema, next})
	}
	for _, e := range events {
		s.write(&b, string(e.Kind), e.Seq, e)
	}
	return b
}

// write adds one event. JSON has no line breaks in it, so it is one line of data.
func (s *stream) write(b *bytes.Buffer, event string, id uint64, data any) {
	if s.lines {
		line, err := json.Marshal(StreamEvent{event, id, data})
		if err == nil {
			b.Write(append(line, '\n'))
		}
		return
	}
	text, err := json.Marshal(data)
	if err != nil {
		return // plain values: a NaN at most, and the next event has another
	}
	if id > 0 {
		fmt.Fprintf(b, "id: %d\n", id)
	}
	fmt.Fprintf(b, "event: %s\ndata: %s\n\n", event, text)
}

// flush sends b, and reports whether the reader took it in time.
func (s *stream) flush(b []byte) bool {
	_ = s.out.SetWriteDeadline(time.Now().Add(maxWrite))
	_, err := s.w.Write(b)
	if err == nil {
		err = s.out.Flush()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.counts.missed.Add(1)
	}
	return err == nil
}
