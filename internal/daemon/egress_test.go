package daemon_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/daemon"
	"github.com/pullchain/pullchain/internal/simnet"
)

const proxyPassword = "marker-of-the-proxys-password"

// tunnelled is a chain of two paths through one proxy, a and a2, before b,
// which is direct.
type tunnelled struct {
	*rig
	proxy *simnet.Proxy
	image *simnet.Content
}

// proxies are the kinds that there are.
var proxies = map[string]func(*simnet.Net, simnet.ProxyConfig) *simnet.Proxy{
	"CONNECT": (*simnet.Net).AddConnectProxy,
	"SOCKS5":  (*simnet.Net).AddSOCKSProxy,
}

// newTunnelled starts the chain, whose daemon logs in at the proxy with the
// password. Both paths have been probed, through the proxy, when it returns,
// and probe are the keys of their probe tables.
func newTunnelled(t *testing.T, kind, password, probe string, patience ...string) *tunnelled {
	t.Helper()
	n := newNet(t)
	x := &tunnelled{image: n.Build(alpine)}
	x.proxy = proxies[kind](n, simnet.ProxyConfig{Origin: simnet.Origin{Name: "proxy"}, Username: "user", Password: proxyPassword})
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := rigConfig{Net: n, Top: fmt.Sprintf("[egress.tunnel]\nurl = %q\nusername = \"user\"\npassword_file = %q\n", x.proxy.URL(), file)}
	for _, name := range []string{"a", "a2", "b"} {
		m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: name}, Images: []simnet.Image{alpine}})
		l := lane{Name: name, URL: m.URL(), Probe: probe, Patience: strings.Join(patience, "\n")}
		if name != "b" {
			l.Keys = `egress = "tunnel"`
		}
		cfg.Chain = append(cfg.Chain, l)
	}
	x.rig = newRig(t, cfg)
	x.probed("a", "a2", "b")
	return x
}

func (x *tunnelled) manifest() reply {
	x.t.Helper()
	return x.wantBytes(x.image.Path(), x.image.Manifest())
}

// knocks is how often the proxy was connected to.
func (x *tunnelled) knocks() int { return x.net.Ledger().Connections("proxy") }

// wantSkipped pulls n times and fails the test unless b serves all of them, and
// the two others are behind the egress's gate, for that reason, unblamed.
func (x *tunnelled) wantSkipped(n int, code pullchain.Code) {
	x.t.Helper()
	for range n {
		got := x.manifest()
		x.wantCode(got, "a", code)
		if got.servedBy() != "b" {
			x.t.Errorf("served by %q, want b", got.servedBy())
		}
	}
	for _, name := range []string{"a", "a2"} {
		x.wantGate(name, "manifest", "egress", code)
		x.wantGate(name, "blob", "egress", code)
		if b := x.breaker(name, "manifest"); b.Failures != 0 || b.State != "closed" {
			x.t.Errorf("%s's breaker is %s with %d failures, want it closed with 0: the proxy is to blame", name, b.State, b.Failures)
		}
	}
	x.wantOpen("b", "manifest")
}

// A dead proxy takes all of its paths out of the way at once, at the cost of
// one attempt, and paths on another way out go on.
func TestF42_EgressProxyDown(t *testing.T) {
	t.Parallel()
	for kind := range proxies {
		for fault, how := range map[string]simnet.ConnFault{"reset": simnet.ConnReset, "closed": simnet.ConnClose, "refused": simnet.ConnRefused} {
			t.Run(kind+" "+fault, func(t *testing.T) {
				t.Parallel()
				x := newTunnelled(t, kind, proxyPassword, "")
				if got := x.manifest(); got.servedBy() != "a" {
					t.Fatalf("served by %q, want a through the proxy", got.servedBy())
				}
				x.proxy.Break(how)
				before := x.knocks()
				x.wantSkipped(20, pullchain.CodeEgressProxy)
				if n := x.knocks() - before; how != simnet.ConnRefused && n != 1 {
					t.Errorf("the dead proxy was connected to %d times, want once", n)
				}
				x.wantUntil(x.gate("a", "manifest"), 10*time.Second, 10*time.Second)
				x.wantAsked("a2", "", simnet.Manifests, 0)
			})
		}
	}
}

// A proxy that answers nothing is found out within a second of waiting for it,
// which hedges may spread over the first pulls; after that it costs nothing.
func TestF42_EgressProxySilent(t *testing.T) {
	t.Parallel()
	x := newTunnelled(t, "CONNECT", proxyPassword, "", asShipped)
	x.proxy.Break(simnet.ConnBlackhole)
	for range 4 {
		if got := x.manifest(); got.servedBy() != "b" || got.Took > 9*time.Second {
			t.Errorf("served by %q in %v, want by b and well before a's share of the time is over", got.servedBy(), got.Took)
		}
	}
	for _, name := range []string{"a", "a2"} { // that it is the proxy which is silent, the next probe will tell
		if g := x.gate(name, "manifest"); g.Gate == "" {
			t.Errorf("%s's gate is open", name)
		}
	}
	before := x.knocks()
	if got := x.manifest(); got.servedBy() != "b" || x.knocks() != before {
		t.Errorf("the next: served by %q after %d connections to the proxy, want by b at once", got.servedBy(), x.knocks()-before)
	}
	x.wantAsked("a2", "", simnet.Manifests, 0)
}

// A proxy that is back is found by the probes, and its paths are used again.
func TestF42_EgressProxyComesBack(t *testing.T) {
	t.Parallel()
	x := newTunnelled(t, "SOCKS5", proxyPassword, "interval = \"1s\"\nurgent_interval = \"1s\"\nidle_interval = \"1s\"\nfall = 1000")
	x.proxy.Break(simnet.ConnReset)
	x.wantSkipped(1, pullchain.CodeEgressProxy)
	x.proxy.Mend()
	x.eventually("the egress is open again", func() bool {
		return x.gate("a", "manifest").Gate == "" && x.gate("a2", "manifest").Gate == ""
	})
	if got := x.manifest(); got.servedBy() != "a" {
		t.Errorf("served by %q, want a: nothing was ever wrong with it", got.servedBy())
	}
}

// A login that the proxy refuses is not tried again and again, by pulls or by
// probes: that is how accounts are locked.
func TestF43_EgressLoginRefused(t *testing.T) {
	t.Parallel()
	for kind := range proxies {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			x := newTunnelled(t, kind, proxyPassword, "interval = \"1s\"\nurgent_interval = \"1s\"\nidle_interval = \"1s\"")
			x.manifest()
			x.proxy.Refuse(simnet.ProxyBadLogin)
			x.proxy.CloseConnections()
			before := x.knocks()
			x.wantSkipped(20, pullchain.CodeEgressAuth)
			x.wantUntil(x.gate("a", "manifest"), 4*time.Minute, 5*time.Minute)
			time.Sleep(2500 * time.Millisecond) // time for two probes of each path, which must not come
			x.wantSkipped(1, pullchain.CodeEgressAuth)
			// One pull, and the probes that were on their way beside it.
			if n := x.knocks() - before; n < 1 || n > 3 {
				t.Errorf("the proxy was knocked at %d times, want once or little more", n)
			}
		})
	}
}

// A wrong password in the configuration shows as what it is, and nowhere in
// clear.
func TestF43_EgressWrongPassword(t *testing.T) {
	t.Parallel()
	for kind := range proxies {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			const wrong = "marker-of-a-wrong-password"
			x := newTunnelled(t, kind, wrong, "")
			x.wantSkipped(3, pullchain.CodeEgressAuth)
			if n := x.knocks(); n < 1 || n > 3 {
				t.Errorf("the proxy was knocked at %d times, want once or little more", n)
			}
			last := x.lane("a").LastError
			if last != nil && strings.Contains(last.Text, wrong) || strings.Contains(x.log.String(), wrong) {
				t.Error("the password stands in the log or in the state")
			}
			if leaks := x.net.Ledger().Leaks(wrong, "proxy"); len(leaks) > 0 {
				t.Errorf("the password went to %s", leaks[0].Server)
			}
		})
	}
}

// What a proxy says of a target is the target's trouble: each path is blamed
// for itself, and the way out stays open.
func TestF43_WhatTheProxySaysOfTheTarget(t *testing.T) {
	t.Parallel()
	for kind := range proxies {
		for name, how := range map[string]simnet.ProxyRefusal{
			"unreachable": simnet.ProxyUnreachable, "refused": simnet.ProxyRefused, "denied": simnet.ProxyDenied,
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				x := newTunnelled(t, kind, proxyPassword, "")
				x.proxy.Refuse(how)
				x.proxy.CloseConnections()
				before := x.knocks()
				if got := x.manifest(); got.servedBy() != "b" {
					t.Errorf("served by %q, want b", got.servedBy())
				}
				if n := x.knocks() - before; n != 2 {
					t.Errorf("the proxy was asked %d times, want once for each path", n)
				}
				for _, path := range []string{"a", "a2"} {
					if g := x.gate(path, "manifest"); g.Gate == "egress" {
						t.Errorf("%s's gate is the egress's, for %s", path, g.Code)
					}
					if n := x.breaker(path, "manifest").Failures; n != 1 {
						t.Errorf("%s's breaker counts %d failures, want 1", path, n)
					}
				}
			})
		}
	}
}

// With no other way out the client is told which proxy is to blame for what.
func TestF42_NoOtherWayOut(t *testing.T) {
	t.Parallel()
	x := newTunnelled(t, "CONNECT", proxyPassword, "")
	x.proxy.Break(simnet.ConnReset)
	x.net.Server("b").Break(simnet.ConnRefused)
	body := x.wantError(x.get(x.image.Path()), http.StatusServiceUnavailable, "UNAVAILABLE")
	for _, want := range []string{"a egress_proxy", "a2 egress_proxy", "b conn_refused"} {
		if !strings.Contains(body.Errors[0].Message, want) {
			t.Errorf("%q does not say %q", body.Errors[0].Message, want)
		}
	}
}

// An environment that names no proxy is no way out of its own: people read "direct", and
// what is wrong is looked for on this machine.
func TestEgress_EnvironmentWithoutAProxy(t *testing.T) {
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"} {
		t.Setenv(name, "")
		t.Setenv(strings.ToLower(name), "")
	}
	via := func() string {
		cfg, err := config.Parse("x.toml", []byte("[[registry]]\nname = \"docker.io\"\n[[registry.upstream]]\nname = \"hub\"\nurl = \"https://registry-1.docker.io\"\negress = \"env\"\n"), nil)
		if err != nil {
			t.Fatal(err)
		}
		d, err := daemon.New(cfg, daemon.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return d.Snapshot().Registries[0].Lanes[0].Via
	}
	if got := via(); got != "direct" {
		t.Errorf("without a proxy: %q", got)
	}
	t.Setenv("ALL_PROXY", "socks5://127.0.0.1:1")
	if got := via(); got != "env" {
		t.Errorf("with a proxy: %q", got)
	}
}
