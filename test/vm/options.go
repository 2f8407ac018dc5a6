package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Sizes of the guest in MiB.
const (
	// defaultMemory is what the tests need with room to spare; the root file
	// system takes up to half of it.
	defaultMemory = 1024
	// defaultScratch is the ext4 disk. It is sparse: only what is written
	// costs memory on the host.
	defaultScratch = 256
)

// defaultTimeout ends a guest whose program has no -test.timeout of its own.
const defaultTimeout = 10 * time.Minute

// options is what the command line and the environment ask for.
type options struct {
	kernel  string        // a version such as "6.12" below cache/kernels, or a directory when it has a slash
	cache   string        // directory of kernels and saved machines
	accel   string        // "auto", or what QEMU's -accel takes
	files   []extraFile   // files of the host that the guest gets besides the program
	modules []string      // kernel modules to load besides those that the harness needs
	memory  int           // MiB
	scratch int           // MiB
	systemd bool          // the guest's process 1 is systemd, and the program runs in a service of its
	cold    bool          // boot, and neither use nor make a saved machine
	verbose bool          // times and QEMU's command line on standard error
	timeout time.Duration // of one whole run; 0 takes it from -test.timeout
	args    []string      // the program and its arguments; never empty
}

// extraFile is a file or directory of the host and its place in the guest.
type extraFile struct{ src, dst string }

// parseOptions reads the command line; each flag has an environment variable
// (VM_ and the flag's name in capitals) as its default, because go test hides
// the flags of its -exec program behind one string.
func parseOptions(args []string, getenv func(string) string, stderr io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("vmexec", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprintln(stderr, "usage: vmexec [flags] PROGRAM [ARG...]")
		fs.PrintDefaults()
	}
	fallback := func(name, def string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return def
	}
	var modules string
	var files []string
	fs.StringVar(&o.kernel, "kernel", fallback("VM_KERNEL", "6.12"), "kernel `version` that setup.sh fetched, or the directory of an unpacked package (VM_KERNEL)")
	fs.StringVar(&o.cache, "cache", fallback("VM_CACHE", defaultCache(getenv)), "`directory` of kernels and saved machines (VM_CACHE)")
	fs.StringVar(&o.accel, "accel", fallback("VM_ACCEL", "auto"), "QEMU's -accel; auto takes KVM where the processor has it (VM_ACCEL)")
	fs.Func("files", "comma separated `src[=dst]` of files and directories for the guest, with their shared libraries; may be repeated (VM_FILES)", func(list string) error {
		files = append(files, list)
		return nil
	})
	fs.StringVar(&modules, "modules", getenv("VM_MODULES"), "comma separated kernel `modules` to load besides (VM_MODULES)")
	fs.IntVar(&o.memory, "mem", defaultMemory, "memory of the guest in `MiB`")
	fs.IntVar(&o.scratch, "scratch", defaultScratch, "size of the ext4 disk at /scratch in `MiB`")
	fs.BoolVar(&o.systemd, "systemd", getenv("VM_SYSTEMD") != "", "boot systemd, and run the program in a service of it (VM_SYSTEMD)")
	fs.BoolVar(&o.cold, "cold", getenv("VM_COLD") != "", "boot in place of resuming a saved machine (VM_COLD)")
	fs.BoolVar(&o.verbose, "v", getenv("VM_VERBOSE") != "", "print times and QEMU's command line (VM_VERBOSE)")
	fs.DurationVar(&o.timeout, "timeout", 0, "bound of the whole run; 0: one minute more than -test.timeout, or 10m")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if o.args = fs.Args(); len(o.args) == 0 {
		fs.Usage()
		return o, errors.New("no program to run")
	}
	if o.memory < 256 || o.scratch < 16 {
		return o, fmt.Errorf("memory %d MiB and scratch %d MiB: at least 256 and 16 are needed", o.memory, o.scratch)
	}
	if modules != "" {
		o.modules = strings.Split(modules, ",")
	}
	if files == nil {
		files = []string{getenv("VM_FILES")}
	}
	var err error
	if o.files, err = parseFiles(strings.Join(files, ",")); err != nil {
		return o, err
	}
	if o.timeout == 0 {
		o.timeout = runTimeout(o.args[1:])
	}
	return o, nil
}

// parseFiles splits "src=dst,src" and makes each source absolute; a missing
// destination is the source's own path.
func parseFiles(s string) ([]extraFile, error) {
	var list []extraFile
	for _, f := range strings.Split(s, ",") {
		if f == "" {
			continue
		}
		src, dst, _ := strings.Cut(f, "=")
		src, err := filepath.Abs(src)
		if err != nil {
			return nil, err
		}
		if dst == "" {
			dst = src
		}
		if !filepath.IsAbs(dst) {
			return nil, fmt.Errorf("extra file %q: the guest's path is not absolute", f)
		}
		list = append(list, extraFile{src, dst})
	}
	return list, nil
}

// runTimeout leaves the test binary a minute to print its own stacks, which
// say more than a killed guest does.
func runTimeout(args []string) time.Duration {
	for _, a := range args {
		if v, ok := strings.CutPrefix(a, "-test.timeout="); ok {
			if d, err := time.ParseDuration(v); err == nil && d > 0 {
				return d + time.Minute
			}
		}
	}
	return defaultTimeout
}

// defaultCache is sbx-vm in the user's cache directory (XDG base directory
// specification).
func defaultCache(getenv func(string) string) string {
	if d := getenv("XDG_CACHE_HOME"); d != "" {
		return filepath.Join(d, "sbx-vm")
	}
	home := getenv("HOME")
	if home == "" {
		home, _ = os.UserHomeDir()
	}
	return filepath.Join(home, ".cache", "sbx-vm")
}
