package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// A Setting is one key as it is in force, for people to look up where it comes from.
type Setting struct {
	Key   string // as in registry[0].upstream[1].probe.interval; lists begin at 0
	Value string // as TOML; secrets are "***"
	Line  int    // of the file that says it; 0: it is a default
}

// Settings returns what is in force, with the defaults that are one value each, in the
// order of the documentation. What nothing sets is left out.
func (c *Config) Settings() []Setting {
	shown := c.effective()
	s := settings{lines: c.Lines}
	s.table(place{}, "", reflect.ValueOf(shown))
	return s.found
}

// settings collects them.
type settings struct {
	lines map[string]int // by place.key
	found []Setting
}

// table adds the keys of a struct.
func (s *settings) table(at place, path string, v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		if fv := v.FieldByIndex(f.index); !fv.IsZero() {
			s.value(at.child(f.key), dot(path, f.key), fv)
		}
	}
}

// value adds what stands at one key, or what stands within it.
func (s *settings) value(at place, path string, v reflect.Value) {
	switch {
	case isScalar(v):
		s.found = append(s.found, Setting{Key: path, Value: scalar(v), Line: s.lines[at.key]})
	case v.Kind() == reflect.Map:
		names := map[string]reflect.Value{}
		for it := v.MapRange(); it.Next(); {
			names[it.Key().String()] = it.Value()
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			s.value(at.named(name), dot(path, tomlKey(name)), names[name])
		}
	case v.Kind() == reflect.Struct:
		s.table(at, path, v)
	default:
		for i := range v.Len() {
			s.value(at.item(i, ""), fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	}
}
