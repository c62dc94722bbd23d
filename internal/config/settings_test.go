package config_test

import (
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/config"
)

// Each setting says where it comes from, and no secret what it is.
func TestSettings(t *testing.T) {
	found := map[string]config.Setting{}
	for _, s := range loadFull(t).Settings() {
		found[s.Key] = s
		if strings.Contains(s.Value, "sesame") {
			t.Errorf("%s shows a secret: %s", s.Key, s.Value)
		}
	}
	for key, want := range map[string]config.Setting{
		"admin.listen":                          {Value: `"127.0.0.1:6152"`, Line: 16},
		"admin.allowed_hosts[0]":                {Value: `"admin.example.com"`, Line: 18},
		"admin.pprof":                           {Value: "true", Line: 19},
		"registry[0].name":                      {Value: `"docker.io"`, Line: found["registry[0].name"].Line},
		"registry[1].upstream[0].probe.timeout": {Value: `"5s"`, Line: 0},
		"registry[1].upstream[0].weight":        {Value: "1", Line: 0},
	} {
		if got := found[key]; got.Value != want.Value || got.Line != want.Line {
			t.Errorf("%s = %s on line %d, want %s on line %d", key, got.Value, got.Line, want.Value, want.Line)
		}
	}
	if found["registry[0].name"].Line == 0 {
		t.Error("the first registry's name stands on no line")
	}
	for _, s := range config.Default().Settings() {
		if s.Line != 0 {
			t.Errorf("%s stands on line %d of a file that nobody can change", s.Key, s.Line)
		}
	}
}
