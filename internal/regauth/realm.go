package regauth

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/pullchain/pullchain/internal/wire"
)

// maxRealm is longer than any realm seen (some 60 bytes).
const maxRealm = 2 << 10

// checkRealm reads a realm that the registry named and refuses one that must
// not be asked at all: inward, downgraded, with a login in it (CVE-2026-48978;
// docs/faults.md F24). The http of an http registry may be http.
func (s *Source) checkRealm(raw string) (*url.URL, error) {
	if len(raw) > maxRealm {
		return nil, errors.New("the realm is too long")
	}
	realm, err := url.Parse(raw)
	if err != nil || !realm.IsAbs() || realm.Host == "" {
		return nil, fmt.Errorf("the realm %s is not an absolute URL", wire.Quote(raw))
	}
	realm.Fragment, realm.RawFragment = "", ""
	if err := s.cfg.Guard.Check(realm, s.cfg.Origin); err != nil {
		return nil, fmt.Errorf("the realm must not be asked: %w", errors.Unwrap(err))
	}
	return realm, nil
}

// mayLogin reports whether realm may be sent the login: it is the registry's
// own host, one of its registrable domain, or one that the operator named; and
// it is reached by https, or is the registry's own host or a named one where
// the registry itself is plain http (CVE-2026-33540).
func (s *Source) mayLogin(realm *url.URL) bool {
	if s.cfg.Username == "" {
		return false
	}
	if strings.EqualFold(realm.Hostname(), s.cfg.Origin.Hostname()) || s.named(realm) {
		return true
	}
	return realm.Scheme == "https" && sameDomain(realm.Hostname(), s.cfg.Origin.Hostname())
}

// named reports whether auth_hosts has realm's host, with its port or with
// none.
func (s *Source) named(realm *url.URL) bool {
	host := strings.ToLower(realm.Hostname())
	for _, entry := range s.cfg.AuthHosts {
		entry = strings.ToLower(entry)
		if entry == host || entry == net.JoinHostPort(host, port(realm)) {
			return true
		}
	}
	return false
}

// sameDomain reports whether two hosts share a registrable domain, by the
// public suffix list: auth.docker.io and registry-1.docker.io do; two names
// under workers.dev do not, and neither do two IP addresses (whose last two
// bytes the list would take for a domain) or two names under a suffix that is
// not on the list, such as cluster.local, where each name may be another tenant.
func sameDomain(a, b string) bool {
	a, b = domain(a), domain(b)
	return a != "" && a == b
}

func domain(host string) string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	suffix, icann := publicsuffix.PublicSuffix(host)
	if !icann && !strings.Contains(suffix, ".") {
		return "" // the list's default rule: no registry manages this suffix, or it is the end of an IP address
	}
	d, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil {
		return ""
	}
	return d
}
