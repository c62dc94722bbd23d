//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// A site is where a client of the matrix pulls from: a quirky registry itself, or
// the mirror under that registry's name.
type site struct {
	host     string // host:port
	registry string // the name that the mirror knows it by; "" is direct
}

// in is the image's name with the site's host before it: how a person without a
// mirror's settings types it.
func (s site) in(name string) string {
	if s.registry == "" {
		return s.host + "/" + name
	}
	return s.host + "/" + s.registry + "/" + name
}

// named is the image's name as a person types it whose client has the mirror in its
// settings.
func (s site) named(name string) string {
	if s.registry == "" {
		return s.host + "/" + name
	}
	return s.registry + "/" + name
}

// A puller is a client of the matrix.
type puller struct {
	// pull pulls from a site, and checks the bytes that the client has stored. Its
	// digest is the one that the client says it got.
	pull func(ctx context.Context, at site, img *image) (got digest.Digest, output string, err error)
	// want is the digest that pull returns when all is well.
	want func(img *image) digest.Digest
	// tags lists the tags of a repository, a line each; nil for clients that cannot.
	tags func(ctx context.Context, at site, repository string) (output string, err error)
	// collects says that what the client has got of a blob lies in its store, wrong or not,
	// until its garbage collection has run, a moment after the pull. A pull before that
	// fails on it without asking (github.com/containerd/containerd/issues/3974).
	collects bool
}

func wantIndex(img *image) digest.Digest    { return img.index.digest }
func wantManifest(img *image) digest.Digest { return img.manifest.digest }

// pullers has every client of the matrix, in the order of the table's columns.
var pullers = []struct {
	name  string
	start func(t *testing.T, ns *namespace) puller
}{
	{"crane", cranePuller},
	{"skopeo", skopeoPuller},
	{"regctl", regctlPuller},
	{"oras", orasPuller},
	{"podman", podmanPuller},
	{"containerd-1.6", func(t *testing.T, ns *namespace) puller { return containerdPuller(t, startContainerd16(t, ns)) }},
	{"containerd-2", func(t *testing.T, ns *namespace) puller { return containerdPuller(t, startContainerd2(t, ns)) }},
	{"dockerd", func(t *testing.T, ns *namespace) puller { return dockerdPuller(startDockerd(t, ns).(*dockerd), nil) }},
	{"dockerd-29", func(t *testing.T, ns *namespace) puller { return dockerdPuller(startDockerd29(t, ns)) }},
}

// steps runs programs one after the other, and stops at the first that fails.
func steps(cmds ...*exec.Cmd) (output string, err error) {
	var all strings.Builder
	for _, cmd := range cmds {
		out, err := run(cmd)
		all.WriteString(out)
		if err != nil {
			return all.String(), err
		}
	}
	return all.String(), nil
}

// layout checks an OCI layout, all of whose blobs are in one folder.
func layout(dir string, img *image) error {
	return checkBlobs(img, func(d digest.Digest) string {
		return filepath.Join(dir, "blobs", d.Algorithm().String(), d.Encoded())
	})
}

// toLayout runs the programs of a pull, of which the first writes an OCI layout to dir and
// the last prints the digest on a line of its own, and checks what came.
func toLayout(dir string, img *image, cmds ...*exec.Cmd) (digest.Digest, string, error) {
	output, err := steps(cmds...)
	if err != nil {
		return "", output, err
	}
	if err := layout(dir, img); err != nil {
		return "", output, err
	}
	got, err := found(output, `(?m)^(sha256:[0-9a-f]{64})$`)
	return got, output, err
}

func cranePuller(t *testing.T, ns *namespace) puller {
	c := startCrane(t, ns).(*crane)
	return puller{want: wantIndex,
		pull: func(ctx context.Context, at site, img *image) (digest.Digest, string, error) {
			ref, dir := at.in(img.name()), filepath.Join(c.dir, img.tag)
			return toLayout(dir, img,
				c.command(ctx, "pull", "--insecure", "--format", "oci", ref, dir),
				c.command(ctx, "digest", "--insecure", ref))
		},
		tags: func(ctx context.Context, at site, repository string) (string, error) {
			return run(c.command(ctx, "ls", "--insecure", at.in(repository)))
		},
	}
}

// siteConfig writes the registries.conf of podman and skopeo for a site.
func siteConfig(t *testing.T, dir string, at site) string {
	t.Helper()
	path := filepath.Join(dir, "site.conf")
	text := fmt.Sprintf("[[registry]]\nprefix = %[1]q\nlocation = %[1]q\ninsecure = true\n", at.named(""))
	text = strings.ReplaceAll(text, `/"`, `"`)
	if at.registry != "" {
		text += fmt.Sprintf("[[registry.mirror]]\nlocation = %q\ninsecure = true\n", at.host+"/"+at.registry)
	}
	writeFile(t, path, text)
	return path
}

func skopeoPuller(t *testing.T, ns *namespace) puller {
	dir, program := tempDir(t), systemProgram(t, "skopeo")
	_, policy := containersConfig(t, dir, ns)
	command := func(ctx context.Context, at site, args ...string) *exec.Cmd {
		args = append([]string{"--registries-conf", siteConfig(t, dir, at), "--policy", policy}, args...)
		return ns.command(ctx, clientEnv(dir), program, args...)
	}
	return puller{want: wantManifest,
		pull: func(ctx context.Context, at site, img *image) (digest.Digest, string, error) {
			to := filepath.Join(dir, img.tag)
			output, err := run(command(ctx, at, "copy", "docker://"+at.named(img.name()), "dir:"+to))
			if err != nil {
				return "", output, err
			}
			manifest, err := os.ReadFile(filepath.Join(to, "manifest.json"))
			if err != nil {
				return "", output, err
			}
			return digest.FromBytes(manifest), output, (&skopeo{dir: dir}).Check(ctx, img)
		},
		tags: func(ctx context.Context, at site, repository string) (string, error) {
			// It asks no mirror for them.
			return run(command(ctx, at, "list-tags", "--tls-verify=false", "docker://"+at.in(repository)))
		},
	}
}

func podmanPuller(t *testing.T, ns *namespace) puller {
	dir, program := tempDir(t), systemProgram(t, "podman")
	_, policy := containersConfig(t, dir, ns)
	command := func(ctx context.Context, at site, args ...string) *exec.Cmd {
		env := append(clientEnv(dir), "CONTAINERS_REGISTRIES_CONF="+siteConfig(t, dir, at), "XDG_RUNTIME_DIR="+dir)
		args = append([]string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs"}, args...)
		return ns.command(ctx, env, program, args...)
	}
	return puller{want: wantIndex,
		pull: func(ctx context.Context, at site, img *image) (digest.Digest, string, error) {
			ref := at.named(img.name())
			output, err := run(command(ctx, at, "pull", "--signature-policy", policy, ref))
			if err != nil {
				return "", output, err
			}
			list, err := run(command(ctx, at, "image", "inspect", "--format", "{{json .RepoDigests}}", ref))
			if err != nil || !strings.Contains(list, "@"+img.index.digest.String()) {
				return "", output + list, fmt.Errorf("podman names no index %s: %v", img.index.digest, err)
			}
			return img.index.digest, output, checkDiffs(command(ctx, at, "image", "inspect", "--format", "{{json .RootFS.Layers}}", ref), img)
		},
	}
}

// containerdPuller writes a hosts.toml for each site: requests to the mirror carry
// ?ns= then, those to the registry itself do not.
func containerdPuller(t *testing.T, started client) puller {
	c := started.(*containerd)
	certs := filepath.Join(c.dir, "certs.d")
	return puller{want: wantIndex, collects: true,
		pull: func(ctx context.Context, at site, img *image) (digest.Digest, string, error) {
			name := at.registry
			if name == "" {
				name = at.host
			}
			// Not as the server too: that would be another try for what fails. The server is
			// https then, which does not answer.
			writeFile(t, filepath.Join(certs, name, "hosts.toml"), fmt.Sprintf("[host.\"http://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", at.host))
			ref := at.named(img.name())
			output, err := steps(
				c.command(ctx, "images", "pull", "--hosts-dir", certs, ref),
				c.command(ctx, "images", "list", "name=="+ref))
			if err != nil {
				return "", output, err
			}
			if err := c.Check(ctx, img); err != nil {
				return "", output, err
			}
			got, err := found(output[strings.LastIndex(output, "\n"+ref)+1:], ` (sha256:[0-9a-f]{64}) `)
			return got, output, err
		},
	}
}

// dockerdPuller takes the containerd that the engine keeps its images in, where it does.
func dockerdPuller(d *dockerd, store *containerd) puller {
	return puller{want: wantIndex, collects: store != nil,
		pull: func(ctx context.Context, at site, img *image) (digest.Digest, string, error) {
			ref := at.in(img.name())
			output, err := run(d.command(ctx, "pull", ref))
			if err != nil {
				return "", output + d.Log(), err
			}
			got, err := found(output, `(?m)^Digest: (sha256:[0-9a-f]{64})$`)
			if err != nil {
				return "", output, err
			}
			if store != nil {
				if err := store.Check(ctx, img); err != nil {
					return "", output, err
				}
			}
			return got, output, checkDiffs(d.command(ctx, "image", "inspect", "--format", "{{json .RootFS.Layers}}", ref), img)
		},
	}
}

// regctlPuller copies with referrers, as people do that keep signatures.
func regctlPuller(t *testing.T, ns *namespace) puller {
	dir, program := tempDir(t), builtProgram(t, "regctl")
	command := func(ctx context.Context, at site, args ...string) *exec.Cmd {
		args = append([]string{"--host", "reg=" + at.host + ",tls=disabled"}, args...)
		return ns.command(ctx, clientEnv(dir), program, args...)
	}
	return puller{want: wantIndex,
		pull: func(ctx context.Context, at site, img *image) (digest.Digest, string, error) {
			ref, to := at.in(img.name()), filepath.Join(dir, img.tag)
			return toLayout(to, img,
				command(ctx, at, "image", "copy", "--referrers", ref, "ocidir://"+to+":"+img.tag),
				command(ctx, at, "image", "digest", ref))
		},
		tags: func(ctx context.Context, at site, repository string) (string, error) {
			return run(command(ctx, at, "tag", "ls", at.in(repository)))
		},
	}
}

// orasPuller copies recursively: with all that refers to the image.
func orasPuller(t *testing.T, ns *namespace) puller {
	dir, program := tempDir(t), builtProgram(t, "oras")
	command := func(ctx context.Context, args ...string) *exec.Cmd {
		return ns.command(ctx, clientEnv(dir), program, args...)
	}
	return puller{want: wantIndex,
		pull: func(ctx context.Context, at site, img *image) (digest.Digest, string, error) {
			ref, to := at.in(img.name()), filepath.Join(dir, img.tag)
			return toLayout(to, img,
				command(ctx, "cp", "--no-tty", "-r", "--from-plain-http", ref, "--to-oci-layout", to+":"+img.tag),
				command(ctx, "resolve", "--plain-http", ref))
		},
		tags: func(ctx context.Context, at site, repository string) (string, error) {
			return run(command(ctx, "repo", "tags", "--plain-http", at.in(repository)))
		},
	}
}
