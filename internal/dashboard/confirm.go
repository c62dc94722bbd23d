package dashboard

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
)

// A confirmModel is the page that asks before the last upstream of a registry is taken
// out: what would happen, and for the registry's name.
type confirmModel struct {
	Crumbs []link
	Title  string
	What   string
	Then   string
	Served string // what the upstream did lately
	Others []otherLine
	Type   string
	TTL    string
	Reason string
	Act    action
}

// An otherLine is an upstream that would be left.
type otherLine struct {
	Chip  chip
	Why   string
	Since *moment
}

// confirmView is the page that a form leads to which would leave a registry without any
// upstream.
func confirmView(d *dashboard, v *visit) (string, any) {
	q, kind := v.query, admin.Kind(v.query.Get("kind"))
	r := v.Snapshot.Find(q.Get("registry"))
	if r == nil || !d.canAct(v) || kind != admin.KindDrain && kind != admin.KindDisable {
		return notFound(d, v)
	}
	i := slices.IndexFunc(r.Lanes, func(l balancer.LaneSnapshot) bool { return l.Upstream == q.Get("upstream") })
	seconds, err := strconv.ParseInt(q.Get("ttl_s"), 10, 32)
	if q.Get("ttl_s") == "" {
		seconds, err = int64(admin.DefaultTTL/time.Second), nil
	}
	if i < 0 || err != nil || seconds < 1 {
		return notFound(d, v)
	}
	v.still = true
	text := func(key string, pairs ...any) string {
		return v.messages.Text("act.confirm."+key, append(pairs, "registry", r.Registry, "upstream", r.Lanes[i].Upstream)...)
	}
	v.Title = text("title")
	m := confirmModel{
		Crumbs: []link{{Href: registryPath(r.Registry), Text: r.Registry}, {Href: upstreamPath(r.Registry, r.Lanes[i].Upstream), Text: r.Lanes[i].Upstream}},
		Title:  v.Title, What: text(string(kind), "span", v.span(time.Duration(seconds)*time.Second)), Then: text("then"), Type: text("type"),
		TTL: strconv.FormatInt(seconds, 10), Reason: q.Get("reason"), Act: v.act(kind, r.Registry, r.Lanes[i].Upstream),
	}
	m.Act.Text, m.Act.Back = text("do_"+string(kind)), upstreamPath(r.Registry, r.Lanes[i].Upstream)
	if back := q.Get("back"); admin.IsLocal(back) {
		m.Act.Back = back
	}
	if len(r.Lanes) == 1 {
		m.Then = text("then_alone")
	}
	m.Served = v.servedBy(r, &r.Lanes[i])
	for n := range r.Lanes {
		if n != i {
			m.Others = append(m.Others, v.other(r, &r.Lanes[n]))
			if opens(&r.Lanes[n]) {
				m.Then = text("then_open", "other", r.Lanes[n].Upstream)
				m.Title = text("title_open", "other", r.Lanes[n].Upstream)
				v.Title = m.Title
			}
		}
	}
	return "confirm", &m
}

// other says of an upstream that would be left why it cannot be asked.
func (v *visit) other(r *admin.Registry, l *balancer.LaneSnapshot) otherLine {
	line := otherLine{Chip: v.chip(r, l, false), Since: v.atOf(l.Since)}
	switch {
	case opens(l):
		line.Why = v.messages.Text("act.confirm.open")
	case l.Eligible:
		line.Why = v.messages.Text("act.confirm.digests_only")
	default:
		line.Why = strings.TrimSpace(admin.Trouble(v.messages, *l, v.now()))
	}
	return line
}

// opens reports whether an upstream may be asked for a tag.
func opens(l *balancer.LaneSnapshot) bool { return l.Eligible && l.Trust == "resolve" }

// servedBy says how much an upstream had to do lately; nothing if it had nothing to.
func (v *visit) servedBy(r *admin.Registry, l *balancer.LaneSnapshot) string {
	var n uint64
	minutes := 0
	for _, s := range r.Served {
		if s.Upstream == l.Upstream {
			n, minutes = n+s.Requests, s.Minutes
		}
	}
	if n == 0 {
		return ""
	}
	return v.messages.Text("act.confirm.served", "minutes", minutes, "n", count(n), "in_flight", count(l.InFlight))
}

// span writes how long something is to last.
func (v *speaker) span(d time.Duration) string {
	if d >= 48*time.Hour {
		return v.spent(d)
	}
	return admin.Wait(v.messages, d)
}
