package live

import (
	"bytes"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/sbx-project/sbx/internal/loader"
)

// TestPermissionLost: the loader may not read a bundle any more, then not the
// registry. What is in force goes on, it is told, nobody else's update waits,
// and what may be read again comes in force.
func TestPermissionLost(t *testing.T) {
	if os.Geteuid() == 0 { // who may read everything
		asOrdinary(t)
		return
	}
	f := newFixture(t)
	f.put("tool", manifest("tool", "1.0.0", ""))
	f.put("other", manifest("other", "1.0.0", ""))
	f.start()
	f.version("tool", "1.0.0")
	f.version("other", "1.0.0")

	f.must(os.Chmod(f.dir()+"/tool.yaml", 0))
	f.reaches(loader.Rejected, "tool", 1)
	f.put("other", manifest("other", "1.1.0", ""))
	f.version("other", "1.1.0")
	f.version("tool", "1.0.0")
	f.put("tool", manifest("tool", "1.1.0", ""))
	f.version("tool", "1.1.0")

	f.must(os.Chmod(f.dir(), 0))
	t.Cleanup(func() { os.Chmod(f.dir(), 0o755) })
	f.reaches(loader.Damaged, "", 1)
	f.version("tool", "1.1.0")
	f.version("other", "1.1.0")
	f.must(os.Chmod(f.dir(), 0o755))
	f.put("other", manifest("other", "1.2.0", ""))
	f.version("other", "1.2.0")
	f.version("tool", "1.1.0")
}

// asOrdinary runs the test once more in a process of an ordinary user.
func asOrdinary(t *testing.T) {
	t.Helper()
	const ordinary = 1000
	// The test's program may lie where its user cannot go.
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=/nonexistent", "TMPDIR=/tmp"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinary, Gid: ordinary}}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name()+" ")) {
		t.Errorf("%v\n%s", err, out)
	}
}
