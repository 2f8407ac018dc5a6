package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/safefs"
)

// Names in the directory of a chain. A full file is called like the current one
// and the sequence number of its first line, in 20 digits, so that names sort.
const (
	Current = "audit.jsonl"
)

// lockName is the lock of a chain.
func lockName(current string) string { return "." + current + ".lock" }

// fullName is the name of a full file that begins with line first.
func fullName(current string, first uint64) string { return fmt.Sprintf("%s.%020d", current, first) }

// fullNumber is the number in the name of a full file.
func fullNumber(current, name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, current+".")
	if !ok || len(digits) != 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil
}

// Open takes over the chain in dir, an absolute path whose last component is
// made when it is missing. It writes Opened, after Genesis in a new chain and
// after Torn when the last writer died in the middle of a line. Errors:
// ErrHeld, *safefs.OwnerError, a last line that is whole but no line of a
// chain, and those of the file system.
//
// Trust boundary. Who controls the input: root and the effective user, and
// whatever a crash left. What privilege is held: the daemon's. What has been
// checked: nothing; owners are checked here, and the end of the newest file.
// What fails closed: without a log that can be continued, no Log, and without
// one no run.
func Open(dir string, opt Options) (*Log, error) {
	if opt.MaxSize <= 0 {
		opt.MaxSize = DefaultMaxSize
	}
	if opt.Name == "" {
		opt.Name = Current
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	d, err := safefs.OpenTrusted(dir)
	if err != nil {
		return nil, err
	}
	l := &Log{opt: opt, dir: d, dirty: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	if err := l.takeOver(); err != nil {
		if l.file != nil {
			l.file.Close()
		}
		if l.lock != nil {
			l.lock.Close()
		}
		d.Close()
		return nil, err
	}
	go l.syncer()
	return l, nil
}

// lockWait is how long a writer waits for one that was killed: a child of it
// that has not begun to die holds a copy of the lock.
const lockWait = 2 * time.Second

// takeOver locks, finds the newest line and writes the lines of a start.
func (l *Log) takeOver() error {
	lock, err := l.openat(lockName(l.opt.Name), unix.O_RDWR|unix.O_CREAT)
	if err != nil {
		return err
	}
	l.lock = lock
	if err := safefs.Lock(int(lock.Fd()), lockWait); err != nil {
		if err == unix.EWOULDBLOCK {
			return fmt.Errorf("%s: %w", lock.Name(), ErrHeld)
		}
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	l.file, err = l.openat(l.opt.Name, unix.O_RDWR|unix.O_CREAT|unix.O_APPEND)
	if err != nil {
		return err
	}
	if err := l.dir.Sync(); err != nil {
		return fmt.Errorf("fsync %s: %w", l.dir.Name(), err)
	}
	tail, err := readTail(l.file)
	if err != nil {
		return err
	}
	l.size = tail.size
	if tail.last == nil && tail.clean() {
		// Empty: new, or a rotation that was cut off after its rename.
		return l.begin()
	}
	if tail.last == nil && tail.size < MaxLine {
		// Nothing but a torn first line.
		if err := l.continueFull(); err != nil {
			return err
		}
	} else if tail.last == nil {
		return fmt.Errorf("%s: no line of a chain among the last %d bytes; `sbx audit verify` says more", l.file.Name(), MaxLine)
	} else {
		h, _ := parseLine(tail.last)
		l.seq, l.head, l.first = h.seq, hashOf(tail.last), firstOf(l.file)
	}
	if h, err := parseLine(tail.torn); err == nil && h.seq == l.seq+1 && h.prev == l.head {
		// Whole but for its end.
		if err := l.writeAll([]byte("\n")); err != nil {
			return fmt.Errorf("write %s: %w", l.file.Name(), err)
		}
		l.seq, l.head, tail.torn = h.seq, hashOf(tail.torn), nil
	}
	return l.opened(tail)
}

// begin starts an empty file: after the newest full one, or a new chain.
func (l *Log) begin() error {
	if err := l.continueFull(); err != nil {
		return err
	}
	return l.opened(&tail{})
}

// continueFull takes over the newest line of the newest full file, if there is one.
func (l *Log) continueFull() error {
	full, err := l.fullFiles()
	if err != nil || len(full) == 0 {
		return err
	}
	name := fullName(l.opt.Name, full[len(full)-1])
	f, err := l.openat(name, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	t, err := readTail(f)
	if err != nil {
		return err
	}
	if t.last == nil || !t.clean() {
		return fmt.Errorf("%s: the end is no line of a chain; `sbx audit verify` says more", f.Name())
	}
	h, _ := parseLine(t.last)
	l.seq, l.head = h.seq, hashOf(t.last)
	return nil
}

// opened writes what comes first: the torn line's record, the genesis, and
// that a writer is there.
func (l *Log) opened(t *tail) error {
	var records []Record
	if !t.clean() {
		l.warn(fmt.Sprintf("audit log %s: the last writer died in the middle of a line: %d bytes are set off and declared torn", l.file.Name(), len(t.torn)))
		region := t.torn
		if region[len(region)-1] != '\n' {
			if err := l.writeAll([]byte("\n")); err != nil {
				return fmt.Errorf("write %s: %w", l.file.Name(), err)
			}
			region = append(slices.Clone(region), '\n')
		}
		records = append(records, Record{Event: Torn, Bytes: int64(len(region)), SHA256: hashOf(region).String()})
	}
	if l.seq == 0 {
		records = append([]Record{{Event: Genesis}}, records...)
		if !t.clean() {
			// The torn bytes were to be the genesis.
			slices.Reverse(records)
		}
	}
	for _, r := range append(records, Record{Event: Opened, Build: l.opt.Build}) {
		if _, err := l.Append(r); err != nil {
			return err
		}
	}
	return nil
}

// openat opens a file of the directory: no link, 0600, its owner checked.
func (l *Log) openat(name string, flags int) (*os.File, error) {
	path := l.dir.Name() + "/" + name
	fd, err := unix.Openat(int(l.dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil {
		err = safefs.CheckOwner(path, &st)
	}
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = &safefs.KindError{Path: path, Kind: "special file"}
	}
	if err == nil && st.Nlink != 1 {
		err = &safefs.KindError{Path: path, Kind: "hard link"}
	}
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// fullFiles lists the numbers of the full files, oldest first.
func (l *Log) fullFiles() ([]uint64, error) {
	d, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", l.dir.Fd()))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var full []uint64
	for _, n := range names {
		if first, ok := fullNumber(l.opt.Name, n); ok {
			full = append(full, first)
		}
	}
	slices.Sort(full)
	return full, nil
}

// tail is the end of a file.
type tail struct {
	size int64
	last []byte // the last whole line, nil when there is none
	torn []byte // what comes after it
}

func (t *tail) clean() bool { return len(t.torn) == 0 }

// readTail finds the last line of the last MaxLine bytes that is one of a
// chain by itself; whether it fits to the lines before it is for Verify.
func readTail(f *os.File) (*tail, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	t := &tail{size: st.Size()}
	// A torn line of almost MaxLine may come after a line of almost MaxLine.
	b := make([]byte, min(t.size, 2*MaxLine))
	if _, err := f.ReadAt(b, t.size-int64(len(b))); err != nil && err != io.EOF {
		return nil, err
	}
	end := len(b)
	for {
		i := bytes.LastIndexByte(b[:end], '\n')
		if i < 0 {
			break
		}
		start := bytes.LastIndexByte(b[:i], '\n') + 1
		if start == 0 && int64(len(b)) < t.size {
			break // the line's start is not in b
		}
		if _, err := parseLine(b[start:i]); err == nil {
			t.last, t.torn = b[start:i], b[i+1:]
			return t, nil
		}
		end = i
	}
	t.torn = b
	return t, nil
}

// firstOf is the sequence number of a file's first line of a chain, 0 when
// there is none near its start.
func firstOf(f *os.File) uint64 {
	b := make([]byte, 2*MaxLine)
	n, _ := f.ReadAt(b, 0)
	for line := range bytes.Lines(b[:n]) {
		if h, err := parseLine(bytes.TrimSuffix(line, []byte("\n"))); err == nil {
			return h.seq
		}
	}
	return 0
}

// rotate closes a full file and begins the next one, whose first line goes on
// with the chain. A crash after the rename leaves no current file: Open goes
// on after the newest full one. Where no new file can be begun, as on a full
// disk, the full one goes on; another error is kept, and write reports it.
func (l *Log) rotate(need int64) {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil || l.size+need <= l.opt.MaxSize || l.size == 0 {
		return // somebody was faster
	}
	if err := l.next(); errors.Is(err, errKept) {
		if !l.kept {
			l.warn("audit log: " + err.Error())
		}
		l.kept = true
		return
	} else if err != nil {
		l.failed = fmt.Errorf("begin a new file: %w", err)
		return
	}
	l.kept = false
	if err := l.prune(); err != nil {
		l.warn("audit log: ignoring old files that cannot be removed: " + err.Error())
	}
}

// errKept says that no new file could be begun, and all is as it was before.
var errKept = errors.New("the full file goes on")

func (l *Log) next() error {
	if err := datasync(l.file); err != nil {
		return err
	}
	first := l.first
	if first == 0 {
		first = l.seq // nothing but torn bytes
	}
	d := int(l.dir.Fd())
	// RENAME_NOREPLACE: a full file is never written over.
	if err := unix.Renameat2(d, l.opt.Name, d, fullName(l.opt.Name, first), unix.RENAME_NOREPLACE); err != nil {
		return fmt.Errorf("rename %s: %w: %w", l.opt.Name, err, errKept)
	}
	file, err := l.openat(l.opt.Name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_APPEND)
	if err != nil && unix.Renameat2(d, fullName(l.opt.Name, first), d, l.opt.Name, unix.RENAME_NOREPLACE) == nil {
		return fmt.Errorf("%w: %w", err, errKept)
	}
	if err != nil {
		return err
	}
	if err := l.dir.Sync(); err != nil {
		file.Close()
		return err
	}
	l.file.Close()
	l.file, l.size, l.first, l.synced = file, 0, 0, l.seq
	return nil
}

func (l *Log) prune() error {
	if l.opt.Keep <= 0 {
		return nil
	}
	full, err := l.fullFiles()
	if err != nil {
		return err
	}
	for len(full) > l.opt.Keep {
		if err := unix.Unlinkat(int(l.dir.Fd()), fullName(l.opt.Name, full[0]), 0); err != nil {
			return err
		}
		full = full[1:]
	}
	return nil
}
