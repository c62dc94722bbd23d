package balancer

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/pullchain/pullchain"
)

// failOpen reports whether lanes that are closed on a guess deserve a try, and those
// that failed for a moment another. What one lane lacks or refuses the last one may
// have, unless it was the registry's own "not found", or the request cannot be right.
func (log *attemptLog) failOpen() bool {
	for _, a := range log.attempts() {
		switch e := asError(a.Err); {
		case e == nil:
		case e.Final, e.Reason == pullchain.Invalid, e.Reason == pullchain.Canceled:
			return false
		}
	}
	return true
}

// finalError sums the tries up in one error: the one that says most about trying
// again. One lane that is down and one that has not got it are "down", not "not
// found": a client takes a 404 for the registry's word, and deletes or rebuilds on
// it, but tries a 503 again.
func (log *attemptLog) finalError(ctx context.Context, sort func([]pullchain.Attempt)) error {
	tries := log.attempts()
	sort(tries)
	if ctx.Err() != nil {
		return &pullchain.Error{Reason: pullchain.Canceled, Code: pullchain.CodeCanceled, Attempts: tries, Err: context.Cause(ctx)}
	}
	last := lastErrors(tries)
	if len(last) == 0 && len(tries) > 0 { // all that there is has been taken out
		last = append(last, asError(tries[0].Err))
	}
	if len(last) == 0 {
		return &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeNoUpstream, Attempts: tries, Err: errNoLane}
	}
	best := slices.MaxFunc(last, func(a, b *pullchain.Error) int { return cmp.Compare(weight(a), weight(b)) })
	final := &pullchain.Error{Reason: best.Reason, Code: best.Code, Status: best.Status, Size: best.Size, Attempts: tries, RetryAfter: soonest(last)}
	switch {
	case errors.Is(best.Err, errOutOfTime):
		final.Status = http.StatusGatewayTimeout
	case best.Reason == pullchain.Limited && all(last, pullchain.Limited):
		final.Status = http.StatusTooManyRequests
	case best.Reason == pullchain.Limited || best.Reason == pullchain.Egress:
		final.Reason = pullchain.Unavailable
		final.Status = 0
	}
	causes := make([]error, len(last))
	for i, e := range last {
		causes[i] = e
	}
	final.Err = errors.Join(causes...)
	return final
}

var errNoLane = errors.New("no upstream of this registry may be asked for it")

// lastErrors returns each lane's last error, in the order of the first tries.
func lastErrors(tries []pullchain.Attempt) []*pullchain.Error {
	var names []string
	last := map[string]*pullchain.Error{}
	for _, a := range tries {
		e := asError(a.Err)
		if e == nil || errors.Is(a.Err, errLost) || a.Gate == gateOperator {
			continue // says nothing of what was asked for
		}
		if last[a.Upstream] == nil {
			names = append(names, a.Upstream)
		}
		last[a.Upstream] = e
	}
	errs := make([]*pullchain.Error, len(names))
	for i, name := range names {
		errs[i] = last[name]
	}
	return errs
}

// weight orders errors by how much they decide. A "not found" that is final ends it;
// one that is not weighs least, since any other lane may have what is asked for.
// Limited comes before down: it says when to come back. That it becomes a 503 unless
// every lane is limited is for the clients' sake: containerd asks again at once after
// a 429, five times, and podman sleeps on it (docs/protocol.md 5.1).
func weight(e *pullchain.Error) int {
	switch e.Reason {
	case pullchain.Invalid, pullchain.Canceled:
		return 6
	case pullchain.NotFound:
		if e.Final {
			return 5
		}
		return 0
	case pullchain.Limited:
		return 4
	case pullchain.Unavailable, pullchain.Egress:
		return 3
	case pullchain.Corrupt, pullchain.Refused:
		return 2
	case pullchain.Denied:
		return 1
	}
	return 0
}

func all(errs []*pullchain.Error, reason pullchain.Reason) bool {
	for _, e := range errs {
		if e.Reason != reason {
			return false
		}
	}
	return true
}

// soonest is when it is worth coming back: the earliest that any lane named.
func soonest(errs []*pullchain.Error) time.Duration {
	var least time.Duration
	for _, e := range errs {
		if e.RetryAfter > 0 && (least == 0 || e.RetryAfter < least) {
			least = e.RetryAfter
		}
	}
	return least
}
