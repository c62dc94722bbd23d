package front

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// The values that stand for the zero fields of a Config.
const (
	DefaultListen            = "127.0.0.1:5151"
	DefaultDrainTimeout      = 25 * time.Second // F36: under the 30 s that Kubernetes grants
	DefaultMaxInFlight       = 1024
	DefaultMaxConnsPerClient = 256

	// reservePart is what part of MaxInFlight is kept where ReserveInFlight is not set.
	reservePart = 2
)

// Drain is what a drain does with new requests.
type Drain string

// The ways to drain. A client in the middle of an image cannot know that it should
// go elsewhere, and on loopback there is no elsewhere: so it is served, until no
// request has been under way for a moment or the time is up.
const (
	DrainServe  Drain = "serve"
	DrainRefuse Drain = "refuse" // connections are refused at once
)

// Config is the [server] table. Its zero value serves plain HTTP/1.1 on
// 127.0.0.1:5151.
type Config struct {
	// Listen is host:port; empty is DefaultListen. It also decides how strict
	// the Host check is while AllowedHosts is empty.
	Listen string `toml:"listen"`

	// TLSCert and TLSKey are PEM files, read again when they change. Both
	// empty is plain HTTP.
	TLSCert string `toml:"tls_cert"`
	TLSKey  string `toml:"tls_key"`

	// HTTP2 offers HTTP/2 beside HTTP/1.1, over TLS only. It is off because
	// containerd resumes a cut body over HTTP/1.1 alone (docs/protocol.md 4.3).
	HTTP2 bool `toml:"http2"`

	// AllowedHosts are the names a client may use in its Host header, besides
	// IP addresses, loopback names and the names of registries: "name" or
	// "*.domain". Empty allows no more than those on a loopback listener, and
	// everything on any other.
	AllowedHosts []string `toml:"allowed_hosts"`

	// TrustedProxies are the addresses whose X-Forwarded-For is believed, by which
	// requests are a client's. Their connections are not counted against
	// MaxConnsPerClient, nor closed for what clients reset.
	TrustedProxies []netip.Prefix `toml:"trusted_proxies"`

	// ProxyProtocol has the connections of TrustedProxies begin with the PROXY protocol,
	// which names their client (HAProxy, proxy-protocol.txt).
	ProxyProtocol bool `toml:"proxy_protocol"`

	// RedirectListen is host:port of a second listener, without TLS, which sends all that
	// ask there to https on Listen; empty is none.
	RedirectListen string `toml:"redirect_listen"`

	// DrainTimeout is how long a drain lets answers finish before it cuts
	// them; 0 is DefaultDrainTimeout.
	DrainTimeout time.Duration `toml:"drain_timeout"`

	// Drain says what happens to requests that come during a drain; empty is
	// DrainServe.
	Drain Drain `toml:"drain"`

	// MaxInFlight is how many requests are served at once; more get 503. 0 is
	// DefaultMaxInFlight.
	MaxInFlight int `toml:"max_in_flight"`

	// ReserveInFlight is how many of them no client gets that holds many already,
	// so that one client alone cannot take all: an address, or a /64 of IPv6. 0 is
	// half.
	ReserveInFlight int `toml:"reserve_in_flight"`

	// MaxConnsPerClient is how many connections one address may hold; more are
	// closed. 0 is DefaultMaxConnsPerClient.
	MaxConnsPerClient int `toml:"max_conns_per_client"`

	// Instance is the word by which this process is told from other pullchains, in the header
	// of wire.ViaHeader; empty looks for no loops. The daemon knows it, no file says it.
	Instance string `toml:"-"`

	// AdminURL is where error messages send people to look; empty leaves it
	// out. The daemon knows it, no file says it.
	AdminURL string `toml:"-"`
}

// Validate reports every field that cannot be used, each by its name in the
// file.
func (c Config) Validate() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if _, _, err := net.SplitHostPort(c.ListenAddr()); err != nil {
		add("listen: %q is not host:port", c.Listen)
	}
	if c.RedirectListen != "" {
		if _, _, err := net.SplitHostPort(c.RedirectListen); err != nil {
			add("redirect_listen: %q is not host:port", c.RedirectListen)
		}
		if c.TLSCert == "" {
			add("redirect_listen: there is no https to redirect to without tls_cert and tls_key")
		}
	}
	if c.ProxyProtocol && len(c.TrustedProxies) == 0 {
		add("proxy_protocol: needs trusted_proxies, whose connections begin with it")
	}
	errs = append(errs, tlsErrors(c.TLSCert, c.TLSKey, c.HTTP2)...)
	for _, host := range c.AllowedHosts {
		if !validHostPattern(host) {
			add("allowed_hosts: %q is not a name like mirror.example.com or *.example.com", host)
		}
	}
	for _, prefix := range c.TrustedProxies {
		if !prefix.IsValid() {
			add("trusted_proxies: an entry is not a prefix like 10.0.0.0/8")
		}
	}
	if c.DrainTimeout < 0 {
		add("drain_timeout: %s is negative", c.DrainTimeout)
	}
	switch c.Drain {
	case "", DrainServe, DrainRefuse:
	default:
		add("drain: %q is neither %q nor %q", c.Drain, DrainServe, DrainRefuse)
	}
	if c.MaxInFlight < 0 {
		add("max_in_flight: %d is negative", c.MaxInFlight)
	}
	if c.ReserveInFlight < 0 {
		add("reserve_in_flight: %d is negative", c.ReserveInFlight)
	}
	if limit := c.maxInFlight(); c.MaxInFlight >= 0 && int64(c.ReserveInFlight) >= limit {
		add("reserve_in_flight: %d is not less than max_in_flight, %d", c.ReserveInFlight, limit)
	}
	if c.MaxConnsPerClient < 0 {
		add("max_conns_per_client: %d is negative", c.MaxConnsPerClient)
	}
	return errors.Join(errs...)
}

// tlsErrors judges what a listener's settings of TLS say together.
func tlsErrors(cert, key string, http2 bool) (errs []error) {
	if (cert == "") != (key == "") {
		errs = append(errs, errors.New("tls_cert, tls_key: one is set without the other"))
	}
	if http2 && cert == "" {
		errs = append(errs, errors.New("http2: needs tls_cert and tls_key"))
	}
	return errs
}

// ListenAddr returns the address to listen on, the default filled in.
func (c Config) ListenAddr() string {
	if c.Listen == "" {
		return DefaultListen
	}
	return c.Listen
}

// The four below fill in a default where the file says nothing. Validate lets no
// negative value through.
func (c Config) drainTimeout() time.Duration {
	if c.DrainTimeout == 0 {
		return DefaultDrainTimeout
	}
	return c.DrainTimeout
}

func (c Config) maxInFlight() int64 {
	if c.MaxInFlight == 0 {
		return DefaultMaxInFlight
	}
	return int64(c.MaxInFlight)
}

func (c Config) reserveInFlight() int {
	if c.ReserveInFlight == 0 {
		return int(c.maxInFlight()) / reservePart
	}
	return c.ReserveInFlight
}

func (c Config) maxConnsPerClient() int {
	if c.MaxConnsPerClient == 0 {
		return DefaultMaxConnsPerClient
	}
	return c.MaxConnsPerClient
}

// loopback reports whether only this machine can reach the listener.
func (c Config) loopback() bool {
	host, _, err := net.SplitHostPort(c.ListenAddr())
	if err != nil {
		return false
	}
	return isLoopbackName(host)
}

// validHostPattern reports whether s can stand in AllowedHosts: a name, or one
// behind "*.". What only looks like a name, such as a URL, would never match a Host
// header, and an operator would look for the reason in vain.
func validHostPattern(s string) bool {
	s = strings.TrimPrefix(s, "*.")
	return s != "" && len(s) <= 255 && !strings.ContainsAny(s, "*/@?# \t\r\n")
}
