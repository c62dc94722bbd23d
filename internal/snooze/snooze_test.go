package snooze_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain/internal/snooze"
)

func TestFor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		ends, d time.Duration // ctx ends after ends
		want    bool
		waits   time.Duration
	}{
		{"to its end", time.Hour, time.Minute, true, time.Minute},
		{"interrupted", time.Second, time.Minute, false, time.Second},
		{"none", time.Hour, 0, true, 0},
		{"less than none", time.Hour, -time.Minute, true, 0},
		{"none, and no reason to", 0, 0, false, 0},
		{"no reason to", 0, time.Minute, false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tt.ends)
				defer cancel()
				began := time.Now()
				if got := snooze.For(ctx, tt.d); got != tt.want || time.Since(began) != tt.waits {
					t.Errorf("%t after %v, want %t after %v", got, time.Since(began), tt.want, tt.waits)
				}
			})
		})
	}
}
