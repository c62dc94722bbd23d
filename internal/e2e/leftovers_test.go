//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Every folder and every namespace made here has the id of its test process in
// its name, so that a later run can tell which are left over.
var owned = regexp.MustCompile(`\bpce2e-(\d+)-`)

// ownPrefix begins the names of this process.
func ownPrefix() string { return "pce2e-" + strconv.Itoa(os.Getpid()) + "-" }

// leftOver reports whether a name is that of a test process that is gone.
func leftOver(name string) bool {
	match := owned.FindStringSubmatch(name)
	if match == nil {
		return false
	}
	pid, err := strconv.Atoi(match[1])
	return err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// reapLeftovers removes what runs that were killed have left behind. As a rule
// their servers die with them, but not those that a server has started.
func reapLeftovers() {
	for _, name := range namesIn("/proc") {
		if pid, err := strconv.Atoi(name); err == nil && orphanOfOurs(name) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	for _, name := range namesIn("/run/netns") {
		if leftOver(name) {
			removeNamespace(name)
		}
	}
	for _, dir := range slices.Backward(mounts()) {
		if leftOver(dir) {
			_ = syscall.Unmount(dir, syscall.MNT_DETACH)
		}
	}
	for _, name := range namesIn(os.TempDir()) {
		if leftOver(name) {
			_ = os.RemoveAll(filepath.Join(os.TempDir(), name))
		}
	}
}

// orphanOfOurs reports whether a process has lost the parent that would wait for it,
// and was started with a folder of a test process that is gone.
func orphanOfOurs(pid string) bool {
	args, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
	if err != nil || !leftOver(string(bytes.ReplaceAll(args, []byte{0}, []byte{' '}))) {
		return false
	}
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	// "PID (name) state PPID ...", proc_pid_stat(5). A name may have brackets.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	return err == nil && len(fields) > 1 && fields[1] == "1"
}

// mounts are the places where something is mounted, in the order of mounting.
func mounts() []string {
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil
	}
	var dirs []string
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 1 {
			dirs = append(dirs, fields[1])
		}
	}
	return dirs
}

func namesIn(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
