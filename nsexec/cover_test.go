package nsexec

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
)

// coverPlan shows dir at /t, with steps on top of it.
func coverPlan(t *testing.T, dir string, steps ...plan.Step) *plan.Plan {
	t.Helper()
	p := testPlan(t)
	last := len(p.View) - 1
	view := append(p.View[:last:last], plan.Step{Kind: plan.Tree, Flags: plan.Writable, Path: "/t", Source: dir})
	p.View = append(append(view, steps...), p.View[last])
	return p
}

// coverDir and coverFile hide a directory and a file.
func coverDir(path string) plan.Step {
	return plan.Step{Kind: plan.Tmpfs, Flags: plan.Exists | plan.Covers, Path: path, Size: 4096, Files: 1}
}

func coverFile(path string) plan.Step {
	return plan.Step{Kind: plan.Tree, Flags: plan.Exists | plan.OverFile | plan.Covers, Path: path, Source: "/dev/null"}
}

// coverTree makes a tree with a directory and a file that everybody could read
// and write.
func coverTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"/d", "/d/in"} {
		if err := os.Mkdir(dir+d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"/f", "/d/f"} {
		if err := os.WriteFile(dir+f, []byte("secret"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"", "/d", "/d/in", "/f", "/d/f"} {
		mode := os.FileMode(0o666)
		if st, err := os.Stat(dir + p); err != nil || st.IsDir() {
			mode = 0o777
		}
		if err := os.Chmod(dir+p, mode); err != nil { // whatever the umask is
			t.Fatal(err)
		}
	}
	return dir
}

// TestCover: what is hidden is neither read nor written nor moved away, and
// what lies beside it is.
func TestCover(t *testing.T) {
	dir := coverTree(t)
	looks := []string{"look", "/t/f", "/t/d", "/t/d/f", "/t/d/in"}
	r, _, _, out := run(t, coverPlan(t, dir), looks...)
	if want := "/t/f: read, written\n/t/d: read, written\n/t/d/f: read, written\n/t/d/in: read, written\n"; r.Kind != Exited || out != want {
		t.Fatalf("uncovered: %+v\n%swant\n%s", r, out, want)
	}
	r, c, _, out := run(t, coverPlan(t, dir, coverDir("/t/d"), coverFile("/t/f")), looks...)
	want := "/t/f: permission denied, permission denied\n/t/d: permission denied, permission denied\n" +
		"/t/d/f: permission denied, permission denied\n/t/d/in: permission denied, permission denied\n"
	if r.Kind != Exited || out != want {
		t.Errorf("%+v step %q\n%swant\n%s", r, c.StepName(r.Step), out, want)
	}
	r, _, _, out = run(t, coverPlan(t, dir, coverDir("/t/d/in")), looks...)
	if want := "/t/f: read, written\n/t/d: read, written\n/t/d/f: read, written\n/t/d/in: permission denied, permission denied\n"; r.Kind != Exited || out != want {
		t.Errorf("deeper: %+v\n%swant\n%s", r, out, want)
	}
	if text, err := os.ReadFile(dir + "/f"); err != nil || string(text) != "secret" {
		t.Errorf("%q, %v", text, err)
	}
}

// TestCoverFails: where there is not what is to be hidden, nothing is run.
func TestCoverFails(t *testing.T) {
	dir := coverTree(t)
	for link, target := range map[string]string{"/dir": "d", "/file": "f", "/out": "/usr", "/up": ".."} {
		if err := os.Symlink(target, dir+link); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		step plan.Step
		want unix.Errno
	}{
		{coverDir("/t/none"), unix.ENOENT},
		{coverFile("/t/none"), unix.ENOENT},
		{coverDir("/t/dir"), unix.ELOOP},
		{coverFile("/t/file"), unix.ELOOP},
		{coverDir("/t/out"), unix.ELOOP},
		{coverDir("/t/dir/in"), unix.ELOOP},
		{coverFile("/t/dir/f"), unix.ELOOP},
		{coverDir("/t/up"), unix.ELOOP},
		{coverDir("/t/f"), unix.EINVAL},
		{coverFile("/t/d"), unix.EINVAL},
		{coverFile("/t/f/x"), unix.ENOTDIR},
	} {
		r, c, _, _ := run(t, coverPlan(t, dir, tt.step), "exit", "0")
		if r.Kind != Failed || unix.Errno(r.Errno) != tt.want || c.StepName(r.Step) != `hide "`+tt.step.Path+`"` {
			t.Errorf("%s: got %+v step %q, want %v", tt.step.Path, r, c.StepName(r.Step), tt.want)
		}
	}
}

// TestCoverRace: somebody turns what is to be hidden into a link and back all
// the time. Whenever the run is launched, the directory is hidden under
// whatever name it has, and what the link leads to is as it was.
func TestCoverRace(t *testing.T) {
	dir := coverTree(t)
	if err := os.Symlink("/usr", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := unix.Renameat2(unix.AT_FDCWD, dir+"/d", unix.AT_FDCWD, dir+"/link", unix.RENAME_EXCHANGE); err != nil {
				done <- err
				return
			}
		}
	}()
	var hidden, failed int
	for range 60 {
		r, c, _, out := run(t, coverPlan(t, dir, coverDir("/t/d")), "look", "/t/d/f", "/t/link/f", "/t/d/in", "/t/link/in", "/usr")
		switch {
		case r.Kind == Failed && unix.Errno(r.Errno) == unix.ELOOP && c.StepName(r.Step) == `hide "/t/d"`:
			failed++
		case r.Kind != Exited:
			t.Fatalf("%+v step %q", r, c.StepName(r.Step))
		default:
			hidden++
			if strings.Count(out, ": read") != 1 || !strings.Contains(out, "/usr: read,") {
				t.Errorf("shown:\n%s", out)
			}
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if hidden == 0 || failed == 0 {
		t.Errorf("hidden %d times, failed %d times: no race", hidden, failed)
	}
}

// look tells of each path whether it is read and written to: a file as it is, a
// directory by its list and a file made in it.
func look(paths []string) {
	how := func(did string, err error) string {
		var e unix.Errno
		switch {
		case err == nil:
			return did
		case errors.As(err, &e):
			return e.Error()
		}
		return err.Error()
	}
	for _, p := range paths {
		var read, write error
		if st, err := os.Stat(p); err == nil && st.IsDir() {
			_, read = os.ReadDir(p)
			if write = os.WriteFile(p+"/new", nil, 0o600); write == nil {
				os.Remove(p + "/new")
			}
		} else {
			_, read = os.ReadFile(p)
			var f *os.File
			if f, write = os.OpenFile(p, os.O_WRONLY, 0); write == nil {
				f.Close()
			}
		}
		fmt.Printf("%s: %s, %s\n", p, how("read", read), how("written", write))
	}
}
