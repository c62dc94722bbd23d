package balancer

import (
	"cmp"
	"slices"
	"time"

	"github.com/pullchain/pullchain"
)

// The figures of this file are for scrapers, which want counts since the start and not
// how things stand. They are in a Snapshot and not in its JSON: they are many, and a
// poller is not to be told that something has changed with each request.

// A Histogram is times that were counted by upper bounds.
type Histogram struct {
	Bounds []float64 // seconds, ascending; the last bucket has none. Shared: not to be changed.
	Counts []uint64  // of each bucket alone, one more than Bounds
	SumS   float64   // seconds
}

// The bounds, in seconds. Those of first bytes reach from a mirror next door to the
// budget of a blob, those of failovers to that of a manifest.
var (
	ttfbBounds     = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}
	failoverBounds = []float64{0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 15}
)

// boundsKept is the size of a tally: no list of bounds is longer.
const boundsKept = 12

// A tally counts times by bounds. It is guarded by what it is part of.
type tally struct {
	counts [boundsKept + 1]uint64
	sum    time.Duration
}

func (t *tally) add(bounds []float64, d time.Duration) {
	i, _ := slices.BinarySearch(bounds, d.Seconds())
	t.counts[i]++
	t.sum += d
}

func (t *tally) histogram(bounds []float64) Histogram {
	return Histogram{Bounds: bounds, Counts: slices.Clone(t.counts[:len(bounds)+1]), SumS: t.sum.Seconds()}
}

// The outcomes of a request to a lane: fewer words than codes, so that they can be
// drawn side by side.
const (
	OutcomeOK             = "ok"
	OutcomeNotFound       = "not_found"
	OutcomeDenied         = "denied"
	OutcomeRateLimited    = "rate_limited"
	OutcomeServerError    = "server_error"
	OutcomeTimeout        = "timeout"       // connected, and no headers in time
	OutcomeConnectError   = "connect_error" // no connection, or one that broke before the headers
	OutcomeEgressError    = "egress_error"  // the proxy on the way out
	OutcomeStalled        = "stalled"
	OutcomeTruncated      = "truncated"
	OutcomeDigestMismatch = "digest_mismatch"
	OutcomeBadContent     = "bad_content" // not what was asked for, by another sign than its digest
	OutcomeRefused        = "refused"     // by our own policy
	OutcomeCanceled       = "canceled"    // the client went away, or another lane was faster
)

// Outcomes are all the words for an outcome.
var Outcomes = []string{
	OutcomeOK, OutcomeNotFound, OutcomeDenied, OutcomeRateLimited, OutcomeServerError, OutcomeTimeout, OutcomeConnectError,
	OutcomeEgressError, OutcomeStalled, OutcomeTruncated, OutcomeDigestMismatch, OutcomeBadContent, OutcomeRefused, OutcomeCanceled,
}

// OutcomeOf returns the word for how a request ended; nil is [OutcomeOK].
func OutcomeOf(err error) string {
	e := asError(err)
	if e == nil {
		return OutcomeOK
	}
	if word, ok := outcomeByCode[e.Code]; ok && e.Reason.Failover() {
		return word
	}
	return outcomeByReason[e.Reason]
}

// outcomeByCode has the codes that say more than their Reason.
var outcomeByCode = map[pullchain.Code]string{
	pullchain.CodeNoDescriptors:  OutcomeConnectError,
	pullchain.CodeDNS:            OutcomeConnectError,
	pullchain.CodeConnRefused:    OutcomeConnectError,
	pullchain.CodeConnTimeout:    OutcomeConnectError,
	pullchain.CodeConnReset:      OutcomeConnectError,
	pullchain.CodeHTTP2:          OutcomeConnectError,
	pullchain.CodeTLSHandshake:   OutcomeConnectError,
	pullchain.CodeTLSCert:        OutcomeConnectError,
	pullchain.CodeHeaderTimeout:  OutcomeTimeout,
	pullchain.CodeStall:          OutcomeStalled,
	pullchain.CodeTruncated:      OutcomeTruncated,
	pullchain.CodeDigestMismatch: OutcomeDigestMismatch,
}

var outcomeByReason = [...]string{
	pullchain.Unavailable: OutcomeServerError,
	pullchain.Limited:     OutcomeRateLimited,
	pullchain.NotFound:    OutcomeNotFound,
	pullchain.Denied:      OutcomeDenied,
	pullchain.Corrupt:     OutcomeBadContent,
	pullchain.Egress:      OutcomeEgressError,
	pullchain.Refused:     OutcomeRefused,
	pullchain.Canceled:    OutcomeCanceled,
	pullchain.Invalid:     OutcomeRefused,
}

// LaneCounts are what a lane did since it was made.
type LaneCounts struct {
	Requests       []RequestCount
	TTFB           map[string]Histogram // by class, of answers
	Received       int64                // bytes of content
	Bodies         uint64               // of blobs, of which the rates are
	LastRates      []float64            // bytes per second of the last 32 at most, oldest first
	BreakersOpened uint64               // of all classes
	BreakersClosed uint64               // by trials that went well
}

// A RequestCount counts requests of one kind with one outcome. A body that is found
// wrong by a reader above counts once more, as that.
type RequestCount struct {
	Kind    string // of pullchain.Op
	Outcome string
	N       uint64
}

// outcomeCounts counts requests by kind and outcome.
type outcomeCounts map[outcomeKey]uint64

type outcomeKey struct {
	op      pullchain.Op
	outcome string
}

// list returns the counts, in an order that stays.
func (c outcomeCounts) list() []RequestCount {
	out := make([]RequestCount, 0, len(c))
	for key, n := range c {
		out = append(out, RequestCount{key.op.String(), key.outcome, n})
	}
	slices.SortFunc(out, func(a, b RequestCount) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Outcome, b.Outcome))
	})
	return out
}

// counts returns what l did since it was made.
func (l *Lane) counts() LaneCounts {
	out := LaneCounts{
		TTFB:           map[string]Histogram{},
		Received:       l.load.received.Load(),
		BreakersOpened: l.load.opened.Load(),
		BreakersClosed: l.load.closed.Load(),
	}
	s := &l.ledger
	s.mu.Lock()
	defer s.mu.Unlock()
	out.Requests = s.requests.list()
	out.Bodies, out.LastRates = s.lastRatesLocked()
	for _, class := range dataClasses {
		out.TTFB[class.String()] = s.classes[class].ttfb.histogram(ttfbBounds)
	}
	return out
}
