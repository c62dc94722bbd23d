//go:build e2e

package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// TestOffline pulls with every client when no upstream can be reached and
// pullchain has been restarted, what another client of its kind pulled before:
// one image by its tag and one by its digest.
func TestOffline(t *testing.T) {
	t.Parallel()
	program := buildDaemon(t)
	origin := startOrigin(t)
	tagged, named := newImage(t, "offline-tag"), newImage(t, "offline-digest")
	origin.push(t, tagged)
	origin.push(t, named)
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ns := newNamespace(t)
			w := newWorld(t, origin, tagged)
			far := w.addHub(t, "far", simnet.Quota{Limit: 100})
			second := upstream{name: "second", url: far.URL(), caFile: w.caFile, origin: true, away: true}
			// A tag that is not believed for a moment must be asked for at each pull.
			setup := daemonSetup{chain: []upstream{w.direct(), second}, cache: filepath.Join(tempDir(t), "cache"), tagTTL: "1ms"}

			d := startDaemon(t, program, ns, setup)
			d.ready(t)
			warm := c.start(t, ns)
			for _, img := range []*image{tagged, named} {
				wantPull(t, warm, origin, img)
			}
			d.end(t)

			for _, s := range []*simnet.Server{w.hub.Server, w.hub.Auth.Server, w.hub.CDN.Server} {
				s.Break(simnet.ConnRefused)
			}
			for _, s := range []*simnet.Server{far.Server, far.Auth.Server, far.CDN.Server} {
				s.Break(simnet.ConnBlackhole)
			}
			w.waitIdle(t)
			w.net.Ledger().Reset()
			d = startDaemon(t, program, ns, setup)
			fresh := c.start(t, ns)
			output := wantPull(t, fresh, origin, tagged)
			if want := "served from the cache, last confirmed"; c.name == "crane" && !strings.Contains(output, want) {
				t.Errorf("crane does not warn of %q:\n%s", want, output)
			}
			wantPull(t, fresh, origin, named.byDigest())
			d.end(t)
			w.wantNoRequests(t, "request at an upstream", simnet.Filter{})
			wantUnnoticed(t, d, fresh, tagged)
			wantUnnoticed(t, d, fresh, named)
			wantFromCache(t, d, tagged)
		})
	}
}

// wantFromCache wants every answer to have come from the cache, and the tag's
// to have been called stale: no upstream could be asked.
func wantFromCache(t *testing.T, d *daemon, img *image) {
	t.Helper()
	stale := 0
	for _, a := range d.accessLog(t) {
		switch {
		case a.Ref == img.tag && a.Cache == "stale":
			stale++
		case a.Ref == "" || a.Cache == "hit": // /v2/ names nothing
		default:
			t.Errorf("not from the cache: %s %s: cache %q (%s)", a.Method, a.Ref, a.Cache, a.Trace)
		}
	}
	if stale == 0 {
		t.Errorf("the tag %s was not served stale", img.tag)
	}
}
