package daemon

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/healthcheck"
	"github.com/pullchain/pullchain/internal/access"
	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/diagnose"
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/front"
	"github.com/pullchain/pullchain/internal/policy"
	"github.com/pullchain/pullchain/upstreams"
)

// A chain is everything that a configuration builds and a reload replaces. For each
// registry, from the client inwards:
//
//	front -> policy -> cache (outlives reloads) -> balancer -> lane -> upstream -> egress
//
// Requests go down these links and bodies come up them. A new link, such as one that
// counts or limits what passes, goes between two of them here; it embeds
// [pullchain.Body] in what it wraps (TestBodyContractAtEveryJoint holds that).
type chain struct {
	cfg        *config.Config
	registries []registry
	paths      map[pathID]*path
	egresses   map[string]*gate
	bandwidths map[string]bandwidth // of the egresses that have a bound, by name
	events     *balancer.Events     // of all registries; those of the chain before go on
	access     *access.Access       // which clients are served; nil: all
	policy     *policy.Policy       // what may be pulled; nil: all
	instance   string               // see wire.ViaHeader; as long as the process
}

// A registry is one registry's part of the chain.
type registry struct {
	name      string
	aliases   []string
	upstreams []string // their names, as configured
	balancer  *balancer.Balancer
	checker   *healthcheck.Checker
	probing   *probing
	asked     *asked // nil: a block of the configuration names it
}

// A probing is that of one registry.
type probing struct {
	stop context.CancelFunc // nil before it has begun
	done sync.WaitGroup
}

// A pathID is the identity that a lane's state belongs to: names from the
// configuration and never an address, behind which there may be another server
// tomorrow.
type pathID struct{ registry, upstream string }

// A path is an upstream, its lane, and what they were built from: two that would be
// built the same are the same, and a reload keeps the one that has learnt something.
type path struct {
	cfg      config.Upstream
	egress   egress.Config
	gate     *balancer.Egress
	upstream *upstreams.Upstream
	lane     *balancer.Lane
}

// A gate is the shared gate of an egress, and what it was built from. A proxy that is
// down is down for every lane behind it, so they learn of it once.
type gate struct {
	cfg    egress.Config
	shared *balancer.Egress
}

// build makes the chain of cfg. What is configured as it was in old is taken
// over with all that it has learnt; old is not touched, so that nothing is lost
// when build fails.
func build(cfg *config.Config, old *chain) (*chain, error) {
	c := &chain{cfg: cfg, paths: map[pathID]*path{}, egresses: map[string]*gate{}, bandwidths: map[string]bandwidth{}}
	if old != nil {
		c.events, c.instance = old.events, old.instance
	} else {
		c.events, c.instance = balancer.NewEvents(), newInstance()
	}
	if !cfg.Policy.IsZero() {
		c.policy = policy.New(cfg.Policy, cfg.RegistryOf)
		if old != nil && reflect.DeepEqual(old.cfg.Policy, cfg.Policy) {
			c.policy.Continue(old.policy)
		}
	}
	var errs []error
	for _, r := range cfg.Registries {
		if r.IsAny() {
			continue
		}
		reg, err := c.registry(cfg, r, old)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c.registries = append(c.registries, reg)
	}
	c.keepAsked(old)
	return c, errors.Join(errs...)
}

// admit decides which clients are served: as old does, with all the logins that it knows, if
// nothing has changed.
func (c *chain) admit(old *chain, log *slog.Logger) (err error) {
	if old != nil && reflect.DeepEqual(old.cfg.Access, c.cfg.Access) {
		c.access = old.access
		return nil
	}
	if c.access, err = access.New(c.cfg.Access, log); err != nil {
		return fmt.Errorf("[access]: %w", err)
	}
	return nil
}

// tagTTL is how long a tag is believed here, and so by caches in front of us.
func (c *chain) tagTTL() time.Duration {
	if !c.cfg.Cache.On() || c.cfg.Cache.TagTTL == nil {
		return 0
	}
	return *c.cfg.Cache.TagTTL
}

// newInstance returns a word for this process: two pullchains of one name are two.
func newInstance() string { return strings.ToLower(rand.Text()[:10]) }

// routes returns the way from what clients call the registries to their chains,
// through the cache of s.
func (c *chain) routes(s *storage) (*front.Routes, error) {
	var served []front.Registry
	for _, r := range c.registries {
		served = append(served, front.Registry{Name: r.name, Aliases: r.aliases, Asked: r.asked != nil, TagTTL: c.tagTTL(), Fetcher: c.policy.Before(r.asked.noted(s.behindCache(r.name, r.balancer))), Search: c.search(r), Token: c.tokens(r)})
	}
	return front.NewRoutes(served)
}

// search returns how the index of a registry is asked: by the first of its upstreams that
// is the registry itself, or nil. Mirrors have none.
func (c *chain) search(r registry) func(context.Context, string) ([]byte, error) {
	for _, name := range r.upstreams {
		if p := c.paths[pathID{r.name, name}]; p != nil && p.cfg.Authoritative != nil && *p.cfg.Authoritative {
			return p.upstream.Search
		}
	}
	return nil
}

// registry builds the chain of one registry. Its balancer and its checker are new
// with each reload; what they have learnt they take from those before them.
func (c *chain) registry(cfg *config.Config, r config.Registry, old *chain) (registry, error) {
	var lanes []*balancer.Lane
	var names []string
	var jobs []healthcheck.Job
	var errs []error
	for _, u := range r.Upstreams {
		p, err := c.path(cfg, r.Name, u, old)
		if err != nil {
			errs = append(errs, fmt.Errorf("registry %q, upstream %q: %w", r.Name, u.Name, err))
			continue
		}
		lanes, names = append(lanes, p.lane), append(names, u.Name)
		jobs = append(jobs, healthcheck.Job{Target: p.lane, Config: u.Probe, Kind: probeFailure})
	}
	// The balancer's memory of which lane has what, and the prober's history, belong to
	// the registry: they stay over a reload even where a path is new.
	was := old.registryNamed(r.Name)
	return registry{
		name:      r.Name,
		aliases:   r.Aliases,
		upstreams: names,
		balancer:  balancer.New(balancer.Config{Registry: r.Name, Strategy: r.Strategy, Lanes: lanes, NotFoundTTL: r.NotFoundTTL, Events: c.events, Previous: was.balancer}),
		checker:   healthcheck.New(jobs, was.checker),
		probing:   new(probing),
	}, errors.Join(errs...)
}

// probeFailure names the kind of a failed probe.
func probeFailure(err error) string { return cmp.Or(string(pullchain.CodeOf(err)), "unknown") }

// path returns the path for u, the old one if nothing about it has changed.
func (c *chain) path(cfg *config.Config, registry string, u config.Upstream, old *chain) (*path, error) {
	proxy := cfg.EgressOf(u)
	if proxy.URL == egress.Environment && !egress.ProxyInEnvironment() {
		// So that people read "direct", and what goes wrong is looked for at the right place.
		proxy = egress.Config{Name: egress.Direct, URL: egress.Direct}
	}
	shared, bound := c.gate(proxy, old), c.bandwidth(proxy, old)
	id := pathID{registry, u.Name}
	// The CA file's sum and the secrets are part of the configs that are compared:
	// a path lives on only if it would be built the same.
	if p := old.known(id); p != nil && p.gate == shared && reflect.DeepEqual(p.cfg, u) && reflect.DeepEqual(p.egress, proxy) {
		c.paths[id] = p
		return p, nil
	}
	about := u.Config
	if !config.IsOrigin(registry, u.URL) { // a registry itself is no pullchain, and need not know of us
		about.Instance = c.instance
	}
	up, err := upstreams.New(about, proxy)
	if err != nil {
		return nil, err
	}
	up.Share(bound)
	lane := balancer.NewLane(up, balancer.LaneConfig{
		Authoritative:  u.Authoritative != nil && *u.Authoritative,
		Resolve:        u.Trust == upstreams.TrustResolve,
		Metered:        u.Metered,
		VerifyWhole:    u.Verify == config.VerifyWhole,
		Weight:         u.Weight,
		MaxConnections: u.MaxConnections,
		Connections:    cmp.Or(u.MaxConnections, upstreams.DefaultMaxConnections),
		Egress:         shared,
		Via:            proxy.Name,
		Host:           hostOf(u.URL),
		Account:        cmp.Or(u.Username, u.TokenFile, u.CredentialHelper, u.ClientCert),
		Breaker:        u.Breaker,
		Patience:       u.Patience,
	})
	p := &path{cfg: u, egress: proxy, gate: shared, upstream: up, lane: lane}
	c.paths[id] = p
	return p, nil
}

// A bandwidth is what all paths through an egress share, and the bound that it was made of.
type bandwidth struct {
	rate   balancer.Rate
	shared *egress.Bandwidth
}

// bandwidth returns what all paths through an egress share; nil for no bound. A reload that
// leaves the bound as it was keeps it, for the paths that it keeps.
func (c *chain) bandwidth(way egress.Config, old *chain) *egress.Bandwidth {
	if way.Rate == 0 {
		return nil
	}
	b, ok := c.bandwidths[way.Name]
	if !ok && old != nil {
		b = old.bandwidths[way.Name]
	}
	if b.rate != way.Rate {
		b = bandwidth{way.Rate, egress.NewBandwidth(way.Rate)}
	}
	c.bandwidths[way.Name] = b
	return b.shared
}

// gate returns the gate that all lanes behind proxy share; nil for none.
func (c *chain) gate(proxy egress.Config, old *chain) *balancer.Egress {
	if proxy.URL == "" || proxy.URL == egress.Direct {
		return nil
	}
	if g := c.egresses[proxy.Name]; g != nil {
		return g.shared
	}
	g := &gate{cfg: proxy, shared: balancer.NewEgress()}
	if was := old.knownGate(proxy.Name); was != nil && reflect.DeepEqual(was.cfg, proxy) {
		g = was
	}
	c.egresses[proxy.Name] = g
	return g.shared
}

// warnOfSources warns of the addresses that connections are to come from and that are none
// of this machine's, once at the start and with each configuration. They may become so.
func (d *Daemon) warnOfSources(cfg *config.Config) {
	for _, name := range slices.Sorted(maps.Keys(cfg.Egress)) {
		if err := cfg.Egress[name].CheckSource(context.Background()); err != nil {
			d.log.Warn("nothing can be fetched through an egress", "egress", name, "error", err)
		}
	}
}

// hostOf is the host of an upstream's URL, for people.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Host
}

// has reports whether c has an upstream, or with an empty one the registry.
func (c *chain) has(registry, upstream string) bool {
	if upstream == "" {
		return c.registryNamed(registry).balancer != nil
	}
	return c.known(pathID{registry, upstream}) != nil
}

// egressSnapshots returns the proxies of the chain, by name, and what dials through them.
func (c *chain) egressSnapshots() []diagnose.Egress {
	out := []diagnose.Egress{} // and never null in JSON
	for _, name := range slices.Sorted(maps.Keys(c.egresses)) {
		g := c.egresses[name]
		e := diagnose.Egress{Name: name, URL: g.cfg.URL, EgressSnapshot: g.shared.Snapshot(), Upstreams: []string{}}
		for id, p := range c.paths {
			if p.gate == g.shared {
				e.Upstreams = append(e.Upstreams, id.registry+"/"+id.upstream)
			}
		}
		slices.Sort(e.Upstreams)
		out = append(out, e)
	}
	return out
}

// The old chain may be nil, on the first build.

// known returns the path of that identity, or nil.
func (c *chain) known(id pathID) *path {
	if c == nil {
		return nil
	}
	return c.paths[id]
}

// knownGate returns the gate of the egress of that name, or nil.
func (c *chain) knownGate(name string) *gate {
	if c == nil {
		return nil
	}
	return c.egresses[name]
}

// registryNamed returns the registry of that name, or an empty one.
func (c *chain) registryNamed(name string) registry {
	if c == nil {
		return registry{}
	}
	for _, r := range c.registries {
		if r.name == name {
			return r
		}
	}
	return registry{}
}

// start begins to probe what is not probed yet, until ctx is done or the chain is closed.
func (c *chain) start(ctx context.Context) {
	for _, r := range c.registries {
		if r.probing.stop != nil {
			continue
		}
		var probing context.Context
		probing, r.probing.stop = context.WithCancel(ctx)
		r.balancer.TakeOver()
		r.probing.done.Go(func() { r.checker.Run(probing) })
	}
}

// close ends the probing of registries and lets go of paths, but for those that next has taken over.
// Bodies that are being read go on. next may be nil.
func (c *chain) close(next *chain) {
	var ending []*probing
	for _, r := range c.registries {
		if p := r.probing; p.stop != nil && next.registryNamed(r.name).probing != p {
			p.stop()
			ending = append(ending, p)
		}
	}
	for _, p := range ending {
		p.done.Wait()
	}
	for id, p := range c.paths {
		// Only what the next chain does not use: it has taken over paths as they
		// are.
		if next.known(id) != p {
			p.upstream.Close()
		}
	}
}
