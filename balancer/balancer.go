// Package balancer fetches from the first of an ordered list of upstreams that
// can answer, and carries on from the next when one fails, even in the middle
// of a body.
//
// A [Lane] is an upstream with its gates: which of them shuts when, and what
// opens it again, follows from the Reason of each outcome (DESIGN.md, the table
// over Reason). A [Balancer] asks the lanes whose gates stand open, in the
// order of its [Strategy], each at most once a request; when none is left it
// tries, once, those that are shut on a guess.
package balancer

import (
	"context"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pullchain/pullchain"
)

// Config describes the Balancer of one registry.
type Config struct {
	Registry string // canonical name
	Strategy Strategy
	Lanes    []*Lane // in the configured order

	// Previous is the Balancer that this one takes over from on a reload: its
	// log of failovers and what it knows of content go on. It may be nil.
	Previous *Balancer
}

// A Balancer is a [pullchain.Fetcher] over the Lanes of one registry.
// It is safe for concurrent use.
type Balancer struct {
	registry  string
	strategy  Strategy
	lanes     []*Lane
	known     *knowledge
	failovers *failoverLog
	hedges    hedgeBudget
	leaders   [pullchain.NumClasses]atomic.Pointer[Lane]
}

// New returns a Balancer over cfg.Lanes.
func New(cfg Config) *Balancer {
	if cfg.Strategy == "" {
		cfg.Strategy = Ordered
	}
	b := &Balancer{registry: cfg.Registry, strategy: cfg.Strategy, lanes: cfg.Lanes}
	if cfg.Previous != nil {
		b.known, b.failovers = cfg.Previous.known, cfg.Previous.failovers
	} else {
		b.known, b.failovers = newKnowledge(), &failoverLog{}
	}
	return b
}

// Budgets to the first byte, and attempts in all, of one request
// (FAULTS.md 9). A body has no total limit: stalls end it, size does not.
const (
	manifestBudget = 15 * time.Second
	blobBudget     = 30 * time.Second
	maxAttempts    = 6
)

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
	t := &trail{began: time.Now()}
	for tries := 1; ; tries++ {
		won, err := b.answer(ctx, req, t)
		if err != nil {
			return pullchain.Response{}, err
		}
		b.recordFailover(req, t, won.lane)
		resp, err := b.deliver(ctx, req, won, t)
		if err == nil {
			resp.Attempts = t.attempts()
			return resp, nil
		}
		if pullchain.ReasonOf(err) != pullchain.Corrupt || tries > len(b.lanes) {
			return pullchain.Response{}, t.verdict(ctx, b.inOrder)
		}
		t.restart() // the lane that sent wrong bytes is shut out: another may have the right ones
	}
}

// deliver makes the Response of an answer. A small blob is read and verified
// first, so that whatever is wrong with it goes unnoticed by the client; one
// that the caller verifies is passed on as it comes.
func (b *Balancer) deliver(ctx context.Context, req pullchain.Request, won *answer, t *trail) (pullchain.Response, error) {
	resp := won.resp
	if !won.streams() {
		won.finish()
		return resp, nil
	}
	resp.Body = b.body(ctx, req, won, t)
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

// answer finds a lane that answers req, or the verdict.
func (b *Balancer) answer(ctx context.Context, req pullchain.Request, t *trail) (*answer, error) {
	lanes := b.choose(req, nil, t)
	won := b.race(ctx, req, lanes, t)
	if won == nil && !spare(req) && t.failOpen() && ctx.Err() == nil {
		won = b.force(ctx, req, t)
	}
	if won == nil {
		return nil, t.verdict(ctx, b.inOrder)
	}
	if !req.Options.Speculative {
		b.leaders[req.Class()].Store(won.lane)
	}
	return won, nil
}

// spare reports whether req is not worth more than a look at who may be asked
// right now: no forced try, and no waiting for better times.
func spare(req pullchain.Request) bool { return req.Options.NoForce || req.Options.Speculative }

// inOrder sorts tries by lane, as configured: that is how an error is read. The
// tries of one lane stay in the order of time.
func (b *Balancer) inOrder(tries []pullchain.Attempt) {
	place := func(a pullchain.Attempt) int {
		return slices.IndexFunc(b.lanes, func(l *Lane) bool { return l.Name() == a.Upstream })
	}
	slices.SortStableFunc(tries, func(x, y pullchain.Attempt) int { return place(x) - place(y) })
}

// choose returns the lanes that may be asked, in order; the trail is told of the
// gates of the others. Those of avoid, which have failed this very request, come
// last.
func (b *Balancer) choose(req pullchain.Request, avoid []*Lane, t *trail) []*Lane {
	now := time.Now()
	var candidates []candidate
	for i, l := range b.lanes {
		if req.Digest == "" && !l.cfg.Resolve {
			continue // it may say what a digest holds, not what a tag means (F17)
		}
		if err := b.known.absent(l, req, now); err != nil {
			t.gate(l, gateAbsent, err)
			if err.Final {
				return nil // the registry itself has just said so
			}
			continue
		}
		if s := l.shut(req, now); s != nil {
			t.met(s, now)
			continue
		}
		candidates = append(candidates, l.candidate(i, req.Class(), now))
	}
	leader := ""
	if l := b.leaders[req.Class()].Load(); l != nil {
		leader = l.Name()
	}
	var lanes []*Lane
	for _, c := range order(b.strategy, req, candidates, leader) {
		lanes = append(lanes, b.lanes[c.index])
	}
	slices.SortStableFunc(lanes, func(a, b *Lane) int { return slices.Index(avoid, a) - slices.Index(avoid, b) })
	return lanes[:min(len(lanes), maxAttempts)]
}

// candidate returns the lane as its order is decided.
func (l *Lane) candidate(index int, class pullchain.Class, now time.Time) candidate {
	quota := l.up.Facts().Quota
	inFlight := int(l.inFlight.Load())
	wait := l.ledger.expected(class)
	l.mu.Lock()
	defer l.mu.Unlock()
	return candidate{
		name:     l.up.Name(),
		index:    index,
		wait:     wait,
		inFlight: inFlight,
		full:     inFlight >= l.cfg.MaxConnections,
		weight:   l.cfg.Weight,
		metered:  l.cfg.Metered,
		settled:  l.latch.settled(now),
		quotaLow: quota.Low() && now.Sub(quota.At) < quotaFresh,
		noRange:  l.ignores,
		resting:  now.Before(l.restUntil),
	}
}

// quotaFresh is how long a reading of a quota is believed. A reading from a
// spent window would keep a lane that has long been full again behind others.
const quotaFresh = 10 * time.Minute
