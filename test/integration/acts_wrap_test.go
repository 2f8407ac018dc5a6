package integration

import (
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// actWrap changes what its successor inherits and becomes it:
// ignore=SIG, block=SIG, umask=OCTAL, open=FD, close=FD, fill (every descriptor
// up to the limit), no-landlock (a kernel without it), rlimit=NAME:VALUE (soft and hard), gone (a removed working
// directory), empty (an empty argument vector); "--" and the command.
func actWrap(args []string) int {
	runtime.LockOSThread()
	empty := false
	for len(args) > 0 && args[0] != "--" {
		what, value, _ := strings.Cut(args[0], "=")
		var err error
		switch what {
		case "ignore":
			signal.Ignore(unix.SignalNum("SIG" + value))
		case "block":
			var set unix.Sigset_t
			sig := int(unix.SignalNum("SIG" + value))
			set.Val[(sig-1)/64] |= 1 << ((sig - 1) % 64)
			err = unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil)
		case "no-landlock":
			err = withoutLandlock()
		case "umask":
			var mask uint64
			mask, err = strconv.ParseUint(value, 8, 9)
			unix.Umask(int(mask))
		case "open":
			var lim unix.Rlimit
			if err = unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err == nil {
				lim.Cur = lim.Max
				err = unix.Setrlimit(unix.RLIMIT_NOFILE, &lim)
			}
			if err == nil {
				var fd int
				if fd, err = unix.Open("/", unix.O_RDONLY, 0); err == nil {
					err = unix.Dup3(fd, number(value), 0)
				}
			}
		case "fill":
			for err == nil {
				_, err = unix.Open("/dev/null", unix.O_RDWR, 0)
			}
			if err == unix.EMFILE {
				err = nil
			}
		case "rlimit":
			name, number, _ := strings.Cut(value, ":")
			var n uint64
			if n, err = strconv.ParseUint(number, 10, 64); err == nil {
				err = unix.Setrlimit(rlimits[name], &unix.Rlimit{Cur: n, Max: n})
			}
		case "close":
			err = unix.Close(number(value))
		case "gone":
			var dir string
			if dir, err = os.MkdirTemp("", "gone-"); err == nil {
				if err = os.Chdir(dir); err == nil {
					err = os.Remove(dir)
				}
			}
		case "empty":
			empty = true
		default:
			return complain("wrap: what is %q", args[0])
		}
		if err != nil {
			return complain("wrap %s: %v", args[0], err)
		}
		args = args[1:]
	}
	argv := args[1:]
	if empty {
		argv = argv[:0]
	}
	return complain("execute %q: %v", args[1], unix.Exec(args[1], argv, os.Environ()))
}

var rlimits = map[string]int{
	"AS": unix.RLIMIT_AS, "CORE": unix.RLIMIT_CORE, "CPU": unix.RLIMIT_CPU, "DATA": unix.RLIMIT_DATA, "FSIZE": unix.RLIMIT_FSIZE,
	"MEMLOCK": unix.RLIMIT_MEMLOCK, "NOFILE": unix.RLIMIT_NOFILE, "NPROC": unix.RLIMIT_NPROC, "STACK": unix.RLIMIT_STACK,
}
