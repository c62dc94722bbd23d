//go:build e2e

package e2e

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
)

// crane knows no mirrors: it is given the mirror as the registry, with no name
// of a registry in the path, which is docker.io then. It pulls all platforms
// into an OCI layout.
type crane struct {
	dir     string
	mirror  string
	command func(ctx context.Context, args ...string) *exec.Cmd
}

func startCrane(t *testing.T, ns *namespace) client {
	dir := tempDir(t)
	program := builtProgram(t, "crane")
	return &crane{dir: dir, mirror: ns.mirror(), command: func(ctx context.Context, args ...string) *exec.Cmd {
		return ns.command(ctx, clientEnv(dir), program, args...)
	}}
}

func (c *crane) Name() string { return "crane" }

func (c *crane) Pull(ctx context.Context, img *image) (digest.Digest, string, error) {
	ref := c.mirror + "/" + img.name()
	output, err := run(c.command(ctx, "pull", "--insecure", "--format", "oci", ref, c.path(img)))
	if err != nil {
		return "", output, err
	}
	list, err := run(c.command(ctx, "digest", "--insecure", ref))
	if err != nil {
		return "", output + list, err
	}
	got, err := found(list, `(?m)^(sha256:[0-9a-f]{64})$`)
	return got, output, err
}

// path is the OCI layout that the image is pulled into.
func (c *crane) path(img *image) string { return filepath.Join(c.dir, img.tag) }

func (c *crane) Want(img *image) digest.Digest { return img.index.digest }

func (c *crane) Check(_ context.Context, img *image) error {
	return checkBlobs(img, func(d digest.Digest) string {
		return filepath.Join(c.path(img), "blobs", d.Algorithm().String(), d.Encoded())
	})
}

func (c *crane) Log() string { return "" }
