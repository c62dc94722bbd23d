package logsink

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A paper is what a Sink writes to. It keeps each write apart.
type paper struct {
	take func(b []byte) (int, error) // nil: all of it

	mu     sync.Mutex
	writes []string
}

func (p *paper) Write(b []byte) (int, error) {
	n, err := len(b), error(nil)
	if p.take != nil {
		n, err = p.take(b)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n > 0 {
		p.writes = append(p.writes, string(b[:n]))
	}
	return n, err
}

// read returns what was written since the last read, one element a write.
func (p *paper) read() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	writes := p.writes
	p.writes = nil
	return writes
}

// open returns the log of a Sink that writes to p no more than level, message and
// attributes.
func open(p *paper) (*Sink, *slog.Logger) {
	s := New(p, func(w io.Writer) slog.Handler {
		return slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})
	})
	return s, slog.New(s.Handler())
}

func lineOf(msg string) string { return "level=INFO msg=" + msg + "\n" }

func wantWrites(t *testing.T, p *paper, when string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, p.read()); diff != "" {
		t.Errorf("%s: writes (-want +got):\n%s", when, diff)
	}
}

// A line that comes alone does not wait; of many, those of 100 ms go together.
func TestGathers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &paper{}
		s, log := open(p)
		defer s.Close()
		log.Info("a")
		wantWrites(t, p, "at once", lineOf("a"))
		log.Info("b")
		time.Sleep(60 * time.Millisecond)
		log.Info("c")
		wantWrites(t, p, "soon after")
		time.Sleep(39 * time.Millisecond)
		synctest.Wait()
		wantWrites(t, p, "99 ms after")
		time.Sleep(time.Millisecond)
		synctest.Wait()
		wantWrites(t, p, "100 ms after", lineOf("b")+lineOf("c"))
		log.Info("d")
		wantWrites(t, p, "after a write")
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		wantWrites(t, p, "when it is quiet", lineOf("d"))
		log.Info("e")
		wantWrites(t, p, "alone again", lineOf("e"))
	})
}

// 64 KiB do not wait for the time, and what matters waits for nothing: it goes
// out behind what came before it.
func TestWritesAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &paper{}
		s, log := open(p)
		defer s.Close()
		log.Info("a")
		p.read()
		long := strings.Repeat("x", 1000)
		for range 70 {
			log.Info(long)
		}
		writes := p.read()
		if len(writes) != 1 || len(writes[0]) < fullSize || len(writes[0]) > fullSize+2000 {
			t.Errorf("%d writes for 70 lines of 1 KB", len(writes))
		}
		log.With("k", "v").WithGroup("g").Warn("b", "k", "v")
		rest := strings.Repeat(lineOf(long), 70-strings.Count(strings.Join(writes, ""), "\n"))
		wantWrites(t, p, "a warning", rest+"level=WARN msg=b k=v g.k=v\n")
		log.Info("c")
		log.Error("d")
		wantWrites(t, p, "an error", lineOf("c")+"level=ERROR msg=d\n")
	})
}

// Nothing is left behind, however the process ends.
func TestEnds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		end  func(*Sink)
	}{
		{"close", (*Sink).Close},
		{"write through", (*Sink).WriteThrough},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &paper{}
				s, log := open(p)
				log.Info("a")
				log.Info("b")
				p.read()
				tt.end(s)
				wantWrites(t, p, "at the end", lineOf("b"))
				log.Info("c")
				log.Info("d")
				wantWrites(t, p, "after it", lineOf("c"), lineOf("d"))
			})
		})
	}
}

// Behind a reader that does not read one caller waits, the others go on, and what
// there is no room for is counted.
func TestStuckReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reads := make(chan struct{})
		p := &paper{take: func(b []byte) (int, error) {
			<-reads
			return len(b), nil
		}}
		s, log := open(p)
		go log.Info("first")
		synctest.Wait()
		long := strings.Repeat("x", 1000)
		log.Warn("not even this waits")
		const many = 2000
		for range many {
			log.Info(long)
		}
		close(reads)
		synctest.Wait()
		time.Sleep(time.Second)
		log.Info("last")
		s.Close()
		all := strings.Join(p.read(), "")
		kept := strings.Count(all, long)
		if kept < maxHeld/1100 || kept > maxHeld/1000 {
			t.Errorf("%d lines of 1 KB were held", kept)
		}
		want := fmt.Sprintf("%slevel=WARN msg=\"log lines were lost\" lines=%d\nlevel=WARN msg=\"not even this waits\"\n%s%s",
			lineOf("first"), many-kept, strings.Repeat(lineOf(long), kept), lineOf("last"))
		if diff := cmp.Diff(want, all); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
}

// An end does not wait for ever, even if the reader does.
func TestCloseGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reads := make(chan struct{})
		s, log := open(&paper{take: func(b []byte) (int, error) {
			<-reads
			return len(b), nil
		}})
		go log.Info("a")
		synctest.Wait()
		start := time.Now()
		s.Close()
		if took := time.Since(start); took != closeGrace {
			t.Errorf("it took %s", took)
		}
		close(reads)
	})
}

// A disk that is full for a while costs lines, and the log says how many. The next
// one begins on a line of its own.
func TestFailingWriter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		room := len(lineOf("a")) + 4
		p := &paper{take: func(b []byte) (int, error) {
			n := min(len(b), room)
			room -= n
			if n < len(b) {
				return n, errors.New("no space left on device")
			}
			return n, nil
		}}
		s, log := open(p)
		defer s.Close()
		log.Info("a")
		log.Info("b")
		time.Sleep(time.Second)
		log.Info("c")
		log.Error("d")
		wantWrites(t, p, "full", lineOf("a"), "leve")
		room = 1 << 20
		log.Error("e")
		wantWrites(t, p, "with room", "\nlevel=WARN msg=\"log lines were lost\" lines=3\n", "level=ERROR msg=e\n")
		time.Sleep(time.Second)
		log.Info("f")
		wantWrites(t, p, "later", lineOf("f"))
	})
}

// Every line comes once, and those of one goroutine in their order. No
// goroutine that writes a line is kept writing those of others.
func TestConcurrentLines(t *testing.T) {
	t.Parallel()
	for _, through := range []bool{false, true} {
		t.Run(fmt.Sprintf("through=%t", through), func(t *testing.T) {
			t.Parallel()
			p := &paper{}
			s, log := open(p)
			if through {
				s.WriteThrough()
			}
			const writers, each = 8, 500
			var all sync.WaitGroup
			for w := range writers {
				all.Go(func() {
					for i := range each {
						level := slog.LevelInfo
						if i%100 == 99 {
							level = slog.LevelWarn
						}
						log.Log(t.Context(), level, "line", "writer", w, "i", i)
					}
				})
			}
			all.Wait()
			s.Close()
			var next [writers]int
			for line := range strings.Lines(strings.Join(p.read(), "")) {
				var level string
				var w, i int
				if _, err := fmt.Sscanf(line, "level=%s msg=line writer=%d i=%d\n", &level, &w, &i); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				if i != next[w] {
					t.Fatalf("line %d of writer %d, want %d", i, w, next[w])
				}
				next[w]++
			}
			if next != [writers]int{each, each, each, each, each, each, each, each} {
				t.Errorf("lines of each writer: %v", next)
			}
		})
	}
}

// The goroutine that writes a line has a client to attend to: what others add
// meanwhile is written behind its back.
func TestWriterIsReleased(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log *slog.Logger
		writes := make(chan struct{})
		p := &paper{take: func(b []byte) (int, error) {
			<-writes
			return len(b), nil
		}}
		s, log := open(p)
		s.WriteThrough()
		released := make(chan struct{})
		go func() {
			log.Info("a")
			close(released)
		}()
		synctest.Wait()
		log.Info("b")
		writes <- struct{}{} // a
		synctest.Wait()
		select {
		case <-released:
		default:
			t.Error("the goroutine that wrote a has to write b too")
		}
		writes <- struct{}{} // b
		synctest.Wait()
		wantWrites(t, p, "both", lineOf("a"), lineOf("b"))
	})
}
