package archtest

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// modulePath is the module that these rules are about.
const modulePath = "github.com/pullchain/pullchain"

// root is the directory of go.mod, seen from this package.
const root = "../.."

// A file is one parsed source file.
type file struct {
	path    string // slash-separated, from the module's root
	dir     string // of path; "." for the root package
	lines   int
	fset    *token.FileSet
	ast     *ast.File
	imports []string
}

func (f *file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// at says where n is, for a fault.
func (f *file) at(n ast.Node) string {
	return f.path + ":" + strconv.Itoa(f.fset.Position(n.Pos()).Line)
}

func parse(name string, source []byte) (*file, error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	f := &file{path: name, dir: path.Dir(name), lines: bytes.Count(source, []byte("\n")), fset: fset, ast: tree}
	for _, spec := range tree.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		f.imports = append(f.imports, imported)
	}
	return f, nil
}

// load parses every Go file of the module, and none of a module nested in it.
func load(t *testing.T) []*file {
	t.Helper()
	var files []*file
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name != root && skipDir(name, entry.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		short, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		f, err := parse(filepath.ToSlash(short), source)
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("found only %d Go files below %s", len(files), root)
	}
	return files
}

func skipDir(name, base string) bool {
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "vendor" || base == "node_modules" {
		return true
	}
	_, err := os.Stat(filepath.Join(name, "go.mod"))
	return err == nil
}

// A source is a file of a test, by its path.
type source struct{ path, text string }

func parseAll(t *testing.T, sources []source) []*file {
	t.Helper()
	var files []*file
	for _, s := range sources {
		f, err := parse(s.path, []byte(s.text))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// A rule returns one line for each place where files break it.
type rule func(files []*file) []string

// hold fails for each fault that check finds in the tree.
func hold(t *testing.T, check rule) {
	t.Helper()
	for _, fault := range check(load(t)) {
		t.Error(fault)
	}
}

// A bite is a small tree with faults, or with none; faults are given by the
// words that each of them holds.
type bite struct {
	name    string
	sources []source
	want    []string
}

// bites makes sure that check can fail: it runs it on trees made to break it.
func bites(t *testing.T, check rule, tests []bite) {
	t.Helper()
	for _, tt := range tests {
		got := check(parseAll(t, tt.sources))
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
}
