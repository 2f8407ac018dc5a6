package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// Event is what a line of the log tells of.
type Event string

// The events. The log writes the first five by itself.
const (
	// Genesis is the first line of a chain, the only one without a line
	// before it.
	Genesis Event = "genesis"
	// Opened and Closed frame the time of one writer. An Opened without a
	// Closed before it means that the writer before was killed.
	Opened Event = "opened"
	Closed Event = "closed"
	// Torn declares the bytes before it to be what a crash left of a line.
	Torn Event = "torn"
	// Missed says how many lines could not be written before it, and why.
	Missed Event = "missed"

	// Start says that a run is about to begin: it is written before the
	// workload is. Run says how it ended. A Start without a Run was killed
	// together with its daemon.
	Start Event = "start"
	Run   Event = "run"
	// Refusal is a request that became no run.
	Refusal Event = "refusal"
	// Reload is a reload of registry or configuration, loaded or rejected.
	Reload Event = "reload"
	// Change is a change of the registry: registered, replaced, rejected,
	// retired, reverted by an operator; and what was found damaged.
	Change Event = "change"
	// Revert and Quarantine are what a violation led to.
	Revert     Event = "revert"
	Quarantine Event = "quarantine"
	// Operator is an act of a person: rollback, release, floor, kill.
	Operator Event = "operator"
)

// durable tells whether a line is on the disk before [Log.Append] returns,
// whatever the policy: what changes the state of a command is rare and must
// not be forgotten. Refusals are left out: anybody can cause as many as he
// likes, and each would cost a flush.
func (e Event) durable() bool {
	switch e {
	case Start, Run, Refusal:
		return false
	}
	return true
}

// Bounds of one record. They hold a record far below [MaxLine]; what is longer
// is cut and the record says so, because a record that cannot be written would
// refuse a run.
const (
	maxText = 512 // bytes of one text; a path may have 4096, names of this registry have 263
	maxList = 32  // elements of a list
)

// Record is one event. Fields that do not apply stay zero and are not written.
// There is no field for the text of an argument, for a value of the environment
// or for the content of a file: any of them may be a secret.
type Record struct {
	Event Event `json:"event"`
	// Run is the id of a run, Command the name that was asked for.
	Run        string `json:"run,omitempty"`
	Command    string `json:"command,omitempty"`
	Version    string `json:"version,omitempty"`
	Revision   string `json:"revision,omitempty"`
	Generation uint64 `json:"generation,omitempty"`
	// Caller is who asked, by the kernel's word (SO_PEERCRED); nil for what
	// the daemon did by itself.
	Caller *Caller `json:"caller,omitempty"`
	// Args is the number of arguments.
	Args int `json:"args,omitempty"`
	// Outcome, ExitCode, Signal, Step and Wall are those of the run's report.
	Outcome  string `json:"outcome,omitempty"`
	ExitCode *int   `json:"exit-code,omitempty"`
	Signal   int    `json:"signal,omitempty"`
	Step     string `json:"step,omitempty"`
	// Wall is in seconds.
	Wall       float64     `json:"time-wall,omitempty"`
	Violations []Violation `json:"violations,omitempty"`
	// Degraded are the names of the layers that were not applied.
	Degraded []string `json:"degraded,omitempty"`
	// RevertedTo is the digest that is in force again; Revision the one that
	// was taken out.
	RevertedTo string `json:"reverted-to,omitempty"`
	// Verdict is 200, 409 or 412 (SPEC 3); Reason the sentence beside it.
	Verdict int    `json:"verdict,omitempty"`
	Reason  string `json:"reason,omitempty"`
	// Why is what a person gave as reason.
	Why string `json:"why,omitempty"`
	// Bytes and SHA256 describe what a Torn line stands for.
	Bytes  int64  `json:"bytes,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	// Lines is how many lines a Missed stands for.
	Lines uint64 `json:"lines,omitempty"`
	// Build is the writer's build, in Opened.
	Build string `json:"build,omitempty"`
	// Truncated says that a text or list was cut.
	Truncated bool `json:"truncated,omitempty"`
}

// Caller is a peer of a socket.
type Caller struct {
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
	PID int32  `json:"pid,omitempty"`
}

// Violation is a refused call, without its raw arguments.
type Violation struct {
	Kind    string `json:"kind,omitempty"`
	Syscall string `json:"syscall,omitempty"`
	NR      int32  `json:"nr"`
	Arch    string `json:"arch,omitempty"`
	Comm    string `json:"comm,omitempty"`
	Path    string `json:"path,omitempty"`
	Address string `json:"address,omitempty"`
	Rule    string `json:"rule,omitempty"`
}

// body encodes the record: one JSON object without a line end, in which every
// character prints, so that the log can be looked at in a terminal.
func (r Record) body() ([]byte, error) {
	r.bound()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(&r); err != nil {
		return nil, fmt.Errorf("bug: encode audit record: %w", err)
	}
	return printable(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// bound cuts what is too long, in copies.
func (r *Record) bound() {
	texts := []*string{(*string)(&r.Event), &r.Run, &r.Command, &r.Version, &r.Revision, &r.Outcome, &r.Step, &r.RevertedTo, &r.Reason, &r.Why, &r.SHA256, &r.Build}
	cutList := func(list []string) []string {
		if len(list) == 0 {
			return nil
		}
		if len(list) > maxList {
			list, r.Truncated = list[:maxList], true
		}
		list = append([]string(nil), list...)
		for i := range list {
			texts = append(texts, &list[i])
		}
		return list
	}
	r.Degraded = cutList(r.Degraded)
	if len(r.Violations) > maxList {
		r.Violations, r.Truncated = r.Violations[:maxList], true
	}
	r.Violations = append([]Violation(nil), r.Violations...)
	for i := range r.Violations {
		v := &r.Violations[i]
		texts = append(texts, &v.Kind, &v.Syscall, &v.Arch, &v.Comm, &v.Path, &v.Address, &v.Rule)
	}
	for _, t := range texts {
		if len(*t) > maxText {
			*t, r.Truncated = cut(*t), true
		}
	}
}

// cut shortens to maxText bytes without halving a character.
func cut(s string) string {
	n := maxText
	for n > maxText-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// printable escapes what encoding/json leaves as it is and a terminal may obey
// (DEL, C1 controls, direction marks). Such characters stand only in strings.
func printable(b []byte) []byte {
	if !bytes.ContainsFunc(b, unprintable) {
		return b
	}
	var out []byte
	for _, r := range string(b) {
		switch {
		case !unprintable(r):
			out = utf8.AppendRune(out, r)
		case r > 0xFFFF:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xD800+r>>10, 0xDC00+r&0x3FF)
		default:
			out = append(out, `\u`+fmt.Sprintf("%04s", strconv.FormatInt(int64(r), 16))...)
		}
	}
	return out
}

func unprintable(r rune) bool { return r > 0x7e && !unicode.IsPrint(r) }
