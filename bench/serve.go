package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// nameWarm is a run by the daemon; nameWarmRate and nameBwrapRate are the mean
// times of a run when two workers run one after the other, whose ratio is that
// of runs a second; nameTail is how much slower the slowest runs are.
const (
	nameWarm      = "sbx run, by the daemon"
	nameWarmRate  = "runs a second by the daemon, 2 workers"
	nameBwrapRate = "of bubblewrap"
	nameTail      = "sbx run, by the daemon, p99 to p50"
)

// tailRuns are the runs in a row of which p99 and p50 are taken, sustainParts
// times.
const tailRuns = 300

// sustainFor is how long the two workers run, for each launcher and part.
const sustainFor = time.Second

// sustainParts is how often that is done, launcher after launcher.
const sustainParts = 5

// byDaemon fails unless a run of the command is the daemon's.
func byDaemon(c *command, dir string) error {
	file := filepath.Join(dir, "result")
	argv := append([]string{c.argv[0], c.argv[1], "--result", file}, c.argv[2:]...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = c.env
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), `"via":"daemon"`) {
		return errors.New("the run was not the daemon's")
	}
	return os.Remove(file)
}

// sustain measures two workers, part by part: the mean time of a run each.
func sustain(bwrap, warm *command) (results, error) {
	all := results{}
	for range sustainParts {
		for _, c := range []struct {
			name string
			*command
		}{{nameBwrapRate, bwrap}, {nameWarmRate, warm}} {
			d, err := together(c.command)
			if err != nil {
				return nil, err
			}
			all[c.name] = append(all[c.name], d)
		}
	}
	return all, nil
}

func together(c *command) (time.Duration, error) {
	var runs atomic.Int64
	var wg sync.WaitGroup
	failed := make(chan error, 2)
	start := time.Now()
	for range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for time.Since(start) < sustainFor {
				if err := try(c); err != nil {
					failed <- err
					return
				}
				runs.Add(1)
			}
		}()
	}
	wg.Wait()
	select {
	case err := <-failed:
		return 0, err
	default:
		return time.Since(start) / time.Duration(runs.Load()), nil
	}
}

// tail measures how far p99 of warm runs in a row is from p50.
func tail(warm *command) *figure {
	f := &figure{}
	for range sustainParts {
		times, err := inARow(warm, tailRuns)
		if err != nil {
			f.problem = err
			return f
		}
		f.values = append(f.values, quantile(times, 0.99)/quantile(times, 0.5))
	}
	return f
}

// inARow runs a command again and again and returns the times in us.
func inARow(c *command, times int) ([]float64, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	us := make([]float64, 0, times)
	for range times {
		took, err := once(c, files{null: null, errors: null})
		if err != nil {
			return nil, err
		}
		us = append(us, float64(took)/float64(time.Microsecond))
	}
	return us, nil
}
