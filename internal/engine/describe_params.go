package engine

import (
	"fmt"
	"strings"

	"github.com/sbx-project/sbx/internal/params"
	"github.com/sbx-project/sbx/internal/plan"
)

// describeParams says what follows the fixed arguments.
func describeParams(line func(string, string, ...any), p *plan.Plan) {
	for _, w := range p.Words {
		line("word", "%s", wordText(p, w))
	}
	if !p.Declared {
		return
	}
	if len(p.Params) == 0 {
		line("params", "none: it takes no arguments")
	}
	for i := range p.Params {
		line("param", "%s", paramText(&p.Params[i]))
	}
}

// wordText is a word in the manifest's notation, its texts quoted.
func wordText(p *plan.Plan, w plan.Word) string {
	out := ""
	for _, part := range w {
		name := "?"
		if int(part.Param) < len(p.Params) {
			name = p.Params[part.Param].Name
		}
		switch part.Kind {
		case plan.PartText:
			out += fmt.Sprintf("%q", part.Text)
		case plan.PartParam:
			out += "{{" + name + "}}"
		case plan.PartFlag:
			out += fmt.Sprintf("{{%s?%q}}", name, part.Text)
		case plan.PartCwd:
			out += "{{cwd}}"
		}
	}
	if out == "" {
		return `""`
	}
	return out
}

func paramText(q *plan.Param) string {
	w := []string{q.Name, params.TypeName(q.Type)}
	if q.List {
		w[1] = "[" + w[1] + "]"
	}
	if q.Position > 0 {
		w = append(w, fmt.Sprintf("position=%d", q.Position))
	}
	if q.Required {
		w = append(w, "required")
	}
	if q.HasDefault {
		w = append(w, fmt.Sprintf("default=%q", q.Default))
	}
	if q.Chars != "" {
		w = append(w, fmt.Sprintf("chars=%q", q.Chars))
	}
	if q.Access != 0 {
		w = append(w, [...]string{plan.AccessRead: "read", plan.AccessWrite: "write", plan.AccessCreate: "create"}[q.Access])
	}
	if q.Type == plan.ParamEnum {
		w = append(w, fmt.Sprintf("values=%q", q.Values))
	}
	return strings.Join(append(w, fmt.Sprintf("max=%d", q.Max)), " ")
}
