package integration

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// serveConfigured starts root's daemon in a mount namespace of its own, where
// /etc is an overlay with this configuration and the directory home/disk is a
// disk of 1 MiB. From outside it is seen below the root that is returned.
func (h *host) serveConfigured(t *testing.T, text string) (root string) {
	t.Helper()
	const script = `set -e
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" none /etc
mkdir -p /etc/sbx
printf %s "$2" >/etc/sbx/sbx.yaml
chmod 644 /etc/sbx/sbx.yaml
mount -t tmpfs -o size=1m,mode=755 none "$3"
shift 3
exec "$@"`
	cmd := exec.Command("unshare", "--mount", "sh", "-c", script, "sh", h.mkdir(t, "etc"), text, h.mkdir(t, "home/disk"), bin+"/sbxd", "serve", "--registry", h.path("registry"))
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	return fmt.Sprintf("/proc/%d/root", h.serving(t, cmd).Process.Pid)
}

// needOverlay skips or fails where a daemon cannot have a configuration.
func needOverlay(t *testing.T) {
	testenv.Root(t)
	needBinaries(t)
	if testenv.Guest() {
		t.Skip("the guest has no overlay over /etc")
	}
	needPrograms(t, "/usr/bin/unshare", "/usr/bin/mount")
	testenv.NoLeaks(t)
}

// TestConfigurationIsFollowed: the daemon takes a changed configuration while
// it serves, keeps the last good one where that has a mistake, and says so.
func TestConfigurationIsFollowed(t *testing.T) {
	needOverlay(t)
	h := newHost(t, "root")
	h.bundle(t, "act", bin+"/act", "")
	root := h.serveConfigured(t, "metrics: {collectors: [runs]}\n")
	configure := func(text string) {
		t.Helper()
		check(t, os.WriteFile(root+"/etc/sbx/.new", []byte(text), 0o644))
		check(t, os.Rename(root+"/etc/sbx/.new", root+"/etc/sbx/sbx.yaml"))
	}
	shows := func(want ...string) bool {
		text := h.metrics(t)
		for _, name := range []string{"sbx_runs_in_flight", "sbx_audit_writable", "sbx_pool_ready"} {
			wanted := strings.Contains(strings.Join(want, " "), name)
			if strings.Contains(text, "# TYPE "+name+" ") != wanted {
				return false
			}
		}
		return true
	}
	until := func(what string, is func() bool) {
		t.Helper()
		for end := time.Now().Add(patience()); !is(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("it does not come: %s\n%s", what, h.operator(t, "status"))
			}
		}
	}
	until("the configuration of the start", func() bool { return shows("sbx_runs_in_flight") })
	configure("metrics: {collectors: [audit]}\n")
	until("another collector", func() bool { return shows("sbx_audit_writable") })
	for _, bad := range []string{"metrics: {collectors: [nonesuch]}\n", "metrics: {collectors: [runs]\n"} {
		configure(bad)
		until("a rejected configuration", func() bool { return strings.Contains(h.operator(t, "status").stdout, " rejected\n") })
		if !shows("sbx_audit_writable") {
			t.Errorf("after %q the last good configuration is not in force", bad)
		}
		r := h.operator(t, "reload", "--wait")
		if wantStatus(t, r, 1); !strings.Contains(r.stderr, "(configuration): rejected: ") {
			t.Errorf("reload says\n%s", r)
		}
		configure("metrics: {collectors: [audit, pool]}\n")
		until("a good one again", func() bool {
			return shows("sbx_audit_writable", "sbx_pool_ready") && strings.Contains(h.operator(t, "status").stdout, "ago: loaded")
		})
		configure("metrics: {collectors: [audit]}\n")
		until("the one before", func() bool { return shows("sbx_audit_writable") })
	}
}

// TestUnauditedRunDoesNotStart: on a full disk, where the audit log cannot be
// written, no run starts; with room again they do, and the log is whole.
func TestUnauditedRunDoesNotStart(t *testing.T) {
	needOverlay(t)
	h := newHost(t, "root")
	dir := h.mkdir(t, "work/made")
	check(t, os.Chown(dir, ordinary, ordinary)) // root's run never writes what is root's
	h.bundle(t, "act", bin+"/act", "filesystem: {write: ["+dir+"]}")
	log := h.path("home/disk") + "/audit.log"
	root := h.serveConfigured(t, "audit: {file: "+log+"}\n")
	run := func() result {
		return h.run(t, h.both(false, call{words: []string{"act", "write", dir + "/out", "text"}}))
	}
	r := run()
	if wantEnd(t, r, 0, "ok"); r.report.Via != "daemon" {
		t.Fatalf("via %q", r.report.Via)
	}
	check(t, os.Remove(dir+"/out"))
	// All that is left, to the byte.
	fill, err := os.OpenFile(root+h.path("home/disk")+"/fill", os.O_WRONLY|os.O_CREATE, 0o600)
	check(t, err)
	for size := 1 << 16; size > 0; {
		if _, err := fill.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	check(t, fill.Close())
	// The page of the log that is there already still has room.
	refused := 0
	for range 100 {
		if r = run(); r.status != 0 {
			if refused++; refused == 3 {
				break
			}
			continue
		}
		if refused > 0 {
			t.Fatalf("a run starts after one could not be recorded\n%s", r)
		}
		check(t, os.Remove(dir+"/out"))
	}
	if wantEnd(t, r, 125, "refused"); r.report.Via != "daemon" || refused != 3 {
		t.Errorf("via %q, %d refused\n%s", r.report.Via, refused, r)
	}
	if _, err := os.Lstat(dir + "/out"); err == nil {
		t.Error("the run that was not recorded has written its file")
	}
	check(t, unix.Unlink(root+h.path("home/disk")+"/fill"))
	for end := time.Now().Add(patience()); ; time.Sleep(20 * time.Millisecond) {
		if r = run(); r.status == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("with room again\n%s", r)
		}
	}
	wantStatus(t, h.run(t, call{verb: "audit", plain: true, words: []string{"verify", root + log}}), 0)
}
