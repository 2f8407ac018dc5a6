package main

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sbx-project/sbx/internal/admin"
	"github.com/sbx-project/sbx/internal/ctl"
	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/chain"
	"github.com/sbx-project/sbx/registry/life"
)

const rollbackLong = `Put a command back on an older revision, as a new generation.

  sbx rollback NAME                  to the last good one
  sbx rollback NAME --to VERSION     to a version, or a digest
  sbx rollback --to GENERATION       every command to what it was then
  sbx rollback --release NAME        let what is quarantined or held come back by itself
  sbx rollback --floor VERSION NAME  the oldest version that NAME may ever return to; it only grows

What is displaced is held: it comes back when its bundle changes, or is released.`

func rollbackCommand() *cobra.Command {
	var registryDir, to, floor, why string
	var release bool
	c := &cobra.Command{Use: "rollback [NAME]", Short: "Put a command back on an older revision", Long: rollbackLong,
		RunE: func(cmd *cobra.Command, words []string) error {
			name := strings.Join(words, ".")
			usage := func(msg string) error {
				return &statusError{125, errors.New("rollback: " + msg), "sbx rollback --help"}
			}
			switch {
			case release && (to != "" || floor != "") || to != "" && floor != "":
				return usage("--to, --release and --floor exclude each other")
			case name == "" && to == "":
				return usage("a name is missing")
			}
			act := admin.Act{Verb: admin.Rollback, Command: name, To: to, Reason: why}
			switch {
			case release:
				act.Verb = admin.Release
			case floor != "":
				act.Verb, act.To = admin.SetFloor, floor
			case name == "":
				if g, err := strconv.ParseUint(to, 10, 64); err != nil || strconv.FormatUint(g, 10) != to {
					return usage("--to without a name takes the number of a generation")
				}
			}
			return operate(cmd.Context(), registryDir, act)
		}}
	c.Flags().StringVar(&registryDir, "registry", "", "look in this registry")
	c.Flags().StringVar(&to, "to", "", "the version, digest or (without a name) generation to return to")
	c.Flags().StringVar(&floor, "floor", "", "raise the oldest version that may return")
	c.Flags().StringVar(&why, "reason", "", "why, for the history")
	c.Flags().BoolVar(&release, "release", false, "let quarantined and held revisions be offered again")
	return c
}

// operate has the daemon of the registry that has the command carry out an act,
// or does it itself where there is none. A daemon that starts has the lock
// before it answers: then it is asked once more.
func operate(ctx context.Context, registryDir string, act admin.Act) error {
	place, err := loader.Operated(registryDir, act.Command)
	if err != nil {
		return err
	}
	done, asked := askToOperate(ctx, registryDir, place, act)
	if done {
		return asked
	}
	err = loader.Operate(registryDir, act.Command, loaderOptions(), func(l *loader.Loader) error { return apply(l, act, "") })
	if !errors.Is(err, loader.ErrHeld) {
		return err
	}
	if done, again := askToOperate(ctx, registryDir, place, act); done || again != nil {
		return again
	}
	return err
}

// askToOperate tells whether a daemon has answered, and how. With an error and
// no answer there is one that does not speak to this user.
func askToOperate(ctx context.Context, registryDir string, place loader.Place, act admin.Act) (done bool, err error) {
	keys := []string{place.Key}
	if place.Path == "" {
		// The built-in registry is behind that of every daemon.
		keys = append(keys, registryKeys(ctl.Registries(registryDir))...)
	}
	d, err := dialKeys(ctx, keys)
	if d == nil {
		return false, err
	}
	defer d.Close()
	res, err := d.Operate(ctx, act)
	var answer *admin.AnswerError
	switch {
	case errors.Is(err, admin.ErrNoDaemon):
		return false, nil // it has ended just now
	case errors.As(err, &answer) && answer.Status == 404:
		return true, &statusError{127, err, answer.Hint}
	case errors.As(err, &answer) && (answer.Status == 409 || answer.Status == 422):
		return true, &statusError{126, err, answer.Hint}
	case err != nil:
		return true, refusedByDaemon(err)
	}
	for _, m := range res.Moved {
		sayEvent(loader.Event{Kind: loader.Reverted, Name: m.Command, Version: m.From, InForce: m.To, Generation: res.Generation, Operator: true, Reason: m.Reason})
	}
	return true, nil
}

// apply carries out an act; who is empty for the user of this process.
func apply(l *loader.Loader, act admin.Act, who string) error {
	by := life.Act{Who: who, Why: act.Reason}
	switch {
	case act.Verb == admin.Release:
		return l.Release(act.Command, by)
	case act.Verb == admin.SetFloor:
		return l.SetFloor(act.Command, act.To, by)
	case act.Command == "":
		generation, err := strconv.ParseUint(act.To, 10, 64)
		if err != nil {
			return err
		}
		return l.RollbackAll(generation, by)
	}
	return l.Rollback(act.Command, act.To, by)
}

// operate carries out an act in the registry that the daemon holds.
func (c *commands) operate(who string, act admin.Act, expected *uint64) (admin.Operated, error) {
	var before, after *chain.Snapshot
	err := c.set.Operate(act.Command, func(l *loader.Loader) error {
		if expected != nil && *expected != c.generation() {
			return admin.ErrGeneration
		}
		before = l.Snapshot()
		err := apply(l, act, who)
		after = l.Snapshot()
		return err
	})
	if err != nil {
		return admin.Operated{}, refusedAct(err)
	}
	res := admin.Operated{Generation: after.Generation, Moved: []admin.Moved{}}
	for _, name := range after.Changed {
		was, _ := before.Commands[name].Current()
		is, ok := after.Commands[name].Current()
		if ok && was.Digest != is.Digest {
			res.Moved = append(res.Moved, admin.Moved{Command: name, From: was.Version, To: is.Version, Reason: after.Why})
		}
	}
	return res, nil
}

// refusedAct gives the error of an act its status in the API.
func refusedAct(err error) error {
	var unknown *registry.UnknownError
	var rejected *loader.RejectedError
	e := &admin.ActError{Err: err}
	if _, hints := statusOf(err); len(hints) > 0 {
		e.Hint = strings.Join(hints, "\n")
	}
	switch {
	case errors.As(err, &unknown):
		e.Status = 404
	case errors.As(err, &rejected):
		e.Status = 422
	case errors.Is(err, loader.ErrRefused):
		e.Status = 409
	default:
		return err
	}
	return e
}
