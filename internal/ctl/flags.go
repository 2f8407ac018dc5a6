// Package ctl is what a person types: the flags of `sbx run` and `sbx exec`,
// the way from a name to a plan, and what is printed. It is linked into the
// small executable and imports nothing heavy.
package ctl

import (
	"strconv"
	"strings"
	"time"

	"github.com/sbx-project/sbx/internal/wire"
)

// Invocation is a parsed command line of `run` or `exec`.
type Invocation struct {
	Exec     bool
	Registry string
	Policy   string
	Expect   string
	Timeout  time.Duration
	Limits   []string // key=value, in order
	Env      []string // NAME or NAME=value
	EnvFile  int      // descriptor, -1 for none
	Chdir    string
	Result   string
	StatusFD int // -1 for none
	DryRun   bool
	Direct   bool
	Quiet    bool
	// Words are NAME and its arguments, or CMD and its arguments.
	Words []string
	way   way
	// drained is what was read of descriptors.
	drained map[int][]byte
	// ready is asked before each read of a descriptor; nil: nobody is.
	ready func(fd int) error
	// secrets is what the daemon wanted to have read.
	secrets []wire.Secret
	// foreign is the build of a daemon that did not take the call because it is
	// of another one; empty: none was.
	foreign string
}

// UsageError is a command line that cannot be understood: exit status 125.
type UsageError struct{ Msg, Hint string }

func (e *UsageError) Error() string { return e.Msg }

// ParseRun parses what follows `sbx run`, or `sbx exec` when exec is set.
// Flags stand only before NAME; one `--` just before it is accepted; all
// after NAME is the command's own.
func ParseRun(args []string, exec bool) (*Invocation, error) {
	verb := "run"
	if exec {
		verb = "exec"
	}
	v := &Invocation{Exec: exec, EnvFile: -1, StatusFD: -1}
	usage := func(msg string) error {
		hint := "sbx run [flags] NAME [ARG...]"
		if exec {
			hint = "sbx exec --policy FILE|NAME [flags] -- CMD [ARG...]"
		}
		return &UsageError{verb + ": " + msg, hint}
	}
	for len(args) > 0 {
		a := args[0]
		if a == "--" {
			args = args[1:]
			break
		}
		if len(a) < 2 || a[0] != '-' {
			break
		}
		args = args[1:]
		name, value, has := strings.Cut(a, "=")
		set, takes := v.boolean(name)
		if set {
			if has {
				return nil, usage("flag " + name + " takes no value")
			}
			continue
		}
		if !takes {
			return nil, usage("unknown flag " + strconv.Quote(name))
		}
		if name == "-t" || name == "--tty" {
			return nil, &UsageError{verb + ": " + name + ": not built yet", "run it without a terminal"}
		}
		if name == "--complain" {
			return nil, &UsageError{verb + ": " + name + ": not built yet", ""}
		}
		if !has {
			if len(args) == 0 {
				return nil, usage("flag " + name + " needs a value")
			}
			value, args = args[0], args[1:]
		}
		if err := v.take(name, value); err != "" {
			return nil, usage(name + " " + strconv.Quote(value) + ": " + err)
		}
	}
	if len(args) == 0 {
		if exec {
			return nil, usage("no command given")
		}
		return nil, usage("no name given")
	}
	v.Words = args
	return v, nil
}

// boolean sets a flag without a value; takes tells whether name is a flag at
// all.
func (v *Invocation) boolean(name string) (set, takes bool) {
	switch name {
	case "--dry-run":
		v.DryRun = true
	case "--direct":
		v.Direct = true
	case "-q", "--quiet":
		v.Quiet = true
	case "--policy":
		return false, v.Exec
	case "--complain":
		return false, v.Exec
	case "--registry", "--expect", "--timeout", "--limit", "--env", "--env-file", "--chdir", "--result", "--status-fd", "-t", "--tty":
		return false, true
	default:
		return false, false
	}
	return true, true
}

// take sets a flag; it returns what is wrong with the value, or "".
func (v *Invocation) take(name, value string) string {
	switch name {
	case "--policy":
		v.Policy = value
	case "--registry":
		v.Registry = value
	case "--expect":
		v.Expect = value
	case "--chdir":
		if !strings.HasPrefix(value, "/") {
			return "must be absolute"
		}
		v.Chdir = value
	case "--result":
		v.Result = value
	case "--limit":
		if k, _, ok := strings.Cut(value, "="); !ok || k == "" {
			return "must be KEY=VALUE"
		}
		v.Limits = append(v.Limits, value)
	case "--env":
		k, _, _ := strings.Cut(value, "=")
		if k == "" {
			return "must be NAME or NAME=VALUE"
		}
		v.Env = append(v.Env, value)
	case "--timeout":
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			return `must be a positive duration such as "30s"`
		}
		v.Timeout = d
	case "--env-file", "--status-fd":
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 || n > 1<<20 {
			return "must be the number of an open descriptor"
		}
		if name == "--env-file" {
			v.EnvFile = n
		} else if n <= 2 {
			return "0, 1 and 2 are the command's own: give a higher descriptor"
		} else {
			v.StatusFD = n
		}
	}
	if value == "" {
		return "must not be empty"
	}
	return ""
}
