package upstreams

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// An answer is what classifyStatus judges by: all there is of it, no I/O.
type answer struct {
	status     int
	header     http.Header
	body       []byte // at most 64 KiB of it
	op         pullchain.Op
	pinned     bool      // it was asked for by digest
	known      bool      // the host has lately answered as a registry
	redirected bool      // it came from where a redirect led, be it to the same host
	offOrigin  bool      // and that is another origin
	now        time.Time // zero: time.Now
	sent       time.Time // by the sender's clock
}

// optional reports whether the endpoint is one that registries need not have, or have
// for people: what it says is no word on images.
func (a answer) optional() bool { return a.op == pullchain.Tags || a.op == pullchain.Referrers }

// classifyStatus says what an answer of 300 or more means. It is the one place where a
// status becomes a Reason and a Reach (docs/faults.md 7 and 0.2). The order of the cases
// matters: the more an answer says of itself, the earlier it is looked at, so that a
// Worker that has spent its quota is not taken for a server error, nor an expired link
// of a CDN for a registry that denies.
//
// Each case names its reach as if the upstream's own host had answered for an image.
// What a foreign host says (where a redirect led), and what an optional endpoint says,
// reaches no further than the request.
func classifyStatus(a answer) *pullchain.Error {
	if a.now.IsZero() {
		a.now = time.Now()
	}
	a.sent = wire.SentAt(a.header, a.now)
	e := &pullchain.Error{
		Status:     a.status,
		RetryAfter: wire.ClampRetryAfter(wire.ParseRetryAfter(a.header.Get("Retry-After"), a.sent)),
		Quota:      wire.ParseQuota(a.header, a.now),
	}
	if code, message := wire.ParseError(a.body); message != "" || code != "" {
		e.Err = fmt.Errorf("%s %q", cmp.Or(string(code), "it says"), message)
	}
	switch {
	case a.op == pullchain.Referrers && noReferrers(a):
		// No API of that name: the client looks for the tag instead (distribution-spec,
		// "Unavailable Referrers API").
		e.Reason, e.Code, e.Reach = pullchain.NotFound, pullchain.CodeUnexpected, pullchain.ReachRequest
		e.RetryAfter = 0
	case a.status >= 500 || a.status == http.StatusTooManyRequests:
		classifyLater(a, e)
	case a.status == http.StatusProxyAuthRequired: // of a proxy that forwards plain http (egress.NewTransport)
		e.Reason, e.Code, e.Reach = pullchain.Egress, pullchain.CodeEgressAuth, pullchain.ReachLane
		return e // it is the egress's, whichever host was asked
	case a.status >= 400:
		classifyNo(a, e)
	default: // a redirect without a place to go, a 304 to nothing: an odd answer to one request
		e.Reason, e.Code, e.Reach = pullchain.Unavailable, pullchain.CodeUnexpected, pullchain.ReachRequest
	}
	if a.offOrigin || a.optional() {
		e.Reach = pullchain.ReachRequest
	}
	return e
}

// noReferrers reports whether the answer means that there is no such API here, rather
// than that the registry has no time or the subject is not for us: what web servers say
// to a path that they do not know, and whatever the web page says to which a redirect
// led.
func noReferrers(a answer) bool {
	switch a.status {
	case http.StatusNotFound, http.StatusGone: // which say so themselves
		return false
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusNotImplemented:
		return true
	}
	return a.offOrigin || a.status < 500 && a.status >= 400 && isHTML(a) && a.status != http.StatusTooManyRequests
}

// classifyLater is for answers that say "not now".
func classifyLater(a answer, e *pullchain.Error) {
	switch {
	case workerQuotaSpent(a): // of the relay's account, whatever it is asked for
		e.Reason, e.Code, e.Reach = pullchain.Limited, pullchain.CodeWorkerQuota, pullchain.ReachLane
		e.RetryAfter = untilMidnightUTC(a.sent)
	case a.status == http.StatusTooManyRequests:
		classifyLimit(a, e)
	case a.status == http.StatusServiceUnavailable && e.RetryAfter > 0:
		// It is well enough to ask for a pause, and asks it of those that want this image:
		// one that is being maintained for an hour is not the registry.
		e.Reason, e.Code, e.Reach = pullchain.Limited, pullchain.CodeServerError, pullchain.ReachContent
	case a.status >= 520 && a.status <= 530: // Cloudflare has no way to the upstream's own host
		e.Reason, e.Code, e.Reach = pullchain.Unavailable, pullchain.CodeOriginDown, pullchain.ReachLane
	default: // it may be one image's fault: the balancer counts those of different contents
		e.Reason, e.Code, e.Reach = pullchain.Unavailable, pullchain.CodeServerError, pullchain.ReachClass
	}
}

// classifyNo is for answers of 400 to 499 that are no limit.
func classifyNo(a answer, e *pullchain.Error) {
	// It has looked at what was asked for, and its word is on that.
	e.Reason, e.Code, e.Reach = pullchain.Denied, pullchain.CodeUnexpected, pullchain.ReachContent
	switch a.status {
	case http.StatusNotFound, http.StatusGone:
		classifyMissing(a, e)
	case http.StatusRequestedRangeNotSatisfiable:
		if a.op != pullchain.Blob {
			return
		}
		// The client's mistake, or what stands before the blob knows no ranges.
		e.Reason, e.Code, e.Reach = pullchain.Invalid, pullchain.CodeWrongRange, pullchain.ReachRequest
		if got, err := wire.ParseContentRange(a.header.Get("Content-Range")); errors.Is(err, wire.ErrUnsatisfied) {
			e.Size = max(got.Total, 0)
		}
	case http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong: // of this name or query
		e.Reach = pullchain.ReachRequest
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusRequestHeaderFieldsTooLarge:
		// These say nothing of what was asked for (RFC 9110 15.5.9, RFC 8470 5.2, RFC 6585
		// 5), and no more of the next request: another upstream may well answer.
		e.Reason, e.Code, e.Reach = pullchain.Unavailable, pullchain.CodeServerError, pullchain.ReachRequest
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		switch {
		case a.redirected: // S3 says 400 or 403 of an expired link, and so it does of one that is for GET alone
			e.Reason, e.Code, e.Reach = pullchain.Unavailable, pullchain.CodeSignedURL, pullchain.ReachRequest
		case isPage(a):
			notRegistryHere(e)
		case a.status == http.StatusUnauthorized: // after logging in as configured: see attempt.ask
			e.Code = pullchain.CodeUnauthorized
		case a.status == http.StatusForbidden:
			e.Code = pullchain.CodeForbidden
		}
	}
}

// classifyMissing tells a registry's "not found" from a router's, a web server's or a
// CDN's (docs/faults.md 0.5). It takes an error in the registry's own words, or its mark
// on an answer that is no page; a bare 404 for a digest from a host that is known for a
// registry counts, but is not final.
func classifyMissing(a answer, e *pullchain.Error) {
	e.Reason, e.Code, e.Reach = pullchain.NotFound, pullchain.CodeNotFound, pullchain.ReachContent
	switch own := !a.offOrigin; {
	case wire.IsErrorBody(a.body), isVersioned(a.header) && !isHTML(a):
		e.Final = own // else it is no word of this registry, which has just said that it is there
	case a.pinned && (a.known && !isHTML(a) || !own && a.op == pullchain.Blob):
	case a.op == pullchain.Referrers:
	default:
		notRegistryHere(e)
	}
}

// notRegistryHere is for what stands where a registry should. Whether one is there at all
// is the probe's to find out: a page may stand in one image's place alone.
func notRegistryHere(e *pullchain.Error) {
	e.Reason, e.Code, e.Reach, e.Final = pullchain.Unavailable, pullchain.CodeNotRegistry, pullchain.ReachRequest, false
}

// minBan is the least time to leave an upstream alone that has called us
// abusive: asking again extends the ban (docs/faults.md F09).
const minBan = time.Minute

// classifyLimit tells the kinds of 429 apart. Hub's pull quota is OCI JSON and
// speaks of manifests; its abuse limit is plain text and Cloudflare's is HTML,
// and both speak of everything; GHCR asks for milliseconds (docs/protocol.md 4.1).
// One that says nothing at all is taken for the mildest (docs/faults.md F07).
func classifyLimit(a answer, e *pullchain.Error) {
	// Even the abuse limit may be for blobs alone, at one of the registry's servers: where it
	// is for all, the other class finds out, or the probe.
	e.Reason, e.Reach = pullchain.Limited, pullchain.ReachClass
	if e.RetryAfter == 0 {
		e.RetryAfter = untilReset(a)
	}
	code, _ := wire.ParseError(a.body)
	wait := cmp.Or(wire.RetryAfterText(string(a.body)), wire.RetryAfterText("retry-after: "+a.header.Get("Retry-After")))
	if e.RetryAfter == 0 {
		e.RetryAfter = wait
	}
	switch {
	case wait > 0 && wait < time.Second && e.RetryAfter == wait:
		e.Code = pullchain.CodeThrottle
		return
	case code != "", e.Quota.Spent():
		// A registry's own JSON, or its own figures, of a HEAD or where a proxy has put a page
		// in the place of its words: a quota of what was asked for.
		e.Code = pullchain.CodeQuota
	case len(a.body) == 0 && !strings.HasPrefix(a.header.Get("Content-Type"), "text/"), // a HEAD's answer has its type alone
		isObject(a.body): // of another kind, as Docker's own API: no guard's page
		e.Code = pullchain.CodeThrottle
	default: // plain text or a page, from what stands before the registry
		e.Code = pullchain.CodeAbuse
		e.Assumed = e.RetryAfter == 0
		e.RetryAfter = max(e.RetryAfter, minBan)
	}
	e.RetryAfter = wire.ClampRetryAfter(e.RetryAfter)
}

// untilReset reads when the window of a quota ends, where a header names that:
// in seconds from now (draft-ietf-httpapi-ratelimit-headers) or since 1970, as
// GitLab does, and Docker's own API in X-Retry-After. Docker Hub's ratelimit-limit has the window's length alone, which
// says nothing of its end.
func untilReset(a answer) time.Duration {
	for _, name := range []string{"RateLimit-Reset", "X-RateLimit-Reset", "X-Retry-After"} {
		n, err := strconv.ParseInt(a.header.Get(name), 10, 64)
		switch {
		case err != nil || n <= 0:
		case n < 1e9:
			return time.Duration(n) * time.Second
		default:
			return max(time.Unix(n, 0).Sub(a.sent), 0)
		}
	}
	return 0
}

// workerQuotaSpent recognises Cloudflare's error 1027: the relay's requests of
// the day are used up, and come back at midnight UTC (docs/faults.md F10).
func workerQuotaSpent(a answer) bool {
	if a.status != http.StatusTooManyRequests && a.status < 500 {
		return false
	}
	cloudflare := a.header.Get("CF-RAY") != "" || strings.EqualFold(a.header.Get("Server"), "cloudflare")
	return cloudflare && error1027.Match(a.body)
}

// error1027 matches the number as a word of its own: every page of Cloudflare's
// has a Ray ID and an address too, which may hold the same digits.
var error1027 = regexp.MustCompile(`(?:^|[^0-9A-Za-z.:-])1027(?:[^0-9A-Za-z]|$)`)

// untilMidnightUTC is when Cloudflare's daily quotas begin anew.
func untilMidnightUTC(now time.Time) time.Duration {
	y, m, d := now.UTC().Date()
	return time.Date(y, m, d+1, 0, 0, 0, 0, time.UTC).Sub(now)
}

// isHTML reports whether the answer is a web page, whatever it is labelled. The XML of an
// object store is none: it means what it says.
func isHTML(a answer) bool {
	text := strings.ToLower(string(bytes.TrimLeft(a.body[:min(len(a.body), 512)], " \t\r\n\uFEFF")))
	xml := strings.HasPrefix(text, "<?xml") || strings.HasPrefix(text, "<error>")
	return strings.HasPrefix(strings.ToLower(a.header.Get("Content-Type")), "text/html") || looksLikeHTML(a.body) && !xml
}

// isPage reports whether the answer is for people: a block page, or a challenge that
// wants a browser.
func isPage(a answer) bool { return isHTML(a) || a.header.Get("Cf-Mitigated") != "" }
