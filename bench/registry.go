package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sbx-project/sbx/internal/admin"
)

// The rows of large registries.
const (
	nameStartKept = "start of sbx serve, 10,000 bundles, persisted"
	nameStartCold = "start of sbx serve, 10,000 bundles, cold"
	nameChange50  = "one bundle changed among 10,000, p50"
	nameChange99  = "one bundle changed among 10,000, p99"
	nameLookup    = "lookup among %s commands"
	nameMap       = "sync.Map"
	nameLocked    = "map under RWMutex"
	nameAllocs    = "lookup, allocations"
)

// lookupSizes are the registries in which BenchmarkLookup looks names up.
var lookupSizes = []string{"100", "1000", "10000"}

// promisedBundles are those of the rows' bars.
const promisedBundles = 10_000

// changes is how often one bundle changes: of fewer p99 is the slowest.
const changes = 200

// starts measures how long `sbx serve` takes until it answers, without state
// and, several times, with the state of before.
func starts(dir, sbx, program string, bundles int) (cold, kept *figure) {
	cold, kept = &figure{}, &figure{}
	s, err := newSite(filepath.Join(dir, "many"), sbx)
	for i := 0; err == nil && i < bundles; i++ {
		err = s.put("c"+strconv.Itoa(i), numbered(i, program))
	}
	if err != nil {
		return &figure{problem: err}, &figure{problem: err}
	}
	for n := range 1 + 3 {
		took, err := s.start(bundles)
		switch {
		case err != nil && n == 0:
			return &figure{problem: err}, &figure{problem: err}
		case err != nil:
			return cold, &figure{problem: err}
		case n == 0:
			cold.values = append(cold.values, took.Seconds())
		default:
			kept.values = append(kept.values, took.Seconds())
		}
	}
	if bundles < promisedBundles {
		cold.small, cold.note = true, fmt.Sprintf("with %d bundles", bundles)
		kept.small, kept.note = true, cold.note
	}
	return cold, kept
}

// numbered is a bundle with one of 50 policies.
func numbered(i int, program string) string {
	return fmt.Sprintf("apiVersion: sbx/v1\nname: c%d\nversion: 1.0.0\nexec: {path: %s, args: passthrough}\npolicy:\n  limits: {timeout: %ds}\n  syscalls: {errno: {EPERM: [\"nr:%d\"]}}\n",
		i, program, 1+i%50, 100+i%50)
}

// start is the time from the start of a daemon until it says that it is ready,
// which must be with all bundles in force.
func (s *site) start(bundles int) (took time.Duration, err error) {
	began := time.Now()
	d, err := s.serve()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	client, err := s.dial()
	if err != nil {
		return 0, err
	}
	defer client.Close()
	var ready admin.Health
	for ctx := context.Background(); ; time.Sleep(time.Millisecond) {
		if err = client.Get(ctx, "/-/ready", &ready); err == nil && ready.OK {
			break
		}
		if time.Since(began) > startLimit {
			return 0, fmt.Errorf("sbx serve is not ready: %w", err)
		}
	}
	took = time.Since(began)
	var all admin.Commands
	if err := client.Get(context.Background(), "/v1/commands", &all); err != nil {
		return 0, err
	}
	there := 0
	for _, c := range all.Commands {
		if c.Registry == s.registry() && c.Version == "1.0.0" {
			there++
		}
	}
	if there != bundles {
		return 0, fmt.Errorf("of %d bundles %d are in force", bundles, there)
	}
	return took, nil
}

// changed has internal/live's BenchmarkChange measure one change among many.
func changed(bundles int) (p50, p99 *figure) {
	m, err := goBench("./internal/live", "^BenchmarkChange$", strconv.Itoa(changes)+"x", "SBX_BENCH_BUNDLES="+strconv.Itoa(bundles))
	note := ""
	small := bundles < promisedBundles
	if small {
		note = fmt.Sprintf("with %d bundles", bundles)
	}
	f := func(metric string) *figure {
		v, ok := m["BenchmarkChange"][metric]
		if err == nil && !ok {
			return &figure{problem: errors.New("BenchmarkChange does not say " + metric)}
		}
		return &figure{values: []float64{v}, problem: err, note: note, small: small}
	}
	return f("p50-ms"), f("p99-ms")
}

// lookups has registry/snapshot's benchmarks measure what a lookup takes.
func lookups(all map[string]*figure) {
	m, err := goBench("./registry/snapshot", "^BenchmarkLookup$", "1x")
	if err == nil {
		var get map[string]map[string]float64
		get, err = goBench("./registry/snapshot", "^BenchmarkGet$", "100000x")
		maps.Copy(m, get)
	}
	put := func(row, bench, metric string) {
		v, ok := m[bench][metric]
		problem := err
		if err == nil && !ok {
			problem = errors.New(bench + " does not say " + metric)
		}
		all[row] = &figure{values: []float64{v}, problem: problem}
	}
	for _, n := range lookupSizes {
		put(lookupRow(n, nameMap), "BenchmarkLookup/"+n+"-commands", "table/sync.Map")
		put(lookupRow(n, nameLocked), "BenchmarkLookup/"+n+"-commands", "table/rwmutex")
	}
	put(nameAllocs, "BenchmarkGet", "allocs/op")
}

func lookupRow(n, against string) string { return fmt.Sprintf(nameLookup, n) + " to " + against }

// goBench runs benchmarks of a package and returns what they report: by the
// name of the benchmark, by unit.
func goBench(pkg, which, times string, env ...string) (map[string]map[string]float64, error) {
	cmd := exec.Command("go", "test", "-run", "^$", "-bench", which, "-benchtime", times, "-benchmem", pkg)
	cmd.Env = append(os.Environ(), env...)
	text, err := output(cmd)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, text)
	}
	return parseBench(text)
}

// parseBench reads the lines of testing's benchmarks (`go doc testing`): name,
// rounds, then pairs of value and unit.
func parseBench(text string) (map[string]map[string]float64, error) {
	all := map[string]map[string]float64{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name := f[0]
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			if _, err := strconv.Atoi(name[i+1:]); err == nil {
				name = name[:i] // the number of processors
			}
		}
		units := map[string]float64{}
		for i := 2; i+1 < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				return nil, fmt.Errorf("benchmark %s: %w", name, err)
			}
			units[f[i+1]] = v
		}
		all[name] = units
	}
	return all, nil
}
