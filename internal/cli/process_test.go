package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/admin"
)

// A child is pullchain in a process of its own.
type child struct {
	cmd    *exec.Cmd
	lines  *bufio.Scanner // of its log
	listen string
	admin  string
}

// startChild starts `pullchain run` with the configuration at path, and waits
// until it serves. Its log must be JSON.
func startChild(t *testing.T, path string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(exe, "run", "--config", path)}
	c.cmd.Env = []string{"PULLCHAIN_TEST_MAIN=1", "HOME=" + t.TempDir()}
	stderr, err := c.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.cmd.Process.Kill() })
	c.lines = bufio.NewScanner(stderr)
	record := c.await(t, "serving")
	c.listen, c.admin = "http://"+record["listen"].(string), "http://"+record["admin"].(string)
	return c
}

// await reads the log until a record with that message.
func (c *child) await(t *testing.T, message string) map[string]any {
	t.Helper()
	for c.lines.Scan() {
		record := map[string]any{}
		if err := json.Unmarshal(c.lines.Bytes(), &record); err != nil {
			t.Fatalf("a line of the log is no JSON: %s", c.lines.Text())
		}
		if record["msg"] == message {
			return record
		}
	}
	t.Fatalf("the log ends without %q: %v", message, c.lines.Err())
	return nil
}

// end waits until the process is gone and returns its exit code.
func (c *child) end(t *testing.T) int {
	t.Helper()
	for c.lines.Scan() { // Wait closes the pipe
	}
	_ = c.cmd.Wait()
	return c.cmd.ProcessState.ExitCode()
}

func (c *child) snapshot(t *testing.T) admin.Snapshot {
	t.Helper()
	var s admin.Snapshot
	if err := json.Unmarshal(get(t, c.admin+"/api/v1/snapshot"), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// A lockedBuffer can be read while a command writes to it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// runUntil runs a command until its standard output contains text, then calls
// then with the output, interrupts the command and returns what is left.
func runUntil(t *testing.T, text string, then func(out string), args []string, env ...string) result {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out, errs := new(lockedBuffer), new(lockedBuffer)
	ended := make(chan int, 1)
	go func() { ended <- runTo(ctx, out, errs, args, env) }()
	for !strings.Contains(out.String(), text) {
		select {
		case code := <-ended:
			t.Fatalf("it ended with exit code %d before %q:\n%s\n%s", code, text, out, errs)
		case <-time.After(10 * time.Millisecond):
		}
	}
	then(out.String())
	interrupt()
	return result{<-ended, out.String(), errs.String()}
}
