package live

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/registry/chain"
)

// changing is a registry that somebody changes all the time.
type changing struct {
	*fixture
	names []string
	rng   *rand.Rand
	// last is the newest good version N of 1.N.0 that was put, by name; broken
	// tells whether something that is not accepted lies over it; seen is what
	// was in force at the last look.
	last, seen map[string]int
	broken     map[string]bool
}

// change changes one bundle at random, for the better in four of five cases.
func (c *changing) change() {
	name := c.names[c.rng.IntN(len(c.names))]
	if c.rng.IntN(5) == 0 {
		c.broken[name] = true
		c.put(name, manifest(name, "9.0.0", fmt.Sprintf("polcy: %d\n", c.rng.IntN(1000))))
		return
	}
	c.last[name]++
	c.broken[name] = false
	c.put(name, marked(name, c.last[name]))
}

func marked(name string, n int) string {
	return manifest(name, version(n), "policy: {env: {set: {MARK: "+mark(name, n)+"}}}\n")
}

func version(n int) string { return fmt.Sprintf("1.%d.0", n) }

func mark(name string, n int) string { return fmt.Sprintf("%s-%d-mark", name, n) }

// number is the reverse of version.
func (c *changing) number(v string) (n int) {
	if _, err := fmt.Sscanf(v, "1.%d.0", &n); err != nil {
		c.t.Errorf("version %q was never good", v)
	}
	return n
}

// whole checks that a plan is that of one revision in everything.
func (c *changing) whole(name string, p *plan.Plan) {
	if !slices.Contains(p.Env.Set, "MARK="+mark(name, c.number(p.Version))) || p.Command != name {
		c.t.Errorf("%s: a mixture: version %s with %q", name, p.Version, p.Env.Set)
	}
}

// TestKilledAtRandomMoments: who keeps several commands in force is killed
// while they change. What is durable then, and what the next start has, is of
// each an old or a new good revision, and never older than before. 500 kills
// with SBX_TEST_SOAK=1.
func TestKilledAtRandomMoments(t *testing.T) {
	kills := 25
	switch {
	case os.Getenv("SBX_TEST_SOAK") == "1":
		kills = 500
	case testing.Short():
		kills = 5
	}
	c := &changing{
		fixture: newFixture(t), names: []string{"a", "b", "c.one", "c.two", "d"}, rng: rand.New(rand.NewPCG(5, 24)),
		last: map[string]int{}, seen: map[string]int{}, broken: map[string]bool{},
	}
	t.Setenv("SBX_STATE", c.base+"/state")
	t.Setenv("HOME", c.base)
	for _, name := range c.names {
		c.last[name] = 1
		c.put(name, marked(name, 1))
	}
	moved := 0
	for kill := range kills {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env, cmd.Stderr = append(os.Environ(), childEnv+"="+c.dir()), os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		up, err := cmd.StdoutPipe()
		c.must(err)
		c.must(cmd.Start())
		stop := make(chan struct{})
		var writer sync.WaitGroup
		writer.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(c.rng.IntN(8)) * time.Millisecond):
					c.change()
				}
			}
		})
		if kill%4 != 0 { // else in its start, too
			_, err := io.ReadFull(up, make([]byte, len("up\n")))
			c.must(err)
		}
		time.Sleep(time.Duration(rand.IntN(150_000)) * time.Microsecond) // the moment of the kill, not a wait
		c.must(cmd.Process.Kill())
		cmd.Wait()
		close(stop)
		writer.Wait()
		moved += c.durable(kill)
		again := c.names
		if kill%10 != 9 {
			again = c.names[kill%len(c.names):][:1]
		}
		c.restart(kill, again)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d kills, %d changes that they left in force", kills, moved)
	if moved < kills/10 {
		t.Error("the kills came before the work")
	}
}

// durable looks at what a kill has left. It returns how many commands are on
// another revision than at the last look.
func (c *changing) durable(kill int) (moved int) {
	t := c.t
	place, err := loader.OpenPlace(c.dir())
	c.must(err)
	ch, err := chain.Open(state.Dir()+"/"+place.Key, chain.ReadOnly)
	if err != nil && len(c.seen) == 0 {
		return 0 // killed before there was anything
	}
	c.must(err)
	defer ch.Close()
	snap, damaged, err := ch.Newest()
	if errors.Is(err, chain.ErrEmpty) && len(c.seen) == 0 {
		return 0
	}
	if err != nil || len(damaged) > 0 {
		t.Fatalf("kill %d: %v, %v", kill, damaged, err)
	}
	for _, name := range c.names {
		r, ok := snap.Commands[name].Current()
		if !ok {
			if c.seen[name] > 0 {
				t.Errorf("kill %d: %s is lost", kill, name)
			}
			continue
		}
		n := c.number(r.Version)
		if n < c.seen[name] || n > c.last[name] {
			t.Errorf("kill %d: %s is on %s, was on %d, the newest is %d", kill, name, r.Version, c.seen[name], c.last[name])
		}
		if n != c.seen[name] {
			moved++
		}
		c.seen[name] = n
		if b, err := ch.Load(name, r.Digest); err != nil || b.Manifest.Version != r.Version {
			t.Errorf("kill %d: the stored %s: %v", kill, name, err)
		}
		// What sbx itself would take.
		p, err := state.Read(state.PlanPath(state.Dir(), place.Key, name))
		if err != nil || state.Unfinished(state.Dir(), place.Key) {
			continue
		}
		if _, fresh := state.Fresh(p, buildinfo.Build); fresh {
			if c.whole(name, p); p.Revision != r.Digest {
				t.Errorf("kill %d: %s: the plan is of %s, in force is %s", kill, name, p.Version, r.Version)
			}
		}
	}
	return moved
}

// restart asks for commands as a one-shot run does.
func (c *changing) restart(kill int, names []string) {
	// A process that probes the host has the lock a moment longer than the
	// loader that was killed: until then what is in force is what runs.
	place, err := loader.OpenPlace(c.dir())
	c.must(err)
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		l, err := loader.OpenFor(place, loader.Options{})
		if err == nil {
			c.must(l.Close())
			break
		}
		if time.Now().After(end) {
			c.t.Fatalf("kill %d: %v", kill, err)
		}
	}
	for _, name := range names {
		var told []loader.Event
		p, _, _, err := loader.Run(c.dir(), strings.Split(name, "."), loader.Options{Notify: func(es []loader.Event) { told = append(told, es...) }})
		if err != nil {
			if c.seen[name] > 0 || !c.broken[name] {
				c.t.Errorf("kill %d: %s: %v", kill, name, err)
			}
			continue
		}
		c.whole(name, p)
		n := c.number(p.Version)
		if n < c.seen[name] || !c.broken[name] && n != c.last[name] {
			c.t.Errorf("kill %d: %s started again on %s, was on %d, the newest is %d (broken %v)\n%+v", kill, name, p.Version, c.seen[name], c.last[name], c.broken[name], told)
		}
		c.seen[name] = n
	}
}
