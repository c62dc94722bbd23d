package config

import (
	"net/url"
	"strings"
)

// hubURL is where Docker Hub's registry answers.
const hubURL = "https://registry-1.docker.io"

// hubPages are addresses of Docker Hub that answer people and no registry client;
// hubHosts are other names of its registry. /v1/ is how the logins of a docker client
// spell it, and no registry any more.
var (
	hubPages = map[string]bool{"docker.io": true, "www.docker.io": true, "hub.docker.com": true, "www.docker.com": true}
	hubHosts = map[string]bool{"registry-1.docker.io": true, "index.docker.io": true, "registry.hub.docker.com": true}
)

// understand puts the address that works in place of those that people write for
// Docker Hub, with a warning that names it. The other way, an error, would keep a
// mirror from starting over a word whose meaning is plain. It is safe: what is
// put there is one fixed address of the same owner, over https, so that a login goes
// to none that its owner would not send it to. An address with a path of which
// nothing can be made is an error.
func (c *Config) understand(doc *document) {
	for i := range c.Registries {
		r := &c.Registries[i]
		for j := range r.Upstreams {
			u := &r.Upstreams[j]
			at := place{}.child("registry").item(i, r.Name).child("upstream").item(j, u.Name).child("url")
			switch meant, ok := hubAddress(u.URL); {
			case !ok:
				doc.fail(at, "this address of Docker Hub is a page for people: write \"%s\"", hubURL)
			case meant != u.URL:
				doc.warn(at, "taken as \"%s\", where Docker Hub's registry answers", meant)
				u.URL = meant
			}
		}
	}
}

// hubAddress returns what is meant by an address: itself, but for those of Docker
// Hub that do not work. ok is false for one of those that means no registry.
func hubAddress(raw string) (meant string, ok bool) {
	u, err := url.Parse(raw)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return raw, true // which the check refuses
	}
	host, path := strings.ToLower(u.Hostname()), strings.Trim(u.Path, "/")
	if port := u.Port(); port != "" && port != "443" && port != "80" {
		return raw, true // a port of its own is no mistake
	}
	switch plain := path == "" || path == "v1" || path == "v2"; {
	case u.Scheme != "https" && u.Scheme != "http":
		return raw, true
	case hubPages[host] && !plain:
		return "", false
	case hubPages[host], hubHosts[host] && path == "v1", hubHosts[host] && plain && u.Scheme == "http":
		return hubURL, true
	}
	return raw, true
}
