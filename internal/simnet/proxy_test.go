package simnet_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// through is a client that goes through a proxy and resolves nothing itself.
func through(t *testing.T, n *simnet.Net, proxy *url.URL) *http.Client {
	tr := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: n.CertPool()}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// proxies starts the three kinds with one login.
func proxies(n *simnet.Net, cfg simnet.ProxyConfig) map[string]*simnet.Proxy {
	add := func(name string, f func(simnet.ProxyConfig) *simnet.Proxy, overTLS bool) *simnet.Proxy {
		cfg := cfg
		cfg.Name, cfg.TLS = name, overTLS
		return f(cfg)
	}
	return map[string]*simnet.Proxy{
		"http":   add("http", n.AddConnectProxy, false),
		"https":  add("https", n.AddConnectProxy, true),
		"socks5": add("socks5", n.AddSOCKSProxy, false),
	}
}

func TestProxiesCarryPretendNames(t *testing.T) {
	t.Parallel()
	n := simnet.New(simnet.Config{})
	t.Cleanup(n.Close)
	hub := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub", ByName: true}, Images: []simnet.Image{alpine}})
	plain := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "plain", Plain: true}})
	for name, p := range proxies(n, simnet.ProxyConfig{Username: "ann", Password: "s:cret"}) {
		c := through(t, n, p.ProxyURL())
		got := ask(t, c, "GET", "https://hub.sim/v2/")
		if got.StatusCode != 401 || !strings.Contains(got.Header.Get("WWW-Authenticate"), `realm="https://auth.hub.sim/token"`) {
			t.Errorf("%s: %s %v", name, got.Status, got.Header)
		}
		if got := ask(t, c, "GET", hub.Auth.Realm()+"?service=hub"); got.StatusCode != 200 {
			t.Errorf("%s: token: %s", name, got.Status)
		}
		if got := ask(t, c, "GET", plain.NameURL()+"/v2/"); got.StatusCode != 200 && name == "http" {
			t.Errorf("%s: plain http: %s", name, got.Status)
		}
		tunnels := n.Ledger().Find(simnet.Filter{Server: name, Class: simnet.Connect, Ref: "hub.sim:443", Status: 200})
		if len(tunnels) != 1 || !strings.Contains(tunnels[0].Authorization, "ann:s:cret") && !strings.HasPrefix(tunnels[0].Authorization, "Basic ") {
			t.Errorf("%s: tunnels %+v", name, tunnels)
		}
		if _, err := try(t, c, "GET", "https://not-here.example/"); err == nil {
			t.Errorf("%s: reached a host outside", name)
		}
	}
}

func TestProxyRefusals(t *testing.T) {
	t.Parallel()
	n := simnet.New(simnet.Config{})
	t.Cleanup(n.Close)
	m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "m"}})
	want := map[simnet.ProxyRefusal]map[string]string{
		simnet.ProxyBadLogin:    {"http": "Proxy Authentication Required", "https": "Proxy Authentication Required", "socks5": "authentication failed"},
		simnet.ProxyUnreachable: {"http": "Service Unavailable", "https": "Service Unavailable", "socks5": "host unreachable"},
		simnet.ProxyRefused:     {"http": "Bad Gateway", "https": "Bad Gateway", "socks5": "connection refused"},
		simnet.ProxyDenied:      {"http": "Forbidden", "https": "Forbidden", "socks5": "connection not allowed by ruleset"},
	}
	for name, p := range proxies(n, simnet.ProxyConfig{Username: "ann", Password: "right"}) {
		for how, texts := range want {
			p.Refuse(how)
			if _, err := try(t, through(t, n, p.ProxyURL()), "GET", m.URL()+"/v2/"); err == nil || !strings.Contains(err.Error(), texts[name]) {
				t.Errorf("%s refusal %d: %v, want %q", name, how, err, texts[name])
			}
		}
		p.Refuse(simnet.ProxyWorks)
		wrong := p.ProxyURL()
		wrong.User = url.UserPassword("ann", "wrong")
		if _, err := try(t, through(t, n, wrong), "GET", m.URL()+"/v2/"); err == nil || !strings.Contains(err.Error(), want[simnet.ProxyBadLogin][name]) {
			t.Errorf("%s wrong password: %v", name, err)
		}
		wrong.User = nil
		if _, err := try(t, through(t, n, wrong), "GET", m.URL()+"/v2/"); err == nil {
			t.Errorf("%s without a login: worked", name)
		}
		p.Break(simnet.ConnRefused)
		if _, err := try(t, through(t, n, p.ProxyURL()), "GET", m.URL()+"/v2/"); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s dead: %v", name, err)
		}
		p.Mend()
		if got := ask(t, through(t, n, p.ProxyURL()), "GET", m.URL()+"/v2/"); got.StatusCode != 200 {
			t.Errorf("%s after all: %s", name, got.Status)
		}
	}
	if got := n.Ledger().Count(simnet.Filter{Server: "m"}); got != 3 {
		t.Errorf("the mirror saw %d requests", got)
	}
}

// TestSourceIP holds that an egress has a quota of its own.
func TestSourceIP(t *testing.T) {
	t.Parallel()
	if ln, err := net.Listen("tcp", "127.0.0.2:0"); err != nil {
		t.Skip("this system has no 127.0.0.2")
	} else {
		ln.Close()
	}
	n, hub := start(t, simnet.HubConfig{Open: true, Quota: simnet.Quota{Limit: 1}})
	p := n.AddSOCKSProxy(simnet.ProxyConfig{Origin: simnet.Origin{Name: "egress"}, SourceIP: "127.0.0.2"})
	path := hub.URL() + alpine.Build().Path()
	for _, c := range []*http.Client{n.Client(), through(t, n, p.ProxyURL())} {
		if got := ask(t, c, "GET", path); got.StatusCode != 200 {
			t.Errorf("first: %s", got.Status)
		}
		if got := ask(t, c, "GET", path); got.StatusCode != 429 {
			t.Errorf("second: %s", got.Status)
		}
	}
	if got := ask(t, n.Client(), "HEAD", path).Header.Get("docker-ratelimit-source"); got != "127.0.0.1" {
		t.Errorf("source %q", got)
	}
	if hub.Remaining("127.0.0.2") != 0 {
		t.Error("nothing was counted for 127.0.0.2")
	}
}

func TestDialKnowsOnlyThisNet(t *testing.T) {
	t.Parallel()
	n, hub := start(t, simnet.HubConfig{})
	for _, url := range []string{hub.NameURL(), hub.Auth.NameURL(), hub.CDN.NameURL(), "https://cdn.sim", hub.URL()} {
		if got := ask(t, n.Client(), "GET", url+"/"); got.StatusCode == 0 {
			t.Errorf("%s: %s", url, got.Status)
		}
	}
	_, err := n.Dial(context.Background(), "tcp", "registry-1.docker.io:443")
	var dns *net.DNSError
	if !errors.As(err, &dns) || !dns.IsNotFound {
		t.Errorf("a name outside: %v", err)
	}
}
