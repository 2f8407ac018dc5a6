package loader

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/sbx-project/sbx/internal/state"
)

// TestRebuilt: the same revision that is compiled anew for a program that was
// replaced is told, once, without a generation; what changes in the registry
// or by a boot is not the host.
func TestRebuilt(t *testing.T) {
	s := newShop(t)
	program := s.base + "/program"
	install := func(from string) {
		t.Helper()
		path, err := exec.LookPath(from)
		s.must(err)
		text, err := os.ReadFile(path)
		s.must(err)
		s.must(os.WriteFile(program+".new", text, 0o755))
		s.must(os.Rename(program+".new", program))
	}
	install("true")
	text := fmt.Sprintf("apiVersion: sbx/v1\nname: tool\nversion: 1.0.0\nexec: {path: %s, args: passthrough}\n", program)
	put := func() { s.must(os.WriteFile(s.base+"/registry/tool.yaml", []byte(text), 0o644)) }
	put()
	count := func() (n int) {
		t.Helper()
		_, results, events := s.inForce("tool")
		if results["tool"].Plan == nil {
			t.Fatal(results["tool"].Err)
		}
		for _, e := range events {
			if e.Kind == Rebuilt && e.Name == "tool" && e.InForce == "1.0.0" && e.Code == 200 && e.Generation == 1 {
				n++
			} else if e.Kind == Rebuilt {
				t.Errorf("%+v", e)
			}
		}
		return n
	}
	if n := count(); n != 0 {
		t.Errorf("new: told %d times", n)
	}
	put()
	if n := count(); n != 0 {
		t.Errorf("the same file written again: told %d times", n)
	}
	path := state.PlanPath(s.base+"/state", s.place.Key, "tool")
	p, err := state.Read(path)
	s.must(err)
	p.BootID = "another"
	encoded, err := p.Encode()
	s.must(err)
	s.must(state.Write(path, encoded))
	if n := count(); n != 0 {
		t.Errorf("another boot: told %d times", n)
	}
	install("false")
	if n := count(); n != 1 {
		t.Errorf("another program: told %d times", n)
	}
	if n := count(); n != 0 {
		t.Errorf("the same again: told %d times", n)
	}
	l := s.open()
	defer l.Close()
	if list, err := l.History(); err != nil || len(list) != 1 {
		t.Errorf("generations: %+v, %v", list, err)
	}
}
