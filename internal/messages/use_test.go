package messages_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pullchain/pullchain/internal/messages"
)

// sources are the folders whose programs speak by the catalogue.
var sources = []string{"../admin", "../cli", "../dashboard", "../diagnose", "../front", ".", "../notify", "../setup"}

// parseSources returns the programs' files, without their tests.
func parseSources(t *testing.T) []*ast.File {
	t.Helper()
	var out []*ast.File
	for _, dir := range sources {
		paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(paths) == 0 {
			t.Fatalf("no program in %s: %v", dir, err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, f)
		}
	}
	return out
}

// Every key that a program names must exist, and every key that exists must be
// said somewhere.
func TestKeysAreUsedAndThere(t *testing.T) {
	t.Parallel()
	catalogue := messages.In(messages.English)
	used := map[string]bool{}
	var prefixes []string // of keys that are put together
	for _, f := range parseSources(t) {
		ast.Inspect(f, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, _ := strconv.Unquote(lit.Value)
			for _, m := range regexp.MustCompile(`\$\{(help_[a-z_]+)\}`).FindAllStringSubmatch(text, -1) {
				used[strings.Replace(m[1], "_", ".", 1)] = true
			}
			switch {
			case isKey(catalogue, text):
				used[text] = true
			case strings.HasSuffix(text, ".") && isKey(catalogue, text+"x"):
				prefixes = append(prefixes, text)
			}
			return true
		})
	}
	for _, key := range templateKeys(t) {
		used[key] = true
	}
	for key := range used {
		if !catalogue.Has(key) {
			t.Errorf("%s is said and has no text", key)
		}
	}
	for _, key := range catalogue.Keys() {
		composed := slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(key, p) })
		if !used[key] && !composed {
			t.Errorf("%s has a text and is never said", key)
		}
	}
}

// templateKeys are the keys in the templates of pages: {{.Text "login.title"}}, {{t "dash.chains"}}.
func templateKeys(t *testing.T) []string {
	t.Helper()
	var keys []string
	paths, err := filepath.Glob("../*/html/*.html")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no templates: %v", err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\b(?:Text|t) "([a-z0-9_.]+)"`).FindAllStringSubmatch(string(text), -1) {
			keys = append(keys, m[1])
		}
	}
	return keys
}

// isKey reports whether a string is in the form of a key of one of the
// catalogue's tables.
func isKey(catalogue *messages.Catalogue, s string) bool {
	if !regexp.MustCompile(`^[a-z]+(\.[a-z0-9_]+)+$`).MatchString(s) {
		return false
	}
	table, _, _ := strings.Cut(s, ".")
	return slices.ContainsFunc(catalogue.Keys(), func(k string) bool { return strings.HasPrefix(k, table+".") })
}

// The values that a program gives must be those that the text has places for.
func TestPlaceholdersAreFilled(t *testing.T) {
	t.Parallel()
	catalogue := messages.In(messages.English)
	checked := 0
	for _, f := range parseSources(t) {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			fun, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains([]string{"Text", "say", "line"}, fun.Sel.Name) {
				return true
			}
			key, ok := literal(call.Args[0])
			if !ok || !catalogue.Has(key) {
				return true
			}
			checked++
			given := []string{}
			for i := 1; i < len(call.Args); i += 2 {
				name, _ := literal(call.Args[i])
				given = append(given, "{"+name+"}")
			}
			slices.Sort(given)
			if diff := cmp.Diff(slices.Compact(append([]string{}, placeholders(catalogue.Text(key))...)), given); diff != "" {
				t.Errorf("%s, places (-) and values (+):\n%s", key, diff)
			}
			return true
		})
	}
	if checked < 40 {
		t.Errorf("only %d uses were found: has the way to say things changed?", checked)
	}
}

func literal(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}
