package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// keptMachines bounds the cache: about 100 MB each, 150 MB with systemd; two
// kernels, one with systemd, and a few states of the harness.
const keptMachines = 8

// savedKey identifies what a saved machine depends on: the content of the
// kernel and of the initramfs, QEMU's version, its arguments, and the host's
// processor where the guest sees it.
func (m machine) savedKey() (string, error) {
	h := sha256.New()
	part := func(name string, r io.Reader) error {
		fmt.Fprintf(h, "%s\x00", name)
		n, err := io.Copy(h, r)
		fmt.Fprintf(h, "\x00%d\x00", n)
		return err
	}
	image, err := os.Open(m.kernel)
	if err != nil {
		return "", err
	}
	defer image.Close()
	version, err := exec.Command(m.qemu, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", m.qemu, err)
	}
	line := strings.Join(m.line, "\x00")
	cpu := ""
	if strings.Contains(line, "\x00kvm") {
		if cpu, err = hostCPU(); err != nil {
			return "", err
		}
	}
	err = errors.Join(
		part("kernel", image),
		part("initrd", io.NewSectionReader(m.initrd, 0, 1<<40)),
		part("qemu", strings.NewReader(string(version))),
		part("line", strings.NewReader(line)),
		part("cpu", strings.NewReader(cpu)),
	)
	return hex.EncodeToString(h.Sum(nil))[:24], err
}

// hostCPU returns the first processor's description in /proc/cpuinfo, without
// the lines that change while the machine runs.
func hostCPU() (string, error) {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	first, _, _ := strings.Cut(string(b), "\n\n")
	var keep []string
	for _, line := range strings.Split(first, "\n") {
		if !strings.HasPrefix(line, "cpu MHz") && !strings.HasPrefix(line, "bogomips") {
			keep = append(keep, line)
		}
	}
	return strings.Join(keep, "\n"), nil
}

// saved returns the file of a machine that waits for its job, booting one and
// saving it when there is none yet in dir. Several vmexecs may ask at once: one
// makes it, the others wait.
func (m machine) saved(ctx context.Context, dir string) (string, error) {
	key, err := m.savedKey()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	file := filepath.Join(dir, key+".vm")
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := flock(ctx, lock); err != nil {
		return "", err
	}
	if _, err := os.Stat(file); err == nil {
		now := time.Now()
		return file, os.Chtimes(file, now, now) // prune keeps what was used last
	}
	tmp := file + ".tmp"
	if err := m.save(ctx, tmp); err != nil {
		os.Remove(tmp)
		return "", fmt.Errorf("save a machine: %w", err)
	}
	if err := os.Rename(tmp, file); err != nil {
		return "", err
	}
	return file, prune(dir, keptMachines)
}

// flock waits for the exclusive lock of f until ctx ends; flock(2) itself would
// not heed it. Closing f gives the lock back.
func flock(ctx context.Context, f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("flock %q: %w", f.Name(), err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("flock %q: %w", f.Name(), context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// save boots a machine and writes its state to file as soon as it is ready.
func (m machine) save(ctx context.Context, file string) error {
	r, err := m.start(ctx, sinks{})
	if err != nil {
		return err
	}
	defer func() { r.stop(0) }()
	rep, err := r.next()
	if err == nil && rep.State != stateReady {
		err = fmt.Errorf("the guest is %s: %s", rep.State, rep.Error)
	}
	if err != nil {
		r.stop(0)
		return fmt.Errorf("boot: %w: %s\n%s", err, &r.said, &r.console)
	}
	q, err := openQMP(r.qmp)
	if err != nil {
		return err
	}
	// The default of 128 MiB/s is meant for networks.
	if _, err := q.do("migrate-set-parameters", map[string]any{"max-bandwidth": int64(10e9)}); err != nil {
		return err
	}
	if _, err := q.do("migrate", map[string]any{"uri": "exec:cat > " + shellQuote(file)}); err != nil {
		return err
	}
	for {
		a, err := q.do("query-migrate", nil)
		if err != nil {
			return err
		}
		switch a["status"] {
		case "completed":
			return nil
		case "failed", "cancelled":
			return fmt.Errorf("migrate to %q: %v", file, a)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// shellQuote makes s one word for sh.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// prune removes all but the newest keep machines.
func prune(dir string, keep int) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.vm"))
	if err != nil {
		return err
	}
	age := func(f string) time.Time {
		fi, err := os.Stat(f)
		if err != nil {
			return time.Time{}
		}
		return fi.ModTime()
	}
	sort.Slice(files, func(i, j int) bool { return age(files[i]).After(age(files[j])) })
	for _, f := range files[min(keep, len(files)):] {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
