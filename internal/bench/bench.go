//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A bench is one run of the program.
type bench struct {
	ctx    context.Context // of everything: this is a program, not a library
	opts   options
	sizes  sizes
	dir    string
	cert   certificate
	stderr io.Writer

	built    sync.Once
	program  string
	buildErr error

	plain, secure *stage // made when first used
}

// sizes are those of the content, in bytes.
type sizes struct {
	warm, cold, crowd, throttled, stream, many, broken int64
	idle                                               time.Duration // before memory is read
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

// sizesOf returns the sizes of a run. The full ones are large enough that a sample
// takes seconds; the quick ones are for CI, where only the working is checked.
func sizesOf(quick bool) sizes {
	if quick {
		return sizes{
			warm: 16 * mib, cold: 16 * mib, crowd: 2 * mib, throttled: mib, stream: 4 * mib, many: 256 * kib,
			broken: 8 * mib, idle: 500 * time.Millisecond,
		}
	}
	return sizes{
		warm: 256 * mib, cold: 128 * mib, crowd: 32 * mib, throttled: 10 * mib, stream: 100 * mib, many: 4 * mib,
		broken: 32 * mib, idle: 5 * time.Second,
	}
}

// newBench makes the folder and the certificate that every server of the run uses.
func newBench(ctx context.Context, opts options, stderr io.Writer) (*bench, error) {
	dir, err := os.MkdirTemp(opts.dir, "pullchain-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{ctx: ctx, opts: opts, sizes: sizesOf(opts.quick), dir: dir, stderr: stderr}
	if opts.profile != "" {
		err = os.MkdirAll(opts.profile, 0o755)
	}
	if err == nil {
		b.cert, err = newCertificate(dir)
	}
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bench) close() {
	b.leave(&b.plain)
	b.leave(&b.secure)
	_ = os.RemoveAll(b.dir) // what is left lies among temporary files
}

// progress says how far the run is.
func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(b.stderr, "bench: "+format+"\n", args...)
}

// A measure gives some rows of the table. Its name is what -only matches.
type measure struct {
	name string
	run  func(*bench) ([]row, error)
}

// measures are all there are. A row of docs/architecture.md, "What it must reach" of goals has its measure
// here.
var measures = []measure{
	{"warm blob, plain HTTP", func(b *bench) ([]row, error) { return b.warmBlob(false) }},
	{"warm manifest, plain HTTP", func(b *bench) ([]row, error) { return b.warmManifest(false) }},
	{"cold blob", (*bench).coldBlob},
	{"cold blob, 100 MB/s and 60 ms away", (*bench).distantBlob},
	{"200 clients, one cold blob", (*bench).crowd},
	{"CDN of 256 KiB/s a connection", (*bench).throttledBlob},
	{"200 streams, plain HTTP", func(b *bench) ([]row, error) { return b.streams(false) }},
	{"200 cold blobs at once", (*bench).manyFills},
	{"start and idle memory", (*bench).startAndIdle},
	{"warm blob, TLS", func(b *bench) ([]row, error) { return b.warmBlob(true) }},
	{"warm manifest, TLS", func(b *bench) ([]row, error) { return b.warmManifest(true) }},
	{"200 streams, TLS", func(b *bench) ([]row, error) { return b.streams(true) }},
	{"first upstream faulty", (*bench).failover},
	{"upstream fails in mid-blob", (*bench).midBlob},
	{"64 layers, 60 ms away", (*bench).manyLayers},
	{"binary", (*bench).binary},
}

// measureAll takes the measures in turn. One that cannot be taken does not keep
// the others from it.
func (b *bench) measureAll() ([]row, error) {
	var rows []row
	var errs []error
	for _, m := range measures {
		if b.opts.only != nil && !b.opts.only.MatchString(m.name) {
			continue
		}
		if err := b.ctx.Err(); err != nil {
			return rows, errors.Join(append(errs, err)...)
		}
		b.progress("%s", m.name)
		began := time.Now()
		got, err := m.run(b)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
			b.progress("%s: %v", m.name, err)
			got = append(got, row{measure: m.name, missing: "could not be measured"})
		}
		rows = append(rows, got...)
		b.progress("%s: %.1f s", m.name, time.Since(began).Seconds())
	}
	return rows, errors.Join(errs...)
}

// conditions is what a reader has to know of the run.
func conditions(o options) []string {
	lines := []string{fmt.Sprintf("%s, %d cores, Linux %s, %s; load before %s",
		time.Now().UTC().Format("2006-01-02 15:04 MST"), runtime.NumCPU(), firstWord("/proc/sys/kernel/osrelease"), runtime.Version(), firstWord("/proc/loadavg"))}
	for _, peer := range peers {
		lines = append(lines, version(peer))
	}
	lines = append(lines, fmt.Sprintf("medians of %d rounds in turns, %s a sample of load; MB and GB are powers of ten, KiB and MiB of two", o.rounds, o.duration))
	if load, err := strconv.ParseFloat(firstWord("/proc/loadavg"), 64); err == nil && load > 1 {
		lines = append(lines, "the machine is busy with something else: speeds suffer, and more so those of more processes; CPU figures less")
	}
	if o.quick {
		lines = append(lines, "-quick: these figures show that it works, not how fast it is")
	}
	return lines
}

// firstWord is the first word of a file in /proc.
func firstWord(path string) string {
	text, err := os.ReadFile(path)
	if fields := strings.Fields(string(text)); err == nil && len(fields) > 0 {
		return fields[0]
	}
	return "unknown"
}

// version is what a peer says of itself.
func version(peer string) string {
	program, err := find(peer)
	if err != nil {
		return err.Error()
	}
	flag := map[string]string{nginx: "-v", distribution: "--version"}[peer]
	out, err := exec.Command(program, flag).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s: %v", program, err)
	}
	return strings.TrimSpace(string(out))
}
