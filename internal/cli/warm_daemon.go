package cli

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pullchain/pullchain/internal/access"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/daemon"
	"github.com/pullchain/pullchain/internal/front"
	"github.com/pullchain/pullchain/internal/terminal"
	"github.com/pullchain/pullchain/internal/warm"
)

// running returns the route through the daemon of p: what it fetches ends up in the
// cache that its clients use, and its limits and its lanes' state hold for us too.
func (c *warmCmd) running(ctx context.Context, a *app, p *adminClient) (*route, error) {
	s, err := p.snapshot(ctx)
	if err != nil {
		return nil, a.unreachable(p, err)
	}
	address, ok := dataAddress(s.Listen, p.base)
	if !ok {
		return nil, errors.New(a.messages.Text("warm.elsewhere", "listen", s.Listen, "address", p.base))
	}
	cfg, err := a.loadConfig()
	// With --addr the daemon is not the one of this configuration, so its
	// certificate would be another one's.
	if err != nil || cfg.Server.TLSCert == "" || a.flags.Addr != "" {
		return &route{mirror: warm.NewMirror("http://"+address, &http.Transport{}, thisBuild().Version), cache: p.cacheSnapshot}, nil
	}
	transport, err := warm.Pinned(cfg.Server.TLSCert)
	if err != nil {
		return nil, err
	}
	return &route{mirror: warm.NewMirror("https://"+address, transport, thisBuild().Version), cache: p.cacheSnapshot}, nil
}

// dataAddress returns where this machine reaches the data plane of a daemon whose
// operator's plane it reaches at base. A data plane that listens for its own
// machine alone, on another machine, cannot be reached.
func dataAddress(listen, base string) (address string, ok bool) {
	host, port, err := net.SplitHostPort(listen)
	u, errURL := url.Parse(base)
	if err != nil || errURL != nil {
		return "", false
	}
	ip, _ := netip.ParseAddr(host)
	here, err := netip.ParseAddr(u.Hostname())
	local := u.Hostname() == "localhost" || err == nil && here.IsLoopback()
	switch {
	case ip.IsUnspecified():
		return net.JoinHostPort(u.Hostname(), port), true
	case ip.IsLoopback():
		return listen, local
	}
	return listen, true
}

// ownDaemon starts a daemon in this process, on ports of its own, which serves the
// registries of images from the configuration's cache. address is where none was.
func (c *warmCmd) ownDaemon(a *app, images []warm.Image, address string) (*route, error) {
	cfg, err := a.readConfig()
	if err != nil {
		return nil, err
	}
	if !cfg.Cache.On() {
		return nil, errors.New(a.messages.Text("cache.off", "file", cfg.File))
	}
	// Ports of its own and no others: the configured ones may be another program's,
	// and no client is to find this daemon.
	cfg.Server = front.Config{Listen: loopbackPort, DrainTimeout: time.Second, Drain: front.DrainRefuse}
	cfg.Admin = admin.Config{Listen: loopbackPort, StateDir: admin.StateOff}
	cfg.Access = access.Config{}
	cfg.Warm = nil
	cfg.Registries = named(cfg.Registries, images)
	d, err := daemon.New(cfg, daemon.Options{Version: thisBuild().Version})
	if err != nil {
		return nil, &exitError{exitConfig, err}
	}
	if err := d.Listen(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	var failed error
	serving.Go(func() { failed = d.Run(ctx) })
	p := &adminClient{base: "http://" + d.AdminAddr(), http: &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}}
	way := &route{
		mirror: warm.NewMirror("http://"+d.Addr(), &http.Transport{}, thisBuild().Version),
		cache:  p.cacheSnapshot,
		end: func() error {
			stop()
			serving.Wait()
			return failed
		},
	}
	// A daemon without a cache serves all the same. Here that would be of no use.
	if c := d.Snapshot().Cache; c.Trouble != "" {
		return nil, errors.Join(noCache(a, c, address), way.end())
	}
	return way, nil
}

// noCache says why there is no cache to put anything into. The daemon tells in words,
// and that another process holds the directory is the one case with a code of its
// own: scripts may wait for it.
func noCache(a *app, c *cache.Snapshot, address string) error {
	if strings.Contains(c.Trouble, blobstore.ErrLocked.Error()) {
		return &exitError{exitUnreachable, errors.New(a.messages.Text("cache.locked", "dir", c.Dir, "address", address))}
	}
	return errors.New(a.messages.Text("cache.trouble", "why", terminal.Printable(c.Trouble)))
}

// loopbackPort is any port that only this machine reaches.
const loopbackPort = "127.0.0.1:0"

// named returns the registries that images are in, so that no others are probed;
// all of them if there is none, which then says what is missing.
func named(registries []config.Registry, images []warm.Image) []config.Registry {
	out := slices.DeleteFunc(slices.Clone(registries), func(r config.Registry) bool {
		return !slices.ContainsFunc(images, func(i warm.Image) bool {
			return slices.ContainsFunc(append([]string{r.Name}, r.Aliases...), func(name string) bool {
				return strings.EqualFold(name, strings.TrimSuffix(i.Registry, ":443"))
			})
		})
	})
	if len(out) == 0 {
		return registries
	}
	return out
}
