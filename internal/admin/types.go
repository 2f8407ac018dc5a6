package admin

import "time"

// The types of this file are the API: their JSON is what is answered, and the
// OpenAPI document is made from them. `doc` tags are its descriptions. Members
// are only ever added; readers ignore those that they do not know.

// Status is the answer of /v1/status.
type Status struct {
	Version    string    `json:"version" doc:"version of sbx"`
	Build      string    `json:"build" doc:"digest of what this build is made of"`
	PID        int       `json:"pid" doc:"process id of the daemon"`
	Started    time.Time `json:"started" doc:"when the daemon started"`
	Registries []string  `json:"registries" doc:"directories that are served, in their order"`
	Generation uint64    `json:"generation" doc:"generation in force"`
	Ready      bool      `json:"ready" doc:"runs are accepted: the registry is loaded and the audit log can be written"`
	Draining   bool      `json:"draining" doc:"the daemon ends when its runs have"`
	InFlight   int       `json:"in-flight" doc:"runs that are going"`
	Reload     *Reload   `json:"reload,omitempty" doc:"the last reload; absent before the first"`
	Audit      Audit     `json:"audit" doc:"the audit log"`
	Weakened   []string  `json:"weakened" doc:"whatever makes sandboxes of this host weaker than they could be"`
	Commands   []Command `json:"commands" doc:"every command"`
}

// Audit is the state of the audit log.
type Audit struct {
	Sequence uint64 `json:"sequence" doc:"number of the newest line"`
	Head     string `json:"head" doc:"sha256 of the newest line, to be kept elsewhere as an anchor"`
	Error    string `json:"error,omitempty" doc:"why nothing can be written, and therefore no run starts"`
	Lasting  bool   `json:"lasting,omitempty" doc:"only a new start of the daemon mends the error; else it goes on by itself when its cause has gone"`
}

// Command is one name and what became of its revisions.
type Command struct {
	Name          string     `json:"name" doc:"name, its segments joined by dots"`
	Summary       string     `json:"summary,omitempty" doc:"the manifest's"`
	State         State      `json:"state" doc:"state of the revision in force, or why there is none"`
	Version       string     `json:"version,omitempty" doc:"version in force"`
	Revision      string     `json:"revision,omitempty" doc:"digest in force"`
	Generation    uint64     `json:"generation" doc:"generation in which this last changed"`
	Since         *time.Time `json:"since,omitempty" doc:"when the state was entered"`
	Reason        string     `json:"reason,omitempty" doc:"why the state was entered, or why the name is refused"`
	Registry      string     `json:"registry,omitempty" doc:"directory it comes from; empty for the built-in registry"`
	Candidate     *Revision  `json:"candidate,omitempty" doc:"the newest revision that was not taken, and why"`
	Previous      *Revision  `json:"previous,omitempty" doc:"what the command would return to"`
	Floor         string     `json:"floor,omitempty" doc:"oldest version it may return to"`
	RevertsLeft   uint64     `json:"reverts-left" doc:"returns that the budget still allows"`
	Runs          uint64     `json:"runs" doc:"ended runs of the revision in force"`
	Violations    uint64     `json:"violations" doc:"violations of the revision in force"`
	LastViolation string     `json:"last-violation,omitempty" doc:"the newest violation of the revision in force or before it"`
}

// State is a command's state in the API: the states of a revision, and those
// of a name without one.
type State string

// The states. Absent: no bundle; Refused: the name answers 126.
const (
	Candidate   State = "candidate"
	Probation   State = "probation"
	Active      State = "active"
	Rejected    State = "rejected"
	Quarantined State = "quarantined"
	Held        State = "held"
	Retired     State = "retired"
	Absent      State = "absent"
	Refused     State = "refused"
)

// Enum lists the states.
func (State) Enum() []string {
	return []string{string(Candidate), string(Probation), string(Active), string(Rejected), string(Quarantined), string(Held), string(Retired), string(Absent), string(Refused)}
}

// Revision is one content of a bundle.
type Revision struct {
	Version  string `json:"version" doc:"the manifest's version"`
	Revision string `json:"revision" doc:"digest"`
	State    State  `json:"state" doc:"its state"`
	Reason   string `json:"reason,omitempty" doc:"why"`
}

// Commands is the answer of /v1/commands.
type Commands struct {
	Generation uint64    `json:"generation" doc:"generation in force"`
	Commands   []Command `json:"commands" doc:"every command, by name"`
}

// Run is one run that is going.
type Run struct {
	Run        string    `json:"run" doc:"id, unique on the host"`
	Command    string    `json:"command" doc:"name of the command"`
	Version    string    `json:"version" doc:"version of its revision"`
	Revision   string    `json:"revision" doc:"digest of its revision"`
	Generation uint64    `json:"generation" doc:"generation it began with"`
	UID        uint32    `json:"uid" doc:"who asked for it"`
	GID        uint32    `json:"gid" doc:"his group"`
	PID        int32     `json:"pid" doc:"his process"`
	Args       int       `json:"args" doc:"number of arguments; their text is told to nobody"`
	Started    time.Time `json:"started" doc:"when it was asked for"`
}

// Runs is the answer of /v1/runs.
type Runs struct {
	Runs []Run `json:"runs" doc:"runs that are going, oldest first"`
}

// Generation is one generation of the chain.
type Generation struct {
	Generation uint64    `json:"generation" doc:"its number"`
	Time       time.Time `json:"time" doc:"when it came in force"`
	By         string    `json:"by" doc:"who or what made it"`
	Why        string    `json:"why,omitempty" doc:"the reason given"`
	Changed    []string  `json:"changed" doc:"commands that differ from the one before"`
}

// Generations is the answer of /v1/generations.
type Generations struct {
	Generation  uint64       `json:"generation" doc:"generation in force"`
	Generations []Generation `json:"generations" doc:"those that are kept, newest first"`
}

// Reload is how a reload ended.
type Reload struct {
	Time        time.Time   `json:"time" doc:"when it ended"`
	Loaded      bool        `json:"loaded" doc:"everything that was found is in force"`
	LastSuccess *time.Time  `json:"last-success,omitempty" doc:"when a reload last loaded everything"`
	Generation  uint64      `json:"generation" doc:"generation in force afterwards"`
	Changed     []string    `json:"changed" doc:"commands that changed"`
	Rejected    []Rejection `json:"rejected" doc:"commands whose candidate was not taken"`
	Error       string      `json:"error,omitempty" doc:"why nothing at all was loaded"`
}

// Rejection is a candidate that was not taken.
type Rejection struct {
	Command string `json:"command" doc:"name of the command"`
	Reason  string `json:"reason" doc:"why"`
	Verdict int    `json:"verdict,omitempty" doc:"409 older or concurrent; 412 signature, digest, revocation or owner; absent for any other reason"`
}

// Operated is what an operator's act came to.
type Operated struct {
	Generation uint64  `json:"generation" doc:"generation in force afterwards"`
	Moved      []Moved `json:"moved" doc:"commands of which another revision is in force; none for a release and a floor"`
}

// Moved is a command that an operator put on another revision.
type Moved struct {
	Command string `json:"command" doc:"name of the command"`
	From    string `json:"from,omitempty" doc:"version that was in force, and is held; absent for none"`
	To      string `json:"to,omitempty" doc:"version in force"`
	Reason  string `json:"reason" doc:"what was done, and why"`
}

// Killed is the answer of DELETE /v1/runs/{run}.
type Killed struct {
	Run string `json:"run" doc:"the run that was told to end"`
}

// Health is the answer of /-/healthy and /-/ready.
type Health struct {
	OK     bool   `json:"ok" doc:"whether it is so"`
	Reason string `json:"reason,omitempty" doc:"why not"`
}

// Problem is the answer to a request that was not carried out.
type Problem struct {
	Error string `json:"error" doc:"what and why"`
	Hint  string `json:"hint,omitempty" doc:"what to do"`
}

// Kind is what an event tells of.
type Kind string

// The kinds. Distrusted: what is in force is not believed any more, and the name
// refuses until that is mended. Damaged: something that was kept, or the registry, is not as it
// should be, and was passed over. AuditLog: it cannot be written, so that no run
// starts, or can be again. Gap says that events were missed: look at
// /v1/status.
const (
	RunStarted  Kind = "run-started"
	RunEnded    Kind = "run-ended"
	RunRefused  Kind = "refused"
	Reloaded    Kind = "reloaded"
	Registered  Kind = "registered"
	Replaced    Kind = "replaced"
	NotTaken    Kind = "rejected"
	Reverted    Kind = "reverted"
	Quarantine  Kind = "quarantined"
	Rebuilt     Kind = "rebuilt"
	RetiredKind Kind = "retired"
	Operator    Kind = "operator"
	Distrusted  Kind = "distrusted"
	Damaged     Kind = "damaged"
	AuditLog    Kind = "audit"
	Gap         Kind = "gap"
)

// Enum lists the kinds.
func (Kind) Enum() []string {
	return []string{
		string(RunStarted), string(RunEnded), string(RunRefused), string(Reloaded), string(Registered), string(Replaced), string(NotTaken), string(Reverted),
		string(Quarantine), string(Rebuilt), string(RetiredKind), string(Operator), string(Distrusted), string(Damaged), string(AuditLog), string(Gap),
	}
}

// Event is one line of /v1/events. What does not apply is absent.
type Event struct {
	ID         string      `json:"id" doc:"to be given as since or Last-Event-ID, to go on after this one"`
	Time       time.Time   `json:"time" doc:"when it happened"`
	Kind       Kind        `json:"kind" doc:"what happened"`
	Run        string      `json:"run,omitempty" doc:"id of the run"`
	Command    string      `json:"command,omitempty" doc:"name of the command"`
	Version    string      `json:"version,omitempty" doc:"version of its revision"`
	Revision   string      `json:"revision,omitempty" doc:"digest of its revision"`
	InForce    string      `json:"in-force,omitempty" doc:"version in force afterwards"`
	Generation uint64      `json:"generation,omitempty" doc:"generation in force"`
	UID        *uint32     `json:"uid,omitempty" doc:"who asked"`
	Outcome    string      `json:"outcome,omitempty" doc:"how the run ended"`
	ExitCode   *int        `json:"exit-code,omitempty" doc:"the status that the caller was told"`
	Seconds    float64     `json:"seconds,omitempty" doc:"how long the run took"`
	Violations []Violation `json:"violations,omitempty" doc:"refused calls"`
	Verdict    int         `json:"verdict,omitempty" doc:"200 it is in force; 409 older or concurrent; 412 signature, digest, revocation or owner; absent where none was asked"`
	Reason     string      `json:"reason,omitempty" doc:"why"`
	Reload     *Reload     `json:"reload,omitempty" doc:"how the reload ended"`
	Missed     uint64      `json:"missed,omitempty" doc:"events that are no longer kept; 0 in a gap: the daemon was started anew"`
}

// Violation is a refused call.
type Violation struct {
	Kind      string `json:"kind" doc:"syscall, ..."`
	Syscall   string `json:"syscall,omitempty" doc:"its name"`
	Comm      string `json:"comm,omitempty" doc:"name of the thread, as the workload has set it"`
	Path      string `json:"path,omitempty" doc:"the path among its arguments"`
	Rule      string `json:"rule,omitempty" doc:"what refused it"`
	AllowWith string `json:"allow-with,omitempty" doc:"the line of a policy that would allow it"`
}
