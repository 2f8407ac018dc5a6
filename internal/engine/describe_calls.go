package engine

import (
	"fmt"
	"strings"

	"github.com/sbx-project/sbx/internal/filter"
	"github.com/sbx-project/sbx/policy"
)

// textWidth is where lists of names are broken, for terminals.
const textWidth = 100

// DescribePolicy returns a resolved policy in its canonical form and what it
// comes to, in lines as those of [Describe]: the address families, the calls of
// each verdict, and each call that is judged by its arguments.
func DescribePolicy(p policy.Policy, families []string, rs filter.Ruleset) string {
	var b strings.Builder
	line := func(key, value string) { fmt.Fprintf(&b, "%-*s %s\n", KeyWidth, key, value) }
	for text := range strings.Lines(string(policy.Canonical(p))) {
		line("policy", strings.TrimSuffix(text, "\n"))
	}
	if len(families) == 0 {
		families = []string{"none"}
	}
	line("sockets", strings.Join(families, " "))
	plain := map[string][]string{}
	var verdicts []string
	var judged [][2]string
	for text := range strings.Lines(filter.Describe(rs)) {
		call, verdict, _ := strings.Cut(strings.TrimSuffix(text, "\n"), "\t")
		if strings.Contains(verdict, "; else ") || strings.Contains(call, " ") {
			judged = append(judged, [2]string{call, verdict})
			continue
		}
		if plain[verdict] == nil {
			verdicts = append(verdicts, verdict)
		}
		plain[verdict] = append(plain[verdict], call)
	}
	for _, verdict := range verdicts {
		text := verdict + ":"
		for _, call := range plain[verdict] {
			if len(text)+1+len(call) > textWidth {
				line("calls", text)
				text = verdict + ":"
			}
			text += " " + call
		}
		line("calls", text)
	}
	for _, j := range judged {
		line("call", j[0]+": "+j[1])
	}
	return b.String()
}
