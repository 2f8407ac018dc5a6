package state

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/safefs"
)

// Record is the end of one run, as the journal keeps it until the next loader
// takes it into account.
type Record struct {
	// Time is when the run ended; the journal keeps whole nanoseconds.
	Time time.Time
	// Run is the run's id.
	Run string
	// Command and Revision ("sha256:HEX") are those of its plan.
	Command, Revision string
	// Violation is the refused call, by name; empty for a run that ended
	// without one.
	Violation string
}

const (
	journalName  = "journal"
	takenName    = "journal.taken"
	recordFields = 6
	// RecordHead begins each record.
	RecordHead = "v1"
	// MaxRecord bounds one line in bytes: a name has at most 263, a digest
	// 71. write(2) of so little to a file with O_APPEND is whole, or fails.
	MaxRecord = 512
	// maxJournal bounds what is read, in bytes: some 60,000 runs. What a
	// runaway script appends behind it is not read before the rest is done.
	maxJournal = 16 << 20
	// SettleSize is the length in bytes from which on a run asks the loader
	// to take the journal into account: about 100 records.
	SettleSize = 16 << 10
)

// ErrRecord says that a line of a journal is not a record.
var ErrRecord = errors.New("not a record of a run")

// Append adds a record to the journal of the registry with that key and says
// how long the journal is now, in bytes. The journal belongs to who owns the
// state: for everybody else this is an error.
func Append(dir, key string, r Record) (size int64, err error) { return add(dir, key, r, false) }

// AppendUrgent is Append of a record that a loader must act on before the next
// run: the state is marked unfinished first (see [Unfinished]), so that a kill
// in between leaves work and never a run; and the record is synced, so that who
// was told of it can rely on it over a power cut. With an error the record is
// not there, the mark may be; only where syncing it failed both may.
func AppendUrgent(dir, key string, r Record) (size int64, err error) { return add(dir, key, r, true) }

func add(dir, key string, r Record, urgent bool) (size int64, err error) {
	line := r.line()
	if line == "" {
		return 0, ErrRecord
	}
	d, err := safefs.OpenTrusted(dir + "/" + key)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	fd, size, err := openJournal(d, journalName, unix.O_RDWR|unix.O_APPEND|unix.O_CREAT)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if urgent {
		// Under the journal's lock, as MarkFinished is: a loader that took the
		// journal before this record cannot take the mark away after it.
		if err := MarkUnfinished(dir, key); err != nil {
			return 0, err
		}
	}
	size, err = appendWhole(fd, size, []byte(line))
	if err != nil {
		return 0, &os.PathError{Op: "write", Path: d.Name() + "/" + journalName, Err: err}
	}
	if urgent {
		// The directory as well: the journal may be new.
		if err := syncBoth(fd, d); err != nil {
			return 0, err
		}
	}
	return size, nil
}

// syncBoth makes a file of the journal and its name durable.
func syncBoth(fd int, d *os.File) error {
	err := unix.Fsync(fd)
	if err == nil {
		err = unix.Fsync(int(d.Fd()))
	}
	if err != nil {
		return &os.PathError{Op: "fsync", Path: d.Name() + "/" + journalName, Err: err}
	}
	return nil
}

// appendWhole adds b to a file that is size bytes long, or nothing: half a line
// would spoil the one after it, and with it a verdict. A last line that is cut
// off (a full disk, a power cut) is ended first. It returns the new size.
//
// Preconditions: fd was opened with O_RDWR and O_APPEND and is locked.
func appendWhole(fd int, size int64, b []byte) (int64, error) {
	var last [1]byte
	if size > 0 {
		if _, err := unix.Pread(fd, last[:], size-1); err != nil {
			return 0, err
		}
		if last[0] != '\n' {
			b = append([]byte{'\n'}, b...)
		}
	}
	for done := 0; done < len(b); {
		n, err := unix.Write(fd, b[done:])
		if err == unix.EINTR {
			continue
		}
		if err == nil && n <= 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return 0, errors.Join(err, unix.Ftruncate(fd, size))
		}
		done += n
	}
	return size + int64(len(b)), nil
}

// MarkFinished says that the change is complete. The mark stays while the
// journal has a violation that was not taken yet: whoever appended it after
// [Take] relies on the mark.
func MarkFinished(dir, key string) error {
	d, err := safefs.OpenTrusted(dir + "/" + key)
	if err != nil {
		return err
	}
	defer d.Close()
	fd, _, err := openJournal(d, journalName, unix.O_RDONLY|unix.O_CREAT)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), d.Name()+"/"+journalName)
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxJournal))
	if err != nil {
		return err
	}
	if violates(string(b)) {
		return nil
	}
	err = unix.Unlinkat(int(d.Fd()), unfinished, 0)
	if err != nil && err != unix.ENOENT {
		return &os.PathError{Op: "remove", Path: d.Name() + "/" + unfinished, Err: err}
	}
	return nil
}

// violates tells whether the records of a journal have a violation.
func violates(text string) bool {
	for line := range strings.Lines(text) {
		if r, err := parseRecord(line); err == nil && r.Violation != "" {
			return true
		}
	}
	return false
}

// Due tells whether the loader that holds the state should take the journal
// now: something is unfinished, or there are many records.
func Due(dir, key string) bool {
	var st unix.Stat_t
	return Unfinished(dir, key) || unix.Lstat(dir+"/"+key+"/"+journalName, &st) == nil && st.Size >= SettleSize
}

// openJournal opens a file of the journal, locked until it is closed, and says
// how long it is. The lock is held for a read or a write of it, never longer.
func openJournal(d *os.File, name string, flags int) (fd int, size int64, err error) {
	path := d.Name() + "/" + name
	fd, err = unix.Openat(int(d.Fd()), name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return -1, 0, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("not a regular file")
	}
	if err == nil {
		// The directory may be sticky: a record of anybody else's is forged.
		err = safefs.CheckOwner(path, &st)
	}
	for err == nil {
		if err = unix.Flock(fd, unix.LOCK_EX); err != unix.EINTR {
			break
		}
		err = nil
	}
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err != nil {
		unix.Close(fd)
		return -1, 0, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	return fd, st.Size, nil
}

// Journal is what the records of a registry's runs say.
type Journal struct {
	// Records are in the order in which the runs ended, each once.
	Records []Record
	// Bad counts lines that are not records.
	Bad int
	// Full is set when there is so much that it should be acted on, whatever
	// it says.
	Full bool
	dir  string
	stay bool // Done has nothing to remove
}

// Take reads all records that no loader has made durable yet, and moves them
// where no run appends: they are read again until [Journal.Done]. Only the
// loader that holds the registry's lock may call it.
//
// Trust boundary. Who controls the input: whoever may write the state
// directory, the registry's owner. What privilege is held: the same owner's.
// What has been checked: the directory's path. What fails closed: a line that
// is not exactly a record is counted and changes nothing.
func Take(dir, key string) (*Journal, error) {
	d, err := safefs.OpenTrusted(dir + "/" + key)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	err = move(d)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		// What is in force must go on. The records stay where they are and,
		// should there be room for a generation all the same, count again.
		j, err := read(d, takenName, journalName)
		if err == nil {
			j.stay = true
		}
		return j, err
	}
	if err != nil {
		return nil, err
	}
	return read(d, takenName)
}

// Peek reads the records without taking them.
func Peek(dir, key string) (*Journal, error) {
	d, err := safefs.OpenTrusted(dir + "/" + key)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return read(d, takenName, journalName)
}

// Done removes what Take read, which is durable elsewhere now.
func (j *Journal) Done() error {
	if j.stay {
		return nil
	}
	err := os.Remove(j.dir + "/" + takenName)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// move appends what runs have appended to what was taken before. After a
// crash between its two writes records are there twice; read drops them.
func move(d *os.File) error {
	fd, _, err := openJournal(d, journalName, unix.O_RDWR)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), d.Name()+"/"+journalName)
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxJournal))
	if err != nil || len(b) == 0 {
		return err
	}
	to, size, err := openJournal(d, takenName, unix.O_RDWR|unix.O_APPEND|unix.O_CREAT)
	if err != nil {
		return err
	}
	defer unix.Close(to)
	if _, err = appendWhole(to, size, b); err != nil {
		return &os.PathError{Op: "write", Path: d.Name() + "/" + takenName, Err: err}
	}
	// A power cut may keep the truncation and lose what was written before it.
	if violates(string(b)) {
		if err := syncBoth(to, d); err != nil {
			return err
		}
	}
	return f.Truncate(0)
}

// read parses the files of that names that exist.
func read(d *os.File, names ...string) (*Journal, error) {
	j := &Journal{dir: d.Name()}
	seen := map[string]bool{}
	for _, name := range names {
		fd, size, err := openJournal(d, name, unix.O_RDONLY)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, err
		}
		f := os.NewFile(uintptr(fd), d.Name()+"/"+name)
		b, err := io.ReadAll(io.LimitReader(f, maxJournal))
		f.Close()
		if err != nil {
			return nil, err
		}
		j.Full = j.Full || size >= SettleSize
		for line := range strings.Lines(string(b)) {
			r, err := parseRecord(line)
			switch {
			case err != nil:
				j.Bad++
			case !seen[r.Run]:
				seen[r.Run] = true
				j.Records = append(j.Records, r)
			}
		}
	}
	return j, nil
}

// line is the record's text, or "" when a field cannot be written.
func (r *Record) line() string {
	violation := r.Violation
	if violation == "" {
		violation = "-"
	}
	fields := [recordFields]string{RecordHead, strconv.FormatInt(r.Time.UnixNano(), 10), r.Run, r.Command, r.Revision, violation}
	s := ""
	for i, f := range fields {
		if f == "" || !printable(f) {
			return ""
		}
		if i > 0 {
			s += " "
		}
		s += f
	}
	if len(s) >= MaxRecord {
		return ""
	}
	return s + "\n"
}

// parseRecord is the reverse of line.
func parseRecord(line string) (Record, error) {
	text, whole := strings.CutSuffix(line, "\n")
	f := strings.Split(text, " ")
	if !whole || len(text) >= MaxRecord || len(f) != recordFields || f[0] != RecordHead {
		return Record{}, ErrRecord
	}
	for _, s := range f {
		if s == "" || !printable(s) {
			return Record{}, ErrRecord
		}
	}
	ns, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil || strconv.FormatInt(ns, 10) != f[1] {
		return Record{}, ErrRecord
	}
	r := Record{Time: time.Unix(0, ns), Run: f[2], Command: f[3], Revision: f[4], Violation: f[5]}
	if r.Violation == "-" {
		r.Violation = ""
	}
	return r, nil
}

// printable tells whether s has neither spaces nor what is not ASCII.
func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
