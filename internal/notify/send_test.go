package notify

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/egress"
	"github.com/pullchain/pullchain/internal/messages"
)

// What each service says when it does not take a message, whether it is asked again,
// and when.
func TestRefusals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, kind string
		status     int
		body       string
		after      string // Retry-After
		said       string
		retry      bool
		wait       time.Duration
	}{
		{"slack's address is gone", "slack", 404, "no_service", "", "HTTP 404 no_service", false, 0},
		{"slack has had enough", "slack", 429, "rate_limited", "30", "HTTP 429 rate_limited", true, 30 * time.Second},
		{"slack is ill", "slack", 500, "rollup_error", "", "HTTP 500 rollup_error", true, 0},
		{"ntfy wants a login", "ntfy", 403, `{"code":40301,"http":403,"error":"forbidden"}`, "", "HTTP 403 {'code':40301,'http':403,'error':'forbidden'}", false, 0},
		{"ntfy has had enough", "ntfy", 429, `{"code":42901,"http":429,"error":"limit reached"}`, "", "HTTP 429", true, 0},
		{"ntfy is not there", "ntfy", 200, `welcome`, "", "not JSON", true, 0},
		{"dingtalk knows another signature", "dingtalk", 200, `{"errcode":310000,"errmsg":"sign not match"}`, "", "310000 sign not match", false, 0},
		{"dingtalk has had enough", "dingtalk", 200, `{"errcode":130101,"errmsg":"send too fast"}`, "", "130101 send too fast", true, 0},
		{"feishu knows another signature", "feishu", 200, `{"code":19021,"msg":"sign match fail or timestamp is not within one hour from current time","data":{}}`, "", "19021 sign match fail", false, 0},
		{"feishu has had enough", "feishu", 200, `{"code":11232,"msg":"frequency limited"}`, "", "11232", true, 0},
		{"wecom has no such robot", "wecom", 200, `{"errcode":93000,"errmsg":"invalid webhook url"}`, "", "93000 invalid webhook url", false, 0},
		{"wecom has had enough", "wecom", 200, `{"errcode":45009,"errmsg":"api freq out of limit"}`, "", "45009", true, 0},
		{"telegram knows no such chat", "telegram", 400, `{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}`, "", "chat not found", false, 0},
		{"telegram has had enough", "telegram", 429, `{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 35","parameters":{"retry_after":35}}`, "", "retry after 35", true, 35 * time.Second},
		{"a gateway", "json", 502, "", "7", "HTTP 502", true, 7 * time.Second},
		{"a page in between", "json", 200, "<html>", "html", "a web page", true, 0},
		{"it cannot be posted to", "json", 405, "", "", "HTTP 405", false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t, func(w http.ResponseWriter, req *http.Request) {
				if tt.after == "html" {
					w.Header().Set("Content-Type", "text/html; charset=utf-8")
				} else if tt.after != "" {
					w.Header().Set("Retry-After", tt.after)
				}
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.body))
			})
			_, err := sendOne(t, hookOf(tt.kind, r.URL))
			no, ok := errors.AsType[*refusal](err)
			if !ok || !strings.Contains(no.said, tt.said) || no.retry != tt.retry || no.after != tt.wait {
				t.Errorf("%#v (%v), want %q, retry %t after %v", no, err, tt.said, tt.retry, tt.wait)
			}
		})
	}
}

// sendOne sends the test message.
func sendOne(t *testing.T, hook Webhook) (string, error) {
	t.Helper()
	c, err := newClient(hook, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	return c.send(t.Context(), trial(messages.In(hook.Lang), sender, start))
}

// Whatever a service or a proxy answers, no secret comes out of it.
func TestSecretsStayIn(t *testing.T) {
	t.Parallel()
	for _, kind := range Kinds() {
		r := newReceiver(t, func(w http.ResponseWriter, req *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte("no: " + req.URL.RequestURI() + " " + req.Header.Get("Authorization") + " " + req.Header.Get("X-Room")))
		})
		for _, server := range []string{r.URL, "http://127.0.0.1:1"} { // where nothing listens
			hook := hookOf(kind, server)
			hook.Headers = map[string]pullchain.Secret{"X-Room": "header-secret-1"}
			_, err := sendOne(t, hook)
			if err == nil {
				t.Fatalf("%s: no error", kind)
			}
			for _, secret := range []string{"json-token-1", "tk_Ag", "XXXXXXXX", "ding-access-1", "feishu-hook-1", "wecom-key-1", "AAHdqT", "header-secret-1", "my-mirror"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%s: the error shows %q: %v", kind, secret, err)
				}
			}
		}
	}
}

// A redirect is followed on the same host alone, and as the POST that it was.
func TestRedirects(t *testing.T) {
	t.Parallel()
	other := newReceiver(t, says(200, "ok"))
	r := newReceiver(t, func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/same":
			http.Redirect(w, req, "/here", http.StatusPermanentRedirect)
		case "/as-get":
			http.Redirect(w, req, "/here", http.StatusFound)
		case "/other":
			http.Redirect(w, req, other.URL, http.StatusTemporaryRedirect)
		case "/loop":
			http.Redirect(w, req, "/loop", http.StatusTemporaryRedirect)
		default:
			says(200, "ok")(w, req)
		}
	})
	for path, taken := range map[string]bool{"/same": true, "/as-get": false, "/other": false, "/loop": false} {
		_, err := sendOne(t, Webhook{Config: Config{Kind: "slack", URL: pullchain.Secret(r.URL + path)}})
		if (err == nil) != taken || err != nil && !strings.Contains(err.Error(), "redirects elsewhere") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if len(other.got) > 0 {
		t.Error("another host got the message")
	}
	if last := r.body[len(r.body)-1]; last == "" {
		t.Error("the body is lost")
	}
}

// Messages leave by the egress that the configuration names.
func TestByEgress(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 1)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asked <- req.URL.String()
		says(200, "ok")(w, req)
	}))
	defer proxy.Close()
	hook := Webhook{Config: Config{Kind: "slack", URL: "http://slack.invalid/services/1"}, Proxy: egress.Config{Name: "clash", URL: proxy.URL}}
	if _, err := sendOne(t, hook); err != nil {
		t.Fatal(err)
	}
	if got := <-asked; got != "http://slack.invalid/services/1" {
		t.Errorf("the proxy was asked for %s", got)
	}
}

// Test is what `pullchain notify test` does.
func TestTest(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, says(200, takes["telegram"]))
	answer, err := Test(t.Context(), hookOf("telegram", r.URL), Sender{})
	if err != nil || !strings.Contains(answer, "message_id") || !strings.Contains(r.text(t), "[TEST] pullchain") {
		t.Errorf("%q, %v", answer, err)
	}
}
