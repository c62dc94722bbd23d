// Package diagnose finds the causes behind what lanes suffer from. Failures with one
// root are one [Warning]: a proxy that is down with five lanes behind it, a name
// service that answers nothing, a clock that is wrong. It is functions over plain
// values: it reads snapshots, does no I/O, and acts on nothing. The only thing that it
// remembers is since when it has known of a warning, see [Tracker].
package diagnose

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/healthcheck"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/openfiles"
	"github.com/pullchain/pullchain/internal/traffic"
)

// The severities of a Warning.
const (
	Info     = "info"     // worth knowing
	Degraded = "warning"  // pulls work, and not as the configuration wants it
	Critical = "critical" // some pull fails for it, or would but for us
)

// The codes of warnings. The texts for them are in internal/messages.
const (
	EgressDown        = "egress_down"            // a proxy lets nothing through
	EgressLogin       = "egress_login"           // a proxy refuses our login
	NoNetwork         = "no_network"             // nothing can be connected to
	DNSDown           = "dns_down"               // no name can be resolved here
	ClockWrong        = "clock_wrong"            // this machine's clock differs from that of several registries
	ClockCerts        = "clock_certs"            // certificates of several hosts are out of date at once: ours is the clock to look at
	CaptivePortal     = "captive_portal"         // web pages come where several registries should be
	FakeIP            = "fake_ip"                // a TUN proxy makes up addresses, and they lead nowhere
	CDNDown           = "cdn_down"               // several registries keep their blobs at one host that fails
	QuotaSpent        = "quota_spent"            // no pulls are left
	QuotaLow          = "quota_low"              // few pulls are left
	AbuseLimited      = "abuse_limited"          // the registry refuses this address for a while
	CertExpiring      = "cert_expiring"          // an upstream's certificate is soon out of date
	WrongBytes        = "wrong_bytes"            // an upstream sent what its digest proved wrong
	PrivateRefused    = "private_refused"        // an upstream leads to a private address, which its settings forbid
	CacheFull         = "cache_full"             // the cache keeps nothing more
	CacheUnusable     = "cache_unusable"         // the cache cannot be used
	StateInUse        = "state_in_use"           // another pullchain has the directory of what is kept over a restart
	StateUnusable     = "state_unusable"         // the directory of what is kept over a restart cannot be used
	ReloadFailed      = "reload_failed"          // the configuration in force is not that of the file
	OverrideLeft      = "override_left"          // an override is past half of its time
	OverrideForgotten = "override_forgotten"     // an override has been there for a day
	NoDescriptors     = "no_descriptors"         // no connection and no file can be opened by this process
	NoDescriptorsHere = "no_descriptors_machine" // nor by any other of this machine
	Unproved          = "unproved"               // nothing has worked since the start
	ConnectionsBusy   = "connections_busy"       // requests wait, since all connections to an upstream are busy
	RequestsRefused   = "requests_refused"       // as many requests of clients are served as may be
	PullsFailing      = "pulls_failing"          // the last that clients asked of a registry all failed, though it has a path
)

// A Warning is one cause, and what follows from it.
type Warning struct {
	// ID tells a warning from others of its code: the code, and what it is about.
	ID       string            `json:"id"`
	Code     string            `json:"code"`
	Severity string            `json:"severity"` // info, warning or critical
	Since    time.Time         `json:"since"`
	Affects  []string          `json:"affects"` // a registry, or registry/upstream; none: everything
	Values   map[string]string `json:"values"`  // what the text for the code has places for
	Fix      string            `json:"fix"`     // a command that mends it, or shows more of it; may be empty

	// Unproved says that nothing has failed yet: what was asked has had no answer for
	// longer than usual. It may come yet; else the same warning is told without this.
	Unproved bool `json:"unproved,omitempty"`
}

// A Registry is a chain with the probes of its lanes.
type Registry struct {
	balancer.Snapshot
	Probes   []healthcheck.TargetSnapshot
	Failures *traffic.Failures // nil: clients get what they ask for
}

// An Egress is a way out, and the upstreams that take it.
type Egress struct {
	Name string `json:"name"`
	URL  string `json:"url"` // without a login; "env" for what the environment says
	balancer.EgressSnapshot
	Upstreams []string `json:"upstreams"` // as registry/upstream
}

// An Override is what an operator has changed for a time.
type Override struct {
	Kind      string
	Registry  string
	Upstream  string
	Actor     string
	At        time.Time
	ExpiresAt time.Time // zero: it does not end
}

// A State is why nothing is kept over a restart.
type State struct {
	Dir     string
	Trouble string // empty: what is to be kept is kept
	InUse   bool   // another pullchain has the directory
}

// Input is the daemon as it stands. What is zero is not looked at.
type Input struct {
	Now          time.Time
	Started      time.Time
	Registries   []Registry
	Egresses     []Egress
	Cache        *cache.Snapshot
	State        State
	OpenFiles    openfiles.State
	Refused      *traffic.Refusal // nil: no request was refused lately
	ReloadError  string           // why the last reload failed; empty if it did not
	ReloadFailed time.Time        // when
	ConfigFile   string
	Overrides    []Override
}

// A rule finds one kind of cause. Those that find the root of several lanes' troubles
// claim these lanes, so that the rules after it do not tell of them as well.
type rule func(*findings) []Warning

// rules are in the order in which they may claim: what is nearest to this machine comes
// first, since all that lies behind it fails with it.
var rules = []rule{
	noDescriptors,
	egressDown, clockCerts, clockWrong, fakeIP, captivePortal, dnsDown, noNetwork, silence, cdnDown, unproved, pullsFailing,
	limited, quotaLow, connectionsBusy, wrongBytes, privateRefused, certExpiring,
	requestsRefused, cacheTrouble, stateTrouble, reloadFailed, overridden,
}

// Diagnose returns what is wrong, the most severe first. Since is as early as the
// snapshots tell.
func Diagnose(in Input) []Warning {
	f := newFindings(in)
	out := []Warning{} // and never null in JSON
	for _, r := range rules {
		out = append(out, r(f)...)
	}
	slices.SortStableFunc(out, func(a, b Warning) int {
		return cmp.Or(cmp.Compare(rank[a.Severity], rank[b.Severity]), cmp.Compare(a.ID, b.ID))
	})
	return out
}

var rank = map[string]int{Critical: 0, Degraded: 1, Info: 2}

// roots are the codes whose warnings say why lanes are out of order: the troubles of
// the lanes that they affect need no telling of their own.
var roots = map[string]bool{
	EgressDown: true, EgressLogin: true, NoNetwork: true, DNSDown: true, ClockCerts: true, CaptivePortal: true, FakeIP: true, CDNDown: true,
}

// Root reports whether w is why the lanes that it affects are out of order.
func (w Warning) Root() bool { return roots[w.Code] && !w.Unproved }

// Explains reports whether w is why a lane is out of order.
func (w Warning) Explains(registry, upstream string) bool {
	return w.Root() && slices.Contains(w.Affects, registry+"/"+upstream)
}

// Registries returns the registries that w affects, in their order.
func (w Warning) Registries() []string {
	var out []string
	for _, a := range w.Affects {
		name, _, _ := strings.Cut(a, "/")
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// Key is equal for two lists of the same warnings: it changes when one comes or goes, or
// becomes more or less severe.
func Key(warnings []Warning) string {
	var b strings.Builder
	for _, w := range warnings {
		b.WriteString(w.ID + "=" + w.Severity + "\n")
	}
	return b.String()
}
