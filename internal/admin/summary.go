package admin

import (
	"slices"
	"strings"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/diagnose"
	"github.com/pullchain/pullchain/internal/messages"
)

// The levels of a Summary.
const (
	LevelOK       = "ok"       // every registry is served as its configuration wants it
	LevelDegraded = "degraded" // worth a look, but there are pulls that work
	LevelOutage   = "outage"   // no registry can be pulled from
)

// A Summary is the state of everything in one word and one sentence.
type Summary struct {
	Level string `json:"level"`
	Text  string `json:"text"` // in English
}

// maxRemarks is how many registries the sentence speaks of one by one.
const maxRemarks = 3

// Summarize returns the summary of chains and of the cache before them, nil if there
// is no cache, at the time now, as in "7 of 7 registries pullable. docker.io on
// cf-worker: docker-hub is 429, back in 14 min."
//
// A chain counts as pullable once an upstream has been seen to work, see [Standing].
// It is degraded when it has no path, when an upstream before the serving
// one is out of order, when the serving one is itself ailing, or when only one
// of several is left. A chain whose spare upstream is gone while others remain
// is not, its table shows that; unless the spare was caught sending wrong bytes,
// which an operator should know of at once. A cache that keeps nothing more breaks
// no pull and is worth a look. That clients get nothing of a registry which has a path
// is told before all that is said of single lanes.
//
// Lanes that one of the warnings explains are told of once, by their cause, and not
// again for each registry: "home (socks5) is down: no path for docker.io, ghcr.io and
// 3 more."
func Summarize(chains []balancer.Snapshot, kept *cache.Snapshot, now time.Time, warnings ...diagnose.Warning) Summary {
	return SummarizeIn(messages.In(messages.English), chains, kept, now, warnings...)
}

// SummarizeIn is Summarize in the language of m.
func SummarizeIn(m *messages.Catalogue, chains []balancer.Snapshot, kept *cache.Snapshot, now time.Time, warnings ...diagnose.Warning) Summary {
	told, rolled := rollUp(m, chains, now, warnings)
	count := map[string]int{}
	var remarks []string
	for _, c := range rolled {
		if c.told {
			count[Unreachable]++
			continue
		}
		count[Standing(c.Snapshot)]++
		if r := remark(m, c.Snapshot, now); r != "" {
			remarks = append(remarks, r)
		}
	}
	key := "summary.count"
	if count[Starting] > 0 {
		key = "summary.starting"
	}
	parts := []string{m.Text(key, "ok", count[Pullable], "all", len(chains))}
	remarks = append(noneServed(m, rolled, now, warnings), remarks...)
	if extra := len(remarks) - maxRemarks; extra > 0 {
		remarks = append(remarks[:maxRemarks], m.Text("summary.more", "count", extra))
	}
	remarks = append(told, remarks...)
	// After the cut to maxRemarks: a cache that keeps nothing concerns every
	// registry, and must not be the remark that is left out.
	if kept != nil && kept.Trouble != "" {
		remarks = append(remarks, ailment(m, kept))
	}
	v := Summary{Level: LevelOK, Text: strings.Join(append(parts, remarks...), m.Text("summary.space"))}
	switch {
	case count[Unreachable] == len(chains):
		v.Level = LevelOutage
	case len(remarks) > 0 || count[Starting] > 0:
		v.Level = LevelDegraded
	}
	return v
}

// RemarkIn says in a sentence what is wrong with a chain, in the language of m; nothing
// if its level is ok.
func RemarkIn(m *messages.Catalogue, c balancer.Snapshot, now time.Time) string {
	return remark(m, c, now)
}

// remark says what is wrong with a chain, or nothing.
func remark(m *messages.Catalogue, c balancer.Snapshot, now time.Time) string {
	standing, serving := Standing(c), servingLane(c)
	before, after := outOfOrder(c, serving)
	switch {
	case standing == Unreachable && c.Pullable:
		return m.Text("summary.unproved", "registry", c.Registry, "troubles", troubles(m, failing(c), now))
	case standing == Unreachable && len(before) == 0:
		return m.Text("summary.no_path", "registry", c.Registry)
	case standing == Unreachable:
		return m.Text("summary.no_path_because", "registry", c.Registry, "troubles", troubles(m, before, now))
	case standing == Starting || serving == nil:
		return ""
	case len(before) > 0:
		return m.Text("summary.on", "registry", c.Registry, "upstream", serving.Upstream, "troubles", troubles(m, before, now))
	case serving.State == balancer.StateDegraded && !onlyIgnoresRange(*serving):
		return m.Text("summary.ailing", "registry", c.Registry, "trouble", Trouble(m, *serving, now))
	case len(after) > 0 && len(after) == len(c.Lanes)-1:
		return m.Text("summary.last", "registry", c.Registry, "upstream", serving.Upstream, "troubles", troubles(m, after, now))
	}
	if quarantined := slices.DeleteFunc(after, func(l balancer.LaneSnapshot) bool { return l.State != balancer.StateQuarantined }); len(quarantined) > 0 {
		return m.Text("summary.ailing", "registry", c.Registry, "trouble", troubles(m, quarantined, now))
	}
	return ""
}

// onlyIgnoresRange reports whether a lane is called degraded for nothing but the
// ranges that it does not honour. The popular Worker is made so (docs/protocol.md 4):
// the table says it, but no day with that Worker shall be a day of alarm.
func onlyIgnoresRange(l balancer.LaneSnapshot) bool {
	return l.IgnoresRange && l.Code == "" && !l.Flapping
}

// servingLane returns the lane that a pull would be answered by, or nil.
func servingLane(c balancer.Snapshot) *balancer.LaneSnapshot {
	if Standing(c) == Unreachable {
		return nil
	}
	var second *balancer.LaneSnapshot
	for i := range c.Lanes {
		l := &c.Lanes[i]
		switch l.State {
		case balancer.StateServing:
			return l
		case balancer.StateDegraded, balancer.StateUnknown:
			if second == nil {
				second = l
			}
		}
	}
	return second
}

// outOfOrder returns the lanes that may not be asked: those before serving and
// those after it. All are before nil.
func outOfOrder(c balancer.Snapshot, serving *balancer.LaneSnapshot) (before, after []balancer.LaneSnapshot) {
	for _, l := range c.Lanes {
		switch {
		case !outOfOrderStates[l.State]:
		case serving == nil || l.Order < serving.Order:
			before = append(before, l)
		default:
			after = append(after, l)
		}
	}
	return before, after
}

var outOfOrderStates = map[string]bool{
	balancer.StateCooling: true, balancer.StateOpen: true, balancer.StateHalfOpen: true, balancer.StateDown: true,
	balancer.StateQuarantined: true, balancer.StateDrained: true, balancer.StateDisabled: true,
}

// troubles says what is wrong with several lanes, in their order.
func troubles(m *messages.Catalogue, lanes []balancer.LaneSnapshot, now time.Time) string {
	var out []string
	for _, l := range lanes {
		out = append(out, Trouble(m, l, now))
	}
	return strings.Join(out, m.Text("summary.comma"))
}

// Trouble says in a few words what is wrong with a lane and until when, as in
// "docker-hub is 429, back in 14 min".
func Trouble(m *messages.Catalogue, l balancer.LaneSnapshot, now time.Time) string {
	return l.Upstream + m.Text("summary.subject_space") + why(m, l) + until(m, l, now)
}

// why is the predicate of the sentence about a lane: by its code, which says
// most, else by its state.
func why(m *messages.Catalogue, l balancer.LaneSnapshot) string {
	if key := "why." + string(l.Code); l.Code != "" && m.Has(key) {
		return m.Text(key)
	}
	if l.Code != "" {
		return m.Text("why.other", "code", l.Code)
	}
	switch {
	case l.State == balancer.StateDegraded && l.Flapping:
		return m.Text("why.flapping")
	case l.State == balancer.StateDegraded && l.IgnoresRange:
		return m.Text("why.ignores_range")
	}
	return m.Text("is." + l.State)
}

// until says when a lane will be asked again, if that is known.
func until(m *messages.Catalogue, l balancer.LaneSnapshot, now time.Time) string {
	if l.Until == nil || !l.Until.After(now) {
		return ""
	}
	key := "summary.next_try"
	if l.State == balancer.StateCooling {
		key = "summary.back"
	}
	return m.Text(key, "wait", Wait(m, l.Until.Sub(now)))
}

// Wait writes a duration as people say it: "12 s", "14 min", "2 h 10 min".
func Wait(m *messages.Catalogue, d time.Duration) string { return m.Wait(d) }
