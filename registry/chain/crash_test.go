package chain

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestKilledAtRandomMoments: a process that commits without end is killed.
// What it said was done is there; what it had begun is there whole or not at
// all.
func TestKilledAtRandomMoments(t *testing.T) {
	kills := 300
	if testing.Short() {
		kills = 30
	}
	dir := t.TempDir() + "/state"
	rng := rand.New(rand.NewPCG(1, 2))
	done, began := uint64(0), 0
	for kill := range kills {
		cmd, lines := start(t, "commit", dir, 0)
		// A commit takes a few milliseconds: most moments are within one.
		timer := time.AfterFunc(time.Duration(rng.IntN(40_000))*time.Microsecond, func() { cmd.Process.Kill() })
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				break
			}
			n, err := strconv.ParseUint(strings.TrimSpace(line), 10, 64)
			must(t, err)
			done = n
		}
		timer.Stop()
		cmd.Wait()

		c, err := Open(dir, Exclusive)
		must(t, err)
		s, damaged, err := c.Newest()
		if errors.Is(err, ErrEmpty) && done == 0 && damaged == nil {
			must(t, c.Close())
			continue
		}
		if err != nil || damaged != nil {
			t.Fatalf("kill %d, %d was done: newest: %v, %v", kill, done, damaged, err)
		}
		if s.Generation != done && s.Generation != done+1 {
			t.Fatalf("kill %d: newest is %d, %d was done", kill, s.Generation, done)
		}
		if s.Generation == done+1 {
			began++
		}
		wantGeneration(t, c, s, s.Generation)
		done = s.Generation
		if left := leftovers(t, dir); len(left) > 0 {
			t.Errorf("kill %d: left behind: %v", kill, left)
		}
		must(t, c.Close())
		if t.Failed() {
			return
		}
	}
	t.Logf("%d kills, %d generations, %d of them whole and not yet said to be", kills, done, began)
	if done < uint64(kills)/10 {
		t.Errorf("only %d generations: the kills came before the work", done)
	}
}

// TestPowerCut: after every step of some commits the power is cut, and what was
// not made durable is lost, kept, or cut in half, in many combinations.
func TestPowerCut(t *testing.T) {
	dir := t.TempDir() + "/state"
	var steps []step
	acked := map[int]uint64{} // by the count of steps
	record := func(s step) error {
		s.data = append([]byte(nil), s.data...)
		steps = append(steps, s)
		return nil
	}
	c, err := open(dir, Exclusive, record)
	must(t, err)
	var s *Snapshot
	for range 4 {
		s, err = advance(c, s)
		must(t, err)
		acked[len(steps)] = s.Generation
		if s.Generation == 3 {
			// The chain forgets its oldest, and the store is collected.
			must(t, c.disk.remove(generationName(1), false))
			must(t, c.Collect(nil))
		}
	}
	must(t, c.Close())
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	cutEverywhere(t, steps, acked, rounds, nil)
}

// TestPowerCutOfABatch: so many bundles at once that they are made durable by
// syncfs, one of them written in place of a damaged one, one signed later.
func TestPowerCutOfABatch(t *testing.T) {
	var steps []step
	acked := map[int]uint64{}
	c, err := open(t.TempDir()+"/state", Exclusive, func(s step) error {
		s.data = append([]byte(nil), s.data...)
		steps = append(steps, s)
		return nil
	})
	must(t, err)
	var digests []string
	for i := range syncFrom/4 + 2 {
		b, open := bundle("x", "7.0."+strconv.Itoa(i))
		must(t, c.Put(b, open, nil))
		digests = append(digests, b.Digest)
		if i == 0 {
			must(t, c.Put(b, open, []byte("signature")))
			c.put.suspect[b.Digest] = true
			must(t, c.Put(b, open, nil))
		}
	}
	_, err = advance(c, nil)
	must(t, err)
	acked[len(steps)] = 1
	must(t, c.Close())
	if !slices.ContainsFunc(steps, func(s step) bool { return s.op == opSyncAll }) ||
		!slices.ContainsFunc(steps, func(s step) bool { return s.op == opExchange }) {
		t.Error("the batch was not made durable as a batch, or nothing was exchanged")
	}
	cutEverywhere(t, steps, acked, 3, func(c *Chain, newest uint64) error {
		for i, digest := range digests {
			b, err := c.Load("x", digest)
			if newest > 0 && err != nil || newest > 0 && i == 0 && string(b.Signature) != "signature" {
				return fmt.Errorf("bundle %d of the batch (signature %q): %w", i, b.Signature, err)
			}
		}
		return nil
	})
}

// TestPowerCutOfTheSameShards: what a commit writes may be, byte for byte, what
// the generation in force consists of.
func TestPowerCutOfTheSameShards(t *testing.T) {
	var steps []step
	c, err := open(t.TempDir()+"/state", Exclusive, func(s step) error {
		s.data = append([]byte(nil), s.data...)
		steps = append(steps, s)
		return nil
	})
	must(t, err)
	s, err := advance(c, nil)
	must(t, err)
	first := len(steps)
	next := *s
	next.Generation, err = c.Next()
	must(t, err)
	must(t, c.Commit(&next))
	must(t, c.Close())
	for at := first; at <= len(steps); at++ {
		for round := range 12 {
			m := newMachine()
			for _, s := range steps[:at] {
				must(t, m.apply(s))
			}
			work := memoryDir(t)
			must(t, m.reboot(work, policy(round, uint64(at))))
			c, err := Open(work, Exclusive)
			must(t, err)
			got, damaged, err := c.Newest()
			if err != nil || damaged != nil || at == len(steps) && got.Generation != 2 {
				t.Fatalf("cut after step %d of %d (%s), round %d: newest is %+v, damaged %v, %v", at, len(steps), describe(steps[at-1]), round, got, damaged, err)
			}
			must(t, c.Close())
			must(t, os.RemoveAll(work))
		}
	}
}

// cutEverywhere cuts the power after every step, rounds times each with another
// loss. acked are the generations that were said to be done, by the count of
// steps; also looks at what came up with a newest generation.
func cutEverywhere(t *testing.T, steps []step, acked map[int]uint64, rounds int, also func(c *Chain, newest uint64) error) {
	t.Helper()
	done, cuts := uint64(0), 0
	for at := 3; at <= len(steps); at++ { // the first three make the directories
		if n, ok := acked[at]; ok {
			done = n
		}
		for round := range rounds {
			cuts++
			m := newMachine()
			for _, s := range steps[:at] {
				if err := m.apply(s); err != nil {
					t.Fatalf("the model cannot follow %+v: %v", s, err)
				}
			}
			lost := policy(round, uint64(at))
			work := memoryDir(t)
			err := afterPowerCut(work, m, lost, done, also)
			must(t, os.RemoveAll(work))
			if err != nil {
				t.Fatalf("cut after step %d of %d (%s), round %d: %v\nsteps: %s", at, len(steps), describe(steps[at-1]), round, err, tail(steps[:at]))
			}
		}
	}
	t.Logf("%d cuts after %d steps", cuts, len(steps))
}

// memoryDir makes a directory where fsync costs nothing, if there is one: what
// is durable is the model's to say.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "chain-*")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func describe(s step) string {
	return fmt.Sprintf("op %d %s %s (%d bytes)", s.op, s.name, s.to, len(s.data))
}

func tail(steps []step) string {
	var out []string
	for _, s := range steps[max(0, len(steps)-15):] {
		out = append(out, describe(s))
	}
	return strings.Join(out, "\n")
}

// afterPowerCut lets the machine's disk come up in dir, and checks what is on
// it: done is the newest generation that Commit had returned for, and also
// looks further.
func afterPowerCut(dir string, m *machine, lost *loss, done uint64, also func(*Chain, uint64) error) error {
	if err := m.reboot(dir, lost); err != nil {
		return err
	}
	c, err := Open(dir, Exclusive)
	if err != nil {
		return err
	}
	defer c.Close()
	s, damaged, err := c.Newest()
	switch {
	case damaged != nil:
		return fmt.Errorf("damaged: %v", damaged)
	case errors.Is(err, ErrEmpty) && done == 0:
	case err != nil:
		return fmt.Errorf("newest: %w, %d was done", err, done)
	case s.Generation != done && s.Generation != done+1:
		return fmt.Errorf("newest is %d, %d was done", s.Generation, done)
	default:
		for _, name := range names {
			if r, _ := s.Commands[name].Current(); r.Version != versionOf(s.Generation) {
				return fmt.Errorf("%s has version %q in generation %d", name, r.Version, s.Generation)
			}
		}
		r, _ := s.Commands[names[0]].Current()
		if _, err := c.Load("x", r.Digest); err != nil {
			return fmt.Errorf("the bundle in force: %w", err)
		}
		if also != nil {
			if err := also(c, s.Generation); err != nil {
				return err
			}
		}
	}
	// What the cut left must not stand in the way of what comes.
	if s, err = advance(c, s); err != nil {
		return fmt.Errorf("the next commit: %w", err)
	}
	got, damaged, err := c.Newest()
	if err != nil || damaged != nil || got.Generation != s.Generation {
		return fmt.Errorf("after the next commit: %+v, %v, %w", got, damaged, err)
	}
	r, _ := got.Commands[names[0]].Current()
	_, err = c.Load("x", r.Digest)
	return err
}
