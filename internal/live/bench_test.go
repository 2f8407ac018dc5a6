package live

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/registry/watch"
)

// many is how many bundles the benchmarks load: what is promised is 10,000
// (SBX_BENCH_BUNDLES); a tenth shows whether they still work.
func many(b *testing.B) int {
	n := 1000
	if s := os.Getenv("SBX_BENCH_BUNDLES"); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil {
			b.Fatal(err)
		}
	}
	return n
}

// fill makes n bundles of 50 policies.
func (f *fixture) fill(n int) {
	for i := range n {
		name := fmt.Sprintf("c%d", i)
		text := manifest(name, "1.0.0", fmt.Sprintf("policy:\n  limits: {timeout: %ds}\n  syscalls: {errno: {EPERM: [\"nr:%d\"]}}\n", 1+i%50, 100+i%50))
		f.must(os.WriteFile(f.dir()+"/"+name+".yaml", []byte(text), 0o644))
	}
}

// BenchmarkStart: cold, with no state; persisted, with the state of before.
func BenchmarkStart(b *testing.B) {
	f := newFixture(b)
	f.fill(many(b))
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			f.must(os.RemoveAll(f.base + "/state"))
			f.must(os.Mkdir(f.base+"/state", 0o755))
			b.StartTimer()
			f.start()
			f.stop()
		}
	})
	b.Run("persisted", func(b *testing.B) {
		for b.Loop() {
			f.start()
			f.stop()
		}
	})
}

// BenchmarkChange: from the rename of one bundle among many until it is in
// force, beyond the settle time, in a Set as a daemon has it.
func BenchmarkChange(b *testing.B) {
	f := newFixture(b)
	f.fill(many(b))
	place, err := loader.OpenPlace(f.dir())
	f.must(err)
	f.set, err = Start([]loader.Place{place}, Options{Loader: loader.Options{StateDir: f.base + "/state", Registries: []string{f.dir()}}})
	f.must(err)
	b.Cleanup(f.stop)
	f.put("c7", manifest("c7", "1.0.1", "")) // the watch is there once this is in force
	f.version("c7", "1.0.1")
	var took []time.Duration
	for n := 0; b.Loop(); n++ {
		version, file := fmt.Sprintf("1.1.%d", n), f.dir()+"/c7.yaml"
		f.must(os.WriteFile(file+"~", []byte(manifest("c7", version, "")), 0o644))
		start := time.Now()
		f.must(os.Rename(file+"~", file))
		for e, _ := f.set.Get("c7"); ; e, _ = f.set.Get("c7") {
			if r, ok := e.Command.Current(); ok && r.Version == version {
				break
			}
			if time.Since(start) > patience {
				b.Fatalf("%s does not come in force", version)
			}
			time.Sleep(100 * time.Microsecond)
		}
		took = append(took, time.Since(start)-watch.DefaultSettle)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkTogether: fifty bundles of a hundred change together, as those do
// that follow each other too closely to settle; the processor time of the whole
// process for each of them.
func BenchmarkTogether(b *testing.B) {
	const all, together = 100, 50
	f := newFixture(b)
	f.fill(all)
	f.start()
	b.Cleanup(f.stop)
	before, changes := processorTime(b), 0
	for n := 0; b.Loop(); n++ {
		version := fmt.Sprintf("1.1.%d", n)
		for i := range together {
			name := fmt.Sprintf("c%d", (n*together+i)%all)
			f.put(name, manifest(name, version, ""))
		}
		for i := range together {
			f.version(fmt.Sprintf("c%d", (n*together+i)%all), version)
		}
		changes += together
	}
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/1000/float64(changes), "cpu-ms/change")
}

// processorTime is what this process has used so far.
func processorTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
