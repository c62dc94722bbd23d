//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/simnet"
)

// TestFullDisk has a cache on a disk that another process fills in the middle of
// a layer, and that then is too small for another: the pulls succeed, people
// are told, and when there is room the cache is used again (docs/faults.md F33).
func TestFullDisk(t *testing.T) {
	t.Parallel()
	program := buildDaemon(t)
	origin := startOrigin(t)
	ns := newNamespace(t)
	late, large := newImageOf(t, "late", []int{9 << 20}), newImageOf(t, "large", []int{layers[0], 24 << 20})
	origin.push(t, late)
	origin.push(t, large)
	w := newWorld(t, origin, large)
	disk := mountDisk(t, "16m")
	d := startDaemon(t, program, ns, daemonSetup{chain: []upstream{w.direct()}, cache: filepath.Join(disk, "cache")})
	d.ready(t)
	crane, containerd := startCrane(t, ns).(*crane), startContainerd2(t, ns)

	others := filepath.Join(disk, "of-others")
	pullWhileFilling(t, w, others, func() { wantPull(t, containerd, origin, late) }, late)
	layer := late.blobs[len(late.blobs)-1]
	if n := d.countCache(t, layer, "miss"); n != 1 {
		t.Errorf("%d fetches for the cache of the layer that the disk was filled under, want 1", n)
	}
	d.stored(t)
	if output, err := d.cli(t.Context(), "cache", "ls"); err != nil || strings.Contains(output, layer.digest.Encoded()[:12]) {
		t.Errorf("the layer is called cached, with no room for it (%v):\n%s", err, output)
	}
	if err := os.Remove(others); err != nil {
		t.Fatal(err)
	}

	wantPull(t, crane, origin, large)
	wantPull(t, containerd, origin, large)
	layer = large.blobs[len(large.blobs)-1]
	if n := d.countCache(t, layer, "bypass"); n != 2 {
		t.Errorf("%d answers past the cache for a layer that the disk has no room for, want 2", n)
	}
	d.wantToldFull(t, crane, large, layer)
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT, "size=256m"); err != nil {
		t.Fatal(err)
	}
	wantStoredAgain(t, w, d, crane, large)
	wantPull(t, crane, origin, large)
	wantUnnoticed(t, d, containerd, late)
	d.end(t)
}

// pullWhileFilling pulls an image that fits, and has the disk filled when
// a part of its layer has come.
func pullWhileFilling(t *testing.T, w *world, others string, pull func(), img *image) {
	t.Helper()
	g := newGate(t, w.hub.CDN, 2<<20, img.blobs[len(img.blobs)-1])
	filled := make(chan error, 1)
	go func() {
		defer g.open()
		select {
		case <-g.reached.done:
			filled <- fill(others)
		case <-t.Context().Done():
			filled <- errors.New("no client has asked for the layer")
		}
	}()
	pull()
	if err := <-filled; err != nil {
		t.Error(err)
	}
}

// wantStoredAgain asks for the image's layer until it is stored, which a store in
// trouble tries every five seconds, and wants it to need no upstream then.
func wantStoredAgain(t *testing.T, w *world, d *daemon, c *crane, img *image) {
	t.Helper()
	layer := img.blobs[len(img.blobs)-1]
	get := func(ctx context.Context) error {
		out, err := run(c.command(ctx, "blob", "--insecure", c.mirror+"/"+img.repository+"@"+layer.digest.String()))
		if err != nil {
			return fmt.Errorf("%w: %.200s", err, out)
		}
		return nil
	}
	d.process.waitFor(t, func(ctx context.Context) error {
		if err := get(ctx); err != nil {
			t.Error(err)
		}
		if d.countCache(t, layer, "miss") == 0 {
			time.Sleep(500 * time.Millisecond)
			return errors.New("nothing is stored although there is room")
		}
		return nil
	})
	d.stored(t)
	w.waitIdle(t)
	w.net.Ledger().Reset()
	if err := get(t.Context()); err != nil {
		t.Error(err)
	}
	w.wantNoRequests(t, "blob that is stored again", simnet.Filter{Class: simnet.Blobs, Path: layer.digest.Encoded()})
	d.wantSays(t, 0, []string{layer.digest.Encoded()[:12]}, "cache", "ls")
}

// fill writes a file until the disk is full.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for zeros := make([]byte, 64<<10); err == nil; {
		_, err = f.Write(zeros)
	}
	if errors.Is(err, syscall.ENOSPC) {
		return nil
	}
	return err
}

// mountDisk mounts a disk of its own in memory, for the time of the test.
func mountDisk(t *testing.T, size string) (dir string) {
	t.Helper()
	dir = filepath.Join(tempDir(t), "disk")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount a disk of %s: %v", size, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// countCache is how many answers of a blob the access log tells of with that
// word for the cache.
func (d *daemon) countCache(t *testing.T, b blob, word string) int {
	t.Helper()
	n := 0
	for _, a := range d.accessLog(t) {
		if a.Ref == b.digest.String() && a.Cache == word {
			n++
		}
	}
	return n
}

// wantToldFull wants status, cache stat and the log to say that the disk is
// full, once something has been asked for that does not fit: what does fit
// afterwards is kept, and ends the trouble.
func (d *daemon) wantToldFull(t *testing.T, c *crane, img *image, b blob) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := run(c.command(ctx, "blob", "--insecure", c.mirror+"/"+img.repository+"@"+b.digest.String())); err != nil {
		t.Fatal(err)
	}
	d.wantSays(t, 0, []string{"The cache keeps nothing new", "full"}, "status")
	d.wantSays(t, 0, []string{"nothing can be kept", "full"}, "cache", "stat")
	if log := d.process.output(); !strings.Contains(log, "the cache keeps nothing new, pulls go on without it") {
		t.Errorf("the log does not tell of the full disk:\n%s", log)
	}
}
