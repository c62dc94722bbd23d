package wire

import (
	"net/http"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
)

// maxCount keeps arithmetic on a peer's numbers (Quota.Low) from overflowing.
const maxCount = 1_000_000_000

// ParseQuota reads Docker Hub's quota headers (docs/protocol.md 4.1):
//
//	ratelimit-limit: 100;w=21600
//	ratelimit-remaining: 20;w=21600
//	docker-ratelimit-source: 192.0.2.7
//
// It is nil if they are absent (unlimited) or do not say what remains, as the
// malformed ";w=21600" does not: a guess would make the quota look spent. A
// missing or malformed limit or window is 0.
func ParseQuota(h http.Header, now time.Time) *pullchain.Quota {
	remaining, window, ok := parsePolicy(h.Get("Ratelimit-Remaining"))
	if !ok {
		return nil
	}
	limit, limitWindow, _ := parsePolicy(h.Get("Ratelimit-Limit"))
	if limitWindow > 0 {
		window = limitWindow
	}
	return &pullchain.Quota{
		Limit:     limit,
		Remaining: remaining,
		Window:    window,
		Source:    Cut(Clip(h.Get("Docker-Ratelimit-Source")), 64, "…"),
		At:        now,
	}
}

// parsePolicy reads "100;w=21600": a count and a window of seconds. Of a list
// ("100;w=60, 1000;w=3600") it takes the first.
func parsePolicy(value string) (count int, window time.Duration, ok bool) {
	value, _, _ = strings.Cut(value, ",")
	number, params, _ := strings.Cut(value, ";")
	for param := range strings.SplitSeq(params, ";") {
		key, seconds, _ := strings.Cut(strings.TrimSpace(param), "=")
		if n, isNumber := parseSize(seconds); isNumber && strings.EqualFold(key, "w") {
			window = inSeconds(min(n, maxCount))
		}
	}
	n, ok := parseSize(strings.TrimSpace(number))
	return int(min(n, maxCount)), window, ok
}
