package regauth

import (
	"cmp"
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

// mayLogin reports whether realm may be sent the login: by https, if it is the
// registry's own host, one of its registrable domain, or one that the operator named;
// else to the very scheme, host and port that the operator typed, as the registry's
// address or as a token server's (CVE-2026-33540; docs/faults.md F54). Another port of a
// plain http registry is another program, behind a network that shows what it carries.
func (s *Source) mayLogin(realm *url.URL) bool {
	return s.logins.can() && s.trusts(realm)
}

// trusts is mayLogin for whatever login there is.
func (s *Source) trusts(realm *url.URL) bool {
	switch {
	case sameOrigin(realm, s.cfg.Origin), s.named(realm):
		return true
	case realm.Scheme != "https":
		return false
	}
	return strings.EqualFold(realm.Hostname(), s.cfg.Origin.Hostname()) || sameDomain(realm.Hostname(), s.cfg.Origin.Hostname())
}

// named reports whether an entry of auth_hosts is realm.
func (s *Source) named(realm *url.URL) bool {
	for _, entry := range s.cfg.AuthHosts {
		if h, err := ParseAuthHost(entry); err == nil && h.is(realm) {
			return true
		}
	}
	return false
}

// An AuthHost is a token server that may be sent a login.
type AuthHost struct {
	Scheme string // https, or http if that was typed
	Host   string // without brackets, in lower case
	Port   string // empty: any of https
}

// ParseAuthHost reads an entry of auth_hosts: "host" or "host:port", which is asked by
// https, or the "http://host:port" of one to which the login may go in the clear.
func ParseAuthHost(entry string) (AuthHost, error) {
	scheme, rest, typed := strings.Cut(strings.ToLower(entry), "://")
	if !typed {
		scheme, rest = "https", scheme
	}
	h := AuthHost{Scheme: scheme, Host: strings.Trim(rest, "[]")}
	if host, port, err := net.SplitHostPort(rest); err == nil {
		h.Host, h.Port = host, port
	}
	if h.Host == "" || strings.ContainsAny(h.Host, "/@?#[] ") || scheme != "https" && scheme != "http" {
		return AuthHost{}, fmt.Errorf("%s is neither host, host:port nor http://host:port", wire.Quote(entry))
	}
	if scheme == "http" && h.Port == "" {
		h.Port = "80"
	}
	return h, nil
}

// Address returns the host:port to dial.
func (h AuthHost) Address() string { return net.JoinHostPort(h.Host, cmp.Or(h.Port, "443")) }

func (h AuthHost) is(realm *url.URL) bool {
	return h.Scheme == realm.Scheme && strings.EqualFold(h.Host, realm.Hostname()) && (h.Port == "" || h.Port == port(realm))
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
