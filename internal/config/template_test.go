package config_test

import (
	"bytes"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/front"
)

// The file that `config init` writes means what no file means.
func TestTemplateIsTheDefault(t *testing.T) {
	t.Parallel()
	got, err := config.Parse("pullchain.toml", config.Template, nil)
	if err != nil {
		t.Fatal(err)
	}
	var have, want bytes.Buffer
	if err := got.Show(&have, true); err != nil {
		t.Fatal(err)
	}
	if err := config.Default().Show(&want, true); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want.String(), have.String()); d != "" {
		t.Errorf("the embedded configuration (-) and the template (+):\n%s", d)
	}
	if len(got.Warnings) > 0 {
		t.Errorf("warnings %q", got.Warnings)
	}
}

// Each example in it is one that can be used: all of them at once read without a mistake, but
// for the files that there are not here and the second address.
func TestTemplatesExamples(t *testing.T) {
	t.Parallel()
	example := regexp.MustCompile(`(?m)^( *)# (\[|\w+ = )`)
	text := example.ReplaceAll(config.Template, []byte("$1$2"))
	if n := bytes.Count(text, []byte("\n")); n == 0 || bytes.Equal(text, config.Template) {
		t.Fatal("no example")
	}
	text = regexp.MustCompile(`(?m)^listen = "(0\.0\.0\.0:5151|127\.0\.0\.1:5151)".*\n`).ReplaceAll(text, nil)
	if _, err := config.Parse("pullchain.toml", text, nil); err != nil {
		t.Error(err)
	}
}

// listen may be several addresses, which are as many listeners.
func TestListenAtSeveral(t *testing.T) {
	t.Parallel()
	cfg, err := config.Parse("test.toml", []byte("[server]\nlisten = [\"127.0.0.1:5151\", \"[::1]:5151\"]\nhttp2 = false\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Server.Listen != "127.0.0.1:5151" || !cmp.Equal(cfg.Listeners, []front.Listener{{Listen: "[::1]:5151", Registry: "docker.io"}}) {
		t.Errorf("%q and %+v", cfg.Server.Listen, cfg.Listeners)
	}
	if !cfg.ServesAny() {
		t.Error("any registry is not served, and only this machine can ask")
	}
	cfg, err = config.Parse("test.toml", []byte("[server]\nlisten = [\"127.0.0.1:5151\", \":5152\"]\n[admin]\nlisten = \"127.0.0.1:1\"\n"), nil)
	if err != nil || cfg.ServesAny() {
		t.Errorf("any registry is served to others: %v", err)
	}
	for text, want := range map[string]string{
		"listen = [\"127.0.0.1:1\", 2]":                  "test.toml:2:1: server: listen: should be a string and is a list",
		"listen = [\"127.0.0.1:1\", \"nowhere\"]":        "test.toml:2:1: server: listen: \"nowhere\" is not host:port",
		"listen = [\"127.0.0.1:1\", \"127.0.0.1:1\"]":    "test.toml:2:1: server: listen: 127.0.0.1:1 is where [server] listens already",
		"listen = [\"127.0.0.1:1\", \"127.0.0.1:5152\"]": "test.toml:2:1: server: listen: 127.0.0.1:5152 is where [admin] listens already",
		"listen = []": "test.toml:2:1: server: listen: should be a string and is a list",
	} {
		if _, err := config.Parse("test.toml", []byte("[server]\n"+text+"\n"), nil); err == nil || err.Error() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", text, err, want)
		}
	}
}
