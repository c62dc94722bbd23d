package dashboard

import (
	"slices"
	"strings"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
)

// An action is a form: something that a reader of the page can have done. It is posted
// to /act/ and its kind, and comes back to the page.
type action struct {
	Kind     string
	Registry string
	Upstream string
	Order    []string
	What     string // of the cache
	Text     string // of the button
	Label    string // of the button, for readers that do not see what it stands beside
	Hint     string // what it means or costs, if it asks before
	Override bool   // it has an end and a reason
	Token    string
	Back     string
}

// canAct reports whether forms are of use to the reader, and to this daemon.
func (d *dashboard) canAct(v *visit) bool { return v.viewer.CanAct && d.Operator != nil }

// act makes an action that comes back to this page.
func (v *visit) act(kind admin.Kind, registry, upstream string) action {
	a := v.actOn(string(kind), "")
	a.Registry, a.Upstream = registry, upstream
	if target := strings.Trim(registry+"/"+upstream, "/"); target != "" {
		a.Label = a.Text + " " + target
	}
	a.Override = slices.Contains([]admin.Kind{admin.KindDrain, admin.KindDisable, admin.KindPin}, kind)
	return a
}

// actOn makes an action on something of the cache, or on the daemon.
func (v *visit) actOn(kind, what string) action {
	a := action{Kind: kind, What: what, Text: v.messages.Text("act." + kind), Token: v.viewer.CSRF, Back: v.here()}
	a.Label = strings.TrimSpace(a.Text + " " + what)
	if key := "act.hint." + kind; v.messages.Has(key) {
		a.Hint = v.messages.Text(key)
	}
	return a
}

// here is the address of this page, for a form to come back to.
func (v *visit) here() string {
	q := v.query
	if len(q) == 0 {
		return v.Path
	}
	back := v.with("", "")
	return strings.TrimSuffix(strings.ReplaceAll(back, "?=&", "?"), "?=")
}

// ofLane are what can be done to an upstream as it is.
func (d *dashboard) ofLane(v *visit, r *admin.Registry, l *balancer.LaneSnapshot) []action {
	if !d.canAct(v) {
		return nil
	}
	var out []action
	add := func(is bool, kind admin.Kind) {
		if is {
			out = append(out, v.act(kind, r.Registry, l.Upstream))
		}
	}
	takenOut := l.State == balancer.StateDrained || l.State == balancer.StateDisabled
	_, probed := r.Probe(l.Upstream)
	add(probed && l.State != balancer.StateDisabled, admin.KindProbe)
	add(takenOut, admin.KindEnable)
	add(slices.ContainsFunc(l.Breakers, func(b balancer.BreakerSnapshot) bool { return b.State != "closed" }), admin.KindResetBreaker)
	add(len(l.Cooldowns) > 0, admin.KindClearCooldown)
	add(l.State == balancer.StateQuarantined, admin.KindLiftQuarantine)
	add(r.Pinned == l.Upstream, admin.KindUnpin)
	add(r.Pinned != l.Upstream && len(r.Lanes) > 1, admin.KindPin)
	add(!takenOut, admin.KindDrain)
	add(!takenOut, admin.KindDisable)
	add(true, admin.KindReset)
	return out
}

// ofRegistry are what can be done to a registry as a whole.
func (d *dashboard) ofRegistry(v *visit, r *admin.Registry) []action {
	if !d.canAct(v) {
		return nil
	}
	out := []action{v.act(admin.KindProbe, r.Registry, "")}
	if r.Pinned != "" {
		out = append(out, v.act(admin.KindUnpin, r.Registry, ""))
	}
	if r.Reordered != nil {
		back := v.act(admin.KindReorder, r.Registry, "")
		back.Text = v.messages.Text("act.configured_order")
		back.Label, back.Hint = back.Text, ""
		out = append(out, back)
	}
	return out
}

// moves are the buttons that move an upstream up and down in its chain.
func (d *dashboard) moves(v *visit, r *admin.Registry, i int) []action {
	if !d.canAct(v) {
		return nil
	}
	names := make([]string, 0, len(r.Lanes))
	for _, l := range r.Lanes {
		names = append(names, l.Upstream)
	}
	var out []action
	for _, to := range []struct {
		place int
		text  string
	}{{i - 1, "↑"}, {i + 1, "↓"}} {
		if to.place < 0 || to.place >= len(names) {
			continue
		}
		order := slices.Clone(names)
		order[i], order[to.place] = order[to.place], order[i]
		a := v.act(admin.KindReorder, r.Registry, "")
		a.Text, a.Hint, a.Order = to.text, "", order
		a.Label = v.messages.Text("act.move", "upstream", names[i], "to", to.place+1)
		out = append(out, a)
	}
	return out
}

// An overrideLine is what an operator wants for a while.
type overrideLine struct {
	Key    string
	Text   string
	Actor  string
	Reason string
	At     *moment
	Until  *moment
	End    *action // that takes it back
}

// overrides lists what operators want, for the verdict.
func (d *dashboard) overrides(v *visit) []overrideLine {
	var out []overrideLine
	for _, o := range v.Snapshot.Overrides {
		line := overrideLine{
			Key: string(o.Kind) + o.Registry + o.Upstream, Actor: o.Actor, Reason: o.Reason, At: v.at(o.At), Until: v.at(o.ExpiresAt),
			Text: v.messages.Text("act.done."+string(o.Kind), "registry", o.Registry, "upstream", o.Upstream, "order", strings.Join(o.Order, " → ")),
		}
		if d.canAct(v) {
			line.End = v.inverse(o)
		}
		out = append(out, line)
	}
	return out
}

// inverse is the action that ends an override.
func (v *visit) inverse(o admin.Override) *action {
	kind, upstream := admin.KindEnable, o.Upstream
	switch o.Kind {
	case admin.KindPin:
		kind, upstream = admin.KindUnpin, ""
	case admin.KindReorder:
		kind = admin.KindReorder
	}
	a := v.act(kind, o.Registry, upstream)
	a.Text, a.Hint = v.messages.Text("act.undo"), ""
	a.Label = a.Text + " " + o.Registry + " " + o.Upstream
	return &a
}

// A toast tells what became of the form that was sent last, for a few seconds.
type toast struct {
	OK   bool
	Text string
	Icon string
	Undo *action
}

// undoFor is how long a toast offers to take back what was done.
const undoFor = 10 * time.Second

// Toast is what the reader's last form came to, with a way back if it has made an
// override just now.
func (v *visit) Toast() *toast {
	f := v.viewer.Flash
	if f == nil {
		return nil
	}
	t := &toast{OK: f.OK, Text: f.Text, Icon: "check"}
	if !f.OK {
		t.Icon = "critical"
		return t
	}
	if n := len(v.Snapshot.Overrides); n > 0 {
		if last := v.Snapshot.Overrides[n-1]; v.now().Sub(last.At) < undoFor {
			t.Undo = v.inverse(last)
		}
	}
	return t
}

// LoggedIn reports whether the reader can log out.
func (v *visit) LoggedIn() bool { return v.viewer.LoggedIn }

// Token goes into the forms of this page.
func (v *visit) Token() string { return v.viewer.CSRF }
