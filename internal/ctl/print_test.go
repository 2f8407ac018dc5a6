package ctl

import (
	"strings"
	"testing"

	"github.com/sbx-project/sbx/runner"
)

func TestSaid(t *testing.T) {
	for _, tt := range []struct {
		name  string
		quiet bool
		msg   string
		hints []string
		want  string
	}{
		{"plain", false, "a", []string{"", "b"}, "sbx: a\nhint: b\n"},
		{"quiet", true, "a", []string{"b"}, "sbx: a\n"},
		{"line end in the message", false, "a\nsbx: ok", nil, `sbx: a\x0asbx: ok` + "\n"},
		{"excerpt", false, "a", []string{"2 | x\n  | ^\n", "c"}, "sbx: a\nhint: 2 | x\n        | ^\nhint: c\n"},
		{"forged hint", false, "a", []string{"b\nsbx: c"}, "sbx: a\nhint: b\n      sbx: c\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := said(tt.quiet, tt.msg, tt.hints); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestCallText: what a workload chose stays in quotes, on one line.
func TestCallText(t *testing.T) {
	const forged = "x)\nsbx: done"
	c := &runner.Call{Syscall: "open", Arch: "amd64", Rule: "not in syscalls.allow", Comm: forged, Path: forged, Address: forged, PID: 2}
	got := callText(&runner.Report{Command: "jq", Version: "1.0.0"}, c)
	if strings.Contains(got, "\n") || strings.Count(got, `"x)\nsbx: done"`) != 3 {
		t.Errorf("got %q", got)
	}
}
