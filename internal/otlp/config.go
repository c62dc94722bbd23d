package otlp

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/egress"
)

// tracesPath is where a collector takes traces, below its base address (OTLP, "OTLP/HTTP
// Request").
const tracesPath = "/v1/traces"

// Config is the [traces] table. Its zero value sends nothing.
type Config struct {
	// Endpoint is the collector's base address, as OTEL_EXPORTER_OTLP_ENDPOINT has it; one
	// that ends with /v1/traces is meant as it is. Empty: no traces.
	Endpoint string `toml:"endpoint"`

	// TokenFile holds a bearer token. Another kind of login is one of the Headers.
	TokenFile string                      `toml:"token_file"`
	Token     pullchain.Secret            `toml:"-"`
	Headers   map[string]pullchain.Secret `toml:"headers"` // go with every batch

	Egress  string `toml:"egress"`       // a name from [egress], "direct" or "env"; direct if unset
	Service string `toml:"service_name"` // of the resource; pullchain if unset

	// Sample is the share of requests that are traced of those that belong to no trace
	// of their client, which decides for itself; 0 means all.
	Sample float64 `toml:"sample"`
}

// The defaults of [Config].
const (
	DefaultService = "pullchain"
	DefaultSample  = 1.0
)

// On reports whether there is a collector.
func (c Config) On() bool { return c.Endpoint != "" }

// Validate reports every field that cannot be used, by its name in the file and with
// what to do about it.
func (c Config) Validate() error {
	var errs []error
	if !c.On() {
		if c.TokenFile != "" || len(c.Headers) > 0 || c.Sample != 0 || c.Service != "" {
			errs = append(errs, errors.New(`endpoint: is required, as in "http://127.0.0.1:4318"`))
		}
		return errors.Join(errs...)
	}
	if err := checkEndpoint(c.Endpoint); err != nil {
		errs = append(errs, fmt.Errorf("endpoint: %w", err))
	}
	if c.Sample < 0 || c.Sample > 1 {
		errs = append(errs, errors.New("sample: is a share, more than 0 and at most 1"))
	}
	if len(c.Service) > 255 || strings.ContainsFunc(c.Service, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		errs = append(errs, errors.New("service_name: should be one line of at most 255 bytes"))
	}
	return errors.Join(append(errs, c.checkHeaders())...)
}

// checkEndpoint judges the collector's address.
func checkEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		if host, port, ok := strings.Cut(endpoint, ":"); ok && host != "" && port == "4317" {
			return errors.New(`is the gRPC port of a collector; its HTTP port is "http://HOST:4318"`)
		}
		return errors.New(`should be the HTTP address of a collector, as in "http://127.0.0.1:4318"`)
	case u.Port() == "4317":
		return errors.New("is the gRPC port of a collector; OTLP over HTTP has 4318")
	case u.User != nil:
		return errors.New("holds a login; use token_file or headers")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("has no query and no fragment; a key belongs into headers")
	}
	return nil
}

// headerName is what the name of a header may be (RFC 9110, 5.6.2).
var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// checkHeaders judges what net/http would refuse with each batch anew.
func (c Config) checkHeaders() error {
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		switch {
		case !headerName.MatchString(name):
			return fmt.Errorf("headers: %q is not a name that a header can have", name)
		case strings.EqualFold(name, "Content-Type"), strings.EqualFold(name, "Content-Encoding"), strings.EqualFold(name, "Content-Length"):
			return fmt.Errorf("headers: %s is ours to say: take it out", name)
		case strings.EqualFold(name, "Authorization") && (c.TokenFile != "" || c.Token != ""):
			return errors.New("headers, token_file: both are an Authorization: one of the two is enough")
		case strings.ContainsFunc(c.Headers[name].Reveal(), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			return fmt.Errorf("headers: %s holds more than one line, or control characters", name)
		}
	}
	return nil
}

// WithDefaults returns c with what it leaves open, if there is a collector.
func (c Config) WithDefaults() Config {
	if !c.On() {
		return c
	}
	if c.Sample == 0 {
		c.Sample = DefaultSample
	}
	if c.Service == "" {
		c.Service = DefaultService
	}
	return c
}

// url is where batches are posted.
func (c Config) url() string {
	base := strings.TrimRight(c.Endpoint, "/")
	if strings.HasSuffix(base, tracesPath) {
		return base
	}
	return base + tracesPath
}

// A Collector is the [traces] table, and the way out that its egress names.
type Collector struct {
	Config
	Proxy egress.Config
}
