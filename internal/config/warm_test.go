package config_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/warm"
)

// Images may be of any registry that is served, by any of its names.
func TestWarm(t *testing.T) {
	t.Parallel()
	cfg, err := config.Parse("pullchain.toml", []byte(`
[[warm]]
images = ["alpine:3.20", "quay.io/prometheus/node-exporter:v1.9.1"]
every = "12h"
platforms = ["linux/amd64", "linux/arm64"]
jobs = 2

[[warm]]
images = ["redis"]
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []warm.Config{
		{Images: []string{"alpine:3.20", "quay.io/prometheus/node-exporter:v1.9.1"}, Every: 12 * time.Hour, Platforms: []string{"linux/amd64", "linux/arm64"}, Jobs: 2},
		{Images: []string{"redis"}},
	}
	if !reflect.DeepEqual(cfg.Warm, want) || len(cfg.Warnings) > 0 {
		t.Errorf("got %+v, %q", cfg.Warm, cfg.Warnings)
	}
}
