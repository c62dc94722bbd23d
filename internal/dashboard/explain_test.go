package dashboard_test

import (
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/golden"
)

func TestExplainReads(t *testing.T) {
	t.Parallel()
	for _, lang := range []string{"en", "zh"} {
		a := get(t, over(troubled), "/explain?image=alpine:3.20&digests=1&lang="+lang)
		golden.Compare(t, "testdata/explain-"+lang+".txt", text(elements(a.tree, "main")[0]))
	}
}

// To compare digests costs the upstreams something: a link on another site must not do it.
func TestOthersCompareNothing(t *testing.T) {
	t.Parallel()
	const path = "/explain?image=alpine:3.20&digests=1"
	for site, want := range map[string]bool{"same-origin": true, "none": true, "cross-site": false} {
		a := get(t, over(troubled), path, "Sec-Fetch-Site", site)
		if got := strings.Contains(text(a.tree), "They do not mean the same"); got != want {
			t.Errorf("%s: compared is %v", site, got)
		}
	}
}

func TestNoImage(t *testing.T) {
	t.Parallel()
	a := get(t, over(healthy), "/explain?image=A/B/")
	if a.StatusCode != 400 || !strings.Contains(text(a.tree), "A/B/ is no name of an image.") {
		t.Errorf("%s\n%s", a.Status, text(a.tree))
	}
}
