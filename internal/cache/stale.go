package cache

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/pullchain/pullchain"
)

// refreshPause is how long no upstream is asked again after none could say.
const refreshPause = 10 * time.Second

// excusable reports whether err leaves open what is true, so that what was true
// may still be served: no upstream could say. An upstream that said no has said it
// (docs/protocol.md 4.8). Where content is private, judges says whose "no" that is: one
// of them among the attempts is enough, and those of others are none. It is nil for
// public content.
func excusable(err error, judges func(upstream string) bool) bool {
	e, ok := errors.AsType[*pullchain.Error](err)
	switch reason := pullchain.ReasonOf(err); {
	case err == nil:
		return false
	case no(err):
		return ok && judges != nil && len(e.Attempts) > 0 && !saidNo(e.Attempts, judges)
	case reason != pullchain.Unavailable && reason != pullchain.Limited && reason != pullchain.Egress && reason != pullchain.Corrupt:
		return false
	case !ok:
		return true
	case e.Code == pullchain.CodeNotRegistry: // a router's 404 is no registry's word, whatever its number (docs/faults.md 0.5)
		return judges == nil || !saidNo(e.Attempts, judges)
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return false
	}
	return judges == nil || !saidNo(e.Attempts, judges)
}

// takenAway reports whether err says that something has been taken away, be it that
// the final error over all attempts is another: an upstream that could tell has said it, and it
// stands when that one is down as well.
func takenAway(err error, judges func(upstream string) bool) bool {
	return no(err) && !excusable(err, judges) || judges != nil && saidNo(attemptsOf(err), judges)
}

// no reports whether err says that something is not there, or not for us.
func no(err error) bool {
	reason := pullchain.ReasonOf(err)
	return err != nil && (reason == pullchain.Denied || reason == pullchain.NotFound)
}

func saidNo(attempts []pullchain.Attempt, judges func(upstream string) bool) bool {
	return slices.ContainsFunc(attempts, func(a pullchain.Attempt) bool { return no(a.Err) && judges(a.Upstream) })
}

// attemptsOf returns the tries behind an error.
func attemptsOf(err error) []pullchain.Attempt {
	if e, ok := errors.AsType[*pullchain.Error](err); ok {
		return e.Attempts
	}
	return nil
}
