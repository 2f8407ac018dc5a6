// Package params turns what a caller typed after a command's name into the
// values of its declared parameters ([Parse]), and those into arguments
// ([Expand]). Both work on the compiled form in a plan; [Compile] makes it
// from a manifest's templates when a bundle is loaded.
//
// The promise: a value becomes part of one argument, or, of a list, one
// argument of its own; it is never split, never looked at for templates and
// never seen by a shell; and unless the manifest says so, a value that begins
// with '-' does not become an argument that a program would read as an
// option. What the program makes of a value that it is given is not held
// here: that is its policy's business.
//
// It is linked into the small executable: strings and numbers only.
package params

import (
	"errors"
	"strconv"
	"strings"

	"github.com/sbx-project/sbx/internal/plan"
)

// Bounds of what one call can make. The kernel takes 2 MiB of arguments with
// a stack of 8 MiB, and MAX_ARG_STRLEN of each (execve(2)); at half of these
// what a shell can hand over would be refused here, at twice the kernel would
// refuse it.
const (
	// MaxArgs is how many arguments a caller may give, and how many Expand
	// makes.
	MaxArgs = 1 << 15
	// MaxBytes bounds the arguments together.
	MaxBytes = 2 << 20
	// maxArg is MAX_ARG_STRLEN less the NUL.
	maxArg = 128<<10 - 1
)

// ErrHelp says that the caller asked for help.
var ErrHelp = errors.New("help is asked for")

// Value is what one parameter got.
type Value struct {
	// Items are the values, one unless the parameter is a list; none: it has
	// no value, and a bool is false.
	Items []string
	// Given is set when the caller gave them; else they are the manifest's
	// default.
	Given bool
	// read is set once Secrets has put the value of a secret in place.
	read bool
}

// Parse reads the caller's arguments. The result has one Value for each
// parameter, in their order; every item has passed [Check], but for those of
// secret ones, which are @FD until [Secrets] has read them. The error is
// ErrHelp when --help stands where a flag may stand, else it says which
// argument is wrong, and is for the caller to read.
//
// Trust boundary. Who controls the input: the caller, who may be anybody. What
// privilege is held: the supervisor's. What has been checked: nothing. What
// fails closed: an argument that is not declared, or a value that does not fit
// its parameter, ends the call before anything is opened.
func Parse(list []plan.Param, args []string) ([]Value, error) {
	if len(args) > MaxArgs {
		return nil, errors.New("more than " + strconv.Itoa(MaxArgs) + " arguments")
	}
	values := make([]Value, len(list))
	// Bare values are put in place at the end, so that a parameter that was
	// given by name, before or behind, is left out. (Items of a list that
	// were given by name therefore come first.)
	var bare []string
	flags := true
	for len(args) > 0 {
		a := args[0]
		args = args[1:]
		if !flags || len(a) < 2 || a[0] != '-' {
			bare = append(bare, a)
			continue
		}
		if a == "--" {
			flags = false
			continue
		}
		name, value, has := strings.Cut(a, "=")
		if name == "--help" && !has {
			return nil, ErrHelp
		}
		i, no := find(list, name)
		switch {
		case i < 0:
			return nil, errors.New("unknown flag " + strconv.Quote(name))
		case no && has:
			return nil, errors.New(name + " takes no value")
		case no:
			value = "false"
		case list[i].Type == plan.ParamBool && !has:
			value = "true"
		case !has && len(args) == 0:
			return nil, errors.New(name + " needs a value")
		case !has:
			value, args = args[0], args[1:]
		}
		if err := take(list, values, i, value); err != nil {
			return nil, err
		}
	}
	if err := positions(list, values, bare); err != nil {
		return nil, err
	}
	for i := range list {
		p := &list[i]
		switch {
		case values[i].Given:
		case p.HasDefault:
			if err := Check(p, p.Default); err != nil {
				return nil, errors.New("default of " + err.Error())
			}
			values[i].Items = []string{p.Default}
		case p.Required:
			return nil, errors.New("--" + p.Name + " is missing")
		}
	}
	return values, nil
}

// find returns the parameter that a flag names, or -1; no is set for the
// --no-NAME of a bool.
func find(list []plan.Param, flag string) (i int, no bool) {
	name, ok := strings.CutPrefix(flag, "--")
	if !ok {
		return -1, false
	}
	for i := range list {
		if list[i].Name == name {
			return i, false
		}
	}
	if name, ok = strings.CutPrefix(name, "no-"); ok {
		for i := range list {
			if list[i].Name == name && list[i].Type == plan.ParamBool {
				return i, true
			}
		}
	}
	return -1, false
}

// take adds a value that the caller gave.
func take(list []plan.Param, values []Value, i int, value string) error {
	p, v := &list[i], &values[i]
	if v.Given && !p.List {
		return errors.New("--" + p.Name + " is given twice")
	}
	err := error(nil)
	if p.Secret {
		_, err = secretFD(p, value)
	} else {
		err = Check(p, value)
	}
	if err != nil {
		return err
	}
	v.Items, v.Given = append(v.Items, value), true
	return nil
}

// positions gives the values without a name to the parameters that may have
// one: in the order of positions those that were not given by name, then the
// list.
func positions(list []plan.Param, values []Value, bare []string) error {
	next := uint64(1)
	for _, value := range bare {
		i := -1
		for i < 0 {
			at := position(list, next)
			if at < 0 {
				break
			}
			if list[at].List || !values[at].Given {
				i = at
			} else {
				next++
			}
		}
		if i < 0 {
			return errors.New("unexpected argument " + strconv.Quote(value))
		}
		if err := take(list, values, i, value); err != nil {
			return err
		}
	}
	return nil
}

// position returns the parameter with that position, or -1.
func position(list []plan.Param, n uint64) int {
	for i := range list {
		if list[i].Position == n {
			return i
		}
	}
	return -1
}
