package upstreams_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
	"github.com/pullchain/pullchain/upstreams"
)

// TestManifest: a tag, its digest, and what the answer says of them. The first
// pull costs a refusal and a token, the second neither.
func TestManifest(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Quota: simnet.Quota{Limit: 100, Window: 6 * time.Hour}})
	u := r.upstream(t, nil)
	for range 2 {
		resp, body := mustFetch(t, u, r.tag())
		sameBytes(t, body, r.img.Manifest())
		if resp.Status != 200 || resp.Digest != r.img.Root.Digest || resp.Size != int64(len(body)) || resp.MediaType != simnet.TypeOCIManifest {
			t.Errorf("%+v", resp)
		}
		if len(resp.Links) != 3 || resp.Links[1].Digest != r.img.LayerList[0][0].Digest {
			t.Errorf("links %v, want the config and two layers", resp.Links)
		}
		if resp.Quota == nil || resp.Quota.Limit != 100 || resp.Quota.Window != 6*time.Hour {
			t.Errorf("quota %+v", resp.Quota)
		}
	}
	_, body := mustFetch(t, u, r.pinned())
	sameBytes(t, body, r.img.Manifest())
	for what, want := range map[simnet.Filter]int{
		{Server: "hub", Class: simnet.Manifests}:              4,
		{Server: "hub", Class: simnet.Manifests, Status: 401}: 1,
		{Server: "hub-auth"}:                                  1,
		{Server: "hub-cdn"}:                                   0,
	} {
		if got := r.count(what); got != want {
			t.Errorf("%+v: %d requests, want %d", what, got, want)
		}
	}
	if f := u.Facts(); f.Quota == nil || f.Quota.Remaining != 97 || f.TLSIssuer != "simnet CA" || f.TLSExpiry.Before(time.Now()) {
		t.Errorf("facts %+v", f)
	}
}

// TestHeadStaysHead: HEAD is HEAD at every hop, is not counted by the quota and
// reads nothing (docs/protocol.md 4.1).
func TestHeadStaysHead(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Quota: simnet.Quota{Limit: 10}})
	u := r.upstream(t, nil)
	for range 5 {
		resp, body := mustFetch(t, u, r.head(r.tag()))
		if len(body) != 0 || resp.Digest != r.img.Root.Digest || resp.Size != r.img.Root.Size {
			t.Fatalf("%+v with %d bytes", resp, len(body))
		}
	}
	layer, _ := r.img.Layer(0)
	resp, body := mustFetch(t, u, r.head(r.blob()))
	if len(body) != 0 || resp.Size != layer.Size || resp.Digest != layer.Digest {
		t.Errorf("%+v with %d bytes", resp, len(body))
	}
	if left := r.hub.Remaining("127.0.0.1"); left != 10 {
		t.Errorf("%d of 10 pulls left, want all", left)
	}
	for _, server := range []string{"hub", "hub-cdn"} {
		if n := r.count(simnet.Filter{Server: server, Method: http.MethodGet}); n != 0 {
			t.Errorf("%d GETs at %s", n, server)
		}
	}
}

// TestBlob: straight to a GET, no HEAD before it (docs/protocol.md 4.8), whole and
// in every form of range.
func TestBlob(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{})
	u := r.upstream(t, nil)
	layer, content := r.img.Layer(0)
	size := layer.Size
	tests := map[string]struct {
		in   pullchain.Range
		want pullchain.Range // zero: a 200
	}{
		"whole":            {},
		"head":             {pullchain.Range{To: 100}, pullchain.Range{To: 100}},
		"middle":           {pullchain.Range{From: 1000, To: 2000}, pullchain.Range{From: 1000, To: 2000}},
		"tail":             {pullchain.Range{From: 1000}, pullchain.Range{From: 1000, To: size}},
		"suffix":           {pullchain.Range{From: -500}, pullchain.Range{From: size - 500, To: size}},
		"suffix too long":  {pullchain.Range{From: -size - 9}, pullchain.Range{From: 0, To: size}},
		"beyond the end":   {pullchain.Range{From: 1000, To: size + 1000}, pullchain.Range{From: 1000, To: size}},
		"the very last":    {pullchain.Range{From: size - 1}, pullchain.Range{From: size - 1, To: size}},
		"the last by -1":   {pullchain.Range{From: -1}, pullchain.Range{From: size - 1, To: size}},
		"one byte of many": {pullchain.Range{From: 7, To: 8}, pullchain.Range{From: 7, To: 8}},
	}
	for name, tt := range tests {
		req := r.blob()
		req.Range = tt.in
		resp, body := mustFetch(t, u, req)
		want, status := content, http.StatusOK
		if !tt.want.Whole() {
			want, status = content[tt.want.From:tt.want.To], http.StatusPartialContent
		}
		if resp.Status != status || resp.Range != tt.want || resp.Size != size || resp.Digest != layer.Digest {
			t.Errorf("%s: %+v", name, resp)
		}
		sameBytes(t, body, want)
	}
	for _, server := range []string{"hub", "hub-cdn"} {
		if n := r.count(simnet.Filter{Server: server, Method: http.MethodHead}); n != 0 {
			t.Errorf("%d HEADs at %s", n, server)
		}
	}
	if n := r.count(simnet.Filter{Server: "hub-auth"}); n != 1 {
		t.Errorf("%d token calls, want 1", n)
	}
}

// TestUnsatisfiedRange: the client's mistake, with the size for its 416.
func TestUnsatisfiedRange(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{})
	layer, _ := r.img.Layer(0)
	req := r.blob()
	req.Range = pullchain.Range{From: layer.Size + 1}
	_, _, err := fetch(t, r.upstream(t, nil), req)
	if e := expectError(t, err, pullchain.Invalid, pullchain.CodeWrongRange); e.Size != layer.Size {
		t.Errorf("size %d, want %d", e.Size, layer.Size)
	}
}

// TestOneAttempt: whatever goes wrong, the upstream is asked once and nothing
// is tried again here (docs/architecture.md: ONE attempt a call).
func TestOneAttempt(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fault  simnet.Fault
		reason pullchain.Reason
		code   pullchain.Code
	}{
		"500":             {simnet.Fault{Status: 500}, pullchain.Unavailable, pullchain.CodeServerError},
		"502":             {simnet.Fault{Status: 502}, pullchain.Unavailable, pullchain.CodeServerError},
		"522":             {simnet.Cloudflare(522, "522"), pullchain.Unavailable, pullchain.CodeOriginDown},
		"530":             {simnet.Cloudflare(530, "1016"), pullchain.Unavailable, pullchain.CodeOriginDown},
		"quota":           {simnet.HubQuota429(), pullchain.Limited, pullchain.CodeQuota},
		"HAP429":          {simnet.HAP429(), pullchain.Limited, pullchain.CodeAbuse},
		"1015":            {simnet.Cloudflare1015(), pullchain.Limited, pullchain.CodeAbuse},
		"1027":            {simnet.Cloudflare1027(), pullchain.Limited, pullchain.CodeWorkerQuota},
		"GHCR":            {simnet.GHCR429(), pullchain.Limited, pullchain.CodeThrottle},
		"after a while":   {simnet.TooManyAfter(time.Minute, false), pullchain.Limited, pullchain.CodeQuota},
		"403":             {simnet.Fault{Status: 403}, pullchain.Denied, pullchain.CodeForbidden},
		"404":             {simnet.Fault{Status: 404, Body: `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`}, pullchain.NotFound, pullchain.CodeNotFound},
		"404 of a router": {simnet.Fault{Status: 404, Body: "404 page not found\n"}, pullchain.Unavailable, pullchain.CodeNotRegistry},
		"no place to go":  {simnet.Fault{Status: 307}, pullchain.Unavailable, pullchain.CodeUnexpected},
		"304":             {simnet.Fault{Status: 304}, pullchain.Unavailable, pullchain.CodeUnexpected},
		"204":             {simnet.Fault{Status: 204}, pullchain.Corrupt, pullchain.CodeUnexpected},
		"junk":            {simnet.Fault{Garbage: "\x00\x00\x12\x04nonsense\r\n\r\n"}, pullchain.Unavailable, pullchain.CodeUnexpected},
		"FIN":             {simnet.Fault{Drop: simnet.EndFIN}, pullchain.Unavailable, pullchain.CodeConnReset},
		"RST":             {simnet.Fault{Drop: simnet.EndRST}, pullchain.Unavailable, pullchain.CodeConnReset},
		"silence":         {simnet.Fault{Drop: simnet.EndStall}, pullchain.Unavailable, pullchain.CodeHeaderTimeout},
		"large headers":   {simnet.Fault{HeaderBytes: 100 << 10}, pullchain.Unavailable, pullchain.CodeHeaderTooLarge},
		"page":            {simnet.HTML200(), pullchain.Corrupt, pullchain.CodeNotRegistry},
		"page as JSON":    {simnet.Fault{Status: 200, Body: "\n <html>", Header: map[string]string{"Content-Type": simnet.TypeOCIManifest}}, pullchain.Corrupt, pullchain.CodeNotRegistry},
		"wrong document":  {simnet.Fault{Status: 200, Body: "{}", Header: map[string]string{"Content-Type": "application/octet-stream"}}, pullchain.Corrupt, pullchain.CodeWrongType},
		"wrong digest":    {simnet.WrongDigest(), pullchain.Corrupt, pullchain.CodeDigestMismatch},
		"one bit":         {simnet.Fault{Flip: true, FlipAt: 30}, pullchain.Corrupt, pullchain.CodeDigestMismatch},
		"cut":             {simnet.Fault{Cut: simnet.EndFIN, CutAt: 10}, pullchain.Unavailable, pullchain.CodeTruncated},
		"reset half-way":  {simnet.Fault{Cut: simnet.EndRST, CutAt: 10}, pullchain.Unavailable, pullchain.CodeConnReset},
		"stall":           {simnet.Fault{Cut: simnet.EndStall, CutAt: 10}, pullchain.Unavailable, pullchain.CodeStall},
		"silent redirect": {simnet.Fault{Status: 302, Header: map[string]string{"Location": ""}}, pullchain.Unavailable, pullchain.CodeUnexpected},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, simnet.HubConfig{Open: true})
			defer r.hub.Inject(tt.fault)()
			u := r.upstream(t, func(c *upstreams.Config) {
				if tt.fault.Drop == simnet.EndStall {
					c.Timeouts.Header = 200 * time.Millisecond
				}
				if tt.fault.Cut == simnet.EndStall {
					c.Timeouts.Stall = 200 * time.Millisecond
				}
			})
			resp, _, err := fetch(t, u, r.tag())
			e := expectError(t, err, tt.reason, tt.code)
			if resp.Body != nil {
				t.Error("an error with a body")
			}
			if isPage(e.Error()) {
				t.Errorf("repeats what the far end wrote: %v", e)
			}
			r.arrived() // the hub may read it only after it was given up
			if n := r.count(simnet.Filter{}); n != 1 {
				t.Errorf("%d requests, want 1", n)
			}
		})
	}
}

// TestUnreachable: what is in the way of everything is said of the upstream.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	tests := map[simnet.ConnFault]pullchain.Code{
		simnet.ConnRefused:     pullchain.CodeConnRefused,
		simnet.ConnBlackhole:   pullchain.CodeConnTimeout,
		simnet.ConnSilent:      pullchain.CodeTLSHandshake,
		simnet.ConnExpiredCert: pullchain.CodeTLSCert,
		simnet.ConnWrongHost:   pullchain.CodeTLSCert,
		simnet.ConnUnknownCA:   pullchain.CodeTLSCert,
		simnet.ConnNotTLS:      pullchain.CodeTLSHandshake,
	}
	for fault, code := range tests {
		t.Run(string(code)+" "+faultName(fault), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, simnet.HubConfig{Open: true})
			r.hub.Break(fault)
			u := r.upstream(t, func(c *upstreams.Config) {
				switch fault {
				case simnet.ConnBlackhole:
					c.Timeouts.Connect = 300 * time.Millisecond
				case simnet.ConnSilent: // the same time is for TCP, which is to come through
					c.Timeouts.Connect = 2 * time.Second
				}
			})
			_, _, err := fetch(t, u, r.tag())
			if e := expectError(t, err, pullchain.Unavailable, code); e.Reach != pullchain.ReachLane {
				t.Errorf("scope %v, want the whole upstream", e.Reach)
			}
			r.hub.Mend()
			if fault == simnet.ConnBlackhole || fault == simnet.ConnSilent {
				u = r.upstream(t, nil) // with so little patience a slow machine looks unwell
			}
			mustFetch(t, u, r.tag())
		})
	}
}

func faultName(f simnet.ConnFault) string { return "fault-" + string(rune('a'+int(f))) }

// TestStallMidBlob: a body that stops ends as a stall, with the bytes so far
// delivered (docs/faults.md F21).
func TestStallMidBlob(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{})
	defer r.hub.CDN.Inject(simnet.Fault{Cut: simnet.EndStall, CutAt: 20000})()
	u := r.upstream(t, func(c *upstreams.Config) { c.Timeouts.Stall = 2 * time.Second }) // the bytes before it are to come in time
	_, content := r.img.Layer(0)
	_, body, err := fetch(t, u, r.blob())
	expectError(t, err, pullchain.Unavailable, pullchain.CodeStall)
	sameBytes(t, body, content[:20000])
}

// TestCutBlob: every way to end too soon has its word (docs/faults.md F18).
func TestCutBlob(t *testing.T) {
	t.Parallel()
	for ending, code := range map[simnet.Ending]pullchain.Code{
		simnet.EndFIN: pullchain.CodeTruncated, simnet.EndRST: pullchain.CodeConnReset,
	} {
		r := newRig(t, simnet.HubConfig{})
		defer r.hub.CDN.Inject(simnet.Fault{Cut: ending, CutFraction: 0.4})()
		_, body, err := fetch(t, r.upstream(t, nil), r.blob())
		if e := expectError(t, err, pullchain.Unavailable, code); e.Reach != pullchain.ReachClass {
			t.Errorf("scope %v: a cut speaks of blobs only", e.Reach)
		}
		if _, content := r.img.Layer(0); !strings.HasPrefix(string(content), string(body)) {
			t.Error("the bytes before the cut are wrong")
		}
	}
}

// TestCanceled: a client that leaves is no fault of the upstream, before the headers and
// in the body (docs/faults.md F31).
func TestCanceled(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Open: true, Direct: true})
	lift := r.hub.Inject(simnet.Fault{On: simnet.Manifests, Drop: simnet.EndStall})
	defer lift()
	defer r.hub.Inject(simnet.Fault{On: simnet.Blobs, Cut: simnet.EndStall, CutAt: 1000})()
	u := r.upstream(t, nil)

	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		r.arrived()
		cancel()
	}()
	_, err := u.Fetch(ctx, r.tag())
	expectError(t, err, pullchain.Canceled, pullchain.CodeCanceled)

	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	resp, err := u.Fetch(ctx, r.blob())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	time.AfterFunc(50*time.Millisecond, cancel)
	buf := make([]byte, 4096)
	for err == nil {
		_, err = resp.Body.Read(buf)
	}
	expectError(t, err, pullchain.Canceled, pullchain.CodeCanceled)
}

// TestDeadline: time that the caller sets and that runs out is the upstream's
// slowness, not the client's leaving.
func TestDeadline(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Open: true})
	defer r.hub.Inject(simnet.Fault{Drop: simnet.EndStall})()
	late := &expiring{t.Context(), make(chan struct{})}
	go func() {
		r.arrived() // what is slow before is the connection
		close(late.done)
	}()
	_, err := r.upstream(t, nil).Fetch(late, r.tag())
	expectError(t, err, pullchain.Unavailable, pullchain.CodeHeaderTimeout)
}

// An expiring context reaches its deadline when done is closed.
type expiring struct {
	context.Context
	done chan struct{}
}

func (e *expiring) Done() <-chan struct{} { return e.done }

func (e *expiring) Err() error {
	select {
	case <-e.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// TestCloseFreesConnection: a body closed early is the end of its request.
func TestCloseFreesConnection(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{Open: true, Direct: true})
	defer r.hub.Inject(simnet.Fault{Cut: simnet.EndStall, CutAt: 1000})()
	resp, err := r.upstream(t, nil).Fetch(t.Context(), r.blob())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if err := r.Ledger().WaitIdle(within(t, ioPatience)); err != nil {
		t.Errorf("the hub still serves: %v", err)
	}
	if _, err := resp.Body.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("reading a closed body: %v", err)
	}
}

// TestNeedsToken: a lane has to know whether the token server is in the way.
func TestNeedsToken(t *testing.T) {
	t.Parallel()
	r := newRig(t, simnet.HubConfig{})
	u := r.upstream(t, nil)
	expect := func(want bool, when string) {
		t.Helper()
		if got := u.NeedsToken(r.tag()); got != want {
			t.Errorf("%s: %t, want %t", when, got, want)
		}
	}
	expect(false, "before anything is known")
	if err := u.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(true, "once the realm is known")
	mustFetch(t, u, r.tag())
	expect(false, "with a token at hand")
	if n := r.count(simnet.Filter{Server: "hub", Status: 401, Class: simnet.Manifests}); n != 0 {
		t.Errorf("the pull was refused %d times, although the ping had told the realm", n)
	}
}
