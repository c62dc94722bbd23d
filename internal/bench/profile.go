//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// profiled does f, under perf if profiles were asked for. The file is named after
// the server and the measure; a later round replaces it:
//
//	perf report -i FILE --no-children
func (b *bench) profiled(s *server, measure string, f func() (flow, error)) (flow, error) {
	defer b.record(s, measure)()
	return f()
}

// profiledCalls is profiled for small requests.
func (b *bench) profiledCalls(s *server, measure string, f func() (calls, error)) (calls, error) {
	defer b.record(s, measure)()
	return f()
}

// record starts perf on s and returns what ends it.
func (b *bench) record(s *server, measure string) (stop func()) {
	if b.opts.profile == "" {
		return func() {}
	}
	file := filepath.Join(b.opts.profile, fileName(s.name+" "+measure)+".perf")
	all, err := readStats()
	if err != nil {
		b.progress("no profile of %s: %v", measure, err)
		return func() {}
	}
	var pids []string // nginx's workers are not its master
	for _, pid := range tree(all, s.proc.pid()) {
		pids = append(pids, strconv.Itoa(pid))
	}
	cmd := exec.Command("perf", "record", "-q", "-F", "499", "-g", "-p", strings.Join(pids, ","), "-o", file)
	cmd.Stderr = b.stderr
	if err := cmd.Start(); err != nil {
		b.progress("no profile of %s: %v", measure, err)
		return func() {}
	}
	return func() {
		_ = cmd.Process.Signal(syscall.SIGINT) // it writes its file then
		_ = cmd.Wait()
		// Old files are kept as *.old otherwise.
		_ = os.Remove(file + ".old")
	}
}

// fileName makes a measure's name fit for a file.
func fileName(measure string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, measure)
}
