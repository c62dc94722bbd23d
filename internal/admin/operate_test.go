package admin_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain/internal/admin"
)

// toOperator sends body to path as a client on loopback does. Header is pairs, "Host" among them.
func toOperator(cfg admin.Config, o admin.Operator, method, path, body string, header ...string) *httptest.ResponseRecorder {
	return send(cfg, admin.Sources{Snapshot: snapshot, Operator: o}, method, path, body, header...)
}

// send sends body to path as JSON, as a client on loopback does, but for what header says
// otherwise.
func send(cfg admin.Config, from admin.Sources, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host, r.RemoteAddr = "127.0.0.1:5152", "127.0.0.1:40000"
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	admin.New(cfg, from).ServeHTTP(w, r)
	return w
}

// Every action has a URL, and says what it is about and by whom it is done.
func TestOperate(t *testing.T) {
	t.Parallel()
	const hub, registry = "/api/v1/registries/docker.io/upstreams/hub:", "/api/v1/registries/mirror.lan:5000:"
	const by = "loopback 127.0.0.1"
	tests := []struct {
		path, body string
		want       admin.Action
	}{
		{hub + "drain", `{}`, admin.Action{Kind: admin.KindDrain, Registry: "docker.io", Upstream: "hub", TTL: time.Hour, Actor: by}},
		{hub + "disable", `{"ttl_s":60,"reason":"it lies","force":true}`,
			admin.Action{Kind: admin.KindDisable, Registry: "docker.io", Upstream: "hub", TTL: time.Minute, Reason: "it lies", Force: true, Actor: by}},
		{hub + "enable", `{"ttl_s":60}`, admin.Action{Kind: admin.KindEnable, Registry: "docker.io", Upstream: "hub", Actor: by}},
		{hub + "probe", `{}`, admin.Action{Kind: admin.KindProbe, Registry: "docker.io", Upstream: "hub", Actor: by}},
		{hub + "reset", `{}`, admin.Action{Kind: admin.KindReset, Registry: "docker.io", Upstream: "hub", Actor: by}},
		{hub + "reset-breaker", `{}`, admin.Action{Kind: admin.KindResetBreaker, Registry: "docker.io", Upstream: "hub", Actor: by}},
		{hub + "clear-cooldown", `{}`, admin.Action{Kind: admin.KindClearCooldown, Registry: "docker.io", Upstream: "hub", Actor: by}},
		{hub + "lift-quarantine", `{}`, admin.Action{Kind: admin.KindLiftQuarantine, Registry: "docker.io", Upstream: "hub", Actor: by}},
		{registry + "pin", `{"upstream":"hub","ttl_s":2592000}`,
			admin.Action{Kind: admin.KindPin, Registry: "mirror.lan:5000", Upstream: "hub", TTL: admin.MaxTTL, Actor: by}},
		{registry + "unpin", `{}`, admin.Action{Kind: admin.KindUnpin, Registry: "mirror.lan:5000", Actor: by}},
		{registry + "reorder", `{"order":["b","a"]}`,
			admin.Action{Kind: admin.KindReorder, Registry: "mirror.lan:5000", Order: []string{"b", "a"}, TTL: time.Hour, Actor: by}},
		{registry + "reorder", `{"order":[]}`, admin.Action{Kind: admin.KindReorder, Registry: "mirror.lan:5000", Order: []string{}, Actor: by}},
		{registry + "probe", `{}`, admin.Action{Kind: admin.KindProbe, Registry: "mirror.lan:5000", Actor: by}},
		{"/api/v1/config:reload", `{"reason":"new token"}`, admin.Action{Kind: admin.KindReload, Reason: "new token", Actor: by}},
		{hub + "drain", `{"reason":" a\u001b[2Jb\u202ec\n` + strings.Repeat("é", 300) + `"}`,
			admin.Action{Kind: admin.KindDrain, Registry: "docker.io", Upstream: "hub", TTL: time.Hour, Reason: "a[2Jbc" + strings.Repeat("é", 194), Actor: by}},
	}
	for _, tt := range tests {
		f := &fakeOperator{}
		w := toOperator(admin.Config{}, f, "POST", tt.path, tt.body)
		if w.Code != 200 || len(f.done) != 1 {
			t.Errorf("%s %s: %d %s", tt.path, tt.body, w.Code, w.Body)
			continue
		}
		if d := cmp.Diff(tt.want, f.done[0]); d != "" {
			t.Errorf("%s %s (-want +got):\n%s", tt.path, tt.body, d)
		}
		for _, field := range []string{`"operation": "` + string(tt.want.Kind) + `"`, `"before"`, `"after"`, `"expires_at"`, `"toml"`, `"kept"`} {
			if !strings.Contains(w.Body.String(), field) {
				t.Errorf("%s: no %s in %s", tt.path, field, w.Body)
			}
		}
		checkSecured(t, w)
	}
}

// What is not understood is not done, and neither is what a page of another site asks for.
func TestOperateRefuses(t *testing.T) {
	t.Parallel()
	const drain, registry = "/api/v1/registries/docker.io/upstreams/hub:drain", "/api/v1/registries/docker.io"
	locked := admin.Config{Listen: "0.0.0.0:5152", Token: "s3cret"}
	tests := []struct {
		name       string
		cfg        admin.Config
		method     string
		path, body string
		header     []string
		status     int
		code       string
	}{
		{"a GET", admin.Config{}, "GET", drain, "", nil, 405, "method_not_allowed"},
		{"a form", admin.Config{}, "POST", drain, "ttl_s=1", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "not_json"},
		{"a page of another site", admin.Config{}, "POST", drain, "{}", []string{"Sec-Fetch-Site", "cross-site"}, 403, "cross_origin"},
		{"a page with another origin", admin.Config{}, "POST", drain, "{}", []string{"Origin", "https://evil.example"}, 403, "cross_origin"},
		{"DNS rebinding", admin.Config{}, "POST", drain, "{}", []string{"Host", "evil.example:5152"}, 421, "unknown_host"},
		{"no token", locked, "POST", drain, "{}", nil, 401, "unauthorized"},
		{"another token", locked, "POST", drain, "{}", []string{"Authorization", "Bearer secret"}, 401, "unauthorized"},
		{"for ever", admin.Config{}, "POST", drain, `{"ttl":"forever"}`, nil, 400, "bad_request"},
		{"no time at all", admin.Config{}, "POST", drain, `{"ttl_s":0}`, nil, 400, "bad_request"},
		{"time that is over", admin.Config{}, "POST", drain, `{"ttl_s":-1}`, nil, 400, "bad_request"},
		{"too long", admin.Config{}, "POST", drain, `{"ttl_s":2592001}`, nil, 400, "bad_request"},
		{"far too long", admin.Config{}, "POST", drain, `{"ttl_s":9223372036854775807}`, nil, 400, "bad_request"},
		{"a typo", admin.Config{}, "POST", drain, `{"raeson":""}`, nil, 400, "bad_request"},
		{"no JSON", admin.Config{}, "POST", drain, `drain`, nil, 400, "bad_request"},
		{"a body without end", admin.Config{}, "POST", drain, `{"reason":"` + strings.Repeat("a", 70<<10) + `"}`, nil, 400, "bad_request"},
		{"pin of nothing", admin.Config{}, "POST", registry + ":pin", `{}`, nil, 400, "bad_request"},
		{"reorder to nothing", admin.Config{}, "POST", registry + ":reorder", `{}`, nil, 400, "bad_request"},
		{"no such registry", admin.Config{}, "POST", "/api/v1/registries/ghcr.io:probe", `{}`, nil, 404, "unknown_registry"},
		{"no such upstream", admin.Config{}, "POST", registry + "/upstreams/worker:drain", `{}`, nil, 404, "unknown_upstream"},
		{"no such verb", admin.Config{}, "POST", registry + "/upstreams/hub:explode", `{}`, nil, 405, "method_not_allowed"},
		{"a registry's verb", admin.Config{}, "POST", registry + "/upstreams/hub:pin", `{}`, nil, 405, "method_not_allowed"},
		{"an upstream's verb", admin.Config{}, "POST", registry + ":drain", `{}`, nil, 405, "method_not_allowed"},
		{"no upstream's name", admin.Config{}, "POST", registry + "/upstreams/:drain", `{}`, nil, 405, "method_not_allowed"},
		{"a name with a slash", admin.Config{}, "POST", "/api/v1/registries/a%2Fb:pin", `{"upstream":"hub"}`, nil, 404, "unknown_registry"},
	}
	for _, tt := range tests {
		f := &fakeOperator{}
		w := toOperator(tt.cfg, f, tt.method, tt.path, tt.body, tt.header...)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), `"code":"`+tt.code+`"`) || len(f.done) > 0 {
			t.Errorf("%s: %d %s, and %d things were done; want %d %s and none", tt.name, w.Code, w.Body, len(f.done), tt.status, tt.code)
		}
	}
	if w := toOperator(admin.Config{}, nil, "POST", drain, "{}"); w.Code != 404 {
		t.Errorf("without an operator: %d %s", w.Code, w.Body)
	}
}

// A registry's port is no verb, and its page is read like any other.
func TestOperateLeavesPages(t *testing.T) {
	t.Parallel()
	f := &fakeOperator{}
	if w := toOperator(admin.Config{}, f, "GET", "/api/v1/registries/mirror.lan:5000", ""); w.Code == 405 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// With a token the actor is the bearer; what a refusal needs to be told beside its status
// comes along.
func TestOperateTells(t *testing.T) {
	t.Parallel()
	f := &fakeOperator{}
	toOperator(admin.Config{Listen: "0.0.0.0:5152", Token: "s3cret"}, f, "POST", "/api/v1/registries/docker.io:probe", "{}", "Authorization", "Bearer s3cret")
	if len(f.done) != 1 || f.done[0].Actor != "token 127.0.0.1" {
		t.Errorf("done: %+v", f.done)
	}
	f.err = &admin.Refusal{Status: 429, Code: "too_soon", Detail: "a moment ago", Retry: 1200 * time.Millisecond}
	w := toOperator(admin.Config{}, f, "POST", "/api/v1/registries/docker.io:probe", "{}")
	if w.Code != 429 || w.Header().Get("Retry-After") != "2" || !strings.Contains(w.Body.String(), `"code":"too_soon"`) {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}
