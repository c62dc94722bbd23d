package archtest

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
)

// emptyNames say nothing about what is inside, so everything ends up there.
var emptyNames = []string{"util", "utils", "common", "helper", "helpers", "manager", "managers", "types", "misc", "shared", "base"}

func TestPackageNames(t *testing.T) {
	t.Parallel()
	hold(t, namesSaySomething)
}

func namesSaySomething(files []*file) []string {
	var faults []string
	seen := make(map[string]bool)
	for _, f := range files {
		name := strings.TrimSuffix(f.ast.Name.Name, "_test")
		if seen[f.dir+" "+name] {
			continue
		}
		seen[f.dir+" "+name] = true
		for _, word := range []string{name, path.Base(f.dir)} {
			if slices.Contains(emptyNames, strings.ToLower(word)) {
				faults = append(faults, fmt.Sprintf("%s: package %s in %s: name it after its job", f.path, name, f.dir))
				break
			}
		}
	}
	return faults
}

func TestNameRuleBites(t *testing.T) {
	t.Parallel()
	bites(t, namesSaySomething, []bite{
		{"good", []source{{"balancer/a.go", "package balancer"}, {"a.go", "package pullchain"}}, nil},
		{"package", []source{{"internal/x/a.go", "package util"}, {"internal/x/b.go", "package util"}}, []string{"util"}},
		{"directory", []source{{"internal/helpers/a.go", "package x"}}, []string{"helpers"}},
		{"test package", []source{{"internal/x/a_test.go", "package types_test"}}, []string{"types"}},
	})
}
