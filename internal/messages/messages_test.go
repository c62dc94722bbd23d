package messages_test

import (
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain/internal/messages"
)

func TestLanguagesHaveTheSameKeys(t *testing.T) {
	t.Parallel()
	en, zh := messages.In("en"), messages.In("zh")
	if len(en.Keys()) == 0 {
		t.Fatal("the catalogue is empty")
	}
	if diff := cmp.Diff(en.Keys(), zh.Keys()); diff != "" {
		t.Errorf("keys, English (-) and Chinese (+):\n%s", diff)
	}
}

func TestLanguagesHaveTheSamePlaceholders(t *testing.T) {
	t.Parallel()
	en, zh := messages.In("en"), messages.In("zh")
	for _, key := range en.Keys() {
		if diff := cmp.Diff(placeholders(en.Text(key)), placeholders(zh.Text(key))); diff != "" {
			t.Errorf("%s, English (-) and Chinese (+):\n%s", key, diff)
		}
	}
}

// A number of one has a word of its own, and none of another text's.
func TestNumbers(t *testing.T) {
	t.Parallel()
	en := messages.In("en")
	for n, want := range map[any]string{0: "f: ok (0 registries, 1 upstream)", 1: "f: ok (1 registry, 1 upstream)", 11: "f: ok (11 registries, 1 upstream)", "1": "f: ok (1 registry, 1 upstream)"} {
		if got := en.Text("config.ok", "file", "f", "registries", n, "upstreams", 1); got != want {
			t.Errorf("%v: %q, want %q", n, got, want)
		}
	}
}

func placeholders(text string) []string {
	out := regexp.MustCompile(`\{[a-z0-9_]+\}`).FindAllString(text, -1)
	slices.Sort(out)
	return out
}

func TestWhichLanguage(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, explicit string
		env            map[string]string
		want           string
	}{
		{"nothing is said", "", nil, "en"},
		{"a locale of a system", "", map[string]string{"LANG": "zh_CN.UTF-8"}, "zh"},
		{"LC_ALL stands above LANG", "", map[string]string{"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en"},
		{"LC_MESSAGES stands above LANG", "", map[string]string{"LC_MESSAGES": "zh_TW", "LANG": "de_DE"}, "zh"},
		{"the flag stands above all", "en", map[string]string{"LC_ALL": "zh_CN.UTF-8"}, "en"},
		{"a tag of the web", "zh-Hans-CN", nil, "zh"},
		{"Zhuang is not Chinese", "zha", nil, "en"},
		{"anything else", "fr", nil, "en"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := messages.Of(tt.explicit, func(k string) string { return tt.env[k] })
			if got != messages.In(tt.want) {
				t.Errorf("not %s: %s", tt.want, got.Text("level.outage"))
			}
		})
	}
}

func TestPreferred(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"":                                    "en",
		"zh-CN,zh;q=0.9,en;q=0.8":             "zh",
		"en-GB,en;q=0.9,zh-CN;q=0.8":          "en",
		"de-DE,de;q=0.9,zh-CN;q=0.5,en;q=0.3": "zh",
		"fr":                                  "en",
		"zh;q=0":                              "en",
		"zh;q=high, en":                       "en",
		"*":                                   "en",
	} {
		if messages.Preferred(header) != messages.In(want) {
			t.Errorf("%q is not %s", header, want)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		lang, key string
		pairs     []any
		want      string
	}{
		{"en", "summary.count", []any{"ok", 6, "all", 7}, "6 of 7 registries pullable."},
		{"zh", "summary.count", []any{"ok", 6, "all", 7}, "7 个仓库中 6 个可拉取。"},
		{"en", "summary.no_path", []any{"registry", "{upstream}"}, "{upstream} has no path."}, // values are not read again
		{"en", "no.such.key", nil, "no.such.key"},
	}
	for _, tt := range tests {
		if got := messages.In(tt.lang).Text(tt.key, tt.pairs...); got != tt.want {
			t.Errorf("Text(%s, %s) = %q, want %q", tt.lang, tt.key, got, tt.want)
		}
	}
}
