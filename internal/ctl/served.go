package ctl

import (
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/early"
	"github.com/sbx-project/sbx/internal/wire"
	"github.com/sbx-project/sbx/runner"
)

// viaDaemon is the word of a report for a run by the daemon.
const viaDaemon = "daemon"

// endWait is how long a client that was told to end waits for the daemon's
// report: the grace of a run and the end of its processes, which together stay
// below the 4 s of SPEC 2.
const endWait = 3500 * time.Millisecond

// served has the call carried out by the daemon of its registry. ok is false
// when there is none, or when it has nothing to do with this call: then
// nothing has happened.
func (v *Invocation) served(cwd string, out *result) (rep *runner.Report, ok bool) {
	if fd, signals, came, asked, err := early.Asked(); err != nil {
		return refused(runner.StatusSetup, "take signals", err, ""), true
	} else if asked {
		defer unix.Close(fd)
		s := &session{v: v, conn: wire.Conn{FD: fd}, cwd: cwd, out: out, signals: signals}
		for _, sig := range came {
			s.hand(sig)
		}
		if rep, ok := s.see(); ok {
			return rep, true
		}
	}
	keys := v.socketKeys()
	for i, key := range keys {
		for _, path := range socketPaths(key) {
			for again := true; again; {
				fd := dial(path)
				if fd < 0 {
					break
				}
				s := &session{v: v, conn: wire.Conn{FD: fd}, cwd: cwd, out: out}
				rep, ok := s.ask(i == len(keys)-1)
				unix.Close(fd)
				if ok {
					return rep, true
				}
				again = s.again
			}
		}
	}
	return nil, false
}

// session is a client's side of one run.
type session struct {
	v       *Invocation
	conn    wire.Conn
	cwd     string
	out     *result
	opened  *paths
	signals int            // pipe with the signals to forward
	end     syscall.Signal // that this process was told to end by
	giveUp  time.Time
	again   bool // to be asked once more, with the secrets that were read
}

// ask sends the request and sees the run to its end.
func (s *session) ask(builtin bool) (*runner.Report, bool) {
	extra, err := s.v.extra()
	if err != nil {
		return refused(runner.StatusSetup, "", err, ""), true
	}
	req := wire.Request{
		Version: wire.Version, Build: buildinfo.Build, Words: s.v.Words, Builtin: builtin,
		Expect: s.v.Expect, Limits: s.v.Limits, Timeout: s.v.Timeout, Chdir: s.v.Chdir,
		Usage: s.out.wanted(), Environ: os.Environ(), Env: extra, Cwd: s.cwd, Secrets: s.v.secrets,
	}
	here, err := unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, false
	}
	err = s.conn.Send(wire.TypeRequest, req.Encode(), 0, 1, 2, here)
	unix.Close(here)
	if err != nil {
		// A descriptor that is not open, a request that is too large, or the
		// daemon ended: it has not begun, since it has not got all.
		return nil, false
	}
	if s.signals, err = runner.TakeSignals(); err != nil {
		return refused(runner.StatusSetup, "take signals", err, ""), true
	}
	return s.see()
}

// see sees the run to its end.
func (s *session) see() (*runner.Report, bool) {
	rep := s.answers()
	switch {
	case rep == nil && s.end != 0: // asked elsewhere, and told to end meanwhile
		rep = s.canceled()
	case rep != nil && (rep.Outcome == runner.Refused || rep.Outcome == runner.SetupError):
		s.opened.discard()
	}
	s.opened.close()
	return rep, rep != nil
}

// answers takes what the daemon says until the report; nil: run it elsewhere.
func (s *session) answers() *runner.Report {
	lost := errors.New("the daemon ended, and every run with it")
	for {
		if !s.wait() {
			return s.canceled()
		}
		t, body, _, err := s.conn.Receive(0)
		if err == unix.EAGAIN {
			continue
		}
		if err == wire.ErrEnd {
			return s.broken(lost)
		}
		if err != nil {
			return s.broken(err)
		}
		switch t {
		case wire.TypeElsewhere:
			if build := string(body); build != buildinfo.Build {
				s.v.foreign = build
			}
			return nil
		case wire.TypeWanted:
			return s.read(body)
		case wire.TypeBegun:
			if len(body) == 8 {
				s.out.first(int(binary.LittleEndian.Uint64(body)))
			}
		case wire.TypeText:
			if err := writeAll(1, string(body)); err != nil {
				return refused(runner.StatusSetup, "write the help", err, "")
			}
		case wire.TypeNeed:
			need, err := wire.DecodeNeed(body)
			if err != nil {
				return s.broken(err)
			}
			if rep := s.give(need); rep != nil {
				return rep
			}
		case wire.TypeDone:
			rep, err := wire.DecodeReport(body)
			if err != nil {
				return s.broken(err)
			}
			return rep
		}
	}
}

// wait waits for the daemon's next word and hands on signals meanwhile. It is
// false when this process was told to end and the daemon does not answer.
func (s *session) wait() bool {
	for {
		ms := -1
		if s.end != 0 {
			if ms = int(time.Until(s.giveUp) / time.Millisecond); ms <= 0 {
				return false
			}
		}
		fds := [2]unix.PollFd{{Fd: int32(s.conn.FD), Events: unix.POLLIN}, {Fd: int32(s.signals), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds[:], ms); err != nil && err != unix.EINTR {
			return true // the receive says what is wrong
		}
		if fds[1].Revents != 0 {
			s.forward()
		}
		if fds[0].Revents != 0 {
			return true
		}
	}
}

// forward hands on what this process was sent. Where it cannot be sent the
// daemon has gone, which the next receive tells.
func (s *session) forward() {
	var b [64]byte
	n, _ := unix.Read(s.signals, b[:])
	for _, sig := range b[:max(n, 0)] {
		s.hand(syscall.Signal(sig))
	}
}

func (s *session) hand(sig syscall.Signal) {
	switch sig {
	case unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM:
		if s.end == 0 {
			s.end, s.giveUp = sig, time.Now().Add(endWait)
		}
	}
	s.conn.Send(wire.TypeSignal, []byte{byte(sig)})
}

// read reads the descriptors that the daemon has found in the words, with this
// process's own rights and for as long as it takes: the daemon does not wait.
// A report ends the call; nil: it is to be asked again.
func (s *session) read(body []byte) *runner.Report {
	wanted, err := wire.DecodeWanted(body)
	if err != nil {
		return s.broken(err)
	}
	s.v.ready = s.readable
	defer func() { s.v.ready = nil }()
	for _, w := range wanted {
		if slices.ContainsFunc(s.v.secrets, func(have wire.Secret) bool { return have.FD == w.FD }) {
			continue
		}
		value, err := s.v.readSecret(w.FD, w.Limit)
		if s.end != 0 {
			return s.canceled()
		}
		s.v.secrets, s.again = append(s.v.secrets, wire.NewSecret(w.FD, value, err)), true
	}
	if !s.again {
		return s.broken(errors.New("it asks for what it has been given"))
	}
	return nil
}

// readable waits until a descriptor can be read, or this process is told to end.
func (s *session) readable(fd int) error {
	for s.end == 0 {
		fds := [2]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(s.signals), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds[:], -1); err != nil && err != unix.EINTR {
			return err
		}
		if fds[1].Revents != 0 {
			s.forward()
		} else if fds[0].Revents != 0 {
			return nil
		}
	}
	return unix.EINTR
}

// give opens what the daemon needs, with this process's own rights. A report
// means that the caller's call is refused here.
func (s *session) give(need *wire.Need) *runner.Report {
	unfit := ""
	if need.Cwd {
		unfit = s.v.unfitHere(s.cwd, need.Access)
	}
	ps := &paths{}
	s.opened = ps
	var fds []int
	if len(need.Paths) > 0 {
		protected := s.v.protected()
		for _, p := range need.Paths {
			_, fd, err := ps.open(&protected, p.Param, p.Access, p.Value)
			if err != nil {
				ps.discard()
				rep := refused(runner.StatusSetup, "", err, "")
				var r *pathRefusal
				if errors.As(err, &r) {
					rep = refused(r.status, "", err, r.hint)
				}
				rep.Via = viaDaemon
				return rep
			}
			fds = append(fds, fd)
		}
	}
	if err := s.conn.Send(wire.TypeGiven, []byte(unfit), fds...); err != nil {
		return s.broken(err)
	}
	return nil
}

// broken is the report of a run whose daemon has gone or speaks nonsense.
func (s *session) broken(err error) *runner.Report {
	r := refused(runner.StatusSetup, "ask the daemon", err, "sbx status; sbx run --direct runs without it")
	r.Via = viaDaemon
	return r
}

// blameBuild names what mends a run that needs the daemon, where the daemon did
// not take it because it is of another build.
func (v *Invocation) blameBuild(r *runner.Report) {
	if v.foreign != "" && errors.Is(r.Err, runner.ErrNeedsDaemon) {
		r.Hint = "the daemon is of another build (" + v.foreign + ") than this sbx (" + buildinfo.Build + "); restart it: systemctl restart sbx"
	}
}

// canceled is the report of a run of which the daemon does not say the end.
func (s *session) canceled() *runner.Report {
	return &runner.Report{ExitCode: 128 + int(s.end), Signal: s.end, Outcome: runner.Canceled, Via: viaDaemon}
}
