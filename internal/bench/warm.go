//go:build linux

package main

import (
	"fmt"

	"github.com/pullchain/pullchain/internal/simnet"
)

// transport is the word for the rows.
func transport(secure bool) string {
	if secure {
		return "TLS"
	}
	return "plain HTTP"
}

// streamsAtOnce is how many clients pull the warm blob: as many as there are
// cores here, so that a server that uses but one is seen.
const streamsAtOnce = 2

// warmBlob is how fast a blob that is in the cache goes out, and what it costs.
func (b *bench) warmBlob(secure bool) ([]row, error) {
	st, err := b.stage(secure)
	if err != nil {
		return nil, err
	}
	measure := "warm blob, " + transport(secure)
	c := newContest(st.absent)
	err = b.takeTurns(c, b.opts.rounds, sides(st.warmServers(), func(_ int, s *server) error {
		// Whatever has pushed it out of the page cache, it is back now.
		if _, err := pullAway(b.ctx, s.target, st.blob(0), func(int) {}); err != nil {
			return err
		}
		f, err := b.profiled(s, measure, func() (flow, error) {
			return s.streamFor(b.ctx, st.blob(0), streamsAtOnce, b.opts.duration)
		})
		c.add("speed", s.name, f.rate())
		c.add("CPU", s.name, f.cpuPerGB())
		c.add("client", s.name, f.share())
		return err
	}))
	rows := c.rows(measure, "speed", "MB/s", warmPeers, goals{nginx: ratioAtLeast(1), distribution: ratioAtLeast(2)})
	rows[0].note = c.shares("client", pullchain, nginx, distribution, bare)
	return append(rows, c.rows(measure, "CPU", "s/GB", warmPeers, goals{nginx: ratioAtMost(0.75)})...), err
}

// callersAtOnce is how many connections ask for manifests.
const callersAtOnce = 16

// warmManifest is how many manifests that are in the cache a server answers, and
// how late the slowest are. By digest nothing is to be asked of the registry;
// by tag pullchain and nginx ask once a minute, distribution every time.
func (b *bench) warmManifest(secure bool) ([]row, error) {
	st, err := b.stage(secure)
	if err != nil {
		return nil, err
	}
	byDigest := st.warm.ManifestPath(st.warm.Root.Digest.String())
	var rows []row
	for _, kind := range []struct{ name, method, path string }{
		{"GET by digest", "GET", byDigest},
		{"HEAD by digest", "HEAD", byDigest},
		{"HEAD by tag", "HEAD", st.warm.Path()},
	} {
		more, err := b.manifestCalls(st, kind.name+", "+transport(secure), kind.method, kind.path)
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// manifestCalls asks for the warm manifest as often as a server can answer. What
// reaches the registry meanwhile is counted: a server that asks it each time is
// measured with its round trip.
func (b *bench) manifestCalls(st *stage, kind, method, path string) ([]row, error) {
	measure := "warm manifest, " + kind
	c := newContest(st.absent)
	err := b.takeTurns(c, b.opts.rounds, sides(st.warmServers(), func(_ int, s *server) error {
		before := st.net.Ledger().Count(simnet.Filter{})
		got, err := b.profiledCalls(s, measure, func() (calls, error) {
			return s.callFor(b.ctx, method, path, callersAtOnce, b.opts.duration)
		})
		if err == nil && got.n == 0 {
			err = fmt.Errorf("no answer in %s", b.opts.duration)
		}
		c.add("requests", s.name, got.perSecond())
		c.add("p99", s.name, inMS(got.p99))
		c.add("CPU", s.name, got.cpuPerCall())
		c.add("client", s.name, got.share())
		asked := st.net.Ledger().Count(simnet.Filter{}) - before
		c.add("upstream", s.name, 100*float64(asked)/float64(max(got.all, 1)))
		return err
	}))
	rows := c.rows(measure, "requests", "/s", warmPeers, goals{nginx: ratioAtLeast(1), distribution: ratioAtLeast(3)})
	rows[0].note = c.shares("client", pullchain, nginx, distribution, bare)
	rows[1].note = fmt.Sprintf("the registry is asked for every 100 requests: %s by pullchain, %s by distribution",
		figure(median(c.samples["upstream"][pullchain]), ""), figure(median(c.samples["upstream"][distribution]), ""))
	rows = append(rows, c.rows(measure, "p99", "ms", warmPeers, goals{nginx: ratioAtMost(1)})...)
	return append(rows, c.rows(measure, "CPU", "µs each", warmPeers, nil)...), err
}
