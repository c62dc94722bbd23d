package front

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
)

// answered is the failure of an upstream that answered with a status, and said so.
func answered(reason pullchain.Reason, code pullchain.Code, status int, says string) *pullchain.Error {
	e := &pullchain.Error{Reason: reason, Code: code, Upstream: "hub", Status: status}
	if says != "" {
		e.Err = errors.New(says)
	}
	return e
}

// chainFailed is the error of a chain whose upstreams failed so, the first of which
// decides.
func chainFailed(failures ...*pullchain.Error) *pullchain.Error {
	first := *failures[0]
	first.Upstream, first.Err, first.Attempts = "", errors.Join(errors.New("hub: something"), errors.New("more")), tried(failures...)
	return &first
}

// What an upstream says is told as it said it: the status where it has a meaning of
// its own, the code and the words; a login is spoken of only where one could help, a
// setting where one would, and a limit where there is one (docs/faults.md 0.6).
func TestUpstreamsWords(t *testing.T) {
	t.Parallel()
	const (
		login     = "; a private image needs a login in the upstream's configuration"
		referrers = "/v2/alpine/referrers/sha256:39ec05ee6a2d25b6c775d195d1ce3e75aa64dd11c76506827bc414d90b6a6184"
	)
	denied := func(status int, says string) *pullchain.Error {
		code := pullchain.CodeUnexpected
		switch status {
		case 401:
			code = pullchain.CodeUnauthorized
		case 403:
			code = pullchain.CodeForbidden
		}
		return answered(pullchain.Denied, code, status, says)
	}
	gone := answered(pullchain.NotFound, pullchain.CodeNotFound, 410, `MANIFEST_UNKNOWN "it was deleted"`)
	notFound := answered(pullchain.NotFound, pullchain.CodeNotFound, 404, "")
	unknown := answered(pullchain.NotFound, pullchain.CodeNotFound, 404, `NAME_UNKNOWN "repository name not known to registry"`)
	down := answered(pullchain.Unavailable, pullchain.CodeServerError, 501, "")
	page := answered(pullchain.Corrupt, pullchain.CodeNotRegistry, 200, "")
	limit := answered(pullchain.Limited, pullchain.CodeQuota, 429, `TOOMANYREQUESTS "buy a plan"`)
	pause := answered(pullchain.Limited, pullchain.CodeServerError, 503, "")
	pause.RetryAfter = time.Hour
	every := func(failures ...*pullchain.Error) *pullchain.Error {
		e := chainFailed(failures...)
		e.Reason, e.Status, e.Code = pullchain.Limited, 429, pullchain.CodeQuota
		return e
	}
	refused := func(code pullchain.Code, why string) *pullchain.Error {
		return answered(pullchain.Refused, code, 401, why)
	}
	tests := []struct {
		name, url string
		err       *pullchain.Error
		status    int
		code      string
		ends      string // the message, after what was asked for
	}{
		{"400", manifestPath, chainFailed(denied(400, `it says "bad request"`)), 400, "UNSUPPORTED", `the upstream refuses it: hub http_unexpected ("bad request")`},
		{"400 with a code", manifestPath, chainFailed(denied(400, `TAG_INVALID "no such form"`)), 400, "TAG_INVALID", `the upstream refuses it: hub http_unexpected ("no such form")`},
		{"405", tagsPath, chainFailed(denied(405, `UNSUPPORTED "The operation is unsupported."`)), 405, "UNSUPPORTED", `the upstream refuses it: hub http_unexpected ("The operation is unsupported.")`},
		{"406 without words", manifestPath, chainFailed(denied(406, "")), 406, "UNSUPPORTED", "the upstream refuses it: hub http_unexpected"},
		{"410", manifestPath, chainFailed(gone), 410, "MANIFEST_UNKNOWN", `gone: hub http_404 ("it was deleted")`},
		{"410 of a blob, without words", blobPath, chainFailed(answered(pullchain.NotFound, pullchain.CodeNotFound, 410, "")), 410, "BLOB_UNKNOWN", "gone: hub http_404"},
		{"416 of a manifest", manifestPath, chainFailed(denied(416, "")), 416, "RANGE_INVALID", "the range is beyond the end: hub http_unexpected"},
		{"451", manifestPath, chainFailed(denied(451, `DENIED "unavailable for legal reasons"`)), 451, "DENIED", `unavailable for legal reasons: hub http_unexpected ("unavailable for legal reasons")`},
		{"a status of no meaning for us", manifestPath, chainFailed(denied(402, `it says "pay first"`)), 403, "DENIED", `the upstream refuses it: hub http_unexpected ("pay first")`},

		{"401", manifestPath, chainFailed(denied(401, `UNAUTHORIZED "authentication required"`)), 403, "DENIED", `access denied: hub http_401 ("authentication required")` + login},
		{"403", manifestPath, chainFailed(denied(403, `DENIED "requested access to the resource is denied"`)), 403, "DENIED", `access denied: hub http_403 ("requested access to the resource is denied")` + login},
		{"403 without words", manifestPath, chainFailed(denied(403, "")), 403, "DENIED", "access denied: hub http_403" + login},
		{"403 of another kind", manifestPath, chainFailed(denied(403, `UNSUPPORTED "artifacts of this kind are blocked"`)), 403, "UNSUPPORTED", `the upstream refuses it: hub http_403 ("artifacts of this kind are blocked")`},
		{"a login of ours that is refused", manifestPath, chainFailed(denied(401, "the registry refuses the configured login")), 403, "DENIED", `access denied: hub http_401 ("the registry refuses the configured login")` + login},
		{"words that try things", manifestPath, chainFailed(denied(403, fmt.Sprintf("DENIED %q", "a\"b\x1b[31m\u202e"+strings.Repeat("c", 600)))), 403, "DENIED",
			`access denied: hub http_403 ("a'b?[31m?` + strings.Repeat("c", 244) + `…")` + login},

		{"referrers 404", referrers, chainFailed(notFound), 404, "UNSUPPORTED", "no list of referrers: hub http_404"},
		{"referrers of an unknown repository", referrers, chainFailed(unknown), 404, "NAME_UNKNOWN", "no list of referrers: hub http_404"},
		{"referrers 400", referrers, chainFailed(denied(400, `it says "bad request"`)), 404, "UNSUPPORTED", `no list of referrers: hub http_unexpected ("bad request")`},
		{"referrers 405", referrers, chainFailed(denied(405, `UNSUPPORTED "no"`)), 404, "UNSUPPORTED", `no list of referrers: hub http_unexpected ("no")`},
		{"referrers 406", referrers, chainFailed(denied(406, "")), 404, "UNSUPPORTED", "no list of referrers: hub http_unexpected"},
		{"referrers 501", referrers, chainFailed(down), 404, "UNSUPPORTED", `no list of referrers: hub http_5xx; run "pullchain status"`},
		{"referrers that are a web page", referrers, chainFailed(page), 404, "UNSUPPORTED", `no list of referrers: hub not_registry; run "pullchain status"`},
		{"referrers 403", referrers, chainFailed(denied(403, "")), 403, "DENIED", "access denied: hub http_403" + login},
		{"referrers of an upstream that is down", referrers, chainFailed(answered(pullchain.Unavailable, pullchain.CodeServerError, 503, "")), 503, "UNAVAILABLE", `no upstream could answer: hub http_5xx; run "pullchain status"`},
		{"501 of a manifest", manifestPath, chainFailed(down), 503, "UNAVAILABLE", `no upstream could answer: hub http_5xx; run "pullchain status"`},

		{"a realm over http", manifestPath, chainFailed(refused(pullchain.CodeAuthRealm, `the realm must not be asked: downgrade from https to http at "auth.lan"`)), 502, "UNKNOWN",
			`no upstream gave a usable answer: hub auth_realm ("the realm must not be asked: downgrade from https to http at 'auth.lan'"); run "pullchain status"`},
		{"a realm inside", manifestPath, chainFailed(refused(pullchain.CodeAuthRealm, `the realm must not be asked: "auth.lan" is a name of private networks`)), 502, "UNKNOWN",
			`no upstream gave a usable answer: hub auth_realm ("the realm must not be asked: 'auth.lan' is a name of private networks")` +
				`; if it is to be asked, name it in the upstream's auth_hosts, or set allow_private; run "pullchain status"`},
		{"a redirect inside", blobPath, chainFailed(refused(pullchain.CodeRedirectBlocked, `"cdn.lan" is a name of private networks`)), 502, "UNKNOWN",
			`no upstream gave a usable answer: hub redirect_blocked ("'cdn.lan' is a name of private networks"); if it is to be asked, set the upstream's allow_private; run "pullchain status"`},
		{"a refusal that names its setting", blobPath, chainFailed(refused(pullchain.CodeRedirectBlocked, `198.18.0.2 is a fake-ip of a TUN proxy: set allow_private for this upstream`)), 502, "UNKNOWN",
			`no upstream gave a usable answer: hub redirect_blocked ("198.18.0.2 is a fake-ip of a TUN proxy: set allow_private for this upstream"); run "pullchain status"`},
		{"redirect_hosts", blobPath, chainFailed(refused(pullchain.CodeRedirectBlocked, `redirected to "cdn.example.com", which redirect_hosts does not name`)), 502, "UNKNOWN",
			`no upstream gave a usable answer: hub redirect_blocked ("redirected to 'cdn.example.com', which redirect_hosts does not name"); run "pullchain status"`},
		{"what no setting allows", blobPath, chainFailed(refused(pullchain.CodeRedirectBlocked, `"metadata.google.internal" is a metadata service`)), 502, "UNKNOWN",
			`no upstream gave a usable answer: hub redirect_blocked ("'metadata.google.internal' is a metadata service"); run "pullchain status"`},

		{"limited, all of them", manifestPath, every(limit), 429, "TOOMANYREQUESTS", `every upstream is rate limited: hub http_429_quota; run "pullchain status"`},
		{"one is in trouble", manifestPath, every(limit, pause), 503, "UNAVAILABLE", `no upstream could answer: hub http_5xx (retry in 1h0m); run "pullchain status"`},
		{"a 503 that names a time", manifestPath, every(pause), 503, "UNAVAILABLE", `no upstream could answer: hub http_5xx (retry in 1h0m); run "pullchain status"`},

		{"/v2/ twice", "/v2/docker.io/v2/library/alpine/manifests/1", chainFailed(unknown), 404, "MANIFEST_UNKNOWN",
			"not found: hub http_404; the path has /v2/ before the registry's name and after it: set override_path = true for this mirror in hosts.toml"},
		{"a repository that is called v2", "/v2/v2/alpine/manifests/1?ns=docker.io", chainFailed(unknown), 404, "MANIFEST_UNKNOWN", "not found: hub http_404"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: func(context.Context, pullchain.Request) (pullchain.Response, error) {
				return pullchain.Response{}, tt.err
			}})
			s := serve(t, h)
			g := do(t, s.Client(), "GET", s.URL+tt.url)
			e := decodeError(t, g.Body)
			_, message, _ := strings.Cut(e.Message, ": ")
			if g.Status != tt.status || e.Code != tt.code || message != tt.ends {
				t.Errorf("%d %s\n%s; want %d %s\n%s", g.Status, e.Code, message, tt.status, tt.code, tt.ends)
			}
			if allow := g.Header.Get("Allow"); (allow != "") != (tt.status == 405) {
				t.Errorf("Allow %q", allow)
			}
			head := do(t, s.Client(), "HEAD", s.URL+tt.url)
			if head.Status != tt.status || head.Body != "" {
				t.Errorf("HEAD: %d, %q", head.Status, head.Body)
			}
		})
	}
}

// An attempt that came up by two ways is listed once; two attempts are two.
func TestAnAttemptIsListedOnce(t *testing.T) {
	t.Parallel()
	start := time.Now()
	a := pullchain.Attempt{Upstream: "hub", Start: start, Err: missing}
	again, other := a, a
	again.Start = start.Add(time.Millisecond)
	other.Upstream = "mirror"
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: func(context.Context, pullchain.Request) (pullchain.Response, error) {
		return pullchain.Response{}, &pullchain.Error{
			Reason: pullchain.NotFound, Code: pullchain.CodeNotFound, Status: 404, Attempts: []pullchain.Attempt{a, a, other, again, a},
		}
	}})
	s := serve(t, h)
	e := decodeError(t, do(t, s.Client(), "GET", s.URL+manifestPath).Body)
	if len(e.Detail.Attempts) != 3 || !strings.HasSuffix(e.Message, "not found: hub http_404, mirror http_404") {
		t.Errorf("%+v in %q", e.Detail.Attempts, e.Message)
	}
}
