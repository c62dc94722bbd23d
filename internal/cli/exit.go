package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/pullchain/pullchain/internal/config"
)

// The exit codes (docs/architecture.md, Exit codes). Scripts and service units depend on them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitConfig      = 3 // the configuration cannot be used
	exitUnreachable = 4 // no daemon answers
	exitDegraded    = 5 // with --check
	exitNoPath      = 6 // with --check: a registry cannot be pulled from
	exitWrong       = 8 // content is not what its digest says
	exitRefused     = 9 // it would leave a registry without any upstream, and was not forced
	exitInterrupted = 130
)

// An exitError ends a command with a code of its own. Without an Err it has
// already said all there is to say.
type exitError struct {
	code int
	err  error
}

// Error returns what went wrong. A code alone is for an error that has been written
// already.
func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// codeOf tells people what is wrong and returns the exit code for it.
func (a *app) codeOf(ctx context.Context, err error) int {
	if err == nil {
		return exitOK
	}
	// Both: an error that only says "canceled" may be a request's own, and a
	// command that failed at the moment of the signal has failed.
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	code := exitFailed
	if mistakes := config.Errors(err); len(mistakes) > 0 {
		code = exitConfig
	}
	exit, ok := errors.AsType[*exitError](err)
	if ok {
		code, err = exit.code, exit.err
	}
	if err != nil {
		a.complain(err)
	}
	return code
}

// complain writes an error to standard error: each mistake of a configuration
// on a line of its own that begins with file:line:column, so that editors can
// jump to it, and anything else behind the program's name.
func (a *app) complain(err error) {
	if mistakes := config.Errors(err); len(mistakes) > 0 {
		for _, m := range mistakes {
			fmt.Fprintln(a.Stderr, m)
		}
		return
	}
	fmt.Fprintf(a.Stderr, "pullchain: %v\n", err)
}
