package watch

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

// TestRoot: the root is removed and made again, moved away, swapped as a
// symbolic link, and comes late.
func TestRoot(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(t *testing.T, base string) (root string)
		steps   []func(t *testing.T, base string)
	}{
		{"removed and made again", func(t *testing.T, base string) string {
			must(t, os.MkdirAll(base+"/r/g", 0o755))
			return base + "/r"
		}, []func(t *testing.T, base string){
			func(t *testing.T, base string) { must(t, os.RemoveAll(base+"/r")) },
			func(t *testing.T, base string) { must(t, os.MkdirAll(base+"/r", 0o755)) },
		}},
		{"moved away and replaced", func(t *testing.T, base string) string {
			must(t, os.MkdirAll(base+"/r", 0o755))
			return base + "/r"
		}, []func(t *testing.T, base string){
			func(t *testing.T, base string) { must(t, os.Rename(base+"/r", base+"/away")) },
			func(t *testing.T, base string) { must(t, os.MkdirAll(base+"/r", 0o755)) },
		}},
		{"a symbolic link that is swapped", func(t *testing.T, base string) string {
			must(t, os.MkdirAll(base+"/v1", 0o755))
			must(t, os.MkdirAll(base+"/v2/g", 0o755))
			must(t, os.Symlink("v1", base+"/r"))
			return base + "/r"
		}, []func(t *testing.T, base string){
			func(t *testing.T, base string) {
				must(t, os.Symlink(base+"/v2", base+"/r.new"))
				must(t, os.Rename(base+"/r.new", base+"/r"))
			},
		}},
		{"a link above it is swapped", func(t *testing.T, base string) string {
			must(t, os.MkdirAll(base+"/v1/r", 0o755))
			must(t, os.MkdirAll(base+"/v2/r", 0o755))
			must(t, os.Symlink("v1", base+"/current"))
			return base + "/current/r"
		}, []func(t *testing.T, base string){
			func(t *testing.T, base string) {
				must(t, os.Symlink("v2", base+"/next"))
				must(t, os.Rename(base+"/next", base+"/current"))
			},
		}},
		{"comes late", func(t *testing.T, base string) string { return base + "/x/y/r" },
			[]func(t *testing.T, base string){
				func(t *testing.T, base string) { must(t, os.Mkdir(base+"/x", 0o755)) },
				func(t *testing.T, base string) { must(t, os.Mkdir(base+"/x/y", 0o755)) },
				func(t *testing.T, base string) { must(t, os.Mkdir(base+"/x/y/r", 0o755)) },
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			testenv.NoLeaks(t)
			base := t.TempDir()
			w := begin(t, tt.prepare(t, base), Options{})
			for i, step := range tt.steps {
				step(t, base)
				w.until("the root after step "+strconv.Itoa(i), func(h Hint) bool { return h.Root && h.All })
			}
			write(t, w.root+"/late.yaml", "x")
			w.until("late.yaml by name", func(h Hint) bool { return slices.Contains(h.Paths, w.root+"/late.yaml") })
		})
	}
}

// TestDirectoryAboveMoved: no event of a watched directory tells that one far
// above it was moved; the timer does.
func TestDirectoryAboveMoved(t *testing.T) {
	base := t.TempDir()
	must(t, os.MkdirAll(base+"/a/b/r", 0o755))
	w := begin(t, base+"/a/b/r", Options{Check: 10 * time.Millisecond})
	must(t, os.Rename(base+"/a", base+"/away"))
	w.until("the root", func(h Hint) bool { return h.Root })
	must(t, os.MkdirAll(base+"/a/b/r", 0o755))
	w.until("the new root", func(h Hint) bool { return h.Root })
	write(t, base+"/a/b/r/f.yaml", "x")
	w.until("f.yaml by name", func(h Hint) bool { return slices.Contains(h.Paths, w.root+"/f.yaml") })
}
