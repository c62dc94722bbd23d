package dashboard

import (
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/history"
)

// A chain is a registry with its upstreams in order.
type chain struct {
	Registry string
	Href     string
	Strategy string
	Level    string // ok, detour, none, unknown: what a pull meets now
	Icon     string
	Word     string
	Chips    []chip
	Troubles []string // what is wrong with upstreams, in words
	Figures  []fact
	Bar      *bar // the last hour
}

// A chip is an upstream in its chain.
type chip struct {
	Order   int
	Name    string
	Href    string
	State   string
	Icon    string
	Word    string
	Until   *moment // when it will be asked again
	Serving bool
}

// chains returns all registries.
func (d *dashboard) chains(v *visit) []chain {
	out := make([]chain, 0, len(v.Snapshot.Registries))
	for i := range v.Snapshot.Registries {
		out = append(out, d.chain(v, &v.Snapshot.Registries[i]))
	}
	return out
}

// Levels of a chain. Each has an icon and a word.
const (
	chainOK      = "ok"      // the first path serves
	chainDetour  = "detour"  // another one does
	chainNone    = "none"    // none does
	chainUnknown = "unknown" // nothing has been tried yet
)

var chainIcons = map[string]string{chainOK: "check", chainDetour: "degraded", chainNone: "down", chainUnknown: "unknown"}

func (d *dashboard) chain(v *visit, r *admin.Registry) chain {
	c := chain{Registry: r.Registry, Href: registryPath(r.Registry), Strategy: v.strategy(r.Strategy), Level: levelOf(r)}
	c.Icon, c.Word = chainIcons[c.Level], v.messages.Text("dash.chain."+c.Level)
	serving := r.Serving()
	if c.Level == chainOK && serving.Order > 1 {
		c.Word = v.messages.Text("dash.path", "n", serving.Order)
	}
	for i := range r.Lanes {
		l := &r.Lanes[i]
		c.Chips = append(c.Chips, v.chip(r, l, l == serving))
		if ailing(l) {
			c.Troubles = append(c.Troubles, admin.Trouble(v.messages, *l, v.now()))
		}
	}
	c.Figures = v.figures(r, serving)
	if c.Bar = d.registryBar(v, r, history.Hour); c.Bar != nil {
		c.Bar.Cells = nil // a table of many has no text for each
	}
	return c
}

// strategy says how the order comes about where it is not the one of the configuration.
func (v *speaker) strategy(s balancer.Strategy) string {
	if s == balancer.Ordered || s == "" {
		return ""
	}
	if key := "dash.strategy." + string(s); v.messages.Has(key) {
		return v.messages.Text(key)
	}
	return string(s)
}

// levelOf says what a pull from a registry meets now.
func levelOf(r *admin.Registry) string {
	serving := r.Serving()
	switch {
	case serving == nil:
		return chainNone
	case serving.State == balancer.StateUnknown:
		return chainUnknown
	case r.Strategy == balancer.Ordered && serving.Order > 1 && ailing(&r.Lanes[0]), serving.State == balancer.StateDegraded && serving.Code != "":
		return chainDetour
	}
	return chainOK
}

// ailing reports whether something is to be said about a lane.
func ailing(l *balancer.LaneSnapshot) bool {
	switch l.State {
	case balancer.StateServing, balancer.StateStandby, balancer.StateUnknown:
		return false
	}
	return true
}

func (v *visit) chip(r *admin.Registry, l *balancer.LaneSnapshot, serving bool) chip {
	c := chip{Order: l.Order, Name: l.Upstream, Href: upstreamPath(r.Registry, l.Upstream), State: l.State, Icon: l.State,
		Word: v.messages.Text("state." + l.State), Serving: serving}
	if l.Until != nil && l.Until.After(v.now()) {
		c.Until = v.atOf(l.Until)
	}
	return c
}

// figures are what the registry did lately: how fast its serving upstream answers, how
// often it answered well, and how much clients got.
func (v *visit) figures(r *admin.Registry, serving *balancer.LaneSnapshot) []fact {
	first, ok := "", ""
	if serving != nil {
		for _, c := range serving.Classes {
			if c.Class == "manifest" {
				first = millis(c.TTFBp95MS)
			}
		}
		ok = success(*serving)
	}
	var served uint64
	for _, s := range r.Served {
		served += s.Requests
	}
	return []fact{
		{orDash(first), v.messages.Text("dash.col_p95"), ""},
		{orDash(ok), v.messages.Text("dash.col_ok"), ""},
		{count(served), v.messages.Text("dash.col_served"), ""},
	}
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// success is the share of its requests that a lane answered well.
func success(l balancer.LaneSnapshot) string {
	var requests, failures uint64
	for _, c := range l.Classes {
		requests += c.Requests
		failures += c.Failures
	}
	return percent(requests-min(failures, requests), requests)
}

// why is a reason code as a predicate: "is 429 (pull quota spent)".
func (v *speaker) why(code string) string {
	if code == "" {
		return ""
	}
	if key := "why." + code; v.messages.Has(key) {
		return v.messages.Text(key)
	}
	return v.messages.Text("why.other", "code", code)
}

func registryPath(registry string) string { return "/r/" + url.PathEscape(registry) }

func upstreamPath(registry, upstream string) string {
	return registryPath(registry) + "/u/" + url.PathEscape(upstream)
}

// shortImage cuts the digest in an image's name to what people compare.
func shortImage(image string) string {
	name, sum, ok := strings.Cut(image, "@sha256:")
	if !ok || len(sum) < 12 {
		return image
	}
	return name + "@" + sum[:12]
}

// mirror is the address of the data plane as a client would reach it from where the
// page is read: the host is that which the browser used for us, where the listener
// serves more than one.
func (v *visit) mirror() string {
	scheme := "http://"
	if v.Snapshot.ListenTLS {
		scheme = "https://"
	}
	host, port, err := net.SplitHostPort(v.Snapshot.Listen)
	if err != nil {
		return scheme + v.Snapshot.Listen
	}
	if addr, err := netip.ParseAddr(host); host == "" || err == nil && addr.IsUnspecified() {
		host = v.reachedBy()
	}
	return scheme + net.JoinHostPort(host, port)
}

// reachedBy is the name by which this machine is reached: that which the browser used.
// One that came over loopback, as through a tunnel, is told the one that [admin] url has.
func (v *visit) reachedBy() string {
	used := url.URL{Host: v.host}
	if named, err := url.Parse(v.Snapshot.AdminURL); err == nil && named.Hostname() != "" && isLoopback(used.Hostname()) {
		return named.Hostname()
	}
	return used.Hostname()
}

// isLoopback reports whether a host is this machine as only itself sees it.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
