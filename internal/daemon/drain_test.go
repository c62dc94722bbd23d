package daemon_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/simnet"
)

// admin asks the operator's plane and returns status and body; status 0 is no
// answer.
func (r *rig) admin(path string) (int, string) {
	r.t.Helper()
	resp, err := r.client.Get("http://" + r.Daemon.AdminAddr() + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// wantDraining fails the test unless the daemon, told to stop, says so to load
// balancers and counts as alive.
func (r *rig) wantDraining() {
	r.t.Helper()
	r.eventually("readyz says no", func() bool {
		status, body := r.admin("/-/readyz")
		return status == http.StatusServiceUnavailable && body == "draining\n"
	})
	if status, _ := r.admin("/-/healthz"); status != http.StatusOK {
		r.t.Errorf("healthz is %d while draining, want 200", status)
	}
}

// wantClosed fails the test unless the daemon takes no new connections.
func (r *rig) wantClosed() {
	r.t.Helper()
	r.eventually("no new connections", func() bool {
		c, err := net.Dial("tcp", r.Daemon.Addr())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

// A daemon that is told to stop finishes what it has begun, and serves what comes
// meanwhile or refuses it, as it is told.
func TestF36_DrainFinishes(t *testing.T) {
	t.Parallel()
	t.Run("serve", func(t *testing.T) {
		t.Parallel()
		drainFinishes(t, true)
	})
	t.Run("refuse", func(t *testing.T) {
		t.Parallel()
		drainFinishes(t, false)
	})
}

func drainFinishes(t *testing.T, serving bool) {
	p := newBig(t, true, func(c *rigConfig) { c.Drain, c.Serving = "60s", serving })
	p.a.Inject(simnet.Fault{On: simnet.Blobs, BytesPerSec: 512 << 10}) // four seconds
	if status, body := p.admin("/-/readyz"); status != http.StatusOK {
		t.Fatalf("readyz is %d %q before anything, want 200", status, body)
	}
	path, content := p.layer()
	resp := p.open(path)
	defer resp.Body.Close()
	p.stop()
	p.wantDraining()
	if serving {
		p.manifest()
		p.wantStatus("/v2/", http.StatusOK)
	} else {
		p.wantClosed()
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != string(content) {
		t.Errorf("%d bytes of %d, %v: the answer under way was not finished", len(body), len(content), err)
	}
	select {
	case <-p.ended:
	case <-time.After(tooLong):
		t.Error("the daemon has not ended")
	}
}

// What does not finish in time is cut so that the client sees it is not whole,
// and goes on elsewhere with one reconnect, at the byte where it was.
func TestF36_DrainCuts(t *testing.T) {
	t.Parallel()
	p := newBig(t, true, nil)
	undo := p.a.Inject(simnet.Fault{On: simnet.Blobs, BytesPerSec: 50 << 10})
	path, content := p.layer()
	resp := p.open(path)
	defer resp.Body.Close()
	stopped := time.Now()
	p.stop()
	body, err := io.ReadAll(resp.Body)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("the body ended with %v after %d bytes, want an unexpected end in order", err, len(body))
	}
	if took := time.Since(stopped); took < 800*time.Millisecond || took > tooLong {
		t.Errorf("cut after %v, want the drain_timeout of a second", took)
	}
	if len(body) == 0 || string(body) != string(content[:len(body)]) {
		t.Fatalf("the %d bytes before the cut are not the layer's", len(body))
	}
	select {
	case <-p.ended:
	case <-time.After(tooLong):
		t.Error("the daemon has not ended")
	}
	undo()

	next := newRig(t, rigConfig{Net: p.net, Chain: []lane{{Name: "a", URL: p.a.URL()}}})
	rest := next.get(path, "Range", "bytes="+strconv.Itoa(len(body))+"-")
	if rest.Status != http.StatusPartialContent || string(body)+string(rest.Body) != string(content) {
		t.Errorf("the rest: status %d, %d bytes after %d of %d", rest.Status, len(rest.Body), len(body), len(content))
	}
}

// Images are many requests: pulls that have begun with their first layers come back
// for the others, each on a connection of its own, and none fails.
func TestF36_PullsOfManyLayersLiveThroughADrain(t *testing.T) {
	t.Parallel()
	const pulls, layers, before = 6, 11, 2
	many := simnet.Image{Repo: "library/many", Tags: []string{"1"}}
	for i := range layers {
		many.Layers = append(many.Layers, simnet.Layer{Size: 40 << 10, Seed: uint64(100 + i)})
	}
	p := newPair(t, func(c *rigConfig) { c.Drain, c.Serving = "60s", true })
	image := p.a.Push(many)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

	var begun, pulling sync.WaitGroup
	stopped := make(chan struct{})
	begun.Add(pulls)
	for range pulls {
		pulling.Go(func() {
			fetch := func(path string, want []byte) {
				resp, err := client.Get("http://" + p.Daemon.Addr() + path)
				if err != nil {
					t.Errorf("GET %s: %v", path, err)
					return
				}
				defer resp.Body.Close()
				if body, err := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || err != nil || !bytes.Equal(body, want) {
					t.Errorf("GET %s: status %d, %d bytes of %d, %v", path, resp.StatusCode, len(body), len(want), err)
				}
			}
			fetch(image.Path(), image.Manifest())
			for i := range layers {
				if i == before {
					begun.Done()
					<-stopped
				}
				d, content := image.Layer(i)
				fetch(image.BlobPath(d.Digest), content)
			}
		})
	}
	begun.Wait()
	p.stop()
	p.eventually("it drains", func() bool { return p.Daemon.Snapshot().Draining })
	close(stopped)
	pulling.Wait()
	<-p.ended
	p.wantClosed()
}

// What keeps asking does not keep a daemon from ending: its time is up all the same.
func TestF36_DrainThatServesEnds(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *rigConfig) { c.Serving = true }) // and one second to drain
	p.stop()
	for asking := true; asking; {
		resp, err := p.client.Get("http://" + p.Daemon.Addr() + p.image.Path())
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		asking = err == nil
	}
	<-p.ended
	if p.err != nil {
		t.Errorf("it ended with %v", p.err)
	}
}
