package policy

import (
	"errors"
	"strconv"
)

// ErrNotBuilt marks a key or value that the contract reserves for a later
// issue. A command answers it with exit status 125.
var ErrNotBuilt = errors.New("not built yet")

// Error is a refusal with its place in the source.
type Error struct {
	// Pos is where; zero when unknown.
	Pos Pos
	// Msg says what is wrong: lower case, no full stop.
	Msg string
	// Hint says what to write instead; it may be empty.
	Hint string
	// Err is ErrNotBuilt or nil.
	Err error
}

// Error returns "LINE:COL: MESSAGE", without the position when there is none.
func (e *Error) Error() string {
	if e.Pos == (Pos{}) {
		return e.Msg
	}
	return e.Pos.String() + ": " + e.Msg
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// String returns "LINE:COL".
func (p Pos) String() string {
	return strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Col)
}

// notBuilt is the error of a reserved key or value.
func notBuilt(pos Pos, what string) error {
	return &Error{
		Pos:  pos,
		Msg:  what + ": " + ErrNotBuilt.Error(),
		Hint: "take it out; this version refuses what it cannot hold",
		Err:  ErrNotBuilt,
	}
}
