// Package leaktest looks for goroutines that a package's tests have left running.
// Only tests import it: one line of TestMain per package.
package leaktest

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long what is about to end may take on a busy machine. goleak
// itself waits for less than a second.
const patience = time.Minute

// Main runs the tests of m and ends the process: with their exit code, or with 1
// and the stacks of what is still running if the tests have passed. Each of finally
// is called between the tests and the look, to end what a process shares, such as
// the connections that http.DefaultClient keeps.
func Main(m *testing.M, finally ...func()) {
	code := m.Run()
	for _, f := range finally {
		f()
	}
	if code == 0 {
		if err := find(patience); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// find returns what still runs after so long, or nil as soon as nothing does.
func find(wait time.Duration) error {
	end := time.Now().Add(wait)
	for {
		err := goleak.Find()
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}
