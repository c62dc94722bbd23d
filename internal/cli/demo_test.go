package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
)

// TestDemo plays the story once, fast. What it tells is read from what happened,
// so the lines that are looked for are those of a chain that works.
func TestDemo(t *testing.T) {
	t.Parallel()
	got := run(t.Context(), []string{"demo", "--once", "--speed", "20"})
	if got.code != 0 || got.errors != "" {
		t.Fatalf("exit code %d:\n%s\n%s", got.code, got.out, got.errors)
	}
	acts := strings.Split(got.out, "\n== ")
	if len(acts) != 7 {
		t.Fatalf("%d acts:\n%s", len(acts)-1, got.out)
	}
	for i, want := range [][]string{
		{`pullchain status --watch --addr 127\.0\.0\.1:\d+`},
		{`pull library/postgres:17: ok, 4\.0 MiB in \d+ ms; all of it from docker-hub`, `Docker Hub has 17 of 20 pulls left`},
		{`manifest from cf-worker, the rest from docker-hub`, `docker-hub is 429 \(pull quota spent\)`, `now cooling: docker-hub`},
		{`in the middle of a layer: docker-hub cuts answers short \(truncated\); from byte 16\d{5} on it came from cf-worker`},
		{`manifest from mirror, the rest from docker-hub`, `cf-worker refuses connections`},
		{`an answer could not be used \(.*EOF\); asked again, and second-mirror had it right`, `mirror sent wrong bytes \(digest_mismatch\)`, `pull library/alpine:3\.20: ok, .*; all of it from mirror\n`},
		{`docker-hub can be asked again`, `cf-worker can be asked again`, `12 pulls came through and 0 did not\. Docker Hub said 429 to [1-9]`},
	} {
		for _, w := range want {
			if !regexp.MustCompile(w).MatchString(acts[i]) {
				t.Errorf("act %d does not tell %q:\n%s", i, w, acts[i])
			}
		}
	}
}

// A second program sees the daemon of the demo, and Ctrl-C ends both.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	var addr string
	got := runUntil(t, "pull library/alpine:3.20: ok", func(out string) {
		addr = word(out, "--addr ")
		if status := run(t.Context(), []string{"status", "--addr", addr}); status.code != 0 || !strings.Contains(status.out, "second-mirror") {
			t.Errorf("exit code %d:\n%s%s", status.code, status.out, status.errors)
		}
	}, []string{"demo"})
	if got.code != 0 || !strings.HasSuffix(got.out, "Stopped.\n") || got.errors != "" {
		t.Errorf("exit code %d:\n%s%s", got.code, got.out, got.errors)
	}
	if status := run(t.Context(), []string{"status", "--addr", addr}); status.code != 4 {
		t.Errorf("the daemon of the demo is still there: exit code %d", status.code)
	}
}

// demoRig is a demo that stays, at the end of its story.
type demoRig struct {
	t     *testing.T
	admin string
}

// ask asks the operator's plane, by a POST if there is a body, and decodes the answer.
func (d demoRig) ask(path, body string, out any) {
	d.t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(d.t.Context(), method, "http://"+d.admin+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil || resp.StatusCode != http.StatusOK {
		d.t.Fatalf("%s %s: %d, %v", path, body, resp.StatusCode, err)
	}
}

// throw throws a switch, and returns the fault that is on then.
func (d demoRig) throw(upstream, fault string) string {
	d.t.Helper()
	var now admin.DemoSwitches
	d.ask("/api/v1/demo:throw", fmt.Sprintf(`{"upstream":%q,"fault":%q}`, upstream, fault), &now)
	for _, s := range now.Switches {
		if s.Upstream == upstream {
			return s.Fault
		}
	}
	d.t.Fatalf("no switch for %s", upstream)
	return ""
}

// eventually polls the snapshot, while pulls go on.
func (d demoRig) eventually(what string, ok func(balancer.Snapshot) bool) {
	d.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var s admin.Snapshot
		d.ask("/api/v1/snapshot", "", &s)
		if ok(s.Registries[0].Snapshot) {
			return
		}
		if time.Now().After(end) {
			d.t.Fatalf("not within a minute: %s: %+v", what, s.Registries[0].Snapshot)
		}
	}
}

// What is thrown from the page happens, shows, and is over when it is taken back.
func TestDemoSwitches(t *testing.T) {
	t.Parallel()
	got := runUntil(t, "The story is over", func(out string) {
		d := demoRig{t, word(out, "--addr ")}
		if dashboard := word(out, "The dashboard:"); dashboard != "http://"+d.admin+"/" {
			t.Errorf("the dashboard is said to be at %q", dashboard)
		}
		var at admin.DemoSwitches
		d.ask("/api/v1/demo", "", &at)
		if len(at.Switches) != 4 || at.Switches[0].Upstream != "docker-hub" || at.Switches[0].Fault != admin.NoFault {
			t.Fatalf("%+v", at)
		}
		for _, tt := range []struct {
			fault string
			codes []pullchain.Code
		}{
			{"quota", []pullchain.Code{pullchain.CodeQuota, pullchain.CodeThrottle}}, {"error", []pullchain.Code{pullchain.CodeServerError}},
			{"stall", []pullchain.Code{pullchain.CodeStall}}, {"refuse", []pullchain.Code{pullchain.CodeConnRefused}},
			{"corrupt", []pullchain.Code{pullchain.CodeDigestMismatch}},
		} {
			// The one that serves: an upstream that was in trouble is not asked first again at once.
			var serving string
			var before uint64
			d.eventually("one serves", func(s balancer.Snapshot) bool {
				before = s.FailoversTotal
				i := slices.IndexFunc(s.Lanes, func(l balancer.LaneSnapshot) bool { return l.First })
				if i >= 0 {
					serving = s.Lanes[i].Upstream
				}
				return i >= 0
			})
			thrown := time.Now()
			if on := d.throw(serving, tt.fault); on != tt.fault {
				t.Errorf("the fault is %q, want %q", on, tt.fault)
			}
			d.eventually(tt.fault+" at "+serving, func(s balancer.Snapshot) bool {
				for _, f := range s.Failovers[:min(uint64(len(s.Failovers)), s.FailoversTotal-before)] {
					if f.From == serving && slices.Contains(tt.codes, f.Code) {
						return true
					}
				}
				return slices.ContainsFunc(s.Lanes, func(l balancer.LaneSnapshot) bool {
					if tt.fault == "quota" && l.Upstream == serving && l.Quota != nil && l.Quota.Remaining == 0 {
						return true // it is known to be spent, and no manifest is asked of it
					}
					return l.Upstream == serving && (slices.Contains(tt.codes, l.Code) || l.LastError != nil && l.LastError.At.After(thrown) && slices.Contains(tt.codes, l.LastError.Code))
				})
			})
			if on := d.throw(serving, admin.NoFault); on != admin.NoFault {
				t.Errorf("the fault is still %q", on)
			}
		}
		for _, s := range at.Switches {
			for _, f := range s.Faults {
				if on := d.throw(s.Upstream, f); on != f {
					t.Errorf("%s: the fault is %q, want %q", s.Upstream, on, f)
				}
			}
			d.throw(s.Upstream, admin.NoFault)
		}
		d.eventually("all is well", func(s balancer.Snapshot) bool {
			return s.Pullable && !slices.ContainsFunc(s.Lanes, func(l balancer.LaneSnapshot) bool { return !l.Eligible })
		})
	}, []string{"demo", "--stay", "--speed", "20"})
	if got.code != 0 || !strings.HasSuffix(got.out, "Stopped.\n") || got.errors != "" {
		t.Errorf("exit code %d:\n%s%s", got.code, got.out, got.errors)
	}
}
