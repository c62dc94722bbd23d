package healthcheck

import (
	"errors"
	"fmt"
	"time"
)

// Config says how to probe one Target. The zero value is every 15 s, each
// within 5 s (docs/faults.md 9). All intervals vary by up to a fifth, so that
// replicas that were started together do not stay together.
type Config struct {
	Interval       time.Duration `toml:"interval"`        // between probes; 0 means 15 s
	IdleInterval   time.Duration `toml:"idle_interval"`   // while there is no traffic; 0 means 60 s; never under Interval
	UrgentInterval time.Duration `toml:"urgent_interval"` // while down or urgent; 0 means 5 s; never over Interval
	Timeout        time.Duration `toml:"timeout"`         // of one probe; 0 means 5 s
	Rise           int           `toml:"rise"`            // passes in a row that bring a Target up; 0 means 2
	Fall           int           `toml:"fall"`            // failures in a row that take it down; 0 means 3
	History        int           `toml:"history"`         // results remembered, and as many older failures; 0 means 20
}

// WithDefaults returns c with every zero field set to what it means.
func (c Config) WithDefaults() Config {
	orDuration(&c.Interval, 15*time.Second)
	orDuration(&c.IdleInterval, time.Minute)
	orDuration(&c.UrgentInterval, 5*time.Second)
	orDuration(&c.Timeout, 5*time.Second)
	orInt(&c.Rise, 2)
	orInt(&c.Fall, 3)
	orInt(&c.History, 20)
	c.IdleInterval = max(c.IdleInterval, c.Interval)
	c.UrgentInterval = min(c.UrgentInterval, c.Interval)
	return c
}

// The floors and ceilings of Validate. A probe more often than every second
// would look like an attack to the registries that ban for it.
const (
	minInterval = time.Second
	minTimeout  = 10 * time.Millisecond
	maxDuration = 24 * time.Hour
	maxCount    = 1000
)

// Validate reports every field that cannot be meant, by its TOML name.
func (c Config) Validate() error {
	return errors.Join(
		checkDuration("interval", c.Interval, minInterval),
		checkDuration("idle_interval", c.IdleInterval, minInterval),
		checkDuration("urgent_interval", c.UrgentInterval, minInterval),
		checkDuration("timeout", c.Timeout, minTimeout),
		checkCount("rise", c.Rise),
		checkCount("fall", c.Fall),
		checkCount("history", c.History),
	)
}

func checkDuration(name string, d, floor time.Duration) error {
	if d != 0 && (d < floor || d > maxDuration) {
		return fmt.Errorf("%s: %v is not between %v and %v", name, d, floor, maxDuration)
	}
	return nil
}

func checkCount(name string, n int) error {
	if n < 0 || n > maxCount {
		return fmt.Errorf("%s: %d is not between 1 and %d", name, n, maxCount)
	}
	return nil
}

func orDuration(d *time.Duration, def time.Duration) {
	if *d <= 0 {
		*d = def
	}
}

func orInt(n *int, def int) {
	if *n <= 0 {
		*n = def
	}
}
