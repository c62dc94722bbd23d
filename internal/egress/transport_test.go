package egress

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// listenTLS is listen behind a certificate of ca for 127.0.0.1.
func listenTLS(t *testing.T, ca *authority, serve func(net.Conn)) string {
	t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "127.0.0.1", time.Now().Add(time.Hour))}}
	return listen(t, func(c net.Conn) { serve(tls.Server(c, config)) })
}

// typed returns a Guard that trusts 127.0.0.1's and name's ports of address,
// and a resolver that finds name there.
func typed(t *testing.T, name, address string) (*Guard, *net.Resolver) {
	t.Helper()
	dns := &fakeDNS{answers: map[string]string{name + ".": "127.0.0.1"}}
	return mustGuard(t, GuardConfig{Trusted: []string{address, net.JoinHostPort(name, portOf(t, address))}}), dns.resolver()
}

func TestF02_BlackholeCostsTheConnectTimeout(t *testing.T) {
	t.Parallel()
	address := blackhole(t)
	guard := mustGuard(t, GuardConfig{Trusted: []string{address}})
	transport := mustTransport(t, TransportConfig{Guard: guard, ConnectTimeout: 100 * time.Millisecond})
	_, err := tryGet(t.Context(), transport, "http://"+address+"/")
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "dial" || !op.Timeout() {
		t.Errorf("%v; want a dial's time-out", err)
	}
	// A clock tells no 100 ms from the default's 5 s on a busy machine.
	d := newDialer(TransportConfig{Guard: guard, ConnectTimeout: 100 * time.Millisecond}.withDefaults(), route{})
	if d.open.Timeout != 100*time.Millisecond || d.guarded.Timeout != 100*time.Millisecond {
		t.Errorf("dials may take %v, and %v under guard; want 100 ms", d.open.Timeout, d.guarded.Timeout)
	}
}

func TestF04_BadCertificates(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	serve := func(cert tls.Certificate) string {
		return serveTLS(t, &tls.Config{Certificates: []tls.Certificate{cert}}, func(http.ResponseWriter, *http.Request) {})
	}
	for name, address := range map[string]string{
		"expired":    serve(ca.issue(t, "registry.example", time.Now().Add(-time.Minute))),
		"wrong host": serve(ca.issue(t, "other.example", time.Now().Add(time.Hour))),
		"unknown CA": serve(newAuthority(t).issue(t, "registry.example", time.Now().Add(time.Hour))),
	} {
		guard, resolver := typed(t, "registry.example", address)
		transport := mustTransport(t, TransportConfig{Guard: guard, resolver: resolver, RootCAs: ca.pool})
		_, err := tryGet(t.Context(), transport, "https://registry.example:"+portOf(t, address)+"/")
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
			t.Errorf("%s: %v; want a certificate verification error", name, err)
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	address := serveTLS(t, &tls.Config{
		Certificates: []tls.Certificate{ca.issue(t, "127.0.0.1", time.Now().Add(time.Hour))},
		MinVersion:   tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
	}, func(http.ResponseWriter, *http.Request) {})
	transport := mustTransport(t, TransportConfig{Guard: mustGuard(t, GuardConfig{Trusted: []string{address}}), RootCAs: ca.pool})
	if _, err := tryGet(t.Context(), transport, "https://"+address+"/"); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: %v; want it refused for its version", err)
	}
}

func TestF05_SlowHeaders(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	wait := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	address := ca.serveTLS(t, "127.0.0.1", wait)
	for name, http1 := range map[string]bool{"HTTP/1.1": true, "HTTP/2": false} {
		transport := mustTransport(t, TransportConfig{
			Guard: mustGuard(t, GuardConfig{Trusted: []string{address}}), RootCAs: ca.pool, HTTP1: http1, HeaderTimeout: 50 * time.Millisecond,
		})
		_, err := tryGet(t.Context(), transport, "https://"+address+"/")
		if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
			t.Errorf("%s: %v; want a time-out", name, err)
		}
	}
}

func TestF44_OversizeHeaders(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	address := ca.serveTLS(t, "127.0.0.1", func(w http.ResponseWriter, r *http.Request) {
		n := 60 << 10
		if r.URL.Path == "/over" {
			n = 70 << 10
		}
		w.Header().Set("X-Big", strings.Repeat("x", n))
	})
	for name, http1 := range map[string]bool{"HTTP/1.1": true, "HTTP/2": false} {
		transport := mustTransport(t, TransportConfig{Guard: mustGuard(t, GuardConfig{Trusted: []string{address}}), RootCAs: ca.pool, HTTP1: http1})
		if _, err := tryGet(t.Context(), transport, "https://"+address+"/under"); err != nil {
			t.Errorf("%s, 60 KiB: %v", name, err)
		}
		if _, err := tryGet(t.Context(), transport, "https://"+address+"/over"); err == nil {
			t.Errorf("%s: 70 KiB of headers pass", name)
		}
	}
}

func TestProtocols(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	address := ca.serveTLS(t, "127.0.0.1", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(r.Proto)) })
	for want, http1 := range map[string]bool{"HTTP/1.1": true, "HTTP/2.0": false} {
		transport := mustTransport(t, TransportConfig{Guard: mustGuard(t, GuardConfig{Trusted: []string{address}}), RootCAs: ca.pool, HTTP1: http1})
		if got := get(t, transport, "https://"+address+"/"); got != want {
			t.Errorf("HTTP1 %t: spoke %s; want %s", http1, got, want)
		}
	}
}

// TestBodiesAreNotDecoded: docs/faults.md 11.7, a silently decoded body has another
// length and digest.
func TestBodiesAreNotDecoded(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte("manifest"))
	z.Close()
	ca := newAuthority(t)
	address := ca.serveTLS(t, "127.0.0.1", func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept-Encoding"); got != "" {
			t.Errorf("Accept-Encoding %q; want none of the transport's own", got)
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(packed.Bytes())
	})
	transport := mustTransport(t, TransportConfig{Guard: mustGuard(t, GuardConfig{Trusted: []string{address}}), RootCAs: ca.pool})
	if got := get(t, transport, "https://"+address+"/"); got != packed.String() {
		t.Errorf("body %q; want it as it was sent", got)
	}
}

// TestCVE_2019_10214_InsecureIsForTheTypedHostOnly: where the operator switched
// verification off for a registry, its token server is verified all the same.
func TestCVE_2019_10214_InsecureIsForTheTypedHostOnly(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	stranger := newAuthority(t)
	ok := func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("ok")) }
	registry := stranger.serveTLS(t, "whatever.example", ok)
	tokens := stranger.serveTLS(t, "auth.example", ok)
	verified := ca.serveTLS(t, "cdn.example", ok)
	dns := &fakeDNS{answers: map[string]string{"registry.example.": "127.0.0.1", "auth.example.": "127.0.0.1", "cdn.example.": "127.0.0.1"}}
	transport := mustTransport(t, TransportConfig{
		Guard:    mustGuard(t, GuardConfig{Trusted: []string{"registry.example:" + portOf(t, registry)}, AllowPrivate: true}),
		resolver: dns.resolver(), RootCAs: ca.pool, InsecureSkipVerify: true,
	})
	if got := get(t, transport, "https://registry.example:"+portOf(t, registry)+"/"); got != "ok" {
		t.Errorf("the typed host: body %q", got)
	}
	if got := get(t, transport, "https://cdn.example:"+portOf(t, verified)+"/"); got != "ok" {
		t.Errorf("a host with a good certificate: body %q", got)
	}
	for _, url := range []string{"https://auth.example:" + portOf(t, tokens) + "/", "https://" + tokens + "/"} {
		if _, err := tryGet(t.Context(), transport, url); err == nil {
			t.Errorf("%s passes with a stranger's certificate", url)
		}
	}
}

func TestCVE_2019_10214_TypedIP(t *testing.T) {
	t.Parallel()
	stranger := newAuthority(t)
	ok := func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("ok")) }
	registry := stranger.serveTLS(t, "whatever.example", ok)
	tokens := stranger.serveTLS(t, "auth.example", ok)
	dns := &fakeDNS{answers: map[string]string{"auth.example.": "127.0.0.1"}}
	transport := mustTransport(t, TransportConfig{
		Guard:    mustGuard(t, GuardConfig{Trusted: []string{registry}, AllowPrivate: true}),
		resolver: dns.resolver(), InsecureSkipVerify: true,
	})
	if got := get(t, transport, "https://"+registry+"/"); got != "ok" {
		t.Errorf("the typed IP: body %q", got)
	}
	_, err := tryGet(t.Context(), transport, "https://auth.example:"+portOf(t, tokens)+"/")
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); !unknown {
		t.Errorf("a named stranger: %v; want it verified and refused", err)
	}
}

// TestMaxConnections: a second request waits for the one connection there may
// be, rather than open another.
func TestMaxConnections(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	ca := newAuthority(t)
	address := ca.serveTLS(t, "127.0.0.1", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			w.(http.Flusher).Flush()
			<-release
		}
		w.Write([]byte(r.RemoteAddr))
	})
	transport := mustTransport(t, TransportConfig{
		Guard: mustGuard(t, GuardConfig{Trusted: []string{address}}), RootCAs: ca.pool, HTTP1: true, MaxConnections: 1,
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/hold", nil)
	if err != nil {
		t.Fatal(err)
	}
	held, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Body.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := tryGet(ctx, transport, "https://"+address+"/"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second request: %v; want it to wait", err)
	}
	close(release)
}

func TestNewTransportRefusesABadEgress(t *testing.T) {
	t.Parallel()
	if _, err := NewTransport(TransportConfig{Egress: Config{Name: "tor", URL: "tor://x"}}); err == nil || !strings.HasPrefix(err.Error(), "egress.tor: url:") {
		t.Errorf("NewTransport = %v; want an error that names egress.tor", err)
	}
}
