package archtest

import (
	"fmt"
	"go/ast"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// persons are words for people. Code has callers, readers, requests and lanes,
// and a comment that says which of them it means is shorter and clearer.
var persons = regexp.MustCompile(`\b([Ww]ho|[Ww]hom|[Ww]hoever|[Nn]obody|[Ss]omebody|[Aa]nybody)\b`)

// spoken matches what a comment quotes: words of a specification, of a test or
// of a person, which are not ours to change.
var spoken = regexp.MustCompile("\"[^\"]*\"|`[^`]*`|“[^”]*”")

func TestCommentsNameTheirActors(t *testing.T) {
	t.Parallel()
	hold(t, noPersons)
}

// noPersons looks at the comments of code that is not a test.
func noPersons(files []*file) []string {
	var faults []string
	for _, f := range files {
		if f.isTest() || ast.IsGenerated(f.ast) {
			continue
		}
		for _, group := range f.ast.Comments {
			text := spoken.ReplaceAllStringFunc(rawText(group), blank)
			for i, line := range strings.Split(text, "\n") {
				for _, word := range persons.FindAllString(line, -1) {
					faults = append(faults, fmt.Sprintf("%s:%d: the comment says %q: say which caller, reader, request or lane",
						f.path, f.fset.Position(group.Pos()).Line+i, word))
				}
			}
		}
	}
	return faults
}

// rawText is the text of a group as it stands, so that its lines can be counted.
func rawText(group *ast.CommentGroup) string {
	var lines []string
	for _, c := range group.List {
		lines = append(lines, c.Text)
	}
	return strings.Join(lines, "\n")
}

// blank is text with nothing in it but its line breaks.
func blank(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return r
		}
		return ' '
	}, text)
}

// A retirement is a word that this code had for something for which the field
// has one (docs/glossary.md, Retired words).
type retirement struct {
	old string // a word inside of an identifier, in lower case; with a capital first: the whole identifier
	new string
	in  []string // directories where it meant that; none means everywhere
}

var retired = []retirement{
	{"shut", "closed", []string{"balancer"}},
	{"guess", "overridable", []string{"balancer"}},
	{"Met", "recorded", nil},
	{"met", "recorded", nil},
	{"Terms", "FetchOptions", nil},
	{"Spare", "NoForce", nil},
	{"spare", "noForce", []string{".", "balancer", "internal/cache", "internal/fill"}},
	{"Helper", "Speculative", nil},
	{"trail", "attemptLog", nil},
	{"leg", "attempt", []string{"balancer", "internal/cache", "internal/fill"}},
	{"legs", "attempts", []string{"balancer", "internal/cache", "internal/fill"}},
	{"told", "attempt log", []string{"balancer", "internal/cache", "internal/fill"}},
	{"latch", "failbackHold", nil},
	{"wish", "adminState", nil},
	{"vouch", "grace", []string{"balancer", "internal/cache", "internal/fill"}},
	{"vouched", "grace", []string{"balancer", "internal/cache", "internal/fill"}},
	{"grave", "failureThreshold", nil},
	{"unheard", "not yet connected", nil},
	{"mute", "not yet connected", nil},
	{"aside", "quarantine", []string{"internal/blobstore"}},
	{"card", "sidecar", []string{"internal/blobstore"}},
	{"label", "header", []string{"internal/blobstore"}},
	{"accuse", "attribute", nil},
	{"liar", "mismatch", nil},
	{"liars", "mismatch", nil},
	{"suspect", "mismatch", nil},
	{"suspects", "mismatch", nil},
	{"outvoted", "size conflict", nil},
	{"crowded", "backoff", nil},
	{"growth", "rampUp", []string{"internal/cache", "internal/fill"}},
	{"aim", "target", nil},
	{"doomed", "toDelete", nil},
	{"census", "count", nil},
	{"stash", "cacheClient", nil},
	{"plane", "adminClient", []string{"internal/cli"}},
	{"passage", "route", nil},
	{"stretch", "download", nil},
	{"rebuff", "apiError", nil},
	{"mention", "imageRef", nil},
	{"lonely", "detached", nil},
	{"anew", "retry", []string{"internal/cache", "internal/fill"}},
	{"evidence", "canary", []string{"balancer"}},
	{"Book", "Catalogue", nil},
	{"phrase", "message", []string{"internal/admin", "internal/admin/phrase", "internal/messages", "internal/cli"}}, // front has the reason-phrase of RFC 9112
}

func TestRetiredWords(t *testing.T) {
	t.Parallel()
	hold(t, noRetired)
}

// noRetired looks at the names that code declares; what other modules call
// theirs is not ours.
func noRetired(files []*file) []string {
	var faults []string
	for _, f := range files {
		if f.isTest() || ast.IsGenerated(f.ast) {
			continue
		}
		names := append(declared(f.ast), ast.NewIdent(f.ast.Name.Name))
		names[len(names)-1].NamePos = f.ast.Name.NamePos
		for _, name := range names {
			for _, r := range retired {
				if r.means(name.Name, f.dir) {
					faults = append(faults, fmt.Sprintf("%s: %s: say %s, not %s (docs/glossary.md)", f.at(name), name.Name, r.new, r.old))
				}
			}
		}
	}
	return faults
}

func (r retirement) means(name, dir string) bool {
	if len(r.in) > 0 && !slices.Contains(r.in, dir) {
		return false
	}
	if r.old != strings.ToLower(r.old) {
		return name == r.old
	}
	return slices.Contains(words(name), r.old)
}

// declared returns the identifiers that a file declares: types, functions,
// fields, parameters, constants and variables.
func declared(tree *ast.File) []*ast.Ident {
	var names []*ast.Ident
	add := func(list ...*ast.Ident) { names = append(names, list...) }
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			add(n.Name)
		case *ast.TypeSpec:
			add(n.Name)
		case *ast.Field:
			add(n.Names...)
		case *ast.ValueSpec:
			add(n.Names...)
		case *ast.AssignStmt:
			if n.Tok.String() != ":=" {
				break
			}
			for _, left := range n.Lhs {
				if name, ok := left.(*ast.Ident); ok {
					add(name)
				}
			}
		case *ast.RangeStmt:
			for _, expr := range []ast.Expr{n.Key, n.Value} {
				if name, ok := expr.(*ast.Ident); ok && n.Tok.String() == ":=" {
					add(name)
				}
			}
		}
		return true
	})
	return names
}

// words cuts an identifier into its words, in lower case.
func words(name string) []string {
	var out []string
	var word []rune
	runes := []rune(name)
	flush := func() {
		if len(word) > 0 {
			out = append(out, strings.ToLower(string(word)))
			word = nil
		}
	}
	for i, r := range runes {
		capital := unicode.IsUpper(r) && i > 0 && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if r == '_' || capital {
			flush()
		}
		if r != '_' {
			word = append(word, r)
		}
	}
	flush()
	return out
}

func TestWordRulesBite(t *testing.T) {
	t.Parallel()
	bites(t, noPersons, []bite{
		{"good", []source{{"a.go", "// The caller closes it; a whole whorl; says \"nobody\" and `who`.\npackage a"}}, nil},
		{"quoted over lines", []source{{"a.go", "// As it says \"and\n// nobody else\".\npackage a"}}, nil},
		{"tests", []source{{"a_test.go", "// Who knows.\npackage a"}}, nil},
		{"bad", []source{{"a.go", "// Nobody knows\n// who.\npackage a\nvar x = 1 // whoever\nvar s = \"who\""}}, []string{"a.go:1: the comment says \"Nobody\"", "a.go:2", "a.go:4"}},
		{"block", []source{{"a.go", "/* For\nsomebody. */\npackage a"}}, []string{"a.go:2"}},
	})
	bites(t, noRetired, []bite{
		{"good", []source{{"balancer/a.go", "package balancer\ntype gate struct{ closed bool }\nfunc shutdown(claim int) { t.Helper(); ctx := p.Terms; _ = ctx }"}}, nil},
		{"elsewhere", []source{{"internal/simnet/a.go", "package simnet\nfunc shut(card, label, evidence int) {}"}}, nil},
		{"tests", []source{{"balancer/a_test.go", "package balancer\nvar trail int"}}, nil},
		{"declarations", []source{{"balancer/a.go", "package balancer\ntype shut struct{ vouchedFor bool }\nfunc (s *shut) Guess(trail int) (mute bool) { latchTime := 1; for leg := range x {}; var wish int }\nconst gateGrave = 1"}},
			[]string{"closed", "grace", "overridable", "attemptLog", "not yet connected", "failbackHold", "attempt,", "adminState", "failureThreshold"}},
		{"whole identifier", []source{{"a.go", "package pullchain\ntype Terms struct { Spare bool; NoForce bool }\nfunc HelperOf() {}"}}, []string{"FetchOptions", "NoForce", "noForce"}},
		{"package", []source{{"internal/admin/phrase/a.go", "package phrase"}}, []string{"message"}},
	})
	for name, want := range map[string]string{"errAnew": "err anew", "HTTPServer": "http server", "serveHTTP2": "serve http2", "gate_cold": "gate cold", "x": "x"} {
		if got := strings.Join(words(name), " "); got != want {
			t.Errorf("words(%q) = %q, want %q", name, got, want)
		}
	}
}
