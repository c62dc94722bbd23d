package egress

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/pullchain/pullchain"
)

func mustURL(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func mustGuard(t *testing.T, c GuardConfig) *Guard {
	t.Helper()
	g, err := NewGuard(c)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// checkAll asserts that g lets pass, or refuses with the right reason, all of
// urls.
func checkAll(t *testing.T, g *Guard, from string, pass bool, urls ...string) {
	t.Helper()
	var origin *url.URL
	if from != "" {
		origin = mustURL(t, from)
	}
	for _, raw := range urls {
		err := g.Check(mustURL(t, raw), origin)
		if pass && err != nil {
			t.Errorf("%s: %v; want it to pass", raw, err)
		}
		if pass {
			continue
		}
		if err == nil {
			t.Errorf("%s passes; want it refused", raw)
			continue
		}
		if pullchain.ReasonOf(err) != pullchain.Refused || pullchain.CodeOf(err) != pullchain.CodeRedirectBlocked {
			t.Errorf("%s: %v; want Refused, redirect_blocked", raw, err)
		}
	}
}

const hub = "https://registry-1.docker.io/"

func TestGuardLetsTheInternetPass(t *testing.T) {
	t.Parallel()
	checkAll(t, nil, hub, true,
		"https://production.cloudflare.docker.com/registry-v2/docker/registry/v2/blobs?X-Amz-Signature=1",
		"https://docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com/x",
		"https://pkg-containers.githubusercontent.com:443/ghcr1/blobs",
		"https://prod-registry-k8s-io-us-west-2.s3.dualstack.us-west-2.amazonaws.com/containers",
		"https://CDN.Quay.IO/x", "https://storage.googleapis.com./x",
		"https://1.1.1.1/", "https://[2606:4700:4700::1111]/", "https://8.8.8.8.nip.example/",
		"https://[64:ff9b::101:101]/", // 1.1.1.1 behind NAT64, where all of IPv4 is
		"https://[::ffff:1.1.1.1]/", "https://3com.example/", "https://0x7f.example/",
	)
}

func TestF23_InwardTargetsAreRefused(t *testing.T) {
	t.Parallel()
	for _, g := range []*Guard{nil, mustGuard(t, GuardConfig{Trusted: []string{"registry-1.docker.io:443"}, AllowHTTP: true})} {
		checkAll(t, g, hub, false,
			"https://127.0.0.1/", "https://127.1.2.3/", "https://10.0.0.1/", "https://172.31.0.1/", "https://192.168.1.1/",
			"https://100.64.0.1/", "https://198.18.0.5/", "https://169.254.169.254/latest/meta-data/", "https://0.0.0.0/",
			"https://224.0.0.1/", "https://255.255.255.255/", "https://192.0.2.1/", "https://240.0.0.1/",
			"https://[::1]/", "https://[::]/", "https://[fe80::1]/", "https://[fc00::1]/", "https://[ff02::1]/",
			"https://[2002:7f00:1::]/", "https://[64:ff9b:1::1]/", "https://[2001:db8::1]/",
			"https://168.63.129.16/", "https://100.100.100.200/", "https://192.0.0.192/", "https://[fd00:ec2::254]/", "https://[fd20:ce::254]/",
			"https://localhost/", "https://LOCALHOST./", "https://app.localhost/", "https://printer.local/", "https://redis/",
			"https://minio.corp.internal/", "https://nas.home.arpa/",
			"https://metadata.google.internal/", "https://metadata.google.internal./",
			"https://registry-1.docker.io:5000/", "https://cdn.example:22/", "https://cdn.example:0/", "https://cdn.example:65536/",
		)
	}
}

// Names that are of private networks, or that stand for any address: behind a proxy the
// name is all that is seen.
var (
	privateNames = []string{
		"https://registry/", "https://minio.local/", "https://nas.home.arpa/", "https://x.eu.internal/", "https://redis.default.svc.cluster.local/", "https://a.localhost/",
	}
	usedInside = []string{
		"https://nas.lan/", "https://NAS.LAN./", "https://pi.home/", "https://git.corp/", "https://wiki.intranet/", "https://x.private/", "https://h.localdomain/",
		"https://redis.default.svc/",
	}
	anyNames = []string{
		"https://10-0-0-1.nip.io/", "https://app.10.0.0.1.nip.io/", "https://nip.io/", "https://169.254.169.254.sslip.io/", "https://A0000001.NIP.IO./",
		"https://10.0.0.1.xip.io/", "https://x.traefik.me/", "https://localtest.me/", "https://a.localtest.me/", "https://lvh.me/", "https://x.lvh.me/",
		"https://7f000001.c0a80001.rbndr.us/",
	}
)

func TestF54_NamesBehindAProxy(t *testing.T) {
	t.Parallel()
	proxied := mustGuard(t, GuardConfig{Proxied: true, Trusted: []string{"hub.corp:443", "10-0-0-9.nip.io:443"}})
	checkAll(t, proxied, hub, false, privateNames...)
	checkAll(t, proxied, hub, false, usedInside...)
	checkAll(t, proxied, hub, false, anyNames...)
	checkAll(t, proxied, hub, true, "https://hub.corp/", "https://10-0-0-9.nip.io/") // typed
	checkAll(t, proxied, hub, true, "https://cdn.example/", "https://lan.example/", "https://nip.io.example/", "https://unip.io/", "https://corp.example/", "https://svc.example/")
	// Where the address is seen, it is judged, and not a name that may well be public.
	checkAll(t, nil, hub, false, privateNames...) // these cannot be
	checkAll(t, nil, hub, true, usedInside...)
	checkAll(t, nil, hub, true, anyNames...)
	// A TUN proxy that has made up an address shows none either.
	tun := mustGuard(t, GuardConfig{})
	_ = tun.learn("tcp", "198.18.0.7:443", nil)
	checkAll(t, tun, hub, false, anyNames...)
	checkAll(t, tun, hub, false, usedInside...)
	checkAll(t, mustGuard(t, GuardConfig{Proxied: true, AllowPrivate: true}), hub, true, slices.Concat(privateNames, usedInside, anyNames)...)
	checkAll(t, mustGuard(t, GuardConfig{Proxied: true, AllowPrivate: true}), hub, false, "https://metadata.google.internal/")

	named := mustGuard(t, GuardConfig{Proxied: true, Named: []string{"*.LAN", "10-0-0-1.nip.io", "*", "metadata.google.internal"}})
	checkAll(t, named, hub, true, "https://nas.lan/", "https://10-0-0-1.nip.io/")
	checkAll(t, named, hub, false, "https://10-0-0-2.nip.io/", "https://git.corp/", "https://registry/", "https://metadata.google.internal/", "https://10.0.0.1/")
	if err := named.Check(mustURL(t, "https://git.corp/"), nil); !strings.Contains(err.Error(), `"git.corp"`) || !strings.Contains(err.Error(), "redirect_hosts") {
		t.Errorf("%v: want the name, and the setting", err)
	}
}

func TestGuardRefusesOddHosts(t *testing.T) {
	t.Parallel()
	g := mustGuard(t, GuardConfig{AllowPrivate: true})
	checkAll(t, g, hub, false,
		"https://2130706433/", "https://0x7f000001/", "https://0x7f.1/", "https://0177.0.0.1/", "https://127.1/", "https://127.0.1/",
		"https://127.0.0.0x1/", "https://1.2.3.4.5/", "https://0x/", "https://999.999.999.999/", "https://127.0.0.01/", "https://2130706433./",
		"https://１２７.0.0.1/", "https://ⓛocalhost/", "https://example..com/", "https://.example.com/", "https://"+strings.Repeat("a.", 127)+"com/",
		"https://user@cdn.example/", "https://user:pw@cdn.example/", "https://@cdn.example/",
		"https:cdn.example/x", "https:///x", "/relative", "https://",
		"ftp://cdn.example/", "file:///etc/passwd", "unix:///run/docker.sock", "socks5://cdn.example/",
	)
	if err := g.Check(nil, nil); err == nil {
		t.Error("a nil URL passes")
	}
}

func TestF24_NoDowngrade(t *testing.T) {
	t.Parallel()
	plain := "http://cdn.example/blob"
	trusted := mustGuard(t, GuardConfig{AllowHTTP: true, Trusted: []string{"cdn.example:80"}})
	checkAll(t, trusted, "https://registry.example/", false, plain) // not even to a typed host
	checkAll(t, nil, "", false, plain)
	checkAll(t, nil, "http://registry.example/", true, plain)
	checkAll(t, mustGuard(t, GuardConfig{AllowHTTP: true}), "", true, plain)
	checkAll(t, mustGuard(t, GuardConfig{Trusted: []string{"cdn.example:80"}}), "", true, plain)
}

// TestCVE_2024_24790_MappedAddresses: IPv4 in IPv6 dress is judged as IPv4.
func TestCVE_2024_24790_MappedAddresses(t *testing.T) {
	t.Parallel()
	checkAll(t, nil, hub, false,
		"https://[::ffff:127.0.0.1]/", "https://[::ffff:169.254.169.254]/", "https://[::ffff:a00:1]/", "https://[::127.0.0.1]/",
		"https://[64:ff9b::7f00:1]/", "https://[64:ff9b::a9fe:a9fe]/",
	)
	checkAll(t, mustGuard(t, GuardConfig{AllowPrivate: true}), hub, false, "https://[::ffff:169.254.169.254]/", "https://[64:ff9b::a9fe:a9fe]/")
}

// TestCVE_2025_22870_ZoneID: a zone hides neither an address nor a suffix.
func TestCVE_2025_22870_ZoneID(t *testing.T) {
	t.Parallel()
	checkAll(t, mustGuard(t, GuardConfig{AllowPrivate: true, Trusted: []string{"registry.example:443"}}), hub, false,
		"https://[fe80::1%25eth0]/", "https://[fe80::1%25.registry.example]/", "https://[::%25lo]/")
	checkAll(t, nil, hub, false, "https://[::1%25registry.example]/")
}

// TestGgcr_2293_2295_2332_EveryURLFromTheNetwork: whatever names the next URL,
// one check sees it. The URLs are the advisories' own shapes.
func TestGgcr_2293_2295_2332_EveryURLFromTheNetwork(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"realm":          "https://169.254.169.254/latest/api/token",
		"token redirect": "https://127.0.0.1:8500/v1/kv",
		"GET redirect":   "http://10.0.0.1/admin",
		"Location":       "https://[::1]:2375/images",
		"Link":           "https://192.168.0.1/v2/_catalog",
		"urls[]":         "file:///etc/passwd",
	} {
		if err := (*Guard)(nil).Check(mustURL(t, raw), mustURL(t, hub)); pullchain.CodeOf(err) != pullchain.CodeRedirectBlocked {
			t.Errorf("%s: %v; want redirect_blocked", name, err)
		}
	}
}

func TestGuardConfigOpensWhatItSays(t *testing.T) {
	t.Parallel()
	typed := mustGuard(t, GuardConfig{Trusted: []string{"10.0.0.5:5000", "[fd00::5]:5000", "Harbor:443", "169.254.169.254:80"}})
	checkAll(t, typed, "http://10.0.0.5:5000/", true, "http://10.0.0.5:5000/v2/", "https://[fd00::5]:5000/", "https://harbor/", "https://HARBOR.:443/", "http://169.254.169.254/")
	checkAll(t, typed, "http://10.0.0.5:5000/", false, "http://10.0.0.5/", "http://10.0.0.6:5000/", "https://harbor:5000/")

	private := mustGuard(t, GuardConfig{AllowPrivate: true})
	checkAll(t, private, hub, true, "https://10.0.0.1/", "https://127.0.0.1/", "https://[::1]/", "https://[fd12::1]/", "https://100.64.0.1/",
		"https://198.18.0.1/", "https://minio/", "https://minio.svc.cluster.local/", "https://10.0.0.1:9000/")
	checkAll(t, private, hub, false, "https://169.254.1.1/", "https://0.0.0.0/", "https://[fe80::1]/", "https://224.0.0.1/", "https://100.100.100.200/",
		"https://[fd00:ec2::254]/", "https://metadata/", "https://metadata.google.internal/", "https://192.0.2.1/", "https://169.254.169.254:8080/")

	fakeIP := mustGuard(t, GuardConfig{allowCIDRs: []netip.Prefix{netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("fe80::/10")}})
	checkAll(t, fakeIP, hub, true, "https://198.18.3.4/", "https://10.0.0.1/")
	checkAll(t, fakeIP, hub, false, "https://169.254.169.254/", "https://[fe80::1]/", "https://[fd00::1]/")

	ports := mustGuard(t, GuardConfig{allowPorts: []int{8443}})
	checkAll(t, ports, hub, true, "https://cdn.example:8443/", "https://cdn.example/", "https://cdn.example:80/")
}

func TestNewGuardNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg  GuardConfig
		want string
	}{
		{GuardConfig{Trusted: []string{"registry.example"}}, `egress: trusted "registry.example" is not host:port`},
		{GuardConfig{Trusted: []string{":443"}}, `egress: trusted ":443" is not host:port`},
		{GuardConfig{allowPorts: []int{0}}, "egress: port 0 is out of range"},
		{GuardConfig{allowPorts: []int{70000}}, "egress: port 70000 is out of range"},
	} {
		if _, err := NewGuard(tt.cfg); err == nil || err.Error() != tt.want {
			t.Errorf("NewGuard(%+v) = %v; want %s", tt.cfg, err, tt.want)
		}
	}
}

// TestCVE_2025_48374_NoSecretInErrors: a signed URL and a login do not reach
// the error's text, and what does is quoted and short.
func TestCVE_2025_48374_NoSecretInErrors(t *testing.T) {
	t.Parallel()
	for _, u := range []*url.URL{
		mustURL(t, "https://10.0.0.1/"+canary+"?X-Amz-Signature="+canary+"#"+canary),
		mustURL(t, "https://u:"+canary+"@cdn.example/"),
		{Scheme: canary + "\x1b[31m", Host: "x"},
		{Scheme: "https", Host: strings.Repeat("\n", 4000) + ".example"},
	} {
		err := (*Guard)(nil).Check(u, nil)
		if err == nil {
			t.Errorf("%q passes", u)
			continue
		}
		text := err.Error()
		secret := strings.Contains(text, canary) && !strings.HasPrefix(u.Scheme, canary)
		if secret || len(text) > 1200 || strings.ContainsAny(text, "\n\x1b") {
			t.Errorf("error of %d bytes: %.300s", len(text), text)
		}
	}
}
