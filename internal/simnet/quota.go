package simnet

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Quota is a pull limit in the manner of Docker Hub (docs/protocol.md 4.1): GETs of
// manifests count, HEADs and blobs do not. The zero Quota is unlimited, and
// then there are no headers either.
type Quota struct {
	Limit  int           // counted GETs per window and source; 0 is no limit
	Window time.Duration // 0 is 6 hours

	// RetryAfter is sent with the 429; 0, as at Docker Hub, sends none.
	RetryAfter time.Duration
	RetryDate  bool // as an HTTP date in place of seconds
	Malformed  bool // headers without numbers, ";w=21600", as seen in the wild
}

// quotaText is the message of Docker Hub's 429 (hub-feedback #1907).
const quotaText = "You have reached your pull rate limit. You may increase the limit by authenticating and upgrading: https://www.docker.com/increase-rate-limit"

// meter counts pulls per source: a user name, or a client's IP address.
type meter struct {
	mu    sync.Mutex
	quota Quota
	used  map[string]*usage
}

// A usage is what a source has taken from its window.
type usage struct {
	count int
	since time.Time
}

// set begins anew with another quota.
func (m *meter) set(q Quota) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if q.Window == 0 {
		q.Window = 6 * time.Hour
	}
	m.quota, m.used = q, map[string]*usage{}
}

// ofLocked returns the usage of source in its present window.
func (m *meter) ofLocked(source string) *usage {
	u := m.used[source]
	if u == nil || time.Since(u.since) > m.quota.Window {
		u = &usage{since: time.Now()}
		m.used[source] = u
	}
	return u
}

func (m *meter) remaining(source string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(m.quota.Limit-m.ofLocked(source).count, 0)
}

// spend sets what is left to source.
func (m *meter) spend(source string, left int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ofLocked(source).count = m.quota.Limit - left
}

// take counts a request of a manifest and writes the headers; false means
// that it has answered 429.
func (m *meter) take(w http.ResponseWriter, r *http.Request, source string) bool {
	m.mu.Lock()
	q := m.quota
	if q.Limit == 0 {
		m.mu.Unlock()
		return true
	}
	u := m.ofLocked(source)
	counts := r.Method == http.MethodGet
	over := counts && u.count >= q.Limit
	if counts && !over {
		u.count++
	}
	left := max(q.Limit-u.count, 0)
	m.mu.Unlock()

	h, seconds := w.Header(), int(q.Window/time.Second)
	limit, remaining := fmt.Sprint(q.Limit), fmt.Sprint(left)
	if q.Malformed {
		limit, remaining = "", ""
	}
	h.Set("ratelimit-limit", fmt.Sprintf("%s;w=%d", limit, seconds))
	h.Set("ratelimit-remaining", fmt.Sprintf("%s;w=%d", remaining, seconds))
	h.Set("docker-ratelimit-source", source)
	if !over {
		return true
	}
	if q.RetryAfter > 0 {
		h.Set("Retry-After", retryAfter(q.RetryAfter, q.RetryDate))
	}
	fail(w, r, http.StatusTooManyRequests, "TOOMANYREQUESTS", quotaText)
	return false
}

// retryAfter is the header's value, in seconds or as a date.
func retryAfter(d time.Duration, date bool) string {
	if date {
		return time.Now().Add(d).UTC().Format(http.TimeFormat)
	}
	return fmt.Sprint(int((d + time.Second - 1) / time.Second))
}

// clientIP is the address that a request came from.
func clientIP(r *http.Request) string {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return host
}
