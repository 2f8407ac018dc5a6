package params

import (
	"strconv"
	"strings"

	"github.com/sbx-project/sbx/internal/plan"
)

// Usage is the one line that shows how a command is called: flags in the order
// of the manifest, then what may stand without a name.
func Usage(p *plan.Plan) string {
	out := "sbx run " + p.Command
	for i := range p.Params {
		q := &p.Params[i]
		if q.Position > 0 {
			continue
		}
		out += " " + optional(q, flag(q))
	}
	for n := uint64(1); n <= uint64(len(p.Params)); n++ {
		if i := position(p.Params, n); i >= 0 {
			out += " " + optional(&p.Params[i], strings.ToUpper(p.Params[i].Name))
		}
	}
	return out
}

func optional(q *plan.Param, text string) string {
	if q.List {
		text += "..."
	}
	if !q.Required {
		text = "[" + text + "]"
	}
	return text
}

func flag(q *plan.Param) string {
	if q.Type == plan.ParamBool {
		return "--" + q.Name
	}
	if q.Secret {
		return "--" + q.Name + " @FD"
	}
	return "--" + q.Name + " " + strings.ToUpper(TypeName(q.Type))
}

// Help is what --help prints: usage, summary, and each parameter with its
// type, bounds and default. It ends with a newline.
func Help(p *plan.Plan) string {
	out := "usage: " + Usage(p) + "\n"
	if p.Summary != "" {
		out += "\n" + p.Summary + "\n"
	}
	if len(p.Params) == 0 {
		return out + "\nIt takes no arguments.\n"
	}
	left := make([]string, len(p.Params)+1)
	width := 0
	for i := range p.Params {
		left[i] = flag(&p.Params[i])
		if p.Params[i].Type == plan.ParamBool {
			left[i] += ", --no-" + p.Params[i].Name
		}
		width = max(width, len(left[i]))
	}
	out += "\n"
	for i := range p.Params {
		line := "  " + left[i] + strings.Repeat(" ", width-len(left[i])) + "  " + explain(&p.Params[i])
		out += strings.TrimRight(line, " ") + "\n"
	}
	return out + "  --help" + strings.Repeat(" ", max(0, width-len("--help"))) + "  this text\n"
}

// explain is the right column: the author's line, then what holds.
func explain(q *plan.Param) string {
	var facts []string
	switch q.Access {
	case plan.AccessRead:
		facts = append(facts, "read")
	case plan.AccessWrite:
		facts = append(facts, "written to")
	case plan.AccessCreate:
		facts = append(facts, "created")
	}
	if q.Type == plan.ParamEnum {
		shown := make([]string, len(q.Values))
		for i, v := range q.Values {
			shown[i] = plain(v)
		}
		facts = append(facts, "one of "+strings.Join(shown, ", "))
	}
	if q.Chars != "" {
		facts = append(facts, "characters "+q.Chars)
	}
	if q.Type == plan.ParamString {
		facts = append(facts, "at most "+strconv.FormatUint(q.Max, 10)+" bytes")
	}
	if q.Secret {
		facts = append(facts, "read from descriptor FD, never logged")
	}
	if q.Required {
		facts = append(facts, "required")
	}
	if q.List {
		facts = append(facts, "may be repeated")
	}
	if q.HasDefault {
		facts = append(facts, "default "+plain(q.Default))
	}
	if q.Position > 0 {
		facts = append(facts, "may stand without its name")
	}
	text := strings.Join(facts, "; ")
	switch {
	case q.Help == "":
		return text
	case text == "":
		return q.Help
	}
	return q.Help + " (" + text + ")"
}

// plain shows a value as it is typed where nothing about it is unusual.
func plain(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == ',' || s[i] == '"' {
			return strconv.Quote(s)
		}
	}
	if s == "" {
		return `""`
	}
	return s
}
