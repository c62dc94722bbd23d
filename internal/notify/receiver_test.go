package notify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/golden"
	"github.com/pullchain/pullchain/internal/messages"
)

// A receiver is a service on loopback. It keeps what it gets, and answers as it is told.
type receiver struct {
	*httptest.Server
	mu   sync.Mutex
	got  []*http.Request
	body []string
}

// newReceiver starts a receiver that answers by answer.
func newReceiver(t *testing.T, answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.got, r.body = append(r.got, req), append(r.body, string(body))
		r.mu.Unlock()
		answer(w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

// says answers with a status and a JSON body.
func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// takes is how each service says that it has taken a message.
var takes = map[string]string{
	"json": "thanks", "ntfy": `{"id":"aB3","time":1796035332,"event":"message"}`, "slack": "ok", "dingtalk": `{"errcode":0,"errmsg":"ok"}`,
	"feishu": `{"code":0,"msg":"success","data":{}}`, "wecom": `{"errcode":0,"errmsg":"ok"}`, "telegram": `{"ok":true,"result":{"message_id":7}}`,
}

// hookOf is a webhook of a kind at the receiver, with all that the kind knows.
func hookOf(kind, server string) Webhook {
	c := Config{Kind: kind}
	switch kind {
	case "json":
		c.URL, c.Token, c.Secret = pullchain.Secret(server+"/hook?room=7"), "json-token-1", "json-secret-1"
		c.Headers = map[string]pullchain.Secret{"X-Room": "operators"}
	case "ntfy":
		c.URL, c.Token = pullchain.Secret(server+"/push/my-mirror"), "tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2"
	case "slack":
		c.URL, c.Ping = pullchain.Secret(server+"/services/T000/B000/XXXXXXXX"), []string{"all", "U012AB3CD"}
	case "dingtalk":
		c.URL, c.Secret, c.Ping = pullchain.Secret(server+"/robot/send?access_token=ding-access-1"), "SECabc123456", []string{"13800000000", "user7", "all"}
	case "feishu":
		c.URL, c.Secret, c.Ping = pullchain.Secret(server+"/open-apis/bot/v2/hook/feishu-hook-1"), "fs-secret-1", []string{"all", "ou_18eac8"}
	case "wecom":
		c.URL, c.Ping = pullchain.Secret(server+"/cgi-bin/webhook/send?key=wecom-key-1"), []string{"zhangsan"}
	case "telegram":
		c.URL, c.Token, c.ChatID, c.Ping = pullchain.Secret(server), "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw", "-1001234567890", []string{"operator"}
	}
	return Webhook{Config: c}
}

// news is an outage with marks in it that services read, and a recovery.
func news() []Change {
	out := registryAt("docker.io", Outage)
	out.Command = "pullchain status docker.io"
	out.Words.sentence = func(m *messages.Catalogue) string {
		return m.Text("summary.ailing", "registry", "docker.io", "trouble", "<a&b> [x](https://evil.example)")
	}
	out.Affects = []string{"docker.io/hub", "docker.io/worker"}
	return []Change{
		{Condition: out, From: OK, Began: start},
		{Condition: registryAt("ghcr.io", OK), From: Outage, Began: start.Add(-time.Hour), Ended: start},
	}
}

var sender = Sender{Host: "mirror-1", Version: "1.2.3", Dashboard: "http://127.0.0.1:5152/"}

// What each service gets, as its documentation has it, byte for byte: compare the
// golden files with the pages that the code cites.
func TestBodies(t *testing.T) {
	t.Parallel()
	for _, kind := range Kinds() {
		for _, lang := range []string{"en", "zh"} {
			t.Run(kind+"-"+lang, func(t *testing.T) {
				t.Parallel()
				r := newReceiver(t, says(200, takes[kind]))
				hook := hookOf(kind, r.URL)
				hook.Lang = lang
				if err := hook.Validate(); err != nil {
					t.Fatal(err)
				}
				c, err := newClient(hook, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer c.close()
				msg := compose(hook.catalogue(), sender, news(), start.Add(12*time.Second))
				answer, err := c.send(t.Context(), msg)
				if err != nil || !strings.HasPrefix(answer, "HTTP 200") {
					t.Fatalf("%q, %v", answer, err)
				}
				golden.Compare(t, "testdata/body-"+kind+"-"+lang+".golden", strings.ReplaceAll(r.text(t), r.URL, "http://receiver"))
			})
		}
	}
}

// text is the only request, with the body indented.
func (r *receiver) text(t *testing.T) string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.got) != 1 {
		t.Fatalf("%d requests", len(r.got))
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s %s\n", r.got[0].Method, r.got[0].URL.RequestURI())
	for _, name := range []string{"Authorization", "Content-Type", "User-Agent", "X-Pullchain-Signature", "X-Room"} {
		if v := r.got[0].Header.Get(name); v != "" {
			fmt.Fprintf(&out, "%s: %s\n", name, v)
		}
	}
	out.WriteByte('\n')
	if err := json.Indent(&out, []byte(r.body[0]), "", "  "); err != nil {
		t.Fatalf("no JSON: %v\n%s", err, r.body[0])
	}
	out.WriteByte('\n')
	return out.String()
}

// The signatures were computed by another program, as the documentation has them.
func TestSignatures(t *testing.T) {
	t.Parallel()
	now := start.Add(12 * time.Second)
	msg := trial(messages.In("en"), sender, now)
	ding := postDingTalk(hookOf("dingtalk", "https://oapi.dingtalk.com").Config, msg)
	u, err := url.Parse(ding.url)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"access_token": "ding-access-1", "timestamp": "1796035332000", "sign": "DS/j9rtvn+N1h0FmJifQE2d47vVU+JwQpG6ZmR5KUvM="} {
		if got := u.Query().Get(key); got != want {
			t.Errorf("DingTalk: %s is %q, want %q", key, got, want)
		}
	}
	body := postFeishu(hookOf("feishu", "https://open.feishu.cn").Config, msg).body.(object)
	if body["timestamp"] != "1796035332" || body["sign"] != "8YrCjY0oDC0V2SWL7ZcQUqg4HGj0Qqv87xuU7QiHESU=" {
		t.Errorf("Feishu: %v", body)
	}
}

// A message of many troubles stays within what each service takes.
func TestLimits(t *testing.T) {
	t.Parallel()
	var many []Change
	for i := range 30 {
		c := registryAt(fmt.Sprintf("registry-%02d.example.com", i), Outage)
		c.Words.sentence = func(*messages.Catalogue) string { return strings.Repeat("没有可用路径 😀 <&>", 300) }
		many = append(many, Change{Condition: c, Began: start})
	}
	for _, kind := range Kinds() {
		hook := hookOf(kind, "https://service.example")
		hook.Lang = "zh"
		p := services[kind].post(hook.Config, compose(hook.catalogue(), sender, many, start))
		raw, err := json.Marshal(p.body)
		if err != nil {
			t.Fatal(err)
		}
		var body struct {
			Text, Message, Title string
			Markdown             struct{ Content, Text string }
			Blocks               []struct{ Text struct{ Text string } }
		}
		if kind != "json" {
			if err := json.Unmarshal(raw, &body); err != nil && kind != "feishu" {
				t.Fatal(err)
			}
		}
		sizes := map[string][2]int{}
		switch kind {
		case "ntfy":
			sizes["message"], sizes["title"] = [2]int{len(body.Message), 4096}, [2]int{len(body.Title), 250}
		case "slack":
			sizes["header"], sizes["section"] = [2]int{len(body.Blocks[0].Text.Text), 150}, [2]int{len(body.Blocks[1].Text.Text), 3000}
		case "dingtalk", "feishu":
			sizes["whole"] = [2]int{len(raw), 20000}
		case "wecom":
			sizes["content"] = [2]int{len(body.Markdown.Content), 4096}
			if !strings.HasSuffix(body.Markdown.Content, "<@zhangsan>") {
				t.Errorf("wecom: the member is cut off: %q", body.Markdown.Content[4000:])
			}
		case "telegram":
			sizes["text"] = [2]int{utf16Len(body.Text), 4096}
		}
		for what, size := range sizes {
			if size[0] > size[1] || size[0] < size[1]/4 && what != "header" && what != "title" {
				t.Errorf("%s: %s has %d, of %d", kind, what, size[0], size[1])
			}
		}
	}
}

func utf16Len(s string) (n int) {
	for _, r := range s {
		n++
		if r > 0xffff {
			n++
		}
	}
	return n
}
