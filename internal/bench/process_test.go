//go:build linux

package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// thisProcess is the test itself in the place of a server.
func thisProcess(t *testing.T) *process {
	t.Helper()
	me, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return &process{cmd: &exec.Cmd{Process: me}}
}

func TestProcessesAreStoppedWithTheirGroup(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "log")
	// A shell that does not care for SIGTERM, and a child of it.
	p, err := startProcess(log, []string{"PATH=" + os.Getenv("PATH")}, "sh", "-c", `trap "" TERM; sleep 60 & echo $!; wait`)
	if err != nil {
		t.Fatal(err)
	}
	var child string
	for end := time.Now().Add(2 * time.Minute); child == "" && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		child = p.said()
	}
	if child == "" {
		t.Fatal("the shell said nothing")
	}
	p.stop()
	if err := syscall.Kill(p.pid(), 0); err == nil {
		t.Errorf("process %d still runs", p.pid())
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		state, _ := os.ReadFile("/proc/" + child + "/stat") // an orphan is gone, or waits for init
		if len(state) == 0 || strings.Contains(string(state), ") Z ") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("its child still runs: %s", state)
		}
	}
}

func TestAnswersTellsWhyNot(t *testing.T) {
	t.Parallel()
	p, err := startProcess(filepath.Join(t.TempDir(), "log"), nil, "/bin/sh", "-c", "echo no such setting; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	err = p.answers(t.Context(), target{addr: addr})
	if err == nil || !strings.Contains(err.Error(), "no such setting") {
		t.Errorf("error %v, want what the program said", err)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-only", "("}, {"-duration", "-1s"}, {"-rounds", "-1"}, {"quick"}, {"-what"}} {
		var stderr bytes.Buffer
		if o, err := parseOptions(args, &stderr); err == nil {
			t.Errorf("%q is no error: %+v", args, o)
		}
	}
	o, err := parseOptions([]string{"-quick", "-only", "warm"}, os.Stderr)
	if err != nil || o.duration != 300*time.Millisecond || o.rounds != 1 || !o.only.MatchString("warm blob") {
		t.Errorf("%+v, %v", o, err)
	}
	o, err = parseOptions(nil, os.Stderr)
	if err != nil || o.duration != 2*time.Second || o.rounds != 5 || o.only != nil {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestAbsentPeers runs one measure without any of the programs in reach: rows
// say what to install, and nothing fails.
func TestAbsentPeersHaveRows(t *testing.T) {
	t.Parallel()
	c := newContest(map[string]string{nginx: "nginx is not installed (apt package nginx-light)"})
	c.add("speed", pullchain, 10)
	c.add("speed", distribution, 5)
	rows := c.rows("warm", "speed", "MB/s", peers, goals{nginx: ratioAtLeast(1), distribution: ratioAtLeast(2)})
	var text bytes.Buffer
	if err := writeTable(&text, rows); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"nginx is not installed (apt package nginx-light)", "2.00x"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
	if rows[0].outcome() != "" || rows[1].outcome() != "met" {
		t.Errorf("outcomes %q and %q", rows[0].outcome(), rows[1].outcome())
	}
}

func TestSidesTakeTurns(t *testing.T) {
	t.Parallel()
	b := &bench{ctx: context.Background(), stderr: &bytes.Buffer{}}
	c := newContest(nil)
	var order strings.Builder
	say := func(name string) side {
		return side{name, func(round int) error {
			order.WriteString(name)
			if name == "B" && round == 1 {
				return context.DeadlineExceeded
			}
			return nil
		}}
	}
	if err := b.takeTurns(c, 3, []side{say("A"), say("B"), say("C")}); err != nil {
		t.Fatal(err)
	}
	if got := order.String(); got != "ABC"+"BCA"+"CA" { // B is out after its failure
		t.Errorf("turns were %s", got)
	}
	if !strings.Contains(c.missing["B"], "deadline") || c.missing["A"] != "" {
		t.Errorf("missing: %q", c.missing)
	}
}
