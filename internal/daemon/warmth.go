package daemon

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/access"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/front"
	"github.com/pullchain/pullchain/internal/guard"
	"github.com/pullchain/pullchain/internal/warm"
)

// newWarmth returns the scheduler of [[warm]] tables.
func (d *Daemon) newWarmth() *warm.Scheduler {
	s := warm.NewScheduler(warm.Options{Pull: d.warm, Hold: func(img warm.Image) string { return d.holdWarmth(img.Registry) }, Guard: d.guard})
	s.Set(d.cfg.Warm)
	return s
}

// warm warms one image through our own listener, as any client does.
func (d *Daemon) warm(ctx context.Context, c warm.Config, img warm.Image) (warm.Result, bool) {
	scheme, transport := "http://", &http.Transport{}
	if cert := d.cfg.Server.TLSCert; cert != "" {
		var err error
		if transport, err = warm.Pinned(cert); err != nil { // read each time, for it may have been renewed
			return warm.Result{Image: img.String(), Error: err.Error(), Err: err}, true
		}
		scheme = "https://"
	}
	transport.DialContext = dialOwn(d.cfg.Server)
	mirror := warm.NewMirror(scheme+dialable(d.data.Addr()), transport, d.opts.Version)
	defer mirror.Close()
	mirror.Mark(access.Own)
	r, done := c.Pull(ctx, mirror, img)
	d.guard.Note(guard.Warm, r.Err) // of a goroutine that it began
	if done {
		d.log.Info("warmed", "image", r.Image, "ok", r.OK, "fetched_blobs", r.Fetched, "fetched_bytes", r.New, "error", r.Error)
	}
	return r, done
}

// dialOwn connects to our own data plane, whose configuration is c.
func dialOwn(c front.Config) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if hello := c.ProxyHello(conn); hello != "" {
			_, _ = io.WriteString(conn, hello) // a connection that has failed says so to the next that uses it
		}
		return conn, nil
	}
}

// holdWarmth says why nothing of a registry is fetched ahead of need now: what is not
// needed yet is worth no money, and no quota that a client may want.
func (d *Daemon) holdWarmth(name string) string {
	for _, r := range d.chain.Load().registries {
		if strings.EqualFold(r.name, name) || slices.ContainsFunc(r.aliases, func(a string) bool { return strings.EqualFold(a, name) }) {
			return holds(r.balancer.Snapshot(), time.Now())
		}
	}
	return "" // it is not served here, which the pull finds out and tells
}

// holds is holdWarmth for a chain.
func holds(c balancer.Snapshot, now time.Time) string {
	why := warm.HeldUnreachable
	if admin.Standing(c) == admin.Unreachable {
		return why
	}
	for _, l := range c.Lanes {
		switch {
		case !l.Eligible || l.Trust != "resolve":
		case l.Metered:
			if why == warm.HeldUnreachable {
				why = warm.HeldMetered
			}
		case quotaLow(l.Quota, now):
			why = warm.HeldQuota
		default:
			return ""
		}
	}
	return why
}

// quotaLow reports whether an upstream has said that little is left. It is believed for
// as long as its window is: warmth can wait, and asking costs quota.
func quotaLow(q *balancer.QuotaSnapshot, now time.Time) bool {
	return q != nil && (&pullchain.Quota{Limit: q.Limit, Remaining: q.Remaining}).Low() && now.Sub(q.At) < time.Duration(q.WindowS)*time.Second
}
