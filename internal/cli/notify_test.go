package cli_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// notifyConfig writes a configuration with two webhooks, the second of which is
// refused, and returns its path.
func notifyConfig(t *testing.T, got *atomic.Value) string {
	t.Helper()
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got.Store(string(body))
		if strings.HasPrefix(r.URL.Path, "/gone") {
			http.Error(w, "no_service", http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, `{"errcode":0,"errmsg":"ok"}`)
	}))
	t.Cleanup(service.Close)
	path := filepath.Join(t.TempDir(), "pullchain.toml")
	text := fmt.Sprintf(`[admin]
url = "https://mirror.example.com/"
[[notify]]
name = "team"
kind = "dingtalk"
url = "%s/robot/send?access_token=open-sesame"
lang = "zh"
[[notify]]
kind = "slack"
url = "%s/gone/open-sesame"
`, service.URL, service.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNotifyTest(t *testing.T) {
	t.Parallel()
	var got atomic.Value
	path := notifyConfig(t, &got)

	one := run(t.Context(), []string{"notify", "test", "team", "-c", path})
	if one.code != 0 || one.out != "team (dingtalk): sent. It answered: HTTP 200 {'errcode':0,'errmsg':'ok'}\n" {
		t.Errorf("exit code %d:\n%s%s", one.code, one.out, one.errors)
	}
	if body, _ := got.Load().(string); !strings.Contains(body, "【测试】pullchain") || !strings.Contains(body, "https://mirror.example.com/") {
		t.Errorf("the service got %s", body)
	}

	all := run(t.Context(), []string{"notify", "test", "-c", path, "--lang", "zh"})
	if all.code != 1 || !strings.Contains(all.out, "team（dingtalk）：已发送") || !strings.Contains(all.out, "slack（slack）：未能发送。HTTP 404 no_service") {
		t.Errorf("exit code %d:\n%s%s", all.code, all.out, all.errors)
	}

	asJSON := run(t.Context(), []string{"notify", "test", "-c", path, "-o", "json"})
	var out struct {
		Schema   int
		Webhooks []struct {
			Name, Kind, Answer, Error string
			Sent                      bool
		}
	}
	if err := json.Unmarshal([]byte(asJSON.out), &out); err != nil || asJSON.code != 1 || out.Schema != 1 || len(out.Webhooks) != 2 ||
		!out.Webhooks[0].Sent || out.Webhooks[1].Sent || out.Webhooks[1].Error == "" {
		t.Errorf("exit code %d, %v:\n%s", asJSON.code, err, asJSON.out)
	}
	for _, printed := range []string{one.out, all.out, asJSON.out, one.errors, all.errors} {
		if strings.Contains(printed, "sesame") {
			t.Errorf("a secret is shown: %s", printed)
		}
	}
}

func TestNotifyTestOfNone(t *testing.T) {
	t.Parallel()
	var got atomic.Value
	for want, args := range map[string][]string{
		"there is no [[notify]] called tema in the configuration; there are: team, slack": {"tema", "-c", notifyConfig(t, &got)},
		"there is no [[notify]] in the configuration":                                     {"-c", file(t, "pullchain.toml", "")},
	} {
		r := run(t.Context(), append([]string{"notify", "test"}, args...))
		if r.code != 2 || !strings.Contains(r.errors, want) {
			t.Errorf("exit code %d:\n%s", r.code, r.errors)
		}
	}
	if got.Load() != nil {
		t.Error("something was sent")
	}
}
