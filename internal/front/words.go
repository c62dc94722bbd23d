package front

import (
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// kept are the statuses of an upstream that a client is told as they are, when they
// are the last word of a chain: each says something that no other status does
// (docs/faults.md 0.6). The code is for where the registry gave none.
var kept = map[int]wire.ErrorCode{
	http.StatusBadRequest:                   wire.CodeUnsupported,
	http.StatusMethodNotAllowed:             wire.CodeUnsupported,
	http.StatusNotAcceptable:                wire.CodeUnsupported,
	http.StatusGone:                         "", // that of a 404
	http.StatusRequestedRangeNotSatisfiable: codeRangeInvalid,
	http.StatusUnavailableForLegalReasons:   wire.CodeDenied,
}

// keptStatus reports whether e is an upstream's answer that is told as it is.
func keptStatus(e *pullchain.Error) (code wire.ErrorCode, ok bool) {
	switch e.Reason {
	case pullchain.NotFound, pullchain.Denied, pullchain.Invalid:
		code, ok = kept[e.Status]
	}
	return code, ok
}

// isAbsentEndpoint reports whether an upstream has no list of referrers. That is
// 404 by the specification, on which every client goes to the tag that stands for the
// list; registries that do not know the path say other things of it, or show a web
// page. go-containerregistry reads 400 and 406 so too (pkg/v1/remote, referrers.go).
func (x *exchange) isAbsentEndpoint(e *pullchain.Error) bool {
	if x.req.Op != pullchain.Referrers {
		return false
	}
	switch e.Status {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusGone, http.StatusNotImplemented:
		return true
	}
	return e.Reason == pullchain.NotFound || e.Code == pullchain.CodeNotRegistry
}

// once lists each attempt once: a failure may have come up through several links that
// each noted it.
func once(attempts []pullchain.Attempt) []pullchain.Attempt {
	var out []pullchain.Attempt
	for _, a := range attempts {
		same := func(b pullchain.Attempt) bool {
			return !a.Start.IsZero() && a.Start.Equal(b.Start) && a.Upstream == b.Upstream && a.Gate == b.Gate && a.Offset == b.Offset && a.Hedge == b.Hedge
		}
		if !slices.ContainsFunc(out, same) {
			out = append(out, a)
		}
	}
	return out
}

// decisive returns the failure of an upstream that the last word of a chain was
// taken from, which has its text: that of the chain sums up all of them. A failure
// without any attempt speaks for itself.
func decisive(e *pullchain.Error, attempts []pullchain.Attempt) *pullchain.Error {
	if len(attempts) == 0 {
		return e
	}
	found := &pullchain.Error{Reason: e.Reason, Code: e.Code, Status: e.Status}
	for _, a := range attempts {
		one, ok := errors.AsType[*pullchain.Error](a.Err)
		if ok && found.Err == nil && one.Reason == e.Reason && one.Code == e.Code && one.Status == e.Status {
			found = one
		}
	}
	return found
}

// upstreamSaid is how the text of a failure has what an upstream said: its code, or
// "it says", and its words in quotes.
var upstreamSaid = regexp.MustCompile(`^(?:([A-Z_]+)|it says) (".*")$`)

// said returns the code and the words of a failure, safe to show: the upstream's if it
// said something, else our own.
func said(e *pullchain.Error) (code wire.ErrorCode, text string) {
	if e.Err == nil {
		return "", ""
	}
	text = e.Err.Error()
	if m := upstreamSaid.FindStringSubmatch(text); m != nil {
		if words, err := strconv.Unquote(m[2]); err == nil {
			return wire.ErrorCode(m[1]), wire.Clip(words)
		}
	}
	return "", wire.Clip(text)
}

// quoted puts words behind a message.
func quoted(text string) string {
	if text == "" {
		return ""
	}
	return ` ("` + text + `")`
}

// speaksOfAccess reports whether a refusal is one that a login could mend.
func speaksOfAccess(e *pullchain.Error, code wire.ErrorCode) bool {
	switch e.Code {
	case pullchain.CodeUnauthorized, pullchain.CodeForbidden:
		return code == "" || code == wire.CodeDenied || code == wire.CodeUnauthorized
	}
	return false
}

// aboutPlace tells a refusal of our policy that is about where an address lies, and
// settings are the words by which a refusal names its setting itself.
var (
	aboutPlace = regexp.MustCompile(`private|fake-ip|port|prohibited|special`)
	settings   = regexp.MustCompile(`allow_private|auth_hosts|redirect_hosts`)
)

// settingOf names the setting that would allow what our policy refused, if there is
// one and the refusal does not name it: never for a downgrade, nor for addresses that
// are dialled for nothing.
func settingOf(e *pullchain.Error, text string) string {
	if e.Reason != pullchain.Refused || settings.MatchString(text) || !aboutPlace.MatchString(text) {
		return ""
	}
	switch e.Code {
	case pullchain.CodeAuthRealm:
		return "; if it is to be asked, name it in the upstream's auth_hosts, or set allow_private"
	case pullchain.CodeRedirectBlocked:
		return "; if it is to be asked, set the upstream's allow_private"
	}
	return ""
}

// reallyLimited reports whether nothing but a limit keeps every upstream from
// answering. A 503 that names a time is a registry in trouble: to a client it is 503.
func reallyLimited(attempts []pullchain.Attempt) bool {
	for _, a := range attempts {
		e, ok := errors.AsType[*pullchain.Error](a.Err)
		if !ok || e.Reason != pullchain.Limited {
			continue
		}
		switch e.Code {
		case pullchain.CodeQuota, pullchain.CodeAbuse, pullchain.CodeThrottle, pullchain.CodeWorkerQuota, pullchain.CodeQuotaLow:
		default:
			return false
		}
	}
	return true
}

// hasTwoV2 reports whether the path has /v2/ before the registry and after it, as
// containerd writes it for a mirror with a path and without override_path.
func (x *exchange) hasTwoV2() bool {
	return x.form == formPath && strings.HasPrefix(x.req.Repo, "v2/")
}
