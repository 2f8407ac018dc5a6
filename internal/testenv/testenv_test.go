package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// TestSnapshotSees makes one of everything that NoLeaks promises to see: a
// leak check that sees nothing passes every test.
func TestSnapshotSees(t *testing.T) {
	Root(t)
	// The first key makes the user's keyring, which stays.
	addKey(t, "sbx-leak-first")()
	NoLeaks(t)
	dir := t.TempDir()
	watch := Watch{Globs: []string{dir + "/left*"}, Programs: []string{"sleep"}}
	tests := []struct {
		name string
		// make leaves something behind and says how the report must begin.
		make func(t *testing.T) string
	}{
		{"path", func(t *testing.T) string {
			path := filepath.Join(dir, "left-here")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Remove(path) })
			return "path " + path
		}},
		{"descriptor", func(t *testing.T) string {
			f, err := os.Open("/dev/null")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			return "descriptor " + strconv.Itoa(int(f.Fd())) + " /dev/null"
		}},
		{"child and watched program", func(t *testing.T) string {
			cmd := exec.Command("sleep", "1000")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
			return "process " + strconv.Itoa(cmd.Process.Pid) + " "
		}},
		{"mount", func(t *testing.T) string {
			path := filepath.Join(dir, "mnt")
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mount("none", path, "tmpfs", 0, "size=4k"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
			return "mount " + path + " "
		}},
		{"control group", func(t *testing.T) string {
			mount := CgroupMount()
			if mount == "" {
				missing(t, "no cgroup v2 hierarchy is mounted")
			}
			path := filepath.Join(mount, "sbx-leak-"+strconv.Itoa(os.Getpid()))
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Rmdir(path) })
			return "cgroup " + path
		}},
		{"shared memory", func(t *testing.T) string {
			id, err := unix.SysvShmGet(0, 4096, unix.IPC_CREAT|0o600)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.SysvShmCtl(id, unix.IPC_RMID, nil) })
			return "sysv shm " + strconv.Itoa(id) + " "
		}},
		{"key", func(t *testing.T) string {
			t.Cleanup(addKey(t, "sbx-leak-test"))
			return "key " // the id is printed in hexadecimal with leading zeros
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := snapshot(watch)
			want := tt.make(t)
			got := added(before, snapshot(watch))
			for _, item := range got {
				if strings.HasPrefix(item, want) {
					return
				}
			}
			t.Errorf("added = %q, want an item that begins with %q", got, want)
		})
	}
}

// addKey adds a key to the keyring of the user, which does not depend on the
// thread, and gives what removes it.
func addKey(t *testing.T, name string) (remove func()) {
	t.Helper()
	id, err := unix.AddKey("user", name, []byte("x"), unix.KEY_SPEC_USER_KEYRING)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if _, err := unix.KeyctlInt(unix.KEYCTL_UNLINK, id, unix.KEY_SPEC_USER_KEYRING, 0, 0); err != nil {
			t.Errorf("unlink key %q: %v", name, err)
		}
	}
}

func TestAddedAndBoth(t *testing.T) {
	before, after := []string{"a", "c"}, []string{"a", "b", "c", "d"}
	if got := strings.Join(added(before, after), " "); got != "b d" {
		t.Errorf("added = %q, want b d", got)
	}
	if got := strings.Join(both([]string{"b", "d"}, []string{"d", "e"}), " "); got != "d" {
		t.Errorf("both = %q, want d", got)
	}
}

func TestSummary(t *testing.T) {
	if got := summary(nil); got != "" {
		t.Errorf("summary of nothing = %q", got)
	}
	want := "skipped: 3\n\t1: b\n\t2: a\n"
	if got := summary(map[string]int{"a": 2, "b": 1}); got != want {
		t.Errorf("summary = %q, want %q", got, want)
	}
}

func TestParseRelease(t *testing.T) {
	tests := []struct {
		in           string
		major, minor int
		ok           bool
	}{
		{"6.12.117+deb12-cloud-amd64", 6, 12, true},
		{"6.1", 6, 1, true},
		{"7.0-rc1", 7, 0, true},
		{"6", 0, 0, false},
		{"6.x", 0, 0, false},
		{"", 0, 0, false},
	}
	for _, tt := range tests {
		major, minor, err := parseRelease(tt.in)
		if major != tt.major || minor != tt.minor || (err == nil) != tt.ok {
			t.Errorf("parseRelease(%q) = %d, %d, %v", tt.in, major, minor, err)
		}
	}
	if !atLeast(6, 12, 6, 1) || !atLeast(7, 0, 6, 18) || atLeast(6, 1, 6, 12) || atLeast(5, 19, 6, 1) {
		t.Error("atLeast compares wrongly")
	}
}

// fakeTB records how a gate ended the test. It stops the goroutine as the real
// one does.
type fakeTB struct {
	testing.TB
	fatal, skipped bool
}

func (f *fakeTB) Helper()               {}
func (f *fakeTB) Fatalf(string, ...any) { f.fatal = true; panic(f) }
func (f *fakeTB) Skip(...any)           { f.skipped = true; panic(f) }

func TestGatesAreLoud(t *testing.T) {
	tests := []struct {
		name, strict   string
		gate           func(t testing.TB)
		fatal, skipped bool
	}{
		{"missing, strict", "1", func(t testing.TB) { missing(t, "test") }, true, false},
		{"missing, not strict", "", func(t testing.TB) { missing(t, "test") }, false, true},
		{"old kernel, strict", "1", func(t testing.TB) { Kernel(t, 99, 0) }, false, true},
		{"new kernel, strict", "1", func(t testing.TB) { Kernel(t, 3, 0) }, false, false},
		{"feature missing on a kernel that has it", "1", func(t testing.TB) { Feature(t, "x", 3, 0, unix.ENOSYS) }, true, false},
		{"feature missing on an older kernel", "1", func(t testing.TB) { Feature(t, "x", 99, 0, unix.ENOSYS) }, false, true},
		{"feature there", "1", func(t testing.TB) { Feature(t, "x", 99, 0, nil) }, false, false},
		{"controller that does not exist", "1", func(t testing.TB) { Controllers(t, "nonesuch") }, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("SBX_TEST_ROOT", tt.strict)
			// What is skipped here is not a skipped test.
			skips.mu.Lock()
			kept := skips.reasons
			skips.reasons = nil
			skips.mu.Unlock()
			defer func() { skips.reasons = kept }()
			f := &fakeTB{}
			func() {
				defer func() {
					if r := recover(); r != nil && r != any(f) {
						panic(r)
					}
				}()
				tt.gate(f)
			}()
			if f.fatal != tt.fatal || f.skipped != tt.skipped {
				t.Errorf("fatal %v, skipped %v, want %v, %v", f.fatal, f.skipped, tt.fatal, tt.skipped)
			}
		})
	}
}
