package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:generate go run ./openapigen ../../docs/openapi.json

// OpenAPI is the document of the whole API, made from the table of routes and
// the types of types.go: the same bytes for the same source.
func OpenAPI() []byte {
	s := New(Options{EnableLifecycle: true, Metrics: http.NotFoundHandler()})
	defer s.cancel()
	return describe(s.routes)
}

func (s *Server) document(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Write(describe(s.routes))
}

// object is a JSON object; encoding/json sorts its members.
type object map[string]any

func describe(routes []route) []byte {
	schemas := object{}
	paths := object{}
	for _, rt := range routes {
		rt.path = strings.TrimSuffix(rt.path, "{$}") // the mux's "and nothing after it"
		item, ok := paths[rt.path].(object)
		if !ok {
			item = object{}
			paths[rt.path] = item
		}
		item[strings.ToLower(rt.method)] = operation(rt, schemas)
	}
	doc := object{
		"openapi": "3.1.0",
		"info": object{
			"title": "sbx admin API", "version": "1",
			"description": "On the daemon's Unix socket for root and the daemon's own user; on TCP with the token, as password or bearer. Every request may also be answered by 400, 401, 403, 404, 405, 413 or 421 with a Problem. No request has a body.",
		},
		"paths": paths,
		"components": object{
			"schemas":         schemas,
			"securitySchemes": object{"basic": object{"type": "http", "scheme": "basic"}, "bearer": object{"type": "http", "scheme": "bearer"}},
		},
		"security": []object{{}, {"basic": []string{}}, {"bearer": []string{}}},
	}
	schemaOf(reflect.TypeFor[Event](), schemas) // a line of /v1/events
	schemaOf(reflect.TypeFor[Problem](), schemas)
	b, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		panic("bug: the OpenAPI document has no JSON: " + err.Error())
	}
	return append(b, '\n')
}

func operation(rt route, schemas object) object {
	responses := object{}
	for status, v := range rt.answers {
		r := object{"description": http.StatusText(status)}
		switch {
		case v != nil:
			r["content"] = object{"application/json": object{"schema": schemaOf(reflect.TypeOf(v), schemas)}}
		case rt.content == "application/x-ndjson":
			line := object{"schema": object{"$ref": "#/components/schemas/Event"}}
			r["content"] = object{"application/x-ndjson": line, "text/event-stream": line}
		default:
			r["content"] = object{rt.content: object{}}
		}
		responses[strconv.Itoa(status)] = r
	}
	var params []object
	for part := range strings.SplitSeq(rt.path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			params = append(params, object{"name": strings.TrimSuffix(name, "}"), "in": "path", "required": true, "schema": object{"type": "string"}})
		}
	}
	for _, q := range rt.query {
		params = append(params, object{"name": q.name, "in": "query", "description": q.doc, "schema": object{"type": "string"}})
	}
	if rt.method == http.MethodPost {
		params = append(params, object{"name": "If-Match", "in": "header", "description": "ETag of the generation that must be in force", "schema": object{"type": "string"}})
	}
	op := object{"summary": rt.summary, "operationId": strings.ToLower(rt.method) + strings.NewReplacer("/", "-", "{", "", "}", "").Replace(rt.path), "responses": responses}
	if params != nil {
		op["parameters"] = params
	}
	return op
}

// schemaOf describes a type; structs go to schemas and are referred to.
func schemaOf(t reflect.Type, schemas object) object {
	if t == reflect.TypeFor[time.Time]() {
		return object{"type": "string", "format": "date-time"}
	}
	if e, ok := reflect.Zero(t).Interface().(interface{ Enum() []string }); ok && t.Kind() == reflect.String {
		return object{"type": "string", "enum": e.Enum()}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem(), schemas)
	case reflect.Slice:
		return object{"type": "array", "items": schemaOf(t.Elem(), schemas)}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Int, reflect.Int32, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Uint32, reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	case reflect.Struct:
		ref := object{"$ref": "#/components/schemas/" + t.Name()}
		if schemas[t.Name()] != nil {
			return ref
		}
		s := object{"type": "object"}
		schemas[t.Name()] = s // before its fields: a type may hold itself
		props := object{}
		required := []string{}
		for i := range t.NumField() {
			f := t.Field(i)
			name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
			p := schemaOf(f.Type, schemas)
			p["description"] = f.Tag.Get("doc")
			props[name] = p
			if !strings.Contains(opts, "omitempty") {
				required = append(required, name)
			}
		}
		slices.Sort(required)
		s["properties"], s["required"] = props, required
		return ref
	}
	panic(fmt.Sprintf("bug: no schema for %v", t))
}
