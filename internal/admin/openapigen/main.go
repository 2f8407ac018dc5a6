// Command openapigen writes the OpenAPI document of the admin API.
package main

import (
	"fmt"
	"os"

	"github.com/sbx-project/sbx/internal/admin"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "openapigen: want the file to write")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], admin.OpenAPI(), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "openapigen:", err)
		os.Exit(1)
	}
}
