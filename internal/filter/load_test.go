//go:build cgo

package filter

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/syscalls"
)

// allowlist allows 300 calls by number and kills for others.
func allowlist(t testing.TB) Ruleset {
	t.Helper()
	rs := Ruleset{Arch: runtime.GOARCH, Default: kill, Calls: map[uint32]Call{}}
	for _, group := range []string{"@system-service", "@known"} {
		names, ok := syscalls.Group(group)
		if !ok {
			t.Fatalf("no group %s", group)
		}
		for _, name := range names {
			if nr, ok := syscalls.Number(rs.Arch, name); ok && len(rs.Calls) < 300 {
				rs.Calls[nr] = Call{Default: allow}
			}
		}
	}
	return rs
}

// libseccompForm is rs, of calls without rules, as people write it with
// libseccomp. Level 2 is its binary tree (SCMP_FLTATR_CTL_OPTIMIZE).
func libseccompForm(t testing.TB, rs Ruleset, level int) []byte {
	t.Helper()
	f, err := newLibseccomp(rs.Default.libseccomp())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Release()
	if err := f.SetOptimize(level); err != nil {
		t.Fatal(err)
	}
	for nr, call := range rs.Calls {
		if err := f.AddRuleExact(seccomp.ScmpSyscall(nr), call.Default.libseccomp()); err != nil {
			t.Fatal(err)
		}
	}
	out, err := export(f)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// BenchmarkLoad loads three forms of one allowlist in turn, each on a new
// thread, and reports the median time of seccomp(2) for each and the median
// of the ratio to libseccomp's default form.
func BenchmarkLoad(b *testing.B) {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		b.Fatal(err)
	}
	rs := allowlist(b)
	p, err := Compile(rs)
	if err != nil {
		b.Fatal(err)
	}
	forms := []struct {
		name  string
		insns []byte
		times []float64
	}{
		{name: "range", insns: p.Insns},
		{name: "libseccomp", insns: libseccompForm(b, rs, 1)},
		{name: "tree", insns: libseccompForm(b, rs, 2)},
	}
	for round := 0; b.Loop(); round++ {
		for i := range forms {
			f := &forms[(i+round)%len(forms)]
			done := make(chan time.Duration)
			go func() {
				runtime.LockOSThread() // the thread ends with the goroutine
				// New threads do not inherit what other threads set.
				if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
					b.Error(err)
				}
				start := time.Now()
				_, errno := load(f.insns, 0)
				took := time.Since(start)
				if errno != 0 {
					b.Error(errno)
				}
				done <- took
			}()
			f.times = append(f.times, float64(<-done))
		}
	}
	median := func(list []float64) float64 {
		list = slices.Sorted(slices.Values(list))
		return list[len(list)/2]
	}
	for _, f := range forms {
		b.ReportMetric(median(f.times), f.name+"-ns")
		b.ReportMetric(float64(len(f.insns)/insnSize), f.name+"-insns")
	}
	var ratios []float64
	for i := range forms[0].times {
		ratios = append(ratios, forms[0].times[i]/forms[1].times[i])
	}
	b.ReportMetric(median(ratios), "ratio")
}

func BenchmarkCompile(b *testing.B) {
	rs := serviceRules(b, "amd64")
	for b.Loop() {
		if _, err := Compile(rs); err != nil {
			b.Fatal(err)
		}
	}
}
