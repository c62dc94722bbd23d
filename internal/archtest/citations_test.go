package archtest

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The reasons of this code stand in docs/, and comments cite them by file and
// section. What is cited has to be there: a citation that leads nowhere is worse
// than none, since the reader goes looking.

// papers are design papers that the repository never held; their facts are in
// docs/ and CONTRIBUTING.md. The names are split so that this file does not
// cite them itself.
var papers = regexp.MustCompile(`\b(?:DESI` + `GN|FAUL` + `TS|PROTO` + `COL|U` + `X|STY` + `LE)\.md`)

// cited matches a document of ours by its path from the module's root.
var cited = regexp.MustCompile(`\b(?:docs/[A-Za-z0-9_.-]*|CONTRIBUTING)\.md`)

// textual are the kinds of files that people write and that can cite.
var textual = []string{".go", ".md", ".mjs", ".js", ".toml", ".yml", ".yaml", ".sh", ".conf"}

func TestCitationsLeadSomewhere(t *testing.T) {
	t.Parallel()
	for _, fault := range citations(loadTexts(t), inTree) {
		t.Error(fault)
	}
}

// loadTexts reads every text of the module that can cite a document, the
// scripts of CI among them.
func loadTexts(t *testing.T) []source {
	t.Helper()
	var texts []source
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if entry.Name() == ".git" || entry.Name() == "node_modules" {
				return filepath.SkipDir
			}
			return nil
		}
		short, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		short = filepath.ToSlash(short)
		if short == "internal/archtest/citations_test.go" {
			return nil // its trees of errors cite what is not there
		}
		if !entry.Type().IsRegular() || !slices.Contains(textual, filepath.Ext(name)) && path.Dir(short) != ".ci" {
			return nil
		}
		texts = append(texts, source{short, read(t, name)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// citations wants each citation of a document to lead to a file, a section, a
// heading or a row that exists, and no paper to be cited that is not here.
func citations(texts []source, exists func(path string) bool) []string {
	documents := make(map[string]*document)
	for _, s := range texts {
		if strings.HasSuffix(s.path, ".md") {
			documents[s.path] = parseDocument(s.text)
		}
	}
	var faults []string
	for _, s := range texts {
		for _, at := range papers.FindAllStringIndex(s.text, -1) {
			faults = append(faults, fmt.Sprintf("%s cites %s, which is not in this repository", s.at(at[0]), s.text[at[0]:at[1]]))
		}
		for _, at := range cited.FindAllStringIndex(s.text, -1) {
			name := s.text[at[0]:at[1]]
			d := documents[name]
			if d == nil {
				faults = append(faults, fmt.Sprintf("%s cites %s, which does not exist", s.at(at[0]), name))
				continue
			}
			for _, missing := range d.missing(oneLine(s.text[at[1]:])) {
				faults = append(faults, fmt.Sprintf("%s cites %s %s, which it does not have", s.at(at[0]), name, missing))
			}
		}
		if strings.HasSuffix(s.path, ".md") {
			faults = append(faults, deadLinks(s, documents)...)
			faults = append(faults, deadPaths(s, exists)...)
		}
	}
	return faults
}

// at says where the byte at offset is.
func (s source) at(offset int) string {
	return fmt.Sprintf("%s:%d", s.path, 1+strings.Count(s.text[:offset], "\n"))
}

var lineBreak = regexp.MustCompile(`\n[ \t]*(?://|#|\*)?[ \t]*`)

// oneLine is the beginning of text with the line breaks of a comment undone.
func oneLine(text string) string {
	const enough = 300
	return lineBreak.ReplaceAllString(text[:min(len(text), enough)], " ")
}

// A document is what of a Markdown file can be cited.
type document struct {
	titles   []string        // of headings, without their numbers
	anchors  map[string]bool // of headings, as the hosts of repositories make them
	sections map[string]bool // "7b", "4.1", and "7b.3" for item 3 of section 7b
	rows     map[string]bool // "F33": tables whose first cell says so
	text     string
}

var (
	heading  = regexp.MustCompile(`^#{1,6} +(?:(\d+[a-z]?(?:\.\d+)*)\.? +)?(.+?) *$`)
	item     = regexp.MustCompile(`^(\d+)\. `)
	faultRow = regexp.MustCompile(`^\| *(F\d\d) *\|`)
)

func parseDocument(text string) *document {
	d := &document{anchors: map[string]bool{}, sections: map[string]bool{}, rows: map[string]bool{}, text: text}
	section, fenced := "", false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if fenced {
			continue
		}
		if m := heading.FindStringSubmatch(line); m != nil {
			section = m[1]
			d.sections[section] = true
			d.titles = append(d.titles, m[2])
			d.anchors[anchor(strings.TrimLeft(line, "# "))] = true
			continue
		}
		if m := item.FindStringSubmatch(line); m != nil && section != "" {
			d.sections[section+"."+m[1]] = true
		}
		if m := faultRow.FindStringSubmatch(line); m != nil {
			d.rows[m[1]] = true
		}
	}
	delete(d.sections, "")
	return d
}

// anchor is the name that a heading gets in the page's address.
func anchor(title string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(title) {
		switch {
		case r == ' ' || r == '-':
			b.WriteByte('-')
		case r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r > 127:
			b.WriteRune(r)
		}
	}
	return b.String()
}

var (
	reference = regexp.MustCompile(`^(?:F\d\d\b|CVE-\d{4}-\d+|GHSA-[0-9a-z-]+|\d+[a-z]?(?:\.\d+)*\b)`)
	between   = regexp.MustCompile(`^(?:, | and | or |-)`)
	quoted    = regexp.MustCompile(`^,? "([^"]+)"`)
)

// missing returns what a citation names that d does not have; after is what
// follows the document's name: " F33 and 7b.5", ", Gates", `, "The fill"`, or
// anything else, which cites the document as a whole.
func (d *document) missing(after string) []string {
	if m := quoted.FindStringSubmatch(after); m != nil {
		if !slices.Contains(d.titles, m[1]) {
			return []string{m[1]}
		}
		return nil
	}
	if title, ok := strings.CutPrefix(after, ", "); ok && title != "" && title[0] >= 'A' && title[0] <= 'Z' {
		if !slices.ContainsFunc(d.titles, func(t string) bool { return beginsWith(title, t) }) {
			first, _, _ := strings.Cut(title, " ")
			return []string{first}
		}
		return nil
	}
	rest, ok := strings.CutPrefix(after, " ")
	var missing []string
	for ok {
		ref := reference.FindString(rest)
		if ref == "" {
			break
		}
		if !d.has(ref) {
			missing = append(missing, ref)
		}
		rest = rest[len(ref):]
		next := between.FindString(rest)
		rest, ok = rest[len(next):], next != ""
	}
	return missing
}

// beginsWith reports whether text begins with the words of title, and none of
// its own goes on where title ends.
func beginsWith(text, title string) bool {
	rest, ok := strings.CutPrefix(text, title)
	return ok && (rest == "" || !isWordByte(rest[0]))
}

func isWordByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_'
}

func (d *document) has(ref string) bool {
	switch {
	case strings.HasPrefix(ref, "F"):
		return d.rows[ref]
	case ref[0] >= '0' && ref[0] <= '9':
		return d.sections[ref]
	}
	return strings.Contains(d.text, ref)
}

// inTree reports whether the repository has a file or a directory.
func inTree(name string) bool {
	_, err := os.Stat(filepath.Join(root, filepath.FromSlash(name)))
	return err == nil
}

// namedPath matches a file or directory of ours that a document names.
var namedPath = regexp.MustCompile("`((?:internal|balancer|upstreams|healthcheck|cmd|examples|docs|\\.ci)/[A-Za-z0-9_./-]*)`")

// deadPaths returns the files that a document names and that are not there; a
// line may name what is to come, and says then that it is not built.
func deadPaths(s source, exists func(path string) bool) []string {
	var faults []string
	offset := 0
	for line := range strings.Lines(s.text) {
		for _, m := range namedPath.FindAllStringSubmatchIndex(line, -1) {
			if name := line[m[2]:m[3]]; !strings.Contains(line, "not built") && !exists(name) {
				faults = append(faults, fmt.Sprintf("%s names %s, which does not exist", s.at(offset+m[2]), name))
			}
		}
		offset += len(line)
	}
	return faults
}

// localLink matches a Markdown link to something in the repository.
var localLink = regexp.MustCompile(`\]\(([^():\s]+)\)`)

// deadLinks returns the links of a Markdown file that lead to no file, or to no
// heading of one.
func deadLinks(s source, documents map[string]*document) []string {
	var faults []string
	for _, m := range localLink.FindAllStringSubmatchIndex(s.text, -1) {
		link := s.text[m[2]:m[3]]
		to, name, _ := strings.Cut(link, "#")
		target := s.path
		if to != "" {
			target = path.Join(path.Dir(s.path), to)
		}
		d := documents[target]
		if d == nil {
			if name == "" && inTree(target) {
				continue
			}
			faults = append(faults, fmt.Sprintf("%s links to %s, which does not exist", s.at(m[0]), link))
			continue
		}
		if name != "" && !d.anchors[name] {
			faults = append(faults, fmt.Sprintf("%s links to %s: there is no such heading", s.at(m[0]), link))
		}
	}
	return faults
}

func TestCitationRuleBites(t *testing.T) {
	t.Parallel()
	const faults = "# Faults\n\n## 5. Advisories\n\n| CVE-2020-1 distribution |\n\n## 7b. Selection\n\n1. First.\n2. Second.\n\n## 8. Rows\n\n| F06 | x |\n| F18 | y |\n"
	const architecture = "# Architecture\n\n## Gates\n\n## The fill\n\n```\n## No heading\n```\n\n### 4.1 Hub\n"
	old := "FAUL" + "TS.md F06"
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"file", "docs/faults.md, docs/faults.md's, docs/faults.md: x", nil},
		{"row", "(docs/faults.md F06).", nil},
		{"rows", "docs/faults.md F06, F18 and 7b.2; docs/faults.md F06-F18", nil},
		{"wrapped", "\t// see docs/faults.md\n\t// F06, and so on", nil},
		{"section", "docs/faults.md 7b, docs/faults.md 7b.1).", nil},
		{"advisory", "docs/faults.md 5, CVE-2020-1 and kin", nil},
		{"explained", "docs/faults.md 5, quote remote text", nil},
		{"heading", "docs/architecture.md, Gates: cache", nil},
		{"heading with a full stop", "docs/architecture.md, The fill.", nil},
		{"quoted", "docs/architecture.md, \"The fill\")", nil},
		{"quoted over lines", "# docs/architecture.md, \"The\n# fill\"", nil},
		{"link", "[x](docs/faults.md#7b-selection) [y](docs/architecture.md) [z](README.md) [w](https://x.example/docs)", nil},
		{"no file", "docs/nothing.md 4", []string{"nothing.md, which does not exist"}},
		{"no row", "docs/faults.md F07", []string{"F07"}},
		{"no row behind one", "docs/faults.md F06, F07", []string{"F07"}},
		{"no row at the end of a range", "docs/faults.md F06-F20", []string{"F20"}},
		{"no row over lines", "// docs/faults.md\n// F07", []string{"F07"}},
		{"no section", "docs/faults.md 7", []string{"7, which"}},
		{"no item", "docs/faults.md 7b.3", []string{"7b.3"}},
		{"no advisory", "docs/faults.md 5, CVE-2020-12", []string{"CVE-2020-12"}},
		{"no heading", "docs/architecture.md, Names", []string{"Names"}},
		{"longer than a heading", "docs/architecture.md, Gateskeeper", []string{"Gateskeeper"}},
		{"no quoted heading", "docs/architecture.md, \"No heading\"", []string{"No heading"}},
		{"old paper", old, []string{"not in this repository"}},
		{"path", "`balancer/order.go` and `internal/x` (not built)", nil},
		{"dead path", "text\n`balancer/gone.go`", []string{"README.md:2 names balancer/gone.go"}},
		{"dead link", "[x](docs/gone.png)", []string{"does not exist"}},
		{"dead anchor", "[x](docs/faults.md#nowhere)", []string{"no such heading"}},
	} {
		texts := []source{{"docs/faults.md", faults}, {"docs/architecture.md", architecture}, {"README.md", tt.text}}
		got := citations(texts, func(path string) bool { return path == "balancer/order.go" })
		if len(got) != len(tt.want) {
			t.Errorf("%s: faults %q, want %d", tt.name, got, len(tt.want))
			continue
		}
		for i, want := range tt.want {
			if !strings.Contains(got[i], want) || !strings.HasPrefix(got[i], "README.md:") {
				t.Errorf("%s: fault %q, want one with %q", tt.name, got[i], want)
			}
		}
	}
}
