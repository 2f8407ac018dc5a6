package live

import (
	"errors"
	"os"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/registry/life"
	"github.com/sbx-project/sbx/registry/watch"
)

// inForce is a command and its plan as a caller gets them.
func (f *fixture) inForce(name string) (*Entry, *plan.Plan) {
	f.t.Helper()
	e, ok := f.set.Get(name)
	if !ok {
		f.t.Fatalf("%s is not there", name)
	}
	p, err := f.set.Plan(e)
	f.must(err)
	return e, p
}

// TestLateResultsDoNotUndoAVerdict: what a load came to is published after an
// operator, or a violation, took that revision out.
func TestLateResultsDoNotUndoAVerdict(t *testing.T) {
	f := newFixture(t)
	f.put("tool", manifest("tool", "1.0.0", ""))
	f.start()
	f.version("tool", "1.0.0")
	_, p := f.inForce("tool")
	if _, err := f.set.Ended(p, "r1", ""); err != nil {
		t.Fatal(err)
	}
	f.put("tool", manifest("tool", "2.0.0", ""))
	f.version("tool", "2.0.0")
	src := f.set.registries[0]
	late, err := src.loader().Load("tool")
	f.must(err)
	f.must(src.loader().Rollback("tool", "1.0.0", life.Act{Why: "a test"}))
	src.publish(late)
	if _, p := f.inForce("tool"); p.Version != "1.0.0" {
		t.Errorf("the plan is of %s, which is held", p.Version)
	}
}

// TestVerdictOfAHiddenCommandHolds: a run ends after an earlier registry got a
// command of that name; its violation counts for when the name is back.
func TestVerdictOfAHiddenCommandHolds(t *testing.T) {
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
	_, bad := f.inForce("tool")
	f.put("tool", manifest("tool", "1.0.0", ""))
	f.version("tool", "1.0.0")
	if back, err := f.set.Ended(bad, "r1", "ptrace"); err != nil || back != "" {
		t.Errorf("back on %q, %v", back, err)
	}
	f.must(os.Remove(f.dir() + "/tool.yaml"))
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		e, ok := f.set.Get("tool")
		if ok && e.Registry == second {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the second registry's does not come back")
		}
	}
	if _, p := f.inForce("tool"); p.Refusal == "" {
		t.Errorf("%s runs after its violation in probation", p.Version)
	}
}

// TestProgramComesBack: a program that was away for a moment, as during an
// upgrade, while somebody ran the command.
func TestProgramComesBack(t *testing.T) {
	f := newFixture(t)
	program := f.base + "/program"
	b, err := os.ReadFile("/bin/true")
	f.must(err)
	f.must(os.WriteFile(program, b, 0o755))
	f.put("tool", "apiVersion: sbx/v1\nname: tool\nversion: 1.0.0\nexec: {path: "+program+", args: passthrough}\n")
	f.start()
	f.version("tool", "1.0.0")
	f.inForce("tool")
	f.must(os.Rename(program, program+".away"))
	if p, err := f.set.Renew("tool"); err == nil {
		t.Fatalf("a plan of a missing program: %s", p.Version)
	}
	f.must(os.Rename(program+".away", program))
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		e, ok := f.set.Get("tool")
		if ok {
			if _, err = f.set.Plan(e); err == nil {
				break
			}
		}
		if time.Now().After(end) {
			t.Fatalf("still refused: %v", err)
		}
	}
}

// TestLooksKeepNothingOpen: each look at everything opens the registry anew.
func TestLooksKeepNothingOpen(t *testing.T) {
	f := newFixture(t)
	f.put("tool", manifest("tool", "1.0.0", ""))
	f.start()
	f.stop() // nothing else opens files
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		f.must(err)
		return len(entries)
	}
	src, before := f.set.registries[0], open()
	for range 50 {
		f.must(src.refresh(watch.Hint{All: true}))
	}
	if now := open(); now > before+5 {
		t.Errorf("%d descriptors, %d before", now, before)
	}
}

// TestNoRoomForAWhile: what could not be made durable when it came, comes in
// force when there is room again, though nothing changes any more.
func TestNoRoomForAWhile(t *testing.T) {
	f := newFixture(t)
	f.put("tool", manifest("tool", "1.0.0", ""))
	f.start()
	f.version("tool", "1.0.0")
	dir := f.base + "/state/" + f.set.registries[0].place().Key + "/generations"
	f.must(os.Rename(dir, dir+".away"))
	f.put("tool", manifest("tool", "2.0.0", ""))
	f.put("new", manifest("new", "1.0.0", ""))
	f.reaches(loader.Damaged, "", 1)
	f.version("tool", "1.0.0")
	f.must(os.Rename(dir+".away", dir))
	f.version("tool", "2.0.0")
	f.version("new", "1.0.0")
}

// lazy is a prover that first has something else to do.
type lazy struct{ busy, asked atomic.Int32 }

func (l *lazy) Prove(*plan.Plan, []string) (loader.Proof, error) {
	l.asked.Add(1)
	if l.busy.Add(-1) >= 0 {
		return loader.Proof{}, errors.New("busy")
	}
	return loader.Proof{Outcome: "ok"}, nil
}

// TestUndecidedIsLookedAtAgain: a check that could not be tried decides nothing.
// It is tried again though nothing changes any more, and told once.
func TestUndecidedIsLookedAtAgain(t *testing.T) {
	f := newFixture(t)
	f.put("tool", manifest("tool", "1.0.0", ""))
	p := &lazy{}
	p.busy.Store(2)
	f.startWith(p)
	f.version("tool", "1.0.0")
	f.put("tool", manifest("tool", "2.0.0", "checks: [{expect: {exit: 0}}]\n"))
	f.version("tool", "2.0.0")
	if n := p.asked.Load(); n != 3 {
		t.Errorf("asked %d times", n)
	}
	if n := f.count(loader.Damaged, "tool"); n != 1 {
		t.Errorf("told %d times", n)
	}
	if n := f.count(loader.Rejected, "tool"); n > 0 {
		t.Errorf("%d rejections", n)
	}
}

// TestFullDisk: what cannot be stored is told, and comes in force when there is
// room again, though nothing changes any more.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	f := newFixture(t)
	dir := f.base + "/state"
	f.must(unix.Mount("sbx-test", dir, "tmpfs", 0, "size=2M,mode=755"))
	t.Cleanup(func() { f.must(unix.Unmount(dir, unix.MNT_DETACH)) })
	f.put("tool", manifest("tool", "1.0.0", ""))
	f.start()
	f.version("tool", "1.0.0")
	fill, err := os.Create(dir + "/fill")
	f.must(err)
	for size := 64 << 10; size > 0; {
		if _, err := fill.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	f.must(fill.Close())
	f.put("tool", manifest("tool", "2.0.0", ""))
	for end := time.Now().Add(patience); f.count(loader.Damaged, "tool")+f.count(loader.Damaged, "") == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing is told of a full disk")
		}
	}
	f.version("tool", "1.0.0")
	f.must(os.Remove(dir + "/fill"))
	f.version("tool", "2.0.0")
}
