package service

import (
	"context"
	"io"
	"time"

	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/runner"
)

// Open makes a pipeline over the bundles that the program registers and
// whatever else it loads from. memory stays the service's; it is read at each
// Load.
type Open func(ctx context.Context, memory *registry.Memory) (Pipeline, error)

// Pipeline is the way from bundles to runs. The service calls Load, Ended and
// Close one after the other, and Run from many goroutines, also while one of
// them goes on.
type Pipeline interface {
	// Load looks at the named commands, or at all when none is named, and
	// brings what is accepted into force, durably, before it returns. A
	// bundle that is not accepted is an event, no error. The error means that
	// nothing has changed.
	Load(ctx context.Context, names ...string) (Loading, error)
	// Run runs a command that came from Load. The end of ctx kills the run,
	// whose report says so. verdict is set when the end of the run may change
	// what is in force: Ended is called then, before the caller has the
	// report.
	Run(ctx context.Context, c *Command, call Call) (report *runner.Report, verdict bool)
	// Ended takes the end of a run into account: a revert, a quarantine. It
	// may complete the report.
	Ended(c *Command, report *runner.Report) Loading
	// Close gives everything back. No Run is under way.
	Close() error
}

// Loading is what a Load, or the end of a run, changed.
type Loading struct {
	// Commands are those that are new or other than before; nil: gone.
	Commands map[string]*Command
	// Rejected says of names that were looked at why what is registered (or
	// on disk) is not in force; a name that is in Commands and not here is.
	Rejected map[string]error
	// Codes are the verdicts on names in Rejected that have one.
	Codes map[string]Code
	// Events in the order in which things happened.
	Events []Event
}

// Command is a command in force. It is not to be changed.
type Command struct {
	// Manifest is what the bundle says. Manifest.Name is the name.
	Manifest registry.Manifest
	// Digest names the revision.
	Digest string
	// Generation is that of the snapshot in which it came in force.
	Generation uint64
	// Refusal is not empty for a name that refuses, with the reason.
	Refusal string
	// Plan is the pipeline's own.
	Plan any
}

// Call is one call of a command.
type Call struct {
	// Name and Args are what the caller asked for: the arguments behind the
	// command's name.
	Name string
	Args []string
	// Version and Digest are those of the revision that the run will use.
	Version, Digest string
	Stdio           Stdio
	// Environ is the caller's environment, of which the policy's names are
	// passed; nil passes nothing.
	Environ []string
	// Timeout, when not 0, is tighter than the policy's.
	Timeout time.Duration
}

// Stdio are the streams of a run; nil is an empty input, and an output that is
// dropped. An *os.File is handed over as it is.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
}
