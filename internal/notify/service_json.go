package notify

import (
	"time"
)

// Schema is the version of the JSON that a webhook of kind "json" gets. Fields may be
// added without a new one; none changes its meaning or goes.
const Schema = 1

// SignatureHeader has the signature of a body of kind "json" with a secret:
// "sha256=" and the HMAC-SHA256 of the body in hexadecimal, as GitHub signs its webhooks.
const SignatureHeader = "X-Pullchain-Signature"

// A Document is the body of kind "json". All fields are always present.
type Document struct {
	Schema    int       `json:"schema"` // the constant Schema
	Source    string    `json:"source"` // "pullchain"
	Version   string    `json:"version"`
	Host      string    `json:"host"`
	SentAt    time.Time `json:"sent_at"`
	Level     string    `json:"level"` // ok, degraded or outage, the worst of its changes; or test
	Title     string    `json:"title"`
	Text      string    `json:"text"`
	Dashboard string    `json:"dashboard"` // URL; empty if it is not known
	Changes   []Told    `json:"changes"`
}

// Told is one [Change] in a Document.
type Told struct {
	Code     string     `json:"code"` // "registry", or a warning's
	Subject  string     `json:"subject"`
	From     string     `json:"from"` // the level that was told before
	To       string     `json:"to"`   // the level now
	Began    time.Time  `json:"began"`
	Ended    *time.Time `json:"ended"` // null while it goes on
	LastedS  int64      `json:"lasted_s"`
	Again    bool       `json:"again"` // nothing new: it was told repeat_after ago
	Sentence string     `json:"sentence"`
	Affects  []string   `json:"affects"`
	Command  string     `json:"command"` // what to run next; empty if nothing helps
}

// postJSON writes a message for programs, with its text for people.
func postJSON(c Config, msg message) post {
	d := Document{
		Schema: Schema, Source: "pullchain", Version: msg.from.Version, Host: msg.from.Host, SentAt: msg.at, Level: msg.level,
		Title: msg.title, Text: msg.text(), Dashboard: msg.from.Dashboard, Changes: []Told{},
	}
	for _, ch := range msg.changes {
		d.Changes = append(d.Changes, ch.told(c, msg.at))
	}
	return post{url: c.address(), headers: c.bearer(), body: d}
}

func (ch Change) told(c Config, now time.Time) Told {
	t := Told{
		Code: ch.Code, Subject: ch.Subject, From: ch.From.String(), To: ch.Level.String(), Began: ch.Began, Again: ch.Again,
		Sentence: sentenceOf(c.catalogue(), ch), Affects: append([]string{}, ch.Affects...), Command: ch.Command,
	}
	end := now
	if !ch.Ended.IsZero() {
		end, t.Ended = ch.Ended, &ch.Ended
	}
	t.LastedS = int64(end.Sub(ch.Began).Seconds())
	return t
}
