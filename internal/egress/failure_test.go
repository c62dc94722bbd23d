package egress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

const canary = "canary-7f3a"

// failThrough asks for an https target by transport and returns the error.
func failThrough(t *testing.T, transport *http.Transport) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://registry.example/v2/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err == nil {
		resp.Body.Close()
		t.Fatalf("the request went through with HTTP %d", resp.StatusCode)
	}
	return err
}

// checkFailure asserts what the failure of a request through proxy is held to be.
func checkFailure(t *testing.T, proxy Config, code pullchain.Code, blamed bool) {
	t.Helper()
	checkTransport(t, mustTransport(t, TransportConfig{Egress: proxy}), code, blamed)
}

func checkTransport(t *testing.T, transport *http.Transport, code pullchain.Code, blamed bool) {
	t.Helper()
	err := failThrough(t, transport)
	gotCode, gotBlamed := ProxyFailure(err)
	if gotCode != code || gotBlamed != blamed {
		t.Errorf("ProxyFailure = %q, %t; want %q, %t\nerror: %v", gotCode, gotBlamed, code, blamed, err)
	}
	if strings.Contains(err.Error(), canary) {
		t.Errorf("the error shows the password: %v", err)
	}
}

func TestF42_ProxyIsDown(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"http://" + refusing(t),
		"https://" + refusing(t),
		"socks5://" + refusing(t),
		"socks5h://" + refusing(t),
		"http://" + listen(t, func(c net.Conn) { readRequest(c); c.Close() }),                // hangs up
		"http://" + listen(t, func(c net.Conn) { io.WriteString(c, "SSH-2.0-OpenSSH\r\n") }), // no proxy
		"socks5://" + listen(t, func(c net.Conn) { c.Close() }),                              // hangs up
		"socks5://" + listen(t, func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400\r\n") }),  // no SOCKS proxy
		"socks5://" + listen(t, socksScript{reply: 7}.serve),                                 // cannot CONNECT
	} {
		t.Run(url[:strings.Index(url, ":")], func(t *testing.T) {
			t.Parallel()
			checkFailure(t, Config{URL: url, Username: "u", Password: canary}, pullchain.CodeEgressProxy, true)
		})
	}
}

// TestF42_ProxyIsSilent: however little of the handshake is done in its time, it is
// the proxy that has not said a word.
func TestF42_ProxyIsSilent(t *testing.T) {
	t.Parallel()
	silent := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	for _, scheme := range []string{"https", "socks5"} {
		transport := mustTransport(t, TransportConfig{Egress: Config{URL: scheme + "://" + silent, Username: "u", Password: canary}, TLSTimeout: 150 * time.Millisecond})
		checkTransport(t, transport, pullchain.CodeEgressProxy, true)
	}
}

func TestF42_ConnectRefused(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]struct {
		code   pullchain.Code
		blamed bool
	}{
		"400 Bad Request":         {pullchain.CodeEgressProxy, true},
		"302 Found":               {pullchain.CodeEgressProxy, true},
		"405 Method Not Allowed":  {pullchain.CodeEgressProxy, true},
		"429 Too Many Requests":   {pullchain.CodeEgressProxy, true},
		"501 Not Implemented":     {pullchain.CodeEgressProxy, true},
		"204 No Content":          {pullchain.CodeEgressProxy, true},
		"403 Forbidden":           {pullchain.CodeUnexpected, false}, // this target only
		"404 Not Found":           {pullchain.CodeUnexpected, false},
		"500 Unable to connect":   {pullchain.CodeConnRefused, false}, // tinyproxy
		"502 Bad Gateway":         {pullchain.CodeConnRefused, false},
		"503 Service Unavailable": {pullchain.CodeConnRefused, false}, // squid
		"504 Gateway Timeout":     {pullchain.CodeConnTimeout, false},
	} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			proxy := listen(t, func(c net.Conn) {
				readRequest(c)
				fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", status)
			})
			checkFailure(t, Config{URL: "http://" + proxy, Username: "u", Password: canary}, want.code, want.blamed)
		})
	}
}

func TestF43_LoginRefused(t *testing.T) {
	t.Parallel()
	httpProxy := listen(t, (&fakeProxy{user: "u:right"}).serveHTTP)
	socksProxy := listen(t, (&fakeProxy{user: "u:right"}).serveSOCKS)
	for name, proxy := range map[string]Config{
		"http, wrong":  {URL: "http://" + httpProxy, Username: "u", Password: canary},
		"http, none":   {URL: "http://" + httpProxy},
		"socks, wrong": {URL: "socks5://" + socksProxy, Username: "u", Password: canary},
		"socks, none":  {URL: "socks5://" + socksProxy},
		"socks, none, and it answers on": {URL: "socks5://" + listen(t, func(c net.Conn) {
			io.ReadFull(c, make([]byte, 3))
			c.Write([]byte{5, 2})
			io.ReadFull(c, make([]byte, 5))
			c.Write([]byte{1, 1, 0, 0})
			io.Copy(io.Discard, c)
		})},
		"socks, none acceptable": {URL: "socks5://" + listen(t, socksScript{method: 255}.serve), Username: "u", Password: canary},
		"socks, GSSAPI only":     {URL: "socks5://" + listen(t, socksScript{method: 1}.serve), Username: "u", Password: canary},
		"socks, hangs up at login": {URL: "socks5://" + listen(t, func(c net.Conn) {
			io.ReadFull(c, make([]byte, 4))
			c.Write([]byte{5, 2})
			io.ReadFull(c, make([]byte, 2))
			c.Close()
		}), Username: "u", Password: canary},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkFailure(t, proxy, pullchain.CodeEgressAuth, true)
		})
	}
}

func TestF43_SocksReportsTheTarget(t *testing.T) {
	t.Parallel()
	for reply, want := range map[byte]pullchain.Code{
		1: pullchain.CodeUnexpected,  // general failure: many servers' word for DNS
		2: pullchain.CodeUnexpected,  // not allowed by ruleset
		3: pullchain.CodeConnTimeout, // network unreachable
		4: pullchain.CodeConnTimeout, // host unreachable
		5: pullchain.CodeConnRefused, // connection refused
		6: pullchain.CodeConnTimeout, // TTL expired
	} {
		t.Run(fmt.Sprint("reply ", reply), func(t *testing.T) {
			t.Parallel()
			checkFailure(t, Config{URL: "socks5://" + listen(t, socksScript{reply: reply}.serve)}, want, false)
		})
	}
}

func TestSilenceAfterTheGreetingIsTheTargets(t *testing.T) {
	t.Parallel()
	greet := func(c net.Conn) {
		io.ReadFull(c, make([]byte, 3))
		c.Write([]byte{5, 0})
	}
	for _, tt := range []struct {
		scheme string
		serve  func(net.Conn)
	}{
		{"http", func(c net.Conn) { io.Copy(io.Discard, c) }},
		{"socks5", func(c net.Conn) { greet(c); io.Copy(io.Discard, c) }},
	} {
		synctest.Test(t, func(t *testing.T) {
			transport := throughPipe(t, tt.scheme, TransportConfig{TLSTimeout: 150 * time.Millisecond}, tt.serve)
			checkTransport(t, transport, pullchain.CodeConnTimeout, false)
		})
	}
	closing := listen(t, func(c net.Conn) {
		greet(c)
		io.ReadFull(c, make([]byte, 5))
		c.Close()
	})
	checkFailure(t, Config{URL: "socks5://" + closing}, pullchain.CodeConnReset, false)
}

// throughPipe returns a transport by a proxy that serve plays at the other end of a
// pipe, so that the time for a handshake is that of a synctest bubble.
func throughPipe(t *testing.T, scheme string, c TransportConfig, serve func(net.Conn)) *http.Transport {
	t.Helper()
	c.Egress.URL = scheme + "://proxy.example:1"
	transport, proxy := mustTransport(t, c), mustURL(t, c.Egress.URL)
	transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go serve(theirs)
		return newTunnel(ours, proxy, c.TLSTimeout)
	}
	return transport
}

func TestProxyFailureOfOtherErrors(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	transport, err := NewTransport(TransportConfig{Egress: Config{URL: "http://" + refusing(t)}})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://registry.example/", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, canceled := transport.RoundTrip(req)
	for name, err := range map[string]error{
		"our client went away": canceled,
		"target refused":       &net.OpError{Op: "dial", Err: errors.New("connection refused")},
		"canceled at a proxy":  &net.OpError{Op: "proxyconnect", Err: context.Canceled},
		"no error":             nil,
	} {
		if code, blamed := ProxyFailure(err); code != "" || blamed {
			t.Errorf("%s: ProxyFailure(%v) = %q, %t; want nothing", name, err, code, blamed)
		}
	}
}

// A socksScript is a SOCKS5 server that picks a method and gives one reply.
type socksScript struct{ method, reply byte }

func (s socksScript) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	head := readN(r, 2)
	if len(head) < 2 {
		return
	}
	readN(r, int(head[1]))
	c.Write([]byte{5, s.method})
	if head = readN(r, 5); len(head) < 5 {
		return
	}
	readN(r, int(head[4])+2)
	c.Write([]byte{5, s.reply, 0, 1, 0, 0, 0, 0, 0, 0})
	io.Copy(io.Discard, r)
}

func readRequest(c net.Conn) { http.ReadRequest(bufio.NewReader(c)) }
