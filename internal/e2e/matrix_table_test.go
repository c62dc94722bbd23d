//go:build e2e

package e2e

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

const matrixFile = "../../docs/matrix.md"

// A matrixTable is docs/matrix.md: the cells by client/quirk, as the file has them
// and as this run has played them.
type matrixTable struct {
	mu     sync.Mutex
	file   map[string]string
	played map[string]string
}

func loadTable(t *testing.T) *matrixTable {
	t.Helper()
	return &matrixTable{file: readTable(t), played: map[string]string{}}
}

// readTable reads the cells of the file; without a file there are none.
func readTable(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(matrixFile)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	cells := map[string]string{}
	var clients []string // of the table that the line is in
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range fields {
			fields[i] = strings.TrimSpace(fields[i])
		}
		quirk, isRow := strings.CutPrefix(fields[0], "`")
		switch {
		case fields[0] == "quirk":
			clients = fields[1:]
		case isRow && len(fields) == len(clients)+1 && slices.Contains(clients, pullers[0].name):
			for i, client := range clients {
				cells[client+"/"+strings.TrimSuffix(quirk, "`")] = strings.Trim(fields[i+1], "`")
			}
		}
	}
	return cells
}

// enter notes a cell. With -update the file has it at once, so that a long run may
// be stopped; what another process has written there stays.
func (m *matrixTable) enter(t *testing.T, client, quirk, cell string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !updating() {
		m.played[client+"/"+quirk] = cell
		return
	}
	m.file = readTable(t)
	m.file[client+"/"+quirk] = cell
	if err := os.WriteFile(matrixFile, m.render(), 0o644); err != nil {
		t.Error(err)
	}
}

// updating reports whether golden files are to be written.
func updating() bool {
	f := flag.Lookup("update")
	return f != nil && f.Value.String() == "true"
}

// finish wants every cell that was played to keep the rule. What else differs from the
// file is told only: how often a client asks again directly, and in which order it asks,
// is its own affair.
func (m *matrixTable) finish(t *testing.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for cell, got := range m.played {
		how := fmt.Sprintf("%s is %q, docs/matrix.md has %q (-update with -matrix-only '^%s$' writes it)", cell, got, m.file[cell], regexp.QuoteMeta(cell))
		switch {
		case !keepsRule(got):
			t.Error("worse than direct, or not mended by a second upstream: " + how)
		case got != m.file[cell]:
			t.Log(how)
		}
	}
}

// keepsRule reports whether a cell is never worse than direct.
func keepsRule(cell string) bool {
	pairs := strings.Fields(cell)
	if len(pairs) < 2 || len(pairs[0]) != 2 || len(pairs[1]) != 2 {
		return false
	}
	for i := range pairs[0] {
		if pairs[0][i] == '+' && pairs[1][i] != '+' {
			return false
		}
	}
	return pairs[0] == "++" || len(pairs) == 3 && pairs[2] == "++"
}

const matrixHead = `# Quirks of registries, real clients, and pullchain between them

Never worse than direct ([faults.md](faults.md), 0): a pull that works without pullchain works through it. This table is what happened when each client
pulled from each odd registry, once directly and once through a pullchain process. ` + "`e2e.TestMatrix`" + ` makes it (CONTRIBUTING.md says how) and fails where
the rule is broken.

A cell is two or three pairs of pulls: directly; through pullchain with the odd registry as the only upstream; and, where something failed directly,
through pullchain with a good upstream behind the odd one. Each pair is the odd image, then an ordinary image of the same registry. ` + "`+`" + ` was pulled with the
right digests and bytes, ` + "`-`" + ` failed. So ` + "`++ ++`" + ` works everywhere; ` + "`-+ -+ ++`" + ` is one image that cannot be had from its only upstream, costs no other
image anything, and comes from a second upstream where there is one. An empty cell has not been played.

`

// render is the file.
func (m *matrixTable) render() []byte {
	var b bytes.Buffer
	b.WriteString(matrixHead)
	same, mended, broken := 0, 0, 0
	for _, cell := range m.file {
		switch kept, direct := keepsRule(cell), strings.HasPrefix(cell, "++"); {
		case cell == "": // not played
		case !kept:
			broken++
		case direct:
			same++
		default:
			mended++
		}
	}
	fmt.Fprintf(&b, "%d cells work directly and through pullchain; in %d something fails directly, and pullchain with a second upstream makes it work; %d break the rule.\n\n", same, mended, broken)
	b.WriteString("| quirk |")
	for _, p := range pullers {
		fmt.Fprintf(&b, " %s |", p.name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(pullers)) + "\n")
	for _, q := range matrixQuirks() {
		fmt.Fprintf(&b, "| `%s` |", q.Name)
		for _, p := range pullers {
			if cell := m.file[p.name+"/"+q.Name]; cell != "" {
				fmt.Fprintf(&b, " `%s` |", cell)
			} else {
				b.WriteString(" |")
			}
		}
		b.WriteByte('\n')
	}
	b.WriteString("\n## What they do\n\n| quirk | the registry | known from |\n|---|---|---|\n")
	for _, q := range matrixQuirks() {
		if !strings.Contains(q.Name, "+") {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", q.Name, q.About, q.Source)
		}
	}
	return b.Bytes()
}
