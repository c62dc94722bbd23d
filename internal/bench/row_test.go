//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"

	"github.com/pullchain/pullchain/internal/golden"
)

func TestOutcome(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		ours, theirs []float64
		goal         goal
		want         string
	}{
		{"faster", []float64{110}, []float64{100}, ratioAtLeast(1), "met"},
		{"as fast, as shown", []float64{99.6}, []float64{100}, ratioAtLeast(1), "met"},
		{"slower", []float64{99}, []float64{100}, ratioAtLeast(1), "missed"},
		{"cheap", []float64{70}, []float64{100}, ratioAtMost(0.75), "met"},
		{"not cheap", []float64{76}, []float64{100}, ratioAtMost(0.75), "missed"},
		{"median counts", []float64{1, 110, 5000}, []float64{100}, ratioAtLeast(1), "met"},
		{"small", []float64{30}, []float64{1}, ownAtMost(30), "met"},
		{"large", []float64{30.1}, []float64{100}, ownAtMost(30), "missed"},
		{"small without a peer", []float64{30}, nil, ownAtMost(30), "met"},
		{"little is added", []float64{104}, []float64{100}, goal{of: added, limit: 5}, "met"},
		{"much is added", []float64{106}, []float64{100}, goal{of: added, limit: 5}, "missed"},
		{"no peer", []float64{110}, nil, ratioAtLeast(1), ""},
		{"no figure", nil, []float64{100}, ratioAtLeast(1), ""},
		{"nothing added to nothing", []float64{1}, nil, goal{of: added, limit: 5}, ""},
		{"no goal", []float64{1}, []float64{100}, goal{}, ""},
		{"a peer that did nothing", []float64{1}, []float64{0}, ratioAtLeast(1), ""},
	} {
		if got := (row{ours: tt.ours, theirs: tt.theirs, goal: tt.goal}).outcome(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestFigure(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		v    float64
		unit string
		want string
	}{
		{1234.5, "MB/s", "1234 MB/s"},
		{38123.7, "/s", "38124 /s"},
		{123.4, "ms", "123 ms"},
		{12.34, "ms", "12.3 ms"},
		{1.234, "s", "1.23 s"},
		{0.1234, "s/GB", "0.12 s/GB"},
		{0.0456, "s/GB", "0.046 s/GB"},
		{0, "", "0.00"},
		{math.NaN(), "ms", "-"},
	} {
		if got := figure(tt.v, tt.unit); got != tt.want {
			t.Errorf("figure(%v, %q) = %q, want %q", tt.v, tt.unit, got, tt.want)
		}
	}
}

// someRows are one of each kind of row.
func someRows() []row {
	return []row{
		{measure: "warm blob, plain HTTP: speed", unit: "MB/s", ours: []float64{2000, 2400, 2200}, peer: nginx,
			theirs: []float64{2000, 1000, 3000}, goal: ratioAtLeast(1), note: "client's part of the CPU: pullchain 9 %"},
		{measure: "warm blob, plain HTTP: speed", unit: "MB/s", ours: []float64{2000, 2400, 2200}, peer: distribution,
			goal: ratioAtLeast(2), missing: "docker-registry is not installed (apt package docker-registry)"},
		{measure: "first byte", unit: "ms", ours: []float64{3.1}, peer: without, theirs: []float64{0.9}, goal: goal{of: added, limit: 5}},
		{measure: "idle memory", unit: "MiB", ours: []float64{41}, goal: ownAtMost(30)},
		{measure: "CPU", unit: "µs each", ours: []float64{20}, peer: nginx, theirs: []float64{30}},
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	if err := writeTable(&text, someRows()); err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "testdata/table.txt", text.String())
}

func TestJSON(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	if err := writeJSON(&text, []string{"2 cores"}, someRows()); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Rows []struct {
			Pullchain, Ratio *float64
			PeerValue        *float64  `json:"peer_value"`
			Outcome          string    `json:"verdict"`
			Samples          []float64 `json:"pullchain_samples"`
		}
	}
	if err := json.Unmarshal(text.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Rows) != 5 {
		t.Fatalf("%d rows, want 5:\n%s", len(doc.Rows), text.String())
	}
	first, absent := doc.Rows[0], doc.Rows[1]
	if *first.Pullchain != 2200 || *first.Ratio != 1.1 || first.Outcome != "met" || len(first.Samples) != 3 {
		t.Errorf("first row: %+v", first)
	}
	if absent.PeerValue != nil || absent.Ratio != nil || absent.Outcome != "" || *absent.Pullchain != 2200 {
		t.Errorf("row of an absent peer: %+v", absent)
	}
}
