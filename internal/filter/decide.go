package filter

import "math/bits"

// atom is a question about one 32-bit word of the arguments.
type atom struct {
	word uint8 // 2*argument, plus 1 for the high half
	code uint16
	k    uint32
	mask uint32 // applied before an opEqual question; 0: none
}

// node is one vertex of the decision graph of a call: an answer, a question
// with its two successors, or the exec-once check.
type node struct {
	kind    nodeKind
	value   uint32 // of an answer, or of a failed exec-once check
	atom    atom
	yes, no int32
}

type nodeKind uint8

const (
	answer nodeKind = iota
	question
	once
)

// graph holds the nodes of all calls; equal nodes exist once, so calls with
// the same rules share their code. Successors come before predecessors.
type graph struct {
	nodes []node
	index map[node]int32
}

func newGraph() *graph { return &graph{index: map[node]int32{}} }

func (g *graph) add(n node) int32 {
	if id, ok := g.index[n]; ok {
		return id
	}
	id := int32(len(g.nodes))
	g.nodes = append(g.nodes, n)
	g.index[n] = id
	return id
}

func (g *graph) answer(v Verdict) int32 {
	return g.add(node{kind: answer, value: v.returnValue()})
}

// ask adds a question, simplified where its answer is known or decides
// nothing.
func (g *graph) ask(a atom, yes, no int32) int32 {
	switch {
	case a.code == opAtMin && a.k == 0:
		return yes
	case a.code == opMore && a.k == 1<<32-1:
		return no
	}
	if n := g.nodes[yes]; n.kind == question && n.atom == a {
		yes = n.yes
	}
	if n := g.nodes[no]; n.kind == question && n.atom == a {
		no = n.no
	}
	if yes == no {
		return yes
	}
	return g.add(node{kind: question, atom: a, yes: yes, no: no})
}

// call adds the graph of c and returns its start. It is built from the end:
// a rule that does not hold leads on to the next, the last to the default.
func (g *graph) call(c Call) int32 {
	next := g.answer(c.Default)
	for i := len(c.Rules) - 1; i >= 0; i-- {
		at := g.answer(c.Rules[i].Verdict)
		tests := c.Rules[i].Tests
		for j := len(tests) - 1; j >= 0; j-- {
			at = g.test(tests[j], at, next)
		}
		next = at
	}
	return next
}

// test adds the questions that decide t.
func (g *graph) test(t Test, yes, no int32) int32 {
	low, high := 2*t.Index, 2*t.Index+1
	lowValue, highValue := uint32(t.Value), uint32(t.Value>>32)
	switch t.Op {
	case NotEqual:
		t.Op = Equal
		return g.test(t, no, yes)
	case Less:
		t.Op = GreaterOrEqual
		return g.test(t, no, yes)
	case LessOrEqual:
		t.Op = Greater
		return g.test(t, no, yes)
	case Equal:
		at := g.ask(atom{word: low, code: opEqual, k: lowValue}, yes, no)
		if t.Wide {
			at = g.ask(atom{word: high, code: opEqual, k: highValue}, at, no)
		}
		return at
	case MaskedEqual:
		at := g.masked(low, uint32(t.Mask), lowValue, yes, no)
		if t.Wide {
			at = g.masked(high, uint32(t.Mask>>32), highValue, at, no)
		}
		return at
	}
	code := uint16(opMore)
	if t.Op == GreaterOrEqual {
		code = opAtMin
	}
	at := g.ask(atom{word: low, code: code, k: lowValue}, yes, no)
	if t.Wide {
		at = g.ask(atom{word: high, code: opEqual, k: highValue}, at, no)
		at = g.ask(atom{word: high, code: opMore, k: highValue}, yes, at)
	}
	return at
}

// masked asks whether word & mask is k.
func (g *graph) masked(word uint8, mask, k uint32, yes, no int32) int32 {
	switch {
	case mask == 0:
		return yes // k is 0: validated
	case mask == 1<<32-1:
		return g.ask(atom{word: word, code: opEqual, k: k}, yes, no)
	case k == 0:
		return g.ask(atom{word: word, code: opAnyBit, k: mask}, no, yes)
	case k == mask && bits.OnesCount32(mask) == 1:
		return g.ask(atom{word: word, code: opAnyBit, k: mask}, yes, no)
	}
	return g.ask(atom{word: word, code: opEqual, k: k, mask: mask}, yes, no)
}

// place is where a node was assembled: loaded expects its word in the
// accumulator, fresh loads it.
type place struct{ loaded, fresh label }

// keeps reports whether the accumulator still holds the word that child asks
// about after the question of parent.
func keeps(parent, child node) bool {
	return parent.kind == question && child.kind == question &&
		parent.atom.mask == 0 && parent.atom.word == child.atom.word
}

// assemble writes the questions reachable from roots, and returns the label
// at which each root starts. The exec-once check, if any, leads to pass.
func (g *graph) assemble(a *assembler, roots []int32) []label {
	// needed: 1 from a predecessor that has the word loaded, 2 from others.
	needed := make([]uint8, len(g.nodes))
	for _, r := range roots {
		needed[r] |= 2
	}
	for id := len(g.nodes) - 1; id >= 0; id-- {
		n := g.nodes[id]
		if n.kind != question || needed[id] == 0 {
			continue
		}
		for _, next := range []int32{n.yes, n.no} {
			if keeps(n, g.nodes[next]) {
				needed[next] |= 1
			} else {
				needed[next] |= 2
			}
		}
	}

	places := make([]place, len(g.nodes))
	for id, n := range g.nodes {
		if needed[id] == 0 {
			continue
		}
		switch n.kind {
		case answer:
			places[id] = place{returns(n.value), returns(n.value)}
		case once:
			at := assembleOnce(a, n.value)
			places[id] = place{at, at}
		case question:
			target := func(next int32) label {
				if keeps(n, g.nodes[next]) {
					return places[next].loaded
				}
				return places[next].fresh
			}
			a.branch(n.atom.code, n.atom.k, target(n.yes), target(n.no))
			if n.atom.mask != 0 {
				a.emit(opAnd, n.atom.mask)
			}
			places[id].loaded = a.here()
			if needed[id]&2 != 0 {
				a.emit(opLoad, offArgs+4*uint32(n.atom.word))
				places[id].fresh = a.here()
			}
		}
	}

	labels := make([]label, len(roots))
	for i, r := range roots {
		labels[i] = places[r].fresh
	}
	return labels
}
