package notify

import (
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	minute := time.Minute
	second := time.Second
	tests := []struct {
		name string
		cfg  Config
		want []string // beginnings of its errors; none: it is valid
	}{
		{"no kind", Config{URL: "https://a.example"}, []string{`kind: "" is none of dingtalk, feishu, json, ntfy, slack, telegram, wecom`}},
		{"another kind", Config{Kind: "pager", URL: "https://a.example"}, []string{`kind: "pager"`}},
		{"no address", Config{Kind: "slack"}, []string{"url: is required"}},
		{"two addresses", Config{Kind: "slack", URL: "https://a.example/x", URLFile: "x"}, []string{"url, url_file: "}},
		{"a file that was not read", Config{Kind: "slack", URLFile: "x"}, nil},
		{"a file without an address", Config{Kind: "slack", URLFile: "x", Address: "secret-nonsense"}, []string{"url_file: should be https://"}},
		{"no URL", Config{Kind: "slack", URL: "hooks.slack.com/services"}, []string{"url: should be https://"}},
		{"as config show writes it", Config{Kind: "slack", URL: "***"}, []string{"url: *** is what"}},
		{"a login", Config{Kind: "json", URL: "https://u:hunter2@a.example/"}, []string{"url: holds a login"}},
		{"a topic is missing", Config{Kind: "ntfy", URL: "https://ntfy.sh/"}, []string{"url: should end in a topic"}},
		{"telegram", Config{Kind: "telegram", TokenFile: "t", ChatID: "7"}, nil},
		{"telegram without a bot", Config{Kind: "telegram"}, []string{"token_file: telegram needs one", "chat_id: telegram needs one"}},
		{"too many secrets", Config{Kind: "slack", URL: "https://a.example", TokenFile: "t", SecretFile: "s", ChatID: "7"},
			[]string{"token_file: slack has no use", "secret_file: slack has no use", "chat_id: slack has no use"}},
		{"words", Config{Kind: "json", URL: "https://a.example", Lang: "fr", MinLevel: "info"}, []string{`lang: "fr"`, `min_level: "info"`}},
		{"times", Config{Kind: "json", URL: "https://a.example", OutageAfter: -1, RepeatAfter: &second}, []string{"outage_after: must be", "repeat_after: must be"}},
		{"a time that is", Config{Kind: "json", URL: "https://a.example", OutageAfter: time.Second, RepeatAfter: &minute}, nil},
		{"members of none", Config{Kind: "json", URL: "https://a.example", Ping: []string{"me"}}, []string{"mention: json calls no members"}},
		{"all of wecom", Config{Kind: "wecom", URL: "https://a.example", Ping: []string{"all"}}, []string{"mention: wecom cannot call all"}},
		{"a mark", Config{Kind: "slack", URL: "https://a.example", Ping: []string{"U1> <!channel"}}, []string{`mention: "U1> <!channel" is no`}},
		{"a header's name", Config{Kind: "json", URL: "https://a.example", Headers: map[string]pullchain.Secret{"a b": "x"}}, []string{`headers: "a b"`}},
		{"a header's lines", Config{Kind: "json", URL: "https://a.example", Headers: map[string]pullchain.Secret{"a": "x\ny"}}, []string{"headers: a holds more"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.cfg.Validate()
			var got []string
			if err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if len(got) != len(tt.want) {
				t.Fatalf("%q, want %q", got, tt.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], tt.want[i]) || strings.Contains(got[i], "hunter2") || strings.Contains(got[i], "nonsense") {
					t.Errorf("%q, want %q", got[i], tt.want[i])
				}
			}
		})
	}
}
