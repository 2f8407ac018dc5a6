package daemon

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/runner"
)

// teller notes what it was told, and refuses to record a run when told so.
type teller struct {
	heard  []string
	refuse error
}

func (o *teller) RunStarted(i RunInfo) error {
	o.heard = append(o.heard, "started "+i.Run)
	return o.refuse
}

func (o *teller) RunEnded(i RunInfo, r *runner.Report) {
	o.heard = append(o.heard, "ended "+i.Run+" "+string(r.Outcome))
}
func (o *teller) Refused(r Refusal) { o.heard = append(o.heard, "refused "+r.Command) }
func (o *teller) Reloaded(Reload)   { o.heard = append(o.heard, "reloaded") }

// TestObserversRefuse: one observer that cannot record a run refuses it, and
// those that were told before learn that it did not come about.
func TestObserversRefuse(t *testing.T) {
	full := errors.New("disk full")
	first, second, third := &teller{}, &teller{refuse: full}, &teller{}
	all := Observers{first, second, third}
	if err := all.RunStarted(RunInfo{Run: "r"}); !errors.Is(err, full) {
		t.Fatalf("RunStarted gives %v, want %v", err, full)
	}
	all.Refused(Refusal{Command: "c"})
	all.Reloaded(Reload{})
	want := [][]string{
		{"started r", "ended r refused", "refused c", "reloaded"},
		{"started r", "refused c", "reloaded"},
		{"refused c", "reloaded"},
	}
	if d := cmp.Diff(want, [][]string{first.heard, second.heard, third.heard}); d != "" {
		t.Errorf("(-want +got) %s", d)
	}
}
