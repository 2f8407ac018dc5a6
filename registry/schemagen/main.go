// Schemagen writes the JSON Schemas of a policy file and of a bundle's
// manifest, for editors. They describe shape, spelling and bounds; the
// decoder alone decides.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	dir := "../policies/schema"
	if len(os.Args) == 2 {
		dir = os.Args[1]
	}
	for name, schema := range schemas() {
		if err := os.WriteFile(filepath.Join(dir, name), encode(schema), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "schemagen:", err)
			os.Exit(1)
		}
	}
}

// schemas returns each schema by its file name.
func schemas() map[string]object {
	return map[string]object{
		"policy.schema.json": document("sbx policy", policySchema()),
		"bundle.schema.json": document("sbx bundle manifest", bundleSchema()),
	}
}

// encode writes a schema with sorted keys, so that it changes only when its
// meaning does.
func encode(schema object) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(schema); err != nil {
		panic("bug: a schema is not JSON: " + err.Error())
	}
	return b.Bytes()
}
