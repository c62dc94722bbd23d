package admin_test

import (
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/messages"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	worksAsBuilt := lane(1, "cf-worker", balancer.StateDegraded, "", 0)
	worksAsBuilt.IgnoresRange = true
	flapping := worksAsBuilt
	flapping.Flapping = true
	serving := lane(1, "hub", balancer.StateServing, "", 0)
	cooling := lane(1, "docker-hub", balancer.StateCooling, pullchain.CodeQuota, 14*time.Minute)
	worker := lane(2, "cf-worker", balancer.StateServing, "", 0)
	fine := chain("ghcr.io", true, serving)
	tests := []struct {
		name   string
		chains []balancer.Snapshot
		level  string
		text   string
	}{
		{"all is well", []balancer.Snapshot{fine, chain("quay.io", true, serving)}, "ok", "2 of 2 registries pullable."},
		{"the first path is out of quota", []balancer.Snapshot{fine, chain("docker.io", true, cooling, worker)}, "degraded",
			"2 of 2 registries pullable. docker.io on cf-worker: docker-hub is 429 (pull quota spent), back in 14 min."},
		{"two paths before the serving one are out", []balancer.Snapshot{chain("docker.io", true, cooling,
			lane(2, "cf-worker", balancer.StateOpen, pullchain.CodeConnRefused, 20*time.Second), lane(3, "mirror", balancer.StateServing, "", 0))}, "degraded",
			"1 of 1 registry pullable. docker.io on mirror: docker-hub is 429 (pull quota spent), back in 14 min, cf-worker refuses connections, next try in 20 s."},
		{"the first path stands behind by choice", []balancer.Snapshot{chain("docker.io", true, lane(1, "metered", balancer.StateStandby, "", 0), worker)}, "ok",
			"1 of 1 registry pullable."},
		{"the serving one ails", []balancer.Snapshot{chain("docker.io", true, lane(1, "docker-hub", balancer.StateDegraded, pullchain.CodeStall, 0))}, "degraded",
			"1 of 1 registry pullable. docker.io: docker-hub stalls."},
		{"ailing without a code", []balancer.Snapshot{chain("docker.io", true, lane(1, "docker-hub", balancer.StateDegraded, "", 0))}, "degraded",
			"1 of 1 registry pullable. docker.io: docker-hub is degraded."},
		{"a relay that was built without ranges", []balancer.Snapshot{chain("docker.io", true, worksAsBuilt)}, "ok", "1 of 1 registry pullable."},
		{"a relay that comes and goes", []balancer.Snapshot{chain("docker.io", true, flapping)}, "degraded", "1 of 1 registry pullable. docker.io: cf-worker comes and goes (flapping)."},
		{"the only spare is gone", []balancer.Snapshot{chain("docker.io", true, serving, lane(2, "mirror", balancer.StateDown, pullchain.CodeDNS, 0))}, "degraded",
			"1 of 1 registry pullable. docker.io has only hub left: mirror has no address (dns)."},
		{"one spare of two is gone", []balancer.Snapshot{chain("docker.io", true, serving, lane(2, "mirror", balancer.StateDown, pullchain.CodeDNS, 0), lane(3, "other", balancer.StateStandby, "", 0))}, "ok",
			"1 of 1 registry pullable."},
		{"one spare of two has lied", []balancer.Snapshot{chain("docker.io", true, serving, lane(2, "mirror", balancer.StateQuarantined, pullchain.CodeDigestMismatch, 5*time.Minute), lane(3, "other", balancer.StateStandby, "", 0))}, "degraded",
			"1 of 1 registry pullable. docker.io: mirror sent wrong bytes (digest_mismatch), next try in 5 min."},
		{"no path in one registry", []balancer.Snapshot{fine, chain("docker.io", false, cooling)}, "degraded",
			"1 of 2 registries pullable. docker.io has no path: docker-hub is 429 (pull quota spent), back in 14 min."},
		{"no path because nobody resolves tags", []balancer.Snapshot{fine, chain("docker.io", false, lane(1, "mirror", balancer.StateStandby, "", 0))}, "degraded",
			"1 of 2 registries pullable. docker.io has no path."},
		{"no path at all", []balancer.Snapshot{chain("docker.io", false, cooling)}, "outage",
			"0 of 1 registry pullable. docker.io has no path: docker-hub is 429 (pull quota spent), back in 14 min."},
		{"an operator took it out", []balancer.Snapshot{chain("docker.io", true, lane(1, "docker-hub", balancer.StateDrained, "", 0), worker)}, "degraded",
			"1 of 1 registry pullable. docker.io on cf-worker: docker-hub is drained."},
		{"an unknown code", []balancer.Snapshot{chain("docker.io", true, lane(1, "docker-hub", balancer.StateDown, "new_word", 0), worker)}, "degraded",
			"1 of 1 registry pullable. docker.io on cf-worker: docker-hub has new_word."},
		{"a time that has passed is not told", []balancer.Snapshot{chain("docker.io", true, lane(1, "docker-hub", balancer.StateOpen, "", -time.Second), worker)}, "degraded",
			"1 of 1 registry pullable. docker.io on cf-worker: docker-hub failed too often."},
		{"just started", []balancer.Snapshot{unproved("docker.io", lane(1, "docker-hub", balancer.StateUnknown, "", 0), lane(2, "cf-worker", balancer.StateUnknown, "", 0))}, "degraded",
			"Starting: 0 of 1 registry proved."},
		{"one path of a registry is not heard of yet", []balancer.Snapshot{fine, unproved("docker.io", falling(1, "docker-hub", pullchain.CodeDNS), lane(2, "cf-worker", balancer.StateUnknown, "", 0))}, "degraded",
			"Starting: 1 of 2 registries proved."},
		{"a start without a network", []balancer.Snapshot{unproved("docker.io", falling(1, "docker-hub", pullchain.CodeDNS), falling(2, "cf-worker", pullchain.CodeConnTimeout))}, "outage",
			"0 of 1 registry pullable. docker.io has not been reached since the start: docker-hub has no address (dns), cf-worker does not answer (conn_timeout)."},
		{"that one works that may not name tags is no help", []balancer.Snapshot{unproved("docker.io", falling(1, "docker-hub", pullchain.CodeDNS), pullOnly(2, "mirror"))}, "outage",
			"0 of 1 registry pullable. docker.io has not been reached since the start: docker-hub has no address (dns)."},
		{"a path that had to be left alone since the start", []balancer.Snapshot{fine, unproved("docker.io", cooling, falling(2, "cf-worker", pullchain.CodeDNS))}, "degraded",
			"1 of 2 registries pullable. docker.io has not been reached since the start: docker-hub is 429 (pull quota spent), back in 14 min, cf-worker has no address (dns)."},
		{"many remarks", []balancer.Snapshot{chain("a.io", false), chain("b.io", false), chain("c.io", false), chain("d.io", false), fine}, "degraded",
			"1 of 5 registries pullable. a.io has no path. b.io has no path. c.io has no path. And 1 more."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := admin.Summarize(tt.chains, nil, now); got.Level != tt.level || got.Text != tt.text {
				t.Errorf("got  %s: %s\nwant %s: %s", got.Level, got.Text, tt.level, tt.text)
			}
		})
	}
}

// A cache in trouble is worth a look and breaks no pull.
func TestJudgeTheCache(t *testing.T) {
	t.Parallel()
	fine := []balancer.Snapshot{chain("ghcr.io", true, lane(1, "hub", balancer.StateServing, "", 0))}
	full := &cache.Snapshot{Stats: blobstore.Stats{Limit: 10 << 30, Trouble: "the disk is full"}}
	none := &cache.Snapshot{Stats: blobstore.Stats{Trouble: "another pullchain uses it"}}
	for _, tt := range []struct {
		name   string
		chains []balancer.Snapshot
		kept   *cache.Snapshot
		level  string
		text   string
	}{
		{"all is well", fine, &cache.Snapshot{}, "ok", "1 of 1 registry pullable."},
		{"full", fine, full, "degraded", "1 of 1 registry pullable. The cache keeps nothing new: the disk is full."},
		{"not to be had", fine, none, "degraded", "1 of 1 registry pullable. There is no cache: another pullchain uses it."},
		{"full, and no path", []balancer.Snapshot{chain("docker.io", false)}, full, "outage",
			"0 of 1 registry pullable. docker.io has no path. The cache keeps nothing new: the disk is full."},
		{"full, beside many remarks", []balancer.Snapshot{chain("a.io", false), chain("b.io", false), chain("c.io", false), chain("d.io", false), fine[0]}, full, "degraded",
			"1 of 5 registries pullable. a.io has no path. b.io has no path. c.io has no path. And 1 more. The cache keeps nothing new: the disk is full."},
	} {
		if got := admin.Summarize(tt.chains, tt.kept, now); got.Level != tt.level || got.Text != tt.text {
			t.Errorf("%s:\ngot  %s: %s\nwant %s: %s", tt.name, got.Level, got.Text, tt.level, tt.text)
		}
	}
}

func TestAmounts(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 9<<30 + 400<<20: "9.4 GiB", 5 << 40: "5 TiB", 3 << 50: "3072 TiB"} {
		if got := admin.Amount(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
	for of, want := range map[[2]int64]string{
		{18<<30 + 200<<20, 50 << 30}: "18.2/50 GiB", {0, 10 << 30}: "0/10 GiB", {312 << 10, 10 << 30}: "312 KiB/10 GiB", {2 << 30, 2 << 30}: "2/2 GiB",
	} {
		if got := admin.Fraction(of[0], of[1]); got != want {
			t.Errorf("%v: got %q, want %q", of, got, want)
		}
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	en := messages.In(messages.English)
	for d, want := range map[time.Duration]string{
		0: "1 s", 11500 * time.Millisecond: "12 s", 90 * time.Second: "90 s", 91 * time.Second: "2 min",
		14 * time.Minute: "14 min", 6 * time.Hour: "6 h", 2*time.Hour + 9*time.Minute + time.Second: "2 h 10 min",
	} {
		if got := admin.Wait(en, d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}

// Every code and state must have its words, or people read "has quota_low".
func TestEveryCodeAndStateHasWords(t *testing.T) {
	t.Parallel()
	codes := []pullchain.Code{
		pullchain.CodeDNS, pullchain.CodeConnRefused, pullchain.CodeConnTimeout, pullchain.CodeConnReset, pullchain.CodeHeaderTimeout,
		pullchain.CodeHeaderTooLarge, pullchain.CodeHTTP2, pullchain.CodeEgressProxy, pullchain.CodeEgressAuth, pullchain.CodeTLSHandshake,
		pullchain.CodeTLSCert, pullchain.CodeQuota, pullchain.CodeAbuse, pullchain.CodeThrottle, pullchain.CodeWorkerQuota, pullchain.CodeNotFound,
		pullchain.CodeUnauthorized, pullchain.CodeForbidden, pullchain.CodeServerError, pullchain.CodeOriginDown, pullchain.CodeUnexpected,
		pullchain.CodeAuthRealm, pullchain.CodeToken, pullchain.CodeNotRegistry, pullchain.CodeWrongType, pullchain.CodeWrongSize,
		pullchain.CodeWrongRange, pullchain.CodeEncoded, pullchain.CodeTooLarge, pullchain.CodeDigestMismatch, pullchain.CodeTruncated,
		pullchain.CodeStall, pullchain.CodeRedirectBlocked, pullchain.CodeRedirectLoop, pullchain.CodeSignedURL, pullchain.CodeQuotaLow,
		pullchain.CodeAdmin, pullchain.CodeGate,
	}
	states := []string{
		balancer.StateServing, balancer.StateStandby, balancer.StateDegraded, balancer.StateCooling, balancer.StateOpen, balancer.StateHalfOpen,
		balancer.StateDown, balancer.StateQuarantined, balancer.StateDrained, balancer.StateDisabled, balancer.StateUnknown,
	}
	en := messages.In(messages.English)
	for _, c := range codes {
		if !en.Has("why." + string(c)) {
			t.Errorf("no words for the code %s", c)
		}
	}
	for _, s := range states {
		if !en.Has("state."+s) || !en.Has("is."+s) {
			t.Errorf("no words for the state %s", s)
		}
	}
}
