package warm

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain/internal/snooze"
)

// work is what a Scheduler did: the images that were pulled, and when.
type work struct {
	mu    sync.Mutex
	done  []string
	at    []time.Duration
	began time.Time
	busy  int
	held  map[string]string
	took  time.Duration
	fails map[string]bool

	broken string // at this image the program has a mistake
}

func (w *work) options(t *testing.T) Options {
	return Options{
		Hold: func(img Image) string {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.held[img.Registry]
		},
		Pull: func(ctx context.Context, _ Config, img Image) (Result, bool) {
			w.mu.Lock()
			w.busy++
			if w.busy > 1 {
				t.Error("two images at a time")
			}
			took := w.took
			w.mu.Unlock()
			snooze.For(ctx, took)
			w.mu.Lock()
			defer w.mu.Unlock()
			w.busy--
			if ctx.Err() != nil {
				return Result{}, false
			}
			if img.Repo == w.broken {
				panic("no such layer")
			}
			w.done = append(w.done, img.Repo)
			w.at = append(w.at, time.Since(w.began).Round(time.Minute))
			if w.fails[img.Repo] {
				return Result{Image: img.String(), Error: "no", Err: errors.New("no")}, true
			}
			return Result{Image: img.String(), OK: true}, true
		},
	}
}

// take returns what was pulled since it was asked last.
func (w *work) take() ([]string, []time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	done, at := w.done, w.at
	w.done, w.at = nil, nil
	return done, at
}

// schedule runs a Scheduler of configs in a bubble while play plays.
func schedule(t *testing.T, w *work, configs []Config, play func(*testing.T, *Scheduler)) {
	synctest.Test(t, func(t *testing.T) {
		w.began = time.Now()
		s := NewScheduler(w.options(t))
		s.Set(configs)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.Run(ctx)
		}()
		play(t, s)
		stop()
		<-ended
	})
}

func TestScheduler(t *testing.T) {
	t.Parallel()
	w := &work{fails: map[string]bool{"library/b": true}, took: time.Second}
	schedule(t, w, []Config{{Images: []string{"a", "b", "docker.io/library/a:latest"}, Every: time.Hour}}, func(t *testing.T, s *Scheduler) {
		if p := s.Plans(); len(p) != 1 || p[0].Last != nil || p[0].Next == nil || p[0].EveryS != 3600 || p[0].Jobs != DefaultJobs || len(p[0].Images) != 2 {
			t.Errorf("before the first run: %+v", p)
		}
		time.Sleep(firstAfter / 2)
		if done, _ := w.take(); done != nil {
			t.Errorf("at once: %q", done)
		}
		time.Sleep(2 * firstAfter)
		if done, _ := w.take(); !slices.Equal(done, []string{"library/a", "library/b"}) {
			t.Errorf("the first run: %q", done)
		}
		p := s.Plans()[0]
		if p.Last == nil || p.Last.OK || len(p.Last.Images) != 2 || !p.Last.Images[0].OK || p.Last.Images[1].Error != "no" || p.Runs != 1 || p.Running || p.Last.TookS != 2 {
			t.Errorf("after it: %+v", p)
		}
		if wait := time.Until(*p.Next); wait < 55*time.Minute || wait > 67*time.Minute {
			t.Errorf("the next is in %v", wait)
		}
		time.Sleep(24 * time.Hour)
		if done, _ := w.take(); len(done) < 2*20 || len(done) > 2*24 {
			t.Errorf("%d pulls in a day", len(done))
		}
	})
}

// An image at which the program has a mistake costs no other its turn.
func TestSchedulerGoesOn(t *testing.T) {
	t.Parallel()
	w := &work{broken: "library/a"}
	schedule(t, w, []Config{{Images: []string{"a", "b"}, Every: time.Hour}}, func(t *testing.T, s *Scheduler) {
		time.Sleep(3 * firstAfter)
		p := s.Plans()[0]
		if done, _ := w.take(); !slices.Equal(done, []string{"library/b"}) || p.Running || p.Last == nil || p.Last.OK || p.Last.Images[0].Error != "panic: no such layer" {
			t.Errorf("pulled %q; %+v", done, p.Last)
		}
		time.Sleep(2 * time.Hour)
		if done, _ := w.take(); len(done) == 0 {
			t.Error("there is no second run")
		}
	})
}

// What is held back is not fetched, and is looked at again sooner.
func TestSchedulerHoldsBack(t *testing.T) {
	t.Parallel()
	w := &work{held: map[string]string{"quay.io": HeldMetered}}
	schedule(t, w, []Config{{Images: []string{"a", "quay.io/x/y"}}}, func(t *testing.T, s *Scheduler) {
		time.Sleep(3 * time.Minute)
		p := s.Plans()[0]
		if done, _ := w.take(); len(done) != 1 || p.Last.Images[1].Skipped != HeldMetered || p.Last.Images[1].OK || !p.Last.OK {
			t.Errorf("pulled %q; %+v", done, p.Last)
		}
		if wait := time.Until(*p.Next); wait > 40*time.Minute {
			t.Errorf("looked at again in %v", wait)
		}
		w.mu.Lock()
		w.held = nil
		w.mu.Unlock()
		time.Sleep(40 * time.Minute)
		if done, _ := w.take(); !slices.Equal(done, []string{"library/a", "x/y"}) {
			t.Errorf("then: %q", done)
		}
		if wait := time.Until(*s.Plans()[0].Next); wait < 4*time.Hour {
			t.Errorf("and then in %v", wait)
		}
	})
}

func TestSchedulerRunNowAndReload(t *testing.T) {
	t.Parallel()
	w := &work{took: time.Minute}
	a, b := Config{Images: []string{"a"}}, Config{Images: []string{"b"}}
	schedule(t, w, []Config{a}, func(t *testing.T, s *Scheduler) {
		s.RunNow()
		synctest.Wait()
		if p := s.Plans()[0]; !p.Running || p.Next != nil {
			t.Errorf("asked to run: %+v", p)
		}
		s.RunNow() // while it runs: once more
		time.Sleep(150 * time.Second)
		if done, _ := w.take(); len(done) != 2 || s.Plans()[0].Runs != 2 {
			t.Errorf("pulled %q in %d runs", done, s.Plans()[0].Runs)
		}
		next := *s.Plans()[0].Next
		s.Set([]Config{b, a})
		p := s.Plans()
		if len(p) != 2 || p[1].Runs != 2 || !p[1].Next.Equal(next) || p[0].Last != nil {
			t.Errorf("after a reload: %+v", p)
		}
		time.Sleep(5 * time.Minute)
		if done, _ := w.take(); !slices.Equal(done, []string{"library/b"}) {
			t.Errorf("the new one: %q", done)
		}
		s.Set(nil)
		time.Sleep(48 * time.Hour)
		if done, _ := w.take(); done != nil || len(s.Plans()) != 0 {
			t.Errorf("without tables: %q", done)
		}
	})
}

// A daemon that stops in the middle does not wait for what it fetches ahead of need.
func TestSchedulerStops(t *testing.T) {
	t.Parallel()
	w := &work{took: 1000 * time.Hour}
	schedule(t, w, []Config{{Images: []string{"a"}}}, func(t *testing.T, s *Scheduler) {
		s.RunNow()
		synctest.Wait()
	})
	if done, _ := w.take(); done != nil {
		t.Errorf("got %q", done)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	good := Config{Images: []string{"alpine:3.20", "ghcr.io/owner/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}, Every: time.Hour, Platforms: []string{"linux/amd64", "current"}, Jobs: 2}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for want, c := range map[string]Config{
		`images: is required, as in ["alpine:3.20"]`:    {},
		`images: "A:1" is no image: `:                   {Images: []string{"A:1"}},
		"images: 1001 are more than 1000":               {Images: slices.Repeat([]string{"a"}, 1001)},
		"every: 1m0s is not between 10m0s and 720h0m0s": {Images: []string{"a"}, Every: time.Minute},
		`platforms: "linux" is no platform`:             {Images: []string{"a"}, Platforms: []string{"linux"}},
		"jobs: must be from 1 to 64":                    {Images: []string{"a"}, Jobs: 65},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", c, err, want)
		}
	}
}
