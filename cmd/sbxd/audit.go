package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sbx-project/sbx/internal/audit"
	"github.com/sbx-project/sbx/internal/state"
)

// auditDir is the directory of one registry's chain, below its part of the
// state directory.
const auditDir = "audit"

func auditCommand() *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "Look at the audit log", Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			what := "say what to do with the audit log"
			if len(args) > 0 {
				what = "audit: no such verb: " + args[0]
			}
			return &statusError{125, errors.New(what), "sbx audit verify"}
		}}
	c.AddCommand(auditVerifyCommand())
	return c
}

func auditVerifyCommand() *cobra.Command {
	var out output
	var anchors []string
	c := &cobra.Command{Use: "verify [FILE...]", Short: "Check that no line of the audit log was changed or removed; exit 1 when one was",
		Long: `Checks that each line names the hash of the one before it, across all files of
the chain, and names the first that does not. Without FILE every chain of the
state directory is checked; FILEs belong to one chain, in any order; a
directory stands for the chain in it.

That the newest lines were cut off can be seen only with --anchor: the head
that an earlier verify printed, kept on another machine.`,
		RunE: func(cmd *cobra.Command, paths []string) error {
			asJSON, err := out.wantJSON()
			if err != nil {
				return err
			}
			marks, err := parseAnchors(anchors)
			if err != nil {
				return &statusError{125, err, "--anchor SEQUENCE:HASH, as `sbx audit verify` prints it"}
			}
			chains, err := auditChains(paths)
			if err != nil {
				return err
			}
			answer := verifyAnswer{OK: true, Chains: []audit.Result{}}
			for _, files := range chains {
				res, err := audit.VerifyFiles(files, marks)
				if err != nil {
					return err
				}
				answer.Chains = append(answer.Chains, res)
				answer.OK = answer.OK && res.Broken == nil && res.Anchored
			}
			if asJSON {
				if err := printJSON(cmd.OutOrStdout(), answer); err != nil {
					return err
				}
				if !answer.OK {
					return &statusError{1, nil, ""}
				}
				return nil
			}
			return answer.print(cmd.OutOrStdout())
		}}
	out.flags(c)
	c.Flags().StringArrayVar(&anchors, "anchor", nil, "a line that must be there, SEQUENCE:HASH")
	return c
}

// verifyAnswer is what `sbx audit verify --json` prints.
type verifyAnswer struct {
	OK     bool           `json:"ok"`
	Chains []audit.Result `json:"chains"`
}

func (a *verifyAnswer) print(w io.Writer) error {
	var bad error
	for _, res := range a.Chains {
		name := res.Files[len(res.Files)-1]
		switch {
		case res.Broken != nil:
			bad = errors.Join(bad, fmt.Errorf("%s:%d: %s", res.Broken.File, res.Broken.Line, res.Broken.Why))
			continue
		case !res.Anchored:
			bad = errors.Join(bad, fmt.Errorf("%s: a line that --anchor names is not there", name))
		default:
			fmt.Fprintf(w, "%s: ok: %d lines in %d files, head %d:%s\n", name, res.Lines, len(res.Files), res.Last, res.Head)
		}
		note := func(when bool, format string, args ...any) {
			if when {
				fmt.Fprintf(w, "%s: %s\n", name, fmt.Sprintf(format, args...))
			}
		}
		note(!res.Complete, "begins at line %d of the chain: older files are not here", res.First)
		note(res.Kills > 0, "%d times the daemon ended without closing the log", res.Kills)
		note(res.Open > 0, "%d runs began and have no end: killed with the daemon, or still going", res.Open)
		note(res.Tail > 0, "%d bytes of a line that is not finished at the end", res.Tail)
		for _, t := range res.Torn {
			fmt.Fprintf(w, "%s:%d: torn by a crash, and declared so\n", t.File, t.Line)
		}
	}
	if bad != nil {
		return &statusError{1, errors.New(strings.ReplaceAll(bad.Error(), "\n", "; ")), "the lines before it fit together; compare with a copy, and ask who had root's rights"}
	}
	return nil
}

// auditChains are the files of each chain to verify.
func auditChains(paths []string) ([][]string, error) {
	if len(paths) > 0 {
		return [][]string{paths}, nil
	}
	dirs, err := os.ReadDir(state.Dir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var chains [][]string
	for _, d := range dirs {
		dir := filepath.Join(state.Dir(), d.Name(), auditDir)
		if _, err := os.Stat(filepath.Join(dir, audit.Current)); err == nil {
			chains = append(chains, []string{dir})
		} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	if len(chains) == 0 {
		return nil, &statusError{125, fmt.Errorf("no audit log below %q", state.Dir()), "the daemon writes it: sbx serve"}
	}
	slices.SortFunc(chains, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	return chains, nil
}

func parseAnchors(list []string) ([]audit.Anchor, error) {
	var marks []audit.Anchor
	for _, text := range list {
		number, hash, ok := strings.Cut(text, ":")
		seq, err := strconv.ParseUint(number, 10, 64)
		if !ok || err != nil || seq == 0 {
			return nil, fmt.Errorf("--anchor %q: want SEQUENCE:HASH", text)
		}
		h, err := audit.ParseHash(hash)
		if err != nil {
			return nil, fmt.Errorf("--anchor %q: %w", text, err)
		}
		marks = append(marks, audit.Anchor{Seq: seq, Hash: h})
	}
	return marks, nil
}
