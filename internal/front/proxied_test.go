package front

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/pullchain/pullchain/internal/access"
)

// behindProxy is a server for proxies on this machine, which serves clients of 10.0.0.0/8.
func behindProxy(t *testing.T, c Config) (addr string, logs *logLines) {
	t.Helper()
	c.ProxyProtocol, c.TrustedProxies = true, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	h, logs := newHandler(t, c, &fakeFetcher{fetch: healthy})
	admit(t, h, access.Config{AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}})
	addr, _ = start(t, c, h)
	return addr, logs
}

// hello is the beginning of a connection for a client at from.
func hello(t *testing.T, version byte, command proxyproto.ProtocolVersionAndCommand, from string) string {
	t.Helper()
	family := proxyproto.TCPv4
	to := "192.0.2.1:5151"
	if strings.HasPrefix(from, "[") {
		family, to = proxyproto.TCPv6, "[2001:db8::1]:5151"
	}
	h := proxyproto.Header{
		Version: version, Command: command, TransportProtocol: family,
		SourceAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from)), DestinationAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(to)),
	}
	text, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// F65: behind a proxy of the PROXY protocol a client is who the proxy says, and what the
// client says of itself counts for nothing. A connection that does not begin so ends.
func TestF65ProxyProtocol(t *testing.T) {
	t.Parallel()
	const get = "GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
	for _, tt := range []struct {
		name, hello, more string
		want              int // 0: no answer
		client            string
	}{
		{"v1", hello(t, 1, proxyproto.PROXY, "10.1.2.3:999"), "", 200, "10.1.2.3"},
		{"v2", hello(t, 2, proxyproto.PROXY, "10.1.2.3:999"), "", 200, "10.1.2.3"},
		{"v2, IPv6", hello(t, 2, proxyproto.PROXY, "[2001:db8::7]:999"), "", 200, "2001:db8::7"},
		{"not allowed", hello(t, 2, proxyproto.PROXY, "203.0.113.9:999"), "", 403, "203.0.113.9"},
		{"forwarded by the client", hello(t, 2, proxyproto.PROXY, "203.0.113.9:999"), "X-Forwarded-For: 10.1.2.3\r\n", 403, "203.0.113.9"},
		{"forwarded by a proxy before it", hello(t, 2, proxyproto.PROXY, "127.0.0.7:999"), "X-Forwarded-For: 10.1.2.3\r\n", 200, "10.1.2.3"},
		{"the proxy itself", hello(t, 2, proxyproto.LOCAL, "10.1.2.3:999"), "", 403, "127.0.0.1"},
		{"unknown", "PROXY UNKNOWN\r\n", "", 403, "127.0.0.1"},
		{"none", "", "", 0, ""},
		{"two", hello(t, 1, proxyproto.PROXY, "10.1.2.3:999") + hello(t, 1, proxyproto.PROXY, "10.1.2.4:999"), "", 400, ""},
		{"half", "PROXY TCP4 10.1.2.3", "", 0, ""},
		{"endless", "PROXY " + strings.Repeat("x", 200), "", 0, ""},
		{"v2 of another length", hello(t, 2, proxyproto.PROXY, "10.1.2.3:999")[:14] + "\xff\xff", "", 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			addr, logs := behindProxy(t, Config{})
			request := get + tt.more + "\r\n"
			if strings.HasPrefix(tt.name, "half") {
				request = "\r\n"
			}
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(ioPatience))
			_, _ = io.WriteString(conn, tt.hello+request)
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil && tt.want != 0 {
				t.Fatal(err)
			}
			answer, _ := io.ReadAll(conn)
			if tt.want == 0 {
				if len(answer) != 0 {
					t.Errorf("answered %q", answer)
				}
				return
			}
			resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(answer))), nil)
			if err != nil || resp.StatusCode != tt.want {
				t.Fatalf("%q, %v; want %d", answer, err, tt.want)
			}
			if tt.client == "" {
				return
			}
			for _, line := range logs.access(t) {
				if line["addr"] != tt.client {
					t.Errorf("the log has %v, want %s", line["addr"], tt.client)
				}
			}
		})
	}
}

// F65: who is no trusted proxy is a client, and cannot say that it is another.
func TestF65ProxyProtocolOfAStranger(t *testing.T) {
	t.Parallel()
	c := Config{ProxyProtocol: true, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	h, _ := newHandler(t, c, &fakeFetcher{fetch: healthy})
	addr, _ := start(t, c, h)
	const get = "GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	if g := rawRequest(t, addr, get); g.Status != 200 {
		t.Errorf("a plain request: %d", g.Status)
	}
	if g := rawRequest(t, addr, hello(t, 1, proxyproto.PROXY, "10.1.2.3:999")+get); g.Status != 400 {
		t.Errorf("a forged one: %d", g.Status)
	}
}

// A proxy that says nothing holds up no other, and a server that ends does not wait for it.
func TestSilentProxy(t *testing.T) {
	t.Parallel()
	addr, _ := behindProxy(t, Config{})
	for range 5 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	g := rawRequest(t, addr, hello(t, 2, proxyproto.PROXY, "10.1.2.3:999")+"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	if g.Status != 200 {
		t.Errorf("%d", g.Status)
	}
}

// TLS begins after the line of the proxy, and the caps of connections are the clients'.
func TestProxyProtocolThenTLS(t *testing.T) {
	t.Parallel()
	c := writeCert(t, t.TempDir(), "mirror")
	c.MaxConnsPerClient = 1
	addr, _ := behindProxy(t, c)
	open := func(client string) (status int) {
		raw, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		raw.SetDeadline(time.Now().Add(ioPatience))
		fmt.Fprint(raw, hello(t, 2, proxyproto.PROXY, client))
		conn := tls.Client(raw, anyCert)
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", blobPath)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return 0
		}
		if n, err := io.Copy(io.Discard, resp.Body); n != int64(len(layer)) || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		return resp.StatusCode
	}
	for _, tt := range []struct {
		client string
		want   int
	}{{"10.1.2.3:1", 200}, {"10.1.2.4:1", 200}, {"10.1.2.3:2", 0}} {
		if got := open(tt.client); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.client, got, tt.want)
		}
	}
}

// Files go out by sendfile there too: what net/http asks its connection for is there.
func TestProxiedConnTakesFiles(t *testing.T) {
	t.Parallel()
	var conn net.Conn = &proxiedConn{}
	if _, ok := conn.(io.ReaderFrom); !ok {
		t.Error("no ReadFrom")
	}
	if _, ok := conn.(interface{ SetLinger(int) error }); !ok {
		t.Error("no SetLinger, by which an answer is cut")
	}
}
