package upstreams

import (
	"crypto/x509"
	"net/http"
	"sync"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/egress"
)

// limits are cfg's time-outs with the defaults filled in.
type limits struct {
	connect, tls, manifestHeader, blobHeader, stall, token time.Duration
}

// limits fills in the defaults. One setting is for TCP and TLS each, and one for the
// headers of both classes, since what makes a line slow does so to all of them.
func (c Config) limits() limits {
	l := limits{defaultConnect, defaultTLS, defaultManifestHeader, defaultBlobHeader, DefaultStall, DefaultToken}
	if c.Timeouts.Connect > 0 {
		l.connect, l.tls = c.Timeouts.Connect, c.Timeouts.Connect
	}
	if c.Timeouts.Header > 0 {
		l.manifestHeader, l.blobHeader = c.Timeouts.Header, c.Timeouts.Header
	}
	if c.Timeouts.Stall > 0 {
		l.stall = c.Timeouts.Stall
	}
	if c.Timeouts.Token > 0 {
		l.token = c.Timeouts.Token
	}
	return l
}

// lines are the connections to one kind of place.
type lines struct {
	api   *http.Transport // manifests, tokens, pings: HTTP/2 where offered
	blobs *http.Transport // HTTP/1.1: ranges over one HTTP/2 connection share one throttle
	http1 *http.Transport // stands in for api once HTTP/2 has failed too often
}

// close drops idle connections.
func (l lines) close() {
	for _, t := range []*http.Transport{l.api, l.blobs, l.http1} {
		t.CloseIdleConnections()
	}
}

// dial makes the transports. Each has its own tls.Config and pool: two
// upstreams on one host with two logins share nothing (docs/faults.md 6).
func (u *Upstream) dial(proxy egress.Config, roots *x509.CertPool) error {
	base := egress.TransportConfig{
		Egress:             proxy,
		Guard:              u.guard,
		RootCAs:            roots,
		InsecureSkipVerify: u.cfg.InsecureSkipVerify,
		ConnectTimeout:     u.limits.connect,
		TLSTimeout:         u.limits.tls,
		MaxConnections:     u.cfg.MaxConnections,
		Dialled:            u.dialled,
	}
	var err error
	if u.away, err = u.newLines(base); err != nil || u.cert == nil {
		u.lines = u.away
		return err
	}
	base.ClientCert = u.cert.show
	u.lines, err = u.newLines(base)
	return err
}

// newLines makes transports after the example of base.
func (u *Upstream) newLines(base egress.TransportConfig) (l lines, err error) {
	for _, t := range []struct {
		into   **http.Transport
		http1  bool
		header time.Duration
	}{
		// HTTP/2 for what is small: all of it then shares one warm connection, token calls
		// among them, which have more time: see headerTime.
		{&l.api, false, max(u.limits.manifestHeader, u.limits.token)},
		{&l.http1, true, u.limits.manifestHeader},
		{&l.blobs, true, u.limits.blobHeader},
	} {
		cfg := base
		cfg.HTTP1, cfg.HeaderTimeout = t.http1, t.header
		if *t.into, err = egress.NewTransport(cfg); err != nil {
			return lines{}, err
		}
	}
	return l, nil
}

// transport picks the connections for one hop of a request. A large blob's bytes
// never come over HTTP/2, but the registry's "look over there" may: it is small,
// and its connection is already warm from the manifest. Where the blob itself
// comes instead, the attempt asks again. Off the origin, and once a hop has left it, there is no certificate
// to show.
func (u *Upstream) transport(class pullchain.Class, firstHop, offOrigin bool) *http.Transport {
	to := &u.lines
	if offOrigin {
		to = &u.away
	}
	if class == pullchain.ClassBlob && !(firstHop && u.redirects.Load()) {
		return to.blobs
	}
	if u.h2.broken() {
		return to.http1
	}
	return to.api
}

// headerTime is how long a hop of a request over t waits for headers; 0 where t's own
// limit is the one.
func (u *Upstream) headerTime(t *http.Transport) time.Duration {
	if t == u.api || t == u.away.api {
		return u.limits.manifestHeader
	}
	return 0
}

// tokenClient is for calls of token servers, which have a limit of their own each. It
// leaves redirects to regauth, which looks at each before it follows it.
func tokenClient(by http.RoundTripper) *http.Client {
	return &http.Client{Transport: by, CheckRedirect: keepRedirects}
}

// h2Health falls back to HTTP/1.1 when an upstream's HTTP/2 keeps failing:
// three failures in a minute, for an hour (docs/faults.md F45).
type h2Health struct {
	mu    sync.Mutex
	fails []time.Time
	until time.Time
}

// observe counts a failure of HTTP/2 itself. Any other says nothing of it.
func (h *h2Health) observe(e *pullchain.Error) {
	if e.Code != pullchain.CodeHTTP2 {
		return
	}
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	recent := h.fails[:0]
	for _, at := range h.fails {
		if now.Sub(at) < time.Minute {
			recent = append(recent, at)
		}
	}
	h.fails = append(recent, now)
	if len(h.fails) >= 3 {
		h.fails, h.until = nil, now.Add(time.Hour)
	}
}

// reset gives HTTP/2 another chance.
func (h *h2Health) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fails, h.until = nil, time.Time{}
}

// broken reports whether HTTP/1.1 is to be used for now.
func (h *h2Health) broken() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Before(h.until)
}
