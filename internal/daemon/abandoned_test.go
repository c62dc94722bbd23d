package daemon_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// F49 Clients begin downloads that trickle, and hang up: what they leave holds neither
// the connections of the one upstream, nor files; the next pull is answered.
func TestF49_AbandonedDownloadsMakeWay(t *testing.T) {
	t.Parallel()
	const connections, clients = 6, 24
	k := newPair(t, func(c *rigConfig) {
		c.Cache = cacheIn(t.TempDir())
		c.Chain = c.Chain[:1]
		c.Chain[0].Keys = fmt.Sprintf("max_connections = %d", connections)
	})
	var layers []simnet.Layer
	for i := range clients {
		layers = append(layers, simnet.Layer{Size: 300 << 10, Seed: uint64(1000 + i)})
	}
	trickles := k.a.Push(simnet.Image{Repo: "library/trickles", Tags: []string{"1"}, Layers: layers})
	k.a.Inject(simnet.Fault{On: simnet.Blobs, Match: "library/trickles", BytesPerSec: 1})
	k.manifestOf(trickles)

	ctx, hangUp := context.WithCancel(t.Context())
	gone := make(chan struct{}, clients)
	for i := range clients {
		d, _ := trickles.Layer(i)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+k.Daemon.Addr()+trickles.BlobPath(d.Digest), nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if resp, err := k.client.Do(req); err == nil {
				<-ctx.Done()
				resp.Body.Close()
			}
			gone <- struct{}{}
		}()
	}
	k.eventually("all connections are busy, and requests wait", func() bool {
		l := k.lane("a")
		return l.Queued > 0 && l.InFlight-l.Queued == connections && l.Connections == connections
	})
	hangUp()
	for range clients {
		<-gone
	}
	healthy := k.a.Push(simnet.Image{Repo: "library/healthy", Tags: []string{"1"}, Layers: []simnet.Layer{{Size: 300 << 10, Seed: 7}}})
	k.manifestOf(healthy)
	k.blobOf(healthy)
	k.eventually("what was abandoned has ended", func() bool { return k.Daemon.Snapshot().Cache.Fills.Active == 0 })
	if n := k.breaker("a", "blob").Failures; n != 0 {
		t.Errorf("%d failures are held against the upstream", n)
	}
}
