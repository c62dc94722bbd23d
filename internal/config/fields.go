package config

import (
	"reflect"
	"strings"
)

// A field is a struct's field that has a key in the file.
type field struct {
	key   string
	index []int // for reflect.Value.FieldByIndex
}

// fieldsOf returns the keys that a struct reads, those of embedded structs
// among them, in the order of their declaration.
func fieldsOf(t reflect.Type) []field {
	var out []field
	// Embedded structs have no table of their own: upstreams.Config is part of
	// [[registry.upstream]].
	for _, f := range reflect.VisibleFields(t) {
		key, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		if f.Anonymous || key == "" || key == "-" {
			continue
		}
		out = append(out, field{key, f.Index})
	}
	return out
}

// fieldOf returns the field that key names.
func fieldOf(fields []field, key string) (field, bool) {
	for _, f := range fields {
		if f.key == key {
			return f, true
		}
	}
	return field{}, false
}

// keysOf returns the keys of fields.
func keysOf(fields []field) []string {
	var out []string
	for _, f := range fields {
		out = append(out, f.key)
	}
	return out
}
