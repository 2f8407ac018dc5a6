package main

import (
	"sync"
	"time"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/ctl"
	"github.com/sbx-project/sbx/internal/daemon"
	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/runner"
)

// commands are what the daemon serves: plans of one registry, compiled when
// they are first asked for and again when what they depend on has changed.
type commands struct {
	registry string // empty: the default list

	mu sync.Mutex
	// known are the commands by their dotted names.
	known map[string]daemon.Command
	// loading is held while one is compiled: a stampede of callers makes one
	// compilation of it.
	loading sync.Mutex
}

// Lookup finds the command that the words begin with. What does not load is
// for its caller's own sbx to explain, as without a daemon.
func (c *commands) Lookup(words []string) (daemon.Command, error) {
	if cmd, ok := c.fresh(words); ok {
		return cmd, nil
	}
	c.loading.Lock()
	defer c.loading.Unlock()
	if cmd, ok := c.fresh(words); ok {
		return cmd, nil
	}
	places, err := loader.Open(c.registry)
	if err != nil {
		return daemon.Command{}, daemon.ErrElsewhere
	}
	name, place, _, err := loader.Find(places, words)
	if err != nil {
		return daemon.Command{}, daemon.ErrElsewhere
	}
	b, err := place.Load(name)
	if err != nil {
		return daemon.Command{}, daemon.ErrElsewhere
	}
	p, _, used, err := loader.Run(c.registry, words, loaderOptions())
	if err != nil || p.Revision != b.Digest {
		// What lies on disk is not what is in force, and its allow does not
		// count for that.
		return daemon.Command{}, daemon.ErrElsewhere
	}
	cmd := daemon.Command{Plan: p, Used: used, Builtin: p.Key == state.BuiltinKey, Users: b.Manifest.Allow.Users, Groups: b.Manifest.Allow.Groups}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = map[string]daemon.Command{}
	}
	c.known[p.Command] = cmd
	return cmd, nil
}

// fresh finds a command that is known and not stale.
func (c *commands) fresh(words []string) (daemon.Command, bool) {
	const maxSegments = 8
	name := ""
	for i, w := range words[:min(len(words), maxSegments)] {
		if i > 0 {
			name += "."
		}
		name += w
		c.mu.Lock()
		cmd, ok := c.known[name]
		c.mu.Unlock()
		if !ok {
			continue
		}
		cmd.Used = i + 1
		_, ok = state.Fresh(cmd.Plan, buildinfo.Build)
		return cmd, ok
	}
	return daemon.Command{}, false
}

// Ended counts how the run ended, as the owner's own run would.
func (c *commands) Ended(cmd daemon.Command, r *runner.Report) {
	(&ctl.Invocation{Quiet: true}).Verdict(cmd.Plan, r)
}

// Reload forgets every plan; each is made again when it is asked for.
func (c *commands) Reload() daemon.Reload {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := daemon.Reload{Time: time.Now()}
	for name := range c.known {
		r.Changed = append(r.Changed, name)
	}
	c.known = map[string]daemon.Command{}
	return r
}
