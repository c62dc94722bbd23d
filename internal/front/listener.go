package front

import (
	"errors"
	"fmt"
	"net"
	"net/http"
)

// A Listener is one [[listener]] table: a further address of the data plane, where a
// name without a registry means another one than docker.io. It is for clients that can
// say no more than an address, as those that do not know of mirrors. Its limits are
// shared with [server].
type Listener struct {
	// Listen is host:port, and is required. It also decides how strict the Host
	// check is while [server] has no allowed_hosts.
	Listen string `toml:"listen"`

	// Registry is the name or alias of the registry that a path without one means;
	// it is required.
	Registry string `toml:"registry"`

	// TLSCert, TLSKey and HTTP2 are as in [server]; none of that is taken over.
	TLSCert string `toml:"tls_cert"`
	TLSKey  string `toml:"tls_key"`
	HTTP2   bool   `toml:"http2"`
}

// Validate reports every field that cannot be used, each by its name in the file.
func (l Listener) Validate() error {
	var errs []error
	if l.Listen == "" {
		errs = append(errs, errors.New("listen: is required, as in \"127.0.0.1:5001\""))
	} else if _, _, err := net.SplitHostPort(l.Listen); err != nil {
		errs = append(errs, fmt.Errorf("listen: %q is not host:port", l.Listen))
	}
	if l.Registry == "" {
		errs = append(errs, errors.New("registry: is required, as in \"ghcr.io\""))
	}
	return errors.Join(append(errs, tlsErrors(l.TLSCert, l.TLSKey, l.HTTP2)...)...)
}

// At returns the configuration of a further listener: that of [server], with what l
// says in its place.
func (c Config) At(l Listener) Config {
	c.Listen, c.TLSCert, c.TLSKey, c.HTTP2 = l.Listen, l.TLSCert, l.TLSKey, l.HTTP2
	return c
}

// A door is what the requests of one listener have in common.
type door struct {
	adminURL string
	hosts    hostPolicy
	registry string // which a path that names none means; any name of it
}

// newDoor returns the door of a listener whose configuration is c.
func newDoor(c Config, registry string) *door {
	return &door{adminURL: c.AdminURL, hosts: newHostPolicy(c), registry: registry}
}

// At returns the handler for a further listener, whose configuration is c and where a
// path that names no registry means that one. Its requests are h's: they count for its
// limits, and stand in its journal.
func (h *Handler) At(c Config, registry string) http.Handler {
	d := newDoor(c, registry)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, d) })
}
