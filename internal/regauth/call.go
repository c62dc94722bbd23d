package regauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/egress"
)

// maxHops is how many redirects of a token call are followed. None is usual
// (docs/protocol.md 4.6).
const maxHops = 3

// newClient returns a client that leaves redirects to us and keeps no cookies.
func newClient(cfg Config) *http.Client {
	var client http.Client
	if cfg.Client != nil {
		client = *cfg.Client
	} else if transport, err := egress.NewTransport(egress.TransportConfig{Guard: cfg.Guard}); err == nil {
		client.Transport = transport
	}
	client.Jar = nil
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

// call asks for k's token, or joins the call that already does.
func (s *Source) call(w way, k key) <-chan singleflight.Result {
	return s.calls.DoChan(k.String(), func() (any, error) {
		if t, ok := s.tokens.GetIfPresent(k); ok && t.usable() && !t.ageing() {
			return t, nil // another call has ended since its absence was seen
		}
		ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Timeout) // it outlives the request that asked first
		defer cancel()
		t, err := s.fetchLoggedIn(ctx, w, k)
		if err != nil {
			s.noteRefusal(w, k, err)
			return nil, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tokens.Set(k, t)
		return t, nil
	})
}

// wait waits for a call as long as ctx lets it.
func (s *Source) wait(ctx context.Context, result <-chan singleflight.Result) (pullchain.Secret, error) {
	select {
	case r := <-result:
		if r.Err != nil {
			return "", r.Err
		}
		return r.Val.(*token).header, nil
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return "", s.fail(pullchain.Canceled, pullchain.CodeCanceled, 0, context.Cause(ctx))
		}
		return "", s.fail(pullchain.Unavailable, pullchain.CodeToken, 0, context.Cause(ctx))
	}
}

// fetchLoggedIn makes the token call with the login, if the realm may have it, and once
// more with the next where a program has given another since.
func (s *Source) fetchLoggedIn(ctx context.Context, w way, k key) (*token, error) {
	if !w.login {
		return s.fetch(ctx, w, k, Login{})
	}
	login, err := s.login(ctx)
	if err != nil {
		return nil, err
	}
	t, err := s.fetch(ctx, w, k, login)
	if err == nil || pullchain.ReasonOf(err) != pullchain.Denied {
		return t, err
	}
	next, failed := s.logins.after(ctx, login)
	if failed != nil || next == login {
		return nil, err
	}
	return s.fetch(ctx, w, k, next)
}

// fetch makes one token call and follows its redirects, each of which
// must pass the guard and none of which gets the login (CVE-2026-48978).
func (s *Source) fetch(ctx context.Context, w way, k key, login Login) (*token, error) {
	asked := time.Now()
	req, err := s.question(ctx, w, k, login)
	for hop := 0; err == nil; hop++ {
		at := req.URL
		resp, failed := s.client.Do(req)
		if failed != nil {
			return nil, s.failTransport(at, failed)
		}
		next, refused := s.redirect(resp, at, hop)
		if next == nil && refused == nil {
			return s.read(resp, at, w, asked)
		}
		discard(resp)
		if refused != nil {
			return nil, refused
		}
		if req, err = newRequest(ctx, http.MethodGet, next, nil); err == nil {
			req.Response = resp // by which a transport can tell that a redirect led here
		}
	}
	return nil, s.failTransport(w.realm, err)
}

// tokenURL adds the question to the realm, whose own query stays.
func tokenURL(w way, scope string) *url.URL {
	at := *w.realm
	q := url.Values{"scope": strings.Fields(scope)}
	if w.service != "" {
		q.Set("service", w.service)
	}
	if at.RawQuery != "" {
		at.RawQuery += "&"
	}
	at.RawQuery += q.Encode()
	return &at
}

// question is the first hop of a token call. What is secret goes with it alone: the login if
// the realm may have it, the upstream's headers if the realm is the registry. An identity
// token is put by POST (distribution, docs/spec/auth/oauth.md), all else by GET.
func (s *Source) question(ctx context.Context, w way, k key, login Login) (*http.Request, error) {
	method, at, body := http.MethodGet, tokenURL(w, k.scope), io.Reader(nil)
	if login.Username == IdentityUser {
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {login.Password.Reveal()}, "client_id": {"pullchain"}, "service": {w.service}, "scope": strings.Fields(k.scope)}
		method, at, body = http.MethodPost, w.realm, strings.NewReader(form.Encode())
	}
	req, err := newRequest(ctx, method, at, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if sameOrigin(at, s.cfg.Origin) {
		for name, value := range s.cfg.Headers {
			req.Header.Set(name, value.Reveal())
		}
	}
	if basic := login.basic(); basic != "" {
		req.Header.Set("Authorization", basic.Reveal())
	}
	return req, nil
}

// newRequest returns a request to a token server without anything secret.
func newRequest(ctx context.Context, method string, at *url.URL, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, at.String(), body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", egress.UserAgent)
	return req, nil
}

// redirect returns where resp sends us, or nil if it does not.
func (s *Source) redirect(resp *http.Response, from *url.URL, hop int) (*url.URL, error) {
	switch resp.StatusCode {
	case 301, 302, 303, 307, 308:
	default:
		return nil, nil
	}
	refuse := func(err error) error {
		return s.fail(pullchain.Refused, pullchain.CodeAuthRealm, resp.StatusCode, fmt.Errorf("token server %s: %w", from.Host, err))
	}
	if hop == maxHops {
		return nil, refuse(fmt.Errorf("more than %d redirects", maxHops))
	}
	next, err := from.Parse(resp.Header.Get("Location"))
	if err != nil || resp.Header.Get("Location") == "" {
		return nil, refuse(errors.New("a redirect to nowhere"))
	}
	next.Fragment, next.RawFragment = "", ""
	if err := s.cfg.Guard.Check(next, from); err != nil {
		return nil, refuse(fmt.Errorf("its redirect is refused: %w", errors.Unwrap(err)))
	}
	return next, nil
}

// read turns the token server's last answer into a token or an error. The
// answer's text goes into no error: it could repeat the login.
func (s *Source) read(resp *http.Response, at *url.URL, w way, asked time.Time) (*token, error) {
	defer discard(resp)
	if resp.StatusCode != http.StatusOK {
		return nil, s.failStatus(resp, at, w)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err != nil {
		return nil, s.failTransport(at, err)
	}
	if len(body) > maxReply {
		return nil, s.failJunk(at, fmt.Errorf("the reply is larger than %d bytes", maxReply))
	}
	t, err := readToken(body, asked)
	if err != nil {
		return nil, s.failJunk(at, err)
	}
	return t, nil
}

// discard reads what little is left, so that the connection can be used again.
func discard(resp *http.Response) {
	io.CopyN(io.Discard, resp.Body, 64<<10)
	resp.Body.Close()
}
