package archtest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pictureFile holds the picture of the rooms, between two fences.
const (
	pictureFile  = "docs/architecture.md"
	pictureBegin = "```mermaid\n"
	pictureEnd   = "```\n"
)

// TestPicture holds the picture of the rooms against what they import:
//
//	go test ./internal/archtest -run TestPicture -update
func TestPicture(t *testing.T) {
	name := filepath.Join(root, filepath.FromSlash(pictureFile))
	text := read(t, name)
	want := picture(load(t))
	if *update {
		replaced, ok := replacePicture(text, want)
		if !ok {
			t.Fatalf("%s has no picture to replace", pictureFile)
		}
		if err := os.WriteFile(name, []byte(replaced), 0o644); err != nil {
			t.Fatal(err)
		}
		text = replaced
	}
	if fault := pictureFault(text, want); fault != "" {
		t.Error(fault)
	}
}

func pictureFault(text, want string) string {
	before, _, ok := strings.Cut(text, pictureBegin)
	if !ok {
		return pictureFile + " has no picture of the rooms"
	}
	if !strings.HasPrefix(text[len(before):], pictureBegin+want+pictureEnd) {
		return pictureFile + ": the picture of the rooms is not what they import: see TestPicture how to update it"
	}
	return ""
}

func replacePicture(text, want string) (string, bool) {
	before, after, ok := strings.Cut(text, pictureBegin)
	if !ok {
		return text, false
	}
	_, after, ok = strings.Cut(after, pictureEnd)
	return before + pictureBegin + want + pictureEnd + after, ok
}

// picture draws the rooms that exist, row by row, with an arrow for each import
// that does not follow from others: two rooms that are joined by a chain of
// arrows may have one between them too.
func picture(files []*file) string {
	imports := roomImports(files)
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	for i, row := range rows {
		var names []string
		for _, name := range row {
			if imports[name] != nil {
				names = append(names, fmt.Sprintf("    %s[\"%s\"]\n", node(name), title(name)))
			}
		}
		if len(names) == 0 {
			continue
		}
		fmt.Fprintf(&b, "  subgraph row%d[\" \"]\n%s  end\n", i+1, strings.Join(names, ""))
	}
	for _, name := range slices.Sorted(maps.Keys(beside)) {
		if imports[name] != nil {
			fmt.Fprintf(&b, "  %s([\"%s\"])\n", node(name), title(name))
		}
	}
	for _, from := range slices.Sorted(maps.Keys(imports)) {
		for _, to := range sortedKeys(imports[from]) {
			if !follows(imports, from, to) {
				fmt.Fprintf(&b, "  %s --> %s\n", node(from), node(to))
			}
		}
	}
	return b.String()
}

// roomImports returns which room imports which, in code that is not a test.
func roomImports(files []*file) map[string]map[string]bool {
	imports := make(map[string]map[string]bool)
	for _, f := range files {
		from := room(f.dir)
		if isBeside(f.dir) {
			from = f.dir
		}
		if f.isTest() || from == "" {
			continue
		}
		if imports[from] == nil {
			imports[from] = make(map[string]bool)
		}
		for _, imported := range f.imports {
			dir, ours := inModule(imported)
			to := room(dir)
			if isBeside(dir) {
				to = dir
			}
			if ours && to != "" && to != from {
				imports[from][to] = true
			}
		}
	}
	return imports
}

// follows reports whether another import of from leads to to.
func follows(imports map[string]map[string]bool, from, to string) bool {
	for middle := range imports[from] {
		if middle != to && reaches(imports, middle, to) {
			return true
		}
	}
	return false
}

func reaches(imports map[string]map[string]bool, from, to string) bool {
	for middle := range imports[from] {
		if middle == to || reaches(imports, middle, to) {
			return true
		}
	}
	return false
}

// node is a room's name where no punctuation may be.
func node(name string) string {
	if name == "." {
		return "pullchain"
	}
	return strings.NewReplacer("/", "_", ".", "_").Replace(name)
}

func title(name string) string {
	if name == "." {
		return "pullchain (root)"
	}
	return name
}

func TestPictureRuleBites(t *testing.T) {
	t.Parallel()
	const m = modulePath
	got := picture(parseAll(t, []source{
		{"internal/cli/a.go", "package cli\nimport (\"" + m + "/internal/daemon\"; \"" + m + "/internal/simnet\"; \"" + m + "\")"},
		{"internal/daemon/a.go", "package daemon\nimport \"" + m + "\""},
		{"internal/daemon/a_test.go", "package daemon\nimport \"" + m + "/internal/cli\""},
		{"internal/simnet/a.go", "package simnet"},
		{"a.go", "package pullchain"},
	}))
	const want = `flowchart TD
  subgraph row2[" "]
    internal_cli["internal/cli"]
  end
  subgraph row3[" "]
    internal_daemon["internal/daemon"]
  end
  subgraph row%d[" "]
    pullchain["pullchain (root)"]
  end
  internal_simnet(["internal/simnet"])
  internal_cli --> internal_daemon
  internal_cli --> internal_simnet
  internal_daemon --> pullchain
`
	if want := fmt.Sprintf(want, len(rows)); got != want {
		t.Errorf("picture = %s\nwant %s", got, want)
	}
	text := "before\n" + pictureBegin + "old\n" + pictureEnd + "after\n"
	if pictureFault(text, got) == "" || pictureFault("none", got) == "" {
		t.Error("an old picture is not found out")
	}
	text, ok := replacePicture(text, got)
	if !ok || pictureFault(text, got) != "" || !strings.HasSuffix(text, "after\n") {
		t.Errorf("replaced: %s", text)
	}
}
