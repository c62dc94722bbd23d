package daemon_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/simnet"
)

// act posts body to an action's path, and returns the outcome or the problem's code.
func (r *rig) act(path, body string) (done admin.Outcome, status int, code string) {
	r.t.Helper()
	resp, err := r.client.Post("http://"+r.Daemon.AdminAddr()+"/api/v1/"+path, "application/json", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	var problem struct {
		Code string `json:"code"`
	}
	if err := errors.Join(json.Unmarshal(text, &done), json.Unmarshal(text, &problem)); err != nil {
		r.t.Fatalf("%s: %v", text, err)
	}
	return done, resp.StatusCode, problem.Code
}

// did fails the test unless the action is done.
func (r *rig) did(path, body string) admin.Outcome {
	r.t.Helper()
	done, status, code := r.act(path, body)
	if status != http.StatusOK {
		r.t.Fatalf("%s: %d %s", path, status, code)
	}
	return done
}

const (
	ofA  = "registries/docker.io/upstreams/a:"
	ofB  = "registries/docker.io/upstreams/b:"
	ofIt = "registries/docker.io:"
)

// A drain lets what is in flight finish and sends nothing new; enable ends it.
func TestOperatorDrains(t *testing.T) {
	t.Parallel()
	p := newBig(t, true, nil)
	p.a.Inject(simnet.Fault{On: simnet.Blobs, BytesPerSec: 4 << 20})
	path, content := p.layer()
	resp := p.open(path)
	defer resp.Body.Close()

	done := p.did(ofA+"drain", `{"ttl_s":600,"reason":"new disk"}`)
	if done.Before != "serving" || done.After != "drained" || done.InFlight != 1 || !done.Kept || done.ExpiresAt == nil {
		t.Errorf("outcome %+v", done)
	}
	if !strings.Contains(done.TOML, `name = "b"`) || strings.Contains(done.TOML, `name = "a"`) {
		t.Errorf("to make it permanent: %s", done.TOML)
	}
	if got := p.manifest(); got.servedBy() != "b" {
		t.Errorf("served by %q, want b", got.servedBy())
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(body, content) {
		t.Errorf("%d bytes of %d, %v: the drain has broken what was in flight", len(body), len(content), err)
	}
	p.wantAsked("b", "", simnet.Blobs, 0)

	list := p.Daemon.Snapshot().Overrides
	if len(list) != 1 || list[0].Kind != admin.KindDrain || list[0].Upstream != "a" || list[0].Reason != "new disk" || list[0].Actor != "loopback 127.0.0.1" {
		t.Errorf("overrides %+v", list)
	}
	if done := p.did(ofA+"enable", `{}`); done.Before != "drained" || done.After != "serving" {
		t.Errorf("outcome %+v", done)
	}
	if got := p.manifest(); got.servedBy() != "a" || len(p.Daemon.Snapshot().Overrides) != 0 {
		t.Errorf("served by %q, overrides %+v", got.servedBy(), p.Daemon.Snapshot().Overrides)
	}
	for _, say := range []string{"msg=operator action=drain actor=\"loopback 127.0.0.1\" registry=docker.io upstream=a", "ttl=10m0s reason=\"new disk\"", "before=serving after=drained", "action=enable"} {
		if !strings.Contains(p.log.String(), say) {
			t.Errorf("the log does not say %q", say)
		}
	}
}

// The last upstream that may be asked is taken only by force.
func TestOperatorWouldLeaveNone(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.did(ofA+"disable", `{}`)
	for _, verb := range []string{"drain", "disable"} {
		if _, status, code := p.act(ofB+verb, `{}`); status != http.StatusConflict || code != "would_leave_none" {
			t.Errorf("%s: %d %s", verb, status, code)
		}
	}
	if got := p.manifest(); got.servedBy() != "b" {
		t.Errorf("served by %q, want b", got.servedBy())
	}
	if done := p.did(ofB+"drain", `{"force":true}`); done.After != "drained" {
		t.Errorf("outcome %+v", done)
	}
	got := p.wantStatus(p.image.Path(), http.StatusServiceUnavailable)
	if after := got.Header.Get("Retry-After"); len(after) > 2 {
		t.Errorf("clients are told to wait for %s s, and the operator may be done before", after)
	}
	p.wantAsked("b", "", simnet.Manifests, 1)
}

// What is wrong with an action is told by a code.
func TestOperatorRefuses(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	for _, tt := range []struct {
		path, body string
		status     int
		code       string
	}{
		{"registries/ghcr.io/upstreams/a:drain", `{}`, 404, "unknown_registry"},
		{"registries/docker.io/upstreams/c:drain", `{}`, 404, "unknown_upstream"},
		{"registries/ghcr.io:unpin", `{}`, 404, "unknown_registry"},
		{ofIt + "pin", `{"upstream":"c"}`, 404, "unknown_upstream"},
		{ofIt + "reorder", `{"order":["a"]}`, 400, "bad_request"},
		{ofIt + "reorder", `{"order":["a","a"]}`, 400, "bad_request"},
		{ofIt + "reorder", `{"order":["a","b","c"]}`, 400, "bad_request"},
		{ofA + "drain", `{"ttl_s":2592001}`, 400, "bad_request"},
		{"config:reload", `{}`, 409, "no_reload"},
	} {
		if _, status, code := p.act(tt.path, tt.body); status != tt.status || code != tt.code {
			t.Errorf("%s %s: %d %s, want %d %s", tt.path, tt.body, status, code, tt.status, tt.code)
		}
	}
	if _, err := p.Daemon.Act(t.Context(), admin.Action{Kind: "explode", Registry: "docker.io", Upstream: "a"}); err == nil {
		t.Error("an action that there is not was done")
	}
	if list := p.Daemon.Snapshot().Overrides; len(list) != 0 {
		t.Errorf("overrides %+v", list)
	}
}

// Every action is an event, and what comes of it follows.
func TestOperatorIsTold(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	p.did(ofIt+"pin", `{"upstream":"b","reason":"a is slow"}`)
	p.did(ofIt+"reorder", `{"order":["b","a"]}`)
	p.did(ofA+"drain", `{}`)
	p.did(ofA+"probe", `{}`)
	var told []string
	events, _, _ := p.Daemon.Events().Since(0)
	for _, e := range events {
		switch {
		case e.Kind == balancer.KindOverride && e.Code == "admin" && e.Override.Actor == "loopback 127.0.0.1":
			told = append(told, e.Override.Action+" "+e.Upstream+" "+strings.Join(e.Override.Order, ","))
		case e.Kind == balancer.KindTransition && e.Code == "admin":
			told = append(told, e.Upstream+" is "+e.To)
		}
	}
	want := "pin b ; reorder  b,a; drain a ; a is drained; probe a "
	if got := strings.Join(told, "; "); got != want {
		t.Errorf("told: %s\nwant: %s", got, want)
	}
}

// A probe that is asked for is made at once, and not again within five seconds.
func TestOperatorProbes(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	done := p.did(ofA+"probe", `{}`)
	if len(done.Probes) != 1 || done.Probes[0].Upstream != "a" || !done.Probes[0].OK() {
		t.Errorf("outcome %+v", done)
	}
	if n := p.probes("a"); n != 2 {
		t.Errorf("a was probed %d times, want 2", n)
	}
	if _, status, code := p.act(ofA+"probe", `{}`); status != http.StatusTooManyRequests || code != "too_soon" {
		t.Errorf("again: %d %s", status, code)
	}
	if done := p.did(ofIt+"probe", `{}`); len(done.Probes) != 1 || done.Probes[0].Upstream != "b" {
		t.Errorf("of the registry: %+v", done)
	}
	if _, status, code := p.act(ofIt+"probe", `{}`); status != http.StatusTooManyRequests || code != "too_soon" {
		t.Errorf("of the registry again: %d %s", status, code)
	}
}

// A disabled upstream is not probed, not even when it is asked for.
func TestOperatorDisables(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(cfg *rigConfig) {
		cfg.Chain[0].Probe = "interval = \"1s\"\nidle_interval = \"1s\"\nurgent_interval = \"1s\""
		cfg.Chain[1].Probe = cfg.Chain[0].Probe
	})
	p.probed("a", "b")
	p.did(ofA+"disable", `{}`)
	a, b := p.probes("a"), p.probes("b")
	p.eventually("b is probed on", func() bool { return p.probes("b") > b+1 })
	if n := p.probes("a"); n > a+1 { // one may have been under way
		t.Errorf("a was probed %d times since it was disabled", n-a)
	}
	if _, status, code := p.act(ofA+"probe", `{}`); status != http.StatusConflict || code != "not_probed" {
		t.Errorf("probe: %d %s", status, code)
	}
}
