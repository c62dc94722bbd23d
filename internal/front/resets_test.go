package front

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/pullchain/pullchain"
)

// F56: the connection of a proxy that is trusted carries the requests of many clients, and
// keeps however many of them are reset.
func TestF56ResetsBehindAProxy(t *testing.T) {
	t.Parallel()
	c := writeCert(t, t.TempDir(), "h2")
	c.HTTP2, c.TrustedProxies = true, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	h, logs := newHandler(t, c, &fakeFetcher{fetch: func(ctx context.Context, _ pullchain.Request) (pullchain.Response, error) {
		<-ctx.Done()
		return pullchain.Response{}, context.Cause(ctx)
	}})
	addr, _ := start(t, c, h)
	cl := dialH2(t, &net.Dialer{}, addr, 1<<16)
	for made := 0; made < 3*maxResets; {
		for range maxStreams / 2 { // fewer than net/http itself takes for too many
			made++
			if err := cl.get(longURL, true); err != nil {
				t.Fatal(err)
			}
		}
		if !cl.ping() { // all have been read
			t.Fatalf("closed after %d resets", made)
		}
		until(t, "they are over", func() bool { return h.InFlight() == 0 })
	}
	if n := logs.count("connection closed: the client resets its requests", t); n != 0 {
		t.Errorf("%d lines in the log", n)
	}
}
