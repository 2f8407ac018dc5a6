package systemd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

// Places of the machine.
const (
	registry = "/etc/sbx/registry"
	actPath  = "/usr/local/lib/sbx-test/act" // the workload, a copy of this binary
)

// ordinary is the uid and gid of a user who is not root.
const ordinary = 1000

// notInstalled says why there is nothing to test.
var notInstalled error

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "act" {
		os.Exit(act(os.Args[1:]))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	syscall.Umask(0o022)
	if os.Getenv("SBX_TEST_SYSTEMD") == "1" {
		notInstalled = install()
	}
	return testenv.Main(m)
}

// act is the workload.
func act(args []string) int {
	what, arg := args[0], ""
	if len(args) > 1 {
		arg = args[1]
	}
	number, _ := strconv.Atoi(arg)
	duration, _ := time.ParseDuration(arg)
	switch what {
	case "hello":
		fmt.Println("hello")
	case "sleep":
		time.Sleep(duration)
	case "read":
		if _, err := os.ReadFile(arg); err != nil {
			fmt.Println(err)
			return 1
		}
	case "wait":
		io.Copy(io.Discard, os.Stdin)
	case "spin":
		for end := time.Now().Add(duration); time.Now().Before(end); {
		}
	case "eat": // MiB
		b := make([]byte, number<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		fmt.Println("ate", b[0])
	case "children":
		for range number {
			cmd := exec.Command("/proc/self/exe", "sleep", "1m")
			cmd.Args[0] = "act"
			if err := cmd.Start(); err != nil {
				fmt.Println(err)
				return 7
			}
		}
		fmt.Println("all", number)
	default:
		fmt.Println("no act", what)
		return 99
	}
	return 0
}

// installed are the rows of dist/README.md that are about files, with the place
// of each in the guest.
var installed = []struct{ row, from, to string }{
	{"| bin/sbx, bin/sbxd | /usr/bin ", "BIN/sbx", "/usr/bin/sbx"},
	{"| bin/sbx, bin/sbxd | /usr/bin ", "BIN/sbxd", "/usr/bin/sbxd"},
	{"| dist/systemd/sbx.service, sbx.socket | /usr/lib/systemd/system |", "DIST/systemd/sbx.service", "/usr/lib/systemd/system/sbx.service"},
	{"| dist/systemd/sbx.service, sbx.socket | /usr/lib/systemd/system |", "DIST/systemd/sbx.socket", "/usr/lib/systemd/system/sbx.socket"},
	{"| dist/systemd/sysusers.conf | /usr/lib/sysusers.d/sbx.conf |", "DIST/systemd/sysusers.conf", "/usr/lib/sysusers.d/sbx.conf"},
	{"| dist/systemd/tmpfiles.conf | /usr/lib/tmpfiles.d/sbx.conf |", "DIST/systemd/tmpfiles.conf", "/usr/lib/tmpfiles.d/sbx.conf"},
	{"| dist/sbx.yaml | /etc/sbx/sbx.yaml, ", "DIST/sbx.yaml", "/etc/sbx/sbx.yaml"},
}

// afterwards is what the README has an operator say then.
const afterwards = "systemd-sysusers && systemd-tmpfiles --create && systemctl enable --now sbx.socket"

// install does as the README says, and adds commands of the tests.
func install() error {
	dist, bin := os.Getenv("SBX_TEST_DIST"), os.Getenv("SBX_TEST_BIN")
	if dist == "" || bin == "" {
		return errors.New("SBX_TEST_DIST and SBX_TEST_BIN must say where dist and the executables are")
	}
	readme, err := os.ReadFile(dist + "/README.md")
	if err != nil {
		return err
	}
	for _, f := range installed {
		if !strings.Contains(string(readme), "\n"+f.row) {
			return fmt.Errorf("dist/README.md has no line %q any more", f.row)
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(f.from, "BIN/") {
			mode = 0o755
		}
		if err := copyFile(f.to, strings.NewReplacer("BIN", bin, "DIST", dist).Replace(f.from), mode); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := copyFile(actPath, self, 0o755); err != nil {
		return err
	}
	if !strings.Contains(string(readme), "`"+afterwards+"`") {
		return fmt.Errorf("dist/README.md does not say %q any more", afterwards)
	}
	if out, err := exec.Command("sh", "-c", afterwards).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", afterwards, err, out)
	}
	const family = "filesystem: {read: [" + actPath + "], exec: [" + actPath + "]}"
	return errors.Join(
		bundle("hello", "argv: [hello]", ""),
		bundle("act", "", "policy: {"+family+"}"),
		bundle("hungry", "", "policy: {limits: {memory_max: 64M}}"),
		bundle("few", "", "policy: {"+family+", limits: {pids_max: 40}}"),
		bundle("share", "", "policy: {limits: {cpu_max: 20%}}"),
	)
}

// bundle puts a command of the workload into the registry, all at once.
func bundle(name, argv, more string) error {
	exec := "args: passthrough"
	if argv != "" {
		exec = "args: declared, " + argv
	}
	text := fmt.Sprintf("apiVersion: sbx/v1\nname: %s\nversion: 1.0.0\nsummary: a test\nexec: {path: %s, %s}\non_violation: kill\n%s\n", name, actPath, exec, more)
	temporary := registry + "/.new"
	return errors.Join(os.WriteFile(temporary, []byte(text), 0o644), os.Rename(temporary, registry+"/"+name+".yaml"))
}

func copyFile(to, from string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(mode), out.Close())
}
