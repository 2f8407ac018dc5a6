package main

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/spf13/cobra"
)

// output is how a verb prints facts: for people, or as JSON.
type output struct {
	json   bool
	format string
}

// flags adds --json and -o json.
func (o *output) flags(c *cobra.Command) {
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	c.Flags().StringVarP(&o.format, "output", "o", "", "json for JSON")
}

// wantJSON is asked once the flags are read.
func (o *output) wantJSON() (bool, error) {
	switch o.format {
	case "", "json":
		return o.json || o.format == "json", nil
	}
	return false, &statusError{125, errors.New("-o " + o.format + ": unknown output"), "-o json"}
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
