package early

import (
	"errors"
	stdstrings "strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/nsexec"
	"github.com/sbx-project/sbx/runner"
)

// Run is a run that was begun before the runtime, and goes on.
type Run struct {
	// Plan is its plan, encoded.
	Plan []byte
	// Adopt is for the runner.
	Adopt runner.Adopted
}

// Taken is the run that this process has begun; nil: none. It is called once, as
// soon as may be, since it takes the signals: one that comes before it ends this
// process and the run at once. What it returns has to be given to the runner, or
// to Abandon.
func Taken() (*Run, error) {
	s := &theState
	if !s.handed {
		return nil, nil
	}
	signals, err := runner.TakeSignals()
	s.handed = false
	img := theImage()
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	elapsed := time.Duration(now.Sec-s.startedSec)*time.Second + time.Duration(now.Nsec-s.startedNs)
	r := &Run{
		Plan: []byte(img.plan.String()),
		Adopt: runner.Adopted{
			PID: int(launched.PID), Control: int(launched.Control), Leaf: -1, Elapsed: elapsed,
			ID: cString(s.runID()), Told: syscall.Signal(s.told), NoLeaf: img.noLeaf.String(), Controllers: img.controllers.String(),
		},
	}
	if s.leaf != none {
		r.Adopt.Parent, r.Adopt.Leaf = int(s.parent), int(s.leaf)
		r.Adopt.Place, r.Adopt.LeafName = img.place.String(), cString(s.leafName())
	}
	if s.journal != none {
		unix.Close(int(s.journal))
	}
	if err != nil {
		r.Abandon()
		return nil, err
	}
	r.Adopt.Signals = signals
	return r, nil
}

// Asked is the connection to a daemon that this process has asked to carry its
// call out, with the pipe of TakeSignals and the signals that came meanwhile, to
// be handed on; ok is false when there is none. The caller has to see the answers.
func Asked() (conn, signals int, came []syscall.Signal, ok bool, err error) {
	if !theSession.asked {
		return -1, -1, nil, false, nil
	}
	theSession.asked = false
	conn = int(theSession.conn)
	if signals, err = runner.TakeSignals(); err != nil {
		unix.Close(conn)
		return -1, -1, nil, false, err
	}
	if theState.told != 0 {
		came = append(came, syscall.Signal(theState.told)) // it was first
	}
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		if theState.came>>(sig-1)&1 != 0 && uintptr(sig) != theState.told {
			came = append(came, sig)
		}
	}
	return conn, signals, came, true, nil
}

// Abandon ends the run, if there is one.
func (r *Run) Abandon() {
	if r != nil {
		runner.Abandon(&r.Adopt)
	}
}

// String copies the text.
func (t text) String() string { return string(unsafe.Slice((*byte)(pointer(t.at)), t.n)) }

// cString copies the string at p, which ends with NUL.
func cString(p uintptr) string { return text{p, length(p)}.String() }

// Draft is an image that is being made. Close ends it.
type Draft struct{ region []byte }

// Begin gives a Draft for the call of this process; nil: an image of it would be
// of no use, or there is no room for one.
func Begin() *Draft {
	if !theState.wanted {
		return nil
	}
	at, _, e := syscall.RawSyscall6(unix.SYS_MMAP, base, maxImage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED_NOREPLACE, none, 0)
	if e != 0 || at != base {
		return nil
	}
	return &Draft{unsafe.Slice((*byte)(pointer(base)), maxImage)}
}

// headSize is where in the region the launch is.
const headSize = (unsafe.Sizeof(image{}) + 63) &^ 63

// Region is where the runner is to lay out the launch (runner.Options.Lay).
func (d *Draft) Region() []byte { return d.region[headSize:] }

// Close gives the memory back.
func (d *Draft) Close() { syscall.RawSyscall(unix.SYS_MUNMAP, base, maxImage, 0) }

// Way is what a call led to, and what the way there depended on.
type Way struct {
	Plan *plan.Plan
	// Used is how many words the command's name took.
	Used int
	// Stamps must match besides those of the plan.
	Stamps []plan.Stamp
	// ShowsCwd: the working directory was judged, and is shown.
	ShowsCwd bool
	// Journal is the directory of the journal that the run's end is recorded in;
	// empty: it is not.
	Journal string
	// Launch is what the runner has laid out.
	Launch *runner.Laid
}

// errTooLarge says that an image has no room.
var errTooLarge = errors.New("the image is too large")

// errThere says that something exists on whose absence the call depends.
var errThere = errors.New("not absent")

// Keep writes the image. It is a cache: an error says that the next call takes
// the long way as well.
func (d *Draft) Keep(w Way) error {
	used := int(headSize) + len(w.Launch.Used)
	l := &layout{free: d.region[used:], at: base + uintptr(used)}
	p, c := w.Plan, &theCall
	img := theImage()
	encoded, err := p.Encode()
	if err != nil {
		return err
	}
	*img = image{
		magic: magic, build: l.text(buildinfo.Build), key: l.text(text{c.key.at, c.key.n}.String()), launch: w.Launch.Image, plan: l.text(string(encoded)),
		fixed: l.strings(p.Argv), set: l.strings(p.Env.Set), pass: l.strings(p.Env.Pass),
		place: l.text(w.Launch.Place), controllers: l.text(w.Launch.Controllers), group: l.text(w.Launch.OwnGroup), denied: l.text(w.Launch.Denied), noLeaf: l.text(w.Launch.NoLeaf),
		idBase: w.Launch.IDBase, uid: w.Launch.UID, gid: w.Launch.GID,
	}
	boot, err := readSmall("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	img.boot = l.text(boot)
	words := make([]string, 0, w.Used)
	for i := 1; i < w.Used; i++ {
		words = append(words, cString(c.args.String(uintptr(i-1))))
	}
	img.words = l.strings(words)
	pairs := make([]string, 0, 2*len(w.Launch.Writes))
	for _, kv := range w.Launch.Writes {
		pairs = append(pairs, kv.File, kv.Value)
	}
	img.writes = l.strings(pairs)
	if w.ShowsCwd {
		var st unix.Stat_t
		if err := unix.Stat(".", &st); err != nil {
			return err
		}
		img.hereDev, img.hereIno = st.Dev, st.Ino
	}
	if w.Journal != "" {
		img.journal, img.entry = l.text(w.Journal), l.text(p.Command+" "+p.Revision+" -\n")
	}
	for i := range w.Stamps {
		if s := &w.Stamps[i]; s.Absent && !state.Matches(s) {
			return errThere // the image would never fit
		}
	}
	stamps := append(append(make([]plan.Stamp, 0, len(p.Stamps)+len(w.Stamps)), p.Stamps...), w.Stamps...)
	img.stamps, img.nstamps = l.stamps(stamps), uintptr(len(stamps))
	if l.full {
		return errTooLarge
	}
	size := len(d.region) - len(l.free)
	img.size = uint64(size)
	path := line{at: uintptr(unsafe.Pointer(&pathMemory)), size: unsafe.Sizeof(pathMemory)}
	if !c.file(&path) {
		return errTooLarge
	}
	return state.WritePrivate(cString(path.at), d.region[:size])
}

// layout hands out the rest of the region.
type layout struct {
	free []byte
	at   uintptr
	full bool
}

func (l *layout) alloc(n int) []byte {
	n = (n + 7) &^ 7
	if n > len(l.free) {
		l.full = true
		return make([]byte, n)
	}
	b := l.free[:n:n]
	l.free, l.at = l.free[n:], l.at+uintptr(n)
	return b
}

// text lays s out with a NUL behind it.
func (l *layout) text(s string) text {
	at := l.at
	copy(l.alloc(len(s)+1), s)
	return text{at, uintptr(len(s))}
}

func (l *layout) strings(list []string) nsexec.Strings {
	at := l.at
	b := l.alloc(8 * len(list))
	for i, s := range list {
		if stdstrings.IndexByte(s, 0) >= 0 {
			l.full = true
		}
		*(*uintptr)(unsafe.Pointer(&b[8*i])) = l.text(s).at
	}
	return nsexec.Strings{At: at, N: uintptr(len(list))}
}

func (l *layout) stamps(list []plan.Stamp) uintptr {
	at := l.at
	b := l.alloc(len(list) * int(unsafe.Sizeof(stamp{})))
	for i := range list {
		s := &list[i]
		m, c := unix.NsecToTimespec(s.MtimeNs), unix.NsecToTimespec(s.CtimeNs)
		*(*stamp)(unsafe.Pointer(&b[i*int(unsafe.Sizeof(stamp{}))])) = stamp{
			path: l.text(s.Path).at, dev: s.Dev, ino: s.Ino, size: s.Size, mtimeSec: m.Sec, mtimeNs: m.Nsec, ctimeSec: c.Sec, ctimeNs: c.Nsec,
			mode: s.Mode, uid: s.UID, absent: s.Absent, passage: s.Passage,
		}
	}
	return at
}

// readSmall reads a file as reads does.
func readSmall(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	b := make([]byte, len(textMemory))
	n, err := unix.Read(fd, b)
	return string(b[:max(n, 0)]), err
}
