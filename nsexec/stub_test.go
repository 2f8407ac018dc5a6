package nsexec

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
)

// prepare makes a stub that waits.
func prepare(t *testing.T) (*Stub, Config) {
	t.Helper()
	return prepareFor(t, testPlan(t))
}

// prepareFor makes one for the plan.
func prepareFor(t *testing.T, p *plan.Plan) (*Stub, Config) {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { null.Close() })
	fd := int(null.Fd())
	c := Config{Plan: p, CgroupFD: -1, Identity: identity(), TimeOffset: 1, Files: &[3]int{fd, fd, fd}}
	s, err := Prepare(c)
	if err != nil {
		t.Fatal(err)
	}
	if c.Identity.Mode == LateUserNS {
		r, err := s.Next()
		if err != nil || r.Kind != NeedMaps {
			t.Fatalf("%+v, %v, %s", r, err, s.StepName(r.Step))
		}
		id := 1879048192 + 32*uint32(s.PID)
		if err := errors.Join(s.WriteMaps(HostIDs{UID: id, GID: id, Nobody: id + 1}), s.Proceed()); err != nil {
			t.Fatal(err)
		}
	}
	return s, c
}

// TestStub: a sandbox that was made before its call carries the call out as
// one that was made for it, with the call's own arguments, environment and
// descriptors; two stubs at once do not mix them up.
func TestStub(t *testing.T) {
	one, c := prepare(t)
	two, _ := prepare(t)
	defer two.Discard()
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	c.Argv, c.Env, c.Chdir = []string{"victim", "exit", "7"}, []string{"GIVEN=1"}, "/tmp"
	c.Files = &[3]int{c.Files[0], pipe[1], pipe[1]}
	if err := one.Launch(c); err != nil {
		t.Fatal(err)
	}
	unix.Close(pipe[1])
	r, err := one.Next()
	if err != nil || r.Kind != Exited || unix.WaitStatus(r.Status).ExitStatus() != 7 {
		t.Errorf("%+v, %v; %s", r, err, one.StepName(r.Step))
	}
	if _, _, err := one.Wait(); err != nil {
		t.Error(err)
	}
	// Nobody else holds the caller's descriptors: their end is the run's.
	unix.SetNonblock(pipe[0], true)
	var b [64]byte
	if n, err := unix.Read(pipe[0], b[:]); n != 0 || err != nil {
		t.Errorf("after the end of the run its output gives %d bytes, %v", n, err)
	}
	fds := []unix.PollFd{{Fd: int32(two.ControlFD()), Events: unix.POLLIN}}
	if n, _ := unix.Poll(fds, 50); n != 0 {
		t.Error("the other stub did not wait")
	}
}

// TestStubVerifiesAgain: a program that was written to, or replaced, after the
// stub was made is not executed by it.
func TestStubVerifiesAgain(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"written": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("more")
			return errors.Join(err, f.Close())
		},
		"replaced": func(path string) error {
			return errors.Join(os.WriteFile(path+".new", []byte("another"), 0o755), os.Rename(path+".new", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := testPlan(t)
			content, err := os.ReadFile(p.Exec.Path)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "victim")
			if err := os.WriteFile(path, content, 0o755); err != nil {
				t.Fatal(err)
			}
			var st unix.Stat_t
			if err := unix.Stat(path, &st); err != nil {
				t.Fatal(err)
			}
			for i := range p.View {
				if p.View[i].Source == p.Exec.Path {
					p.View[i].Source = path
				}
			}
			p.Exec.Path = path
			p.Exec.Identity = plan.Stamp{Path: path, Dev: st.Dev, Ino: st.Ino, Size: st.Size, MtimeNs: st.Mtim.Nano(), CtimeNs: st.Ctim.Nano()}
			s, c := prepareFor(t, p)
			defer s.Wait()
			// The stub is past its own look at the program when it waits for
			// the call: what answers here has looked.
			fds := []unix.PollFd{{Fd: int32(s.ControlFD()), Events: unix.POLLIN}}
			if n, _ := unix.Poll(fds, 300); n != 0 {
				r, err := s.Next()
				t.Fatalf("the stub did not wait: %+v, %v; %s", r, err, s.StepName(r.Step))
			}
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			c.Argv, c.Chdir = []string{"victim", "exit", "0"}, "/tmp"
			if err := s.Launch(c); err != nil {
				t.Fatal(err)
			}
			r, err := s.Next()
			if err != nil || r.Kind != Failed || unix.Errno(r.Errno) != unix.ESTALE {
				t.Errorf("%+v, %v; %s", r, err, s.StepName(r.Step))
			}
		})
	}
}

// TestStubRefuses: a call that does not fit is an error, and the stub can be
// discarded; so can one that nobody has used.
func TestStubRefuses(t *testing.T) {
	s, c := prepare(t)
	c.Argv, c.Chdir = []string{"victim", strings.Repeat("x", regionSize)}, "/tmp"
	if err := s.Launch(c); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a call larger than the region: %v", err)
	}
	s.Discard()
	if err := unix.Kill(s.PID, 0); err != unix.ESRCH {
		t.Errorf("init of a discarded stub: %v", err)
	}
}

// TestStubInitGone: a stub whose init was killed says so in time, and hands
// the call to nobody.
func TestStubInitGone(t *testing.T) {
	s, c := prepare(t)
	s.Signal(unix.SIGKILL)
	fds := []unix.PollFd{{Fd: int32(s.ControlFD()), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, int(5*time.Second/time.Millisecond)); n != 1 || err != nil {
		t.Fatalf("init's death is not seen: %d, %v", n, err)
	}
	c.Argv, c.Chdir = []string{"victim", "exit", "0"}, "/tmp"
	if err := s.Launch(c); !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("launch: %v", err)
	}
	s.Wait()
}
