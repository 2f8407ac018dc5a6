package registry

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/policy"
)

// TestCompare: each row is what one manifest has more than the plain one, and
// what comes and goes with it.
func TestCompare(t *testing.T) {
	const head = "apiVersion: sbx/v1\nname: x\n"
	const plain = "version: 1.0.0\nexec: {path: /bin/true}\n"
	for _, tt := range []struct{ name, a, b, there, back string }{
		{"nothing", plain, plain + "# a comment\n", "", ""},
		{"version", plain, "version: 1.1.0\nexec: {path: /bin/true}\n", "neutral: goes from version 1.0.0 to 1.1.0", "wider: goes back from version 1.1.0 to 1.0.0"},
		{"program", plain, "version: 1.0.0\nexec: {path: /bin/sh}\n", "wider: executes /bin/sh, not /bin/true", "wider: executes /bin/true, not /bin/sh"},
		{"digest", plain, "version: 1.0.0\nexec: {path: /bin/true, sha256: " + strings.Repeat("a", 64) + "}\n", "narrower: wants one content of the program", "wider: takes whatever the program's content is"},
		{"passthrough", plain, "version: 1.0.0\nexec: {path: /bin/true, args: passthrough}\n", "dangerous: hands every argument of the caller over", "narrower: takes declared parameters only"},
		{"arguments", plain, "version: 1.0.0\nexec: {path: /bin/true, argv: [\"-x\"]}\n", `wider: gives the program other arguments: ["-x"], not []`, `wider: gives the program other arguments: [], not ["-x"]`},
		{"parameter", plain, plain + "params: [{name: p, type: path, access: write}]\n", "dangerous: adds the parameter p, a path to write", "narrower: drops the parameter p"},
		{"access", plain + "params: [{name: p, type: path, access: read}]\n", plain + "params: [{name: p, type: path, access: create}]\n",
			`dangerous: opens what p names for "create", not "read"`, `narrower: opens what p names for "read", not "create"`},
		{"values", plain + "params: [{name: p, type: string, max: 10, help: a}]\n", plain + "params: [{name: p, type: string, max: 20, help: b}]\n",
			"wider: takes other values for p", "wider: takes other values for p"},
		{"help of a parameter", plain + "params: [{name: p, type: string, help: a}]\n", plain + "params: [{name: p, type: string, help: b}]\n", "", ""},
		{"floor", plain, plain + "floor: 1.0.0\n", "narrower: raises the floor to 1.0.0", "wider: removes the floor 1.0.0"},
		{"lower floor", plain + "floor: 1.0.0\n", plain + "floor: 0.9.0\n", "wider: lowers the floor from 1.0.0 to 0.9.0", "narrower: raises the floor to 1.0.0"},
		{"requires", plain, plain + "requires: {features: [landlock], commands: [y]}\n", "neutral: requires the command y; narrower: requires landlock of the host", "wider: no longer requires landlock of the host; neutral: no longer requires the command y"},
		{"check", plain, plain + "checks: [{argv: [\"-v\", a], expect: {exit: 0}}, {argv: [], expect: {violation: ptrace}}]\n",
			`narrower: adds the check "": violation ptrace; narrower: adds the check "-v a": exit 0`, `wider: removes the check "": violation ptrace; wider: removes the check "-v a": exit 0`},
		{"reaction", plain, plain + "on_violation: kill\n", "wider: only kills the run that violates its policy", "narrower: returns to the last good after a violation in probation"},
		{"quarantine", plain, plain + "on_violation: quarantine\n", "narrower: refuses the command after a violation in probation", "wider: returns to the last good after a violation in probation"},
		{"probation", plain, plain + "probation: {runs: 1}\n", "wider: shortens probation from 5 runs, 24h to 1 runs, 24h", "narrower: lengthens probation from 1 runs, 24h to 5 runs, 24h"},
		{"budget", plain, plain + "revert_budget: {count: 3}\n", "wider: returns by itself more often: 3 times in 24h, not 1 in 24h", "narrower: returns by itself less often: 1 times in 24h, not 3 in 24h"},
		{"everybody", plain + "allow: {groups: [ops]}\n", plain, "dangerous: lets everybody run it who may reach the daemon's socket", "narrower: lets only those run it who are named"},
		{"somebody more", plain + "allow: {groups: [ops]}\n", plain + "allow: {groups: [ops], users: [ann]}\n", "wider: lets the user ann run it", "narrower: no longer lets the user ann run it"},
		{"summary", plain, plain + "summary: s\n", "neutral: changes the summary", "neutral: changes the summary"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			parse := func(text string) Manifest {
				m, err := ParseManifest("m", []byte(head+text))
				if err != nil {
					t.Fatal(err)
				}
				return m
			}
			a, b := parse(tt.a), parse(tt.b)
			if d := cmp.Diff(tt.there, spelt(Compare(a, b))); d != "" {
				t.Errorf("there (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.back, spelt(Compare(b, a))); d != "" {
				t.Errorf("back (-want +got):\n%s", d)
			}
		})
	}
}

func spelt(list []policy.Change) string {
	var out []string
	for _, c := range list {
		out = append(out, c.Risk.String()+": "+c.Text)
	}
	return strings.Join(out, "; ")
}

func TestCompareFiles(t *testing.T) {
	a := []ShippedFile{{Name: "a", SHA256: "1"}, {Name: "b", SHA256: "1"}, {Name: "c", SHA256: "1"}, {Name: "d", SHA256: "1"}}
	b := []ShippedFile{{Name: "a", SHA256: "1"}, {Name: "b", SHA256: "2"}, {Name: "c", SHA256: "1", Executable: true}, {Name: "e\x1b", SHA256: "1"}}
	want := `neutral: changes "b"; neutral: changes the executable bit of "c"; neutral: no longer ships "d"; neutral: ships "e\x1b"`
	if d := cmp.Diff(want, spelt(CompareFiles(a, b))); d != "" {
		t.Error(d)
	}
}
