//go:build e2e

package e2e

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/simnet"
)

// TestWarm fills the cache as a person would, ahead of the pull, which then
// needs no upstream; and then breaks a file in it, which verify finds and the
// next pull replaces.
func TestWarm(t *testing.T) {
	t.Parallel()
	program := buildDaemon(t)
	origin := startOrigin(t)
	ns := newNamespace(t)
	img := newImage(t, "warm")
	origin.push(t, img)
	w := newWorld(t, origin, img)
	setup := daemonSetup{chain: []upstream{w.once()}, cache: filepath.Join(tempDir(t), "cache")}
	d := startDaemon(t, program, ns, setup)
	d.ready(t)

	d.wantSays(t, 0, []string{"docker.io/library/app:warm: ok, "}, "cache", "warm", "library/app:warm")
	d.stored(t)
	w.waitIdle(t)
	w.net.Ledger().Reset()
	d.wantSays(t, 0, []string{"docker.io/library/app:warm: was there"}, "cache", "warm", "docker.io/library/app:warm")
	wantPull(t, startCrane(t, ns), origin, img)
	w.wantNoRequests(t, "blob got after the cache was warm", simnet.Filter{Class: simnet.Blobs})
	layer := img.blobs[len(img.blobs)-1]
	d.wantSays(t, 0, []string{"docker.io/library/app:warm", img.index.digest.Encoded()[:12], layer.digest.Encoded()[:12], " objects, "}, "cache", "ls")
	d.wantSays(t, 0, []string{"kept by the pullchain at", " of 1.0 GiB in 9 objects"}, "cache", "stat")
	d.wantSays(t, 0, []string{": 0 wrong"}, "cache", "verify")

	spoil(t, setup.cache, layer)
	d.wantSays(t, 8, []string{"WRONG " + layer.digest.String(), ": 1 wrong"}, "cache", "verify")
	d.wantSays(t, 0, []string{": 0 wrong"}, "cache", "verify")
	wantPull(t, startCrane(t, ns), origin, img)
	w.waitIdle(t)
	w.wantOnce(t, "hub-cdn", layer)
	d.end(t)
}

// wantSays runs a command of pullchain and wants its exit code and everything in
// says to be printed.
func (d *daemon) wantSays(t *testing.T, code int, says []string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	output, err := d.cli(ctx, args...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if got != code {
		t.Errorf("pullchain %s ends with %d, want %d:\n%s", strings.Join(args, " "), got, code, output)
	}
	for _, s := range says {
		if !strings.Contains(output, s) {
			t.Errorf("pullchain %s does not say %q:\n%s", strings.Join(args, " "), s, output)
		}
	}
}

// spoil changes one byte of a blob in the cache's directory, as a bad disk would.
func spoil(t *testing.T, dir string, b blob) {
	t.Helper()
	var path string
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && strings.Contains(p, b.digest.Encoded()) {
			if info, err := e.Info(); err == nil && info.Size() >= int64(len(b.bytes)) {
				path = p
			}
		}
		return err
	})
	if err != nil || path == "" {
		t.Fatalf("no file of %s in the cache (%v)", b.digest, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := int64(len(b.bytes) / 2)
	if _, err := f.WriteAt([]byte{^b.bytes[at]}, at); err != nil {
		t.Fatal(err)
	}
	whole := make([]byte, len(b.bytes))
	if _, err := f.ReadAt(whole, 0); err != nil || digest.FromBytes(whole) == b.digest {
		t.Fatalf("%s is not the blob's content from its first byte on (%v)", path, err)
	}
}
