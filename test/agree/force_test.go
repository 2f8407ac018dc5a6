package agree_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/engine"
	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/filter"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/syscalls"
	"github.com/sbx-project/sbx/registry"
)

// force is what sbx says is in force: the plan that it kept, and the ruleset
// that the engine shows for the same policy.
type force struct {
	plan  *plan.Plan
	rules filter.Ruleset
	view  *view
}

// ruleset is what `sbx show` and `why` read a policy's calls from.
func ruleset(file, text string) (filter.Ruleset, error) {
	p, err := registry.ParsePolicy(file, []byte(text))
	if err == nil {
		p, err = engine.Resolve(p)
	}
	if err != nil {
		return filter.Ruleset{}, err
	}
	in, err := engine.Gather(engine.Request{Policy: p, Path: bin + "/probe", Features: feature.Probe()})
	if err != nil {
		return filter.Ruleset{}, err
	}
	return engine.Ruleset(in)
}

// verdict is what the ruleset says of a call; that the program in the plan
// says the same is checked on the way.
func (f *force) verdict(c call) (filter.Verdict, error) {
	want := f.rules.Evaluate(c.nr, c.args)
	arch := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
	value, err := filter.Run(f.plan.Filter.Insns, arch, c.nr, 0, c.args)
	if err != nil {
		return want, err
	}
	got := filter.Verdict{Kind: filter.Kill}
	switch value & unix.SECCOMP_RET_ACTION_FULL {
	case unix.SECCOMP_RET_ALLOW:
		got.Kind = filter.Allow
	case unix.SECCOMP_RET_USER_NOTIF:
		got.Kind = filter.Violation
	case unix.SECCOMP_RET_ERRNO:
		got = filter.Verdict{Kind: filter.Errno, Errno: uint16(value)}
	}
	if got != want {
		return want, fmt.Errorf("%v: the plan's filter says %v, the ruleset %v", c, got, want)
	}
	return want, nil
}

// somewhere stands for a pointer; the generator's rules test none.
const somewhere = 0x7ffe00001000

// named is a call by its name.
func named(name string, args ...uint64) call {
	nr, ok := syscalls.Number(runtime.GOARCH, name)
	if !ok {
		panic("bug: no call " + name)
	}
	c := call{nr: nr}
	copy(c.args[:], args)
	return c
}

// Flags of testdata/probe.c: O_NOCTTY, O_NONBLOCK and O_CLOEXEC on everything.
const openFlags = 0o2004400

// callsOf are the calls that an item of the probe makes before its result is
// known, in order. All but the first are made only when those before worked.
func callsOf(it pathItem) []call {
	open := func(flags uint64) call { return named("openat", atCwd, somewhere, openFlags|flags, 0o600) }
	switch it.op {
	case 'r':
		return []call{open(0)}
	case 'm':
		return []call{open(0), named("mmap", 0, 4096, 5, 2, 3, 0)}
	case 'w':
		return []call{open(1)}
	case 'c':
		return []call{open(0o301)}
	case 't':
		return []call{named("newfstatat", atCwd, somewhere, somewhere, 0)}
	case 'x':
		return []call{named("faccessat", atCwd, somewhere, 1)}
	case 'e':
		return []call{named("execve", somewhere, somewhere, somewhere)}
	case 'W':
		return []call{named("mmap", 0, 4096, 7, 0x22, none, 0)}
	case 'U':
		return []call{named("socket", 2, 2, 0), named("connect", 3, somewhere, 16)}
	case 'L':
		return []call{named("prlimit64", 0, 7, 0, somewhere)}
	case 'D':
		return []call{named("getcwd", somewhere, 4096)}
	case 'H':
		return []call{named("uname", somewhere)}
	case 'E':
		return nil
	}
	panic("bug: no item " + it.item())
}

// answer is what an item is to give: an errno, or a violation by a call. It is
// unknown when a later call of the item is a violation: whether it is reached
// is not for the filter to say.
func (f *force) answer(it pathItem) (errno unix.Errno, violation *call, known bool, err error) {
	natural := f.natural(it)
	for i, c := range callsOf(it) {
		v, err := f.verdict(c)
		if err != nil {
			return 0, nil, false, err
		}
		switch v.Kind {
		case filter.Violation:
			return 0, &c, i == 0, nil
		case filter.Errno:
			if i == 0 || f.natural(pathItem{'r', it.path}) == 0 {
				return unix.Errno(v.Errno), nil, true, nil
			}
		}
	}
	return natural, nil, true, nil
}

// natural is what the kernel is to answer where the filter lets an item pass.
func (f *force) natural(it pathItem) unix.Errno {
	switch it.op {
	case 'E', 'L', 'D', 'H':
		return 0
	case 'W':
		if f.plan.DenyWriteExecute {
			return unix.EACCES // PR_SET_MDWE
		}
		return 0
	case 'U':
		if !f.plan.Loopback {
			return unix.ENETUNREACH
		}
		return 0
	}
	return f.view.try(it)
}

// environment is what the plan makes of the caller's.
func (f *force) environment(caller []string) []string {
	out := slices.Clone(f.plan.Env.Set)
	for _, e := range caller {
		name, _, _ := strings.Cut(e, "=")
		set := slices.ContainsFunc(f.plan.Env.Set, func(s string) bool { return strings.HasPrefix(s, name+"=") })
		passed := slices.ContainsFunc(f.plan.Env.Pass, func(p string) bool {
			prefix, wild := strings.CutSuffix(p, "*")
			return name == p || wild && strings.HasPrefix(name, prefix)
		})
		if passed && !set {
			out = append(out, e)
		}
	}
	slices.Sort(out)
	return out
}
