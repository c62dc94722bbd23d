//go:build e2e

package e2e

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/golden"
)

// compareError compares what a client printed when nothing could be pulled
// with testdata/errors/<client>.txt, which is there to be read: it is what a
// person has to go by.
func compareError(t *testing.T, name, printed string) {
	t.Helper()
	got := stable(printed)
	// What makes it an error that one can act on: it says of each upstream what
	// is the matter with it, in the words that the documentation explains.
	for _, cause := range []string{"docker-hub conn_refused", "cf-worker egress_proxy", "pullchain status"} {
		if !strings.Contains(got, cause) {
			t.Errorf("what %s prints does not say %q:\n%s", name, cause, got)
		}
	}
	golden.Compare(t, filepath.Join("testdata", "errors", name+".txt"), got)
	if t.Failed() {
		t.Logf("what %s prints, as it came:\n%s", name, printed)
	}
}

// unstable is what differs from run to run and from machine to machine in the
// clients' words, and what stands for it in testdata/errors.
var unstable = []struct {
	pattern *regexp.Regexp
	stands  string
}{
	{regexp.MustCompile(`\x1b\[[0-9;]*m`), ""},
	{regexp.MustCompile(`10\.213\.\d+\.1:5151`), "MIRROR:5151"},
	{regexp.MustCompile(`127\.213\.\d+\.1:5152`), "ADMIN:5152"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:PORT"},
	{regexp.MustCompile(`time="[^"]*" `), ""},
	{regexp.MustCompile(`sha256:[0-9a-f]{64}`), "sha256:DIGEST"},
	// What a machine's resolver is, and how it fails in a network without it.
	{regexp.MustCompile(`(lookup registry-1\.docker\.io).*?(: (network is unreachable|connection refused|server misbehaving|no such host)|i/o timeout)`), "$1: NO RESOLVER"},
	// crane prints the whole detail of our error, with times and an id in it.
	{regexp.MustCompile(`map\[attempts:.*\]`), "map[DETAIL]"},
}

// noise are lines that say nothing of the error: containerd 2 on an old
// kernel interface, and the tries before crane's last.
var noise = regexp.MustCompile(`DEPRECATION: The support for cgroup v1|^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d retrying `)

// stable is a client's output with its unstable parts replaced, without the
// lines that say nothing of the error.
func stable(printed string) string {
	for _, u := range unstable {
		printed = u.pattern.ReplaceAllString(printed, u.stands)
	}
	var b strings.Builder
	for line := range strings.Lines(printed) {
		if strings.TrimSpace(line) == "" || noise.MatchString(line) {
			continue
		}
		b.WriteString(strings.TrimRight(line, " \t\n") + "\n")
	}
	return b.String()
}
