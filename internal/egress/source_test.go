package egress

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/pullchain/pullchain"
)

// twoFaced is a server at 127.0.0.1 and ::1, at one port, that answers with the address of
// its client, and a name that means both.
type twoFaced struct {
	port  string
	dns   *fakeDNS
	guard *Guard
}

func newTwoFaced(t *testing.T) *twoFaced {
	t.Helper()
	for _, needed := range []string{"127.0.0.2", "::1"} { // by default only Linux has the first
		if err := (Config{Source: needed}).CheckSource(t.Context()); err != nil {
			t.Skip(err)
		}
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprint(w, host)
	})
	for range 10 {
		four, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := portOf(t, four.Addr().String())
		six, err := net.Listen("tcp", "[::1]:"+port)
		if err != nil { // another program has that port
			four.Close()
			continue
		}
		for _, l := range []net.Listener{four, six} {
			server := &httptest.Server{Listener: l, Config: &http.Server{Handler: handler}}
			server.Start()
			t.Cleanup(server.Close)
		}
		return &twoFaced{port,
			&fakeDNS{answers: map[string]string{"both.example.": "127.0.0.1", "four.example.": "127.0.0.1"}, six: map[string]string{"both.example.": "::1"}},
			mustGuard(t, GuardConfig{Trusted: []string{"both.example:" + port, "four.example:" + port, "127.0.0.1:" + port, "[::1]:" + port}})}
	}
	t.Fatal("no port is free at both addresses")
	return nil
}

func TestSourceAndFamily(t *testing.T) {
	t.Parallel()
	s := newTwoFaced(t)
	for _, tt := range []struct {
		cfg    Config
		host   string
		want   string            // the address that the server sees
		fault  string            // or what the error says
		lookup []dnsmessage.Type // what was asked for; nil: nothing
	}{
		{Config{Family: IPv4}, "both.example", "127.0.0.1", "", []dnsmessage.Type{dnsmessage.TypeA}},
		{Config{Family: IPv6}, "both.example", "::1", "", []dnsmessage.Type{dnsmessage.TypeAAAA}},
		{Config{Source: "127.0.0.2"}, "both.example", "127.0.0.2", "", []dnsmessage.Type{dnsmessage.TypeA}},
		{Config{Source: "127.0.0.3", Family: IPv4, URL: Direct}, "127.0.0.1", "127.0.0.3", "", nil},
		{Config{Source: "::1"}, "both.example", "::1", "", []dnsmessage.Type{dnsmessage.TypeAAAA}},
		{Config{Source: "::ffff:127.0.0.2"}, "127.0.0.1", "127.0.0.2", "", nil},
		{Config{Family: IPv6}, "four.example", "", "its egress uses IPv6 only", []dnsmessage.Type{dnsmessage.TypeAAAA}},
		{Config{Family: IPv4}, "[::1]", "", "its egress uses IPv4 only", nil},
		{Config{Source: "192.0.2.1"}, "127.0.0.1", "", "source 192.0.2.1 is no address of this machine", nil},
	} {
		t.Run(fmt.Sprint(tt.cfg.Family, tt.cfg.Source, " to ", tt.host), func(t *testing.T) {
			t.Parallel()
			dns := &fakeDNS{answers: s.dns.answers, six: s.dns.six}
			transport := mustTransport(t, TransportConfig{Egress: tt.cfg, Guard: s.guard, resolver: dns.resolver()})
			got, err := tryGet(t.Context(), transport, "http://"+tt.host+":"+s.port+"/")
			switch {
			case tt.fault != "" && (err == nil || !strings.Contains(err.Error(), tt.fault)):
				t.Errorf("%v, want one that says %q", err, tt.fault)
			case tt.fault == "" && (err != nil || got != tt.want):
				t.Errorf("seen as %q, want %q: %v", got, tt.want, err)
			}
			if asked := slices.Compact(dns.types); !slices.Equal(asked, tt.lookup) {
				t.Errorf("asked for %v, want %v", asked, tt.lookup)
			}
		})
	}
}

// What was resolved helps out while DNS is down, within the family.
func TestFamilyOfWhatIsRemembered(t *testing.T) {
	t.Parallel()
	s := newTwoFaced(t)
	transport := mustTransport(t, TransportConfig{Egress: Config{Family: IPv6}, Guard: s.guard, resolver: s.dns.resolver()})
	for _, broken := range []bool{false, true} {
		s.dns.set(broken, s.dns.answers)
		transport.CloseIdleConnections()
		if got, err := tryGet(t.Context(), transport, "http://both.example:"+s.port+"/"); err != nil || got != "::1" {
			t.Errorf("DNS down %v: seen as %q: %v", broken, got, err)
		}
	}
}

func TestSourceIsNotOurs(t *testing.T) {
	t.Parallel()
	cfg := Config{Source: "192.0.2.1"} // TEST-NET-1 (RFC 5737)
	err := cfg.CheckSource(t.Context())
	if _, ok := errors.AsType[*sourceError](err); !ok {
		t.Fatalf("%v, want that it is none of ours", err)
	}
	transport := mustTransport(t, TransportConfig{Egress: cfg, Guard: mustGuard(t, GuardConfig{Trusted: []string{"127.0.0.1:1"}})})
	_, err = tryGet(t.Context(), transport, "http://127.0.0.1:1/")
	if code, ok := ProxyFailure(err); code != pullchain.CodeSourceAddress || !ok {
		t.Errorf("%v is %q, %v", err, code, ok)
	}
	if err := (Config{Source: "127.0.0.1"}).CheckSource(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSourceConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg  Config
		want string // part of the error; "" for none
	}{
		{Config{Family: "ipv5"}, `"ipv5" is neither "ipv4" nor "ipv6"`},
		{Config{Source: "eth0"}, "is not an IP address"},
		{Config{Source: "192.0.2.0/24"}, "is not an IP address"},
		{Config{Source: "0.0.0.0"}, "connections cannot come from 0.0.0.0"},
		{Config{Source: "ff02::1"}, "connections cannot come from ff02::1"},
		{Config{Source: "192.0.2.1", Family: IPv6}, "192.0.2.1 is no address of the family IPv6"},
		{Config{Source: "2001:db8::7", Family: IPv4}, "2001:db8::7 is no address of the family IPv4"},
		{Config{Source: "2001:db8::7", Family: IPv6}, ""},
		{Config{URL: "socks5://127.0.0.1:1080", Source: "192.0.2.1"}, ""},
	} {
		err := tt.cfg.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: %v, want %q", tt.cfg, err, tt.want)
		}
	}
}
