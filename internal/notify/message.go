package notify

import (
	"cmp"
	"os"
	"strings"
	"time"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/messages"
)

// A Sender is what every message says of the daemon that it comes from.
type Sender struct {
	Host      string // empty: this machine's name
	Version   string
	Dashboard string // URL of the operator's plane; empty if it is not known
}

// named returns s with a name for the machine.
func (s Sender) named() Sender {
	if s.Host == "" {
		s.Host, _ = os.Hostname()
	}
	s.Host = cmp.Or(s.Host, "localhost")
	return s
}

// A message is what a service is to show, in one language and without its marks.
type message struct {
	from    Sender
	at      time.Time
	level   string // ok, degraded, outage, or test
	title   string // one line
	parts   []part
	footer  string // which daemon says it
	link    string // what a link to the dashboard is called
	changes []Change
}

// A part is what is said of one Change: a sentence, and lines with more.
type part struct {
	sentence string
	lines    []string
}

// maxParts is how many changes one message speaks of.
const maxParts = 10

// zoned is how times are written: with the zone, for a reader in another one.
const zoned = "2006-01-02 15:04:05 -0700"

// compose writes the message for changes, of which there is one at least, the worst
// first.
func compose(m *messages.Catalogue, from Sender, changes []Change, now time.Time) message {
	first, from := changes[0], from.named()
	out := message{
		from: from, at: now, level: first.Level.String(), changes: changes,
		title: titleOf(m, changes), footer: m.Text("notify.from", "host", from.Host), link: m.Text("notify.dashboard"),
	}
	for _, c := range changes[:min(len(changes), maxParts)] {
		out.parts = append(out.parts, partOf(m, c, now))
	}
	if more := len(changes) - maxParts; more > 0 {
		out.parts = append(out.parts, part{sentence: m.Text("notify.more", "count", more)})
	}
	return out
}

// trial is the message of `pullchain notify test`.
func trial(m *messages.Catalogue, from Sender, now time.Time) message {
	from = from.named()
	return message{
		from: from, at: now, level: "test", title: m.Text("notify.test_title"),
		parts:  []part{{sentence: m.Text("notify.test", "host", from.Host)}},
		footer: m.Text("notify.from", "host", from.Host), link: m.Text("notify.dashboard"),
	}
}

// titleOf is the line that a telephone shows.
func titleOf(m *messages.Catalogue, changes []Change) string {
	first := changes[0]
	word := m.Text("level." + first.Level.String())
	switch {
	case first.Level == OK && first.Code != CodeRegistry:
		word = m.Text("notify.over_word")
	case first.Level == OK:
		word = m.Text("notify.recovered_word")
	case first.Again:
		word = m.Text("notify.still", "level", word)
	}
	if more := len(changes) - 1; more > 0 {
		return m.Text("notify.title_more", "level", word, "subject", nameOf(m, first), "count", more)
	}
	return m.Text("notify.title", "level", word, "subject", nameOf(m, first))
}

// nameOf is what a thing is called in a title.
func nameOf(m *messages.Catalogue, c Change) string {
	if c.Words.name == nil {
		return c.Subject
	}
	return c.Words.name(m)
}

// partOf says what has happened to one thing.
func partOf(m *messages.Catalogue, c Change, now time.Time) part {
	p := part{sentence: sentenceOf(m, c)}
	if c.Level == OK {
		p.lines = append(p.lines, m.Text("notify.lasted", "wait", admin.Wait(m, c.Ended.Sub(c.Began)), "from", c.Began.Format(zoned), "to", c.Ended.Format(zoned)))
		return p
	}
	p.lines = append(p.lines, m.Text("notify.since", "at", c.Began.Format(zoned), "wait", admin.Wait(m, now.Sub(c.Began))))
	if len(c.Affects) > 0 {
		p.lines = append(p.lines, m.Text("notify.affects", "list", strings.Join(c.Affects, m.Text("summary.comma"))))
	}
	if c.Words.advice != nil {
		if text := c.Words.advice(m); text != "" {
			p.lines = append(p.lines, text)
		}
	}
	if c.Command != "" {
		p.lines = append(p.lines, m.Text("notify.next", "command", c.Command))
	}
	return p
}

// sentenceOf says in a sentence how the thing stands.
func sentenceOf(m *messages.Catalogue, c Change) string {
	switch {
	case c.Level == OK && c.Code != CodeRegistry:
		return m.Text("notify.over", "subject", nameOf(m, c))
	case c.Level == OK && c.From == Outage:
		return m.Text("notify.pullable", "subject", c.Subject)
	case c.Level == OK:
		return m.Text("notify.recovered", "subject", c.Subject)
	}
	return c.Words.sentence(m)
}

// text is the message without any marks: its parts, and whose it is.
func (msg message) text() string {
	var out []string
	for _, p := range msg.parts {
		out = append(out, strings.Join(append([]string{p.sentence}, p.lines...), "\n"))
	}
	foot := msg.footer
	if msg.from.Dashboard != "" {
		foot += "\n" + msg.from.Dashboard
	}
	return strings.Join(append(out, foot), "\n\n")
}
