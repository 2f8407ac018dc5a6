package engine

import (
	"fmt"

	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/policy"
)

// The exit statuses of refusals (SPEC section 2).
const (
	// StatusSetup: sbx refused or broke before the program was executed.
	StatusSetup = 125
	// StatusRefused: the program was found and may not be executed.
	StatusRefused = 126
	// StatusNotFound: there is no such program.
	StatusNotFound = 127
)

// Error is a refusal.
type Error struct {
	// Status is StatusSetup, StatusRefused or StatusNotFound.
	Status int
	// Pos is the place in the policy's source; zero when it has none.
	Pos policy.Pos
	// Msg says what is refused: lower case, no full stop.
	Msg string
	// Hint says what to do; may be empty.
	Hint string
	// Feature is the name of the host's feature that is missing; empty when
	// the cause is another one.
	Feature string
	// Err is the cause, or nil.
	Err error
}

// Error returns position, message and cause.
func (e *Error) Error() string {
	s := e.Msg
	switch {
	case e.Err != nil && s == "":
		s = e.Err.Error()
	case e.Err != nil:
		s += ": " + e.Err.Error()
	}
	if e.Pos != (policy.Pos{}) {
		s = e.Pos.String() + ": " + s
	}
	return s
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

func refuse(pos policy.Pos, hint, format string, args ...any) *Error {
	return &Error{Status: StatusSetup, Pos: pos, Hint: hint, Msg: fmt.Sprintf(format, args...)}
}

func notBuilt(pos policy.Pos, what string) *Error {
	return &Error{
		Status: StatusSetup, Pos: pos, Err: policy.ErrNotBuilt, Msg: what,
		Hint: "take it out; this version refuses what it cannot hold",
	}
}

// lacking refuses for want of a feature, with its minimum kernel and fix.
func lacking(pos policy.Pos, features feature.Set, name, what string) *Error {
	f, ok := features.Get(name)
	if !ok {
		f, _ = feature.Known(name)
	}
	e := &Error{Status: StatusSetup, Pos: pos, Feature: name, Hint: f.Fix}
	e.Msg = fmt.Sprintf("%s needs %s (Linux %s), which is not here", what, name, f.MinKernel)
	if f.Detail != "" {
		e.Msg += ": " + f.Detail
	}
	return e
}

// bug marks what cannot happen.
func bug(err error) *Error {
	return &Error{Status: StatusSetup, Msg: "this is a bug in sbx", Err: err}
}
