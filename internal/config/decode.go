package config

import (
	"encoding"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/pullchain/pullchain/internal/blobstore"
)

// A decoder carries a document's tree over into a Config. The TOML library
// would do so too, but it stops at the first value of a wrong type, takes "URL"
// for "url" and 15 for a duration of 15 ns, and forgets which element of an
// array a key was in.
type decoder struct {
	doc *document
	env func(string) (string, bool)
}

// root decodes the whole document.
func (d *decoder) root(cfg *Config) {
	d.table(place{}, "", d.doc.tree, reflect.ValueOf(cfg).Elem())
}

// value decodes raw into v. path is the place without names and numbers, as in
// "registry.upstream.url".
func (d *decoder) value(at place, path string, raw any, v reflect.Value) {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.text(at, raw, u)
		return
	}
	if v.Type() == reflect.TypeFor[time.Duration]() {
		d.duration(at, raw, v)
		return
	}
	switch v.Kind() {
	case reflect.String:
		if s, ok := d.str(at, raw); ok {
			v.SetString(s)
		}
	case reflect.Bool:
		if b, ok := raw.(bool); ok {
			v.SetBool(b)
			return
		}
		d.wrong(at, "true or false", raw)
	case reflect.Int:
		d.integer(at, raw, v)
	case reflect.Float64:
		d.number(at, raw, v)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(at, path, raw, v.Elem())
	case reflect.Slice:
		d.list(at, path, raw, v)
	case reflect.Map:
		d.named(at, path, raw, v)
	case reflect.Struct:
		if m, ok := raw.(map[string]any); ok {
			d.table(at, path, m, v)
			return
		}
		d.wrong(at, "a table", raw)
	default:
		panic("config: no way to read a " + v.Type().String())
	}
}

// table decodes a table into a struct.
func (d *decoder) table(at place, path string, m map[string]any, v reflect.Value) {
	// The exact case counts: "URL" is an unknown key, with a hint to "url".
	fields := fieldsOf(v.Type())
	for _, key := range slices.Sorted(maps.Keys(m)) {
		below := at.child(key)
		name := dot(path, key)
		if f, ok := fieldOf(fields, key); ok {
			d.value(below, name, m[key], v.FieldByIndex(f.index))
			continue
		}
		d.unknown(at, below, name, key, keysOf(fields))
	}
}

// later are keys that docs/architecture.md names and that this version does not read.
// Better to refuse them than to let an operator believe in an access rule that is
// not there.
var later = map[string]string{
	"registry.upstream.probe.canary": "the canary",
}

// unknown records a key that nothing reads.
func (d *decoder) unknown(table, at place, path, key string, known []string) {
	what, planned := later[path]
	where := place{key: at.key, words: table.words}
	if planned {
		d.doc.fail(where, "%s: %s is not in this version; take the setting out", plain(key), what)
		return
	}
	if s := suggest(key, known); s != "" {
		d.doc.fail(where, "unknown key %q; did you mean %q?", key, s)
		return
	}
	d.doc.fail(where, "unknown key %q", key)
}

// list decodes an array.
func (d *decoder) list(at place, path string, raw any, v reflect.Value) {
	items, ok := raw.([]any)
	if !ok {
		tables, isTables := raw.([]map[string]any)
		if !isTables {
			d.wrong(at, "a list", raw)
			return
		}
		for _, t := range tables {
			items = append(items, t)
		}
	}
	if len(items) == 0 {
		return // an empty list says no more than none: both must compare equal
	}
	v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
	for i, item := range items {
		d.value(at.item(i, nameOf(item)), path, item, v.Index(i))
	}
}

// named decodes a table whose keys are names that people choose.
func (d *decoder) named(at place, path string, raw any, v reflect.Value) {
	m, ok := raw.(map[string]any)
	if !ok {
		d.wrong(at, "a table", raw)
		return
	}
	if len(m) == 0 {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		elem := reflect.New(v.Type().Elem()).Elem()
		d.value(at.named(name), path, m[name], elem)
		v.SetMapIndex(reflect.ValueOf(name), elem)
	}
}

// nameOf returns what an element of a list calls itself.
func nameOf(item any) string {
	m, _ := item.(map[string]any)
	name, _ := m["name"].(string)
	return name
}

// str returns a string with its variables expanded.
func (d *decoder) str(at place, raw any) (string, bool) {
	s, ok := raw.(string)
	if !ok {
		d.wrong(at, "a string", raw)
		return "", false
	}
	s, err := expand(s, d.env)
	if err != nil {
		d.doc.fail(at, "%v", err)
		return "", false
	}
	return s, true
}

// text decodes a value that reads its own text form: a size, a range of addresses,
// a Secret.
func (d *decoder) text(at place, raw any, u encoding.TextUnmarshaler) {
	if n, isInt := raw.(int64); isInt && isSize(u) {
		d.doc.fail(at, "a size needs a unit, as in \"%dGiB\"", n)
		return
	}
	s, ok := d.str(at, raw)
	if !ok {
		return
	}
	err := u.UnmarshalText([]byte(s))
	if _, prefix := u.(*netip.Prefix); prefix && err != nil {
		err = fmt.Errorf("%q is not a range of addresses like \"10.0.0.0/8\"", s)
	}
	if err != nil {
		d.doc.fail(at, "%v", err)
	}
}

// isSize tells a size, which is the one kind that people write as a bare number.
func isSize(u encoding.TextUnmarshaler) bool { _, ok := u.(*blobstore.Size); return ok }

// duration decodes a time. A bare number is refused: seconds to one reader are
// milliseconds to the next.
func (d *decoder) duration(at place, raw any, v reflect.Value) {
	if n, isInt := raw.(int64); isInt {
		d.doc.fail(at, "a time needs a unit, as in \"%ds\"", n)
		return
	}
	s, ok := d.str(at, raw)
	if !ok {
		return
	}
	t, err := time.ParseDuration(s)
	if err != nil {
		d.doc.fail(at, "%q is not a time like \"1.5s\", \"500ms\" or \"2m\"", s)
		return
	}
	v.SetInt(int64(t))
}

// integer decodes a whole number. No setting has a use for more than 32 bits, and
// more would overflow what is computed from it.
func (d *decoder) integer(at place, raw any, v reflect.Value) {
	n, ok := raw.(int64)
	if !ok {
		d.wrong(at, "a whole number", raw)
		return
	}
	if n < math.MinInt32 || n > math.MaxInt32 {
		d.doc.fail(at, "%d is out of all proportion", n)
		return
	}
	v.SetInt(n)
}

// number decodes a number that may have a fraction. TOML has nan and inf (1.0,
// Float), with which no comparison does what a reader expects.
func (d *decoder) number(at place, raw any, v reflect.Value) {
	switch n := raw.(type) {
	case int64:
		v.SetFloat(float64(n))
	case float64:
		if math.IsNaN(n) || math.IsInf(n, 0) {
			d.doc.fail(at, "should be a finite number")
			return
		}
		v.SetFloat(n)
	default:
		d.wrong(at, "a number", raw)
	}
}

// wrong records a value of the wrong type.
func (d *decoder) wrong(at place, want string, raw any) {
	d.doc.fail(at, "should be %s and is %s", want, typeName(raw))
}

// typeName returns TOML's name for the type of a value.
func typeName(raw any) string {
	switch raw.(type) {
	case string:
		return "a string"
	case bool:
		return "true or false"
	case int64:
		return "a whole number"
	case float64:
		return "a number"
	case time.Time:
		return "a date"
	case []any, []map[string]any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return fmt.Sprintf("a %T", raw)
}

// dot joins a key to the path of its table.
func dot(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
