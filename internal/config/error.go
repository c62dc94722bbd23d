package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// An Error is one mistake in a configuration.
type Error struct {
	File    string
	Line    int    // from 1; 0 if it is about no line, as a file that is not there
	Column  int    // from 1, in characters; 0 if Line is
	Where   string // the setting, as in `registry "docker.io": upstream "hub": url`; may be empty
	Message string
}

// Error returns "file:line:column: where: message", which editors can jump to.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	if e.Where != "" {
		b.WriteString(": " + e.Where)
	}
	b.WriteString(": " + e.Message)
	return strings.Map(printable, b.String())
}

// printable keeps what a file says from steering the terminal that shows it.
func printable(r rune) rune {
	if !unicode.IsPrint(r) {
		return '?'
	}
	return r
}

// Errors returns the mistakes that err, which [Parse] or [Load] returned, joins.
func Errors(err error) []*Error {
	var out []*Error
	for _, e := range flatten(err) {
		if one, ok := errors.AsType[*Error](e); ok {
			out = append(out, one)
		}
	}
	return out
}

// flatten returns the errors that err joins, or err alone.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, flatten(e)...)
	}
	return out
}

// sorted returns errs in the order of the file, each once. The checks go through the
// tables in an order of their own, and two of them may find the same mistake.
func sorted(errs []*Error) []error {
	slices.SortStableFunc(errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	var out []error
	for i, e := range errs {
		if i == 0 || *e != *errs[i-1] {
			out = append(out, e)
		}
	}
	return out
}
