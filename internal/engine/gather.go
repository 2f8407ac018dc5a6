package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/sbx-project/sbx/internal/config"
	"github.com/sbx-project/sbx/internal/elfclosure"
	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/links"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/policy"
)

// Request says what Gather is to look at.
type Request struct {
	// Build is the identity of this build.
	Build string
	// Command, Version, Revision and Generation are the bundle's; empty and
	// 0 for an unregistered program.
	Command, Version, Revision string
	Generation                 uint64
	// Policy is resolved.
	Policy policy.Policy
	// Path is the program: absolute; relative to BundleDir where that is
	// set; else relative to the working directory when it has a slash, and
	// without one searched in the policy's PATH.
	Path string
	// SHA256 is the digest that the program (a script: the script) must
	// have, in hex; empty: any.
	SHA256 string
	// Argv0 is argv[0]; empty: the last element of Path.
	Argv0 string
	// Args follow argv[0], templates of Params among them.
	Args []string
	// Declared, Params and Summary go into the plan as they are.
	Declared bool
	Params   []plan.Param
	Summary  string
	// BundleDir is the absolute directory of a directory bundle, or empty.
	BundleDir string
	// Stamps are further files that the plan depends on.
	Stamps []plan.Stamp
	// Needs are features that the manifest requires.
	Needs []string
	// Config is the host's configuration; nil: config.Load.
	Config *config.Config
	// NamesUsers is set for a bundle of a registry that belongs to root: its
	// policy may say whose host ids a run has.
	NamesUsers bool
	// Features are those of the host, from feature.Probe.
	Features feature.Set
	// Survey is the look at the host that the request shares with others of the
	// same load; nil: one of its own.
	Survey *Survey
}

// defaultPath is searched where the policy sets no PATH.
const defaultPath = "/usr/local/bin:/usr/bin:/bin"

// Gather looks at the host for a request. It opens the program, the policy's
// paths and the libraries, and executes nothing. The error is an *Error.
func Gather(r Request) (Input, error) {
	in := Input{
		Build: r.Build, Command: r.Command, Version: r.Version, Revision: r.Revision, Generation: r.Generation,
		Arch: runtime.GOARCH, Policy: r.Policy, Features: r.Features, Needs: r.Needs,
		Args: r.Args, BundleDir: r.BundleDir, Stamps: r.Stamps,
		Declared: r.Declared, Params: r.Params, Summary: r.Summary,
	}
	s := r.Survey
	if s == nil {
		s = &Survey{}
	}
	if err := s.look(); err != nil {
		return in, err
	}
	in.BootID = s.boot
	var err error
	if r.BundleDir != "" {
		if in.BundleDir, err = filepath.EvalSymlinks(r.BundleDir); err != nil {
			return in, &Error{Status: StatusSetup, Msg: "open the bundle", Err: err}
		}
	}
	res := s.libs
	if dirs, ok := r.Policy.Env.Set["LD_LIBRARY_PATH"]; ok {
		for _, dir := range filepath.SplitList(dirs) {
			if filepath.IsAbs(dir) {
				res.LibraryPath = append(res.LibraryPath, dir)
			}
		}
	}
	if in.Program, err = s.program(r, in.BundleDir, &res); err != nil {
		return in, err
	}
	if in.Host, err = lookAtHost(&in, &res, s.cache); err != nil {
		return in, err
	}
	if in.User, err = identity(&r, in.Host.stamp); err != nil {
		return in, err
	}
	return in, configure(&in, r.Config, s)
}

// lookAtHost gathers the facts about files. cache is the stamp of the loader's
// cache that res has; without a path there is none.
func lookAtHost(in *Input, res *elfclosure.Resolver, cache plan.Stamp) (Host, error) {
	h := Host{Paths: map[string]PathFact{}, Ways: map[string][]string{}, Exec: map[string]ExecFact{}}
	for _, name := range []string{"/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin"} {
		st, err := os.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return h, &Error{Status: StatusSetup, Msg: "look at the host", Err: err}
		case st.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(name)
			if err != nil {
				return h, &Error{Status: StatusSetup, Msg: "look at the host", Err: err}
			}
			h.Links = append(h.Links, Link{Path: name, Target: target})
		case st.IsDir():
			h.Links = append(h.Links, Link{Path: name})
		}
	}
	f := &in.Policy.Filesystem
	for _, list := range [][]policy.PathRule{f.Read, f.Write, f.Exec, f.Mask} {
		for _, r := range list {
			if within(r.Path, policy.Cwd) || r.Path == policy.View {
				continue
			}
			p := r.Path
			if within(p, policy.BundleDir) {
				if in.BundleDir == "" {
					return h, refuse(r.Pos, "only a directory bundle has files of its own", "filesystem: %q without a bundle", r.Path)
				}
				p = in.BundleDir + strings.TrimPrefix(p, policy.BundleDir)
			}
			if err := h.look(p, r.Pos); err != nil {
				return h, err
			}
			if h.fact(p).Kind == Absent {
				// It must still be absent, or the plan shows too little.
				h.Stamps = append(h.Stamps, plan.Stamp{Path: p, Absent: true})
			}
		}
	}
	for _, t := range f.Tmpfs {
		if err := h.look(t.Path, t.Pos); err != nil {
			return h, err
		}
	}
	for _, d := range in.Policy.Devices {
		if err := h.look(d, in.place("devices "+d)); err != nil {
			return h, err
		}
	}
	if f.Proc == "full" {
		for _, p := range procHidden {
			if err := h.look(p, policy.Pos{}); err != nil {
				return h, err
			}
		}
	}
	if err := h.executables(in, res, cache); err != nil {
		return h, err
	}
	return h, nil
}

// look notes the fact about one path. A path that may not be searched is an
// error: it cannot be told from one that would show.
func (h *Host) look(p string, pos policy.Pos) error {
	w, err := links.Follow(p)
	if err == nil && !w.Exists {
		h.Ways[p] = append(w.Links, w.Real)
		h.Paths[p] = PathFact{}
		return nil
	}
	if err == nil && len(w.Links) > 0 {
		h.Ways[p] = w.Links
	}
	var st os.FileInfo
	if err == nil {
		st, err = os.Lstat(w.Real)
	}
	if err != nil {
		return &Error{Status: StatusSetup, Pos: pos, Msg: "look at the host", Err: err}
	}
	f := PathFact{Kind: OtherFile, Real: w.Real}
	switch m := st.Mode(); {
	case m.IsRegular():
		f.Kind = RegularFile
		if w.Real != p {
			// A directory's stamp would change with every file in it.
			h.Stamps = append(h.Stamps, stampOf(p, st))
		}
	case m.IsDir():
		f.Kind = Directory
	case m&os.ModeSocket != 0:
		f.Kind = SocketFile
	case m&os.ModeCharDevice != 0:
		f.Kind = CharDevice
	}
	h.Paths[p] = f
	return nil
}

// executables looks at filesystem.exec and at the loader's own files.
func (h *Host) executables(in *Input, res *elfclosure.Resolver, cache plan.Stamp) error {
	libs := slices.Clone(in.Program.Closure.Libs)
	dynamic := in.Program.Closure.Loader.Path != ""
	for _, r := range in.Policy.Filesystem.Exec {
		if r.Path == policy.View {
			continue
		}
		p := r.Path
		if within(p, policy.BundleDir) {
			p = in.BundleDir + strings.TrimPrefix(p, policy.BundleDir)
		}
		f := h.fact(p)
		var fact ExecFact
		var err error
		switch f.Kind {
		case Directory:
			fact.Closure, fact.Program, err = res.Dir(f.Real)
			if err == nil {
				// A new plug-in may need what the plan does not show.
				err = h.stamp(f.Real)
			}
		case RegularFile:
			fact, err = execFile(res, f.Real, denyWriteExecute(&in.Policy))
			if err == nil {
				err = h.stamp(f.Real)
			}
		}
		var refusal *Error
		if errors.As(err, &refusal) {
			refusal.Pos = r.Pos
			return refusal
		}
		if err != nil {
			return &Error{Status: StatusSetup, Pos: r.Pos, Msg: "filesystem.exec", Err: err}
		}
		h.Exec[p] = fact
		libs = append(libs, fact.Closure.Libs...)
		dynamic = dynamic || fact.Closure.Loader.Path != "" || len(fact.Closure.Libs) > 0
	}
	for _, l := range libs {
		if l.Private {
			if err := h.stamp(l.Real); err != nil {
				return &Error{Status: StatusSetup, Msg: "look at a library", Err: err}
			}
		}
		h.Alternatives = h.Alternatives || leadsThrough(l.Path, "/etc/alternatives")
	}
	if st, err := os.Stat("/etc/alternatives"); err == nil {
		h.AlternativesExist = st.IsDir()
	}
	if dynamic && cache.Path != "" {
		h.LoaderCache = true
		// Every library that comes, goes or is replaced by a package is
		// followed by ldconfig(8), which writes a new file.
		h.Stamps = append(h.Stamps, cache)
	}
	return nil
}

func execFile(res *elfclosure.Resolver, p string, denyWX bool) (ExecFact, error) {
	st, err := os.Stat(p)
	if err != nil {
		return ExecFact{}, err
	}
	x := st.Mode()&0o111 != 0
	img, err := res.Open(p)
	if errors.Is(err, elfclosure.ErrNotELF) {
		return ExecFact{Program: x}, nil
	}
	if err != nil {
		return ExecFact{}, err
	}
	c, err := res.File(p)
	if err == nil && denyWX && x && img.Program {
		err = noWriteExec(p, img, c, res)
	}
	return ExecFact{Program: x && img.Program, Closure: c}, err
}

func (h *Host) stamp(p string) error {
	s, err := Stamp(p)
	if err == nil {
		h.Stamps = append(h.Stamps, s)
	}
	return err
}

// Stamp returns the identity of the file that p leads to.
func Stamp(p string) (plan.Stamp, error) {
	st, err := os.Stat(p)
	if err != nil {
		return plan.Stamp{}, err
	}
	return stampOf(p, st), nil
}

func stampOf(p string, st os.FileInfo) plan.Stamp {
	s := st.Sys().(*syscall.Stat_t)
	return plan.Stamp{
		Path: p, Dev: uint64(s.Dev), Ino: s.Ino, Size: s.Size,
		MtimeNs: s.Mtim.Nano(), CtimeNs: s.Ctim.Nano(),
	}
}

// leadsThrough reports whether following the symbolic links of p passes dir.
func leadsThrough(p, dir string) bool {
	for range 40 { // the kernel's own bound (path_resolution(7))
		if within(p, dir) {
			return true
		}
		target, err := os.Readlink(p)
		if err != nil {
			return false
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(p), target)
		}
		p = filepath.Clean(target)
	}
	return false
}
