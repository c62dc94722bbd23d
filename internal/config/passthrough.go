package config

import (
	"net/url"
	"strings"
)

// passthrough reports whether clients' own logins are passed on to r.
func (r *Registry) passthrough() bool { return r.ClientAuth == ClientAuthPassthrough }

// fillPassLogin lets an upstream have clients' tokens if it is the registry's own host, by
// whatever way. A relay or a mirror gets them if the file says so.
func (r *Registry) fillPassLogin() {
	if !r.passthrough() {
		return
	}
	own := map[string]bool{}
	for _, u := range r.Upstreams {
		own[hostOf(u)] = own[hostOf(u)] || authoritative(u)
	}
	for i := range r.Upstreams {
		if u := &r.Upstreams[i]; u.PassLogin == nil {
			passes := own[hostOf(*u)]
			u.PassLogin = &passes
		}
	}
}

func authoritative(u Upstream) bool { return u.Authoritative != nil && *u.Authoritative }

// hostOf returns the scheme and the host of an upstream, in one spelling.
func hostOf(u Upstream) string {
	at, err := url.Parse(u.URL)
	if err != nil {
		return u.URL
	}
	host := strings.ToLower(at.Host)
	for scheme, port := range map[string]string{"https": ":443", "http": ":80"} {
		if strings.EqualFold(at.Scheme, scheme) {
			host = strings.TrimSuffix(host, port)
		}
	}
	return strings.ToLower(at.Scheme) + "://" + host
}

// clientAuth checks what becomes of clients' own logins.
func (c *checker) clientAuth(at place, r *Registry) {
	c.oneOf(at.child("client_auth"), r.ClientAuth, ClientAuthNone, ClientAuthPassthrough)
	asked := false
	for i := range r.Upstreams {
		u := &r.Upstreams[i]
		here := at.child("upstream").item(i, u.Name)
		if !r.passthrough() {
			if u.PassLogin != nil {
				c.doc.blame(here.child("pass_login"), "means nothing without client_auth = %q of the registry", ClientAuthPassthrough)
			}
			continue
		}
		if u.login() {
			c.doc.blame(here, "has a login, which would be every client's: with client_auth = %q each has its own; take the one or the other out", ClientAuthPassthrough)
		}
		asked = asked || passesLogin(u) && authoritative(*u)
		if to, err := url.Parse(u.URL); err == nil && passesLogin(u) && strings.EqualFold(to.Scheme, "http") && !loopback(withPort(to.Host)) {
			c.doc.warn(here.child("url"), "clients' logins travel over plain http")
		}
	}
	if !r.passthrough() {
		return
	}
	if r.IsAny() {
		c.doc.blame(at.child("client_auth"), "clients' logins are passed on to registries that the file names, not to any")
		return
	}
	if !asked && len(r.Upstreams) > 0 {
		c.doc.blame(at.child("client_auth"), "no upstream is the registry itself, whose token server could be shown clients' logins: "+
			"set authoritative = true and pass_login = true on one that leads there")
	}
	if c.cfg.Access.HtpasswdFile != "" {
		c.doc.blame(at.child("client_auth"), "a client shows one login: with htpasswd_file under [access] it is for pullchain, with client_auth = %q for the registry; take the one or the other out", ClientAuthPassthrough)
	}
	server := &c.cfg.Server
	if server.TLSCert == "" && len(server.TrustedProxies) == 0 && !loopback(server.Listen) {
		c.doc.warn(at.child("client_auth"), "clients' logins come to %s over plain http: give [server] tls_cert and tls_key", server.Listen)
	}
	for _, other := range c.cfg.Registries {
		if other.Name != r.Name && other.passthrough() {
			c.doc.advise(at.child("client_auth"), "a client has one login for this address, and shows it to each such registry that it names in the path: "+
				"give them host names of their own (aliases), or let clients name them by ns")
			break
		}
	}
}

func passesLogin(u *Upstream) bool { return u.PassLogin != nil && *u.PassLogin }

// PassesLogin reports whether clients' tokens for the registry are got from the token server
// of u.
func (u Upstream) PassesLogin() bool { return passesLogin(&u) && authoritative(u) }
