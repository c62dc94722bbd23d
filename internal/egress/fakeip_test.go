package egress

import (
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
)

// dialled tells what the guard says of the addresses that its typed and its other
// hosts resolve to. Whether anything answers there is of no interest.
func dialled(t *testing.T, g *Guard, answers map[string]string, address string) error {
	t.Helper()
	dns := &fakeDNS{answers: answers}
	d := newDialer(TransportConfig{Guard: g, ConnectTimeout: 50 * time.Millisecond, resolver: dns.resolver()}, route{})
	conn, err := d.dial(t.Context(), "tcp", address)
	if err == nil {
		conn.Close()
	}
	return err
}

func isRefused(err error) bool { return pullchain.ReasonOf(err) == pullchain.Refused }

// TestFakeIP: where the host that the operator typed resolves to 198.18.0.0/15, the names
// that it leads to may (docs/faults.md 0.6). A private address stays refused, and so do
// an address that stands in the URL itself, and other ports.
func TestFakeIP(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"registry.example.": "198.18.0.1", "auth.example.": "198.18.0.2", "cdn.example.": "198.19.255.3",
		"lan.example.": "10.0.0.1", "loopback.example.": "127.0.0.1", "metadata.example.": "169.254.169.254", "public.example.": "192.0.2.1",
	}
	g := mustGuard(t, GuardConfig{Trusted: []string{"registry.example:443", "198.18.0.9:443"}})
	err := dialled(t, g, answers, "auth.example:443")
	if !isRefused(err) || !strings.Contains(err.Error(), "198.18.0.2 is a fake-ip of a TUN proxy: set allow_private") {
		t.Errorf("before the typed host was dialled: %v", err)
	}
	dialled(t, g, answers, "198.18.0.9:443")
	if err := dialled(t, g, answers, "auth.example:443"); !isRefused(err) {
		t.Errorf("a typed address says nothing of names: %v", err)
	}
	dialled(t, g, answers, "registry.example:443")
	for _, name := range []string{"auth.example:443", "cdn.example:443"} {
		if err := dialled(t, g, answers, name); isRefused(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"lan.example:443", "loopback.example:443", "metadata.example:443", "cdn.example:22"} {
		if err := dialled(t, g, answers, name); !isRefused(err) {
			t.Errorf("%s: %v; want it refused", name, err)
		}
	}
	checkAll(t, g, hub, false, "https://198.18.0.2/", "https://[::ffff:198.18.0.2]/", "https://10.0.0.1/")
}

// TestRefusalsNameTheSetting: what allow_private would allow names it; what nothing
// allows does not.
func TestRefusalsNameTheSetting(t *testing.T) {
	t.Parallel()
	g := mustGuard(t, GuardConfig{})
	for url, named := range map[string]bool{
		"https://10.0.0.1/": true, "https://198.18.0.1/": true, "https://[fc00::1]/": true, "https://redis/": true, "https://cdn.example:5000/": true,
		"https://169.254.169.254/": false, "https://metadata.google.internal/": false, "https://100.100.100.200/": false, "https://192.0.2.1/": false,
	} {
		err := g.Check(mustURL(t, url), nil)
		if err == nil || strings.Contains(err.Error(), "allow_private") != named {
			t.Errorf("%s: %v; names the setting: want %t", url, err, named)
		}
		if e, ok := err.(*pullchain.Error); ok && e.Reach != pullchain.ReachRequest {
			t.Errorf("%s: reach %v, want the request: it is our policy and no fault of the upstream", url, e.Reach)
		}
	}
}
