package daemon_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
)

// A far clock that is wrong is shown, and changes nothing else: not even how
// long a token is taken to live.
func TestF29_ClockSkew(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{10 * time.Minute, -3 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			t.Parallel()
			n := newNet(t)
			image := n.Build(alpine)
			hub := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Images: []simnet.Image{alpine}, Direct: true})
			r := newRig(t, rigConfig{Net: n, Chain: []lane{{Name: "hub", URL: hub.URL(), Origin: true}}})
			hub.Inject(simnet.Fault{DateSkew: skew})
			hub.Auth.Inject(simnet.Fault{DateSkew: skew})
			r.wantBytes(image.Path(), image.Manifest())
			for i := range alpine.Layers {
				d, content := image.Layer(i)
				r.wantBytes(image.BlobPath(d.Digest), content)
			}
			r.wantAsked("hub-auth", "", simnet.Token, 1)
			got := time.Duration(r.lane("hub").SkewMS) * time.Millisecond
			if (got - skew).Abs() > tooLong {
				t.Errorf("the skew shown is %v, want %v", got, skew)
			}
			r.wantOpen("hub", "manifest")
		})
	}
}

// newPuller is a chain of a hub, with tokens, whose image has many layers.
func newPuller(t *testing.T, layers int) (*rig, *simnet.Hub, *simnet.Content) {
	t.Helper()
	img := simnet.Image{Repo: "library/many", Tags: []string{"1"}}
	for i := range layers {
		img.Layers = append(img.Layers, simnet.Layer{Size: 2 << 10, Seed: uint64(i)})
	}
	n := newNet(t)
	hub := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Images: []simnet.Image{img}})
	r := newRig(t, rigConfig{Net: n, Chain: []lane{{Name: "hub", URL: hub.URL(), Origin: true}}})
	r.probed("hub")
	return r, hub, n.Build(img)
}

// A token that expires in the middle of a pull is renewed once, whatever is
// under way, and no request is lost by it.
func TestF30_TokenExpiresMidPull(t *testing.T) {
	t.Parallel()
	const layers = 16
	r, hub, image := newPuller(t, layers)
	r.wantBytes(image.Path(), image.Manifest())
	r.wantAsked("hub-auth", "", simnet.Token, 1)
	hub.Auth.ExpireTokens()
	var wg sync.WaitGroup
	for i := range layers {
		wg.Go(func() {
			d, content := image.Layer(i)
			if got := r.get(image.BlobPath(d.Digest)); got.Status != http.StatusOK || string(got.Body) != string(content) {
				t.Errorf("layer %d: status %d, %d bytes, %v", i, got.Status, len(got.Body), got.Err)
			}
		})
	}
	wg.Wait()
	r.wantAsked("hub-auth", "", simnet.Token, 2)
	refused := r.net.Ledger().Count(simnet.Filter{Server: "hub", Class: simnet.Blobs, Status: http.StatusUnauthorized})
	if refused < 1 || r.asked("hub", "", simnet.Blobs) != layers+refused {
		t.Errorf("%d blob requests of which %d were refused, want one replay for each that was", r.asked("hub", "", simnet.Blobs), refused)
	}
	for _, class := range []string{"blob", "token", "manifest"} {
		if b := r.breaker("hub", class); b.Failures != 0 {
			t.Errorf("the %s breaker counts %d failures, want 0", class, b.Failures)
		}
	}
}

// A client that goes away is no upstream's fault, before the headers and after.
func TestF31_ClientAbort(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]simnet.Fault{
		"waiting for the headers": {Delay: 20 * time.Second},
		"in the body":             {BytesPerSec: 100 << 10},
		"waiting in the body":     {Cut: simnet.EndStall, CutAt: cutAt},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newBig(t, true, nil)
			p.probed("a", "b")
			fault.On = simnet.Blobs
			p.a.Inject(fault)
			path, content := p.layer()
			for range 6 { // enough to trip a breaker, if they counted
				p.leave(path, fault.Delay == 0)
			}
			p.eventually("the upstream is let go", func() bool {
				done := 0
				for _, e := range p.net.Ledger().Find(simnet.Filter{Server: "a", Class: simnet.Blobs}) {
					if e.Done && e.Bytes < int64(len(content)) {
						done++
					}
				}
				return done == 6 && p.lane("a").InFlight == 0
			})
			b := p.breaker("a", "blob")
			if b.Failures != 0 || b.Excluded != 6 || b.State != "closed" {
				t.Errorf("a's blob breaker: %d failures, %d excluded, %s; want 0, 6, closed", b.Failures, b.Excluded, b.State)
			}
			if a := p.lane("a"); a.LastError != nil || !a.Settled || a.State != "serving" {
				t.Errorf("a is %s, settled %t, last error %+v; want as if nothing had happened", a.State, a.Settled, a.LastError)
			}
			p.wantAsked("b", "", simnet.Blobs, 0)
			p.a.Clear()
			if got := p.wantBytes(path, content); got.servedBy() != "a" {
				t.Errorf("served by %q, want a", got.servedBy())
			}
		})
	}
}

// leave asks for path and goes away: with some bytes in hand, or before there
// is an answer.
func (r *rig) leave(path string, withBytes bool) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.Daemon.Addr()+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	before := r.asked("a", "", simnet.Blobs)
	if !withBytes {
		go func() {
			for r.asked("a", "", simnet.Blobs) == before {
				time.Sleep(time.Millisecond)
			}
			cancel()
		}()
		if resp, err := r.client.Do(req); err == nil {
			resp.Body.Close()
			r.t.Fatalf("status %d, want none: the client has left", resp.StatusCode)
		}
		return
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.CopyN(io.Discard, resp.Body, 1<<10); err != nil {
		r.t.Fatal(err)
	}
}

// Headers beyond 64 KiB are too much: from an upstream, and for it.
func TestF44_OversizeHeaders(t *testing.T) {
	t.Parallel()
	t.Run("from an upstream", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, nil)
		p.a.Inject(simnet.Fault{On: simnet.Manifests | simnet.Blobs, HeaderBytes: 80 << 10})
		p.wantCode(p.manifest(), "a", pullchain.CodeHeaderTooLarge)
		p.wantCode(p.blob(0), "a", pullchain.CodeHeaderTooLarge)
		for _, class := range []string{"manifest", "blob"} {
			if b := p.breaker("a", class); b.Failures != 0 {
				t.Errorf("a's %s breaker counts %d failures, want none: it is one answer", class, b.Failures)
			}
		}
	})
	t.Run("within the limit", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, nil)
		p.a.Inject(simnet.Fault{On: simnet.Manifests, HeaderBytes: 40 << 10})
		if got := p.manifest(); got.servedBy() != "a" {
			t.Errorf("served by %q, want a", got.servedBy())
		}
	})
	t.Run("from a client", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, nil)
		var many []string
		for i := range 80 {
			many = append(many, fmt.Sprintf("X-Filler-%d", i), strings.Repeat("x", 1<<10))
		}
		if got := p.get(p.image.Path(), many...); got.Status != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("status %d, want 431", got.Status)
		}
		p.wantAsked("a", "", simnet.Manifests, 0)
	})
}
