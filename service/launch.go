package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/params"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/runner"
)

// launch runs a plan and returns when nothing of it is left.
func launch(ctx context.Context, p *plan.Plan, call Call) *runner.Report {
	refuse := func(step string, err error) *runner.Report {
		return &runner.Report{
			ExitCode: runner.StatusSetup, Outcome: runner.SetupError, Step: step, Err: err,
			Command: p.Command, Version: p.Version, Revision: p.Revision, Generation: p.Generation, Via: "direct",
		}
	}
	args, err := arguments(p, call.Args)
	if errors.Is(err, params.ErrHelp) {
		r := refuse(helpStep, nil)
		r.ExitCode, r.Outcome = 0, runner.OK
		if call.Stdio.Out != nil {
			if _, err := io.WriteString(call.Stdio.Out, params.Help(p)); err != nil {
				return refuse("write the help", err)
			}
		}
		return r
	}
	if err != nil {
		r := refuse("", fmt.Errorf("%s: %w", p.Command, err))
		r.Hint = "usage: " + params.Usage(p)
		return r
	}
	s, err := openStreams(call.Stdio)
	if err != nil {
		return refuse("open the streams", err)
	}
	defer s.close()
	// The end of one end of this pair ends the run (runner.Options.Control).
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return refuse("socketpair", err)
	}
	defer unix.Close(pair[1])
	var once sync.Once
	hangUp := func() { once.Do(func() { unix.Close(pair[0]) }) }
	defer hangUp()
	stop := context.AfterFunc(ctx, hangUp)
	defer stop()

	report := runner.Run(runner.Options{
		Plan: p, Args: args, Environ: call.Environ, Timeout: call.Timeout, Usage: true,
		Files: &s.files, Control: pair[1], CwdUnfit: "a command that a program registered has no working directory",
	})
	runtime.KeepAlive(call)
	return report
}

// streams are the descriptors of a run and the copies from and to what is no
// file.
type streams struct {
	files  [3]int
	theirs []*os.File // the run's ends, closed when it has ended
	copies sync.WaitGroup
}

// openStreams makes the descriptors. The caller calls close when the run has
// ended.
func openStreams(given Stdio) (*streams, error) {
	s := &streams{}
	for _, open := range []func() error{
		func() error { return s.input(given.In) },
		func() error { return s.output(1, given.Out) },
		func() error {
			if given.Err != nil && same(given.Err, given.Out) {
				s.files[2] = s.files[1] // one pipe, so that their order is kept
				return nil
			}
			return s.output(2, given.Err)
		},
	} {
		if err := open(); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// same tells whether two writers are one. Types that cannot be compared are
// not.
func same(a, b io.Writer) (equal bool) {
	defer func() {
		if recover() != nil {
			equal = false
		}
	}()
	return a == b
}

func (s *streams) null(fd, flags int) error {
	f, err := os.OpenFile(os.DevNull, flags, 0)
	if err != nil {
		return err
	}
	s.theirs = append(s.theirs, f)
	s.files[fd] = int(f.Fd())
	return nil
}

func (s *streams) input(r io.Reader) error {
	switch r := r.(type) {
	case nil:
		return s.null(0, os.O_RDONLY)
	case *os.File:
		s.files[0] = int(r.Fd())
		return nil
	}
	theirs, ours, err := os.Pipe()
	if err != nil {
		return err
	}
	s.theirs = append(s.theirs, theirs)
	s.files[0] = int(theirs.Fd())
	// Not waited for: a Read that does not return must not hold up the end of
	// a run. Its Write does not, since nobody has the other end then.
	go func() {
		_, _ = io.Copy(ours, r) // EPIPE: the run has read enough
		ours.Close()
	}()
	return nil
}

func (s *streams) output(fd int, w io.Writer) error {
	switch w := w.(type) {
	case nil:
		return s.null(fd, os.O_WRONLY)
	case *os.File:
		s.files[fd] = int(w.Fd())
		return nil
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	s.theirs = append(s.theirs, theirs)
	s.files[fd] = int(theirs.Fd())
	s.copies.Go(func() {
		defer ours.Close()
		if _, err := io.Copy(w, ours); err != nil {
			_, _ = io.Copy(io.Discard, ours) // a writer that fails does not stop the run
		}
	})
	return nil
}

// close closes the run's ends and waits until all of its output was written.
func (s *streams) close() {
	for _, f := range s.theirs {
		f.Close()
	}
	s.copies.Wait()
}

// head keeps the beginning of what is written to it, for a check's message.
type head struct{ b bytes.Buffer }

const maxSaid = 4 << 10 // bytes; one line of it is shown

func (h *head) Write(b []byte) (int, error) {
	h.b.Write(b[:min(len(b), maxSaid-h.b.Len())])
	return len(b), nil
}

func (h *head) line() string {
	line, _, _ := strings.Cut(strings.TrimSpace(h.b.String()), "\n")
	return strings.Trim(fmt.Sprintf("%q", line), `"`)
}
