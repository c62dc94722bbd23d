//go:build linux

package main

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	const rest = " S 1 2 2 0 -1 4194560 100 0 0 0 250 130 7 3 20 0 1 0 5 1000 200 18446744073709551615 0 0"
	for _, tt := range []struct {
		name, line string
		want       procStat
		bad        bool
	}{
		{"plain", "2 (nginx)" + rest, procStat{pid: 2, parent: 1, cpu: 3900 * time.Millisecond}, false},
		{"name with spaces and brackets", "2 (a) R (b)" + rest, procStat{pid: 2, parent: 1, cpu: 3900 * time.Millisecond}, false},
		{"empty", "", procStat{}, true},
		{"cut", "2 (nginx) S 1 2", procStat{}, true},
		{"no number", "2 (nginx) S x 2 2 0 -1 4194560 100 0 0 0 250 130 7 3 20", procStat{}, true},
	} {
		got, err := parseStat(tt.line)
		if (err != nil) != tt.bad {
			t.Errorf("%s: error %v", tt.name, err)
		}
		if !tt.bad && got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestTree(t *testing.T) {
	t.Parallel()
	all := map[int]procStat{}
	for pid, parent := range map[int]int{1: 0, 10: 1, 11: 10, 12: 10, 13: 12, 20: 1, 30: 31, 31: 30 /* a race of two reads */} {
		all[pid] = procStat{pid: pid, parent: parent}
	}
	got := tree(all, 10)
	slices.Sort(got)
	if diff := cmp.Diff([]int{10, 11, 12, 13}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseKiB(t *testing.T) {
	t.Parallel()
	const status = "Name:\tx\nVmPeak:\t  999 kB\nVmHWM:\t   2048 kB\nVmRSS:\t 1024 kB\nThreads:\t5\n"
	for name, want := range map[string]int64{"VmHWM": 2 << 20, "VmRSS": 1 << 20} {
		if got, err := parseKiB(status, name); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", name, got, err, want)
		}
	}
	for _, name := range []string{"VmSwap", "Threads"} {
		if n, err := parseKiB(status, name); err == nil {
			t.Errorf("%s: %d, want an error", name, n)
		}
	}
}

func TestThisProcess(t *testing.T) {
	t.Parallel()
	began, err := treeCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(2 * time.Minute); ; {
		now, err := treeCPU(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if now >= began+2*tick {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no CPU time in two minutes of work")
		}
	}
	for _, name := range []string{"VmRSS", "VmHWM"} {
		if n, err := treeMemory(os.Getpid(), name); err != nil || n < 1<<20 {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	if _, err := treeCPU(1 << 30); err == nil {
		t.Error("a process that does not exist has no error")
	}
}
