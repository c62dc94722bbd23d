package daemon_test

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/daemon"
	"github.com/pullchain/pullchain/internal/simnet"
)

// rewrite changes the configuration file as an editor would: each old text by
// the new one after it.
func (r *rig) rewrite(oldnew ...string) {
	r.t.Helper()
	text, err := os.ReadFile(r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	changed := strings.NewReplacer(oldnew...).Replace(string(text))
	if changed == string(text) {
		r.t.Fatalf("%q are not in the configuration", oldnew)
	}
	if err := os.WriteFile(r.path, []byte(changed), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// hangup does what SIGHUP does.
func (r *rig) hangup() error {
	cfg, err := config.Load(r.path)
	if err != nil {
		r.Daemon.ReloadFailed(err)
		return err
	}
	return r.Daemon.Reload(cfg)
}

// A file that cannot be used changes nothing: the old configuration serves,
// knows what it knew, and says why the new one is not in force.
func TestF37_BadFileKeepsTheOld(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil func(p *pair)
		says  string
	}{
		"no TOML":         {func(p *pair) { p.rewrite("[admin]", "[admin") }, "expected"},
		"unknown key":     {func(p *pair) { p.rewrite("allow_private", "alow_private") }, "alow_private"},
		"makes no sense":  {func(p *pair) { p.rewrite(`trust = "resolve"`, `trust = "pull"`) }, "trusted to resolve"},
		"no such egress":  {func(p *pair) { p.rewrite(`name = "a"`, "name = \"a\"\negress = \"nowhere\"") }, "nowhere"},
		"not a file":      {func(p *pair) { _ = os.Remove(p.path) }, "no such file"},
		"ca_file is gone": {func(p *pair) { _ = os.Remove(strings.TrimSuffix(p.path, "pullchain.toml") + "ca.pem") }, "ca.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, nil)
			p.a.Inject(limited())
			p.manifest()
			before := p.Daemon.Snapshot().Config
			tc.spoil(p)
			if err := p.hangup(); err == nil {
				t.Fatal("the configuration was taken")
			}
			after := p.Daemon.Snapshot().Config
			if after.LastReloadOK || after.LastReloadAt == nil || !after.LoadedAt.Equal(before.LoadedAt) {
				t.Errorf("the state of the configuration is %+v, want a failed reload and the old one in force", after)
			}
			if !strings.Contains(after.LastReloadError, tc.says) || !strings.Contains(p.log.String(), tc.says) {
				t.Errorf("%q does not say %q, or the log does not", after.LastReloadError, tc.says)
			}
			p.wantGate("a", "manifest", "cooldown", pullchain.CodeQuota)
			if got := p.manifest(); got.servedBy() != "b" {
				t.Errorf("served by %q, want b", got.servedBy())
			}
			p.wantAsked("a", "", simnet.Manifests, 1)
		})
	}
}

// A reload does not empty a mirror: editors truncate a file before they write it.
// What was there at the start, with registries or without, stays possible.
func TestReloadDoesNotEmptyAMirror(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"an empty file":     "",
		"comments alone":    "# [[registry]]\n",
		"without registry":  "[log]\nlevel = \"debug\"\n",
		"nothing but space": "\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, nil)
			whole, err := os.ReadFile(p.path)
			if err != nil {
				t.Fatal(err)
			}
			write := func(text string) {
				if err := os.WriteFile(p.path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write(text)
			if err := p.hangup(); err == nil {
				t.Fatal("the configuration was taken")
			}
			const says = "names no [[registry]]"
			if s := p.Daemon.Snapshot().Config; s.LastReloadOK || !strings.Contains(s.LastReloadError, says) || !strings.Contains(p.log.String(), says) {
				t.Errorf("the state of the configuration is %+v, want a failed reload that says %q, and so in the log", s, says)
			}
			p.manifest()
			write(string(whole))
			if err := p.hangup(); err != nil {
				t.Errorf("the whole file: %v", err)
			}
		})
	}
}

// A mirror that was started without any registry of its own may be given some, and
// go on without when its file still names none.
func TestReloadOfAnImpliedMirror(t *testing.T) {
	t.Parallel()
	empty := config.Default()
	empty.Server.Listen, empty.Admin.Listen, empty.Cache.Enabled = "127.0.0.1:0", "127.0.0.1:0", new(bool)
	d, err := daemon.New(empty, daemon.Options{})
	if err != nil {
		t.Fatal(err)
	}
	again, err := config.Parse("x.toml", []byte("[log]\nlevel = \"debug\"\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Reload(again); err != nil {
		t.Errorf("from none to none: %v", err)
	}
	own, err := config.Parse("x.toml", []byte("[[registry]]\nname = \"ghcr.io\"\n[[registry.upstream]]\nname = \"ghcr\"\nurl = \"https://ghcr.io\"\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Reload(own); err != nil {
		t.Errorf("from none to one: %v", err)
	}
	if err := d.Reload(config.Default()); err == nil {
		t.Error("a file that went away has emptied the mirror")
	}
}

// limited is a 429 for manifests that names a time.
func limited() simnet.Fault {
	f := simnet.TooManyAfter(time.Hour, false)
	f.On = simnet.Manifests
	return f
}

// A reload keeps what was learnt of every path that it does not change, down to
// the open connections, and of no other.
func TestF37_StateIsKeptByIdentity(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	p.a.Inject(limited())
	p.b.Inject(simnet.Fault{On: simnet.Blobs, Status: http.StatusInternalServerError})
	p.manifest()
	p.blob(0)
	a := p.work("a", "manifest")
	connections := p.net.Ledger().Connections("a")

	p.rewrite(`name = "b"`, "name = \"b\"\nweight = 2.5")
	if err := p.hangup(); err != nil {
		t.Fatal(err)
	}
	if s := p.Daemon.Snapshot().Config; !s.LastReloadOK || s.LastReloadError != "" {
		t.Errorf("the state of the configuration is %+v, want a reload that went well", s)
	}
	p.wantUntil(p.wantGate("a", "manifest", "cooldown", pullchain.CodeQuota), 59*time.Minute, time.Hour)
	if got := p.work("a", "manifest"); got.Requests != a.Requests || got.Failures != a.Failures {
		t.Errorf("a's counts are %+v, want those of before, %+v", got, a)
	}
	if got := p.work("b", "manifest"); got.Requests != 0 {
		t.Errorf("b, which has changed, counts %d requests of before", got.Requests)
	}
	p.blob(1)
	p.wantAsked("a", "", simnet.Manifests, 1)
	if n := p.net.Ledger().Connections("a"); n != connections {
		t.Errorf("a has %d connections, had %d: they were not kept", n, connections)
	}
}

// A path whose settings change is another path: what was learnt of the old one
// may be for what has just been put right.
func TestF37_AChangedPathBeginsAnew(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	undo := p.a.Inject(limited())
	p.manifest()
	undo()
	p.rewrite(`name = "a"`, "name = \"a\"\nheaders = { \"X-Key\" = \"new\" }")
	if err := p.hangup(); err != nil {
		t.Fatal(err)
	}
	if got := p.manifest(); got.servedBy() != "a" {
		t.Errorf("served by %q, want a", got.servedBy())
	}
	asked := p.net.Ledger().Find(simnet.Filter{Server: "a", Class: simnet.Manifests})
	if key := asked[len(asked)-1].Header.Get("X-Key"); key != "new" {
		t.Errorf("a was asked with the key %q", key)
	}
}

// Paths may come, go and change places; what is under way ends where it began.
func TestF37_UnderWay(t *testing.T) {
	t.Parallel()
	p := newBig(t, true, nil)
	p.a.Inject(simnet.Fault{On: simnet.Blobs, BytesPerSec: 4 << 20})
	path, content := p.layer()
	resp := p.open(path)
	defer resp.Body.Close()
	text, err := os.ReadFile(p.path)
	if err != nil {
		t.Fatal(err)
	}
	first := bytes.Index(text, []byte("[[registry.upstream]]"))
	second := bytes.LastIndex(text, []byte("[[registry.upstream]]"))
	if err := os.WriteFile(p.path, append(text[:first:first], text[second:]...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.hangup(); err != nil {
		t.Fatal(err)
	}
	if got := p.manifest(); got.servedBy() != "b" {
		t.Errorf("served by %q, want b, the only one left", got.servedBy())
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(body, content) {
		t.Errorf("%d bytes of %d, %v: the answer under way was broken by the reload", len(body), len(content), err)
	}
	p.wantAsked("b", "", simnet.Blobs, 0)
}

// A shared egress that refused the login is tried again at once when its
// settings change, and stays closed over a reload that does not touch it.
func TestF43_OpenUntilReload(t *testing.T) {
	t.Parallel()
	x := newTunnelled(t, "SOCKS5", "marker-of-a-wrong-password", "")
	x.wantSkipped(1, pullchain.CodeEgressAuth)
	knocks := x.knocks()
	x.rewrite(`name = "a2"`, "name = \"a2\"\nweight = 2.0")
	if err := x.hangup(); err != nil {
		t.Fatal(err)
	}
	x.wantSkipped(3, pullchain.CodeEgressAuth)
	if n := x.knocks(); n != knocks {
		t.Errorf("the proxy was knocked at %d more times", n-knocks)
	}

	text, _ := os.ReadFile(x.path)
	_, rest, _ := strings.Cut(string(text), `password_file = "`)
	file, _, _ := strings.Cut(rest, `"`)
	if err := os.WriteFile(file, []byte(proxyPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := x.hangup(); err != nil {
		t.Fatal(err)
	}
	if got := x.manifest(); got.servedBy() != "a" {
		t.Errorf("served by %q, want a: the login is right now", got.servedBy())
	}
}

// A reload that renames an upstream forgets the old name's events, and those of no other.
func TestReloadForgetsWhatIsGone(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.manifest()
	p.did(ofB+"drain", `{}`)
	of := func(upstream string) (n int) {
		all, _, _ := p.Daemon.Events().Since(0)
		for _, e := range all {
			if e.Kind == balancer.KindTransition && e.Upstream == upstream {
				n++
			}
		}
		return n
	}
	if of("a") == 0 || of("b") == 0 {
		t.Fatalf("there are %d events of a and %d of b", of("a"), of("b"))
	}
	p.rewrite(`name = "b"`, `name = "c"`)
	if err := p.hangup(); err != nil {
		t.Fatal(err)
	}
	if of("a") == 0 || of("b") != 0 {
		t.Errorf("then there are %d events of a, which stays, and %d of b, which is gone", of("a"), of("b"))
	}
}
