package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sbx-project/sbx/internal/engine"
	"github.com/sbx-project/sbx/internal/filter"
	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/policy"
)

// shown is what `sbx show --json` says: what is in force and, in their order,
// the lines that people read.
type shown struct {
	Command    string `json:"command"`
	Version    string `json:"version,omitempty"`
	State      string `json:"state,omitempty"`
	Digest     string `json:"digest"`
	Generation uint64 `json:"generation,omitempty"`
	// Policy is resolved, in its canonical form.
	Policy string `json:"policy,omitempty"`
	Facts  []fact `json:"facts,omitempty"`
	// Filter has what becomes of each call, with --filter.
	Filter []callFact `json:"filter,omitempty"`
	// BPF has the instructions, with --filter=bpf.
	BPF []string `json:"bpf,omitempty"`
}

type fact struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type callFact struct {
	Call    string `json:"call"`
	Verdict string `json:"verdict"`
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

// callsOf takes the text of filter.Describe apart.
func callsOf(text string) (calls []callFact) {
	for line := range strings.Lines(text) {
		call, verdict, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		calls = append(calls, callFact{call, verdict})
	}
	return calls
}

// What --filter shows.
const (
	filterCalls = "calls"
	filterBPF   = "bpf"
)

func showCommand() *cobra.Command {
	var registryDir, withFilter string
	var digest, all bool
	var out output
	c := &cobra.Command{Use: "show NAME", Short: "Show what is in force for a command", Args: cobra.MinimumNArgs(1),
		Long: "Show what is in force for a command: its state, its program, its resolved policy\nand its calls. One that you may not run is refused (126).\n\n" + mayRun,
		RunE: func(cmd *cobra.Command, words []string) error {
			asJSON, err := out.wantJSON()
			if err != nil {
				return err
			}
			if withFilter != "" && withFilter != filterCalls && withFilter != filterBPF {
				return &statusError{125, errors.New("--filter=" + withFilter + ": unknown form"), "--filter, or --filter=bpf for the instructions"}
			}
			if all && os.Geteuid() != 0 {
				return &statusError{126, errors.New("show: --all is root's"), "sbx show NAME shows what you may run"}
			}
			places, err := loader.Open(registryDir)
			if err != nil {
				return err
			}
			if digest {
				return showDigest(cmd, registryDir, places, words, asJSON)
			}
			s, text, err := show(registryDir, places, words, withFilter, all)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), s)
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		}}
	c.Flags().StringVar(&registryDir, "registry", "", "look in this registry")
	c.Flags().BoolVar(&all, "all", false, "as root: a name that refuses, too, with its reason")
	c.Flags().BoolVar(&digest, "digest", false, "print the bundle's digest only")
	c.Flags().StringVar(&withFilter, "filter", "", "show what becomes of each system call; --filter=bpf: the filter's instructions")
	c.Flags().Lookup("filter").NoOptDefVal = filterCalls
	out.flags(c)
	return c
}

func showDigest(cmd *cobra.Command, registryDir string, places []loader.Place, words []string, asJSON bool) error {
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

// show makes both forms of what is in force; all: of a name that refuses, too.
func show(registryDir string, places []loader.Place, words []string, withFilter string, all bool) (s shown, text string, err error) {
	p, _, _, err := loader.Run(registryDir, words, loaderOptions())
	if err != nil {
		return s, "", pruned(registryDir, err)
	}
	if p.Refusal != "" && !all {
		return s, "", &loader.RejectedError{Err: errors.New(p.Command + ": " + p.Refusal)}
	}
	if err := othersOwn(p.Command, p.Key, p.AllowUsers, p.AllowGroups); err != nil {
		return s, "", err
	}
	s = shown{Command: p.Command, Version: p.Version, Digest: p.Revision, Generation: p.Generation}
	if p.Refusal != "" {
		text = engine.Describe(p)
		s.Facts = factsOf(text)
		return s, text, nil
	}
	if withFilter == filterBPF {
		text = filter.Dump(p.Filter.Insns)
		s.BPF = strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		return s, text, nil
	}
	in, err := loader.Explain(places, p, loaderOptions())
	if err != nil && withFilter != "" {
		return s, "", err
	}
	s.State = in.State
	if withFilter == filterCalls {
		text = filter.Describe(in.Ruleset)
		s.Filter = callsOf(text)
		return s, text, nil
	}
	command, rest, _ := strings.Cut(engine.Describe(p), "\n")
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%-*s %s\n%-*s %d\n%s", command, engine.KeyWidth, "state", in.State, engine.KeyWidth, "generation", p.Generation, rest)
	if err != nil {
		// The plan is in force all the same: a program that has gone since.
		fmt.Fprintf(&b, "%-*s cannot be told: %s\n", engine.KeyWidth, "policy", plain(firstLine(err.Error())))
	} else {
		b.WriteString(engine.DescribePolicy(in.Policy, in.Families, in.Ruleset))
		s.Policy = string(policy.Canonical(in.Policy))
	}
	s.Facts = factsOf(b.String())
	return s, b.String(), nil
}
