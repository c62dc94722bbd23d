package cache

import (
	"errors"
	"net/http"
	"time"

	"github.com/pullchain/pullchain"
)

// refreshPause is how long nobody asks again after nobody could say.
const refreshPause = 10 * time.Second

// excusable reports whether err leaves open what is true, so that what was true
// may still be served: nobody could say. An upstream that said no has said it
// (PROTOCOL.md 4.8), and where content is private one "no" among the attempts is
// enough.
func excusable(err error, private bool) bool {
	if err == nil {
		return false
	}
	switch pullchain.ReasonOf(err) {
	case pullchain.Unavailable, pullchain.Limited, pullchain.Egress, pullchain.Corrupt:
	default:
		return false
	}
	e, ok := errors.AsType[*pullchain.Error](err)
	if !ok {
		return true
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return false
	}
	return !private || !saidNo(e.Attempts)
}

func saidNo(attempts []pullchain.Attempt) bool {
	for _, a := range attempts {
		if reason := pullchain.ReasonOf(a.Err); a.Err != nil && (reason == pullchain.Denied || reason == pullchain.NotFound) {
			return true
		}
	}
	return false
}

// attemptsOf returns the tries behind an error.
func attemptsOf(err error) []pullchain.Attempt {
	if e, ok := errors.AsType[*pullchain.Error](err); ok {
		return e.Attempts
	}
	return nil
}
