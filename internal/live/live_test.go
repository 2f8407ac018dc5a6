package live

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/registry"
)

// fixture is a registry of its own with its state, and what was told of it.
type fixture struct {
	t    testing.TB
	base string
	set  *Set

	mu     sync.Mutex
	events []loader.Event
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, base: t.TempDir()}
	for _, d := range []string{"registry", "state"} {
		f.must(os.Mkdir(f.base+"/"+d, 0o755))
	}
	return f
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) dir() string { return f.base + "/registry" }

// start begins to keep the registry in force; it may be called again after
// stop.
func (f *fixture) start() { f.t.Helper(); f.startWith(nil) }

func (f *fixture) startWith(p loader.Prover) {
	f.t.Helper()
	place, err := loader.OpenPlace(f.dir())
	f.must(err)
	f.set, err = Start([]loader.Place{place}, Options{
		Loader:  loader.Options{StateDir: f.base + "/state", Registries: []string{f.dir()}, Notify: f.note, Prover: p},
		Settle:  5 * time.Millisecond,
		Poll:    time.Second,
		Journal: 20 * time.Millisecond,
	})
	f.must(err)
	f.t.Cleanup(f.stop)
}

func (f *fixture) stop() { f.must(f.set.Close()) }

func (f *fixture) note(events []loader.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, events...)
}

// count tells how many events of a kind a command has had.
func (f *fixture) count(kind loader.Kind, name string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.events {
		if e.Kind == kind && e.Name == name {
			n++
		}
	}
	return n
}

func manifest(name, version, extra string) string {
	return fmt.Sprintf("apiVersion: sbx/v1\nname: %s\nversion: %s\nexec: {path: /bin/sh, args: passthrough}\n%s", name, version, extra)
}

// put replaces a one-file bundle as a deployment does: by rename.
func (f *fixture) put(name, text string) {
	f.t.Helper()
	file := f.dir() + "/" + strings.ReplaceAll(name, ".", "/") + ".yaml"
	f.must(os.MkdirAll(filepath.Dir(file), 0o755))
	f.must(os.WriteFile(file+".new~", []byte(text), 0o644))
	f.must(os.Rename(file+".new~", file))
}

// patience is how long a change may take to come in force.
const patience = 20 * time.Second

// version waits until a version of a command is in force; "" is none.
func (f *fixture) version(name, want string) {
	f.t.Helper()
	got := "none"
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		got = ""
		if e, ok := f.set.Get(name); ok {
			if r, ok := e.Command.Current(); ok {
				got = r.Version
			}
		}
		if got == want {
			return
		}
	}
	f.t.Fatalf("%s: in force is %q, want %q", name, got, want)
}

// reaches waits for an event.
func (f *fixture) reaches(kind loader.Kind, name string, n int) {
	f.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if f.count(kind, name) >= n {
			return
		}
	}
	f.t.Fatalf("%s: %d events %s, want %d", name, f.count(kind, name), kind, n)
}

func TestChangesComeInForceByThemselves(t *testing.T) {
	f := newFixture(t)
	f.put("tool", manifest("tool", "1.0.0", ""))
	f.start()
	f.version("tool", "1.0.0")
	f.put("tool", manifest("tool", "1.1.0", ""))
	f.version("tool", "1.1.0")
	f.put("db.backup", manifest("db.backup", "1.0.0", ""))
	f.version("db.backup", "1.0.0")
	f.put("db.list", manifest("db.list", "1.0.0", ""))
	f.version("db.list", "1.0.0")
	f.must(os.Remove(f.dir() + "/tool.yaml"))
	f.version("tool", "")
	f.must(os.RemoveAll(f.dir() + "/db"))
	f.version("db.backup", "")
	f.version("db.list", "")
	if _, _, err := f.set.Find([]string{"db", "backup"}); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("a removed command is found: %v", err)
	}
}

func TestEveryWayToWriteAFile(t *testing.T) {
	f := newFixture(t)
	f.put("tool", manifest("tool", "1.0.0", ""))
	f.start()
	file := f.dir() + "/tool.yaml"
	n := 0
	next := func() string { n++; return fmt.Sprintf("1.%d.0", n) }
	ways := map[string]func(text string){
		"in place": func(text string) { f.must(os.WriteFile(file, []byte(text), 0o644)) },
		"moved in": func(text string) {
			other := f.base + "/other"
			f.must(os.WriteFile(other, []byte(text), 0o644))
			f.must(os.Rename(other, file))
		},
		"removed and made": func(text string) {
			f.must(os.Remove(file))
			f.must(os.WriteFile(file, []byte(text), 0o644))
		},
		"in two halves": func(text string) {
			f.must(os.WriteFile(file, []byte(text[:len(text)/2]), 0o644))
			f.reaches(loader.Rejected, "tool", f.count(loader.Rejected, "tool")+1)
			f.must(os.WriteFile(file, []byte(text), 0o644))
		},
		"as vim": func(text string) {
			f.must(os.Rename(file, file+"~"))
			f.must(os.WriteFile(file, []byte(text), 0o644))
			f.must(os.Remove(file + "~"))
		},
	}
	for way, write := range ways {
		v := next()
		write(manifest("tool", v, ""))
		t.Log(way)
		f.version("tool", v)
	}
}

func TestDirectoryBundleReplacedWhole(t *testing.T) {
	f := newFixture(t)
	make := func(dir, version string) {
		f.must(os.Mkdir(dir, 0o755))
		f.must(os.WriteFile(dir+"/bundle.yaml", []byte(manifest("tool", version, "")), 0o644))
		f.must(os.WriteFile(dir+"/data", []byte(version), 0o644))
	}
	make(f.dir()+"/tool", "1.0.0")
	f.start()
	f.version("tool", "1.0.0")
	e, _ := f.set.Get("tool")
	held, err := f.set.Plan(e)
	f.must(err)
	make(f.base+"/new", "2.0.0")
	f.must(os.Rename(f.dir()+"/tool", f.base+"/old"))
	f.must(os.Rename(f.base+"/new", f.dir()+"/tool"))
	f.version("tool", "2.0.0")
	if held.Version != "1.0.0" {
		t.Errorf("a plan that is held became %s", held.Version)
	}
}

func TestBadBundleKeepsItsCommandAndNoOther(t *testing.T) {
	f := newFixture(t)
	f.put("tool", manifest("tool", "1.0.0", ""))
	f.put("other", manifest("other", "1.0.0", ""))
	f.start()
	bad := manifest("tool", "2.0.0", "polcy: {}\n")
	f.put("tool", bad)
	f.reaches(loader.Rejected, "tool", 1)
	f.put("other", manifest("other", "1.1.0", ""))
	f.version("other", "1.1.0")
	f.version("tool", "1.0.0")
	// The same content again and again is one event.
	for range 10 {
		f.put("tool", bad)
		_, err := f.set.Reload()
		f.must(err)
	}
	if n := f.count(loader.Rejected, "tool"); n != 1 {
		t.Errorf("%d events for one bad digest", n)
	}
	f.put("tool", manifest("tool", "2.0.0", ""))
	f.version("tool", "2.0.0")
}

// TestReloadTellsVerdicts: an older version is 409 each time it is looked at,
// what is bad in itself has no verdict.
func TestReloadTellsVerdicts(t *testing.T) {
	f := newFixture(t)
	f.put("tool", manifest("tool", "2.0.0", ""))
	f.start()
	f.version("tool", "2.0.0")
	for text, want := range map[string]int{manifest("tool", "1.0.0", ""): 409, "broken": 0} {
		f.put("tool", text)
		for range 2 {
			results, err := f.set.Reload()
			f.must(err)
			if got := int(loader.Code(results["tool"].Err)); got != want || results["tool"].Err == nil {
				t.Errorf("%.20q: verdict %d (%v), want %d", text, got, results["tool"].Err, want)
			}
		}
	}
}

// TestIllegalTreeIsRefusedWhole: a name that is a command and a group at once
// stops everything new, and nothing that is in force.
func TestIllegalTreeIsRefusedWhole(t *testing.T) {
	f := newFixture(t)
	f.put("tool", manifest("tool", "1.0.0", ""))
	f.put("other", manifest("other", "1.0.0", ""))
	f.start()
	f.version("tool", "1.0.0")
	f.put("tool.part", manifest("tool.part", "1.0.0", ""))
	f.reaches(loader.Damaged, "", 1)
	f.put("other", manifest("other", "1.1.0", ""))
	f.reaches(loader.Damaged, "", 2)
	f.version("tool", "1.0.0")
	f.version("other", "1.0.0")
	f.must(os.RemoveAll(f.dir() + "/tool"))
	f.version("other", "1.1.0")
	f.version("tool", "1.0.0")
}

func TestViolationInProbationReverts(t *testing.T) {
	f := newFixture(t)
	f.put("tool", manifest("tool", "1.0.0", ""))
	f.start()
	f.version("tool", "1.0.0")
	plan := func() string {
		e, ok := f.set.Get("tool")
		if !ok {
			t.Fatal("no tool")
		}
		p, err := f.set.Plan(e)
		f.must(err)
		return p.Version
	}
	e, _ := f.set.Get("tool")
	p, err := f.set.Plan(e)
	f.must(err)
	if _, err := f.set.Ended(p, "r1", ""); err != nil {
		t.Fatal(err)
	}
	f.put("tool", manifest("tool", "2.0.0", ""))
	f.version("tool", "2.0.0")
	e, _ = f.set.Get("tool")
	p, err = f.set.Plan(e)
	f.must(err)
	back, err := f.set.Ended(p, "r2", "ptrace")
	if err != nil || back != "1.0.0" || plan() != "1.0.0" {
		t.Errorf("back on %q (%v), in force %s", back, err, plan())
	}
	if f.count(loader.Reverted, "tool") != 1 {
		t.Errorf("%+v", f.events)
	}
	// It stays so over a restart, with the bad one still on disk.
	f.stop()
	f.start()
	f.version("tool", "1.0.0")
}

// TestRunsOfOthersCount: a direct run writes the journal while the daemon holds
// the lock.
func TestRunsOfOthersCount(t *testing.T) {
	f := newFixture(t)
	f.put("tool", manifest("tool", "1.0.0", ""))
	f.start()
	e, _ := f.set.Get("tool")
	p, err := f.set.Plan(e)
	f.must(err)
	dir := f.base + "/state"
	f.must(state.MarkUnfinished(dir, p.Key))
	_, err = state.Append(dir, p.Key, state.Record{Time: time.Now(), Run: "r", Command: "tool", Revision: p.Revision, Violation: "mount"})
	f.must(err)
	f.reaches(loader.Quarantined, "tool", 1)
	e, _ = f.set.Get("tool")
	if p, err := f.set.Plan(e); err != nil || p.Refusal == "" {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestRootDeletedAndMadeAgain(t *testing.T) {
	f := newFixture(t)
	f.put("tool", manifest("tool", "1.0.0", ""))
	f.start()
	f.must(os.RemoveAll(f.dir()))
	f.must(os.Mkdir(f.dir(), 0o755))
	f.put("tool", manifest("tool", "3.0.0", ""))
	f.version("tool", "3.0.0")
	f.put("tool", manifest("tool", "3.1.0", ""))
	f.version("tool", "3.1.0")
}

func TestRestartKeepsWhatWasInForce(t *testing.T) {
	f := newFixture(t)
	f.put("tool", manifest("tool", "1.0.0", ""))
	f.put("gone", manifest("gone", "1.0.0", ""))
	f.start()
	f.version("tool", "1.0.0")
	e, _ := f.set.Get("tool")
	generation := e.Command.Generation
	f.stop()
	f.put("new", manifest("new", "1.0.0", ""))
	f.put("tool", "broken")
	f.must(os.Remove(f.dir() + "/gone.yaml"))
	f.start()
	f.version("tool", "1.0.0")
	f.version("new", "1.0.0")
	f.version("gone", "")
	if e, _ := f.set.Get("tool"); e.Command.Generation != generation {
		t.Errorf("generation %d became %d", generation, e.Command.Generation)
	}
}

func TestOneLoaderAtATime(t *testing.T) {
	f := newFixture(t)
	f.start()
	place, err := loader.OpenPlace(f.dir())
	f.must(err)
	if _, err := Start([]loader.Place{place}, Options{Loader: loader.Options{StateDir: f.base + "/state"}}); !errors.Is(err, loader.ErrHeld) {
		t.Errorf("a second loader: %v", err)
	}
}

// TestStartWaitsForALoaderThatEnds: a one-shot run that loads while a daemon
// starts is no second daemon.
func TestStartWaitsForALoaderThatEnds(t *testing.T) {
	f := newFixture(t)
	place, err := loader.OpenPlace(f.dir())
	f.must(err)
	l, err := loader.OpenFor(place, loader.Options{StateDir: f.base + "/state"})
	f.must(err)
	time.AfterFunc(100*time.Millisecond, func() { l.Close() })
	f.start()
}

func TestEarlierRegistryWins(t *testing.T) {
	f := newFixture(t)
	second := f.base + "/second"
	f.must(os.Mkdir(second, 0o755))
	f.must(os.WriteFile(second+"/tool.yaml", []byte(manifest("tool", "5.0.0", "")), 0o644))
	var places []loader.Place
	for _, dir := range []string{f.dir(), second} {
		p, err := loader.OpenPlace(dir)
		f.must(err)
		places = append(places, p)
	}
	var err error
	f.set, err = Start(places, Options{Loader: loader.Options{StateDir: f.base + "/state", Registries: []string{f.dir(), second}}, Settle: 5 * time.Millisecond})
	f.must(err)
	t.Cleanup(f.stop)
	f.version("tool", "5.0.0")
	f.put("tool", manifest("tool", "1.0.0", ""))
	f.version("tool", "1.0.0")
	f.must(os.Remove(f.dir() + "/tool.yaml"))
	f.version("tool", "5.0.0")
}
