package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/terminal"
	"github.com/pullchain/pullchain/internal/warm"
)

// writeStat writes how a cache stands for people. where says whose it is: a running
// daemon's, or that of a directory that no daemon uses. The counts of hits are of one
// process, so a directory has none.
func (a *app) writeStat(s cache.Snapshot, where string) {
	a.say("cache.dir", "dir", s.Dir, "where", where)
	a.say("cache.content", "bytes", size(s.Bytes), "limit", size(s.Limit), "objects", s.Objects, "pinned", size(s.PinnedBytes))
	if s.Partial > 0 {
		a.say("cache.partial", "blobs", s.Partial, "bytes", size(s.PartialBytes))
	}
	a.say("cache.free", "free", size(s.Free))
	if s.Oldest != nil {
		a.say("cache.oldest", "at", moment(*s.Oldest))
	}
	a.say("cache.tags", "tags", s.Tags)
	if answered := s.Hits + s.Misses; answered > 0 { // by this process
		a.say("cache.hits", "percent", fmt.Sprintf("%.0f", 100*s.HitRatio), "answers", answered, "saved", size(s.SavedBytes),
			"coalesced", s.Coalesced, "stale", s.StaleServed)
		a.say("cache.past", "evictions", s.Evictions, "corrupt", s.VerifyFailures)
	}
	if !s.Scanned {
		a.say("cache.scanning")
	}
	if s.Trouble != "" {
		fmt.Fprintln(a.Stdout, a.paint(terminal.Yellow, a.messages.Text("cache.trouble", "why", terminal.Printable(s.Trouble))))
	}
}

const (
	maxNames   = 2 // images in the line of an object: a base layer is in hundreds of them
	sizeColumn = 2 // of the table, counted from 0
)

// writeEntries writes what a cache has as a table: some of total objects. Names come
// from upstreams and from other users, so the grid lets no control character through.
func (a *app) writeEntries(entries []cache.Entry, total int) {
	m := a.messages
	g := terminal.Grid{terminal.Row(
		m.Text("cache.col_digest"), m.Text("cache.col_kind"), m.Text("cache.col_size"), m.Text("cache.col_used"),
		m.Text("cache.col_access"), m.Text("cache.col_pin"), m.Text("cache.col_images"),
	)}
	var sum int64
	for _, e := range entries {
		sum += e.Here
		access, pin := m.Text("cache.private"), ""
		switch {
		case e.Kind == cache.KindPartial:
			access = "-"
		case e.Public:
			access = m.Text("cache.public")
		}
		if e.Pinned {
			pin = m.Text("cache.pin")
		}
		names := e.Images[:min(len(e.Images), maxNames)]
		text := strings.Join(names, " ")
		if more := len(e.Images) - len(names); more > 0 {
			text += fmt.Sprintf(" +%d", more)
		}
		g = append(g, terminal.Row(warm.Short(e.Digest), m.Text("cache.kind."+e.Kind), extent(e), moment(e.Used), access, pin, text))
	}
	for _, row := range g {
		row[sizeColumn].Right = true
	}
	fmt.Fprint(a.Stdout, g)
	if total > len(entries) {
		a.say("cache.some", "objects", len(entries), "total", total, "size", size(sum))
		return
	}
	a.say("cache.sum", "objects", total, "size", size(sum))
}

// extent writes how large an object is, and of a partial blob how much of it is here.
func extent(e cache.Entry) string {
	switch {
	case e.Kind != cache.KindPartial:
		return size(e.Size)
	case e.Size < 0:
		return size(e.Here) + " / ?"
	}
	return size(e.Here) + " / " + size(e.Size)
}

// moment writes a time for people, in the zone of this machine. Seconds say nothing of
// when an image was used.
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04")
}
