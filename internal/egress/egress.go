// Package egress makes the http.Transport of an upstream: which proxy it dials
// through, which addresses it may dial at all, its TLS and its limits.
//
// It knows nothing of registries. A [Guard] judges every URL that was learned
// from the network (a redirect, a token realm, a Link) and every address that
// such a URL resolves to; what the operator typed into the configuration is
// dialled as written.
package egress

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/amount"
)

// Direct and Environment are the values of [Config.URL] that are not URLs.
const (
	Direct      = "direct" // dial targets oneself; the empty URL means the same
	Environment = "env"    // HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY of the process
)

// Config is one egress: the proxy that upstreams dial through. The zero value
// dials directly.
type Config struct {
	Name         string           `toml:"-"`             // as in [egress.NAME]; for error texts
	URL          string           `toml:"url"`           // "direct", "env", or http, https, socks5, socks5h ://host[:port]
	Username     string           `toml:"username"`      // of the proxy; only with a proxy URL
	PasswordFile string           `toml:"password_file"` // read by internal/config into Password
	Password     pullchain.Secret `toml:"-"`
	Family       Family           `toml:"family"` // of the addresses that are dialled, the proxy's if there is one; "": both
	Source       string           `toml:"source"` // the address of this machine that connections come from; "": as the system routes
	Rate         amount.Rate      `toml:"rate"`   // of blobs through it, in all; 0: no bound
}

// maxSOCKSField is the longest user name or password that SOCKS5 can carry
// (RFC 1929, section 2: one byte of length).
const maxSOCKSField = 255

// Validate returns an error that names the field if c cannot be used. Errors
// never quote the URL: it may hold a password that should not be in it.
func (c Config) Validate() error {
	if err := c.validate(); err != nil {
		if c.Name == "" {
			return fmt.Errorf("egress: %w", err)
		}
		return fmt.Errorf("egress.%s: %w", c.Name, err)
	}
	return nil
}

func (c Config) validate() error {
	if err := c.validateSource(); err != nil {
		return err
	}
	if c.Rate != 0 && c.Rate < MinRate {
		return fmt.Errorf("rate: must be %s or more, or left out for no bound", MinRate)
	}
	login := c.Username != "" || c.Password != "" || c.PasswordFile != ""
	if !c.proxied() {
		if login {
			return errors.New("username and password_file need a proxy url")
		}
		return nil
	}
	proxy, err := parseProxy(c.URL)
	if err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if proxy.User != nil {
		return errors.New("url: holds a login; use username and password_file")
	}
	if login && c.Username == "" {
		return errors.New("username: is missing beside password_file")
	}
	if isSOCKS(proxy) && max(len(c.Username), len(c.Password)) > maxSOCKSField {
		return errors.New("username, password_file: SOCKS5 takes 255 bytes at most")
	}
	return nil
}

// proxied reports whether c names a proxy of its own.
func (c Config) proxied() bool {
	return c.URL != "" && c.URL != Direct && c.URL != Environment
}

// Proxied reports whether targets are dialled by a proxy, as a rule.
func (c Config) Proxied() bool {
	return c.proxied() || c.URL == Environment && ProxyInEnvironment()
}

// login returns the userinfo to send to c's proxy, or nil.
func (c Config) login() *url.Userinfo {
	if c.Username == "" {
		return nil
	}
	return url.UserPassword(c.Username, c.Password.Reveal())
}

// proxyPorts are the schemes that a proxy can have and the port each implies
// (net/http's transport.go has the same table).
var proxyPorts = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}

// parseProxy reads a proxy's URL and makes its port explicit. Its errors do
// not repeat the input.
func parseProxy(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New(`is neither "direct", "env" nor scheme://host:port`)
	}
	u.Scheme = strings.ToLower(u.Scheme)
	port, ok := proxyPorts[u.Scheme]
	if !ok {
		return nil, errors.New("scheme must be http, https, socks5 or socks5h")
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("must end after the port")
	}
	if strings.ContainsFunc(u.Host, func(r rune) bool { return r > '~' }) {
		// The Transport would dial its punycode, which [dialer.dial] would take for
		// a target: without TLS to an https proxy, and its login with it.
		return nil, errors.New("host must be in ASCII: write it in punycode, as xn--…")
	}
	u.Path = ""
	if u.Port() == "" {
		u.Host = strings.TrimSuffix(u.Host, ":") + ":" + port
	}
	return u, nil
}

func isSOCKS(proxy *url.URL) bool {
	return strings.HasPrefix(proxy.Scheme, "socks5")
}
