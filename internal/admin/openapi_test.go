package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestOpenAPICommitted(t *testing.T) {
	committed, err := os.ReadFile("../../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(committed, OpenAPI()) {
		t.Error("docs/openapi.json is not what the source says: go generate ./internal/admin")
	}
}

// TestRoutes: every route of the document is there, and answers as it says.
func TestRoutes(t *testing.T) {
	hub := NewHub()
	uid, code := uint32(1000), 159
	hub.Publish(Event{Kind: RunEnded, Run: "run-1", UID: &uid, ExitCode: &code, Outcome: "violation", Violations: []Violation{{Kind: "syscall", Syscall: "ptrace"}}})
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		io.WriteString(w, "sbx_up 1\n")
	})
	_, dir, _ := serve(t, Options{Events: hub, EnableLifecycle: true, Metrics: metrics})
	c := client(t, dir)
	resp, err := c.do(t.Context(), "GET", "/v1/openapi.json", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	check := &schemaCheck{doc["components"].(map[string]any)["schemas"].(map[string]any)}
	n := 0
	for path, item := range doc["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			n++
			at := strings.ToUpper(method) + " " + path
			path := strings.NewReplacer("{name}", "db.backup", "{run}", "run-1").Replace(path)
			path += map[string]string{
				"/v1/events": "?follow=false", "/v1/rollback": "?generation=7&reason=why", "/v1/commands/db.backup/floor": "?version=1.0.0",
				"/v1/commands/db.backup/rollback": "?to=1.0.0",
			}[path]
			resp, err := c.do(t.Context(), strings.ToUpper(method), path, nil)
			if err != nil {
				t.Fatal(at, err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			said, ok := op.(map[string]any)["responses"].(map[string]any)[strconv.Itoa(resp.StatusCode)].(map[string]any)
			if err != nil || !ok || resp.StatusCode >= 400 {
				t.Errorf("%s: %s is not in the document (%v): %s", at, resp.Status, err, body)
				continue
			}
			kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
			media, ok := said["content"].(map[string]any)[kind].(map[string]any)
			if !ok {
				t.Errorf("%s: content type %q is not in the document", at, kind)
				continue
			}
			schema, ok := media["schema"].(map[string]any)
			if !ok {
				continue
			}
			for line := range bytes.Lines(body) {
				var v any
				if err := json.Unmarshal(line, &v); err != nil {
					t.Errorf("%s: %v", at, err)
				} else if err := check.value(schema, v); err != nil {
					t.Errorf("%s: %v in %s", at, err, line)
				}
			}
		}
	}
	if n != 18 {
		t.Errorf("%d routes in the document, want 18", n)
	}
}

// schemaCheck judges values by the part of JSON Schema that describe uses.
type schemaCheck struct{ schemas map[string]any }

func (c *schemaCheck) value(s map[string]any, v any) error {
	if ref, ok := s["$ref"].(string); ok {
		return c.value(c.schemas[strings.TrimPrefix(ref, "#/components/schemas/")].(map[string]any), v)
	}
	if enum, ok := s["enum"].([]any); ok && !slices.Contains(enum, v) {
		return fmt.Errorf("%v is none of %v", v, enum)
	}
	switch s["type"] {
	case "object":
		o, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("%v is no object", v)
		}
		props := s["properties"].(map[string]any)
		for _, name := range s["required"].([]any) {
			if _, ok := o[name.(string)]; !ok {
				return fmt.Errorf("%v is missing", name)
			}
		}
		for name, member := range o {
			p, ok := props[name].(map[string]any)
			if !ok {
				return fmt.Errorf("%s is not in the document", name)
			}
			if err := c.value(p, member); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	case "array":
		list, ok := v.([]any)
		if !ok {
			return fmt.Errorf("%v is no array", v)
		}
		for _, item := range list {
			if err := c.value(s["items"].(map[string]any), item); err != nil {
				return err
			}
		}
	case "string":
		text, ok := v.(string)
		if !ok {
			return fmt.Errorf("%v is no string", v)
		}
		if s["format"] == "date-time" {
			if _, err := time.Parse(time.RFC3339Nano, text); err != nil {
				return err
			}
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			return fmt.Errorf("%v is no boolean", v)
		}
	case "integer", "number":
		f, ok := v.(float64)
		if !ok || s["type"] == "integer" && f != float64(int64(f)) {
			return fmt.Errorf("%v is no %v", v, s["type"])
		}
	default:
		return fmt.Errorf("the document has type %v", s["type"])
	}
	return nil
}
