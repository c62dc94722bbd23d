package daemon_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/simnet"
)

// eager is a probe table that probes as often as the configuration allows.
const eager = "interval = \"1s\"\nidle_interval = \"1s\"\nurgent_interval = \"1s\""

// F06 A 429 that says when: no request goes there before, neither of users nor of the prober,
// and only for the class that was limited.
func TestF06_LimitedUntil(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		wait        time.Duration
		date        bool
		least, most time.Duration
	}{
		"seconds":         {40 * time.Minute, false, 39 * time.Minute, 40 * time.Minute},
		"date":            {40 * time.Minute, true, 39 * time.Minute, 40 * time.Minute},
		"a week":          {7 * 24 * time.Hour, false, 6*time.Hour - time.Minute, 6 * time.Hour},
		"a date that was": {-time.Hour, true, 20 * time.Second, 36 * time.Second}, // as if nothing was said
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, func(c *rigConfig) { c.Chain[0].Probe = eager })
			p.manifest() // the prober has something to look for now
			p.a.Inject(func() simnet.Fault {
				f := simnet.TooManyAfter(tt.wait, tt.date)
				f.On = simnet.Manifests
				return f
			}())
			p.net.Ledger().Reset()
			p.wantCode(p.manifest(), "a", pullchain.CodeQuota)
			p.wantUntil(p.wantGate("a", "manifest", "cooldown", pullchain.CodeQuota), tt.least, tt.most)
			p.wantOpen("a", "blob")
			rounds := p.probes("a")
			p.eventually("the prober has had two rounds", func() bool { return p.probes("a") >= rounds+2 })
			for range 5 {
				p.manifest()
			}
			p.wantAsked("a", "", simnet.Manifests, 1)
			if got := p.blob(0); got.servedBy() != "a" {
				t.Errorf("the blob was served by %q", got.servedBy())
			}
			if b := p.breaker("a", "manifest"); b.Failures != 0 || b.Excluded != 1 {
				t.Errorf("a limit is no failure: %+v", b)
			}
			if got := p.lane("a"); got.State != "cooling" && got.State != "degraded" {
				t.Errorf("shown as %s", got.State)
			}
		})
	}
}

// F06 At the time that was named the lane is asked again.
func TestF06_BackAtTheTime(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	limit := simnet.TooManyAfter(time.Second, false)
	limit.On, limit.Times = simnet.Manifests, 1
	p.a.Inject(limit)
	began := time.Now()
	p.wantCode(p.manifest(), "a", pullchain.CodeQuota)
	p.eventually("a serves again", func() bool { return p.manifest().servedBy() == "a" })
	if took := time.Since(began); took < time.Second {
		t.Errorf("asked again after %v, want a second", took)
	}
}

// F06 With every path limited the client gets 429 and the earliest time, and
// asking again costs no upstream a request.
func TestF06_AllLimited(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	p.a.Inject(simnet.TooManyAfter(50*time.Minute, false))
	p.b.Inject(simnet.TooManyAfter(20*time.Minute, true))
	for range 3 {
		got := p.get(p.image.Path())
		p.wantError(got, 429, "TOOMANYREQUESTS")
		if wait, err := strconv.Atoi(got.Header.Get("Retry-After")); err != nil || wait < 19*60 || wait > 20*60 {
			t.Errorf("Retry-After %q, want the earliest, 20 minutes", got.Header.Get("Retry-After"))
		}
	}
	p.wantAsked("a", "", simnet.Manifests, 1)
	p.wantAsked("b", "", simnet.Manifests, 1)
}

// F07 A 429 that says nothing closes the class for half a minute, overridably:
// with nothing else left the lane is tried all the same.
func TestF07_LimitedWithoutHeader(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	limit := simnet.TooMany()
	limit.On = simnet.Manifests
	lift := p.a.Inject(limit)
	if got := p.manifest(); got.servedBy() != "b" {
		t.Errorf("served by %q", got.servedBy())
	}
	p.wantUntil(p.gate("a", "manifest"), 20*time.Second, 36*time.Second)
	p.wantOpen("a", "blob")
	for range 3 {
		p.manifest()
	}
	p.wantAsked("a", "", simnet.Manifests, 1)
	if cool := p.lane("a").Cooldowns; len(cool) != 1 || cool[0].Asked {
		t.Errorf("cooldowns %+v, want one, that was guessed", cool)
	}

	lift()
	p.b.Break(simnet.ConnRefused)
	p.eventually("a wrong default is no outage", func() bool {
		return p.get(p.image.Path()).Status == 200
	})
	p.wantOpen("a", "manifest")
}

// F07 GHCR's millisecond is waited for, on the same upstream.
func TestF07_ShortWait(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	limit := simnet.GHCR429()
	limit.On, limit.Times = simnet.Manifests, 1
	p.a.Inject(limit)
	if got := p.manifest(); got.servedBy() != "a" {
		t.Errorf("served by %q", got.servedBy())
	}
	p.wantAsked("a", "GET", simnet.Manifests, 2)
	p.wantAsked("b", "GET", simnet.Manifests, 0)
	p.wantOpen("a", "manifest")
}

// hubPair is a registry with a quota in front of a mirror.
type hubPair struct {
	*pair
	hub *simnet.Hub
}

func newHubPair(t *testing.T, quota simnet.Quota, change func(*rigConfig)) *hubPair {
	t.Helper()
	h := &hubPair{}
	h.pair = newPair(t, func(c *rigConfig) {
		h.hub = c.Net.AddHub(simnet.HubConfig{Origin: simnet.Origin{Name: "hub"}, Images: []simnet.Image{alpine}, Quota: quota})
		c.Chain[0] = lane{Name: "hub", URL: h.hub.URL(), Origin: true}
		if change != nil {
			change(c)
		}
	})
	h.probed("hub", "b")
	return h
}

// F08 Docker Hub's quota is of manifests: its blobs keep flowing, and it is no
// failure of its breaker.
func TestF08_QuotaOfManifests(t *testing.T) {
	t.Parallel()
	p := newHubPair(t, simnet.Quota{Limit: 100}, nil)
	p.hub.SetRemaining("127.0.0.1", 0)
	p.wantCode(p.manifest(), "hub", pullchain.CodeQuota)
	p.wantGate("hub", "manifest", "cooldown", pullchain.CodeQuota)
	p.wantOpen("hub", "blob")
	for range 3 {
		p.manifest()
		if got := p.blob(1); got.servedBy() != "hub" {
			t.Errorf("the blob was served by %q", got.servedBy())
		}
	}
	p.wantAsked("hub", "GET", simnet.Manifests, 1)
	p.wantAsked("b", "GET", simnet.Blobs, 0)
	if b := p.breaker("hub", "manifest"); b.Failures != 0 {
		t.Errorf("a spent quota is no failure: %+v", b)
	}
	if got := p.lane("hub"); got.Quota == nil || got.Quota.Remaining != 0 || got.Quota.Limit != 100 {
		t.Errorf("quota shown: %+v", got.Quota)
	}
}

// F08 A tenth of the quota is spared: GETs of manifests go elsewhere before the
// first 429, HEADs and blobs, which are not counted, stay.
func TestF08_ProactiveSwitch(t *testing.T) {
	t.Parallel()
	p := newHubPair(t, simnet.Quota{Limit: 100}, nil)
	p.hub.SetRemaining("127.0.0.1", 12)
	for i, want := range []string{"hub", "hub", "b", "b", "b"} {
		if got := p.manifest(); got.servedBy() != want {
			t.Errorf("manifest %d was served by %q, want %q", i, got.servedBy(), want)
		}
	}
	if left := p.hub.Remaining("127.0.0.1"); left != 10 {
		t.Errorf("%d pulls are left, want 10", left)
	}
	if got := p.do("HEAD", p.image.Path()); got.Status != 200 || got.servedBy() != "hub" {
		t.Errorf("HEAD: %d from %q", got.Status, got.servedBy())
	}
	if got := p.blob(0); got.servedBy() != "hub" {
		t.Errorf("the blob was served by %q", got.servedBy())
	}
	p.wantOpen("hub", "manifest")
	p.b.Break(simnet.ConnRefused)
	if got := p.manifest(); got.servedBy() != "hub" {
		t.Errorf("the last tenth is there to be used: served by %q", got.servedBy())
	}
}

// F08 Quota headers without numbers are no quota, and not a spent one.
func TestF08_MalformedQuota(t *testing.T) {
	t.Parallel()
	p := newHubPair(t, simnet.Quota{Limit: 100, Malformed: true}, nil)
	for range 3 {
		if got := p.manifest(); got.servedBy() != "hub" {
			t.Errorf("served by %q", got.servedBy())
		}
	}
	if q := p.lane("hub").Quota; q != nil {
		t.Errorf("quota shown: %+v", q)
	}
}

// F09 A ban for abuse is one of the whole upstream, for a minute at the least, once a second
// repository has been told of it: no request goes there any more, not for users, not for
// the prober, not as a last resort.
func TestF09_Abuse(t *testing.T) {
	t.Parallel()
	busybox := simnet.Image{Repo: "library/busybox", Tags: []string{"1"}, Layers: alpine.Layers}
	for name, fault := range map[string]simnet.Fault{
		"HAP429": simnet.HAP429(), "Cloudflare 1015": simnet.Cloudflare1015(),
	} {
		for _, class := range []string{"manifest", "blob"} {
			t.Run(name+" "+class, func(t *testing.T) {
				t.Parallel()
				p := newPair(t, func(c *rigConfig) { c.Chain[0].Probe = eager })
				p.a.Push(busybox)
				p.b.Push(busybox)
				images := []*simnet.Content{p.image, p.net.Build(busybox)}
				ask := func(class string, i int) reply {
					if class == "manifest" {
						return p.get(images[i].Path())
					}
					layer, _ := images[i].Layer(0)
					return p.get(images[i].BlobPath(layer.Digest))
				}
				p.probed("a", "b")
				p.a.Inject(fault)
				p.net.Ledger().Reset()
				p.wantCode(ask(class, 0), "a", pullchain.CodeAbuse)
				p.wantUntil(p.wantGate("a", class, "cooldown", pullchain.CodeAbuse), time.Minute, time.Minute)
				other := map[string]string{"manifest": "blob", "blob": "manifest"}[class]
				p.wantCode(ask(other, 1), "a", pullchain.CodeAbuse) // told for itself: a 429 for blobs may be for blobs alone
				p.wantUntil(p.wantGate("a", other, "cooldown", pullchain.CodeAbuse), time.Minute, time.Minute)
				heard := p.probes("a")
				p.eventually("the prober has heard it too", func() bool { return p.probes("a") >= heard+2 })
				asked := p.asked("a", "", 0)
				p.b.Inject(fault)
				ask("manifest", 0)
				ask("manifest", 1)
				// No time was named: the last path is tried until a second image was told the same.
				if got := p.asked("a", "", 0) - asked; got > 1 {
					t.Errorf("%d forced tries, want one at most", got)
				}
				asked = p.asked("a", "", 0)
				for range 3 {
					p.wantError(ask("manifest", 0), 429, "TOOMANYREQUESTS")
				}
				rounds := p.probes("a")
				p.eventually("the prober has had two rounds", func() bool { return p.probes("a") >= rounds+2 })
				if got := p.asked("a", "", 0); got != asked {
					t.Errorf("%d more requests were sent to the one that had banned us", got-asked)
				}
			})
		}
	}
}

// F67 What a guard says to one name in plain text is that name's: another image is asked for
// there all the same, where there is no other upstream, and is served.
func TestF67_AbuseOfOneName(t *testing.T) {
	t.Parallel()
	busybox := simnet.Image{Repo: "library/busybox", Tags: []string{"1"}, Layers: alpine.Layers}
	for name, guard := range map[string]simnet.Fault{"plain text": simnet.HAP429(), "a page": simnet.Cloudflare1015()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNet(t)
			m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "a"}, Images: []simnet.Image{alpine, busybox}})
			r := newRig(t, rigConfig{Net: n, Chain: []lane{{Name: "a", URL: m.URL()}}})
			r.probed("a")
			refused, served := n.Build(alpine), n.Build(busybox)
			guard.Match = "library/alpine"
			m.Inject(guard)
			r.wantError(r.get(refused.Path()), 429, "TOOMANYREQUESTS")
			r.wantAsked("a", "GET", simnet.Manifests, 1)
			r.wantBytes(served.Path(), served.Manifest())
			layer, content := served.Layer(1)
			r.wantBytes(served.BlobPath(layer.Digest), content)
		})
	}
}

// F10 A Worker whose requests of the day are spent is left alone until midnight
// UTC, whatever the status it says so with.
func TestF10_WorkerQuota(t *testing.T) {
	t.Parallel()
	for _, status := range []int{429, 503, 530} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, nil)
			p.probed("a", "b")
			p.a.Inject(simnet.Cloudflare(status, "1027"))
			p.wantCode(p.manifest(), "a", pullchain.CodeWorkerQuota)
			midnight := time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
			for _, class := range []string{"manifest", "blob"} {
				g := p.wantGate("a", class, "cooldown", pullchain.CodeWorkerQuota)
				if g.Until == nil || g.Until.Sub(midnight).Abs() > time.Minute {
					t.Errorf("%s: closed until %v, want %v", class, g.Until, midnight)
				}
			}
			p.manifest()
			p.blob(0)
			p.wantAsked("a", "", simnet.Manifests|simnet.Blobs, 1)
			if b := p.breaker("a", "manifest"); b.Failures != 0 {
				t.Errorf("a spent quota is no failure: %+v", b)
			}
			p.b.Break(simnet.ConnRefused)
			p.wantError(p.get(p.image.Path()), 503, "UNAVAILABLE")
			p.wantAsked("a", "", simnet.Manifests|simnet.Blobs, 1)
		})
	}
}
