package daemon_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
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
// balancers, takes no new connections and counts as alive.
func (r *rig) wantDraining() {
	r.t.Helper()
	r.eventually("readyz says no", func() bool {
		status, body := r.admin("/-/readyz")
		return status == http.StatusServiceUnavailable && body == "draining\n"
	})
	if status, _ := r.admin("/-/healthz"); status != http.StatusOK {
		r.t.Errorf("healthz is %d while draining, want 200", status)
	}
	r.eventually("no new connections", func() bool {
		c, err := net.Dial("tcp", r.Daemon.Addr())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

// A daemon that is told to stop finishes what it has begun.
func TestF36_DrainFinishes(t *testing.T) {
	t.Parallel()
	p := newBig(t, true, func(c *rigConfig) { c.Drain = "60s" })
	p.a.Inject(simnet.Fault{On: simnet.Blobs, BytesPerSec: 512 << 10}) // four seconds
	if status, body := p.admin("/-/readyz"); status != http.StatusOK {
		t.Fatalf("readyz is %d %q before anything, want 200", status, body)
	}
	path, content := p.layer()
	resp := p.open(path)
	defer resp.Body.Close()
	p.stop()
	p.wantDraining()
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
