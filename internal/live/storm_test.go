package live

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestStorm: reloads under concurrent lookups; nobody sees a mixture, no
// lookup fails, and memory and descriptors stay as they were. SBX_TEST_SOAK=1
// makes it 1,000 reloads at least, and for a minute at least, under 500
// readers.
func TestStorm(t *testing.T) {
	f := newFixture(t)
	f.put("a", manifest("a", "1.0.0", ""))
	f.start()
	f.version("a", "1.0.0")
	changes, callers, lasts := 40, 50, time.Duration(0)
	switch {
	case os.Getenv("SBX_TEST_SOAK") == "1":
		changes, callers, lasts = 1000, 500, time.Minute
	case testing.Short():
		changes = 10
	}
	var stop atomic.Bool
	var readers sync.WaitGroup
	var looked atomic.Int64
	// The last lookups of each reader; made before anything is measured.
	const kept = 1000
	took := make([][kept]time.Duration, callers)
	for i := range callers {
		readers.Go(func() {
			last := ""
			for n := 0; !stop.Load(); n++ {
				begin := time.Now()
				e, ok := f.set.Get("a")
				if !ok {
					t.Error("a is not there")
					return
				}
				p, err := f.set.Plan(e)
				took[i][n%kept] = time.Since(begin)
				if err != nil {
					t.Error(err)
					return
				}
				cur, _ := e.Command.Current()
				if p.Version != cur.Version || p.Revision != cur.Digest {
					t.Errorf("a mixture: plan %s of %s", p.Version, cur.Version)
					return
				}
				if p.Version < last {
					t.Errorf("%s after %s", p.Version, last)
					return
				}
				last = p.Version
				looked.Add(1)
				time.Sleep(time.Duration(callers) * 2 * time.Microsecond) // leave the processors to the loader
			}
		})
	}
	begin, done := time.Now(), 0
	reload := func(until func() bool) {
		for ; !until() && !t.Failed(); done++ {
			v := fmt.Sprintf("1.1%05d.0", done) // sorts as text
			f.put("a", manifest("a", v, ""))
			f.version("a", v)
		}
	}
	// The chain and what is kept of a command have their full length then.
	reload(func() bool { return done >= changes/2 })
	before := footprint()
	reload(func() bool { return done >= changes && time.Since(begin) >= lasts })
	after := footprint()
	stop.Store(true)
	readers.Wait()
	var all []time.Duration
	for i := range took {
		all = append(all, slices.DeleteFunc(took[i][:], func(d time.Duration) bool { return d == 0 })...)
	}
	slices.Sort(all)
	if len(all) == 0 {
		t.Fatal("nobody looked")
	}
	t.Logf("%d reloads under %d readers in %v, %d lookups, p50 %v, p99 %v; %v, then %v", done, callers, time.Since(begin).Round(time.Millisecond),
		looked.Load(), all[len(all)/2], all[len(all)*99/100], before, after)
	// Two megabytes are a thousand revisions that are kept, of 2 KiB each.
	if after.heap > before.heap+2<<20 {
		t.Error("memory has grown with the reloads")
	}
	if after.descriptors > before.descriptors+2 {
		t.Error("descriptors have grown with the reloads")
	}
}

// used is what this process has in use.
type used struct {
	heap        uint64 // bytes that are reachable
	descriptors int
}

func (u used) String() string {
	return fmt.Sprintf("%d KiB and %d descriptors", u.heap>>10, u.descriptors)
}

func footprint() used {
	runtime.GC()
	runtime.GC() // what the first one's finalizers gave back
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fds, _ := os.ReadDir("/proc/self/fd")
	return used{m.HeapAlloc, len(fds)}
}
