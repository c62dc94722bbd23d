package upstreams

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"

	"github.com/pullchain/pullchain"
)

// TestReach is the table of how far each failure is evidence (docs/faults.md 0.2): of the
// upstream's own host for an image, of a foreign host where a redirect led, and of an
// optional endpoint (tags, referrers).
func TestReach(t *testing.T) {
	t.Parallel()
	const request, content, class, lane = pullchain.ReachRequest, pullchain.ReachContent, pullchain.ReachClass, pullchain.ReachLane
	json, page := fromJSON, http.Header{"Content-Type": {"text/html"}}
	after := http.Header{"Retry-After": {"3600"}}
	for what, tt := range map[string]struct {
		status int
		header http.Header
		body   string
		own    pullchain.Reach // of the own host, for an image
	}{
		"not found, in its words":      {404, json, unknownBody, content},
		"gone":                         {410, json, unknownBody, content},
		"a router's 404":               {404, nil, "404 page not found", request},
		"a web server's 404":           {404, page, "<html>", request},
		"unauthorized":                 {401, json, `{"errors":[{"code":"UNAUTHORIZED"}]}`, content},
		"denied":                       {403, json, `{"errors":[{"code":"DENIED"}]}`, content},
		"a block page":                 {403, page, "<html>", request},
		"bad request":                  {400, json, "{}", content},
		"method not allowed":           {405, json, "{}", content},
		"not acceptable":               {406, json, "{}", content},
		"legal reasons":                {451, json, `{"errors":[{"code":"DENIED"}]}`, content},
		"range not satisfiable":        {416, nil, "", content}, // of a manifest; of a blob it is the request
		"too slow for it":              {408, nil, "", request},
		"too much of it":               {413, nil, "", request},
		"the name too long for it":     {414, nil, "", request},
		"headers too large for it":     {431, nil, "", request},
		"a quota":                      {429, json, hubQuotaBody, class},
		"an abuse limit":               {429, http.Header{"Content-Type": {"text/plain"}}, hapBody, class},
		"Cloudflare's limit":           {429, fromCloudflare, cf1015Body, class},
		"a bare 429":                   {429, nil, "", class},
		"a Worker's day is over":       {429, fromCloudflare, cf1027Body, lane},
		"a server's error":             {500, json, "{}", class},
		"a gateway's error":            {502, nil, "", class},
		"unavailable":                  {503, nil, "", class},
		"unavailable, for an hour":     {503, after, "", content},
		"Cloudflare cannot reach it":   {522, fromCloudflare, "", lane},
		"Cloudflare knows no such one": {530, fromCloudflare, cf530Body, lane},
		"not modified":                 {304, nil, "", request},
	} {
		if tt.header == nil {
			tt.header = http.Header{}
		}
		in := answer{status: tt.status, header: tt.header, body: []byte(tt.body), op: pullchain.Manifest, now: statusNow}
		foreign, tags, referrers := in, in, in
		foreign.redirected, foreign.offOrigin = true, true
		tags.op, referrers.op = pullchain.Tags, pullchain.Referrers
		for where, row := range map[string]struct {
			in   answer
			want pullchain.Reach
		}{"own host": {in, tt.own}, "foreign host": {foreign, request}, "tags": {tags, request}, "referrers": {referrers, request}} {
			if got := classifyStatus(row.in); got.Reach != row.want {
				t.Errorf("%s, %s: reach %v, want %v: %v", what, where, got.Reach, row.want, got)
			}
		}
	}

	dial := func(err error) error { return &net.OpError{Op: "dial", Err: err} }
	for what, tt := range map[string]struct {
		err          error
		own, foreign pullchain.Reach
	}{
		"no such name":        {dial(&net.DNSError{IsNotFound: true}), lane, class},
		"refused":             {dial(syscall.ECONNREFUSED), lane, class},
		"silent":              {dial(slow{"i/o timeout"}), lane, class},
		"TLS":                 {errors.New("remote error: tls: handshake failure"), lane, class},
		"reset":               {io.EOF, class, class},
		"no headers":          {errHeaderTime, class, class},
		"HTTP/2":              {errors.New("http2: server sent GOAWAY; ErrCode=INTERNAL_ERROR"), class, class},
		"HTTP/2: calm":        {errors.New("http2: server sent GOAWAY; ErrCode=ENHANCE_YOUR_CALM"), class, class},
		"junk":                {errors.New("malformed HTTP response"), class, class},
		"headers without end": {errors.New("server response headers exceeded 65536 bytes"), request, request},
		"the proxy":           {&net.OpError{Op: "proxyconnect", Err: syscall.ECONNREFUSED}, lane, lane},
	} {
		for offOrigin, want := range map[bool]pullchain.Reach{false: tt.own, true: tt.foreign} {
			if got := classifyTransport(tt.err, offOrigin); got.Reach != want {
				t.Errorf("%s, foreign %t: reach %v, want %v", what, offOrigin, got.Reach, want)
			}
		}
	}

	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	a := &attempt{u: testUpstream(t, Config{Name: "hub", URL: "https://hub.example"}), ctx: ctx, cancel: cancel}
	b := &body{a: a}
	for what, tt := range map[string]struct {
		err  error
		want pullchain.Reach
	}{
		"an odd label or range":         {odd(pullchain.CodeWrongRange, "x"), request},
		"a page for a document":         {notRegistry("x"), request},
		"a page for referrers":          {(&attempt{req: pullchain.Request{Op: pullchain.Referrers}}).noList(&http.Response{StatusCode: 200}), request},
		"a page for tags":               {(&attempt{req: pullchain.Request{Op: pullchain.Tags}}).noList(&http.Response{StatusCode: 200}), request},
		"bytes that hash wrong":         {wrongBytes("x"), content},
		"too large, by our policy":      {a.tooLarge(1, 2), request},
		"a redirect, by our policy":     {blocked(pullchain.CodeRedirectBlocked, "x"), request},
		"the guard's no":                {a.u.guard.Check(nil, nil), request},
		"another registry's token":      {itself(&pullchain.Error{Reach: pullchain.ReachToken}), request},
		"a body that is cut":            {b.explain(io.ErrUnexpectedEOF), class},
		"a body that is reset":          {b.explain(syscall.ECONNRESET), class},
		"a body after its client's end": {func() error { cancel(errors.New("gone")); return b.explain(context.Canceled) }(), request},
	} {
		e, ok := errors.AsType[*pullchain.Error](tt.err)
		if !ok || e.Reach != tt.want {
			t.Errorf("%s: %v, want reach %v", what, tt.err, tt.want)
		}
	}
}
