package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/internal/testenv"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("AUDIT_TEST_WRITER"); dir != "" {
		writer(dir)
	}
	os.Exit(testenv.Main(m))
}

// writer appends for ever from eight goroutines and says so once.
func writer(dir string) {
	l, err := Open(dir, Options{MaxSize: 32 << 10})
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				if _, err := l.Append(Record{Event: Start, Run: "r", Command: "db.backup"}); err != nil {
					os.Exit(1)
				}
				if n == 200 {
					os.Stdout.WriteString("ready\n")
				}
			}
		})
	}
	wg.Wait()
}

func open(t *testing.T, dir string, opt Options) *Log {
	t.Helper()
	l, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func add(t *testing.T, l *Log, r Record) {
	t.Helper()
	if _, err := l.Append(r); err != nil {
		t.Fatal(err)
	}
}

func verified(t *testing.T, dir string) Result {
	t.Helper()
	res, err := VerifyDir(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.Broken != nil {
		t.Fatalf("%s:%d: %s", res.Broken.File, res.Broken.Line, res.Broken.Why)
	}
	return res
}

func TestChain(t *testing.T) {
	dir := t.TempDir() + "/audit"
	l := open(t, dir, Options{Build: "b1"})
	status := 0
	add(t, l, Record{Event: Start, Run: "run-1", Command: "jq", Caller: &Caller{UID: 1000, GID: 1000, PID: 7}})
	add(t, l, Record{Event: Run, Run: "run-1", Command: "jq", Outcome: "ok", ExitCode: &status})
	add(t, l, Record{Event: Start, Run: "run-2"})
	seq, head := l.Head()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("closed twice: %v", err)
	}
	if _, err := l.Append(Record{Event: Run}); !errors.Is(err, ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
	l = open(t, dir, Options{})
	l.Close()
	res := verified(t, dir)
	if res.Lines != 8 || res.First != 1 || res.Last != 8 || !res.Complete || res.Open != 1 || res.Kills != 0 || !res.Anchored {
		t.Errorf("%+v", res)
	}
	for _, tt := range []struct {
		anchor Anchor
		broken bool
		met    bool
	}{{Anchor{seq, head}, false, true}, {Anchor{seq, Hash{1}}, true, false}, {Anchor{99, head}, false, false}} {
		res, err := VerifyDir(dir, []Anchor{tt.anchor})
		if err != nil || (res.Broken != nil) != tt.broken || res.Anchored != tt.met {
			t.Errorf("anchor %d: %+v, %v", tt.anchor.Seq, res, err)
		}
	}
	for name, mode := range map[string]os.FileMode{"": 0o700 | os.ModeDir, Current: 0o600, lockName(Current): 0o600} {
		if st, err := os.Stat(dir + "/" + name); err != nil || st.Mode() != mode {
			t.Errorf("%q: mode %v, %v", name, st.Mode(), err)
		}
	}
}

// TestTampering: each change is found, at the line where it is.
func TestTampering(t *testing.T) {
	dir := t.TempDir() + "/audit"
	l := open(t, dir, Options{})
	for range 5 {
		add(t, l, Record{Event: Refusal, Command: "jq", Reason: "not allowed"})
	}
	l.Close()
	text, err := os.ReadFile(dir + "/" + Current)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != 8 {
		t.Fatalf("%d lines", len(lines))
	}
	lines[7] += "\n"
	change := func(f func(l []string) []string) string { return strings.Join(f(append([]string(nil), lines...)), "") }
	for name, tt := range map[string]struct {
		text string
		line int // 0: whole
		why  string
	}{
		"untouched":     {string(text), 0, ""},
		"changed":       {change(func(l []string) []string { l[3] = strings.Replace(l[3], "jq", "yq", 1); return l }), 4, "changed: its hash is"},
		"removed":       {change(func(l []string) []string { return append(l[:3], l[4:]...) }), 4, "sequence number 5 after 3"},
		"doubled":       {change(func(l []string) []string { l[3] += l[3]; return l }), 5, "sequence number 4 after 4"},
		"swapped":       {change(func(l []string) []string { l[3], l[4] = l[4], l[3]; return l }), 4, "sequence number"},
		"white space":   {change(func(l []string) []string { l[3] = " " + l[3]; return l }), 4, "not a JSON object"},
		"not JSON":      {change(func(l []string) []string { l[3] = "{\n"; return l }), 4, "not a JSON object"},
		"empty line":    {change(func(l []string) []string { l[3] += "\n"; return l }), 5, "not a JSON object"},
		"other version": {change(func(l []string) []string { l[3] = strings.Replace(l[3], `"v":1`, `"v":2`, 1); return l }), 4, "version 2"},
		"second seq":    {change(func(l []string) []string { l[3] = strings.Replace(l[3], `"v":1,`, `"v":1,"seq":9,`, 1); return l }), 4, "order"},
		"no hash":       {change(func(l []string) []string { l[3] = strings.Replace(l[3], `"prev":"`, `"prev":"zz`, 1); return l }), 4, "prev"},
		"cut in front":  {change(func(l []string) []string { return l[2:] }), 0, ""},
		"begins anew":   {change(func(l []string) []string { return append(l, l[0]) }), 9, "sequence number 1 after 8"},
		"long line":     {change(func(l []string) []string { l[3] = strings.Repeat("x", MaxLine+1) + "\n"; return l }), 4, "longer than"},
		"torn, undeclared": {change(func(l []string) []string {
			l[3] = `{"v":1,"seq":4,"ti` + "\n"
			return l
		}), 4, "not a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			res, err := Verify([]Input{{"x", strings.NewReader(tt.text)}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case tt.line == 0 && res.Broken != nil:
				t.Errorf("broken at %d: %s", res.Broken.Line, res.Broken.Why)
			case tt.line > 0 && res.Broken == nil:
				t.Errorf("whole, want line %d broken", tt.line)
			case tt.line > 0 && (res.Broken.Line != tt.line || !strings.Contains(res.Broken.Why, tt.why)):
				t.Errorf("line %d: %s; want line %d: %s", res.Broken.Line, res.Broken.Why, tt.line, tt.why)
			}
			if name == "cut in front" && (res.Complete || res.First != 3) {
				t.Errorf("%+v: complete, although its beginning is missing", res)
			}
		})
	}
}

// TestTorn: what a crash left is set off, declared and said; the chain goes on.
func TestTorn(t *testing.T) {
	for name, torn := range map[string]string{
		"half a line": `{"v":1,"seq":4,"time":"20`,
		"zeros":       "\x00\x00\x00\x00",
		"ended":       "{half}\n",
		"two":         "{half}\nhalf",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir() + "/audit"
			l := open(t, dir, Options{})
			add(t, l, Record{Event: Start, Run: "r"})
			l.Close()
			path := dir + "/" + Current
			text, _ := os.ReadFile(path)
			if err := os.WriteFile(path, append(text, torn...), 0o600); err != nil {
				t.Fatal(err)
			}
			if res, err := VerifyDir(dir, nil); err != nil || res.Broken != nil || res.Tail == 0 {
				t.Errorf("before it is opened again: %+v, %v", res, err)
			}
			var said string
			l = open(t, dir, Options{Warn: func(msg string) { said += msg }})
			if !strings.Contains(said, "died in the middle of a line") {
				t.Errorf("said %q", said)
			}
			l.Close()
			res := verified(t, dir)
			if len(res.Torn) != 1 || res.Tail != 0 {
				t.Errorf("%+v", res)
			}
			// The declaration holds for these bytes only.
			text, _ = os.ReadFile(path)
			i := bytes.Index(text, []byte(`"event":"torn"`))
			at := bytes.LastIndexByte(text[:i], '\n') - 1
			text[at] ^= 1
			if res, _ := Verify([]Input{{"x", bytes.NewReader(text)}}, nil); res.Broken == nil {
				t.Error("other torn bytes were accepted")
			}
		})
	}
	t.Run("only the line's end is missing", func(t *testing.T) {
		dir := t.TempDir()
		open(t, dir, Options{}).Close()
		path := dir + "/" + Current
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, st.Size()-1); err != nil {
			t.Fatal(err)
		}
		open(t, dir, Options{}).Close()
		if res := verified(t, dir); res.Lines != 5 || len(res.Torn) != 0 {
			t.Errorf("%+v", res)
		}
	})
	t.Run("genesis", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/"+Current, []byte(`{"v":1,`), 0o600); err != nil {
			t.Fatal(err)
		}
		open(t, dir, Options{}).Close()
		if res := verified(t, dir); !res.Complete || len(res.Torn) != 1 {
			t.Errorf("%+v", res)
		}
	})
	t.Run("no chain", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/"+Current, bytes.Repeat([]byte("other\n"), MaxLine/4), 0o600); err != nil {
			t.Fatal(err)
		}
		if l, err := Open(dir, Options{}); err == nil {
			l.Close()
			t.Error("a file that is no log was continued")
		}
	})
}

func TestRotation(t *testing.T) {
	dir := t.TempDir() + "/audit"
	l := open(t, dir, Options{MaxSize: 4 << 10})
	for range 100 {
		add(t, l, Record{Event: Refusal, Command: "jq", Reason: strings.Repeat("x", 100)})
	}
	l.Close()
	// A crash between rename and create: no current file.
	full, _ := filepath.Glob(dir + "/" + Current + ".*")
	if len(full) < 5 {
		t.Fatalf("%d full files", len(full))
	}
	for _, f := range full {
		if st, _ := os.Stat(f); st.Size() > 4<<10 {
			t.Errorf("%s has %d bytes", f, st.Size())
		}
	}
	res := verified(t, dir)
	if res.Lines != 103 || len(res.Files) != len(full)+1 {
		t.Errorf("%+v", res)
	}
	if err := os.Rename(dir+"/"+Current, dir+"/"+fullName(Current, firstLine(t, dir+"/"+Current))); err != nil {
		t.Fatal(err)
	}
	open(t, dir, Options{}).Close()
	if res := verified(t, dir); res.Lines != 105 || !res.Complete {
		t.Errorf("after a crash in the middle of a rotation: %+v", res)
	}

	// The chain goes on across the files: one that is missing shows.
	if err := os.Remove(full[2]); err != nil {
		t.Fatal(err)
	}
	if res, _ := VerifyDir(dir, nil); res.Broken == nil || !strings.Contains(res.Broken.Why, "sequence number") || res.Broken.File != full[3] {
		t.Errorf("a file was removed: %+v", res)
	}

	dir = t.TempDir()
	l = open(t, dir, Options{MaxSize: 4 << 10, Name: "other.log"})
	for range 30 {
		add(t, l, Record{Event: Refusal, Reason: strings.Repeat("x", 100)})
	}
	l.Close()
	others, _ := filepath.Glob(dir + "/other.log*")
	if res, err := VerifyFiles(others, nil); err != nil || res.Broken != nil || res.Lines != 33 || len(others) < 2 {
		t.Errorf("under another name: %+v, %v", res, err)
	}

	dir = t.TempDir()
	l = open(t, dir, Options{MaxSize: 4 << 10, Keep: 2})
	for range 100 {
		add(t, l, Record{Event: Refusal, Reason: strings.Repeat("x", 100)})
	}
	l.Close()
	if res := verified(t, dir); len(res.Files) != 3 || res.Complete || res.Last != 103 {
		t.Errorf("with two kept: %+v", res)
	}
}

func firstLine(t *testing.T, path string) uint64 {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return firstOf(f)
}

func TestOneWriter(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrHeld) {
		t.Errorf("second writer: %v", err)
	}
	l.Close()
	open(t, dir, Options{})
}

// TestKilled: a writer that is killed in the middle of it all loses no line
// that it had acknowledged, and the chain holds.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "AUDIT_TEST_WRITER="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
			t.Errorf("writer said %q, %v", line, err)
		}
		cmd.Process.Kill()
		cmd.Wait()
	}
	if res := verified(t, dir); res.Kills != 2 || res.Lines < 600 || res.Open != 1 {
		t.Errorf("%+v", res)
	}
}

func TestStranger(t *testing.T) {
	for name, prepare := range map[string]func(dir string) error{
		"writable directory": func(dir string) error { return os.Chmod(dir, 0o777) },
		"writable file": func(dir string) error {
			return errors.Join(os.WriteFile(dir+"/"+Current, nil, 0o600), os.Chmod(dir+"/"+Current, 0o622))
		},
		"link": func(dir string) error { return os.Symlink("/dev/null", dir+"/"+Current) },
		"hard link": func(dir string) error {
			return errors.Join(os.WriteFile(dir+"/x", nil, 0o600), os.Link(dir+"/x", dir+"/"+Current))
		},
		"fifo": func(dir string) error { return unix.Mkfifo(dir+"/"+Current, 0o600) },
	} {
		dir := t.TempDir()
		if err := prepare(dir); err != nil {
			t.Fatal(err)
		}
		l, err := Open(dir, Options{})
		if err == nil {
			l.Close()
			t.Errorf("%s: opened", name)
		}
		var owner *safefs.OwnerError
		if strings.HasPrefix(name, "writable") && !errors.As(err, &owner) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestText: hostile text neither breaks a line nor reaches a terminal, and
// nothing is too long to be written.
func TestText(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	hostile := "\x1b[2J\n\u009b31m\u202e\"\\\x7f\xff\U000e0001<&"
	add(t, l, Record{Event: Refusal, Command: hostile, Degraded: []string{hostile}})
	long := strings.Repeat("\x01", 1<<20)
	many := make([]string, 1000)
	calls := make([]Violation, 1000)
	for i := range many {
		many[i], calls[i] = long, Violation{Path: long, Address: long, Rule: long, Comm: long}
	}
	add(t, l, Record{Event: Refusal, Command: long, Degraded: many, Violations: calls})
	l.Close()
	verified(t, dir)
	text, _ := os.ReadFile(dir + "/" + Current)
	for i, line := range bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
		if bytes.ContainsFunc(line, func(r rune) bool { return r < 0x20 || unprintable(r) }) {
			t.Errorf("line %d has characters that do not print", i+1)
		}
		var r Record
		if err := json.Unmarshal(line, &r); err != nil {
			t.Errorf("line %d: %v", i+1, err)
		}
		if want := strings.ToValidUTF8(hostile, "\uFFFD"); i == 2 && r.Command != want {
			t.Errorf("read back %q, want %q", r.Command, want)
		}
		if i == 3 && !r.Truncated {
			t.Error("a record that was cut does not say so")
		}
	}
}

func TestSyncInterval(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	add(t, l, Record{Event: Start})
	synced := func() bool { l.syncMu.Lock(); defer l.syncMu.Unlock(); return l.synced == 3 }
	if synced() {
		t.Skip("the second was over before it could be looked at")
	}
	for deadline := time.Now().Add(20 * time.Second); !synced(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a line is not on the disk after 20 s")
		}
	}
	add(t, l, Record{Event: Operator})
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	if l.synced != 4 {
		t.Error("an operator's act was not put on the disk at once")
	}
}
