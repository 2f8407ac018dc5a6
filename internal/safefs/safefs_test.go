package safefs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenTrusted(t *testing.T) {
	top := t.TempDir()
	must(t, os.MkdirAll(top+"/a/b", 0o755))
	must(t, os.WriteFile(top+"/a/b/file", []byte("content"), 0o644))
	must(t, os.Symlink("a", top+"/relative"))
	must(t, os.Symlink(top+"/a/b", top+"/absolute"))
	must(t, os.Symlink("../b/../b/file", top+"/a/b/tofile"))
	must(t, os.Symlink("loop2", top+"/loop1"))
	must(t, os.Symlink("loop1", top+"/loop2"))
	must(t, unix.Mkfifo(top+"/pipe", 0o600))
	must(t, os.Mkdir(top+"/open", 0o755))
	must(t, os.Chmod(top+"/open", 0o777))
	must(t, os.WriteFile(top+"/open/file", []byte("x"), 0o644))
	must(t, os.Mkdir(top+"/group", 0o755))
	must(t, os.Chmod(top+"/group", 0o775))
	must(t, os.Mkdir(top+"/sticky", 0o755))
	must(t, os.Chmod(top+"/sticky", 0o777|os.ModeSticky))
	must(t, os.WriteFile(top+"/sticky/file", []byte("s"), 0o644))
	must(t, os.WriteFile(top+"/a/loose", []byte("s"), 0o644))
	must(t, os.Chmod(top+"/a/loose", 0o664))
	must(t, os.Symlink("open/file", top+"/through"))

	for _, tt := range []struct {
		path, content string // content "/" is a directory
		owner         string // the component that an *OwnerError names
		is            error
		kind          string
	}{
		{path: "/a/b/file", content: "content"},
		{path: "/a//b/./file", content: "content"},
		{path: "/a/../a/b/file", content: "content"},
		{path: "/a/b", content: "/"},
		{path: "/a/b/", content: "/"},
		{path: "/a/b/.", content: "/"},
		{path: "/relative/b/file", content: "content"},
		{path: "/absolute/file", content: "content"},
		{path: "/absolute", content: "/"},
		{path: "/absolute/tofile", content: "content"},
		{path: "/sticky/file", content: "s"},
		{path: "/none", is: fs.ErrNotExist},
		{path: "/a/b/file/x", is: unix.ENOTDIR},
		{path: "/loop1", is: unix.ELOOP},
		{path: "/pipe", kind: "named pipe"},
		{path: "/open", owner: "/open"},
		{path: "/open/file", owner: "/open"},
		{path: "/group", owner: "/group"},
		{path: "/a/loose", owner: "/a/loose"},
		{path: "/through", owner: "/open"},
	} {
		t.Run(tt.path, func(t *testing.T) {
			f, err := OpenTrusted(top + tt.path)
			var owner *OwnerError
			var kind *KindError
			switch {
			case tt.owner != "":
				if !errors.As(err, &owner) || owner.Path != top+tt.owner {
					t.Fatalf("error %v, want an owner error about %s", err, top+tt.owner)
				}
				if !strings.Contains(err.Error(), "writable by others") || !strings.HasPrefix(owner.Hint(), "chmod go-w /") {
					t.Errorf("error %q, hint %q", err, owner.Hint())
				}
			case tt.kind != "":
				if !errors.As(err, &kind) || kind.Kind != tt.kind {
					t.Fatalf("error %v, want a kind error %s", err, tt.kind)
				}
			case tt.is != nil:
				if !errors.Is(err, tt.is) {
					t.Fatalf("error %v, want %v", err, tt.is)
				}
			case err != nil:
				t.Fatal(err)
			default:
				defer f.Close()
				checkContent(t, f, tt.content)
			}
			if err != nil && f != nil {
				t.Error("an error and a file")
			}
		})
	}

	for _, path := range []string{"", "a", "./a", "/a\x00"} {
		if _, err := OpenTrusted(path); !errors.Is(err, unix.EINVAL) {
			t.Errorf("OpenTrusted(%q): %v, want EINVAL", path, err)
		}
	}
	if _, err := OpenTrusted("/dev/null"); err == nil {
		t.Error("a device was opened")
	}
}

func checkContent(t *testing.T, f *os.File, want string) {
	t.Helper()
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %x, %v: not close-on-exec", flags, err)
	}
	if want == "/" {
		if _, err := f.Readdirnames(-1); err != nil {
			t.Errorf("not a readable directory: %v", err)
		}
		return
	}
	got, err := io.ReadAll(f)
	if err != nil || string(got) != want {
		t.Errorf("content %q, %v; want %q", got, err, want)
	}
}

func TestOpenTrustedOwner(t *testing.T) {
	testenv.Root(t)
	top := t.TempDir()
	must(t, os.MkdirAll(top+"/theirs/a", 0o755))
	must(t, os.Chown(top+"/theirs", 1234, 1234))
	must(t, os.Mkdir(top+"/mine", 0o755))
	must(t, os.Symlink("mine", top+"/link"))
	must(t, os.Lchown(top+"/link", 1234, 1234))
	for path, want := range map[string]string{"/theirs/a": "/theirs", "/theirs": "/theirs", "/link": "/link"} {
		_, err := OpenTrusted(top + path)
		var owner *OwnerError
		if !errors.As(err, &owner) || owner.Path != top+want || owner.UID != 1234 {
			t.Errorf("%s: error %v, want an owner error about %s", path, err, want)
		}
	}
}

// TestOpenTrustedLeaks: no descriptor stays behind, whatever the outcome.
func TestOpenTrustedLeaks(t *testing.T) {
	top := t.TempDir()
	must(t, os.MkdirAll(top+"/a/b", 0o755))
	must(t, os.Symlink("/"+top+"/a", top+"/l"))
	must(t, os.Symlink("self", top+"/self"))
	before := descriptors(t)
	for _, path := range []string{"/l/b", "/none", "/self", "/a/b/c/d"} {
		if f, err := OpenTrusted(top + path); err == nil {
			f.Close()
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, before %d", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}

func TestOpenBeneath(t *testing.T) {
	top := t.TempDir()
	must(t, os.MkdirAll(top+"/root/sub", 0o755))
	must(t, os.WriteFile(top+"/outside", []byte("secret"), 0o644))
	must(t, os.WriteFile(top+"/root/sub/file", []byte("x"), 0o644))
	must(t, os.Symlink("../outside", top+"/root/link"))
	must(t, os.Symlink("sub", top+"/root/dirlink"))
	must(t, unix.Mkfifo(top+"/root/pipe", 0o600))
	dir, err := os.Open(top + "/root")
	must(t, err)
	defer dir.Close()
	for _, tt := range []struct {
		name, content, kind string
		is                  error
	}{
		{name: "sub/file", content: "x"},
		{name: "sub", content: "/"},
		{name: ".", content: "/"},
		{name: "../outside", is: unix.EXDEV},
		{name: "..", is: unix.EXDEV},
		{name: top + "/outside", is: unix.EXDEV},
		{name: "link", kind: "symbolic link"},
		{name: "dirlink/file", kind: "symbolic link"},
		{name: "pipe", kind: "named pipe"},
		{name: "none", is: fs.ErrNotExist},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, st, err := OpenBeneath(dir, top+"/root", tt.name)
			var kind *KindError
			switch {
			case tt.kind != "":
				if !errors.As(err, &kind) || kind.Kind != tt.kind {
					t.Errorf("error %v, want a kind error %s", err, tt.kind)
				}
			case tt.is != nil:
				if !errors.Is(err, tt.is) {
					t.Errorf("error %v, want %v", err, tt.is)
				}
			case err != nil:
				t.Error(err)
			default:
				defer f.Close()
				checkContent(t, f, tt.content)
				var want unix.Stat_t
				must(t, unix.Lstat(filepath.Join(top, "root", tt.name), &want))
				if st.Ino != want.Ino || st.Dev != want.Dev {
					t.Errorf("stat is of another file")
				}
			}
		})
	}
}

func TestWriteAtomic(t *testing.T) {
	top := t.TempDir()
	dir, err := os.Open(top)
	must(t, err)
	defer dir.Close()
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	for _, content := range []string{"first", "", strings.Repeat("x", 1<<20)} {
		must(t, WriteAtomic(dir, "name", 0o644, []byte(content)))
		got, err := os.ReadFile(top + "/name")
		if err != nil || string(got) != content {
			t.Fatalf("%d bytes, %v; want %d", len(got), err, len(content))
		}
		st, err := os.Stat(top + "/name")
		if err != nil || st.Mode() != 0o644 {
			t.Errorf("mode %v, %v; want 0644 whatever the umask", st.Mode(), err)
		}
	}

	// A link at the name is replaced, not followed.
	must(t, os.WriteFile(top+"/target", []byte("kept"), 0o600))
	must(t, os.Symlink("target", top+"/link"))
	must(t, WriteAtomic(dir, "link", 0o600, []byte("new")))
	if got, _ := os.ReadFile(top + "/target"); string(got) != "kept" {
		t.Errorf("the link was followed: %q", got)
	}

	// A rename that does not work leaves nothing behind.
	must(t, os.MkdirAll(top+"/dir/full", 0o755))
	if err := WriteAtomic(dir, "dir", 0o600, []byte("x")); err == nil {
		t.Error("a directory was replaced")
	}
	entries, err := os.ReadDir(top)
	must(t, err)
	if len(entries) != 4 {
		t.Errorf("%v, want name, target, link, dir", entries)
	}
	for _, name := range []string{"", ".", "..", "a/b", "../x"} {
		if err := WriteAtomic(dir, name, 0o600, nil); !errors.Is(err, unix.EINVAL) {
			t.Errorf("WriteAtomic(%q): %v, want EINVAL", name, err)
		}
	}
}

func TestCheckOwner(t *testing.T) {
	me := uint32(os.Geteuid())
	for _, tt := range []struct {
		name string
		st   unix.Stat_t
		ok   bool
	}{
		{"root's file", unix.Stat_t{Mode: unix.S_IFREG | 0o644}, true},
		{"own file", unix.Stat_t{Uid: me, Mode: unix.S_IFREG | 0o600}, true},
		{"another's file", unix.Stat_t{Uid: me + 1, Mode: unix.S_IFREG | 0o600}, false},
		{"group-writable file", unix.Stat_t{Uid: me, Mode: unix.S_IFREG | 0o620}, false},
		{"sticky does not save a file", unix.Stat_t{Uid: me, Mode: unix.S_IFREG | unix.S_ISVTX | 0o602}, false},
		{"world-writable directory", unix.Stat_t{Mode: unix.S_IFDIR | 0o777}, false},
		{"group-writable directory", unix.Stat_t{Mode: unix.S_IFDIR | 0o770}, false},
		{"sticky directory", unix.Stat_t{Mode: unix.S_IFDIR | unix.S_ISVTX | 0o777}, true},
		{"another's sticky directory", unix.Stat_t{Uid: me + 1, Mode: unix.S_IFDIR | unix.S_ISVTX | 0o755}, false},
		{"link", unix.Stat_t{Mode: unix.S_IFLNK | 0o777}, true},
		{"another's link", unix.Stat_t{Uid: me + 1, Mode: unix.S_IFLNK | 0o777}, false},
	} {
		if err := CheckOwner("/x", &tt.st); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
