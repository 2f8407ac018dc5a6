package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/life"
)

// treeNode is a group or a command of `sbx tree --json`.
type treeNode struct {
	// Word is the last segment of Name, which is whole.
	Word string `json:"word"`
	Name string `json:"name"`
	// Command is nil for a group.
	Command *listed `json:"command,omitempty"`
	// Children are sorted by Word; nil for a command.
	Children []*treeNode `json:"children,omitempty"`
}

func treeCommand() *cobra.Command {
	var registryDir string
	var all bool
	var out output
	c := &cobra.Command{Use: "tree [GROUP]", Short: "Show groups and commands that you may run", Args: cobra.MaximumNArgs(1),
		Long: `Show groups and commands as a tree, with versions and summaries: those that you
may run. What a manifest's "allow" keeps for others is left out, and so is what
is refused or hidden by an earlier registry; root sees these with --all.`,
		Example: "  sbx tree\n  sbx tree db\n  sbx run db backup",
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := out.wantJSON()
			if err != nil {
				return err
			}
			if all && os.Geteuid() != 0 {
				return &statusError{126, errors.New("tree: --all is root's"), "sbx tree shows what you may run"}
			}
			places, err := loader.Open(registryDir)
			if err != nil {
				return err
			}
			rows, err := list(places)
			if err != nil {
				return err
			}
			if !all {
				may, err := callers()
				if err != nil {
					return err
				}
				rows = slices.DeleteFunc(rows, func(r listed) bool { return !may.run(&r) })
			}
			top := tree(rows)
			if len(args) == 1 {
				if top = top.find(args[0]); top == nil {
					return &registry.UnknownError{Word: args[0]}
				}
			}
			if asJSON {
				if top.Children == nil {
					top.Children = []*treeNode{}
				}
				return printJSON(cmd.OutOrStdout(), top)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			for _, n := range top.Children {
				n.print(w, "", all)
			}
			return w.Flush()
		}}
	c.Flags().StringVar(&registryDir, "registry", "", "look in this registry")
	c.Flags().BoolVar(&all, "all", false, "as root: what is refused or hidden too")
	out.flags(c)
	return c
}

// tree puts rows, each a command, under their groups.
func tree(rows []listed) *treeNode {
	top := &treeNode{}
	for i := range rows {
		n := top
		for word := range strings.SplitSeq(rows[i].Name, ".") {
			n = n.child(word)
		}
		if n.Command != nil { // a second one of this name is hidden by the first
			n = &treeNode{Word: n.Word, Name: n.Name}
			above := top.find(strings.Join(strings.Split(n.Name, ".")[:strings.Count(n.Name, ".")], "."))
			above.Children = append(above.Children, n)
		}
		n.Command = &rows[i]
	}
	top.sort()
	return top
}

// child returns the child of that word, which it makes.
func (n *treeNode) child(word string) *treeNode {
	for _, c := range n.Children {
		if c.Word == word {
			return c
		}
	}
	c := &treeNode{Word: word, Name: word}
	if n.Name != "" {
		c.Name = n.Name + "." + word
	}
	n.Children = append(n.Children, c)
	return c
}

// find returns the node of a dotted name below n; n itself for "".
func (n *treeNode) find(name string) *treeNode {
	if name == "" {
		return n
	}
	word, rest, _ := strings.Cut(name, ".")
	for _, c := range n.Children {
		if c.Word == word {
			return c.find(rest)
		}
	}
	return nil
}

func (n *treeNode) sort() {
	slices.SortStableFunc(n.Children, func(a, b *treeNode) int { return strings.Compare(a.Word, b.Word) })
	for _, c := range n.Children {
		c.sort()
	}
}

func (n *treeNode) print(w *tabwriter.Writer, indent string, all bool) {
	if r := n.Command; r != nil {
		text := r.Summary
		if all && r.Error != "" {
			text = firstLine(r.Error)
		}
		state := ""
		if all {
			state = r.State + "\t"
		}
		fmt.Fprintf(w, "%s%s\t%s\t%s%s\n", indent, n.Word, orDash(r.Version), state, plain(text))
	} else {
		fmt.Fprintf(w, "%s%s\t\t\n", indent, n.Word)
	}
	for _, c := range n.Children {
		c.print(w, indent+"  ", all)
	}
}

// caller is who asks.
type caller struct {
	root   bool
	name   string
	groups []string
}

// callers finds out who asks. A user or group without a name is in no list.
func callers() (caller, error) {
	c := caller{root: os.Geteuid() == 0}
	if c.root {
		return c, nil
	}
	u, err := user.Current()
	if err != nil {
		return c, nil
	}
	c.name = u.Username
	ids, err := u.GroupIds()
	if err != nil {
		return c, fmt.Errorf("look up groups of %s: %w", u.Username, err)
	}
	for _, id := range ids {
		if g, err := user.LookupGroupId(id); err == nil {
			c.groups = append(c.groups, g.Name)
		}
	}
	return c, nil
}

// run tells whether the caller may run a command, as far as its manifest and
// its state say. What it decides is what is shown: who runs is judged again.
func (c *caller) run(r *listed) bool {
	if r.Shadowed || r.State == life.Rejected.String() || r.State == life.Quarantined.String() || r.State == life.Held.String() {
		return false
	}
	if c.root || len(r.allow.Users)+len(r.allow.Groups) == 0 || slices.Contains(r.allow.Users, c.name) {
		return true
	}
	return slices.ContainsFunc(c.groups, func(g string) bool { return slices.Contains(r.allow.Groups, g) })
}
