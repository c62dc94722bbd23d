// Package config reads the TOML file that says what pullchain serves and how.
//
// It is strict: a key that nothing reads, a value of the wrong type, a variable
// that is not set or a setting that makes no sense is an [Error] with line and
// column, and all of them are reported at once. It composes the Config structs
// of the rooms that use them; what a setting means is said and judged there.
//
// A [Config] is a plain value: two that are deeply equal configure the same, so
// that a reload can keep what did not change.
package config

import (
	_ "embed"
	"fmt"
	"log/slog"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/healthcheck"
	"github.com/pullchain/pullchain/internal/access"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/front"
	"github.com/pullchain/pullchain/internal/notify"
	"github.com/pullchain/pullchain/internal/otlp"
	"github.com/pullchain/pullchain/internal/policy"
	"github.com/pullchain/pullchain/internal/warm"
	"github.com/pullchain/pullchain/upstreams"
)

// Config is the whole file, complete and checked: every default that depends on
// something else in it (an upstream's trust, the listeners) is filled in. Fields
// of the rooms' own structs that were not set stay zero.
type Config struct {
	Server     front.Config             `toml:"server"`
	Listeners  []front.Listener         `toml:"listener"`
	Access     access.Config            `toml:"access"`
	Policy     policy.Config            `toml:"policy"`
	Admin      admin.Config             `toml:"admin"`
	Cache      cache.Config             `toml:"cache"`
	Log        Log                      `toml:"log"`
	Egress     map[string]egress.Config `toml:"egress"` // by name
	Registries []Registry               `toml:"registry"`
	Notify     []notify.Config          `toml:"notify"`
	Warm       []warm.Config            `toml:"warm"`
	Traces     otlp.Config              `toml:"traces"`

	File     string         `toml:"-"` // where it was read from; "embedded" for the default
	Lines    map[string]int `toml:"-"` // where in File each key stands, for Settings
	Implied  bool           `toml:"-"` // it names no registry, so those of the embedded configuration are served
	Also     int            `toml:"-"` // how many of Listeners, at the end, are further addresses of [server]
	Warnings []string       `toml:"-"` // what is allowed but should not be so
	Advice   []string       `toml:"-"` // what is right, and would be safer with one setting more: for people that ask
}

// Log says what is logged, and how.
type Log struct {
	Level  string `toml:"level"`  // debug, info, warn or error; info if unset
	Format string `toml:"format"` // auto (text on a terminal, else json), text or json; auto if unset
}

// SlogLevel returns Level in the terms of slog.
func (l Log) SlogLevel() slog.Level {
	var level slog.Level // the zero value is info
	_ = level.UnmarshalText([]byte(l.Level))
	return level
}

// Registry is one registry and its chain of upstreams, in order.
type Registry struct {
	Name        string            `toml:"name"`
	Aliases     []string          `toml:"aliases"`
	Strategy    balancer.Strategy `toml:"strategy"`
	NotFoundTTL *time.Duration    `toml:"not_found_ttl"` // for how long an upstream's "no" is remembered; nil: 2s to 30s, 0: it is always asked
	ClientAuth  string            `toml:"client_auth"`   // "none" or "passthrough": whether clients' own logins are passed on; "none" if unset
	Upstreams   []Upstream        `toml:"upstream"`
}

// Upstream is one path to a registry, and how its lane is judged.
type Upstream struct {
	upstreams.Config
	Egress   string                 `toml:"egress"`  // a name from [egress], "direct" or "env"; direct if unset
	Metered  bool                   `toml:"metered"` // sorted after those that cost nothing
	Verify   string                 `toml:"verify"`  // "stream" or "whole": whether blobs are proved before they are shown; "stream" if unset
	Weight   float64                `toml:"weight"`  // its share where a strategy uses it; 0 means 1
	IKnow    bool                   `toml:"i_know"`  // serve what its login can read to every client that can reach us
	CASum    string                 `toml:"-"`       // SHA-256 of what CAFile holds, so that a new CA is a new upstream
	Probe    healthcheck.Config     `toml:"probe"`
	Breaker  balancer.BreakerConfig `toml:"breaker"`
	Patience balancer.Patience      `toml:"patience"`
}

// The ways to serve an upstream's blobs.
const (
	VerifyStream = "stream" // as they come, with the end held back until the digest is right
	VerifyWhole  = "whole"  // not before the digest is right
)

// What is done with clients' own logins.
const (
	ClientAuthNone        = "none"        // they are not asked for, and end here
	ClientAuthPassthrough = "passthrough" // the registry's own token server is shown them
)

// Embedded is what File says of the default configuration.
const Embedded = "embedded"

//go:embed default.toml
var defaultTOML []byte

// Template is a file to begin with: the embedded configuration with comments, and with
// examples that are commented out.
//
//go:embed init.toml
var Template []byte

// Default returns the embedded configuration: nine registries, each straight to
// its origin, through the proxy that the environment names.
func Default() *Config {
	c, err := Parse(Embedded, defaultTOML, nil)
	if err != nil {
		panic(fmt.Sprintf("the embedded configuration: %v", err)) // a test reads it
	}
	c.Implied, c.Lines = true, nil // no line of that file is one that people can change
	return c
}

// Parse reads a configuration from data. name stands for the file in errors.
// env looks up the variables of ${NAME}; nil knows none. It opens no file: the
// secrets that the configuration points at stay empty (see [Load]).
//
// The error joins one *[Error] for each mistake, in the order of the file.
func Parse(name string, data []byte, env func(string) (string, bool)) (*Config, error) {
	return parse(name, data, env, nil)
}

// parse is Parse with the files that open opens; nil opens none. The steps go on
// after a mistake, so that one look at the errors is enough: only a document that
// is no TOML ends it early. Defaults are filled in before the check, which judges
// what will be in force.
func parse(name string, data []byte, env func(string) (string, bool), open opener) (*Config, error) {
	doc, err := newDocument(name, data)
	if err != nil {
		return nil, err
	}
	cfg := &Config{File: name}
	d := decoder{doc: doc, env: env}
	also := doc.splitListen()
	d.root(cfg)
	cfg.understand(doc)
	cfg.listenAlso(also)
	cfg.fill()
	if open != nil {
		f := files{doc: doc, open: open}
		f.read(cfg)
	}
	c := checker{doc: doc, cfg: cfg}
	c.check()
	cfg.fillCache()
	cfg.Warnings, cfg.Advice = remarks(doc.warnings), remarks(doc.advice)
	cfg.Lines = doc.lines()
	if err := doc.err(); err != nil {
		return nil, err
	}
	return cfg, nil
}

// fill sets the defaults that no room sets for itself. A file without any
// registry serves those of the embedded configuration.
func (c *Config) fill() {
	fillString(&c.Server.Listen, front.DefaultListen)
	fillString(&c.Admin.Listen, admin.DefaultListen)
	fillString(&c.Log.Level, "info")
	fillString(&c.Log.Format, "auto")
	if c.Server.Drain == "" {
		c.Server.Drain = front.DrainServe
	}
	if c.Server.DrainTimeout == 0 {
		c.Server.DrainTimeout = front.DefaultDrainTimeout
	}
	if len(c.Registries) == 0 {
		c.Registries, c.Implied = Default().Registries, true
		_ = c.CheckAny(c.addresses()...) // it is taken out, which is no error
	}
	c.ownAliases()
	c.fillNotify()
	c.fillTraces()
	for name, e := range c.Egress {
		e.Name = name
		c.Egress[name] = e
	}
	for i := range c.Registries {
		c.Registries[i].fill()
	}
}

// fillCache sets the defaults of [cache] that are one value each. Where it is and
// how large depends on the machine that it runs on. It comes after the check,
// which tells a time of 0 from none.
func (c *Config) fillCache() {
	if c.Cache.Enabled == nil {
		on := true
		c.Cache.Enabled = &on
	}
	if c.Cache.TagTTL == nil {
		ttl := cache.DefaultTagTTL
		c.Cache.TagTTL = &ttl
	}
	if c.Cache.StaleIfError == 0 {
		c.Cache.StaleIfError = cache.DefaultStaleIfError
	}
	if c.Cache.VerifyMax == 0 {
		c.Cache.VerifyMax = cache.DefaultVerifyMax
	}
}

// fill sets what depends on whether an upstream is the registry itself: only of
// that is a 404 final and a tag's meaning believed without the file saying so.
func (r *Registry) fill() {
	if s, err := balancer.ParseStrategy(string(r.Strategy)); err == nil {
		r.Strategy = s
	}
	fillString(&r.ClientAuth, ClientAuthNone)
	for i := range r.Upstreams {
		u := &r.Upstreams[i]
		fillString(&u.Egress, egress.Direct)
		origin := r.isOrigin(u.URL)
		if u.Authoritative == nil {
			u.Authoritative = &origin
		}
		if u.Trust == "" {
			u.Trust = upstreams.TrustPull
			if origin {
				u.Trust = upstreams.TrustResolve
			}
		}
	}
	r.fillPassLogin()
}

func fillString(s *string, def string) {
	if *s == "" {
		*s = def
	}
}

// EgressOf returns the egress that u dials through: one of the file, or one of
// the two that need no table, "direct" and "env".
func (c *Config) EgressOf(u Upstream) egress.Config { return c.egressNamed(u.Egress) }

func (c *Config) egressNamed(name string) egress.Config {
	if e, ok := c.Egress[name]; ok {
		return e
	}
	return egress.Config{Name: name, URL: name}
}
