package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/golden"
)

// TestInvalidFiles loads testdata/invalid-*.toml, each with one mistake or one
// kind of it, and compares what people are told with the golden file beside it.
func TestInvalidFiles(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/invalid-*.toml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".toml"), func(t *testing.T) {
			t.Parallel()
			cfg, err := config.Load(path)
			if err == nil {
				t.Fatalf("loaded without an error: %+v", cfg)
			}
			if cfg != nil {
				t.Error("a Config beside the error")
			}
			got := filepath.ToSlash(err.Error()) + "\n"
			if strings.Contains(got, "hunter2") {
				t.Errorf("the error shows a password:\n%s", got)
			}
			golden.Compare(t, strings.TrimSuffix(path, ".toml")+".golden", got)
		})
	}
}

// TestErrorsAreInTheOrderOfTheFile uses the file that has the most.
func TestErrorsAreInTheOrderOfTheFile(t *testing.T) {
	t.Parallel()
	_, err := config.Load("testdata/invalid-many.toml")
	errs := config.Errors(err)
	var lines []int
	for _, e := range errs {
		lines = append(lines, e.Line)
	}
	if d := cmp.Diff([]int{4, 7, 13, 15, 17}, lines); d != "" {
		t.Errorf("lines of the errors (-want +got):\n%s\n%v", d, err)
	}
}

func TestParseOpensNoFile(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "missing")
	text := `[admin]
token_file = "` + filepath.ToSlash(secret) + `"`
	cfg, err := config.Parse("x.toml", []byte(text), nil)
	if err != nil || cfg.Admin.Token != "" {
		t.Errorf("Parse: %v, want success without the file", err)
	}
}

func TestTooLong(t *testing.T) {
	t.Parallel()
	long := "# " + strings.Repeat("x", 1<<20)
	if _, err := config.Parse("x.toml", []byte(long), nil); err == nil || err.Error() != "x.toml: the file is longer than 1048576 bytes" {
		t.Errorf("Parse: %v", err)
	}
	path := filepath.Join(t.TempDir(), "long.toml")
	if err := os.WriteFile(path, []byte(long), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path); err == nil || err.Error() != path+": is longer than 1048576 bytes" {
		t.Errorf("Load: %v", err)
	}
}
