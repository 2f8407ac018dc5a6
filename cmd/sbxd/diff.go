package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/policy"
	"github.com/sbx-project/sbx/registry"
)

// diffJSON is what `sbx diff --json` prints.
type diffJSON struct {
	A       string          `json:"a"`
	B       string          `json:"b"`
	Wider   bool            `json:"wider"`
	Changes []policy.Change `json:"changes"`
}

func diffCommand() *cobra.Command {
	var registryDir string
	var out output
	c := &cobra.Command{Use: "diff A B", Short: "Say what a change risks: B compared with A, in plain words", Args: cobra.ExactArgs(2),
		Long: `Say what a change risks: what B lets a command do that A does not, and the other
way round, the most dangerous first.

A and B are bundles or policies:
  ./db-backup, jq.yaml        a path: it has a slash, or ends in .yaml
  db.backup                   as it lies in the registry now; or a stock policy
  db.backup@2.4.1             a stored version (or @sha256:... a digest)
  db.backup@17                what was in force in generation 17

  dangerous   gives a right by which others can be had: a guarded call, any
              address, a tree to write, another identity
  wider       gives a right, or weakens what holds one
  neutral     neither
  narrower    takes a right away

Exit status 0: nothing is wider. 1: something is. 125, 126, 127: one of them
cannot be had.`,
		Example: "  sbx diff db.backup ./db-backup\n  sbx diff db.backup@2.4.0 db.backup@2.4.1",
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := out.wantJSON()
			if err != nil {
				return err
			}
			places, err := loader.Open(registryDir)
			if err != nil {
				return err
			}
			a, err := subject(places, args[0])
			if err != nil {
				return err
			}
			b, err := subject(places, args[1])
			if err != nil {
				return err
			}
			d := diffJSON{A: a.Label, B: b.Label, Changes: loader.Compare(a, b)}
			if d.Changes == nil {
				d.Changes = []policy.Change{}
			}
			d.Wider = policy.Widens(d.Changes)
			if err := d.print(cmd, asJSON); err != nil || !d.Wider {
				return err
			}
			return &statusError{1, nil, ""}
		}}
	c.Flags().StringVar(&registryDir, "registry", "", "look in this registry")
	out.flags(c)
	return c
}

// subject finds one side, and tells who forgot the slash.
func subject(places []loader.Place, arg string) (loader.Subject, error) {
	s, err := loader.FindSubject(places, arg)
	var none *registry.UnknownError
	if errors.As(err, &none) {
		if _, missing := os.Lstat(arg); missing == nil {
			err = &statusError{127, err, "./" + arg + " is a path"}
		}
	}
	return s, err
}

func (d *diffJSON) print(cmd *cobra.Command, asJSON bool) error {
	if asJSON {
		return printJSON(cmd.OutOrStdout(), d)
	}
	if len(d.Changes) == 0 {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "no difference")
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "RISK\tKEY\tCHANGE")
	for _, c := range d.Changes {
		fmt.Fprintf(w, "%s\t%s\t%s\n", c.Risk, plain(c.Key), plain(c.Text))
	}
	return w.Flush()
}

// plain makes a text that a bundle had a say in fit for one line of a
// terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
