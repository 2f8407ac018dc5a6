package main

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/engine"
	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/filter"
	"github.com/sbx-project/sbx/internal/syscalls"
	"github.com/sbx-project/sbx/policy"
	"github.com/sbx-project/sbx/registry"
)

// The names of what is measured of filters.
const (
	nameFree  = "getppid without a filter"
	namePlain = "getppid under the filter"
	nameRule  = "getppid under the filter, with an argument rule"
	nameLoad  = "filter load"
	nameTheir = "load of libseccomp's default form"
)

// filterNames are they in the order of the table.
var filterNames = []string{nameFree, namePlain, nameRule, nameLoad, nameTheir}

const (
	// batch is how many calls one time is taken of. At a tenth reading the
	// clock shows; at ten times a batch meets a timer tick more often than
	// not.
	batch = 1000
	// filterRounds are the rounds of filters for each of the commands', which
	// take a hundred times as long.
	filterRounds = 10
)

// filters are the programs that are measured.
type filters struct {
	plain, rule []byte // base, and base with a rule on getppid
	theirs      []byte // libseccomp's program of base
}

// makeFilters compiles the stock policy base for a program, in the form that
// sbx loads and in the one that libseccomp gives by default.
func makeFilters(program string) (*filters, error) {
	base, err := registry.Stock("base")
	if err != nil {
		return nil, err
	}
	compile := func(p policy.Policy) (filter.Ruleset, []byte, error) {
		in, err := engine.Gather(engine.Request{Policy: p, Path: program, Features: feature.Probe()})
		if err != nil {
			return filter.Ruleset{}, nil, err
		}
		rs, err := engine.Ruleset(in)
		if err != nil {
			return rs, nil, err
		}
		out, err := filter.Compile(rs)
		return rs, out.Insns, err
	}
	f := &filters{}
	rs, plain, err := compile(base)
	if err != nil {
		return nil, err
	}
	f.plain = plain
	if !filter.HaveReference {
		return nil, fmt.Errorf("this program was built without cgo, so there is no libseccomp to compare with")
	}
	// What it lacks of the ruleset is the defaults of calls that have rules,
	// for which libseccomp has no form: a little less work than ours.
	if f.theirs, err = filter.Reference(rs); err != nil {
		return nil, err
	}
	ruled := base
	ruled.Syscalls.Rules = []policy.Rule{{
		Names: []policy.Name{{Text: "getppid"}}, Args: []policy.Arg{{Index: 0, Op: "eq", Value: 0x5b78}}, Action: "kill",
	}}
	if rs, f.rule, err = compile(ruled); err != nil {
		return nil, err
	}
	// A rule that the compiler saw through would measure nothing.
	nr, _ := syscalls.Number(runtime.GOARCH, "getppid")
	if a, b := rs.Evaluate(nr, [6]uint64{}), rs.Evaluate(nr, [6]uint64{0x5b78}); a == b || a.Kind != filter.Allow {
		return nil, fmt.Errorf("bug: the rule on getppid does not look at its argument: %v, %v", a, b)
	}
	return f, nil
}

// measureFilters takes the time of batches of calls on threads with and without
// a filter, and of loading filters on new threads, all in each round in
// another order. A time of calls is that of a batch.
func measureFilters(f *filters, o options) (results, error) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	seed := o.seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	random := rand.New(rand.NewPCG(seed, 1))
	all := results{}
	tasks := map[string]func() (time.Duration, error){
		nameLoad:  func() (time.Duration, error) { return loadTime(f.plain) },
		nameTheir: func() (time.Duration, error) { return loadTime(f.theirs) },
	}
	for name, insns := range map[string][]byte{nameFree: nil, namePlain: f.plain, nameRule: f.rule} {
		c, err := newCaller(insns)
		if err != nil {
			return nil, err
		}
		defer c.close()
		tasks[name] = c.batch
	}
	for range o.rounds * filterRounds {
		for _, i := range random.Perm(len(filterNames)) {
			name := filterNames[i]
			took, err := tasks[name]()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			all[name] = append(all[name], took)
		}
		runtime.GC()
	}
	return all, nil
}

// caller is a thread that makes batches of calls.
type caller struct {
	ask    chan struct{}
	answer chan time.Duration
}

// newCaller starts one under a filter; nil insns are none.
func newCaller(insns []byte) (*caller, error) {
	c := &caller{make(chan struct{}), make(chan time.Duration)}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its filter
		err := restrict(insns)
		ready <- err
		if err != nil {
			return
		}
		for range c.ask {
			// Once to get warm: the thread has slept.
			calls(batch / 10)
			began := time.Now()
			calls(batch)
			c.answer <- time.Since(began)
		}
	}()
	return c, <-ready
}

func calls(n int) {
	for range n {
		// The argument is what the rule looks at; the kernel ignores it.
		unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
	}
}

func (c *caller) batch() (time.Duration, error) {
	c.ask <- struct{}{}
	return <-c.answer, nil
}

func (c *caller) close() { close(c.ask) }

// restrict loads a filter into the calling thread.
func restrict(insns []byte) error {
	if insns == nil {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if err := load(insns); err != nil {
		return fmt.Errorf("load a filter: %w", err)
	}
	return nil
}

// loadTime is the time of seccomp(2) on a new thread.
func loadTime(insns []byte) (took time.Duration, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine
		if err = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return
		}
		began := time.Now()
		err = load(insns)
		took = time.Since(began)
	}()
	<-done
	return took, err
}
