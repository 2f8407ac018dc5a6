package audit

import (
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// full lets files of this process grow by so many bytes beyond size, until the
// returned function is called: a disk without room.
func full(t *testing.T, size int64) (room func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	t.Cleanup(func() { signal.Reset(syscall.SIGXFSZ) })
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	room = func() {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(room)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(size), Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	return room
}

// TestFull: a disk that takes half a line, or nothing, is noticed and told once;
// a half is taken back, and when there is room the log goes on and says how many
// lines it missed.
func TestFull(t *testing.T) {
	for name, takes := range map[string]int64{"half a line": 50, "nothing": 0} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var told []error
			l := open(t, dir, Options{Writable: func(err error) { told = append(told, err) }})
			size := l.size
			room := full(t, size+takes)
			for range 3 {
				if _, err := l.Append(Record{Event: Start, Run: "r"}); err == nil {
					t.Fatal("half a line counted as written")
				}
			}
			if err := l.Err(); err == nil || l.Lasting() || len(told) != 1 || told[0] == nil {
				t.Errorf("while it is full: %v, lasting %v, told %v", err, l.Lasting(), told)
			}
			room()
			if st, _ := os.Stat(dir + "/" + Current); st.Size() != size {
				t.Errorf("%d bytes, want %d: the half line was left", st.Size(), size)
			}
			add(t, l, Record{Event: Start, Run: "r"})
			if l.Err() != nil || len(told) != 2 || told[1] != nil {
				t.Errorf("with room: %v, told %v", l.Err(), told)
			}
			l.Close()
			verified(t, dir)
			text, err := os.ReadFile(dir + "/" + Current)
			if err != nil || strings.Count(string(text), `"event":"missed"`) != 1 || !strings.Contains(string(text), `"lines":3`) || len(told) != 2 {
				t.Errorf("%v, told %v\n%s", err, told, text)
			}
		})
	}
}

// TestFullByItself: without another line too the log notices that there is room.
func TestFullByItself(t *testing.T) {
	dir := t.TempDir()
	told := make(chan error, 10)
	l := open(t, dir, Options{Writable: func(err error) { told <- err }})
	room := full(t, l.size)
	if _, err := l.Append(Record{Event: Start, Run: "r"}); err == nil || <-told == nil {
		t.Fatalf("a line was written: %v", err)
	}
	room()
	select {
	case err := <-told:
		if err != nil || l.Err() != nil {
			t.Errorf("told %v, %v", err, l.Err())
		}
	case <-time.After(20 * SyncInterval):
		t.Error("not noticed")
	}
	l.Close()
	verified(t, dir)
}

// TestFullRotation: where no new file can be begun the full one goes on.
func TestFullRotation(t *testing.T) {
	dir := t.TempDir()
	var warned []string
	l := open(t, dir, Options{MaxSize: 1 << 10, Warn: func(msg string) { warned = append(warned, msg) }})
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	var err error
	for range 20 {
		if _, e := l.Append(Record{Event: Start, Run: "r"}); e != nil {
			err = e
		}
	}
	if restore := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); restore != nil {
		t.Fatal(restore)
	}
	files, _ := filepath.Glob(dir + "/" + Current + "*")
	if err != nil || l.Err() != nil || l.size < 2<<10 || len(warned) != 1 || !strings.Contains(warned[0], "goes on") {
		t.Errorf("%v, %v, %d bytes in %q, warned %q", err, l.Err(), l.size, files, warned)
	}
	add(t, l, Record{Event: Start, Run: "r"})
	if full, _ := l.fullFiles(); len(full) != 1 || l.size > 1<<10 {
		t.Errorf("with room %v, %d bytes", full, l.size)
	}
	l.Close()
	verified(t, dir)
}
