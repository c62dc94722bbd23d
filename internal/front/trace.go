package front

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/pullchain/pullchain"
)

// detail is the trace in an error answer. It names upstreams and codes only: the
// text of an error may quote an upstream, and stays in the log.
type detail struct {
	RequestID string          `json:"request_id"`
	Image     string          `json:"image,omitempty"`
	Attempts  []detailAttempt `json:"attempts,omitempty"`
}

// A detailAttempt is one attempt as the "detail" of an error answer has it. Its
// field names are an interface: scripts read them.
type detailAttempt struct {
	Upstream string `json:"upstream"`
	Outcome  string `json:"verdict"` // "ok", a Reason, or "not asked"
	Code     string `json:"code,omitempty"`
	MS       int64  `json:"ms"`
	Offset   int64  `json:"offset,omitempty"`
	Gate     string `json:"gate,omitempty"`
	RetryS   int64  `json:"retry_after_s,omitempty"`
}

// newDetail copies of each attempt what is safe to show to any client.
func newDetail(id, image string, attempts []pullchain.Attempt) detail {
	d := detail{RequestID: id, Image: image}
	for _, a := range attempts {
		d.Attempts = append(d.Attempts, detailAttempt{
			Upstream: a.Upstream,
			Outcome:  outcomeOf(a),
			Code:     string(pullchain.CodeOf(a.Err)),
			MS:       a.Took.Milliseconds(),
			Offset:   a.Offset,
			Gate:     a.Gate,
			RetryS:   int64(waitOf(a).Seconds()),
		})
	}
	return d
}

// outcomeOf is an attempt's outcome as a class: its reason, where wordOf has the
// code.
func outcomeOf(a pullchain.Attempt) string {
	switch {
	case a.Gate != "":
		return "not asked"
	case a.Err != nil:
		return pullchain.ReasonOf(a.Err).String()
	}
	return outcomeOK
}

// traceLine writes attempts for the access log, as in
// "docker-hub:http_429_quota(3ms) cf-worker:ok(38ms)". "@n" is the offset at
// which an attempt began, "+" one that was begun beside another.
func traceLine(attempts []pullchain.Attempt) string {
	var b strings.Builder
	for i, a := range attempts {
		if i > 0 {
			b.WriteByte(' ')
		}
		if a.Hedge {
			b.WriteByte('+')
		}
		b.WriteString(a.Upstream)
		if a.Offset > 0 {
			fmt.Fprintf(&b, "@%d", a.Offset)
		}
		b.WriteByte(':')
		word := wordOf(a)
		if a.Gate != "" && a.Gate != word {
			b.WriteString(a.Gate + "/")
		}
		fmt.Fprintf(&b, "%s(%dms)", word, a.Took.Milliseconds())
	}
	return b.String()
}

// degraded says what went wrong before the attempt that served, as in
// "docker-hub http_429_quota"; "" if nothing did.
func degraded(attempts []pullchain.Attempt) string {
	var parts []string
	for _, a := range attempts {
		if isTrouble(a) {
			parts = append(parts, a.Upstream+" "+wordOf(a))
		}
	}
	return strings.Join(parts, ", ")
}

// isTrouble reports whether an attempt tells of something wrong. A mirror that
// does not have the content, now or a moment ago, and the loser of a race are in
// order.
func isTrouble(a pullchain.Attempt) bool {
	if a.Err == nil {
		return a.Gate != ""
	}
	reason := pullchain.ReasonOf(a.Err)
	return reason != pullchain.NotFound && reason != pullchain.Canceled
}

// proxyErrors are the error types of RFC 9209 2.3 that tell our statuses apart.
var proxyErrors = map[int]string{
	http.StatusServiceUnavailable: "destination_unavailable",
	http.StatusTooManyRequests:    "destination_unavailable",
	http.StatusBadGateway:         "http_protocol_error",
	http.StatusGatewayTimeout:     "connection_timeout",
}

// proxyError writes the Proxy-Status of an error answer.
func proxyError(status int, attempts []pullchain.Attempt) string {
	s := "pullchain"
	if word := proxyErrors[status]; word != "" {
		s += "; error=" + word
	}
	if trouble := degraded(attempts); trouble != "" {
		s += "; details=" + sfString(clip(trouble, maxWarning))
	}
	return s
}

// sfString quotes s as a String of RFC 8941, which is a quoted-string of RFC 9110
// too: printable ASCII, with backslashes before quotes and backslashes.
func sfString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r < ' ' || r > '~':
			r = '?'
		case r == '"' || r == '\\':
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	b.WriteByte('"')
	return b.String()
}
