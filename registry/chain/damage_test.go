package chain

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// damage is what happens to a chain of three generations, and what is the
// newest after it.
var damage = []struct {
	name   string
	do     func(t *testing.T, dir string)
	newest uint64
	says   string
}{
	{"nothing", func(*testing.T, string) {}, 3, ""},
	{"newest corrupt", func(t *testing.T, dir string) { flip(t, dir+"/generations/3", 200) }, 2, "hash"},
	{"newest corrupt in its hash", func(t *testing.T, dir string) { flip(t, dir+"/generations/3", len(rootPrefix)) }, 2, "hash"},
	{"newest truncated", func(t *testing.T, dir string) { must(t, os.Truncate(dir+"/generations/3", 300)) }, 2, "hash"},
	{"newest empty", func(t *testing.T, dir string) { must(t, os.Truncate(dir+"/generations/3", 0)) }, 2, "hash"},
	{"newest missing", func(t *testing.T, dir string) { must(t, os.Remove(dir+"/generations/3")) }, 2, ""},
	{"newest is an older one by another name", func(t *testing.T, dir string) {
		text, err := os.ReadFile(dir + "/generations/2")
		must(t, err)
		must(t, os.WriteFile(dir+"/generations/3", text, 0o644))
	}, 2, "generation 2"},
	{"newest is far larger than any", func(t *testing.T, dir string) { must(t, os.Truncate(dir+"/generations/3", maxObject+1)) }, 2, "not a file"},
	{"newest names a shard that is not there", func(t *testing.T, dir string) { editRoot(t, dir, func(r *root) { spoilShard(r) }) }, 2, "no such file"},
	{"newest has another parent", func(t *testing.T, dir string) {
		editRoot(t, dir, func(r *root) { r.Parent.SHA256 = strings.Repeat("0", 64) })
	}, 2, "not its parent"},
	{"its parent is corrupt, it is not", func(t *testing.T, dir string) { flip(t, dir+"/generations/2", 200) }, 3, ""},
	{"its parent is missing, it is not", func(t *testing.T, dir string) { must(t, os.Remove(dir+"/generations/2")) }, 3, ""},
	{"a shard is missing", func(t *testing.T, dir string) { must(t, os.Remove(newShard(t, dir))) }, 2, "no such file"},
	{"a shard is corrupt", func(t *testing.T, dir string) { flip(t, newShard(t, dir), 50) }, 2, "hash"},
	{"a shard is truncated", func(t *testing.T, dir string) { must(t, os.Truncate(newShard(t, dir), 10)) }, 2, "hash"},
	{"a shard is another one", func(t *testing.T, dir string) {
		editRoot(t, dir, func(r *root) {
			keys := sortedKeys(r.Shards)
			r.Shards[keys[0]], r.Shards[keys[1]] = r.Shards[keys[1]], r.Shards[keys[0]]
		})
	}, 2, "does not belong"},
	{"the hint is gone", func(t *testing.T, dir string) { must(t, os.Remove(dir+"/current")) }, 3, ""},
	{"the hint lies", func(t *testing.T, dir string) { must(t, os.WriteFile(dir+"/current", []byte("9 x\n"), 0o644)) }, 3, ""},
	{"files that are no generation", func(t *testing.T, dir string) {
		for _, name := range []string{"x", "04", "0", "-1", "99999999999999999999", "18446744073709551615"} {
			must(t, os.WriteFile(dir+"/generations/"+name, nil, 0o644))
		}
	}, 3, ""},
	{"all but the oldest", func(t *testing.T, dir string) {
		flip(t, dir+"/generations/2", 99)
		flip(t, dir+"/generations/3", 99)
	}, 1, "hash"},
	{"all", func(t *testing.T, dir string) {
		for _, n := range []string{"1", "2", "3"} {
			must(t, os.Truncate(dir+"/generations/"+n, 20))
		}
	}, 0, "hash"},
}

func flip(t *testing.T, file string, at int) {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	text[at] ^= 1
	must(t, os.WriteFile(file, text, 0o644))
}

// editRoot rewrites generation 3 with a hash that is right.
func editRoot(t *testing.T, dir string, edit func(*root)) {
	t.Helper()
	text, err := os.ReadFile(dir + "/generations/3")
	must(t, err)
	r, err := decodeRoot(3, text)
	must(t, err)
	edit(r)
	text, err = encodeRoot(r)
	must(t, err)
	must(t, os.WriteFile(dir+"/generations/3", text, 0o644))
}

func spoilShard(r *root) {
	key := sortedKeys(r.Shards)[0]
	r.Shards[key] = reference{SHA256: strings.Repeat("0", 64), Commands: r.Shards[key].Commands}
}

// newShard is the file of a shard that only generation 3 has.
func newShard(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(dir + "/generations/3")
	must(t, err)
	r, err := decodeRoot(3, text)
	must(t, err)
	return dir + "/objects/" + r.Shards[shardKey(shardOf("gamma"))].SHA256
}

func TestTheNewestThatVerifiesWins(t *testing.T) {
	for _, tt := range damage {
		t.Run(tt.name, func(t *testing.T) {
			dir := make3(t)
			tt.do(t, dir)
			before, err := os.ReadDir(dir + "/generations")
			must(t, err)
			for _, mode := range []Mode{ReadOnly, Exclusive} {
				c := openChain(t, dir, mode)
				s, damaged, err := c.Newest()
				if tt.newest == 0 {
					if !errors.Is(err, ErrEmpty) {
						t.Fatalf("newest: %+v, %v", s, err)
					}
				} else {
					must(t, err)
					wantGeneration(t, c, s, tt.newest)
				}
				if said := fmt.Sprint(damaged); !strings.Contains(said, tt.says) || (len(damaged) > 0) != (tt.says != "") {
					t.Errorf("damaged: %v, want %q", damaged, tt.says)
				}
				after, err := os.ReadDir(dir + "/generations")
				must(t, err)
				if len(after) != len(before) {
					t.Errorf("%d files, before %d", len(after), len(before))
				}
				if mode == Exclusive && tt.newest > 0 {
					if want := hintOf(c.parent.root.Generation, c.parent.sum); c.parent.root.Generation != tt.newest || hint(t, dir) != string(want) {
						t.Errorf("current is %q, want %q", hint(t, dir), want)
					}
				}
				if mode == Exclusive {
					commitOver(t, c, s, tt.newest)
				}
			}
		})
	}
}

// commitOver: a damaged chain goes on, with a number that was never seen.
func commitOver(t *testing.T, c *Chain, s *Snapshot, newest uint64) {
	t.Helper()
	next, err := c.Next()
	must(t, err)
	if next != 4 && !(next == 3 && newest == 2) {
		t.Errorf("the next generation is %d", next)
	}
	_, err = advance(c, s)
	must(t, err)
	got, damaged, err := c.Newest()
	if err != nil || damaged != nil {
		t.Fatalf("after a new generation: %v, %v", damaged, err)
	}
	wantGeneration(t, c, got, next)
}
