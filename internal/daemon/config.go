package daemon

import (
	"errors"
	"os"
	"time"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/runner"
)

// ErrElsewhere says that a daemon has nothing to do with a name: its caller
// runs it by himself, and is told there what he has to be told.
var ErrElsewhere = errors.New("not a command of this daemon")

// Command is a registered command as it is in force.
type Command struct {
	// Plan is shared by all runs and not changed.
	Plan *plan.Plan
	// Used is how many of the words name the command.
	Used int
	// Builtin: it comes from the built-in registry.
	Builtin bool
	// Users and Groups are the manifest's `allow`: names or numbers. Both
	// empty: everybody who may reach the socket.
	Users, Groups []string
	// Done is called once the daemon has no more use for Plan; nil: nobody
	// wants to know.
	Done func()
}

// Commands is where the daemon finds its commands. Its methods are safe for
// concurrent use.
type Commands interface {
	// Lookup gives the command that the words begin with. ErrElsewhere: there
	// is none by that name; another error refuses the call, see RefusedError.
	Lookup(words []string) (Command, error)
	// Ended is told how a run ended, before its caller is, and may fill in
	// Counted and RevertedTo.
	Ended(Command, *runner.Report)
	// Reload looks at the registry again and says what came of it.
	Reload() Reload
}

// RefusedError is an answer of Lookup that refuses a call.
type RefusedError struct {
	// Status is an exit status, 125 or 126.
	Status int
	Err    error
	Hint   string
}

func (e *RefusedError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *RefusedError) Unwrap() error { return e.Err }

// Config is what a Server works with. Commands, Dir, Key and Build are
// required.
type Config struct {
	// Dir is the runtime directory, Key that of the registry
	// (state.RegistryKey): together they name socket and lock.
	Dir, Key string
	// Build is this build; a client of another one runs by itself.
	Build    string
	Commands Commands
	// Observer is told what happens; nil: nobody is.
	Observer Observer
	// Socket is a listening run socket that the service manager opened in Dir;
	// nil: the daemon makes one. It is the daemon's from Listen on, and stays
	// where it is when the daemon ends.
	Socket *os.File
	// Audited: the Observer keeps a record of every run.
	Audited bool
	// Registries are the directories that are served, which no run is shown.
	Registries []string
	// Bounds hold what callers can take of the daemon.
	Bounds Bounds
}

// Bounds hold what callers can take of the daemon. A zero field means the
// default that is named beside it.
type Bounds struct {
	// Connections is how many may wait without being heard, all users together
	// (4096) and of one user other than root (1024): because they have said
	// nothing, or because it is not their turn. Each holds a descriptor.
	Connections, UserConnections int
	// Asking is how many requests are heard and judged at once, all together
	// (1024) and of one user (64). Each holds a thread, and of memory what a
	// request may have, some 2 MiB. The others wait for their turn.
	Asking, UserAsking int
	// Runs is how many may be going on, all together (4096) and of one user
	// other than root (1024). Each holds a thread, some descriptors and the
	// kernel memory of its namespaces, about 0.5 MiB.
	Runs, UserRuns int
	// UserRate is how many requests a second one user other than root may
	// make on average (1000), and at once as many.
	UserRate int
	// Warm is how many sandboxes are kept ready, of all commands and callers
	// together (64; negative: none). Each holds some 0.3 MiB of kernel memory
	// and a control group.
	Warm int
	// Patience is how long a client may take for each thing that he has to
	// say or take before a run, the whole of it (5 s).
	Patience time.Duration
	// Drain is how long runs may go on after the daemon was told to end
	// (60 s): less than the 90 s after which systemd kills.
	Drain time.Duration
}

func (b Bounds) withDefaults() Bounds {
	for _, d := range [...]struct {
		field *int
		value int
	}{{&b.Connections, 4096}, {&b.UserConnections, 1024}, {&b.Asking, 1024}, {&b.UserAsking, 64}, {&b.Runs, 4096}, {&b.UserRuns, 1024}, {&b.UserRate, 1000}, {&b.Warm, 64}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if b.Patience == 0 {
		b.Patience = 5 * time.Second
	}
	if b.Drain == 0 {
		b.Drain = time.Minute
	}
	return b
}
