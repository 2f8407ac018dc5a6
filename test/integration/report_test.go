package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"
)

// report is the last line of the result stream, by the names of SPEC 2.
type report struct {
	Child      int    // of the first line
	ExitCode   int    `json:"exit-code"`
	Signal     int    `json:"signal"`
	Outcome    string `json:"outcome"`
	Step       string `json:"step"`
	Run        string `json:"run"`
	Command    string `json:"command"`
	Version    string `json:"version"`
	Revision   string `json:"revision"`
	Generation int    `json:"generation"`
	Via        string `json:"via"`
	Counted    bool   `json:"counted"`
	Layers     []struct {
		Name, State, Why string
	} `json:"layers"`
	Violations []struct {
		Kind, Syscall, Arch, Comm, Path, Address, Rule string
		NR, PID                                        int
		Args                                           []uint64
		AllowWith                                      string `json:"allow-with"`
	} `json:"violations"`
	Usage struct {
		Time    float64 `json:"time"`
		Wall    float64 `json:"time-wall"`
		CPUUser float64 `json:"cpu-user"`
		CPUSys  float64 `json:"cpu-sys"`
		MemPeak int64   `json:"cg-mem-peak"`
		MaxRSS  int64   `json:"max-rss"`
		Pids    int64   `json:"pids-peak"`
		IORead  int64   `json:"io-read"`
		IOWrite int64   `json:"io-write"`
		CSW     int64   `json:"csw"`
	} `json:"usage"`
	Changes    []string `json:"changes"`
	RevertedTo string   `json:"reverted-to"`
}

// members are the names that the last object has, and those of its parts.
var (
	members    = []string{"changes", "command", "counted", "exit-code", "generation", "layers", "outcome", "reverted-to", "revision", "run", "signal", "step", "usage", "version", "via", "violations"}
	usage      = []string{"cg-mem-peak", "cpu-sys", "cpu-user", "csw", "io-read", "io-write", "max-rss", "pids-peak", "time", "time-wall"}
	violation  = []string{"address", "allow-with", "arch", "args", "comm", "kind", "nr", "path", "pid", "rule", "syscall"}
	layer      = []string{"name", "state", "why"}
	outcomes   = []string{"ok", "exit", "signal", "violation", "oom", "pids", "timeout", "output-limit", "egress-denied", "device-denied", "refused", "setup-error", "canceled"}
	layerState = []string{"applied", "degraded", "refused"}
)

// readReport reads a result stream and holds it to its form. There is none
// where sbx did not understand its command line.
func readReport(path string) (*report, error) {
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseReport(text)
}

// parseReport: at most two lines, the first with child-pid alone, the last
// with exactly the names of SPEC 2.
func parseReport(text []byte) (*report, error) {
	bad := func(format string, args ...any) (*report, error) {
		return nil, fmt.Errorf("result stream %q: %s", text, fmt.Sprintf(format, args...))
	}
	lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	if !bytes.HasSuffix(text, []byte("\n")) || len(lines) > 2 {
		return bad("not one or two lines")
	}
	r := &report{}
	if len(lines) == 2 {
		var first map[string]int
		if err := json.Unmarshal(lines[0], &first); err != nil || len(first) != 1 || first["child-pid"] <= 0 {
			return bad("its first line is no child-pid: %v", err)
		}
		r.Child = first["child-pid"]
	}
	last := lines[len(lines)-1]
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(last, &whole); err != nil {
		return bad("%v", err)
	}
	if err := json.Unmarshal(last, r); err != nil {
		return bad("%v", err)
	}
	if got := names(whole); !slices.Equal(got, members) {
		return bad("its members are %q, want %q", got, members)
	}
	var parts map[string]json.RawMessage
	if json.Unmarshal(whole["usage"], &parts); !slices.Equal(names(parts), usage) {
		return bad("the members of usage are %q, want %q", names(parts), usage)
	}
	for key, want := range map[string][]string{"layers": layer, "violations": violation} {
		var list []map[string]json.RawMessage
		if err := json.Unmarshal(whole[key], &list); err != nil {
			return bad("%s: %v", key, err)
		}
		for _, one := range list {
			if got := names(one); !slices.Equal(got, want) {
				return bad("the members of %s are %q, want %q", key, got, want)
			}
		}
	}
	if !slices.Contains(outcomes, r.Outcome) {
		return bad("no such outcome")
	}
	for _, l := range r.Layers {
		if !slices.Contains(layerState, l.State) || (l.State == "applied") != (l.Why == "") {
			return bad("layer %+v", l)
		}
	}
	return r, nil
}

func names(object map[string]json.RawMessage) []string {
	var out []string
	for name := range object {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// layer is the state of a layer, "" when it is not there.
func (r *report) layer(name string) (state, why string) {
	for _, l := range r.Layers {
		if l.Name == name {
			return l.State, l.Why
		}
	}
	return "", ""
}

// wantEnd compares how an invocation ended.
func wantEnd(t testing.TB, r result, status int, outcome string) {
	t.Helper()
	switch {
	case r.report == nil:
		t.Fatalf("no report, want status %d and outcome %s\n%s", status, outcome, r)
	case r.status != status || r.report.Outcome != outcome || r.report.ExitCode != r.status:
		t.Fatalf("want status %d and outcome %s\n%s", status, outcome, r)
	}
}
