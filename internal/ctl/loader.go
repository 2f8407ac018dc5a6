package ctl

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
)

// PlanVerb is the verb of sbxd that answers with a plan. It is not for
// people.
const PlanVerb = "internal-plan"

// SettleVerb is the verb of sbxd that takes the journal of a registry into
// account. It is not for people.
const SettleVerb = "internal-settle"

// answerHead begins sbxd's answer; a number of words and a newline follow,
// then the encoded plan.
const answerHead = "SBXPLAN "

// Loader is the path of sbxd: beside this executable, never through PATH.
func Loader() (string, error) {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return "", err
	}
	self = strings.TrimSuffix(self, " (deleted)")
	return self[:strings.LastIndexByte(self, '/')+1] + "sbxd", nil
}

// Become executes sbxd in place of this process with the same arguments.
func Become(args []string) int {
	path, err := Loader()
	if err == nil {
		err = unix.Exec(path, append([]string{"sbx"}, args...), os.Environ())
	}
	Say(false, "execute "+strconv.Quote(path)+": "+err.Error(), "sbxd must lie beside sbx: install both")
	return 125
}

// load asks sbxd for the plan of v. status is not 0 when sbxd refused; it has
// said why on stderr.
func (v *Invocation) load() (p *plan.Plan, used, status int, err error) {
	args := []string{PlanVerb}
	if v.Exec {
		args = append(args, "--exec", "--policy="+v.Policy)
	}
	args = append(append(args, v.common()...), "--")
	answer, s, err := ask(append(args, v.Words...))
	if err != nil {
		return nil, 0, 125, err
	}
	if s != 0 {
		return nil, 0, s, nil
	}
	rest, ok := strings.CutPrefix(string(answer), answerHead)
	count, body, _ := strings.Cut(rest, "\n")
	used, err = strconv.Atoi(count)
	if !ok || err != nil || used < 1 || used > len(v.Words) {
		return nil, 0, 125, errors.New("sbxd gave no answer (this is a bug)")
	}
	p, err = plan.Decode([]byte(body))
	return p, used, 125, err
}

// common are the flags that all questions to sbxd have.
func (v *Invocation) common() (args []string) {
	if v.Registry != "" {
		args = append(args, "--registry="+v.Registry)
	}
	if v.Quiet {
		args = append(args, "--quiet")
	}
	return args
}

// ask runs sbxd with args and returns what it wrote to its standard output,
// at most the size of an answer with a plan, and its exit status. It has the
// caller's environment and stderr, and nothing to read.
func ask(args []string) (answer []byte, status int, err error) {
	path, err := Loader()
	if err != nil {
		return nil, 0, err
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return nil, 0, err
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(pipe[0])
		unix.Close(pipe[1])
		return nil, 0, errors.New(`open "/dev/null": ` + err.Error())
	}
	pid, err := syscall.ForkExec(path, append([]string{"sbxd"}, args...), &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{uintptr(null), uintptr(pipe[1]), 2},
		// Compiling takes a second on a loaded host: a killed sbx leaves
		// nobody who does it for no one. (The signal is bound to the thread;
		// Go ends none that no goroutine was locked to.)
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	unix.Close(null)
	unix.Close(pipe[1])
	if err != nil {
		unix.Close(pipe[0])
		return nil, 0, errors.New("execute " + strconv.Quote(path) + ": " + err.Error())
	}
	answer, _ = readAll(pipe[0], plan.MaxSize+64, nil) // half an answer is none
	unix.Close(pipe[0])
	var ws unix.WaitStatus
	for {
		if _, err = unix.Wait4(pid, &ws, 0, nil); err != unix.EINTR {
			break
		}
	}
	if err != nil || !ws.Exited() {
		return nil, 0, errors.New("sbxd was killed")
	}
	return answer, ws.ExitStatus(), nil
}

// Answer is what sbxd writes for PlanVerb.
func Answer(used int, encoded []byte) []byte {
	return append([]byte(answerHead+strconv.Itoa(used)+"\n"), encoded...)
}

// readAll reads to the end, or until it has limit bytes or a few more.
func readAll(fd, limit int, ready func(int) error) ([]byte, error) {
	var out []byte
	buf := make([]byte, 32<<10)
	for len(out) < limit {
		if ready != nil {
			if err := ready(fd); err != nil {
				return out, err
			}
		}
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return out, err
		}
		if n <= 0 {
			break
		}
		out = append(out, buf[:n]...)
	}
	return out, nil
}
