package params_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// registryFiles are the commands of the test.
var registryFiles = map[string]string{
	"find": `summary: Look for a pattern in files
exec:
  path: /usr/bin/grep
  argv: ["--max-count={{count}}", "{{names?--with-filename}}", "--regexp={{pattern}}", --, "{{file}}"]
params:
  - {name: pattern, type: string, required: true, position: 1, help: what to look for}
  - {name: file, type: [path], access: read, required: true, position: 2, help: where}
  - {name: count, type: int, default: "100"}
  - {name: names, type: bool}
policy: {limits: {rlimit_nofile: 64}}
`,
	"two": `exec: {path: /usr/bin/cat, argv: ["{{file}}", "{{cwd}}/secret"]}
params: [{name: file, type: path, access: read, required: true, position: 1}]
`,
	"ls": `exec: {path: /usr/bin/ls, argv: ["{{dir}}"]}
params: [{name: dir, type: path, access: read, required: true, position: 1}]
`,
	"put": `exec: {path: /usr/bin/tee, argv: ["{{out}}", "{{also}}"]}
params:
  - {name: out, type: path, access: create, required: true, position: 1}
  - {name: also, type: string}
`,
	"append": `exec: {path: /usr/bin/tee, argv: [-a, "{{to}}"]}
params: [{name: to, type: path, access: write, required: true, position: 1}]
`,
	"touch": `exec: {path: /usr/bin/touch, argv: ["{{dir}}/made"]}
params: [{name: dir, type: path, access: write, required: true, position: 1}]
`,
	"spoil": `exec: {path: /usr/bin/touch, argv: ["{{dir}}/spoilt"]}
params: [{name: dir, type: path, access: read, required: true, position: 1}]
`,
	"here": `exec: {path: /usr/bin/echo, argv: [in, "{{cwd}}"]}
`,
}

// user is an ordinary id.
const user = 1000

// bench is a registry, the two built programs, and a directory of each
// caller's with a few files in it.
type bench struct{ dir string }

func (b bench) home(uid int) string { return b.dir + "/u" + strconv.Itoa(uid) + "/home" }
func (b bench) work(uid int) string { return b.dir + "/u" + strconv.Itoa(uid) + "/work" }

func setUp(t *testing.T) bench {
	t.Helper()
	dir, err := os.MkdirTemp("", "params")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := bench{dir}
	must(t, os.Chmod(dir, 0o755))
	for name, cgo := range map[string]string{"sbx": "0", "sbxd": "1"} {
		if built := os.Getenv("SBX_TEST_BIN"); built != "" {
			program, err := os.ReadFile(built + "/" + name)
			must(t, err)
			must(t, os.WriteFile(dir+"/"+name, program, 0o755))
			continue
		}
		cmd := exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-X github.com/sbx-project/sbx/internal/buildinfo.Build=test-"+filepath.Base(dir),
			"-o", dir+"/"+name, "../../cmd/"+name)
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	must(t, os.Mkdir(dir+"/registry", 0o755))
	for name, text := range registryFiles {
		must(t, os.WriteFile(dir+"/registry/"+name+".yaml", []byte("apiVersion: sbx/v1\nname: "+name+"\nversion: 1.0.0\n"+text), 0o644))
	}
	for _, uid := range []int{0, user} {
		for _, d := range []string{"", "/home", "/work", "/work/d", "/state"} {
			must(t, os.Mkdir(filepath.Dir(b.home(uid))+d, 0o755))
		}
		work := b.work(uid)
		must(t, os.WriteFile(work+"/a", []byte("one\ntwo\n"), 0o644))
		must(t, os.WriteFile(work+"/b c\nd", []byte("one and a half\n"), 0o644))
		must(t, os.WriteFile(work+"/-e", []byte("one with a dash\n"), 0o644))
		must(t, os.WriteFile(work+"/secret", []byte("one secret\n"), 0o600))
		must(t, os.WriteFile(work+"/d/in", []byte("one inside\n"), 0o644))
		must(t, os.Symlink("d/in", work+"/link"))
		must(t, os.Symlink("/dev/zero", work+"/zero"))
		must(t, unix.Mkfifo(work+"/fifo", 0o644))
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: work + "/socket"}))
		unix.Close(fd)
		must(t, filepath.WalkDir(filepath.Dir(work), func(p string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(p, uid, uid)
		}))
	}
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// result is what a call gave.
type result struct {
	status         int
	stdout, stderr string
}

// call runs sbx as uid in a working directory.
func (b bench) call(t *testing.T, uid int, cwd, stdin string, args ...string) result {
	t.Helper()
	cmd := exec.Command(b.dir+"/sbx", append([]string{"run"}, args...)...)
	cmd.Dir, cmd.Stdin = cwd, strings.NewReader(stdin)
	cmd.Env = []string{"SBX_REGISTRY=" + b.dir + "/registry", "SBX_STATE=" + filepath.Dir(b.home(uid)) + "/state", "HOME=" + b.home(uid), "PATH=/usr/bin:/bin"}
	if uid != os.Geteuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func TestRun(t *testing.T) {
	testenv.Root(t)
	testenv.UserNamespaces(t)
	b := setUp(t)
	const usage = "usage: sbx run find [--count INT] [--names] PATTERN FILE..."
	for _, uid := range []int{0, user} {
		work := b.work(uid)
		for _, tt := range []struct {
			name string
			args []string
			// stdout is the whole, stderr a part.
			status         int
			stdout, stderr string
		}{
			{"help", []string{"find", "--help"}, 0, usage + `

Look for a pattern in files

  --pattern STRING     what to look for (at most 4096 bytes; required; may stand without its name)
  --file PATH          where (read; required; may be repeated; may stand without its name)
  --count INT          default 100
  --names, --no-names
  --help               this text
`, ""},
			{"bare", []string{"find", "one", "a"}, 0, "one\n", ""},
			{"by name", []string{"find", "--file=a", "--pattern", "two"}, 0, "two\n", ""},
			{"a list, each by its real path", []string{"find", "--names", "one", "a", "link"}, 0, work + "/a:one\n" + work + "/d/in:one inside\n", ""},
			{"any name", []string{"find", "one", "b c\nd", "--file", "-e"}, 0, work + "/-e:one with a dash\n" + work + "/b c\nd:one and a half\n", ""},
			{"nothing is found", []string{"find", "nought", "a"}, 1, "", ""},
			{"a pattern is no option", []string{"find", "--pattern=--version", "a"}, 1, "", ""},
			{"a pattern is no template", []string{"find", "{{file}}", "a"}, 1, "", ""},
			{"what is shown to all", []string{"find", "^root:", "/etc/passwd"}, 0, "root:x:0:0:root:/root:/bin/bash\n", ""},
			{"the caller's own", []string{"find", "one", "secret"}, 0, "one secret\n", ""},
			{"a tree", []string{"ls", "d"}, 0, "in\n", ""},
			{"nothing beside it", []string{"two", "a"}, 1, "one\ntwo\n", "secret"},
			{"no arguments", []string{"here"}, 0, "in " + work + "\n", ""},
			{"a tree is read-only", []string{"spoil", "d"}, 1, "", "Read-only file system"},

			{"missing", []string{"find", "one"}, 125, "", "sbx: find: --file is missing\nhint: " + usage + "\n      sbx run find --help\n"},
			{"unknown", []string{"find", "--nope", "one", "a"}, 125, "", `unknown flag "--nope"`},
			{"twice", []string{"find", "--pattern=a", "--pattern=b", "a"}, 125, "", "given twice"},
			{"type", []string{"find", "--count=many", "one", "a"}, 125, "", "not a whole number"},
			{"unexpected", []string{"here", "x"}, 125, "", `unexpected argument "x"`},
			{"an option by value", []string{"put", b.work(user) + "/new", "--also=--version"}, 125, "", "take it for an option"},
			{"not there", []string{"find", "one", "nosuch"}, 125, "", `--file "nosuch": no such file`},
			{"a device", []string{"find", "one", "/dev/null"}, 126, "", "only regular files"},
			{"a link to a device", []string{"find", "one", "zero"}, 126, "", "only regular files"},
			{"a fifo", []string{"find", "one", "fifo"}, 126, "", "only regular files"},
			{"a socket", []string{"find", "one", "socket"}, 126, "", "only regular files"},
			{"a descriptor", []string{"find", "one", "/proc/self/fd/0"}, 126, "", "too many levels"},
			{"through a link of proc", []string{"find", "one", "/proc/self/cwd/a"}, 126, "", "too many levels"},
			{"proc", []string{"find", "one", "/proc/cpuinfo"}, 126, "", "belongs to the kernel"},
			{"sys", []string{"ls", "/sys/kernel"}, 126, "", "belongs to the kernel"},
			{"the root", []string{"ls", "/"}, 126, "", "top-level"},
			{"a top-level directory", []string{"ls", "/var"}, 126, "", "top-level"},
			{"the home", []string{"ls", b.home(uid)}, 126, "", "home directory"},
			{"the registry", []string{"ls", b.dir + "/registry"}, 126, "", "the registry"},
			{"what holds the registry", []string{"ls", b.dir}, 126, "", "it contains the state directory"},
			{"the state", []string{"ls", filepath.Dir(work)}, 126, "", "contains the state"},
			{"in the registry, to write", []string{"put", b.dir + "/registry/x.yaml"}, 126, "", "lies in the registry"},
			{"in the state, to write", []string{"put", filepath.Dir(work) + "/state/x"}, 126, "", "lies in the state"},
			{"the link is not followed", []string{"put", "link"}, 126, "", "no regular file"},
			{"no directory", []string{"put", "nosuch/x"}, 125, "", "no such file"},
			{"a name with a slash behind", []string{"put", "new/"}, 125, "", "is a directory"},
		} {
			t.Run(strconv.Itoa(uid)+" "+tt.name, func(t *testing.T) {
				got := b.call(t, uid, work, "", tt.args...)
				if got.status != tt.status || got.stdout != tt.stdout || !strings.Contains(got.stderr, tt.stderr) || tt.stderr == "" && got.stderr != "" {
					t.Errorf("got %+v\nwant %d, %q, %q", got, tt.status, tt.stdout, tt.stderr)
				}
				if _, err := os.Lstat(b.work(user) + "/new"); err == nil {
					t.Error("a refused call left its file behind")
				}
			})
		}
	}
}

// TestManyPaths: as many as may be given are shown although the run itself may
// have few descriptors.
func TestManyPaths(t *testing.T) {
	testenv.Root(t)
	testenv.UserNamespaces(t)
	b := setUp(t)
	args, want := []string{"find", "this"}, ""
	for i := range 256 {
		name := fmt.Sprintf("%s/many%03d", b.work(user), i)
		must(t, os.WriteFile(name, []byte("this one\n"), 0o644))
		args, want = append(args, name), want+name+":this one\n"
	}
	for _, uid := range []int{0, user} {
		if got := b.call(t, uid, b.dir, "", args...); got.status != 0 || got.stdout != want {
			t.Errorf("uid %d: status %d, %d bytes of %d: %s", uid, got.status, len(got.stdout), len(want), got.stderr)
		}
		if got := b.call(t, uid, b.dir, "", append(args, args[2])...); got.status != 125 || !strings.Contains(got.stderr, "more than 256 paths") {
			t.Errorf("uid %d: one more: %+v", uid, got)
		}
	}
}

// TestWrite: what a command may write, and whose it is.
func TestWrite(t *testing.T) {
	testenv.Root(t)
	testenv.UserNamespaces(t)
	b := setUp(t)
	work := b.work(user)
	for _, uid := range []int{0, user} {
		t.Run(strconv.Itoa(uid), func(t *testing.T) {
			out := work + "/out" + strconv.Itoa(uid)
			for _, step := range []struct {
				args []string
				want string
			}{
				{[]string{"put", out}, "x\n"}, {[]string{"append", out}, "x\nx\n"}, {[]string{"put", out}, "x\n"},
			} {
				if got := b.call(t, uid, work, "x\n", step.args...); got.status != 0 || got.stderr != "" {
					t.Fatalf("%q: %+v", step.args, got)
				}
				if text, err := os.ReadFile(out); err != nil || string(text) != step.want {
					t.Errorf("%q: %q, %v; want %q", step.args, text, err, step.want)
				}
			}
			if got := b.call(t, uid, work, "", "touch", "d"); got.status != 0 {
				t.Errorf("touch: %+v", got)
			}
			for _, p := range []string{out, work + "/d/made"} {
				var st unix.Stat_t
				if err := unix.Lstat(p, &st); err != nil || st.Uid != user {
					t.Errorf("%s: uid %d, %v; want %d", p, st.Uid, err, user)
				}
			}
			must(t, os.Remove(work+"/d/made"))
		})
	}
	for _, tt := range []struct {
		name string
		uid  int
		args []string
		want string
	}{
		{"root's directory, by root", 0, []string{"put", b.work(0) + "/out"}, "never writes as root"},
		{"root's tree, by root", 0, []string{"touch", b.work(0) + "/d"}, "never writes as root"},
		{"root's file, by root", 0, []string{"append", b.work(0) + "/a"}, "never writes as root"},
		{"root's directory", user, []string{"put", b.work(0) + "/out"}, "permission denied"},
		{"root's tree", user, []string{"touch", b.work(0) + "/d"}, "permission denied"},
		{"root's file", user, []string{"append", b.work(0) + "/a"}, "permission denied"},
		{"root's secret", user, []string{"find", "one", b.work(0) + "/secret"}, "permission denied"},
		{"a program", 0, []string{"append", "/usr/bin/tee"}, "what the run executes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := b.call(t, tt.uid, work, "x\n", tt.args...); got.status != 126 || got.stdout != "" || !strings.Contains(got.stderr, tt.want) {
				t.Errorf("got %+v, want 126 and %q", got, tt.want)
			}
		})
	}
	if _, err := os.Lstat(b.work(0) + "/out"); err == nil {
		t.Error("a refused call left its file behind")
	}
	if got := b.call(t, 0, work, "", "find", "one", "secret"); got.status != 0 || got.stdout != "one secret\n" {
		t.Errorf("root does not read another's file: %+v", got)
	}
}
