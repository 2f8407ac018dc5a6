package wire

import (
	"errors"

	"github.com/sbx-project/sbx/runner"
)

// maxText bounds one text of a report in bytes: longer than any path or
// usage that people read; what is longer is cut.
const maxText = 32 << 10

// Report is a runner.Report on its way to who asked for the run. What its
// error wraps is left behind, the text stays.
type Report struct{ *runner.Report }

func (r Report) walk(c codec) {
	text := func(s *string) {
		if len(*s) > maxText {
			*s = (*s)[:maxText]
		}
		c.str(s)
	}
	num(c, &r.ExitCode)
	num(c, &r.Signal)
	word(c, &r.Outcome)
	text(&r.Step)
	msg := ""
	if r.Err != nil {
		msg = r.Err.Error()
	}
	if text(&msg); msg != "" && r.Err == nil {
		r.Err = errors.New(msg)
	}
	text(&r.Hint)
	c.str(&r.Run)
	c.str(&r.Command)
	c.str(&r.Version)
	c.str(&r.Revision)
	num(c, &r.Generation)
	c.str(&r.Via)
	boolean(c, &r.Counted)
	list(c, &r.Layers, func(l *runner.Layer) {
		c.str(&l.Name)
		word(c, &l.State)
		text(&l.Why)
	})
	list(c, &r.Violations, func(v *runner.Call) {
		c.str(&v.Kind)
		c.str(&v.Syscall)
		num(c, &v.NR)
		c.str(&v.Arch)
		for i := range v.Args {
			c.u64(&v.Args[i])
		}
		num(c, &v.PID)
		text(&v.Comm)
		text(&v.Path)
		text(&v.Address)
		text(&v.Rule)
		text(&v.AllowWith)
	})
	u := &r.Usage
	num(c, &u.Wall)
	num(c, &u.CPUUser)
	num(c, &u.CPUSys)
	for _, n := range [...]*uint64{&u.MemPeak, &u.MaxRSS, &u.PidsPeak, &u.IORead, &u.IOWrite, &u.CtxSwitches} {
		c.u64(n)
	}
	list(c, &r.Changes, text)
	c.str(&r.RevertedTo)
}

// EncodeReport gives the body of a Done message.
func EncodeReport(r *runner.Report) []byte {
	own := *r // texts may be cut
	own.Layers = append([]runner.Layer(nil), r.Layers...)
	own.Violations = append([]runner.Call(nil), r.Violations...)
	own.Changes = append([]string(nil), r.Changes...)
	return encode(Report{&own}.walk)
}

// DecodeReport reads the body of a Done message; ErrMalformed when it is not
// exactly one.
func DecodeReport(b []byte) (*runner.Report, error) {
	r := &runner.Report{}
	if err := decode(b, Report{r}.walk); err != nil {
		return nil, err
	}
	return r, nil
}
