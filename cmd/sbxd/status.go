package main

import (
	"errors"
	"io/fs"

	"github.com/sbx-project/sbx/internal/engine"
	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/internal/yamlnode"
	"github.com/sbx-project/sbx/policy"
	"github.com/sbx-project/sbx/registry"
)

// statusError is an error with its exit status. An empty message is said
// already.
type statusError struct {
	status int
	err    error
	hint   string
}

func (e *statusError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}
func (e *statusError) Unwrap() error { return e.err }

// statusOf is the one place that turns an error into an exit status (SPEC 2)
// and hints.
func statusOf(err error) (status int, hints []string) {
	var (
		own   *statusError
		bad   *loader.RejectedError
		eng   *engine.Error
		owner *safefs.OwnerError
		kind  *safefs.KindError
		none  *registry.UnknownError
		text  *yamlnode.Error
		stock *policy.Error
	)
	if errors.As(err, &text) {
		hints = append(hints, text.Excerpt(), text.Hint())
	} else if errors.As(err, &stock) {
		hints = append(hints, stock.Hint)
	}
	var hinted interface{ Hint() string }
	if text == nil && !errors.As(err, &owner) && errors.As(err, &hinted) {
		hints = append(hints, hinted.Hint())
	}
	switch {
	case errors.As(err, &own):
		return own.status, append(hints, own.hint)
	case errors.As(err, &eng):
		if text == nil {
			hints = append(hints, eng.Hint)
		}
		// A mistake that has a place in a bundle, as an unknown key has, is the
		// bundle's; what has none, as a lack of descriptors, is not.
		if text != nil && errors.As(err, &bad) && eng.Status == engine.StatusSetup && eng.Feature == "" && !errors.Is(err, policy.ErrNotBuilt) {
			return 126, hints
		}
		return eng.Status, hints
	case errors.Is(err, policy.ErrNotBuilt):
		return 125, hints
	case errors.As(err, &bad):
		if errors.As(err, &owner) {
			hints = append(hints, owner.Hint())
		}
		return 126, hints
	case errors.As(err, &owner):
		return 126, append(hints, owner.Hint())
	case errors.Is(err, loader.ErrRefused), errors.As(err, &kind), errors.Is(err, registry.ErrTree), errors.Is(err, fs.ErrPermission):
		return 126, hints
	case errors.As(err, &none):
		for _, c := range none.Children {
			hints = append(hints, childOf(none.Group, c))
		}
		return 127, hints
	}
	return 125, hints
}

func childOf(group, child string) string {
	if group == "" {
		return "sbx run " + child
	}
	return "sbx run " + group + "." + child
}
