package loader

import (
	"bytes"
	"errors"

	"github.com/sbx-project/sbx/internal/engine"
	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/filter"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/policy"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/life"
)

// InForce is what a plan in force was made of, for people who look at it.
type InForce struct {
	// State is that of the revision; candidate where no state is kept.
	State string
	// Policy is resolved.
	Policy policy.Policy
	// Families are the address families that socket(2) may make, sorted.
	Families []string
	// Ruleset is what the plan's filter was compiled from.
	Ruleset filter.Ruleset
}

// errOther: what is read is not what runs.
var errOther = errors.New("the filter in force is not that of its policy on this host as it is now; sbx reload, or run it once")

// Explain finds the revision of a plan in the store, else in its registry, and
// compiles its rules once more: they are told only when they give the filter
// that the plan has, so that nobody reads what is not in force.
func Explain(places []Place, p *plan.Plan, o Options) (InForce, error) {
	out := InForce{State: life.Candidate.String()}
	var b registry.Bundle
	found := false
	for _, place := range places {
		if place.Key != p.Key {
			continue
		}
		v, err := Look(place, o)
		if err != nil {
			return out, err
		}
		if r, ok := v.Snapshot.Commands[p.Command].Revision(p.Revision); ok {
			out.State = r.State.String()
		}
		var missing *RevisionError
		if b, found, err = storedIn(place, p.Command, p.Revision); err != nil && !errors.As(err, &missing) {
			return out, err
		}
		if found = found && err == nil; found {
			break
		}
		disk, err := place.Reader()
		if err != nil {
			return out, err
		}
		if b, err = disk.Load(p.Command); err != nil {
			return out, &RejectedError{err}
		}
		found = b.Digest == p.Revision
		break
	}
	if !found {
		return out, &RevisionError{Name: p.Command, At: p.Revision}
	}
	req, err := engine.ForBundle(&b, p.Generation, p.Build, feature.Probe())
	if err != nil {
		return out, located(b.File, b.Source, err)
	}
	req.NamesUsers = true // the plan was made; whose ids it has is in it
	in, err := engine.Gather(req)
	if err == nil {
		out.Policy = in.Policy
		out.Ruleset, err = engine.Ruleset(in)
	}
	if err == nil {
		out.Families, err = engine.Families(in)
	}
	if err != nil {
		return out, located(b.File, b.Source, err)
	}
	program, err := filter.Compile(out.Ruleset)
	if err != nil {
		return out, err
	}
	if !bytes.Equal(program.Insns, p.Filter.Insns) {
		return out, errOther
	}
	return out, nil
}
