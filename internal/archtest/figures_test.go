package archtest

import (
	"fmt"
	"go/scanner"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Bounds on the share of a package's lines that tell something: comments, and
// code with a comment beside it. Below, the next owner has to guess; above, the
// code does not speak for itself. The goal is 20 to 30 in a hundred; the lower
// bound is what the tree has, and follows it upwards.
const (
	minComments = 0.10
	maxComments = 0.45
)

// figures are what a package's code, without its tests, amounts to.
type figures struct {
	lines    int // with something on them
	comments int // with nothing but a comment
	beside   int // with a comment behind the code
}

func (f figures) share() float64 { return float64(f.comments+f.beside) / float64(f.lines) }

// TestFigures shows with -v how much each package is and tells:
//
//	go test ./internal/archtest -run TestFigures -v
func TestFigures(t *testing.T) {
	t.Parallel()
	packages := make(map[string]figures)
	for _, f := range load(t) {
		if f.isTest() {
			continue
		}
		source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(f.path)))
		if err != nil {
			t.Fatal(err)
		}
		sum, got := packages[f.dir], figuresOf(source)
		packages[f.dir] = figures{sum.lines + got.lines, sum.comments + got.comments, sum.beside + got.beside}
	}
	dirs := make(map[string]bool)
	for dir := range packages {
		dirs[dir] = true
	}
	for _, dir := range sortedKeys(dirs) {
		f := packages[dir]
		t.Logf("%-24s %6d lines, %2.0f %% with comments, %2.0f %% nothing else", dir, f.lines, 100*f.share(), 100*float64(f.comments)/float64(f.lines))
		if fault := commentFault(dir, f); fault != "" {
			t.Error(fault)
		}
	}
	for _, s := range typesOf(load(t))[:10] {
		t.Logf("%-24s %3d fields, %3d methods", s.name, s.fields, s.methods)
	}
}

// commentFault judges a package's share. Packages of a few lines are mostly
// package comment.
func commentFault(dir string, f figures) string {
	const few = 50
	if f.lines < few || isTestsOnly(dir) || f.share() >= minComments && f.share() <= maxComments {
		return ""
	}
	return fmt.Sprintf("%s: %.0f %% of its lines have comments, not between %.0f and %.0f", dir, 100*f.share(), 100*minComments, 100*maxComments)
}

// figuresOf counts the lines of a source that are not empty, and those of them
// that hold nothing but a comment.
func figuresOf(source []byte) figures {
	code, comment := make(map[int]bool), make(map[int]bool)
	fset := token.NewFileSet()
	file := fset.AddFile("", fset.Base(), len(source))
	var s scanner.Scanner
	s.Init(file, source, nil, scanner.ScanComments)
	for {
		pos, tok, text := s.Scan()
		if tok == token.EOF {
			break
		}
		if tok == token.SEMICOLON && text == "\n" {
			continue
		}
		lines := code
		if tok == token.COMMENT {
			lines = comment
		}
		first := file.Line(pos)
		for i := range 1 + strings.Count(strings.TrimSuffix(text, "\n"), "\n") {
			lines[first+i] = true
		}
	}
	f := figures{lines: len(code)}
	for line := range comment {
		if code[line] {
			f.beside++
		} else {
			f.lines++
			f.comments++
		}
	}
	return f
}

func TestFigureRuleBites(t *testing.T) {
	t.Parallel()
	const text = "// Package a is.\npackage a\n\n/* two\nlines */\nvar x = `three\nlines\nof it` // beside\n"
	if got, want := figuresOf([]byte(text)), (figures{lines: 7, comments: 3, beside: 1}); got != want {
		t.Errorf("figures = %+v, want %+v", got, want)
	}
	for _, tt := range []struct {
		dir    string
		f      figures
		faulty bool
	}{
		{"a", figures{100, 20, 5}, false}, {"a", figures{100, 8, 1}, true}, {"a", figures{100, 40, 6}, true},
		{"a", figures{20, 15, 0}, false}, {"internal/archtest", figures{100, 99, 0}, false},
	} {
		if got := commentFault(tt.dir, tt.f); (got != "") != tt.faulty {
			t.Errorf("%s with %+v: %q", tt.dir, tt.f, got)
		}
	}
	if !slices.Contains(testsOnly, "internal/archtest") {
		t.Error("this package is one of tests")
	}
}
