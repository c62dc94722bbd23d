package config

import (
	"bytes"
	"cmp"
	"encoding"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/upstreams"
)

// Show writes c as TOML that [Parse] reads again, with the secrets as "***"; of an
// address of [[notify]] it says so, because that is a secret that is read as a URL.
// What is not set is left out; effective fills in what the rooms take for it,
// as far as that is one value.
func (c *Config) Show(w io.Writer, effective bool) error {
	shown := *c
	if effective {
		shown = c.effective()
	}
	var p printer
	p.table("", "", reflect.ValueOf(shown))
	_, err := w.Write(bytes.TrimLeft(p.out.Bytes(), "\n"))
	return err
}

// effective returns a copy of c with the defaults of its upstreams filled in.
func (c *Config) effective() Config {
	shown := *c
	shown.Notify = slices.Clone(c.Notify)
	for i := range shown.Notify {
		shown.Notify[i] = shown.Notify[i].WithDefaults()
	}
	shown.Traces = c.Traces.WithDefaults()
	shown.Registries = slices.Clone(c.Registries)
	for i := range shown.Registries {
		r := &shown.Registries[i]
		r.Upstreams = slices.Clone(r.Upstreams)
		for j := range r.Upstreams {
			r.Upstreams[j].effective()
		}
	}
	return shown
}

// effective sets the defaults that are one value each.
func (u *Upstream) effective() {
	u.Probe = u.Probe.WithDefaults()
	u.Patience = u.Patience.WithDefaults()
	if u.Weight == 0 {
		u.Weight = 1
	}
	if u.MaxConnections == 0 {
		u.MaxConnections = upstreams.DefaultMaxConnections
	}
	if u.Timeouts.Stall == 0 {
		u.Timeouts.Stall = upstreams.DefaultStall
	}
	if u.Timeouts.Token == 0 {
		u.Timeouts.Token = upstreams.DefaultToken
	}
}

// A printer writes structs as TOML tables.
type printer struct{ out bytes.Buffer }

// table writes v under the header [path], first its own keys and then the
// tables within it: a key that followed a header would belong to that. brackets is "["
// or "[[", or empty for the root. An element of a list gets its header even without
// keys, or there would be one element fewer.
func (p *printer) table(brackets, path string, v reflect.Value) {
	var keys bytes.Buffer
	var tables []func()
	p.split(path, v, &keys, &tables)
	if brackets != "" && (keys.Len() > 0 || brackets == "[[") {
		fmt.Fprintf(&p.out, "\n%s%s%s\n", brackets, path, strings.Repeat("]", len(brackets)))
	}
	p.out.Write(keys.Bytes())
	for _, t := range tables {
		t()
	}
}

// split writes the plain values of v into keys and collects what writes its
// tables.
func (p *printer) split(path string, v reflect.Value, keys *bytes.Buffer, tables *[]func()) {
	for _, f := range fieldsOf(v.Type()) {
		fv := v.FieldByIndex(f.index)
		if fv.IsZero() {
			continue
		}
		p.entry(f.key, dot(path, f.key), fv, keys, tables)
	}
}

// entry writes one key with its value, or puts off what needs a header of its own:
// in TOML a table ends where the next header begins, so plain values come first.
func (p *printer) entry(key, path string, v reflect.Value, keys *bytes.Buffer, tables *[]func()) {
	switch {
	case isScalar(v):
		fmt.Fprintf(keys, "%s = %s\n", key, scalar(v))
	case v.Kind() == reflect.Map:
		*tables = append(*tables, func() { p.mapping(path, v) })
	case v.Kind() == reflect.Struct:
		*tables = append(*tables, func() { p.table("[", path, v) })
	case v.Type().Elem().Kind() == reflect.Struct && !isScalar(v.Index(0)):
		*tables = append(*tables, func() {
			for i := range v.Len() {
				p.table("[[", path, v.Index(i))
			}
		})
	default:
		var items []string
		for i := range v.Len() {
			items = append(items, scalar(v.Index(i)))
		}
		fmt.Fprintf(keys, "%s = [%s]\n", key, strings.Join(items, ", "))
	}
}

// mapping writes a table whose keys are names.
func (p *printer) mapping(path string, v reflect.Value) {
	m := map[string]reflect.Value{}
	for it := v.MapRange(); it.Next(); {
		m[it.Key().String()] = it.Value()
	}
	if isScalar(reflect.New(v.Type().Elem()).Elem()) {
		fmt.Fprintf(&p.out, "\n[%s]\n", path)
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if isScalar(m[name]) {
			fmt.Fprintf(&p.out, "%s = %s\n", tomlKey(name), scalar(m[name]))
			continue
		}
		p.table("[", path+"."+tomlKey(name), m[name])
	}
}

// isScalar reports whether v is written behind an equals sign.
func isScalar(v reflect.Value) bool {
	if _, ok := v.Interface().(encoding.TextMarshaler); ok {
		return true
	}
	switch v.Kind() {
	case reflect.Map, reflect.Slice, reflect.Struct:
		return false
	}
	return true
}

// scalar writes a value as TOML. The text form comes first, for a Secret's is
// "***".
func scalar(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case encoding.TextMarshaler: // a Secret among them, which shows as ***
		text, err := x.MarshalText()
		if err != nil {
			return tomlString(err.Error())
		}
		return tomlString(string(text))
	case time.Duration:
		return tomlString(shortDuration(x))
	}
	switch v.Kind() {
	case reflect.String:
		return tomlString(v.String())
	case reflect.Pointer:
		return scalar(v.Elem())
	case reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	}
	return fmt.Sprint(v.Interface())
}

// shortDuration writes "1m" where Go would write "1m0s".
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// tomlKey writes a name as a key, in quotes if it needs them.
func tomlKey(name string) string {
	if name == "" || plain(name) != name {
		return quoteTOML(name)
	}
	return name
}

// tomlString writes a value, such that reading it expands no variable.
func tomlString(s string) string { return quoteTOML(strings.ReplaceAll(s, "${", "$${")) }

// quoteTOML writes a basic string (TOML 1.0, String).
func quoteTOML(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// ShowRegistry writes the table of the registry of that name as [Config.Show] does, with
// the upstreams of these names alone, in that order, and with another strategy if that is
// not empty. It is empty if there is none of them.
func (c *Config) ShowRegistry(name string, upstreams []string, strategy balancer.Strategy) string {
	var p printer
	for _, r := range c.Registries {
		if r.Name != name {
			continue
		}
		all := r.Upstreams
		r.Upstreams = nil
		for _, want := range upstreams {
			for _, u := range all {
				if u.Name == want {
					r.Upstreams = append(r.Upstreams, u)
				}
			}
		}
		r.Strategy = cmp.Or(strategy, r.Strategy)
		if len(r.Upstreams) > 0 {
			p.table("[[", "registry", reflect.ValueOf(r))
		}
	}
	return strings.TrimLeft(p.out.String(), "\n")
}
