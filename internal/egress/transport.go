package egress

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"time"
)

// Defaults of [TransportConfig], and fixed limits of every transport. All are
// those of docs/faults.md 6, "Upstream transport", unless said otherwise.
const (
	DefaultConnectTimeout = 5 * time.Second
	DefaultTLSTimeout     = 8 * time.Second
	headerTimeout         = 20 * time.Second // that of blobs, the longer of the two

	// DefaultMaxConnections is what one client may hold towards us, so that no pull
	// waits for another's connection: that takes as long as the other's blob, which
	// may be longer than a first byte may take. (64 were too few.)
	DefaultMaxConnections = 256

	maxIdle         = 64       // connections per host that are kept for later
	maxHeaderBytes  = 64 << 10 // Go's default is 10 MiB
	idleTimeout     = 90 * time.Second
	sendPingTimeout = 15 * time.Second // Go's default is to send none
	pingTimeout     = 10 * time.Second
)

// UserAgent names us to upstreams and token servers; public mirrors ban what hides
// its name.
const UserAgent = "pullchain/1 (+https://github.com/pullchain/pullchain)"

// TransportConfig is what one transport of an upstream needs to know. The zero
// value dials public addresses directly, with the defaults above.
type TransportConfig struct {
	Egress  Config
	Guard   *Guard         // what may be dialled; nil for the strictest
	RootCAs *x509.CertPool // for targets and for an https proxy; nil for the system's
	// ClientCert answers a target that wants a certificate of its client's. It is for whatever the transport
	// is used for, but never a proxy's to see; nil has none.
	ClientCert         func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	InsecureSkipVerify bool          // only for the hosts that Guard trusts: never for CDNs or token servers elsewhere
	ConnectTimeout     time.Duration // DNS and TCP, to the target or to the proxy; 0 for 5 s
	TLSTimeout         time.Duration // also for a proxy's handshake; 0 for 8 s
	HeaderTimeout      time.Duration // from request sent to headers read; 0 for 20 s
	MaxConnections     int           // per host, idle ones included; 0 for DefaultMaxConnections
	HTTP1              bool          // never HTTP/2

	// Dialled is called for each connection that is tried to a typed host or to a proxy,
	// with its host:port and the IP address that was dialled last for it; nil for none.
	Dialled func(target, ip string)

	resolver *net.Resolver // nil for the system's; tests have one of their own
}

// NewTransport returns a transport of its own for c: no tls.Config, pool or
// address memory is shared with another. It returns an error if the egress is
// not valid, or if it is [Environment] and a variable is not.
//
// The transport asks for no compression and follows no redirects. Answers of
// 407 can only come from an http proxy that forwards a plain http request; they
// are the egress's refusal, and the caller's to recognise. CloseIdleConnections
// frees it.
func NewTransport(c TransportConfig) (*http.Transport, error) {
	c = c.withDefaults()
	r, err := newRoute(c.Egress, os.Getenv)
	if err != nil {
		return nil, err
	}
	return &http.Transport{
		Proxy:                  r.proxy(),
		OnProxyConnectResponse: onConnect,
		DialContext:            newDialer(c, r).dial,
		TLSClientConfig:        c.tls(),
		TLSHandshakeTimeout:    c.TLSTimeout,
		ResponseHeaderTimeout:  c.HeaderTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableCompression:     true, // a decoded body has another length and digest (docs/faults.md 11.7)
		MaxConnsPerHost:        c.MaxConnections,
		MaxIdleConnsPerHost:    min(c.MaxConnections, maxIdle),
		IdleConnTimeout:        idleTimeout,
		Protocols:              c.protocols(),
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: sendPingTimeout, PingTimeout: pingTimeout},
	}, nil
}

func (c TransportConfig) withDefaults() TransportConfig {
	c.Guard = c.Guard.orStrict()
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = DefaultConnectTimeout
	}
	if c.TLSTimeout <= 0 {
		c.TLSTimeout = DefaultTLSTimeout
	}
	if c.HeaderTimeout <= 0 {
		c.HeaderTimeout = headerTimeout
	}
	if c.MaxConnections <= 0 {
		c.MaxConnections = DefaultMaxConnections
	}
	return c
}

func (c TransportConfig) protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(!c.HTTP1)
	return p
}

// tls returns a tls.Config for one transport alone: sharing or cloning one lets
// sessions resume under other roots (CVE-2025-68121).
func (c TransportConfig) tls() *tls.Config {
	t := &tls.Config{RootCAs: c.RootCAs, GetClientCertificate: c.ClientCert, MinVersion: tls.VersionTLS12}
	if c.InsecureSkipVerify {
		t.InsecureSkipVerify = true
		t.VerifyConnection = c.verifyStrangers
	}
	return t
}

// verifyStrangers verifies, where verification is off, the hosts that the
// operator did not type: insecure_skip_verify is for a registry with a
// self-signed certificate, not for the token server or CDN that it names
// (CVE-2019-10214). A server addressed by IP has no ServerName here, so that
// one IP cannot be told from another: if the operator typed one, all pass.
func (c TransportConfig) verifyStrangers(cs tls.ConnectionState) error {
	if c.Guard.trustsHost(cs.ServerName) || cs.ServerName == "" && c.Guard.trustsAnIP() {
		return nil
	}
	if cs.ServerName == "" {
		return errors.New("egress: a certificate cannot be verified by IP under insecure_skip_verify")
	}
	chain := x509.NewCertPool()
	for _, cert := range cs.PeerCertificates[1:] {
		chain.AddCert(cert)
	}
	_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{
		DNSName:       cs.ServerName,
		Roots:         c.RootCAs,
		Intermediates: chain,
	})
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
	}
	return nil
}
