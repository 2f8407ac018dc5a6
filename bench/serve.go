package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// nameWarm is a run by the daemon; nameWarmRate and nameBwrapRate are the mean
// times of a run when two workers run one after the other.
const (
	nameWarm      = "sbx run, by the daemon"
	nameWarmRate  = "sbx run, by the daemon, 2 workers"
	nameBwrapRate = "bubblewrap, 2 workers"
)

// sustainFor is how long the two workers run, for each launcher and part.
const sustainFor = time.Second

// sustainParts is how often that is done, launcher after launcher.
const sustainParts = 5

// serve starts `sbx serve` for the kit's registry. stop ends it.
func (k *kit) serve(sbx string, env []string) (stop func() error, err error) {
	runtime := filepath.Join(k.dir, "run")
	cmd := exec.Command(filepath.Join(filepath.Dir(sbx), "sbxd"), "serve")
	cmd.Env = env
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop = func() error {
		cmd.Process.Signal(syscall.SIGTERM)
		return <-ended
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if found, _ := filepath.Glob(runtime + "/*.sock"); len(found) > 0 {
			return stop, nil
		}
		select {
		case err := <-ended:
			return nil, fmt.Errorf("sbx serve: %w: %s", err, said.String())
		default:
		}
		if time.Now().After(end) {
			return nil, errors.Join(errors.New("sbx serve makes no socket"), stop())
		}
	}
}

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
