package config_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain/internal/config"
)

// oneRegistry is a file with a registry for each of names, with what aliases says.
func oneRegistry(aliases map[string]string, names ...string) string {
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "[[registry]]\nname = %q\naliases = [%s]\n[[registry.upstream]]\nname = \"u\"\nurl = \"https://u.example.com\"\ntrust = \"resolve\"\n", name, aliases[name])
	}
	return b.String()
}

// A registry's own hosts are its aliases, but where the file calls something else so.
func TestOwnAliases(t *testing.T) {
	t.Parallel()
	const index, first, hub = "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"
	tests := []struct {
		name    string
		names   []string
		aliases map[string]string
		want    map[string][]string
	}{
		{"none named", []string{"docker.io", "registry.k8s.io", "ghcr.io"}, nil,
			map[string][]string{"docker.io": {first, index, hub}, "registry.k8s.io": {"k8s.gcr.io"}, "ghcr.io": nil}},
		{"some named", []string{"docker.io"}, map[string]string{"docker.io": `"hub", "index.docker.io"`},
			map[string][]string{"docker.io": {"hub", index, first, hub}}},
		{"a registry of that name", []string{"docker.io", first}, nil,
			map[string][]string{"docker.io": {index, hub}, first: nil}},
		{"another's alias", []string{"docker.io", "hub.lan"}, map[string]string{"hub.lan": `"registry-1.docker.io"`},
			map[string][]string{"docker.io": {index, hub}, "hub.lan": {first}}},
		{"not served", []string{"ghcr.io"}, nil, map[string][]string{"ghcr.io": nil}},
	}
	for _, tt := range tests {
		cfg, err := config.Parse("x.toml", []byte(oneRegistry(tt.aliases, tt.names...)), nil)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got := map[string][]string{}
		for _, r := range cfg.Registries {
			got[r.Name] = r.Aliases
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

// What people write for Docker Hub is understood, with a word about it, or refused
// with the address that works, at its line.
func TestAddressesAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	const hub = "https://registry-1.docker.io"
	tests := []struct {
		url, want string // empty: refused
	}{
		{hub, hub},
		{hub + "/", hub + "/"},
		{hub + "/v2/", hub + "/v2/"},
		{hub + "/v1/", hub},
		{"https://docker.io", hub},
		{"https://docker.io/", hub},
		{"https://docker.io:443/v2", hub},
		{"http://docker.io/", hub},
		{"https://www.docker.io", hub},
		{"https://hub.docker.com", hub},
		{"https://Hub.Docker.com/v2/", hub},
		{"https://index.docker.io/v1/", hub},
		{"https://index.docker.io/v1", hub},
		{"http://index.docker.io/v1/", hub},
		{"http://registry-1.docker.io", hub},
		{"https://hub.docker.com/_/alpine", ""},
		{"https://hub.docker.com/r/grafana/grafana", ""},
		{"https://docker.io/library", ""},
		{"https://index.docker.io", "https://index.docker.io"}, // it serves as well
		{"https://index.docker.io/library", "https://index.docker.io/library"},
		{"https://docker.io:8443", "https://docker.io:8443"},
		{"https://docker.io.example.com", "https://docker.io.example.com"},
		{"https://mirror.example.com/v1", "https://mirror.example.com/v1"},
	}
	for _, tt := range tests {
		text := "[[registry]]\nname = \"mirror.lan\"\n[[registry.upstream]]\nname = \"a\"\ntrust = \"resolve\"\nurl = \"" + tt.url + "\"\n"
		cfg, err := config.Parse("x.toml", []byte(text), nil)
		if tt.want == "" {
			const says = `x.toml:6:1: registry "mirror.lan": upstream "a": url: this address of Docker Hub is a page for people: write "https://registry-1.docker.io"`
			if err == nil || err.Error() != says {
				t.Errorf("%s: %v\nwant %s", tt.url, err, says)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		if got := cfg.Registries[0].Upstreams[0].URL; got != tt.want {
			t.Errorf("%s is taken as %s, want %s", tt.url, got, tt.want)
		}
		told := len(cfg.Warnings) == 1 && strings.HasPrefix(cfg.Warnings[0], "x.toml:6:1: ") && strings.Contains(cfg.Warnings[0], tt.want)
		if changed := tt.url != tt.want; told != changed || !changed && len(cfg.Warnings) > 0 {
			t.Errorf("%s: warnings %q, changed %t", tt.url, cfg.Warnings, changed)
		}
	}
}

// How long a "no" is remembered has a setting, of which 0 is a value too.
func TestNotFoundTTL(t *testing.T) {
	t.Parallel()
	const file = "[[registry]]\nname = \"docker.io\"\n%s[[registry.upstream]]\nname = \"hub\"\nurl = \"https://registry-1.docker.io\"\n"
	for text, want := range map[string]*time.Duration{
		"": nil, "not_found_ttl = \"0s\"\n": new(time.Duration(0)), "not_found_ttl = \"1m\"\n": new(time.Minute),
	} {
		cfg, err := config.Parse("x.toml", fmt.Appendf(nil, file, text), nil)
		if err != nil || !reflect.DeepEqual(cfg.Registries[0].NotFoundTTL, want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	_, err := config.Parse("x.toml", fmt.Appendf(nil, file, "not_found_ttl = \"2h\"\n"), nil)
	if err == nil || !strings.Contains(err.Error(), "x.toml:3:") || !strings.Contains(err.Error(), "between 0s and 1h") {
		t.Errorf("2h: %v", err)
	}
}

// A time of 0 for tags is a wish: it stays 0, through being shown as well.
func TestTagTTLOfZero(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"":                               time.Minute,
		"[cache]\ntag_ttl = \"0s\"\n":    0,
		"[cache]\ntag_ttl = \"250ms\"\n": 250 * time.Millisecond,
	} {
		cfg, err := config.Parse("x.toml", []byte(text), nil)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		var shown strings.Builder
		if err := cfg.Show(&shown, false); err != nil {
			t.Fatal(err)
		}
		again, err := config.Parse("x.toml", []byte(shown.String()), nil)
		if err != nil || *cfg.Cache.TagTTL != want || *again.Cache.TagTTL != want {
			t.Errorf("%q: %v, and %v when it is shown and read again; want %v (%v)", text, *cfg.Cache.TagTTL, *again.Cache.TagTTL, want, err)
		}
	}
}
