package daemon

import (
	"os"

	"github.com/pullchain/pullchain/internal/guard"
	"github.com/pullchain/pullchain/internal/otlp"
)

// newTraces returns what sends traces, to no collector yet.
func newTraces(opts Options, g *guard.Guard) *otlp.Exporter {
	host, _ := os.Hostname() // without it there is one attribute fewer
	return otlp.New(otlp.Resource{Version: opts.Version, Host: host}, opts.Log, g)
}
