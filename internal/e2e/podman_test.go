//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// podman has a registries.conf with the mirror in the path form: its library
// sends no ?ns=, so the registry's name stands in the mirror's path.
type podman struct {
	command func(ctx context.Context, args ...string) *exec.Cmd
}

func startPodman(t *testing.T, ns *namespace) client {
	dir := tempDir(t)
	program := systemProgram(t, "podman")
	registries, policy := containersConfig(t, dir, ns)
	env := append(clientEnv(dir), "CONTAINERS_REGISTRIES_CONF="+registries, "XDG_RUNTIME_DIR="+dir)
	return &podman{command: func(ctx context.Context, args ...string) *exec.Cmd {
		if args[0] == "pull" {
			args = append([]string{"pull", "--signature-policy", policy}, args[1:]...)
		}
		args = append([]string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs"}, args...)
		return ns.command(ctx, env, program, args...)
	}}
}

// containersConfig writes the files that podman and skopeo share.
func containersConfig(t *testing.T, dir string, ns *namespace) (registries, policy string) {
	t.Helper()
	registries, policy = filepath.Join(dir, "registries.conf"), filepath.Join(dir, "policy.json")
	writeFile(t, registries, fmt.Sprintf(`[[registry]]
prefix = "docker.io"
location = "docker.io"
[[registry.mirror]]
location = "%s/docker.io"
insecure = true
`, ns.mirror()))
	writeFile(t, policy, `{"default": [{"type": "insecureAcceptAnything"}]}`+"\n")
	return registries, policy
}

func (p *podman) Name() string { return "podman" }

func (p *podman) Pull(ctx context.Context, img *image) (digest.Digest, string, error) {
	output, err := run(p.command(ctx, "pull", reference(img)))
	if err != nil {
		return "", output, err
	}
	list, err := run(p.command(ctx, "image", "inspect", "--format", "{{json .RepoDigests}}", reference(img)))
	if err != nil {
		return "", output + list, err
	}
	// One name for the index and one for the manifest of this platform.
	if !strings.Contains(list, "@"+img.index.digest.String()) {
		return "", output, fmt.Errorf("podman has %s, want the index %s among them", list, img.index.digest)
	}
	return img.index.digest, output, nil
}

func (p *podman) Want(img *image) digest.Digest { return img.index.digest }

func (p *podman) Check(ctx context.Context, img *image) error {
	return checkDiffs(p.command(ctx, "image", "inspect", "--format", "{{json .RootFS.Layers}}", reference(img)), img)
}

func (p *podman) Log() string { return "" }

// reference is the full name of the image, as podman and skopeo want it.
func reference(img *image) string { return "docker.io/" + img.name() }
