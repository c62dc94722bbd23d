package dashboard

import (
	"slices"
	"strings"
	"time"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/warm"
)

// A warmModel is what is fetched ahead of need, by a schedule.
type warmModel struct {
	Plans []planModel
	Run   *action // all of it now
}

// A planModel is one [[warm]] table and how it fares.
type planModel struct {
	Every   string
	About   string // how many images, and for which platforms
	Running bool
	Level   string // of the last run: that of a pill; empty before the first
	Icon    string
	Word    string
	Last    *moment
	Took    string
	Next    *moment
	Images  []warmLine
	More    int // that are not listed
}

// A warmLine is an image of a plan and how it went last.
type warmLine struct {
	Image   string // in full
	Short   string
	Level   string
	Icon    string
	Word    string
	Why     string // it failed, in the words of the one that refused
	Fetched string // blobs that were not there
	Size    string
	rank    int // what wants a look comes first
}

// maxWarm is how many images of one plan a page lists.
const maxWarm = 50

// warmth is the schedule; nil where the configuration has no [[warm]] table.
func (d *dashboard) warmth(v *visit) *warmModel {
	if d.Warm == nil {
		return nil
	}
	plans := d.Warm.Plans()
	if len(plans) == 0 {
		return nil
	}
	var m warmModel
	for i := range plans {
		m.Plans = append(m.Plans, v.plan(&plans[i]))
	}
	if v.viewer.CanAct {
		run := v.actOn("warm", "")
		m.Run = &run
	}
	return &m
}

func (v *visit) plan(p *warm.Plan) planModel {
	text := v.messages.Text
	m := planModel{
		Running: p.Running, Next: v.atOf(p.Next),
		Every: admin.Wait(v.messages, time.Duration(p.EveryS)*time.Second), About: text("dash.warm_count", "n", len(p.Images)),
	}
	if len(p.Platforms) > 0 {
		m.About += " · " + strings.Join(p.Platforms, ", ")
	}
	results := map[string]*warm.Result{}
	if r := p.Last; r != nil {
		m.Last, m.Took = v.at(r.At), admin.Wait(v.messages, time.Duration(r.TookS*float64(time.Second)))
		for i := range r.Images {
			results[r.Images[i].Image] = &r.Images[i]
		}
	}
	for _, image := range p.Images {
		m.Images = append(m.Images, v.warmLine(image, results[image]))
	}
	slices.SortStableFunc(m.Images, func(a, b warmLine) int { return a.rank - b.rank })
	if p.Last != nil && len(m.Images) > 0 {
		worst := m.Images[0] // of a run that could not end there are images without a result: they are the last
		m.Level, m.Icon, m.Word = worst.Level, worst.Icon, text("dash.warm_complete")
		if worst.rank < rankFine {
			n := 0
			for _, one := range m.Images {
				if one.rank < rankFine {
					n++
				}
			}
			m.Word = text("dash.warm_incomplete", "n", n, "all", len(m.Images))
		}
	}
	m.More = len(m.Images) - min(len(m.Images), maxWarm)
	m.Images = m.Images[:len(m.Images)-m.More]
	return m
}

// How urgent a look at an image is.
const (
	rankFailed = iota
	rankHeld
	rankStale
	rankFine
	rankNever
)

// warmLine says how it went with an image; r is nil if it has not been its turn.
func (v *speaker) warmLine(image string, r *warm.Result) warmLine {
	line := warmLine{Image: image, Short: shortImage(image), Fetched: "–", Size: "–"}
	text := func(word string) string { return v.messages.Text("dash.warmed." + word) }
	if r == nil {
		line.Word, line.rank = text("never"), rankNever
		return line
	}
	if r.Blobs > 0 {
		line.Fetched, line.Size = count(r.Fetched)+"/"+count(r.Blobs), admin.Amount(r.Bytes)
	}
	switch {
	case r.Skipped != "":
		line.Level, line.Icon, line.Word, line.rank = chainDetour, "cooling", text(r.Skipped), rankHeld
	case !r.OK:
		line.Level, line.Icon, line.Word, line.Why, line.rank = chainNone, "down", text("failed"), r.Error, rankFailed
	case r.Stale:
		line.Level, line.Icon, line.Word, line.rank = chainDetour, "warning", text("stale"), rankStale
	case r.Fetched == 0:
		line.Level, line.Icon, line.Word, line.rank = chainOK, "check", text("there"), rankFine
	default:
		line.Level, line.Icon, line.Word, line.rank = chainOK, "check", v.messages.Text("dash.warmed.fetched", "size", admin.Amount(r.New)), rankFine
	}
	return line
}
