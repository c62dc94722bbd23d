package wire

import (
	"math"
	"net/http"
	"strings"
	"time"
)

// The bounds of a wait that an upstream may impose (docs/faults.md F06).
const (
	minRetryAfter = time.Second
	maxRetryAfter = 6 * time.Hour
)

// ParseRetryAfter reads a Retry-After header, seconds or an HTTP-date (RFC 9110
// 10.2.3), as a wait from now. A date in the past and garbage are 0: nothing was
// said. Now is the answer's own, see [SentAt].
func ParseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.Trim(value, " \t")
	if seconds, ok := parseSize(value); ok {
		return inSeconds(seconds)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(0, at.Sub(now))
}

// SentAt returns when an answer was sent by the clock of its sender, which is the one
// that the times in it mean: by its Date, or now where that says nothing. Our own clock may
// be a day off, or have been set between two answers, and a lane must not be shut for hours
// because of that (docs/faults.md F29).
func SentAt(h http.Header, now time.Time) time.Time {
	if at, err := http.ParseTime(h.Get("Date")); err == nil {
		return at
	}
	return now
}

// inSeconds saturates instead of wrapping round into the past.
func inSeconds(n int64) time.Duration {
	if n > int64(math.MaxInt64/time.Second) {
		return math.MaxInt64
	}
	return time.Duration(n) * time.Second
}

// RetryAfterText finds the wait that GHCR writes into the text of its 429, as in
// "retry-after: 1.16ms, allowed: 44000/minute" (docs/protocol.md 4.1). It is 0 if body
// says nothing that can be read. Bare numbers are seconds.
func RetryAfterText(body string) time.Duration {
	const key = "retry-after:"
	body = strings.ToLower(body[:min(len(body), MaxError)])
	_, rest, found := strings.Cut(body, key)
	if !found {
		return 0
	}
	word := strings.TrimLeft(rest, " \t")
	if i := strings.IndexAny(word, ", \t\r\n\"'}<;"); i >= 0 {
		word = word[:i]
	}
	if seconds, ok := parseSize(word); ok {
		return inSeconds(seconds)
	}
	d, err := time.ParseDuration(word)
	if err != nil {
		return 0
	}
	return max(0, d)
}

// ClampRetryAfter bounds a wait to [minRetryAfter] … [maxRetryAfter]. A wait of 0
// or less stays 0, because it means that the upstream did not say.
func ClampRetryAfter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return min(max(d, minRetryAfter), maxRetryAfter)
}
