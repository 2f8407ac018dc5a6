package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

// TestHostileCallers: whatever the caller hands down, the run is what the
// policy says, or is refused with words, and nothing is left of it.
func TestHostileCallers(t *testing.T) {
	all := []string{"HUP", "INT", "QUIT", "ILL", "ABRT", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM", "CHLD", "CONT", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS"}
	every := func(what string) (out []string) {
		for _, sig := range all {
			out = append(out, what+"="+sig)
		}
		return out
	}
	large := make([]string, 200)
	for i := range large {
		large[i] = fmt.Sprintf("HUGE_%d=%s", i, strings.Repeat("e", 8000))
	}
	// What a run ends with: 0 and its own output, or the words of sbx.
	const (
		runs = iota
		refused
		either
	)
	tests := []struct {
		name string
		wrap []string
		env  []string
		want int
	}{
		{name: "every descriptor open", wrap: []string{"rlimit=NOFILE:256", "fill"}, want: refused},
		{name: "numbers above 1024 open", wrap: []string{"open=1023", "open=1024", "open=4000"}, want: runs},
		{name: "every signal ignored", wrap: every("ignore"), want: runs},
		{name: "every signal blocked", wrap: every("block"), want: runs},
		{name: "umask 777", wrap: []string{"umask=777"}, want: either},
		{name: "no working directory", wrap: []string{"gone"}, want: runs},
		{name: "12 descriptors", wrap: []string{"rlimit=NOFILE:12"}, want: either},
		{name: "3 descriptors", wrap: []string{"rlimit=NOFILE:3"}, want: refused},
		{name: "stack of 128 KiB", wrap: []string{"rlimit=STACK:131072"}, want: either},
		{name: "no core file", wrap: []string{"rlimit=CORE:0"}, want: runs},
		{name: "no locked memory", wrap: []string{"rlimit=MEMLOCK:0"}, want: runs},
		{name: "large environment", env: large, want: runs},
		{name: "all at once", wrap: append(append(every("ignore"), every("block")...), "umask=077", "open=9", "gone", "rlimit=CORE:0"), want: runs},
	}
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		wantEnd(t, h.run(t, h.act("", "exit", "0")), 0, "ok") // keeps the plan
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				c := h.act("", "args", "a", "", "b")
				c.wrap, c.env, c.plain = tt.wrap, tt.env, true
				r := h.run(t, c)
				ran := r.status == 0 && r.stdout == describeArgs([]string{"a", "", "b"})
				no := r.status == 125 && r.stdout == "" && strings.HasPrefix(r.stderr, "sbx: ")
				if tt.want == runs && !ran || tt.want == refused && !no || !ran && !no {
					t.Errorf("it neither ran nor was it refused as it should\n%s", r)
				}
				nothingLeft(t, time.Second)
			})
		}
	})
}

// TestFloors: under limits that a Go program does not live with sbx may die, but
// never says that a run went well that did not, and leaves nothing.
func TestFloors(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		wantEnd(t, h.run(t, h.act("", "exit", "0")), 0, "ok")
		for _, limit := range []string{"AS:16777216", "AS:134217728", "DATA:1048576", "FSIZE:0", "FSIZE:100", "STACK:16384", "NOFILE:0", "NOFILE:5", "NOFILE:8",
			// A full process table: before the runtime is there, before the
			// clone, before init's second thread. (Root is not bound.)
			"NPROC:0", "NPROC:3", "NPROC:4", "NPROC:5", "NPROC:6", "NPROC:7", "NPROC:8", "NPROC:9", "NPROC:10"} {
			t.Run(limit, func(t *testing.T) {
				c := h.act("", "exit", "42")
				c.wrap = []string{"rlimit=" + limit}
				c.plain = true
				if r := h.run(t, c); r.status == 0 {
					t.Errorf("status 0 of a run that exits 42\n%s", r)
				}
				nothingLeft(t, time.Second)
			})
		}
	})
}
