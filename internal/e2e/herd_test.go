//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/simnet"
)

// herd is how many cranes pull at once in TestHerd.
const herd = 50

// TestHerd has fifty clients pull one image that is not cached yet: the upstream
// is asked once for each part of it.
func TestHerd(t *testing.T) {
	t.Parallel()
	program := buildDaemon(t)
	origin := startOrigin(t)
	ns := newNamespace(t)
	img := newImage(t, "herd")
	origin.push(t, img)
	w := newWorld(t, origin, img)
	w.hub.Inject(simnet.Fault{On: simnet.Manifests, Delay: time.Second})
	g := newGate(t, w.hub.CDN, 1<<20, img.blobs[len(img.blobs)-1])
	d := startDaemon(t, program, ns, daemonSetup{chain: []upstream{w.once()}})
	d.ready(t)
	w.waitIdle(t)
	w.net.Ledger().Reset()

	// All of them are to share the last layer. Only the config of its platform do
	// they ask for after it.
	before := len(img.blobs) + len(img.others) - 1 /* a manifest */ - 1
	go func() {
		defer g.open()
		d.awaitCache(t, "every client to wait for the last layer", func(c cacheState) bool {
			blobs := c.Requests["blob"]
			return blobs["miss"]+blobs["hit"]+blobs["coalesced"] >= herd*before
		})
	}()
	pullAtOnce(t, startCrane(t, ns).(*crane), img)
	d.end(t)
	w.waitIdle(t)
	for _, b := range append([]blob{img.index, img.manifest}, append(img.blobs, img.others...)...) {
		server := "hub-cdn"
		if b.mediaType == typeManifest || b.mediaType == typeIndex {
			server = "hub"
		}
		if b.digest != img.index.digest { // which is got by the tag
			w.wantOnce(t, server, b)
		}
	}
	// The first try of all says 401, to send pullchain for a token.
	if n := w.net.Ledger().Count(simnet.Filter{Server: "hub", Method: http.MethodGet, Ref: img.tag, Status: http.StatusOK}); n != 1 {
		t.Errorf("the tag was got %d times, want once", n)
	}
	wantHerd(t, d, img)
}

// pullAtOnce pulls the image with as many processes as the herd has, and looks
// at what each has kept.
func pullAtOnce(t *testing.T, c *crane, img *image) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	ref := c.mirror + "/" + img.name()
	path := func(i int) string { return filepath.Join(c.dir, fmt.Sprint("herd-", i)) }
	start := time.Now()
	var wg sync.WaitGroup
	for i := range herd {
		wg.Go(func() {
			if output, err := run(c.command(ctx, "pull", "--insecure", "--format", "oci", ref, path(i))); err != nil {
				t.Errorf("crane %d: %v\n%s", i, err, output)
			}
		})
	}
	wg.Wait()
	t.Logf("%d pulls took %v", herd, time.Since(start).Round(time.Millisecond))
	if t.Failed() {
		t.FailNow()
	}
	for i := range herd {
		if err := checkBlobs(img, func(d digest.Digest) string {
			return filepath.Join(path(i), "blobs", d.Algorithm().String(), d.Encoded())
		}); err != nil {
			t.Errorf("crane %d: %v", i, err)
		}
	}
}

// wantHerd wants every request to have been answered right, and every client to
// have asked once for each blob.
func wantHerd(t *testing.T, d *daemon, img *image) {
	t.Helper()
	results, blobs := map[string]int{}, map[string]int{}
	for _, a := range d.accessLog(t) {
		if a.Status != http.StatusOK {
			t.Errorf("answered %d: %s %s (%s)", a.Status, a.Method, a.Ref, a.Trace)
		}
		results[a.Op+" "+a.Cache]++
		if a.Op == "blob" {
			blobs[a.Ref]++
		}
	}
	t.Logf("answers: %v", results)
	for _, b := range img.blobs {
		if n := blobs[b.digest.String()]; n != herd {
			t.Errorf("%d requests for the blob %s, want %d", n, b.digest, herd)
		}
	}
	if n := results["blob coalesced"]; n < herd-1 {
		t.Errorf("%d times a fetch was shared, want %d at least: that the fetches were few proves little", n, herd-1)
	}
}
