package notify

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/messages"
)

var start = time.Date(2026, 11, 30, 10, 42, 0, 0, time.UTC)

// registryAt is a registry's Condition.
func registryAt(name string, l Level) Condition {
	return Condition{Key: Key{CodeRegistry, name}, Level: l, Words: words{sentence: func(*messages.Catalogue) string { return name + " ails" }}}
}

// causeOf is a warning's Condition.
func causeOf(code string, l Level) Condition { return Condition{Key: Key{code, "clash"}, Level: l} }

func covered(c Condition) Condition {
	c.Covered = true
	return c
}

// A look is what is seen from a second on.
type look struct {
	at   int // seconds since start
	seen []Condition
}

// play looks each second, as the looks say, and writes down what is told.
func play(t *tracker, looks []look, seconds int) string {
	var told []string
	for s := range seconds + 1 {
		var seen []Condition
		for _, l := range looks {
			if l.at <= s {
				seen = l.seen
			}
		}
		changes, _ := t.observe(start.Add(time.Duration(s)*time.Second), seen)
		for _, c := range changes {
			line := fmt.Sprintf("%d %s %s>%s", s, c.Subject, c.From, c.Level)
			if c.Level == OK {
				line += fmt.Sprintf(" after %v", c.Ended.Sub(c.Began))
			}
			if c.Again {
				line += " again"
			}
			told = append(told, line)
		}
	}
	return strings.Join(told, ", ")
}

func TestWhatIsNews(t *testing.T) {
	t.Parallel()
	never, hourly := time.Duration(0), time.Hour
	hub := func(l Level) []Condition { return []Condition{registryAt("docker.io", l)} }
	tests := []struct {
		name    string
		cfg     Config
		looks   []look
		seconds int
		want    string
	}{
		{"a start that is well says nothing", Config{}, []look{{0, hub(OK)}}, 300, ""},
		{"a start in trouble is told once", Config{}, []look{{0, hub(Outage)}}, 300, "5 docker.io ok>outage"},
		{"an outage that blinks", Config{}, []look{{0, hub(OK)}, {10, hub(Outage)}, {14, hub(OK)}}, 300, ""},
		{"an outage and its end", Config{}, []look{{0, hub(OK)}, {10, hub(Outage)}, {100, hub(OK)}}, 300,
			"15 docker.io ok>outage, 130 docker.io outage>ok after 1m30s"},
		{"degraded for less than a minute", Config{}, []look{{0, hub(Degraded)}, {59, hub(OK)}}, 300, ""},
		{"degraded for longer", Config{}, []look{{0, hub(Degraded)}}, 300, "60 docker.io ok>degraded"},
		{"from degraded to outage and back", Config{}, []look{{0, hub(Degraded)}, {70, hub(Outage)}, {100, hub(Degraded)}, {200, hub(OK)}}, 300,
			"60 docker.io ok>degraded, 75 docker.io degraded>outage, 160 docker.io outage>degraded, 230 docker.io degraded>ok after 3m20s"},
		{"a recovery that does not hold", Config{}, []look{{0, hub(Outage)}, {10, hub(OK)}, {30, hub(Outage)}, {60, hub(OK)}}, 300,
			"5 docker.io ok>outage, 90 docker.io outage>ok after 1m0s"},
		{"wavering between degraded and outage", Config{OutageAfter: 10 * time.Second},
			[]look{{0, hub(Outage)}, {8, hub(Degraded)}, {16, hub(Outage)}, {24, hub(Degraded)}, {32, hub(Outage)}, {40, hub(Degraded)}, {48, hub(Outage)}, {56, hub(Degraded)}, {64, hub(OK)}}, 70,
			"60 docker.io ok>degraded"},
		{"times of one's own", Config{OutageAfter: time.Second, RecoveredAfter: 2 * time.Second}, []look{{0, hub(Outage)}, {10, hub(OK)}}, 60,
			"1 docker.io ok>outage, 12 docker.io outage>ok after 10s"},
		{"outages only", Config{MinLevel: "outage"}, []look{{0, hub(Degraded)}, {100, hub(Outage)}, {110, hub(Degraded)}}, 300,
			"105 docker.io ok>outage, 140 docker.io outage>ok after 10s"},
		{"what goes on is told again", Config{RepeatAfter: &hourly}, []look{{0, hub(Outage)}}, 7300,
			"5 docker.io ok>outage, 3605 docker.io outage>outage again, 7205 docker.io outage>outage again"},
		{"or never", Config{RepeatAfter: &never}, []look{{0, hub(Outage)}}, 90000, "5 docker.io ok>outage"},
		{"a registry taken out of the configuration has not recovered", Config{}, []look{{0, hub(Outage)}, {10, []Condition{registryAt("ghcr.io", OK)}}}, 300,
			"5 docker.io ok>outage"},
		{"two at once, the worse first", Config{DegradedAfter: 5 * time.Second}, []look{{0, []Condition{registryAt("a.io", Degraded), registryAt("z.io", Outage)}}}, 60,
			"5 z.io ok>outage, 5 a.io ok>degraded"},
		{"a cause, and not what it does", Config{},
			[]look{{0, append(hub(OK), registryAt("ghcr.io", OK))},
				{10, []Condition{registryAt("docker.io", Outage), registryAt("ghcr.io", Outage)}},
				{13, []Condition{covered(registryAt("docker.io", Outage)), covered(registryAt("ghcr.io", Outage)), causeOf("egress_down", Outage)}},
				{100, append(hub(OK), registryAt("ghcr.io", OK))}}, 300,
			"18 clash ok>outage, 130 clash outage>ok after 1m27s"},
		{"a cause that is found late covers what was told", Config{},
			[]look{{0, hub(Outage)}, {20, []Condition{covered(registryAt("docker.io", Outage)), causeOf("egress_down", Outage)}}, {50, hub(OK)}}, 300,
			"5 docker.io ok>outage, 25 clash ok>outage, 80 clash outage>ok after 30s, 80 docker.io outage>ok after 50s"},
		{"what stays when its cause is gone is news", Config{},
			[]look{{0, []Condition{covered(registryAt("docker.io", Outage)), causeOf("egress_down", Outage)}}, {50, hub(Outage)}}, 60,
			"5 clash ok>outage, 55 docker.io ok>outage"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := play(newTracker(tt.cfg), tt.looks, tt.seconds); got != tt.want {
				t.Errorf("told\n%s, want\n%s", got, tt.want)
			}
		})
	}
}

// The next look is due when a state will have held, and no later.
func TestWhenToLookNext(t *testing.T) {
	t.Parallel()
	tr := newTracker(Config{})
	for _, step := range []struct {
		at   time.Duration
		seen []Condition
		next time.Duration // since start; negative: none
	}{
		{0, []Condition{registryAt("a", OK)}, -1},
		{time.Second, []Condition{registryAt("a", Degraded)}, 61 * time.Second},
		{2 * time.Second, []Condition{registryAt("a", Outage)}, 7 * time.Second},
		{7 * time.Second, []Condition{registryAt("a", Outage)}, 24*time.Hour + 7*time.Second},
		{8 * time.Second, []Condition{registryAt("a", OK)}, 38 * time.Second},
		{38 * time.Second, []Condition{registryAt("a", OK)}, -1},
		{39 * time.Second, []Condition{registryAt("a", OK)}, -1},
	} {
		_, next := tr.observe(start.Add(step.at), step.seen)
		if got := next.Sub(start); next.IsZero() != (step.next < 0) || !next.IsZero() && got != step.next {
			t.Errorf("at %v: the next look is %v, want %v", step.at, next, step.next)
		}
	}
	if len(tr.things) != 0 {
		t.Errorf("%d things are remembered that are well", len(tr.things))
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	want := []string{"dingtalk", "feishu", "json", "ntfy", "slack", "telegram", "wecom"}
	if got := Kinds(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
