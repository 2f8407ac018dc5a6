package daemon

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/ctl"
	"github.com/sbx-project/sbx/internal/params"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/wire"
	"github.com/sbx-project/sbx/runner"
)

const viaDaemon = "daemon"

// call is one request under way.
type call struct {
	s      *Server
	conn   wire.Conn
	caller Caller
	start  time.Time
	req    *wire.Request
	cmd    Command
	name   string
	fds    []int // what came with the request
	given  []int // what came for path parameters
	// secrets is what came for secret parameters, by descriptor.
	secrets map[int]*wire.Secret
	// leave gives the turn to the next, once.
	leave func()
}

// answer takes one request and answers it. It owns fd.
//
// Trust boundary. Who controls the input: a local user, who may send anything,
// nothing, or stop half way. What privilege is held: the daemon's, root in the
// usual case. What has been checked: who he is (SO_PEERCRED), and that he may
// hold one more connection. What fails closed: every wait has a timeout, every
// size a bound, every descriptor that came is closed, and whatever is not
// understood ends this connection alone. Until he is heard he costs no thread,
// and only so many are heard at once.
func (s *Server) answer(fd int, caller Caller) {
	defer s.busy.Done()
	defer unix.Close(fd)
	patience := unix.NsecToTimeval(int64(s.cfg.Bounds.Patience))
	for _, o := range [...]int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, o, &patience) != nil {
			return
		}
	}
	c := &call{s: s, conn: wire.Conn{FD: fd}, caller: caller, start: time.Now()}
	leave := s.quota.hear(caller.UID, s.ending)
	if leave == nil {
		s.quota.drop(caller.UID)
		c.conn.Send(wire.TypeElsewhere, nil)
		return
	}
	c.leave = sync.OnceFunc(leave)
	defer c.leave()
	inRate := s.quota.ask(caller.UID, time.Now())
	c.conn.Until = time.Now().Add(s.cfg.Bounds.Patience)
	defer func() {
		wire.CloseAll(c.fds)
		wire.CloseAll(c.given)
	}()
	t, body, fds, err := c.conn.Receive(wire.Descriptors)
	c.fds = fds
	if err == wire.ErrEnd {
		return
	}
	if err == nil && t != wire.TypeRequest {
		err = wire.ErrMalformed
	}
	if err == nil && len(fds) != wire.Descriptors {
		err = errors.New("request with " + strconv.Itoa(len(fds)) + " descriptors")
	}
	if err == nil {
		c.req, err = wire.DecodeRequest(body)
	}
	if err != nil {
		c.turnDown(refusal(runner.StatusSetup, err, ""))
		return
	}
	if c.req.Version != wire.Version || c.req.Build != s.cfg.Build || s.draining.Load() || s.direct && caller.UID == 0 {
		c.elsewhere()
		return
	}
	if !inRate {
		c.turnDown(refusal(runner.StatusSetup, errors.New("user "+decimal(caller.UID)+" asks too often"), "wait a moment"))
		return
	}
	c.run()
}

func decimal(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// refusal is the report of a call that does not come to a launch.
func refusal(status int, err error, hint string) *runner.Report {
	r := &runner.Report{ExitCode: status, Outcome: runner.Refused, Err: err, Hint: hint}
	if status == runner.StatusSetup {
		r.Outcome = runner.SetupError
	}
	return r
}

// turnDown tells the observer and the caller that a call is refused.
func (c *call) turnDown(r *runner.Report) {
	r.Via = viaDaemon
	reason := string(r.Outcome)
	if r.Err != nil {
		reason = r.Err.Error()
	}
	if r.Step != "" {
		reason = r.Step + ": " + reason
	}
	c.s.cfg.Observer.Refused(Refusal{Caller: c.caller, Command: c.name, Status: r.ExitCode, Reason: reason, Time: c.start})
	c.conn.Send(wire.TypeDone, wire.EncodeReport(r))
}

// elsewhere tells the caller to run it by himself.
func (c *call) elsewhere() { c.conn.Send(wire.TypeElsewhere, []byte(c.s.cfg.Build)) }

// asked is the name in the words as far as it can be one: what is told to
// others of a call that nobody knows.
func asked(words []string) string {
	name := words[0]
	for i := 0; i < len(name); i++ {
		if ch := name[i]; i == 300 || ch != '-' && ch != '.' && (ch < '0' || ch > '9') && (ch < 'a' || ch > 'z') {
			return name[:i]
		}
	}
	return name
}

// run finds the command, checks the call and carries it out.
func (c *call) run() {
	c.name = asked(c.req.Words)
	cmd, err := c.s.cfg.Commands.Lookup(c.req.Words)
	if cmd.Done != nil {
		defer cmd.Done()
	}
	if err == nil && cmd.Builtin && !c.req.Builtin {
		err = ErrElsewhere
	}
	if errors.Is(err, ErrElsewhere) {
		c.elsewhere()
		return
	}
	var r *RefusedError
	if errors.As(err, &r) {
		c.turnDown(refusal(r.Status, r.Err, r.Hint))
		return
	}
	if err != nil {
		c.turnDown(refusal(runner.StatusRefused, err, ""))
		return
	}
	c.cmd, c.name = cmd, cmd.Plan.Command
	if !allowed(&c.caller, &cmd) {
		c.turnDown(refusal(runner.StatusRefused, errors.New("user "+decimal(c.caller.UID)+" may not run "+strconv.Quote(c.name)),
			"allow in its manifest names users and groups"))
		return
	}
	if cmd.Plan.Refusal != "" {
		c.turnDown(ctl.Quarantined(cmd.Plan))
		return
	}
	o, report := c.options()
	if report != nil {
		c.turnDown(report)
		return
	}
	if o.Plan == nil {
		return // answered
	}
	if !c.s.quota.begin(c.caller.UID, c.start) {
		c.turnDown(refusal(runner.StatusSetup, errBusy, "wait until one of them has ended"))
		return
	}
	defer c.s.quota.end(c.caller.UID)
	c.leave()
	c.launch(o)
}

// options turns the request into a run. A report refuses it; without a plan it
// is answered.
func (c *call) options() (runner.Options, *runner.Report) {
	p := *c.cmd.Plan // its limits, and the rights of its view, may become tighter
	v := &ctl.Invocation{Expect: c.req.Expect, Limits: c.req.Limits, Timeout: c.req.Timeout, Chdir: c.req.Chdir}
	if c.req.Chdir != "" && !strings.HasPrefix(c.req.Chdir, "/") {
		return runner.Options{}, refusal(runner.StatusSetup, errors.New("--chdir must be absolute"), "")
	}
	if r := v.Unexpected(&p); r != nil {
		return runner.Options{}, r
	}
	o, r := v.Options(&p, c.req.Environ, c.req.Env)
	if r != nil {
		return o, r
	}
	words := c.req.Words[c.cmd.Used:]
	o.Args = words
	var values []params.Value
	if p.Declared {
		var err error
		values, err = params.Parse(p.Params, words)
		if errors.Is(err, params.ErrHelp) {
			c.conn.Send(wire.TypeText, []byte(params.Help(&p)))
			c.conn.Send(wire.TypeDone, wire.EncodeReport(&runner.Report{
				Outcome: runner.OK, Step: "help", Command: p.Command, Version: p.Version, Revision: p.Revision, Generation: p.Generation, Via: viaDaemon,
			}))
			return runner.Options{}, nil
		}
		if err != nil {
			return o, ctl.Misused(&p, err)
		}
		if wanted := c.wanted(&p, values); wanted != nil {
			c.conn.Send(wire.TypeWanted, wanted.Encode())
			return runner.Options{}, nil
		}
		if err := params.Secrets(p.Params, values, c.secret); err != nil {
			return o, ctl.Misused(&p, err)
		}
	}
	if r := c.take(&o, &p, values); r != nil || o.Plan == nil {
		return o, r
	}
	if p.Declared || len(p.Words) > 0 {
		args, err := params.Expand(p.Words, p.Params, values, o.Cwd)
		if err != nil {
			return o, ctl.Misused(&p, err)
		}
		if o.Args = args; !p.Declared {
			o.Args = append(o.Args, words...)
		}
	}
	return o, nil
}

// usesCwd tells whether an argument, or a mask, holds the path of the caller's
// working directory.
func usesCwd(p *plan.Plan) bool {
	for i := range p.Masks {
		if p.Masks[i].Cwd {
			return true
		}
	}
	for _, w := range p.Words {
		for i := range w {
			if w[i].Kind == plan.PartCwd {
				return true
			}
		}
	}
	return false
}

// launch carries the run out and tells everybody how it ended.
func (c *call) launch(o runner.Options) {
	p := o.Plan
	if c.caller.UID != 0 {
		o.HostUID, o.HostGID = c.caller.UID, c.caller.GID
	}
	key := poolKey{c.cmd.Plan, o.HostUID, o.HostGID}
	warm := c.s.pool.get(key, &o)
	if o.ID = c.s.nextID(c.start); warm != nil {
		o.ID = warm.ID()
	}
	info := RunInfo{
		Run: o.ID, Command: p.Command, Version: p.Version, Revision: p.Revision, Generation: p.Generation,
		Caller: c.caller, Start: c.start, Args: len(c.req.Words) - c.cmd.Used,
	}
	if err := c.s.cfg.Observer.RunStarted(info); err != nil {
		if warm != nil {
			warm.Discard()
		}
		c.turnDown(unstarted(info, err))
		return
	}
	l := &live{info: info, fd: c.conn.FD}
	c.s.mu.Lock()
	c.s.runs[info.Run] = l
	c.s.mu.Unlock()
	files := [3]int{c.fds[0], c.fds[1], c.fds[2]}
	o.Files, o.Control, o.Via, o.Leaves, o.Usage = &files, c.conn.FD, viaDaemon, c.s.leaves, c.req.Usage
	o.Audited = c.s.cfg.Audited
	o.Started = func(pid int) {
		l.pid.Store(int64(pid))
		if o, ok := c.s.cfg.Observer.(LaunchObserver); ok {
			o.RunLaunched(info, time.Since(c.start))
		}
		c.conn.Send(wire.TypeBegun, binary.LittleEndian.AppendUint64(nil, uint64(pid)))
	}
	var report *runner.Report
	if warm != nil {
		report = warm.Run(o)
	} else {
		report = runner.Run(o)
	}
	c.s.mu.Lock()
	delete(c.s.runs, info.Run)
	l.fd = -1
	c.s.mu.Unlock()
	c.s.cfg.Commands.Ended(c.cmd, report)
	c.s.cfg.Observer.RunEnded(info, report)
	c.conn.Send(wire.TypeDone, wire.EncodeReport(report))
	c.s.pool.refill(key)
}
