package live

import (
	"errors"
	"os"
	"testing"

	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/registry"
)

// TestCircleIsRefusedWhole: commands that require each other stop everything
// new, on a file event, at a look at everything and at a start, and nothing
// that is in force; whichever bundle mends it, all of it comes in force.
func TestCircleIsRefusedWhole(t *testing.T) {
	needs := func(name string) string { return "requires: {commands: [" + name + "]}\n" }
	f := newFixture(t)
	for _, name := range []string{"a", "b", "c"} {
		f.put(name, manifest(name, "1.0.0", ""))
	}
	f.start()
	f.version("c", "1.0.0")
	f.put("b", manifest("b", "2.0.0", needs("a")))
	f.version("b", "2.0.0")
	f.put("a", manifest("a", "2.0.0", needs("b")))
	f.reaches(loader.Rejected, "a", 1)
	f.put("c", manifest("c", "2.0.0", ""))
	results, err := f.set.Reload()
	f.must(err)
	for _, name := range []string{"a", "c"} {
		if !errors.Is(results[name].Err, registry.ErrCycle) {
			t.Errorf("%s: %v", name, results[name].Err)
		}
	}
	// A start finds the same.
	f.stop()
	f.start()
	f.version("a", "1.0.0")
	f.version("b", "2.0.0")
	f.version("c", "1.0.0")
	if n := f.count(loader.Rejected, "a"); n != 1 {
		t.Errorf("told %d times", n)
	}
	f.put("b", manifest("b", "3.0.0", ""))
	f.version("b", "3.0.0")
	f.version("a", "2.0.0")
	f.version("c", "2.0.0")
}

// TestRequiredGoes: a command that another one requires is kept when its file
// goes, and nothing else changes until its user goes as well.
func TestRequiredGoes(t *testing.T) {
	f := newFixture(t)
	f.put("b", manifest("b", "1.0.0", ""))
	f.put("a", manifest("a", "1.0.0", "requires: {commands: [b]}\n"))
	f.put("c", manifest("c", "1.0.0", ""))
	f.start()
	f.version("a", "1.0.0")
	f.must(os.Remove(f.dir() + "/b.yaml"))
	f.reaches(loader.Rejected, "a", 1)
	f.put("c", manifest("c", "2.0.0", ""))
	results, err := f.set.Reload()
	f.must(err)
	if !errors.Is(results["c"].Err, registry.ErrRequires) {
		t.Errorf("%v", results["c"].Err)
	}
	f.version("b", "1.0.0")
	f.version("c", "1.0.0")
	f.must(os.Remove(f.dir() + "/a.yaml"))
	f.version("a", "")
	f.version("b", "")
	f.version("c", "2.0.0")
}

// TestStartWithAnIllegalTree: what was in force goes on after a start that
// finds a command and a group of one name.
func TestStartWithAnIllegalTree(t *testing.T) {
	f := newFixture(t)
	f.put("tool", manifest("tool", "1.0.0", ""))
	f.start()
	f.version("tool", "1.0.0")
	f.stop()
	f.put("tool.part", manifest("tool.part", "1.0.0", ""))
	f.start()
	f.version("tool", "1.0.0")
	f.reaches(loader.Damaged, "", 1)
	f.must(os.RemoveAll(f.dir() + "/tool"))
	f.put("tool", manifest("tool", "1.1.0", ""))
	f.version("tool", "1.1.0")
}
