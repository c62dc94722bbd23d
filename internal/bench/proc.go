//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of times in /proc/<pid>/stat: USER_HZ, which is 100 on every
// architecture that Go runs on (proc(5)). The kernel scales the times to what
// its scheduler measured, so the sum over seconds is exact to a tick.
const tick = 10 * time.Millisecond

// A procStat is what is of use in /proc/<pid>/stat.
type procStat struct {
	pid, parent int
	cpu         time.Duration // user and system, with that of children that were waited for
}

// parseStat reads a line of /proc/<pid>/stat. The second field, a program's
// name in brackets, may hold anything, brackets too (proc(5)).
func parseStat(line string) (procStat, error) {
	before, _, ok := strings.Cut(line, " (")
	end := strings.LastIndexByte(line, ')')
	if !ok || end < 0 {
		return procStat{}, fmt.Errorf("no name in %q", line)
	}
	// The last bracket ends the name, which may have brackets and spaces in it.
	fields := strings.Fields(line[end+1:]) // from field 3, the state
	if len(fields) < 15 {
		return procStat{}, fmt.Errorf("%d fields after the name in %q", len(fields), line)
	}
	pid, err := strconv.Atoi(before)
	parent, perr := strconv.Atoi(fields[1])
	s := procStat{pid: pid, parent: parent}
	err = errors.Join(err, perr)
	for _, f := range fields[11:15] { // utime, stime, cutime, cstime
		n, nerr := strconv.ParseInt(f, 10, 64)
		s.cpu += time.Duration(n) * tick
		err = errors.Join(err, nerr)
	}
	return s, err
}

// readStats returns every process there is. Those that end meanwhile are left
// out.
func readStats() (map[int]procStat, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := make(map[int]procStat, len(paths))
	for _, p := range paths {
		line, err := os.ReadFile(p)
		if err != nil {
			continue
		}
		s, err := parseStat(string(line))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		all[s.pid] = s
	}
	return all, nil
}

// tree returns root and all that descend from it, of those in all.
func tree(all map[int]procStat, root int) []int {
	var pids []int
	for pid := range all {
		// No more steps than there are processes: the list is not of one moment,
		// and a number that was given anew may close a circle.
		for p, steps := pid, 0; p > 0 && steps < len(all); p, steps = all[p].parent, steps+1 {
			if p == root {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids
}

// treeCPU is the CPU time so far of a process and all that descend from it.
func treeCPU(root int) (time.Duration, error) {
	all, err := readStats()
	if err != nil {
		return 0, err
	}
	if _, ok := all[root]; !ok {
		return 0, fmt.Errorf("process %d has ended", root)
	}
	var sum time.Duration
	for _, pid := range tree(all, root) {
		sum += all[pid].cpu
	}
	return sum, nil
}

// parseKiB reads a line such as "VmHWM:     1234 kB" of /proc/<pid>/status, and
// returns bytes.
func parseKiB(status, name string) (int64, error) {
	for line := range strings.Lines(status) {
		rest, ok := strings.CutPrefix(line, name+":")
		if !ok {
			continue
		}
		fields := strings.Fields(rest)
		if len(fields) != 2 || fields[1] != "kB" {
			return 0, fmt.Errorf("%s: %q is not in kB", name, rest)
		}
		n, err := strconv.ParseInt(fields[0], 10, 64)
		return n << 10, err
	}
	return 0, fmt.Errorf("%w: %s", errNoLine, name)
}

// errNoLine is what a process has that has ended and waits for its parent.
var errNoLine = errors.New("no such line in status")

// treeMemory sums a line of /proc/<pid>/status, VmRSS or VmHWM, over a process
// tree. Pages that nginx's workers share count several times, as they do in ps.
func treeMemory(root int, name string) (int64, error) {
	all, err := readStats()
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, pid := range tree(all, root) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		n, err := parseKiB(string(status), name)
		if errors.Is(err, errNoLine) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("process %d: %w", pid, err)
		}
		sum += n
	}
	return sum, nil
}

// forgetPeaks begins VmHWM anew for a process tree (proc(5), clear_refs).
func forgetPeaks(root int) error {
	all, err := readStats()
	if err != nil {
		return err
	}
	for _, pid := range tree(all, root) {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
			return err
		}
	}
	return nil
}

// ownCPU is the CPU time of this process: the clients and the simulated
// internet.
func ownCPU() time.Duration {
	var ru syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &ru) != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
