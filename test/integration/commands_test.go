package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/testenv"
)

// tool carries out a built-in command in the work directory.
func (h *host) tool(t testing.TB, words ...string) result {
	t.Helper()
	return h.run(t, call{verb: "run", words: words, limit: time.Minute, env: []string{
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=C", "GIT_COMMITTER_EMAIL=c@example.org"}})
}

func TestJQ(t *testing.T) {
	needPrograms(t, "/usr/bin/jq")
	each(t, func(t *testing.T, h *host) {
		// 20 MB of records; the sum is known.
		var b strings.Builder
		sum, n := 0, 0
		b.WriteString("[")
		for ; b.Len() < 20_000_000; n++ {
			if n > 0 {
				b.WriteString(",\n")
			}
			fmt.Fprintf(&b, `{"id":%d,"name":"record number %d","text":%q}`, n, n, strings.Repeat("lorem ipsum ", 40))
			sum += n
		}
		b.WriteString("]\n")
		h.write(t, "work/big.json", b.String(), 0o644)
		want := fmt.Sprintf("[%d,%d]\n", n, sum)
		r := h.tool(t, "jq", "-c", "[length, (map(.id) | add)]", "big.json")
		wantEnd(t, r, 0, "ok")
		if r.stdout != want {
			t.Errorf("stdout %q, want %q", r.stdout, want)
		}
		// The same by standard input.
		in, err := os.Open(h.path("work/big.json"))
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		r = h.run(t, call{verb: "run", words: []string{"jq", "-c", "[length, (map(.id) | add)]"}, stdin: in, limit: time.Minute})
		wantEnd(t, r, 0, "ok")
		if r.stdout != want {
			t.Errorf("stdout %q, want %q", r.stdout, want)
		}
		r = h.tool(t, "jq", ".", "/etc/shadow")
		wantEnd(t, r, 2, "exit")
	})
}

func TestGrep(t *testing.T) {
	needPrograms(t, "/usr/bin/grep")
	each(t, func(t *testing.T, h *host) {
		h.mkdir(t, "work/a")
		h.mkdir(t, "work/a/b")
		h.write(t, "work/a/one", "needle\nhay\n", 0o644)
		h.write(t, "work/a/b/two", "hay\nneedle needle\n", 0o644)
		h.write(t, "work/three", "hay\n", 0o644)
		r := h.tool(t, "grep", "-rc", "needle", ".")
		wantEnd(t, r, 0, "ok")
		got := map[string]bool{}
		for _, line := range strings.Fields(r.stdout) {
			got[line] = true
		}
		if diff := cmp.Diff(map[string]bool{"./a/one:1": true, "./a/b/two:1": true, "./three:0": true}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		r = h.tool(t, "grep", "-r", "nonesuch", ".")
		wantEnd(t, r, 1, "exit")
	})
}

func TestGit(t *testing.T) {
	needPrograms(t, "/usr/bin/git", "/usr/lib/git-core/git")
	each(t, func(t *testing.T, h *host) {
		h.writable(t)
		wantEnd(t, h.tool(t, "git", "init", "-q", "-b", "main", "one"), 0, "ok")
		for i := range 20 {
			h.write(t, fmt.Sprintf("work/one/file%d", i), strings.Repeat(fmt.Sprintf("line %d\n", i), 1000), 0o644)
		}
		h.writable(t)
		for _, words := range [][]string{
			{"-C", "one", "add", "."}, {"-C", "one", "commit", "-q", "-m", "first"},
			{"clone", "-q", "one", "two"}, {"clone", "-q", "--bare", "one", "three.git"}, {"-C", "two", "fsck", "--strict"},
			{"-C", "two", "gc", "-q"}, {"-C", "two", "status", "--porcelain"},
		} {
			r := h.tool(t, append([]string{"git"}, words...)...)
			wantEnd(t, r, 0, "ok")
			if words[len(words)-1] == "--porcelain" && r.stdout != "" {
				t.Errorf("the clone is not clean: %q", r.stdout)
			}
		}
		a, b := h.tool(t, "git", "-C", "one", "rev-parse", "HEAD"), h.tool(t, "git", "-C", "two", "rev-parse", "HEAD")
		if a.stdout != b.stdout || len(a.stdout) != 41 {
			t.Errorf("HEAD of the clone is %q, want %q", b.stdout, a.stdout)
		}
		for i := range 20 {
			name := fmt.Sprintf("file%d", i)
			one, err1 := os.ReadFile(h.path("work/one/" + name))
			two, err2 := os.ReadFile(h.path("work/two/" + name))
			if err1 != nil || err2 != nil || string(one) != string(two) {
				t.Errorf("%s differs: %v, %v", name, err1, err2)
			}
		}
		h.wantOwners(t)
	})
}

func TestTar(t *testing.T) {
	needPrograms(t, "/usr/bin/tar")
	each(t, func(t *testing.T, h *host) {
		for i := range 5 {
			dir := h.mkdir(t, fmt.Sprintf("work/src/dir%d", i))
			for j := range 40 {
				h.write(t, fmt.Sprintf("work/src/dir%d/file%d", i, j), strings.Repeat("x", i*j*100), os.FileMode(0o600|i))
			}
			if err := os.Symlink("file1", dir+"/link"); err != nil {
				t.Fatal(err)
			}
		}
		h.write(t, "work/src/script", "#!/bin/sh\n", 0o755)
		h.write(t, "work/src/with newline\nin it", "", 0o644)
		h.mkdir(t, "work/dst")
		h.writable(t)
		wantEnd(t, h.tool(t, "tar", "-cf", "all.tar", "-C", "src", "."), 0, "ok")
		wantEnd(t, h.tool(t, "tar", "-xpf", "all.tar", "-C", "dst"), 0, "ok")
		if diff := cmp.Diff(tree(t, h.path("work/src")), tree(t, h.path("work/dst"))); diff != "" {
			t.Errorf("the trees differ (-packed +unpacked):\n%s", diff)
		}
		h.wantOwners(t)
		// Out of the tree nothing reaches the host: what is there inside is
		// the run's own /tmp.
		h.tool(t, "tar", "-xf", "all.tar", "-C", h.path("home"))
		h.tool(t, "tar", "-xf", "all.tar", "-C", h.base)
		for _, dir := range []string{h.path("home"), h.base} {
			if _, err := os.Lstat(dir + "/script"); err == nil {
				t.Errorf("unpacked outside of the view: %s/script", dir)
			}
		}
	})
}

// TestTarFilter: tar starts a compressor.
func TestTarFilter(t *testing.T) {
	needPrograms(t, "/usr/bin/tar", "/usr/bin/gzip", "/usr/bin/dash")
	// A guest has busybox by these names where nobody gave it the others.
	for link, want := range map[string]string{"/bin/sh": "/usr/bin/dash", "/usr/bin/gzip": "/usr/bin/gzip"} {
		if real, err := filepath.EvalSymlinks(link); err != nil || real != want {
			t.Skipf("%s is %s here, not Debian's %s", link, real, want)
		}
	}
	each(t, func(t *testing.T, h *host) {
		h.mkdir(t, "work/src")
		h.mkdir(t, "work/dst")
		h.write(t, "work/src/file", strings.Repeat("text\n", 100_000), 0o644)
		h.writable(t)
		wantEnd(t, h.tool(t, "tar", "-czf", "all.tgz", "-C", "src", "."), 0, "ok")
		wantEnd(t, h.tool(t, "tar", "-xzf", "all.tgz", "-C", "dst"), 0, "ok")
		if diff := cmp.Diff(tree(t, h.path("work/src")), tree(t, h.path("work/dst"))); diff != "" {
			t.Errorf("the trees differ (-packed +unpacked):\n%s", diff)
		}
	})
}

// TestRootTree: root's run never writes as root; what mends it is said.
func TestRootTree(t *testing.T) {
	needPrograms(t, "/usr/bin/tar")
	needBinaries(t)
	testenv.Root(t)
	t.Run("root", func(t *testing.T) {
		h := newHost(t, "root")
		before := tree(t, h.work())
		r := h.tool(t, "tar", "-cf", "x.tar", "-T", "/dev/null")
		wantEnd(t, r, 126, "refused")
		if !strings.Contains(r.stderr, "hint: ") || !strings.Contains(r.stderr, "chown -R") || !strings.Contains(r.stderr, h.work()) {
			t.Errorf("no chown hint\n%s", r)
		}
		if diff := cmp.Diff(before, tree(t, h.work())); diff != "" {
			t.Errorf("the tree changed:\n%s", diff)
		}
	})
}

// TestPython runs Python's own tests of json where Debian's package of them
// is installed, and a suite of our own in any case.
func TestPython(t *testing.T) {
	needPrograms(t, "/usr/bin/python3")
	each(t, func(t *testing.T, h *host) {
		text, err := os.ReadFile("testdata/python/test_roundtrip.py")
		if err != nil {
			t.Fatal(err)
		}
		h.write(t, "work/test_roundtrip.py", string(text), 0o644)
		r := h.tool(t, "python3", "-m", "unittest", "test_roundtrip")
		wantEnd(t, r, 0, "ok")
		if !strings.Contains(r.stderr, "Ran 7 tests") {
			t.Errorf("not all tests ran\n%s", r)
		}
		r = h.tool(t, "python3", "-c", "import os; os.chroot('/')")
		wantEnd(t, r, 159, "violation")
		t.Run("of python", func(t *testing.T) {
			found, _ := filepath.Glob("/usr/lib/python3.*/test/test_json/__init__.py")
			if dir := os.Getenv("SBX_TEST_PYTHON"); dir != "" {
				// A directory that holds the package "test": of the working
				// directory it comes before the installed one.
				if err := os.CopyFS(h.path("work/test"), os.DirFS(dir+"/test")); err != nil {
					t.Fatal(err)
				}
			} else if len(found) == 0 {
				t.Skip("Python's own tests are not here: install Debian's libpython3-testsuite, or name a directory with the package test in SBX_TEST_PYTHON")
			}
			// All but test_tool, which starts another Python:
			// the policy executes the registered program once.
			words := []string{"python3", "-m", "unittest", "-q"}
			for _, name := range []string{"decode", "default", "dump", "encode_basestring_ascii", "enum", "fail", "float", "indent",
				"pass1", "pass2", "pass3", "recursion", "scanstring", "separators", "speedups", "unicode"} {
				words = append(words, "test.test_json.test_"+name)
			}
			r := h.tool(t, words...)
			wantEnd(t, r, 0, "ok")
			ran := regexp.MustCompile(`(?m)^Ran (\d+) tests`).FindStringSubmatch(r.stderr)
			if ran == nil || mustInt(t, ran[1]) < 100 {
				t.Errorf("Python's tests did not run\n%s", r)
			}
		})
	})
}

// TestList: the five built-in commands are there for everybody.
func TestList(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		r := h.run(t, call{verb: "list", plain: true, words: []string{"--json"}})
		var rows []struct{ Name, Version, State, Registry string }
		if err := json.Unmarshal([]byte(r.stdout), &rows); err != nil || r.status != 0 {
			t.Fatalf("%v\n%s", err, r)
		}
		have := map[string]string{}
		for _, row := range rows {
			have[row.Name] = row.State
		}
		for _, name := range []string{"git", "grep", "jq", "python3", "tar"} {
			if have[name] == "" || have[name] == "rejected" {
				t.Errorf("%s is %q", name, have[name])
			}
		}
	})
}
