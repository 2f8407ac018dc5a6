package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// row is one promise: what is measured, what it is compared to, and the median
// that keeps the promise: the highest one, unless more is better.
type row struct {
	what, against string
	// bar keeps it, stretch is better yet; 0 for none.
	bar, stretch float64
	// added: not the ratio but the nanoseconds that each call takes longer.
	added bool
	// rate: the ratio of what is done a second.
	rate bool
	// figure: it is measured as it stands (kit.figures), in unit.
	figure bool
	unit   string
	// more: higher is better, and the bar is the lowest that keeps the promise.
	more bool
}

// figure is what was measured of a row that stands by itself.
type figure struct {
	values []float64
	// note is a remark on how it came about.
	note string
	// small: less was measured than is promised, so there is no verdict.
	small bool
	// problem says why it cannot be measured; nil when it can.
	problem error
}

// rows are the promises that this program measures.
var rows = []row{
	{what: nameRun, against: nameBwrap, bar: 0.70, stretch: 0.62},
	{what: nameExec, against: nameBwrap, bar: 0.70, stretch: 0.62},
	{what: nameWarm, against: nameBwrap, bar: 0.50, stretch: 0.45},
	{what: nameTail, figure: true, bar: 3},
	{what: nameWarmRate, against: nameBwrapRate, bar: 2, stretch: 3, rate: true, more: true},
	{what: nameChanging, figure: true, bar: 1.2, stretch: 1.1},
	{what: nameVersion, against: nameEmpty, bar: 1.25, stretch: 1.20},
	{what: namePlain, against: nameFree, bar: 30, added: true},
	{what: nameRule, against: nameFree, bar: 70, added: true},
	{what: nameLoad, against: nameTheir, bar: 0.35, stretch: 0.15},
	{what: lookupRow("100", nameMap), figure: true, bar: 0.6, stretch: 0.5},
	{what: lookupRow("100", nameLocked), figure: true, bar: 0.6, stretch: 0.5},
	{what: lookupRow("1000", nameMap), figure: true, bar: 0.6, stretch: 0.5},
	{what: lookupRow("1000", nameLocked), figure: true, bar: 0.6, stretch: 0.5},
	{what: lookupRow("10000", nameMap), figure: true, bar: 0.6, stretch: 0.5},
	{what: lookupRow("10000", nameLocked), figure: true, bar: 0.6, stretch: 0.5},
	{what: nameAllocs, figure: true, unit: "each"},
	{what: nameChange50, figure: true, unit: "ms", bar: 10, stretch: 5},
	{what: nameChange99, figure: true, unit: "ms", bar: 50, stretch: 20},
	{what: nameStartKept, figure: true, unit: "s", bar: 1},
	{what: nameStartCold, figure: true, unit: "s", bar: 10},
	{what: nameMemoryCold, figure: true, unit: "MiB", bar: 4},
	{what: nameMemoryWarm, figure: true, unit: "KiB", bar: 256},
	{what: nameCrowdWarm, figure: true, more: true, bar: 1000, stretch: 5000},
	{what: nameCrowdCold, figure: true, more: true, bar: 1000, stretch: 5000},
}

// name is what the table calls the row.
func (r row) name() string {
	switch {
	case r.added:
		return r.what + ", ns added"
	case r.figure && r.unit != "":
		return r.what + ", " + r.unit
	case r.figure:
		return r.what
	}
	return r.what + " / " + r.against
}

// values are those that the promise is about, round by round. A figure's are
// not among the results.
func (r row) values(all results) []float64 {
	switch {
	case r.figure:
		return nil
	case r.rate:
		return ratios(all[r.against], all[r.what]) // the times are those of one run
	case !r.added:
		return ratios(all[r.what], all[r.against])
	}
	a, b := all[r.what], all[r.against]
	out := make([]float64, 0, len(a))
	for i := range min(len(a), len(b)) {
		out = append(out, float64(a[i]-b[i])/batch)
	}
	return out
}

// text is a value of the row; 0 for a mark that there is none of.
func (r row) text(value float64, mark bool) string {
	switch {
	case mark && value == 0 && r.unit != "each":
		return "-"
	case r.figure && (value >= 100 || value == math.Trunc(value)):
		return strconv.FormatFloat(value, 'f', 0, 64)
	case r.added:
		return fmt.Sprintf("%+.0f", value)
	case mark:
		return fmt.Sprintf("%.2f", value)
	}
	return fmt.Sprintf("%.3f", value)
}

// spread is the tenth, fiftieth and ninetieth percentile.
type spread struct{ p10, median, p90 float64 }

// spreadOf sorts a copy; nearest rank, and the mean of the middle two for the
// median of an even number. values must not be empty.
func spreadOf(values []float64) spread {
	s := slices.Sorted(slices.Values(values))
	rank := func(p float64) float64 { return quantile(s, p) }
	mid := s[len(s)/2]
	if len(s)%2 == 0 {
		mid = (s[len(s)/2-1] + mid) / 2
	}
	return spread{rank(0.1), mid, rank(0.9)}
}

// quantile is the value of a rank, nearest rank; values must not be empty.
func quantile(values []float64, p float64) float64 {
	s := slices.Sorted(slices.Values(values))
	return s[max(0, int(math.Ceil(p*float64(len(s))))-1)]
}

// ratios divides round by round.
func ratios(a, b []time.Duration) []float64 {
	out := make([]float64, 0, len(a))
	for i := range min(len(a), len(b)) {
		out = append(out, float64(a[i])/float64(b[i]))
	}
	return out
}

// report prints the tables and gives the exit status: with -enforce 1 when a
// bar was missed or could not be measured.
func report(w io.Writer, k *kit, all results, o options) (int, error) {
	load := "?"
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		load, _, _ = strings.Cut(string(text), " ")
	}
	fmt.Fprintf(w, "machine  %s, %d processors, load %s\n", processor(), runtime.NumCPU(), load)
	fmt.Fprintf(w, "kernel   %s\n", kernel())
	fmt.Fprintf(w, "versions %s; %s; %s\n", version(k.bwrap("").argv[0], "--version"), version(k.sbx("").argv[0], "version"), runtime.Version())
	fmt.Fprintf(w, "work     filter of %d calls (%d instructions for bubblewrap), %s; see -check\n", k.calls, k.insns, linkWord(o.binds))
	fmt.Fprintf(w, "method   %d rounds, order shuffled in each, before fork to after wait4, ratio by round%s\n",
		o.rounds, map[bool]string{true: ", after an idle window", false: ""}[o.quiet])
	if f := k.filters; f != nil {
		fmt.Fprintf(w, "filters  base: %d instructions, with a rule on getppid %d, libseccomp's default form %d; batches of %d calls, %d rounds\n",
			len(f.plain)/8, len(f.rule)/8, len(f.theirs)/8, batch, o.rounds*filterRounds)
	}
	for _, note := range k.notes {
		fmt.Fprintln(w, "note    ", note)
	}
	fmt.Fprintln(w)

	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "command\tmin us\tp10\tmedian\tp90\t")
	for _, c := range k.commands {
		if c.problem != nil {
			continue
		}
		us := make([]float64, 0, o.rounds)
		for _, d := range all[c.name] {
			us = append(us, float64(d)/float64(time.Microsecond))
		}
		s := spreadOf(us)
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.0f\t%.0f\t\n", c.name, slices.Min(us), s.p10, s.median, s.p90)
	}
	for _, name := range filterNames {
		if times := all[name]; len(times) > 0 {
			us := make([]float64, 0, len(times))
			per := float64(time.Microsecond)
			if name != nameLoad && name != nameTheir {
				per *= batch
			}
			for _, d := range times {
				us = append(us, float64(d)/per)
			}
			s := spreadOf(us)
			fmt.Fprintf(t, "%s\t%.3f\t%.3f\t%.3f\t%.3f\t\n", name, slices.Min(us), s.p10, s.median, s.p90)
		}
	}
	if err := t.Flush(); err != nil {
		return 3, err
	}
	fmt.Fprintln(w)

	status := 0
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "ratio, or ns\tp10\tmedian\tp90\tbar\tstretch\tverdict\t")
	for _, r := range rows {
		bar, stretch := r.text(r.bar, true), r.text(r.stretch, true)
		values, small := r.values(all), false
		if f := k.figures[r.what]; f != nil && f.problem == nil {
			values, small = f.values, f.small
		}
		if len(values) == 0 {
			fmt.Fprintf(t, "%s\t-\t-\t-\t%s\t%s\tnot measured\t\n", r.name(), bar, stretch)
			status = 1
			continue
		}
		s := spreadOf(values)
		word := verdict(s.median, r)
		if small {
			word = tooSmall
		}
		if word == missed || small {
			status = 1
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", r.name(), r.text(s.p10, false), r.text(s.median, false), r.text(s.p90, false), bar, stretch, word)
	}
	if err := t.Flush(); err != nil {
		return 3, err
	}
	for _, c := range k.commands {
		if c.problem != nil {
			fmt.Fprintf(w, "not measured: %s: %v\n", c.name, c.problem)
		}
	}
	for _, r := range rows {
		f := k.figures[r.what]
		switch {
		case f == nil:
		case f.problem != nil:
			fmt.Fprintf(w, "not measured: %s: %v\n", r.what, f.problem)
		case f.note != "":
			fmt.Fprintf(w, "%s: %s\n", r.what, f.note)
		}
	}
	if k.filterProblem != nil {
		fmt.Fprintf(w, "not measured: filters: %v\n", k.filterProblem)
	}
	if !o.enforce {
		status = 0
	}
	return status, nil
}

const (
	missed = "MISSED"
	// tooSmall stands for a verdict where less was measured than is promised.
	tooSmall = "not at this size"
)

// verdict judges a median.
func verdict(median float64, r row) string {
	keeps := func(bar float64) bool {
		if r.more {
			return median >= bar
		}
		return median <= bar
	}
	switch {
	case r.stretch != 0 && keeps(r.stretch):
		return "pass, stretch"
	case keeps(r.bar):
		return "pass"
	}
	return missed
}

func linkWord(binds bool) string {
	if binds {
		return "bubblewrap binds /bin, /lib, /lib64"
	}
	return "/bin, /lib, /lib64 as links"
}

// processor is the model name of the first processor.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "?"
	}
	return unix.ByteSliceToString(uts.Release[:]) + " " + unix.ByteSliceToString(uts.Machine[:])
}

// version is the first line that a program says about itself.
func version(argv ...string) string {
	text, err := output(exec.Command(argv[0], argv[1:]...))
	if err != nil {
		return argv[0] + " is not there"
	}
	first, _, _ := strings.Cut(text, "\n")
	return first
}
