package egress

import (
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
)

// A proxy that hangs up at once may be met while the handshake is written; once
// the way is free, what fails is the target's.
func TestWritingToAProxyThatHangsUp(t *testing.T) {
	for _, tt := range []struct {
		proxy, handshake string
	}{
		{"http://127.0.0.1:3128", "CONNECT registry.example:443 HTTP/1.1\r\n"},
		{"socks5://127.0.0.1:1080", "\x05\x01\x00"},
	} {
		t.Run(tt.proxy, func(t *testing.T) {
			proxy, err := url.Parse(tt.proxy)
			if err != nil {
				t.Fatal(err)
			}
			ours, theirs := net.Pipe()
			defer ours.Close()
			conn, err := newTunnel(ours, proxy, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			theirs.Close()
			_, err = conn.Write([]byte(tt.handshake))
			if code, ok := ProxyFailure(err); code != pullchain.CodeEgressProxy || !ok {
				t.Errorf("%v is %q, the proxy's fault: %t; want %q, true", err, code, ok, pullchain.CodeEgressProxy)
			}
			_, err = conn.Write([]byte("\x16\x03\x01")) // TLS: the target's
			if code, ok := ProxyFailure(err); err == nil || ok {
				t.Errorf("%v is %q, the proxy's fault: %t; want it to be the target's", err, code, ok)
			}
		})
	}
}
