package healthcheck_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/pullchain/pullchain/healthcheck"
)

// A door can be probed: it is anything that can be asked whether it is there.
type door struct{ open bool }

func (d *door) Name() string { return "door" }

func (d *door) Probe(context.Context) error {
	if !d.open {
		return errors.New("locked")
	}
	return nil
}

// SetProbeResult is where a Target does what it likes with what its probes say.
func (d *door) SetProbeResult(up bool, err error) { fmt.Println("up:", up, "last probe:", err) }

// Pace asks for probes at the ordinary pace.
func (d *door) Pace() (quiet, urgent bool) { return false, false }

// It takes three failures in a row to take a target down, so that one lost packet
// does not.
func Example() {
	d := &door{}
	checker := healthcheck.New([]healthcheck.Job{{Target: d, Config: healthcheck.Config{Fall: 3}}}, nil)
	for range 3 { // as Run does on a schedule
		if _, err := checker.Check(context.Background(), "door"); err != nil {
			fmt.Println(err)
		}
	}
	s := checker.Snapshot()[0]
	fmt.Printf("%s is up: %v, after %d of %d failures\n", s.Name, s.Up, s.Falling, s.Fall)
	// Output:
	// up: true last probe: locked
	// up: true last probe: locked
	// up: false last probe: locked
	// door is up: false, after 3 of 3 failures
}
