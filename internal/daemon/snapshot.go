package daemon

import (
	"time"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/diagnose"
	"github.com/pullchain/pullchain/internal/traffic"
)

// Snapshot returns the daemon as it stands, for people to read. It is made anew for
// each call, from values that the rooms copy out of their state: what comes of it can
// neither block a pull nor change anything. The chain is read once, so that a reload
// in between does not mix two configurations in one answer.
func (d *Daemon) Snapshot() admin.Snapshot {
	// Copied first and let go: the snapshots below take locks of their own, and a
	// reload must not wait for them.
	d.mu.Lock()
	reload := d.reload
	d.mu.Unlock()
	seq := d.chain.Load().events.Last() // before the lanes are looked at: what comes in between is an event
	now := time.Now()
	s := admin.Snapshot{
		Seq:      seq,
		Schema:   admin.Schema,
		Version:  d.opts.Version,
		Now:      now,
		Started:  d.started,
		UptimeS:  int64(now.Sub(d.started).Seconds()),
		Draining: d.draining.Load(),

		Notifiers: d.notify.Snapshot(),
		Traces:    d.traces.Snapshot(),
		Config: admin.ConfigState{
			Source:       d.opts.Source,
			LoadedAt:     reload.loaded,
			LastReloadOK: reload.err == nil,
		},
	}
	// A Snapshot may be asked for before Listen.
	if d.data != nil {
		s.Listen, s.ListenTLS, s.AdminURL = d.Addr(), d.cfg.Server.TLSCert != "", d.cfg.Admin.URL
	}
	if !reload.at.IsZero() {
		s.Config.LastReloadAt = &reload.at
	}
	if reload.err != nil {
		s.Config.LastReloadError = reload.err.Error()
	}
	chain := d.chain.Load()
	for _, r := range chain.registries {
		if r.asked.madeUp() {
			continue
		}
		b := r.balancer.Snapshot()
		s.Registries = append(s.Registries, admin.Registry{Snapshot: b, Standing: admin.Standing(b), Probes: r.checker.Snapshot(), Served: d.served(r.name), Failures: d.failures(r.name, now)})
	}
	s.Overrides = d.overrides.all(now)
	s.OpenFiles = d.files.State()
	s.Cache = d.storage.snapshot()
	s.Egresses = chain.egressSnapshots()
	s.Warnings = d.diagnose(&s)
	s.Summary = admin.Summarize(s.Chains(), s.Cache, now, s.Warnings...)
	return s
}

// served is which upstreams have served a registry lately.
func (d *Daemon) served(registry string) []admin.Served {
	out := []admin.Served{} // and never null in JSON
	if d.handler == nil {   // before Listen
		return out
	}
	for _, s := range d.handler.Traffic().Served(registry) {
		out = append(out, admin.Served{Class: s.Class.String(), Upstream: s.Upstream, Requests: s.Requests, Minutes: traffic.ServedMinutes})
	}
	return out
}

// failures is the row of failures that clients have had of a registry, if they have one.
func (d *Daemon) failures(registry string, now time.Time) *traffic.Failures {
	if d.handler == nil { // before Listen
		return nil
	}
	return d.handler.Traffic().Failures(registry, now)
}

// diagnose returns what is wrong with the daemon as s tells of it.
func (d *Daemon) diagnose(s *admin.Snapshot) []diagnose.Warning {
	in := diagnose.Input{Now: s.Now, Started: s.Started, Egresses: s.Egresses, Cache: s.Cache, ReloadError: s.Config.LastReloadError, ConfigFile: d.cfg.File, OpenFiles: s.OpenFiles, State: d.overrides.state.trouble}
	if s.Config.LastReloadAt != nil {
		in.ReloadFailed = *s.Config.LastReloadAt
	}
	if d.handler != nil { // after Listen
		in.Refused = d.handler.Traffic().Refusals.Last(s.Now)
	}
	for _, o := range s.Overrides {
		in.Overrides = append(in.Overrides, diagnose.Override{Kind: string(o.Kind), Registry: o.Registry, Upstream: o.Upstream, Actor: o.Actor, At: o.At, ExpiresAt: o.ExpiresAt})
	}
	for _, r := range s.Registries {
		in.Registries = append(in.Registries, diagnose.Registry{Snapshot: r.Snapshot, Probes: r.Probes, Failures: r.Failures})
	}
	warnings := diagnose.Diagnose(in)
	d.known.Keep(warnings)
	return warnings
}
