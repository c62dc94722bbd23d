package cache_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/pullchain/pullchain/internal/cache"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text, err string
		on        bool
	}{
		{"", "", true},
		{"enabled = true", "", true},
		{"enabled = false", "", false},
		{`dir = "/srv/cache"` + "\nmax_size = \"50GiB\"\ntag_ttl = \"60s\"\nstale_if_error = \"168h\"", "", true},
		{`max_size = "1MB"`, "max_size: 1MB is less than 16MiB", true},
		{`tag_ttl = "-1s"`, "tag_ttl: must not be negative", true},
		{`stale_if_error = "-1s"`, "stale_if_error: must not be negative", true},
		{"tag_ttl = \"-1s\"\nstale_if_error = \"-1s\"", "tag_ttl: must not be negative\nstale_if_error: must not be negative", true},
	} {
		var c cache.Config
		if _, err := toml.Decode(test.text, &c); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := c.Validate(); err != nil {
			got = err.Error()
		}
		if got != test.err || c.On() != test.on {
			t.Errorf("%s: %q and %t, want %q and %t", test.text, got, c.On(), test.err, test.on)
		}
	}
	if cache.DefaultTagTTL != time.Minute || cache.DefaultStaleIfError != 168*time.Hour {
		t.Errorf("defaults %v and %v", cache.DefaultTagTTL, cache.DefaultStaleIfError)
	}
}

func TestDefaultDir(t *testing.T) {
	t.Parallel()
	own := "/var/cache/pullchain"
	if os.Geteuid() != 0 {
		base, err := os.UserCacheDir()
		if err != nil {
			t.Skip(err)
		}
		own = filepath.Join(base, "pullchain")
	}
	for _, test := range []struct {
		list string
		set  bool
		want string
	}{
		{"", false, own},
		{"", true, own},
		{"/var/cache/a", true, "/var/cache/a"},
		{"/var/cache/a:/var/cache/b", true, "/var/cache/a"},
	} {
		got, err := cache.DefaultDir(func(name string) (string, bool) {
			if name != "CACHE_DIRECTORY" {
				return "", false
			}
			return test.list, test.set
		})
		if err != nil || got != test.want {
			t.Errorf("%q: %q, %v, want %q", test.list, got, err, test.want)
		}
	}
	if got, err := cache.DefaultDir(nil); err != nil || got != own {
		t.Errorf("no environment: %q, %v", got, err)
	}
}
