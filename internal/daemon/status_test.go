package daemon_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/simnet"
)

// F11-F13 What a status of the server's own failing costs: the next upstream
// serves at once, and so many in a row open the breaker of that class. Those
// that Cloudflare answers for a host are held against all of it.
func TestF11_F12_F13_ServerErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status int
		code   pullchain.Code
		trip   int
		wide   bool
	}{
		{500, pullchain.CodeServerError, 5, false},
		{501, pullchain.CodeServerError, 5, false},
		{502, pullchain.CodeServerError, 3, false},
		{503, pullchain.CodeServerError, 3, false},
		{504, pullchain.CodeServerError, 3, false},
		{520, pullchain.CodeOriginDown, 3, true},
		{521, pullchain.CodeOriginDown, 2, true},
		{522, pullchain.CodeOriginDown, 2, true},
		{523, pullchain.CodeOriginDown, 2, true},
		{524, pullchain.CodeOriginDown, 3, true},
		{525, pullchain.CodeOriginDown, 2, true},
		{526, pullchain.CodeOriginDown, 2, true},
		{527, pullchain.CodeOriginDown, 3, true},
		{530, pullchain.CodeOriginDown, 3, true},
	} {
		t.Run(strconv.Itoa(tt.status), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, nil)
			p.probed("a", "b")
			fault := simnet.Fault{Status: tt.status, Body: "oops"}
			if tt.wide {
				fault = simnet.Cloudflare(tt.status, "1016")
			}
			p.a.Inject(fault)
			for i := range tt.trip {
				if b := p.breaker("a", "manifest"); b.State != "closed" {
					t.Fatalf("open after %d failures, want %d: %+v", i, tt.trip, b)
				}
				got := p.manifest()
				p.wantCode(got, "a", tt.code)
			}
			g := p.wantGate("a", "manifest", "breaker", tt.code)
			p.wantUntil(g, 30*time.Second, 30*time.Second)
			if blob := p.gate("a", "blob"); (blob.Gate != "") != tt.wide {
				t.Errorf("the gate for blobs is %q; closed should be %v", blob.Gate, tt.wide)
			}
			p.manifest()
			p.wantAsked("a", "GET", simnet.Manifests, tt.trip)
			if got := p.lane("a").LastError; got.Status != tt.status {
				t.Errorf("people are shown status %d", got.Status)
			}
		})
	}
}

// F11 Half of at least ten requests failing opens the breaker, also when never
// five in a row do.
func TestF11_HalfOfTen(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	fail := func() { // one failure of the manifest class, by a path of its own
		p.wantBytes(p.image.ManifestPath(p.image.Root.Digest.String()), p.image.Manifest())
	}
	p.a.Inject(simnet.Fault{On: simnet.Manifests, Status: 500, Match: p.image.Root.Digest.String()})
	for i := range 5 {
		if b := p.breaker("a", "manifest"); b.State != "closed" {
			t.Fatalf("open after %d of %d: %+v", i, 2*i, b)
		}
		p.manifest()
		fail()
	}
	if b := p.breaker("a", "manifest"); b.State != "open" || b.Trips != 1 {
		t.Errorf("after five failures in ten the breaker is %+v", b)
	}
	p.wantOpen("a", "blob")
}

// F11 One failure in three is not enough.
func TestF11_AThird(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	p.a.Inject(simnet.Fault{On: simnet.Manifests, Status: 500, Match: p.image.Root.Digest.String()})
	for range 6 {
		p.manifest()
		p.manifest()
		p.wantBytes(p.image.ManifestPath(p.image.Root.Digest.String()), p.image.Manifest())
	}
	if b := p.breaker("a", "manifest"); b.State != "closed" || b.Failures != 6 || b.Requests != 18 {
		t.Errorf("the breaker is %+v, want closed with 6 of 18 failed", b)
	}
}

// F12 A 503 that says when is a limit: the lane cools until then, and its
// breaker does not count it.
func TestF12_503WithRetryAfter(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	p.a.Inject(simnet.Fault{On: simnet.Manifests, Status: 503, Header: map[string]string{"Retry-After": "120"}})
	for range 4 {
		p.manifest()
	}
	p.wantAsked("a", "GET", simnet.Manifests, 1)
	p.wantUntil(p.wantGate("a", "manifest", "cooldown", pullchain.CodeServerError), 2*time.Minute, 2*time.Minute)
	if b := p.breaker("a", "manifest"); b.Failures != 0 || b.State != "closed" {
		t.Errorf("the breaker is %+v", b)
	}
	p.wantOpen("a", "blob")
}

// F11-F13 With nothing but failures the client gets 503 in JSON, with each
// path's reason, and none of the pages that the upstreams sent.
func TestF13_NothingButFailures(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	p.a.Inject(simnet.Cloudflare(522, "522"))
	p.b.Inject(simnet.Fault{Status: 500, Body: "<html>stack trace</html>", Header: map[string]string{"Content-Type": "text/html"}})
	for _, path := range []string{p.image.Path(), p.image.BlobPath(p.image.Configs[0].Digest)} {
		got := p.get(path)
		body := p.wantError(got, 503, "UNAVAILABLE")
		if n := len(body.Errors[0].Detail.Attempts); n < 2 {
			t.Errorf("the detail has %d attempts: %s", n, got.Body)
		}
		if got.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
}

// The snapshot tells who has really served, by class.
func TestSnapshotTellsWhoServed(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.a.Inject(limited())
	for range 3 {
		p.manifest()
	}
	p.blob(0)
	s := p.Daemon.Snapshot()
	want := []admin.Served{
		{Class: "manifest", Upstream: "b", Requests: 3, Minutes: 10},
		{Class: "blob", Upstream: "a", Requests: 1, Minutes: 10},
	}
	// The line of a request is written, and it counted, when its answer has gone out.
	p.eventually("all are counted", func() bool {
		s = p.Daemon.Snapshot()
		return cmp.Equal(want, s.Find("docker.io").Served)
	})
	if status, table := p.admin("/"); status != 200 || !strings.Contains(table, "docker.io, last 10 min: manifests by b 3; blobs by a 1\n") {
		t.Errorf("%d\n%s", status, table)
	}
}
