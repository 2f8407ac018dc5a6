package filter

import (
	"maps"
	"slices"
)

// span is a run of numbers with one decision: from first to just before the
// first of the next span.
type span struct {
	first uint32
	root  int32 // in the graph
}

// weighed is the numbers for which the kernel runs the program when it is
// loaded (seccomp_cache_prepare, since 5.11), a little more than it has. The
// length of their paths is what loading costs.
const weighed = 480

// insnWeight is what an instruction costs to load (copy, check, translate),
// in steps of the kernel's interpreter. A list of 300 calls loads in the same
// time for 16 to 200, in a little more for 0 to 4 (measured on 6.18); fewer
// instructions also mean smaller plans.
const insnWeight = 64

// maxChain bounds a chain of equality questions. Longer ones pay only where
// single numbers follow each other closely, and each adds to the search.
const maxChain = 3

// spans sorts the numbers into spans. last is the answer from limit on.
func spans(decisions map[uint32]int32, fallback int32, limit uint32, last int32) []span {
	var out []span
	add := func(first uint32, root int32) {
		if n := len(out); n > 0 && out[n-1].first == first {
			out = out[:n-1]
		}
		if n := len(out); n == 0 || out[n-1].root != root {
			out = append(out, span{first, root})
		}
	}
	add(0, fallback)
	for _, nr := range slices.Sorted(maps.Keys(decisions)) {
		add(nr, decisions[nr])
		add(nr+1, fallback)
	}
	add(limit, last)
	return out
}

// choice is the best known way to decide among spans i to j.
type choice struct {
	cost int32
	// split: numbers from the first of this span on are to the right.
	split int16
	// base: with split 0, the span whose decision remains when none of
	// the others, all single numbers, is met.
	base int16
}

// search is the cheapest tree of comparisons over the spans.
type search struct {
	spans   []span
	weights []int32 // prefix sums
	best    []choice
}

func newSearch(list []span) *search {
	n := len(list)
	s := &search{spans: list, weights: make([]int32, n+1), best: make([]choice, n*n)}
	for i := range list {
		first, next := min(list[i].first, weighed), uint32(weighed)
		if i+1 < n {
			next = min(list[i+1].first, weighed)
		}
		s.weights[i+1] = s.weights[i] + int32(next-first)
	}
	for length := 2; length <= n; length++ {
		for i := 0; i+length <= n; i++ {
			s.solve(i, i+length-1)
		}
	}
	return s
}

func (s *search) at(i, j int) *choice { return &s.best[i*len(s.spans)+j] }

func (s *search) weight(i, j int) int32 { return s.weights[j+1] - s.weights[i] }

// solve fills in spans i to j from the shorter ones. Splits are looked for
// between the best splits of the two next shorter runs (Knuth, Optimum binary
// search trees, 1971), which makes the whole quadratic.
func (s *search) solve(i, j int) {
	low, high := i+1, j
	if left := s.at(i, j-1); left.split > 0 {
		low = int(left.split)
	}
	if right := s.at(i+1, j); right.split > 0 {
		high = max(int(right.split), low)
	}
	out := choice{cost: 1<<31 - 1}
	for k := low; k <= high; k++ {
		if cost := s.at(i, k-1).cost + s.at(k, j).cost; cost < out.cost {
			out = choice{cost: cost, split: int16(k)}
		}
	}
	out.cost += s.weight(i, j) + insnWeight
	if j-i <= 2*maxChain {
		if cost, base, ok := s.chain(i, j); ok && cost < out.cost {
			out = choice{cost: cost, base: int16(base)}
		}
	}
	*s.at(i, j) = out
}

// chain is the cost of deciding spans i to j by equality alone: possible when
// all but single numbers share one decision.
func (s *search) chain(i, j int) (cost int32, base int, ok bool) {
	base = -1
	for k := i; k <= j; k++ {
		if !s.single(k) {
			if base >= 0 && s.spans[base].root != s.spans[k].root {
				return 0, 0, false
			}
			base = k
		}
	}
	if base < 0 {
		base = j
	}
	rest, steps := s.weight(i, j), int32(0)
	for k := i; k <= j; k++ {
		if s.spans[k].root != s.spans[base].root {
			cost += rest + insnWeight
			rest -= s.weight(k, k)
			steps++
		}
	}
	return cost, base, steps <= maxChain
}

// single reports whether span k is one number.
func (s *search) single(k int) bool {
	return k+1 < len(s.spans) && s.spans[k+1].first == s.spans[k].first+1
}

// assemble writes the comparisons for spans i to j, with the number in the
// accumulator, and returns where they start.
func (s *search) assemble(a *assembler, i, j int, target func(root int32) label) label {
	if i == j {
		return target(s.spans[i].root)
	}
	c := s.at(i, j)
	if c.split > 0 {
		k := int(c.split)
		right := s.assemble(a, k, j, target)
		left := s.assemble(a, i, k-1, target)
		a.branch(opAtMin, s.spans[k].first, right, left)
		return a.here()
	}
	base := s.spans[c.base].root
	at := target(base)
	for k := j; k >= i; k-- {
		if s.spans[k].root != base {
			a.branch(opEqual, s.spans[k].first, target(s.spans[k].root), at)
			at = a.here()
		}
	}
	return at
}
