package observe

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"strconv"

	"github.com/sbx-project/sbx/internal/admin"
	"github.com/sbx-project/sbx/internal/audit"
	"github.com/sbx-project/sbx/runner"
)

// Reload carries out what an operator asked for. The daemon tells Reloaded
// before it returns.
func (d *Desk) Reload(ctx context.Context, by admin.Actor, expected *uint64) (admin.Reload, error) {
	d.reloading.Lock()
	server := d.attached()
	if server == nil {
		d.reloading.Unlock()
		return admin.Reload{}, errStarting
	}
	if expected != nil && *expected != d.opt.Registry.Generation() {
		d.reloading.Unlock()
		return admin.Reload{}, admin.ErrGeneration
	}
	d.tell(operator(by, "reload"))
	// Who asked may go; the reload does not stop in its middle.
	done := make(chan admin.Reload, 1)
	go func() {
		defer d.reloading.Unlock()
		res := view(server.Reload())
		d.mu.Lock()
		res.LastSuccess = d.lastOK
		d.mu.Unlock()
		done <- res
	}()
	select {
	case res := <-done:
		return res, nil
	case <-ctx.Done():
		return admin.Reload{}, ctx.Err()
	}
}

// errStarting is the answer before Attach.
var errStarting = errors.New("the daemon is still starting")

// Kill ends a run.
func (d *Desk) Kill(by admin.Actor, run string) error {
	server := d.attached()
	if server == nil || !server.Kill(run) {
		return admin.ErrNoRun
	}
	rec := operator(by, "kill")
	rec.Run = run
	d.tell(rec)
	return nil
}

// Operate carries out an operator's act on the registry. Who asked for what,
// and why, is in the audit log before it is done: an act that cannot be
// recorded is refused. One that is refused has a second line that says so.
func (d *Desk) Operate(by admin.Actor, act admin.Act, expected *uint64) (admin.Operated, error) {
	if d.attached() == nil {
		return admin.Operated{}, errStarting
	}
	rec := operator(by, act.String())
	rec.Command = act.Command
	if act.Reason != "" {
		// What a token's holder says stands behind where he is.
		rec.Why = joined(rec.Why, act.Reason)
	}
	if _, err := d.opt.Audit.Append(rec); err != nil {
		return admin.Operated{}, fmt.Errorf("%s: nothing is done that cannot be recorded: %w", act, err)
	}
	res, err := d.opt.Registry.Operate(name(by), act, expected)
	if err != nil {
		rec.Outcome, rec.Reason = string(runner.Refused), act.String()+": "+err.Error()
		d.record(rec)
	}
	d.publish(rec)
	return res, err
}

// operator is the record of what a person did.
func operator(by admin.Actor, what string) audit.Record {
	rec := audit.Record{Event: audit.Operator, Reason: what}
	if p := by.Peer; p != nil {
		rec.Caller = &audit.Caller{UID: p.UID, GID: p.GID, PID: p.PID}
	} else {
		rec.Why = name(by)
	}
	return rec
}

// name is who acts, for people.
func name(by admin.Actor) string {
	if by.Peer == nil {
		return "by token from " + by.Address
	}
	id := strconv.FormatUint(uint64(by.Peer.UID), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "uid " + id
}

func joined(a, b string) string {
	if a == "" {
		return b
	}
	return a + ": " + b
}

// tell records what a person did, and publishes it.
func (d *Desk) tell(rec audit.Record) {
	d.record(rec)
	d.publish(rec)
}

func (d *Desk) publish(rec audit.Record) {
	e := admin.Event{Kind: admin.Operator, Run: rec.Run, Command: rec.Command, Outcome: rec.Outcome, Reason: joined(rec.Reason, rec.Why)}
	if rec.Caller != nil {
		e.UID = &rec.Caller.UID
	}
	d.opt.Events.Publish(e)
}
