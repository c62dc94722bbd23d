package dashboard_test

import (
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/admin"
)

// A webhook that fails cannot tell so itself: the page does, with the command that asks
// it again.
func TestNotifierThatFails(t *testing.T) {
	t.Parallel()
	failing := func() admin.Snapshot {
		s := healthy()
		s.Notifiers = []admin.Notifier{{Name: "team", Kind: "dingtalk", LastError: "310000 <sign> not match"}, {Name: "pager", Kind: "json"}}
		return s
	}
	for lang, want := range map[string]string{"en": "Notifications by team (dingtalk) fail", "zh": "通过 team（dingtalk）发送通知失败"} {
		a := get(t, over(failing), "/?lang="+lang)
		for _, f := range faults(a) {
			t.Error(f)
		}
		if read := text(a.tree); !strings.Contains(read, want) || !strings.Contains(read, "310000 <sign> not match") || !strings.Contains(read, "pullchain notify test team") {
			t.Errorf("%s: the page says\n%s", lang, read)
		}
	}
}
