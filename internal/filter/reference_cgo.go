//go:build cgo

package filter

import (
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"

	"github.com/seccomp/libseccomp-golang"
)

// HaveReference reports whether this build can compile a reference.
const HaveReference = true

// maxConditions bounds the conditions of all calls together, and with them the
// time that a policy can make the reference take.
const maxConditions = 8 * maxCubes

// Reference compiles rs with libseccomp, to be compared with [Compile]'s
// program by [Agree]. It is no filter to load: a call whose rules do not hold
// gets a mark in place of its default, which Agree knows (libseccomp has one
// default for a whole filter). Of exec-once it knows that execve and execveat
// are refused.
//
// The architecture must be this machine's: libseccomp translates numbers of
// others by its own table of names, in which newer calls are missing. It
// returns what Compile returns for a ruleset that is not legal, an error
// wrapping [ErrInexpressible] for rules that libseccomp cannot express, and
// the error of the library otherwise.
func Reference(rs Ruleset) ([]byte, error) {
	if err := rs.validate(); err != nil {
		return nil, err
	}
	if rs.Arch != runtime.GOARCH {
		return nil, fmt.Errorf("reference filter for %s on %s: libseccomp compares only the native architecture", rs.Arch, runtime.GOARCH)
	}
	calls := rs.Calls
	if rs.ExecOnce {
		calls = maps.Clone(calls)
		if calls == nil {
			calls = map[uint32]Call{}
		}
		execve, execveat := execNumbers(rs.Arch)
		calls[execve] = Call{Default: rs.ExecVerdict}
		calls[execveat] = Call{Default: rs.ExecVerdict}
	}

	f, err := newLibseccomp(seccomp.ActTrace.SetReturnCode(unmatched & 0xffff))
	if err != nil {
		return nil, err
	}
	defer f.Release()
	conditions := 0
	for _, nr := range slices.Sorted(maps.Keys(calls)) {
		call := calls[nr].simple()
		if call.answers(Verdict{Kind: Errno, Errno: maxErrno}) {
			return nil, fmt.Errorf("call %d: %w: errno %d", nr, ErrInexpressible, maxErrno)
		}
		if len(call.Rules) == 0 {
			if err := f.AddRuleExact(seccomp.ScmpSyscall(nr), call.Default.libseccomp()); err != nil {
				return nil, fmt.Errorf("libseccomp: call %d: %w", nr, err)
			}
			continue
		}
		list, err := call.cubes()
		if err != nil {
			return nil, fmt.Errorf("call %d: %w", nr, err)
		}
		list = level(list)
		if conditions += len(list); conditions > maxConditions {
			return nil, fmt.Errorf("%w: over %d conditions in all", ErrInexpressible, maxConditions)
		}
		for _, a := range list {
			if err := addCube(f, seccomp.ScmpSyscall(nr), a); err != nil {
				return nil, fmt.Errorf("libseccomp: call %d: %w", nr, err)
			}
		}
	}
	return export(f)
}

// newLibseccomp returns an empty filter for the native architecture that refuses
// foreign ABIs. The caller releases it.
func newLibseccomp(fallback seccomp.ScmpAction) (*seccomp.ScmpFilter, error) {
	f, err := seccomp.NewFilter(fallback)
	if err != nil {
		return nil, fmt.Errorf("libseccomp: new filter: %w", err)
	}
	if err := f.SetBadArchAction(seccomp.ActNotify); err != nil {
		f.Release()
		return nil, fmt.Errorf("libseccomp: set action for foreign architectures: %w", err)
	}
	return f, nil
}

func addCube(f *seccomp.ScmpFilter, nr seccomp.ScmpSyscall, a answered) error {
	var conditions []seccomp.ScmpCondition
	for i, mask := range a.mask {
		if mask == 0 {
			continue
		}
		condition, err := seccomp.MakeCondition(uint(i), seccomp.CompareMaskedEqual, mask, a.value[i])
		if err != nil {
			return err
		}
		conditions = append(conditions, condition)
	}
	if conditions == nil {
		return f.AddRuleExact(nr, a.verdict.libseccomp())
	}
	return f.AddRuleConditionalExact(nr, a.verdict.libseccomp(), conditions)
}

func (v Verdict) libseccomp() seccomp.ScmpAction {
	switch v.Kind {
	case Allow:
		return seccomp.ActAllow
	case Errno:
		return seccomp.ActErrno.SetReturnCode(int16(v.Errno))
	case Kill:
		return seccomp.ActKillProcess
	}
	return seccomp.ActNotify
}

// export returns the program of f. libseccomp 2.5 writes only to a descriptor;
// a pipe may hold less than the program, so both ends are served at once.
func export(f *seccomp.ScmpFilter) ([]byte, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	exported := make(chan error, 1)
	go func() {
		err := f.ExportBPF(w)
		w.Close()
		exported <- err
	}()
	out, readErr := io.ReadAll(io.LimitReader(r, maxReference*insnSize))
	r.Close() // ends a writer that the limit has cut off
	if err := <-exported; err != nil {
		return nil, fmt.Errorf("libseccomp: export: %w", err)
	}
	if readErr != nil {
		return nil, fmt.Errorf("libseccomp: export: %w", readErr)
	}
	return out, nil
}

// level makes every cube test every argument that any of the list tests, by
// splitting it at a bit. libseccomp 2.5.4 loses the later tests of a rule
// beside one that tests fewer arguments: with "arg0 == 1" beside "arg0 == 2,
// arg1 & 15 == 1, arg2 == 0" it allows (2, 1, 1).
func level(list []answered) []answered {
	var tested [6]bool
	for _, a := range list {
		for i, mask := range a.mask {
			tested[i] = tested[i] || mask != 0
		}
	}
	for i := range tested {
		if !tested[i] {
			continue
		}
		var out []answered
		for _, a := range list {
			if a.mask[i] != 0 {
				out = append(out, a)
				continue
			}
			a.mask[i] = 1
			out = append(out, a)
			a.value[i] = 1
			out = append(out, a)
		}
		list = out
	}
	return list
}
