package params

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/plan"
)

func TestHelp(t *testing.T) {
	list := append([]plan.Param(nil), dump...)
	list[0].Help = "database name"
	list[8].Access = plan.AccessCreate
	got := Help(&plan.Plan{Command: "db.backup", Summary: "Dump one database", Params: list})
	want := `usage: sbx run db.backup [--level INT] [--ratio FLOAT] [--fast] [--wait DURATION] [--size SIZE] [--format ENUM] [--out PATH] DB [TABLE...]

Dump one database

  --db STRING        database name (characters a-z; at most 5 bytes; required; may stand without its name)
  --level INT
  --ratio FLOAT
  --fast, --no-fast
  --wait DURATION
  --size SIZE        default 8M
  --format ENUM      one of plain, -c
  --table STRING     at most 20 bytes; may be repeated; may stand without its name
  --out PATH         created
  --help             this text
`
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got, want := Help(&plan.Plan{Command: "x"}), "usage: sbx run x\n\nIt takes no arguments.\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestHelpIsPlain: what a manifest holds does not reach a terminal as a
// control sequence.
func TestHelpIsPlain(t *testing.T) {
	p := plan.Param{Name: "e", Type: plan.ParamEnum, Values: []string{"a\x1b[2J", "b, c", ""}, Default: "\x9b1m", HasDefault: true}
	got := Help(&plan.Plan{Command: "x", Params: []plan.Param{p}})
	if strings.Contains(got, "\x1b") || strings.Contains(got, "\x9b") || !strings.Contains(got, `"b, c"`) {
		t.Errorf("got %q", got)
	}
}
