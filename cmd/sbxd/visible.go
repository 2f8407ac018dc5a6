package main

import (
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/sbx-project/sbx/internal/config"
	"github.com/sbx-project/sbx/internal/ctl"
	"github.com/sbx-project/sbx/internal/daemon"
	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/registry"
)

// mayRun is what the help of every verb that shows commands says.
const mayRun = `Shown is what "sbx run NAME" would run for you. Where a daemon serves the
registry, or the host's configuration says "daemon: required", a manifest's
"allow" keeps commands for others: those are left out. Without a daemon a run
has your own rights, "allow" is not asked, and nothing is left out for its sake.
What is rejected with nothing in force, quarantined, or hidden by an earlier
registry is left out as well. Root may run everything and sees the rest with
--all; for others --all is an error (126), and what is hidden is told on stderr.`

const allFlag = "as root: what is refused, quarantined or hidden too"

// caller is who asks, and whether the daemon would be asked about him.
type caller struct {
	ids daemon.Caller
	// required: he cannot run without the daemon.
	required bool
	// served tells of a registry's key whether a daemon would answer.
	served func(key string) bool
}

// callers finds out who asks. What it decides is what is shown: who runs is
// judged again.
func callers() (*caller, error) {
	c := &caller{ids: daemon.Caller{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}}
	groups, err := os.Getgroups()
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		c.ids.Groups = append(c.ids.Groups, uint32(g))
	}
	if c.ids.UID != 0 {
		host, err := config.Load()
		if err != nil {
			return nil, err
		}
		c.required = host.Daemon == config.DaemonRequired
	}
	known := map[string]bool{}
	c.served = func(key string) bool {
		is, ok := known[key]
		if !ok {
			is = ctl.Served(key)
			known[key] = is
		}
		return is
	}
	return c, nil
}

// may tells whether `allow` lets the caller run a command of a registry.
func (c *caller) may(key string, users, groups []string) bool {
	if c.ids.May(users, groups) {
		return true
	}
	return !c.required && !c.served(key)
}

// runs tells whether the caller may run a command, and there is one to run.
func (c *caller) runs(r *listed) bool {
	return r.runs && !r.Shadowed && c.may(r.key, r.allow.Users, r.allow.Groups)
}

// visible lists what the caller may run; everything with all, which is root's.
// Others are told what of theirs is hidden by an earlier registry.
func visible(verb string, places []loader.Place, all bool) ([]listed, error) {
	if all && os.Geteuid() != 0 {
		return nil, &statusError{126, errors.New(verb + ": --all is root's"), "sbx " + verb + " shows what you may run"}
	}
	rows, err := list(places, "")
	if err != nil || all {
		return rows, err
	}
	c, err := callers()
	if err != nil {
		return nil, err
	}
	for _, text := range c.hidden(rows) {
		ctl.Say(quiet, text)
	}
	return slices.DeleteFunc(rows, func(r listed) bool { return !c.runs(&r) }), nil
}

// hidden says of each command that the caller could run, was its name not taken
// in an earlier registry, which one that is. Root asks with --all.
func (c *caller) hidden(rows []listed) (texts []string) {
	for i := range rows {
		r := rows[i]
		if r.Shadowed = false; rows[i].Shadowed && c.ids.UID != 0 && c.runs(&r) {
			texts = append(texts, r.Name+" "+r.Version+" of "+r.Registry+" is shadowed by that of "+r.shadow)
		}
	}
	return texts
}

// pruned leaves in the error of an unknown name only those children that the
// caller may run, or that have such below them.
func pruned(registryDir string, err error) error {
	var unknown *registry.UnknownError
	if !errors.As(err, &unknown) || len(unknown.Children) == 0 {
		return err
	}
	prefix := ""
	if unknown.Group != "" {
		prefix = unknown.Group + "."
	}
	places, openErr := loader.Open(registryDir)
	if openErr != nil {
		return err
	}
	rows, listErr := list(places, prefix)
	c, callErr := callers()
	shown := map[string]bool{}
	for i := range rows {
		if callErr == nil && c.runs(&rows[i]) {
			child, _, _ := strings.Cut(strings.TrimPrefix(rows[i].Name, prefix), ".")
			shown[child] = true
		}
	}
	some := *unknown
	some.Children = slices.DeleteFunc(slices.Clone(unknown.Children), func(child string) bool { return !shown[child] })
	if listErr != nil || callErr != nil {
		some.Children = nil // what cannot be told apart is not shown
	}
	return &some
}
