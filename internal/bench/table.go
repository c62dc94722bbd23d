//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

// writeTable prints the rows for people, a heading above each measure's unit of
// rows being left to the eye: a measure's name is printed once.
func writeTable(w io.Writer, rows []row) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "MEASURE\tPULLCHAIN\tPEER\tPEER'S\tRATIO\tGOAL\t\tNOTE")
	last := ""
	for _, r := range rows {
		name := r.measure
		if name == last {
			name = ""
		}
		last = r.measure
		ours, theirs := r.figures()
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, figure(ours, r.unit),
			r.peer, peerFigure(theirs, r), ratioText(r.ratio()), r.goal.text(r.unit), r.outcome(), r.remark())
	}
	return tw.Flush()
}

// peerFigure leaves the field empty for a figure that stands alone, where "-" would
// say that a peer is missing.
func peerFigure(v float64, r row) string {
	if r.peer == "" {
		return ""
	}
	return figure(v, r.unit)
}

// ratioText writes a ratio, or nothing if there is none.
func ratioText(v float64) string {
	if math.IsNaN(v) {
		return ""
	}
	return fmt.Sprintf("%.2fx", v)
}

// remark is the note, behind why something is missing.
func (r row) remark() string {
	switch {
	case r.missing == "":
		return r.note
	case r.note == "":
		return r.missing
	}
	return r.missing + "; " + r.note
}

// A rowDoc is a row for programs. Figures that are missing are null.
type rowDoc struct {
	Measure   string    `json:"measure"`
	Unit      string    `json:"unit"`
	Pullchain *float64  `json:"pullchain"`
	Peer      string    `json:"peer,omitempty"`
	PeerValue *float64  `json:"peer_value"`
	Ratio     *float64  `json:"ratio"`
	Goal      string    `json:"goal,omitempty"`
	Outcome   string    `json:"verdict,omitempty"`
	Missing   string    `json:"missing,omitempty"`
	Note      string    `json:"note,omitempty"`
	Samples   []float64 `json:"pullchain_samples"`
	Theirs    []float64 `json:"peer_samples,omitempty"`
}

// A tableDoc is the whole run for programs.
type tableDoc struct {
	Conditions []string `json:"conditions"`
	Rows       []rowDoc `json:"rows"`
}

func writeJSON(w io.Writer, conditions []string, rows []row) error {
	doc := tableDoc{Conditions: conditions, Rows: []rowDoc{}}
	for _, r := range rows {
		ours, theirs := r.figures()
		doc.Rows = append(doc.Rows, rowDoc{
			Measure: r.measure, Unit: r.unit, Pullchain: present(ours), Peer: r.peer, PeerValue: present(theirs),
			Ratio: present(r.ratio()), Goal: r.goal.text(r.unit), Outcome: r.outcome(), Missing: r.missing, Note: r.note,
			Samples: r.ours, Theirs: r.theirs,
		})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}

// present is v for JSON, which has no NaN: a figure that is missing is null.
func present(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}
