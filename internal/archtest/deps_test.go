package archtest

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// update writes anew what this package keeps in files: the list of modules, with
// the help of the go command,
//
//	go test ./internal/archtest -run TestModules -update
//
// and what the documents say of the tests and of the rooms.
var update = flag.Bool("update", false, "rewrite "+depsFile+" and the generated parts of docs/")

const (
	depsFile  = "testdata/deps.txt"
	command   = "cmd/pullchain"
	maxDirect = 23 // direct requirements (CONTRIBUTING.md, Dependencies)
)

const depsHeader = `# The modules of go.mod: "binary" for what is linked into pullchain, "other" for
# what only tests and tools need. A new line here is a decision to review.
# Made by: go test ./internal/archtest -run TestModules -update
`

// A requirement is one line of go.mod.
type requirement struct {
	module string
	direct bool
}

// TestModules makes a new dependency show in a review: as a line of deps.txt.
func TestModules(t *testing.T) {
	required := parseGoMod(read(t, filepath.Join(root, "go.mod")))
	if *update {
		writeDeps(t, required)
	}
	listed, err := parseDeps(read(t, depsFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range slices.Concat(tooMany(required), diffDeps(required, listed), unlisted(load(t), required, listed)) {
		t.Error(fault)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// parseGoMod returns the requirements of a go.mod that the go command wrote.
func parseGoMod(text string) []requirement {
	var required []requirement
	inBlock := false
	for line := range strings.Lines(text) {
		code, comment, _ := strings.Cut(line, "//")
		words := strings.Fields(code)
		switch {
		case len(words) == 2 && words[0] == "require" && words[1] == "(":
			inBlock = true
			continue
		case len(words) > 0 && words[0] == ")":
			inBlock = false
		case len(words) == 3 && words[0] == "require":
			words = words[1:]
		case !inBlock:
			continue
		}
		if len(words) == 2 {
			required = append(required, requirement{words[0], strings.TrimSpace(comment) != "indirect"})
		}
	}
	return required
}

// parseDeps returns what each module of deps.txt is: "binary" or "other".
func parseDeps(text string) (map[string]string, error) {
	listed := make(map[string]string)
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words) != 2 || words[0] != "binary" && words[0] != "other" || listed[words[1]] != "" {
			return nil, fmt.Errorf("%s: bad line %q", depsFile, line)
		}
		listed[words[1]] = words[0]
	}
	return listed, nil
}

func tooMany(required []requirement) []string {
	direct := 0
	for _, r := range required {
		if r.direct {
			direct++
		}
	}
	if direct > maxDirect {
		return []string{fmt.Sprintf("go.mod has %d direct requirements, more than %d", direct, maxDirect)}
	}
	return nil
}

// diffDeps compares the modules of go.mod with those of deps.txt.
func diffDeps(required []requirement, listed map[string]string) []string {
	var faults []string
	inGoMod := make(map[string]bool)
	for _, r := range required {
		inGoMod[r.module] = true
		if listed[r.module] == "" {
			faults = append(faults, fmt.Sprintf("go.mod requires %s, which %s does not list: see there how to update it", r.module, depsFile))
		}
	}
	for module := range listed {
		if !inGoMod[module] {
			faults = append(faults, fmt.Sprintf("%s lists %s, which go.mod does not require", depsFile, module))
		}
	}
	slices.Sort(faults)
	return faults
}

// unlisted follows the imports of the command through our own packages, and
// wants each module that they name listed as part of the binary.
func unlisted(files []*file, required []requirement, listed map[string]string) []string {
	imports := make(map[string][]string) // directory -> imports of its code
	for _, f := range files {
		if !f.isTest() {
			imports[f.dir] = append(imports[f.dir], f.imports...)
		}
	}
	if imports[command] == nil {
		return []string{"there is no " + command}
	}
	faults := make(map[string]bool)
	seen := map[string]bool{command: true}
	for queue := []string{command}; len(queue) > 0; queue = queue[1:] {
		for _, imported := range imports[queue[0]] {
			dir, ours := inModule(imported)
			switch {
			case isStd(imported):
			case !ours:
				if m := moduleOf(imported, required); listed[m] != "binary" {
					faults[fmt.Sprintf("%s imports %s of module %q, which %s does not list as binary", queue[0], imported, m, depsFile)] = true
				}
			case !seen[dir]:
				seen[dir] = true
				queue = append(queue, dir)
			}
		}
	}
	return sortedKeys(faults)
}

// moduleOf returns the required module with the longest path that holds the
// package, or nothing.
func moduleOf(imported string, required []requirement) string {
	best := ""
	for _, r := range required {
		if (imported == r.module || strings.HasPrefix(imported, r.module+"/")) && len(r.module) > len(best) {
			best = r.module
		}
	}
	return best
}

func sortedKeys(set map[string]bool) []string {
	keys := make([]string, 0, len(set))
	for key := range set {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// writeDeps asks the go command which modules the binary needs, on each system
// that it is built for.
func writeDeps(t *testing.T, required []requirement) {
	t.Helper()
	linked := make(map[string]bool)
	for _, goos := range []string{"linux", "darwin", "windows"} {
		list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./"+command)
		list.Dir = root
		list.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
		list.Stderr = os.Stderr
		out, err := list.Output()
		if err != nil {
			t.Fatalf("go list for %s: %v", goos, err)
		}
		for _, module := range strings.Fields(string(out)) {
			linked[module] = true
		}
	}
	var binary, other []string
	for _, r := range required {
		if linked[r.module] {
			binary = append(binary, "binary "+r.module+"\n")
		} else {
			other = append(other, "other "+r.module+"\n")
		}
	}
	slices.Sort(binary)
	slices.Sort(other)
	text := depsHeader + strings.Join(binary, "") + strings.Join(other, "")
	if err := os.WriteFile(depsFile, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestModuleRulesBite(t *testing.T) {
	t.Parallel()
	goMod := "module m\n\ngo 1.26\n\nrequire a.example/one v1.0.0\n\nrequire (\n\tb.example/two/v2 v2.0.0 // indirect\n\tb.example/two/v2/deep v2.0.0 // pinned\n)\n\ntool x.example/y\n\nreplace (\n\tc.example/z => d.example/z v1.0.0\n)\n"
	required := parseGoMod(goMod)
	want := []requirement{{"a.example/one", true}, {"b.example/two/v2", false}, {"b.example/two/v2/deep", true}}
	if !slices.Equal(required, want) {
		t.Fatalf("parseGoMod = %v, want %v", required, want)
	}
	if got := moduleOf("b.example/two/v2/deep/x", required); got != "b.example/two/v2/deep" {
		t.Errorf("moduleOf = %q", got)
	}
	if got := tooMany(slices.Repeat(required[:1], maxDirect+1)); len(got) != 1 {
		t.Errorf("tooMany of %d = %q", maxDirect+1, got)
	}
	if got := tooMany(slices.Repeat(required[1:2], 99)); len(got) != 0 {
		t.Errorf("tooMany of indirect ones = %q", got)
	}

	listed, err := parseDeps("# c\nbinary a.example/one\n\nother b.example/two/v2\nother gone.example/x\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := diffDeps(required, listed); len(got) != 2 || !strings.Contains(got[0], "v2/deep") || !strings.Contains(got[1], "gone.example") {
		t.Errorf("diffDeps = %q", got)
	}
	for _, bad := range []string{"a.example/one", "direct a.example/one", "binary a\nother a"} {
		if got, err := parseDeps(bad); err == nil {
			t.Errorf("parseDeps(%q) = %v", bad, got)
		}
	}

	files := parseAll(t, []source{
		{"cmd/pullchain/main.go", "package main\nimport \"" + modulePath + "/balancer\"\n"},
		{"balancer/a.go", "package balancer\nimport (\"fmt\"; \"a.example/one/x\"; \"b.example/two/v2\"; \"nowhere.example/y\"; \"" + modulePath + "\")\n"},
		{"balancer/a_test.go", "package balancer\nimport \"t.example/only\"\n"},
		{"apart/a.go", "package apart\nimport \"u.example/unused\"\n"},
	})
	if got := unlisted(files, required, listed); len(got) != 2 || !strings.Contains(got[0], "two/v2") || !strings.Contains(got[1], "nowhere.example") {
		t.Errorf("unlisted = %q", got)
	}
}
