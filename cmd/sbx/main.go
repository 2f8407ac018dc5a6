//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command sbx runs registered commands in one-shot Linux sandboxes.
//
// This is the small executable that every invocation pays for: it carries out
// `run`, `exec` and `version` itself and executes sbxd, which lies beside it,
// for every other verb. (The two settings above keep the runtime from changing
// its number of processors while a run goes on; sbx uses one at a time.)
package main

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/ctl"
)

func main() { os.Exit(run(os.Args)) }

// roomyStack makes the stack of main large enough for a launch.
func roomyStack()

func run(args []string) int {
	roomyStack()
	// Whoever starts a set-user-id program chooses its environment, registry
	// and policy: sbx would run what he says with rights that are not his.
	if unix.Getuid() != unix.Geteuid() || unix.Getgid() != unix.Getegid() {
		ctl.Say(false, "real and effective ids differ: sbx does not run set-user-id or set-group-id", "chmod u-s,g-s the executable, or use sudo")
		return 125
	}
	// Since Linux 5.18 an empty argv arrives as one empty string (execve(2)).
	if len(args) == 0 || args[0] == "" {
		ctl.Say(false, "called with an empty argument vector", "execute it with a name: sbx run NAME")
		return 125
	}
	if len(args) > 1 {
		switch args[1] {
		case "run":
			return ctl.Run(args[2:], false)
		case "exec":
			return ctl.Run(args[2:], true)
		case "version":
			if len(args) == 2 {
				return print("sbx " + buildinfo.Version + " (" + buildinfo.Build + "): " + buildinfo.Project + "\n")
			}
			if len(args) == 3 && args[2] == "--json" {
				return print(`{"name":"sbx","version":"` + buildinfo.Version + `","build":"` + buildinfo.Build + `","project":"` + buildinfo.Project + "\"}\n")
			}
		}
	}
	return ctl.Become(args[1:])
}

func print(s string) int {
	if _, err := unix.Write(1, []byte(s)); err != nil {
		return 125
	}
	return 0
}
