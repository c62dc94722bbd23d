package daemon_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/diagnose"
	"github.com/pullchain/pullchain/internal/golden"
	"github.com/pullchain/pullchain/internal/messages"
	"github.com/pullchain/pullchain/internal/simnet"
)

// toldHead stands before the table.
const toldHead = `# What people are told

Each row is one thing that goes wrong with an upstream, *a*, and what comes of it in each place where people look. ` + "`daemon.TestWhatPeopleAreTold`" + `
plays every one of them against the whole chain and writes this file (` + "`-update`" + `), so it says what is so. The rows are those of [faults.md](faults.md#8-the-rows).

- **alone**: *a* is the only upstream of its registry. The client's error is what docker prints: the status line of a 5xx, else code and message.
- **beside b**: another upstream serves, and no client sees an error. That is a rule of the test.
- The code is the same word in the log, the API, the metrics' reasons and the translations. Times are left out.
- The verdicts are those of a registry that has met the fault for six images.

| fault | row | client's error, alone | log code | metric: pullchain_upstream_requests_total | dashboard, alone | dashboard, beside b | why | next step |
|---|---|---|---|---|---|---|---|---|
`

// TestWhatPeopleAreTold provokes each fault and writes down what the client, the log, the
// metrics, the dashboard and the explanation say of it.
func TestWhatPeopleAreTold(t *testing.T) {
	t.Parallel()
	if underRace {
		t.Skip("what is told of a fault depends on how soon the next one comes: it is written down at full speed")
	}
	rows := make([]string, len(toldFaults))
	t.Run("play", func(t *testing.T) {
		for i, f := range toldFaults {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				rows[i] = f.tell(t)
			})
		}
	})
	if strings.Contains(strings.Join(rows, "\x00")+"\x00", "\x00\x00") || rows[0] == "" {
		t.Skip("only a part was played")
	}
	golden.Compare(t, filepath.Join("..", "..", "docs", "told.md"), toldHead+strings.Join(rows, ""))
}

// tell plays the fault and returns its row of the table.
func (f toldFault) tell(t *testing.T) string {
	x := newTold(t, f)
	for _, s := range x.sites {
		f.play(s)
	}
	var first reply
	for i, image := range x.images {
		got := x.get(f.pathOf(image, "docker.io"))
		if i == 0 {
			first = got
		}
		if got := x.get(f.pathOf(image, "ghcr.io")); got.Status != 200 || got.Err != nil {
			t.Errorf("beside b the client gets %d, %v: %.300q", got.Status, got.Err, got.Body)
		}
	}
	x.settle(f)
	en, s := messages.In(messages.English), x.Daemon.Snapshot()
	lane := s.Find("docker.io").Lanes[0]
	code := x.logCode(x.images[0], first)
	told := cmp.Or(code, string(lane.Code))
	if told == "" && lane.LastError != nil {
		told = string(lane.LastError.Code)
	}
	why, next := "", ""
	if told != "" {
		why, next = admin.Said(en, "a", told), admin.NextStep(en, told, "docker.io", "a")
	}
	alone, beside := verdictOf(en, s, "docker.io"), verdictOf(en, s, "ghcr.io")
	if f.passes {
		alone, beside = "it passes within a second", "it passes within a second"
	}
	cells := []string{f.name, f.row, dockerSays(first), code, metricOf(lane), alone, beside, why, next}
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(masked(c), "|", `\|`)
	}
	return "| " + strings.Join(cells, " | ") + " |\n"
}

// settle asks on until a lane that refuses connections is out of order for good: the pause
// after each refusal is so short that how many requests meet one depends on the machine.
func (x *toldRig) settle(f toldFault) {
	x.t.Helper()
	for _, registry := range []string{"docker.io", "ghcr.io"} {
		i := 0
		x.eventually("the lane's state lasts", func() bool {
			s := x.Daemon.Snapshot()
			a := s.Find(registry).Lanes[0]
			if a.Code != pullchain.CodeConnRefused && (a.LastError == nil || a.LastError.Code != pullchain.CodeConnRefused) || f.hub {
				return true
			}
			if len(a.Gates) > 0 && a.Gates[0].Gate != "hold" {
				return true
			}
			i++
			x.get(f.pathOf(x.images[i%len(x.images)], registry))
			return false
		})
	}
}

// A toldRig has two registries: docker.io with a alone, and ghcr.io with an upstream of
// the same kind and b.
type toldRig struct {
	*rig
	sites  []*toldSite
	images []*simnet.Content
}

func newTold(t *testing.T, f toldFault) *toldRig {
	t.Helper()
	n := newNet(t)
	x := &toldRig{}
	var images []simnet.Image
	for i := range 6 {
		images = append(images, simnet.Image{Repo: fmt.Sprintf("library/image%d", i), Tags: []string{"1"}, Layers: []simnet.Layer{{Size: 200 << 10, Seed: uint64(i + 1)}}})
		x.images = append(x.images, n.Build(images[i]))
	}
	cfg := rigConfig{Net: n, Cache: "enabled = false"}
	var lanes []lane
	for i := range 2 {
		site, l := f.site(n, i, images)
		site.images = x.images
		x.sites, lanes = append(x.sites, site), append(lanes, l)
		if f.proxied {
			cfg.Top += fmt.Sprintf("[egress.way%d]\nurl = %q\n", i, site.proxy.URL())
		}
	}
	b := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "b"}, Images: images})
	cfg.Chain = lanes[:1]
	withRegistries(t, &cfg, further{"ghcr.io", []lane{lanes[1], {Name: "b", URL: b.URL()}}})
	x.rig = newRig(t, cfg)
	x.probedAll()
	return x
}

// site starts the upstream that the fault befalls, and returns its lane.
func (f toldFault) site(n *simnet.Net, i int, images []simnet.Image) (*toldSite, lane) {
	s := &toldSite{}
	origin := simnet.Origin{Name: fmt.Sprintf("a%d", i)}
	if f.hub {
		s.hub = n.AddHub(simnet.HubConfig{Origin: origin, Images: images})
		s.Server, s.forget = s.hub.Server, s.hub.Forget
	} else {
		m := n.AddMirror(simnet.MirrorConfig{Origin: origin, Images: images})
		s.Server, s.forget = m.Server, m.Forget
	}
	l := lane{
		Name: "a", URL: cmp.Or(f.url, s.URL()), Keys: f.keys, Origin: f.hub,
		Tables: "[registry.upstream.timeouts]\n" + f.times,
	}
	if f.proxied {
		s.proxy = n.AddSOCKSProxy(simnet.ProxyConfig{Origin: simnet.Origin{Name: fmt.Sprintf("proxy%d", i)}})
		l.Keys += fmt.Sprintf("\negress = \"way%d\"", i)
	}
	return s, l
}

// logCode is the code in the access-log line of the first request for an image.
func (x *toldRig) logCode(image *simnet.Content, got reply) string {
	x.t.Helper()
	var line string
	x.eventually("the log line", func() bool {
		for l := range strings.SplitSeq(x.log.String(), "\n") {
			if strings.Contains(l, "msg=request") && strings.Contains(l, "registry=docker.io") && strings.Contains(l, "repo="+image.Image.Repo+" ") {
				line = l
				return true
			}
		}
		return false
	})
	if m := regexp.MustCompile(` code=(\S+)`).FindStringSubmatch(line); m != nil {
		return m[1]
	}
	return ""
}

// metricOf is how the lane's requests are counted that did not go well, as labels.
func metricOf(l balancer.LaneSnapshot) string {
	var outcomes []string
	seen := map[string]bool{}
	for _, c := range l.Counts.Requests {
		if c.Outcome == balancer.OutcomeOK || c.Outcome == balancer.OutcomeCanceled || seen[c.Outcome] {
			continue
		}
		seen[c.Outcome] = true
		outcomes = append(outcomes, fmt.Sprintf("{outcome=%q}", c.Outcome))
	}
	return strings.Join(outcomes, " ")
}

// verdictOf is what the dashboard says of a daemon that has this registry alone.
func verdictOf(m *messages.Catalogue, s admin.Snapshot, name string) string {
	r := s.Find(name)
	in := diagnose.Input{Now: s.Now, Started: s.Started, Registries: []diagnose.Registry{{Snapshot: r.Snapshot, Probes: r.Probes, Failures: r.Failures}}}
	for _, e := range s.Egresses {
		if len(e.Upstreams) > 0 && strings.HasPrefix(e.Upstreams[0], name+"/") {
			in.Egresses = append(in.Egresses, e)
		}
	}
	v := admin.SummarizeIn(m, []balancer.Snapshot{r.Snapshot}, nil, s.Now, diagnose.Diagnose(in)...)
	return strings.ToUpper(v.Level) + " " + v.Text
}

var (
	toldPorts = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	toldWaits = regexp.MustCompile(`(\d+ h )?\b\d+ (s|min|h)\b`)
	toldNext  = regexp.MustCompile(`, (next try|back) in …`)
	toldRetry = regexp.MustCompile(`retry in [0-9hms]+`)
)

// masked is text without what differs from run to run.
func masked(s string) string {
	s = toldRetry.ReplaceAllString(toldPorts.ReplaceAllString(s, "a.example.com"), "retry in …")
	s = toldNext.ReplaceAllString(toldWaits.ReplaceAllString(s, "…"), "")
	return strings.Join(strings.Fields(s), " ")
}

// ociSays is code and message of an error, as the Docker engine writes them.
func ociSays(body []byte) string {
	var e ociError
	if json.Unmarshal(body, &e) != nil || len(e.Errors) == 0 {
		return string(body)
	}
	return strings.ToLower(strings.ReplaceAll(e.Errors[0].Code, "_", " ")) + ": " + e.Errors[0].Message
}
