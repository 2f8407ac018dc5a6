package loader

import (
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/registry/life"
)

// Kind says what happened to a command.
type Kind string

// The kinds of events.
const (
	// Registered: a command is new, or back after it had been absent.
	Registered Kind = "registered"
	// Replaced: another revision is in force, by a change on disk.
	Replaced Kind = "replaced"
	// Rejected: a bundle was not accepted. What was in force still is.
	Rejected Kind = "rejected"
	// Reverted: the command was put back on its last good revision, by a
	// violation in probation or by an operator.
	Reverted Kind = "reverted"
	// Quarantined: the name refuses until an operator acts.
	Quarantined Kind = "quarantined"
	// Rebuilt: the same revision was compiled anew, for a changed host.
	Rebuilt Kind = "rebuilt"
	// Distrusted: what is in force is not believed any more, by its signature,
	// its digest, its publisher's rights or who may write its bundle. Nothing of
	// the command runs until that is mended; nothing else changes.
	Distrusted Kind = "distrusted"
	// Retired: the command is gone from the registry.
	Retired Kind = "retired"
	// Violated: a violation that changes nothing, after probation.
	Violated Kind = "violated"
	// Damaged: a snapshot on disk is not valid and was passed over.
	Damaged Kind = "damaged"
)

// Event is one change, or one refusal to change.
type Event struct {
	Kind Kind
	// Name is the command's; Version and Digest those of the revision that
	// the event is about, "" where it could not be read.
	Name, Version, Digest string
	// InForce is the version in force afterwards, "" for none; To is the
	// digest of what a Reverted command is on again.
	InForce, To string
	// Generation is the snapshot's number afterwards.
	Generation uint64
	// Code is 200, 409 or 412 (SPEC 3, Trust); 0 where no verdict was asked.
	Code life.Code
	// Run is the run that led to it, "" for none.
	Run string
	// Operator is set for what a person did.
	Operator bool
	// Reason says why, for people; Err is its cause with position and
	// excerpt, where there is one.
	Reason string
	Err    error
}

// Result is what a load came to for one command.
type Result struct {
	// Plan is that of the revision in force, Encoded its durable form; nil:
	// nothing is in force.
	Plan    *plan.Plan
	Encoded []byte
	// Err says why there is no plan, or why what lies on disk is not what is
	// in force; nil: the bundle on disk is in force.
	Err error
}
