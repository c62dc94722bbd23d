package egress

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// A route says which proxy, if any, leads to a target.
type route struct {
	pick    func(target *url.URL) *url.URL // nil: always direct
	proxies map[string]*url.URL            // host:port -> proxy, of all that pick may return
}

// newRoute reads c, and for [Environment] the process's variables through
// getenv, once and for all: a changed variable takes effect with the next
// configuration, not in the middle of a pull.
func newRoute(c Config, getenv func(string) string) (route, error) {
	if err := c.Validate(); err != nil {
		return route{}, err
	}
	switch c.URL {
	case "", Direct:
		return route{}, nil
	case Environment:
		return environment(getenv)
	}
	proxy, err := parseProxy(c.URL)
	if err != nil {
		return route{}, err
	}
	proxy.User = c.login()
	return route{
		pick:    func(*url.URL) *url.URL { return proxy },
		proxies: map[string]*url.URL{proxy.Host: proxy},
	}, nil
}

// environment builds the route that curl and Go programs would take: HTTPS_PROXY
// for https targets and HTTP_PROXY for http ones, ALL_PROXY where those are
// missing, none for what NO_PROXY names. Lower-case names win, as in
// golang.org/x/net/http/httpproxy, which has no ALL_PROXY.
func environment(getenv func(string) string) (route, error) {
	secure, err := proxyFromEnv(getenv, "HTTPS_PROXY")
	if err != nil {
		return route{}, err
	}
	insecure, err := proxyFromEnv(getenv, "HTTP_PROXY")
	if err != nil {
		return route{}, err
	}
	r := route{proxies: make(map[string]*url.URL, 2)}
	for _, proxy := range []*url.URL{insecure, secure} {
		if proxy != nil {
			r.proxies[proxy.Host] = proxy
		}
	}
	if len(r.proxies) == 0 {
		return route{}, nil
	}
	direct := parseNoProxy(fromEnv(getenv, "NO_PROXY"))
	r.pick = func(target *url.URL) *url.URL {
		switch {
		case direct.covers(target):
			return nil
		case target.Scheme == "https":
			return secure
		}
		return insecure
	}
	return r, nil
}

// ProxyInEnvironment reports whether the process's variables name a proxy, or something
// that is none. Where they do not, [Environment] is as good as [Direct].
func ProxyInEnvironment() bool {
	r, err := environment(os.Getenv)
	return err != nil || r.pick != nil
}

// proxyFromEnv reads the proxy that the variable name, or else ALL_PROXY,
// names; nil if neither is set. A proxy without a scheme is an http one.
func proxyFromEnv(getenv func(string) string, name string) (*url.URL, error) {
	raw := fromEnv(getenv, name)
	if raw == "" {
		name = "ALL_PROXY"
		raw = fromEnv(getenv, name)
	}
	if raw == "" {
		return nil, nil
	}
	if !strings.Contains(raw, "://") {
		raw = "http://" + raw
	}
	proxy, err := parseProxy(raw)
	if err != nil {
		return nil, fmt.Errorf("egress %q: %s: %w", Environment, name, err)
	}
	return proxy, nil
}

func fromEnv(getenv func(string) string, name string) string {
	if v := getenv(strings.ToLower(name)); v != "" {
		return v
	}
	return getenv(name)
}

// proxy is for http.Transport.Proxy. A proxy reached by TLS is presented as a
// plain one, since the dialer has already made the TLS connection to it; the
// Transport would use the upstream's tls.Config for it, which may skip
// verification, and send the proxy's login over that.
func (r route) proxy() func(*http.Request) (*url.URL, error) {
	if r.pick == nil {
		return nil
	}
	return func(req *http.Request) (*url.URL, error) {
		proxy := r.pick(req.URL)
		if proxy == nil || proxy.Scheme != "https" {
			return proxy, nil
		}
		plain := *proxy
		plain.Scheme = "http"
		return &plain, nil
	}
}
