//go:build weak

package nsexec

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// faults tries every operation of a list: each that is carried out ends the
// launch with EBADF and the name of its step. launch gives the last record and
// the name of its step.
func faults(t *testing.T, list string, least int, launch func(t *testing.T) (Record, string, error)) {
	failed, without := 0, 0
	for i := 0; ; i++ {
		fault := list + ":" + strconv.Itoa(i)
		t.Setenv("SBX_FAULT", fault)
		r, step, err := launch(t)
		if err != nil && strings.Contains(err.Error(), "no such operation") {
			break
		}
		switch {
		case err != nil:
			t.Errorf("%s: %v", fault, err)
		case r.Kind != Failed:
			without++ // the way that is taken where another does not work
		case unix.Errno(r.Errno) != unix.EBADF || step == "" || strings.Contains(step, "unknown"):
			t.Errorf("%s: %+v at %q, want EBADF and a step", fault, r, step)
		default:
			failed++
		}
	}
	t.Logf("%s: %d operations failed once each, %d are not carried out here", list, failed, without)
	if failed < least || without > failed {
		t.Errorf("%s: %d operations failed, %d did not, want at least %d that do", list, failed, without, least)
	}
}

// TestNoUserNSFaults: each operation of a launch without a user namespace,
// whose lists are others, fails once.
func TestNoUserNSFaults(t *testing.T) {
	testenv.Root(t)
	testenv.NoLeaks(t)
	p := testPlan(t)
	launch := func(t *testing.T) (Record, string, error) {
		c := Config{Plan: p, Argv: []string{"victim", "exit", "0"}, Chdir: "/tmp", CgroupFD: -1, TimeOffset: 1,
			Identity: Identity{Mode: NoUserNS, HostUID: 1879048192, HostGID: 1879048192}}
		child, err := Start(c)
		if err != nil {
			return Record{}, "", err
		}
		r, err := child.Next()
		if errors.Is(err, unix.EPIPE) {
			err = errors.New("init has gone without a word")
		}
		child.Wait()
		if e := unix.Kill(child.PID, 0); e != unix.ESRCH {
			t.Errorf("init is left: %v", e)
		}
		return r, child.StepName(r.Step), err
	}
	t.Setenv("SBX_FAULT", "")
	if r, step, err := launch(t); err != nil || r.Kind != Exited || r.Status != 0 {
		t.Fatalf("without a fault: %+v at %q, %v", r, step, err)
	}
	faults(t, "init", 60, launch)
	faults(t, "work", 10, launch)
}

// TestStubFaults: each operation of a prepared sandbox fails once, and so do
// the supervisor's steps of making and using one; whatever fails can be
// discarded, and nothing is left of it.
func TestStubFaults(t *testing.T) {
	testenv.Root(t)
	testenv.NoLeaks(t)
	p := testPlan(t)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fd := int(null.Fd())
	c := Config{Plan: p, CgroupFD: -1, TimeOffset: 1, Identity: identity(), Files: &[3]int{fd, fd, fd}}
	launch := func(t *testing.T) (r Record, step string, err error) {
		s, err := Prepare(c)
		if err != nil {
			return Record{}, "", err
		}
		defer func() {
			s.Discard()
			if e := unix.Kill(s.PID, 0); e != unix.ESRCH {
				t.Errorf("init is left: %v", e)
			}
		}()
		say := func() (Record, string, error) {
			r, err := s.Next()
			return r, s.StepName(r.Step), err
		}
		if r, step, err = say(); err != nil || r.Kind != NeedMaps {
			return r, step, err
		}
		id := 1879048192 + 32*uint32(s.PID)
		if err := errors.Join(s.WriteMaps(HostIDs{UID: id, GID: id, Nobody: id + 1}), s.Proceed()); err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) { // then its record says why
			return Record{}, "", err
		}
		call := c
		call.Argv, call.Chdir = []string{"victim", "exit", "0"}, "/tmp"
		if err := s.Launch(call); err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
			return Record{}, "", err
		}
		return say()
	}
	t.Setenv("SBX_FAULT", "")
	if r, step, err := launch(t); err != nil || r.Kind != Exited || r.Status != 0 {
		t.Fatalf("without a fault: %+v at %q, %v", r, step, err)
	}
	faults(t, "init", 60, launch)
	for _, fault := range []string{"stub-prepare", "stub-region", "socketpair", "clone", "maps", "proceed", "stub-launch"} {
		t.Setenv("SBX_FAULT", fault)
		r, step, err := launch(t)
		if err == nil || !strings.Contains(err.Error(), unix.EIO.Error()) {
			t.Errorf("%s: %+v at %q, %v; want EIO", fault, r, step, err)
		}
	}
}

// TestVerifyMatters takes away what no act of the battery can show, since it
// is about a moment between a check and a launch: without it a program that is
// not the one that was registered is executed.
func TestVerifyMatters(t *testing.T) {
	p := testPlan(t)
	p.Exec.Identity.CtimeNs++
	if r, c, _, _ := run(t, p, "exit", "0"); r.Kind != Failed || unix.Errno(r.Errno) != unix.ESTALE {
		t.Errorf("with the measure in place: %+v at %q, want ESTALE", r, c.StepName(r.Step))
	}
	t.Setenv("SBX_WEAK", "verify")
	if r, c, _, _ := run(t, p, "exit", "0"); r.Kind != Exited || r.Status != 0 {
		t.Errorf("without it: %+v at %q, want the program's own end", r, c.StepName(r.Step))
	}
}
