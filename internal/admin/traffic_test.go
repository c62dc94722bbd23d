package admin_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/messages"
	"github.com/pullchain/pullchain/internal/traffic"
)

// codes are the constants of type Code in the root package.
func codes(t *testing.T) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../../reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return true
		}
		if kind, ok := v.Type.(*ast.Ident); ok && kind.Name == "Code" {
			text, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, text)
		}
		return true
	})
	if len(all) < 40 {
		t.Fatalf("only %d codes in reason.go: %v", len(all), all)
	}
	return all
}

// Whatever fails has a sentence and a next step, in both languages, and no place in
// them is left empty.
func TestEveryCodeHasASentenceAndANextStep(t *testing.T) {
	t.Parallel()
	for _, lang := range []string{messages.English, messages.Chinese} {
		m := messages.In(lang)
		for _, code := range codes(t) {
			said, next := admin.Said(m, "hub", code), admin.NextStep(m, code, "docker.io", "hub")
			if !m.Has("why."+code) || next == "" {
				t.Errorf("%s: %s has the sentence %q and the next step %q", lang, code, said, next)
			}
			if strings.ContainsAny(said+next, "{}") {
				t.Errorf("%s: %s: a place is empty: %s; %s", lang, code, said, next)
			}
		}
	}
	if admin.NextStep(messages.In(messages.English), "no such code", "r", "u") != "" {
		t.Error("a word that is no code has a next step")
	}
}

func TestFindings(t *testing.T) {
	t.Parallel()
	quota := traffic.Attempt{Upstream: "hub", Outcome: "limited", Code: "http_429_quota", Text: "its words", Trouble: true}
	gated := traffic.Attempt{Upstream: "hub", Outcome: "not asked", Gate: "cooldown", Code: "http_429_quota", Trouble: true}
	drained := traffic.Attempt{Upstream: "hub", Outcome: "not asked", Gate: "operator", Word: "operator", Trouble: true}
	lacks := traffic.Attempt{Upstream: "mirror", Outcome: "not found", Code: "http_404"}
	slower := traffic.Attempt{Upstream: "mirror", Outcome: "canceled", Code: "canceled", Hedge: true}
	served := traffic.Attempt{Upstream: "worker", Outcome: "ok", Word: "ok"}
	of := func(r traffic.Request, attempts ...traffic.Attempt) traffic.Request {
		r.Registry, r.Attempts = "docker.io", attempts
		return r
	}
	fine, failed := traffic.Request{}, traffic.Request{Failed: true, Status: 503}
	tests := []struct {
		name     string
		requests []traffic.Request
		want     []string // upstream, code, times
	}{
		{"nothing", nil, nil},
		{"all is well", []traffic.Request{of(fine, lacks, slower, served)}, nil},
		{"failover", []traffic.Request{of(fine, quota, served)}, []string{"hub http_429_quota 1"}},
		{"and then not asked", []traffic.Request{of(fine, quota, served), of(fine, gated, served), of(fine, gated, served)}, []string{"hub http_429_quota 3"}},
		{"an operator's doing", []traffic.Request{of(fine, drained, served)}, []string{"hub gate 1"}},
		{"not found anywhere", []traffic.Request{of(failed, lacks)}, []string{"mirror http_404 1"}},
		{"no upstream at all", []traffic.Request{of(traffic.Request{Failed: true, Code: "no_upstream", Error: "x"})}, []string{" no_upstream 1"}},
		{"refused by us", []traffic.Request{of(traffic.Request{Failed: true, Error: "push"}), of(traffic.Request{Failed: true, Error: "host"})}, []string{"  1", "  1"}},
		{"stale", []traffic.Request{of(traffic.Request{Cache: "stale", Degraded: true})}, []string{"  1"}},
		{"stale, and why", []traffic.Request{of(traffic.Request{Cache: "stale", Degraded: true}, quota)}, []string{"hub http_429_quota 1"}},
	}
	for _, tt := range tests {
		var got []string
		for _, f := range admin.Findings(messages.In(messages.English), tt.requests) {
			got = append(got, f.Upstream+" "+f.Code+" "+strconv.Itoa(f.Times))
			if f.Said == "" || f.Next == "" {
				t.Errorf("%s: says nothing: %+v", tt.name, f)
			}
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

// used is a journal of a pull with a failover, and of a client that only looked.
func used() *traffic.Journal {
	j := traffic.New()
	f := &traffic.Flight{ID: 36, At: time.Now(), Addr: netip.MustParseAddr("192.0.2.7"), Family: "docker", Form: "ns", Request: &pullchain.Request{
		Op: pullchain.Manifest, Registry: "docker.io", Repo: "library/alpine", Tag: "3.20",
	}}
	j.Begin(f)
	j.End(f, &traffic.Outcome{Method: "GET", Status: 200, Upstream: "worker", Attempts: []traffic.Attempt{
		{Upstream: "hub", Outcome: "limited", Word: "http_429_quota", Code: "http_429_quota", Trouble: true}, {Upstream: "worker", Outcome: "ok", Word: "ok"},
	}})
	j.End(&traffic.Flight{ID: 37, At: time.Now(), Family: "other"}, &traffic.Outcome{Method: "GET", Status: 200, Ping: true})
	return j
}

func TestTrafficRoutes(t *testing.T) {
	t.Parallel()
	j := used()
	active, _ := j.Pulls()
	h := admin.New(admin.Config{}, admin.Sources{Snapshot: func() admin.Snapshot { return admin.Snapshot{} }, Traffic: j})
	nothing := admin.New(admin.Config{}, admin.Sources{Snapshot: func() admin.Snapshot { return admin.Snapshot{} }})
	tests := []struct {
		path   string
		status int
		has    string // in the answer, without white space
	}{
		{"/api/v1/pulls", 200, `"active":[{"id":"` + active[0].ID + `"`},
		{"/api/v1/pulls?state=recent", 200, `{"schema":1,"active":[],"recent":[]}`},
		{"/api/v1/pulls?state=active&image=alpine:3.20&client=docker", 200, `"reference":"3.20"`},
		{"/api/v1/pulls?image=busybox", 200, `"active":[]`},
		{"/api/v1/pulls?client=podman", 200, `"active":[]`},
		{"/api/v1/pulls?state=old", 400, `"code":"bad_request"`},
		{"/api/v1/pulls/" + active[0].ID, 200, `"next":"waitforthetime`},
		{"/api/v1/pulls/p-1", 404, `"code":"not_found"`},
		{"/api/v1/clients", 200, `"last_pull":{"id":"` + active[0].ID + `","image":"docker.io/library/alpine:3.20"`},
		{"/api/v1/clients", 200, `"family":"other"`},
		{"/api/v1/requests", 200, `"id":"11"`},
		{"/api/v1/requests?registry=docker.io&degraded=true&upstream=hub", 200, `"requests":[{"id":"10"`},
		{"/api/v1/requests?failed=true", 200, `"requests":[]`},
		{"/api/v1/requests?limit=1", 200, `"requests":[{"id":"11"`},
		{"/api/v1/requests?failed=maybe", 400, `"code":"bad_request"`},
		{"/api/v1/requests?limit=0", 400, `"code":"bad_request"`},
		{"/api/v1/requests?limit=2001", 400, `"code":"bad_request"`},
		{"/api/v1/requests/10", 200, `"findings":[{"registry":"docker.io","upstream":"hub","code":"http_429_quota"`},
		{"/api/v1/requests/zz", 404, `"code":"not_found"`},
	}
	for _, tt := range tests {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1"+tt.path, nil))
		flat := strings.NewReplacer(" ", "", "\n", "").Replace(w.Body.String())
		if w.Code != tt.status || !strings.Contains(flat, tt.has) || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: %d %s; want %d with %s", tt.path, w.Code, flat, tt.status, tt.has)
		}
		w = httptest.NewRecorder()
		nothing.ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1"+tt.path, nil))
		if w.Code != 404 {
			t.Errorf("%s where nothing is remembered: %d", tt.path, w.Code)
		}
	}
}
