//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a step is waited for that takes a moment as a rule. On a
// machine that is slow or busy it takes many times as long, so only what hangs
// is to meet this limit.
const patience = 5 * time.Minute

// systemPath is where the programs of the distribution lie. It is the PATH of
// every client: dockerd must find Debian's containerd beside it and not the
// newer one that another client uses.
const systemPath = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"

// systemProgram finds a program of the distribution; one that is missing fails
// the test.
func systemProgram(t *testing.T, name string) string {
	t.Helper()
	for dir := range strings.SplitSeq(systemPath+":/usr/local/bin", ":") {
		if path := filepath.Join(dir, name); isProgram(path) {
			return path
		}
	}
	t.Fatalf("%s is not installed: run `bash .ci/install`", name)
	return ""
}

// builtProgram finds a program that .ci/install builds from source.
func builtProgram(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("PULLCHAIN_TOOLS")
	if dir == "" {
		cache, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(cache, ".cache", "pullchain-tools")
	}
	path := filepath.Join(dir, "bin", name)
	if !isProgram(path) {
		t.Fatalf("%s is not there: run `bash .ci/install`", path)
	}
	return path
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// tempDir is t.TempDir with a short name, because unix sockets lie in it and
// their paths end at 108 bytes.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", ownPrefix())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return dir
}

// process is a server that runs for as long as its test.
type process struct {
	name string
	log  string // the file with its standard output and error
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// startProcess starts cmd with its output in a file under dir. When the test
// ends, the process is stopped, and when the test has failed, the end of the
// log is printed.
func startProcess(t *testing.T, name, dir string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{name: name, log: filepath.Join(dir, name+".log"), cmd: cmd, done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // the child has its own descriptor
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.SysProcAttr == nil {
		// A test that is killed must not leave servers behind.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		defer close(p.done)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("the end of %s's log:\n%s", name, p.tail(60))
		}
	})
	return p
}

// stop ends the process with SIGTERM, and its whole group with SIGKILL when that
// does not help. Stopping twice is fine.
func (p *process) stop(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Errorf("%s does not end on SIGTERM", p.name)
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

// output is everything that the process has printed so far.
func (p *process) output() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	return string(b)
}

// tail is the last n lines of the output.
func (p *process) tail(n int) string {
	lines := strings.Split(strings.TrimRight(p.output(), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// waitFor waits until ready says nil, or until the process has ended.
func (p *process) waitFor(t *testing.T, ready func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return
		}
		select {
		case <-p.done:
			t.Fatalf("%s ended before it was ready: %v (%v)", p.name, err, p.cmd.ProcessState)
		case <-ctx.Done():
			t.Fatalf("%s is not ready after %v: %v", p.name, patience, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// answers is a readiness check: url answers 200.
func answers(client *http.Client, url string) func(context.Context) error {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s", url, res.Status)
		}
		return nil
	}
}

// run runs a program to its end and returns everything it printed, on both
// streams, in the order it came. A program that hangs is killed with ctx.
func run(cmd *exec.Cmd) (string, error) {
	cmd.WaitDelay = time.Minute // of what it has started, and may still print
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%s: %w", filepath.Base(cmd.Args[0]), exit)
	}
	return string(out), err
}
