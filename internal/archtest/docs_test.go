package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

func TestPackageComments(t *testing.T) {
	t.Parallel()
	hold(t, onePackageComment)
}

// onePackageComment wants the job of each package said once, in one place.
func onePackageComment(files []*file) []string {
	where := make(map[string][]string) // directory and package -> files with a comment
	for _, f := range files {
		key := f.dir + " " + f.ast.Name.Name
		if strings.HasSuffix(key, "_test") {
			continue // the outside half of a package's tests
		}
		where[key] = append(where[key], commented(f)...)
	}
	var faults []string
	for key, places := range where {
		if len(places) != 1 {
			dir, name, _ := strings.Cut(key, " ")
			faults = append(faults, fmt.Sprintf("package %s in %s has %d package comments, not one: %q", name, dir, len(places), places))
		}
	}
	slices.Sort(faults)
	return faults
}

func commented(f *file) []string {
	if f.ast.Doc == nil || strings.TrimSpace(f.ast.Doc.Text()) == "" {
		return nil
	}
	return []string{f.path}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	t.Parallel()
	hold(t, exportedDocumented)
}

// exportedDocumented wants a comment on each exported name that another package
// can reach. The comment of a group of constants or variables speaks for all in
// it. Error is what the error interface says it is.
func exportedDocumented(files []*file) []string {
	var faults []string
	for _, f := range files {
		if f.isTest() || f.ast.Name.Name == "main" || ast.IsGenerated(f.ast) {
			continue
		}
		for _, decl := range f.ast.Decls {
			for _, name := range undocumented(decl) {
				faults = append(faults, fmt.Sprintf("%s: exported %s has no comment", f.at(name), name.Name))
			}
		}
	}
	return faults
}

func undocumented(decl ast.Decl) []*ast.Ident {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		reached := d.Name.IsExported() && (d.Recv == nil || receiver(d).IsExported() && d.Name.Name != "Error")
		if reached && empty(d.Doc) {
			return []*ast.Ident{d.Name}
		}
	case *ast.GenDecl:
		var names []*ast.Ident
		for _, spec := range d.Specs {
			names = append(names, undocumentedSpec(d, spec)...)
		}
		return names
	}
	return nil
}

func undocumentedSpec(d *ast.GenDecl, spec ast.Spec) []*ast.Ident {
	var names []*ast.Ident
	switch s := spec.(type) {
	case *ast.TypeSpec:
		alone := len(d.Specs) == 1 && !empty(d.Doc)
		if alone || !empty(s.Doc) || !empty(s.Comment) {
			return nil
		}
		names = []*ast.Ident{s.Name}
	case *ast.ValueSpec:
		if d.Tok == token.IMPORT || !empty(d.Doc) || !empty(s.Doc) || !empty(s.Comment) {
			return nil
		}
		names = s.Names
	}
	return slices.DeleteFunc(slices.Clone(names), func(n *ast.Ident) bool { return !n.IsExported() })
}

func empty(c *ast.CommentGroup) bool { return strings.TrimSpace(c.Text()) == "" }

// receiver returns the name of a method's type.
func receiver(d *ast.FuncDecl) *ast.Ident {
	expr := d.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		case *ast.Ident:
			return e
		default:
			return ast.NewIdent("_")
		}
	}
}

func TestDocRulesBite(t *testing.T) {
	t.Parallel()
	bites(t, onePackageComment, []bite{
		{"one", []source{{"a/a.go", "// Package a is.\npackage a"}, {"a/b.go", "package a"}, {"a/c_test.go", "// Outside.\npackage a_test"}}, nil},
		{"none", []source{{"a/a.go", "package a"}, {"a/b.go", "// Apart.\n\npackage a"}}, []string{"has 0"}},
		{"two", []source{{"a/a.go", "// Package a is.\npackage a"}, {"a/b_test.go", "// Tests.\npackage a"}}, []string{"has 2"}},
		{"directive", []source{{"a/a.go", "//go:build linux\npackage a"}}, []string{"has 0"}},
	})
	bites(t, exportedDocumented, []bite{
		{"documented", []source{{"a.go", `package a
// F does.
func F() {}
// A is, and B too.
const (A = 1; B = 2)
type (
	// T is.
	T struct{ Field int }
	U int // U is.
)
// M does.
func (t *T) M() {}
func (t T) Error() string { return "" }
func (t t) M() {}
func g() {}
type t int
`}}, nil},
		{"not documented", []source{{"a.go", `package a
func F() {}
const A, b = 1, 2
var V int
// The types.
type (T struct{}; U[X any] struct{})
func (t *T) M() {}
func (u *U[X]) M() {}
//go:noinline
func G() {}
`}}, []string{" F ", " A ", " V ", " T ", " U ", " M ", " M ", " G "}},
		{"not reached", []source{{"a_test.go", "package a\nfunc F() {}"}, {"m.go", "package main\nfunc F() {}"}}, nil},
	})
}
