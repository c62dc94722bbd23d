package cli

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/egress"
)

// banner tells in four lines what runs, where, for what, and what to do next.
// The addresses are those that were bound; further are those of [[listener]], each of
// which has a line of its own.
func (a *app) banner(cfg *config.Config, data string, further []string, operator string) {
	mirror := mirrorURL(data, cfg.Server.TLSCert)
	a.say("banner.what", "version", thisBuild().Version, "mirror", mirror, "admin", "http://"+reachable(operator), "file", cfg.File)
	var names []string
	for _, r := range cfg.Registries {
		names = append(names, r.Name)
	}
	a.say("banner.registries", "names", strings.Join(names, " "))
	for i, l := range cfg.Listeners {
		a.say("banner.listener", "registry", l.Registry, "mirror", mirrorURL(further[i], l.TLSCert))
	}
	a.say("banner.egress", "list", strings.Join(a.egresses(cfg), ", "))
	// The command is to work when it is pasted, so it names an address that is not
	// the default.
	status := "pullchain status --watch"
	if here := reachable(operator); here != admin.DefaultListen {
		status += " --addr " + here
	}
	a.say("banner.next", "mirror", mirror, "status", status)
}

// mirrorURL is what clients on this machine call a data listener.
func mirrorURL(bound, cert string) string {
	if cert != "" {
		return "https://" + reachable(bound)
	}
	return "http://" + reachable(bound)
}

// egresses describes the ways out that the upstreams take.
func (a *app) egresses(cfg *config.Config) []string {
	// By name, for many upstreams share one.
	used := map[string]egress.Config{}
	for _, r := range cfg.Registries {
		for _, u := range r.Upstreams {
			e := cfg.EgressOf(u)
			used[e.Name] = e
		}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(used)) {
		switch e := used[name]; e.URL {
		case "", egress.Direct:
			way := a.messages.Text("banner.direct")
			if from := withoutEmpty([]string{string(e.Family), e.Source}); len(from) > 0 {
				way = name + " (" + way + ", " + strings.Join(from, " ") + ")"
			}
			out = append(out, way)
		case egress.Environment:
			out = append(out, a.environment())
		default:
			out = append(out, name+" "+redacted(e.URL))
		}
	}
	return out
}

// environment describes the proxy that the environment names for registries,
// which are all https. Lower-case names win, as in the egress.
func (a *app) environment() string {
	for _, name := range []string{"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"} {
		if value := a.Getenv(name); value != "" {
			return fmt.Sprintf("%s=%s", name, redacted(value))
		}
	}
	return a.messages.Text("banner.no_proxy")
}

// redacted returns a proxy's URL without its login. Proxies of the environment
// may be written without a scheme.
func redacted(raw string) string {
	if !strings.Contains(raw, "://") {
		raw = "http://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "?"
	}
	return u.Scheme + "://" + u.Host
}

// reachable returns an address that this machine can dial for one that was
// listened on: "every address" cannot be dialled.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
