package balancer

import (
	"cmp"
	"errors"
	"time"

	"github.com/pullchain/pullchain/internal/amount"
)

// BreakerConfig tunes a lane's breakers; there is one for each class. The zero
// value has the defaults of docs/faults.md 9.
type BreakerConfig struct {
	Failures    int           `toml:"failures"`     // in a row that trip it; 0: 5 (fewer for graver failures)
	Ratio       float64       `toml:"ratio"`        // of failures in the window that trips it; 0: 0.5
	MinRequests int           `toml:"min_requests"` // in the window before Ratio counts; 0: 10
	Open        time.Duration `toml:"open"`         // how long it stays open, times the trips lately; 0: 30s
	OpenMax     time.Duration `toml:"open_max"`     // at the most; 0: 300s
}

// Validate reports every field that cannot be used, by its TOML name.
func (c BreakerConfig) Validate() error {
	var errs []error
	if c.Failures < 0 {
		errs = append(errs, errors.New("failures: must not be negative"))
	}
	if c.Ratio < 0 || c.Ratio > 1 {
		errs = append(errs, errors.New("ratio: must be between 0 and 1"))
	}
	if c.MinRequests < 0 {
		errs = append(errs, errors.New("min_requests: must not be negative"))
	}
	if c.Open < 0 || c.OpenMax < 0 {
		errs = append(errs, errors.New("open, open_max: must not be negative"))
	}
	if c.OpenMax > 0 && c.OpenMax < c.Open {
		errs = append(errs, errors.New("open_max: must not be less than open"))
	}
	return errors.Join(errs...)
}

// withDefaults returns c with every zero field filled in.
func (c BreakerConfig) withDefaults() BreakerConfig {
	if c.Failures == 0 {
		c.Failures = 5
	}
	if c.Ratio == 0 {
		c.Ratio = 0.5
	}
	if c.MinRequests == 0 {
		c.MinRequests = 10
	}
	if c.Open == 0 {
		c.Open = 30 * time.Second
	}
	if c.OpenMax == 0 {
		c.OpenMax = max(300*time.Second, c.Open)
	}
	return c
}

// A Rate is a number of bytes a second, as people write it.
type Rate = amount.Rate

// Patience is how long a lane is waited for before the next one is asked beside
// it. The zero value has the defaults.
type Patience struct {
	Connect  time.Duration `toml:"connect"`  // for a connection; 0: 1s
	Manifest time.Duration `toml:"manifest"` // for a manifest, at least; 0: 250ms

	// A lane that sends a blob with less than Rate while a client waits gets company
	// from another, and so does one that others have outdone Ratio times lately.
	Rate  Rate `toml:"rate"`  // 0: 64KiB/s
	Ratio int  `toml:"ratio"` // 0: 8
}

// The kernel would wait minutes for a connection, and our own limit is five
// seconds: but a SYN that is answered at all is answered within one (docs/faults.md
// F02). A manifest that takes longer than its 95th percentile is asked for
// elsewhere too, though never sooner than the other default says (docs/faults.md 9).
const (
	defaultConnectPatience  = time.Second
	defaultManifestPatience = 250 * time.Millisecond
	defaultRate             = 64 << 10
	defaultRatio            = 8
)

// Validate reports every field that cannot be used, by its TOML name.
func (p Patience) Validate() error {
	var errs []error
	if p.Connect < 0 {
		errs = append(errs, errors.New("connect: must not be negative"))
	}
	if p.Manifest < 0 {
		errs = append(errs, errors.New("manifest: must not be negative"))
	}
	if p.Ratio < 0 || p.Ratio == 1 {
		errs = append(errs, errors.New("ratio: must be 2 or more"))
	}
	return errors.Join(errs...)
}

// WithDefaults returns p with every zero field filled in.
func (p Patience) WithDefaults() Patience {
	return Patience{
		Connect: cmp.Or(p.Connect, defaultConnectPatience), Manifest: cmp.Or(p.Manifest, defaultManifestPatience),
		Rate: cmp.Or(p.Rate, defaultRate), Ratio: cmp.Or(p.Ratio, defaultRatio),
	}
}

// LaneConfig is what the balancer has to know of an upstream that the upstream
// does not tell. Lanes whose LaneConfig and upstream are equal are carried over
// a reload with all that they have learnt.
type LaneConfig struct {
	Authoritative  bool    // its "not found" is final
	Resolve        bool    // tags may be asked of it
	Metered        bool    // sorted after the free ones
	VerifyWhole    bool    // its blobs are not shown before their digest is proved right
	Weight         float64 // for fastest and spread; 0: 1
	MaxConnections int     // requests at once before others are preferred; 0: 32 (docs/faults.md 9)
	Connections    int     // that there may be to one host; requests beyond wait. 0: not known
	Egress         *Egress // shared by all lanes behind the same proxy; nil: direct
	Via            string  // the egress's name, for people; "direct" without one
	Host           string  // of the upstream's URL, for people and for what lanes there share; with the port if that names one
	Account        string  // the login's name, from whose quota counted requests are taken; empty: the address's
	Breaker        BreakerConfig
	Patience       Patience
}
