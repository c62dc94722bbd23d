package traffic

import (
	"container/list"
	"net/netip"
	"slices"
	"time"
)

const (
	clientsKept      = 1000
	clientRegistries = 64
	clientForms      = 8
)

type clientKey struct {
	addr   netip.Addr
	family string
}

// A client is one runtime at one address.
type client struct {
	key         clientKey
	first       time.Time
	seen        time.Time
	forms       []string
	registries  []string
	requests    uint64
	errors      uint64
	last        LastPull     // its image and state are those of the pull, where that is still known
	pulls       []*pull      // live ones, the newest last
	registry    *registry    // of its last request, so that the next one finds it at once
	counted     *familyCount // the same for its counts
	countedForm string
	place       *list.Element
}

// clients are those seen last.
type clients struct {
	byKey  map[clientKey]*client
	order  list.List // of *client, the one seen last in front
	latest *client   // the one in front
}

// see returns the client of a request.
func (c *clients) see(f *Flight) *client {
	if cl := c.latest; cl != nil && cl.key.addr == f.Addr && cl.key.family == f.Family {
		cl.seen = f.At
		return cl
	}
	key := clientKey{f.Addr, f.Family}
	cl := c.byKey[key]
	if cl == nil {
		if len(c.byKey) >= clientsKept {
			oldest := c.order.Back()
			delete(c.byKey, c.order.Remove(oldest).(*client).key)
		}
		cl = &client{key: key, first: f.At}
		cl.place = c.order.PushFront(cl)
		c.byKey[key] = cl
	}
	c.order.MoveToFront(cl.place)
	cl.seen = f.At
	c.latest = cl
	return cl
}

// count takes note of how a request of cl ended.
func (cl *client) count(f *Flight, o *Outcome, now time.Time) {
	cl.requests++
	if o.Failed {
		cl.errors++
	}
	cl.seen = now
	if f.Form != "" && len(cl.forms) < clientForms && !slices.Contains(cl.forms, f.Form) {
		cl.forms = append(cl.forms, f.Form)
	}
	if f.registry != nil && len(cl.registries) < clientRegistries && !slices.Contains(cl.registries, f.registry.name) {
		cl.registries = append(cl.registries, f.registry.name)
	}
}

// forget drops a pull that is over, and keeps what people ask of the last one.
func (cl *client) forget(p *pull) {
	cl.pulls = slices.DeleteFunc(cl.pulls, func(o *pull) bool { return o == p })
	if cl.last.ID == p.shown.ID {
		cl.last = p.last()
	}
}

// last is p as its client has it.
func (p *pull) last() LastPull {
	return LastPull{ID: p.shown.ID, Image: p.shown.Image(), At: p.shown.Started, State: p.state}
}

// Clients returns the clients, the one seen last first.
func (j *Journal) Clients() []Client {
	now := time.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sweepLocked(now)
	out := make([]Client, 0, len(j.clients.byKey))
	for e := j.clients.order.Front(); e != nil; e = e.Next() {
		out = append(out, e.Value.(*client).show())
	}
	slices.SortStableFunc(out, func(a, b Client) int { return b.Last.Compare(a.Last) })
	return out
}

func (cl *client) show() Client {
	c := Client{
		Family: cl.key.family, Addr: addrText(cl.key.addr), First: cl.first, Last: cl.seen,
		Forms: append([]string{}, cl.forms...), Registries: append([]string{}, cl.registries...), Requests: cl.requests, Errors: cl.errors,
	}
	slices.Sort(c.Forms)
	slices.Sort(c.Registries)
	last := cl.last
	for _, p := range cl.pulls {
		if p.shown.ID == last.ID {
			last = p.last()
		}
	}
	if last.ID != "" {
		c.LastPull = &last
	}
	return c
}
