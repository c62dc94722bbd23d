package daemon_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// searches are the queries of the searches that a server saw.
func (r *rig) searches(server string) []string {
	var out []string
	for _, e := range r.net.Ledger().All() {
		if e.Server == server && e.Path == "/v1/search" {
			out = append(out, e.Query)
		}
	}
	return out
}

// docker search HOST/name asks the registry itself, by the egress of its upstream, and no
// mirror; what cannot be right is asked of none.
func TestSearch(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	images := []simnet.Image{alpine, {Repo: "someone/alpine-tools", Tags: []string{"1"}}}
	mirror := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "mirror"}, Images: images})
	hub := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Images: images, Open: true, Direct: true})
	proxy := n.AddConnectProxy(simnet.ProxyConfig{Origin: simnet.Origin{Name: "proxy"}})
	r := newRig(t, rigConfig{Net: n, Chain: []lane{
		{Name: "mirror", URL: mirror.URL()}, {Name: "hub", URL: hub.URL(), Origin: true, Keys: "egress = \"way\""},
	}, Top: "[egress.way]\nurl = \"" + proxy.URL() + "\"\n"})
	r.probed("mirror", "hub")
	for _, tt := range []struct {
		query, asked string
		status       int
	}{
		{"q=alpine&n=25", "n=25&q=alpine", 200},
		{"q=library%2Falpine", "q=alpine", 200},
		{"q=alpine&n=100&page=2&x=y", "n=100&page=2&q=alpine", 200},
		{"n=25", "", 400}, {"q=", "", 400}, {"q=a%00b", "", 400}, {"q=" + strings.Repeat("a", 256), "", 400},
		{"q=a&n=0", "", 400}, {"q=a&n=101", "", 400}, {"q=a&n=x", "", 400}, {"q=a&page=-1", "", 400}, {"q=a&page=10001", "", 400},
	} {
		before := len(r.searches("hub"))
		got := r.wantStatus("/v1/search?"+tt.query, tt.status)
		asked := r.searches("hub")[before:]
		if want := tt.status == 200; (len(asked) == 1) != want || want && asked[0] != tt.asked {
			t.Errorf("?%s: the hub was asked %q, want %q", tt.query, asked, tt.asked)
		}
		var body struct {
			Results []struct {
				Name     string `json:"name"`
				Official bool   `json:"is_official"`
			}
			Errors []struct{ Code string }
		}
		if err := json.Unmarshal(got.Body, &body); err != nil || got.Header.Get("Content-Type") != "application/json" {
			t.Fatalf("?%s: %v, %s", tt.query, err, got.Body)
		}
		if tt.status == 200 && (len(body.Results) != 2 || body.Results[0].Name != "alpine" || !body.Results[0].Official) || tt.status != 200 && len(body.Errors) != 1 {
			t.Errorf("?%s: %s", tt.query, got.Body)
		}
	}
	if got := r.searches("mirror"); len(got) != 0 {
		t.Errorf("the mirror was asked %q", got)
	}
	if r.asked("proxy", http.MethodConnect, simnet.Connect) == 0 {
		t.Error("the proxy was passed by")
	}
	for _, path := range []string{"/v1/", "/v1/_ping", "/v1/users/", "/v1/search/x", "/v1/repositories/a/b/images"} {
		r.wantStatus(path, http.StatusNotFound)
	}
}

// A search that fails is an error in JSON, is no evidence against the upstream, and pulls
// go on.
func TestSearchFails(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	hub := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Images: []simnet.Image{alpine}, Open: true, Direct: true})
	r := newRig(t, rigConfig{Net: n, Chain: []lane{{Name: "hub", URL: hub.URL(), Origin: true}}})
	r.probed("hub")
	for name, tt := range map[string]struct {
		fault  simnet.Fault
		status int
		says   string
	}{
		"down":      {simnet.Fault{On: simnet.Other, Status: 502}, 503, "the search at hub failed: http_5xx"},
		"limited":   {simnet.Fault{On: simnet.Other, Status: 429, Body: `{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}`}, 503, "slow down"},
		"a page":    {simnet.Fault{On: simnet.Other, Status: 200, Body: "<html>captive portal</html>"}, 502, "no JSON object"},
		"elsewhere": {simnet.Fault{On: simnet.Other, Status: 302}, 503, "the search at hub failed"},
	} {
		for range 5 {
			remove := hub.Inject(tt.fault)
			got := r.wantStatus("/v1/search?q=alpine", tt.status)
			remove()
			if !strings.Contains(string(got.Body), tt.says) || !strings.Contains(string(got.Body), `"errors"`) {
				t.Errorf("%s: %s", name, got.Body)
			}
		}
	}
	r.wantBytes(n.Build(alpine).Path(), n.Build(alpine).Manifest())
	if got := r.lane("hub"); got.State != "serving" {
		t.Errorf("the lane is %s", got.State)
	}
}

// Without the registry itself there is nothing to search at.
func TestSearchWithMirrorsAlone(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	if got := p.wantStatus("/v1/search?q=alpine", http.StatusNotFound); !strings.Contains(string(got.Body), "authoritative") {
		t.Errorf("%s", got.Body)
	}
}
