package access

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
)

// Config is the [access] table. Its zero value lets all clients in.
type Config struct {
	// AllowCIDRs are the only addresses that are served; empty allows all. DenyCIDRs are
	// served never, whatever the other says. Both are held against the client's address: the
	// connection's, or what a trusted proxy says (trusted_proxies under [server]).
	AllowCIDRs []netip.Prefix `toml:"allow_cidrs"`
	DenyCIDRs  []netip.Prefix `toml:"deny_cidrs"`

	// OriginSecretHeader is the header by which a CDN in front shows that a request came
	// through it, and OriginSecretFile has what it must say: a secret, or one on each line,
	// so that a CDN can be given a new one without a gap.
	OriginSecretHeader string `toml:"origin_secret_header"`
	OriginSecretFile   string `toml:"origin_secret_file"`

	// HtpasswdFile has the users and their bcrypt hashes, as "htpasswd -B" writes them.
	// Without it no client is asked for a login.
	HtpasswdFile string `toml:"htpasswd_file"`

	// RateLimit is how many requests a second one client may make, an address or a /64 of
	// IPv6; 0 is no limit. RateBurst is how many it may make at once after a pause; 0 is ten
	// seconds' worth, and [DefaultBurst] at least.
	RateLimit float64 `toml:"rate_limit"`
	RateBurst int     `toml:"rate_burst"`
}

// DefaultBurst is the least of what a client may ask at once where rate_burst is not set: a
// pull of an image with many layers, in parallel chunks.
const DefaultBurst = 100

// Validate reports every field that cannot be used, each by its name in the file. It reads
// no file.
func (c Config) Validate() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	for key, prefixes := range map[string][]netip.Prefix{"allow_cidrs": c.AllowCIDRs, "deny_cidrs": c.DenyCIDRs} {
		for _, p := range prefixes {
			if !p.IsValid() {
				add("%s: an entry is not a prefix like 10.0.0.0/8", key)
			}
		}
	}
	if (c.OriginSecretHeader == "") != (c.OriginSecretFile == "") {
		add("origin_secret_header, origin_secret_file: one is set without the other")
	}
	if name := c.OriginSecretHeader; name != "" && (!headerName.MatchString(name) || taken[http.CanonicalHeaderKey(name)]) {
		add("origin_secret_header: %q is not a header of its own, as in \"X-Origin-Secret\"", name)
	}
	if c.RateLimit < 0 || c.RateLimit > 0 && c.RateLimit < 0.1 {
		add("rate_limit: %v is less than 0.1 requests a second, at which no image could be pulled", c.RateLimit)
	}
	if c.RateBurst < 0 {
		add("rate_burst: %d is negative", c.RateBurst)
	}
	if c.RateBurst > 0 && c.RateLimit == 0 {
		add("rate_burst: needs rate_limit")
	}
	return errors.Join(errs...)
}

// headerName is what the name of a header may be (RFC 9110, 5.6.2).
var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// taken are headers that mean something else to us or to a proxy.
var taken = map[string]bool{
	"Accept": true, "Authorization": true, "Connection": true, "Content-Length": true, "Host": true, "If-None-Match": true, "If-Range": true, "Range": true,
	"Transfer-Encoding": true, "User-Agent": true, "X-Forwarded-For": true,
}

// AsksForProof reports whether a client has to prove something that it knows. Where it
// comes from is no proof: an address is shared by all that sit behind it, and a network is
// open to every guest in it.
func (c Config) AsksForProof() bool { return c.HtpasswdFile != "" || c.OriginSecretFile != "" }

// burst is RateBurst with its default.
func (c Config) burst() int {
	if c.RateBurst == 0 {
		return max(DefaultBurst, int(math.Ceil(10*c.RateLimit)))
	}
	return c.RateBurst
}

// prefixesContain reports whether addr lies in one of them.
func prefixesContain(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// listed names prefixes for people, as far as there are few.
func listed(prefixes []netip.Prefix) string {
	const few = 4
	var names []string
	for i, p := range prefixes {
		if i == few {
			names = append(names, "…")
			break
		}
		names = append(names, p.String())
	}
	return strings.Join(names, ", ")
}
