package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sbx-project/sbx/internal/buildinfo"
)

// manCommand prints manual pages made of the command tree, so that they say
// what --help says. cobra's own generator would add a Markdown parser and a
// YAML library for the sake of some lines of man(7).
func manCommand() *cobra.Command {
	return &cobra.Command{Use: "man [VERB...]", Short: "Print the manual page of sbx, or of one verb",
		Long:    "Print the manual page of sbx, or of one verb, in the format of man(7).",
		Example: "  sbx man | man -l -\n  sbx man run > /usr/share/man/man1/sbx-run.1",
		RunE: func(cmd *cobra.Command, words []string) error {
			page := cmd.Root()
			for _, word := range words {
				i := slices.IndexFunc(page.Commands(), func(c *cobra.Command) bool { return c.Name() == word && c.IsAvailableCommand() })
				if i < 0 {
					return &statusError{125, errors.New("man: no such verb: " + strings.Join(words, " ")), "sbx --help"}
				}
				page = page.Commands()[i]
			}
			_, err := io.WriteString(cmd.OutOrStdout(), manPage(page))
			return err
		}}
}

// manPage is one page in the macros of man(7).
func manPage(c *cobra.Command) string {
	var b strings.Builder
	name := strings.ReplaceAll(c.CommandPath(), " ", "-")
	section := func(title string) { fmt.Fprintf(&b, ".SH %s\n", title) }
	fmt.Fprintf(&b, ".TH %s 1 \"\" %s \"User Commands\"\n", roffWord(strings.ToUpper(name)), roffWord("sbx "+buildinfo.Version))
	section("NAME")
	fmt.Fprintf(&b, "%s \\- %s\n", roff(name), roff(c.Short))
	section("SYNOPSIS")
	use := c.UseLine()
	if c.HasAvailableSubCommands() && !c.HasParent() {
		use = "sbx VERB [flags] [ARG...]"
	}
	fmt.Fprintf(&b, ".B %s\n", roffWord(use))
	section("DESCRIPTION")
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	b.WriteString(".nf\n" + roffText(text) + ".fi\n")
	if subs := slices.DeleteFunc(slices.Clone(c.Commands()), func(s *cobra.Command) bool { return !s.IsAvailableCommand() }); len(subs) > 0 {
		section("VERBS")
		for _, s := range subs {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s", roffWord(s.Use), roffText(s.Short))
		}
	}
	flags := &strings.Builder{}
	c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		kind, usage := pflag.UnquoteUsage(f)
		text := "--" + f.Name
		if f.Shorthand != "" {
			text = "-" + f.Shorthand + ", " + text
		}
		if kind != "" {
			text += " " + strings.ToUpper(kind)
		}
		fmt.Fprintf(flags, ".TP\n.B %s\n%s", roffWord(text), roffText(usage))
	})
	if flags.Len() > 0 {
		section("OPTIONS")
		b.WriteString(flags.String())
	}
	if c.Example != "" {
		section("EXAMPLES")
		b.WriteString(".nf\n" + roffText(c.Example) + ".fi\n")
	}
	section("SEE ALSO")
	if c.HasParent() {
		b.WriteString(".BR " + roffWord(strings.ReplaceAll(c.Parent().CommandPath(), " ", "-")) + " (1)\n")
	} else {
		b.WriteString("sbx VERB \\-\\-help, sbx man VERB\n")
	}
	return b.String()
}

// roff escapes text within a line: a backslash begins an escape, and a bare
// hyphen may be set as another sign, which cannot be copied to a shell.
func roff(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
}

// roffWord is one argument of a macro.
func roffWord(s string) string { return `"` + strings.ReplaceAll(roff(s), `"`, `""`) + `"` }

// roffText is lines of text, of which none is taken for a request.
func roffText(s string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimRight(s, "\n") + "\n") {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			b.WriteString(`\&`)
		}
		b.WriteString(roff(line))
	}
	return b.String()
}
