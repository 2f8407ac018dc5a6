package agree_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
)

// executing tries to execute files: each attempt that works ends the probe.
func (t *trial) executing() {
	tr := t.caller.tree
	for _, p := range []string{tr.path("exec/prog"), tr.path("read/exe"), tr.path("write/exe"), tr.path("exec/data"), tr.path("absent")} {
		it := pathItem{'e', p}
		errno, killer, known, err := t.force.answer(it)
		if err != nil || !known {
			t.Fatalf("%s: %v", it.item(), err)
		}
		r, err := t.caller.sandboxed(t.file, "one", it.item())
		if err != nil {
			t.Fatal(err)
		}
		t.counts.execs++
		want := int(errno)
		if errno == 0 {
			want = 77
		}
		switch {
		case killer != nil && (r.status != 159 || len(r.Violations) != 1 || r.Violations[0].NR != int32(killer.nr)):
			t.Errorf("execve %q: the dump says violation\n%s", p, r)
		case killer == nil && r.status != want:
			t.Errorf("execve %q: want status %d\n%s", p, want, r)
		}
		if killer != nil {
			break // it does not depend on the path
		}
	}
}

// files compares what the view shows, and the other facts of the plan.
func (t *trial) files() {
	tr, p := t.caller.tree, t.force.plan
	list := tr.probes()
	for _, s := range []string{"W", "U", "E", "D", "H"} {
		list = append(list, pathItem{s[0], ""})
	}
	for _, l := range p.Rlimits {
		list = append(list, pathItem{'L', strconv.FormatUint(uint64(l.Resource), 16)})
	}
	var items []string
	var want []unix.Errno
	var tried []pathItem
	for _, it := range list {
		errno, killer, known, err := t.force.answer(it)
		if err != nil {
			t.Fatal(err)
		}
		if killer != nil || !known {
			continue
		}
		if it.op == 'c' && errno == 0 && filepath.Base(it.path) != newName {
			continue // it would be there for the items that follow
		}
		items, want, tried = append(items, it.item()), append(want, errno), append(tried, it)
	}
	got := t.batch(items)
	created := map[string]bool{}
	for i, it := range tried {
		if got[i].errno == unix.ETXTBSY && want[i] == unix.EROFS && it.path == p.Exec.Inside {
			want[i] = unix.ETXTBSY // the owner of a running program hears this first
		}
		if got[i].errno != want[i] {
			t.Errorf("%s: %s, the plan says %s", items[i], errnoName(got[i].errno), errnoName(want[i]))
			continue
		}
		if it.path != "" && it.op != 'L' {
			t.counts.paths++
			if want[i] == 0 {
				t.counts.opened++
				created[it.path] = created[it.path] || it.op == 'c'
			}
			continue
		}
		t.counts.facts++
		if want[i] == 0 {
			t.fact(it, got[i].text)
		}
	}
	t.outside(created)
}

// fact compares what the probe printed.
func (t *trial) fact(it pathItem, got string) {
	t.Helper()
	p, want := t.force.plan, got
	switch it.op {
	case 'E':
		var have []string
		for line := range strings.Lines(got + "\n") {
			if s, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "="); ok {
				have = append(have, s)
			}
		}
		slices.Sort(have)
		if d := cmp.Diff(t.force.environment(t.caller.environ()), have); d != "" {
			t.Errorf("environment (-plan +run):\n%s", d)
		}
	case 'D':
		want = "/tmp"
		if i := slices.IndexFunc(t.force.view.steps, func(s plan.Step) bool { return s.Flags&plan.SourceCwd != 0 }); i >= 0 {
			want = t.caller.tree.path("cwd")
		}
		if p.Chdir != "" {
			want = p.Chdir
		}
	case 'H':
		want = p.Hostname
	case 'L':
		for _, l := range p.Rlimits {
			if strconv.FormatUint(uint64(l.Resource), 16) == it.path {
				want = fmt.Sprintf("%d %d", l.Value, l.Value)
			}
		}
	}
	if got != want {
		t.Errorf("%s: %q, the plan says %q", it.item(), got, want)
	}
}

// outside checks that exactly the files which the probe could make in shown
// trees are there, with the tree's owner, and removes them.
func (t *trial) outside(created map[string]bool) {
	_ = filepath.WalkDir(t.caller.tree.base, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			t.Error(err)
			return nil
		}
		if d.Name() != newName {
			return nil
		}
		if !created[p] {
			t.Errorf("%q was made", p)
		}
		var st, dir unix.Stat_t
		if unix.Lstat(p, &st) != nil || unix.Lstat(filepath.Dir(p), &dir) != nil || st.Uid != dir.Uid || st.Gid != dir.Gid {
			t.Errorf("%q belongs to %d:%d, its directory to %d:%d", p, st.Uid, st.Gid, dir.Uid, dir.Gid)
		}
		if err := os.Remove(p); err != nil {
			t.Error(err)
		}
		return nil
	})
}
