package balancer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
)

// A fake is an upstream whose every answer is a function.
type fake struct {
	name  string
	fetch func(context.Context, pullchain.Request) (pullchain.Response, error)
	ping  func(context.Context) error
	token bool // NeedsToken
	quota *pullchain.Quota
	held  time.Time // Facts.HeldBack

	mu    sync.Mutex
	asked []pullchain.Request
}

func (f *fake) Name() string { return f.name }

func (f *fake) Ping(ctx context.Context) error {
	if f.ping == nil {
		return nil
	}
	return f.ping(ctx)
}

func (f *fake) NeedsToken(pullchain.Request) bool { return f.token }
func (f *fake) Login() string                     { return "" }
func (f *fake) Facts() pullchain.Facts            { return pullchain.Facts{Quota: f.quota, HeldBack: f.held} }

func (f *fake) Fetch(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	f.mu.Lock()
	f.asked = append(f.asked, req)
	fetch := f.fetch
	f.mu.Unlock()
	return fetch(ctx, req)
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

func (f *fake) become(fetch func(context.Context, pullchain.Request) (pullchain.Response, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fetch = fetch
}

// content is the blob, and document the manifest, that the fakes serve.
var (
	content   = bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB: too large to be read whole first
	small     = content[:1000]
	document  = []byte(`{"schemaVersion":2}`)
	blob      = pullchain.Request{Op: pullchain.Blob, Registry: "docker.io", Repo: "library/app", Digest: digest.FromBytes(content)}
	smallBlob = pullchain.Request{Op: pullchain.Blob, Registry: "docker.io", Repo: "library/app", Digest: digest.FromBytes(small)}
	tag       = pullchain.Request{Op: pullchain.Manifest, Registry: "docker.io", Repo: "library/app", Tag: "1"}
	byDigest  = pullchain.Request{Op: pullchain.Manifest, Registry: "docker.io", Repo: "library/app", Digest: digest.FromBytes(document)}
)

// of is req of the i-th of several repositories: what fails for several is the fault of
// the lane, and what fails for one is that one's.
func of(i int, req pullchain.Request) pullchain.Request {
	req.Repo = fmt.Sprint("library/app", i)
	return req
}

func bytesOf(req pullchain.Request) []byte {
	switch req.Digest {
	case blob.Digest:
		return content
	case smallBlob.Digest:
		return small
	}
	return document
}

// serve answers everything as a good upstream does.
func serve(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
	return answer(req, bytesOf(req), nil)
}

// answer serves data, and fails with err where it ends, if err is not nil.
func answer(req pullchain.Request, data []byte, err error) (pullchain.Response, error) {
	all := bytesOf(req)
	resp := pullchain.Response{Status: 200, Size: int64(len(all)), Digest: digest.FromBytes(all), Body: pullchain.PlainBody(io.NopCloser(bytes.NewReader(nil)))}
	if req.Head {
		return resp, nil
	}
	if !req.Range.Whole() {
		to := req.Range.To
		if to == 0 {
			to = int64(len(all))
		}
		resp.Status, resp.Range = 206, pullchain.Range{From: req.Range.From, To: to}
		data = data[min(req.Range.From, int64(len(data))):min(to, int64(len(data)))]
	}
	var body io.Reader = bytes.NewReader(data)
	if err != nil {
		body = io.MultiReader(body, failing{err})
	}
	resp.Body = pullchain.PlainBody(io.NopCloser(body))
	return resp, nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// cutAt serves n bytes of whatever is asked for, and then the connection dies.
func cutAt(n int) func(context.Context, pullchain.Request) (pullchain.Response, error) {
	return func(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
		all := bytesOf(req)
		return answer(req, all[:min(len(all), int(max(req.Range.From, 0))+n)], io.ErrUnexpectedEOF)
	}
}

// corrupt serves the right number of wrong bytes.
func corrupt(_ context.Context, req pullchain.Request) (pullchain.Response, error) {
	wrong := bytes.Clone(bytesOf(req))
	wrong[len(wrong)/2] ^= 1
	return answer(req, wrong, nil)
}

// fail answers with e, every time.
func fail(e pullchain.Error) func(context.Context, pullchain.Request) (pullchain.Response, error) {
	return func(context.Context, pullchain.Request) (pullchain.Response, error) {
		failed := e
		return pullchain.Response{}, &failed
	}
}

// silent never answers.
func silent(ctx context.Context, _ pullchain.Request) (pullchain.Response, error) {
	<-ctx.Done()
	return pullchain.Response{}, &pullchain.Error{Reason: pullchain.Canceled, Err: context.Cause(ctx)}
}

// after answers as then does, d later.
func after(d time.Duration, then func(context.Context, pullchain.Request) (pullchain.Response, error)) func(context.Context, pullchain.Request) (pullchain.Response, error) {
	return func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		select {
		case <-time.After(d):
			return then(ctx, req)
		case <-ctx.Done():
			return silent(ctx, req)
		}
	}
}

var (
	refused   = pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeConnRefused, Reach: pullchain.ReachLane}
	internal  = pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeServerError, Status: 500}
	quotaGone = pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, Status: 429}
	missing   = pullchain.Error{Reason: pullchain.NotFound, Code: pullchain.CodeNotFound, Status: 404, Final: true}
	webPage   = pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeNotRegistry}
	proxyDead = pullchain.Error{Reason: pullchain.Egress, Code: pullchain.CodeEgressProxy, Reach: pullchain.ReachLane}
)

// A rig is a chain over fakes, the first authoritative.
type rig struct {
	*balancer.Balancer
	ups   []*fake
	lanes []*balancer.Lane
}

func newRig(fetches ...func(context.Context, pullchain.Request) (pullchain.Response, error)) *rig {
	var configs []balancer.LaneConfig
	for i := range fetches {
		configs = append(configs, balancer.LaneConfig{Resolve: true, Authoritative: i == 0})
	}
	return newRigOf(configs, fetches...)
}

func newRigOf(configs []balancer.LaneConfig, fetches ...func(context.Context, pullchain.Request) (pullchain.Response, error)) *rig {
	r := &rig{}
	for i, fetch := range fetches {
		f := &fake{name: string(rune('a' + i)), fetch: fetch}
		r.ups = append(r.ups, f)
		r.lanes = append(r.lanes, balancer.NewLane(f, configs[i]))
	}
	r.Balancer = balancer.New(balancer.Config{Registry: "docker.io", Lanes: r.lanes})
	return r
}

func (r *rig) counts() []int {
	var n []int
	for _, f := range r.ups {
		n = append(n, f.count())
	}
	return n
}

func (r *rig) state(lane int) balancer.LaneSnapshot { return r.Snapshot().Lanes[lane] }

// get fetches and reads req.
func (r *rig) get(ctx context.Context, req pullchain.Request) ([]byte, error) {
	resp, err := r.Fetch(ctx, req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// mustGet fails the test unless req is answered with the right bytes.
func (r *rig) mustGet(t *testing.T, req pullchain.Request) {
	t.Helper()
	got, err := r.get(t.Context(), req)
	if err != nil {
		t.Fatalf("%s: %v", req.Image(), err)
	}
	if want := bytesOf(req); !req.Head && !bytes.Equal(got, want) {
		t.Fatalf("%s: %d bytes that differ from the %d right ones", req.Image(), len(got), len(want))
	}
}

func errorOf(t *testing.T, err error) *pullchain.Error {
	t.Helper()
	e, ok := errors.AsType[*pullchain.Error](err)
	if !ok {
		t.Fatalf("%v is no *pullchain.Error", err)
	}
	return e
}
