package daemon_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/pullchain/pullchain/internal/config"
	"github.com/pullchain/pullchain/internal/notify"
	"github.com/pullchain/pullchain/internal/simnet"
)

// A pager keeps what a webhook of kind json is told.
type pager struct {
	*httptest.Server
	mu   sync.Mutex
	told []notify.Document
}

func newPager(t *testing.T) *pager {
	t.Helper()
	p := &pager{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var d notify.Document
		if err := json.Unmarshal(body, &d); err != nil {
			t.Errorf("a message that is no JSON: %v", err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.told = append(p.told, d)
	}))
	t.Cleanup(p.Close)
	return p
}

// toml is the table of the webhook, which tells what has held for a moment.
func (p *pager) toml() string {
	return fmt.Sprintf("[[notify]]\nname = \"pager\"\nkind = \"json\"\nurl = \"%s/marker-of-the-hook\"\noutage_after = \"1ms\"\ndegraded_after = \"1ms\"\nrecovered_after = \"1ms\"\n", p.URL)
}

// titles are those of all messages so far.
func (p *pager) titles() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, d := range p.told {
		out = append(out, d.Title)
	}
	return strings.Join(out, ", ")
}

// last is the newest message.
func (p *pager) last() notify.Document {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.told[len(p.told)-1]
}

// quickProbe are probes that find out soon.
const quickProbe = "interval = \"1s\"\nidle_interval = \"1s\"\nurgent_interval = \"1s\"\nrise = 1\nfall = 1"

// A registry that falls back, has no path, and is well again: a message each, and
// nothing at a start that is well, nor at a reload.
func TestNotify(t *testing.T) {
	t.Parallel()
	told := newPager(t)
	p := newPair(t, func(c *rigConfig) {
		c.Top = told.toml()
		for i := range c.Chain {
			c.Chain[i].Probe = quickProbe
		}
	})
	p.probed("a", "b")

	p.a.Break(simnet.ConnRefused)
	p.eventually("degraded is told", func() bool { return told.titles() == "[DEGRADED] docker.io" })
	first := told.last()
	if c := first.Changes[0]; c.Code != "registry" || c.From != "ok" || c.Command != "pullchain status docker.io" ||
		!strings.HasPrefix(c.Sentence, "docker.io on b: a refuses connections") || first.Dashboard != "http://"+p.Daemon.AdminAddr()+"/" {
		t.Errorf("%+v", first)
	}

	// A reload, with another path beside it, tells nothing again.
	cfg, err := config.Load(p.path)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Registries[0].Upstreams[1].MaxConnections = 7
	if err := p.Daemon.Reload(cfg); err != nil {
		t.Fatal(err)
	}

	p.b.Break(simnet.ConnRefused)
	p.eventually("the outage is told", func() bool { return told.last().Level == "outage" })
	p.a.Mend()
	p.b.Mend()
	p.eventually("the recovery is told", func() bool { return told.last().Level == "ok" })
	if got := told.titles(); !strings.HasPrefix(got, "[DEGRADED] docker.io, [OUTAGE] docker.io, ") || !strings.HasSuffix(got, "[RECOVERED] docker.io") {
		t.Errorf("told %s", got)
	}
	if c := told.last().Changes[0]; c.Ended == nil || !c.Began.Equal(first.Changes[0].Began) {
		t.Errorf("the trouble began %v, and the recovery says %+v", first.Changes[0].Began, c)
	}

	s := p.Daemon.Snapshot()
	if len(s.Notifiers) != 1 || s.Notifiers[0].Name != "pager" || s.Notifiers[0].LastSent == nil || s.Notifiers[0].LastError != "" {
		t.Errorf("%+v", s.Notifiers)
	}
	shown, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if all := string(shown) + p.log.String(); strings.Contains(all, "marker-of-the-hook") {
		t.Error("the address of the webhook is in the snapshot or the log")
	}
}

// A service that is gone stops nothing, and shows.
func TestNotifyThatFails(t *testing.T) {
	t.Parallel()
	told := newPager(t)
	told.Close()
	p := newPair(t, func(c *rigConfig) {
		c.Top = told.toml()
		for i := range c.Chain {
			c.Chain[i].Probe = quickProbe
		}
	})
	p.probed("a", "b")
	p.a.Break(simnet.ConnRefused)
	p.eventually("the failure shows", func() bool {
		n := p.Daemon.Snapshot().Notifiers[0]
		return n.LastError != "" && n.Queued == 1 && n.LastSent == nil
	})
	p.manifest()
	if _, got := p.admin("/"); !strings.Contains(got, "! Notifications by pager (json) fail, 1 are waiting: ") || strings.Contains(got, "marker-of-the-hook") {
		t.Errorf("the table says\n%s", got)
	}
}

// A proxy with five registries behind it: one message when it dies, and one when it is
// back.
func TestNotifyOneCauseOnce(t *testing.T) {
	t.Parallel()
	told := newPager(t)
	r, proxy, image := behindOneProxy(t, told.toml())
	proxy.Break(simnet.ConnReset)
	r.wantBytes(image.Path(), image.Manifest())
	r.eventually("the dead proxy is told", func() bool { return told.titles() != "" })
	if d := told.last(); d.Title != "[OUTAGE] home (socks5) is down" || len(d.Changes) != 1 || len(d.Changes[0].Affects) != 5 ||
		d.Changes[0].Code != "egress_down" || d.Changes[0].Subject != "home" || !strings.HasPrefix(d.Changes[0].Command, "curl ") {
		t.Errorf("%+v", d)
	}
	proxy.Mend()
	if got := r.get("/v2/library/alpine/manifests/3?ns=ghcr.io"); got.Status != 200 { // which has no other path
		t.Fatalf("status %d: %s", got.Status, got.Body)
	}
	r.eventually("the end is told", func() bool { return told.last().Level == "ok" })
	if got := told.titles(); got != "[OUTAGE] home (socks5) is down, [OVER] home (socks5) is down" {
		t.Errorf("told %s", got)
	}
}
