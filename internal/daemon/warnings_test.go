package daemon_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/diagnose"
	"github.com/pullchain/pullchain/internal/messages"
	"github.com/pullchain/pullchain/internal/simnet"
)

// a registry of a configuration with several; the first one of a rig is docker.io.
type further struct {
	name  string
	lanes []lane
}

// withRegistries adds registries to a configuration. The keys of a table that the rig
// writes end with the tables of its last lane, so they go behind that.
func withRegistries(t testing.TB, cfg *rigConfig, more ...further) {
	t.Helper()
	last := &cfg.Chain[len(cfg.Chain)-1]
	var b strings.Builder
	for _, r := range more {
		fmt.Fprintf(&b, "\n[[registry]]\nname = %q\n", r.name)
		for _, l := range r.lanes {
			b.WriteString(l.toml(caFile(t, cfg.Net)))
		}
	}
	last.After = b.String()
}

// warnings are the codes of what the daemon warns of, with what they affect.
func (r *rig) warnings() []string {
	var out []string
	for _, w := range r.Daemon.Snapshot().Warnings {
		out = append(out, w.ID+": "+strings.Join(w.Affects, " "))
	}
	return out
}

// wantWarnings waits until the daemon warns of exactly this.
func (r *rig) wantWarnings(want ...string) []diagnose.Warning {
	r.t.Helper()
	deadline := time.Now().Add(tooLong)
	for strings.Join(r.warnings(), "\n") != strings.Join(want, "\n") {
		if time.Now().After(deadline) {
			r.t.Fatalf("the warnings are\n%s\nwant\n%s\n%s", strings.Join(r.warnings(), "\n"), strings.Join(want, "\n"), r.Daemon.Snapshot().Summary.Text)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return r.Daemon.Snapshot().Warnings
}

// wantVerdict fails the test unless the verdict is this.
func (r *rig) wantVerdict(level, text string) {
	r.t.Helper()
	if s := r.Daemon.Snapshot().Summary; s.Level != level || s.Text != text {
		r.t.Errorf("the verdict is\n%s: %s\nwant\n%s: %s", s.Level, s.Text, level, text)
	}
}

// behindOneProxy is a daemon with five registries behind one proxy; docker.io has a
// second way.
func behindOneProxy(t *testing.T, tables ...string) (*rig, *simnet.Proxy, *simnet.Content) {
	t.Helper()
	n := newNet(t)
	proxy := n.AddSOCKSProxy(simnet.ProxyConfig{Origin: simnet.Origin{Name: "proxy"}})
	mirror := func(name string, keys string) lane {
		m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: name}, Images: []simnet.Image{alpine}})
		return lane{Name: name, URL: m.URL(), Keys: keys}
	}
	const behind = `egress = "home"`
	cfg := rigConfig{Net: n, Top: fmt.Sprintf("[egress.home]\nurl = %q\n", proxy.URL()) + strings.Join(tables, "\n"), Chain: []lane{mirror("hub", behind), mirror("direct", "")}}
	var more []further
	for _, name := range []string{"ghcr.io", "quay.io", "gcr.io", "nvcr.io"} {
		more = append(more, further{name, []lane{mirror(strings.TrimSuffix(name, ".io"), behind)}})
	}
	withRegistries(t, &cfg, more...)
	r := newRig(t, cfg)
	r.probedAll()
	return r, proxy, n.Build(alpine)
}

// probedAll waits until every lane of every registry has been probed once.
func (r *rig) probedAll() {
	r.t.Helper()
	r.eventually("first probes", func() bool {
		for _, reg := range r.Daemon.Snapshot().Registries {
			for _, p := range reg.Probes {
				if len(p.History) == 0 {
					return false
				}
			}
		}
		return true
	})
}

// A proxy that is down is known for all that is behind it by the first request that
// meets it: one warning, one sentence, and not one more knock at the proxy.
func TestWarn_EgressDown(t *testing.T) {
	t.Parallel()
	r, proxy, image := behindOneProxy(t)
	r.wantWarnings()
	proxy.Break(simnet.ConnReset)
	before, began := r.net.Ledger().Connections("proxy"), time.Now()
	r.wantBytes(image.Path(), image.Manifest())
	got := r.Daemon.Snapshot().Warnings
	t.Logf("known %v after it broke", time.Since(began))
	if n := r.net.Ledger().Connections("proxy") - before; n != 1 {
		t.Errorf("the proxy was connected to %d times before all lanes knew, want once", n)
	}
	if len(got) != 1 || got[0].ID != "egress_down:home" || got[0].Severity != diagnose.Critical || len(got[0].Affects) != 5 || got[0].Since.Before(began.Add(-time.Second)) {
		t.Errorf("got %+v, want one warning of five lanes since just now", got)
	}
	r.wantVerdict(admin.LevelDegraded, "1 of 5 registries pullable. home (socks5) is down: no path for ghcr.io, quay.io and 2 more; docker.io by other paths.")
	if e := r.Daemon.Snapshot().Egresses; len(e) != 1 || e[0].State != "down" || e[0].Code != "egress_proxy" || len(e[0].Upstreams) != 5 || e[0].LastError == "" {
		t.Errorf("the egress is %+v", e)
	}
	since := got[0].Since
	r.wantBytes(image.Path(), image.Manifest())
	if again := r.Daemon.Snapshot().Warnings; !again[0].Since.Equal(since) {
		t.Errorf("since %v, and a moment later since %v", since, again[0].Since)
	}
}

// A way out that answers nothing at all, and every registry on it.
func TestWarn_NoNetwork(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	mirror := func(name string) lane {
		m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: name}, Images: []simnet.Image{alpine}})
		m.Break(simnet.ConnRefused)
		return lane{Name: name, URL: m.URL()}
	}
	cfg := rigConfig{Net: n, Chain: []lane{mirror("a"), mirror("b")}}
	withRegistries(t, &cfg, further{"ghcr.io", []lane{mirror("c")}})
	r := newRig(t, cfg)
	r.wantWarnings("no_network: docker.io/a docker.io/b ghcr.io/c")
	r.wantVerdict(admin.LevelOutage, "0 of 2 registries pullable. This machine has no way to the network: nothing can be connected to: no path for docker.io, ghcr.io.")
	n.Server("c").Mend()
	if got := r.get("/v2/library/alpine/manifests/3?ns=ghcr.io"); got.Status != 200 {
		t.Fatalf("status %d: %s", got.Status, got.Body)
	}
	r.wantWarnings("unproved: docker.io") // there is a network, and nothing of docker.io has worked yet
}

// One failure that may be everyone's has all others probed at once: the cause is known
// although nothing was asked of the other registries, and their probes are not due until
// tomorrow.
func TestWarn_NoNetworkIsFoundOutAtOnce(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	mirror := func(name string) lane {
		m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: name}, Images: []simnet.Image{alpine}})
		return lane{Name: name, URL: m.URL()}
	}
	cfg := rigConfig{Net: n, Chain: []lane{mirror("a")}}
	withRegistries(t, &cfg, further{"ghcr.io", []lane{mirror("b")}}, further{"quay.io", []lane{mirror("c")}})
	r := newRig(t, cfg)
	r.probedAll()
	r.wantWarnings()
	for _, name := range []string{"a", "b", "c"} {
		n.Server(name).Break(simnet.ConnRefused)
	}
	began := time.Now()
	if got := r.get(n.Build(alpine).Path()); got.Status == 200 {
		t.Fatal("it was served")
	}
	r.wantWarnings("no_network: docker.io/a ghcr.io/b quay.io/c")
	t.Logf("known %v after the first request", time.Since(began))
}

// A name service that answers nothing: .invalid is no name anywhere (RFC 6761, 6.4).
func TestWarn_DNSDown(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	cfg := rigConfig{Net: n, Chain: []lane{{Name: "a", URL: "https://a.invalid"}}}
	withRegistries(t, &cfg, further{"ghcr.io", []lane{{Name: "b", URL: "https://b.invalid"}}})
	r := newRig(t, cfg)
	got := r.wantWarnings("dns_down: docker.io/a ghcr.io/b")
	if title := got[0].Title(messages.In(messages.English), time.Now()); !strings.Contains(title, "a.invalid") {
		t.Errorf("it says %q", title)
	}
}

// Web pages where registries should be.
func TestWarn_CaptivePortal(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	mirror := func(name string) lane {
		m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: name}, Images: []simnet.Image{alpine}})
		m.Inject(simnet.HTML200())
		return lane{Name: name, URL: m.URL()}
	}
	cfg := rigConfig{Net: n, Chain: []lane{mirror("a")}}
	withRegistries(t, &cfg, further{"ghcr.io", []lane{mirror("b")}})
	newRig(t, cfg).wantWarnings("captive_portal:direct: docker.io/a ghcr.io/b")
}

// A clock that two registries contradict.
func TestWarn_ClockWrong(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	mirror := func(name string) lane {
		m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: name}, Images: []simnet.Image{alpine}})
		m.Inject(simnet.Fault{DateSkew: 2 * time.Hour})
		return lane{Name: name, URL: m.URL()}
	}
	cfg := rigConfig{Net: n, Chain: []lane{mirror("a")}}
	withRegistries(t, &cfg, further{"ghcr.io", []lane{mirror("b")}})
	r := newRig(t, cfg)
	got := r.wantWarnings("clock_wrong: docker.io/a ghcr.io/b")
	if got[0].Values["way"] != "behind" || got[0].Values["by_s"] != "7200" {
		t.Errorf("got %v, want 2 h behind", got[0].Values)
	}
}

// Certificates of two hosts that are not valid now.
func TestWarn_ClockCertificates(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	mirror := func(name string) lane {
		m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: name}, Images: []simnet.Image{alpine}})
		m.Break(simnet.ConnExpiredCert)
		return lane{Name: name, URL: m.URL()}
	}
	cfg := rigConfig{Net: n, Chain: []lane{mirror("a")}}
	withRegistries(t, &cfg, further{"ghcr.io", []lane{mirror("b")}})
	newRig(t, cfg).wantWarnings("clock_certs: docker.io/a ghcr.io/b")
}

// One CDN behind two registries: their manifests come, and their blobs do not.
func TestWarn_CDNDown(t *testing.T) {
	t.Parallel()
	n := newNet(t)
	hub := n.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Images: []simnet.Image{alpine}})
	path := func(name string) lane { return lane{Name: name, URL: hub.URL(), Origin: true} }
	cfg := rigConfig{Net: n, Chain: []lane{path("a")}}
	withRegistries(t, &cfg, further{"ghcr.io", []lane{path("b")}})
	r := newRig(t, cfg)
	r.probedAll()
	image := n.Build(alpine)
	layer, content := image.Layer(0)
	undo := hub.CDN.Inject(simnet.Fault{Status: 503})
	for _, ns := range []string{"docker.io", "ghcr.io"} {
		if got := r.get(image.Path() + "?ns=" + ns); got.Status != 200 {
			t.Fatalf("the manifest of %s: %d", ns, got.Status)
		}
		if got := r.get(image.BlobPath(layer.Digest) + "?ns=" + ns); got.Status == 200 {
			t.Fatalf("a blob of %s came", ns)
		}
	}
	got := r.wantWarnings(fmt.Sprintf("cdn_down:%s: docker.io/a ghcr.io/b", strings.TrimPrefix(hub.CDN.URL(), "https://")))
	if got[0].Severity != diagnose.Critical {
		t.Errorf("it is %s, want critical: nothing can be pulled", got[0].Severity)
	}
	undo()
	for _, ns := range []string{"docker.io", "ghcr.io"} {
		r.eventually("blobs come again", func() bool {
			got := r.get(image.BlobPath(layer.Digest) + "?ns=" + ns)
			return got.Status == 200 && string(got.Body) == string(content)
		})
	}
	r.wantWarnings()
}

// Which address was dialled is shown, and what a lane is in one sentence.
func TestSnapshot_Addresses(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	l := p.lane("a")
	if strings.Join(l.Addresses, " ") != "127.0.0.1" || !strings.HasPrefix(l.Host, "127.0.0.1:") || l.LastOK == nil || l.Blobs != nil {
		t.Errorf("addresses %v, host %s, last ok %v, blobs %v", l.Addresses, l.Host, l.LastOK, l.Blobs)
	}
}
