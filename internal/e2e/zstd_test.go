//go:build e2e

package e2e

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/simnet"
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

// TestZstdChunkedOfATenth pulls the next version of an image of which a tenth of the
// files changed, by a podman that has the one before: neither the upstream nor the
// client gets more than 15 in a hundred of its bytes (docs/architecture.md, What it must
// reach). The files are small, so that the table of them and what lies between two that
// changed weigh as in an image of thousands.
func TestZstdChunkedOfATenth(t *testing.T) {
	t.Parallel()
	for range 3 { // on a busy machine podman gives its parts up now and then, and takes the whole
		if pullNextVersion(t) {
			return
		}
	}
	t.Error("podman took no version in parts")
}

// pullNextVersion judges the pull of a version by a podman that has the one before. It
// returns false if podman did not take it in parts.
func pullNextVersion(t *testing.T) bool {
	t.Helper()
	program := buildDaemon(t)
	origin := startOrigin(t)
	ns := newNamespace(t)
	var versions []*image
	for version := range 2 {
		img := newFilesImage(t, version)
		origin.push(t, img)
		versions = append(versions, origin.compressAnew(t, img, "zstd:chunked"))
	}
	next := versions[1]
	w := newWorld(t, origin, next)
	d := startDaemon(t, program, ns, daemonSetup{chain: []upstream{w.direct()}, debug: true})
	d.ready(t)
	c := startPartialPodman(t, ns)
	wantPull(t, c, origin, versions[0])
	w.waitIdle(t)
	w.net.Ledger().Reset()
	output := wantPull(t, c, origin, next)
	d.end(t)
	w.waitIdle(t)
	if !strings.Contains(output, "Retrieved partial blob") {
		t.Logf("podman took the whole:\n%s", output)
		return false
	}

	var size, written int64
	names := map[string]bool{}
	for _, b := range next.blobs {
		size += int64(len(b.bytes))
		names[b.digest.String()] = true
	}
	for _, a := range d.accessLog(t) {
		if a.Op == "blob" && names[a.Ref] {
			written += a.Bytes
		}
	}
	sent := w.net.Ledger().Bytes(simnet.Filter{Server: "hub-cdn", Method: http.MethodGet})
	share := func(n int64) float64 { return float64(n) / float64(size) }
	t.Logf("of an image of %d bytes the CDN sent %.4f and pullchain wrote %.4f", size, share(sent), share(written))
	if most := size * 15 / 100; sent > most || written > most {
		t.Errorf("of an image of %d bytes the CDN sent %d and pullchain wrote %d, want at most %d of each", size, sent, written, most)
	}
	if least := size / 10; written < least {
		t.Errorf("pullchain wrote %d bytes, and %d changed: what was it that podman pulled?", written, least)
	}
	return true
}

// newFilesImage makes a version of an image of one layer with 400 files of 64 KiB, of
// which every tenth is another one in each version.
func newFilesImage(t *testing.T, version int) *image {
	t.Helper()
	var files []file
	for i := range 400 {
		name := fmt.Sprintf("app/%03d.bin", i)
		seed := name
		if i%10 == 0 {
			seed = fmt.Sprintf("%s of version %d", name, version)
		}
		files = append(files, file{name, randomBytes(t, seed, 64<<10)})
	}
	layer, diff := packLayer(t, gzip.NoCompression, files)
	img := &image{repository: fmt.Sprintf("library/files%d", version), tag: "latest", diffs: []digest.Digest{diff}}
	img.manifest, img.blobs = newManifest(t, img.repository, runtime.GOARCH, []blob{layer}, img.diffs)
	img.index = img.manifest
	return img
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
