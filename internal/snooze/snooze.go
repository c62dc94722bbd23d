// Package snooze waits, as long as there is a reason to.
package snooze

import (
	"context"
	"time"
)

// For waits for d, which may be none, and reports whether it was not interrupted: false if
// ctx ended first, or had ended before.
func For(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
