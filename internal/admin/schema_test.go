package admin_test

import (
	"encoding"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// An object is one of JSON.
type object = map[string]any

// schemas makes JSON Schemas of Go types, as encoding/json writes them, with what the
// source says of each field.
type schemas struct {
	t        *testing.T
	found    object                       // by the name of a component
	comments map[string]map[string]string // of fields, by package and then "Type.Field"
}

func newSchemas(t *testing.T) *schemas {
	return &schemas{t: t, found: object{}, comments: map[string]map[string]string{}}
}

var (
	timeType = reflect.TypeFor[time.Time]()
	textType = reflect.TypeFor[encoding.TextMarshaler]()
)

// of returns the schema of t.
func (s *schemas) of(t reflect.Type) object {
	switch {
	case t == timeType:
		return object{"type": "string", "format": "date-time"}
	case t.Kind() != reflect.Pointer && t.Implements(textType):
		return object{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Int, reflect.Int32, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Uint, reflect.Uint8, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Interface:
		return object{}
	case reflect.Pointer:
		return orNull(s.of(t.Elem()))
	case reflect.Slice:
		return object{"type": []any{"array", "null"}, "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": []any{"object", "null"}, "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		return s.ref(t)
	}
	s.t.Fatalf("no schema for %s", t)
	return nil
}

func orNull(schema object) object {
	if kind, ok := schema["type"].(string); ok {
		schema["type"] = []any{kind, "null"}
		return schema
	}
	return object{"anyOf": []any{schema, object{"type": "null"}}}
}

// ref returns a reference to the component that t is. Names of other packages than
// admin begin with the package's: there are three Snapshots.
func (s *schemas) ref(t reflect.Type) object {
	name := t.Name()
	if pkg := filepath.Base(t.PkgPath()); pkg != "admin" {
		name = strings.ToUpper(pkg[:1]) + pkg[1:] + name
	}
	name = strings.ToUpper(name[:1]) + name[1:]
	if s.found[name] == nil {
		component := object{"type": "object"}
		s.found[name] = component // first: a type may have itself in it
		properties, required := object{}, []any{}
		s.fields(t, properties, &required)
		component["properties"] = properties
		if len(required) > 0 {
			component["required"] = required
		}
	}
	return object{"$ref": "#/components/schemas/" + name}
}

// fields adds the fields of a struct, those of embedded ones as its own. An outer one
// hides an inner one of the same name.
func (s *schemas) fields(t reflect.Type, properties object, required *[]any) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && tag == "" || tag == "-" || !f.IsExported() {
			continue
		}
		if tag == "" {
			s.t.Errorf("%s.%s has no JSON name", t, f.Name)
		}
		schema := s.of(f.Type)
		if about := s.comment(t, f.Name); about != "" {
			if schema["$ref"] != nil {
				schema = object{"allOf": []any{schema}}
			}
			schema["description"] = about
		}
		properties[tag] = schema
		if !strings.Contains(options, "omitempty") {
			*required = append(*required, tag)
		}
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous && f.Tag.Get("json") == "" {
			inner := object{}
			var names []any
			s.fields(f.Type, inner, &names)
			for _, name := range names {
				if properties[name.(string)] == nil {
					*required = append(*required, name)
				}
			}
			for name, schema := range inner {
				if properties[name] == nil {
					properties[name] = schema
				}
			}
		}
	}
}

// comment returns what the source says of a field.
func (s *schemas) comment(t reflect.Type, field string) string {
	if s.comments[t.PkgPath()] == nil {
		s.comments[t.PkgPath()] = s.read(t.PkgPath())
	}
	return s.comments[t.PkgPath()][t.Name()+"."+field]
}

// read returns the comments beside and above the fields of a package's types.
func (s *schemas) read(pkg string) map[string]string {
	out := map[string]string{}
	dir, ours := strings.CutPrefix(pkg, "github.com/pullchain/pullchain")
	if !ours {
		return out
	}
	paths, err := filepath.Glob(filepath.Join("../..", dir, "*.go"))
	if err != nil || len(paths) == 0 {
		s.t.Fatalf("no source of %s: %v", pkg, err)
	}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			s.t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if st, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range st.Fields.List {
					text := strings.TrimSpace(f.Comment.Text())
					if text == "" {
						text = strings.TrimSpace(f.Doc.Text())
					}
					for _, name := range f.Names {
						out[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(text), " ")
					}
				}
			}
			return true
		})
	}
	return out
}

// A validator holds JSON against the schemas of a document: as far as ours go, and an
// error for what they have beyond.
type validator struct{ components object }

// check returns what is wrong with v, at a path for people.
func (d validator) check(schema object, v any, at string) []string {
	var faults []string
	for key, want := range schema {
		switch key {
		case "description", "minimum":
		case "$ref":
			name := strings.TrimPrefix(want.(string), "#/components/schemas/")
			component, ok := d.components[name].(object)
			if !ok {
				return []string{at + ": there is no component " + name}
			}
			faults = append(faults, d.check(component, v, at)...)
		case "allOf":
			for _, one := range want.([]any) {
				faults = append(faults, d.check(one.(object), v, at)...)
			}
		case "anyOf":
			var all []string
			for _, one := range want.([]any) {
				f := d.check(one.(object), v, at)
				if len(f) == 0 {
					all = nil
					break
				}
				all = append(all, f...)
			}
			faults = append(faults, all...)
		case "type":
			faults = append(faults, d.checkType(want, v, at)...)
		case "format":
			if text, ok := v.(string); ok {
				if _, err := time.Parse(time.RFC3339, text); err != nil || want != "date-time" {
					faults = append(faults, fmt.Sprintf("%s: %q is no %v", at, text, want))
				}
			}
		case "enum":
			if !reflectContains(want.([]any), v) {
				faults = append(faults, fmt.Sprintf("%s: %v is none of %v", at, v, want))
			}
		case "properties", "required", "items", "additionalProperties":
			faults = append(faults, d.checkParts(key, want, v, at)...)
		default:
			faults = append(faults, at+": the schema has "+key)
		}
	}
	return faults
}

func reflectContains(list []any, v any) bool {
	for _, one := range list {
		if reflect.DeepEqual(one, v) {
			return true
		}
	}
	return false
}

func (d validator) checkType(want, v any, at string) []string {
	kinds, ok := want.([]any)
	if !ok {
		kinds = []any{want}
	}
	is := "null"
	switch x := v.(type) {
	case bool:
		is = "boolean"
	case string:
		is = "string"
	case float64:
		is = "number"
		if x == float64(int64(x)) && !reflectContains(kinds, "number") {
			is = "integer"
		}
	case []any:
		is = "array"
	case object:
		is = "object"
	}
	if !reflectContains(kinds, is) {
		return []string{fmt.Sprintf("%s is %s, want %v", at, is, want)}
	}
	return nil
}

// checkParts checks what is in an object or an array. Properties that a schema does not
// have are a fault: each field has to be documented.
func (d validator) checkParts(key string, want, v any, at string) []string {
	var faults []string
	switch x := v.(type) {
	case []any:
		for i, item := range x {
			if key == "items" {
				faults = append(faults, d.check(want.(object), item, fmt.Sprintf("%s[%d]", at, i))...)
			}
		}
	case object:
		switch key {
		case "required":
			for _, name := range want.([]any) {
				if _, ok := x[name.(string)]; !ok {
					faults = append(faults, fmt.Sprintf("%s.%s is not there", at, name))
				}
			}
		case "properties":
			for name, value := range x {
				schema, ok := want.(object)[name].(object)
				if !ok {
					faults = append(faults, at+"."+name+" is not documented")
					continue
				}
				faults = append(faults, d.check(schema, value, at+"."+name)...)
			}
		case "additionalProperties":
			for name, value := range x {
				faults = append(faults, d.check(want.(object), value, at+"."+name)...)
			}
		}
	}
	return faults
}
