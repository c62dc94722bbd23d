package upstreams

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/wire"
)

// An attempt is one request to the upstream: at most one replay after a challenge, one
// after a presigned URL that had expired, the redirects, and a step down where the way
// that it was put is refused (stepdown.go). That is as much as one attempt may be:
// whether to try again is for the balancer to say, which knows of other upstreams, and
// counts (docs/faults.md 9).
//
// Its context governs the body too, and its cause tells why a body ended: a stall of
// the far end, or the end of the request.
type attempt struct {
	u      *Upstream
	req    pullchain.Request
	ctx    context.Context
	cancel context.CancelCauseFunc

	as    manner // how the request is put now
	steps steps  // what of it has been refused so far

	little *pullchain.Response // what a HEAD has told, too little; it is the answer if GET fails

	told       []pullchain.Secret // every Authorization that was sent
	redirected bool               // the answer in hand came from where a redirect led,
	offOrigin  bool               // and that is, or was on the way, another origin
	blobHost   string             // of the last place abroad that a redirect for a blob led to
}

// run asks the registry until an answer is of use, or there is no lesser way to put the
// request.
func (a *attempt) run() (pullchain.Response, error) {
	a.as = a.u.skills.manner(a.req)
	a.as.head = a.as.head && !a.req.Options.AnyHeader // of which only the document tells
	for {
		got, err := a.once()
		if err == nil {
			a.u.skills.learn(a.req, &a.steps)
			return got, nil
		}
		if a.stepDown(err) {
			continue
		}
		if a.little != nil {
			a.cancel(nil)
			return *a.little, nil
		}
		return pullchain.Response{}, err
	}
}

// once asks and turns the answer into a Response. Whatever fails after the headers
// closes the answer's body here: above, there is no body beside an error.
func (a *attempt) once() (pullchain.Response, error) {
	resp, err := a.ask()
	if err != nil {
		return pullchain.Response{}, err
	}
	if resp.StatusCode >= 300 {
		return pullchain.Response{}, a.refusal(resp)
	}
	got, err := a.respond(resp)
	if err != nil {
		resp.Body.Close()
		return pullchain.Response{}, err
	}
	return got, nil
}

// ask sends the request to the upstream's own origin, logged in, and follows the
// redirects. A challenge of that origin is answered once; a second 401 is the
// upstream's last word, and so is the first to a token that was fetched for this very
// request (docs/faults.md F15).
func (a *attempt) ask() (*http.Response, error) {
	repo := a.u.repo(a.req)
	for replay := false; ; {
		a.redirected, a.offOrigin = false, false
		fresh, wanted := a.u.auth.NeedsToken(repo), a.u.auth.Wanted(repo)
		login, err := a.login(repo, fresh)
		if err != nil {
			return nil, err
		}
		resp, err := a.hop(a.u.url(a.req), login)
		if err != nil {
			return nil, err
		}
		a.learn(resp)
		if a.blobOverHTTP2(resp) { // ask again, over connections that do not share a throttle
			resp.Body.Close()
			a.u.redirects.Store(false)
			continue
		}
		if resp, err = a.follow(resp, login); err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusUnauthorized || replay || a.offOrigin || a.u.passes(a.req) { // another token is for the client to get
			return resp, nil
		}
		if login != "" { // no other request is to be refused for it
			a.u.auth.Reject(repo, login)
		}
		err = a.u.auth.Learn(resp, repo)
		if err == nil && fresh && a.u.auth.Wanted(repo) == wanted {
			return resp, nil // the next token would be no better than this one
		}
		discard(resp)
		if err != nil {
			return nil, err
		}
		replay = true
	}
}

// login returns the Authorization for a request for repo, waiting for a token if fetch is
// set. The call for it may be another request's and has a context of its own, so that
// a caller that traces this attempt's connections would see nothing happen: it is shown
// a wait for a connection that is not being dialled. The upstream is not silent meanwhile, and a
// request that has no other waits as long as its client does.
func (a *attempt) login(repo string, fetch bool) (pullchain.Secret, error) {
	if a.u.passes(a.req) {
		return "Bearer " + a.req.Bearer, nil
	}
	if trace := httptrace.ContextClientTrace(a.ctx); fetch && trace != nil {
		if trace.GetConn != nil {
			trace.GetConn(tokenServer)
		}
		if trace.GotConn != nil {
			defer trace.GotConn(httptrace.GotConnInfo{})
		}
	}
	return a.u.auth.Header(a.ctx, repo)
}

// tokenServer stands for the host:port of whatever token server it is.
const tokenServer = "token server"

// blobOverHTTP2 reports whether resp, which was to be a redirect, is the blob
// itself after all. One that is small may come as it does.
func (a *attempt) blobOverHTTP2(resp *http.Response) bool {
	large := resp.ContentLength < 0 || resp.ContentLength > maxOverHTTP2
	return a.req.Op == pullchain.Blob && !a.as.head && resp.StatusCode < 300 && resp.ProtoMajor > 1 && large
}

// maxOverHTTP2 is up to what size a blob is taken over HTTP/2. Ranges of a large one
// would go over one connection there, under one throttle and one flow control window.
const maxOverHTTP2 = 256 << 10

// url returns where the upstream keeps what req asks for. A client's query goes on
// only where the specification has one: paging, and the filter of referrers. A client's
// "ns" is for us alone; an upstream that serves several registries gets one of ours, by
// which it tells them apart as a client of it would (docs/protocol.md 4.5).
func (u *Upstream) url(req pullchain.Request) *url.URL {
	registry := req.Registry
	req.Repo = u.repo(req)
	at := *u.origin
	at.Path = u.base + strings.TrimPrefix(wire.Path(req), "/v2")
	if req.Op == pullchain.Tags || req.Op == pullchain.Referrers {
		at.RawQuery = req.Query
	}
	if u.cfg.NS && registry != "" {
		if at.RawQuery != "" {
			at.RawQuery += "&"
		}
		at.RawQuery += "ns=" + url.QueryEscape(registry)
	}
	return &at
}

// repo returns the name that the upstream has for the repository of req.
func (u *Upstream) repo(req pullchain.Request) string { return u.prefix + u.cfg.rewritten(req.Repo) }

// hop makes one HTTP request. The upstream's own headers go to its origin alone, and so
// does its login; login is for to and for nothing that to leads to. A hop that a
// redirect led elsewhere gets the allow-list of docs/faults.md 6: Accept, Range,
// User-Agent.
func (a *attempt) hop(to *url.URL, login pullchain.Secret) (*http.Response, error) {
	method := http.MethodGet
	if a.as.head {
		method = http.MethodHead
	}
	// Built from scratch: what a client has sent, above all its Authorization, is for us
	// (moby#42022: docker sends its Hub login to whatever mirror is configured).
	r, err := http.NewRequestWithContext(a.ctx, method, to.String(), nil)
	if err != nil {
		return nil, &pullchain.Error{Reason: pullchain.Invalid, Code: pullchain.CodeInvalid, Reach: pullchain.ReachRequest, Err: err}
	}
	r.Header.Set("User-Agent", egress.UserAgent)
	r.Header.Set("Accept-Encoding", "identity") // a re-encoded body has another digest (docs/protocol.md 4.4)
	if a.req.Op != pullchain.Blob {
		r.Header["Accept"] = []string{accept(a.req)}
	}
	if !a.as.head && !a.as.part.Whole() {
		r.Header.Set("Range", wire.FormatRange(a.as.part))
	}
	if !a.offOrigin {
		for name, value := range a.u.cfg.Headers {
			r.Header.Set(name, value.Reveal())
		}
	}
	if a.u.cfg.Instance != "" && !a.redirected { // a CDN is no pullchain
		r.Header.Set(wire.ViaHeader, wire.AddHop(a.req.Options.Via, a.u.cfg.Instance))
	}
	if login != "" {
		a.told = append(a.told, login)
		r.Header.Set("Authorization", login.Reveal())
	}
	t := a.u.transport(a.req.Class(), !a.redirected, a.offOrigin)
	return roundTrip(t, r, a.u.headerTime(t))
}

// accept returns the media types to ask for: the client's, or all that there
// are. Which digest a tag resolves to depends on it (docs/protocol.md 4.4).
func accept(req pullchain.Request) string {
	switch {
	case req.Op == pullchain.Tags:
		return "application/json"
	case req.Op == pullchain.Referrers:
		return wire.TypeOCIIndex
	case len(req.Accept) > 0:
		return strings.Join(req.Accept, ", ")
	}
	return strings.Join(wire.DefaultAccept, ", ")
}

// maxErrorTime is how long an error answer may take to be read. The status is known
// by then, and a server that is unwell may well never end what it has to say.
const maxErrorTime = 2 * time.Second

// refusal reads an answer of 300 or more to the end and says what it means. The text is
// redacted before anything is made of it.
func (a *attempt) refusal(resp *http.Response) *pullchain.Error {
	limit := time.AfterFunc(maxErrorTime, func() { a.cancel(errStalled) })
	body, _ := io.ReadAll(io.LimitReader(resp.Body, wire.MaxError))
	limit.Stop()
	resp.Body.Close()
	e := classifyStatus(answer{
		status:     resp.StatusCode,
		header:     resp.Header,
		body:       []byte(a.redact(string(body))),
		op:         a.req.Op,
		pinned:     a.req.Digest != "",
		known:      a.u.seen.lately(),
		redirected: a.redirected,
		offOrigin:  a.offOrigin,
	})
	if resp.StatusCode == http.StatusLoopDetected && a.u.cfg.Instance != "" && !a.redirected {
		e.Code = pullchain.CodeLoop
		if a.req.Options.Via != "" { // it leads back to a pullchain that asks us: other clients' requests do not
			e.Reach = pullchain.ReachRequest
		}
	}
	if e.Quota != nil {
		e.Quota = a.quota(resp.Header, e.Quota.At)
	}
	if a.u.passes(a.req) && e.Reason == pullchain.Limited { // one client's limit is no other's
		e.Reach = pullchain.ReachRequest
	}
	return e
}

// discard throws away an answer that is of no use.
func discard(resp *http.Response) {
	if resp.Body != http.NoBody {
		drain(resp.Body, wire.MaxError)
	}
}

// drain reads what little is left of a body, at most n bytes, so that its
// connection can be used again, and closes it. It does not wait for one that is
// slow: the end of the attempt ends that.
func drain(body io.ReadCloser, n int64) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.CopyN(io.Discard, body, n)
		body.Close()
	}()
	select {
	case <-done:
	case <-time.After(discardTime):
	}
}

// discardTime is how long a connection is worth waiting for: about what a new one
// costs, with its TLS handshake.
const discardTime = 100 * time.Millisecond

// errTooManyHops ends a chase of redirects.
var errTooManyHops = errors.New("more than 5 redirects")

// blocked refuses a redirect by our own policy. It judges this request: another image's
// may lead elsewhere.
func blocked(code pullchain.Code, format string, args ...any) error {
	return &pullchain.Error{Reason: pullchain.Refused, Code: code, Reach: pullchain.ReachRequest, Err: fmt.Errorf(format, args...)}
}
