package front

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// The [server] table as people write it.
func TestConfigTOML(t *testing.T) {
	t.Parallel()
	var c Config
	meta, err := toml.Decode(`
listen = "0.0.0.0:5151"
tls_cert = "/etc/pullchain/cert.pem"
tls_key = "/etc/pullchain/key.pem"
http2 = true
allowed_hosts = ["mirror.example.com", "*.cluster.local"]
trusted_proxies = ["10.0.0.0/8", "fd00::/8"]
drain = "refuse"
drain_timeout = "1m30s"
max_in_flight = 64
reserve_in_flight = 8
max_conns_per_client = 32
`, &c)
	if err != nil || len(meta.Undecoded()) != 0 {
		t.Fatal(err, meta.Undecoded())
	}
	want := Config{
		Listen: "0.0.0.0:5151", TLSCert: "/etc/pullchain/cert.pem", TLSKey: "/etc/pullchain/key.pem", HTTP2: true,
		AllowedHosts:   []string{"mirror.example.com", "*.cluster.local"},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
		Drain:          DrainRefuse, DrainTimeout: 90 * time.Second, MaxInFlight: 64, ReserveInFlight: 8, MaxConnsPerClient: 32,
	}
	if diff := cmp.Diff(want, c, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		config Config
		fields []string // that the error has to name; none for a good config
	}{
		{"zero", Config{}, nil},
		{"no port", Config{Listen: "127.0.0.1"}, []string{"listen"}},
		{"half of TLS", Config{TLSCert: "a"}, []string{"tls_cert", "tls_key"}},
		{"HTTP/2 without TLS", Config{HTTP2: true}, []string{"http2"}},
		{"a URL as a host", Config{AllowedHosts: []string{"http://a.example"}}, []string{"allowed_hosts"}},
		{"a star alone", Config{AllowedHosts: []string{"*."}}, []string{"allowed_hosts"}},
		{"a star inside", Config{AllowedHosts: []string{"a.*.example"}}, []string{"allowed_hosts"}},
		{"a prefix that is none", Config{TrustedProxies: []netip.Prefix{{}}}, []string{"trusted_proxies"}},
		{"a way to drain that is none", Config{Drain: "wait"}, []string{"drain"}},
		{"everything at once", Config{Listen: "x", DrainTimeout: -1, MaxInFlight: -1, ReserveInFlight: -1, MaxConnsPerClient: -1},
			[]string{"listen", "drain_timeout", "max_in_flight", "reserve_in_flight", "max_conns_per_client"}},
		{"all of it in reserve", Config{MaxInFlight: 8, ReserveInFlight: 8}, []string{"reserve_in_flight"}},
	}
	for _, tt := range tests {
		err := tt.config.Validate()
		if len(tt.fields) == 0 && err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		for _, field := range tt.fields {
			if err == nil || !strings.Contains(err.Error(), field+": ") && !strings.Contains(err.Error(), field+", ") {
				t.Errorf("%s: %v does not name %s", tt.name, err, field)
			}
		}
	}
}
