package upstreams_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
	"github.com/pullchain/pullchain/upstreams"
)

// TestManyBlobsAtOnce: no pull waits until another's bytes are through. The
// server answers no request before all have come.
func TestManyBlobsAtOnce(t *testing.T) {
	t.Parallel()
	const pulls = 150
	r := newRig(t, simnet.HubConfig{Open: true})
	layer, _ := r.img.Layer(0)
	var asked atomic.Int64
	all := make(chan struct{})
	server := r.origin("patient", func(w http.ResponseWriter, req *http.Request) {
		if asked.Add(1) == pulls {
			close(all)
		}
		select {
		case <-all:
			_, _ = w.Write(r.img.Blobs[layer.Digest])
		case <-req.Context().Done():
		}
	})
	u := r.upstream(t, func(c *upstreams.Config) {
		c.URL = server.URL()
		c.Timeouts = unhurried
	})
	var wg sync.WaitGroup
	for range pulls {
		wg.Go(func() {
			_, body, err := fetch(t, u, r.blob())
			if err != nil {
				t.Error(err)
				return
			}
			sameBytes(t, body, r.img.Blobs[layer.Digest])
		})
	}
	wg.Wait()
}
