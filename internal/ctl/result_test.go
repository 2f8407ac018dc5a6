package ctl

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/runner"
)

// TestChildLine: after a launch that was made again there is one line with a
// pid, in the file that of the child that runs.
func TestChildLine(t *testing.T) {
	path := t.TempDir() + "/result"
	status, err := os.Create(t.TempDir() + "/status")
	if err != nil {
		t.Fatal(err)
	}
	defer status.Close()
	out, err := openResult(&Invocation{Result: path, StatusFD: int(status.Fd())})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(out.file)
	out.first(123456)
	out.first(7)
	out.last(&runner.Report{Outcome: runner.OK})
	for name, pid := range map[string]string{path: "7", status.Name(): "123456"} {
		text, err := os.ReadFile(name)
		lines := strings.Split(string(text), "\n")
		if err != nil || len(lines) != 3 || lines[0] != `{"child-pid":`+pid+`}` || !strings.HasPrefix(lines[1], `{"exit-code":0`) || lines[2] != "" {
			t.Errorf("%s: %v: %q", name, err, text)
		}
	}
	none, err := openResult(&Invocation{StatusFD: -1})
	if err != nil {
		t.Fatal(err)
	}
	none.first(1)
	none.first(2)
}

func TestOpenReport(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string {
		if err := os.WriteFile(dir+"/"+name, []byte("before"), 0o644); err != nil {
			t.Fatal(err)
		}
		return dir + "/" + name
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	target := file("target")
	must(os.Symlink(target, dir+"/link"))
	must(os.Symlink(dir+"/nonesuch", dir+"/dangling"))
	must(unix.Mkfifo(dir+"/pipe", 0o600))
	must(unix.Mkfifo(dir+"/read", 0o600))
	reader, err := unix.Open(dir+"/read", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	must(err)
	defer unix.Close(reader)
	for _, tt := range []struct{ name, path, err string }{
		{"new", dir + "/new", ""},
		{"own", file("own"), ""},
		{"link", dir + "/link", "symbolic link"},
		{"dangling link", dir + "/dangling", "symbolic link"},
		{"pipe without a reader", dir + "/pipe", "no regular file"},
		{"pipe", dir + "/read", "no regular file"},
		{"directory", dir, "no regular file"},
		{"device", "/dev/null", "no regular file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fd, err := openReport(tt.path)
			if err == nil {
				unix.Close(fd)
			}
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("got %v, want %q", err, tt.err)
			}
			if err == nil {
				if b, err := os.ReadFile(tt.path); err != nil || len(b) != 0 {
					t.Errorf("%q, %v: want it empty", b, err)
				}
			}
		})
	}
	if b, _ := os.ReadFile(target); string(b) != "before" {
		t.Errorf("the link's target is %q", b)
	}
	if _, err := os.Lstat(dir + "/nonesuch"); err == nil {
		t.Error("a file was made through a link")
	}
	if os.Geteuid() == 0 { // only root can make somebody else's file
		other := file("other")
		must(os.Chown(other, 65534, 65534))
		if fd, err := openReport(other); err == nil || !strings.Contains(err.Error(), "user 65534") {
			t.Errorf("another user's file: %d, %v", fd, err)
		}
		if b, _ := os.ReadFile(other); string(b) != "before" {
			t.Errorf("another user's file is %q", b)
		}
	}
}

func TestEnvFile(t *testing.T) {
	pass := &plan.Plan{Env: plan.Env{Pass: []string{"A"}}}
	null, err := os.OpenFile("/dev/null", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	text := func(s string) *os.File {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		if _, err := f.WriteString(s); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Seek(0, 0); err != nil {
			t.Fatal(err)
		}
		return f
	}
	for _, tt := range []struct {
		name string
		fd   int
		err  string
	}{
		{"not open", 1 << 19, "--env-file 524288: no descriptor open for reading"},
		{"open for writing", int(null.Fd()), "no descriptor open for reading"},
		{"directory", int(dir.Fd()), "is a directory"},
		{"too large", int(text("A=" + strings.Repeat("x", maxEnvFile)).Fd()), "larger"},
		{"name not passed", int(text("B=1\n").Fd()), "does not pass"},
		{"good", int(text("A=1\n").Fd()), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fd := tt.fd
			if inherited, err := unix.Dup(tt.fd); err == nil { // without close-on-exec
				defer unix.Close(inherited)
				fd = inherited
			}
			v := &Invocation{EnvFile: fd, StatusFD: -1}
			env, err := v.extra()
			if err == nil {
				env, err = mergeEnv(pass, nil, env)
			}
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("got %v, want %q", err, tt.err)
			}
			if err == nil && env[len(env)-1] != "A=1" {
				t.Errorf("environment %q", env)
			}
		})
	}
}
