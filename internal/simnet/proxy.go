package simnet

import (
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
)

// ProxyConfig configures an egress proxy.
type ProxyConfig struct {
	Origin
	TLS                bool   // an https:// proxy (HTTP CONNECT only); Plain is ignored
	Username, Password string // login; "" asks for none
	SourceIP           string // loopback address to dial from, as in "127.0.0.2" (Linux): a quota of its own at hubs
}

// A Proxy is an egress proxy, HTTP CONNECT or SOCKS5. It resolves the pretend
// names of its Net, and dials loopback only. Dead is [Server.Break] with
// ConnRefused, hanging with ConnSilent.
type Proxy struct {
	*Server
	cfg ProxyConfig

	scheme string
	mu     sync.Mutex
	refuse ProxyRefusal
}

// A ProxyRefusal is what a proxy says to every request to connect.
type ProxyRefusal uint8

// The refusals.
const (
	ProxyWorks       ProxyRefusal = iota
	ProxyBadLogin                 // 407, or SOCKS5 authentication failure, whatever the login
	ProxyUnreachable              // 503, or SOCKS5 "host unreachable"
	ProxyRefused                  // 502, or SOCKS5 "connection refused"
	ProxyDenied                   // 403, or SOCKS5 "not allowed by ruleset"
)

// Refuse makes the proxy refuse every request from now on. ProxyWorks ends it.
func (p *Proxy) Refuse(how ProxyRefusal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = how
}

func (p *Proxy) refusal() ProxyRefusal {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refuse
}

// URL returns the proxy's URL with its scheme, without login: http, https or
// socks5.
func (p *Proxy) URL() string { return p.scheme + "://" + p.Addr() }

// ProxyURL returns the URL with the login, for http.ProxyURL.
func (p *Proxy) ProxyURL() *url.URL {
	u := &url.URL{Scheme: p.scheme, Host: p.Addr()}
	if p.cfg.Username != "" {
		u.User = url.UserPassword(p.cfg.Username, p.cfg.Password)
	}
	return u
}

// AddConnectProxy starts an HTTP proxy: CONNECT, and plain requests in
// absolute form.
func (n *Net) AddConnectProxy(cfg ProxyConfig) *Proxy {
	p := &Proxy{cfg: cfg, scheme: "http"}
	if cfg.TLS {
		p.scheme = "https"
	}
	direct := n.clientFrom(cfg.SourceIP)
	direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	cfg.Plain, cfg.HTTP2 = !cfg.TLS, false
	cfg.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status := p.status(r); status != 0 {
			if status == http.StatusProxyAuthRequired {
				w.Header().Set("Proxy-Authenticate", `Basic realm="simnet"`)
			}
			http.Error(w, http.StatusText(status), status)
			return
		}
		if r.Method == http.MethodConnect {
			p.connect(w, r)
			return
		}
		p.plain(w, r, direct)
	})
	p.Server = n.start(cfg.Origin, nil)
	return p
}

// status is how the proxy refuses r; 0 is not at all.
func (p *Proxy) status(r *http.Request) int {
	switch p.refusal() {
	case ProxyBadLogin:
		return http.StatusProxyAuthRequired
	case ProxyUnreachable:
		return http.StatusServiceUnavailable
	case ProxyRefused:
		return http.StatusBadGateway
	case ProxyDenied:
		return http.StatusForbidden
	}
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(p.cfg.Username+":"+p.cfg.Password))
	if p.cfg.Username != "" && r.Header.Get("Proxy-Authorization") != want {
		return http.StatusProxyAuthRequired
	}
	return 0
}

// connect opens a tunnel. The target is resolved here, on the proxy's side, as with
// a real one: the client need not know the name.
func (p *Proxy) connect(w http.ResponseWriter, r *http.Request) {
	out, err := p.net.dialFrom(r.Context(), "tcp", r.Host, p.cfg.SourceIP)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	fw, _ := w.(*writer)
	fw.wrote = true
	c, buf, err := http.NewResponseController(fw.ResponseWriter).Hijack()
	if err != nil {
		_ = out.Close()
		return
	}
	fw.rec.status(http.StatusOK)
	_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	p.tunnel(c, io.MultiReader(io.LimitReader(buf, int64(buf.Reader.Buffered())), c), out, fw.rec)
}

// plain forwards a request in absolute form.
func (p *Proxy) plain(w http.ResponseWriter, r *http.Request, client *http.Client) {
	if !r.URL.IsAbs() {
		http.Error(w, "not a proxy request", http.StatusBadRequest)
		return
	}
	req := r.Clone(r.Context())
	req.RequestURI = ""
	for _, h := range []string{"Proxy-Authorization", "Proxy-Connection", "Connection"} {
		req.Header.Del(h)
	}
	resp, err := client.Do(req)
	if err != nil {
		http.Error(w, "bad gateway", http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	for k, vs := range resp.Header {
		w.Header()[k] = vs
	}
	if resp.ContentLength >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(resp.ContentLength, 10))
	}
	w.WriteHeader(resp.StatusCode)
	if _, err := io.Copy(w, resp.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// tunnel copies both ways until both are done, or one side fails or the Net is
// closed. The entry's Bytes are those to the client.
func (p *Proxy) tunnel(c net.Conn, from io.Reader, out net.Conn, rec *record) {
	defer c.Close()
	defer out.Close()
	var broken atomic.Bool
	half := func(dst net.Conn, src io.Reader) int64 {
		n, err := io.Copy(dst, src)
		if err != nil && !errors.Is(err, net.ErrClosed) {
			broken.Store(true)
			rec.cut()
		}
		if hc, ok := dst.(interface{ CloseWrite() error }); ok && err == nil && hc.CloseWrite() == nil {
			return n
		}
		_ = c.Close()
		_ = out.Close()
		return n
	}
	var wg sync.WaitGroup
	wg.Go(func() { half(out, from) })
	rec.sent(int(half(c, out)))
	wg.Wait()
}
