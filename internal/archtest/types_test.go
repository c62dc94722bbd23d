package archtest

import (
	"cmp"
	"fmt"
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// Limits on one type. A type with more fields or methods than these is several
// ideas that share a mutex: each file and each function may be short, and still no
// reader can hold the whole in mind. (The fill once had 41 fields and 72 methods
// in files of 150 lines, which the limits on lines did not see.) When they were
// set, 99 of 100 types were below both. Soft limits are half of these or so.
const (
	maxFields  = 20
	maxMethods = 35
)

// largeTypes are exceptions, each with its reason. The list gets shorter.
var largeTypes = map[string]string{}

func TestTypeSizes(t *testing.T) {
	t.Parallel()
	hold(t, typeSizes)
}

// A typeSize is what the code of a package, without its tests, declares of a
// struct type.
type typeSize struct {
	name    string // "cache.fill"
	at      string
	fields  int
	methods int
	plain   bool // a struct of exported fields only: a configuration, a snapshot, a message
}

// typeSizes holds each struct type against the limits. A struct of exported
// fields only is a plain value, whose size is that of what it tells; its
// methods count all the same.
func typeSizes(files []*file) []string {
	var faults []string
	large := make(map[string]bool)
	for _, s := range typesOf(files) {
		if s.methods <= maxMethods && (s.plain || s.fields <= maxFields) {
			continue
		}
		large[s.name] = true
		if largeTypes[s.name] == "" {
			faults = append(faults, fmt.Sprintf("%s: %s has %d fields and %d methods, more than %d or %d: it is more than one idea",
				s.at, s.name, s.fields, s.methods, maxFields, maxMethods))
		}
	}
	return faults
}

// TestLargeTypesAreLarge takes an exception out when it is needed no more.
func TestLargeTypesAreLarge(t *testing.T) {
	t.Parallel()
	sizes := make(map[string]typeSize)
	for _, s := range typesOf(load(t)) {
		sizes[s.name] = s
	}
	for name, why := range largeTypes {
		if s := sizes[name]; s.methods <= maxMethods && (s.plain || s.fields <= maxFields) {
			t.Errorf("%s is an exception (%s) and needs none", name, why)
		}
	}
}

// typesOf returns the struct types of all code, the largest first.
func typesOf(files []*file) []typeSize {
	sizes := make(map[string]*typeSize)
	for _, f := range files {
		if f.isTest() || ast.IsGenerated(f.ast) {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				size := &typeSize{name: shortName(f.dir) + "." + spec.Name.Name, at: f.at(spec), plain: true}
				for _, field := range s.Fields.List {
					size.add(field)
				}
				sizes[f.dir+" "+spec.Name.Name] = size
			}
			return true
		})
	}
	for _, f := range files {
		if f.isTest() {
			continue
		}
		for _, decl := range f.ast.Decls {
			if d, ok := decl.(*ast.FuncDecl); ok && d.Recv != nil {
				if size := sizes[f.dir+" "+receiver(d).Name]; size != nil {
					size.methods++
				}
			}
		}
	}
	var list []typeSize
	for _, s := range sizes {
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b typeSize) int {
		return cmp.Or(cmp.Compare(b.fields+b.methods, a.fields+a.methods), strings.Compare(a.name, b.name))
	})
	return list
}

// add counts a field, or the several names that share a type; what is embedded
// is one.
func (s *typeSize) add(field *ast.Field) {
	if len(field.Names) == 0 {
		s.fields++
		s.plain = s.plain && embeddedExported(field.Type)
		return
	}
	for _, name := range field.Names {
		s.fields++
		s.plain = s.plain && name.IsExported()
	}
}

func embeddedExported(expr ast.Expr) bool {
	switch e := expr.(type) {
	case *ast.StarExpr:
		return embeddedExported(e.X)
	case *ast.SelectorExpr:
		return e.Sel.IsExported()
	case *ast.IndexExpr:
		return embeddedExported(e.X)
	case *ast.Ident:
		return e.IsExported()
	}
	return false
}

func TestTypeSizeRuleBites(t *testing.T) {
	t.Parallel()
	structOf := func(name string, exported bool, fields int) string {
		letter := "f"
		if exported {
			letter = "F"
		}
		var b strings.Builder
		fmt.Fprintf(&b, "type %s struct {\n", name)
		for i := range fields {
			fmt.Fprintf(&b, "%s%d int\n", letter, i)
		}
		b.WriteString("}\n")
		return b.String()
	}
	methodsOf := func(receiver string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "func (t %s) m%d() {}\n", receiver, i)
		}
		return b.String()
	}
	bites(t, typeSizes, []bite{
		{"small", []source{{"a/a.go", "package a\n" + structOf("t", false, maxFields) + methodsOf("*t", maxMethods)}}, nil},
		{"plain value", []source{{"a/a.go", "package a\n" + structOf("Config", true, maxFields+9)}}, nil},
		{"many fields", []source{{"a/a.go", "package a\n" + structOf("t", false, maxFields+1)}}, []string{"a.t has 21 fields"}},
		{"many fields by one type", []source{{"a/a.go", "package a\ntype t struct { a, b, c, d, e, f, g, h, i, j, k int; l, m, n, o, p, q, r, s, u, v int }"}}, []string{"21 fields"}},
		{"one field not exported", []source{{"a/a.go", "package a\n" + strings.Replace(structOf("Config", true, maxFields+1), "F0", "f0", 1)}}, []string{"Config"}},
		{"embedded", []source{{"a/a.go", "package a\n" + strings.Replace(structOf("Config", true, maxFields+1), "F0 int", "*sync.Mutex; hidden", 1)}}, []string{"22 fields"}},
		{"many methods", []source{{"a/a.go", "package a\n" + structOf("t", true, 1) + methodsOf("t", maxMethods)}, {"a/b.go", "package a\nfunc (t *t) more() {}"}}, []string{"36 methods"}},
		{"generic", []source{{"a/a.go", "package a\ntype t[K any] struct{}\n" + methodsOf("*t[K]", maxMethods+1)}}, []string{"36 methods"}},
		{"another package's", []source{{"a/a.go", "package a\n" + structOf("t", false, 1) + methodsOf("t", maxMethods)}, {"b/b.go", "package b\n" + structOf("t", false, 1) + methodsOf("t", 1)}}, nil},
		{"tests", []source{{"a/a_test.go", "package a\n" + structOf("t", false, maxFields+1)}}, nil},
	})
}
