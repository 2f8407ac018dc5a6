package hostile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

func inherit(t *testing.T, s *suite) options { return options{wrap: []string{"+inherit", s.out}} }

func dirty(t *testing.T, s *suite) options { return options{wrap: []string{"+dirty", s.out}} }

func pty(t *testing.T, s *suite) options { return options{wrap: []string{"+pty"}} }

// callersLog is what the caller's file held before the run.
const callersLog = "a line of the caller's log\n"

func logFile(t *testing.T, s *suite) options {
	path := filepath.Join(s.home, "log")
	if err := os.WriteFile(path, []byte(callersLog), 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return options{stdout: f}
}

// logKept: the program may append, and nothing else.
func logKept(s *suite, r result, said standing, what string) (standing, string) {
	if !strings.HasPrefix(r.stdout, callersLog) {
		return through, fmt.Sprintf("the caller's file now begins with %.60q", r.stdout)
	}
	return said, what
}

// clean demands what +pty saw after the run.
func clean(s *suite, r result, said standing, what string) (standing, string) {
	for _, line := range []string{"INJECTED", "SETTINGS"} {
		if text, ok := lastLine(r.stdout, line); ok {
			return through, line + text
		}
	}
	if _, ok := lastLine(r.stdout, "CLEAN"); !ok {
		return broken, fmt.Sprintf("nobody looked at the terminal: %.200q %.200q", r.stdout, r.stderr)
	}
	return said, what
}

// Lines 20 to 25.
var inheritTable = []group{
	{line: 20, class: 'E', bare: true, needs: needMounts, setup: inherit, acts: `fd-file fd-dir fd-root-path fd-socket fd-listener fd-pidfd fd-netns fd-mntns fd-userns fd-epoll fd-memfd
		fd-pty-master fd-eventfd fd-pipe fd-1000 fd-1024 fd-1500 fd-4095 fd-19000 fd-any fd-proc fd-dir-dotdot fd-root-etc fd-high-dir`},
	{line: 20, class: 'E', bare: true, setup: withDir, check: notTaken, acts: "stdin-dir stdin-dir-dotdot"},
	{line: 20, class: 'E', bare: true, setup: logFile, check: logKept, acts: "stdout-ftruncate stdout-reopen stdout-pwrite stdout-lseek"},
	{line: 21, class: 'H', bare: true, acts: "env-secret env-ld-preload env-home env-sudo env-ssh env-path environ-everywhere"},
	{line: 21, class: 'H', acts: "cmdline-policy cmdline-flags"},
	{line: 22, class: 'H', bare: true, setup: dirty, acts: "cwd-inherited umask-inherited mask-inherited ignored-inherited core-limit personality-inherited timerslack-inherited"},
	{line: 22, class: 'H', setup: dirty, acts: "session-inherited group-inherited pending-inherited"},
	{line: 23, class: 'E', setup: pty, check: clean, acts: "tiocsti tiocsti-stray tiocsti-i386 tiocsti-x32 tioclinux tioclinux-stray tioclinux-i386 tioclinux-paste"},
	{line: 23, class: 'E', bare: true, setup: pty, check: clean, acts: "ctty-inherited tty-open-dev-tty tty-tcsets tty-winsize tty-flush tty-get-sid tty-reopen-stdin tty-exclusive"},
	{line: 23, class: 'E', setup: pty, check: clean, acts: "tty-line-discipline tty-steal tty-set-group tty-notty tty-flow-off tty-pty-peer tty-console tty-packet tty-steal-setsid tty-tcsets-stray tty-hangup"},
	{line: 24, class: 'E', bare: true, weak: true, acts: "init-mem-read init-maps init-environ init-auxv init-root-dir init-cwd-dir init-exe-read init-ns-mnt-open init-fd-list init-root-link init-exe-link init-ns-net-link init-kcmp"},
	{line: 24, class: 'E', acts: `init-mem-write init-pagemap init-clear-refs init-ns-user-open init-stack init-io init-attr init-fdinfo-list init-map-files init-task-fd init-cwd-link init-fd-0-link
		init-ptrace init-vm-readv init-kill init-forged-sigchld init-signals init-exe-write init-own-exe-write init-set-ptracer init-own-exe-unlink`},
	{line: 25, class: 'F', check: status, acts: `status-42 status-0 status-255 status-42-orphans status-term status-term-orphans status-kill status-segv status-hup status-usr1 status-abrt
		status-159 status-124`},
	{line: 25, class: 'L', acts: "orphans-reaped not-pid-1"},
}

// statuses are what sbx must answer, and the outcome it must name.
var statuses = map[string]struct {
	status  int
	outcome string
}{
	"status-42": {42, "exit"}, "status-0": {0, "ok"}, "status-255": {255, "exit"}, "status-42-orphans": {42, "exit"},
	"status-term": {143, "signal"}, "status-term-orphans": {143, "signal"}, "status-kill": {137, "signal"}, "status-segv": {139, "signal"},
	"status-hup": {129, "signal"}, "status-usr1": {138, "signal"}, "status-abrt": {134, "signal"}, "status-159": {159, "exit"}, "status-124": {124, "exit"},
}

func status(s *suite, r result, _ standing, _ string) (standing, string) {
	act, ok := lastLine(r.stdout, "TRY: ")
	want := statuses[act]
	if !ok {
		return broken, fmt.Sprintf("the act did not begin: status %d %.300q", r.status, r.stderr)
	}
	if r.status != want.status || r.outcome() != want.outcome {
		return through, fmt.Sprintf("status %d outcome %q, want %d %q", r.status, r.outcome(), want.status, want.outcome)
	}
	return held, fmt.Sprintf("status %d %s", r.status, r.outcome())
}

// flooded: not a byte more than output_max arrives, and the run ends by it.
func flooded(s *suite, r result, _ standing, _ string) (standing, string) {
	n := len(r.stdout) + len(r.stderr)
	if i := strings.Index(r.stderr, "sbx: "); i >= 0 {
		n = len(r.stdout) + i // sbx's own words do not count
	}
	what := fmt.Sprintf("%d bytes, status %d, outcome %q", n, r.status, r.outcome())
	if n == 0 {
		return broken, what
	}
	if n > 1<<20 || r.outcome() != "output-limit" || r.status != 153 {
		return through, what
	}
	return held, what
}

func short(t *testing.T, s *suite) options { return options{flags: []string{"--timeout", "2s"}} }

// ended: the timeout ends the run, whole, soon after it.
func ended(s *suite, r result, _ standing, _ string) (standing, string) {
	what := fmt.Sprintf("status %d, outcome %q after %v", r.status, r.outcome(), r.took.Round(time.Millisecond))
	if _, ok := lastLine(r.stdout, "TRY: "); !ok {
		return broken, what + ": the act did not begin " + r.stderr
	}
	timeout := r.status == 124 && r.outcome() == "timeout"
	if strings.Contains(r.stdout, "endless-write") {
		timeout = timeout || r.status == 153 && r.outcome() == "output-limit"
	}
	if !timeout || r.took > slow(6*time.Second) {
		return through, what
	}
	return held, what
}

// noCore: the run died and left no core file in any tree.
func noCore(s *suite, r result, _ standing, _ string) (standing, string) {
	for _, dir := range []string{s.base, s.ro, s.rw, s.out, s.home} {
		if found, _ := filepath.Glob(dir + "/core*"); len(found) > 0 {
			return through, fmt.Sprint(found)
		}
	}
	if r.status != 134 {
		return broken, fmt.Sprintf("status %d outcome %q %.200q", r.status, r.outcome(), r.stderr)
	}
	return held, "no core file"
}

// prompt: a run whose daemons hold the output ends with its main process.
func prompt(s *suite, r result, said standing, what string) (standing, string) {
	if r.took > slow(3*time.Second) {
		return through, fmt.Sprintf("the output ended after %v", r.took)
	}
	return said, what
}

// countedMemory: the act is held by the kernel's accounting alone.
func countedMemory(t *testing.T, c caller) {
	testenv.Controllers(t, "memory")
	if c.uid != 0 {
		t.Skip("no control group is delegated to this caller")
	}
}

// countedTime: processor time is bounded by the kernel's accounting alone.
func countedTime(t *testing.T, c caller) {
	testenv.Controllers(t, "cpu")
	if c.uid != 0 {
		t.Skip("no control group is delegated to this caller")
	}
}

// systemV: the act is held by the settings of the IPC namespace, which an
// ordinary user may not write, or by the kernel's accounting.
func systemV(t *testing.T, c caller) {
	if c.uid != 0 {
		countedMemory(t, c)
	}
}

// open names a weakness that is known and written down in SECURITY.md.
func open(why string) func(*testing.T, caller) {
	return func(t *testing.T, _ caller) { t.Skip("known weakness: " + why) }
}

// notTaken: sbx itself refuses to hand the descriptor on.
func notTaken(_ *suite, r result, said standing, what string) (standing, string) {
	if r.status == 126 && r.outcome() == "refused" && strings.Contains(r.stderr, "take descriptor") {
		return held, "refused by sbx"
	}
	return said, what
}

// Lines 28 to 30.
var boundsTable = []group{
	{line: 28, class: 'L', check: prompt, acts: "daemons-hold daemons-let-go daemons-relay"},
	{line: 29, class: 'R', bare: true, long: true, ends: "oom", acts: "mem-one mem-eight mem-thirty mem-eight-groups mem-memfd mem-page-tables"},
	{line: 29, class: 'R', long: true, ends: "oom", acts: "mem-tmpfs mem-tmpfs-unlinked mem-shm-dir mem-pipes mem-locked"},
	// Sums over processes do not see these (SECURITY.md); System V objects are
	// bounded by their namespace's settings where root launches.
	{line: 29, class: 'R', bare: true, long: true, ends: "oom", needs: systemV, acts: "mem-sysv-detached mem-msgqueues mem-semaphores"},
	{line: 29, class: 'R', bare: true, long: true, ends: "oom", needs: countedMemory, acts: "mem-shared-dropped"},
	{line: 29, class: 'R', long: true, ends: "oom", needs: countedMemory, acts: "mem-socketpairs"},
	{line: 29, class: 'R', bare: true, acts: "mem-address-space"},
	{line: 29, class: 'R', bare: true, long: true, ends: "pids", acts: "pids-fork pids-sessions pids-chain pids-threads"},
	{line: 29, class: 'R', bare: true, acts: "nofile nofile-dup"},
	{line: 29, class: 'R', bare: true, long: true, ends: "pids", acts: "ptys"},
	{line: 29, class: 'R', bare: true, ends: "signal", acts: "file-size-rw file-size-truncate file-size-fallocate"},
	{line: 29, class: 'R', ends: "signal", acts: "file-size-tmp sum-tmp sum-shm count-tmp count-tmp-dirs count-tmp-links count-shm"},
	{line: 29, class: 'R', bare: true, needs: open("write trees have no bound"), acts: "sum-rw count-rw"},
	{line: 29, class: 'R', check: flooded, acts: "flood-stdout flood-stderr flood-both"},
	{line: 29, class: 'R', long: true, setup: short, check: ended, acts: "endless-spin endless-sleep endless-children endless-relay endless-vfork endless-write endless-stopped"},
	{line: 29, class: 'R', long: true, needs: countedTime, acts: "cpu-spin"},
	{line: 30, class: 'E', check: noCore, acts: "core-dump core-dump-rw"},
}

// Line 32.
var codeTable = []group{
	{line: 32, class: 'X', bare: true, acts: `wx-mmap wx-mmap-shared wx-mprotect wx-pkey-mprotect wx-text wx-exec-then-write wx-data wx-none-exec wx-mremap wx-memfd wx-memfd-exec wx-sysv-rwx wx-sysv-twice
		wx-sysv-stray wx-rw-file wx-rw-file-mprotect wx-ro-file-exec wx-dev-zero wx-self-mem wx-task-mem wx-poketext`},
	{line: 32, class: 'X', acts: "wx-vm-writev wx-mmap-growsdown wx-personality wx-tmp-file wx-shm-file"},
	{line: 32, class: 'X', bare: true, acts: `exec-rw exec-rw-fd exec-memfd exec-memfd-proc exec-memfd-flag exec-ro exec-ro-fd
		exec-shell exec-echo exec-echo-fd exec-loader exec-loader-fd exec-script-self exec-script-shell exec-vfork exec-many`},
	{line: 32, class: 'X', acts: "exec-tmp exec-tmp-at exec-tmp-fd exec-tmp-procfd exec-shm exec-shm-fd exec-rw-i386 exec-rw-x32 exec-rw-stray exec-memfd-stray exec-script-tmp"},
}
