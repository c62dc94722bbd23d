package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/simnet"
)

// A narrator tells what has happened. It knows nothing of what the story wanted
// to happen: it looks at answers, at the daemon's snapshot and at the servers'
// books.
type narrator struct {
	a         *app
	w         *world
	states    map[string]string // of the lanes, when last looked at
	failovers uint64            // that have been told
	left      int               // of the registry's quota, when last told
}

func newNarrator(a *app, w *world) *narrator {
	return &narrator{a: a, w: w, states: map[string]string{}}
}

func (n *narrator) act(title string) {
	fmt.Fprintf(n.a.Stdout, "\n== %s\n", n.a.messages.Text(title))
}

// line writes one line under the last pull.
func (n *narrator) line(key string, pairs ...any) { n.indent(n.a.messages.Text(key, pairs...)) }

func (n *narrator) indent(text string) { fmt.Fprintf(n.a.Stdout, "     %s\n", text) }

// pull tells of a pull that came through.
func (n *narrator) pull(p pulled) {
	from := sources(p.blobs)
	key := "demo.pull"
	if from == p.manifest.via {
		key = "demo.pull_from_one"
	}
	n.a.say(key, "image", p.image, "ms", p.took.Milliseconds(), "size", size(p.bytes), "manifest", p.manifest.via, "blobs", from)
	n.troubles(p)
	for _, one := range append([]answer{p.manifest}, p.blobs...) {
		for _, err := range one.broken {
			n.line("demo.broken", "error", err, "upstream", one.via)
		}
	}
	if left := n.w.hub.Remaining(ourAddress); left != n.left {
		n.left = left
		n.line("demo.quota", "left", left, "limit", demoQuota)
	}
}

// sources says which upstreams sent the blobs, as in "mirror, second-mirror (2)"; only the
// name if it was one.
func sources(blobs []answer) string {
	var names []string
	counts := map[string]int{}
	for _, b := range blobs {
		if counts[b.via]++; counts[b.via] == 1 {
			names = append(names, b.via)
		}
	}
	if len(names) == 1 {
		return names[0]
	}
	for i, name := range names {
		names[i] = fmt.Sprintf("%s (%d)", name, counts[name])
	}
	return strings.Join(names, ", ")
}

// troubles tells what went wrong on the way, each thing once.
func (n *narrator) troubles(p pulled) {
	seen := map[trouble]bool{}
	for _, one := range append([]answer{p.manifest}, p.blobs...) {
		for _, t := range one.troubles {
			if seen[t] {
				continue
			}
			seen[t] = true
			lane := balancer.LaneSnapshot{Upstream: t.upstream, Code: t.code}
			n.indent(admin.Trouble(n.a.messages, lane, time.Now()))
		}
	}
}

func (n *narrator) failure(image string, err error) {
	n.a.say("demo.pull_failed", "image", image, "error", err)
}

// lanes returns the lanes as they are, by name.
func (n *narrator) lanes() map[string]balancer.LaneSnapshot {
	out := map[string]balancer.LaneSnapshot{}
	for _, r := range n.w.daemon.Snapshot().Registries {
		for _, l := range r.Lanes {
			out[l.Upstream] = l
		}
	}
	return out
}

// changes tells what is new in the daemon's snapshot: layers that changed over
// in the middle, and lanes that fell out or came back.
func (n *narrator) changes() {
	s := n.w.daemon.Snapshot()
	for _, r := range s.Registries {
		// The list holds the last ones only: after a busy moment there may be more
		// new ones than it has.
		fresh := int(min(r.FailoversTotal-n.failovers, uint64(len(r.Failovers))))
		n.failovers = r.FailoversTotal
		for i := fresh - 1; i >= 0; i-- { // newest first
			if f := r.Failovers[i]; f.Phase == "blob_mid" {
				lane := balancer.LaneSnapshot{Upstream: f.From, Code: f.Code}
				n.line("demo.resumed", "trouble", admin.Trouble(n.a.messages, lane, s.Now), "offset", f.Offset, "upstream", f.To)
			}
		}
		for _, l := range r.Lanes {
			n.change(l, s.Now)
		}
	}
}

// change tells of a lane's new state. That a lane which is well is asked first
// or second is no news.
func (n *narrator) change(l balancer.LaneSnapshot, now time.Time) {
	before, after := n.states[l.Upstream], l.State
	n.states[l.Upstream] = after
	switch {
	case before == "" || before == after || well(before) && well(after):
	case well(after):
		n.line("demo.back", "upstream", l.Upstream, "state", n.a.messages.Text("state."+after))
	default:
		n.line("demo.state", "state", n.a.messages.Text("state."+after), "trouble", admin.Trouble(n.a.messages, l, now))
	}
}

// well reports whether a lane in that state may be asked. A degraded one may:
// what is wrong with it, such as a relay's ignorance of ranges, is no news.
func well(state string) bool {
	switch state {
	case balancer.StateServing, balancer.StateStandby, balancer.StateDegraded, balancer.StateUnknown:
		return true
	}
	return false
}

// summary tells what `pullchain status` says now.
func (n *narrator) summary() {
	s := n.w.daemon.Snapshot()
	n.line("demo.summary", "text", admin.SummarizeIn(n.a.messages, s.Chains(), s.Cache, s.Now, s.Warnings...).Text)
}

// sum ends the round with the numbers of the servers' own books.
func (n *narrator) sum(pulls, failed int) {
	ledger := n.w.net.Ledger()
	fmt.Fprintln(n.a.Stdout)
	n.a.say("demo.sum", "pulls", pulls, "failed", failed,
		"refused", ledger.Count(simnet.Filter{Server: "docker-hub", Status: 429}),
		"failovers", n.failovers)
	for _, u := range n.w.chain() {
		f := simnet.Filter{Server: u.name}
		bytes := ledger.Bytes(f)
		// Its blobs leave by its CDN, which keeps books of its own.
		if u.name == "docker-hub" {
			bytes += ledger.Bytes(simnet.Filter{Server: "docker-hub-cdn"})
		}
		n.line("demo.books", "upstream", u.name, "requests", ledger.Count(f), "size", size(bytes))
	}
}

// size writes a number of bytes for people.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.0f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
