//go:build linux && e2e

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestQuick runs everything once in small sizes, with all peers, and wants
// figures in every row. Whether goals are met is not its business: small sizes
// on a busy machine do not tell.
func TestQuick(t *testing.T) {
	for _, peer := range peers {
		if _, err := find(peer); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	var stdout, stderr bytes.Buffer
	if err := run(t.Context(), []string{"-quick", "-json", "-dir", dir}, &stdout, &stderr); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var doc tableDoc
	if err := json.Unmarshal(stdout.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Rows) < 80 {
		t.Errorf("%d rows, want at least 80", len(doc.Rows))
	}
	for _, r := range doc.Rows {
		if r.Pullchain == nil || r.Missing != "" || r.Peer != "" && r.PeerValue == nil {
			t.Errorf("%s against %q has no figures: %s", r.Measure, r.Peer, r.Missing)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}
