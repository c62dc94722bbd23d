package upstreams

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/egress"
)

// slow is a time-out as net.Error reports it.
type slow struct{ text string }

func (e slow) Error() string { return e.text }
func (slow) Timeout() bool   { return true }
func (slow) Temporary() bool { return true }

// TestClassifyTransport gives every kind of failure to get an answer its word.
// The errors are those that net/http of go1.26.8 really returns.
func TestClassifyTransport(t *testing.T) {
	t.Parallel()
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	read := func(err error) error { return &net.OpError{Op: "read", Net: "tcp", Err: err} }
	type verdict struct {
		Reason     pullchain.Reason
		Code       pullchain.Code
		Scope      pullchain.Reach
		RetryAfter time.Duration
	}
	down := func(code pullchain.Code, scope pullchain.Reach) verdict {
		return verdict{Reason: pullchain.Unavailable, Code: code, Scope: scope}
	}
	const all, class = pullchain.ReachLane, pullchain.ReachClass
	tests := map[string]struct {
		err       error
		offOrigin bool
		want      verdict
	}{
		"no such host":          {dial(&net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}), false, down(pullchain.CodeDNS, all)},
		"resolver silent":       {dial(&net.DNSError{Err: "i/o timeout", Name: "x", IsTimeout: true}), false, down(pullchain.CodeDNS, all)},
		"a CDN's name unknown":  {dial(&net.DNSError{Err: "no such host", Name: "cdn", IsNotFound: true}), true, down(pullchain.CodeDNS, class)},
		"no descriptors":        {dial(&os.SyscallError{Syscall: "socket", Err: syscall.EMFILE}), false, down(pullchain.CodeNoDescriptors, pullchain.ReachRequest)},
		"none on the machine":   {dial(&os.SyscallError{Syscall: "socket", Err: syscall.ENFILE}), false, down(pullchain.CodeNoDescriptors, pullchain.ReachRequest)},
		"none for the resolver": {dial(&net.DNSError{Err: "dial udp: socket: too many open files", Name: "x"}), false, down(pullchain.CodeNoDescriptors, pullchain.ReachRequest)},
		"none for the proxy":    {&net.OpError{Op: "proxyconnect", Net: "tcp", Err: dial(&os.SyscallError{Syscall: "socket", Err: syscall.EMFILE})}, false, down(pullchain.CodeNoDescriptors, pullchain.ReachRequest)},
		"refused":               {dial(syscall.ECONNREFUSED), false, down(pullchain.CodeConnRefused, all)},
		"refused by a CDN":      {dial(syscall.ECONNREFUSED), true, down(pullchain.CodeConnRefused, class)},
		"dial time-out":         {dial(slow{"i/o timeout"}), false, down(pullchain.CodeConnTimeout, all)},
		"no route":              {dial(syscall.EHOSTUNREACH), false, down(pullchain.CodeConnTimeout, all)},
		"certificate expired":   {&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired, Cert: &x509.Certificate{}}}, false, down(pullchain.CodeTLSCert, all)},
		"unknown authority":     {x509.UnknownAuthorityError{}, false, down(pullchain.CodeTLSCert, all)},
		"wrong host":            {x509.HostnameError{Certificate: &x509.Certificate{}, Host: "x"}, false, down(pullchain.CodeTLSCert, all)},
		"not TLS":               {tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, false, down(pullchain.CodeTLSHandshake, all)},
		"TLS alert":             {fmt.Errorf("remote error: %w", tls.AlertError(40)), false, down(pullchain.CodeTLSHandshake, all)},
		"TLS time-out":          {slow{"net/http: TLS handshake timeout"}, false, down(pullchain.CodeTLSHandshake, all)},
		"calm down":             {errors.New("http2: server sent GOAWAY and closed the connection; LastStreamID=1, ErrCode=ENHANCE_YOUR_CALM, debug=\"\""), false, verdict{pullchain.Limited, pullchain.CodeThrottle, class, time.Minute}},
		"GOAWAY":                {errors.New("http2: server sent GOAWAY and closed the connection; LastStreamID=1, ErrCode=INTERNAL_ERROR, debug=\"\""), false, down(pullchain.CodeHTTP2, class)},
		"stream reset":          {errors.New("stream error: stream ID 3; INTERNAL_ERROR; received from peer"), false, down(pullchain.CodeHTTP2, class)},
		"connection lost (h2)":  {errors.New("http2: client connection lost"), false, down(pullchain.CodeHTTP2, class)},
		"headers too large":     {errors.New("net/http: server response headers exceeded 65536 bytes; aborted"), false, down(pullchain.CodeHeaderTooLarge, pullchain.ReachRequest)},
		"header time-out":       {slow{"net/http: timeout awaiting response headers"}, false, down(pullchain.CodeHeaderTimeout, class)},
		"deadline":              {context.DeadlineExceeded, false, down(pullchain.CodeHeaderTimeout, class)},
		"EOF":                   {io.EOF, false, down(pullchain.CodeConnReset, class)},
		"unexpected EOF":        {fmt.Errorf("reading: %w", io.ErrUnexpectedEOF), false, down(pullchain.CodeConnReset, class)},
		"reset":                 {read(syscall.ECONNRESET), false, down(pullchain.CodeConnReset, class)},
		"broken pipe":           {read(syscall.EPIPE), false, down(pullchain.CodeConnReset, class)},
		"idle connection gone":  {errors.New("http: server closed idle connection"), false, down(pullchain.CodeConnReset, class)},
		"junk":                  {errors.New(`net/http: HTTP/1.x transport connection broken: malformed HTTP response "\x00\x00"`), false, down(pullchain.CodeUnexpected, class)},
		"the proxy is down":     {&net.OpError{Op: "proxyconnect", Err: dial(syscall.ECONNREFUSED)}, false, verdict{Reason: pullchain.Egress, Code: pullchain.CodeEgressProxy, Scope: all}},
		"SOCKS login":           {&net.OpError{Op: "socks connect", Err: errors.New("username/password authentication failed")}, false, verdict{Reason: pullchain.Egress, Code: pullchain.CodeEgressAuth, Scope: all}},
		"the guard's own words": {fmt.Errorf("dial: %w", &pullchain.Error{Reason: pullchain.Refused, Code: pullchain.CodeRedirectBlocked}), true, verdict{Reason: pullchain.Refused, Code: pullchain.CodeRedirectBlocked}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := classifyTransport(tt.err, tt.offOrigin)
			got := verdict{e.Reason, e.Code, e.Reach, e.RetryAfter}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%v (-want +got)\n%s", tt.err, diff)
			}
		})
	}
}

// TestSOCKSTargetIsNotTheEgress: what a proxy reports of the target is held
// against the target, in the words that the target would have got (docs/faults.md
// F42, F43).
func TestSOCKSTargetIsNotTheEgress(t *testing.T) {
	t.Parallel()
	for reply, code := range map[string]pullchain.Code{
		"host unreachable":             pullchain.CodeConnTimeout,
		"connection refused":           pullchain.CodeConnRefused,
		"general SOCKS server failure": pullchain.CodeUnexpected,
	} {
		err := &net.OpError{Op: "socks connect", Err: errors.New("unknown error " + reply)}
		if got := classifyTransport(err, false); got.Reason != pullchain.Unavailable || got.Code != code {
			t.Errorf("%s: %v %s, want unavailable %s", reply, got.Reason, got.Code, code)
		}
	}
}

// TestH2Health: three HTTP/2 failures within a minute, and only these, mean an
// hour of HTTP/1.1 (docs/faults.md F45).
func TestH2Health(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		u := testUpstream(t, Config{Name: "hub", URL: "https://hub.example"})
		bad := &pullchain.Error{Code: pullchain.CodeHTTP2}
		expect := func(want bool, when string) {
			t.Helper()
			if got := u.transport(pullchain.ClassManifest, true, false) == u.http1; got != want {
				t.Fatalf("%s: HTTP/1.1 is %t, want %t", when, got, want)
			}
		}
		for range 5 {
			u.h2.observe(&pullchain.Error{Code: pullchain.CodeConnReset})
		}
		expect(false, "after failures of another kind")
		u.h2.observe(bad)
		u.h2.observe(bad)
		time.Sleep(61 * time.Second)
		u.h2.observe(bad)
		expect(false, "after three that are too far apart")
		u.h2.observe(bad)
		expect(false, "after two within a minute")
		u.h2.observe(bad)
		expect(true, "after three within a minute")
		time.Sleep(59 * time.Minute)
		expect(true, "59 minutes later")
		time.Sleep(2 * time.Minute)
		expect(false, "61 minutes later")
		u.h2.observe(bad)
		expect(false, "after a single one: the old three are forgotten")
	})
}

// TestBlobTransport: bytes of blobs never share an HTTP/2 connection, the
// registry's small redirect may.
func TestBlobTransport(t *testing.T) {
	t.Parallel()
	u := testUpstream(t, Config{Name: "hub", URL: "https://hub.example"})
	if u.transport(pullchain.ClassBlob, true, false) != u.blobs {
		t.Error("a blob's first hop before any redirect was seen: it may be the blob itself")
	}
	yes, no := true, false
	if u := testUpstream(t, Config{Name: "relay", URL: "https://relay.example", Authoritative: &no}); u.transport(pullchain.ClassBlob, true, false) != u.blobs {
		t.Error("a relay is taken for a registry that redirects")
	}
	u = testUpstream(t, Config{Name: "hub", URL: "https://hub.example", Authoritative: &yes})
	if u.transport(pullchain.ClassBlob, true, false) != u.api {
		t.Error("a blob's first hop at a registry does not use the warm connection")
	}
	if u.transport(pullchain.ClassBlob, false, false) != u.blobs {
		t.Error("a CDN's bytes do not come over HTTP/1.1")
	}
	if u.blobs.Protocols.HTTP2() || u.http1.Protocols.HTTP2() || !u.api.Protocols.HTTP2() {
		t.Error("wrong protocols")
	}
}

func testUpstream(t *testing.T, cfg Config) *Upstream {
	t.Helper()
	u, err := New(cfg, egress.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Close)
	return u
}
