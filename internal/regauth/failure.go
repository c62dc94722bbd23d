package regauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/lapse"
	"github.com/pullchain/pullchain/internal/wire"
)

// How long a refusal is remembered and answered from memory. Failed logins get
// accounts and addresses banned, so a refused login is not tried again for a while
// (docs/protocol.md 4.1); an anonymous refusal holds as long as any negative answer
// does (docs/faults.md 9: negative cache 30 s).
const (
	refusedLogin     = 5 * time.Minute
	refusedAnonymous = 30 * time.Second
)

// A refusal is an error to give again until a time.
type refusal struct {
	err   error
	until time.Time
}

func (s *Source) refuse(k key, backoff time.Duration, err error) {
	s.refusals.Set(k, refusal{err: err, until: time.Now().Add(backoff)})
}

// refused returns the first refusal of any of keys that still holds.
func (s *Source) refused(keys ...key) error {
	for _, k := range keys {
		if r, ok := s.refusals.GetIfPresent(k); ok && !lapse.Over(r.until, time.Now()) {
			return r.err
		}
	}
	return nil
}

// noteRefusal remembers that the token server said no. A 401 to a login is
// about the login and so holds for every scope; anything else is about k.
func (s *Source) noteRefusal(w way, k key, err error) {
	e, ok := errors.AsType[*pullchain.Error](err)
	switch {
	case !ok || e.Reason != pullchain.Denied:
	case w.login && e.Status == http.StatusUnauthorized:
		s.refuse(k.allScopes(), refusedLogin, err)
	case w.login:
		s.refuse(k, refusedLogin, err)
	default:
		s.refuse(k, refusedAnonymous, err)
	}
}

// fail makes an error. What the token server says, or that it says nothing, is in the
// way of requests that need a new token. What our own policy refuses is no fault of it,
// and judges the one request (docs/faults.md 0.2).
func (s *Source) fail(reason pullchain.Reason, code pullchain.Code, status int, err error) *pullchain.Error {
	reach := pullchain.ReachToken
	if reason == pullchain.Refused {
		reach = pullchain.ReachRequest
	}
	return &pullchain.Error{Reason: reason, Code: code, Upstream: s.cfg.Upstream, Status: status, Reach: reach, Err: err}
}

func (s *Source) failJunk(at *url.URL, err error) error {
	return s.fail(pullchain.Unavailable, pullchain.CodeToken, 0, fmt.Errorf("token server %s: %w", at.Host, err))
}

// errLogin is the registry's refusal of what was configured.
func (s *Source) errLogin(status int) error {
	return s.fail(pullchain.Denied, pullchain.CodeUnauthorized, status, errors.New("the registry refuses the configured login"))
}

// failTransport says what it means that no whole answer came: the guard's word
// at the dial, the egress's failure, or the token server's.
func (s *Source) failTransport(at *url.URL, err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the URL and its query
	}
	err = fmt.Errorf("token server %s: %w", at.Host, err)
	if pullchain.ReasonOf(err) == pullchain.Refused {
		return s.fail(pullchain.Refused, pullchain.CodeAuthRealm, 0, err)
	}
	if code, ok := egress.ProxyFailure(err); ok {
		return s.fail(pullchain.Egress, code, 0, err)
	}
	return s.fail(pullchain.Unavailable, pullchain.CodeToken, 0, err)
}

// failStatus says what an answer other than 200 means. That there is no token
// server there, or a sick one, is Unavailable; that it does not like this one
// question is Denied, which counts against no upstream.
func (s *Source) failStatus(resp *http.Response, at *url.URL, w way) error {
	status := resp.StatusCode
	err := fmt.Errorf("token server %s answered HTTP %d", at.Host, status)
	wait := wire.ClampRetryAfter(wire.ParseRetryAfter(resp.Header.Get("Retry-After"), wire.SentAt(resp.Header, time.Now())))
	switch {
	case status == http.StatusTooManyRequests:
		e := s.fail(pullchain.Limited, pullchain.CodeThrottle, status, err)
		e.RetryAfter = wait
		return e
	case status == http.StatusServiceUnavailable && wait > 0:
		e := s.fail(pullchain.Limited, pullchain.CodeToken, status, err)
		e.RetryAfter = wait
		return e
	case status == http.StatusProxyAuthRequired:
		return s.fail(pullchain.Egress, pullchain.CodeEgressAuth, status, err)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return s.fail(pullchain.Denied, pullchain.CodeUnauthorized, status, fmt.Errorf("%w %s", err, s.loginHint(at, w)))
	case status >= 500, status == http.StatusNotFound, status == http.StatusGone, status == http.StatusRequestTimeout, status < 400:
		return s.fail(pullchain.Unavailable, pullchain.CodeToken, status, err)
	}
	return s.fail(pullchain.Denied, pullchain.CodeToken, status, err)
}

// loginHint says with which login the token server was asked.
func (s *Source) loginHint(at *url.URL, w way) string {
	switch {
	case w.client:
		return "to the client's login"
	case w.login:
		return "to the configured login"
	case s.logins.can() && at.Scheme == "http":
		return "to an anonymous request: the login does not go over plain http unless auth_hosts names it, as " + wire.Quote("http://"+at.Host)
	case s.logins.can():
		return "to an anonymous request: the login is not for " + wire.Quote(at.Hostname()) + " unless auth_hosts names it"
	}
	return "to an anonymous request"
}
