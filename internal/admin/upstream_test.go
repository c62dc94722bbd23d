package admin_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/admin"
)

// fakeOperator has docker.io/hub and notes what is done.
type fakeOperator struct {
	done []admin.Action
	err  error // of what is done
}

func (f *fakeOperator) Act(_ context.Context, a admin.Action) (admin.Outcome, error) {
	a, err := a.Check()
	switch {
	case err != nil:
		return admin.Outcome{}, err
	case a.Registry != "docker.io" && a.Registry != "mirror.lan:5000" && a.Kind != admin.KindReload:
		return admin.Outcome{}, admin.ErrNoRegistry(a.Registry)
	case a.Upstream != "hub" && a.Upstream != "":
		return admin.Outcome{}, admin.ErrNoUpstream(a.Registry, a.Upstream)
	}
	f.done = append(f.done, a)
	return admin.Outcome{Operation: a.Kind, Registry: a.Registry, Upstream: a.Upstream, Before: "open", After: "serving"}, f.err
}

// What forgets something is as well guarded as what changes the cache.
func TestUpstreamReset(t *testing.T) {
	t.Parallel()
	const body = `{"registry":"docker.io","upstream":"hub"}`
	locked := admin.Config{Listen: "0.0.0.0:5152", Token: "s3cret"}
	tests := []struct {
		name   string
		cfg    admin.Config
		method string
		body   string
		header []string
		status int
		answer string // is contained
		done   bool
	}{
		{"reset", admin.Config{}, "POST", body, nil, 200, `"state": "serving"`, true},
		{"with the token", locked, "POST", body, []string{"Authorization", "Bearer s3cret"}, 200, `"upstream": "hub"`, true},
		{"one that there is not", admin.Config{}, "POST", `{"registry":"docker.io","upstream":"hbu"}`, nil, 404, `"code":"unknown_upstream"`, false},
		{"of a registry that there is not", admin.Config{}, "POST", `{"registry":"ghcr.io","upstream":"hub"}`, nil, 404, `"code":"unknown_registry"`, false},
		{"half of it", admin.Config{}, "POST", `{"registry":"docker.io"}`, nil, 400, `"code":"bad_request"`, false},
		{"a typo", admin.Config{}, "POST", `{"registry":"docker.io","upstraem":"hub"}`, nil, 400, `"code":"bad_request"`, false},
		{"two bodies", admin.Config{}, "POST", body + body, nil, 400, `"code":"bad_request"`, false},
		{"no body", admin.Config{}, "POST", "", nil, 400, `"code":"bad_request"`, false},
		{"a form", admin.Config{}, "POST", body, []string{"Content-Type", "text/plain"}, 415, `"code":"not_json"`, false},
		{"from a page of another site", admin.Config{}, "POST", body, []string{"Sec-Fetch-Site", "cross-site"}, 403, `"code":"cross_origin"`, false},
		{"by a foreign name", admin.Config{}, "POST", body, []string{"Host", "evil.example:5152"}, 421, `"code":"unknown_host"`, false},
		{"without the token", locked, "POST", body, nil, 401, `"code":"unauthorized"`, false},
		{"a GET", admin.Config{}, "GET", "", nil, 405, `"code":"method_not_allowed"`, false},
		{"a PUT", admin.Config{}, "PUT", body, nil, 405, `"code":"method_not_allowed"`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(tt.method, "/api/v1/upstream:reset", strings.NewReader(tt.body))
			r.Host = "127.0.0.1:5152"
			r.Header.Set("Content-Type", "application/json")
			for i := 0; i < len(tt.header); i += 2 {
				if tt.header[i] == "Host" {
					r.Host = tt.header[i+1]
				} else {
					r.Header.Set(tt.header[i], tt.header[i+1])
				}
			}
			f, w := &fakeOperator{}, httptest.NewRecorder()
			admin.New(tt.cfg, admin.Sources{Snapshot: snapshot, Operator: f}).ServeHTTP(w, r)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.answer) {
				t.Errorf("got %d %.300q, want %d with %q", w.Code, w.Body, tt.status, tt.answer)
			}
			if (len(f.done) == 1) != tt.done {
				t.Errorf("it was reset %d times, want %t", len(f.done), tt.done)
			}
			if w.Code != http.StatusMethodNotAllowed { // which allows another method here than elsewhere
				checkSecured(t, w)
			} else if w.Header().Get("Allow") != "POST" {
				t.Errorf("405 allows %q", w.Header().Get("Allow"))
			}
		})
	}
}

func TestUpstreamResetThatFails(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodPost, "/api/v1/upstream:reset", strings.NewReader(`{"registry":"docker.io","upstream":"hub"}`))
	r.Host, r.Header = "127.0.0.1", http.Header{"Content-Type": {"application/json"}}
	w := httptest.NewRecorder()
	admin.New(admin.Config{}, admin.Sources{Snapshot: snapshot, Operator: &fakeOperator{err: errors.New("it cannot be")}}).ServeHTTP(w, r)
	if w.Code != 500 || !strings.Contains(w.Body.String(), "it cannot be") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
