package ctl

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/early"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/runner"
)

// way is how a plan was found, for an image of the call (internal/early).
type way struct {
	// file is the plan's file as it was before it was read, missed are those
	// that were looked for first.
	file   plan.Stamp
	missed []string
}

// look stamps the file of a plan that is about to be read.
func (w *way) look(path string) {
	if w.file.Path != "" {
		w.missed = append(w.missed, w.file.Path)
	}
	w.file = stampOf(path, false)
}

// stampOf is the stamp of a path as it is. passage: of a directory on the way
// to something, or not there.
func stampOf(path string, passage bool) plan.Stamp {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return plan.Stamp{Path: path, Absent: true}
	}
	return plan.Stamp{
		Path: path, Dev: st.Dev, Ino: st.Ino, Size: st.Size, MtimeNs: st.Mtim.Nano(), CtimeNs: st.Ctim.Nano(),
		Passage: passage, Mode: st.Mode, UID: st.Uid,
	}
}

// draft begins an image of this call, where one can be kept; nil: none.
func (v *Invocation) draft(p *plan.Plan) *early.Draft {
	if v.way.file.Path == "" || v.way.file.Absent || p.Declared || len(p.Words) > 0 {
		return nil
	}
	return early.Begin()
}

// keep writes the image of a call that went well.
func (v *Invocation) keep(d *early.Draft, p *plan.Plan, used int, laid *runner.Laid) {
	w := early.Way{Plan: p, Used: used, Launch: laid, ShowsCwd: ShowsCwd(p) != 0}
	w.Stamps = append(w.Stamps, v.way.file)
	// The plan's file is believed for the sake of the directories above it; those
	// above the state directory are looked at for the image itself.
	for dir := v.way.file.Path; dir != state.Dir(); {
		dir = dir[:strings.LastIndexByte(dir, '/')]
		w.Stamps = append(w.Stamps, stampOf(dir, true))
	}
	absent := func(path string) { w.Stamps = append(w.Stamps, plan.Stamp{Path: path, Absent: true}) }
	for _, path := range v.way.missed {
		absent(path)
	}
	if d := laid.Denied; d != "" && !strings.HasSuffix(d, "/sbx") {
		absent(d + "/sbx")
	}
	if !v.Exec {
		absent(state.UnfinishedPath(state.Dir(), p.Key))
		if !v.Direct {
			for _, key := range v.socketKeys() {
				for _, path := range socketPaths(key) {
					absent(path)
				}
			}
		}
		if p.Counts && p.Journal {
			w.Journal = state.Dir() + "/" + p.Key
		}
	}
	if w.ShowsCwd {
		// What the judgement of the working directory looked at.
		w.Stamps = append(w.Stamps, stampOf("/etc/passwd", false))
		protected := v.protected()
		for _, d := range protected.dirs {
			w.Stamps = append(w.Stamps, stampOf(d.named, true), stampOf(d.real, true))
		}
		for _, home := range protected.homes {
			w.Stamps = append(w.Stamps, stampOf(home, true))
		}
	}
	d.Keep(w) // a cache: without it the next call takes the long way
}

// adopt sees a run to its end that was launched before the runtime was there.
func (v *Invocation) adopt(t *early.Run, out *result) (*runner.Report, *plan.Plan) {
	p, err := plan.Decode(t.Plan)
	if err != nil {
		runner.Abandon(&t.Adopt)
		return refused(runner.StatusSetup, "adopt the run", err, ""), nil
	}
	o, rep := v.options(p, workingDir())
	if rep != nil {
		runner.Abandon(&t.Adopt)
		return rep, nil
	}
	o.Adopt, o.Started, o.Usage = &t.Adopt, out.first, out.wanted()
	r := runner.Run(o)
	if r.Unlaunched {
		return v.run(out)
	}
	return r, p
}
