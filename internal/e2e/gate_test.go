//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/simnet"
)

// A gate stands before a blob of a CDN: it lets only the first part through until
// it is opened. What is to happen in the middle of a blob happens then, and not
// after a while that a slow machine takes too long for.
type gate struct {
	blob    blob
	part    int64
	reached *signal // a request stands before it
	opened  *signal
}

// A signal is an event that has happened or not.
type signal struct {
	once sync.Once
	done chan struct{}
}

func newSignal() *signal { return &signal{done: make(chan struct{})} }

func (s *signal) give() { s.once.Do(func() { close(s.done) }) }

// newGate puts a gate after so many bytes of the blob. It is open when the test
// ends.
func newGate(t *testing.T, cdn *simnet.CDN, part int64, b blob) *gate {
	t.Helper()
	g := &gate{blob: b, part: part, reached: newSignal(), opened: newSignal()}
	cdn.Inject(simnet.Fault{On: simnet.Blobs, Match: b.digest.Encoded(), Respond: g})
	t.Cleanup(g.open)
	return g
}

func (g *gate) open() { g.opened.give() }

// ServeHTTP answers in place of the CDN.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, &gated{
		Reader: bytes.NewReader(g.blob.bytes), gate: g, ctx: r.Context(), flush: http.NewResponseController(w).Flush,
	})
}

// gated is a blob behind a gate.
type gated struct {
	*bytes.Reader
	gate  *gate
	ctx   context.Context
	flush func() error
}

func (g *gated) Read(p []byte) (int, error) {
	at := g.Size() - int64(g.Len())
	if at < g.gate.part {
		return g.Reader.Read(p[:min(int64(len(p)), g.gate.part-at)])
	}
	if err := g.flush(); err != nil {
		return 0, err
	}
	g.gate.reached.give()
	select {
	case <-g.gate.opened.done:
		return g.Reader.Read(p)
	case <-g.ctx.Done():
		return 0, g.ctx.Err()
	}
}
