package admin

import "github.com/pullchain/pullchain/balancer"

// How a registry stands. A path is a hope until a probe has passed on it or a pull was
// answered by it: without that, a start without a network would be told as "9 of 9
// pullable" while every probe fails. The data plane asks such a path all the same.
const (
	Pullable    = "pullable"    // an upstream that may be asked for a tag has been seen to work since the start
	Starting    = "starting"    // none has yet, and of one at least it is not known: no probe of it has ended
	Unreachable = "unreachable" // none may be asked, or the last probe of each that may be has failed
)

// Standing returns how a registry stands. It takes a second or so to be known after a
// start, and as long as a probe may take (5 s) where nothing answers.
func Standing(c balancer.Snapshot) string {
	switch {
	case c.Pullable && c.Proved:
		return Pullable
	case !c.Pullable:
		return Unreachable
	}
	for _, l := range c.Lanes {
		if l.Trust == "resolve" && !outOfOrderStates[l.State] && !l.Failing {
			return Starting
		}
	}
	return Unreachable
}

// OutOfOrder reports whether a lane may not be asked, or its last probe failed.
func OutOfOrder(l balancer.LaneSnapshot) bool { return outOfOrderStates[l.State] || l.Failing }

// failing returns the lanes that may not be asked, and those whose last probe failed.
func failing(c balancer.Snapshot) []balancer.LaneSnapshot {
	var lanes []balancer.LaneSnapshot
	for _, l := range c.Lanes {
		if OutOfOrder(l) {
			lanes = append(lanes, l)
		}
	}
	return lanes
}
