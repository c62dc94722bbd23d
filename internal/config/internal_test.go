package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
)

func TestExpand(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"A": "one", "B_2": "two", "EMPTY": "", "NESTED": "${A}"}
	env := func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
	tests := []struct{ in, want, err string }{
		{"", "", ""},
		{"plain", "plain", ""},
		{"${A}", "one", ""},
		{"x${A}y${B_2}z", "xoneytwoz", ""},
		{"${EMPTY}", "", ""},
		{"${NESTED}", "${A}", ""},
		{"$A $ $$ 100$", "$A $ $$ 100$", ""},
		{"$${A}", "${A}", ""},
		{"$${A} ${A}", "${A} one", ""},
		{"${C}", "", "the environment variable C is not set"},
		{"${A", "", "after ${"},
		{"${}", "", "after ${"},
		{"${A:-b}", "", "after ${"},
		{"${2B}", "", "after ${"},
	}
	for _, tt := range tests {
		got, err := expand(tt.in, env)
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.err)) {
			t.Errorf("expand(%q): error %v, want %q", tt.in, err, tt.err)
		}
		if got != tt.want {
			t.Errorf("expand(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestSuggest(t *testing.T) {
	t.Parallel()
	known := []string{"listen", "tls_cert", "tls_key", "http2", "password_file", "max_connections", "ca_file", "url"}
	tests := []struct{ word, want string }{
		{"lisen", "listen"},
		{"litsen", "listen"},
		{"LISTEN", "listen"},
		{"tls-cert", "tls_cert"},
		{"password", "password_file"},
		{"maxconnections", "max_connections"},
		{"ca", "ca_file"},
		{"uri", "url"},
		{"frobnicate", ""},
		{"zz", ""},
		{strings.Repeat("l", 10000), ""},
	}
	for _, tt := range tests {
		if got := suggest(tt.word, known); got != tt.want {
			t.Errorf("suggest(%.20q) = %q, want %q", tt.word, got, tt.want)
		}
	}
}

func TestLocate(t *testing.T) {
	t.Parallel()
	const text = "\ufeff# a comment with [brackets]\r\n" +
		"top = 1\n" + // 2
		"  [a . \"b.c\"] # comment\n" + // 3
		"\tkey = \"\"\"\nx = [1]\n\"\"\"\"\" # two quotes of its own\n" + // 4-6
		"'lit' = '''a\n'''\n" + // 7-8
		"d.e = {f = [1, {g = 2}], \"h\\\"\" = \"é}\"}\n" + // 9
		"[[list]]\nx = 1\n[list.sub]\ny = 1\n" + // 10-13
		"[[list]]\nx = [\n  1, # one\n  { z = \"\\\\\" },\n]\n" + // 14-18
		"[list.sub]\ny = \"ü\" # not a key\nw = 1979-05-27 07:32:00\n" // 19-21
	if _, err := toml.Decode(text, new(map[string]any)); err != nil {
		t.Fatal(err)
	}
	want := map[string]position{
		`."top"`: {2, 1},
		`."a"`:   {3, 3}, `."a"."b.c"`: {3, 3}, `."a"."b.c"."key"`: {4, 2}, `."a"."b.c"."lit"`: {7, 1},
		`."a"."b.c"."d"`: {9, 1}, `."a"."b.c"."d"."e"`: {9, 1}, `."a"."b.c"."d"."e"."f"`: {9, 8},
		`."a"."b.c"."d"."e"."f"[0]`: {9, 13}, `."a"."b.c"."d"."e"."f"[1]`: {9, 16},
		`."a"."b.c"."d"."e"."f"[1]."g"`: {9, 17}, `."a"."b.c"."d"."e"."h\""`: {9, 26},
		`."list"`: {10, 1}, `."list"[0]`: {10, 1}, `."list"[0]."x"`: {11, 1},
		`."list"[0]."sub"`: {12, 1}, `."list"[0]."sub"."y"`: {13, 1},
		`."list"[1]`: {14, 1}, `."list"[1]."x"`: {15, 1}, `."list"[1]."x"[0]`: {16, 3},
		`."list"[1]."x"[1]`: {17, 3}, `."list"[1]."x"[1]."z"`: {17, 5},
		`."list"[1]."sub"`: {19, 1}, `."list"[1]."sub"."y"`: {20, 1}, `."list"[1]."sub"."w"`: {21, 1},
	}
	if d := cmp.Diff(want, locate(text), cmp.AllowUnexported(position{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestLocateFindsWhatTheParserFinds holds the scanner against the parser over
// every valid file that there is.
func TestLocateFindsWhatTheParserFinds(t *testing.T) {
	t.Parallel()
	paths, _ := filepath.Glob("testdata/*.toml")
	for _, path := range append(paths, "default.toml") {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var tree map[string]any
		if _, err := toml.Decode(string(data), &tree); err != nil {
			continue
		}
		if missing := missingKeys(place{}, tree, locate(string(data))); len(missing) > 0 {
			t.Errorf("%s: no position for %v", path, missing)
		}
	}
}

// missingKeys returns the keys of a tree that places does not have.
func missingKeys(at place, tree any, places map[string]position) []string {
	var out []string
	check := func(p place, below any) {
		if _, ok := places[p.key]; !ok {
			out = append(out, p.key)
		}
		out = append(out, missingKeys(p, below, places)...)
	}
	switch x := tree.(type) {
	case map[string]any:
		for k, v := range x {
			check(at.child(k), v)
		}
	case []map[string]any:
		for i, v := range x {
			check(at.item(i, ""), v)
		}
	case []any:
		for i, v := range x {
			check(at.item(i, ""), v)
		}
	}
	return out
}

func TestShortDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		time.Minute: "1m", time.Hour: "1h", 90 * time.Second: "1m30s", 10 * time.Minute: "10m", time.Hour + time.Second: "1h0m1s",
		25 * time.Second: "25s", 1500 * time.Millisecond: "1.5s", 10 * time.Hour: "10h",
	} {
		if got := shortDuration(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

// FuzzParse: no panic; every error has a place for people to look at; what can
// be read can be shown and read again.
func FuzzParse(f *testing.F) {
	paths, _ := filepath.Glob("testdata/*.toml")
	for _, path := range append(paths, "default.toml") {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	env := func(name string) (string, bool) { return "value", name != "PULLCHAIN_TEST_UNSET" }
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := Parse("fuzz.toml", data, env)
		if err != nil {
			for _, one := range flatten(err) {
				if e, ok := one.(*Error); !ok || e.Message == "" || e.File != "fuzz.toml" {
					t.Errorf("%T is not an Error with a file and a message: %v", one, one)
				}
			}
			return
		}
		var b strings.Builder
		if err := cfg.Show(&b, true); err != nil {
			t.Fatal(err)
		}
		if _, err := Parse("again.toml", []byte(b.String()), nil); err != nil {
			t.Errorf("shown as\n%s\nwhich cannot be read: %v", b.String(), err)
		}
	})
}
