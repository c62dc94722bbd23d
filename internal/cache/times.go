package cache

import (
	"sync/atomic"
	"time"

	"github.com/pullchain/pullchain/internal/lapse"
)

// times say how long what was so is believed. A reload may change them at any time.
type times struct {
	tagTTL       atomic.Int64 // time.Duration
	staleIfError atomic.Int64 // time.Duration
}

func (t *times) set(tagTTL *time.Duration, staleIfError time.Duration) {
	fresh := DefaultTagTTL
	if tagTTL != nil {
		fresh = *tagTTL
	}
	if staleIfError == 0 {
		staleIfError = DefaultStaleIfError
	}
	t.tagTTL.Store(int64(fresh))
	t.staleIfError.Store(int64(staleIfError))
}

// fresh reports whether what was so at a moment needs no asking now. What seems
// to be of the future was written by a clock that has been set back since. The clock on
// the wall counts: the other one stands still while a machine sleeps, and a clock that was
// set costs no more than a question.
func (t *times) fresh(at, now time.Time) bool {
	age := now.Round(0).Sub(at.Round(0))
	return age >= 0 && age < time.Duration(t.tagTTL.Load())
}

// lasting reports whether what was so at a moment may still be served when no
// upstream can say whether it is. What seems to be of the future is of now.
func (t *times) lasting(at, now time.Time) bool {
	return !at.IsZero() && lapse.Age(at, now) <= time.Duration(t.staleIfError.Load())
}
