// Package state knows where sbx keeps what it has compiled, and how a plan
// there is read and written. [Dir] is the state directory; [Plans] one
// registry's part of it.
//
// Trust boundary. Who controls the input: whoever can write the directory.
// What privilege is held: the caller's, which may be root's. What has been
// checked: every component of the path belongs to root or the caller and
// nobody else can write it (safefs). What fails closed: a file that is not so,
// or does not decode, is an error, never a plan.
package state

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/safefs"
)

// ErrNone says that there is no plan by that name.
var ErrNone = errors.New("no plan")

// Dir is the state directory: SBX_STATE, else /var/lib/sbx for root, else
// $XDG_STATE_HOME/sbx, else $HOME/.local/state/sbx. It is empty when none can
// be named.
func Dir() string {
	if d := os.Getenv("SBX_STATE"); strings.HasPrefix(d, "/") {
		return d
	}
	if os.Geteuid() == 0 {
		return "/var/lib/sbx"
	}
	if d := os.Getenv("XDG_STATE_HOME"); strings.HasPrefix(d, "/") {
		return d + "/sbx"
	}
	if d := os.Getenv("HOME"); strings.HasPrefix(d, "/") {
		return d + "/.local/state/sbx"
	}
	return ""
}

// RegistryPrefix begins the key of a registry that is a directory.
const RegistryPrefix = "registry-"

// RegistryKey names a registry's part of the state: by device and inode, so
// that a registry that was moved keeps its state and another one at the same
// path does not inherit it.
func RegistryKey(st *unix.Stat_t) string {
	return RegistryPrefix + strconv.FormatUint(st.Dev, 16) + "-" + strconv.FormatUint(st.Ino, 16)
}

// BuiltinKey names the state of the built-in registry.
const BuiltinKey = "registry-builtin"

// PlanPath is where the plan of a command is kept.
func PlanPath(dir, key, command string) string {
	return dir + "/" + key + "/plans/" + command + ".plan"
}

// ExecPath is where the plan of `sbx exec` with this policy and program is
// kept. The name is a hash: the plan itself says what it was made for.
func ExecPath(dir, policy, program string) string {
	h := uint64(14695981039346656037) // FNV-1a
	for _, s := range [...]string{policy, "\x00", program} {
		for i := 0; i < len(s); i++ {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
	}
	return dir + "/exec/" + strconv.FormatUint(h, 16) + ".plan"
}

// Read reads a plan. It returns ErrNone when there is no file, a
// *safefs.OwnerError when the path is not to be believed, and the errors of
// plan.Decode.
func Read(path string) (*plan.Plan, error) {
	fd, err := safefs.OpenTrustedFD(path)
	if err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil, ErrNone
		}
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Size > plan.MaxSize || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, plan.ErrCorrupt
	}
	b := make([]byte, st.Size)
	for got := 0; got < len(b); {
		n, err := unix.Read(fd, b[got:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return nil, plan.ErrCorrupt
		}
		got += n
	}
	return plan.Decode(b)
}

// Write keeps an encoded plan: a temporary file that takes the old one's place
// by rename. It is not synced: a plan is a cache, is stale after a boot, and
// carries a checksum. Directories are made as needed, 0755 for root, whose
// plans ordinary users may run, else 0700.
func Write(path string, b []byte) error {
	if os.Geteuid() == 0 {
		return write(path, b, 0o755)
	}
	return WritePrivate(path, b)
}

// WritePrivate is Write of what is its owner's alone.
func WritePrivate(path string, b []byte) error { return write(path, b, 0o700) }

func write(path string, b []byte, mode uint32) error {
	dir, name := split(path)
	if err := mkdirAll(dir, mode); err != nil {
		return err
	}
	d, err := safefs.OpenTrusted(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return safefs.ReplaceAtomic(d, name, mode&^0o111, b)
}

func split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:i], path[i+1:]
}

func mkdirAll(dir string, mode uint32) error {
	for i := 1; i <= len(dir); i++ {
		if i < len(dir) && dir[i] != '/' {
			continue
		}
		if err := unix.Mkdir(dir[:i], mode); err != nil && err != unix.EEXIST && err != unix.EROFS && err != unix.EACCES {
			return &os.PathError{Op: "make directory", Path: dir[:i], Err: err}
		}
	}
	return nil
}

// Fresh tells whether a plan may be used: made by this build, in this boot,
// and nothing that it depends on has changed. why names the first thing that
// does not fit.
func Fresh(p *plan.Plan, build string) (why string, ok bool) {
	if p.Build != build {
		return "made by another build", false
	}
	if p.BootID != BootID() {
		return "made in another boot", false
	}
	for i := range p.Stamps {
		if !Matches(&p.Stamps[i]) {
			return p.Stamps[i].Path + " has changed", false
		}
	}
	return "", true
}

// Matches tells whether the file is still the one that was stamped.
func Matches(s *plan.Stamp) bool {
	var st unix.Stat_t
	err := unix.Stat(s.Path, &st)
	if s.Absent {
		return err == unix.ENOENT || err == unix.ENOTDIR
	}
	if s.Passage {
		return err == nil && st.Dev == s.Dev && st.Ino == s.Ino && st.Mode == s.Mode && st.Uid == s.UID
	}
	return err == nil && st.Dev == s.Dev && st.Ino == s.Ino && st.Size == s.Size &&
		st.Mtim.Nano() == s.MtimeNs && st.Ctim.Nano() == s.CtimeNs
}

// BootID is the kernel's id of this boot, or "" where /proc does not say.
func BootID() string {
	fd, err := unix.Open("/proc/sys/kernel/random/boot_id", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var b [64]byte
	n, err := unix.Read(fd, b[:])
	if err != nil || n < 1 {
		return ""
	}
	return strings.TrimSpace(string(b[:n]))
}

// unfinished is the name of the mark that a change of a registry's state has
// begun and is not complete.
const unfinished = "pending"

// UnfinishedPath is where that mark of a registry's state is.
func UnfinishedPath(dir, key string) string { return dir + "/" + key + "/" + unfinished }

// Unfinished tells whether a change of the state was cut off or goes on: then
// no plan is in force before a loader has looked.
func Unfinished(dir, key string) bool {
	return unix.Access(UnfinishedPath(dir, key), unix.F_OK) != unix.ENOENT
}

// MarkUnfinished says that a change begins. The mark need not outlive a power
// cut: plans are stale after a boot.
func MarkUnfinished(dir, key string) error {
	fd, err := unix.Open(dir+"/"+key+"/"+unfinished, unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return &os.PathError{Op: "create", Path: dir + "/" + key + "/" + unfinished, Err: err}
	}
	return unix.Close(fd)
}
