package service

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/sbx-project/sbx/registry"
)

// Program marks a struct as a command: it is embedded in it, and its tags say
// what is executed.
//
//	type Tools struct {
//		Greet struct {
//			service.Program `path:"/bin/echo" version:"1.0.0" argv:"hello {{who}}" summary:"Greet somebody"`
//			Who             string `position:"1" required:"true" max:"40" help:"whom"`
//		}
//	}
//
// Its tags: path (required), version (default 0.0.0), summary, argv (words
// separated by blanks, with templates), and policy (one YAML value on one
// line, in the flow form: {network: {mode: loopback}}).
//
// Each other exported field of the command is a declared parameter. Its name is
// the field's in lower case with dashes (DryRun: dry-run), or the tag name. Its
// type follows from the field's: string, bool, float64, time.Duration, the
// integers, Size, Path, and slices of them; with the tag values
// (comma-separated) it is an enum. Further tags are those of the manifest:
// help, default, required, position, max, chars, access.
//
// A field that is a struct without a Program is a group.
type Program struct{}

// Size is a parameter of type size, in bytes; Path one of type path.
type (
	Size uint64
	Path string
)

// Discover returns a manifest for every command among the fields of a struct,
// in their order. v is a struct or a pointer to one; its values are not looked
// at. The manifests are what Register takes: it says what is wrong with one.
// The error names the field that cannot be a command or a parameter.
func Discover(v any) ([][]byte, error) {
	t := reflect.TypeOf(v)
	if t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("discover commands in %v: not a struct", t)
	}
	if _, ok := program(t); ok {
		return nil, fmt.Errorf("discover commands in %v: it is a command itself, whose name is that of a field", t)
	}
	return discover(nil, t, "", t.String())
}

func discover(out [][]byte, t reflect.Type, prefix, where string) ([][]byte, error) {
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		at := where + "." + f.Name
		ft := f.Type
		if ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		if ft.Kind() != reflect.Struct {
			return nil, fmt.Errorf("discover commands: %s is a %v: neither a command nor a group", at, f.Type)
		}
		name := prefix + fieldName(f)
		p, ok := program(ft)
		if !ok {
			if strings.Count(name, ".") >= registry.MaxSegments {
				return nil, fmt.Errorf("discover commands: %s: nested deeper than %d", at, registry.MaxSegments)
			}
			var err error
			if out, err = discover(out, ft, name+".", at); err != nil {
				return nil, err
			}
			continue
		}
		manifest, err := manifestOf(ft, p, name, at)
		if err != nil {
			return nil, err
		}
		out = append(out, manifest)
	}
	return out, nil
}

// program returns the embedded Program of a struct.
func program(t reflect.Type) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous && f.Type == reflect.TypeFor[Program]() {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// manifestOf writes a manifest. JSON is YAML, so every string is quoted as it
// must be; only the policy is the author's own text.
func manifestOf(t reflect.Type, p reflect.StructField, name, where string) ([]byte, error) {
	if p.Tag.Get("path") == "" {
		return nil, fmt.Errorf("discover commands: %s.Program has no tag path", where)
	}
	if err := known(p.Tag, where+".Program", "path", "version", "summary", "argv", "policy"); err != nil {
		return nil, err
	}
	type param map[string]any
	var params []param
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() || f.Anonymous && f.Type == p.Type {
			continue
		}
		at := where + "." + f.Name
		if err := known(f.Tag, at, "name", "values", "help", "default", "required", "position", "max", "chars", "access"); err != nil {
			return nil, err
		}
		kind, err := paramType(f, at)
		if err != nil {
			return nil, err
		}
		one := param{"name": fieldName(f), "type": kind}
		for _, key := range []string{"help", "chars", "access", "default"} {
			if value, ok := f.Tag.Lookup(key); ok {
				one[key] = value
			}
		}
		for _, key := range []string{"position", "max"} {
			if value, ok := f.Tag.Lookup(key); ok {
				n, err := strconv.ParseUint(value, 10, 32)
				if err != nil {
					return nil, fmt.Errorf("discover commands: %s: tag %s: %w", at, key, err)
				}
				one[key] = n
			}
		}
		if value, ok := f.Tag.Lookup("required"); ok {
			if one["required"], err = strconv.ParseBool(value); err != nil {
				return nil, fmt.Errorf("discover commands: %s: tag required: %w", at, err)
			}
		}
		if value, ok := f.Tag.Lookup("values"); ok {
			one["values"] = strings.Split(value, ",")
		}
		params = append(params, one)
	}
	version := p.Tag.Get("version")
	if version == "" {
		version = "0.0.0"
	}
	exec := map[string]any{"path": p.Tag.Get("path"), "argv": append([]string{}, strings.Fields(p.Tag.Get("argv"))...)}
	exec["argv0"] = path.Base(p.Tag.Get("path"))
	var b bytes.Buffer
	b.WriteString("{")
	for _, m := range []struct {
		key   string
		value any
	}{{"apiVersion", "sbx/v1"}, {"name", name}, {"version", version}, {"summary", p.Tag.Get("summary")}, {"exec", exec}, {"params", params}} {
		if m.key == "params" && params == nil || m.value == "" {
			continue
		}
		text, err := json.Marshal(m.value)
		if err != nil {
			return nil, fmt.Errorf("discover commands: %s: %w", where, err)
		}
		fmt.Fprintf(&b, "%q: %s,\n", m.key, text)
	}
	if policy := p.Tag.Get("policy"); policy != "" {
		if strings.ContainsAny(policy, "\r\n") || !strings.HasPrefix(policy, "{") || !strings.HasSuffix(policy, "}") {
			return nil, fmt.Errorf("discover commands: %s.Program: tag policy is not {...} on one line", where)
		}
		fmt.Fprintf(&b, "\"policy\": %s,\n", policy)
	}
	b.WriteString("}\n")
	return b.Bytes(), nil
}

// known refuses tags that mean nothing: most are misspelt.
func known(tag reflect.StructTag, where string, keys ...string) error {
	for rest := strings.TrimLeft(string(tag), " "); rest != ""; {
		key, after, ok := strings.Cut(rest, ":")
		value, err := strconv.QuotedPrefix(after)
		if !ok || err != nil {
			return fmt.Errorf("discover commands: %s: tags are written key:\"value\": %s", where, rest)
		}
		if !slices.Contains(keys, key) {
			return fmt.Errorf("discover commands: %s: unknown tag %q", where, key)
		}
		rest = strings.TrimLeft(after[len(value):], " ")
	}
	return nil
}

// paramType is the manifest's word for a field's type; for a list, a list of
// it.
func paramType(f reflect.StructField, where string) (any, error) {
	t := f.Type
	list := t.Kind() == reflect.Slice
	if list {
		t = t.Elem()
	}
	word := ""
	switch {
	case t == reflect.TypeFor[time.Duration]():
		word = "duration"
	case t == reflect.TypeFor[Size]():
		word = "size"
	case t == reflect.TypeFor[Path]():
		word = "path"
	case t.Kind() == reflect.String:
		word = "string"
		if _, ok := f.Tag.Lookup("values"); ok {
			word = "enum"
		}
	case t.Kind() == reflect.Bool:
		word = "bool"
	case t.Kind() == reflect.Float64:
		word = "float"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		word = "int"
	default:
		return nil, fmt.Errorf("discover commands: %s: no parameter is a %v", where, f.Type)
	}
	if list {
		return []string{word}, nil
	}
	return word, nil
}

// fieldName is the tag name, or the field's name with dashes.
func fieldName(f reflect.StructField) string {
	if name, ok := f.Tag.Lookup("name"); ok {
		return name
	}
	var b strings.Builder
	runes := []rune(f.Name)
	for i, r := range runes {
		// A dash before a word: after a lower-case letter, or before the last
		// capital of several (HTTPPort: http-port).
		if i > 0 && unicode.IsUpper(r) && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return strings.ReplaceAll(b.String(), "_", "-")
}
