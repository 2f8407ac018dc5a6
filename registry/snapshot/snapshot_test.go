package snapshot

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type entry struct{ value int }

func contents(v *View[entry]) map[string]int {
	out := map[string]int{}
	for name, e := range v.All() {
		if _, twice := out[name]; twice {
			panic("twice: " + name)
		}
		out[name] = e.value
	}
	return out
}

// TestAgainstMap: after any changes a view is what a map would be, and every
// view before it is what it was.
func TestAgainstMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var v *View[entry]
	model := map[string]int{}
	type old struct {
		view *View[entry]
		want map[string]int
	}
	var olds []old
	for step := range 400 {
		changes := map[string]*entry{}
		for range r.IntN(1 + step%40) {
			name := "n" + strconv.Itoa(r.IntN(3000))
			if r.IntN(3) == 0 {
				changes[name] = nil
				delete(model, name)
			} else {
				changes[name] = &entry{step}
				model[name] = step
			}
		}
		if step%40 == 39 {
			olds = append(olds, old{v, contents(v)})
		}
		v = v.With(changes)
		if v.Len() != len(model) {
			t.Fatalf("step %d: %d entries, want %d", step, v.Len(), len(model))
		}
		for name, want := range model {
			if e, ok := v.Get(name); !ok || e.value != want {
				t.Fatalf("step %d: %q is %v %v, want %d", step, name, e, ok, want)
			}
		}
		for name, e := range changes {
			if _, ok := v.Get(name); ok != (e != nil) {
				t.Fatalf("step %d: %q found %v", step, name, ok)
			}
		}
	}
	if diff := cmp.Diff(model, contents(v)); diff != "" {
		t.Errorf("all (-want +got):\n%s", diff)
	}
	for i, o := range olds {
		if diff := cmp.Diff(o.want, contents(o.view)); diff != "" {
			t.Errorf("view %d changed (-want +got):\n%s", i, diff)
		}
	}
}

// TestEmpty: nil is an empty view, and a table begins with it.
func TestEmpty(t *testing.T) {
	var table Table[entry]
	if _, ok := table.Get("x"); ok || table.View().Len() != 0 || len(contents(table.View())) != 0 {
		t.Error("a new table is not empty")
	}
	v := table.View().With(nil)
	if _, ok := v.Get(""); ok || v.Len() != 0 {
		t.Error("a view of nothing is not empty")
	}
	v = v.With(map[string]*entry{"": {1}}).With(map[string]*entry{"": nil, "y": nil})
	if _, ok := v.Get(""); ok || v.Len() != 0 {
		t.Error("what was removed is there")
	}
}

// TestSharing: a change of one among 10,000 copies its shard and no other.
func TestSharing(t *testing.T) {
	v := filled(10_000)
	next := v.With(map[string]*entry{nameOf(77): {-1}})
	copied := 0
	for i := range v.shards {
		if len(v.shards[i]) > 0 && &v.shards[i][0] != &next.shards[i][0] {
			copied++
		}
	}
	if copied != 1 {
		t.Errorf("%d shards of %d copied, want 1", copied, len(v.shards))
	}
}

func nameOf(i int) string { return fmt.Sprintf("group%d.command-%d", i%100, i) }

func filled(n int) *View[entry] {
	changes := map[string]*entry{}
	for i := range n {
		changes[nameOf(i)] = &entry{i}
	}
	return (*View[entry])(nil).With(changes)
}

// TestWhole: readers see both of two names that change together, or neither,
// while they change and others come and go.
func TestWhole(t *testing.T) {
	var table Table[entry]
	table.Swap(filled(100))
	var done atomic.Bool
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			last := 0
			for !done.Load() {
				v := table.View()
				a, _ := v.Get(nameOf(1))
				b, _ := v.Get(nameOf(2))
				if a.value-b.value != -1 {
					t.Errorf("half a change: %d and %d", a.value, b.value)
					return
				}
				if a.value < last {
					t.Errorf("back in time: %d after %d", a.value, last)
					return
				}
				last = a.value
			}
		})
	}
	for i := range 2000 {
		table.Swap(table.View().With(map[string]*entry{nameOf(1): {i + 1}, nameOf(2): {i + 2}, "other" + strconv.Itoa(i): {i}}))
	}
	done.Store(true)
	wg.Wait()
	if got := table.View().Len(); got != 2100 {
		t.Errorf("%d entries, want 2100", got)
	}
}

// TestNoAllocation: a lookup allocates nothing.
func TestNoAllocation(t *testing.T) {
	var table Table[entry]
	table.Swap(filled(1000))
	name := nameOf(5)
	if n := testing.AllocsPerRun(1000, func() {
		if _, ok := table.Get(name); !ok {
			t.Error("not found")
		}
		if _, ok := table.Get("nothing"); ok {
			t.Error("found")
		}
	}); n != 0 {
		t.Errorf("%v allocations a lookup", n)
	}
}

// TestHash: names that differ in one byte, in length or in the order of their
// parts spread like random numbers would, over shards and within them.
func TestHash(t *testing.T) {
	var names []string
	for i := range 20_000 {
		names = append(names, nameOf(i), "a"+strconv.Itoa(i), strconv.Itoa(i), fmt.Sprintf("%040d", i), fmt.Sprintf("%d.%d", i%150, i/150))
	}
	for i := range 200 {
		names = append(names, strings.Repeat("a", i), strings.Repeat("a", i)+"b")
	}
	for _, seed := range []uint64{0, 1, 1 << 63, 0xdeadbeef12345678} {
		seen := map[uint64]string{}
		var low, high [256]int
		distinct := map[string]bool{}
		for _, name := range names {
			if distinct[name] {
				continue
			}
			distinct[name] = true
			h := hash(seed, name)
			if other, ok := seen[h]; ok && name != "" && other != "" {
				t.Errorf("seed %#x: %q and %q collide", seed, name, other)
			}
			seen[h] = name
			low[h&255]++
			high[h>>56]++
		}
		// 4 standard deviations of the fullest of 256 (Poisson) and a margin.
		mean := float64(len(distinct)) / 256
		limit := mean + 6*math.Sqrt(mean)
		for i := range 256 {
			if float64(low[i]) > limit || float64(high[i]) > limit {
				t.Errorf("seed %#x: %d and %d names at %d, mean %.0f", seed, low[i], high[i], i, mean)
			}
		}
	}
}
