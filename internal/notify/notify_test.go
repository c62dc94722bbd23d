package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain/balancer"
)

// A stage is a Notifier whose world a test makes, in a bubble of time of its own.
type stage struct {
	*Notifier
	mu    sync.Mutex
	state State
	logs  bytes.Buffer
	got   []string // title of each message that was taken, with the second
	down  func() *http.Response
	born  time.Time
	tries int

	broken bool // the look at how things stand panics
}

// RoundTrip is the service.
func (s *stage) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	var d Document
	if err := json.Unmarshal(body, &d); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries++
	if s.down != nil {
		if resp := s.down(); resp != nil {
			return resp, nil
		}
		return nil, errors.New("connection refused")
	}
	s.got = append(s.got, time.Since(s.born).Round(time.Second).String()+" "+d.Title)
	return reply(200, ""), nil
}

func reply(status int, retryAfter string) *http.Response {
	h := http.Header{}
	if retryAfter != "" {
		h.Set("Retry-After", retryAfter)
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(""))}
}

// Write collects the log.
func (s *stage) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logs.Write(p)
}

// set changes how the registries stand.
func (s *stage) set(chains ...balancer.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Chains = chains
}

// breakDown has the service answer by f; nil mends it. f may return nil for no answer.
func (s *stage) breakDown(f func() *http.Response) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = f
}

func (s *stage) want(t *testing.T, titles ...string) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if got, want := strings.Join(s.got, "\n"), strings.Join(titles, "\n"); got != want {
		t.Errorf("told\n%s\nwant\n%s", got, want)
	}
}

// chainOf is a registry of one lane in a state.
func chainOf(name, state string) balancer.Snapshot {
	return balancer.Snapshot{Registry: name, Pullable: state != balancer.StateDown, Proved: true, Lanes: []balancer.LaneSnapshot{{Upstream: "hub", Order: 1, State: state}}}
}

// onStage runs play with a Notifier that is running.
func onStage(t *testing.T, hooks []Webhook, play func(*testing.T, *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{born: time.Now()}
		s.Notifier = New(Options{
			From: func() Sender { return sender },
			Log:  slog.New(slog.NewTextHandler(s, nil)),
			Look: func() State {
				s.mu.Lock()
				defer s.mu.Unlock()
				if s.broken {
					panic("no such lane")
				}
				return State{Now: time.Now(), Chains: s.state.Chains}
			},
			Wait: func(ctx context.Context) { <-ctx.Done() },
		})
		s.over = func(Webhook) http.RoundTripper { return s }
		if err := s.Configure(hooks); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { s.Run(ctx) })
		play(t, s)
		stop()
		running.Wait()
	})
}

var oneHook = []Webhook{{Config: Config{Name: "ops", Kind: "json", URL: "https://hooks.example/secret-path-1"}}}

func TestOutageAndRecovery(t *testing.T) {
	t.Parallel()
	onStage(t, oneHook, func(t *testing.T, s *stage) {
		s.set(chainOf("docker.io", balancer.StateServing))
		time.Sleep(time.Minute)
		s.want(t)
		s.set(chainOf("docker.io", balancer.StateDown))
		time.Sleep(time.Minute)
		s.want(t, "1m10s [OUTAGE] docker.io")
		s.set(chainOf("docker.io", balancer.StateServing))
		time.Sleep(time.Minute)
		s.want(t, "1m10s [OUTAGE] docker.io", "2m35s [RECOVERED] docker.io")
	})
}

// What is wrong with a look of ours ends that look, and no other.
func TestALookThatFails(t *testing.T) {
	t.Parallel()
	onStage(t, oneHook, func(t *testing.T, s *stage) {
		s.set(chainOf("docker.io", balancer.StateDown))
		s.mu.Lock()
		s.broken = true
		s.mu.Unlock()
		time.Sleep(time.Minute)
		s.want(t)
		s.mu.Lock()
		s.broken = false
		s.mu.Unlock()
		time.Sleep(time.Minute)
		s.want(t, "1m10s [OUTAGE] docker.io")
	})
}

// A reload that changes nothing, or a time, or the address, repeats nothing.
func TestReloadRepeatsNothing(t *testing.T) {
	t.Parallel()
	onStage(t, oneHook, func(t *testing.T, s *stage) {
		s.set(chainOf("docker.io", balancer.StateDown))
		time.Sleep(time.Minute)
		other := []Webhook{{Config: oneHook[0].Config}}
		for _, change := range []func(*Config){func(*Config) {}, func(c *Config) { c.OutageAfter = time.Second }, func(c *Config) { c.URL = "https://hooks.example/other-path" }} {
			change(&other[0].Config)
			if err := s.Configure(other); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		s.want(t, "5s [OUTAGE] docker.io")
		if err := s.Configure(nil); err != nil {
			t.Fatal(err)
		}
		s.set(chainOf("docker.io", balancer.StateServing))
		time.Sleep(time.Hour)
		s.want(t, "5s [OUTAGE] docker.io")
		if got := s.Snapshot(); got == nil || len(got) != 0 {
			t.Errorf("webhooks that are gone: %+v", got)
		}
	})
}

// A webhook that comes with a reload is told of what goes on.
func TestReloadAddsOne(t *testing.T) {
	t.Parallel()
	onStage(t, nil, func(t *testing.T, s *stage) {
		s.set(chainOf("docker.io", balancer.StateDown))
		time.Sleep(time.Minute)
		if err := s.Configure(oneHook); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		s.want(t, "1m5s [OUTAGE] docker.io")
	})
}

// What cannot be told is tried again, is told as it is by then, and is logged once.
func TestRetryTellsTheNewest(t *testing.T) {
	t.Parallel()
	onStage(t, oneHook, func(t *testing.T, s *stage) {
		s.breakDown(func() *http.Response { return nil })
		s.set(chainOf("docker.io", balancer.StateDown))
		time.Sleep(time.Minute)
		s.want(t)
		fares := s.Snapshot()[0]
		if fares.Queued != 1 || !strings.Contains(fares.LastError, "connection refused") || fares.LastSent != nil || fares.Name != "ops" || fares.Kind != "json" {
			t.Errorf("%+v", fares)
		}
		s.set(chainOf("docker.io", balancer.StateServing))
		time.Sleep(2 * time.Minute)
		s.breakDown(nil)
		time.Sleep(5 * time.Minute)
		s.mu.Lock()
		got, logs, tries := s.got, s.logs.String(), s.tries
		s.mu.Unlock()
		if len(got) != 1 || !strings.HasSuffix(got[0], "[RECOVERED] docker.io") || tries < 5 {
			t.Errorf("told %q by %d tries", got, tries)
		}
		if strings.Count(logs, "was not taken") != 1 || strings.Count(logs, "taken again") != 1 || strings.Contains(logs, "secret-path") {
			t.Errorf("the log:\n%s", logs)
		}
		if fares := s.Snapshot()[0]; fares.Queued != 0 || fares.LastError != "" || fares.LastSent == nil {
			t.Errorf("%+v", fares)
		}
	})
}

// A service that names a time is not asked before.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	onStage(t, oneHook, func(t *testing.T, s *stage) {
		s.breakDown(func() *http.Response { s.down = nil; return reply(429, "300") })
		s.set(chainOf("docker.io", balancer.StateDown))
		time.Sleep(5*time.Minute + 4*time.Second)
		s.want(t)
		time.Sleep(2 * time.Second)
		s.want(t, "5m5s [OUTAGE] docker.io")
	})
}

// After a quarter of an hour a message is given up, and so is one that the service
// will never take, at once. What comes later is told.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func() *http.Response{
		"no answer": func() *http.Response { return nil }, "forbidden": func() *http.Response { return reply(403, "") },
		"an hour": func() *http.Response { return reply(503, "3600") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onStage(t, oneHook, func(t *testing.T, s *stage) {
				s.breakDown(answer)
				s.set(chainOf("docker.io", balancer.StateDown))
				time.Sleep(20 * time.Minute)
				if fares := s.Snapshot()[0]; fares.Queued != 0 || fares.LastError == "" {
					t.Errorf("%+v", fares)
				}
				s.mu.Lock()
				tries := s.tries
				s.mu.Unlock()
				if once := tries == 1; once != (name != "no answer") {
					t.Errorf("%d tries", tries)
				}
				s.breakDown(nil)
				time.Sleep(time.Hour)
				s.want(t)
				s.set(chainOf("docker.io", balancer.StateServing))
				time.Sleep(time.Minute)
				s.want(t, "1h20m35s [RECOVERED] docker.io")
			})
		})
	}
}

// However much happens while nothing can be told, there is one place for each thing.
func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	h := &hook{wake: make(chan struct{}, 1)}
	for range 3 {
		for i := range 2 * maxQueued {
			h.put([]Change{{Condition: registryAt(time.Duration(i).String(), Outage)}})
		}
	}
	if len(h.queue) != maxQueued {
		t.Errorf("%d in the queue", len(h.queue))
	}
	h.put([]Change{{Condition: registryAt("511ns", OK), From: Outage}})
	if got := h.queued(); len(got) != maxQueued || got[maxQueued-1].Level != OK || got[maxQueued-1].From != OK {
		t.Errorf("the newest: %d, %+v", len(got), got[maxQueued-1])
	}
}
