//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestZstdChunked pulls an image with zstd:chunked layers by a podman that asks
// for parts of them. None is fetched twice for that.
func TestZstdChunked(t *testing.T) {
	t.Parallel()
	program := buildDaemon(t)
	origin := startOrigin(t)
	ns := newNamespace(t)
	img := newImage(t, "gzip")
	origin.push(t, img)
	img = origin.compressAnew(t, img, "zstd:chunked")
	w := newWorld(t, origin, img)
	d := startDaemon(t, program, ns, daemonSetup{chain: []upstream{w.once()}, debug: true})
	d.ready(t)
	output := wantPull(t, startPartialPodman(t, ns), origin, img)
	d.end(t)
	w.waitIdle(t)
	layers := img.blobs[1:]
	if n := strings.Count(output, "Retrieved partial blob"); n != len(layers) {
		t.Errorf("podman got %d of %d layers in parts:\n%s", n, len(layers), output)
	}
	for _, layer := range layers {
		w.wantFrugal(t, "hub-cdn", layer)
		wantInParts(t, d, layer)
	}
}

// wantInParts wants podman to have asked for the table at the layer's end by a
// range, and then for what it needs of the rest by several ranges, which it gets as
// parts of one answer (RFC 9110 14.6).
func wantInParts(t *testing.T, d *daemon, layer blob) {
	t.Helper()
	var got []string
	for _, a := range d.accessLog(t) {
		if a.Ref != layer.digest.String() {
			continue
		}
		from, _, _ := strings.Cut(strings.TrimPrefix(a.Range, "bytes="), "-")
		switch {
		case strings.Contains(a.Range, ",") && (a.Status == http.StatusPartialContent || a.Status == statusClientGone):
			got = append(got, "parts") // it may leave when it has had its last one
		case a.Status == http.StatusPartialContent && from != "0":
			got = append(got, "its end")
		default:
			got = append(got, fmt.Sprintf("%+v", a))
		}
	}
	if want := []string{"its end", "parts"}; !slices.Equal(got, want) {
		t.Errorf("podman was answered %q for the layer %s, want %q", got, layer.digest, want)
	}
}

// startPartialPodman is podman as startPodman has it, on overlay and with what
// makes it pull parts of zstd:chunked layers (containers-storage.conf(5)).
func startPartialPodman(t *testing.T, ns *namespace) client {
	t.Helper()
	dir := tempDir(t)
	program := systemProgram(t, "podman")
	registries, policy := containersConfig(t, dir, ns)
	storage := filepath.Join(dir, "storage.conf")
	writeFile(t, storage, `[storage]
driver = "overlay"
runroot = "`+dir+`/run"
graphroot = "`+dir+`/root"
[storage.options]
pull_options = {enable_partial_images = "true", use_hard_links = "false", ostree_repos = ""}
`)
	env := append(clientEnv(dir), "CONTAINERS_STORAGE_CONF="+storage, "CONTAINERS_REGISTRIES_CONF="+registries, "XDG_RUNTIME_DIR="+dir)
	return &podman{command: func(ctx context.Context, args ...string) *exec.Cmd {
		if args[0] == "pull" {
			args = append([]string{"--log-level", "debug", "pull", "--signature-policy", policy}, args[1:]...)
		}
		return ns.command(ctx, env, program, args...)
	}}
}

// compressAnew has skopeo copy this platform's image in the registry, with its
// layers compressed in another way. The tag is the format.
func (o *origin) compressAnew(t *testing.T, img *image, format string) *image {
	t.Helper()
	dir := tempDir(t)
	policy := filepath.Join(dir, "policy.json")
	writeFile(t, policy, `{"default": [{"type": "insecureAcceptAnything"}]}`+"\n")
	// In another repository, for what is there already is not compressed.
	other := &image{repository: img.repository + "-anew", tag: strings.ReplaceAll(format, ":", "-"), diffs: img.diffs}
	host := strings.TrimPrefix(o.url, "http://")
	cmd := exec.CommandContext(t.Context(), systemProgram(t, "skopeo"), "--policy", policy, "copy",
		"--src-tls-verify=false", "--dest-tls-verify=false", "--dest-compress-format", format,
		"docker://"+host+"/"+img.name(), "docker://"+host+"/"+other.name())
	cmd.Env = clientEnv(dir)
	if output, err := run(cmd); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	other.manifest = newBlob(typeManifest, o.get(t, other.repository+"/manifests/"+other.tag))
	other.index = other.manifest
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	if err := json.Unmarshal(other.manifest.bytes, &manifest); err != nil {
		t.Fatal(err)
	}
	for _, b := range append([]descriptor{manifest.Config}, manifest.Layers...) {
		other.blobs = append(other.blobs, blob{b.MediaType, b.Digest, o.get(t, other.repository+"/blobs/"+b.Digest.String())})
	}
	return other
}

// get is what the registry has at a path below /v2/.
func (o *origin) get(t *testing.T, path string) []byte {
	t.Helper()
	header := http.Header{"Accept": {typeManifest}}
	_, body := exchange(t, http.MethodGet, o.url+"/v2/"+path, header, nil)
	return body
}
