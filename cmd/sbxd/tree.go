package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/registry"
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
	c := &cobra.Command{Use: "tree [GROUP...]", Short: "Show groups and commands that you may run",
		Long:    "Show groups and commands as a tree, with versions and summaries.\n\n" + mayRun,
		Example: "  sbx tree\n  sbx tree db\n  sbx tree db deep\n  sbx run db backup",
		RunE: func(cmd *cobra.Command, args []string) error {
			asJSON, err := out.wantJSON()
			if err != nil {
				return err
			}
			places, err := loader.Open(registryDir)
			if err != nil {
				return err
			}
			rows, err := visible("tree", places, all)
			if err != nil {
				return err
			}
			top := tree(rows)
			if name := strings.Join(args, "."); name != "" {
				if top = top.find(name); top == nil {
					return &registry.UnknownError{Word: name}
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
	c.Flags().BoolVar(&all, "all", false, allFlag)
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
		fmt.Fprintf(w, "%s%s\t%s\t%s%s\n", indent, plain(n.Word), orDash(r.Version), state, plain(text))
	} else {
		fmt.Fprintf(w, "%s%s\t\t\n", indent, plain(n.Word))
	}
	for _, c := range n.Children {
		c.print(w, indent+"  ", all)
	}
}
