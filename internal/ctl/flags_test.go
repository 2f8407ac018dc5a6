package ctl

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
)

func TestParseRun(t *testing.T) {
	base := func(f func(*Invocation)) *Invocation {
		v := &Invocation{EnvFile: -1, StatusFD: -1}
		f(v)
		return v
	}
	for _, tc := range []struct {
		name string
		args string
		exec bool
		want *Invocation
		err  string
	}{
		{"name", "jq", false, base(func(v *Invocation) { v.Words = []string{"jq"} }), ""},
		{"flags after the name are the command's", "jq --timeout 5s -- -q", false, base(func(v *Invocation) { v.Words = []string{"jq", "--timeout", "5s", "--", "-q"} }), ""},
		{"one -- before the name", "-q -- jq --", false, base(func(v *Invocation) { v.Quiet = true; v.Words = []string{"jq", "--"} }), ""},
		{"values", "--timeout=5s --limit memory_max=1M --limit pids_max=3 --env A --env-file 4 --status-fd=5 --chdir /x --result r --expect 1.0.0 --registry R --direct jq", false,
			base(func(v *Invocation) {
				v.Timeout, v.Limits, v.Env, v.EnvFile, v.StatusFD = 5*time.Second, []string{"memory_max=1M", "pids_max=3"}, []string{"A"}, 4, 5
				v.Chdir, v.Result, v.Expect, v.Registry, v.Direct, v.Words = "/x", "r", "1.0.0", "R", true, []string{"jq"}
			}), ""},
		{"exec", "--policy p.yaml -- /bin/x -a", true, base(func(v *Invocation) { v.Exec, v.Policy, v.Words = true, "p.yaml", []string{"/bin/x", "-a"} }), ""},
		{"no name", "--timeout 5s", false, nil, "no name given"},
		{"no command", "--", true, nil, "no command given"},
		{"unknown flag", "--nope jq", false, nil, `unknown flag "--nope"`},
		{"policy is for exec", "--policy x jq", false, nil, `unknown flag "--policy"`},
		{"no value", "--timeout", false, nil, "needs a value"},
		{"bad duration", "--timeout -5s jq", false, nil, "positive duration"},
		{"bad descriptor", "--status-fd x jq", false, nil, "number of an open descriptor"},
		{"stdout for the report", "--status-fd 1 jq", false, nil, "the command's own"},
		{"stdin for the report", "--status-fd=0 jq", false, nil, "the command's own"},
		{"stderr for the report", "--status-fd 2 jq", false, nil, "the command's own"},
		{"relative chdir", "--chdir x jq", false, nil, "must be absolute"},
		{"switch with a value", "--dry-run=1 jq", false, nil, "takes no value"},
		{"tty", "-t jq", false, nil, "not built yet"},
		{"complain", "--complain -- x", true, nil, "not built yet"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseRun(strings.Fields(tc.args), tc.exec)
			if tc.err != "" {
				var u *UsageError
				if !errors.As(err, &u) || !strings.Contains(u.Msg, tc.err) {
					t.Fatalf("got %v, want a usage error with %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got, cmpopts.IgnoreUnexported(Invocation{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestTighten(t *testing.T) {
	have := plan.Limits{MemoryMax: 256 << 20, PidsMax: 64, Timeout: time.Minute, CPUQuota: 50_000, CPUPeriod: 100_000, CPUWeight: 50}
	for _, tc := range []struct{ flag, err string }{
		{"memory_max=1M", ""}, {"memory_max=256M", ""}, {"memory_max=257M", "more than the policy's"},
		{"memory_max=0", "no valid value"}, {"memory_max=-1", "no valid value"}, {"memory_max=99999999999999999999", "no valid value"}, {"memory_max=9999999T", "no valid value"},
		{"pids_max=65", "more than the policy's"}, {"pids_max=+5", "no valid value"}, {"pids_max=5", ""},
		{"timeout=2m", "more than the policy's"}, {"timeout=1s", ""}, {"timeout=-1s", "no positive"},
		{"output_max=10", ""}, {"cpu_max=50%", ""}, {"cpu_max=51%", "more than the policy's"}, {"cpu_max=5", "percentage"},
		{"rlimit_nofile=5", ""}, {"rlimit_core=0", ""}, {"rlimit_nofile=9", "more than the 8"}, {"rlimit_fsize=1K", ""}, {"rlimit_files=1", "no resource"},
		{"rlimit_nofile=-1", "no valid value"}, {"rlimit_nofile=unlimited", "no valid value"}, {"io_max=1", "cannot be given"},
		{"memory_swap_max=0", ""}, {"memory_swap_max=x", "no valid value"}, {"cpu_weight=5", ""}, {"cpu_weight=10001", "no valid value"}, {"cpu_weight=51", "more than the policy's"},
	} {
		got, own, err := tighten(have, []plan.Rlimit{{Resource: unix.RLIMIT_NOFILE, Value: 8}}, []string{tc.flag})
		switch {
		case tc.err == "" && err != nil:
			t.Errorf("%s: got %v", tc.flag, err)
		case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
			t.Errorf("%s: got %v, want %q", tc.flag, err, tc.err)
		case err == nil && (got.MemoryMax > have.MemoryMax || got.PidsMax > have.PidsMax || got.Timeout > have.Timeout):
			t.Errorf("%s: widened to %+v", tc.flag, got)
		case err == nil && strings.HasPrefix(tc.flag, "rlimit_") && len(own) != 1:
			t.Errorf("%s: made %+v", tc.flag, own)
		}
	}
}

// FuzzTighten: no flag of a caller ever widens a limit.
func FuzzTighten(f *testing.F) {
	for _, s := range []string{"memory_max=1K", "pids_max=18446744073709551615", "cpu_max=1000%", "timeout=1ns", "output_max=8E", "rlimit_nofile=9", "cpu_weight=1"} {
		f.Add(s)
	}
	have := plan.Limits{MemoryMax: 1 << 20, PidsMax: 8, Timeout: time.Second, OutputMax: 100, CPUQuota: 1000, CPUPeriod: 100_000}
	f.Fuzz(func(t *testing.T, s string) {
		nofile := []plan.Rlimit{{Resource: unix.RLIMIT_NOFILE, Value: 8}}
		got, own, err := tighten(have, nofile, []string{s})
		if err != nil {
			return
		}
		for _, r := range own {
			if r.Resource == unix.RLIMIT_NOFILE && r.Value > 8 {
				t.Errorf("%q widened a resource limit to %d", s, r.Value)
			}
		}
		if got.MemoryMax > have.MemoryMax || got.MemoryMax == 0 || got.PidsMax > have.PidsMax || got.PidsMax == 0 || got.Timeout > have.Timeout || got.Timeout <= 0 ||
			got.OutputMax > have.OutputMax || got.OutputMax == 0 || got.CPUQuota*have.CPUPeriod > have.CPUQuota*got.CPUPeriod {
			t.Errorf("%q widened %+v to %+v", s, have, got)
		}
	})
}

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{"plain é": "plain é", "a\x1b[31mb": `a\x1b[31mb`, "a\u009bb": `a\x9bb`, "l1\nl2": `l1\x0al2`, "a\x9bb\xff": `a\x9bb\xff`, "\uFFFDx": "\uFFFDx", "a\u202eb": `a\u202eb`, "\U0010fffd": `\u10fffd`, "\t": `\x09`} {
		if got := visible(in); got != want {
			t.Errorf("visible(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestPlainName(t *testing.T) {
	for in, want := range map[string]bool{"jq": true, "db.backup": true, "a-1": true, "": false, "..": false, "a..b": false, "a/b": false, "A": false, ".a": false, "1a": false, "a\x00": false} {
		if got := plainName(in); got != want {
			t.Errorf("plainName(%q) = %v, want %v", in, got, want)
		}
	}
}
