package balancer

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
)

func TestOrder(t *testing.T) {
	t.Parallel()
	lane := func(name string, index int, set ...func(*candidate)) candidate {
		c := candidate{name: name, index: index, place: index, weight: 1}
		for _, f := range set {
			f(&c)
		}
		return c
	}
	wait := func(d time.Duration) func(*candidate) { return func(c *candidate) { c.wait = d } }
	busy := func(n int) func(*candidate) { return func(c *candidate) { c.inFlight = n } }
	full := func(c *candidate) { c.full = true }
	slow := func(c *candidate) { c.slow = true }
	metered := func(c *candidate) { c.metered = true }
	held := func(c *candidate) { c.held = true }
	quotaLow := func(c *candidate) { c.quotaLow = true }
	noRange := func(c *candidate) { c.noRange = true }
	backingOff := func(c *candidate) { c.backingOff = true }
	pinned := func(c *candidate) { c.pinned = true }
	gave := func(c *candidate) { c.gave = true }
	at := func(host, account string, left int) func(*candidate) {
		return func(c *candidate) { c.host, c.account, c.left = host, account, left }
	}
	heavy := func(w float64) func(*candidate) { return func(c *candidate) { c.weight = w } }

	get := pullchain.Request{Op: pullchain.Manifest, Tag: "1"}
	head := pullchain.Request{Op: pullchain.Manifest, Tag: "1", Head: true}
	blob := pullchain.Request{Op: pullchain.Blob, Digest: "sha256:1"}
	part := pullchain.Request{Op: pullchain.Blob, Digest: "sha256:1", Range: pullchain.Range{From: 1}}
	notA, speculative, speculativeNotA := part, part, part
	notA.Options.Avoid = []string{"a", "gone"}
	speculative.Options.Speculative = true
	speculativeNotA.Options = pullchain.FetchOptions{Speculative: true, Avoid: notA.Options.Avoid}

	for _, tt := range []struct {
		name     string
		strategy Strategy
		req      pullchain.Request
		leader   string
		lanes    []candidate
		want     []string
	}{
		{"ordered: as configured", Ordered, get, "", []candidate{lane("a", 0), lane("b", 1)}, []string{"a", "b"}},
		{"ordered: whatever the speed", Ordered, get, "b", []candidate{lane("a", 0, wait(time.Second)), lane("b", 1, wait(1))}, []string{"a", "b"}},
		{"a lane that has yet to prove itself waits", Ordered, get, "", []candidate{lane("a", 0, held), lane("b", 1)}, []string{"b", "a"}},
		{"the lane of the login first", Ordered, head, "", []candidate{lane("a", 0), lane("b", 1, gave, held, metered, quotaLow)}, []string{"b", "a"}},
		{"unless it is full", Ordered, head, "", []candidate{lane("a", 0), lane("b", 1, gave, full)}, []string{"a", "b"}},
		{"but after the pinned one", Ordered, head, "", []candidate{lane("a", 0), lane("b", 1, gave), lane("c", 2, pinned)}, []string{"c", "b", "a"}},
		{"metered ones last", Ordered, get, "", []candidate{lane("a", 0, metered), lane("b", 1)}, []string{"b", "a"}},
		{"full ones last", Ordered, blob, "", []candidate{lane("a", 0, full), lane("b", 1)}, []string{"b", "a"}},
		{"a low quota is spared counted requests", Ordered, get, "", []candidate{lane("a", 0, quotaLow), lane("b", 1)}, []string{"b", "a"}},
		{"but not HEADs", Ordered, head, "", []candidate{lane("a", 0, quotaLow), lane("b", 1)}, []string{"a", "b"}},
		{"nor blobs", Ordered, blob, "", []candidate{lane("a", 0, quotaLow), lane("b", 1)}, []string{"a", "b"}},
		{"logins of one host by what they have left", Ordered, get, "", []candidate{lane("a", 0, at("hub", "x", 40)), lane("b", 1), lane("c", 2, at("hub", "y", 90))}, []string{"c", "b", "a"}},
		{"alike ones as configured", Ordered, get, "", []candidate{lane("a", 0, at("hub", "x", 40)), lane("b", 1, at("hub", "y", 40))}, []string{"a", "b"}},
		{"HEADs do not care", Ordered, head, "", []candidate{lane("a", 0, at("hub", "x", 40)), lane("b", 1, at("hub", "y", 90))}, []string{"a", "b"}},
		{"nor do blobs", Ordered, blob, "", []candidate{lane("a", 0, at("hub", "x", 40)), lane("b", 1, at("hub", "y", 90))}, []string{"a", "b"}},
		{"nor two ways for one login", Ordered, get, "", []candidate{lane("a", 0, at("hub", "x", 40)), lane("b", 1, at("hub", "x", 90))}, []string{"a", "b"}},
		{"nor other hosts", Ordered, get, "", []candidate{lane("a", 0, at("hub", "x", 40)), lane("b", 1, at("quay", "y", 90))}, []string{"a", "b"}},
		{"nor does one take a place that is low", Ordered, get, "", []candidate{lane("ann", 0, at("hub", "x", 50)), lane("mirror", 1), lane("bob", 2, at("hub", "y", 400), quotaLow)}, []string{"ann", "mirror", "bob"}},
		{"nor does one take a place that is metered", Ordered, get, "", []candidate{lane("ann", 0, at("hub", "x", 50)), lane("mirror", 1), lane("bob", 2, at("hub", "y", 400), metered)}, []string{"ann", "mirror", "bob"}},
		{"nor does one take a place that is held", Ordered, get, "", []candidate{lane("ann", 0, at("hub", "x", 50)), lane("mirror", 1), lane("bob", 2, at("hub", "y", 400), held)}, []string{"ann", "mirror", "bob"}},
		{"nor does one take a place that is slow", Ordered, get, "", []candidate{lane("ann", 0, at("hub", "x", 50)), lane("mirror", 1), lane("bob", 2, at("hub", "y", 400), slow)}, []string{"ann", "mirror", "bob"}},
		{"nor does one take a place that is full", Ordered, get, "", []candidate{lane("ann", 0, at("hub", "x", 50)), lane("mirror", 1), lane("bob", 2, at("hub", "y", 400), full)}, []string{"ann", "mirror", "bob"}},
		{"a lane without ranges is last for a range", Ordered, part, "", []candidate{lane("a", 0, noRange), lane("b", 1)}, []string{"b", "a"}},
		{"but not for a whole blob", Ordered, blob, "", []candidate{lane("a", 0, noRange), lane("b", 1)}, []string{"a", "b"}},
		{"one to be avoided is last", Ordered, notA, "", []candidate{lane("a", 0), lane("b", 1, metered, held, noRange), lane("c", 2)}, []string{"c", "b", "a"}},
		{"but it is asked", Ordered, notA, "", []candidate{lane("a", 0)}, []string{"a"}},
		{"several to be avoided keep their order", Spread, notA, "", []candidate{lane("gone", 0, metered), lane("a", 1)}, []string{"a", "gone"}},
		{"fastest: one to be avoided is last", Fastest, notA, "a", []candidate{lane("a", 0, wait(10)), lane("b", 1, wait(90))}, []string{"b", "a"}},
		{"help comes as configured", Ordered, speculative, "", []candidate{lane("a", 0, busy(5)), lane("b", 1)}, []string{"a", "b"}},
		{"help comes from where it is free", Ordered, speculative, "", []candidate{lane("a", 0, metered), lane("b", 1), lane("c", 2, full)}, []string{"b"}},
		{"and from what can", Ordered, speculative, "", []candidate{lane("a", 0, noRange), lane("b", 1, backingOff), lane("c", 2)}, []string{"c"}},
		{"or from nowhere", Ordered, speculative, "", []candidate{lane("a", 0, metered)}, nil},
		{"help from elsewhere", Ordered, speculativeNotA, "", []candidate{lane("a", 0), lane("b", 1), lane("c", 2, full)}, []string{"b", "a"}},
		{"one that may not help may still be asked", Ordered, part, "", []candidate{lane("a", 0, backingOff), lane("b", 1)}, []string{"a", "b"}},
		{"fastest", Fastest, get, "", []candidate{lane("a", 0, wait(90)), lane("b", 1, wait(50)), lane("c", 2, wait(70))}, []string{"b", "c", "a"}},
		{"fastest: an untried lane is tried", Fastest, get, "a", []candidate{lane("a", 0, wait(10)), lane("b", 1)}, []string{"b", "a"}},
		{"fastest: a tenth better is not enough to change", Fastest, get, "a", []candidate{lane("a", 0, wait(100)), lane("b", 1, wait(90))}, []string{"a", "b"}},
		{"fastest: a quarter better is", Fastest, get, "a", []candidate{lane("a", 0, wait(100)), lane("b", 1, wait(75))}, []string{"b", "a"}},
		{"fastest: requests that wait count", Fastest, get, "", []candidate{lane("a", 0, wait(50), busy(3)), lane("b", 1, wait(90))}, []string{"b", "a"}},
		{"fastest: weight counts", Fastest, get, "", []candidate{lane("a", 0, wait(50)), lane("b", 1, wait(90), heavy(2))}, []string{"b", "a"}},
		{"fastest: equal ones as configured", Fastest, get, "", []candidate{lane("a", 0, wait(50)), lane("b", 1, wait(50))}, []string{"a", "b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, names(order(tt.strategy, tt.req, tt.lanes, tt.leader))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func names(lanes []candidate) []string {
	var out []string
	for _, c := range lanes {
		out = append(out, c.name)
	}
	return out
}

// Spread gives each lane its share by weight, sends one digest to one lane, and
// moves only the lost lane's digests when a lane is gone.
func TestSpread(t *testing.T) {
	t.Parallel()
	lanes := []candidate{
		{name: "a", index: 0, weight: 1},
		{name: "b", index: 1, weight: 1},
		{name: "c", index: 2, weight: 2},
	}
	const total = 4000
	share := map[string]int{}
	for i := range total {
		req := pullchain.Request{Op: pullchain.Blob, Digest: digest.FromString(fmt.Sprint(i))}
		first := order(Spread, req, lanes, "")[0].name
		share[first]++
		if again := order(Spread, req, lanes, "b")[0].name; again != first {
			t.Fatalf("%s went to %s and then to %s", req.Digest, first, again)
		}
		if left := order(Spread, req, lanes[1:], "")[0].name; first != "a" && left != first {
			t.Fatalf("%s moved from %s to %s when a was lost", req.Digest, first, left)
		}
	}
	for name, want := range map[string]int{"a": total / 4, "b": total / 4, "c": total / 2} {
		if got := share[name]; got < want*9/10 || got > want*11/10 {
			t.Errorf("%s got %d of %d, want about %d", name, got, total, want)
		}
	}
}
