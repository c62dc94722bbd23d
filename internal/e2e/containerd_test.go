//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
)

// containerd is a containerd daemon and its ctr, with a hosts.toml for
// docker.io: requests carry ?ns=docker.io.
type containerd struct {
	name    string
	dir     string
	command func(ctx context.Context, args ...string) *exec.Cmd // ctr
}

// startContainerd16 is the containerd of Debian 12, whose ctr pulls by itself.
func startContainerd16(t *testing.T, ns *namespace) client {
	daemon, ctr := systemProgram(t, "containerd"), systemProgram(t, "ctr")
	wantVersion(t, daemon, `containerd \S+ v?1\.6\.`)
	return startContainerd(t, ns, "containerd-1.6", 2, daemon, ctr, "")
}

// startContainerd2 is a current containerd, whose daemon pulls for ctr by its
// transfer service.
func startContainerd2(t *testing.T, ns *namespace) client {
	return startContainerd2With(t, ns, "")
}

// startContainerd2With adds tables to its configuration.
func startContainerd2With(t *testing.T, ns *namespace, tables string) client {
	t.Helper()
	daemon, ctr := builtProgram(t, "containerd"), builtProgram(t, "ctr")
	wantVersion(t, daemon, `containerd/v2 2\.`)
	return startContainerd(t, ns, "containerd-2", 3, daemon, ctr, tables)
}

func startContainerd(t *testing.T, ns *namespace, name string, version int, daemon, ctr, tables string) client {
	t.Helper()
	dir := tempDir(t)
	c := &containerd{name: name, dir: dir}
	socket := c.socket()
	config := filepath.Join(dir, "config.toml")
	// The CRI plugins want a CNI and a pause image, which no pull needs.
	writeFile(t, config, fmt.Sprintf(`version = %d
root = "%s/root"
state = "%s/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]
[grpc]
  address = "%s"
[ttrpc]
  address = "%s.ttrpc"
%s`, version, dir, dir, socket, socket, tables))
	// With the mirror as server too there is no other host to fall back to, so
	// that the mirror's answer is what ctr prints. docker.io has no other use
	// in a network that is shut in.
	writeFile(t, filepath.Join(dir, "certs.d", "docker.io", "hosts.toml"), fmt.Sprintf(`server = "http://%[1]s"
[host."http://%[1]s"]
  capabilities = ["pull", "resolve"]
`, ns.mirror()))
	c.command = func(ctx context.Context, args ...string) *exec.Cmd {
		return ns.command(ctx, clientEnv(dir), ctr, append([]string{"--address", socket}, args...)...)
	}
	daemonCmd := ns.command(context.Background(), clientEnv(dir), daemon, "--config", config)
	startProcess(t, name, dir, daemonCmd).waitFor(t, func(ctx context.Context) error {
		out, err := run(c.command(ctx, "version"))
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	return c
}

// socket is where the daemon listens.
func (c *containerd) socket() string { return filepath.Join(c.dir, "containerd.sock") }

func (c *containerd) Name() string { return c.name }

func (c *containerd) Pull(ctx context.Context, img *image) (digest.Digest, string, error) {
	ref := "docker.io/" + img.name()
	output, err := run(c.command(ctx, "images", "pull", "--hosts-dir", filepath.Join(c.dir, "certs.d"), ref))
	if err != nil {
		return "", output, err
	}
	list, err := run(c.command(ctx, "images", "list", "name=="+ref))
	if err != nil {
		return "", output + list, err
	}
	got, err := found(list, ` (sha256:[0-9a-f]{64}) `)
	return got, output, err
}

func (c *containerd) Want(img *image) digest.Digest { return img.index.digest }

func (c *containerd) Check(_ context.Context, img *image) error {
	return checkBlobs(img, func(d digest.Digest) string {
		return filepath.Join(c.dir, "root", "io.containerd.content.v1.content", "blobs", d.Algorithm().String(), d.Encoded())
	})
}

func (c *containerd) Log() string { return "" }
