//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// upstream is one path of docker.io's chain, as it stands in the config file.
type upstream struct {
	name   string
	url    string
	caFile string
	egress string // the egress's URL; "" is direct
	origin bool   // the registry itself, whose 404 is final
}

// buildDaemon builds the pullchain binary that all tests run.
func buildDaemon(t *testing.T) string {
	t.Helper()
	path := filepath.Join(tempDir(t), "pullchain")
	cmd := exec.Command("go", "build", "-o", path, "github.com/pullchain/pullchain/cmd/pullchain")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// daemon is a running pullchain.
type daemon struct {
	process *process
	admin   string // URL of the operator's plane
}

// startDaemon starts pullchain on the mirror address of the namespace with
// docker.io's chain. It ends with the test.
func startDaemon(t *testing.T, program string, ns *namespace, chain []upstream) *daemon {
	t.Helper()
	dir := tempDir(t)
	path := filepath.Join(dir, "pullchain.toml")
	writeFile(t, path, daemonConfig(ns, chain))
	cmd := exec.Command(program, "run", "--config", path)
	cmd.Env = []string{"PATH=" + systemPath, "HOME=" + dir}
	d := &daemon{process: startProcess(t, "pullchain", dir, cmd), admin: "http://" + ns.admin()}
	// Not readyz: it rightly says 503 while no registry can be pulled from.
	d.process.waitFor(t, answers(http.DefaultClient, d.admin+"/-/healthz"))
	return d
}

// daemonConfig is the file that a person would write, as DESIGN.md, "Names
// that people type", has it.
func daemonConfig(ns *namespace, chain []upstream) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[server]\nlisten = %q\n\n[admin]\nlisten = %q\n\n[log]\nformat = \"json\"\n", ns.mirror(), ns.admin())
	for _, u := range chain {
		if u.egress != "" {
			fmt.Fprintf(&b, "\n[egress.%s]\nurl = %q\n", u.name, u.egress)
		}
	}
	b.WriteString("\n[[registry]]\nname = \"docker.io\"\n")
	for _, u := range chain {
		fmt.Fprintf(&b, "\n[[registry.upstream]]\nname = %q\nurl = %q\n", u.name, u.url)
		// The real names would imply the origin's rights, and public addresses.
		fmt.Fprintf(&b, "authoritative = %t\ntrust = \"resolve\"\nallow_private = true\n", u.origin)
		if u.caFile != "" {
			fmt.Fprintf(&b, "ca_file = %q\n", u.caFile)
		}
		if u.egress != "" {
			fmt.Fprintf(&b, "egress = %q\n", u.name)
		}
	}
	return b.String()
}

// ready waits until the daemon says that docker.io can be pulled from.
func (d *daemon) ready(t *testing.T) {
	t.Helper()
	d.process.waitFor(t, answers(http.DefaultClient, d.admin+"/-/readyz?registry=docker.io"))
}

// end ends the daemon as a service manager would and wants that to be in
// order. When the test has failed, it first prints what the lanes look like.
func (d *daemon) end(t *testing.T) {
	t.Helper()
	if t.Failed() {
		t.Logf("pullchain's lanes at the end:\n%s", d.get(t.Context(), "/api/v1/snapshot"))
	}
	d.process.stop(t)
	if state := d.process.cmd.ProcessState; !state.Success() {
		t.Errorf("pullchain ended with %v", state)
	}
}

// access is a line of the access log.
type access struct {
	Message string `json:"msg"`
	Method  string `json:"method"`
	Status  int    `json:"status"`
	Op      string `json:"op"`
	Ref     string `json:"ref"`
	Trace   string `json:"trace"`
}

// accessLog is what the clients asked, in the order of the answers' ends.
func (d *daemon) accessLog(t *testing.T) []access {
	t.Helper()
	var all []access
	for line := range strings.Lines(d.process.output()) {
		var a access
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Errorf("pullchain logs a line that is no JSON: %v\n%s", err, line)
			continue
		}
		if a.Message == "request" {
			all = append(all, a)
		}
	}
	return all
}

// get is the body of a page of the operator's plane, or why there is none.
func (d *daemon) get(ctx context.Context, path string) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.admin+path, nil)
	if err != nil {
		return err.Error()
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// startWorker runs the Worker of examples/worker in workerd and returns its
// URL. The Worker's docker.io is the hub at origin, whose token server and CDN
// are the hosts auth and cdn; caFile signs all three.
func startWorker(t *testing.T, caFile, origin, auth, cdn string) string {
	t.Helper()
	script, err := filepath.Abs("../../examples/worker/test/run.mjs")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(script), "node_modules", "workerd")); errors.Is(err, os.ErrNotExist) {
		t.Fatal("workerd is not installed: run `bash .ci/install`")
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("node is not installed: run `bash .ci/install`")
	}
	registries := marshal(t, map[string]any{"docker.io": map[string]any{
		"origin": origin, "auth": []string{auth}, "blobs": []string{cdn},
	}})
	dir := tempDir(t)
	cmd := exec.Command(node, script, "--ca", caFile, "--registries", string(registries))
	cmd.Env = []string{"PATH=" + systemPath, "HOME=" + dir, "TMPDIR=" + dir}
	p := startProcess(t, "workerd", dir, cmd)
	var address string
	p.waitFor(t, func(context.Context) error {
		for line := range strings.Lines(p.output()) {
			if rest, ok := strings.CutPrefix(line, "ready "); ok && strings.HasSuffix(rest, "\n") {
				address = strings.TrimSpace(rest)
				return nil
			}
		}
		return errors.New("it has not said ready")
	})
	return address
}
