package daemon

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"

	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/front"
	"github.com/pullchain/pullchain/internal/openfiles"
)

// listeners are those of the two planes, and the descriptors that they share.
type listeners struct {
	files    *openfiles.Keeper // from New on
	data     net.Listener
	further  []further      // data listeners of [[listener]]
	redirect net.Listener   // nil: there is none
	operator []net.Listener // TCP, and then the socket if there is one
}

// A further listener of the data plane has a server of its own, for its certificate.
type further struct {
	net.Listener
	server *front.Server
}

// servers are those of the two planes.
type servers struct {
	data     *front.Server
	redirect *http.Server // of the listener of that name
	admin    *http.Server
}

// Listen binds the listeners, so that a port that is taken is an error here
// and Addr is known, and opens the cache, which Run closes.
func (d *Daemon) Listen() error {
	err := d.bind(d.cfg)
	if err == nil {
		err = d.makeServers()
	}
	if err != nil {
		d.unbind()
		return err
	}
	d.storage = openStorage(d.cfg.Cache, d.log) // last: a port that is taken is no reason to take a directory
	routes, err := d.chain.Load().routes(d.storage)
	if err != nil {
		return err // New has made them before
	}
	d.loadOverrides(openState(d.cfg.Admin, d.log))
	d.handler.SetAccess(d.chain.Load().access)
	d.handler.SetRoutes(routes)
	d.handler.Ask(func(registry string) error { return ask(d, registry) })
	d.sampler = openHistory(string(d.overrides.state.dir), d.log, d.guard)
	d.warmth = d.newWarmth()
	d.servers.admin = d.adminServer()
	return nil
}

// bind takes the addresses of the configuration; those that it has when one fails are
// for unbind.
func (ls *listeners) bind(cfg *config.Config) (err error) {
	if ls.data, err = net.Listen("tcp", cfg.Server.ListenAddr()); err != nil {
		ls.data = nil
		return fmt.Errorf("server.listen: %w", err)
	}
	for _, l := range cfg.Listeners {
		ln, err := net.Listen("tcp", l.Listen)
		if err != nil {
			return fmt.Errorf("listener %q: %w", l.Registry, err)
		}
		ls.further = append(ls.further, further{Listener: ln})
	}
	if at := cfg.Server.RedirectListen; at != "" {
		if ls.redirect, err = net.Listen("tcp", at); err != nil {
			ls.redirect = nil
			return fmt.Errorf("server.redirect_listen: %w", err)
		}
	}
	operator, err := net.Listen("tcp", cfg.Admin.ListenAddr())
	if err != nil {
		return fmt.Errorf("admin.listen: %w", err)
	}
	ls.operator = []net.Listener{operator}
	if path := cfg.Admin.Socket; path != "" {
		socket, err := listenSocket(path)
		if err != nil {
			return fmt.Errorf("admin.socket: %w", err)
		}
		ls.operator = append(ls.operator, socket)
	}
	return nil
}

// unbind gives up the addresses that bind took.
func (ls *listeners) unbind() {
	if ls.data != nil {
		ls.data.Close()
	}
	if ls.redirect != nil {
		ls.redirect.Close()
	}
	for _, l := range ls.further {
		l.Close()
	}
	for _, l := range ls.operator {
		l.Close()
	}
	*ls = listeners{files: ls.files}
}

// makeServers makes the servers of the data plane, one for each of its listeners.
func (d *Daemon) makeServers() (err error) {
	server := d.reachableFrom(d.data.Addr(), d.cfg.Server)
	server.Instance = d.chain.Load().instance
	d.handler = front.New(server, d.log)
	if d.servers.data, err = front.NewServer(server, d.handler, d.log); err != nil {
		return err
	}
	d.servers.redirect = front.NewRedirect(server, d.Addr(), d.log)
	for i, l := range d.cfg.Listeners {
		at := d.reachableFrom(d.further[i].Addr(), d.cfg.Server.At(l))
		if d.further[i].server, err = d.servers.data.Beside(at, d.handler.At(at, l.Registry), d.log); err != nil {
			return fmt.Errorf("listener %q: %w", l.Registry, err)
		}
	}
	return nil
}

// reachableFrom completes the configuration of a data listener with where the operator's
// plane is, if its clients can look there: those of an address that is no loopback are on
// other machines.
func (ls *listeners) reachableFrom(addr net.Addr, c front.Config) front.Config {
	if isLoopback(addr) {
		c.AdminURL = "http://" + dialable(ls.operator[0].Addr()) + "/"
	}
	return c
}

// Addr returns the address of the data plane, once Listen has bound it.
func (ls *listeners) Addr() string { return ls.data.Addr().String() }

// RedirectAddr returns the address of the listener that redirects to https; empty if there
// is none.
func (ls *listeners) RedirectAddr() string {
	if ls.redirect == nil {
		return ""
	}
	return ls.redirect.Addr().String()
}

// Listeners returns the addresses of the further data listeners, in the order of the
// configuration, once Listen has bound them.
func (ls *listeners) Listeners() []string {
	var all []string
	for _, l := range ls.further {
		all = append(all, l.Addr().String())
	}
	return all
}

// AdminAddr returns the address of the operator's plane.
func (ls *listeners) AdminAddr() string { return ls.operator[0].Addr().String() }

// dataServers are those of all data listeners, of which first is that of [server].
func (ls *listeners) dataServers(first *front.Server) []*front.Server {
	all := []*front.Server{first}
	for _, l := range ls.further {
		all = append(all, l.server)
	}
	return all
}

// isOpen reports whether others than this machine can reach a data listener.
func (ls *listeners) isOpen() bool {
	return !isLoopback(ls.data.Addr()) || slices.ContainsFunc(ls.further, func(l further) bool { return !isLoopback(l.Addr()) })
}

func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// dialable returns addr as this machine would dial it: one that listens
// everywhere is reached by loopback.
func dialable(addr net.Addr) string {
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
	}
	return addr.String()
}
