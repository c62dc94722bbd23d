//go:build e2e

package prometheus_test

import (
	"os/exec"
	"strings"
	"testing"
)

// Prometheus itself takes the rules, each alert fires where it should and nowhere else,
// and the scrape configuration is one.
func TestPromtool(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"check rules rules.yml", "test rules rules_test.yml", "check config prometheus.yml"} {
		out, err := exec.CommandContext(t.Context(), "promtool", strings.Fields(args)...).CombinedOutput()
		if err != nil {
			t.Errorf("promtool %s: %v (bash .ci/install installs it)\n%s", args, err, out)
		}
	}
}
