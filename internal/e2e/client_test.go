//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/opencontainers/go-digest"
)

// client is a real program that pulls images, set up to use the mirror of its
// namespace the way its own documentation tells a person to.
type client interface {
	// Name is the name of its subtests and of its file under testdata/errors.
	Name() string
	// Pull pulls the image by its tag and tells which digest the client says
	// it got. Output is all that a person at the terminal sees. It may be
	// called for one image after another, but not at once.
	Pull(ctx context.Context, img *image) (got digest.Digest, output string, err error)
	// Want is the digest that Pull returns for the image when all is well: of
	// the index, or of this platform's manifest where that is what a client
	// asks for.
	Want(img *image) digest.Digest
	// Check looks at what the client has stored of the image.
	Check(ctx context.Context, img *image) error
	// Log is what the client's daemon has written since the last call, for
	// clients whose own error hides the mirror's; empty for the others.
	Log() string
}

// clients has the constructor of every client. Each starts its programs in the
// namespace and stops them when the test ends.
var clients = []struct {
	name  string
	start func(t *testing.T, ns *namespace) client
}{
	{"dockerd", startDockerd},
	{"containerd-1.6", startContainerd16},
	{"containerd-2", startContainerd2},
	{"podman", startPodman},
	{"skopeo", startSkopeo},
	{"crane", startCrane},
}

// clientEnv is the whole environment of a client's programs.
func clientEnv(home string) []string {
	return []string{"PATH=" + systemPath, "HOME=" + home, "LC_ALL=C", "TMPDIR=" + home}
}

// wantVersion fails the test when the program is not of the generation that
// the client's name promises.
func wantVersion(t *testing.T, program, pattern string) {
	t.Helper()
	out, err := exec.Command(program, "--version").CombinedOutput()
	if err != nil {
		t.Fatalf("%s --version: %v\n%s", program, err, out)
	}
	if !regexp.MustCompile(pattern).Match(out) {
		t.Fatalf("%s --version says %q, want a match of %s", program, out, pattern)
	}
}

// writeFile writes one of a client's configuration files.
func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// checkBlobs compares the files that a client keeps its blobs in with the
// image: every blob must be there, byte for byte.
func checkBlobs(img *image, file func(digest.Digest) string) error {
	for _, b := range append([]blob{img.manifest}, img.blobs...) {
		got, err := os.ReadFile(file(b.digest))
		if err != nil {
			return fmt.Errorf("stored blob: %w", err)
		}
		if d := digest.FromBytes(got); d != b.digest {
			return fmt.Errorf("stored blob %s has the bytes of %s", b.digest, d)
		}
	}
	return nil
}

// found is the only digest in a client's output, whose place is the pattern's
// first group.
func found(output, pattern string) (digest.Digest, error) {
	match := regexp.MustCompile(pattern).FindStringSubmatch(output)
	if match == nil {
		return "", fmt.Errorf("no digest (%s) in the output:\n%s", pattern, output)
	}
	return digest.Parse(match[1])
}
