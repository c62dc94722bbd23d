package diagnose_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/healthcheck"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/diagnose"
	"github.com/pullchain/pullchain/internal/messages"
	"github.com/pullchain/pullchain/internal/openfiles"
	"github.com/pullchain/pullchain/internal/traffic"
)

// now is when everything in these tests happens.
var now = time.Date(2026, 11, 21, 10, 42, 7, 0, time.UTC)

func ago(d time.Duration) *time.Time {
	t := now.Add(-d)
	return &t
}

// well is a lane on which all is well, and which has served a minute ago.
func well(name string) balancer.LaneSnapshot {
	return balancer.LaneSnapshot{Upstream: name, State: balancer.StateServing, Since: ago(time.Hour), Via: "direct", Trust: "resolve", Host: name + ".example.com", LastOK: ago(time.Minute)}
}

// ill is a lane that has been down for two minutes.
func ill(name string, code pullchain.Code) balancer.LaneSnapshot {
	l := well(name)
	l.State, l.Code, l.Since, l.LastOK = balancer.StateDown, code, ago(2*time.Minute), ago(3*time.Minute)
	return l
}

func via(l balancer.LaneSnapshot, name string) balancer.LaneSnapshot {
	l.Via = name
	return l
}

func with(l balancer.LaneSnapshot, change func(*balancer.LaneSnapshot)) balancer.LaneSnapshot {
	change(&l)
	return l
}

func registry(name string, lanes ...balancer.LaneSnapshot) diagnose.Registry {
	return diagnose.Registry{Snapshot: balancer.Snapshot{Registry: name, Lanes: lanes}}
}

// told is what is said of a warning, for comparison.
func told(w diagnose.Warning) string {
	en := messages.In(messages.English)
	return w.Severity + " " + w.ID + " " + w.Title(en, now) + ": " + strings.Join(w.Affects, " ")
}

// want fails the test unless exactly these warnings come of in, in this order.
func want(t *testing.T, in diagnose.Input, lines ...string) []diagnose.Warning {
	t.Helper()
	in.Now = now
	got := diagnose.Diagnose(in)
	var have []string
	for _, w := range got {
		have = append(have, told(w))
		for _, lang := range []string{messages.English, messages.Chinese} {
			m := messages.In(lang)
			for _, text := range []string{w.Title(m, now), w.Advice(m, now)} {
				if strings.Contains(text, "{") || strings.HasPrefix(text, "warning.") {
					t.Errorf("%s in %s: a place is not filled: %s", w.Code, lang, text)
				}
			}
		}
		if w.Since.After(now) || w.Since.IsZero() {
			t.Errorf("%s: since %v", w.ID, w.Since)
		}
	}
	if a, b := strings.Join(have, "\n"), strings.Join(lines, "\n"); a != b {
		t.Errorf("got\n%s\nwant\n%s", a, b)
	}
	return got
}

func TestNothingIsWrong(t *testing.T) {
	t.Parallel()
	want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", well("hub"), well("worker"))}, Egresses: []diagnose.Egress{{Name: "home", EgressSnapshot: balancer.EgressSnapshot{State: balancer.EgressUp}}}})
	want(t, diagnose.Input{})
}

// A dead proxy is one warning for all that is behind it, whatever each lane has seen.
func TestEgressDown(t *testing.T) {
	t.Parallel()
	home := diagnose.Egress{Name: "home", URL: "socks5://127.0.0.1:7890", EgressSnapshot: balancer.EgressSnapshot{State: balancer.EgressDown, Since: ago(5 * time.Minute), Code: pullchain.CodeEgressProxy}}
	in := diagnose.Input{Egresses: []diagnose.Egress{home}, Registries: []diagnose.Registry{
		registry("docker.io", via(ill("hub", pullchain.CodeEgressProxy), "home"), well("worker")),
		registry("ghcr.io", via(ill("ghcr", pullchain.CodeConnTimeout), "home")),
		registry("quay.io", via(well("quay"), "home")), // it has not found out yet
	}}
	got := want(t, in, "critical egress_down:home home (socks5) is down: docker.io/hub ghcr.io/ghcr quay.io/quay")
	if !got[0].Since.Equal(*home.Since) {
		t.Errorf("since %v, want since the proxy first failed", got[0].Since)
	}
	if fix := got[0].Fix; !strings.Contains(fix, "socks5h://127.0.0.1:7890") {
		t.Errorf("the command is %s", fix)
	}
	in.Egresses[0].Code = pullchain.CodeEgressAuth
	want(t, in, "critical egress_login:home home (socks5) refuses our login: docker.io/hub ghcr.io/ghcr quay.io/quay")
	in.Egresses[0].Code = pullchain.CodeEgressProxy
	in.Registries = in.Registries[:1] // of which another path serves
	want(t, in, "warning egress_down:home home (socks5) is down: docker.io/hub")
}

func TestDNSDown(t *testing.T) {
	t.Parallel()
	hub, ghcr := ill("hub", pullchain.CodeDNS), ill("ghcr", pullchain.CodeDNS)
	lan := with(well("lan"), func(l *balancer.LaneSnapshot) { l.Host = "10.0.0.5:5000" }) // has no name to resolve
	tunnel := via(well("tunnel"), "home")                                                 // resolves elsewhere
	home := []diagnose.Egress{{Name: "home", EgressSnapshot: balancer.EgressSnapshot{State: balancer.EgressUp}}}
	got := want(t, diagnose.Input{Egresses: home, Registries: []diagnose.Registry{registry("docker.io", hub, lan, tunnel), registry("ghcr.io", ghcr)}},
		"critical dns_down The name service answers nothing: hub.example.com and all other names have no address: docker.io/hub ghcr.io/ghcr")
	if !got[0].Since.Equal(*hub.Since) {
		t.Errorf("since %v, want since the lanes are down", got[0].Since)
	}
	// One name that is gone, or one that still resolves: the name service works.
	want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", hub)}})
	want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", hub), registry("ghcr.io", ghcr, well("other"))}})
}

func TestNoNetwork(t *testing.T) {
	t.Parallel()
	a, b, c := ill("a", pullchain.CodeConnTimeout), ill("b", pullchain.CodeConnRefused), ill("c", pullchain.CodeDNS)
	three := []diagnose.Registry{registry("docker.io", a, b), registry("ghcr.io", c)}
	want(t, diagnose.Input{Registries: three}, "critical no_network This machine has no way to the network: nothing can be connected to: docker.io/a docker.io/b ghcr.io/c")
	// Two hosts may be down by accident, and one that answers shows that there is a way.
	want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", a, b)}})
	want(t, diagnose.Input{Registries: append(three, registry("quay.io", well("quay")))})
	// What was never asked says nothing either way.
	fresh := balancer.LaneSnapshot{Upstream: "fresh", State: balancer.StateUnknown, Via: "direct", Trust: "resolve", Host: "fresh.example.com"}
	if got := diagnose.Diagnose(diagnose.Input{Now: now, Registries: append(three, registry("quay.io", fresh))}); len(got) != 1 {
		t.Errorf("got %v, want the network alone", got)
	}
}

// A probe that fails tells since when, as far as its results are remembered.
func TestSinceTheFirstFailedProbe(t *testing.T) {
	t.Parallel()
	r := registry("docker.io", ill("a", pullchain.CodeConnTimeout), ill("b", pullchain.CodeConnTimeout), ill("c", pullchain.CodeConnTimeout))
	r.Probes = []healthcheck.TargetSnapshot{{Name: "b", Known: true, Falling: 2, History: []healthcheck.Result{
		{At: *ago(10 * time.Minute), Error: "before"}, {At: *ago(9 * time.Minute)}, {At: *ago(8 * time.Minute), Error: "x"}, {At: *ago(7 * time.Minute), Error: "x"},
	}}}
	got := diagnose.Diagnose(diagnose.Input{Now: now, Registries: []diagnose.Registry{r}})
	if len(got) != 1 || !got[0].Since.Equal(*ago(8 * time.Minute)) {
		t.Errorf("got %+v, want it since 8 min", got)
	}
}

func TestCaptivePortal(t *testing.T) {
	t.Parallel()
	a, b := ill("a", pullchain.CodeNotRegistry), ill("b", pullchain.CodeRedirectBlocked)
	want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", a), registry("ghcr.io", b)}},
		"critical captive_portal:direct Web pages come where registries should be (by way of direct): the network wants a login first: docker.io/a ghcr.io/b")
	// Mirrors that are given up answer so too; another that works shows it.
	want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", a), registry("ghcr.io", b), registry("quay.io", well("quay"))}})
	want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", a, b)}})
}

func TestClockWrong(t *testing.T) {
	t.Parallel()
	off := func(name string, skew time.Duration) balancer.LaneSnapshot {
		return with(well(name), func(l *balancer.LaneSnapshot) { l.SkewMS = skew.Milliseconds() })
	}
	one, two, liar := off("one", 7*time.Minute), off("two", 7*time.Minute+3*time.Second), off("liar", -9*time.Hour)
	got := want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", one, liar), registry("ghcr.io", two)}},
		"warning clock_wrong This machine's clock is 7 min behind that of the registries: docker.io/one ghcr.io/two")
	if got[0].Fix != "timedatectl set-ntp true" {
		t.Errorf("the command is %s", got[0].Fix)
	}
	want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", one), registry("ghcr.io", well("right"))}})
	want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", one, two), registry("ghcr.io", well("x"), well("y"))}})
}

func TestClockCertificates(t *testing.T) {
	t.Parallel()
	dated := func(name string) balancer.LaneSnapshot {
		return with(ill(name, pullchain.CodeTLSCert), func(l *balancer.LaneSnapshot) {
			l.Error = "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 1970-01-01"
		})
	}
	want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", dated("a")), registry("ghcr.io", dated("b"))}},
		"critical clock_certs Certificates of several hosts are not valid at this machine's time: its clock must be wrong: docker.io/a ghcr.io/b")
	// One certificate that has expired is its owner's.
	want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", dated("a"), well("b"))}})
}

func TestQuotas(t *testing.T) {
	t.Parallel()
	cooling := func(name string, code pullchain.Code) balancer.LaneSnapshot {
		return with(ill(name, code), func(l *balancer.LaneSnapshot) { l.State, l.Until = balancer.StateCooling, ago(-14*time.Minute) })
	}
	low := with(well("low"), func(l *balancer.LaneSnapshot) {
		l.Quota = &balancer.QuotaSnapshot{Limit: 100, Remaining: 9, WindowS: 21600, At: *ago(time.Minute)}
	})
	old := with(low, func(l *balancer.LaneSnapshot) {
		l.Upstream, l.Quota = "old", &balancer.QuotaSnapshot{Limit: 100, Remaining: 9, WindowS: 60, At: *ago(time.Hour)}
	})
	want(t, diagnose.Input{Registries: []diagnose.Registry{
		registry("docker.io", cooling("hub", pullchain.CodeQuota), cooling("banned", pullchain.CodeAbuse), low, old),
		registry("ghcr.io", cooling("ghcr", pullchain.CodeAbuse)),
	}},
		"critical abuse_limited:ghcr.io/ghcr ghcr turns this address away for too many requests (ghcr.io): ghcr.io/ghcr",
		"warning abuse_limited:docker.io/banned banned turns this address away for too many requests (docker.io): docker.io/banned",
		"info quota_low:docker.io/low low has 9 of 100 pulls left for docker.io per 6 h: docker.io/low",
		"info quota_spent:docker.io/hub hub has no pulls left for docker.io: docker.io/hub")
}

func TestConnectionsBusy(t *testing.T) {
	t.Parallel()
	busy := with(well("hub"), func(l *balancer.LaneSnapshot) { l.InFlight, l.Queued, l.Connections = 76, 12, 64 })
	want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", busy, well("worker"))}},
		"warning connections_busy:docker.io/hub 64 of 64 connections to hub for docker.io are busy, 12 requests wait: docker.io/hub")
}

func TestRequestsRefused(t *testing.T) {
	t.Parallel()
	refused := &traffic.Refusal{Why: traffic.ClientHasMany, Client: netip.MustParseAddr("192.0.2.7"), Held: 512, Taken: 600, Max: 1024, At: *ago(time.Second), Lately: 12}
	want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", well("hub"))}, Refused: refused},
		"warning requests_refused 12 requests were refused: 600 of the 1024 that are served at once were under way, 512 of them of 192.0.2.7: ")
}

func TestUpstreamsOwnTroubles(t *testing.T) {
	t.Parallel()
	lied := with(well("mirror"), func(l *balancer.LaneSnapshot) { l.WrongBytes = ago(23 * time.Hour) })
	long := with(well("reformed"), func(l *balancer.LaneSnapshot) { l.WrongBytes = ago(25 * time.Hour) })
	lies := with(ill("liar", pullchain.CodeDigestMismatch), func(l *balancer.LaneSnapshot) { l.State, l.WrongBytes = balancer.StateQuarantined, ago(time.Minute) })
	ends := with(well("harbor"), func(l *balancer.LaneSnapshot) { l.TLSExpiry, l.TLSIssuer = ago(-13*24*time.Hour), "ACME" })
	soon := with(well("worker"), func(l *balancer.LaneSnapshot) { l.TLSExpiry, l.TLSIssuer = ago(-time.Hour), "ACME" })
	inward := with(ill("inward", pullchain.CodeRedirectBlocked), func(l *balancer.LaneSnapshot) {
		l.Error = "10.0.0.1 is a private address; allow_private opens it"
	})
	want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", lied, long, lies, ends, soon, inward)}},
		"critical wrong_bytes:docker.io/liar liar has sent wrong bytes for docker.io in the last 24 h (digest_mismatch): docker.io/liar",
		"warning cert_expiring:docker.io/worker The certificate of worker.example.com (docker.io by worker) ends on 2026-11-21: docker.io/worker",
		"warning private_refused:docker.io/inward inward leads docker.io to a private address, which is refused: docker.io/inward",
		"warning wrong_bytes:docker.io/mirror mirror has sent wrong bytes for docker.io in the last 24 h (digest_mismatch): docker.io/mirror",
		"info cert_expiring:docker.io/harbor The certificate of harbor.example.com (docker.io by harbor) ends on 2026-12-04: docker.io/harbor")
}

func TestTheDaemonsOwnTroubles(t *testing.T) {
	t.Parallel()
	want(t, diagnose.Input{
		Cache:       &cache.Snapshot{Stats: blobstore.Stats{Dir: "/var/cache/my disk", Full: true, Trouble: "the disk is full"}},
		ReloadError: "line 3: unknown key", ReloadFailed: *ago(time.Minute), ConfigFile: "/etc/pullchain/pullchain.toml",
	},
		"warning cache_full The cache keeps nothing more: the disk is full: ",
		"warning reload_failed The configuration was not reloaded, the old one is in force: line 3: unknown key: ")
	got := want(t, diagnose.Input{Cache: &cache.Snapshot{Stats: blobstore.Stats{Dir: "/var/cache/it's", Trouble: "permission denied"}}},
		"warning cache_unusable The cache cannot be used: permission denied: ")
	if got[0].Fix != `ls -ld '/var/cache/it'\''s'` {
		t.Errorf("the command is %s", got[0].Fix)
	}
	short := openfiles.State{Limit: 1024, Reserved: 32, Short: true, Since: ago(time.Minute)}
	got = want(t, diagnose.Input{OpenFiles: short},
		"critical no_descriptors No file descriptors are left here: all 992 are in use. New connections and files wait, pulls under way go on: ")
	if !got[0].Since.Equal(*ago(time.Minute)) || !strings.HasPrefix(got[0].Fix, "prlimit --nofile=") {
		t.Errorf("got %+v", got[0])
	}
	short.Machine = true
	want(t, diagnose.Input{OpenFiles: short},
		"critical no_descriptors No file descriptors are left on this machine. New connections and files wait, pulls under way go on: ")
	want(t, diagnose.Input{Started: *ago(time.Hour), State: diagnose.State{Dir: "/var/lib/x", Trouble: "permission denied"}},
		"info state_unusable Nothing is kept over a restart: permission denied: ")
	got = want(t, diagnose.Input{Started: *ago(time.Hour), State: diagnose.State{Dir: "/var/lib/my x", Trouble: "in use", InUse: true}},
		"info state_in_use Nothing is kept over a restart: another pullchain had /var/lib/my x when this one began: ")
	if got[0].Fix != "fuser -v '/var/lib/my x'/*" || !got[0].Since.Equal(*ago(time.Hour)) {
		t.Errorf("got %+v", got[0])
	}
}

func TestFakeIP(t *testing.T) {
	t.Parallel()
	faked := func(l balancer.LaneSnapshot) balancer.LaneSnapshot {
		return with(l, func(l *balancer.LaneSnapshot) { l.Addresses = []string{"192.0.2.1", "198.19.0.7"} })
	}
	blocked := faked(with(well("blocked"), func(l *balancer.LaneSnapshot) {
		l.LastError = &balancer.ErrorSnapshot{At: *ago(30 * time.Second), Code: pullchain.CodeRedirectBlocked}
	}))
	// One whose addresses are made up as well, and mapped back: all is well.
	want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", faked(ill("a", pullchain.CodeConnTimeout)), faked(well("b"))), registry("ghcr.io", blocked)}},
		"critical fake_ip A TUN proxy makes up the addresses of names (198.19.0.7), and they lead nowhere: docker.io/a ghcr.io/blocked")
	want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", faked(well("b")))}})
}

func TestCDNDown(t *testing.T) {
	t.Parallel()
	at := func(name, host string, failed *time.Time) balancer.LaneSnapshot {
		return with(well(name), func(l *balancer.LaneSnapshot) {
			l.Blobs = &balancer.BlobsSnapshot{Host: host, FailedAt: failed, Code: pullchain.CodeServerError}
		})
	}
	const cdn = "cdn.example.net"
	in := diagnose.Input{Registries: []diagnose.Registry{
		registry("docker.io", at("hub", cdn, ago(time.Minute)), well("worker")), registry("quay.io", at("quay", cdn, ago(2*time.Minute))), registry("ghcr.io", at("ghcr", "other.example.net", ago(time.Minute))),
	}}
	got := want(t, in, "critical cdn_down:cdn.example.net The host that keeps the blobs of several upstreams, cdn.example.net, fails (http_5xx); manifests still come: docker.io/hub quay.io/quay")
	if !got[0].Since.Equal(*ago(2 * time.Minute)) {
		t.Errorf("since %v, want since the first failure there", got[0].Since)
	}
	want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", at("hub", cdn, nil)), registry("quay.io", at("quay", cdn, ago(time.Minute)))}})
	want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", at("hub", cdn, ago(time.Hour))), registry("quay.io", at("quay", cdn, ago(time.Minute)))}})
}

func TestUnproved(t *testing.T) {
	t.Parallel()
	never := with(ill("hub", pullchain.CodeUnauthorized), func(l *balancer.LaneSnapshot) { l.LastOK = nil })
	fresh := balancer.LaneSnapshot{Upstream: "fresh", State: balancer.StateUnknown, Via: "direct", Host: "fresh.example.com"}
	got := want(t, diagnose.Input{Started: *ago(5 * time.Minute), Registries: []diagnose.Registry{registry("docker.io", never), registry("ghcr.io", well("ghcr")), registry("quay.io", never, fresh)}},
		"critical unproved Nothing has worked since the start: docker.io: docker.io")
	if !got[0].Since.Equal(*ago(5 * time.Minute)) {
		t.Errorf("since %v, want since the start", got[0].Since)
	}
	want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", never, well("worker")), registry("ghcr.io", ill("ghcr", pullchain.CodeServerError))}})
}

func TestOverrides(t *testing.T) {
	t.Parallel()
	young := diagnose.Override{Kind: "drain", Registry: "docker.io", Upstream: "hub", Actor: "root", At: *ago(20 * time.Minute), ExpiresAt: *ago(-40 * time.Minute)}
	old := diagnose.Override{Kind: "pin", Registry: "quay.io", Upstream: "mirror", Actor: "root", At: *ago(40 * time.Minute), ExpiresAt: *ago(-20 * time.Minute)}
	endless := diagnose.Override{Kind: "disable", Registry: "ghcr.io", Upstream: "ghcr", Actor: "ann", At: *ago(25 * time.Hour)}
	moved := diagnose.Override{Kind: "reorder", Registry: "gcr.io", Actor: "root", At: *ago(40 * time.Minute), ExpiresAt: *ago(-20 * time.Minute)}
	if got := diagnose.Diagnose(diagnose.Input{Now: now, Overrides: []diagnose.Override{moved}}); len(got) != 1 || got[0].Fix != "pullchain upstream order gcr.io" {
		t.Errorf("got %+v", got)
	}
	got := want(t, diagnose.Input{Overrides: []diagnose.Override{young, old, endless}},
		"info override_forgotten:disable:ghcr.io/ghcr disable of ghcr.io ghcr by ann has been in force for more than a day: ghcr.io/ghcr",
		"info override_left:pin:quay.io/mirror pin of quay.io mirror by root ends in 20 min: quay.io/mirror")
	if got[0].Fix != "pullchain upstream enable ghcr.io/ghcr" || got[1].Fix != "pullchain upstream unpin quay.io" {
		t.Errorf("the commands are %q and %q", got[0].Fix, got[1].Fix)
	}
}

// What an operator has taken out is not missed.
func TestLanesThatAreTakenOut(t *testing.T) {
	t.Parallel()
	for _, state := range []string{balancer.StateDrained, balancer.StateDisabled} {
		l := with(ill("a", pullchain.CodeAdmin), func(l *balancer.LaneSnapshot) { l.State = state })
		want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", l)}})
	}
}

func TestTracker(t *testing.T) {
	t.Parallel()
	var tracker diagnose.Tracker
	keep := func(at time.Duration, ids ...string) []diagnose.Warning {
		var out []diagnose.Warning
		for _, id := range ids {
			out = append(out, diagnose.Warning{ID: id, Since: now.Add(at)})
		}
		tracker.Keep(out)
		return out
	}
	keep(0, "a")
	if got := keep(time.Minute, "a", "b"); !got[0].Since.Equal(now) || !got[1].Since.Equal(now.Add(time.Minute)) {
		t.Errorf("got %v, want a since the beginning and b since its own", got)
	}
	keep(2*time.Minute, "b")
	if got := keep(3*time.Minute, "a"); !got[0].Since.Equal(now.Add(3 * time.Minute)) {
		t.Errorf("got %v, want a anew: it was gone", got)
	}
	if got := keep(-time.Minute, "a"); !got[0].Since.Equal(now.Add(-time.Minute)) {
		t.Errorf("got %v, want the earlier time that has become known", got)
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	a, b := diagnose.Warning{ID: "a", Severity: diagnose.Info}, diagnose.Warning{ID: "b"}
	worse := a
	worse.Severity = diagnose.Critical
	older := a
	older.Since = now
	if diagnose.Key([]diagnose.Warning{a}) != diagnose.Key([]diagnose.Warning{older}) {
		t.Error("the same warning has another key")
	}
	for _, other := range [][]diagnose.Warning{nil, {worse}, {a, b}} {
		if diagnose.Key([]diagnose.Warning{a}) == diagnose.Key(other) {
			t.Errorf("%v has the key of a alone", other)
		}
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	en, zh := messages.In(messages.English), messages.In(messages.Chinese)
	for _, tt := range []struct {
		names  []string
		en, zh string
	}{
		{nil, "", ""},
		{[]string{"docker.io"}, "docker.io", "docker.io"},
		{[]string{"docker.io", "ghcr.io", "quay.io"}, "docker.io, ghcr.io, quay.io", "docker.io，ghcr.io，quay.io"},
		{[]string{"docker.io", "ghcr.io", "quay.io", "gcr.io", "nvcr.io"}, "docker.io, ghcr.io and 3 more", "docker.io，ghcr.io 及另外 3 个"},
	} {
		if got := diagnose.List(en, tt.names); got != tt.en {
			t.Errorf("got %q, want %q", got, tt.en)
		}
		if got := diagnose.List(zh, tt.names); got != tt.zh {
			t.Errorf("got %q, want %q", got, tt.zh)
		}
	}
}

// silent is a lane that is waited for, and of which nothing was heard for d.
func silent(l balancer.LaneSnapshot, d time.Duration) balancer.LaneSnapshot {
	return with(l, func(l *balancer.LaneSnapshot) { l.SilentSince = ago(d) })
}

// A network or a proxy that drops packets gives no error for seconds; that nothing answers
// is told before, as what it is.
func TestSilence(t *testing.T) {
	t.Parallel()
	const long = 2 * time.Second
	heard := func(l balancer.LaneSnapshot, d time.Duration) balancer.LaneSnapshot {
		return with(l, func(l *balancer.LaneSnapshot) { l.Heard = ago(d) })
	}
	just := func(l balancer.LaneSnapshot) balancer.LaneSnapshot {
		return with(l, func(l *balancer.LaneSnapshot) { l.Since = ago(time.Second) })
	}
	a, b, c := silent(well("a"), long), silent(well("b"), long), silent(well("c"), 3*time.Second)
	const none = "warning no_network No upstream that was asked has answered for 3 s; this machine may have no way to the network: "
	for _, tt := range []struct {
		name  string
		lanes []balancer.LaneSnapshot
		want  string
	}{
		{"three hosts", []balancer.LaneSnapshot{a, b, c}, none + "docker.io/a docker.io/b docker.io/c"},
		{"one has failed by now", []balancer.LaneSnapshot{a, just(ill("b", pullchain.CodeConnTimeout)), c}, none + "docker.io/a docker.io/c docker.io/b"},
		{"one was not asked", []balancer.LaneSnapshot{a, b, c, heard(well("d"), time.Minute)}, none + "docker.io/a docker.io/b docker.io/c"},
		{"one has answered", []balancer.LaneSnapshot{a, b, c, heard(well("d"), time.Second)}, ""},
		{"one has failed for longer", []balancer.LaneSnapshot{a, ill("b", pullchain.CodeConnTimeout), c}, ""},
		{"two hosts", []balancer.LaneSnapshot{a, c}, ""},
		{"a moment", []balancer.LaneSnapshot{a, b, silent(well("c"), time.Second)}, ""},
		{"one is drained", []balancer.LaneSnapshot{a, c, with(b, func(l *balancer.LaneSnapshot) { l.State = balancer.StateDrained })}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var lines []string
			if tt.want != "" {
				lines = append(lines, tt.want)
			}
			for _, w := range want(t, diagnose.Input{Registries: []diagnose.Registry{registry("docker.io", tt.lanes...)}}, lines...) {
				if w.Root() || !w.Unproved || !w.Since.Equal(*ago(3 * time.Second)) {
					t.Errorf("it is called the cause although nothing has failed: %+v", w)
				}
			}
		})
	}

	home := diagnose.Egress{Name: "home", URL: "socks5://127.0.0.1:7890", EgressSnapshot: balancer.EgressSnapshot{State: balancer.EgressUp}}
	behind := registry("docker.io", via(a, "home"), via(b, "home"), heard(well("direct"), 0))
	want(t, diagnose.Input{Egresses: []diagnose.Egress{home}, Registries: []diagnose.Registry{behind}},
		"warning egress_down:home Nothing has come through home (socks5) for 2 s; it may be down: docker.io/a docker.io/b")
	want(t, diagnose.Input{Egresses: []diagnose.Egress{home}, Registries: []diagnose.Registry{registry("docker.io", via(a, "home"), via(well("b"), "home"))}})
}
