package params

import (
	"errors"
	"strconv"

	"github.com/sbx-project/sbx/internal/plan"
)

// Expand makes the arguments that follow plan.Argv. values are those of Parse,
// with paths replaced by what they lead to; cwd is the caller's working
// directory, absolute, or empty when it has no path. A value that the caller
// gave does not begin an argument with '-', unless its parameter is an enum or
// its chars name '-': `{{file}}` with the value --output=x would be an option
// that the manifest does not mean to give away. Behind a text of the manifest,
// as in `--file={{file}}`, it may be anything. The error is for the caller.
func Expand(words []plan.Word, list []plan.Param, values []Value, cwd string) ([]string, error) {
	for i := range list {
		if list[i].Secret && i < len(values) && len(values[i].Items) > 0 && !values[i].read {
			return nil, errors.New("--" + list[i].Name + " is secret: only sbx run reads it from a descriptor of the caller's")
		}
	}
	e := expansion{list: list, values: values, cwd: cwd}
	for _, w := range words {
		if err := e.word(w); err != nil {
			return nil, err
		}
	}
	return e.out, nil
}

type expansion struct {
	list   []plan.Param
	values []Value
	cwd    string
	out    []string
	bytes  int
}

// errPlan: Compile makes no such plan.
var errPlan = errors.New("the plan names a parameter that it does not have (this is a bug)")

func (e *expansion) word(w plan.Word) error {
	if len(w) == 1 && w[0].Kind == plan.PartParam {
		i := int(w[0].Param)
		if i >= len(e.list) || i >= len(e.values) {
			return errPlan
		}
		for _, item := range e.values[i].Items {
			if err := e.add(item, i); err != nil {
				return err
			}
		}
		return nil
	}
	text, begins := "", -1 // begins is the parameter that the first byte is of
	for _, part := range w {
		piece, from := part.Text, -1
		switch part.Kind {
		case plan.PartText:
		case plan.PartCwd:
			if e.cwd == "" {
				return errors.New("the working directory has no path")
			}
			piece = e.cwd
		case plan.PartParam, plan.PartFlag:
			i := int(part.Param)
			if i >= len(e.list) || i >= len(e.values) {
				return errPlan
			}
			items := e.values[i].Items
			if len(items) == 0 || part.Kind == plan.PartFlag && items[0] != "true" {
				return nil // the whole word vanishes
			}
			if len(items) > 1 {
				return errPlan
			}
			if part.Kind == plan.PartParam {
				piece, from = items[0], i
			}
		default:
			return errPlan
		}
		if text == "" {
			begins = from
		}
		if text += piece; len(text) > maxArg {
			break // what add refuses need not be put together
		}
	}
	return e.add(text, begins)
}

// add appends an argument whose first byte is of the parameter from, -1 for
// the manifest's own.
func (e *expansion) add(arg string, from int) error {
	if from >= 0 && arg != "" && arg[0] == '-' && e.values[from].Given && !mayDash(&e.list[from]) {
		return errors.New("--" + e.list[from].Name + said(&e.list[from], arg) + ": begins with -, so the program would take it for an option")
	}
	if len(arg) > maxArg {
		return errors.New("an argument is longer than " + strconv.Itoa(maxArg) + " bytes")
	}
	e.bytes += len(arg) + 1
	if len(e.out) == MaxArgs || e.bytes > MaxBytes {
		return errors.New("more than " + strconv.Itoa(MaxArgs) + " arguments or " + strconv.Itoa(MaxBytes) + " bytes of them")
	}
	e.out = append(e.out, arg)
	return nil
}
