package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/cache"
)

// fakeCache is a cache of a few entries that notes what is done to it.
type fakeCache struct {
	entries []cache.Entry
	finds   []blobstore.Finding
	err     error
	done    []string
}

func (f *fakeCache) Snapshot() cache.Snapshot {
	return cache.Snapshot{Stats: blobstore.Stats{Dir: "/srv/cache", Objects: len(f.entries)}}
}

func (f *fakeCache) List(_ context.Context, query string) []cache.Entry {
	f.done = append(f.done, "list "+query)
	return f.entries
}

func (f *fakeCache) Evict(_ context.Context, what string) (cache.Change, error) {
	f.done = append(f.done, "evict "+what)
	return cache.Change{Objects: 2, Bytes: 300}, f.err
}

func (f *fakeCache) Pin(_ context.Context, what string, pinned bool) (cache.Change, error) {
	f.done = append(f.done, fmt.Sprintf("pin %s %t", what, pinned))
	return cache.Change{Objects: 3, Bytes: 400}, f.err
}

func (f *fakeCache) Verify(_ context.Context, report func(blobstore.Finding)) error {
	f.done = append(f.done, "verify")
	for _, one := range f.finds {
		report(one)
	}
	return f.err
}

func (f *fakeCache) GC(context.Context) (int64, error) {
	f.done = append(f.done, "gc")
	return 500, f.err
}

// post sends a body as JSON, but for what header says otherwise.
func post(cfg admin.Config, f *fakeCache, target, body string, header ...string) *httptest.ResponseRecorder {
	return send(cfg, admin.Sources{Snapshot: snapshot, Cache: f}, http.MethodPost, target, body, header...)
}

func TestCacheActions(t *testing.T) {
	t.Parallel()
	const evict, pin, verify, gc = "/api/v1/cache:evict", "/api/v1/cache:pin", "/api/v1/cache:verify", "/api/v1/cache:gc"
	locked := admin.Config{Listen: "0.0.0.0:5152", Token: "s3cret"}
	tests := []struct {
		name         string
		cfg          admin.Config
		err          error
		target, body string
		header       []string
		status       int
		answer       string // is contained
		done         string // what the cache was asked to do; empty is nothing
	}{
		{"evict", admin.Config{}, nil, evict, `{"what":"docker.io/library/alpine:3"}`, nil, 200, `"objects": 2`, "evict docker.io/library/alpine:3"},
		{"pin", admin.Config{}, nil, pin, `{"what":"alpine","pinned":true}`, nil, 200, `"bytes": 400`, "pin alpine true"},
		{"unpin", admin.Config{}, nil, pin, `{"what":"alpine","pinned":false}`, nil, 200, `"objects": 3`, "pin alpine false"},
		{"verify", admin.Config{}, nil, verify, `{}`, nil, 200, `"done":true`, "verify"},
		{"gc", admin.Config{}, nil, gc, `{}`, nil, 200, `"freed_bytes": 500`, "gc"},
		{"JSON with a charset", admin.Config{}, nil, gc, `{}`, []string{"Content-Type", "application/json; charset=utf-8"}, 200, "freed_bytes", "gc"},
		{"evict what is being fetched", admin.Config{}, blobstore.ErrInUse, evict, `{"what":"alpine"}`, nil, 409, `"code":"in_use"`, "evict alpine"},
		{"with the token", locked, nil, gc, `{}`, []string{"Authorization", "Bearer s3cret"}, 200, "freed_bytes", "gc"},
		{"from a page of our own", admin.Config{}, nil, gc, `{}`, []string{"Sec-Fetch-Site", "same-origin"}, 200, "freed_bytes", "gc"},

		{"nothing to evict", admin.Config{}, nil, evict, `{}`, nil, 400, `"code":"bad_request"`, ""},
		{"evict by a typo", admin.Config{}, nil, evict, `{"waht":"alpine"}`, nil, 400, `"code":"bad_request"`, ""},
		{"evict with a pin", admin.Config{}, nil, evict, `{"what":"alpine","pinned":true}`, nil, 400, `"code":"bad_request"`, ""},
		{"pin and do not say which way", admin.Config{}, nil, pin, `{"what":"alpine"}`, nil, 400, `"code":"bad_request"`, ""},
		{"gc of one image", admin.Config{}, nil, gc, `{"what":"alpine"}`, nil, 400, `"code":"bad_request"`, ""},
		{"verify of one image", admin.Config{}, nil, verify, `{"what":"alpine"}`, nil, 400, `"code":"bad_request"`, ""},
		{"no body", admin.Config{}, nil, gc, ``, nil, 400, `"code":"bad_request"`, ""},
		{"two bodies", admin.Config{}, nil, gc, `{} {}`, nil, 400, `"code":"bad_request"`, ""},
		{"a long body", admin.Config{}, nil, evict, `{"what":"` + strings.Repeat("a", 64<<10) + `"}`, nil, 400, `"code":"bad_request"`, ""},

		{"a form", admin.Config{}, nil, gc, `{}`, []string{"Content-Type", "text/plain"}, 415, `"code":"not_json"`, ""},
		{"no type", admin.Config{}, nil, gc, `{}`, []string{"Content-Type", ""}, 415, `"code":"not_json"`, ""},
		{"from a page of another site", admin.Config{}, nil, gc, `{}`, []string{"Sec-Fetch-Site", "cross-site"}, 403, `"code":"cross_origin"`, ""},
		{"from another port of ours", admin.Config{}, nil, gc, `{}`, []string{"Sec-Fetch-Site", "same-site"}, 403, `"code":"cross_origin"`, ""},
		{"an old browser on another site", admin.Config{}, nil, gc, `{}`, []string{"Origin", "http://evil.example"}, 403, `"code":"cross_origin"`, ""},
		{"by a foreign name", admin.Config{}, nil, gc, `{}`, []string{"Host", "evil.example:5152", "Origin", "http://evil.example:5152"}, 421, `"code":"unknown_host"`, ""},
		{"without the token", locked, nil, gc, `{}`, nil, 401, `"code":"unauthorized"`, ""},

		{"it is not there", admin.Config{}, fmt.Errorf("alpine: %w", blobstore.ErrNotFound), evict, `{"what":"alpine"}`, nil, 404, `"code":"not_cached"`, "evict alpine"},
		{"it is no name", admin.Config{}, &pullchain.Error{Reason: pullchain.Invalid, Err: errors.New("no name")}, pin, `{"what":"::","pinned":true}`, nil, 400, `"code":"bad_request"`, "pin :: true"},
		{"read-only", admin.Config{}, blobstore.ErrReadOnly, evict, `{"what":"alpine"}`, nil, 409, `"code":"cache_read_only"`, "evict alpine"},
		{"the disk is broken", admin.Config{}, errors.New("input/output error"), gc, `{}`, nil, 500, "input/output error", "gc"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := &fakeCache{err: tt.err}
			w := post(tt.cfg, f, tt.target, tt.body, tt.header...)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.answer) {
				t.Errorf("got %d %.300q, want %d with %q", w.Code, w.Body, tt.status, tt.answer)
			}
			if got := strings.Join(f.done, ", "); got != tt.done {
				t.Errorf("the cache was asked to %q, want %q", got, tt.done)
			}
			checkSecured(t, w)
		})
	}
}

// What changes something answers to nothing but a POST.
func TestCacheActionsArePosts(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"/api/v1/cache:evict", "/api/v1/cache:pin", "/api/v1/cache:verify", "/api/v1/cache:gc"} {
		for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS"} {
			w := ask(admin.Config{}, snapshot(), method, target)
			if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST" {
				t.Errorf("%s %s: %d, Allow %q", method, target, w.Code, w.Header().Get("Allow"))
			}
		}
	}
}

func TestCacheOff(t *testing.T) {
	t.Parallel()
	off, broken := snapshot(), snapshot()
	off.Cache = nil
	broken.Cache = &cache.Snapshot{Stats: blobstore.Stats{Dir: "/srv", Trouble: "another pullchain uses it"}}
	for _, target := range []string{"/api/v1/cache", "/api/v1/cache/objects"} {
		if w := ask(admin.Config{}, off, "GET", target); w.Code != 404 || !strings.Contains(w.Body.String(), `"code":"cache_off","detail":"the cache is switched off`) {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
		if w := ask(admin.Config{}, broken, "GET", target); w.Code != 404 || !strings.Contains(w.Body.String(), `"code":"cache_off","detail":"the cache cannot be used: another pullchain uses it`) {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	r := httptest.NewRequest("POST", "/api/v1/cache:gc", strings.NewReader("{}"))
	r.Host, r.Header = "127.0.0.1", http.Header{"Content-Type": {"application/json"}}
	w := httptest.NewRecorder()
	admin.New(admin.Config{}, admin.Sources{Snapshot: func() admin.Snapshot { return off }}).ServeHTTP(w, r)
	if w.Code != 404 || !strings.Contains(w.Body.String(), "cache_off") {
		t.Errorf("gc: %d %s", w.Code, w.Body)
	}
}

func TestCacheObjects(t *testing.T) {
	t.Parallel()
	f := &fakeCache{}
	for i := range 3 {
		f.entries = append(f.entries, cache.Entry{Kind: "blob", Size: int64(i), Used: now})
	}
	get := func(target string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", target, nil)
		r.Host = "localhost"
		w := httptest.NewRecorder()
		admin.New(admin.Config{}, admin.Sources{Snapshot: snapshot, Cache: f}).ServeHTTP(w, r)
		return w
	}
	for target, want := range map[string]int{"/api/v1/cache/objects": 3, "/api/v1/cache/objects?q=alp%2Fine&limit=2": 2, "/api/v1/cache/objects?limit=3": 3} {
		var got admin.CacheObjects
		if err := json.Unmarshal(get(target).Body.Bytes(), &got); err != nil || got.Total != 3 || len(got.Objects) != want {
			t.Errorf("%s: %d of %d objects, %v; want %d of 3", target, len(got.Objects), got.Total, err, want)
		}
	}
	if !strings.Contains(strings.Join(f.done, "\n"), "list alp/ine") {
		t.Errorf("the query did not arrive: %q", f.done)
	}
	for _, limit := range []string{"0", "-1", "many", "10001"} {
		if w := get("/api/v1/cache/objects?limit=" + limit); w.Code != 400 {
			t.Errorf("limit=%s: %d", limit, w.Code)
		}
	}
	f.entries = nil
	if w := get("/api/v1/cache/objects"); !strings.Contains(w.Body.String(), `"objects": []`) {
		t.Errorf("of nothing: %s", w.Body)
	}
	if w := get("/api/v1/cache"); w.Code != 200 || !strings.Contains(w.Body.String(), `"dir": "/srv/cache"`) {
		t.Errorf("the snapshot: %d %s", w.Code, w.Body)
	}
}

// Verifying tells what is wrong, how far it is, and how it went.
func TestCacheVerifyTells(t *testing.T) {
	t.Parallel()
	f := &fakeCache{}
	bad := digest.FromString("bad")
	for i := range 250 {
		one := blobstore.Finding{Digest: digest.FromString(fmt.Sprint(i)), Size: 10}
		if i == 120 {
			one = blobstore.Finding{Digest: bad, Size: 20, Err: errors.New("other bytes")}
		}
		f.finds = append(f.finds, one)
	}
	w := post(admin.Config{}, f, "/api/v1/cache:verify", "{}")
	var got []admin.CacheVerified
	for line := range bytes.Lines(w.Body.Bytes()) {
		var one admin.CacheVerified
		if err := json.Unmarshal(line, &one); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got = append(got, one)
	}
	want := []admin.CacheVerified{
		{Objects: 100, Bytes: 1000},
		{Objects: 121, Bytes: 1220, Wrong: 1, Digest: bad, Size: 20, Error: "other bytes"},
		{Objects: 200, Bytes: 2010, Wrong: 1},
		{Objects: 250, Bytes: 2510, Wrong: 1, Done: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if kind := w.Header().Get("Content-Type"); kind != "application/x-ndjson" || !w.Flushed {
		t.Errorf("type %q, flushed %t", kind, w.Flushed)
	}
	f.err = context.Canceled
	if w := post(admin.Config{}, f, "/api/v1/cache:verify", "{}"); !strings.HasSuffix(w.Body.String(), `"error":"context canceled","done":true}`+"\n") {
		t.Errorf("ended early: %s", w.Body)
	}
}

// The operator's plane has time-outs for short answers. This one may take longer
// than they allow, and its reader's leaving still ends it.
func TestCacheVerifyOutlivesTheTimeouts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const short = 100 * time.Millisecond
		ended := make(chan error, 1)
		slow := &slowCache{ended: ended, wait: 5 * short}
		s := &http.Server{Handler: admin.New(admin.Config{}, admin.Sources{Snapshot: snapshot, Cache: slow}), ReadTimeout: short, WriteTimeout: short}
		line := make(pipeListener, 1)
		go s.Serve(line)
		defer s.Close()
		transport := &http.Transport{DialContext: line.dial}
		defer transport.CloseIdleConnections()
		resp, err := (&http.Client{Transport: transport}).Post("http://localhost/api/v1/cache:verify", "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		dec := json.NewDecoder(resp.Body)
		for i := range 2 {
			var line admin.CacheVerified
			if err := dec.Decode(&line); err != nil || line.Wrong != i+1 {
				t.Fatalf("line %d: %+v, %v", i, line, err)
			}
		}
		resp.Body.Close()
		if err := <-ended; !errors.Is(err, context.Canceled) { // else it goes on without a reader
			t.Errorf("it ended with %v", err)
		}
	})
}

// A pipeListener hands out the far ends of pipes, whose deadlines are of fake time.
type pipeListener chan net.Conn

func (l pipeListener) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	l <- far
	return near, nil
}

func (l pipeListener) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l pipeListener) Close() error {
	close(l)
	return nil
}

func (l pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// slowCache takes wait for each of two wrong objects, and then for ever.
type slowCache struct {
	fakeCache
	wait  time.Duration
	ended chan<- error
}

func (c *slowCache) Verify(ctx context.Context, report func(blobstore.Finding)) error {
	for range 2 {
		select {
		case <-time.After(c.wait):
		case <-ctx.Done():
			c.ended <- errors.New("given up while it was read")
			return ctx.Err()
		}
		report(blobstore.Finding{Digest: digest.FromString("x"), Err: errors.New("wrong")})
	}
	<-ctx.Done()
	c.ended <- ctx.Err()
	return ctx.Err()
}
