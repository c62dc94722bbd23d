package front

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// maxMessage bounds the message of an error answer, in bytes: it ends on one
// line of a terminal.
const maxMessage = 1024

// maxWarning bounds a Warning header (distribution-spec, "Warnings": 4096 bytes
// for all of them).
const maxWarning = 1024

// message tells a person what went wrong with each upstream and where to look,
// as in: docker.io/library/alpine:3.20: no upstream could answer: docker-hub
// http_429_quota (retry in 14m), cf-worker conn_refused; see … What an upstream said
// itself is quoted where it decides: of a 4xx.
func (x *exchange) message(words, quote string, e *pullchain.Error, attempts []pullchain.Attempt, code wire.ErrorCode) string {
	advice := x.advice(e, code)
	s := x.req.Image() + ": " + reasons(words, e, attempts) + quote
	return clip(s, maxMessage-len(advice)) + advice
}

// shortMessage is the message for where there is little room: without what the
// client knows, and without an address that may not be its own machine's.
func shortMessage(words, quote string, e *pullchain.Error, attempts []pullchain.Attempt) string {
	return clip(reasons(words, e, attempts)+quote, maxStatusText-len(adviceStatus)) + adviceStatus
}

const adviceStatus = `; run "pullchain status"`

// reasons puts what happened, in words, before why, in codes. Without any attempt
// there is only the error itself to say why.
func reasons(words string, e *pullchain.Error, attempts []pullchain.Attempt) string {
	parts := failures(e, attempts)
	if len(parts) == 0 {
		parts = []string{lastWord(e)}
	}
	return words + ": " + strings.Join(parts, ", ")
}

// advice is the end of a message: what to do.
func (x *exchange) advice(e *pullchain.Error, code wire.ErrorCode) string {
	switch e.Reason {
	case pullchain.NotFound, pullchain.Invalid, pullchain.Denied:
		if e.Reason == pullchain.Denied && speaksOfAccess(e, code) {
			if x.registry.passes() {
				return "; a private image needs a login that may read it: docker login " + wire.Clip(x.r.Host)
			}
			return "; a private image needs a login in the upstream's configuration"
		}
		if x.twice || x.hasTwoV2() {
			return "; " + twiceAdvice
		}
		return ""
	}
	if x.door.adminURL == "" {
		return adviceStatus
	}
	return "; see " + x.door.adminURL + ` or run "pullchain status"`
}

// failures says how each upstream failed: its last attempt, in the order of the
// first ones.
func failures(e *pullchain.Error, attempts []pullchain.Attempt) []string {
	var names []string
	last := make(map[string]string)
	for _, a := range attempts {
		word := wordOf(a)
		if word == outcomeOK { // it answered, and failed in its first bytes
			word = lastWord(e)
		}
		if wait := waitOf(a); wait > 0 {
			word += " (retry in " + roughly(wait) + ")"
		}
		if _, seen := last[a.Upstream]; !seen {
			names = append(names, a.Upstream)
		}
		last[a.Upstream] = word
	}
	for i, name := range names {
		names[i] = name + " " + last[name]
	}
	return names
}

// lastWord is what an error says of itself where no attempt does.
func lastWord(e *pullchain.Error) string {
	if e.Code != "" {
		return string(e.Code)
	}
	return e.Reason.String()
}

// outcomeOK is the word for the attempt that served.
const outcomeOK = "ok"

// wordOf is an attempt's outcome in one stable word: the code of its failure, or
// the gate that kept it from being made.
func wordOf(a pullchain.Attempt) string {
	code := pullchain.CodeOf(a.Err)
	switch {
	case a.Gate != "" && (code == "" || code == pullchain.CodeGate):
		return a.Gate
	case code != "":
		return string(code)
	case a.Err != nil:
		return pullchain.ReasonOf(a.Err).String()
	}
	return outcomeOK
}

// waitOf is when the upstream of a failed attempt may be asked again; 0 if it
// did not say.
func waitOf(a pullchain.Attempt) time.Duration {
	if e, ok := errors.AsType[*pullchain.Error](a.Err); ok {
		return e.RetryAfter
	}
	return 0
}

// roughly writes a wait as a person would: "12s", "14m", "2h10m".
func roughly(d time.Duration) string {
	switch {
	case d <= 90*time.Second:
		return fmt.Sprintf("%ds", max(1, int64((d+time.Second-1)/time.Second)))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int64((d+time.Minute-1)/time.Minute))
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%dh%dm", int64(d/time.Hour), int64(d%time.Hour/time.Minute))
}

// clip cuts s to n bytes and marks the cut in ASCII, for headers.
func clip(s string, n int) string { return wire.Cut(s, n, "...") }
