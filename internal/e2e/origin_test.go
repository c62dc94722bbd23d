//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
)

// origin is a real distribution registry (Debian's docker-registry) on
// loopback: the registry whose digests are the truth. It knows neither tokens
// nor quotas nor redirects; the Hub of internal/simnet puts those before it.
type origin struct {
	url string
}

// startOrigin starts an empty registry that ends with the test.
func startOrigin(t *testing.T) *origin {
	t.Helper()
	dir := tempDir(t)
	addr := ownAddr()
	config := fmt.Sprintf(`version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %s}}
http: {addr: "%s", secret: "of a test"}
`, filepath.Join(dir, "data"), addr)
	path := filepath.Join(dir, "registry.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(systemProgram(t, "docker-registry"), "serve", path)
	cmd.Env = []string{"PATH=" + systemPath}
	o := &origin{url: "http://" + addr}
	startProcess(t, "docker-registry", dir, cmd).waitFor(t, answers(http.DefaultClient, o.url+"/v2/"))
	return o
}

// ports counts those that ownAddr has given away.
var ports atomic.Int64

// ownAddr is a loopback address that nothing else listens on: the host is this
// process's alone (process ids have 22 bits), and the port is not among those
// that systems give away. One that was only found free might be taken by the time
// it is used.
func ownAddr() string {
	pid := os.Getpid()
	host := netip.AddrFrom4([4]byte{127, byte(64 + pid>>16&63), byte(pid >> 8), byte(pid)})
	return net.JoinHostPort(host.String(), strconv.FormatInt(20000+ports.Add(1), 10))
}

// push uploads the image, all platforms of it, and checks that the registry
// calls it by the digest that we do.
func (o *origin) push(t *testing.T, img *image) {
	t.Helper()
	repo := o.url + "/v2/" + img.repository
	for _, b := range append(img.blobs, img.others...) {
		if b.mediaType == typeManifest {
			o.putManifest(t, repo, b.digest.String(), b)
			continue
		}
		o.putBlob(t, repo, b)
	}
	o.putManifest(t, repo, img.manifest.digest.String(), img.manifest)
	o.putManifest(t, repo, img.tag, img.index)
	if got := o.digest(t, img); got != img.index.digest {
		t.Fatalf("the origin has %s:%s as %s, want %s", img.repository, img.tag, got, img.index.digest)
	}
}

// digest is what the origin itself says the tag is.
func (o *origin) digest(t *testing.T, img *image) digest.Digest {
	t.Helper()
	header := http.Header{"Accept": {typeIndex, typeManifest}}
	res := do(t, http.MethodHead, o.url+"/v2/"+img.repository+"/manifests/"+img.tag, header, nil)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("HEAD of the tag at the origin: %s", res.Status)
	}
	return digest.Digest(res.Header.Get("Docker-Content-Digest"))
}

// putBlob uploads a blob in one piece: POST for the upload's URL, PUT of the
// bytes (distribution-spec, "Pushing a blob monolithically").
func (o *origin) putBlob(t *testing.T, repo string, b blob) {
	t.Helper()
	res := do(t, http.MethodPost, repo+"/blobs/uploads/", nil, nil)
	if res.StatusCode != http.StatusAccepted {
		t.Fatalf("start an upload: %s", res.Status)
	}
	target, err := res.Request.URL.Parse(res.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	query := target.Query()
	query.Set("digest", b.digest.String())
	target.RawQuery = query.Encode()
	header := http.Header{"Content-Type": {"application/octet-stream"}}
	if res := do(t, http.MethodPut, target.String(), header, b.bytes); res.StatusCode != http.StatusCreated {
		t.Fatalf("upload %s: %s", b.digest, res.Status)
	}
}

func (o *origin) putManifest(t *testing.T, repo, reference string, b blob) {
	t.Helper()
	header := http.Header{"Content-Type": {b.mediaType}}
	res := do(t, http.MethodPut, repo+"/manifests/"+url.PathEscape(reference), header, b.bytes)
	if res.StatusCode != http.StatusCreated {
		t.Fatalf("push manifest %s: %s", reference, res.Status)
	}
}

// do sends one request and reads its answer to the end.
func do(t *testing.T, method, target string, header http.Header, body []byte) *http.Response {
	t.Helper()
	res, _ := exchange(t, method, target, header, body)
	return res
}

// exchange sends one request and returns its answer and that one's body.
func exchange(t *testing.T, method, target string, header http.Header, body []byte) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, answer
}
