package egress

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestProxiesReachTheTarget sends one https request through each kind of proxy,
// with a login, and compares what the proxy and the target saw.
func TestProxiesReachTheTarget(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	seen := make(chan http.Header, 10)
	target := ca.serveTLS(t, "registry.example", func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header
		w.Write([]byte("hello " + r.Host))
	})
	for _, tt := range []struct {
		scheme string
		tls    bool
		serve  func(*fakeProxy) string
		want   string
	}{
		{"http", false, func(p *fakeProxy) string { return listen(t, p.serveHTTP) }, "CONNECT registry.example:443"},
		{"https", true, func(p *fakeProxy) string { return listenTLS(t, ca, p.serveHTTP) }, "CONNECT registry.example:443"},
		{"socks5", false, func(p *fakeProxy) string { return listen(t, p.serveSOCKS) }, "SOCKS registry.example:443"},
		{"socks5h", false, func(p *fakeProxy) string { return listen(t, p.serveSOCKS) }, "SOCKS registry.example:443"},
	} {
		t.Run(tt.scheme, func(t *testing.T) {
			p := &fakeProxy{to: target, user: "alice:" + canary}
			transport := mustTransport(t, TransportConfig{
				Egress:  Config{URL: tt.scheme + "://" + tt.serve(p), Username: "alice", Password: canary},
				RootCAs: ca.pool,
			})
			if got := get(t, transport, "https://registry.example/v2/"); got != "hello registry.example" {
				t.Errorf("body %q", got)
			}
			if diff := cmp.Diff([]string{tt.want}, p.requests()); diff != "" {
				t.Errorf("asked of the proxy (-want +got):\n%s", diff)
			}
			for name, values := range <-seen {
				if strings.HasPrefix(name, "Proxy-") || strings.Contains(strings.Join(values, ""), canary) {
					t.Errorf("the target saw %s: %q", name, values)
				}
			}
		})
	}
}

// TestTunnelHasNoDeadlineOnceOpen: the time for a proxy's handshake must not
// cut what comes after it.
func TestTunnelHasNoDeadlineOnceOpen(t *testing.T) {
	t.Parallel()
	const handshake = 200 * time.Millisecond
	slow := func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("a"))
		w.(http.Flusher).Flush()
		time.Sleep(2 * handshake)
		w.Write([]byte("b"))
	}
	for scheme, serve := range map[string]func(*fakeProxy, net.Conn){"http": (*fakeProxy).serveHTTP, "socks5": (*fakeProxy).serveSOCKS} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ca := newAuthority(t)
				target := ca.servePipe(t, "registry.example", slow)
				p := &fakeProxy{dial: target.dial}
				transport := throughPipe(t, scheme, TransportConfig{RootCAs: ca.pool, TLSTimeout: handshake, HTTP1: true}, func(c net.Conn) { serve(p, c) })
				if got := get(t, transport, "https://registry.example/"); got != "ab" {
					t.Errorf("body %q; want ab", got)
				}
			})
		})
	}
}

// TestInsecureUpstreamKeepsTheProxyVerified: insecure_skip_verify is about a
// registry; the proxy's login never goes to an unverified proxy.
func TestInsecureUpstreamKeepsTheProxyVerified(t *testing.T) {
	t.Parallel()
	p := &fakeProxy{user: "alice:" + canary}
	impostor := listenTLS(t, newAuthority(t), p.serveHTTP)
	transport := mustTransport(t, TransportConfig{
		Egress:             Config{URL: "https://" + impostor, Username: "alice", Password: canary},
		Guard:              mustGuard(t, GuardConfig{Trusted: []string{"registry.example:443", impostor}}),
		InsecureSkipVerify: true,
	})
	_, err := tryGet(t.Context(), transport, "https://registry.example/")
	code, blamed := ProxyFailure(err)
	if !blamed || len(p.requests()) != 0 {
		t.Errorf("error %v (%s, %t), asked of the impostor: %q; want the egress blamed and nothing asked", err, code, blamed, p.requests())
	}
}

func TestPlainTargetThroughAProxy(t *testing.T) {
	t.Parallel()
	p := &fakeProxy{user: "alice:" + canary}
	proxy := listen(t, p.serveHTTP)
	transport := mustTransport(t, TransportConfig{Egress: Config{URL: "http://" + proxy, Username: "alice", Password: canary}})
	if got := get(t, transport, "http://registry.example/v2/"); got != "proxied" {
		t.Errorf("body %q", got)
	}
	if diff := cmp.Diff([]string{"GET http://registry.example/v2/"}, p.requests()); diff != "" {
		t.Errorf("asked of the proxy (-want +got):\n%s", diff)
	}
}
