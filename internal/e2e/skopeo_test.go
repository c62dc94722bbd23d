//go:build e2e

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
)

// skopeo copies this platform's image into a directory, by the same
// registries.conf as podman.
type skopeo struct {
	dir     string
	command func(ctx context.Context, args ...string) *exec.Cmd
}

func startSkopeo(t *testing.T, ns *namespace) client {
	dir := tempDir(t)
	program := systemProgram(t, "skopeo")
	registries, policy := containersConfig(t, dir, ns)
	return &skopeo{dir: dir, command: func(ctx context.Context, args ...string) *exec.Cmd {
		// skopeo 1.9 does not read CONTAINERS_REGISTRIES_CONF.
		args = append([]string{"--registries-conf", registries, "--policy", policy}, args...)
		return ns.command(ctx, clientEnv(dir), program, args...)
	}}
}

func (s *skopeo) Name() string { return "skopeo" }

func (s *skopeo) Pull(ctx context.Context, img *image) (digest.Digest, string, error) {
	output, err := run(s.command(ctx, "copy", "docker://"+reference(img), "dir:"+s.path(img)))
	if err != nil {
		return "", output, err
	}
	manifest, err := os.ReadFile(filepath.Join(s.path(img), "manifest.json"))
	return digest.FromBytes(manifest), output, err
}

// path is the directory that the image is copied to.
func (s *skopeo) path(img *image) string { return filepath.Join(s.dir, img.tag) }

// Want is this platform's manifest: without --all skopeo copies no index.
func (s *skopeo) Want(img *image) digest.Digest { return img.manifest.digest }

func (s *skopeo) Check(_ context.Context, img *image) error {
	return checkBlobs(img, func(d digest.Digest) string {
		if d == img.manifest.digest {
			return filepath.Join(s.path(img), "manifest.json")
		}
		return filepath.Join(s.path(img), d.Encoded())
	})
}

func (s *skopeo) Log() string { return "" }
