package daemon

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/healthcheck"
	"github.com/pullchain/pullchain/internal/guard"
	"github.com/pullchain/pullchain/internal/history"
)

const (
	// sampleEvery is how often the history is told how things stand. What happens in
	// between is not lost: counters count on, and states come from the events.
	sampleEvery = 5 * time.Second

	// saveEvery is how often the history is written to disk: so much of it a crash costs.
	saveEvery = time.Minute
)

// A sampler feeds the history of a daemon's whole life, whatever chain is in force.
type sampler struct {
	rings *history.Rings
	file  string // empty: it is not kept over a restart
	log   *slog.Logger
	guard *guard.Guard

	// Of its one goroutine.
	next   uint64    // of the events
	saved  time.Time // when the file was written last, or tried
	failed bool      // it could not be written then
}

// historyFile is its name in the state directory.
const historyFile = "history.json.gz"

// openHistory returns the history with what dir has of earlier times; an empty dir keeps
// nothing. A file that cannot be read costs the past, and nothing else.
func openHistory(dir string, log *slog.Logger, g *guard.Guard) *sampler {
	s := &sampler{rings: history.New(), log: log, guard: g, saved: time.Now()}
	if dir == "" {
		return s
	}
	s.file = filepath.Join(dir, historyFile)
	if err := s.rings.Load(s.file); err != nil {
		log.Warn("the history of upstreams begins anew", "error", err)
	}
	return s
}

// run samples until ctx is done, and a last time then.
func (s *sampler) run(ctx context.Context, chain func() *chain) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			now := time.Now()
			s.guarded(now, chain())
			if now.Sub(s.saved) >= saveEvery {
				s.save(now)
			}
		case <-ctx.Done():
			now := time.Now()
			s.guarded(now, chain())
			s.save(now)
			return
		}
	}
}

// save writes the file. A disk that is full for an hour is one line in the log, and one
// when it is over.
func (s *sampler) save(now time.Time) {
	if s.file == "" {
		return
	}
	s.saved = now
	err := guard.Try(func() error { return s.rings.Save(s.file, now) })
	s.guard.Note(guard.History, err)
	switch {
	case err != nil && !s.failed:
		s.log.Warn("the history of upstreams cannot be kept", "file", s.file, "error", err)
	case err == nil && s.failed:
		s.log.Info("the history of upstreams is kept again", "file", s.file)
	}
	s.failed = err != nil
}

// guarded is sample, where a mistake costs no more than the sample.
func (s *sampler) guarded(now time.Time, c *chain) {
	s.guard.Do(guard.History, func() { s.sample(now, c) })
}

// sample tells the history how c stands.
func (s *sampler) sample(now time.Time, c *chain) {
	seen := s.sights(c.events)
	var all []history.Observation
	for _, r := range c.registries {
		probes := map[string]healthcheck.TargetSnapshot{}
		for _, p := range r.checker.Snapshot() {
			probes[p.Name] = p
		}
		for _, l := range r.balancer.Snapshot().Lanes {
			o := observation(l, probes[l.Upstream])
			o.Registry, o.Seen = r.name, seen[pathID{r.name, l.Upstream}]
			all = append(all, o)
		}
	}
	s.rings.Observe(now, all)
}

// sights returns the states that began since they were asked for last.
func (s *sampler) sights(events *balancer.Events) map[pathID][]history.Sight {
	out := map[pathID][]history.Sight{}
	list, next, _ := events.Since(s.next) // what is lost was one of more than a hundred in five seconds
	s.next = next
	for _, e := range list {
		if e.Kind == balancer.KindTransition {
			id := pathID{e.Registry, e.Upstream}
			out[id] = append(out[id], history.Sight{At: e.At, State: e.To, Code: string(e.Code)})
		}
	}
	return out
}

// observation is how a lane and its probes stand, in the words of the history.
func observation(l balancer.LaneSnapshot, probes healthcheck.TargetSnapshot) history.Observation {
	o := history.Observation{
		Upstream: l.Upstream, State: l.State, Code: string(l.Code), Codes: map[string]uint64{},
		ProbesOK: probes.Counts.Passed, ProbeWaits: history.Waits{Total: probes.Counts.Passed},
		Received: uint64(l.Counts.Received), Rates: history.Rates{Total: l.Counts.Bodies, Last: l.Counts.LastRates},
	}
	if q := l.Quota; q != nil {
		o.Quota = &history.Quota{Limit: q.Limit, Remaining: q.Remaining, At: q.At}
	}
	sortFailures(&o, l.Counts.Requests)
	for _, c := range l.Classes {
		o.OK += c.Requests - min(c.Failures, c.Requests)
		o.Failed += c.Failures
		for code, n := range c.Outcomes {
			o.Codes[string(code)] += n
		}
		if c.Class != pullchain.ClassToken.String() {
			o.Waits = append(o.Waits, history.Waits{Total: c.Answers, LastMS: c.LastMS})
		}
	}
	for _, n := range probes.Counts.Failed {
		o.ProbesFailed += n
	}
	for _, p := range probes.History {
		if p.OK() {
			o.ProbeWaits.LastMS = append(o.ProbeWaits.LastMS, p.TookMS)
		}
	}
	return o
}

// sortFailures tells apart what failed by what a reader of a chart wants to know: an
// upstream that says "no" or "not so often" works. The rest gave no answer, or an error.
func sortFailures(o *history.Observation, requests []balancer.RequestCount) {
	for _, c := range requests {
		switch c.Outcome {
		case balancer.OutcomeNotFound, balancer.OutcomeDenied:
			o.SaidNo += c.N
		case balancer.OutcomeRateLimited:
			o.Limited += c.N
		case balancer.OutcomeStalled, balancer.OutcomeTruncated, balancer.OutcomeDigestMismatch, balancer.OutcomeBadContent:
			o.Broken += c.N
		}
	}
}
