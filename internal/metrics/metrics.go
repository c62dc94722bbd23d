// Package metrics answers /metrics for Prometheus: it makes series of what the daemon
// knows, at each scrape and for nothing else. Nothing is counted here, and no request
// of a client passes through: the rooms count in plain values, and a scrape reads those
// as any reader of a snapshot does.
//
// Labels are names of the configuration and words of this program, never what a client
// or an upstream has said, so the number of series is bounded. The table of metrics is
// docs/metrics.md, which TestTable holds to the definitions here, and
// daemon.TestMetricsOfTheTable to what a daemon answers.
package metrics

import (
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/guard"
	"github.com/pullchain/pullchain/internal/traffic"
)

// Sources are what metrics are made of. They are read at each scrape, by several
// goroutines at once.
type Sources struct {
	Snapshot func() admin.Snapshot
	Traffic  func() traffic.Counts
	Streams  *admin.StreamCounts // of the readers of events
	Guard    *guard.Guard        // nil guards too, and counts nothing
	Log      *slog.Logger        // nil discards
}

// scrapesAtOnce is how many scrapes are answered at the same time; one more gets 503.
// A Prometheus and its replica are two.
const scrapesAtOnce = 4

// New returns the handler of /metrics. Its registry is its own, with nothing in it of
// what other packages have registered for all of a process.
func New(from Sources) http.Handler {
	if from.Log == nil {
		from.Log = slog.New(slog.DiscardHandler)
	}
	return promhttp.HandlerFor(registry(from), promhttp.HandlerOpts{
		ErrorLog:            errorLog{from.Log},
		ErrorHandling:       promhttp.ContinueOnError, // one series that cannot be made takes no other with it
		MaxRequestsInFlight: scrapesAtOnce,
	})
}

func registry(from Sources) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister( // of descriptions that are constants: it cannot fail
		&collector{from: from, build: build()},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return r
}

// An errorLog takes what promhttp has to say.
type errorLog struct{ log *slog.Logger }

// Println logs one error.
func (l errorLog) Println(v ...any) { l.log.Warn("metrics", "error", v) }

// build is the revision that the binary was built from, or "unknown", and the version
// of Go.
func build() [2]string {
	revision := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	return [2]string{revision, runtime.Version()}
}

// A collector makes series of a snapshot.
type collector struct {
	from  Sources
	build [2]string // revision and version of Go
}

// Describe tells every metric that there may be.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range defined {
		ch <- m.desc
	}
}

// Collect reads one snapshot and makes all series of it. It runs in a goroutine of the
// client library, where a panic would end the process; one leaves the series that are
// made by then.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	c.from.Guard.Do(guard.Metrics, func() { c.collect(series{ch}) })
}

func (c *collector) collect(out series) {
	out.panics(c.from.Guard.Counts())
	s := c.from.Snapshot()
	out.daemon(&s, c.build)
	out.operators(&s, c.from.Streams)
	for i := range s.Registries {
		out.registry(&s.Registries[i], s.Now)
	}
	counts := c.from.Traffic()
	out.traffic(&counts, &s)
	if s.Cache != nil {
		out.cache(s.Cache, &s)
	}
}
