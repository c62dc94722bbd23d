//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// dockerd is the Docker Engine with "registry-mirrors" in its daemon.json, and
// the docker command that a person types.
type dockerd struct {
	name    string
	docker  string // the command's path
	socket  string
	home    string
	process *process
	seen    int // bytes of the daemon's log that Log has returned
}

// startDockerd is the engine of Debian 12, with its own image store. vfs works on any
// file system.
func startDockerd(t *testing.T, ns *namespace) client {
	return startEngine(t, ns, "dockerd", systemProgram(t, "dockerd"), "--storage-driver", "vfs")
}

// startDockerd29 is an engine of the 29 line, whose image store is a containerd's: it
// has containerd's way to fetch and docker's settings for mirrors.
func startDockerd29(t *testing.T, ns *namespace) (*dockerd, *containerd) {
	t.Helper()
	store := startContainerd2(t, ns).(*containerd)
	program := builtProgram(t, "dockerd")
	return startEngine(t, ns, "dockerd-29", program, "--feature", "containerd-snapshotter", "--storage-driver", "native",
		"--containerd", store.socket(), "--userland-proxy=false"), store
}

// startEngine starts a dockerd with the flags of its generation.
func startEngine(t *testing.T, ns *namespace, name, program string, flags ...string) *dockerd {
	t.Helper()
	dir := tempDir(t)
	config := filepath.Join(dir, "daemon.json")
	writeFile(t, config, fmt.Sprintf("{\"registry-mirrors\": [\"http://%s\"], \"insecure-registries\": [\"10.213.0.0/16\"]}\n", ns.mirror()))
	d := &dockerd{name: name, docker: systemProgram(t, "docker"), socket: "unix://" + filepath.Join(dir, "docker.sock"), home: dir}
	cmd := ns.command(context.Background(), clientEnv(dir), program, append([]string{
		"--config-file", config, "--host", d.socket, "--pidfile", filepath.Join(dir, "pid"),
		"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		// No container ever runs here, so the daemon leaves the machine's
		// bridges and firewall alone.
		"--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"}, flags...)...)
	d.process = startProcess(t, name, dir, cmd)
	d.process.waitFor(t, func(ctx context.Context) error {
		out, err := run(d.command(ctx, "version"))
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	d.Log() // what it says while it starts concerns no pull
	return d
}

// command is the docker command line. It runs outside the namespace: it speaks
// to the daemon over its unix socket and to nothing else.
func (d *dockerd) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.docker, append([]string{"--host", d.socket}, args...)...)
	cmd.Env = clientEnv(d.home)
	return cmd
}

func (d *dockerd) Name() string { return d.name }

func (d *dockerd) Pull(ctx context.Context, img *image) (digest.Digest, string, error) {
	output, err := run(d.command(ctx, "pull", img.name()))
	if err != nil {
		return "", output, err
	}
	got, err := found(output, `(?m)^Digest: (sha256:[0-9a-f]{64})$`)
	return got, output, err
}

func (d *dockerd) Want(img *image) digest.Digest { return img.index.digest }

// Check compares the digests of the unpacked layers: the engine keeps no
// compressed blob.
func (d *dockerd) Check(ctx context.Context, img *image) error {
	return checkDiffs(d.command(ctx, "image", "inspect", "--format", "{{json .RootFS.Layers}}", img.name()), img)
}

func (d *dockerd) Log() string {
	all := d.process.output()
	fresh := all[min(d.seen, len(all)):]
	d.seen = len(all)
	return fresh
}

// checkDiffs compares the JSON list of layer digests that inspect prints with
// the image.
func checkDiffs(inspect *exec.Cmd, img *image) error {
	output, err := run(inspect)
	if err != nil {
		return fmt.Errorf("%w: %s", err, output)
	}
	var got []digest.Digest
	if err := json.Unmarshal([]byte(strings.TrimSpace(output)), &got); err != nil {
		return fmt.Errorf("inspect printed %q: %w", output, err)
	}
	if !slices.Equal(got, img.diffs) {
		return fmt.Errorf("unpacked layers are %v, want %v", got, img.diffs)
	}
	return nil
}
