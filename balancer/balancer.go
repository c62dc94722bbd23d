// Package balancer fetches from the first of an ordered list of upstreams that
// can answer, and carries on from the next when one fails, even in the middle
// of a body.
//
// A [Lane] is an upstream with its gates: which of them closes when, and what
// opens it again, follows from the Reason of each outcome (docs/architecture.md, Contracts: the table
// over Reason). A [Balancer] asks the lanes whose gates stand open, in the
// order of its [Strategy], each at most once a request; when none is left it
// tries, once, those that are closed on a guess.
//
// What happens to lanes is told in two ways: by a [Snapshot] of how things stand,
// and by [Events], which can be read from a number on. Nothing here calls upward.
//
// A request goes through the package like this. Fetch opens an attempt log and
// chooses the lanes that may be asked (strategy.go, gates.go). A race asks them, one
// after the other or beside each other (race.go, attempt.go, connect.go, hedge.go),
// each by an admission through its gates (lane.go, breaker.go), and checks whether the
// answer fits the question (validate.go). If there is none, one lane may be forced
// (forced.go), or the log is summed up in an error (finalerror.go). The winner's body
// is a stream that goes on from other lanes (stream.go, resume.go, pace.go). How an
// admission ended is learnt by its lane (outcome.go, cooldown.go, quarantine.go,
// failback.go), and what that means for the states of all lanes is worked out and
// recorded (states.go, chainview.go, events.go). Beside all this a prober asks each
// lane, and takes the trials that users then need not (probe.go).
//
// Three locks are taken in this order: that of the Events, a breaker's own, a lane's.
package balancer

import (
	"cmp"
	"context"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/lapse"
)

// Config describes the Balancer of one registry.
type Config struct {
	Registry string // canonical name
	Strategy Strategy
	Lanes    []*Lane // in the configured order

	// NotFoundTTL is for how long a lane's "no" is remembered. 0: each time it is asked
	// anew; nil: 2 s for a tag, 5 s for a digest, 30 s for what has been said three times.
	NotFoundTTL *time.Duration

	// Events is where the Balancer records what happens. All Balancers of a process
	// may share one. If nil, it is that of Previous, or a new one.
	Events *Events

	// Previous is the Balancer that this one takes over from on a reload: its
	// events, what it knows of content and what the operator wants of its order go on, as do the states of the Lanes that
	// both have, from [Balancer.TakeOver] on. It may be nil.
	Previous *Balancer
}

// A Balancer is a [pullchain.Fetcher] over the Lanes of one registry.
// It is safe for concurrent use.
type Balancer struct {
	registry    string
	strategy    Strategy
	lanes       []*Lane
	known       *knowledge
	notFoundTTL *time.Duration
	preferences *preferences
	states      *chainStates
	hedges      hedgeBudget
	totals      *totals
	leaders     [pullchain.NumClasses]atomic.Pointer[Lane]
	number      int         // among the Balancers of its registry
	adopted     atomic.Bool // the states are those of this Balancer's lanes, or of a later one's
}

// New returns a Balancer over cfg.Lanes.
func New(cfg Config) *Balancer {
	if cfg.Strategy == "" {
		cfg.Strategy = Ordered
	}
	b := &Balancer{registry: cfg.Registry, strategy: cfg.Strategy, lanes: cfg.Lanes, notFoundTTL: cfg.NotFoundTTL}
	events := cfg.Events
	if cfg.Previous != nil {
		b.known, b.totals, b.preferences = cfg.Previous.known, cfg.Previous.totals, cfg.Previous.preferences
		events = cmp.Or(events, cfg.Previous.states.events)
	} else {
		b.known, b.totals, b.preferences = newKnowledge(), newTotals(), &preferences{}
	}
	b.states = cmp.Or(events, NewEvents()).of(b)
	return b
}

// Events returns where the Balancer records what happens.
func (b *Balancer) Events() *Events { return b.states.events }

// TakeOver makes b the Balancer of its registry's states from now on, in the place of
// the one before. Its first use does so too; but what happens to lanes that b has and
// the one before had not, as by their probes, is recorded from here on only. It is
// for the caller of New, once b is to be used and before its lanes are probed.
func (b *Balancer) TakeOver() {
	b.states.adopt(b)
	b.totals.forget(b.lanes)
}

// Budgets to the first byte, and attempts in all, of one request
// (docs/faults.md 9). A body has no total limit: stalls end it, size does not.
const (
	manifestBudget = 15 * time.Second
	blobBudget     = 30 * time.Second
	maxAttempts    = 6
)

// budget returns how long req may wait for its first byte. It is shared by all lanes
// that are asked: containerd waits 30 s for headers, docker for ever (docs/protocol.md 4.3).
func budget(req pullchain.Request) time.Duration {
	if req.Class() == pullchain.ClassBlob {
		return blobBudget
	}
	return manifestBudget
}

// Fetch returns the first lane's answer that is right, or the error that says
// most about why there is none: a *pullchain.Error with the Attempts behind it.
// Its Status is 429 when every path is rate limited, and 504 when the time for
// a first byte ran out.
//
// A blob's Body outlives its lane: when reading fails, it goes on at the same
// byte from another. It ends in an error rather than deliver a complete wrong
// blob, unless req.Options.Unverified leaves that to the caller. Bodies of blobs
// have a method Attempts, and those are [pullchain.Source]s.
func (b *Balancer) Fetch(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	b.states.adopt(b)
	log := &attemptLog{began: time.Now()}
	for tries := 1; ; tries++ {
		won, err := b.win(ctx, req, log)
		if err != nil {
			return pullchain.Response{}, err
		}
		b.recordFailover(req, log, won.lane)
		resp, err := b.deliver(ctx, req, won, log)
		if err == nil {
			resp.Attempts = log.attempts()
			return resp, nil
		}
		// A small blob was wrong, and the client has got nothing of it.
		if pullchain.ReasonOf(err) != pullchain.Corrupt || tries > len(b.lanes) {
			return pullchain.Response{}, log.finalError(ctx, b.inOrder)
		}
		log.restart() // the lane that sent wrong bytes is in quarantine: another may have the right ones
	}
}

// deliver makes the Response of a winner. A small blob is read and verified
// first, so that whatever is wrong with it goes unnoticed by the client; one
// that the caller verifies is passed on as it comes.
func (b *Balancer) deliver(ctx context.Context, req pullchain.Request, won *winner, log *attemptLog) (pullchain.Response, error) {
	resp := won.resp
	if !won.streams() {
		won.finish()
		return resp, nil
	}
	resp.Body = b.body(ctx, req, won, log)
	if req.Options.Unverified || !req.Range.Whole() || resp.Size < 0 || resp.Size > wholeMax {
		return resp, nil
	}
	content, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return pullchain.Response{}, err
	}
	resp.Body = pullchain.BytesBody(content)
	return resp, nil
}

// win finds a lane that answers req, or says why there is none.
func (b *Balancer) win(ctx context.Context, req pullchain.Request, log *attemptLog) (*winner, error) {
	lanes := b.choose(req, nil, log)
	won := b.race(ctx, req, lanes, log)
	if won == nil && !hasFallback(req) && log.failOpen() && ctx.Err() == nil {
		if won = b.force(ctx, req, log); won == nil {
			won = b.onceMore(ctx, req, lanes, log)
		}
		if won == nil {
			won = b.askAgain(ctx, req, log)
		}
	}
	if won == nil {
		err := log.finalError(ctx, b.inOrder)
		b.totals.noAnswer(req, err)
		return nil, err
	}
	if !req.Options.Speculative {
		b.leaders[req.Class()].Store(won.lane)
	}
	return won, nil
}

// hasFallback reports whether the caller of req has something to fall back on, such
// as a stale copy: it wants no more than a look at the lanes that may be asked right
// now, no forced try, and no waiting for better times.
func hasFallback(req pullchain.Request) bool { return req.Options.NoForce || req.Options.Speculative }

// inOrder sorts tries by lane, as configured: that is how an error is read. The
// tries of one lane stay in the order of time.
func (b *Balancer) inOrder(tries []pullchain.Attempt) {
	place := func(a pullchain.Attempt) int {
		return slices.IndexFunc(b.lanes, func(l *Lane) bool { return l.Name() == a.Upstream })
	}
	slices.SortStableFunc(tries, func(x, y pullchain.Attempt) int { return place(x) - place(y) })
}

// choose returns the lanes that may be asked, in order; the gates of the others go
// to the log. Those of avoid, which have failed this very request, come last.
func (b *Balancer) choose(req pullchain.Request, avoid []*Lane, log *attemptLog) []*Lane {
	now, preference := time.Now(), b.preferences.current()
	var candidates []candidate
	for i, l := range b.lanes {
		if req.Digest == "" && !l.cfg.Resolve {
			continue // it may say what a digest holds, not what a tag means (F17)
		}
		if err, fresh := b.known.absent(l, req, now); err != nil && (fresh || !err.Final) {
			log.notAsked(l, gateAbsent, err)
			if err.Final {
				return nil // the registry itself has just said so
			}
			continue
		}
		if g := l.closed(req, now); g != nil {
			log.recorded(g, now)
			continue
		}
		c := candidateOf(l, i, req.Class(), now)
		c.place, c.pinned = preference.place(c.name, i, now), preference.pins(c.name, now)
		c.gave = req.Options.Login != "" && l.up.Login() == req.Options.Login
		candidates = append(candidates, c)
	}
	var lanes []*Lane
	for _, c := range order(preference.strategy(b.strategy, now), req, candidates, b.leader(req.Class())) {
		lanes = append(lanes, b.lanes[c.index])
	}
	if b.strategy == Fastest && req.Digest == "" && len(lanes) > 0 {
		b.states.noteFirst(lanes[0])
	}
	slices.SortStableFunc(lanes, func(a, b *Lane) int { return slices.Index(avoid, a) - slices.Index(avoid, b) })
	return lanes[:min(len(lanes), maxAttempts)]
}

// leader returns the name of the lane that last won for class, or "".
func (b *Balancer) leader(class pullchain.Class) string {
	if l := b.leaders[class].Load(); l != nil {
		return l.Name()
	}
	return ""
}

// candidateOf returns l as its place in the order is decided.
func candidateOf(l *Lane, index int, class pullchain.Class, now time.Time) candidate {
	quota := l.up.Facts().Quota
	inFlight := int(l.load.inFlight.Load())
	l.mu.Lock()
	defer l.mu.Unlock()
	return candidate{
		name:       l.up.Name(),
		index:      index,
		wait:       l.ledger.expected(class),
		inFlight:   inFlight,
		full:       inFlight >= l.cfg.MaxConnections,
		weight:     l.cfg.Weight,
		metered:    l.cfg.Metered,
		held:       l.gates.failback.holds(now),
		slow:       !lapse.Over(l.gates.slow[class].until, now),
		host:       l.cfg.Host,
		account:    l.cfg.Account,
		left:       leftOf(quota, now),
		quotaLow:   !lapse.Over(sparedUntil(quota), now),
		noRange:    l.gates.ignoresRange,
		backingOff: now.Before(l.backoff),
	}
}
