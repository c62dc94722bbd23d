package config

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/credhelper"
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/upstreams"
)

// registryName is what the name of a registry may be: a host, a host with a
// port, or a word. It stands in paths and in metrics.
var registryName = regexp.MustCompile(`^[a-z0-9]+([._-]+[a-z0-9]+)*(:[0-9]{1,5})?$`)

// registries checks each registry, and that no two share a name: a client's name
// for a registry must lead to one chain.
func (c *checker) registries(at place) {
	owner := map[string]string{} // of each name and alias
	for i := range c.cfg.Registries {
		r := &c.cfg.Registries[i]
		here := at.item(i, r.Name)
		c.registryNames(here, r, owner)
		c.registry(here, r)
	}
}

// registryNames checks that r's names can be names, and are no other registry's.
func (c *checker) registryNames(at place, r *Registry, owner map[string]string) {
	if r.Name == "" {
		c.doc.blame(at, "name is required, as in \"docker.io\"")
	}
	for i, name := range append([]string{r.Name}, r.Aliases...) {
		here := at.child("name")
		if i > 0 {
			here = at.child("aliases").item(i-1, "")
		}
		if name == "" && i == 0 {
			continue
		}
		if r.IsAny() && i == 0 {
			if owner[name] != "" {
				c.doc.blame(here, "another block serves any registry already")
			}
			owner[name] = name
			continue
		}
		if !registryName.MatchString(name) || name == "v2" || len(name) > 255 {
			c.doc.blame(here, "%q is not the name of a registry: lower case, host or host:port", name)
			continue
		}
		if other, taken := owner[name]; taken {
			c.doc.blame(here, "%q is already a name of the registry %q", name, other)
			continue
		}
		owner[name] = r.Name
	}
}

// registry checks one registry and its upstreams.
func (c *checker) registry(at place, r *Registry) {
	if _, err := balancer.ParseStrategy(string(r.Strategy)); err != nil {
		c.doc.blame(at.child("strategy"), "%v", err)
	}
	if ttl := r.NotFoundTTL; ttl != nil && (*ttl < 0 || *ttl > time.Hour) {
		c.doc.blame(at.child("not_found_ttl"), "must be between 0s and 1h")
	}
	c.clientAuth(at, r)
	if len(r.Upstreams) == 0 {
		c.doc.blame(at, "has no upstream: add [[registry.upstream]] with name and url")
		return
	}
	c.trust(at, r)
	if r.IsAny() {
		c.any(at, r)
	}
	seen := map[string]bool{}
	for i := range r.Upstreams {
		u := &r.Upstreams[i]
		here := at.child("upstream").item(i, u.Name)
		if seen[u.Name] && u.Name != "" {
			c.doc.blame(here.child("name"), "another upstream of this registry is called so")
		}
		seen[u.Name] = true
		if r.IsAny() {
			u = u.checked()
		}
		c.upstream(here, u)
	}
}

// trust makes sure that one upstream at least may say what a tag means.
func (c *checker) trust(at place, r *Registry) {
	var called []string
	for _, u := range r.Upstreams {
		if u.Trust != upstreams.TrustPull || u.URL == "" {
			return // without its URL it may be the origin, or not
		}
		called = append(called, u.Name)
	}
	c.doc.blame(at, "no upstream is trusted to resolve tags, so no image could be pulled by its name: "+
		"set trust = \"resolve\" on one of %s", names(called))
}

// upstream checks one path: what its rooms say of it, and what only shows here,
// such as an egress by a name that there is not.
func (c *checker) upstream(at place, u *Upstream) {
	c.room(at, u.Config.Validate())
	c.room(at.child("probe"), u.Probe.Validate())
	c.room(at.child("breaker"), u.Breaker.Validate())
	c.room(at.child("patience"), u.Patience.Validate())
	if u.Name != "" && !plainName.MatchString(u.Name) {
		c.doc.blame(at.child("name"), "a name has letters, digits, dots and dashes only, 64 at most")
	}
	if u.Verify != "" {
		c.oneOf(at.child("verify"), u.Verify, VerifyStream, VerifyWhole)
	}
	if u.Weight < 0 {
		c.doc.blame(at.child("weight"), "must not be negative")
	}
	if _, ok := c.cfg.Egress[u.Egress]; !ok && u.Egress != egress.Direct && u.Egress != egress.Environment {
		c.noEgress(at.child("egress"), u.Egress)
	}
	if u.InsecureSkipVerify {
		c.doc.warn(at.child("insecure_skip_verify"), "anybody on the way can read and change what this upstream sends; ca_file is the better way")
	}
	c.headers(at.child("headers"), u)
	c.login(at, u)
	c.redirects(at, u)
}

// headerName is what the name of a header may be (RFC 9110, 5.6.2).
var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// headers checks what net/http would refuse with each request anew, such as the
// line end that a variable brought along.
func (c *checker) headers(at place, u *Upstream) {
	for _, name := range slices.Sorted(maps.Keys(u.Headers)) {
		here := at.named(name)
		if !headerName.MatchString(name) {
			c.doc.blame(here, "is not a name that a header can have")
		}
		if strings.ContainsFunc(u.Headers[name].Reveal(), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			c.doc.blame(here, "holds more than one line, or control characters")
		}
		if secretHeader.MatchString(name) && !strings.EqualFold(name, relayHeader) && u.Private == nil && !u.login() {
			c.doc.warn(here, "looks like a login, but what it opens counts as public: say private = true, or false if everybody may have it")
		}
	}
}

// secretHeader is how headers are called that hold a login, and relayHeader is the
// one of our own relay, which reads as any anonymous client does (examples/worker).
var secretHeader = regexp.MustCompile(`(?i)(auth|cookie|credential|key|passw|secret|session|token)`)

const relayHeader = "X-Pullchain-Key"

// noEgress blames a name that is no egress's. To dial directly instead would send
// traffic past the proxy that the operator wanted.
func (c *checker) noEgress(at place, name string) {
	known := append(slices.Sorted(maps.Keys(c.cfg.Egress)), egress.Direct, egress.Environment)
	if s := suggest(name, known); s != "" {
		c.doc.blame(at, "there is no [egress.%s]; did you mean %q?", plain(name), s)
		return
	}
	c.doc.blame(at, "there is no [egress.%s]", plain(name))
}

// login checks what an upstream's login means for others. A mirror with a login
// serves to every client whatever the login may read, private images too, as the
// documentation of the distribution registry's mirror mode warns (docs/faults.md 5).
func (c *checker) login(at place, u *Upstream) {
	if !u.login() {
		return
	}
	if err := u.HelperInstalled(); err != nil && credhelper.IsName(u.CredentialHelper) {
		c.doc.warn(at.child("credential_helper"), "%v", err)
	}
	if listen := c.cfg.exposing(u, c.cfg.addresses()); listen != "" {
		key := "password_file"
		switch {
		case u.TokenFile != "":
			key = "token_file"
		case u.CredentialHelper != "":
			key = "credential_helper"
		case u.PasswordFile == "":
			key = "client_cert"
		}
		table := "[server]"
		if listen != c.cfg.Server.Listen {
			table = "[[listener]]"
		}
		c.doc.blame(at.child(key), "everybody who can reach %s could pull what this login can read: "+
			"let %s listen on 127.0.0.1, ask for logins with htpasswd_file under [access], or say i_know = true here", listen, table)
	}
	if to, err := url.Parse(u.URL); err == nil && strings.EqualFold(to.Scheme, "http") && !loopback(withPort(to.Host)) {
		c.doc.warn(at.child("url"), "the login travels over plain http")
	}
}

// CheckLogins returns an error for each upstream whose login must not be served
// on one of these addresses, which are as in [server]. Loading has checked the address of the
// file; a caller that listens on another one checks that.
func (c *Config) CheckLogins(listen ...string) error {
	var errs []error
	for _, r := range c.Registries {
		for _, u := range r.Upstreams {
			if open := c.exposing(&u, listen); open != "" {
				errs = append(errs, fmt.Errorf("registry %q, upstream %q: everybody who can reach %s could pull what its login can read: "+
					"listen on 127.0.0.1, ask for logins with htpasswd_file under [access], or say i_know = true there", r.Name, u.Name, open))
			}
		}
	}
	return errors.Join(errs...)
}

// login reports whether u has one.
func (u *Upstream) login() bool {
	return u.TokenFile != "" || u.PasswordFile != "" || u.CredentialHelper != "" || u.ClientCert != ""
}

// exposes reports whether others than this machine could use u's login by way of listen
// without proof that they may, and the file does not say that they may. Addresses are no proof
// (access.Config.AsksForProof).
func (c *Config) exposes(u *Upstream, listen string) bool {
	return u.login() && !u.IKnow && !loopback(listen) && !c.Access.AsksForProof()
}

// withPort gives a host the port that loopback wants to see.
func withPort(host string) string {
	if strings.LastIndexByte(host, ':') > strings.LastIndexByte(host, ']') {
		return host
	}
	return host + ":80"
}
