package feature

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// ordinary is the uid and gid of the ordinary user.
const ordinary = 1000

// situation is how somebody starts sbx.
type situation struct {
	name string
	uid  int
	// noUserNS: it is in a user namespace in which no further ones can be
	// made.
	noUserNS bool
	// group is the control group that it starts in; empty: this process's.
	group string
	// delegated: group belongs to the uid.
	delegated bool
}

// want is which features are there, found out in other ways than Probe's.
func (s situation) want(t *testing.T) map[string]bool {
	t.Helper()
	root := s.uid == 0 && os.Geteuid() == 0
	mount := testenv.CgroupMount()
	want := map[string]bool{
		"userns": !s.noUserNS, "idmap": root && !s.noUserNS && kernelHas(t, 5, 12), "mdwe": kernelHas(t, 6, 3), "proc.subset": kernelHas(t, 5, 8),
		"seccomp": true, "seccomp.notify": true, "cgroup2": mount != "", "cgroup.kill": mount != "" && (root || s.delegated) && kernelHas(t, 5, 14),
	}
	// Runs of root's are below the mount point, wherever root is; an
	// ordinary user's are in his own group, which must be his.
	controllers := words(mount + "/cgroup.controllers")
	if s.delegated {
		controllers = words(s.group + "/cgroup.controllers")
	}
	for _, name := range []string{"memory", "pids", "cpu", "io"} {
		want["cgroup."+name] = (root || s.delegated) && slices.Contains(controllers, name)
	}
	if list, err := os.ReadFile("/sys/kernel/security/lsm"); err == nil {
		want["landlock"] = slices.Contains(strings.Split(strings.TrimSpace(string(list)), ","), "landlock")
	}
	if _, err := os.Stat("/proc/sys/user/max_time_namespaces"); err == nil || !kernelHas(t, 5, 6) {
		want["timens"] = err == nil
	}
	return want
}

// words are those of a file; none when it cannot be read.
func words(file string) []string {
	text, _ := os.ReadFile(file)
	return strings.Fields(string(text))
}

func kernelHas(t *testing.T, major, minor int) bool {
	t.Helper()
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	parts := strings.FieldsFunc(unix.ByteSliceToString(uts.Release[:]), func(r rune) bool { return r < '0' || r > '9' })
	a, err := strconv.Atoi(parts[0])
	b, err2 := strconv.Atoi(parts[1])
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return a > major || a == major && b >= minor
}

// doctors are the programs that answer, by name: this binary with Probe, and
// the built sbx. They are copies that everybody may execute.
func doctors(t *testing.T) map[string][]string {
	t.Helper()
	dir := t.TempDir()
	// t.TempDir makes its parent for the caller alone.
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	install(t, self, dir+"/test")
	out := map[string][]string{"Probe": {dir + "/test"}}
	from := os.Getenv("SBX_TEST_BIN")
	switch {
	case from != "":
		install(t, from+"/sbx", dir+"/sbx")
		install(t, from+"/sbxd", dir+"/sbxd")
		out["sbx doctor"] = []string{dir + "/sbx", "doctor", "--json"}
	case testenv.Strict():
		t.Fatal("SBX_TEST_ROOT=1 and SBX_TEST_BIN is not set: there is no sbx doctor to ask")
	default:
		t.Log("SBX_TEST_BIN is not set: Probe is asked alone, sbx doctor is not")
	}
	return out
}

func install(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Chmod(0o755), out.Close()); err != nil {
		t.Fatal(err)
	}
}

// ask runs a doctor in a situation.
func (s situation) ask(t *testing.T, self string, doctor []string) Set {
	t.Helper()
	attr := &syscall.SysProcAttr{}
	if s.uid != os.Geteuid() {
		attr.Credential = &syscall.Credential{Uid: uint32(s.uid), Gid: uint32(s.uid)}
	}
	mode := childProbe
	if s.noUserNS {
		mode = childDisable
		inside := s.uid
		if os.Geteuid() == 0 {
			// Its root is the host's root, and the ordinary user is there.
			ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: ordinary, HostID: ordinary, Size: 1}}
			attr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true}
		} else {
			// One id is all that an ordinary user can map: he is its root.
			inside = 0
			attr = &syscall.SysProcAttr{
				Cloneflags:  unix.CLONE_NEWUSER,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
			}
		}
		doctor = append([]string{self, strconv.Itoa(inside)}, doctor...)
	}
	if s.group != "" {
		dir, err := os.Open(s.group)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		attr.UseCgroupFD, attr.CgroupFD = true, int(dir.Fd())
	}
	cmd := exec.Command(doctor[0], doctor[1:]...)
	cmd.Env, cmd.SysProcAttr, cmd.Dir = []string{childVariable + "=" + mode}, attr, "/"
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v\n%s", doctor, err, complaint.String())
	}
	var list []Feature
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return NewSet(list...)
}

// group makes a control group of a test, owned by uid.
func group(t *testing.T, path string, uid int) string {
	t.Helper()
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Rmdir(path); err != nil {
			t.Errorf("remove %q: %v", path, err)
		}
	})
	for _, p := range []string{path, path + "/cgroup.procs", path + "/cgroup.subtree_control"} {
		if err := os.Chown(p, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// situations are those that can be had here.
func situations(t *testing.T) []situation {
	t.Helper()
	uid := os.Geteuid()
	if uid != 0 {
		return []situation{{name: "user", uid: uid}, {name: "user, no user namespaces", uid: uid, noUserNS: true}}
	}
	testenv.Root(t)
	mount := testenv.CgroupMount()
	if mount == "" {
		t.Fatal("no cgroup v2 hierarchy is mounted")
	}
	outer := group(t, mount+"/sbx-feature-"+strconv.Itoa(os.Getpid()), 0)
	return []situation{
		{name: "root"},
		{name: "user", uid: ordinary},
		{name: "root, no user namespaces", noUserNS: true},
		{name: "user, no user namespaces", uid: ordinary, noUserNS: true},
		// outer hands no controller down, as a session's group mostly does.
		{name: "root in a group without controllers", group: group(t, outer+"/inner", 0)},
		{name: "user with a delegated group", uid: ordinary, group: group(t, mount+"/sbx-feature-user-"+strconv.Itoa(os.Getpid()), ordinary), delegated: true},
	}
}

// TestSituations: what is there depends on who asks and where, and the answer is
// right each time.
func TestSituations(t *testing.T) {
	testenv.UserNamespaces(t)
	testenv.NoLeaks(t)
	before, err := os.ReadFile(maxUserNS)
	if err != nil {
		t.Fatal(err)
	}
	programs := doctors(t)
	self := programs["Probe"][0]
	answers := map[string]map[string]bool{}
	for _, s := range situations(t) {
		t.Run(s.name, func(t *testing.T) {
			for name, program := range programs {
				got := s.ask(t, self, program)
				s.check(t, name, got)
				answers[s.name] = present(got)
			}
		})
	}
	// Each is another answer.
	if os.Geteuid() == 0 {
		for _, pair := range [][2]string{
			{"root", "user"}, {"root", "root, no user namespaces"}, {"user", "user, no user namespaces"},
			{"root, no user namespaces", "user, no user namespaces"}, {"user", "user with a delegated group"},
		} {
			if d := cmp.Diff(answers[pair[0]], answers[pair[1]]); d == "" {
				t.Errorf("%q and %q have the same features: %v", pair[0], pair[1], answers[pair[0]])
			}
		}
	} else if d := cmp.Diff(answers["user"], answers["user, no user namespaces"]); d == "" {
		t.Error("user namespaces make no difference")
	}
	if after, err := os.ReadFile(maxUserNS); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the host's limit was %q and is %q, %v", before, after, err)
	}
}

// present are the features that are there, by name.
func present(s Set) map[string]bool {
	out := map[string]bool{}
	for _, f := range s.All() {
		out[f.Name] = f.Present
	}
	return out
}

// check compares an answer with what is known otherwise, and asks for a reason
// and a remedy wherever something is missing.
func (s situation) check(t *testing.T, who string, got Set) {
	t.Helper()
	have := present(got)
	var names []string
	for name := range have {
		names = append(names, name)
	}
	slices.Sort(names)
	if d := cmp.Diff(Names(), names); d != "" {
		t.Errorf("%s: names (-want +got):\n%s", who, d)
	}
	for name, want := range s.want(t) {
		f, _ := got.Get(name)
		if f.Present != want {
			t.Errorf("%s: %s present: %v (%q), want %v", who, name, f.Present, f.Detail, want)
		}
		known, _ := Known(name)
		if f.Cost != known.Cost || f.Fix != known.Fix || f.MinKernel != known.MinKernel {
			t.Errorf("%s: %s is described as %+v, want %+v", who, name, f, known)
		}
		if !f.Present && f.Detail == "" {
			t.Errorf("%s: %s is missing without a reason", who, name)
		}
	}
	reasons := map[string]string{}
	if s.noUserNS {
		reasons["userns"], reasons["idmap"] = "user.max_user_namespaces=0", "user namespace"
	}
	if s.uid != 0 && !(s.noUserNS && os.Geteuid() != 0) {
		reasons["idmap"] = "needs root"
	}
	if s.uid != 0 && !s.delegated && len(words(testenv.CgroupMount()+"/cgroup.controllers")) > 1 {
		reasons["cgroup.memory"] = "not delegated"
	}
	for name, reason := range reasons {
		if f, _ := got.Get(name); !strings.Contains(f.Detail, reason) {
			t.Errorf("%s: %s is missing because %q, want a reason with %q", who, name, f.Detail, reason)
		}
	}
}

// TestDisabledForTheHost disables user namespaces for real, which only a guest
// of its own may do: then root is the host's root and no namespace's.
func TestDisabledForTheHost(t *testing.T) {
	if os.Getenv("SBX_VM") == "" {
		t.Skip("not a guest of test/vm: user namespaces of this host stay as they are")
	}
	testenv.Root(t)
	programs := doctors(t)
	before, err := os.ReadFile(maxUserNS)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(maxUserNS, []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(maxUserNS, before, 0); err != nil {
			t.Error(err)
		}
	})
	for _, s := range []situation{{name: "root"}, {name: "user", uid: ordinary}} {
		t.Run(s.name, func(t *testing.T) {
			for name, program := range programs {
				got := s.ask(t, "", program)
				s.noUserNS = true
				s.check(t, name, got)
				s.noUserNS = false
			}
		})
	}
}
