package loader

import (
	"errors"

	"github.com/sbx-project/sbx/internal/engine"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/yamlnode"
	"github.com/sbx-project/sbx/policy"
)

// compile gathers and compiles.
func compile(req engine.Request) (*plan.Plan, error) { return compileWith(nil, req) }

// compileWith is compile with filters that are remembered.
func compileWith(filters *engine.Filters, req engine.Request) (*plan.Plan, error) {
	in, err := engine.Gather(req)
	if err != nil {
		return nil, err
	}
	return filters.Compile(in)
}

// located gives an error of the policy its file, line and excerpt.
func located(file string, src []byte, err error) error {
	var e *engine.Error
	if errors.As(err, &e) && e.Pos != (policy.Pos{}) {
		cause := *e
		cause.Pos = policy.Pos{}
		place := yamlnode.Locate(file, src, &policy.Error{Pos: e.Pos, Msg: cause.Error(), Hint: e.Hint})
		return &engine.Error{Status: e.Status, Msg: "", Err: place, Feature: e.Feature, Hint: e.Hint}
	}
	if err == nil {
		return nil
	}
	return yamlnode.Locate(file, src, err)
}
