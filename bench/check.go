package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
)

// facts are what the probe said, by name.
type facts map[string]string

// check runs the probe on the host and under each launcher and prints what
// they made side by side. The exit status is 1 when the launchers differ in
// what is called equal work, 0 otherwise.
func check(k *kit, w io.Writer) (int, error) {
	host, err := probe(&command{argv: []string{k.probe}}, nil)
	if err != nil {
		return 3, err
	}
	bwrap, err := probe(k.bwrap(k.probe), host)
	if err != nil {
		return 3, err
	}
	sbx, sbxErr := probe(k.sbx(k.probe), host)
	names := make(map[string]bool)
	for _, f := range []facts{bwrap, sbx} {
		for name := range f {
			names[name] = true
		}
	}
	var sorted []string
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "inside\tbubblewrap\tsbx\t")
	status := 0
	for _, name := range sorted {
		mark := ""
		if sbxErr == nil && !equalWork(name, bwrap[name], sbx[name]) {
			mark, status = "DIFFERENT", 1
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", name, bwrap[name], sbx[name], mark)
	}
	if err := t.Flush(); err != nil {
		return 3, err
	}
	if sbxErr != nil {
		return 3, fmt.Errorf("sbx: %w", sbxErr)
	}
	return status, nil
}

// equalWork judges one fact: what both launchers have to make for the
// comparison to be fair. What sbx makes on top (a private time namespace, a
// sealed root, /dev/shm, /etc) is to its own cost and is shown only.
func equalWork(name, bwrap, sbx string) bool {
	switch name {
	case "ns-user", "ns-pid", "ns-mnt", "ns-net", "ns-ipc", "ns-uts", "ns-cgroup",
		"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp",
		"mount-/usr", "pid", "pids-visible":
		return bwrap == sbx
	case "mount-/", "mount-/tmp", "mount-/proc", "mount-/dev/pts":
		bwrapType, _, _ := strings.Cut(bwrap, " ")
		sbxType, _, _ := strings.Cut(sbx, " ")
		return bwrapType == sbxType
	}
	return true
}

// probe runs the probe in a launcher; a namespace is told as private or shared
// with the host.
func probe(c *command, host facts) (facts, error) {
	cmd := exec.Command(c.argv[0], c.argv[1:]...)
	cmd.Env = c.env
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	if c.fd3 != "" {
		file, err := os.Open(c.fd3)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		cmd.ExtraFiles = []*os.File{file}
	}
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", c.argv[0], err, strings.TrimSpace(complaint.String()))
	}
	f := facts{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		f[name] = value
	}
	for name, value := range f {
		switch {
		case host == nil || !strings.HasPrefix(name, "ns-"):
		case value == "?":
			f[name] = "unknown"
		case value == host[name]:
			f[name] = "shared"
		default:
			f[name] = "private"
		}
	}
	return f, nil
}
