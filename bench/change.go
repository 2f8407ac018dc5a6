package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sbx-project/sbx/internal/admin"
)

// nameChanging is the row of runs beside changes.
const nameChanging = "p99 of sbx run by the daemon, 100 bundles a second changing, to quiet p99"

const (
	// changing are the bundles that change, each once a second.
	changing = 100
	// changeRuns are the runs of each part, quiet and beside changes.
	changeRuns = 250
)

// whileChanging measures the p99 of runs by a daemon of its own, in parts: quiet,
// then while each of a hundred other bundles changes once a second.
func whileChanging(dir, sbx, program string) (f *figure) {
	f = &figure{}
	s, err := newSite(filepath.Join(dir, "change"), sbx)
	if err != nil {
		return &figure{problem: err}
	}
	c := &changer{site: s, program: program, versions: make([]int, changing)}
	if err := errors.Join(s.put("noop", noop("noop", "1.0.0", program)), c.all()); err != nil {
		return &figure{problem: err}
	}
	daemon, err := s.serve()
	if err != nil {
		return &figure{problem: err}
	}
	defer func() { f.problem = errors.Join(f.problem, daemon.stop()) }()
	run := s.run("noop")
	if err := byDaemon(run, s.dir); err != nil {
		return &figure{problem: err}
	}
	for range sustainParts {
		quiet, err := inARow(run, changeRuns)
		if err != nil {
			return &figure{problem: err}
		}
		stop := c.start()
		busy, err := inARow(run, changeRuns)
		// A change that is not in force in time was no load.
		if err := errors.Join(err, stop(), c.inForce()); err != nil {
			return &figure{problem: err}
		}
		f.values = append(f.values, quantile(busy, 0.99)/quantile(quiet, 0.99))
	}
	f.note = fmt.Sprintf("%d changes in %.1f s, all in force", c.changes, c.took.Seconds())
	return f
}

// changer changes bundles of a site.
type changer struct {
	site     *site
	program  string
	versions []int // of each bundle
	changes  int
	took     time.Duration
}

func (c *changer) name(i int) string    { return "c" + strconv.Itoa(i) }
func (c *changer) version(i int) string { return "1." + strconv.Itoa(c.versions[i]) + ".0" }

// change writes the next version of a bundle.
func (c *changer) change(i int) error {
	c.versions[i]++
	c.changes++
	return c.site.put(c.name(i), noop(c.name(i), c.version(i), c.program))
}

func (c *changer) all() error {
	for i := range c.versions {
		if err := c.change(i); err != nil {
			return err
		}
	}
	c.changes = 0
	return nil
}

// start changes one bundle after the other until stop is called.
func (c *changer) start() (stop func() error) {
	end, ended := make(chan struct{}), make(chan error)
	go func() {
		began := time.Now()
		defer func() { c.took += time.Since(began) }()
		tick := time.NewTicker(time.Second / changing)
		defer tick.Stop()
		for i := 0; ; i = (i + 1) % len(c.versions) {
			select {
			case <-tick.C:
				if err := c.change(i); err != nil {
					ended <- err
					return
				}
			case <-end:
				close(ended)
				return
			}
		}
	}()
	return func() error { close(end); return <-ended }
}

// inForce waits until the last version of every bundle is in force.
func (c *changer) inForce() error {
	client, err := c.site.dial()
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		var all admin.Commands
		if err := client.Get(ctx, "/v1/commands", &all); err != nil {
			return fmt.Errorf("changes are not in force: %w", err)
		}
		is := map[string]string{}
		for _, one := range all.Commands {
			is[one.Name] = one.Version
		}
		late := 0
		for i := range c.versions {
			if is[c.name(i)] != c.version(i) {
				late++
			}
		}
		if late == 0 {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}
