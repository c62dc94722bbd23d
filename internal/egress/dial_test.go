package egress

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
)

// counting returns the address of a plain HTTP server that answers "inside",
// and the number of connections it has had.
func counting(t *testing.T) (address string, connections *atomic.Int64) {
	connections = new(atomic.Int64)
	return listen(t, func(c net.Conn) {
		connections.Add(1)
		defer c.Close()
		readRequest(c)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\ninside")
	}), connections
}

func portOf(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestF23_NameThatResolvesInward: the URL looks harmless, the address is
// judged when it is dialled, and nothing reaches it.
func TestF23_NameThatResolvesInward(t *testing.T) {
	t.Parallel()
	inside, connections := counting(t)
	port := portOf(t, inside)
	dns := &fakeDNS{answers: map[string]string{
		"loopback.example.": "127.0.0.1", "metadata.example.": "169.254.169.254", "any.example.": "0.0.0.0", "lan.example.": "10.0.0.1",
	}}
	guard := mustGuard(t, GuardConfig{AllowHTTP: true, allowPorts: []int{atoi(t, port)}})
	transport := mustTransport(t, TransportConfig{Guard: guard, resolver: dns.resolver()})
	for _, host := range []string{"loopback.example", "metadata.example", "any.example", "lan.example"} {
		url := "http://" + host + ":" + port + "/"
		if err := guard.Check(mustURL(t, url), nil); err != nil {
			t.Fatalf("%s: the URL alone is refused, so this shows nothing: %v", host, err)
		}
		_, err := tryGet(t.Context(), transport, url)
		if pullchain.ReasonOf(err) != pullchain.Refused || pullchain.CodeOf(err) != pullchain.CodeRedirectBlocked {
			t.Errorf("%s: %v; want Refused, redirect_blocked", host, err)
		}
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections reached the inside; want none", n)
	}
}

// TestDNSRebinding: a name that was public when it was first reached is judged
// again when it is dialled again.
func TestDNSRebinding(t *testing.T) {
	t.Parallel()
	inside, connections := counting(t)
	port := portOf(t, inside)
	dns := &fakeDNS{answers: map[string]string{"evil.example.": "127.0.0.1"}}
	guard := mustGuard(t, GuardConfig{AllowHTTP: true, allowPorts: []int{atoi(t, port)}})
	transport := mustTransport(t, TransportConfig{Guard: guard, resolver: dns.resolver()})

	dns.set(false, map[string]string{"evil.example.": "198.51.100.7"}) // refused too, but as another address
	_, first := tryGet(t.Context(), transport, "http://evil.example:"+port+"/")
	dns.set(false, map[string]string{"evil.example.": "127.0.0.1"})
	_, second := tryGet(t.Context(), transport, "http://evil.example:"+port+"/")
	if pullchain.ReasonOf(first) != pullchain.Refused || pullchain.ReasonOf(second) != pullchain.Refused || connections.Load() != 0 {
		t.Errorf("first %v, then %v, %d connections; want both Refused and none", first, second, connections.Load())
	}
}

func TestGuardAtTheDialObeysItsConfig(t *testing.T) {
	t.Parallel()
	inside, _ := counting(t)
	port := portOf(t, inside)
	dns := &fakeDNS{answers: map[string]string{"harbor.example.": "127.0.0.1"}}
	url := "http://harbor.example:" + port + "/"
	for name, guard := range map[string]GuardConfig{
		"typed by the operator": {Trusted: []string{"harbor.example:" + port}},
		"allow_private":         {AllowPrivate: true},
	} {
		transport := mustTransport(t, TransportConfig{Guard: mustGuard(t, guard), resolver: dns.resolver()})
		if got := get(t, transport, url); got != "inside" {
			t.Errorf("%s: body %q; want inside", name, got)
		}
	}
	cidr := mustGuard(t, GuardConfig{AllowHTTP: true, allowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	odd := mustTransport(t, TransportConfig{Guard: cidr, resolver: dns.resolver()})
	if _, err := tryGet(t.Context(), odd, url); pullchain.ReasonOf(err) != pullchain.Refused {
		t.Errorf("an allowed address at a port that is not: %v; want Refused", err)
	}
	other := mustTransport(t, TransportConfig{Guard: mustGuard(t, GuardConfig{Trusted: []string{"harbor.example:1"}}), resolver: dns.resolver()})
	if _, err := tryGet(t.Context(), other, url); pullchain.ReasonOf(err) != pullchain.Refused {
		t.Errorf("another port of a typed host: %v; want Refused", err)
	}
}

// TestThroughAProxyOnlyTheURLIsJudged shows docs/faults.md 11.5: the dial guard sees
// the proxy's address, so Check has to have been asked before.
func TestThroughAProxyOnlyTheURLIsJudged(t *testing.T) {
	t.Parallel()
	p := &fakeProxy{}
	transport := mustTransport(t, TransportConfig{Egress: Config{URL: "http://" + listen(t, p.serveHTTP)}})
	metadata := "http://169.254.169.254/latest/meta-data/"
	if got := get(t, transport, metadata); got != "proxied" {
		t.Errorf("body %q; the dial guard cannot have seen the target", got)
	}
	if err := (*Guard)(nil).Check(mustURL(t, metadata), mustURL(t, "http://registry.example/")); err == nil {
		t.Error("Check lets the metadata service pass; it is the only guard behind a proxy")
	}
}

func TestF03_DNSOutage(t *testing.T) {
	t.Parallel()
	inside, _ := counting(t)
	port := portOf(t, inside)
	dns := &fakeDNS{answers: map[string]string{"registry.example.": "127.0.0.1"}}
	transport := mustTransport(t, TransportConfig{
		Guard: mustGuard(t, GuardConfig{Trusted: []string{"registry.example:" + port, "new.example:" + port}}), resolver: dns.resolver(),
	})
	url := "http://registry.example:" + port + "/"
	get(t, transport, url)

	dns.set(true, nil)
	if got := get(t, transport, url); got != "inside" {
		t.Errorf("during the outage: body %q; want inside", got)
	}
	asked := dns.queries()
	get(t, transport, url)
	if n := dns.queries() - asked; n != 0 {
		t.Errorf("%d questions right after DNS failed; want none for a known name", n)
	}
	if _, err := tryGet(t.Context(), transport, "http://new.example:"+port+"/"); !isDNSError(err) {
		t.Errorf("a name never seen: %v; want a DNS error", err)
	}

	back := mustTransport(t, TransportConfig{Guard: mustGuard(t, GuardConfig{AllowPrivate: true}), resolver: dns.resolver()})
	dns.set(false, map[string]string{"registry.example.": "127.0.0.1"})
	get(t, back, url)
	dns.set(false, nil)
	if _, err := tryGet(t.Context(), back, url); !isDNSError(err) {
		t.Errorf("NXDOMAIN: %v; want a DNS error, as it is an answer", err)
	}
}

func isDNSError(err error) bool {
	_, ok := errors.AsType[*net.DNSError](err)
	return ok
}

func TestF03_AddressesAreKeptForAnHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newAddressMemory()
		m.remember("r.example:443", "192.0.2.1:443")
		m.remember("r.example:443", "192.0.2.2:443")
		m.remember("r.example:443", "192.0.2.1:443")
		m.remember("192.0.2.9:443", "192.0.2.9:443")
		if diff := cmp.Diff([]string{"192.0.2.1:443", "192.0.2.2:443"}, m.afterOutage("r.example:443")); diff != "" {
			t.Errorf("latest first (-want +got):\n%s", diff)
		}
		if m.afterOutage("192.0.2.9:443") != nil {
			t.Error("an address was remembered under itself")
		}
		if m.duringOutage("r.example:443") == nil {
			t.Error("right after a DNS failure the addresses are not used first")
		}
		time.Sleep(31 * time.Second)
		if m.duringOutage("r.example:443") != nil {
			t.Error("31 s after a DNS failure it is not tried again")
		}
		time.Sleep(time.Hour - 31*time.Second)
		if m.afterOutage("r.example:443") == nil {
			t.Error("forgotten within the hour")
		}
		time.Sleep(time.Second)
		if m.afterOutage("r.example:443") != nil {
			t.Error("kept for more than an hour")
		}
	})
}

func TestAddressMemoryIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newAddressMemory()
		for i := range 2 * maxNames {
			time.Sleep(time.Millisecond)
			m.remember(fmt.Sprintf("cdn%d.example:443", i), fmt.Sprintf("192.0.2.1:%d", i))
		}
		for i := range 2 * maxAddresses {
			m.remember("cdn511.example:443", fmt.Sprintf("192.0.2.%d:443", i))
		}
		if len(m.names) != maxNames || len(m.afterOutage("cdn511.example:443")) != maxAddresses || m.afterOutage("cdn0.example:443") != nil {
			t.Errorf("%d names, %d addresses; want %d and %d, the oldest gone", len(m.names), len(m.afterOutage("cdn511.example:443")), maxNames, maxAddresses)
		}
	})
}
