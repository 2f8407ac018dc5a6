//go:build ignore

// Command gen writes tables.go: the syscall numbers of golang.org/x/sys and
// the groups and guarded calls of groups.txt and guarded.txt.
package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"go/format"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// absent marks a call that an architecture does not have.
const absent = 0xffff

// arches in the order of the generated arrays.
var arches = []string{"amd64", "arm64"}

var (
	numberLine = regexp.MustCompile(`(?m)^\tSYS_([A-Z0-9_]+)\s+= (\d+)$`)
	kernelLine = regexp.MustCompile(`(?m)^RUN git clone --branch v([0-9.]+) .*/torvalds/linux`)
)

// group is one group of groups.txt with its members as written.
type group struct {
	name, help string
	members    []string
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("gen: ")
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}} {{.Version}}", "golang.org/x/sys").Output()
	if err != nil {
		return fmt.Errorf("locate golang.org/x/sys: %w", err)
	}
	dir, version, ok := strings.Cut(strings.TrimSpace(string(out)), " ")
	if !ok {
		return fmt.Errorf("locate golang.org/x/sys: answer %q", out)
	}
	dir = filepath.Join(dir, "unix")

	docker, err := os.ReadFile(filepath.Join(dir, "linux", "Dockerfile"))
	if err != nil {
		return err
	}
	kernel := kernelLine.FindSubmatch(docker)
	if kernel == nil {
		return errors.New("linux/Dockerfile of x/sys names no kernel")
	}

	numbers := make([]map[string]int, len(arches))
	var names []string
	for i, arch := range arches {
		if numbers[i], err = readNumbers(filepath.Join(dir, "zsysnum_linux_"+arch+".go")); err != nil {
			return err
		}
		for name := range numbers[i] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)

	groups, err := readGroups("gen/groups.txt")
	if err != nil {
		return err
	}
	groups = append(groups, group{"@known", "Every call of the table", names})
	slices.SortFunc(groups, func(a, b group) int { return cmp.Compare(a.name, b.name) })
	guarded, err := readWords("gen/guarded.txt")
	if err != nil {
		return err
	}

	src, err := write(version, string(kernel[1]), names, numbers, groups, guarded)
	if err != nil {
		return err
	}
	return os.WriteFile("tables.go", src, 0o644)
}

func readNumbers(path string) (map[string]int, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	numbers := map[string]int{}
	for _, m := range numberLine.FindAllSubmatch(src, -1) {
		name := strings.ToLower(string(m[1]))
		if name == "arch_specific_syscall" {
			continue // the start of a reserved range, not a call
		}
		nr, err := strconv.Atoi(string(m[2]))
		if err != nil || nr >= absent {
			return nil, fmt.Errorf("%s: number of %s: %s", path, name, m[2])
		}
		numbers[name] = nr
	}
	if len(numbers) < 300 {
		return nil, fmt.Errorf("%s: only %d calls found", path, len(numbers))
	}
	return numbers, nil
}

// readLines returns the lines of path without comments and empty ones.
func readLines(path string) ([]string, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var lines []string
	for line := range strings.Lines(string(src)) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimRight(line, " \n"); line != "" {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

func readWords(path string) ([]string, error) {
	lines, err := readLines(path)
	return strings.Fields(strings.Join(lines, " ")), err
}

// readGroups reads "@name: help" lines, each followed by indented members.
func readGroups(path string) ([]group, error) {
	lines, err := readLines(path)
	if err != nil {
		return nil, err
	}
	var groups []group
	for _, line := range lines {
		if strings.HasPrefix(line, "@") {
			name, help, _ := strings.Cut(line, ": ")
			groups = append(groups, group{name: name, help: help})
			continue
		}
		if len(groups) == 0 {
			return nil, fmt.Errorf("%s: members before the first group", path)
		}
		g := &groups[len(groups)-1]
		g.members = append(g.members, words(line)...)
	}
	return groups, nil
}

// words splits a line of members; "+" only marks the newer ones for readers.
func words(line string) []string {
	return slices.DeleteFunc(strings.Fields(line), func(w string) bool { return w == "+" })
}

// bits returns the set of members, nested groups resolved, as a bitmap over
// names.
func bits(members, names []string, groups []group, depth int) ([]uint64, error) {
	if depth > 4 {
		return nil, errors.New("groups nest in a circle")
	}
	set := make([]uint64, (len(names)+63)/64)
	for _, m := range members {
		if strings.HasPrefix(m, "@") {
			i := slices.IndexFunc(groups, func(g group) bool { return g.name == m })
			if i < 0 {
				return nil, fmt.Errorf("group %s is not defined", m)
			}
			sub, err := bits(groups[i].members, names, groups, depth+1)
			if err != nil {
				return nil, err
			}
			for k := range set {
				set[k] |= sub[k]
			}
			continue
		}
		i, ok := slices.BinarySearch(names, m)
		if !ok {
			return nil, fmt.Errorf("call %s is on no architecture of the table", m)
		}
		set[i/64] |= 1 << (i % 64)
	}
	return set, nil
}

func write(version, kernel string, names []string, numbers []map[string]int, groups []group, guarded []string) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "// Code generated by gen/main.go from golang.org/x/sys %s, gen/groups.txt and gen/guarded.txt; DO NOT EDIT.\n\n", version)
	fmt.Fprintf(&b, "package syscalls\n\n// Kernel is the Linux release whose calls the tables hold: a call that it\n// does not have is in none of them.\nconst Kernel = %q\n\n", kernel)
	fmt.Fprintf(&b, "// nameBlob holds the names, sorted; name i is nameBlob[nameAt[i]:nameAt[i+1]].\nconst nameBlob = \"\" +\n")
	for i, n := range names {
		plus := " +"
		if i == len(names)-1 {
			plus = ""
		}
		fmt.Fprintf(&b, "\t%q%s\n", n, plus)
	}
	at, list := 0, []int{0}
	for _, n := range names {
		at += len(n)
		list = append(list, at)
	}
	writeInts(&b, "\nvar nameAt = [...]uint16{", list)

	for i, arch := range arches {
		var byName, byNumber []int
		for index, n := range names {
			nr, ok := numbers[i][n]
			if !ok {
				byName = append(byName, absent)
				continue
			}
			byName = append(byName, nr)
			for len(byNumber) <= nr {
				byNumber = append(byNumber, absent)
			}
			if byNumber[nr] != absent {
				return nil, fmt.Errorf("%s: two names for number %d", arch, nr)
			}
			byNumber[nr] = index
		}
		fmt.Fprintf(&b, "\n// %sNumber holds the number of each name, absent where there is none;\n// %sName the name of each number, absent in a hole.\n", arch, arch)
		writeInts(&b, "var "+arch+"Number = [...]uint16{", byName)
		writeInts(&b, "\nvar "+arch+"Name = [...]uint16{", byNumber)
	}

	words := (len(names) + 63) / 64
	fmt.Fprintf(&b, "\n// set is a bitmap over the names.\ntype set [%d]uint64\n\n", words)
	all, err := bits(guarded, names, nil, 0)
	if err != nil {
		return nil, fmt.Errorf("guarded.txt: %w", err)
	}
	fmt.Fprintf(&b, "var guarded = %s\n\n", setLiteral(all))
	fmt.Fprintf(&b, "// groups holds every group, sorted by name, guarded members included.\nvar groups = [...]struct {\n\tname string\n\tset set\n}{\n")
	for _, g := range groups {
		s, err := bits(g.members, names, groups, 0)
		if err != nil {
			return nil, fmt.Errorf("group %s: %w", g.name, err)
		}
		fmt.Fprintf(&b, "\t{%q, %s}, // %s\n", g.name, setLiteral(s), g.help)
	}
	fmt.Fprintf(&b, "}\n")
	return format.Source(b.Bytes())
}

func setLiteral(s []uint64) string {
	parts := make([]string, len(s))
	for i, w := range s {
		parts[i] = fmt.Sprintf("%#x", w)
	}
	return "set{" + strings.Join(parts, ", ") + "}"
}

func writeInts(b *bytes.Buffer, open string, list []int) {
	b.WriteString(open)
	for i, n := range list {
		if i%16 == 0 {
			b.WriteString("\n\t")
		}
		if n == absent {
			b.WriteString("absent, ")
		} else {
			fmt.Fprintf(b, "%d, ", n)
		}
	}
	b.WriteString("\n}\n")
}
