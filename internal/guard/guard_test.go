package guard_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain/internal/guard"
	"github.com/pullchain/pullchain/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// logged is a Guard and what it has logged.
func logged() (*guard.Guard, *bytes.Buffer) {
	log := new(bytes.Buffer)
	return guard.New(slog.New(slog.NewTextHandler(log, nil))), log
}

func brokenPicture() { panic("no such lane") }

// A panic is counted each time, and told with the place where it was once an hour.
func TestDo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, log := logged()
		if !g.Do(guard.Page, func() {}) || log.Len() > 0 {
			t.Errorf("what returns is told of: %s", log)
		}
		for range 100 {
			if g.Do(guard.Notify, brokenPicture) {
				t.Fatal("it returned, it says")
			}
		}
		text := log.String()
		for _, want := range []string{"level=ERROR", "part=notify", `panic="no such lane"`, "brokenPicture", "times=1 "} {
			if !strings.Contains(text, want) {
				t.Errorf("the log has no %q:\n%s", want, text)
			}
		}
		if n := strings.Count(text, "level=ERROR"); n != 1 {
			t.Errorf("it is told %d times", n)
		}
		time.Sleep(time.Hour)
		g.Do(guard.Notify, brokenPicture)
		g.Do(guard.Page, brokenPicture)
		if text := log.String(); strings.Count(text, "level=ERROR") != 3 || !strings.Contains(text, "times=101 ") {
			t.Errorf("an hour later:\n%s", text)
		}
		c := g.Counts()
		if c[guard.Notify] != 101 || c[guard.Page] != 1 || c[guard.History] != 0 || len(c) != 7 {
			t.Errorf("counts %v", c)
		}
	})
}

// A loop goes on after a panic, not at once, and ends as it wants or with ctx.
func TestLoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, _ := logged()
		runs, began := 0, time.Now()
		g.Loop(t.Context(), guard.History, func() bool {
			if runs++; runs == 2 {
				brokenPicture()
			}
			return runs < 4
		})
		if runs != 4 || time.Since(began) == 0 {
			t.Errorf("%d runs in %v", runs, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		runs = 0
		g.Loop(ctx, guard.History, func() bool { runs++; brokenPicture(); return true })
		if ctx.Err() == nil || runs < 2 || runs > 100 {
			t.Errorf("%d runs within a minute, %v", runs, ctx.Err())
		}
	})
}

func TestNote(t *testing.T) {
	t.Parallel()
	g, log := logged()
	plain := errors.New("connection refused")
	if err := guard.Try(func() error { return plain }); err != plain {
		t.Errorf("got %v", err)
	}
	g.Note(guard.Warm, plain)
	g.Note(guard.Warm, nil)
	if log.Len() > 0 {
		t.Errorf("what is no panic is told of: %s", log)
	}
	err := guard.Try(func() error { brokenPicture(); return nil })
	g.Note(guard.Warm, errors.Join(plain, fmt.Errorf("sha256:1: %w", err)))
	if g.Counts()[guard.Warm] != 1 || !strings.Contains(log.String(), "brokenPicture") || err.Error() != "panic: no such lane" {
		t.Errorf("%v, log %s", err, log)
	}
}

func TestHandler(t *testing.T) {
	t.Parallel()
	g, log := logged()
	s := httptest.NewServer(g.Handler(guard.Page, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/broken":
			brokenPicture()
		case "/ended":
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write([]byte("well"))
	})))
	defer s.Close()
	for _, path := range []string{"/ended", "/broken", "/"} {
		resp, err := s.Client().Get(s.URL + path)
		if (err == nil) != (path == "/") {
			t.Errorf("%s: %v", path, err)
		}
		if err == nil {
			resp.Body.Close()
		}
		if n := g.Counts()[guard.Page]; path == "/ended" && n != 0 || path == "/broken" && n != 1 {
			t.Errorf("%s: %d panics are counted", path, n)
		}
	}
	if strings.Count(log.String(), "level=ERROR") != 1 {
		t.Errorf("the log has %s", log)
	}
}

// Without a Guard the same is done, and nothing is said.
func TestNil(t *testing.T) {
	t.Parallel()
	var g *guard.Guard
	if g.Do(guard.Page, brokenPicture) || g.Counts()[guard.Page] != 0 {
		t.Error("it counts")
	}
}
