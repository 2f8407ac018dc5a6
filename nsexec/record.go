package nsexec

// Kind of a Record.
type Kind uint32

// The records that init sends to the supervisor: NeedMaps at most once, then
// one of the others, which is the last word of init. A run whose init dies
// without one was killed.
const (
	// Failed: a step of the launch; Step and Errno are set. Nothing of the
	// workload has run.
	Failed Kind = iota + 1
	// NeedMaps: init is in its new user namespace and waits for its maps.
	NeedMaps
	// Exited: PID 2 has ended with Status.
	Exited
	// Violation: the filter handed over a call that is not allowed. Every
	// process of the run has been sent SIGSTOP; init waits a moment for the
	// supervisor to look at them, then ends the namespace.
	Violation
	// Unwatched: the program was executed, and there was no room for init's
	// watcher; Errno and Tasks are set. Init ends the namespace. It is no
	// failure of the launch: the workload has run.
	Unwatched
)

// Record is one message of init. It has a fixed size, so that the child that
// writes it needs no memory of its own.
type Record struct {
	Kind Kind
	// Step is an index for Child.StepName, Errno the kernel's answer.
	Step, Errno uint32
	// Status is a wait status as of wait4(2).
	Status uint32
	// Degraded has a bit for each optional measure that the kernel did not
	// have; see the Degraded constants.
	Degraded uint64
	// The call of a violation, as seccomp(2) reports it: PID is the thread
	// in the run's own PID namespace; known is 0 when the notification was
	// withdrawn before it could be read.
	NR    int32
	Arch  uint32
	IP    uint64
	Args  [6]uint64
	PID   uint32
	Known uint32
	// Tasks is how many processes and threads the run had when there was no
	// room for the watcher, init included.
	Tasks uint32
	_     uint32
}

// recordSize is the size of an encoded Record in bytes.
const recordSize = 4*4 + 8 + 4*2 + 8 + 6*8 + 4*4

// Bits of Record.Degraded.
const (
	DegradedTime     = 1 << iota // no time namespace
	DegradedKeyring              // no session keyring of its own
	DegradedMDWE                 // no PR_SET_MDWE
	_                            // was: no seccomp listener; a launch without one fails
	DegradedUserMax              // max_user_namespaces could not be set to 0
	DegradedLandlock             // no Landlock
)

func decodeRecord(b []byte) (r Record, ok bool) {
	if len(b) != recordSize {
		return r, false
	}
	r = *recordAt(b)
	return r, r.Kind >= Failed && r.Kind <= Unwatched
}
