package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/runner"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// fake is a pipeline without files and sandboxes. It rejects what has the
// summary "bad", and holds to the rules of Pipeline: it fails the test when
// the service does not.
type fake struct {
	t      *testing.T
	memory *registry.Memory

	busy   atomic.Int32 // Load, Ended and Close under way
	closed atomic.Bool
	runs   atomic.Int32

	mu         sync.Mutex
	generation uint64
	inForce    map[string]*Command
	broken     error // what Load says
	loads      int

	// gate, when not nil, is received from twice in each Load.
	gate chan struct{}
	// run, when not nil, is what a run does.
	run func(ctx context.Context, c *Command, call Call) (*runner.Report, bool)
}

func (f *fake) enter(what string) func() {
	if f.busy.Add(1) != 1 {
		f.t.Errorf("%s while another goes on", what)
	}
	if f.closed.Load() {
		f.t.Errorf("%s after Close", what)
	}
	return func() { f.busy.Add(-1) }
}

func (f *fake) Load(_ context.Context, names ...string) (Loading, error) {
	defer f.enter("Load")()
	if f.gate != nil {
		<-f.gate
		<-f.gate
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loads++
	if f.broken != nil {
		return Loading{}, f.broken
	}
	if len(names) == 0 {
		entries, err := f.memory.Names()
		if err != nil {
			return Loading{}, err
		}
		for _, e := range entries {
			if !e.Group {
				names = append(names, e.Name)
			}
		}
	}
	l := Loading{Commands: map[string]*Command{}}
	for _, name := range names {
		f.generation++
		b, err := f.memory.Load(name)
		old := f.inForce[name]
		e := Event{Name: name, Version: b.Manifest.Version, Digest: b.Digest, Generation: f.generation}
		switch {
		case errors.Is(err, registry.ErrNotFound):
			if old == nil {
				continue
			}
			delete(f.inForce, name)
			l.Commands[name] = nil
			e.Kind = Retired
		case err != nil:
			return Loading{}, err
		case b.Manifest.Summary == "test bad":
			if l.Rejected == nil {
				l.Rejected = map[string]error{}
			}
			l.Rejected[name] = errors.New("it is bad")
			e.Kind, e.Reason = Rejected, "it is bad"
		case old != nil && old.Digest == b.Digest:
			l.Commands[name] = old
			continue
		default:
			e.Kind = Registered
			if old != nil {
				e.Kind = Replaced
			}
			f.inForce[name] = &Command{Manifest: b.Manifest, Digest: b.Digest, Generation: f.generation}
			l.Commands[name] = f.inForce[name]
		}
		l.Events = append(l.Events, e)
	}
	return l, nil
}

func (f *fake) Run(ctx context.Context, c *Command, call Call) (*runner.Report, bool) {
	f.runs.Add(1)
	defer f.runs.Add(-1)
	if f.closed.Load() {
		f.t.Error("Run after Close")
	}
	if f.run != nil {
		return f.run(ctx, c, call)
	}
	return &runner.Report{Outcome: runner.OK, Command: c.Manifest.Name, Version: c.Manifest.Version, Revision: c.Digest}, false
}

func (f *fake) Ended(c *Command, r *runner.Report) Loading {
	defer f.enter("Ended")()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.generation++
	next := *c
	next.Refusal = "quarantined"
	f.inForce[c.Manifest.Name] = &next
	return Loading{Commands: map[string]*Command{c.Manifest.Name: &next}, Events: []Event{{Kind: Quarantined, Name: c.Manifest.Name, Generation: f.generation}}}
}

func (f *fake) Close() error {
	defer f.enter("Close")()
	if n := f.runs.Load(); n != 0 {
		f.t.Errorf("Close with %d runs", n)
	}
	f.closed.Store(true)
	return nil
}

// prepared is a service over fakes, one for each Start.
func prepared(t *testing.T, each ...func(*fake)) *Service {
	t.Helper()
	s, err := New(Options{Open: func(_ context.Context, m *registry.Memory) (Pipeline, error) {
		f := &fake{t: t, memory: m, inForce: map[string]*Command{}}
		for _, e := range each {
			e(f)
		}
		return f, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func started(t *testing.T, each ...func(*fake)) *Service {
	t.Helper()
	s := prepared(t, each...)
	ok(t, s.Start(t.Context()))
	return s
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func isA(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("err %v, want %v", err, want)
	}
}

func manifest(name, version, summary string) []byte {
	return fmt.Appendf(nil, "apiVersion: sbx/v1\nname: %s\nversion: %s\nsummary: 'test %s'\nexec: {path: /usr/bin/true, args: passthrough}\n", name, version, summary)
}

// kinds takes the events that are there and says them in short.
func kinds(t *testing.T, sub *Subscription) string {
	t.Helper()
	sub.Close()
	var out []string
	for {
		e, ok := sub.Next(t.Context())
		if !ok {
			return strings.Join(out, " ")
		}
		word := string(e.Kind) + ":" + e.Name
		if e.Lost > 0 {
			word += fmt.Sprintf("(%d lost)", e.Lost)
		}
		out = append(out, word)
	}
}
