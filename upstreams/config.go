package upstreams

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/amount"
	"github.com/pullchain/pullchain/internal/credhelper"
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/regauth"
)

// Trust says what an upstream may be believed about. The words are those of
// containerd's hosts.toml capabilities.
type Trust string

// The levels of trust.
const (
	TrustResolve Trust = "resolve" // may say which digest a tag names
	TrustPull    Trust = "pull"    // may only serve what a digest proves
)

// Config describes one upstream: one path to one registry. The zero value of a
// field means its default.
type Config struct {
	// Instance is the word of this process, sent to what may be another pullchain; empty
	// sends none. The daemon knows it, no file says it.
	Instance string `toml:"-"`

	Name               string                      `toml:"name"`
	URL                string                      `toml:"url"`                  // scheme://host[:port][/prefix]
	Authoritative      *bool                       `toml:"authoritative"`        // its 404 is final; nil: true for the registry's own origin
	Trust              Trust                       `toml:"trust"`                // "": resolve for the origin, else pull
	Username           string                      `toml:"username"`             // login at the registry or its token server
	PasswordFile       string                      `toml:"password_file"`        // read by the configuration into Password
	TokenFile          string                      `toml:"token_file"`           // read by the configuration into Token
	CredentialHelper   string                      `toml:"credential_helper"`    // NAME of a docker-credential-NAME that knows the login
	PassLogin          *bool                       `toml:"pass_login"`           // it gets the tokens of clients that have a login of their own; nil: no
	Password           pullchain.Secret            `toml:"-"`                    // what PasswordFile holds
	Token              pullchain.Secret            `toml:"-"`                    // what TokenFile holds
	Headers            map[string]pullchain.Secret `toml:"headers"`              // sent to this origin only, never past a redirect
	Private            *bool                       `toml:"private"`              // its content is only for clients with access to it; nil: true if it has a login
	ClientCert         string                      `toml:"client_cert"`          // PEM; shown to this origin if it asks for one, with the key in ClientKey; read again on change
	ClientKey          string                      `toml:"client_key"`           // PEM
	CAFile             string                      `toml:"ca_file"`              // PEM; trusted in addition to the system's roots
	InsecureSkipVerify bool                        `toml:"insecure_skip_verify"` // this origin only; never its token server
	AllowPrivate       bool                        `toml:"allow_private"`        // redirects and realms may point at private addresses
	RedirectHosts      []string                    `toml:"redirect_hosts"`       // globs; empty: any public host
	AuthHosts          []string                    `toml:"auth_hosts"`           // token servers that may see the login, besides the same domain
	Asked              bool                        `toml:"-"`                    // a client named the URL's host, and no file: it must be public, by name and address
	NS                 bool                        `toml:"ns"`                   // say by ?ns= which registry is meant: it serves several
	Rewrite            []Rewrite                   `toml:"rewrite"`              // how it spells repositories otherwise; the first that fits counts
	MaxConnections     int                         `toml:"max_connections"`      // to one host; 0: 256
	Rate               amount.Rate                 `toml:"rate"`                 // of its blobs, in all; 0: no bound
	Timeouts           Timeouts                    `toml:"timeouts"`
}

// private reports whether what the upstream serves may be meant for its login
// alone. A login is a username, a token, a certificate or a helper that knows one; Validate keeps Authorization and its
// kin out of Headers, and what other headers mean only the operator knows.
func (c Config) private() bool {
	if c.Private != nil {
		return *c.Private
	}
	return c.Username != "" || c.TokenFile != "" || c.Token != "" || c.CredentialHelper != "" || c.ClientCert != ""
}

// Timeouts bound the phases of one attempt. There is no limit on a whole blob:
// a stall ends it, slowness does not.
type Timeouts struct {
	Connect time.Duration `toml:"connect"` // TCP and TLS each; 0: 5s and 8s
	Header  time.Duration `toml:"header"`  // request to response headers; 0: 10s for manifests, 20s for blobs
	Stall   time.Duration `toml:"stall"`   // no byte of a body for so long; 0: 10s
	Token   time.Duration `toml:"token"`   // one call of a token server, while a request waits for it; 0: 60s
}

// Defaults of docs/faults.md 6 and F21.
const (
	defaultConnect        = egress.DefaultConnectTimeout
	defaultTLS            = egress.DefaultTLSTimeout
	defaultManifestHeader = 10 * time.Second
	defaultBlobHeader     = 20 * time.Second
	DefaultStall          = 10 * time.Second
	DefaultToken          = regauth.DefaultTimeout
	DefaultMaxConnections = egress.DefaultMaxConnections
)

// Validate reports every field that cannot be used, by its TOML name.
func (c Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf(field+": "+format, args...))
	}
	if c.Name == "" {
		bad("name", "is required: it is what the dashboard, the log and the state are keyed by")
	}
	if _, err := c.origin(); err != nil {
		errs = append(errs, err)
	}
	switch c.Trust {
	case "", TrustResolve, TrustPull:
	default:
		bad("trust", "%q is neither %q nor %q", c.Trust, TrustResolve, TrustPull)
	}
	if (c.PasswordFile != "") != (c.Username != "") {
		bad("username", "username and password_file go together")
	}
	if c.TokenFile != "" && c.PasswordFile != "" {
		bad("token_file", "is an alternative to username and password_file: give one of them")
	}
	switch name := c.CredentialHelper; {
	case name == "":
	case !credhelper.IsName(name):
		bad("credential_helper", "%q is not the NAME of a docker-credential-NAME: one word, as in \"ecr-login\"", name)
	case c.Username != "" || c.PasswordFile != "" || c.TokenFile != "":
		bad("credential_helper", "is an alternative to username and password_file, and to token_file: give one of them")
	}
	if err := c.validateClientCert(); err != nil {
		errs = append(errs, err)
	}
	for _, r := range c.Rewrite {
		if err := r.validate(); err != nil {
			bad("rewrite", "%w", err)
		}
	}
	for name := range c.Headers {
		if forbiddenHeader(name) {
			bad("headers", "%q is set by pullchain itself", name)
		}
	}
	for _, glob := range c.RedirectHosts {
		if _, err := path.Match(glob, "host"); err != nil {
			bad("redirect_hosts", "%q is not a glob", glob)
		}
	}
	for _, entry := range c.AuthHosts {
		if _, err := regauth.ParseAuthHost(entry); err != nil {
			bad("auth_hosts", "%w", err)
		}
	}
	if c.Rate != 0 && c.Rate < egress.MinRate {
		bad("rate", "must be %s or more, or left out for no bound", egress.MinRate)
	}
	if c.MaxConnections < 0 {
		bad("max_connections", "must not be negative")
	}
	for name, d := range map[string]time.Duration{"connect": c.Timeouts.Connect, "header": c.Timeouts.Header, "stall": c.Timeouts.Stall, "token": c.Timeouts.Token} {
		if d < 0 {
			bad("timeouts."+name, "must not be negative")
		}
	}
	return errors.Join(errs...)
}

// origin parses URL, whose rules are its own: no login in it, no query, and
// only HTTP.
func (c Config) origin() (*url.URL, error) {
	if c.URL == "" {
		return nil, errors.New("url: is required, as in https://registry-1.docker.io")
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return nil, errors.New("url: is not a URL, write https://host[:port][/prefix]")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("url: %s does not begin with https:// or http://", shown(c.URL))
	case u.Host == "":
		return nil, errors.New("url: has no host")
	case u.User != nil:
		return nil, errors.New("url: must not hold a login: use username and password_file")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("url: must not have a query or fragment")
	}
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"), ""
	return u, nil
}

// shown quotes a URL that cannot be used, unless it may hold a login.
func shown(raw string) string {
	if strings.Contains(raw, "@") {
		return "it"
	}
	return strconv.Quote(raw)
}

// forbiddenHeader reports whether a header is not the configuration's to set: it is
// computed for each request, belongs to the connection, or is a login, which has
// settings of its own so that it is never sent past a redirect nor shown.
func forbiddenHeader(name string) bool {
	switch strings.ToLower(name) {
	case "host", "accept", "accept-encoding", "range", "if-range", "authorization", "cookie",
		"connection", "content-length", "transfer-encoding", "te", "upgrade", "expect":
		return true
	}
	return strings.HasPrefix(strings.ToLower(name), "proxy-")
}
