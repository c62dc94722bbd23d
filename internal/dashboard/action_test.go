package dashboard_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
)

// posts are the forms of a page that do something, as their path and what they name.
func posts(a answer) []string {
	var out []string
	for _, f := range elements(a.tree, "form") {
		if attr(f, "method") != "post" {
			continue
		}
		line := attr(f, "action")
		for _, n := range elements(f, "input") {
			if v := attr(n, "value"); slices.Contains([]string{"registry", "upstream", "order", "what"}, attr(n, "name")) {
				line += " " + v
			}
		}
		out = append(out, line)
	}
	return out
}

// What is offered is what makes sense for an upstream in its state.
func TestActionsOfAnUpstream(t *testing.T) {
	t.Parallel()
	h := asOperator(func() admin.Snapshot {
		s := troubled()
		s.Registries[0].Lanes[2].State = balancer.StateQuarantined
		s.Registries[0].Pinned = "cf-worker"
		return s
	})
	tests := []struct {
		path string
		want []string
	}{
		{"/r/docker.io/u/docker-hub", []string{"probe", "reset_breaker", "clear_cooldown", "pin", "drain", "disable", "reset"}},
		{"/r/docker.io/u/cf-worker", []string{"probe", "unpin", "drain", "disable", "reset"}},
		{"/r/docker.io/u/mirror-x", []string{"lift_quarantine", "pin", "drain", "disable", "reset"}},
		{"/r/quay.io/u/mirror-x", []string{"enable", "pin", "reset"}},
		{"/r/ghcr.io/u/ghcr", []string{"drain", "disable", "reset"}},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			t.Parallel()
			target := " " + strings.Join(strings.Split(strings.TrimPrefix(tt.path, "/r/"), "/u/"), " ")
			var want []string
			for _, kind := range tt.want {
				want = append(want, "/act/"+kind+target)
			}
			if diff := cmp.Diff(want, posts(get(t, h, tt.path))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestActionsOfARegistry(t *testing.T) {
	t.Parallel()
	want := []string{
		"/act/reorder docker.io cf-worker docker-hub mirror-x",
		"/act/reorder docker.io cf-worker docker-hub mirror-x",
		"/act/reorder docker.io docker-hub mirror-x cf-worker",
		"/act/reorder docker.io docker-hub mirror-x cf-worker",
		"/act/probe docker.io",
		"/act/reorder docker.io", // back to the configured order
	}
	if diff := cmp.Diff(want, posts(get(t, asOperator(troubled), "/r/docker.io"))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Overrides stand on the first page, each with the way back.
func TestOverridesAreInTheVerdict(t *testing.T) {
	t.Parallel()
	a := get(t, asOperator(troubled), "/")
	if diff := cmp.Diff([]string{"/act/reorder docker.io", "/act/enable quay.io mirror-x", "/act/reload"}, posts(a)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, want := range []string{"mirror-x of quay.io is drained", "disk is being replaced", "by 127.0.0.1", "in 38 min"} {
		if !strings.Contains(text(a.tree), want) {
			t.Errorf("no %q", want)
		}
	}
}

// A form comes back to where it was sent from, with what was asked for there.
func TestFormsComeBack(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/r/docker.io/u/docker-hub":                          "/r/docker.io/u/docker-hub",
		"/r/docker.io/u/docker-hub?window=24h":               "/r/docker.io/u/docker-hub?window=24h",
		"/r/docker.io/u/docker-hub?lang=zh&fragment=nothing": "/r/docker.io/u/docker-hub",
		"/cache?q=alpine&theme=dark":                         "/cache?q=alpine",
	} {
		a := get(t, asOperator(troubled), strings.Replace(path, "&fragment=nothing", "", 1))
		var back []string
		for _, n := range elements(a.tree, "input") {
			if attr(n, "name") == "back" {
				back = append(back, attr(n, "value"))
			}
		}
		if len(back) == 0 || len(slices.Compact(back)) != 1 || back[0] != want {
			t.Errorf("%s: back to %q, want %q", path, back, want)
		}
	}
}

// A reader that may not act has no buttons.
func TestNoActions(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/", "/r/docker.io", "/r/docker.io/u/docker-hub", "/cache"} {
		if got := posts(get(t, over(troubled), path)); len(got) > 0 {
			t.Errorf("%s: %q", path, got)
		}
	}
}
