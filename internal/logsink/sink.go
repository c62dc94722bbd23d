package logsink

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	// fullSize is how much is written at once: a write of 64 KiB costs about as
	// much as two of a line each. A pipe takes no more anyway (pipe(7)).
	//
	// What gathering gains (BenchmarkLine, one core): a request's line into a file
	// costs 1.05 µs where a write for each line makes it 1.50 µs, 0.70 of it; into a
	// pipe 0.99 against 1.25. Making the line is 0.86 of that. The 0.45 µs are 2 % of
	// the CPU time of a warm manifest request.
	fullSize = 64 << 10

	// maxDelay is how long a line may wait. A person does not see it in a log that scrolls by.
	maxDelay = 100 * time.Millisecond

	// maxHeld bounds what waits for a reader that does not read. Lines past it are
	// lost: pulls go on without a log rather than not at all.
	maxHeld = 1 << 20

	// closeGrace is how long [Sink.Close] waits for such a reader.
	closeGrace = 2 * time.Second
)

// A Sink gathers the lines of a log and writes them together, in their order. A
// line that comes alone is written at once, and so is everything with a record of
// [slog.LevelWarn] or above; of many, those of 100 ms or 64 KiB go together. A
// process that is killed loses what waits; one that ends in order calls
// [Sink.Close].
//
// No more than one goroutine at a time waits for the writer below. Lines that it
// does not take, or that find 1 MiB waiting, are lost, and counted in a line of
// their own as soon as it takes something again. A Sink is safe for concurrent
// use; make one with [New].
type Sink struct {
	out     io.Writer
	handler slog.Handler
	count   func(lost int) []byte // the line that says so

	mu        sync.Mutex
	held      []byte      // what waits
	spare     []byte      // for the next lines; nil while it is being written
	lost      int         // lines
	writing   bool        // a goroutine is in out.Write, the only one
	due       bool        // held is written after that, without a wait
	gathering bool        // lines wait for the timer: there was a write just now
	through   bool        // nothing waits
	timer     *time.Timer // ends gathering; nil until the first line
	written   sync.Cond   // of mu: a write is over

	torn bool // what was written last is a part of a line; of the goroutine that writes
}

// New returns a Sink that writes to out what format's handler makes of records.
func New(out io.Writer, format func(io.Writer) slog.Handler) *Sink {
	s := &Sink{out: out, count: counter(format)}
	s.handler = handler{format(lines{s}), s}
	s.written.L = &s.mu
	return s
}

// counter returns what makes the line that counts the lost ones. It must not be
// called twice at once.
func counter(format func(io.Writer) slog.Handler) func(lost int) []byte {
	var line bytes.Buffer
	h := format(&line)
	return func(lost int) []byte {
		line.Reset()
		r := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines were lost", 0)
		r.AddAttrs(slog.Int("lines", lost))
		_ = h.Handle(context.Background(), r) // into memory
		return line.Bytes()
	}
}

// Handler returns the handler whose records the Sink writes.
func (s *Sink) Handler() slog.Handler { return s.handler }

// WriteThrough writes what waits, and from now on every line at once: for a
// terminal, and for a process that is about to end.
func (s *Sink) WriteThrough() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.through = true
	s.writeLocked()
}

// Close writes what waits, and gives up on a writer that does not take it within
// two seconds. Lines after it are written at once.
func (s *Sink) Close() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.WriteThrough()
		s.mu.Lock()
		defer s.mu.Unlock()
		for s.writing || len(s.held) > 0 {
			s.written.Wait()
		}
	}()
	select {
	case <-done:
	case <-time.After(closeGrace):
	}
}

// lines is the Sink as the writer below the handler that makes the lines, which
// has to give it one at a time.
type lines struct{ s *Sink }

// Write holds a line. It does not write yet: handlers hold a lock of theirs here,
// and a goroutine that waits for a slow reader must not keep the others waiting.
func (w lines) Write(line []byte) (int, error) {
	s := w.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.held)+len(line) > maxHeld {
		s.lost++
		return len(line), nil
	}
	s.held = append(s.held, line...)
	return len(line), nil
}

// added writes what waits if it is time to, or at once.
func (s *Sink) added(atOnce bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if atOnce || s.through || !s.gathering || len(s.held) >= fullSize {
		s.writeLocked()
	}
}

// writeLocked writes what waits, or leaves it to the goroutine that is writing.
// Lines that come from now on are gathered. It unlocks mu meanwhile.
func (s *Sink) writeLocked() {
	s.due = s.writing
	if s.writing || len(s.held) == 0 {
		return
	}
	s.gatherLocked()
	out, before := s.held, s.lost
	s.held, s.spare, s.writing = s.spare[:0], nil, true
	s.mu.Unlock()
	missing := s.put(out, before)
	s.mu.Lock()
	s.lost += missing - before
	if cap(out) <= 2*fullSize { // what a jam has made larger is not kept
		s.spare = out
	}
	s.writing = false
	s.written.Broadcast()
	if s.due || s.through && len(s.held) > 0 {
		go s.added(true) // the caller has a client to attend to
	}
}

func (s *Sink) gatherLocked() {
	switch {
	case s.through:
		return
	case s.timer == nil:
		s.timer = time.AfterFunc(maxDelay, s.tick)
	default:
		s.timer.Reset(maxDelay)
	}
	s.gathering = true
}

// tick writes what was gathered, or ends the gathering if that was nothing.
func (s *Sink) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.held) == 0 {
		s.gathering = false
		return
	}
	s.writeLocked()
}

// put writes out, behind a line that counts those lost before it, and returns how
// many are missing now, of it and of those.
func (s *Sink) put(out []byte, lost int) (missing int) {
	if lost > 0 {
		line := s.count(lost)
		if s.torn {
			line = append([]byte{newline}, line...)
		}
		if rest := s.give(line); len(rest) > 0 {
			return lost + bytes.Count(out, []byte{newline})
		}
		s.torn = false
	}
	return bytes.Count(s.give(out), []byte{newline})
}

// give writes b and returns what was not taken.
func (s *Sink) give(b []byte) []byte {
	n, err := s.out.Write(b)
	if err == nil {
		return nil
	}
	n = min(max(n, 0), len(b))
	if n > 0 {
		s.torn = b[n-1] != newline
	}
	return b[n:]
}

const newline = '\n'

// A handler is what makes the lines, and then sees to it that they are written.
type handler struct {
	slog.Handler
	sink *Sink
}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	err := h.Handler.Handle(ctx, r)
	h.sink.added(r.Level >= slog.LevelWarn)
	return err
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs), h.sink}
}

func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name), h.sink}
}
