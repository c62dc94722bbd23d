package config

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// A position is a line and a column, both from 1.
type position struct{ line, column int }

// locate finds where the keys of a TOML document stand, by place.key. The TOML
// parser knows, but keeps one position for all the elements of an array of
// tables, so that it could not say which of five upstreams has the bad URL.
//
// It takes the document to be valid, for the parser has read it before; in one
// that is not it may find less, but it always ends.
func locate(text string) map[string]position {
	s := &scanner{text: text, found: map[string]position{}, elements: map[string]int{}}
	s.pos.line = 1
	if strings.HasPrefix(text, "\ufeff") {
		s.at = len("\ufeff")
		s.pos.from = s.at
	}
	table := ""
	for s.skipSpace(true); s.at < len(s.text); s.skipSpace(true) {
		before := s.at
		if s.peek() == '[' {
			table = s.header()
		} else {
			s.pair(table)
		}
		if s.at == before {
			s.at++
		}
	}
	return s.found
}

// tooDeep returns where brackets nest deeper than maxDepth, or a key has more
// dots than that, if they do.
func tooDeep(text string) (position, bool) {
	s := &scanner{text: text}
	s.pos.line = 1
	depth, dots := 0, 0
	for s.skipSpace(true); s.at < len(s.text); s.skipSpace(true) {
		switch s.peek() {
		case '"', '\'':
			s.str()
			continue
		case '[', '{':
			depth++
			dots = 0
		case ']', '}':
			depth = max(0, depth-1)
		case '=', ',':
			dots = 0
		case '.':
			dots++
		}
		if max(depth, dots) > maxDepth {
			return s.here(), true
		}
		s.at++
	}
	return position{}, false
}

// A scanner walks over TOML text.
type scanner struct {
	text     string
	at       int
	found    map[string]position
	elements map[string]int // how many elements an array of tables has so far

	pos struct{ line, from, counted int } // line number, its start, and how far lines were counted
}

// here returns the position of s.at. It is asked in ascending order.
func (s *scanner) here() position {
	// Each byte is counted once over the whole scan: from the beginning for each
	// key, a file of many keys would take time with the square of its length.
	for s.pos.counted < s.at {
		if s.text[s.pos.counted] == '\n' {
			s.pos.line++
			s.pos.from = s.pos.counted + 1
		}
		s.pos.counted++
	}
	return position{s.pos.line, utf8.RuneCountInString(s.text[s.pos.from:s.at]) + 1}
}

// peek returns the next byte, or 0 at the end.
func (s *scanner) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

// take steps over c if it is next.
func (s *scanner) take(c byte) bool {
	if s.peek() != c || s.at >= len(s.text) {
		return false
	}
	s.at++
	return true
}

// skipSpace steps over blanks, and over line ends and comments too if lines.
func (s *scanner) skipSpace(lines bool) {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == ' ' || c == '\t':
			s.at++
		case lines && (c == '\n' || c == '\r'):
			s.at++
		case lines && c == '#':
			s.skipTo("\n")
		default:
			return
		}
	}
}

// skipTo steps to the next byte that is one of stops, or to the end.
func (s *scanner) skipTo(stops string) {
	if n := strings.IndexAny(s.text[s.at:], stops); n >= 0 {
		s.at += n
		return
	}
	s.at = len(s.text)
}

// header reads [a.b] or [[a.b]] and returns the key of its table.
func (s *scanner) header() string {
	start := s.here()
	s.take('[')
	list := s.take('[')
	parts := s.dotted()
	s.skipTo("]\n")
	s.take(']')
	if list {
		s.take(']')
	}
	table := ""
	// A header names the last element so far of each array on its way: [a.b] below
	// [[a]] is in a's last element (TOML 1.0, Array of Tables).
	for i, part := range parts {
		table += "." + strconv.Quote(part)
		s.note(table, start)
		if list && i == len(parts)-1 {
			s.elements[table]++
		}
		if n := s.elements[table]; n > 0 {
			table += "[" + strconv.Itoa(n-1) + "]"
			s.note(table, start)
		}
	}
	return table
}

// pair reads a key and its value, in the table of that key.
func (s *scanner) pair(table string) {
	start := s.here()
	key := table
	for _, part := range s.dotted() {
		key += "." + strconv.Quote(part)
		s.note(key, start)
	}
	s.skipSpace(false)
	if s.take('=') {
		s.skipSpace(false)
		s.value(key)
	}
}

// note records where key first stood.
func (s *scanner) note(key string, pos position) {
	if _, ok := s.found[key]; !ok {
		s.found[key] = pos
	}
}

// dotted reads a key, which may have several parts.
func (s *scanner) dotted() []string {
	var parts []string
	for {
		s.skipSpace(false)
		if c := s.peek(); c == '"' || c == '\'' {
			parts = append(parts, s.str())
		} else {
			start := s.at
			s.skipTo(" \t.=]\r\n#")
			parts = append(parts, s.text[start:s.at])
		}
		s.skipSpace(false)
		if !s.take('.') {
			return parts
		}
	}
}

// value steps over a value, noting what it holds. What is no string, list or table
// ends at the next mark that no number, date or boolean has in it.
func (s *scanner) value(key string) {
	switch s.peek() {
	case '"', '\'':
		s.str()
	case '[':
		s.list(key)
	case '{':
		s.inline(key)
	default:
		s.skipTo(",]}\r\n#")
	}
}

// list steps over an array.
func (s *scanner) list(key string) {
	s.take('[')
	for i := 0; ; i++ {
		s.skipSpace(true)
		if s.take(']') || s.at >= len(s.text) {
			return
		}
		before := s.at
		item := key + "[" + strconv.Itoa(i) + "]"
		s.note(item, s.here())
		s.value(item)
		s.skipSpace(true)
		if !s.take(',') && s.at == before {
			s.at++
		}
	}
}

// inline steps over an inline table.
func (s *scanner) inline(key string) {
	s.take('{')
	for {
		s.skipSpace(true)
		if s.take('}') || s.at >= len(s.text) {
			return
		}
		before := s.at
		s.pair(key)
		s.skipSpace(true)
		if !s.take(',') && s.at == before {
			s.at++
		}
	}
}

// str steps over a string of any of the four kinds and returns what a key of
// that spelling means. For multi-line strings, which no key can be, it returns
// nothing of use.
func (s *scanner) str() string {
	quote := s.text[s.at : s.at+1]
	if long := strings.Repeat(quote, 3); strings.HasPrefix(s.text[s.at:], long) {
		s.at += len(long)
		s.skipLong(long)
		return ""
	}
	start := s.at
	for s.at++; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '\\' && quote == `"`:
			s.at++
		case c == '\n':
			return ""
		case c == quote[0]:
			s.at++
			return unquoteKey(s.text[start:s.at])
		}
	}
	s.at = min(s.at, len(s.text))
	return ""
}

// skipLong steps over the rest of a multi-line string. It may end in up to two
// quotes of its own before the closing three (TOML 1.0, String).
func (s *scanner) skipLong(long string) {
	for s.at < len(s.text) {
		switch {
		case s.text[s.at] == '\\' && long[0] == '"':
			s.at += 2
		case strings.HasPrefix(s.text[s.at:], long):
			s.at += len(long)
			for range 2 {
				s.take(long[0])
			}
			return
		default:
			s.at++
		}
	}
	s.at = min(s.at, len(s.text))
}

// unquoteKey returns what a quoted key means, as far as Go's escapes are TOML's.
func unquoteKey(quoted string) string {
	if quoted[0] == '\'' {
		return quoted[1 : len(quoted)-1]
	}
	if s, err := strconv.Unquote(quoted); err == nil {
		return s
	}
	return quoted[1 : len(quoted)-1]
}
