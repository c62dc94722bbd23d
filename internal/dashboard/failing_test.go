package dashboard_test

import (
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/diagnose"
)

// The headline never says that pulls work while clients get nothing of a registry.
func TestHeadlineOfFailingPulls(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ severity, repositories, lang, headline string }{
		{diagnose.Critical, "3", "en", "Pulls fail at 1 of 4 registries"},
		{diagnose.Critical, "3", "zh", "4 个仓库中有 1 个拉取失败"},
		{diagnose.Degraded, "1", "en", "Pulls of one image fail"},
		{diagnose.Degraded, "1", "zh", "有一个镜像拉取失败"},
	} {
		a := get(t, over(func() admin.Snapshot {
			s := healthy()
			s.Warnings = []diagnose.Warning{{
				ID: "pulls_failing:docker.io", Code: diagnose.PullsFailing, Severity: tt.severity, Since: now, Affects: []string{"docker.io"}, Fix: "pullchain why",
				Values: map[string]string{"registry": "docker.io", "requests": "6", "repositories": tt.repositories, "repository": "library/alpine", "code": "auth_token"},
			}}
			s.Summary = admin.Summarize(s.Chains(), s.Cache, s.Now, s.Warnings...)
			return s
		}), "/?lang="+tt.lang)
		for _, f := range faults(a) {
			t.Error(f)
		}
		if got := strings.TrimSpace(text(elements(a.tree, "h1")[0])); !strings.Contains(got, tt.headline) {
			t.Errorf("the headline is %q, want %q", got, tt.headline)
		}
		if read := text(a.tree); !strings.Contains(read, "auth_token") || !strings.Contains(read, "pullchain why") {
			t.Errorf("the page says\n%s", read)
		}
	}
}
