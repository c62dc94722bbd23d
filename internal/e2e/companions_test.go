//go:build e2e

package e2e

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// TestF71_CompanionsOffline finds what belongs to an image with a real client (its signature,
// which the registry has behind a tag, for it has no API of referrers) and lists its tags;
// and finds the same when the registry refuses everything for its quota, and when it is gone
// and pullchain has been restarted. So it does for an image that has nothing.
func TestF71_CompanionsOffline(t *testing.T) {
	t.Parallel()
	program, oras := buildDaemon(t), builtProgram(t, "oras")
	o, signed, bare := startOrigin(t), newImage(t, "signed"), newImage(t, "bare")
	o.push(t, signed)
	o.push(t, bare)
	dir := tempDir(t)
	writeFile(t, filepath.Join(dir, "signature"), "of a test")
	attach := exec.Command(oras, "attach", "--plain-http", "--artifact-type", "application/vnd.example.signature",
		strings.TrimPrefix(o.url, "http://")+"/"+signed.name(), "signature:application/octet-stream")
	attach.Dir, attach.Env = dir, clientEnv(dir)
	if output, err := run(attach); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}

	ns, w := newNamespace(t), newWorld(t, o, signed)
	setup := daemonSetup{chain: []upstream{w.direct()}, cache: filepath.Join(tempDir(t), "cache"), tagTTL: "1ms"}
	d := startDaemon(t, program, ns, setup)
	d.ready(t)
	const online = "with the registry"
	look := func(when string) (all string) {
		t.Helper()
		for _, args := range [][]string{
			{"discover", "--plain-http", "--format", "json", ns.mirror() + "/" + signed.name()},
			{"discover", "--plain-http", "--format", "json", ns.mirror() + "/" + bare.name()},
			{"repo", "tags", "--plain-http", ns.mirror() + "/" + signed.repository},
		} {
			cmd := ns.command(t.Context(), clientEnv(dir), oras, args...)
			var warnings strings.Builder
			cmd.Stderr = &warnings
			output, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s: oras %s: %v\n%s", when, strings.Join(args, " "), err, warnings.String())
			}
			if stale := strings.Contains(warnings.String(), "served from the cache, last confirmed"); stale != (when != online) {
				t.Errorf("%s: oras %s tells: %s", when, strings.Join(args, " "), warnings.String())
			}
			all += string(output)
		}
		return all
	}
	want := look(online)
	if !strings.Contains(want, "application/vnd.example.signature") || !strings.Contains(want, "\nbare\n") {
		t.Fatalf("the signature is not found:\n%s", want)
	}
	undo := w.hub.Inject(simnet.Fault{On: simnet.Manifests | simnet.Tags | simnet.Referrers, Status: http.StatusTooManyRequests})
	if got := look("at 429"); got != want {
		t.Errorf("at 429:\ngot  %s\nwant %s", got, want)
	}
	undo()
	d.end(t)
	for _, s := range []*simnet.Server{w.hub.Server, w.hub.Auth.Server, w.hub.CDN.Server} {
		s.Break(simnet.ConnRefused)
	}
	w.waitIdle(t)
	w.net.Ledger().Reset()
	d = startDaemon(t, program, ns, setup)
	if got := look("offline"); got != want {
		t.Errorf("offline:\ngot  %s\nwant %s", got, want)
	}
	d.end(t)
	w.wantNoRequests(t, "request at an upstream", simnet.Filter{})
}
