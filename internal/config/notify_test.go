package config_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/config"
)

// Webhooks come with the way out that they name, with what their files hold, and
// with a name; and config show keeps their address to itself.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"token": "110201543:AAHdqTcvCH1vGWJx\n",
		"pullchain.toml": `[egress.clash]
url = "socks5://127.0.0.1:7891"
[[notify]]
kind = "telegram"
token_file = "token"
chat_id = "7"
egress = "clash"
[[notify]]
kind = "slack"
url = "https://hooks.slack.com/services/T000/B000/sesame"
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(filepath.Join(dir, "pullchain.toml"))
	if err != nil || len(cfg.Warnings) > 0 {
		t.Fatalf("%v, %q", err, cfg.Warnings)
	}
	hooks := cfg.Webhooks()
	if len(hooks) != 2 {
		t.Fatalf("%d webhooks", len(hooks))
	}
	if h := hooks[0]; h.Name != "telegram" || h.Proxy.URL != "socks5://127.0.0.1:7891" || h.Token.Reveal() != "110201543:AAHdqTcvCH1vGWJx" {
		t.Errorf("%+v", h)
	}
	if h := hooks[1]; h.Name != "slack" || h.Proxy.URL != "direct" {
		t.Errorf("%+v", h)
	}
	for _, effective := range []bool{false, true} {
		var shown bytes.Buffer
		if err := cfg.Show(&shown, effective); err != nil {
			t.Fatal(err)
		}
		if text := shown.String(); strings.Contains(text, "sesame") || strings.Contains(text, "AAHdq") || !strings.Contains(text, `url = "***"`) {
			t.Errorf("shown as\n%s", text)
		}
		if _, err := config.Parse("again.toml", shown.Bytes(), nil); err == nil || !strings.Contains(err.Error(), "put the address back") {
			t.Errorf("read again: %v", err)
		}
	}
}
