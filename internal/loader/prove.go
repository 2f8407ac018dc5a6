package loader

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/ctl"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/registry"
)

// Proof is how one check ended.
type Proof struct {
	// Exit is the exit status, Outcome the word of SPEC 2 for it.
	Exit    int
	Outcome string
	// Violation is the refused call, by name; empty: none.
	Violation string
	// Said is the first line that the program wrote to its stderr, or the
	// step of the launch that was not possible.
	Said string
}

// Prover runs one check of a bundle: the program of p in its sandbox, with
// argv behind the command's name, nothing to read and its output dropped. An
// error means that it could not be tried.
type Prover interface {
	Prove(p *plan.Plan, argv []string) (Proof, error)
}

// nobody is the kernel's overflow id, which owns nothing (user_namespaces(7)).
const nobody = 65534

// maxSaid bounds what is kept of a check's stderr, in bytes.
const maxSaid = 4 << 10

// Subprocess proves in a process of its own: this executable with
// ctl.ProveVerb. Its working directory is an empty one that is gone
// afterwards.
type Subprocess struct{}

// Prove implements Prover.
func (Subprocess) Prove(p *plan.Plan, argv []string) (Proof, error) {
	encoded, err := p.Encode()
	if err != nil {
		return Proof{}, err
	}
	parent := proveParent()
	sweepProofs(parent)
	dir, err := os.MkdirTemp(parent, proveDir+"*")
	if err != nil {
		return Proof{}, err
	}
	defer os.RemoveAll(dir)
	// The run may have an id of its own, which must be able to look into it.
	if err := os.Chmod(dir, 0o755); err != nil {
		return Proof{}, err
	}
	if os.Geteuid() == 0 {
		// A tree of root's is shown to no run as writable.
		if err := os.Chown(dir, nobody, nobody); err != nil {
			return Proof{}, err
		}
	}
	c := exec.Command("/proc/self/exe", append([]string{ctl.ProveVerb, "--"}, argv...)...)
	c.Args[0] = "sbxd"
	// A check does not outlive the loader that wanted it.
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.Dir, c.Stdin = dir, bytes.NewReader(encoded)
	var answer bytes.Buffer
	said := &head{}
	c.Stdout, c.Stderr = &answer, said
	if err := c.Run(); err != nil {
		return Proof{}, fmt.Errorf("%w: %s", err, said.line())
	}
	var report struct {
		Exit       int `json:"exit-code"`
		Outcome    string
		Step       string
		Violations []struct{ Syscall string }
	}
	if err := json.Unmarshal(answer.Bytes(), &report); err != nil {
		return Proof{}, fmt.Errorf("the report of a check: %w", err)
	}
	proof := Proof{Exit: report.Exit, Outcome: report.Outcome, Said: said.line()}
	if len(report.Violations) > 0 {
		proof.Violation = report.Violations[0].Syscall
	}
	if proof.Said == "" {
		proof.Said = report.Step
	}
	return proof, nil
}

// proveDir begins the names of the directories in which checks run.
const proveDir = "sbx-prove."

// proveParent is where they are made: TMPDIR, else /var/tmp, which is a disk
// where /tmp is a tmpfs that takes no mapped mounts (before Linux 6.3), else
// /tmp.
func proveParent() string {
	if dir := os.Getenv("TMPDIR"); dir != "" {
		return dir
	}
	if st, err := os.Stat("/var/tmp"); err == nil && st.IsDir() {
		return "/var/tmp"
	}
	return os.TempDir()
}

// staleProof is the age of a directory that no check can still be using: one
// is over after a minute.
const staleProof = time.Hour

// sweepProofs removes the directories that killed loaders left. One that is
// not empty, or another user's, stays.
func sweepProofs(parent string) {
	old, err := filepath.Glob(filepath.Join(parent, proveDir+"*"))
	if err != nil {
		return
	}
	for _, dir := range old {
		if st, err := os.Lstat(dir); err == nil && st.IsDir() && time.Since(st.ModTime()) > staleProof {
			_ = unix.Rmdir(dir) // what cannot be removed is not this loader's
		}
	}
}

// head keeps the beginning of what is written to it.
type head struct{ b []byte }

func (h *head) Write(b []byte) (int, error) {
	h.b = append(h.b, b[:min(len(b), maxSaid-len(h.b))]...)
	return len(b), nil
}

// line is the first line, quoted where it holds what is not text.
func (h *head) line() string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(h.b)), "\n")
	if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' || r >= 0x80 && r < 0xa0 }) {
		return fmt.Sprintf("%q", line)
	}
	return line
}

var _ io.Writer = (*head)(nil)

// errNoProver says that a bundle has checks and nobody could run them.
var errNoProver = errors.New("checks cannot be run here")

// prove runs every check of a bundle. The error says which did not end as
// expected, and how it ended; an *undecidedError that one did not come about.
func prove(prover Prover, p *plan.Plan, checks []registry.Check) error {
	for i, c := range checks {
		if prover == nil {
			return errNoProver
		}
		proof, err := prover.Prove(p, c.Argv)
		if err != nil {
			return &undecidedError{fmt.Errorf("%s: check %d (%q) could not be tried: %w", c.Pos, i+1, c.Argv, err)}
		}
		if want, ok := expected(c, proof); !ok {
			e := fmt.Errorf("%s: check %d (%q): expected %s, it ended with %s", c.Pos, i+1, c.Argv, want, ended(proof))
			if proof.Said != "" {
				e = fmt.Errorf("%w: %s", e, proof.Said)
			}
			return e
		}
	}
	return nil
}

// expected says in words what a check wants, and whether the proof is that.
func expected(c registry.Check, proof Proof) (want string, ok bool) {
	if c.Violation != "" {
		return "a violation by " + c.Violation, proof.Outcome == "violation" && proof.Violation == c.Violation
	}
	return fmt.Sprintf("exit %d", c.Exit), (proof.Outcome == "ok" || proof.Outcome == "exit") && proof.Exit == c.Exit
}

func ended(p Proof) string {
	switch {
	case p.Violation != "":
		return "a violation by " + p.Violation
	case p.Outcome == "ok" || p.Outcome == "exit":
		return fmt.Sprintf("exit %d", p.Exit)
	}
	return fmt.Sprintf("%s (status %d)", p.Outcome, p.Exit)
}
