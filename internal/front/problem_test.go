package front

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
)

var (
	quota   = &pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, Upstream: "docker-hub", Status: 429, RetryAfter: 14 * time.Minute, Err: errors.New("body: buy a plan\x1b[31m")}
	refused = &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeConnRefused, Upstream: "cf-worker"}
	missing = &pullchain.Error{Reason: pullchain.NotFound, Code: pullchain.CodeNotFound, Upstream: "docker-hub", Status: 404}
)

func tried(errs ...*pullchain.Error) []pullchain.Attempt {
	var attempts []pullchain.Attempt
	for i, e := range errs {
		attempts = append(attempts, pullchain.Attempt{Upstream: e.Upstream, Took: time.Duration(i+1) * time.Millisecond, Err: e})
	}
	return attempts
}

// Every reason as the last word of a chain, in the client's terms (docs/architecture.md, Contracts; docs/protocol.md 4.3 for what each makes clients do).
func TestErrorAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range errorAnswers() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, logs := newHandler(t, Config{AdminURL: "http://127.0.0.1:5152/"}, &fakeFetcher{
				fetch: func(context.Context, pullchain.Request) (pullchain.Response, error) {
					return pullchain.Response{}, tt.err
				},
			})
			s := serve(t, h)
			g := do(t, s.Client(), "GET", s.URL+tt.url)
			e := decodeError(t, g.Body)
			if g.Status != tt.status || e.Code != tt.code || e.Message != tt.message || g.Header.Get("Retry-After") != tt.retryAfter {
				t.Errorf("%d %s %q, Retry-After %q", g.Status, e.Code, e.Message, g.Header.Get("Retry-After"))
			}
			for name, want := range map[string]string{
				"Content-Type": "application/json", "Www-Authenticate": "", "Content-Length": fmt.Sprint(len(g.Body)), "Oci-Namespace": "docker.io",
			} {
				if g.Header.Get(name) != want {
					t.Errorf("%s: %q, want %q", name, g.Header.Get(name), want)
				}
			}
			line := logs.access(t)[0]
			if line["level"] != "WARN" || line["status"] != float64(tt.status) || line["id"] != e.Detail.RequestID || e.Detail.RequestID == "" {
				t.Errorf("log %v, detail %+v", line, e.Detail)
			}
			// HEAD: the same, and not a byte of body.
			head := do(t, s.Client(), "HEAD", s.URL+tt.url)
			if head.Status != tt.status || head.Body != "" || head.Header.Get("Retry-After") != tt.retryAfter {
				t.Errorf("HEAD: %d, %q", head.Status, head.Body)
			}
		})
	}
}

const manifestPath, tagsPath = "/v2/alpine/manifests/3.20", "/v2/alpine/tags/list"

type errorAnswer struct {
	name, url  string
	err        error
	status     int
	code       string
	retryAfter string
	message    string
}

func errorAnswers() []errorAnswer {
	return []errorAnswer{
		{"one limited, one down", manifestPath, &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeNoUpstream, Attempts: tried(quota, refused)},
			503, "UNAVAILABLE", "840", `docker.io/library/alpine:3.20: no upstream could answer: docker-hub http_429_quota (retry in 14m), cf-worker conn_refused; see http://127.0.0.1:5152/ or run "pullchain status"`},
		{"limited, not all of them", manifestPath, &pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, RetryAfter: 1500 * time.Millisecond, Attempts: tried(quota)},
			503, "UNAVAILABLE", "2", `docker.io/library/alpine:3.20: no upstream could answer: docker-hub http_429_quota (retry in 14m); see http://127.0.0.1:5152/ or run "pullchain status"`},
		{"all limited", manifestPath, &pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, Status: 429, RetryAfter: 30 * time.Hour, Attempts: tried(quota)},
			429, "TOOMANYREQUESTS", "21600", `docker.io/library/alpine:3.20: every upstream is rate limited: docker-hub http_429_quota (retry in 14m); see http://127.0.0.1:5152/ or run "pullchain status"`},
		{"a relayed 429 of something else stays 503", manifestPath, &pullchain.Error{Reason: pullchain.Unavailable, Status: 429},
			503, "UNAVAILABLE", "5", `docker.io/library/alpine:3.20: no upstream could answer: unavailable; see http://127.0.0.1:5152/ or run "pullchain status"`},
		{"egress", manifestPath, &pullchain.Error{Reason: pullchain.Egress, Code: pullchain.CodeEgressProxy, Upstream: "docker-hub"},
			503, "UNAVAILABLE", "5", `docker.io/library/alpine:3.20: no upstream could answer: egress_proxy; see http://127.0.0.1:5152/ or run "pullchain status"`},
		{"an error that nobody classified", manifestPath, errors.New("boom"),
			503, "UNAVAILABLE", "5", `docker.io/library/alpine:3.20: no upstream could answer: unavailable; see http://127.0.0.1:5152/ or run "pullchain status"`},
		{"canceled by somebody else", manifestPath, &pullchain.Error{Reason: pullchain.Canceled, Code: pullchain.CodeCanceled},
			503, "UNAVAILABLE", "5", `docker.io/library/alpine:3.20: no upstream could answer: canceled; see http://127.0.0.1:5152/ or run "pullchain status"`},
		{"budget spent", manifestPath, &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeHeaderTimeout, Status: 504, Attempts: tried(refused)},
			504, "UNAVAILABLE", "", `docker.io/library/alpine:3.20: no upstream answered in time: cf-worker conn_refused; see http://127.0.0.1:5152/ or run "pullchain status"`},
		{"an upstream's own 504 is no spent budget", manifestPath, &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeServerError, Status: 504},
			503, "UNAVAILABLE", "5", `docker.io/library/alpine:3.20: no upstream could answer: http_5xx; see http://127.0.0.1:5152/ or run "pullchain status"`},
		{"nor is one upstream's time-out", manifestPath, &pullchain.Error{Reason: pullchain.Unavailable, Upstream: "docker-hub", Code: pullchain.CodeHeaderTimeout, Err: context.DeadlineExceeded},
			503, "UNAVAILABLE", "5", `docker.io/library/alpine:3.20: no upstream could answer: header_timeout; see http://127.0.0.1:5152/ or run "pullchain status"`},
		{"manifest not found", manifestPath, &pullchain.Error{Reason: pullchain.NotFound, Code: pullchain.CodeNotFound, Attempts: tried(missing)},
			404, "MANIFEST_UNKNOWN", "", "docker.io/library/alpine:3.20: not found: docker-hub http_404"},
		{"blob not found", blobPath, missing, 404, "BLOB_UNKNOWN", "", "docker.io/library/alpine@" + layerDigest.String() + ": not found: http_404"},
		{"repository not found", tagsPath, missing, 404, "NAME_UNKNOWN", "", "docker.io/library/alpine: not found: http_404"},
		{"referrers not supported", "/v2/alpine/referrers/" + layerDigest.String(), missing, 404, "UNSUPPORTED", "", "docker.io/library/alpine@" + layerDigest.String() + ": no list of referrers: http_404"},
		{"denied", manifestPath, &pullchain.Error{Reason: pullchain.Denied, Code: pullchain.CodeForbidden, Status: 403},
			403, "DENIED", "", "docker.io/library/alpine:3.20: access denied: http_403; a private image needs a login in the upstream's configuration"},
		{"unauthorized", manifestPath, &pullchain.Error{Reason: pullchain.Denied, Code: pullchain.CodeUnauthorized, Status: 401},
			403, "DENIED", "", "docker.io/library/alpine:3.20: access denied: http_401; a private image needs a login in the upstream's configuration"},
		{"corrupt", manifestPath, &pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeDigestMismatch, Upstream: "m1"},
			502, "UNKNOWN", "", `docker.io/library/alpine:3.20: no upstream gave a usable answer: digest_mismatch; see http://127.0.0.1:5152/ or run "pullchain status"`},
		{"refused by policy", manifestPath, &pullchain.Error{Reason: pullchain.Refused, Code: pullchain.CodeRedirectBlocked},
			502, "UNKNOWN", "", `docker.io/library/alpine:3.20: no upstream gave a usable answer: redirect_blocked; see http://127.0.0.1:5152/ or run "pullchain status"`},
		{"invalid", manifestPath, &pullchain.Error{Reason: pullchain.Invalid, Code: pullchain.CodeInvalid},
			400, "MANIFEST_INVALID", "", "docker.io/library/alpine:3.20: the request cannot be right: invalid"},
	}
}

// A 401 must carry a challenge (RFC 9110 15.5.2), and there is none that a client
// of ours could answer: whatever failed, and wherever the 401 came from, the client
// gets another status, and the message says what the upstream said.
func TestNo401WithoutChallenge(t *testing.T) {
	t.Parallel()
	var reason pullchain.Reason
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: func(context.Context, pullchain.Request) (pullchain.Response, error) {
		failed := &pullchain.Error{Reason: reason, Code: pullchain.CodeUnauthorized, Upstream: "docker-hub", Status: 401}
		return pullchain.Response{}, &pullchain.Error{Reason: reason, Code: failed.Code, Status: 401, Attempts: tried(failed)}
	}})
	s := serve(t, h)
	for reason = pullchain.Unavailable; reason <= pullchain.Invalid; reason++ {
		if reason == pullchain.Canceled {
			continue // the client has gone
		}
		for _, url := range []string{manifestPath, blobPath, tagsPath, "/v2/alpine/referrers/" + layerDigest.String()} {
			for _, method := range []string{"GET", "HEAD"} {
				g := do(t, s.Client(), method, s.URL+url)
				if g.Status == 401 || reason == pullchain.Denied && g.Status != 403 || g.Header.Get("WWW-Authenticate") != "" {
					t.Errorf("%v, %s %s: %d, %v", reason, method, url, g.Status, g.Header)
				}
				if reason != pullchain.Denied || method == "HEAD" {
					continue
				}
				if e := decodeError(t, g.Body); e.Code != "DENIED" || !strings.Contains(e.Message, "docker-hub http_401; a private image needs a login") {
					t.Errorf("%s: %s %q", url, e.Code, e.Message)
				}
			}
		}
	}
}

// F38: all upstreams down is a 503 at once that lists each path's reason, and
// quotes no upstream.
func TestF38AllUpstreamsDown(t *testing.T) {
	t.Parallel()
	attempts := append(tried(quota, refused),
		pullchain.Attempt{Upstream: "mirror", Gate: "quarantine"},
		pullchain.Attempt{Upstream: "relay", Gate: "cooldown", Offset: 7, Err: &pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeAbuse, RetryAfter: time.Minute}})
	h, logs := newHandler(t, Config{}, &fakeFetcher{fetch: func(context.Context, pullchain.Request) (pullchain.Response, error) {
		return pullchain.Response{}, &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeNoUpstream, Attempts: attempts}
	}})
	s := serve(t, h)
	g := do(t, s.Client(), "GET", s.URL+"/v2/alpine/manifests/3.20?ns=docker.io", "User-Agent: containerd/1.6.20")
	e := decodeError(t, g.Body)
	if g.Status != 503 || g.Header.Get("Retry-After") != "60" {
		t.Errorf("%d, Retry-After %q, want 503 and the first upstream's 60", g.Status, g.Header.Get("Retry-After"))
	}
	want := detail{RequestID: e.Detail.RequestID, Image: "docker.io/library/alpine:3.20", Attempts: []detailAttempt{
		{Upstream: "docker-hub", Outcome: "limited", Code: "http_429_quota", MS: 1, RetryS: 840},
		{Upstream: "cf-worker", Outcome: "unavailable", Code: "conn_refused", MS: 2},
		{Upstream: "mirror", Outcome: "not asked", Gate: "quarantine"},
		{Upstream: "relay", Outcome: "not asked", Code: "http_429_abuse", Gate: "cooldown", Offset: 7, RetryS: 60},
	}}
	if diff := cmp.Diff(want, e.Detail); diff != "" {
		t.Errorf("detail (-want +got):\n%s", diff)
	}
	const message = `docker.io/library/alpine:3.20: no upstream could answer: docker-hub http_429_quota (retry in 14m), ` +
		`cf-worker conn_refused, mirror quarantine, relay http_429_abuse (retry in 60s); run "pullchain status"`
	if e.Message != message {
		t.Errorf("message %q", e.Message)
	}
	const status = `pullchain; error=destination_unavailable; details="docker-hub http_429_quota, cf-worker conn_refused, mirror quarantine, relay http_429_abuse"`
	if p := g.Header.Get("Proxy-Status"); p != status {
		t.Errorf("Proxy-Status %s", p)
	}
	const trace = "docker-hub:http_429_quota(1ms) cf-worker:conn_refused(2ms) mirror:quarantine(0ms) relay@7:cooldown/http_429_abuse(0ms)"
	if line := logs.access(t)[0]; line["trace"] != trace || line["client"] != "containerd" {
		t.Errorf("log %v", line)
	}
	if strings.Contains(g.Body, "buy a plan") {
		t.Error("an upstream's words went out")
	}
}

func TestMessageIsShort(t *testing.T) {
	t.Parallel()
	var attempts []pullchain.Attempt
	for i := range 100 {
		attempts = append(attempts, pullchain.Attempt{Upstream: fmt.Sprintf("镜像-%d", i), Err: refused})
	}
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: func(context.Context, pullchain.Request) (pullchain.Response, error) {
		return pullchain.Response{}, &pullchain.Error{Attempts: attempts}
	}})
	s := serve(t, h)
	e := decodeError(t, do(t, s.Client(), "GET", s.URL+"/v2/alpine/manifests/3.20").Body)
	if len(e.Message) > maxMessage || !strings.HasSuffix(e.Message, `...; run "pullchain status"`) || strings.Contains(e.Message, "\ufffd") {
		t.Errorf("%d bytes: %s", len(e.Message), e.Message)
	}
	if len(e.Detail.Attempts) != 100 {
		t.Errorf("%d attempts in the detail", len(e.Detail.Attempts))
	}
}

// A range beyond the end is a 416 that tells the size, if it is known.
func TestRangeBeyondEnd(t *testing.T) {
	t.Parallel()
	for size, want := range map[int64]string{int64(len(layer)): "bytes */1600000", 0: ""} {
		f := &fakeFetcher{fetch: func(context.Context, pullchain.Request) (pullchain.Response, error) {
			return pullchain.Response{}, &pullchain.Error{Reason: pullchain.Invalid, Code: pullchain.CodeWrongRange, Status: 416, Size: size}
		}}
		h, _ := newHandler(t, Config{}, f)
		s := serve(t, h)
		g := do(t, s.Client(), "GET", s.URL+blobPath, "Range: bytes=1600000-")
		if e := decodeError(t, g.Body); g.Status != 416 || e.Code != "RANGE_INVALID" || g.Header.Get("Content-Range") != want {
			t.Errorf("%d %s, Content-Range %q, want %q", g.Status, e.Code, g.Header.Get("Content-Range"), want)
		}
	}
}

// Pushes are told so, whatever the path.
func TestWritesAreRefused(t *testing.T) {
	t.Parallel()
	f := &fakeFetcher{fetch: healthy}
	h, _ := newHandler(t, Config{}, f)
	s := serve(t, h)
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} {
		for _, url := range []string{"/v2/alpine/blobs/uploads/", "/v2/alpine/manifests/1", "/v2/"} {
			g := do(t, s.Client(), method, s.URL+url)
			if e := decodeError(t, g.Body); g.Status != 405 || e.Code != "UNSUPPORTED" || g.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d %+v", method, url, g.Status, e)
			}
		}
	}
	req, _ := http.NewRequestWithContext(t.Context(), "PUT", s.URL+"/v2/alpine/manifests/1", strings.NewReader(manifestBytes))
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 405 || !resp.Close {
		t.Errorf("PUT with a body: %d, close %v", resp.StatusCode, resp.Close)
	}
	if n := len(f.ledger()); n != 0 {
		t.Errorf("%d requests went to the chain", n)
	}
}

func TestRoughly(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		time.Millisecond: "1s", 1500 * time.Millisecond: "2s", 90 * time.Second: "90s", 91 * time.Second: "2m",
		14 * time.Minute: "14m", time.Hour: "1h0m", 130*time.Minute + 20*time.Second: "2h10m",
	} {
		if got := roughly(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}
