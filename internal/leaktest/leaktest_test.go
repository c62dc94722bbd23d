package leaktest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// leakEnv makes this test program one whose goroutine never ends before its
// TestMain asks.
const leakEnv = "LEAKTEST_LEAK"

var stop = make(chan struct{})

func TestMain(m *testing.M) {
	if os.Getenv(leakEnv) != "" {
		go func() { <-stop }()
	}
	Main(m, func() { close(stop) })
}

// What the tests have in common is ended before the look, or it would be a leak.
func TestFinallyComesFirst(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), leakEnv+"=1")
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "goroutine") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	defer close(end)
	go stray(end)
	if err := find(0); err == nil || !strings.Contains(err.Error(), "leaktest.stray") {
		t.Errorf("found %v", err)
	}
}

func stray(end chan struct{}) { <-end }
