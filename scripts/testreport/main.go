// Command testreport reads what `go test -json` prints and shows what `go
// test` would: one closing line for each package, and the output of tests
// that failed. Beside that it keeps every skip, so that a run can end by
// saying what it did not test and why.
//
//	go test -json ./... | testreport -label root -skips FILE
//	testreport -summary FILE
//
// Lines that are not JSON (of make, of a guest) are passed through. The exit
// status is 1 when a test or a package failed, so that a broken pipe of
// statuses cannot hide it.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("testreport", flag.ContinueOnError)
	flags.SetOutput(stderr)
	label := flags.String("label", "", "name of this run in the summary: who runs the tests, and where")
	skips := flags.String("skips", "", "append the skips to this `file`, one JSON object a line")
	sum := flags.String("summary", "", "print what this `file` of skips holds, and read nothing")
	if flags.Parse(args) != nil {
		return 2
	}
	failed, err := false, error(nil)
	if *sum != "" {
		err = printSummary(*sum, stdout)
	} else {
		failed, err = report(*label, *skips, stdin, stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "testreport:", err)
		return 2
	}
	if failed {
		return 1
	}
	return 0
}

// report copies stdin to stdout as described above.
func report(label, skips string, stdin io.Reader, stdout io.Writer) (failed bool, err error) {
	r := newReader(label, stdout)
	lines := bufio.NewReader(stdin)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			r.line(line)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return true, err
		}
	}
	r.end()
	if skips == "" {
		return r.failed, nil
	}
	f, err := os.OpenFile(skips, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return true, err
	}
	e := json.NewEncoder(f)
	for _, s := range r.skips {
		if err := e.Encode(s); err != nil {
			f.Close()
			return true, err
		}
	}
	return r.failed, f.Close()
}

// event is one line of `go test -json` (go doc test2json).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64
	// ImportPath is the package of build-output and build-fail.
	ImportPath string
}

// skip is one test that did not run.
type skip struct {
	Label, Package, Test, Reason string
}

// reason is the reason in what a test printed before it was skipped: the
// text of its last line that names a file and a line.
func reason(output []string) string {
	for i := len(output) - 1; i >= 0; i-- {
		text := strings.TrimSpace(output[i])
		if strings.HasPrefix(text, "--- SKIP") || strings.HasPrefix(text, "=== ") || text == "" {
			continue
		}
		if where, what, ok := strings.Cut(text, ": "); ok && strings.Contains(where, ".go:") {
			return what
		}
		return text
	}
	return "no reason given"
}
