package pullchain

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Reason says why a Fetch failed. What to do next follows from it alone: the
// methods of Reason are the whole failover policy (docs/architecture.md, Contracts).
type Reason uint8

// The reasons. The zero Reason is Unavailable, so that an error without a
// class counts as the upstream being down.
const (
	Unavailable Reason = iota // dial error, timeout, 5xx, stall, cut body
	Limited                   // 429, or a quota known to be spent
	NotFound                  // the upstream answered: no such thing
	Denied                    // 401 or 403, after authenticating as configured
	Corrupt                   // bytes that are not what was asked for
	Egress                    // the proxy on the way out is down or refuses us
	Refused                   // our own policy said no: a redirect inward, a downgrade, too large
	Canceled                  // our client went away
	Invalid                   // the request itself is wrong
)

// Blame says which of a lane's gates an outcome counts against.
type Blame uint8

// What a failure is held against.
const (
	BlameNobody     Blame = iota // the upstream answered, or it is not its fault
	BlameBreaker                 // a failure in the breaker's window
	BlameCooldown                // the gate stays shut until a time
	BlameQuarantine              // not to be trusted with bytes for a while
	BlameEgress                  // the egress's own breaker, shared by all its lanes
	BlameCounted                 // counted for people to see: what our own policy refuses is no fault of the lane
)

var reasons = [...]struct {
	name     string
	failover bool
	blame    Blame
	status   int
}{
	Unavailable: {"unavailable", true, BlameBreaker, http.StatusServiceUnavailable},
	Limited:     {"limited", true, BlameCooldown, http.StatusServiceUnavailable},
	NotFound:    {"not found", true, BlameNobody, http.StatusNotFound},
	Denied:      {"denied", true, BlameNobody, http.StatusForbidden},
	Corrupt:     {"corrupt", true, BlameQuarantine, http.StatusBadGateway},
	Egress:      {"egress", true, BlameEgress, http.StatusServiceUnavailable},
	Refused:     {"refused", true, BlameCounted, http.StatusBadGateway},
	Canceled:    {"canceled", false, BlameNobody, 499},
	Invalid:     {"invalid", false, BlameNobody, http.StatusBadRequest},
}

// String returns the reason's name, as in "unavailable".
func (r Reason) String() string { return reasons[r].name }

// Failover reports whether another upstream may do better.
func (r Reason) Failover() bool { return reasons[r].failover }

// Blame returns what a failure for this reason is held against.
func (r Reason) Blame() Blame { return reasons[r].blame }

// HTTPStatus returns what a client is told when r is the last word. Limited is
// 503 here; it is 429 only when every path is Limited, which the caller knows.
func (r Reason) HTTPStatus() int { return reasons[r].status }

// Reach says how far a failure is evidence: what else than the request that failed
// may be judged by it (docs/faults.md 0.2). Gates close for what an answer reaches,
// and for nothing beyond; several narrow failures of different things add up to a
// wider one.
type Reach uint8

// The reaches. The zero Reach is the class of the request that failed.
const (
	ReachClass   Reach = iota // requests of the same class on this lane
	ReachLane                 // everything on this lane: its own host is gone, or bans us
	ReachToken                // the token server: requests that need a new token
	ReachContent              // this tag or digest on this lane: another image's are no worse for it
	ReachRequest              // this very request only: an odd label, an optional endpoint, a foreign host, our own policy
)

// Code is the stable word for a failure, for people, metrics and translations
// (docs/faults.md 7, reason codes).
type Code string

// The codes.
const (
	CodeNoDescriptors    Code = "no_descriptors" // of ours, so that it says nothing of an upstream
	CodeDNS              Code = "dns"
	CodeConnRefused      Code = "conn_refused"
	CodeConnTimeout      Code = "conn_timeout"
	CodeConnReset        Code = "conn_reset"
	CodeHeaderTimeout    Code = "header_timeout"
	CodeHeaderTooLarge   Code = "header_too_large"
	CodeHTTP2            Code = "http2"
	CodeEgressProxy      Code = "egress_proxy"
	CodeSourceAddress    Code = "source_address" // of ours, that connections were to come from
	CodeEgressAuth       Code = "egress_auth"
	CodeTLSHandshake     Code = "tls_handshake"
	CodeTLSCert          Code = "tls_cert"
	CodeQuota            Code = "http_429_quota"
	CodeAbuse            Code = "http_429_abuse"
	CodeThrottle         Code = "http_429_throttle" // a short "slow down", as GHCR sends
	CodeWorkerQuota      Code = "worker_quota"      // Cloudflare 1027: the relay's daily requests are spent
	CodeNotFound         Code = "http_404"
	CodeUnauthorized     Code = "http_401"
	CodeForbidden        Code = "http_403"
	CodeServerError      Code = "http_5xx"
	CodeOriginDown       Code = "http_52x" // Cloudflare's 520-527 and 530
	CodeUnexpected       Code = "http_unexpected"
	CodeAuthRealm        Code = "auth_realm"
	CodeToken            Code = "auth_token"
	CodeCredentialHelper Code = "credential_helper"
	CodeNotRegistry      Code = "not_registry"
	CodeWrongType        Code = "wrong_type"
	CodeWrongSize        Code = "wrong_size"
	CodeWrongRange       Code = "wrong_range"
	CodeEncoded          Code = "content_encoded"
	CodeTooLarge         Code = "too_large"
	CodeDigestMismatch   Code = "digest_mismatch"
	CodeTruncated        Code = "truncated"
	CodeStall            Code = "stall"
	CodeTooSlow          Code = "too_slow" // others were much faster
	CodeRedirectBlocked  Code = "redirect_blocked"
	CodeRedirectLoop     Code = "redirect_loop"
	CodeSignedURL        Code = "signed_url" // a CDN refused a presigned URL
	CodeLoop             Code = "loop"       // another pullchain, which leads back to this one
	CodeQuotaLow         Code = "quota_low"
	CodeAdmin            Code = "admin"
	CodeGate             Code = "gate" // the lane was not asked: a gate is shut
	CodeNoUpstream       Code = "no_upstream"
	CodeCanceled         Code = "canceled"
	CodePolicy           Code = "policy" // [policy] of the configuration forbids it
	CodeInvalid          Code = "invalid"
)

// Error is a failed Fetch.
type Error struct {
	Reason     Reason
	Code       Code
	Upstream   string        // that failed; empty if no upstream was reached
	Status     int           // the upstream's HTTP status; 0 if none came
	RetryAfter time.Duration // when the upstream said to come back; 0 if it did not
	Assumed    bool          // RetryAfter is a guess: the upstream named no time
	Reach      Reach         // how far this is evidence
	Final      bool          // a registry's own "not found": final if the upstream is authoritative
	Size       int64         // of the whole content, when a range was beyond it (416); else 0
	Quota      *Quota        // what the upstream said of its quota; nil if nothing
	Attempts   []Attempt     // set by the balancer: every try behind this error
	Err        error         // the cause, for logs; may be nil
}

func (e *Error) Error() string {
	s := e.Reason.String()
	if e.Code != "" {
		s += " " + string(e.Code)
	}
	if e.Upstream != "" {
		s = e.Upstream + ": " + s
	}
	if e.Status != 0 {
		s += fmt.Sprintf(" (HTTP %d)", e.Status)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ReasonOf returns the Reason in err's chain. A canceled context is Canceled;
// anything else without a Reason is Unavailable.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	if errors.Is(err, context.Canceled) {
		return Canceled
	}
	return Unavailable
}

// CodeOf returns the Code in err's chain, or the empty Code.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}
