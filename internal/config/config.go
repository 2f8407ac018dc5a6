// Package config reads /etc/sbx/sbx.yaml: what the operator of a host says
// about all of its commands. Use [Load]; a host without the file has the zero
// [Config], whose every field says what that means.
//
// The file belongs to root and its place is fixed: there is no flag and no
// variable for another one, because what it says only ever holds callers back
// (docs/adr/0010). It is strict in the manner of a policy: an unknown key, name or
// unit is an error with position and hint, and with an error nothing runs.
package config

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/internal/yamlnode"
	"github.com/sbx-project/sbx/policy"
)

// Path is where the file is.
const Path = "/etc/sbx/sbx.yaml"

// DefaultSandboxOwner is the user of Config.Owner.
const DefaultSandboxOwner = "sbx"

// Config is what the file says. It is immutable.
type Config struct {
	// SandboxOwner is a user, by name: what runs write into trees of root's
	// belongs to him. Empty: not stated, see Owner.
	SandboxOwner string
	// IDBase is the first host id of the blocks for runs launched by root; 0:
	// runner.DefaultIDBase.
	IDBase uint32
	// Require names layers that every run of this host must have applied, by
	// the names of a policy's `require`; nil: none.
	Require []string
	// Daemon is `required` or `optional`.
	Daemon DaemonUse
	// Collectors names the metrics that the daemon serves; nil: all of them.
	// The daemon knows the names.
	Collectors []string
	// AuditFile is the absolute path of the audit log; empty: the daemon's
	// default.
	AuditFile string
	// Stamp identifies the file, Absent when there is none. It belongs into
	// every plan.
	Stamp plan.Stamp
}

// DaemonUse says whether an ordinary user may run without the daemon.
type DaemonUse uint8

const (
	// DaemonOptional: he may; the run then has his own rights.
	DaemonOptional DaemonUse = iota
	// DaemonRequired: he is refused (126).
	DaemonRequired
)

// Owner is the name of the user that trees of root's are written as.
func (c Config) Owner() string {
	if c.SandboxOwner == "" {
		return DefaultSandboxOwner
	}
	return c.SandboxOwner
}

// Load reads Path. The error is a *safefs.OwnerError, a *safefs.KindError, a
// *yamlnode.Error or an *os.PathError; with one nothing may be compiled.
//
// Trust boundary. Any local user may wish for another file. The caller may
// hold root's rights. Nothing has been checked. A file of another owner than
// root, one that others may write, and one that is not understood are errors,
// never a missing file.
func Load() (Config, error) {
	c, err := LoadFile(Path)
	return c, err
}

// LoadFile is Load with another path, which must belong to root as well unless
// the effective uid is another: for tests and `sbx check`.
func LoadFile(path string) (Config, error) {
	f, err := safefs.OpenTrusted(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{Stamp: plan.Stamp{Path: path, Absent: true}}, nil
	}
	if err != nil {
		return Config{}, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return Config{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	switch {
	case path == Path && st.Uid != 0:
		return Config{}, &safefs.OwnerError{Path: path, UID: st.Uid, Mode: st.Mode, Want: "uid 0"}
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return Config{}, &safefs.KindError{Path: path, Kind: "directory"}
	}
	src, err := io.ReadAll(io.LimitReader(f, yamlnode.MaxSize+1)) // one more than Parse takes
	if err != nil {
		return Config{}, err
	}
	c, err := Parse(path, src)
	c.Stamp = plan.Stamp{
		Path: path, Dev: st.Dev, Ino: st.Ino, Size: st.Size,
		MtimeNs: st.Mtim.Nano(), CtimeNs: st.Ctim.Nano(),
	}
	return c, err
}

// Parse parses the text of a configuration. file names it in messages. The
// error is a *yamlnode.Error.
func Parse(file string, src []byte) (Config, error) {
	n, err := yamlnode.Parse(file, src)
	if err != nil {
		return Config{}, err
	}
	var c Config
	if err := n.Decode("configuration", policy.Keys{
		"sandbox_owner": c.decodeOwner,
		"id_base":       c.decodeIDBase,
		"require":       c.decodeRequire,
		"daemon":        c.decodeDaemon,
		"metrics":       c.decodeMetrics,
		"audit":         c.decodeAudit,
	}); err != nil {
		return Config{}, yamlnode.Locate(file, src, err)
	}
	return c, nil
}
