//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

// main runs the measures. It is also the bare server, which it starts as a process
// of its own so that its CPU time can be told from the client's.
func main() {
	if len(os.Args) > 1 && os.Args[1] == bareCommand {
		fmt.Fprintln(os.Stderr, "bench:", runBare(os.Args[2:]))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.Exit(1)
	}
}

// options are what the flags say.
type options struct {
	only     *regexp.Regexp // nil: everything
	quick    bool
	json     bool
	duration time.Duration // of one sample of a load
	rounds   int           // samples of each figure
	dir      string        // where the temporary folder goes
	program  string        // pullchain; "" builds it
	profile  string        // folder for perf's files; "" is no profiling
}

// parseOptions reads the flags, and fills in what depends on -quick.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	var only string
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&only, "only", "", "run the measures whose name matches this `regexp`")
	fs.BoolVar(&o.quick, "quick", false, "small sizes, one round: whether it works, not how fast it is")
	fs.BoolVar(&o.json, "json", false, "print JSON, with every sample")
	fs.DurationVar(&o.duration, "duration", 0, "how long one sample of a load takes (2s, quick 300ms)")
	fs.IntVar(&o.rounds, "rounds", 0, "how many samples of each figure (5, quick 1)")
	fs.StringVar(&o.dir, "dir", "", "`folder` for the servers' caches; needs some 10 GB (the system's for temporary files)")
	fs.StringVar(&o.program, "pullchain", "", "`program` to measure (built from this module)")
	fs.StringVar(&o.profile, "profile", "", "`folder` for profiles by perf of every server; figures suffer")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("what is %q? There are only flags", fs.Arg(0))
	}
	if only != "" {
		re, err := regexp.Compile(only)
		if err != nil {
			return o, fmt.Errorf("-only: %w", err)
		}
		o.only = re
	}
	if o.duration == 0 {
		o.duration = pick(o.quick, 300*time.Millisecond, 2*time.Second)
	}
	if o.rounds == 0 {
		o.rounds = pick(o.quick, 1, 5)
	}
	if o.duration < 0 || o.rounds < 0 {
		return o, errors.New("-duration and -rounds cannot be negative")
	}
	return o, nil
}

func pick[T any](quick bool, small, full T) T {
	if quick {
		return small
	}
	return full
}

// run measures and prints. The error tells of measures that could not be taken;
// a goal that is missed is a result.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	opts, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, opts, stderr)
	if err != nil {
		return err
	}
	defer b.close()
	before := conditions(opts)
	rows, err := b.measureAll()
	if opts.json {
		return errors.Join(err, writeJSON(stdout, before, rows))
	}
	for _, line := range before {
		fmt.Fprintln(stdout, line)
	}
	fmt.Fprintln(stdout)
	return errors.Join(err, writeTable(stdout, rows))
}
