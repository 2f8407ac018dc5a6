package integration

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// acts are what the workload can do; each returns its exit status. They run
// inside the sandbox, and a few of them outside to shape what sbx inherits.
var acts map[string]func(args []string) int

func act(name string, args []string) int {
	acts = map[string]func([]string) int{
		"exit": actExit, "die": actDie, "deaf": actDeaf, "sleep": actSleep, "catch": actCatch, "spin": actSpin,
		"args": actArgs, "sum": actSum, "echo": actEcho, "probe": actProbe, "daemon": actDaemon, "tty": actTTY,
		"forbid": actForbid, "forbid-child": actForbidChild, "forbid-thread": actForbidThread, "forbid-path": actForbidPath, "x32": actX32,
		"eat": actEat, "pour": actPour, "eat-many": actEatMany, "bomb": actBomb, "children": actChildren, "write": actWrite, "cat": actCat,
		"wrap": actWrap,
	}
	f, ok := acts[name]
	if !ok {
		return complain("no act %q", name)
	}
	return f(args)
}

// statusBroken is an act that could not do what it is for.
const statusBroken = 99

func complain(format string, args ...any) int {
	fmt.Fprintf(os.Stderr, "act: "+format+"\n", args...)
	return statusBroken
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		os.Exit(complain("%v", err))
	}
	return n
}

func duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		os.Exit(complain("%v", err))
	}
	return d
}

func actExit(args []string) int { return number(args[0]) }

// actDie ends by a signal with its default action.
func actDie(args []string) int {
	sig := unix.SignalNum("SIG" + args[0])
	signal.Reset(sig)
	unix.Kill(os.Getpid(), sig)
	time.Sleep(10 * time.Second)
	return complain("survived %s", sig)
}

// actDeaf ignores every signal that it can and stays.
func actDeaf(args []string) int {
	signal.Ignore()
	fmt.Println("ready")
	time.Sleep(duration(args[0]))
	return 0
}

func actSleep(args []string) int {
	fmt.Println("ready")
	time.Sleep(duration(args[0]))
	return 0
}

// actCatch says which signal came, and ends with 3 on TERM.
func actCatch([]string) int {
	c := make(chan os.Signal, 16)
	signal.Notify(c, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH, unix.SIGCONT)
	fmt.Println("ready")
	for sig := range c {
		fmt.Println(unix.SignalName(sig.(unix.Signal)))
		if sig == unix.SIGTERM {
			return 3
		}
	}
	return 0
}

// actArgs describes its arguments: their number, and the length and hash of
// each. No argument can be mistaken for another that way.
func actArgs(args []string) int {
	fmt.Print(describeArgs(args))
	return 0
}

func describeArgs(args []string) string {
	h := sha256.New()
	size := 0
	for _, a := range args {
		fmt.Fprintf(h, "%d:%s,", len(a), a)
		size += len(a)
	}
	return fmt.Sprintf("%d arguments, %d bytes, %x\n", len(args), size, h.Sum(nil))
}

// actSum reads its input to the end.
func actSum([]string) int {
	h := sha256.New()
	n, err := io.Copy(h, os.Stdin)
	if err != nil {
		return complain("%v", err)
	}
	fmt.Printf("%d %x\n", n, h.Sum(nil))
	return 0
}

func actEcho([]string) int {
	if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
		return complain("%v", err)
	}
	return 0
}

// surroundings are what a workload sees of itself.
type surroundings struct {
	PID, PPID, SID, UID, GID, Umask int
	Cwd, Host                       string
	Env, FDs                        []string
	Status                          map[string]string // of /proc/self/status
	Processes                       int               // that /proc shows
	Init                            string            // its cmdline and environ
}

func actProbe([]string) int {
	s := surroundings{PID: os.Getpid(), PPID: os.Getppid(), UID: os.Getuid(), GID: os.Getgid(), Env: os.Environ(), Status: map[string]string{}}
	s.SID, _ = unix.Getsid(0)
	s.Umask = unix.Umask(0)
	s.Cwd, _ = unix.Getwd()
	s.Host, _ = os.Hostname()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return complain("%v", err)
	}
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		// The directory that was read is closed, the runtime's are its own.
		if err == nil && !strings.HasPrefix(target, "anon_inode:") {
			s.FDs = append(s.FDs, e.Name())
		}
	}
	text, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		s.Status[key] = strings.TrimSpace(value)
	}
	processes, _ := os.ReadDir("/proc")
	for _, e := range processes {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			s.Processes++
		}
	}
	cmdline, _ := os.ReadFile("/proc/1/cmdline")
	environ, _ := os.ReadFile("/proc/1/environ")
	s.Init = string(cmdline) + string(environ)
	json.NewEncoder(os.Stdout).Encode(s)
	return 0
}

// again prepares a copy of this program that plays another act.
func again(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Path = "/proc/self/exe"
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd
}

// actDaemon leaves a child in a session of its own that holds the output open.
func actDaemon(args []string) int {
	cmd := again("deaf", args[0])
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	out, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return complain("%v", err)
	}
	cmd.Stdin = out
	if err := cmd.Start(); err != nil {
		return complain("%v", err)
	}
	fmt.Println("main done")
	return 0
}

// actTTY tries on descriptor 0 what a terminal answers: one line for each.
func actTTY([]string) int {
	_, err := unix.IoctlGetTermios(0, unix.TCGETS)
	fmt.Println("TCGETS", err == nil)
	_, err = unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
	fmt.Println("TIOCGWINSZ", err == nil)
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	fmt.Println("/dev/tty", err == nil)
	if err == nil {
		tty.Close()
	}
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	fmt.Printf("read %q %v\n", line, err == nil)
	return 0
}

func actWrite(args []string) int {
	if err := os.WriteFile(args[0], []byte(args[1]), 0o666); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func actCat(args []string) int {
	text, err := os.ReadFile(args[0])
	if err != nil {
		fmt.Println(err)
		return 1
	}
	os.Stdout.Write(text)
	return 0
}
