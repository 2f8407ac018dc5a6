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

// Reference compiles rs with libseccomp, to be compared with [Compile]'s
// program by [Agree]. It is no filter to load: a call whose rules do not hold
// gets a mark in place of its default, which Agree knows (libseccomp has one
// default for a whole filter). Of exec-once it knows that execve and execveat
// are refused.
//
// The architecture must be this machine's: libseccomp translates numbers of
// others by its own table of names, in which newer calls are missing. It
// returns what Compile returns for a ruleset that is not legal and the error of
// the library otherwise. Calls that libseccomp cannot express get the mark too.
func Reference(rs Ruleset) ([]byte, error) {
	if err := rs.validate(); err != nil {
		return nil, err
	}
	if rs.Arch != runtime.GOARCH {
		return nil, fmt.Errorf("reference filter for %s on %s: libseccomp compares only the native architecture", rs.Arch, runtime.GOARCH)
	}
	e := rs.express()
	f, err := newLibseccomp(seccomp.ActTrace.SetReturnCode(unmatched & 0xffff))
	if err != nil {
		return nil, err
	}
	defer f.Release()
	for _, nr := range slices.Sorted(maps.Keys(e.plain)) {
		if err := f.AddRuleExact(seccomp.ScmpSyscall(nr), e.plain[nr].libseccomp()); err != nil {
			return nil, fmt.Errorf("libseccomp: call %d: %w", nr, err)
		}
	}
	for _, nr := range slices.Sorted(maps.Keys(e.lists)) {
		for _, a := range e.lists[nr] {
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
