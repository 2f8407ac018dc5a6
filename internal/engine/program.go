package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sbx-project/sbx/internal/elfclosure"
	"github.com/sbx-project/sbx/internal/plan"
)

// maxLine is what the kernel reads of a `#!` line (BINPRM_BUF_SIZE since 5.1,
// execve(2)).
const maxLine = 256

// settle is the time within which two writes of one file may share a
// timestamp: kernels tick at 100 Hz or more.
const settle = 20 * time.Millisecond

// program finds and identifies what a request executes.
//
// Trust boundary. Who controls the input: the author of the bundle names the
// path, whoever may write the file its bytes. What privilege is held: root in
// the daemon. What has been checked: the bundle. What fails closed: the file
// is opened once and judged by its descriptor; the launch compares the
// identity taken here with what it executes.
func program(r Request, bundleDir string, res *elfclosure.Resolver) (Program, error) {
	found, err := locate(r, bundleDir)
	if err != nil {
		return Program{}, err
	}
	file, err := identify(found, r.SHA256)
	if err != nil {
		return Program{}, err
	}
	p := Program{Path: file.stamp.Path, Identity: file.stamp, Argv0: r.Argv0}
	p.link(found, file)
	if p.Argv0 == "" {
		p.Argv0 = filepath.Base(r.Path)
	}
	if strings.HasPrefix(file.head, "#!") {
		s, interp, err := script(file, r)
		if err != nil {
			return Program{}, err
		}
		if r.Argv0 != "" {
			s.Interpreter = r.Argv0
		}
		if file, err = identify(interp, ""); err != nil {
			return Program{}, err
		}
		if strings.HasPrefix(file.head, "#!") {
			return Program{}, refused(s.Path, "its interpreter %q is a script itself; one level is followed", interp)
		}
		p.link(interp, file)
		p.Script, p.Path, p.Identity = s, file.stamp.Path, file.stamp
	}
	img, err := res.Open(p.Path)
	if errors.Is(err, elfclosure.ErrNotELF) {
		return Program{}, refused(p.Path, "it is no ELF program of this architecture and has no #! line")
	}
	if err == nil && !img.Program {
		return Program{}, refused(p.Path, "it is a library")
	}
	if err == nil {
		p.Closure, err = res.File(p.Path)
	}
	if err != nil {
		return Program{}, &Error{Status: StatusRefused, Msg: fmt.Sprintf("cannot execute %q", p.Path), Err: err}
	}
	if denyWriteExecute(&r.Policy) {
		if err := noWriteExec(p.Path, img, p.Closure, res); err != nil {
			return Program{}, err
		}
	}
	if len(p.Closure.Missing) > 0 {
		return Program{}, refused(p.Path, "libraries not found: %s", strings.Join(p.Closure.Missing, ", "))
	}
	return p, nil
}

// noWriteExec refuses a program, or a loader, with memory that is writable and
// executable from the start. PR_SET_MDWE looks at mmap(2) and mprotect(2), not
// at the stack that execve(2) makes; a writable and executable PT_LOAD it
// refuses when nothing is left to report it to. A library is no matter here:
// for an executable stack the loader calls mprotect(2), which is refused.
func noWriteExec(path string, img elfclosure.Image, c elfclosure.Closure, res *elfclosure.Resolver) error {
	if img.WriteExec == "" && c.Loader.Real != "" {
		loader, err := res.Open(c.Loader.Real)
		if err != nil {
			return &Error{Status: StatusRefused, Msg: fmt.Sprintf("cannot execute %q", path), Err: err}
		}
		path, img = c.Loader.Real, loader
	}
	if img.WriteExec == "" {
		return nil
	}
	e := refused(path, "its segment %s is writable and executable, which memory_deny_write_execute refuses", img.WriteExec)
	e.Hint = "execstack -c " + path + ", or rebuild it with -z noexecstack; else memory_deny_write_execute: false"
	if img.WriteExec != "PT_GNU_STACK" {
		e.Hint = "rebuild it without such a segment (ld -N makes one); else memory_deny_write_execute: false"
	}
	return e
}

// link notes a name that is not the real path.
func (p *Program) link(name string, file identified) {
	if name != file.stamp.Path {
		s := file.stamp
		s.Path = name
		p.Links = append(p.Links, s)
	}
}

func refused(path, format string, args ...any) *Error {
	return &Error{Status: StatusRefused, Msg: fmt.Sprintf("cannot execute %q: ", path) + fmt.Sprintf(format, args...)}
}

// locate returns the path of the program as it can be opened.
func locate(r Request, bundleDir string) (string, error) {
	switch {
	case r.Path == "":
		return "", &Error{Status: StatusNotFound, Msg: "no program is named"}
	case filepath.IsAbs(r.Path):
		return r.Path, nil
	case bundleDir != "":
		if !filepath.IsLocal(r.Path) {
			return "", refused(r.Path, "it leads out of the bundle")
		}
		return filepath.Join(bundleDir, r.Path), nil
	case strings.Contains(r.Path, "/"):
		p, err := filepath.Abs(r.Path)
		if err != nil {
			return "", &Error{Status: StatusSetup, Msg: "find the working directory", Err: err}
		}
		return p, nil
	}
	return search(r, r.Path)
}

// search looks a name up in the policy's PATH.
func search(r Request, name string) (string, error) {
	list, ok := r.Policy.Env.Set["PATH"]
	if !ok {
		list = defaultPath
	}
	for _, dir := range filepath.SplitList(list) {
		if !filepath.IsAbs(dir) {
			continue
		}
		p := filepath.Join(dir, name)
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", &Error{Status: StatusNotFound, Msg: fmt.Sprintf("no program %q in %s", name, list)}
}

// identified is a file whose bytes were looked at.
type identified struct {
	stamp plan.Stamp // Path is the real path
	head  string     // the first maxLine bytes
}

// identify opens a program and takes its identity.
func identify(p, digest string) (identified, error) {
	real, err := filepath.EvalSymlinks(p)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return identified{}, &Error{Status: StatusNotFound, Msg: fmt.Sprintf("no program %q", p)}
	}
	var f *os.File
	if err == nil {
		f, err = os.OpenFile(real, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	}
	if err != nil {
		return identified{}, &Error{Status: StatusRefused, Msg: fmt.Sprintf("cannot execute %q", p), Err: err}
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return identified{}, &Error{Status: StatusRefused, Msg: fmt.Sprintf("cannot execute %q", p), Err: err}
	}
	if !st.Mode().IsRegular() {
		return identified{}, refused(p, "it is not a regular file")
	}
	if st.Mode()&0o111 == 0 {
		return identified{}, refused(p, "it has no execute permission")
	}
	if digest != "" {
		if st, err = matches(f, st, digest); err != nil {
			return identified{}, &Error{Status: StatusRefused, Msg: fmt.Sprintf("cannot execute %q", p), Err: err}
		}
	}
	head := make([]byte, maxLine)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return identified{}, &Error{Status: StatusRefused, Msg: fmt.Sprintf("cannot execute %q", p), Err: err}
	}
	return identified{stamp: stampOf(real, st), head: string(head[:n])}, nil
}

// matches hashes f until its identity is the one that was hashed: a file
// that changes meanwhile, or that was written so lately that a further write
// would leave the timestamp, is hashed again.
func matches(f *os.File, st os.FileInfo, digest string) (os.FileInfo, error) {
	for range 3 {
		h := sha256.New()
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		if _, err := io.Copy(h, f); err != nil {
			return nil, err
		}
		now, err := f.Stat()
		if err != nil {
			return nil, err
		}
		if stampOf("", now) == stampOf("", st) && time.Since(now.ModTime()) > settle {
			if got := hex.EncodeToString(h.Sum(nil)); got != strings.ToLower(digest) {
				return nil, fmt.Errorf("its sha256 is %s, exec.sha256 says %s", got, digest)
			}
			return now, nil
		}
		if since := time.Since(now.ModTime()); since >= 0 && since <= settle {
			time.Sleep(settle - since + time.Millisecond)
		}
		st = now
	}
	return nil, errors.New("it changes while it is hashed")
}

// script reads the `#!` line like the kernel (fs/binfmt_script.c): one
// interpreter, and the rest of the line as one argument. env(1) is carried
// out here, by the policy's PATH, because the sandbox executes one program.
func script(file identified, r Request) (*Script, string, error) {
	path := file.stamp.Path
	line, _, ok := strings.Cut(file.head, "\n")
	if !ok && len(file.head) == maxLine {
		return nil, "", refused(path, "its #! line is longer than %d bytes", maxLine)
	}
	if strings.ContainsRune(line, 0) {
		return nil, "", refused(path, "its #! line has a NUL byte")
	}
	line = strings.Trim(line[2:], " \t")
	interp, arg := line, ""
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		interp, arg = line[:i], strings.Trim(line[i:], " \t")
	}
	if !filepath.IsAbs(interp) {
		return nil, "", refused(path, "its interpreter %q is not an absolute path", interp)
	}
	s := &Script{Path: path, Stamp: file.stamp, Interpreter: interp}
	if interp != "/usr/bin/env" && interp != "/bin/env" {
		if arg != "" {
			s.Args = []string{arg}
		}
		return s, interp, nil
	}
	if rest, split := strings.CutPrefix(arg, "-S"); split {
		// env -S takes quotes, escapes and variables; only plain words are
		// taken here.
		if strings.ContainsAny(rest, `"'\$#`) {
			return nil, "", refused(path, "its #! line %q needs more of env -S than splitting at blanks", line)
		}
		words := strings.Fields(rest)
		if len(words) == 0 {
			return nil, "", refused(path, "its #! line %q names no interpreter", line)
		}
		arg, s.Args = words[0], words[1:]
		if len(s.Args) == 0 {
			s.Args = nil
		}
	}
	if arg == "" || strings.HasPrefix(arg, "-") || strings.ContainsAny(arg, "= \t") {
		return nil, "", refused(path, "its #! line %q is not env NAME or env -S NAME ARG...", line)
	}
	s.Interpreter = arg
	if filepath.IsAbs(arg) {
		return s, arg, nil
	}
	found, err := search(r, arg)
	return s, found, err
}
