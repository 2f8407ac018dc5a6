package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/runner"
)

// sandboxed is a running service with real sandboxes and its state directory.
func sandboxed(t *testing.T) (*Service, string) {
	t.Helper()
	testenv.UserNamespaces(t)
	dir := stateDir(t)
	s := embed(t, dir)
	ok(t, s.Start(t.Context()))
	return s, dir
}

// stateDir is a directory whose whole path is believed.
func stateDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	ok(t, os.Chmod(dir, 0o700))
	return dir
}

func embed(t *testing.T, dir string) *Service {
	t.Helper()
	s, err := New(Options{Open: Embed(EmbedOptions{Name: "test", State: dir})})
	ok(t, err)
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func shell(name, version string, more string) []byte {
	return fmt.Appendf(nil, "apiVersion: sbx/v1\nname: %s\nversion: %s\nexec: {path: /bin/sh, args: passthrough, argv: [-c]}\npolicy: {filesystem: {exec: [view]}}\n%s", name, version, more)
}

// TestEmbed: what is registered runs in a sandbox, with the streams that the
// caller gives, and its state outlives the service.
func TestEmbed(t *testing.T) {
	testenv.NoLeaks(t)
	s, dir := sandboxed(t)
	ctx := t.Context()
	ok(t, s.Register(ctx, shell("sh", "1.0.0", "")))
	var out, errOut bytes.Buffer
	r, err := s.Do(ctx, Call{Name: "sh", Args: []string{"cat; echo to-err >&2; echo $$; exit 3"}, Stdio: Stdio{In: strings.NewReader("hello\n"), Out: &out, Err: &errOut}})
	ok(t, err)
	if r.ExitCode != 3 || r.Outcome != runner.Exit || out.String() != "hello\n2\n" || errOut.String() != "to-err\n" || !r.Counted {
		t.Errorf("%+v, out %q, err %q", r, out.String(), errOut.String())
	}
	var both bytes.Buffer
	_, err = s.Run(ctx, "sh", []string{"echo a; echo b >&2; echo c"}, Stdio{Out: &both, Err: &both})
	ok(t, err)
	if both.String() != "a\nb\nc\n" {
		t.Errorf("one writer for both: %q", both.String())
	}
	// Nothing is given: nothing is read, what is written is dropped.
	r, err = s.Run(ctx, "sh", []string{"cat; echo x; echo y >&2"}, Stdio{})
	ok(t, err)
	if r.Outcome != runner.OK {
		t.Errorf("without streams: %+v", r)
	}

	// Another process finds the state held; after Stop the same generations
	// go on.
	c, err := s.Get("sh")
	ok(t, err)
	other := embed(t, dir)
	if err := other.Start(ctx); err == nil {
		t.Error("two at once have the same state")
	}
	ok(t, s.Stop(ctx))
	ok(t, other.Register(ctx, shell("sh", "1.0.0", "")))
	ok(t, other.Start(ctx))
	again, err := other.Get("sh")
	ok(t, err)
	if again.Generation != c.Generation || again.Digest != c.Digest {
		t.Errorf("generation %d %s, before %d %s", again.Generation, again.Digest, c.Generation, c.Digest)
	}
}

// TestEmbedReverts: a violation in probation puts the last good revision back
// before the caller has the report.
func TestEmbedReverts(t *testing.T) {
	testenv.NoLeaks(t)
	s, _ := sandboxed(t)
	ctx := t.Context()
	sub := s.Subscribe(0)
	ok(t, s.Register(ctx, shell("sh", "1.0.0", "")))
	_, err := s.Run(ctx, "sh", []string{"true"}, Stdio{})
	ok(t, err)
	ok(t, s.Register(ctx, shell("sh", "1.1.0", "")))
	r, err := s.Run(ctx, "sh", []string{"unshare -n true"}, Stdio{})
	ok(t, err)
	if r.Outcome != runner.Violation || r.ExitCode != runner.StatusViolation || r.RevertedTo != "1.0.0" {
		t.Errorf("%+v", r)
	}
	if c, err := s.Get("sh"); err != nil || c.Manifest.Version != "1.0.0" {
		t.Errorf("in force: %+v, %v", c, err)
	}
	var rejected *RejectedError
	if err := s.Register(ctx, shell("sh", "1.2.0", "requires: {commands: [none]}\n")); !errors.As(err, &rejected) {
		t.Errorf("a bundle whose needs are not met: %v", err)
	}
	if got, want := kinds(t, sub), "registered:sh replaced:sh reverted:sh rejected:sh"; got != want {
		t.Errorf("events %q, want %q", got, want)
	}
}

// TestEmbedChecks: checks are run in the sandbox before a bundle comes in
// force.
func TestEmbedChecks(t *testing.T) {
	s, _ := sandboxed(t)
	ctx := t.Context()
	ok(t, s.Register(ctx, shell("good", "1.0.0", "checks: [{argv: [\"exit 4\"], expect: {exit: 4}}, {argv: [\"unshare -n true\"], expect: {violation: unshare}}]\n")))
	err := s.Register(ctx, shell("bad", "1.0.0", "checks: [{argv: [\"echo so it is >&2; exit 5\"], expect: {exit: 4}}]\n"))
	if err == nil || !strings.Contains(err.Error(), "exit 5") || !strings.Contains(err.Error(), "so it is") {
		t.Errorf("a check that does not end as expected: %v", err)
	}
	if _, err := s.Get("good"); err != nil {
		t.Error(err)
	}
}

// TestEmbedCanceled: the end of the context kills the whole run.
func TestEmbedCanceled(t *testing.T) {
	testenv.NoLeaks(t)
	s, _ := sandboxed(t)
	ok(t, s.Register(t.Context(), shell("sh", "1.0.0", "")))
	ctx, cancel := context.WithCancel(t.Context())
	begun := writer(func([]byte) { cancel() })
	start := time.Now()
	r, err := s.Run(ctx, "sh", []string{"trap '' TERM; echo here; sleep 50 & sleep 60"}, Stdio{Out: begun})
	ok(t, err)
	if r.Outcome != runner.Canceled || r.ExitCode == 0 || time.Since(start) > 30*time.Second {
		t.Errorf("%+v after %v", r, time.Since(start))
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

// TestEmbedAtOnce: many runs at once while the command changes; each is of one
// revision, none fails.
func TestEmbedAtOnce(t *testing.T) {
	testenv.NoLeaks(t)
	s, _ := sandboxed(t)
	ctx := t.Context()
	ok(t, s.Register(ctx, shell("sh", "1.0.0", "")))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				var out bytes.Buffer
				r, err := s.Run(ctx, "sh", []string{"echo $0"}, Stdio{Out: &out})
				if err != nil || r.Outcome != runner.OK || out.Len() == 0 {
					t.Errorf("%+v, %v, %q", r, err, out.String())
				}
			}
		})
	}
	for i := range 5 {
		ok(t, s.Register(ctx, shell("sh", fmt.Sprintf("1.0.%d", i+1), "")))
	}
	wg.Wait()
}

// TestEmbedArguments: declared parameters are held, and help is printed.
func TestEmbedArguments(t *testing.T) {
	s, _ := sandboxed(t)
	ctx := t.Context()
	var tools struct {
		Greet struct {
			Program `path:"/bin/echo" version:"1.0.0" argv:"hello {{who}}" summary:"Greet somebody"`
			Who     string `position:"1" required:"true" max:"10" help:"whom"`
		}
	}
	manifests, err := Discover(tools)
	ok(t, err)
	ok(t, s.RegisterAll(ctx, manifests))
	run := func(args ...string) (*runner.Report, string) {
		t.Helper()
		var out bytes.Buffer
		r, err := s.Run(ctx, "greet", args, Stdio{Out: &out})
		ok(t, err)
		return r, out.String()
	}
	if r, out := run("world"); r.Outcome != runner.OK || out != "hello world\n" {
		t.Errorf("%+v %q", r, out)
	}
	for _, bad := range [][]string{{}, {"much too long"}, {"a", "b"}, {"--x=y"}} {
		if r, out := run(bad...); r.ExitCode != runner.StatusSetup || r.Err == nil || !strings.HasPrefix(r.Hint, "usage: ") || out != "" {
			t.Errorf("%q: %+v %q", bad, r, out)
		}
	}
	if r, out := run("--help"); r.ExitCode != 0 || !strings.Contains(out, "Greet somebody") {
		t.Errorf("help: %+v %q", r, out)
	}
}

// TestEmbedName: a state without a name is refused.
func TestEmbedName(t *testing.T) {
	for _, name := range []string{"", "a/b", "..", "A"} {
		s, err := New(Options{Open: Embed(EmbedOptions{Name: name, State: t.TempDir()})})
		ok(t, err)
		if err := s.Start(t.Context()); err == nil {
			t.Errorf("%q is accepted", name)
		}
	}
}

// TestEmbedKeepsTheBundle: what is stored of a bundle is there until its last
// run ends, however many revisions are registered meanwhile.
func TestEmbedKeepsTheBundle(t *testing.T) {
	testenv.NoLeaks(t)
	s, dir := sandboxed(t)
	ctx := t.Context()
	ok(t, s.Register(ctx, shell("sh", "1.0.0", "")))
	c, err := s.Get("sh")
	ok(t, err)
	stored := dir + "/embedded-test/bundles/" + strings.TrimPrefix(c.Digest, "sha256:")
	if _, err := os.Stat(stored); err != nil {
		t.Fatal(err)
	}
	in, line := io.Pipe()
	begun, end := make(chan struct{}), make(chan error, 1)
	go func() {
		r, err := s.Run(ctx, "sh", []string{"echo ready; read x"}, Stdio{In: in, Out: writer(func([]byte) { close(begun) })})
		if err == nil && r.ExitCode != 0 {
			err = fmt.Errorf("%+v", r)
		}
		end <- err
	}()
	select {
	case <-begun:
	case err := <-end:
		t.Fatalf("the run has ended: %v", err)
	}
	// More than there are generations in the chain, twice over.
	for n := range 40 {
		ok(t, s.Register(ctx, shell("sh", fmt.Sprintf("1.%d.0", n+1), "")))
	}
	if _, err := os.Stat(stored); err != nil {
		t.Errorf("while a run of it goes on: %v", err)
	}
	fmt.Fprintln(line)
	line.Close()
	ok(t, <-end)
	for n := range 8 {
		ok(t, s.Register(ctx, shell("sh", fmt.Sprintf("2.%d.0", n), "")))
	}
	if _, err := os.Stat(stored); !os.IsNotExist(err) {
		t.Errorf("it is kept after its last run has ended: %v", err)
	}
}
