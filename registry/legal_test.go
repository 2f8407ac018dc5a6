package registry

import (
	"errors"
	"strconv"
	"strings"
	"testing"
)

func TestCheckTree(t *testing.T) {
	c := func(name string, requires ...string) Node { return Node{Name: name, Requires: requires} }
	g := func(name string) Node { return Node{Name: name, Group: true} }
	tests := []struct {
		name  string
		nodes []Node
		is    error
		want  string
	}{
		{"empty", nil, nil, ""},
		{"plain", []Node{c("a"), g("db"), c("db.list"), c("db.backup", "db.list", "a")}, nil, ""},
		{"a diamond", []Node{c("a", "b", "c"), c("b", "d"), c("c", "d"), c("d")}, nil, ""},
		{"an empty group", []Node{g("db")}, nil, ""},
		{"alike in front", []Node{c("db"), c("db-x"), c("dbs.a")}, nil, ""},
		{"command and group", []Node{g("db"), c("db")}, ErrTree, `"db": a command and a group at once`},
		{"command above a command", []Node{c("a.b.c"), c("a.b")}, ErrTree, `"a.b": a command and a group at once`},
		{"unmet", []Node{c("a", "b")}, ErrRequires, `"a": requires a command that is not there: "b"`},
		{"a group is no command", []Node{c("a", "g"), g("g"), c("g.x")}, ErrRequires, `"a": requires a command that is not there: "g"`},
		{"itself", []Node{c("a", "a")}, ErrCycle, `"a": requires itself: a -> a`},
		{"circle", []Node{c("c", "a"), c("b", "c"), c("a", "b"), c("x", "b")}, ErrCycle, `"a": requires itself: a -> b -> c -> a`},
		{"two circles", []Node{c("a", "b", "c"), c("b", "a"), c("c", "a")}, ErrCycle,
			"\"a\": requires itself: a -> b -> a\n\"a\": requires itself: a -> c -> a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckTree(tt.nodes)
			if tt.want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil || err.Error() != tt.want || !errors.Is(err, tt.is) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

// TestCheckTreeMany: 10,000 commands in one long chain are no trouble, and of
// thousands of mistakes few are told.
func TestCheckTreeMany(t *testing.T) {
	var nodes []Node
	for i := range 10_000 {
		n := Node{Name: "c" + strconv.Itoa(i)}
		if i > 0 {
			n.Requires = []string{"c" + strconv.Itoa(i-1)}
		}
		nodes = append(nodes, n)
	}
	if err := CheckTree(nodes); err != nil {
		t.Error(err)
	}
	nodes[0].Requires = []string{"c9999"}
	if err := CheckTree(nodes); !errors.Is(err, ErrCycle) {
		t.Errorf("a circle of 10,000: %v", err)
	}
	for i := range nodes {
		nodes[i].Requires = []string{"none"}
	}
	if err := CheckTree(nodes); strings.Count(err.Error(), "\n") != maxTreeErrors || !strings.HasSuffix(err.Error(), "and 9980 more") {
		t.Errorf("%v", err)
	}
}
