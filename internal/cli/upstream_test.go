package cli_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/admin"
)

// oneUpstream is a daemon that has docker.io/hub.
type oneUpstream struct{}

func (oneUpstream) Act(_ context.Context, a admin.Action) (admin.Outcome, error) {
	if a.Registry != "docker.io" || a.Upstream != "hub" {
		return admin.Outcome{}, admin.ErrNoUpstream(a.Registry, a.Upstream)
	}
	return admin.Outcome{Operation: a.Kind, Registry: a.Registry, Upstream: a.Upstream, After: "serving"}, nil
}

func TestUpstreamReset(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(admin.New(admin.Config{}, admin.Sources{Snapshot: func() admin.Snapshot { return admin.Snapshot{} }, Operator: oneUpstream{}}))
	t.Cleanup(s.Close)
	nowhere := httptest.NewServer(nil)
	nowhere.Close()
	tests := []struct {
		name        string
		args        []string
		code        int
		out, errors string
	}{
		{"one that is there", []string{"docker.io/hub", "--addr", s.URL}, 0, "docker.io/hub: forgotten what was learnt of it; it is serving now\n", ""},
		{"in Chinese", []string{"docker.io/hub", "--addr", s.URL, "--lang", "zh"}, 0, "docker.io/hub：已忘记", ""},
		{"as JSON", []string{"docker.io/hub", "--addr", s.URL, "-o", "json"}, 0, `"state": "serving"`, ""},
		{"one that is not", []string{"docker.io/worker", "--addr", s.URL}, 2, "", "there is no upstream docker.io/worker"},
		{"a registry alone", []string{"docker.io", "--addr", s.URL}, 2, "", "docker.io is not REGISTRY/NAME"},
		{"a name alone", []string{"/hub", "--addr", s.URL}, 2, "", "/hub is not REGISTRY/NAME"},
		{"nothing", nil, 2, "", "expected"},
		{"no daemon", []string{"docker.io/hub", "--addr", nowhere.URL}, 4, "", "no pullchain answers"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := run(t.Context(), append([]string{"upstream", "reset"}, tt.args...))
			if got.code != tt.code || !strings.Contains(got.out, tt.out) || !strings.Contains(got.errors, tt.errors) {
				t.Errorf("exit code %d\n%s%s; want %d with %q and %q", got.code, got.out, got.errors, tt.code, tt.out, tt.errors)
			}
		})
	}
}
