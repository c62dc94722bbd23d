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

// TestHerd has fifty clients pull one image that nobody has yet: the upstream
// is asked once for each part of it.
func TestHerd(t *testing.T) {
	reapNamespaces()
	program := buildDaemon(t)
	origin := startOrigin(t)
	ns := newNamespace(t)
	img := newImage(t, "herd")
	origin.push(t, img)
	w := newWorld(t, origin, img)
	// So that all of them wait for the first answers, however slowly they start.
	w.hub.Inject(simnet.Fault{On: simnet.Manifests, Delay: time.Second})
	w.hub.CDN.Inject(simnet.Fault{On: simnet.Blobs, Delay: 2 * time.Second})
	d := startDaemon(t, program, ns, daemonSetup{chain: []upstream{w.direct()}})
	d.ready(t)
	w.settle(t)
	w.net.Ledger().Reset()

	pullAtOnce(t, startCrane(t, ns).(*crane), img)
	d.end(t)
	w.settle(t)
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
	ctx, cancel := context.WithTimeout(t.Context(), 2*pullBudget)
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
	if results["blob coalesced"] == 0 {
		t.Error("no two clients shared a fetch, so the one fetch of each proves little")
	}
}
