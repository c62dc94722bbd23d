package upstreams

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/pullchain/pullchain/internal/keypair"
)

// A registry may want to know its clients by a certificate (Harbor and Nexus behind a proxy that asks for
// one, /etc/docker/certs.d/HOST/client.cert of docker's). It is a login: what it opens is
// private by default, and it goes to the upstream's own origin and to nothing that this leads to,
// for a server that asks for a certificate learns the name in it.

// A clientCert is the upstream's. The nil one is none.
type clientCert struct {
	pair   *keypair.Pair
	failed atomic.Pointer[error] // of the last renewal
}

// loadClientCert reads the pair that c names.
func (c Config) loadClientCert() (*clientCert, error) {
	if c.ClientCert == "" {
		return nil, nil
	}
	cert := &clientCert{}
	var err error
	if cert.pair, err = keypair.Load(c.ClientCert, c.ClientKey, func(err error) { cert.failed.Store(&err) }); err != nil {
		return nil, fmt.Errorf("client_cert, client_key: %w", err)
	}
	return cert, nil
}

// show is for tls.Config.GetClientCertificate: with each handshake what the files have then. A server
// that wants another authority's gets it too, and says itself what it makes of that.
func (c *clientCert) show(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return c.pair.Look(), nil
}

// explain adds to a failure that there is a newer pair which cannot be used.
func (c *clientCert) explain(err error) error {
	if c == nil || err == nil {
		return err
	}
	if failed := c.failed.Load(); failed != nil && *failed != nil {
		return fmt.Errorf("%w (the renewed client_cert cannot be used: %w)", err, *failed)
	}
	return err
}

// logins returns what Login is: fingerprints take some time, and are made once for each certificate
// that has come into use.
func (c *clientCert) logins(cfg Config) func() string {
	if c == nil {
		return sync.OnceValue(func() string { return cfg.fingerprint("") })
	}
	var mu sync.Mutex
	var of *tls.Certificate
	var print string
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		if last := c.pair.Last(); last != of {
			of, print = last, cfg.fingerprint(identity(last.Leaf))
		}
		return print
	}
}

// identity is for which name a certificate stands. That of a renewed one is the same.
func identity(leaf *x509.Certificate) string {
	if leaf == nil { // GODEBUG x509keypairleaf=0: no two are told apart then
		return "certificate"
	}
	names := fields(string(leaf.RawIssuer), string(leaf.RawSubject))
	for _, e := range leaf.Extensions {
		if e.Id.Equal(subjectAltName) {
			names += fields(string(e.Value))
		}
	}
	return names
}

var subjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17} // RFC 5280 4.2.1.6

// validateClientCert reports a certificate that could never be shown.
func (c Config) validateClientCert() error {
	switch {
	case c.ClientCert == "" && c.ClientKey == "":
		return nil
	case c.ClientCert == "":
		return errors.New("client_key: client_cert and client_key go together")
	case c.ClientKey == "":
		return errors.New("client_cert: client_cert and client_key go together")
	}
	if u, err := c.origin(); err == nil && u.Scheme != "https" {
		return errors.New("client_cert: no server asks for a certificate over plain http: the url must begin with https://")
	}
	return nil
}

// tokenLines carry the calls of token servers: with the client's certificate where the realm is the upstream's
// own origin and no redirect has led away from it, else without.
type tokenLines struct{ u *Upstream }

// RoundTrip implements http.RoundTripper.
func (t tokenLines) RoundTrip(r *http.Request) (*http.Response, error) {
	own := sameOrigin(r.URL, t.u.origin)
	for by := r.Response; by != nil; by = by.Request.Response {
		own = own && sameOrigin(by.Request.URL, t.u.origin)
	}
	if own {
		return t.u.api.RoundTrip(r)
	}
	return t.u.away.api.RoundTrip(r)
}
