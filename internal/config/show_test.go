package config_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/golden"
)

func TestShow(t *testing.T) {
	cfg := loadFull(t)
	for _, tt := range []struct {
		golden    string
		effective bool
	}{
		{"testdata/show.golden", false},
		{"testdata/show-effective.golden", true},
	} {
		var b bytes.Buffer
		if err := cfg.Show(&b, tt.effective); err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"sesame", "correct horse"} {
			if strings.Contains(b.String(), secret) {
				t.Errorf("%s shows the secret %q", tt.golden, secret)
			}
		}
		golden.Compare(t, tt.golden, b.String())
	}
}

func TestShowCanBeReadAgain(t *testing.T) {
	t.Parallel()
	weird := `[[registry]]
name = "ghcr.io"
[[registry.upstream]]
name = "ghcr"
url = "https://ghcr.io"
username = "a\"b\\c\td$${HOME}"
password_file = "päss/word"
[registry.upstream.headers]
"X.Odd|Name" = "***"
`
	embedded, err := os.ReadFile("default.toml")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"default": string(embedded), "weird": weird} {
		before, err := config.Parse("x.toml", []byte(text), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var b bytes.Buffer
		if err := before.Show(&b, false); err != nil {
			t.Fatal(err)
		}
		after, err := config.Parse("x.toml", b.Bytes(), nil)
		if err != nil {
			t.Fatalf("%s, shown as\n%s\n%v", name, b.String(), err)
		}
		before.Lines, after.Lines = nil, nil // which move
		if d := cmp.Diff(before, after); d != "" {
			t.Errorf("%s (-before +after):\n%s", name, d)
		}
	}
}
