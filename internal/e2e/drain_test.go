//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/simnet"
)

// TestDrainWithRealPulls tells a pullchain to end in the middle of six pulls of
// many layers: it serves all that they still ask for, and then ends by itself.
func TestDrainWithRealPulls(t *testing.T) {
	t.Parallel()
	program := buildDaemon(t)
	origin := startOrigin(t)
	ns := newNamespace(t)
	// More layers than any of these clients asks for at once. (ctr of containerd 1.6 asks
	// for all of them.)
	pulls := startDrained(t, ns, slices.Repeat([]int{512 << 10}, 11))
	for _, p := range pulls {
		origin.push(t, p.img)
	}
	w := newWorld(t, origin, pulls[0].img)
	opened := newSignal()
	t.Cleanup(opened.give)
	for _, p := range pulls {
		for _, b := range p.img.layers() {
			g := &gate{blob: b, part: 64 << 10, reached: p.begun, opened: opened}
			w.hub.CDN.Inject(simnet.Fault{On: simnet.Blobs, Match: b.digest.Encoded(), Respond: g})
		}
	}
	// So slow that the pulls outlast the time for load balancers as a rule: after
	// that it is their own requests alone that keep the listener open.
	w.hub.CDN.Inject(simnet.Fault{On: simnet.Blobs, BytesPerSec: 256 << 10})
	d := startDaemon(t, program, ns, daemonSetup{chain: []upstream{w.once()}, debug: true, drain: (2 * patience).String()})
	d.ready(t)

	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	ended := make(chan *drained, len(pulls))
	for _, p := range pulls {
		go func() {
			p.got, p.output, p.err = p.pull(ctx, p.img)
			ended <- p
		}()
	}
	for _, p := range pulls {
		p.awaitBegun(ctx, t, ended)
	}
	told := time.Now()
	if err := d.process.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	d.process.waitFor(t, d.draining)
	opened.give()

	for range pulls {
		p := <-ended
		t.Logf("%s ended %v after the SIGTERM", p.name, time.Since(told).Round(time.Millisecond))
		p.check(ctx, t)
	}
	d.wantEnds(t)
	wantServed(t, d, pulls, told)
}

// drained is a pull in the middle of which its pullchain is told to end. The pull
// asks nothing of the mirror once it has its image.
type drained struct {
	name   string
	img    *image
	begun  *signal // one of its layers is on its way
	pull   func(ctx context.Context, img *image) (digest.Digest, string, error)
	want   digest.Digest
	stored func(ctx context.Context, img *image) error

	got    digest.Digest
	output string
	err    error
}

// startDrained starts a client for each pull, with an image of its own.
func startDrained(t *testing.T, ns *namespace, sizes []int) []*drained {
	t.Helper()
	var pulls []*drained
	add := func(name string) *drained {
		p := &drained{name: name, img: newImageOf(t, "drain-"+name, sizes), begun: newSignal()}
		p.want = p.img.index.digest
		pulls = append(pulls, p)
		return p
	}
	for name, start := range map[string]func(*testing.T, *namespace) client{
		"skopeo": startSkopeo, "podman": startPodman, "containerd-2": startContainerd2,
	} {
		c, p := start(t, ns), add(name)
		p.pull, p.stored, p.want = c.Pull, c.Check, c.Want(p.img)
	}
	dir := tempDir(t)
	toLayout := func(name string, args func(img *image, dir string) []string) {
		p, program := add(name), builtProgram(t, name)
		to := filepath.Join(dir, name)
		p.pull = func(ctx context.Context, img *image) (digest.Digest, string, error) {
			output, err := run(ns.command(ctx, clientEnv(dir), program, args(img, to)...))
			if err != nil {
				return "", output, err
			}
			got, err := layoutRoot(to, img.tag)
			return got, output, err
		}
		p.stored = func(_ context.Context, img *image) error { return layout(to, img) }
	}
	toLayout("crane", func(img *image, to string) []string {
		return []string{"pull", "--insecure", "--format", "oci", ns.mirror() + "/" + img.name(), to}
	})
	toLayout("regctl", func(img *image, to string) []string {
		return []string{"--host", "reg=" + ns.mirror() + ",tls=disabled", "image", "copy", ns.mirror() + "/" + img.name(), "ocidir://" + to + ":" + img.tag}
	})
	toLayout("oras", func(img *image, to string) []string {
		return []string{"cp", "--no-tty", "--from-plain-http", ns.mirror() + "/" + img.name(), "--to-oci-layout", to + ":" + img.tag}
	})
	return pulls
}

// layoutRoot is the digest of what has the tag in an OCI layout, or of the only thing
// that is in it: crane writes no tags, and oras lists each manifest of an index too.
func layoutRoot(dir, tag string) (digest.Digest, error) {
	text, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		return "", err
	}
	var index struct {
		Manifests []struct {
			Digest      digest.Digest
			Annotations map[string]string
		}
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return "", err
	}
	for _, m := range index.Manifests {
		if len(index.Manifests) == 1 || m.Annotations["org.opencontainers.image.ref.name"] == tag {
			return m.Digest, nil
		}
	}
	return "", fmt.Errorf("the layout has no %s: %s", tag, text)
}

// layers are the layers of this machine's platform.
func (img *image) layers() []blob { return img.blobs[1:] }

// awaitBegun waits until a layer of the pull is on its way. No pull ends before
// the gate is open.
func (p *drained) awaitBegun(ctx context.Context, t *testing.T, ended <-chan *drained) {
	t.Helper()
	select {
	case <-p.begun.done:
	case early := <-ended:
		t.Fatalf("%s ended before all had begun: %s, %v\n%s", early.name, early.got, early.err, early.output)
	case <-ctx.Done():
		t.Fatalf("%s has asked for no layer", p.name)
	}
}

// check wants the pull to have ended well.
func (p *drained) check(ctx context.Context, t *testing.T) {
	t.Helper()
	if p.err != nil {
		t.Errorf("%s: %v\n%s", p.name, p.err, p.output)
		return
	}
	if p.got != p.want {
		t.Errorf("%s got %s, want %s", p.name, p.got, p.want)
	}
	if err := p.stored(ctx, p.img); err != nil {
		t.Errorf("%s: %v", p.name, err)
	}
}

// draining is a readiness check: the daemon says that it is about to end.
func (d *daemon) draining(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.admin+"/-/readyz", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusServiceUnavailable || string(body) != "draining\n" {
		return fmt.Errorf("readyz answers %s: %s", res.Status, body)
	}
	return nil
}

// wantEnds wants the daemon, which has been told, to end with status 0.
func (d *daemon) wantEnds(t *testing.T) {
	t.Helper()
	select {
	case <-d.process.done:
	case <-time.After(patience):
		t.Fatal("pullchain has not ended, though nothing is under way")
	}
	if state := d.process.cmd.ProcessState; !state.Success() {
		t.Errorf("pullchain ended with %v", state)
	}
}

// wantServed wants every request to have been answered in full, each blob once,
// and some of each pull after the daemon was told to end.
func wantServed(t *testing.T, d *daemon, pulls []*drained, told time.Time) {
	t.Helper()
	var late int
	var last time.Time
	asked, lateOf := map[string]int{}, map[string]int{}
	for _, a := range d.accessLog(t) {
		if a.Status != http.StatusOK {
			t.Errorf("answered %d: %s %s (%s)", a.Status, a.Method, a.Ref, a.Trace)
		}
		asked[a.Ref]++
		if begun := a.begun(); begun.After(told) {
			late++
			lateOf[a.Ref]++
			if begun.After(last) {
				last = begun
			}
		}
	}
	for _, p := range pulls {
		after := 0
		for _, b := range p.img.blobs {
			if n := asked[b.digest.String()]; n != 1 {
				t.Errorf("%s asked %d times for %s, want once", p.name, n, b.digest)
			}
			after += lateOf[b.digest.String()]
		}
		t.Logf("%s asked for %d of %d blobs after the SIGTERM", p.name, after, len(p.img.blobs))
		if after == 0 {
			t.Errorf("%s asked for nothing after the SIGTERM: that it was served proves nothing", p.name)
		}
	}
	t.Logf("%d requests came after the SIGTERM and were served, the last %v after it", late, last.Sub(told).Round(time.Millisecond))
}
