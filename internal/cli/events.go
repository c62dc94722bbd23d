package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/terminal"
)

// eventsCmd is `events`.
type eventsCmd struct {
	Follow   bool   `short:"f" help:"${help_events_follow}"`
	Registry string `short:"r" placeholder:"NAME" names:"registry" help:"${help_events_registry}"`
	Topics   string `placeholder:"LIST" help:"${help_events_topics}"`
}

const (
	// silence is after how long without a word from the daemon a stream is taken to be
	// dead: it says something every 15 s.
	silence = 45 * time.Second

	// comeBack is how soon a stream that was cut is asked for again.
	comeBack = 2 * time.Second

	// maxEvent is how long one event may be.
	maxEvent = 1 << 20
)

// An eventLine is an admin.StreamEvent whose data is yet to be read.
type eventLine struct {
	Event string          `json:"event"`
	ID    uint64          `json:"id"`
	Data  json.RawMessage `json:"data"`
}

// Run prints what has happened, and with --follow what happens.
func (c *eventsCmd) Run(ctx context.Context, a *app) error {
	p, err := a.adminClient()
	if err != nil {
		return err
	}
	r := eventReader{cmd: c, app: a, client: p}
	err = r.read(ctx)
	for c.Follow && r.begun && ctx.Err() == nil {
		fmt.Fprintln(a.Stderr, a.messages.Text("events.cut", "address", p.base))
		select {
		case <-time.After(comeBack):
		case <-ctx.Done():
			return ctx.Err()
		}
		err = r.read(ctx)
	}
	said, ok := errors.AsType[*apiError](err)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case ok && said.Status == 400:
		return &exitError{exitUsage, said}
	case ok:
		return said
	case err != nil:
		return a.unreachable(p, err)
	case a.flags.Output == "json" && !a.lines:
		return a.json(r.found)
	}
	return nil
}

// An eventReader reads a stream, and goes on after the last number that it has seen.
type eventReader struct {
	cmd    *eventsCmd
	app    *app
	client *adminClient
	begun  bool // the daemon has answered once
	last   uint64
	found  eventList
}

// An eventList is what `events -o json` prints.
type eventList struct {
	Schema int         `json:"schema"`
	Events []eventLine `json:"events"`
}

// read reads until the stream ends. The error is nil if it ended as it should.
func (r *eventReader) read(ctx context.Context) error {
	q := url.Values{"format": {"ndjson"}, "since": {strconv.FormatUint(r.last, 10)}, "follow": {strconv.FormatBool(r.cmd.Follow)}}
	if r.cmd.Registry != "" {
		q.Set("registry", r.cmd.Registry)
	}
	if r.cmd.Topics != "" {
		q.Set("topics", r.cmd.Topics)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watchdog := time.AfterFunc(silence, cancel)
	defer watchdog.Stop()
	body, err := r.client.open(ctx, "GET", "/api/v1/events?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	defer body.Close()
	r.begun, r.found.Schema = true, admin.Schema
	if r.found.Events == nil {
		r.found.Events = []eventLine{}
	}
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		watchdog.Reset(silence)
		if len(lines.Bytes()) == 0 { // the daemon says that it is there
			continue
		}
		var e eventLine
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("%w (%v)", errNotOurs, err)
		}
		if e.ID > 0 {
			r.last = e.ID
		}
		r.tell(e)
	}
	return lines.Err()
}

// tell writes one event. As JSON without --follow all are one document.
func (r *eventReader) tell(e eventLine) {
	a := r.app
	switch {
	case a.flags.Output == "json" && (a.lines || r.cmd.Follow):
		if line, err := json.Marshal(e); err == nil {
			fmt.Fprintln(a.Stdout, string(line))
		}
	case a.flags.Output == "json":
		r.found.Events = append(r.found.Events, e)
	default:
		if text := eventText(a, e); text != "" {
			fmt.Fprintln(a.Stdout, terminal.Printable(text))
		}
	}
}

// eventText is an event as a line for people; nothing for those that tell them nothing.
func eventText(a *app, e eventLine) string {
	switch e.Event {
	case "hello", "pulls":
		return ""
	case "reset":
		return a.messages.Text("events.missed")
	case "verdict":
		var v admin.Verdict
		_ = json.Unmarshal(e.Data, &v)
		return time.Now().Format(time.TimeOnly) + "  " + a.messages.Text("level."+v.Level) + "  " + v.Text
	}
	var ev balancer.Event
	if err := json.Unmarshal(e.Data, &ev); err != nil {
		return ""
	}
	parts := []string{ev.At.Local().Format(time.TimeOnly), strings.Trim(ev.Registry+"/"+ev.Upstream, "/")}
	switch {
	case ev.Failover != nil:
		f := ev.Failover
		parts = append(parts, a.messages.Text("events.failover", "to", f.To, "phase", a.messages.Text("phase."+f.Phase), "ms", f.AddedMS), codeText(a, ev.Code), f.Image)
	case ev.Override != nil:
		parts = append(parts, a.messages.Text("events.override", "action", ev.Override.Action, "actor", ev.Override.Actor), ev.Override.Reason)
	case ev.Kind == balancer.KindTransition:
		parts = append(parts, a.messages.Text("state."+ev.From)+" → "+a.messages.Text("state."+ev.To), codeText(a, ev.Code))
		if ev.Until != nil {
			parts = append(parts, a.messages.Text("events.until", "at", ev.Until.Local().Format(time.TimeOnly)))
		}
	case ev.Kind == balancer.KindForced:
		parts = append(parts, a.messages.Text("events.forced"), codeText(a, ev.Code))
	default: // of a newer daemon
		parts = append(parts, string(ev.Kind))
	}
	return strings.Join(withoutEmpty(parts), "  ")
}

// codeText is a code as people read it.
func codeText(a *app, code pullchain.Code) string {
	if key := "why." + string(code); code != "" && a.messages.Has(key) {
		return a.messages.Text(key)
	}
	return string(code)
}

func withoutEmpty(parts []string) []string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return out
}
