package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

const (
	// maxFile is how long a configuration may be (docs/faults.md 5).
	maxFile = 1 << 20

	// maxDepth is how deep brackets may nest, and how many dots a key may
	// have. Ours need five and two. The TOML parser recurses into brackets and
	// takes time with the cube of the dots: 100 KB of "a.a.a" took minutes.
	maxDepth = 8
)

// A document is a parsed file, where its keys stand, and the mistakes found in
// it so far.
type document struct {
	name   string
	tree   map[string]any
	places map[string]position // by place.key
	errs   []*Error

	failed   []string // the keys of errs
	warnings []*Error
	advice   []*Error
}

// newDocument parses data. Its error is a joined *Error.
func newDocument(name string, data []byte) (*document, error) {
	d := &document{name: name}
	if len(data) > maxFile {
		d.fail(place{}, "the file is longer than %d bytes", maxFile)
		return nil, d.err()
	}
	text := string(data)
	if pos, ok := tooDeep(text); ok {
		d.errs = append(d.errs, &Error{File: name, Line: pos.line, Column: pos.column, Message: "tables or lists nest too deep"})
		return nil, d.err()
	}
	if _, err := toml.Decode(text, &d.tree); err != nil {
		d.errs = append(d.errs, syntaxError(name, err))
		return nil, d.err()
	}
	d.places = locate(text)
	return d, nil
}

// syntaxError turns what the TOML parser says into an Error.
func syntaxError(name string, err error) *Error {
	e := &Error{File: name, Message: strings.TrimPrefix(err.Error(), "toml: ")}
	if pe, ok := errors.AsType[toml.ParseError](err); ok {
		e.Line, e.Column, e.Message = pe.Position.Line, max(1, pe.Position.Col), pe.Message
	}
	return e
}

// fail records a mistake at p.
func (d *document) fail(p place, format string, args ...any) {
	d.failed = append(d.failed, p.key)
	d.errs = append(d.errs, d.remark(p, format, args...))
}

// blame records a mistake in a value that was read, unless it could not be
// read: then its mistake is known, and what was made of it says nothing.
func (d *document) blame(p place, format string, args ...any) {
	for _, key := range d.failed {
		if key == p.key || strings.HasPrefix(key, p.key+"[") {
			return
		}
	}
	d.errs = append(d.errs, d.remark(p, format, args...))
}

// warn records what is allowed at p but should not be so.
func (d *document) warn(p place, format string, args ...any) {
	d.warnings = append(d.warnings, d.remark(p, format, args...))
}

// advise records what would be safer at p.
func (d *document) advise(p place, format string, args ...any) {
	d.advice = append(d.advice, d.remark(p, format, args...))
}

// remark makes the Error of a mistake, a warning or advice at p.
func (d *document) remark(p place, format string, args ...any) *Error {
	pos := d.position(p.key)
	return &Error{File: d.name, Line: pos.line, Column: pos.column, Where: p.words, Message: fmt.Sprintf(format, args...)}
}

// position returns where key stands, or else what it is part of.
func (d *document) position(key string) position {
	for key != "" {
		if pos, ok := d.places[key]; ok {
			return pos
		}
		key = key[:max(0, strings.LastIndexAny(key, ".["))]
	}
	return position{}
}

// lines returns the line of every key.
func (d *document) lines() map[string]int {
	var out map[string]int // nil for a file without any, which is as good as none
	if len(d.places) > 0 {
		out = make(map[string]int, len(d.places))
	}
	for key, at := range d.places {
		out[key] = at.line
	}
	return out
}

// has reports whether the file says something at p.
func (d *document) has(p place) bool { _, ok := d.places[p.key]; return ok }

// err returns the mistakes found so far.
func (d *document) err() error { return errors.Join(sorted(d.errs)...) }

// remarks returns warnings or advice, each as one line.
func remarks(list []*Error) []string {
	var out []string
	for _, r := range sorted(list) {
		out = append(out, r.Error())
	}
	return out
}

// A place is a point in the tree of keys.
type place struct {
	key   string // unambiguous: ."registry"[0]."url"
	words string // for people: registry "docker.io": url
}

// child returns the place of a key in the table at p.
func (p place) child(name string) place {
	return place{key: p.key + "." + strconv.Quote(name), words: join2(p.words, plain(name))}
}

// named returns the place of an entry in the map at p, whose key is a name that
// the file chose.
func (p place) named(name string) place {
	return place{key: p.key + "." + strconv.Quote(name), words: p.words + " " + strconv.Quote(name)}
}

// item returns the place of an element of the list at p, called name if it has
// a name.
func (p place) item(i int, name string) place {
	words := p.words
	if name != "" {
		words += " " + strconv.Quote(name)
	} else {
		words += " #" + strconv.Itoa(i+1)
	}
	return place{key: p.key + "[" + strconv.Itoa(i) + "]", words: words}
}

// join2 joins two parts of where a setting stands, for people.
func join2(a, b string) string {
	if a == "" {
		return b
	}
	return a + ": " + b
}

// plain returns a key as TOML would write it.
func plain(key string) string {
	for _, r := range key {
		if !isBare(r) {
			return strconv.Quote(key)
		}
	}
	return key
}

// isBare reports whether r may stand in a key without quotes (TOML 1.0, Keys).
func isBare(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-'
}
