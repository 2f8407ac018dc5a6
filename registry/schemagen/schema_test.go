package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/yamlnode"
	"github.com/sbx-project/sbx/policy"
	"github.com/sbx-project/sbx/registry"
)

// TestCommitted: the committed schemas are what this program writes.
func TestCommitted(t *testing.T) {
	for name, schema := range schemas() {
		got, err := os.ReadFile(filepath.Join("../../policies/schema", name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(encode(schema)), string(got)); diff != "" {
			t.Errorf("%s: run go generate ./registry (-want +got):\n%s", name, diff)
		}
	}
}

// TestAgree: the schemas accept every good file.
func TestAgree(t *testing.T) {
	for pattern, schema := range map[string]object{
		"../testdata/*.good.yaml":           bundleSchema(),
		"../../policies/commands/*.yaml":    bundleSchema(),
		"../../policy/testdata/*.good.yaml": policySchema(),
		"../../policies/stock/*.yaml":       policySchema(),
	} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files, %v", pattern, err)
		}
		for _, file := range files {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			n, err := yamlnode.Parse(file, src)
			if err != nil {
				t.Fatal(err)
			}
			if why := judge(schema, n); why != "" {
				t.Errorf("%s: %s", file, why)
			}
		}
	}
}

// TestKeysKnown: the decoder knows every key of the schemas.
func TestKeysKnown(t *testing.T) {
	for _, tt := range []struct {
		what   string
		schema object
		decode func(*policy.Node) error
	}{
		{"policy", policySchema(), func(n *policy.Node) error { _, err := policy.FromNode(n); return err }},
		{"manifest", bundleSchema(), func(n *policy.Node) error { _, err := registry.FromNode(n); return err }},
	} {
		count := 0
		walkKeys(tt.schema, nil, func(keys []string) {
			count++
			// A mapping with nothing but this key, down from the top.
			n := &policy.Node{Kind: policy.Scalar, Value: "?", Quoted: true}
			for i := len(keys) - 1; i >= 0; i-- {
				if keys[i] == "[]" {
					n = &policy.Node{Kind: policy.Sequence, Items: []*policy.Node{n}}
					continue
				}
				key := &policy.Node{Kind: policy.Scalar, Value: keys[i]}
				n = &policy.Node{Kind: policy.Mapping, Pairs: []policy.Pair{{Key: key, Value: n}}}
			}
			if err := tt.decode(n); err != nil && strings.Contains(err.Error(), "unknown key") {
				t.Errorf("%s: %s: %v", tt.what, strings.Join(keys, "."), err)
			}
		})
		if count < 60 {
			t.Errorf("%s: %d keys walked", tt.what, count)
		}
	}
}

func walkKeys(schema object, above []string, f func([]string)) {
	if keys, ok := schema["properties"].(object); ok {
		for key, value := range keys {
			path := append(append([]string{}, above...), key)
			f(path)
			walkKeys(value.(object), path, f)
		}
	}
	if items, ok := schema["items"].(object); ok {
		walkKeys(items, append(append([]string{}, above...), "[]"), f)
	}
	if options, ok := schema["anyOf"].([]object); ok {
		for _, option := range options {
			walkKeys(option, above, f)
		}
	}
}

// judge is the part of JSON Schema that the schemas use. It returns why n is
// not accepted.
func judge(schema object, n *policy.Node) string {
	if options, ok := schema["anyOf"].([]object); ok {
		var why []string
		for _, option := range options {
			w := judge(option, n)
			if w == "" {
				return ""
			}
			why = append(why, w)
		}
		return strings.Join(why, ", or ")
	}
	if values, ok := schema["enum"].([]string); ok {
		for _, v := range values {
			if n.Kind == policy.Scalar && n.Value == v {
				return ""
			}
		}
		return fmt.Sprintf("%s: %q is none of %v", n.Pos, n.Value, values)
	}
	switch n.Kind {
	case policy.Scalar:
		return judgeScalar(schema, n)
	case policy.Sequence:
		if schema["type"] != "array" {
			return fmt.Sprintf("%s: a list, want %v", n.Pos, schema["type"])
		}
		if highest, ok := schema["maxItems"].(int); ok && len(n.Items) > highest {
			return fmt.Sprintf("%s: more than %d items", n.Pos, highest)
		}
		for _, item := range n.Items {
			if why := judge(schema["items"].(object), item); why != "" {
				return why
			}
		}
		return ""
	}
	return judgeMapping(schema, n)
}

func judgeMapping(schema object, n *policy.Node) string {
	if schema["type"] != "object" {
		return fmt.Sprintf("%s: a mapping, want %v", n.Pos, schema["type"])
	}
	keys, _ := schema["properties"].(object)
	rest, open := schema["additionalProperties"].(object)
	seen := map[string]bool{}
	for _, pair := range n.Pairs {
		seen[pair.Key.Value] = true
		value, ok := keys[pair.Key.Value].(object)
		if !ok && !open {
			return fmt.Sprintf("%s: key %q is not in the schema", pair.Key.Pos, pair.Key.Value)
		}
		if !ok {
			value = rest
		}
		if why := judge(value, pair.Value); why != "" {
			return why
		}
	}
	required, _ := schema["required"].([]string)
	for _, key := range required {
		if !seen[key] {
			return fmt.Sprintf("%s: no key %q", n.Pos, key)
		}
	}
	return ""
}

var integer = regexp.MustCompile(`^(0|-?[1-9][0-9]*|0x[0-9a-fA-F]+)$`)

func judgeScalar(schema object, n *policy.Node) string {
	kind := "string"
	switch {
	case n.Quoted:
	case n.Value == "true" || n.Value == "false":
		kind = "boolean"
	case integer.MatchString(n.Value):
		kind = "integer"
	}
	if kinds, ok := schema["type"].([]string); ok && len(kinds) > 1 {
		return ""
	}
	if schema["type"] != kind {
		return fmt.Sprintf("%s: %q is of type %s, want %v", n.Pos, n.Value, kind, schema["type"])
	}
	if pattern, ok := schema["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(n.Value) {
		return fmt.Sprintf("%s: %q does not match %s", n.Pos, n.Value, pattern)
	}
	return ""
}
