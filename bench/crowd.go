package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// The rows of many sandboxes at once.
const (
	nameCrowdWarm = "sandboxes at once, by the daemon"
	nameCrowdCold = "sandboxes at once, one-shot"
)

// promisedCrowd is the bar of both.
const promisedCrowd = 1000

// crowdLimit is how long all of them may take to begin, and to end.
const crowdLimit = 2 * time.Minute

// held are sandboxes whose workload (src/hold.c) runs until they are let go.
type held struct {
	cmds []*exec.Cmd
	// let ends their input; begun has a byte of each that runs.
	let, begun *os.File
}

// hold starts n runs and returns when the workload of each runs. Those that are
// there are in held even after an error.
func hold(n int, call func(i int) *command) (*held, error) {
	in, let, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	begun, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	h := &held{let: let, begun: begun}
	for i := range n {
		c := call(i)
		cmd := exec.Command(c.argv[0], c.argv[1:]...)
		cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Dir = c.env, in, out, "/"
		if err := cmd.Start(); err != nil {
			out.Close()
			return h, err
		}
		h.cmds = append(h.cmds, cmd)
	}
	out.Close()
	if err := begun.SetReadDeadline(time.Now().Add(crowdLimit)); err != nil {
		return h, err
	}
	for there := 0; there < n; {
		b := make([]byte, 4096)
		got, err := begun.Read(b)
		if err != nil {
			return h, fmt.Errorf("%d of %d run: %w", there, n, err)
		}
		there += got
	}
	return h, nil
}

// release has them all end, and returns how many ended well.
func (h *held) release() (well int, err error) {
	h.let.Close()
	defer h.begun.Close()
	limit := time.AfterFunc(crowdLimit, func() {
		for _, cmd := range h.cmds {
			_ = cmd.Process.Kill()
		}
	})
	defer limit.Stop()
	var errs []error
	for _, cmd := range h.cmds {
		if err := cmd.Wait(); err != nil {
			errs = append(errs, err)
			continue
		}
		well++
	}
	if len(errs) > 0 {
		return well, fmt.Errorf("%d failed, the first: %w", len(errs), errs[0])
	}
	return well, nil
}

// crowd has n sandboxes run at the same moment: how many did, and ended well.
func crowd(n int, c *command) *figure {
	h, err := hold(n, func(int) *command { return c })
	if h == nil {
		return &figure{problem: err}
	}
	well, failed := h.release()
	if err := errors.Join(err, failed); err != nil {
		return &figure{values: []float64{0}, note: fmt.Sprintf("%d of %d ended well: %v", well, n, err)}
	}
	return &figure{values: []float64{float64(n)}, small: n < promisedCrowd}
}
