package config

import (
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/otlp"
)

// fillTraces gives the collector, if there is one, the egress that means none.
func (c *Config) fillTraces() {
	if c.Traces.On() {
		fillString(&c.Traces.Egress, egress.Direct)
	}
}

// Collector returns the collector of [traces] with its way out.
func (c *Config) Collector() otlp.Collector {
	return otlp.Collector{Config: c.Traces, Proxy: c.egressNamed(c.Traces.Egress)}
}

// traces checks [traces]. A share of 0 that stands in the file was meant, and the room
// would take it for all.
func (c *checker) traces(at place) {
	t := c.cfg.Traces
	c.room(at, t.Validate())
	if here := at.child("sample"); t.Sample == 0 && c.doc.has(here) {
		c.doc.blame(here, "must be more than 0; without [traces] nothing is sent")
	}
	if _, ok := c.cfg.Egress[t.Egress]; !ok && t.Egress != "" && t.Egress != egress.Direct && t.Egress != egress.Environment {
		c.noEgress(at.child("egress"), t.Egress)
	}
}
