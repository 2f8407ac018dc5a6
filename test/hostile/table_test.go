package hostile_test

import (
	"strings"
	"testing"
)

// act is one row of the battery.
type act struct {
	line  int  // of the list of what a sandbox must hold
	class byte // E outside, S surface, H inherited or host detail, R bound, L leftover, X code, F fidelity
	name  string
	// bare: it gets through without a sandbox, and may be run so.
	bare bool
	// weak: bare means in a PID namespace with an open init.
	weak bool
	// long acts take seconds.
	long bool
	// ends lists the outcomes, besides a refusal that the act itself sees and
	// a violation, that hold it.
	ends  string
	needs func(*testing.T, caller)
	setup func(*testing.T, *suite) options
	check func(s *suite, r result, said standing, what string) (standing, string)
}

// group is a row for several acts.
type group struct {
	line  int
	class byte
	bare  bool
	weak  bool
	long  bool
	ends  string
	needs func(*testing.T, caller)
	setup func(*testing.T, *suite) options
	check func(s *suite, r result, said standing, what string) (standing, string)
	acts  string // names, separated by white space
}

// ownTests names the tests outside the table that try a line.
var ownTests = map[int]string{
	27: "TestTermEndsTheRun", 33: "TestArguments",
	13: "TestNothingSurvives", 26: "TestKillLeavesNothing", 31: "TestLeftovers",
}

// helpers are acts that only other acts or tests start.
var helpers = strings.Fields(`hold identity-report program-ran print-args digest-args cat print-env
	mark find-mark leave-shm find-shm leave-sem find-sem leave-msg find-msg leave-mq find-mq leave-key find-key
	end-exit end-violation end-segv end-stay forward-usr1 forward-hup`)

func plain(*testing.T, *suite) options { return options{} }

func all() []act {
	var out []act
	for _, table := range [][]group{identityTable, filesTable, hostTable, surfaceTable, inheritTable, boundsTable, codeTable} {
		for _, g := range table {
			for _, name := range strings.Fields(g.acts) {
				a := act{line: g.line, class: g.class, name: name, bare: g.bare, weak: g.weak, long: g.long, ends: g.ends, needs: g.needs, setup: g.setup, check: g.check}
				if a.setup == nil {
					a.setup = plain
				}
				out = append(out, a)
			}
		}
	}
	return out
}
