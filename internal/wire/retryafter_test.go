package wire

import (
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pullchain/pullchain"
)

// noon is the now of these tests.
var noon = time.Date(2026, time.November, 21, 12, 0, 0, 0, time.UTC)

func TestParseRetryAfter(t *testing.T) {
	t.Parallel()
	tests := []struct {
		value string
		want  time.Duration
	}{
		{"120", 2 * time.Minute},
		{" 120\t", 2 * time.Minute},
		{"0", 0},
		{"Sat, 21 Nov 2026 12:00:30 GMT", 30 * time.Second},
		{"Saturday, 21-Nov-26 12:01:00 GMT", time.Minute},
		{"Sat Nov 21 13:00:00 2026", time.Hour},
		{"Sat, 21 Nov 2026 11:59:59 GMT", 0},
		{"Thu, 01 Jan 1970 00:00:00 GMT", 0},
		{"", 0},
		{"-5", 0},
		{"+5", 0},
		{"1.5", 0},
		{"soon", 0},
		{"120, 240", 0},
		{"Sat, 21 Nov 2026", 0},
		{"9223372036", 9223372036 * time.Second},
		{"9223372037", math.MaxInt64},
		{"99999999999999999999999999", math.MaxInt64},
		{"Fri, 31 Dec 9999 23:59:59 GMT", math.MaxInt64},
	}
	for _, tt := range tests {
		if got := ParseRetryAfter(tt.value, noon); got != tt.want {
			t.Errorf("ParseRetryAfter(%q) = %v, want %v", tt.value, got, tt.want)
		}
	}
}

func TestRetryAfterText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		body string
		want time.Duration
	}{
		{"retry-after: 1.16ms, allowed: 44000/minute", 1160 * time.Microsecond},
		{`{"errors":[{"code":"TOOMANYREQUESTS","message":"Retry-After: 1m30s"}]}`, 90 * time.Second},
		{"too many requests\nRetry-After:7\n", 7 * time.Second},
		{"retry-after: 250µs", 250 * time.Microsecond},
		{"retry-after: -1s", 0},
		{"retry-after: never", 0},
		{"retry-after:", 0},
		{"Too Many Requests (HAP429).", 0},
		{"", 0},
		{"retry-after: 99999999999999999999h", 0},
	}
	for _, tt := range tests {
		if got := RetryAfterText(tt.body); got != tt.want {
			t.Errorf("RetryAfterText(%q) = %v, want %v", tt.body, got, tt.want)
		}
	}
}

func TestClampRetryAfter(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want time.Duration }{
		{0, 0},
		{-time.Hour, 0},
		{time.Millisecond, time.Second},
		{time.Second, time.Second},
		{time.Minute, time.Minute},
		{6*time.Hour + 1, 6 * time.Hour},
		{math.MaxInt64, 6 * time.Hour},
	}
	for _, tt := range tests {
		if got := ClampRetryAfter(tt.in); got != tt.want {
			t.Errorf("ClampRetryAfter(%v) = %v, want %v", tt.in, got, tt.want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, value := range []string{"120", "-1", "99999999999999999999", "Sat, 21 Nov 2026 12:00:30 GMT", "retry-after: 1.16ms, allowed: 44000/minute", "RETRY-AFTER:\t5"} {
		f.Add(value, noon.Unix())
	}
	f.Fuzz(func(t *testing.T, value string, now int64) {
		for _, d := range []time.Duration{ParseRetryAfter(value, time.Unix(now, 0)), RetryAfterText(value)} {
			clamped := ClampRetryAfter(d)
			if d < 0 || clamped > maxRetryAfter || d > 0 && clamped < minRetryAfter || d == 0 && clamped != 0 {
				t.Fatalf("%q gives %v, clamped %v", value, d, clamped)
			}
		}
	})
}

func TestParseQuota(t *testing.T) {
	t.Parallel()
	const window = 6 * time.Hour
	tests := []struct {
		limit, remaining, source string
		want                     *pullchain.Quota
		low                      bool
	}{
		{"100;w=21600", "20;w=21600", "192.0.2.7", &pullchain.Quota{Limit: 100, Remaining: 20, Window: window, Source: "192.0.2.7"}, false},
		{"100;w=21600", "10;w=21600", "", &pullchain.Quota{Limit: 100, Remaining: 10, Window: window}, true},
		{"100;w=21600", "0;w=21600", "", &pullchain.Quota{Limit: 100, Window: window}, true},
		{"100", "20", "", &pullchain.Quota{Limit: 100, Remaining: 20}, false},
		{" 100 ; W=60 ", "20", "", &pullchain.Quota{Limit: 100, Remaining: 20, Window: time.Minute}, false},
		{"100;w=60, 9;w=1", "20, 9", "", &pullchain.Quota{Limit: 100, Remaining: 20, Window: time.Minute}, false},
		{"", "20;w=21600", "", &pullchain.Quota{Remaining: 20, Window: window}, false},
		{";w=21600", "20;w=21600", "", &pullchain.Quota{Remaining: 20, Window: window}, false},
		{"99999999999999999999", "99999999999999999999", "", &pullchain.Quota{Limit: maxCount, Remaining: maxCount}, false},
		{"100;w=x", "1;w", "\x1b]0;x\x07", &pullchain.Quota{Limit: 100, Remaining: 1, Source: "?]0;x?"}, true},

		{"", "", "192.0.2.7", nil, false},
		{"100;w=21600", "", "", nil, false},
		{";w=21600", ";w=21600", "", nil, false},
		{"100", "-1", "", nil, false},
		{"100", "many", "", nil, false},
	}
	for _, tt := range tests {
		h := http.Header{}
		for name, value := range map[string]string{"RateLimit-Limit": tt.limit, "RateLimit-Remaining": tt.remaining, "Docker-RateLimit-Source": tt.source} {
			if value != "" {
				h.Set(name, value)
			}
		}
		if tt.want != nil {
			tt.want.At = noon
		}
		got := ParseQuota(h, noon)
		if diff := cmp.Diff(tt.want, got); diff != "" || got.Low() != tt.low {
			t.Errorf("ParseQuota(%v), low = %t: -want +got\n%s", h, got.Low(), diff)
		}
	}
}
