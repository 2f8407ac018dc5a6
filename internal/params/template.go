package params

import (
	"errors"
	"strconv"
	"strings"

	"github.com/sbx-project/sbx/internal/plan"
)

// Compile takes a manifest's exec.argv apart: the arguments in front that are
// the same for every call, with bundle in place of {{bundle}}, and the words
// from the first template on. list are the declared parameters. An error says
// which argument or parameter is wrong, and is for the manifest's author:
// a template without an end or with an unknown name, a list or a condition
// that is not the whole argument, a condition on what is no bool, a bool
// without one, a parameter that reaches neither an argument nor the view, two
// flags of one name, a default that is not of its type.
func Compile(list []plan.Param, argv []string, bundle string) (front []string, words []plan.Word, err error) {
	used := make([]bool, len(list))
	for _, a := range argv {
		w, err := word(list, used, a, bundle)
		if err != nil {
			return nil, nil, err
		}
		if len(words) == 0 && (len(w) == 0 || len(w) == 1 && w[0].Kind == plan.PartText) {
			text := ""
			if len(w) == 1 {
				text = w[0].Text
			}
			front = append(front, text)
			continue
		}
		words = append(words, w)
	}
	for i := range list {
		p := &list[i]
		if !used[i] && p.Type != plan.ParamPath {
			return nil, nil, errors.New("params: " + strconv.Quote(p.Name) + " is in no argument: write {{" + p.Name + "}} into exec.argv")
		}
		if j, no := find(list, "--no-"+p.Name); p.Type == plan.ParamBool && j >= 0 && !no {
			return nil, nil, errors.New("params: --no-" + p.Name + " is the flag of two parameters")
		}
		if p.HasDefault {
			if err := Check(p, p.Default); err != nil {
				return nil, nil, errors.New("params: default of " + err.Error())
			}
		}
	}
	return front, words, nil
}

// word takes one argument apart. Texts that meet are one part.
func word(list []plan.Param, used []bool, arg, bundle string) (plan.Word, error) {
	wrong := func(why string) error {
		return errors.New("exec.argv: " + quote(arg) + ": " + why)
	}
	var w plan.Word
	text := func(s string) {
		if n := len(w); n > 0 && w[n-1].Kind == plan.PartText {
			w[n-1].Text += s
		} else if s != "" {
			w = append(w, plan.Part{Kind: plan.PartText, Text: s})
		}
	}
	for rest := arg; ; {
		before, after, ok := strings.Cut(rest, "{{")
		text(before)
		if !ok {
			return w, nil
		}
		body, after, ok := strings.Cut(after, "}}")
		if !ok {
			return nil, wrong("the template has no end")
		}
		rest = after
		switch body {
		case "bundle":
			if bundle == "" {
				return nil, wrong("a one-file bundle ships no files")
			}
			text(bundle)
			continue
		case "cwd":
			w = append(w, plan.Part{Kind: plan.PartCwd})
			continue
		}
		name, flag, conditional := strings.Cut(body, "?")
		i := named(list, name)
		whole := arg == "{{"+body+"}}"
		switch {
		case i < 0:
			return nil, wrong(strconv.Quote(name) + " is not a parameter")
		case conditional && (list[i].Type != plan.ParamBool || list[i].List):
			return nil, wrong("only a bool has a condition")
		case conditional && flag == "":
			return nil, wrong("the condition needs a text: {{" + name + "?--" + name + "}}")
		case !conditional && list[i].Type == plan.ParamBool:
			return nil, wrong("a bool has no text of its own: {{" + name + "?--" + name + "}}")
		case (list[i].List || conditional) && !whole:
			return nil, wrong("{{" + body + "}} must be the whole argument")
		}
		used[i] = true
		part := plan.Part{Kind: plan.PartParam, Param: uint32(i)}
		if conditional {
			part.Kind, part.Text = plan.PartFlag, flag
		}
		w = append(w, part)
	}
}

func named(list []plan.Param, name string) int {
	for i := range list {
		if list[i].Name == name {
			return i
		}
	}
	return -1
}
