package front

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// NewRedirect returns the server of RedirectListen: it sends what asks for http to https at
// the port of listen, the address of the data plane, and serves nothing. No content ever goes over it.
func NewRedirect(c Config, listen string, log *slog.Logger) *http.Server {
	caps := &connCap{max: c.maxConnsPerClient(), trusted: trustedProxies(c.TrustedProxies), log: log, clients: make(map[string]*clientConns)}
	return &http.Server{
		Handler:                      redirect{hosts: newHostPolicy(c), port: httpsPort(listen)},
		DisableGeneralOptionsHandler: true,
		ConnState:                    caps.changed,
		ReadHeaderTimeout:            readHeaderTimeout,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 readTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		Protocols:                    protocols(false),
		ErrorLog:                     serverLog(log),
	}
}

// httpsPort is what a client puts behind the host to come to listen.
func httpsPort(listen string) string {
	_, port, err := net.SplitHostPort(listen)
	if err != nil || port == "443" {
		return ""
	}
	return ":" + port
}

// A redirect answers with where to go.
type redirect struct {
	hosts hostPolicy
	port  string
}

func (h redirect) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Connection", "close")
	answer := func(status int, text string) {
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, text+"\n")
		}
	}
	host := hostOnly(r.Host)
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		header.Set("Allow", "GET, HEAD")
		answer(http.StatusMethodNotAllowed, "pullchain is for pulls only")
	case host == "" || strings.ContainsAny(host, "/\\@ ") || !h.hosts.allows(r.Host, nil):
		answer(http.StatusForbidden, "this name is not one of pullchain's; see allowed_hosts under [server]")
	default:
		if strings.Contains(host, ":") { // an IPv6 address
			host = "[" + host + "]"
		}
		to := url.URL{Scheme: "https", Host: host + h.port, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
		header.Set("Location", to.String())
		answer(http.StatusPermanentRedirect, "pullchain is at "+to.Scheme+"://"+to.Host)
	}
}
