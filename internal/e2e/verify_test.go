//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/quirks"
)

// wrongBytes are registries that send wrong bytes: one that mends itself and is the only
// upstream, and one that never does and has a good one behind it.
var wrongBytes = []struct {
	name  string
	layer quirks.Layer
	site  func(matrixPlay) matrixSite
}{
	{"once", flipLarge(1), func(p matrixPlay) matrixSite { return p.alone }},
	{"always", flipLarge(1 << 30), func(p matrixPlay) matrixSite { return p.second }},
}

// TestVerifyWhole has every client of the matrix pull from registries that send wrong
// bytes. With `verify = "whole"` the client notices nothing: it asks once for each blob,
// and the first try is right. With the default, which streams, an answer may have to be
// broken off, and the second try is right, or one a moment later where the client keeps
// wrong bytes for so long.
func TestVerifyWhole(t *testing.T) {
	t.Parallel()
	program := buildDaemon(t)
	for _, p := range pullers {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			ns := newNamespace(t)
			client := p.start(t, ns)
			for _, w := range wrongBytes {
				for _, verify := range []string{"whole", "stream"} {
					t.Run(verify+"/"+w.name, func(t *testing.T) {
						// The rig writes the setting for a quirk that is Wrong.
						q := quirks.Quirk{Name: w.name, Registry: []quirks.Layer{w.layer}, Wrong: verify == "whole"}
						rig := newMatrixRig(t, program, ns, p.name, []quirks.Quirk{q})
						at := w.site(rig.plays[0])
						img := newImage(t, p.name+"-"+verify+"-"+w.name)
						pushTo(at.content, img)
						if verify == "whole" {
							wantFirstTry(t, rig, client, at, img)
						} else {
							wantSecondTry(t, rig, client, at, img)
						}
					})
				}
			}
		})
	}
}

// flipLarge changes one bit in the middle of the first answers with a large layer. What is
// small pullchain proves before it is shown, whatever the setting.
func flipLarge(times int64) quirks.Layer {
	return func(_ *quirks.Stage, next http.Handler) http.Handler {
		var left atomic.Int64
		left.Store(times)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				w = &flippingWriter{ResponseWriter: w, left: &left}
			}
			next.ServeHTTP(w, r)
		})
	}
}

// A flippingWriter flips a bit of a body that is long enough.
type flippingWriter struct {
	http.ResponseWriter
	left *atomic.Int64 // bodies that are to be spoiled
	at   int64         // how many bytes are before the one; negative is none, or past it
}

func (f *flippingWriter) WriteHeader(status int) {
	size, _ := strconv.ParseInt(f.Header().Get("Content-Length"), 10, 64)
	f.at = -1
	if size > 1<<20 && f.left.Add(-1) >= 0 {
		f.at = size / 2
	}
	f.ResponseWriter.WriteHeader(status)
}

func (f *flippingWriter) Write(p []byte) (int, error) {
	if f.at >= 0 && f.at < int64(len(p)) {
		p = append([]byte(nil), p...)
		p[f.at] ^= 1
	}
	f.at -= int64(len(p))
	return f.ResponseWriter.Write(p)
}

// wantFirstTry pulls once. It wants pullchain to have met the wrong bytes, and the client
// nothing of the kind.
func wantFirstTry(t *testing.T, m *matrixRig, p puller, at matrixSite, img *image) {
	t.Helper()
	err := tryPull(t, p, at, img)
	m.daemon.process.stop(t) // so that its access log is whole
	if err != nil {
		t.Errorf("the first try: %v\n%s", err, m.traces(at.registry))
	}
	asked := map[string]int{}
	for _, a := range m.daemon.accessLog(t) {
		if a.Status != http.StatusOK {
			t.Errorf("the client was answered %d: %s %s (%s)", a.Status, a.Method, a.Ref, a.Trace)
		}
		if a.Op == "blob" && a.Method == http.MethodGet {
			asked[a.Ref]++
		}
	}
	for _, b := range img.blobs {
		if n := asked[b.digest.String()]; n != 1 {
			t.Errorf("the client asked %d times for the blob %s, want once", n, b.digest)
		}
	}
	m.wantMismatch(t, at, img)
}

// wantSecondTry pulls, and once more if that fails: a client that tries again by itself may
// get there at once. What works has been compared, so no wrong byte was taken.
func wantSecondTry(t *testing.T, m *matrixRig, p puller, at matrixSite, img *image) {
	t.Helper()
	var err error
	tries := 0
	later(t, func() bool {
		tries++
		err = tryPull(t, p, at, img)
		return err == nil || tries == 2 && !p.collects
	})
	t.Logf("%d tries", tries)
	m.daemon.process.stop(t)
	if err != nil {
		t.Errorf("the last try: %v\n%s", err, m.traces(at.registry))
	}
	m.wantMismatch(t, at, img)
}

// wantMismatch wants pullchain to have met wrong bytes in the image's large layer: a pull
// that never met them proves nothing.
func (m *matrixRig) wantMismatch(t *testing.T, at matrixSite, img *image) {
	t.Helper()
	large := img.blobs[len(img.blobs)-1].digest.String()
	for _, a := range m.daemon.accessLog(t) {
		if a.Ref == large && strings.Contains(a.Trace, "digest_mismatch") {
			return
		}
	}
	t.Errorf("no wrong bytes were met in %s:\n%s", large, m.traces(at.registry))
}

// tryPull runs the client once.
func tryPull(t *testing.T, p puller, at matrixSite, img *image) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	start := time.Now()
	got, output, err := p.pull(ctx, at.site, img)
	t.Logf("it took %v", time.Since(start).Round(time.Millisecond))
	if err != nil {
		return fmt.Errorf("%w: %s", err, output[max(0, len(output)-1000):])
	}
	if got != p.want(img) {
		t.Errorf("it says it has pulled %s, want %s", got, p.want(img))
	}
	return nil
}
