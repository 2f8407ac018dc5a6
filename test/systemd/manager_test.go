package systemd

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

const (
	service  = "sbx.service"
	socket   = "sbx.socket"
	cgroups  = "/sys/fs/cgroup"
	unitPath = cgroups + "/system.slice/" + service
	dropIn   = "/run/systemd/system/" + service + ".d/test.conf"
)

// fresh lets the test go on with the socket listening and no daemon, as after a
// boot, and holds it to leaving nothing behind.
func fresh(t *testing.T) {
	t.Helper()
	testenv.Systemd(t)
	if notInstalled != nil {
		t.Fatal(notInstalled)
	}
	ctl(t, "stop", service, socket)
	ctl(t, "start", socket)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := exec.Command("journalctl", "--no-pager", "-n", "60", "-u", service, "-u", socket).CombinedOutput()
			t.Logf("%s", out)
		}
		ctl(t, "stop", service, socket)
		if err := os.Remove(dropIn); err == nil {
			ctl(t, "daemon-reload")
		}
		exec.Command("systemctl", "reset-failed").Run() // of what a test made fail
		// systemd removes the group a moment after it has said that the unit is stopped.
		until(t, 5*time.Second, "the unit's control group is gone", func() bool { return !exists(unitPath) })
		if names, err := os.ReadDir(cgroups + "/sbx"); err == nil {
			for _, n := range names {
				if n.IsDir() {
					t.Errorf("left behind beside the unit: %s/sbx/%s", cgroups, n.Name())
				}
			}
		}
	})
}

// ctl is systemctl, which must end well.
func ctl(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("systemctl", args...).CombinedOutput(); err != nil {
		t.Fatalf("systemctl %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// show is one property of the service.
func show(t *testing.T, property string) string {
	t.Helper()
	out, err := exec.Command("systemctl", "show", "--value", "-p", property, service).Output()
	if err != nil {
		t.Fatalf("systemctl show -p %s: %v", property, err)
	}
	return strings.TrimSpace(string(out))
}

// state is what systemctl is-active says.
func state(unit string) string {
	out, _ := exec.Command("systemctl", "is-active", unit).Output() // its status is not 0 for most states
	return strings.TrimSpace(string(out))
}

// wantState is an error where a unit is in another state.
func wantState(t *testing.T, unit, want string) {
	t.Helper()
	if got := state(unit); got != want {
		t.Errorf("%s is %s, want %s", unit, got, want)
	}
}

// mainPID is the daemon's.
func mainPID(t *testing.T) int {
	t.Helper()
	pid, err := strconv.Atoi(show(t, "MainPID"))
	if err != nil || pid == 0 {
		t.Fatalf("MainPID is %q", show(t, "MainPID"))
	}
	return pid
}

// dropping changes the service until the test's end.
func dropping(t *testing.T, text string) {
	t.Helper()
	if err := os.MkdirAll(dropIn[:strings.LastIndexByte(dropIn, '/')], 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dropIn, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	ctl(t, "daemon-reload")
}

// slow stretches a bound where the processor is emulated.
func slow(d time.Duration) time.Duration {
	if os.Getenv("SBX_VM") != "" {
		return 10 * d
	}
	return d
}

// until waits for something of which there is no event.
func until(t *testing.T, limit time.Duration, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(slow(limit)); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", slow(limit), what)
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// alive tells whether there is such a process; one that nobody has waited for
// is not.
func alive(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	after := string(text)[strings.LastIndexByte(string(text), ')')+1:]
	return !strings.HasPrefix(after, " Z")
}

// groupOf is the control group of a process, as a path.
func groupOf(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	return cgroups + strings.TrimPrefix(strings.TrimSpace(string(text)), "0::")
}

func send(t *testing.T, pid int, signal unix.Signal) {
	t.Helper()
	if err := unix.Kill(pid, signal); err != nil {
		t.Fatalf("kill %d: %v", pid, err)
	}
}
