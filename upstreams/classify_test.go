package upstreams

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
)

// What registries, CDNs and Cloudflare really write (docs/protocol.md 4.1, 4.7).
const (
	hubQuotaBody     = `{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit. You may increase the limit by authenticating and upgrading: https://www.docker.com/increase-rate-limit"}]}`
	hubAnonymousBody = `{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit"}]}`
	hapBody          = "Too Many Requests (HAP429).\n"
	ghcrBody         = `{"errors":[{"code":"TOOMANYREQUESTS","message":"retry-after: 1.16ms, allowed: 44000/minute"}]}`
	ghcrSlow         = `{"errors":[{"code":"TOOMANYREQUESTS","message":"retry-after: 12s, allowed: 44000/minute"}]}`
	cf1015Body       = `<!DOCTYPE html><html><head><title>Access denied | mirror.example used Cloudflare to restrict access</title></head><body><h1>Error 1015</h1><p>Ray ID: 8f00000000000000</p><p>You are being rate limited</p></body></html>`
	cf1027Body       = `<!DOCTYPE html><html><head><title>Please check back later | relay.example</title></head><body><h1>Error 1027</h1><p>This website has been temporarily rate limited</p></body></html>`
	cf530Body        = `<!DOCTYPE html><html><head><title>Origin DNS error | relay.example</title></head><body><h1>Error 1016</h1></body></html>`
	s3Expired        = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message><X-Amz-Expires>1200</X-Amz-Expires></Error>`
	gcsExpired       = `<?xml version='1.0' encoding='UTF-8'?><Error><Code>ExpiredToken</Code><Message>Invalid argument.</Message><Details>The provided token has expired.</Details></Error>`
	s3OneAuth        = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>InvalidArgument</Code><Message>Only one auth mechanism allowed</Message></Error>`
	s3NoKey          = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>`
	unknownBody      = `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`
)

var (
	fromCloudflare = http.Header{"Server": {"cloudflare"}, "Cf-Ray": {"8f00000000000000-FRA"}, "Content-Type": {"text/html; charset=UTF-8"}}
	fromJSON       = http.Header{"Content-Type": {"application/json"}}
	versioned      = http.Header{"Docker-Distribution-Api-Version": {"registry/2.0"}}

	// notHere is what a web server's answer means.
	notHere = pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeNotRegistry, Reach: pullchain.ReachRequest}
)

// A statusTest is an answer and what it means. Err is not compared: its wording
// has a test of its own.
type statusTest struct {
	in   answer
	want pullchain.Error
}

var statusNow = time.Date(2026, 11, 21, 22, 30, 0, 0, time.UTC)

func run(t *testing.T, tests map[string]statusTest) {
	t.Helper()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.in.now = statusNow
			if tt.in.op == 0 {
				tt.in.op = pullchain.Manifest
			}
			if tt.in.header == nil {
				tt.in.header = http.Header{}
			}
			got := classifyStatus(tt.in)
			tt.want.Status = tt.in.status
			got.Err = nil
			if diff := cmp.Diff(tt.want, *got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// with returns h and more.
func with(h http.Header, pairs ...string) http.Header {
	h = h.Clone()
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

var (
	quotaHeader = with(fromJSON, "Ratelimit-Limit", "100;w=21600", "Ratelimit-Remaining", "0;w=21600", "Docker-Ratelimit-Source", "192.0.2.7")
	quotaSpent  = &pullchain.Quota{Limit: 100, Window: 6 * time.Hour, Source: "192.0.2.7", At: statusNow}
)

// TestClassifyLimit tells the kinds of 429 apart (docs/faults.md F06-F10).
func TestClassifyLimit(t *testing.T) {
	t.Parallel()
	run(t, map[string]statusTest{
		"Hub's pull quota": {
			answer{status: 429, header: quotaHeader, body: []byte(hubQuotaBody)},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota,
				Quota: quotaSpent},
		},
		"quota with Retry-After": {
			answer{status: 429, header: with(fromJSON, "Retry-After", "120"), body: []byte(hubQuotaBody)},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, RetryAfter: 2 * time.Minute},
		},
		"quota with a date": {
			answer{status: 429, header: with(fromJSON, "Retry-After", "Sat, 21 Nov 2026 22:40:00 GMT"), body: []byte(hubQuotaBody)},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, RetryAfter: 10 * time.Minute},
		},
		"quota for a week": {
			answer{status: 429, header: with(fromJSON, "Retry-After", "604800"), body: []byte(hubQuotaBody)},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, RetryAfter: 6 * time.Hour},
		},
		"the window's end in seconds": {
			answer{status: 429, header: with(fromJSON, "RateLimit-Reset", "90"), body: []byte(hubQuotaBody)},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, RetryAfter: 90 * time.Second},
		},
		"the window's end since 1970": {
			answer{status: 429, header: with(fromJSON, "X-RateLimit-Reset", strconv.FormatInt(statusNow.Add(time.Hour).Unix(), 10)), body: []byte(hubQuotaBody)},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, RetryAfter: time.Hour},
		},
		"a window that has ended": {
			answer{status: 429, header: with(fromJSON, "X-RateLimit-Reset", "1700000000"), body: []byte(hubQuotaBody)},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota},
		},
		"Retry-After wins": {
			answer{status: 429, header: with(fromJSON, "Retry-After", "7", "RateLimit-Reset", "90"), body: []byte(hubQuotaBody)},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, RetryAfter: 7 * time.Second},
		},
		"Hub's abuse limit": {
			answer{status: 429, header: http.Header{"Content-Type": {"text/plain"}}, body: []byte(hapBody)},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeAbuse, RetryAfter: time.Minute, Assumed: true},
		},
		"abuse limit that asks for less than a minute": {
			answer{status: 429, header: http.Header{"Retry-After": {"5"}}, body: []byte(hapBody)},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeAbuse, RetryAfter: time.Minute},
		},
		"bare 429": {
			answer{status: 429},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeThrottle},
		},
		"bare 429 that says when": {
			answer{status: 429, header: http.Header{"Retry-After": {"5"}}},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeThrottle, RetryAfter: 5 * time.Second},
		},
		"bare 429 of a CDN": {
			answer{status: 429, redirected: true, offOrigin: true, op: pullchain.Blob},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeThrottle, Reach: pullchain.ReachRequest},
		},
		"abuse limit to a HEAD": {
			answer{status: 429, header: http.Header{"Content-Type": {"text/plain"}}},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeAbuse, RetryAfter: time.Minute, Assumed: true},
		},
		"Cloudflare 1015": {
			answer{status: 429, header: fromCloudflare, body: []byte(cf1015Body)},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeAbuse, RetryAfter: time.Minute, Assumed: true},
		},
		"Cloudflare 1027 with 429": {
			answer{status: 429, header: fromCloudflare, body: []byte(cf1027Body)},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeWorkerQuota, Reach: pullchain.ReachLane, RetryAfter: 90 * time.Minute},
		},
		"Cloudflare 1027 with 503": {
			answer{status: 503, header: http.Header{"Cf-Ray": {"8f-FRA"}}, body: []byte(cf1027Body)},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeWorkerQuota, Reach: pullchain.ReachLane, RetryAfter: 90 * time.Minute},
		},
		"1027 without Cloudflare": {
			answer{status: 503, body: []byte("pid 1027 died")},
			pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeServerError},
		},
		"1027 in a Ray ID": {
			answer{status: 530, header: fromCloudflare, body: []byte("<h1>Error 1016</h1><p>Ray ID: 8f1027ab00000000, 2001:db8::1027</p>")},
			pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeOriginDown, Reach: pullchain.ReachLane},
		},
		"1027 in plain text": {
			answer{status: 429, header: fromCloudflare, body: []byte("error code: 1027")},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeWorkerQuota, Reach: pullchain.ReachLane, RetryAfter: 90 * time.Minute},
		},
		"503 for a year": {
			answer{status: 503, header: http.Header{"Retry-After": {"31536000"}}},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeServerError, Reach: pullchain.ReachContent, RetryAfter: 6 * time.Hour},
		},
		"GHCR's millisecond": {
			answer{status: 429, header: fromJSON, body: []byte(ghcrBody)},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeThrottle, RetryAfter: 1160 * time.Microsecond},
		},
		"GHCR's dozen seconds": {
			answer{status: 429, header: fromJSON, body: []byte(ghcrSlow)},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, RetryAfter: 12 * time.Second},
		},
	})
}

// TestClassifyHubLimit tells Docker Hub's kinds of 429 apart, also where a proxy has put its
// own page in the place of the body, and where a HEAD has none.
func TestClassifyHubLimit(t *testing.T) {
	t.Parallel()
	run(t, map[string]statusTest{
		"Hub's pull quota without a login": {
			answer{status: 429, header: quotaHeader, body: []byte(hubAnonymousBody)},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, Quota: quotaSpent},
		},
		"Hub's pull quota, as a proxy's page": {
			answer{status: 429, header: with(quotaHeader, "Content-Type", "text/html"), body: []byte("<html><h1>429 Too Many Requests</h1></html>")},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, Quota: quotaSpent},
		},
		"Hub's pull quota to a HEAD": {
			answer{status: 429, header: quotaHeader},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, Quota: quotaSpent},
		},
		"Hub's abuse limit with pulls left": {
			answer{status: 429, header: with(quotaHeader, "Ratelimit-Remaining", "80;w=21600", "Content-Type", "text/plain"), body: []byte(hapBody)},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeAbuse, RetryAfter: time.Minute, Assumed: true,
				Quota: &pullchain.Quota{Limit: 100, Remaining: 80, Window: 6 * time.Hour, Source: "192.0.2.7", At: statusNow}},
		},
		"Hub's abuse limit in words": {
			answer{status: 429, header: http.Header{"Content-Type": {"text/plain"}}, body: []byte("You have reached your request limit. Too Many Requests\n")},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeAbuse, RetryAfter: time.Minute, Assumed: true},
		},
		"a burst at Docker's own API": {
			answer{status: 429, header: with(fromJSON, "X-Retry-After", strconv.FormatInt(statusNow.Add(4*time.Second).Unix(), 10)), body: []byte(`{"detail":"Rate limit exceeded"}`)},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeThrottle, RetryAfter: 4 * time.Second},
		},
		"a burst without a word": {
			answer{status: 429, header: http.Header{"X-Retry-After": {strconv.FormatInt(statusNow.Add(4*time.Second).Unix(), 10)}}},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeThrottle, RetryAfter: 4 * time.Second},
		},
		"a burst whose milliseconds are in the header": {
			answer{status: 429, header: http.Header{"Retry-After": {"250ms"}}},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeThrottle, RetryAfter: 250 * time.Millisecond},
		},
	})
}

// TestClassifyStatus holds the evidence of docs/faults.md 7 against real answers.
func TestClassifyStatus(t *testing.T) {
	t.Parallel()
	run(t, map[string]statusTest{
		"503 that says when": {
			answer{status: 503, header: http.Header{"Retry-After": {"30"}}},
			pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeServerError, Reach: pullchain.ReachContent, RetryAfter: 30 * time.Second},
		},
		"503 with a Retry-After of the past": {
			answer{status: 503, header: http.Header{"Retry-After": {"Sat, 21 Nov 2020 22:40:00 GMT"}}},
			pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeServerError},
		},
		"S3 403 after a redirect": {
			answer{status: 403, header: http.Header{"Content-Type": {"application/xml"}}, body: []byte(s3Expired), redirected: true, offOrigin: true, op: pullchain.Blob},
			pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeSignedURL, Reach: pullchain.ReachRequest},
		},
		"GCS 400 after a redirect": {
			answer{status: 400, body: []byte(gcsExpired), redirected: true, offOrigin: true, op: pullchain.Blob},
			pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeSignedURL, Reach: pullchain.ReachRequest},
		},
		"S3 401 after a redirect": {
			answer{status: 401, body: []byte(s3OneAuth), redirected: true, offOrigin: true, op: pullchain.Blob},
			pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeSignedURL, Reach: pullchain.ReachRequest},
		},
		"S3 403 of the upstream itself": {
			answer{status: 403, body: []byte(s3Expired), op: pullchain.Blob},
			pullchain.Error{Reason: pullchain.Denied, Code: pullchain.CodeForbidden, Reach: pullchain.ReachContent},
		},
		"404 in OCI words": {
			answer{status: 404, header: fromJSON, body: []byte(unknownBody)},
			pullchain.Error{Reason: pullchain.NotFound, Code: pullchain.CodeNotFound, Reach: pullchain.ReachContent, Final: true},
		},
		"404 without a body, as to HEAD": {
			answer{status: 404, header: versioned},
			pullchain.Error{Reason: pullchain.NotFound, Code: pullchain.CodeNotFound, Reach: pullchain.ReachContent, Final: true},
		},
		"404 without any word": {answer{status: 404}, notHere},
		"404 of a router": {
			answer{status: 404, header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, body: []byte("404 page not found\n"), known: true}, notHere,
		},
		"404 of an ingress": {answer{status: 404, body: []byte("default backend - 404")}, notHere},
		"404 of a parked host": {
			answer{status: 404, header: http.Header{"Content-Type": {"text/html"}}, body: []byte("<html><title>domain for sale</title></html>"), pinned: true, known: true}, notHere,
		},
		"404 of a web server with the mark": { // nginx, configured as Docker's documentation once showed
			answer{status: 404, header: with(versioned, "Content-Type", "text/html"), body: []byte("<html><title>404 Not Found</title></html>")}, notHere,
		},
		"404 of an object store": {answer{status: 404, body: []byte(s3NoKey)}, notHere},
		"bare 404 for a digest from a known registry": {
			answer{status: 404, pinned: true, known: true},
			pullchain.Error{Reason: pullchain.NotFound, Code: pullchain.CodeNotFound, Reach: pullchain.ReachContent},
		},
		"bare 404 for a digest from a stranger": {answer{status: 404, pinned: true}, notHere},
		"404 of a CDN": {
			answer{status: 404, body: []byte(s3NoKey), pinned: true, redirected: true, offOrigin: true, op: pullchain.Blob},
			pullchain.Error{Reason: pullchain.NotFound, Code: pullchain.CodeNotFound, Reach: pullchain.ReachRequest},
		},
		"404 of another registry, after a redirect": {
			answer{status: 404, header: fromJSON, body: []byte(unknownBody), redirected: true, offOrigin: true},
			pullchain.Error{Reason: pullchain.NotFound, Code: pullchain.CodeNotFound, Reach: pullchain.ReachRequest},
		},
		"410": {
			answer{status: 410, header: fromJSON, body: []byte(unknownBody)},
			pullchain.Error{Reason: pullchain.NotFound, Code: pullchain.CodeNotFound, Reach: pullchain.ReachContent, Final: true},
		},
		"403 of a block page": {answer{status: 403, header: http.Header{"Content-Type": {"text/html"}}, body: []byte("<html>blocked</html>")}, notHere},
		"403 of a challenge":  {answer{status: 403, header: http.Header{"Cf-Mitigated": {"challenge"}}}, notHere},
		"401 of a portal":     {answer{status: 401, header: http.Header{"Content-Type": {"text/html"}}}, notHere},
		"451 in its own words": {
			answer{status: 451, header: fromJSON, body: []byte(`{"errors":[{"code":"DENIED","message":"unavailable for legal reasons"}]}`)},
			pullchain.Error{Reason: pullchain.Denied, Code: pullchain.CodeUnexpected, Reach: pullchain.ReachContent},
		},
		"401": {
			answer{status: 401, header: fromJSON, body: []byte(`{"errors":[{"code":"UNAUTHORIZED"}]}`)},
			pullchain.Error{Reason: pullchain.Denied, Code: pullchain.CodeUnauthorized, Reach: pullchain.ReachContent},
		},
		"403 of an allow-list": {
			answer{status: 403, header: fromJSON, body: []byte(`{"errors":[{"code":"DENIED","message":"not in allowlist"}]}`)},
			pullchain.Error{Reason: pullchain.Denied, Code: pullchain.CodeForbidden, Reach: pullchain.ReachContent},
		},
		"407 of a forwarding proxy": {
			answer{status: 407},
			pullchain.Error{Reason: pullchain.Egress, Code: pullchain.CodeEgressAuth, Reach: pullchain.ReachLane},
		},
		"416 with the size": {
			answer{status: 416, header: http.Header{"Content-Range": {"bytes */1234"}}, op: pullchain.Blob},
			pullchain.Error{Reason: pullchain.Invalid, Code: pullchain.CodeWrongRange, Reach: pullchain.ReachRequest, Size: 1234},
		},
		"416 without the size": {
			answer{status: 416, op: pullchain.Blob},
			pullchain.Error{Reason: pullchain.Invalid, Code: pullchain.CodeWrongRange, Reach: pullchain.ReachRequest},
		},
		"416 for a manifest":     {answer{status: 416}, pullchain.Error{Reason: pullchain.Denied, Code: pullchain.CodeUnexpected, Reach: pullchain.ReachContent}},
		"400":                    {answer{status: 400}, pullchain.Error{Reason: pullchain.Denied, Code: pullchain.CodeUnexpected, Reach: pullchain.ReachContent}},
		"451":                    {answer{status: 451}, pullchain.Error{Reason: pullchain.Denied, Code: pullchain.CodeUnexpected, Reach: pullchain.ReachContent}},
		"408":                    {answer{status: 408}, pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeServerError, Reach: pullchain.ReachRequest}},
		"425":                    {answer{status: 425}, pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeServerError, Reach: pullchain.ReachRequest}},
		"431":                    {answer{status: 431}, pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeServerError, Reach: pullchain.ReachRequest}},
		"500":                    {answer{status: 500}, pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeServerError}},
		"502":                    {answer{status: 502}, pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeServerError}},
		"504":                    {answer{status: 504}, pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeServerError}},
		"519":                    {answer{status: 519}, pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeServerError}},
		"520":                    {answer{status: 520, header: fromCloudflare}, pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeOriginDown, Reach: pullchain.ReachLane}},
		"524":                    {answer{status: 524, header: fromCloudflare}, pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeOriginDown, Reach: pullchain.ReachLane}},
		"530 with 1016":          {answer{status: 530, header: fromCloudflare, body: []byte(cf530Body)}, pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeOriginDown, Reach: pullchain.ReachLane}},
		"522 of a CDN":           {answer{status: 522, redirected: true, offOrigin: true, op: pullchain.Blob}, pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeOriginDown, Reach: pullchain.ReachRequest}},
		"531":                    {answer{status: 531}, pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeServerError}},
		"304 to nothing":         {answer{status: 304}, pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeUnexpected, Reach: pullchain.ReachRequest}},
		"300 with choices":       {answer{status: 300}, pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeUnexpected, Reach: pullchain.ReachRequest}},
		"a status beyond 599":    {answer{status: 999}, pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeServerError}},
		"a quota reading in 404": {answer{status: 404, header: quotaHeader, body: []byte(unknownBody)}, pullchain.Error{Reason: pullchain.NotFound, Code: pullchain.CodeNotFound, Reach: pullchain.ReachContent, Final: true, Quota: quotaSpent}},
	})
}

// TestClassifyStatusWords: remote text is quoted, cut, and never a whole page
// (docs/faults.md 5, CVE-2025-48374 and its kin).
func TestClassifyStatusWords(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body string
		has  string
	}{
		"OCI":           {hubQuotaBody, `TOOMANYREQUESTS "You have reached your pull rate limit.`},
		"XML":           {s3Expired, `ACCESSDENIED "Request has expired"`},
		"HTML":          {cf1015Body, `"Access denied | mirror.example used Cloudflare`},
		"control bytes": {`{"errors":[{"code":"DENIED","message":"a\u001b[31m\nlevel=INFO msg=forged"}]}`, "DENIED"},
		"long":          {strings.Repeat("x", 60<<10), `"xxxx`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := classifyStatus(answer{status: 429, header: http.Header{}, body: []byte(tt.body)}).Error()
			if !strings.Contains(text, tt.has) {
				t.Errorf("%q does not say %q", text, tt.has)
			}
			if strings.ContainsAny(text, "\n\r\x1b<") || len(text) > 400 {
				t.Errorf("unfit to be shown (%d bytes): %q", len(text), text)
			}
		})
	}
}

func TestUntilMidnightUTC(t *testing.T) {
	t.Parallel()
	east := time.FixedZone("UTC+9", 9*3600)
	tests := map[string]struct {
		now  time.Time
		want time.Duration
	}{
		"evening":           {time.Date(2026, 11, 21, 23, 59, 0, 0, time.UTC), time.Minute},
		"midnight":          {time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC), 24 * time.Hour},
		"another zone":      {time.Date(2026, 11, 22, 8, 0, 0, 0, east), time.Hour},
		"the year's end":    {time.Date(2026, 12, 31, 22, 0, 0, 0, time.UTC), 2 * time.Hour},
		"the end of summer": {time.Date(2026, 10, 25, 12, 0, 0, 0, time.UTC), 12 * time.Hour},
	}
	for name, tt := range tests {
		if got := untilMidnightUTC(tt.now); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// TestTimesAreTheSenders: a clock of ours that is a day off, in either direction, makes no
// pause longer or shorter than it was meant: the answer's own Date counts.
func TestTimesAreTheSenders(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]time.Duration{"ours is right": 0, "a day late": -24 * time.Hour, "a day early": 24 * time.Hour} {
		for what, header := range map[string]http.Header{
			"Retry-After":       {"Retry-After": {statusNow.Add(90 * time.Second).Format(http.TimeFormat)}},
			"X-RateLimit-Reset": {"X-Ratelimit-Reset": {strconv.FormatInt(statusNow.Add(90*time.Second).Unix(), 10)}},
		} {
			header = with(header, "Date", statusNow.Format(http.TimeFormat))
			e := classifyStatus(answer{status: http.StatusTooManyRequests, header: header, op: pullchain.Manifest, now: statusNow.Add(off)})
			if e.RetryAfter != 90*time.Second {
				t.Errorf("%s, %s: %v, want 1m30s", name, what, e.RetryAfter)
			}
		}
		e := classifyStatus(answer{status: http.StatusTooManyRequests, body: []byte("error code: 1027"), now: statusNow.Add(off + 3*time.Hour), op: pullchain.Manifest,
			header: http.Header{"Cf-Ray": {"1"}, "Date": {statusNow.Format(http.TimeFormat)}}})
		if e.Code != pullchain.CodeWorkerQuota || e.RetryAfter != 90*time.Minute {
			t.Errorf("%s, 1027: %s for %v, want 1h30m", name, e.Code, e.RetryAfter)
		}
	}
}

// TestSeenInATimeToCome: an answer that a clock, set back since, has put into the future is
// none of the last hour.
func TestSeenInATimeToCome(t *testing.T) {
	t.Parallel()
	var s registrySeen
	s.now()
	if !s.lately() {
		t.Error("an answer of just now is not seen")
	}
	s.at.Store(time.Now().Add(24 * time.Hour).UnixNano())
	if s.lately() {
		t.Error("an answer of tomorrow is")
	}
}
