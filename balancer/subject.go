package balancer

import (
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/lapse"
)

// A subject is what a request is about: one tag or digest of a repository, one list.
// A failure that reaches no further is held against it alone (docs/faults.md 0.2).
type subject struct {
	op   pullchain.Op
	repo string
	ref  string

	// holder is the client that asks by its own login: what an upstream says to one says
	// nothing to another.
	holder string
}

func subjectOf(req pullchain.Request) subject {
	return subject{req.Op, req.Repo, req.Reference() + "?" + req.Query, req.Holder()}
}

// contentGates are the gates of single subjects on one lane. They are guarded by its
// lane's mutex.
type contentGates map[subject]contentGate

// A contentGate keeps requests for one subject from a lane.
type contentGate struct {
	closure
	binding time.Time // until then no forced try is made: the upstream has just named the time
}

// subjectsKept bounds what a lane remembers of single subjects. Beyond it what ends
// soonest goes first, and then any: to forget is to ask once more.
const subjectsKept = 1024

// Wrong bytes of a digest are asked for elsewhere for a while; a lane that is the only
// one left is asked all the same.
const contentQuarantine = 5 * time.Minute

// namedPause is for how long the last path is not asked for an image that the upstream has
// put off until later: a client without us asks again when it likes, and what was said an
// hour ago may have been put right (docs/faults.md 0.3).
const namedPause = 2 * time.Second

// close closes the gate of s because of e.
func (c contentGates) close(s subject, now time.Time, e *pullchain.Error) {
	if len(c) >= subjectsKept {
		c.prune(now)
	}
	gate := contentGate{closure: closure{now.Add(contentQuarantine), e}}
	if e.RetryAfter > 0 {
		gate.until, gate.binding = now.Add(e.RetryAfter), now.Add(min(e.RetryAfter, namedPause))
	}
	c[s] = gate
}

func (c contentGates) prune(now time.Time) {
	for s, gate := range c {
		if !gate.at(now) {
			delete(c, s)
		}
	}
	for s := range c {
		if len(c) < subjectsKept {
			return
		}
		delete(c, s)
	}
}

// closed returns the closed gate of s, or nil.
func (c contentGates) closed(s subject, now time.Time) *closedGate {
	gate, ok := c[s]
	if !ok || !gate.at(now) {
		return nil
	}
	return &closedGate{gate: gateContent, until: gate.until, binding: !lapse.Over(gate.binding, now), cause: gate.cause}
}

// A spread tells whether a failure of single subjects is one of the lane: it has come
// for several repositories lately. It is guarded by its lane's mutex.
type spread map[spreadOf]time.Time

// A spreadOf is what is counted once. A guard's word and a quota's are no evidence for each
// other, nor are those of different classes, of which one may work while the other does not.
type spreadOf struct {
	class pullchain.Class
	code  pullchain.Code
	repo  string
}

const (
	spreadWindow = 10 * time.Minute
	spreadWide   = 3 // repositories
)

// add takes down a failure, and returns of how many repositories there is one like it: from
// spreadWide on it is no fault of single images.
func (s spread) add(of spreadOf, now time.Time) (repos int) {
	for other, at := range s {
		if now.Sub(at) > spreadWindow {
			delete(s, other)
		}
	}
	s[of] = now
	for other := range s {
		if other.class == of.class && other.code == of.code {
			repos++
		}
	}
	return repos
}

// ok drops what came of class before a request was sent that has been served: what was said
// to one image then was not said to all.
func (s spread) ok(class pullchain.Class, sent time.Time) {
	for other, at := range s {
		if other.class == class && !at.After(sent) {
			delete(s, other)
		}
	}
}
