package config

import (
	"net/url"
	"strconv"
	"strings"
)

// redirectsOf is to which hosts the well-known registries redirect for their blobs
// (docs/protocol.md 4.7), by the host of the registry or the domain that it is below.
var redirectsOf = map[string][]string{
	"docker.io":         {"*.docker.com", "docker-images-prod.*.r2.cloudflarestorage.com"},
	"ghcr.io":           {"pkg-containers.githubusercontent.com"},
	"quay.io":           {"cdn*.quay.io"},
	"gcr.io":            {"storage.googleapis.com"},
	"pkg.dev":           {"storage.googleapis.com"},
	"registry.k8s.io":   {"*.pkg.dev", "*.amazonaws.com"},
	"mcr.microsoft.com": {"*.data.mcr.microsoft.com"},
	"public.ecr.aws":    {"*.cloudfront.net"},
}

// redirects advises an upstream behind a proxy to say where it may redirect to: the proxy
// resolves the names, so that the name is all that can be judged (docs/faults.md F54).
func (c *checker) redirects(at place, u *Upstream) {
	proxy := c.cfg.Egress[u.Egress]
	if proxy.URL == "" {
		proxy.URL = u.Egress // direct or env
	}
	if len(u.RedirectHosts) > 0 || !proxy.Proxied() {
		return
	}
	example := "the hosts that its blobs come from"
	if to, err := url.Parse(u.URL); err == nil {
		for host := strings.ToLower(to.Hostname()); host != ""; _, host, _ = strings.Cut(host, ".") {
			if known := redirectsOf[host]; known != nil {
				example = "as of today redirect_hosts = [" + quotedList(known) + "]"
				break
			}
		}
	}
	c.doc.advise(at, "its proxy resolves the names, so pullchain sees no address of where a redirect leads: "+
		"redirect_hosts says where it may lead (%s)", example)
}

func quotedList(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	return strings.Join(quoted, ", ")
}
