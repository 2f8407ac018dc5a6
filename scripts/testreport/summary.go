package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// printSummary prints the skips of a file by reason: how many tests, in which
// run, and the first few of them by name. A file that does not exist holds
// none.
func printSummary(path string, out io.Writer) error {
	f, err := os.Open(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var all []skip
	if err == nil {
		defer f.Close()
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			var s skip
			if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
				return fmt.Errorf("read %q: %w", path, err)
			}
			all = append(all, s)
		}
		if err := lines.Err(); err != nil {
			return fmt.Errorf("read %q: %w", path, err)
		}
	}
	_, err = io.WriteString(out, summary(all))
	return err
}

// shown is how many tests are named for one reason: enough to find the
// others, few enough that all reasons fit on a page.
const shown = 3

func summary(all []skip) string {
	if len(all) == 0 {
		return "skipped: nothing\n"
	}
	type group struct{ label, reason string }
	var groups []group
	tests := map[group][]string{}
	for _, s := range all {
		g := group{s.Label, s.Reason}
		if tests[g] == nil {
			groups = append(groups, g)
		}
		tests[g] = append(tests[g], s.Test)
	}
	slices.SortStableFunc(groups, func(a, b group) int { return len(tests[b]) - len(tests[a]) })
	text := fmt.Sprintf("skipped: %d tests\n", len(all))
	for _, g := range groups {
		names := tests[g]
		text += fmt.Sprintf("%6d  %s: %s\n        %s", len(names), g.label, g.reason, names[0])
		for _, n := range names[1:min(shown, len(names))] {
			text += ", " + n
		}
		if len(names) > shown {
			text += ", ..."
		}
		text += "\n"
	}
	return text
}
