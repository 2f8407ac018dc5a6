package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSpreadOf(t *testing.T) {
	tests := []struct {
		name   string
		values []float64
		want   spread
	}{
		{"one", []float64{3}, spread{3, 3, 3}},
		{"even", []float64{4, 1, 3, 2}, spread{1, 2.5, 4}},
		{"ten", []float64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, spread{1, 5.5, 9}},
		{"odd", []float64{5, 1, 3}, spread{1, 3, 5}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := append([]float64(nil), tt.values...)
			if got := spreadOf(in); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if diff := cmp.Diff(tt.values, in); diff != "" {
				t.Errorf("the values were changed: %s", diff)
			}
		})
	}
}

func TestRatios(t *testing.T) {
	got := ratios([]time.Duration{1, 6, 9}, []time.Duration{2, 3})
	if diff := cmp.Diff([]float64{0.5, 2}, got); diff != "" {
		t.Errorf("(-want +got) %s", diff)
	}
}

func TestVerdict(t *testing.T) {
	r := row{bar: 0.7, stretch: 0.6}
	for median, want := range map[float64]string{0.6: "pass, stretch", 0.61: "pass", 0.7: "pass", 0.701: missed} {
		if got := verdict(median, r); got != want {
			t.Errorf("verdict(%v) = %q, want %q", median, got, want)
		}
	}
}

func TestRowOfAddedTime(t *testing.T) {
	r := row{what: "a", against: "b", bar: 30, added: true}
	all := results{"a": {800 * batch, 700 * batch}, "b": {775 * batch, 710 * batch, 1}}
	if d := cmp.Diff([]float64{25, -10}, r.values(all)); d != "" {
		t.Errorf("(-want +got) %s", d)
	}
	for median, want := range map[float64]string{-3: "pass", 30: "pass", 30.5: missed} {
		if got := verdict(median, r); got != want {
			t.Errorf("verdict(%v) = %q, want %q", median, got, want)
		}
	}
	if got := r.text(r.stretch, true) + " " + r.text(r.bar, true) + " " + r.text(0, false); got != "- +30 +0" {
		t.Errorf("texts are %q", got)
	}
}

func TestRowOfRates(t *testing.T) {
	r := row{what: "a", against: "b", bar: 2, stretch: 3, rate: true, more: true}
	if d := cmp.Diff([]float64{2, 4}, r.values(results{"a": {5, 1}, "b": {10, 4}})); d != "" {
		t.Errorf("runs a second (-want +got) %s", d)
	}
	for median, want := range map[float64]string{1.99: missed, 2: "pass", 2.9: "pass", 3: "pass, stretch"} {
		if got := verdict(median, r); got != want {
			t.Errorf("verdict(%v) = %q, want %q", median, got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	values := make([]float64, 200)
	for i := range values {
		values[i] = float64(200 - i)
	}
	for p, want := range map[float64]float64{0.5: 100, 0.99: 198, 1: 200, 0: 1} {
		if got := quantile(values, p); got != want {
			t.Errorf("quantile(%v) = %v, want %v", p, got, want)
		}
	}
}

func TestParseBench(t *testing.T) {
	text := "goos: linux\nBenchmarkLookup/100-commands-2 \t 1\t 0 ns/op\t 0.51 table/sync.Map\t 0.4 table/rwmutex\nBenchmarkGet-16  100  21.5 ns/op  0 B/op  0 allocs/op\nPASS\n"
	got, err := parseBench(text)
	want := map[string]map[string]float64{
		"BenchmarkLookup/100-commands": {"ns/op": 0, "table/sync.Map": 0.51, "table/rwmutex": 0.4},
		"BenchmarkGet":                 {"ns/op": 21.5, "B/op": 0, "allocs/op": 0},
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v, (-want +got) %s", err, d)
	}
}

// TestFigures: what stands by itself is in the table, and what was measured at
// less than its size, or not at all, keeps no promise.
func TestFigures(t *testing.T) {
	nothing := func(string) *command { return &command{argv: []string{script(t, "exit 0")}} }
	k := &kit{bwrap: nothing, sbx: nothing, figures: map[string]*figure{
		nameMemoryCold: {values: []float64{2.5}},
		nameCrowdWarm:  {values: []float64{1000}},
		nameCrowdCold:  {values: []float64{20}, small: true, note: "few"},
		nameStartCold:  {problem: errors.New("no room")},
		nameAllocs:     {values: []float64{1}},
	}}
	var out bytes.Buffer
	if status, err := report(&out, k, results{}, options{rounds: 1, enforce: true}); status != 1 || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
	for row, want := range map[string]string{
		nameMemoryCold + ", MiB": "2.500 4 - pass", nameCrowdWarm: "1000 1000 5000 pass", nameCrowdCold: "20 1000 5000 not at this size",
		nameStartCold + ", s": "- 10 - not measured", nameAllocs + ", each": "1 0 0 MISSED",
	} {
		found := ""
		for line := range strings.Lines(out.String()) {
			if text, ok := strings.CutPrefix(strings.TrimSpace(line), row+" "); ok {
				found = strings.Join(strings.Fields(text), " ")
			}
		}
		if !strings.HasSuffix(found, want) {
			t.Errorf("%s: %q, want it to end with %q", row, found, want)
		}
	}
	for _, want := range []string{"not measured: " + nameStartCold + ": no room", nameCrowdCold + ": few"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}
}

// TestFilters takes every time of filters a few times.
func TestFilters(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := makeFilters(program)
	if err != nil {
		t.Fatal(err)
	}
	all, err := measureFilters(f, options{rounds: 1, seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range filterNames {
		if got := len(all[name]); got != filterRounds {
			t.Errorf("%s: %d times, want %d", name, got, filterRounds)
		}
	}
}

// script writes an executable that stands for a command.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "command")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTry(t *testing.T) {
	input := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(input, []byte("filter\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, text, fd3, want string
	}{
		{"works", "exit 0", "", ""},
		{"refuses", "echo no such thing >&2; exit 125", "", "exit status 125: no such thing"},
		{"dies", "kill -9 $$", "", "killed by killed"},
		{"reads descriptor 3", "read x <&3 && test $x = filter", input, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			// Twice, as descriptor 3 must be at its beginning each time.
			for range 2 {
				if err := try(&command{argv: []string{script(t, tt.text)}, fd3: tt.fd3}); err != nil {
					got = err.Error()
				}
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if err := try(&command{argv: []string{"/nonexistent/command"}}); err == nil {
		t.Error("a command that is not there works")
	}
}

func TestMeasureAndReport(t *testing.T) {
	o := options{rounds: 4, seed: 1, enforce: true}
	fine := script(t, "exit 0")
	// Fails in its second run, that is in a round.
	once := script(t, "test ! -e $0.ran && touch $0.ran")
	k := &kit{
		commands: []*command{
			{name: nameBwrap, argv: []string{fine}},
			{name: nameRun, argv: []string{once}},
			{name: nameEmpty, argv: []string{fine}},
			{name: nameVersion, argv: []string{fine}},
		},
		bwrap: func(string) *command { return &command{argv: []string{fine}} },
		sbx:   func(string) *command { return &command{argv: []string{fine}} },
	}
	all, err := measure(k.commands, o)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{nameBwrap: 4, nameEmpty: 4, nameVersion: 4, nameRun: 0} {
		if got := len(all[name]); got != want {
			t.Errorf("%s: %d times, want %d", name, got, want)
		}
	}
	var out bytes.Buffer
	status, err := report(&out, k, all, o)
	if err != nil || status != 1 {
		t.Errorf("status %d, %v, want 1: a promise was not measured", status, err)
	}
	for _, want := range []string{"sbx run / bubblewrap", "not measured: sbx run: exit status 1", "sbx version / empty Go program"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}
	o.enforce = false
	if status, _ := report(&out, k, all, o); status != 0 {
		t.Errorf("without -enforce the status is %d, want 0", status)
	}
}

func TestEqualWork(t *testing.T) {
	tests := []struct {
		name, fact, bwrap, sbx string
		want                   bool
	}{
		{"shared namespace", "ns-net", "private", "shared", false},
		{"capabilities", "CapEff", "0000000000000000", "000001ffffffffff", false},
		{"sealed root", "mount-/", "tmpfs rw", "tmpfs ro", true},
		{"no root of its own", "mount-/", "tmpfs rw", "ext4 rw", false},
		{"writable /usr", "mount-/usr", "ext4 ro", "ext4 rw", false},
		{"no /tmp", "mount-/tmp", "tmpfs rw", "", false},
		{"more than the other", "ns-time", "shared", "private", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := equalWork(tt.fact, tt.bwrap, tt.sbx); got != tt.want {
				t.Errorf("equalWork(%q, %q, %q) = %v, want %v", tt.fact, tt.bwrap, tt.sbx, got, tt.want)
			}
		})
	}
}

// TestFlags checks the exit status of a wrong call; nothing is built.
func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"-rounds", "0"}, {"extra"}, {"-nonesuch"}} {
		var out, complaint bytes.Buffer
		if status := run(args, &out, &complaint); status != 2 || complaint.Len() == 0 {
			t.Errorf("run(%q) = %d, %q, want 2 and a message", args, status, complaint.String())
		}
	}
}
