package main

import (
	"slices"
	"strings"
	"time"

	"github.com/sbx-project/sbx/internal/admin"
	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/internal/observe"
)

// known shows the served commands to operators: observe.Registry.
type known struct{ commands *commands }

// Generation is that of the served registry.
func (k known) Generation() uint64 { return k.commands.generation() }

// Commands lists every command by name.
func (k known) Commands() []admin.Command {
	view := k.commands.set.View()
	now := time.Now()
	out := make([]admin.Command, 0, view.Len())
	for _, e := range view.All() {
		out = append(out, observe.Command(e.Counted(), now, e.Revoked, e.Registry))
	}
	slices.SortFunc(out, func(a, b admin.Command) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Generations lists those of the served registry, newest first.
func (k known) Generations() ([]admin.Generation, error) {
	list, err := k.commands.set.First().History()
	out := []admin.Generation{}
	for _, i := range list {
		if i.Err == nil {
			out = append(out, admin.Generation{Generation: i.Generation, Time: i.Time.UTC(), By: i.By, Why: i.Why, Changed: i.Changed})
		}
	}
	return out, err
}

// Operate carries out an operator's act.
func (k known) Operate(by string, act admin.Act, expected *uint64) (admin.Operated, error) {
	return k.commands.operate(by, act, expected)
}

// revisions counts by state.
func (k known) revisions() map[string]int {
	counts := map[string]int{}
	for _, e := range k.commands.set.View().All() {
		for _, r := range e.Command.Revisions {
			counts[r.State.String()]++
		}
	}
	return counts
}

// kinds are a loader's in the words of the API.
var kinds = map[loader.Kind]admin.Kind{
	loader.Registered: admin.Registered, loader.Replaced: admin.Replaced, loader.Rejected: admin.NotTaken, loader.Reverted: admin.Reverted,
	loader.Quarantined: admin.Quarantine, loader.Rebuilt: admin.Rebuilt, loader.Retired: admin.RetiredKind, loader.Damaged: admin.Damaged,
	loader.Distrusted: admin.Distrusted,
}

// changeOf is a loader's event in the words of the API; false for what is
// told by other means: Violated with the run's report.
func changeOf(e loader.Event) (observe.Change, bool) {
	kind, ok := kinds[e.Kind]
	return observe.Change{
		Kind: kind, Command: e.Name, Run: e.Run, Version: e.Version, Revision: e.Digest, InForce: e.InForce, To: e.To, Generation: e.Generation,
		Verdict: int(e.Code), Operator: e.Operator, Reason: e.Reason,
	}, ok
}
