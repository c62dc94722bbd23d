package admin

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/pullchain/pullchain"
)

// DefaultListen is the address that stands for an empty Config.Listen.
const DefaultListen = "127.0.0.1:5152"

// Config is the [admin] table. Its zero value serves this machine alone, on
// DefaultListen and without a token.
type Config struct {
	// Listen is host:port; empty is DefaultListen.
	Listen string `toml:"listen"`

	// URL is where people find the operator's plane, for links in messages; empty
	// is where it listens, which is right on this machine.
	URL string `toml:"url"`

	// TokenFile holds the bearer token that every request but those for
	// health must carry. It is required where others than this machine can
	// reach Listen.
	TokenFile string `toml:"token_file"`

	// Token is what TokenFile holds.
	Token pullchain.Secret `toml:"-"`

	// Socket is the path of a unix socket that serves the same, beside Listen. The
	// permissions of the file are the credential there, and no token is asked for. Empty: none.
	Socket string `toml:"socket"`

	// StateDir is the directory for what outlives a restart, such as overrides. Empty is
	// that of [DefaultStateDir]; StateOff keeps it in memory alone.
	StateDir string `toml:"state_dir"`

	// AllowedHosts are the names a client may use in its Host header besides
	// IP addresses, loopback names and the host of Listen. They matter only
	// without a token.
	AllowedHosts []string `toml:"allowed_hosts"`

	// Pprof has the profiles of net/http/pprof answered below /debug/pprof/. They
	// cost CPU time while they are taken, and tell of the process what a heap has.
	Pprof bool `toml:"pprof"`
}

// Validate reports every field that cannot be used, each by its name in the
// file and with what to do about it.
func (c Config) Validate() error {
	var errs []error
	host, _, err := net.SplitHostPort(c.ListenAddr())
	switch {
	case err != nil:
		errs = append(errs, fmt.Errorf("listen: %q is not host:port", c.Listen))
	case !loopback(host) && c.TokenFile == "" && c.Token == "":
		errs = append(errs, fmt.Errorf("listen: others can reach %s: add token_file, or listen on 127.0.0.1", c.Listen))
	}
	if u, err := url.Parse(c.URL); c.URL != "" && (err != nil || u.Hostname() == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http") {
		errs = append(errs, errors.New("url: should be where people find this plane, as in \"https://mirror.example.com:5152/\""))
	}
	for _, name := range c.AllowedHosts {
		if name == "" || strings.ContainsAny(name, "*/:@ \t") {
			errs = append(errs, fmt.Errorf("allowed_hosts: %q is not a name like admin.example.com", name))
		}
	}
	return errors.Join(errs...)
}

// ListenAddr returns the address to listen on, the default filled in.
func (c Config) ListenAddr() string {
	if c.Listen == "" {
		return DefaultListen
	}
	return c.Listen
}

// loopback reports whether host is this machine seen from itself. Names under
// localhost never leave it (RFC 6761, 6.3).
func loopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
