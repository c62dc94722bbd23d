package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pullchain/pullchain/internal/config"
)

// What people copy must be right. No secret file is opened here.
func TestExamplesAreValid(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../examples/config/*.toml")
	if err != nil || len(files) < 2 {
		t.Fatalf("%v, %v", files, err)
	}
	env := func(name string) (string, bool) { return "a-key", name == "PULLCHAIN_WORKER_KEY" }
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Parse(file, text, env)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if len(cfg.Registries) == 0 || cfg.Registries[0].Name != "docker.io" {
			t.Errorf("%s: serves %+v", file, cfg.Registries)
		}
	}
}
