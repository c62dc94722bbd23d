package admin

import (
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/healthcheck"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/diagnose"
	"github.com/pullchain/pullchain/internal/openfiles"
	"github.com/pullchain/pullchain/internal/traffic"
)

// Schema is the version of the Snapshot's JSON. Fields may be added without a
// new one; none changes its meaning or goes.
const Schema = 1

// A Snapshot is the daemon as it stands, as plain values: what the API, the
// table and the summary are made of. All fields are always present in JSON.
type Snapshot struct {
	Schema     int         `json:"schema"` // the constant Schema
	Version    string      `json:"version"`
	Now        time.Time   `json:"now"`
	Started    time.Time   `json:"started"`
	UptimeS    int64       `json:"uptime_s"`
	Seq        uint64      `json:"seq"`      // of the last event before: a stream that begins after it misses nothing
	Draining   bool        `json:"draining"` // the daemon is on its way out
	Listen     string      `json:"listen"`   // the data listener, host:port
	ListenTLS  bool        `json:"listen_tls"`
	AdminURL   string      `json:"admin_url"` // where people find the operator's plane, if [admin] url says so
	Config     ConfigState `json:"config"`
	Summary    Summary     `json:"verdict"`
	Registries []Registry  `json:"registries"` // in the configured order
	Overrides  []Override  `json:"overrides"`  // what operators want for a while, the oldest first
	Notifiers  []Notifier  `json:"notifiers"`  // in the configured order
	Traces     *Traces     `json:"traces"`     // null unless they are sent to a collector

	OpenFiles openfiles.State `json:"open_files"` // the descriptors of this process

	Warnings []diagnose.Warning `json:"warnings"` // causes that want a look, the most severe first
	Egresses []diagnose.Egress  `json:"egresses"` // the proxies that upstreams dial through, by name

	// Cache is null when it is switched off. Of one that is wanted and cannot be
	// used there are Dir and Trouble.
	Cache *cache.Snapshot `json:"cache"`
}

// A Notifier is a webhook of [[notify]] and how it fares. Its address is a secret
// and not here.
type Notifier struct {
	Name      string     `json:"name"`
	Kind      string     `json:"kind"`
	LastSent  *time.Time `json:"last_sent"`  // when its service last took a message; null if never
	LastError string     `json:"last_error"` // why the last try failed; empty once one succeeds
	Queued    int        `json:"queued"`     // what has happened and could not be told yet
}

// Traces are what was sent to a collector of traces.
type Traces struct {
	Endpoint  string     `json:"endpoint"`
	LastSent  *time.Time `json:"last_sent"`  // when the collector last took something; null if never
	LastError string     `json:"last_error"` // why the last try failed; empty once one succeeds
	Queued    int        `json:"queued"`     // requests that wait to be sent
	Spans     uint64     `json:"spans"`      // that the collector took, since the start
	Lost      uint64     `json:"lost"`       // requests of which it has no spans, since the start
}

// ConfigState says which configuration is in force and how the last attempt to
// replace it went.
type ConfigState struct {
	Source          string     `json:"source"`    // a path, or "embedded"
	LoadedAt        time.Time  `json:"loaded_at"` // of the one in force
	LastReloadOK    bool       `json:"last_reload_ok"`
	LastReloadAt    *time.Time `json:"last_reload_at"` // null if there was none
	LastReloadError string     `json:"last_reload_error"`
}

// A Registry is a chain, the probes of its upstreams, and which of them clients were
// served by.
type Registry struct {
	balancer.Snapshot
	Standing string                       `json:"standing"` // see [Standing]
	Probes   []healthcheck.TargetSnapshot `json:"probes"`
	Served   []Served                     `json:"served"`   // by class, the most first; without those that served nothing
	Failures *traffic.Failures            `json:"failures"` // null unless all that clients asked for lately failed
}

// Served counts the answers of one class that clients got from one upstream.
type Served struct {
	Class    string `json:"class"`    // "manifest" or "blob"
	Upstream string `json:"upstream"` // empty: the cache, without an upstream's word
	Requests uint64 `json:"requests"` // in the last Minutes
	Minutes  int    `json:"minutes"`
}

// Probe returns what is known of the probes of an upstream.
func (r *Registry) Probe(upstream string) (healthcheck.TargetSnapshot, bool) {
	for _, p := range r.Probes {
		if p.Name == upstream {
			return p, true
		}
	}
	return healthcheck.TargetSnapshot{}, false
}

// Find returns the registry of that name, or nil.
func (s *Snapshot) Find(name string) *Registry {
	for i := range s.Registries {
		if s.Registries[i].Registry == name {
			return &s.Registries[i]
		}
	}
	return nil
}

// Chains returns the snapshots of the chains alone, for [Summarize].
func (s *Snapshot) Chains() []balancer.Snapshot { return chains(s.Registries) }

// chains takes the probes off: a summary is made of lanes, and their states have
// the probes in them.
func chains(registries []Registry) []balancer.Snapshot {
	out := make([]balancer.Snapshot, 0, len(registries))
	for _, r := range registries {
		out = append(out, r.Snapshot)
	}
	return out
}

// Serving returns the lane that a pull would be answered by, or nil.
func (r *Registry) Serving() *balancer.LaneSnapshot { return servingLane(r.Snapshot) }
