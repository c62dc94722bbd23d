package archtest

import (
	"fmt"
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// faultsFile is where each fault has its row, each row its tests, and each code
// of a failure its meaning.
const faultsFile = "docs/faults.md"

// TestFaultRows holds docs/faults.md against the tests: each row names what
// proves it, each test that is named after a row has one, and each test that any
// document names exists. What the rows say of tests named after them is written
// by the tree itself:
//
//	go test ./internal/archtest -run TestFaultRows -update
func TestFaultRows(t *testing.T) {
	files := load(t)
	texts := loadTexts(t)
	if *update {
		updateTests(t, testsOf(files), texts)
		texts = loadTexts(t)
	}
	for _, fault := range slices.Concat(faultRows(files, texts), unknownTests(files, texts), codesTold(files, texts)) {
		t.Error(fault)
	}
}

// testsOf returns the names of all tests, each with its package before it:
// "front.TestF32_SlowClient".
func testsOf(files []*file) []string {
	var names []string
	for _, f := range files {
		if !f.isTest() {
			continue
		}
		for _, decl := range f.ast.Decls {
			if d, ok := decl.(*ast.FuncDecl); ok && d.Recv == nil && isTestName(d.Name.Name) {
				names = append(names, shortName(f.dir)+"."+d.Name.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// shortName is what a package is called in front of its names.
func shortName(dir string) string {
	if dir == "." {
		return path.Base(modulePath)
	}
	return path.Base(dir)
}

func isTestName(name string) bool {
	for _, prefix := range []string{"Test", "Fuzz", "Benchmark", "Example"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && rest != "Main" {
			return true
		}
	}
	return false
}

var (
	rowsOfName = regexp.MustCompile(`^[a-z0-9]+\.Test((?:_?F\d\d)+)`)
	rowOfName  = regexp.MustCompile(`F\d\d`)

	// namedTest matches a test that a document names.
	namedTest = regexp.MustCompile("`([a-z0-9]+\\.(?:Test|Fuzz|Benchmark|Example)\\w+)`")

	// testLine matches what the section of tests says of one row.
	testLine = regexp.MustCompile(`^- \*\*(F\d\d)\*\*(?: (.*))?$`)
)

// rowsOf returns the rows that a test is named after: F11, F12 and F13 of
// TestF11_F12_F13_ServerErrors.
func rowsOf(test string) []string {
	m := rowsOfName.FindStringSubmatch(test)
	if m == nil {
		return nil
	}
	return rowOfName.FindAllString(m[1], -1)
}

// faultRows wants each row of the table told with its tests, in words that say
// so where there is none, and each test that bears a row's name told with it.
func faultRows(files []*file, texts []source) []string {
	text := textOf(texts, faultsFile)
	rows := parseDocument(text).rows
	told := make(map[string]string)
	for line := range strings.Lines(text) {
		if m := testLine.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			told[m[1]] += m[2] + " "
		}
	}
	var faults []string
	for _, row := range sortedKeys(rows) {
		if !namedTest.MatchString(told[row]) && !strings.Contains(told[row], "no test yet") && !strings.Contains(told[row], "not built") {
			faults = append(faults, fmt.Sprintf("%s: row %s names no test", faultsFile, row))
		}
	}
	for row := range told {
		if !rows[row] {
			faults = append(faults, fmt.Sprintf("%s tells the tests of %s, which has no row", faultsFile, row))
		}
	}
	for _, test := range testsOf(files) {
		for _, row := range rowsOf(test) {
			if !rows[row] {
				faults = append(faults, fmt.Sprintf("%s is named after %s, which has no row in %s", test, row, faultsFile))
			} else if !strings.Contains(told[row], "`"+test+"`") {
				faults = append(faults, fmt.Sprintf("%s: row %s does not name %s: see TestFaultRows how to update it", faultsFile, row, test))
			}
		}
	}
	return faults
}

// unknownTests wants each test that a document names to exist.
func unknownTests(files []*file, texts []source) []string {
	tests := testsOf(files)
	var faults []string
	for _, s := range texts {
		if !strings.HasSuffix(s.path, ".md") {
			continue
		}
		for _, m := range namedTest.FindAllStringSubmatchIndex(s.text, -1) {
			if name := s.text[m[2]:m[3]]; !slices.Contains(tests, name) {
				faults = append(faults, fmt.Sprintf("%s names the test %s, which does not exist", s.at(m[0]), name))
			}
		}
	}
	return faults
}

var codeRow = regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\|")

// codesTold wants the table of codes to be that of reason.go.
func codesTold(files []*file, texts []source) []string {
	inCode, inTable := make(map[string]bool), make(map[string]bool)
	for _, f := range files {
		if f.path != "reason.go" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Code" && len(spec.Values) == 1 {
				if value, ok := spec.Values[0].(*ast.BasicLit); ok {
					word, _ := strconv.Unquote(value.Value)
					inCode[word] = true
				}
			}
			return true
		})
	}
	for _, m := range codeRow.FindAllStringSubmatch(textOf(texts, faultsFile), -1) {
		inTable[m[1]] = true
	}
	var faults []string
	for _, word := range sortedKeys(inCode) {
		if !inTable[word] {
			faults = append(faults, fmt.Sprintf("%s does not tell of the code %q of reason.go", faultsFile, word))
		}
	}
	for _, word := range sortedKeys(inTable) {
		if !inCode[word] {
			faults = append(faults, fmt.Sprintf("%s tells of the code %q, which reason.go does not have", faultsFile, word))
		}
	}
	return faults
}

func textOf(texts []source, name string) string {
	for _, s := range texts {
		if s.path == name {
			return s.text
		}
	}
	return ""
}

// updateTests writes the names of tests in the documents anew: those that bear
// a row's name go to that row, and one that has moved to another package, and
// is alone in its name there, is followed.
func updateTests(t *testing.T, tests []string, texts []source) {
	t.Helper()
	for _, s := range texts {
		if !strings.HasSuffix(s.path, ".md") {
			continue
		}
		text := namedTest.ReplaceAllStringFunc(s.text, func(name string) string { return "`" + moved(strings.Trim(name, "`"), tests) + "`" })
		if s.path == faultsFile {
			text = rewriteRows(text, tests)
		}
		if text == s.text {
			continue
		}
		if err := os.WriteFile(filepath.Join(root, filepath.FromSlash(s.path)), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// moved returns where a test is now, or name if that is not certain.
func moved(name string, tests []string) string {
	if slices.Contains(tests, name) {
		return name
	}
	_, bare, _ := strings.Cut(name, ".")
	found := ""
	for _, test := range tests {
		if strings.HasSuffix(test, "."+bare) {
			if found != "" {
				return name
			}
			found = test
		}
	}
	if found == "" {
		return name
	}
	return found
}

// rewriteRows puts the tests that bear a row's name into the line of that row,
// behind those that a person has put there.
func rewriteRows(text string, tests []string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		m := testLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			out.WriteString(line)
			continue
		}
		var names []string
		for _, named := range namedTest.FindAllStringSubmatch(m[2], -1) {
			if len(rowsOf(named[1])) == 0 {
				names = append(names, "`"+named[1]+"`")
			}
		}
		for _, test := range tests {
			if slices.Contains(rowsOf(test), m[1]) {
				names = append(names, "`"+test+"`")
			}
		}
		if len(names) == 0 {
			out.WriteString(line)
			continue
		}
		out.WriteString("- **" + m[1] + "** " + strings.Join(names, ", ") + "\n")
	}
	return out.String()
}

func TestFaultRowRulesBite(t *testing.T) {
	t.Parallel()
	files := parseAll(t, []source{
		{"balancer/a_test.go", "package balancer\nfunc TestF01_Refused(){}\nfunc TestF02F03Both(){}\nfunc TestOther(){}\nfunc TestMain(){}"},
		{"a_test.go", "package pullchain\nfunc TestRoot(){}"},
		{"reason.go", "package pullchain\ntype Code string\nconst (\nCodeA Code = \"a\"\nCodeB Code = \"b\"\n)\nconst other = \"c\""},
	})
	const table = "| F01 | x |\n| F02 | x |\n| F03 | x |\n"
	const codes = "| `a` | x |\n| `b` | x |\n"
	const good = "- **F01** `balancer.TestF01_Refused`\n- **F02** `balancer.TestF02F03Both`, `balancer.TestOther`\n- **F03** `balancer.TestF02F03Both`\n"
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"good", table + codes + good, nil},
		{"no test yet", table + "| F04 | x |\n" + codes + good + "- **F04** no test yet\n", nil},
		{"no line", table + "| F04 | x |\n" + codes + good, []string{"row F04 names no test"}},
		{"no test named", table + "| F04 | x |\n" + codes + good + "- **F04** soon\n", []string{"row F04 names no test"}},
		{"line without a row", table + codes + good + "- **F05** `balancer.TestOther`\n", []string{"F05, which has no row"}},
		{"test without a row", strings.Replace(table, "| F03 | x |\n", "", 1) + codes + strings.Replace(good, "- **F03** `balancer.TestF02F03Both`\n", "", 1), []string{"named after F03"}},
		{"test that is not told", table + codes + strings.Replace(good, "- **F03** `balancer.TestF02F03Both`", "- **F03** `pullchain.TestRoot`", 1), []string{"does not name balancer.TestF02F03Both"}},
		{"test that is not there", table + codes + good + "see `balancer.TestGone`", []string{"balancer.TestGone, which does not exist"}},
		{"code that is not told", table + "| `a` | x |\n" + good, []string{`the code "b"`}},
		{"code that is not there", table + codes + "| `c` | x |\n" + good, []string{`the code "c"`}},
	} {
		texts := []source{{faultsFile, tt.text}}
		got := slices.Concat(faultRows(files, texts), unknownTests(files, texts), codesTold(files, texts))
		if len(got) != len(tt.want) {
			t.Errorf("%s: faults %q, want %d", tt.name, got, len(tt.want))
			continue
		}
		for i, want := range tt.want {
			if !strings.Contains(got[i], want) {
				t.Errorf("%s: fault %q, want one with %q", tt.name, got[i], want)
			}
		}
	}
	tests := testsOf(files)
	stale := "- **F01** no test yet\n- **F02** `cache.TestOther`, `balancer.TestF02Old`\n- **F03** not built\ntext\n"
	want := "- **F01** `balancer.TestF01_Refused`\n- **F02** `cache.TestOther`, `balancer.TestF02F03Both`\n- **F03** `balancer.TestF02F03Both`\ntext\n"
	if got := rewriteRows(stale, tests); got != want {
		t.Errorf("rewriteRows = %q, want %q", got, want)
	}
	for name, want := range map[string]string{"cache.TestOther": "balancer.TestOther", "balancer.TestOther": "balancer.TestOther", "cache.TestGone": "cache.TestGone"} {
		if got := moved(name, tests); got != want {
			t.Errorf("moved(%q) = %q, want %q", name, got, want)
		}
	}
}
