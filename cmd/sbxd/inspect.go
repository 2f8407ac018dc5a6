package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sbx-project/sbx/internal/engine"
	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/filter"
	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/registry"
)

// checked is what `sbx check --json` says of one path.
type checked struct {
	Path  string   `json:"path"`
	OK    bool     `json:"ok"`
	Error string   `json:"error,omitempty"`
	Hints []string `json:"hints,omitempty"`
}

func checkCommand() *cobra.Command {
	var out output
	c := &cobra.Command{Use: "check PATH...", Short: "Check bundles and policies; exit 1 when one is bad", Args: cobra.MinimumNArgs(1),
		Long: `Check bundles and policies, as text and by making their plan on this host. Those
that are given together must be able to be in force together: no circle of
requires.commands, no command that is a group too. A directory without a
bundle.yaml is checked as a registry: all that is in it, and that what its
commands require is there. Exit status 1 when anything is bad.`,
		RunE: func(cmd *cobra.Command, paths []string) error {
			asJSON, err := out.wantJSON()
			if err != nil {
				return err
			}
			all, bad := []checked{}, false
			add := func(path string, err error) {
				c := checked{Path: path, OK: err == nil}
				if err != nil {
					_, hints := statusOf(err)
					c.Error, c.Hints, bad = err.Error(), slices.DeleteFunc(hints, func(h string) bool { return h == "" }), true
				}
				all = append(all, c)
			}
			for _, path := range paths {
				if !isRegistry(path) {
					add(path, loader.Check(path))
					continue
				}
				files, errs, tree := loader.CheckRegistry(path)
				for _, file := range files {
					add(file, errs[file])
				}
				add(path, tree)
			}
			if err := loader.CheckTogether(paths); err != nil {
				add(strings.Join(paths, " "), err)
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), all)
			} else {
				err = printChecked(cmd, all)
			}
			if err == nil && bad {
				return &statusError{1, nil, ""}
			}
			return err
		}}
	out.flags(c)
	return c
}

// isRegistry tells a registry from a bundle and from a file.
func isRegistry(path string) bool {
	st, err := os.Stat(path)
	if err != nil || !st.IsDir() {
		return false
	}
	_, err = os.Lstat(filepath.Join(path, registry.ManifestName))
	return errors.Is(err, fs.ErrNotExist)
}

func printChecked(cmd *cobra.Command, all []checked) error {
	for _, c := range all {
		text := c.Path + ": ok"
		if !c.OK {
			text = strings.Join(append([]string{c.Error}, c.Hints...), "\n")
		}
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), text); err != nil {
			return err
		}
	}
	return nil
}

// shown is what `sbx show --json` says: the plan's identity and, in their
// order, the lines that people read.
type shown struct {
	Command    string `json:"command"`
	Version    string `json:"version"`
	Digest     string `json:"digest"`
	Generation uint64 `json:"generation,omitempty"`
	Facts      []fact `json:"facts,omitempty"`
}

type fact struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// factsOf takes the text of engine.Describe apart.
func factsOf(text string) (facts []fact) {
	for line := range strings.Lines(text) {
		key, value := strings.TrimSuffix(line, "\n"), ""
		if len(key) > engine.KeyWidth {
			key, value = key[:engine.KeyWidth], key[engine.KeyWidth+1:]
		}
		facts = append(facts, fact{strings.TrimSpace(key), value})
	}
	return facts
}

func showCommand() *cobra.Command {
	var registryDir string
	var digest, withFilter, all bool
	var out output
	c := &cobra.Command{Use: "show NAME", Short: "Show what is in force for a command", Args: cobra.MinimumNArgs(1),
		Long: "Show the plan in force of a command: its program, its resolved policy, its digest.\nOne that you may not run is refused (126).\n\n" + mayRun,
		RunE: func(cmd *cobra.Command, words []string) error {
			asJSON, err := out.wantJSON()
			if err != nil {
				return err
			}
			if all && os.Geteuid() != 0 {
				return &statusError{126, errors.New("show: --all is root's"), "sbx show NAME shows what you may run"}
			}
			places, err := loader.Open(registryDir)
			if err != nil {
				return err
			}
			if digest {
				name, place, _, err := loader.Find(places, words)
				if err != nil {
					return pruned(registryDir, err)
				}
				raw, err := place.Read(name)
				if err != nil {
					return &loader.RejectedError{Err: err}
				}
				// Who signs a bundle asks before anybody believes it.
				if disk, err := place.Reader(); err == nil {
					if b, err := disk.Load(name); err == nil {
						if err := othersOwn(name, place.Key, b.Manifest.Allow.Users, b.Manifest.Allow.Groups); err != nil {
							return err
						}
					}
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), shown{Command: name, Digest: raw.Digest})
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), raw.Digest)
				return err
			}
			p, _, _, err := loader.Run(registryDir, words, loaderOptions())
			if err != nil {
				return pruned(registryDir, err)
			}
			if p.Refusal != "" && !all {
				return &loader.RejectedError{Err: errors.New(p.Command + ": " + p.Refusal)}
			}
			if err := othersOwn(p.Command, p.Key, p.AllowUsers, p.AllowGroups); err != nil {
				return err
			}
			if asJSON && !withFilter {
				return printJSON(cmd.OutOrStdout(), shown{p.Command, p.Version, p.Revision, p.Generation, factsOf(engine.Describe(p))})
			}
			if withFilter {
				_, err = fmt.Fprint(cmd.OutOrStdout(), filter.Dump(p.Filter.Insns))
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), engine.Describe(p))
			return err
		}}
	c.Flags().StringVar(&registryDir, "registry", "", "look in this registry")
	c.Flags().BoolVar(&all, "all", false, "as root: a name that refuses, too, with its reason")
	c.Flags().BoolVar(&digest, "digest", false, "print the bundle's digest only")
	c.Flags().BoolVar(&withFilter, "filter", false, "dump the filter")
	out.flags(c)
	return c
}

// othersOwn refuses to show what `allow` keeps for others.
func othersOwn(name, key string, users, groups []string) error {
	c, err := callers()
	if err != nil {
		return err
	}
	if !c.may(key, users, groups) {
		return &statusError{126, errors.New("show " + name + ": it is not for you to run"), "its manifest says whom it is for (allow)"}
	}
	return nil
}

func doctorCommand() *cobra.Command {
	var out output
	c := &cobra.Command{Use: "doctor", Short: "Say what this host can hold, and how to mend what it cannot", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := out.wantJSON()
			if err != nil {
				return err
			}
			all := feature.Probe().All()
			if asJSON {
				return printJSON(cmd.OutOrStdout(), all)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			for _, f := range all {
				state := "present"
				if !f.Present {
					state = "missing"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\n", f.Name, state, f.Detail)
				if !f.Present {
					fmt.Fprintf(w, "\t\twithout it: %s\n\t\tfix: %s\n", f.Cost, f.Fix)
				}
			}
			return w.Flush()
		}}
	out.flags(c)
	return c
}
