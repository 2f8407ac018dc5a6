package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/internal/wire"
)

// configured carries out an invocation of root's or, with uid, of a user's on a
// host with this configuration and passwd line: in a mount namespace of its
// own, where /etc is an overlay.
func (h *host) configured(t *testing.T, text, passwd string, uid int, words ...string) result {
	t.Helper()
	const script = `set -e
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" none /etc
mkdir -p /etc/sbx
printf %s "$2" >/etc/sbx/sbx.yaml
chmod 644 /etc/sbx/sbx.yaml
if [ -n "$3" ]; then echo "$3" >>/etc/passwd; fi
id=$4
shift 4
exec setpriv --reuid "$id" --regid "$id" --clear-groups "$@"`
	line := append([]string{"--mount", "sh", "-c", script, "sh", h.mkdir(t, "etc"), text, passwd, strconv.Itoa(uid), bin + "/sbx"}, words...)
	cmd := exec.Command("unshare", line...)
	cmd.Env, cmd.Dir = h.environ("PATH=/usr/sbin:/usr/bin:/sbin:/bin"), h.work()
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return result{status: statusOf(cmd.ProcessState), stdout: stdout.String(), stderr: stderr.String()}
}

// TestConfiguration: what /etc/sbx/sbx.yaml says holds for every run of the
// host, and a mistake in it keeps everything from running.
func TestConfiguration(t *testing.T) {
	testenv.Root(t)
	needBinaries(t)
	if testenv.Guest() {
		t.Skip("the guest has no overlay over /etc")
	}
	needPrograms(t, "/usr/bin/unshare", "/usr/bin/setpriv", "/usr/bin/mount")
	testenv.NoLeaks(t)
	h := newHost(t, "root")
	user := newHost(t, "user")
	runs := func(who *host) []string { return []string{"exec", "--", bin + "/act", "exit", "3"} }
	for _, tt := range []struct {
		name, text string
		who        *host
		status     int
		want       string
	}{
		{"nothing", "{}", h, 3, ""},
		{"mistake", "daemon: never", h, 125, `/etc/sbx/sbx.yaml:1:9: daemon: unknown value "never"`},
		{"mistake met by a user", "daemons: required", user, 125, `unknown key "daemons"`},
		{"daemon required, root", "daemon: required", h, 3, ""},
		{"daemon required, a user", "daemon: required", user, 126, "needs the daemon"},
		{"a layer that a direct run has not", "require: [audit]", h, 125, "require audit: a direct run is not audited"},
		{"the same for a user", "require: [audit]", user, 125, "require audit: a direct run is not audited"},
		{"a layer that every run has", "require: [seccomp]", h, 3, ""},
	} {
		r := tt.who.configured(t, tt.text, "", tt.who.uid, runs(tt.who)...)
		if r.status != tt.status || !strings.Contains(r.stderr, tt.want) {
			t.Errorf("%s: want %d and %q: %s", tt.name, tt.status, tt.want, r)
		}
	}
	// What was compiled under one configuration is stale under another.
	if r := user.configured(t, "{}", "", user.uid, runs(user)...); r.status != 3 {
		t.Errorf("without the demand again: %s", r)
	}
	r := h.configured(t, "id_base: 3000000000", "", 0, "exec", "--", bin+"/act", "cat", "/proc/self/uid_map")
	if f := strings.Fields(r.stdout); len(f) != 3 || f[0] != "1000" || !strings.HasPrefix(f[1], "30") {
		t.Errorf("id_base: %s", r)
	}
}

// TestForeignDaemon: where only the daemon may run a command, and it is of another
// build than sbx, the refusal says what to do.
func TestForeignDaemon(t *testing.T) {
	testenv.Root(t)
	needBinaries(t)
	if testenv.Guest() {
		t.Skip("the guest has no overlay over /etc")
	}
	needPrograms(t, "/usr/bin/unshare", "/usr/bin/setpriv", "/usr/bin/mount")
	testenv.NoLeaks(t)
	h := newHost(t, "user")
	h.bundle(t, "tool", bin+"/act", "")
	var st unix.Stat_t
	if err := unix.Stat(h.path("registry"), &st); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	path := h.path("run") + fmt.Sprintf("/registry-%x-%x.sock", st.Dev, st.Ino)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Chmod(path, 0o666), unix.Listen(fd, 8)); err != nil { // root's: believed
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
			if err != nil {
				return
			}
			c := wire.Conn{FD: conn}
			if _, _, fds, err := c.Receive(wire.Descriptors); err == nil {
				wire.CloseAll(fds)
				c.Send(wire.TypeElsewhere, []byte("another"))
			}
			unix.Close(conn)
		}
	}()
	t.Cleanup(func() {
		unix.Shutdown(fd, unix.SHUT_RDWR)
		<-done
		unix.Close(fd)
	})
	run := func(flags ...string) result {
		words := append(append([]string{"run"}, flags...), "--registry", h.path("registry"), "tool", "exit", "3")
		return h.configured(t, "daemon: required", "", h.uid, words...)
	}
	if r := run(); r.status != 126 || !strings.Contains(r.stderr, "needs the daemon") || !strings.Contains(r.stderr, "hint: the daemon is of another build (another)") || !strings.Contains(r.stderr, "systemctl restart sbx") {
		t.Errorf("by the daemon of another build: %s", r)
	}
	if r := run("--direct"); r.status != 126 || strings.Contains(r.stderr, "another build") {
		t.Errorf("on purpose without it: %s", r)
	}
}

// TestSandboxOwner: what runs write into a tree of root's belongs to the
// configured user, who must be able to write there himself.
func TestSandboxOwner(t *testing.T) {
	testenv.Root(t)
	needBinaries(t)
	if testenv.Guest() {
		t.Skip("the guest has no overlay over /etc")
	}
	needPrograms(t, "/usr/bin/unshare", "/usr/bin/setpriv", "/usr/bin/mount")
	testenv.NoLeaks(t)
	h := newHost(t, "root")
	open, group, closed := h.mkdir(t, "open"), h.mkdir(t, "group"), h.mkdir(t, "closed")
	for dir, mode := range map[string]os.FileMode{open: 0o1777, group: 0o775} {
		if err := os.Chmod(dir, mode|os.ModeSticky); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(group, 0, 4243); err != nil {
		t.Fatal(err)
	}
	policy := h.policy(t, "write", "filesystem: {write: ["+open+", "+group+", "+closed+"]}\n")
	ajar := h.policy(t, "ajar", "filesystem: {write: ["+open+", "+group+"]}\n")
	const line = "keeper:x:4242:4243:::/bin/false"
	for _, dir := range []string{open, group} {
		words := []string{"exec", "--policy", ajar, "--", bin + "/act", "write", dir + "/made", "x"}
		if r := h.configured(t, "sandbox_owner: keeper", line, 0, words...); r.status != 0 {
			t.Fatalf("write in %s: %s", dir, r)
		}
		st, err := os.Stat(dir + "/made")
		if err != nil {
			t.Fatal(err)
		}
		if s := st.Sys().(*syscall.Stat_t); s.Uid != 4242 || s.Gid != 4243 {
			t.Errorf("what was made in %s belongs to %d:%d, want 4242:4243", dir, s.Uid, s.Gid)
		}
	}
	words := []string{"exec", "--policy", policy, "--", bin + "/act", "exit", "0"}
	if r := h.configured(t, "sandbox_owner: keeper", line, 0, words...); r.status != 126 || !strings.Contains(r.stderr, "chown -R keeper "+closed) {
		t.Errorf("a tree that he may not write: %s", r)
	}
	if r := h.configured(t, "{}", "", 0, words...); r.status != 126 || !strings.Contains(r.stderr, "chown -R USER "+h.base) {
		t.Errorf("no such user: %s", r)
	}
	if r := h.configured(t, "sandbox_owner: nobody-here", "", 0, words...); r.status != 125 || !strings.Contains(r.stderr, "sandbox_owner of /etc/sbx/sbx.yaml") {
		t.Errorf("a configured user who is not there: %s", r)
	}
}
