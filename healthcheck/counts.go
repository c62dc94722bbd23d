package healthcheck

import (
	"maps"
	"slices"
	"time"
)

// Bounds are the upper bounds of the buckets of [Counts], in seconds.
var Bounds = [...]float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

// Counts are the probes of a Target since it was first watched.
type Counts struct {
	Passed uint64
	Failed map[string]uint64       // by [Job].Kind
	Took   [len(Bounds) + 1]uint64 // probes by how long they took; the last bucket has no bound
	TookS  float64                 // seconds that all of them took together
}

// add counts one probe.
func (c *Counts) add(kind string, err error, took time.Duration) {
	i, _ := slices.BinarySearch(Bounds[:], took.Seconds())
	c.Took[i]++
	c.TookS += took.Seconds()
	if err == nil {
		c.Passed++
		return
	}
	if c.Failed == nil {
		c.Failed = make(map[string]uint64)
	}
	c.Failed[kind]++
}

// clone returns a copy that shares nothing.
func (c *Counts) clone() Counts {
	out := *c
	out.Failed = maps.Clone(c.Failed)
	return out
}
