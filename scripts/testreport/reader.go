package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// reader turns events into text.
type reader struct {
	label  string
	out    io.Writer
	failed bool
	skips  []skip
	// output holds what each running test has printed; it is shown when the
	// test fails and dropped otherwise.
	output map[[2]string][]string
	// closed names the packages whose closing line has been shown.
	closed map[string]bool
	// running names the packages that have begun and not ended.
	running map[string]bool
}

func newReader(label string, out io.Writer) *reader {
	return &reader{label: label, out: out, output: map[[2]string][]string{}, closed: map[string]bool{}, running: map[string]bool{}}
}

func (r *reader) line(line string) {
	var e event
	if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &e) != nil || e.Action == "" {
		fmt.Fprint(r.out, line)
		return
	}
	key := [2]string{e.Package, e.Test}
	switch e.Action {
	case "start":
		r.running[e.Package] = true
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "build-fail":
		r.failed = true
	case "output":
		if e.Test != "" {
			r.output[key] = append(r.output[key], e.Output)
		} else {
			r.packageOutput(e)
		}
	case "skip":
		if e.Test != "" {
			r.skips = append(r.skips, skip{r.label, e.Package, e.Test, reason(r.output[key])})
			delete(r.output, key)
		} else {
			r.close(e, "?   ")
		}
	case "fail":
		r.failed = true
		if e.Test != "" {
			fmt.Fprint(r.out, strings.Join(r.output[key], ""))
			delete(r.output, key)
		} else {
			r.close(e, "FAIL")
		}
	case "pass":
		if e.Test != "" {
			delete(r.output, key)
		} else {
			r.close(e, "ok  ")
		}
	}
}

// packageOutput shows what a package prints outside its tests, but for the
// word that its closing line repeats.
func (r *reader) packageOutput(e event) {
	text := strings.TrimSuffix(e.Output, "\n")
	if text == "PASS" || text == "FAIL" || text == "exit status 1" {
		return
	}
	for _, word := range [...]string{"ok  \t", "FAIL\t", "?   \t"} {
		if strings.HasPrefix(text, word) {
			r.closed[e.Package] = true
		}
	}
	fmt.Fprint(r.out, e.Output)
}

// close shows the closing line of a package whose program did not print one:
// a test binary that was started without `go test` does not.
func (r *reader) close(e event, word string) {
	delete(r.running, e.Package)
	if !r.closed[e.Package] {
		fmt.Fprintf(r.out, "%s\t%s\t%.3fs\n", word, e.Package, e.Elapsed)
	}
	delete(r.closed, e.Package) // it may run again in the same stream
}

// end is called after the last line: a test that never ended has failed, and
// so has a package.
func (r *reader) end() {
	for pkg := range r.running {
		r.failed = true
		fmt.Fprintf(r.out, "FAIL\t%s\tended without a result\n", pkg)
	}
	if r.failed {
		for _, lines := range r.output {
			fmt.Fprint(r.out, strings.Join(lines, ""))
		}
	}
}
