// Package audit keeps the record of what was run, refused, loaded and taken
// back: lines of JSON, each with the sha256 of the line before it. [Open] gives
// the one writer of a directory, [Verify] reads the files of a chain.
//
// A line is in the kernel's hands before [Log.Append] returns, so it survives
// the death of the daemon. It is on the disk within [SyncInterval], or before
// Append returns with Options.SyncEach, and in any case for events that change
// the state of a command. A power cut can therefore lose the starts and ends
// of runs of the last second, and nothing else.
//
// The chain shows that a line was changed, removed or put in between. It does
// not show that the newest lines were cut off, or that all was written anew by
// somebody with root's rights: for that, keep a head ([Log.Head], or what
// `sbx audit verify` prints) on another machine and give it to Verify as anchor.
package audit

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// SyncInterval is how long a line may be in memory alone. Twice as long loses
// twice as much at a power cut; flushing at every line would cost more than a
// run does.
const SyncInterval = time.Second

// DefaultMaxSize is when a file is full, in bytes: some 150,000 runs, verified
// in a second or two.
const DefaultMaxSize = 64 << 20

// ErrHeld says that another process writes this log.
var ErrHeld = errors.New("another process writes this audit log")

// ErrClosed says that the log was closed.
var ErrClosed = errors.New("the audit log is closed")

// Options of a log. The zero value is what a daemon wants.
type Options struct {
	// Name is the current file's; "" is Current. The lock and the full files
	// are called after it.
	Name string
	// MaxSize is when a file is full, in bytes; 0 means DefaultMaxSize.
	MaxSize int64
	// Keep is how many full files are kept beside the current one; the oldest
	// are removed. 0 keeps all.
	Keep int
	// SyncEach puts every line on the disk before Append returns. False lets
	// starts, ends and refusals of runs wait for SyncInterval.
	SyncEach bool
	// Build is the writer's build, for the record.
	Build string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Warn is called with what an operator must hear: a torn line, an
	// unclean end. It may be nil.
	Warn func(msg string)
	// Writable is called with what Err says when lines cannot be written any
	// more, and with nil when they can be again. It calls no method of the log,
	// and may be nil.
	Writable func(err error)
}

// Log is the writer of one chain. All methods are safe for concurrent use.
type Log struct {
	opt  Options
	dir  *os.File
	lock *os.File

	mu      sync.Mutex
	file    *os.File
	size    int64  // bytes in file
	first   uint64 // sequence number of the first line of file, 0 when empty
	seq     uint64 // of the newest line
	head    Hash   // of the newest line
	failed  error  // not nil: nothing can be written any more
	refused error  // not nil: the last line could not be written; the file is as it was
	missed  uint64 // lines that could not be written, and of which no line tells yet
	kept    bool   // a full file goes on, because no other could be begun
	told    bool   // what Writable was called with last was not nil
	closing bool
	telling sync.Mutex // held while Writable is called; taken before mu

	syncMu sync.Mutex // taken before mu
	synced uint64     // up to here lines are on the disk

	dirty chan struct{} // capacity 1
	stop  chan struct{}
	done  chan struct{}
}

// Append writes records, one after the other, and returns the sequence number of
// the last, 0 for none. Those that must be on the disk go there together: ten
// thousand changes at once wait for one flush. An error means that not all of
// the records are in the log: what they were to tell of must not happen.
// After an error of the disk that leaves the file's content unknown, every
// further Append returns that error.
func (l *Log) Append(records ...Record) (seq uint64, err error) {
	if len(records) == 0 {
		return 0, nil
	}
	flush := l.opt.SyncEach
	for i := range records {
		body, lineErr := records[i].line()
		if lineErr == nil {
			seq, lineErr = l.write(body) // also after an error: what is missed is counted
		}
		if err == nil {
			err = lineErr
		}
		flush = flush || records[i].Event.durable()
	}
	if err != nil {
		l.flushSoon() // what is there of the others
		return 0, fmt.Errorf("write audit log: %w", err)
	}
	if flush {
		if err := l.syncTo(seq); err != nil {
			return 0, fmt.Errorf("write audit log: %w", err)
		}
		return seq, nil
	}
	l.flushSoon()
	return seq, nil
}

// flushSoon has the syncer look within SyncInterval.
func (l *Log) flushSoon() {
	select {
	case l.dirty <- struct{}{}:
	default:
	}
}

// line is the record's body, with what does not fit left out.
func (r Record) line() ([]byte, error) {
	body, err := r.body()
	if err == nil && len(body) > MaxLine-256 {
		r.Violations, r.Degraded, r.Truncated = nil, nil, true
		body, err = r.body()
	}
	return body, err
}

// Head is the newest line's sequence number and hash.
func (l *Log) Head() (uint64, Hash) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seq, l.head
}

// Err is not nil while lines cannot be written. Where the cause may go, as with
// a full disk, the log tries again with every line, and by itself once in a
// SyncInterval; a line then tells how many were missed (Missed).
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.errLocked()
}

func (l *Log) errLocked() error {
	if l.failed != nil {
		return l.failed
	}
	return l.refused
}

// Lasting tells whether only opening the log anew can mend what Err says.
func (l *Log) Lasting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed != nil
}

// tell calls Options.Writable when there is news.
func (l *Log) tell() {
	l.telling.Lock()
	defer l.telling.Unlock()
	l.mu.Lock()
	err := l.errLocked()
	if errors.Is(err, ErrClosed) {
		l.mu.Unlock()
		return // that is no news
	}
	news := l.told != (err != nil)
	l.told = err != nil
	l.mu.Unlock()
	if news && l.opt.Writable != nil {
		l.opt.Writable(err)
	}
}

// Close writes the last line, puts everything on the disk and lets the lock
// go. Further calls return ErrClosed.
func (l *Log) Close() error {
	l.mu.Lock()
	again := l.closing
	l.closing = true
	l.mu.Unlock()
	if again {
		return ErrClosed
	}
	close(l.stop)
	<-l.done
	_, err := l.Append(Record{Event: Closed})
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = ErrClosed
	}
	return errors.Join(err, l.file.Close(), l.dir.Close(), l.lock.Close())
}

// write appends one line, behind the one that tells of those that were missed
// before it. Without a body it writes the latter alone.
func (l *Log) write(body []byte) (uint64, error) {
	seq, news, err := l.append(body)
	if news {
		l.tell()
		l.flushSoon() // the syncer tries again
	}
	return seq, err
}

func (l *Log) append(body []byte) (seq uint64, news bool, err error) {
	l.mu.Lock()
	if l.failed == nil && l.size > 0 && l.size+int64(len(body))+256 > l.opt.MaxSize {
		// Rotation puts the full file on the disk, so nobody may be in the
		// middle of doing so: syncMu comes before mu.
		l.mu.Unlock()
		l.rotate(int64(len(body)) + 256)
		l.mu.Lock()
	}
	defer l.mu.Unlock()
	defer func() { news = l.told != (l.errLocked() != nil) }()
	if l.failed != nil {
		return 0, false, l.failed
	}
	if err = l.catchUpLocked(); err == nil && body != nil {
		err = l.lineLocked(body)
	}
	if l.refused = err; err != nil && body != nil {
		l.missed++
	}
	return l.seq, false, err
}

// catchUpLocked writes the line of those that were missed.
func (l *Log) catchUpLocked() error {
	if l.missed == 0 {
		return nil
	}
	r := Record{Event: Missed, Lines: l.missed}
	if l.refused != nil {
		r.Reason = l.refused.Error()
	}
	body, err := r.body()
	if err == nil {
		err = l.lineLocked(body)
	}
	if err == nil {
		l.missed = 0
	}
	return err
}

func (l *Log) lineLocked(body []byte) error {
	line := render(l.seq+1, l.head, l.opt.Now(), body)
	head := hashOf(line)
	if err := l.writeAll(append(line, '\n')); err != nil {
		return err
	}
	l.seq++
	l.head = head
	if l.first == 0 {
		l.first = l.seq
	}
	return nil
}

// writeAll writes in one call of write(2), so that a death in between leaves a
// whole line or none. A file that took only a part (a full disk) is cut back
// to what it was: the log can go on once there is room.
func (l *Log) writeAll(line []byte) error {
	n, err := unix.Write(int(l.file.Fd()), line)
	for err == unix.EINTR {
		n, err = unix.Write(int(l.file.Fd()), line)
	}
	if err == nil && n == len(line) {
		l.size += int64(n)
		return nil
	}
	if err == nil {
		err = unix.ENOSPC
	}
	if n > 0 {
		if cutErr := unix.Ftruncate(int(l.file.Fd()), l.size); cutErr != nil {
			l.failed = errors.Join(err, cutErr)
			return l.failed
		}
	}
	return err
}

// syncTo returns when line seq is on the disk. Callers that come together
// share one flush.
func (l *Log) syncTo(seq uint64) error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	if l.synced >= seq {
		return nil
	}
	l.mu.Lock()
	upTo, file, err := l.seq, l.file, l.failed
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if err := datasync(file); err != nil {
		// What the kernel could not write it may forget: the file's content
		// is unknown from here on (fsync(2), "fsyncgate").
		l.mu.Lock()
		l.failed = err
		l.mu.Unlock()
		l.tell()
		return err
	}
	l.synced = upTo
	return nil
}

func datasync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}

// syncer flushes what Append left to it.
func (l *Log) syncer() {
	defer close(l.done)
	for {
		select {
		case <-l.stop:
			return
		case <-l.dirty:
		}
		timer := time.NewTimer(SyncInterval)
		select {
		case <-l.stop:
			timer.Stop()
			return // Close flushes
		case <-timer.C:
		}
		if l.catchUp() {
			l.flushSoon()
		}
		seq, _ := l.Head()
		if err := l.syncTo(seq); err != nil && !errors.Is(err, ErrClosed) {
			l.warn("audit log: " + err.Error() + ": no run can start until the daemon is started again")
		}
	}
}

// catchUp tries whether lines can be written again, where they could not; it
// tells whether they still cannot.
func (l *Log) catchUp() (again bool) {
	l.mu.Lock()
	refused := l.refused != nil && l.failed == nil
	l.mu.Unlock()
	if !refused {
		return false
	}
	_, err := l.write(nil)
	return err != nil
}

func (l *Log) warn(msg string) {
	if l.opt.Warn != nil {
		l.opt.Warn(msg)
	}
}
