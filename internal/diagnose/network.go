package diagnose

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
)

// egressDown finds the proxies that let nothing through. All lanes behind one share its
// fate, whatever each of them has seen of it.
func egressDown(f *findings) []Warning {
	var out []Warning
	for _, e := range f.Egresses {
		if e.State != balancer.EgressDown {
			continue
		}
		code := EgressDown
		if e.Code == pullchain.CodeEgressAuth {
			code = EgressLogin
		}
		behind := f.where(func(l *lane) bool { return l.Via == e.Name })
		w := f.root(code, e.Name, behind, map[string]string{"egress": e.Name, "kind": kind(e.URL), "url": e.URL}, tryProxy(e.URL))
		w.Since = timeOr(e.Since, f.Now)
		out = append(out, w)
	}
	return out
}

// kind is of which kind a proxy is: the scheme of its URL, or "env".
func kind(url string) string {
	scheme, _, _ := strings.Cut(url, "://")
	return scheme
}

// tryProxy is the command that shows whether a proxy works.
func tryProxy(url string) string {
	if strings.Contains(url, "://") {
		return "curl -sS -o /dev/null -w '%{http_code}\\n' -x " + shellWord(strings.Replace(url, "socks5://", "socks5h://", 1)) + " https://registry-1.docker.io/v2/"
	}
	return "env | grep -i _proxy"
}

// shellWord quotes what a shell would take apart.
func shellWord(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:/@%+,=", r)
	}) {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// Codes that say that a host could not be connected to.
var unreached = []pullchain.Code{pullchain.CodeConnTimeout, pullchain.CodeConnRefused, pullchain.CodeDNS}

// dnsDown finds a name service that answers nothing: every upstream whose name this
// machine itself resolves has no address. One such name may be gone; two hosts at once
// are no accident.
func dnsDown(f *findings) []Warning {
	resolved := f.where(func(l *lane) bool { return l.direct() && l.named() && l.judged() })
	var failing []*lane
	for _, l := range resolved {
		if l.hasTrouble(pullchain.CodeDNS) {
			failing = append(failing, l)
		}
	}
	if len(failing) < len(resolved) || len(hosts(failing)) < 2 {
		return nil
	}
	return []Warning{f.root(DNSDown, "", failing, map[string]string{"host": failing[0].hostname()}, "resolvectl query "+shellWord(failing[0].hostname()))}
}

// noNetwork finds a machine that is cut off: everything that it connects to itself
// fails, at three hosts at least, and nothing has gone well since.
func noNetwork(f *findings) []Warning {
	direct := f.where(func(l *lane) bool { return l.direct() && l.judged() })
	var failing []*lane
	for _, l := range direct {
		if l.hasTrouble(unreached...) {
			failing = append(failing, l)
		}
	}
	if len(failing) < len(direct) || len(hosts(failing)) < 3 {
		return nil
	}
	return []Warning{f.root(NoNetwork, "", failing, nil, routeOut)}
}

// routeOut is the command that shows whether there is a way to the network.
const routeOut = "ip route get 1.1.1.1"

// portalCodes are how a web page looks that stands where a registry should be.
var portalCodes = []pullchain.Code{pullchain.CodeNotRegistry, pullchain.CodeRedirectBlocked}

// captivePortal finds a network that answers for everyone: web pages, or redirects to
// where we do not go, at several registries over one way out, on which nothing works.
// Mirrors that have been given up answer so as well, each for itself: what works beside
// them shows that it is not the network.
func captivePortal(f *findings) []Warning {
	var out []Warning
	for _, via := range f.ways() {
		on := f.where(func(l *lane) bool { return l.Via == via && l.judged() })
		var pages, working []*lane
		for _, l := range on {
			switch {
			case l.hasTrouble(portalCodes...):
				pages = append(pages, l)
			case l.trouble == "":
				working = append(working, l)
			}
		}
		if len(working) > 0 || len(registries(pages)) < 2 || len(hosts(pages)) < 2 {
			continue
		}
		out = append(out, f.root(CaptivePortal, via, pages, map[string]string{"via": via}, "curl -sSI http://detectportal.firefox.com/success.txt"))
	}
	return out
}

// ways returns the ways out that lanes take, in their order.
func (f *findings) ways() []string {
	var out []string
	seen := map[string]bool{}
	for _, l := range f.lanes {
		if !seen[l.Via] {
			seen[l.Via] = true
			out = append(out, l.Via)
		}
	}
	return out
}

// fakeIPs is where Clash, mihomo and sing-box make up addresses for names (fake-ip;
// docs/faults.md 10).
var fakeIPs = netip.MustParsePrefix("198.18.0.0/15")

// fakeIP finds a TUN proxy that has made up addresses and is not there to map them back,
// or maps them back to where the guard does not let us go.
func fakeIP(f *findings) []Warning {
	faked := f.where(func(l *lane) bool {
		return l.direct() && l.fakeAddress() != "" && (l.hasTrouble(unreached...) ||
			l.hasTrouble(pullchain.CodeRedirectBlocked, pullchain.CodeConnReset, pullchain.CodeTLSHandshake, pullchain.CodeTLSCert, pullchain.CodeHeaderTimeout))
	})
	if len(faked) == 0 {
		return nil
	}
	first := faked[0]
	return []Warning{f.root(FakeIP, "", faked, map[string]string{"address": first.fakeAddress(), "host": first.hostname()}, "getent hosts "+shellWord(first.hostname()))}
}

// fakeAddress returns the made-up address that was last dialled for the lane, if one was.
func (l *lane) fakeAddress() string {
	for _, a := range l.Addresses {
		if ip, err := netip.ParseAddr(a); err == nil && fakeIPs.Contains(ip.Unmap()) {
			return a
		}
	}
	return ""
}

// cdnDown finds a host that keeps the blobs of several lanes and fails, while their
// manifests come.
func cdnDown(f *findings) []Warning {
	var out []Warning
	failing := f.where(func(l *lane) bool {
		b := l.Blobs
		return b != nil && b.FailedAt != nil && f.Now.Sub(*b.FailedAt) < recent && !l.manifestsFail()
	})
	for len(failing) > 0 {
		first, host := failing[0], failing[0].Blobs.Host
		var there, others []*lane
		for _, l := range failing {
			if l.Blobs.Host == host {
				l.since = *l.Blobs.FailedAt
				there = append(there, l)
			} else {
				others = append(others, l)
			}
		}
		failing = others
		if len(there) < 2 {
			continue
		}
		out = append(out, f.root(CDNDown, host, there, map[string]string{"host": host, "code": string(first.Blobs.Code)}, "curl -sS -o /dev/null -w '%{http_code}\\n' "+shellWord("https://"+host+"/")))
	}
	return out
}

// manifestsFail reports whether manifests cannot be asked of the lane either.
func (l *lane) manifestsFail() bool {
	return !works[l.State] || slices.ContainsFunc(l.Gates, func(g balancer.GateSnapshot) bool { return g.Class == pullchain.ClassManifest.String() })
}
