package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A metric is one row of the table.
type metric struct {
	name, kind, help string
	labels           []string
	desc             *prometheus.Desc
}

// defined are all metrics.
var defined []*metric

// define adds a row. It is called where the variables of the package are made, so what is
// wrong with a name shows in every test.
func define(kind, name, help string, labels ...string) *metric {
	m := &metric{"pullchain_" + name, kind, help, labels, prometheus.NewDesc("pullchain_"+name, help, labels, nil)}
	defined = append(defined, m)
	return m
}

// gauge defines what may go up and down.
func gauge(name, help string, labels ...string) *metric {
	return define("gauge", name, help, labels...)
}

// counter defines what only grows until the process ends.
func counter(name, help string, labels ...string) *metric {
	return define("counter", name, help, labels...)
}

// histogram defines times in seconds, by buckets.
func histogram(name, help string, labels ...string) *metric {
	return define("histogram", name, help, labels...)
}

// valueType is what the client library calls the kind.
func (m *metric) valueType() prometheus.ValueType {
	if m.kind == "counter" {
		return prometheus.CounterValue
	}
	return prometheus.GaugeValue
}

// A series is where series go.
type series struct{ ch chan<- prometheus.Metric }

// number sends one value. Labels are in the order of the definition.
func (s series) number(m *metric, v float64, labels ...string) {
	one, err := prometheus.NewConstMetric(m.desc, m.valueType(), v, labels...)
	if err != nil {
		one = prometheus.NewInvalidMetric(m.desc, err)
	}
	s.ch <- one
}

// flag sends 1 for true.
func (s series) flag(m *metric, v bool, labels ...string) {
	n := 0.0
	if v {
		n = 1
	}
	s.number(m, n, labels...)
}

// moment sends a time in seconds; what was never is not there.
func (s series) moment(m *metric, t *time.Time, labels ...string) {
	if t != nil && !t.IsZero() {
		s.number(m, float64(t.UnixMilli())/1000, labels...)
	}
}

// buckets sends a histogram of counts that are each for one bucket alone, one more than
// there are bounds.
func (s series) buckets(m *metric, bounds []float64, counts []uint64, sum float64, labels ...string) {
	upTo := make(map[float64]uint64, len(bounds))
	var all uint64
	for i, n := range counts {
		all += n
		if i < len(bounds) {
			upTo[bounds[i]] = all
		}
	}
	one, err := prometheus.NewConstHistogram(m.desc, all, sum, upTo, labels...)
	if err != nil {
		one = prometheus.NewInvalidMetric(m.desc, err)
	}
	s.ch <- one
}
