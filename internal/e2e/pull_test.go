//go:build e2e

package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestPull pulls with every client in every scenario, each with an image of
// its own, and compares what arrived with the origin.
func TestPull(t *testing.T) {
	t.Parallel()
	program := buildDaemon(t)
	origin := startOrigin(t)
	images := map[string]*image{}
	for _, s := range scenarios {
		images[s.name] = newImage(t, s.name)
		origin.push(t, images[s.name])
	}
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ns := newNamespace(t)
			client := c.start(t, ns)
			t.Run("shut-in", func(t *testing.T) { wantShutIn(t, ns, client, origin, images["ok"]) })
			// One after another: they share the client and the mirror's address.
			for _, s := range scenarios {
				t.Run(s.name, func(t *testing.T) { pullIn(t, s, client, program, ns, origin, images[s.name]) })
			}
		})
	}
}

// pullIn pulls once in one state of the internet, through a pullchain of its
// own.
func pullIn(t *testing.T, s scenario, c client, program string, ns *namespace, o *origin, img *image) {
	chain, check := s.build(t, newWorld(t, o, img))
	d := startDaemon(t, program, ns, daemonSetup{chain: chain})
	if s.down {
		wantActionableError(t, c, img)
	} else {
		d.ready(t)
		output := wantPull(t, c, o, img)
		// crane is the one that shows the Warning header to people.
		if c.Name() == "crane" && !strings.Contains(output, s.warning) {
			t.Errorf("crane does not warn of %q:\n%s", s.warning, output)
		}
	}
	check(t)
	d.end(t) // so that its access log is whole
	if !s.down {
		wantUnnoticed(t, d, c, img)
	}
}

// wantUnnoticed looks into pullchain's access log: every request of the client
// was answered with all that it asked for, and no blob was asked for twice.
// Clients resume and retry by themselves; a pull that needed that would pass
// as well, but not unnoticed.
func wantUnnoticed(t *testing.T, d *daemon, c client, img *image) {
	t.Helper()
	blobs := map[string]int{}
	for _, a := range d.accessLog(t) {
		if a.Status != http.StatusOK {
			t.Errorf("%s was answered %d: %s %s (%s)", c.Name(), a.Status, a.Method, a.Ref, a.Trace)
		}
		if a.Op == "blob" {
			blobs[a.Ref]++
		}
	}
	for _, b := range img.blobs {
		if n := blobs[b.digest.String()]; n != 1 {
			t.Errorf("%s asked %d times for the blob %s, want once", c.Name(), n, b.digest)
		}
	}
}

// wantPull pulls and compares with the origin: the digest that the client
// reports, and the content that it keeps. It returns what the client printed.
func wantPull(t *testing.T, c client, o *origin, img *image) (output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	start := time.Now()
	got, output, err := c.Pull(ctx, img)
	t.Logf("the pull took %v", time.Since(start).Round(time.Millisecond))
	if err != nil {
		t.Fatalf("%s: %v\n%s\n%s", c.Name(), err, output, c.Log())
	}
	if want := c.Want(img); got != want {
		t.Errorf("%s got %s, the origin has %s", c.Name(), got, want)
	}
	if want := o.digest(t, img); want != img.index.digest {
		t.Errorf("the origin's tag is %s now, was %s", want, img.index.digest)
	}
	if err := c.Check(ctx, img); err != nil {
		t.Errorf("%s: %v", c.Name(), err)
	}
	return output
}

// wantActionableError pulls where nothing can be had, and compares what a
// person gets to read with testdata/errors.
func wantActionableError(t *testing.T, c client, img *image) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c.Log()
	start := time.Now()
	got, output, err := c.Pull(ctx, img)
	t.Logf("the failure took %v", time.Since(start).Round(time.Millisecond))
	if err == nil {
		t.Fatalf("%s pulled %s from nowhere:\n%s", c.Name(), got, output)
	}
	if log := c.Log(); log != "" {
		output += "--- the daemon's log ---\n" + log
	}
	compareError(t, c.Name(), output)
}
