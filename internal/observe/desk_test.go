package observe

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/admin"
	"github.com/sbx-project/sbx/internal/audit"
	"github.com/sbx-project/sbx/internal/daemon"
	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/registry/life"
	"github.com/sbx-project/sbx/runner"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

type server struct {
	desk   *Desk
	reload daemon.Reload
	hold   chan struct{}
	runs   []daemon.RunInfo
}

func (s *server) Runs() []daemon.RunInfo { return s.runs }
func (s *server) Kill(run string) bool   { return len(s.runs) > 0 && run == s.runs[0].Run }
func (s *server) Draining() bool         { return false }
func (s *server) Reload() daemon.Reload {
	if s.hold != nil {
		<-s.hold
	}
	s.desk.Reloaded(s.reload)
	return s.reload
}

type registry struct{ generation uint64 }

func (r registry) Generation() uint64        { return r.generation }
func (r registry) Commands() []admin.Command { return nil }
func (r registry) Generations() ([]admin.Generation, error) {
	return []admin.Generation{{Generation: 7}}, nil
}
func (r registry) Operate(by string, act admin.Act, expected *uint64) (admin.Operated, error) {
	if act.To == "0.0.0" {
		return admin.Operated{}, &admin.ActError{Status: 409, Err: errors.New("no such revision")}
	}
	return admin.Operated{Generation: r.generation + 1, Moved: []admin.Moved{{Command: act.Command, To: act.To, Reason: by + ": " + act.Reason}}}, nil
}

func newDesk(t *testing.T) (*Desk, *server, *audit.Log, string) {
	t.Helper()
	dir := t.TempDir()
	log, err := audit.Open(dir, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	d := New(Options{Audit: log, Events: admin.NewHub(), Registry: registry{7}})
	s := &server{desk: d}
	return d, s, log, dir
}

// written is the audit log's text; events are what readers were told.
func written(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(dir + "/" + audit.Current)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func events(d *Desk) (kinds []admin.Kind) {
	r := d.opt.Events.Reader("0")
	for e, ok := r.Next(context.Background(), false); ok; e, ok = r.Next(context.Background(), false) {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

var info = daemon.RunInfo{Run: "run-1", Command: "db.backup", Version: "2.4.1", Revision: "sha256:00", Generation: 7, Caller: daemon.Caller{UID: 1000, GID: 1000, PID: 42}, Args: 3, Start: time.Now()}

func TestRun(t *testing.T) {
	d, s, log, dir := newDesk(t)
	if st := d.Status(); st.Ready || st.Commands == nil || st.Registries == nil {
		t.Errorf("before the daemon is there: %+v", st)
	}
	d.Attach(s)
	if err := d.RunStarted(info); err != nil {
		t.Fatal(err)
	}
	if text := written(t, dir); !strings.Contains(text, `"event":"start","run":"run-1","command":"db.backup"`) || !strings.Contains(text, `"caller":{"uid":1000,"gid":1000,"pid":42},"args":3`) {
		t.Errorf("not recorded before it starts: %s", text)
	}
	d.RunEnded(info, &runner.Report{
		ExitCode: 159, Outcome: runner.Violation, Run: "run-1", RevertedTo: "2.4.0", Layers: []runner.Layer{{Name: "landlock", State: runner.Degraded}, {Name: "seccomp", State: runner.Applied}},
		Violations: []runner.Call{{Kind: "syscall", Syscall: "ptrace", NR: 101, Args: [6]uint64{0xdead}, Path: "/x"}},
	})
	d.Refused(daemon.Refusal{Caller: info.Caller, Command: "jq", Status: 126, Reason: "not in allow", Time: time.Now()})
	text := written(t, dir)
	for _, want := range []string{
		`"outcome":"violation","exit-code":159`, `"violations":[{"kind":"syscall","syscall":"ptrace","nr":101`, `"degraded":["landlock"]`, `"event":"refusal","command":"jq"`, `"reason":"not in allow"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if strings.Contains(text, "57005") { // 0xdead
		t.Error("an argument of a call is in the log")
	}
	// The revert is told by Changed, and by nobody else.
	if strings.Contains(text, "revert") {
		t.Errorf("the run tells of a revert: %s", text)
	}
	want := []admin.Kind{admin.RunStarted, admin.RunEnded, admin.RunRefused}
	if got := events(d); !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	// A run that cannot be recorded does not start, and nobody is told that
	// it did.
	log.Close()
	if err := d.RunStarted(info); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("without an audit log: %v", err)
	}
	if len(events(d)) != 3 || d.Status().Audit.Error == "" {
		t.Errorf("%v, %+v", events(d), d.Status().Audit)
	}
	if res, err := audit.VerifyDir(dir, nil); err != nil || res.Broken != nil || res.Open != 0 {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestReload(t *testing.T) {
	d, s, _, dir := newDesk(t)
	if _, err := d.Reload(t.Context(), admin.Actor{}, nil); !errors.Is(err, errStarting) {
		t.Errorf("too early: %v", err)
	}
	d.Attach(s)
	s.reload = daemon.Reload{Generation: 8, Changed: []string{"b", "a"}, Time: time.Now()}
	res, err := d.Reload(t.Context(), admin.Actor{Peer: &admin.Peer{UID: 1000, GID: 1000, PID: 42}}, nil)
	if err != nil || !res.Loaded || res.LastSuccess == nil || res.Changed[0] != "a" || res.Rejected == nil {
		t.Errorf("%+v, %v", res, err)
	}
	s.reload = daemon.Reload{Generation: 8, Rejected: map[string]string{"jq": "no such syscall"}, Time: time.Now()}
	if res, err = d.Reload(t.Context(), admin.Actor{Address: "127.0.0.1:9"}, nil); err != nil || res.Loaded || res.LastSuccess == nil || res.Rejected[0].Reason != "no such syscall" || res.Changed == nil {
		t.Errorf("%+v, %v", res, err)
	}
	d.Changed(Change{Kind: admin.Registered, Command: "new", Generation: 9})
	if last := d.Status().Reload; !last.Loaded || last.Changed[0] != "new" {
		t.Errorf("a new bundle: %+v", last)
	}
	d.Changed(Change{Kind: admin.NotTaken, Command: "old", Generation: 9, Verdict: 412, Reason: "signature"})
	if last := d.Status().Reload; last.Loaded || last.Rejected[0].Verdict != 412 || last.LastSuccess == nil {
		t.Errorf("a bad bundle: %+v", last)
	}
	d.Changed(Change{Kind: admin.Reverted, Command: "old", Run: "run-1", Version: "2.0.0", Revision: "sha256:02", Generation: 10, InForce: "1.0.0", To: "sha256:01", Reason: "violation"})
	d.Changed(Change{Kind: admin.Reverted, Command: "new", Version: "2.0.0", Revision: "sha256:02", Generation: 11, InForce: "1.0.0", To: "sha256:01", Operator: true, Reason: "by hand"})
	d.Changed(Change{Kind: admin.Damaged, Generation: 11, Reason: "generation 7 is damaged"})
	d.Changed(Change{Kind: admin.Distrusted, Command: "old", Version: "1.0.0", Revision: "sha256:01", Generation: 11, Verdict: 412, Reason: "signed by nobody"})
	if last := d.Status().Reload; last.Loaded || len(last.Rejected) != 1 || last.Rejected[0].Verdict != 412 {
		t.Errorf("the status after what is in force was distrusted: %+v", last)
	}
	verdicts := 0
	r := d.opt.Events.Reader("0")
	for e, ok := r.Next(t.Context(), false); ok; e, ok = r.Next(t.Context(), false) {
		if e.Kind == admin.Distrusted && e.Verdict == 412 && e.Revision == "sha256:01" {
			verdicts++
		}
	}
	if verdicts != 1 {
		t.Errorf("%d events with the verdict", verdicts)
	}
	six := uint64(6)
	if _, err := d.Reload(t.Context(), admin.Actor{}, &six); !errors.Is(err, admin.ErrGeneration) {
		t.Errorf("another generation: %v", err)
	}
	text := written(t, dir)
	for _, want := range []string{`"event":"operator","caller":{"uid":1000`, `"why":"by token from 127.0.0.1:9"`, `"event":"reload","generation":8,"verdict":200`, `"outcome":"rejected"`, `"event":"change","command":"old","generation":9`, `"verdict":412`,
		`"event":"revert","run":"run-1","command":"old","version":"2.0.0","revision":"sha256:02","generation":10,"outcome":"reverted","reverted-to":"sha256:01","reason":"violation"`,
		`"event":"change","command":"new","version":"2.0.0","revision":"sha256:02","generation":11,"outcome":"reverted","reverted-to":"sha256:01","reason":"by hand"`,
		`"event":"change","command":"old","version":"1.0.0","revision":"sha256:01","generation":11,"outcome":"distrusted","verdict":412,"reason":"signed by nobody"`,
		`"event":"change","generation":11,"outcome":"damaged","reason":"generation 7 is damaged"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	// Who does not wait to the end does not stop it.
	s.hold = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Reload(ctx, admin.Actor{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := d.Reload(t.Context(), admin.Actor{}, nil); err != nil {
			t.Error(err)
		}
	})
	s.hold <- struct{}{}
	s.hold <- struct{}{}
	wg.Wait()
}

// TestFullDisk: while the audit log cannot be written a run is refused, and
// status and events say why; then both say that it is over.
func TestFullDisk(t *testing.T) {
	hub := admin.NewHub()
	log, err := audit.Open(t.TempDir(), audit.Options{Writable: Writable(hub, slog.New(slog.DiscardHandler))})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d := New(Options{Audit: log, Events: hub, Registry: registry{7}, Log: slog.New(slog.DiscardHandler)})
	d.Attach(&server{desk: d})
	if st := d.Status(); !st.Ready || st.Audit.Error != "" {
		t.Fatalf("%+v", st)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	refused := d.RunStarted(info)
	st := d.Status()
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if refused == nil || st.Ready || st.Audit.Error == "" || st.Audit.Lasting {
		t.Errorf("without room: %v, %+v", refused, st)
	}
	if err := d.RunStarted(info); err != nil {
		t.Error(err)
	}
	if st := d.Status(); !st.Ready || st.Audit.Error != "" {
		t.Errorf("with room: %+v", st)
	}
	var reasons []string
	r := hub.Reader("0")
	for e, ok := r.Next(t.Context(), false); ok; e, ok = r.Next(t.Context(), false) {
		if e.Kind == admin.AuditLog {
			reasons = append(reasons, e.Reason)
		}
	}
	if len(reasons) != 2 || !strings.HasPrefix(reasons[0], "no run starts: ") || reasons[1] != "it can be written again" {
		t.Errorf("events %q", reasons)
	}
}

func TestKill(t *testing.T) {
	d, s, _, dir := newDesk(t)
	d.Attach(s)
	s.runs = []daemon.RunInfo{info}
	if err := d.Kill(admin.Actor{}, "run-2"); !errors.Is(err, admin.ErrNoRun) {
		t.Errorf("%v", err)
	}
	if err := d.Kill(admin.Actor{}, "run-1"); err != nil || !strings.Contains(written(t, dir), `"event":"operator","run":"run-1"`) {
		t.Errorf("%v", err)
	}
	if r := d.Runs(); len(r.Runs) != 1 || r.Runs[0].UID != 1000 {
		t.Errorf("%+v", r)
	}
}

// TestOperate: an act is recorded with who, what and why before it is carried
// out, and is not carried out when it cannot be recorded.
func TestOperate(t *testing.T) {
	d, s, log, dir := newDesk(t)
	by := admin.Actor{Peer: &admin.Peer{UID: uint32(os.Geteuid()), GID: 7, PID: 42}}
	act := admin.Act{Verb: admin.Rollback, Command: "db.backup", To: "1.0.0", Reason: "it is slow"}
	if _, err := d.Operate(by, act, nil); !errors.Is(err, errStarting) {
		t.Errorf("too early: %v", err)
	}
	d.Attach(s)
	res, err := d.Operate(by, act, nil)
	if err != nil || res.Generation != 8 || res.Moved[0].Reason != name(by)+": it is slow" || name(by) == "" {
		t.Errorf("%+v, %v", res, err)
	}
	if _, err = d.Operate(admin.Actor{Address: "127.0.0.1:9"}, admin.Act{Verb: admin.Rollback, Command: "x", To: "0.0.0", Reason: "so"}, nil); err == nil {
		t.Error("carried out")
	}
	text := written(t, dir)
	for _, want := range []string{
		`"event":"operator","command":"db.backup","caller":{"uid":` + strconv.Itoa(os.Geteuid()) + `,"gid":7,"pid":42},"reason":"rollback db.backup to 1.0.0","why":"it is slow"`,
		`"event":"operator","command":"x","reason":"rollback x to 0.0.0","why":"by token from 127.0.0.1:9: so"`,
		`"event":"operator","command":"x","outcome":"refused","reason":"rollback x to 0.0.0: no such revision","why":"by token from 127.0.0.1:9: so"`,
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if got := events(d); len(got) != 2 || got[0] != admin.Operator {
		t.Errorf("events %v", got)
	}
	log.Close()
	if _, err := d.Operate(by, act, nil); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("without an audit log: %v", err)
	}
}

func TestCommand(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	rev := func(digest, version string, s life.State) life.Revision {
		return life.Revision{Digest: digest, Version: version, State: s, Since: now, Proved: true, Runs: 3, BudgetCount: 2, BudgetWindow: time.Hour, Reason: "because"}
	}
	violated := rev("d3", "3.0.0", life.Quarantined)
	violated.LastViolation, violated.Violations = "ptrace", 1
	for name, tt := range map[string]struct {
		c    life.Command
		want func(admin.Command) bool
	}{
		"absent": {life.Command{Name: "a"}, func(c admin.Command) bool { return c.State == admin.Absent && c.Candidate == nil }},
		"refused": {life.Command{Name: "a", Refusal: "quarantined", Revisions: []life.Revision{violated}}, func(c admin.Command) bool {
			return c.State == admin.Quarantined && c.Reason == "quarantined" && c.Version == "3.0.0" && c.LastViolation == "ptrace"
		}},
		"in force": {life.Command{Name: "a", InForce: "d2", Floor: "1.0.0", Reverts: []time.Time{now.Add(-2 * time.Hour), now.Add(-time.Minute)}, Revisions: []life.Revision{
			rev("d4", "4.0.0", life.Rejected), violated, rev("d2", "2.0.0", life.Active), rev("d1", "1.0.0", life.Retired),
		}}, func(c admin.Command) bool {
			return c.State == admin.Active && c.Version == "2.0.0" && c.Candidate.Version == "4.0.0" && c.Previous.Version == "1.0.0" && c.RevertsLeft == 1 && c.LastViolation == "ptrace" && c.Floor == "1.0.0"
		}},
	} {
		if got := Command(tt.c, now, nil, "/r"); !tt.want(got) || got.Registry != "/r" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	old, older := rev("d1", "1.0.0", life.Retired), rev("d0", "0.9.0", life.Retired)
	now2 := rev("d2", "2.0.0", life.Active)
	now2.Summary = "Dump one database"
	c := life.Command{Name: "a", InForce: "d2", Revisions: []life.Revision{now2, old, older}}
	if got := Command(c, now, func(r life.Revision) bool { return r.Digest == "d1" }, ""); got.Previous == nil || got.Previous.Version != "0.9.0" || got.Summary != "Dump one database" {
		t.Errorf("with 1.0.0 revoked: %+v, %+v", got, got.Previous)
	}
	for s := life.Candidate; s <= life.Retired; s++ {
		known := false
		for _, e := range admin.State("").Enum() {
			known = known || e == s.String()
		}
		if !known {
			t.Errorf("the API does not know state %s", s)
		}
	}
}
