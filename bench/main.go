// Command bench measures what sbx promises about its own speed, side by side
// with what it is compared to: a one-shot sandbox against bubblewrap doing equal
// work, `sbx version` against an empty Go program, the filter against none and
// against libseccomp's. README.md says how and why.
//
//	go run ./bench              print the table
//	go run ./bench -enforce     exit 1 when a bar is missed or was not measured
//	go run ./bench -check       show what each launcher made, side by side
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
)

// options are the flags.
type options struct {
	rounds  int
	seed    uint64
	quiet   bool
	enforce bool
	check   bool
	binds   bool
	crowd   int
	bundles int
	lookups bool
	sbx     string
	bwrap   string
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is main with its surroundings as arguments; it returns the exit status: 0,
// 1 for a missed bar, 2 for bad flags, 3 when nothing could be measured.
func run(args []string, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.rounds, "rounds", 60, "rounds; each runs every command once")
	flags.Uint64Var(&o.seed, "seed", 0, "seed of the order within rounds; 0 takes a random one")
	flags.BoolVar(&o.quiet, "quiet", false, "before each command wait for an idle window of 12 ms (up to 2 s)")
	flags.BoolVar(&o.enforce, "enforce", false, "exit 1 when a bar is missed or could not be measured")
	flags.BoolVar(&o.check, "check", false, "show what each launcher made instead of measuring")
	flags.BoolVar(&o.binds, "binds", false, "bubblewrap binds /bin, /lib and /lib64 where the view of sbx has links")
	flags.IntVar(&o.crowd, "crowd", 1000, "sandboxes at once; 0 leaves that out")
	flags.IntVar(&o.bundles, "bundles", 10_000, "bundles of the large registry; 0 leaves it out")
	flags.BoolVar(&o.lookups, "lookups", true, "measure lookups")
	flags.StringVar(&o.sbx, "sbx", defaultSbx(), "the sbx to measure")
	flags.StringVar(&o.bwrap, "bwrap", "bwrap", "the bubblewrap to measure")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if o.rounds < 1 || o.crowd < 0 || o.bundles < 0 || flags.NArg() > 0 {
		fmt.Fprintln(stderr, "bench: -rounds must be at least 1, -crowd and -bundles not negative, and there are no arguments")
		return 2
	}
	status, err := bench(o, stdout)
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
	}
	return status
}

// defaultSbx is sbx below $SBX_TEST_BIN, else below ./bin.
func defaultSbx() string {
	dir := os.Getenv("SBX_TEST_BIN")
	if dir == "" {
		dir = "bin"
	}
	return filepath.Join(dir, "sbx")
}

func bench(o options, stdout io.Writer) (status int, err error) {
	dir, err := os.MkdirTemp("", "sbx-bench-")
	if err != nil {
		return 3, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// The workload may run under other ids than ours.
	if err := os.Chmod(dir, 0o755); err != nil {
		return 3, err
	}
	kit, err := prepare(dir, o)
	if err != nil {
		return 3, err
	}
	defer func() { err = errors.Join(err, kit.stop()) }()
	if o.check {
		return check(kit, stdout)
	}
	// A command that does not work is found before the rounds, not in them;
	// this also loads what the first run of a registry loads.
	for _, c := range kit.commands {
		c.problem = try(c)
		if c.problem == nil && c.name == nameWarm {
			c.problem = byDaemon(c, dir)
		}
	}
	results, err := measure(kit.commands, o)
	if err != nil {
		return 3, err
	}
	for _, c := range kit.commands {
		if c.name == nameWarm && c.problem == nil {
			// Before and after: no run in between had a reason to go elsewhere.
			if err := byDaemon(c, dir); err != nil {
				return 3, err
			}
			times, err := sustain(kit.commands[1], c)
			if err != nil {
				return 3, err
			}
			maps.Copy(results, times)
			kit.figures[nameTail] = tail(c)
		}
	}
	alone(kit, o)
	if kit.filters != nil {
		times, err := measureFilters(kit.filters, o)
		kit.filterProblem = err
		maps.Copy(results, times)
	}
	return report(stdout, kit, results, o)
}

// alone measures what stands by itself, one after the other.
func alone(k *kit, o options) {
	all := k.figures
	all[nameMemoryCold] = memoryCold(k.site)
	all[nameMemoryWarm] = memoryWarm(k.site, k.daemon)
	if o.crowd > 0 {
		all[nameCrowdWarm] = crowd(o.crowd, k.site.run("hold"))
		all[nameCrowdCold] = crowd(o.crowd, k.site.run("hold", "--direct"))
	}
	if err := byDaemon(k.site.run("hold"), k.dir); err != nil {
		for _, row := range []string{nameMemoryWarm, nameCrowdWarm} {
			all[row] = &figure{problem: err}
		}
	}
	all[nameChanging] = whileChanging(k.dir, k.site.sbx, k.truth)
	if o.bundles > 0 {
		all[nameStartCold], all[nameStartKept] = starts(k.dir, k.site.sbx, k.truth, o.bundles)
		all[nameChange50], all[nameChange99] = changed(o.bundles)
	}
	if o.lookups {
		lookups(all)
	}
}
