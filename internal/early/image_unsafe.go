package early

import (
	"unsafe"

	"github.com/sbx-project/sbx/nsexec"
)

const (
	// base is where every image is read to: below everything that the kernel
	// maps by itself and apart from where Go's heap begins. Where it is taken
	// there is no early run.
	base = 0x5b_0000_0000
	// maxImage bounds an image in bytes. The plan of a usual command makes one
	// of 40 KiB; a bundle with the largest filter there is, one of 90.
	maxImage = 256 << 10
	// magic begins an image; its number is that of the layout.
	magic = 0x31_67_6d_69_78_62_73 // "sbximg1"
)

// text is a string in an image.
type text struct{ at, n uintptr }

// image is what lies at base. Its addresses are in the image itself.
type image struct {
	magic, size uint64
	build, boot text
	// key is the call: see asked.
	key text
	// words are those of the command's name after its first.
	words nsexec.Strings
	// launch is the launch.
	launch *nsexec.Image
	// plan is the encoded plan, for who takes the run over.
	plan text
	// stamps must match: see stamp.
	stamps, nstamps uintptr
	// hereDev and hereIno are the working directory; 0: any.
	hereDev, hereIno uint64
	// fixed and set begin argv and environment; pass are patterns for names.
	fixed, set, pass nsexec.Strings
	// place is the directory of the run's control group; n 0: none.
	place text
	// writes are pairs of a file and a value of the control group.
	writes nsexec.Strings
	// controllers is what the group above place offers.
	controllers text
	// group is what /proc/self/cgroup says; n 0: not looked at.
	group text
	// denied is the directory that a control group could not be made in, noLeaf
	// what the error said.
	denied, noLeaf text
	// idBase numbers the run's ids; 0: they are uid and gid.
	idBase, uid, gid uint32
	// journal is the directory of the journal; n 0: the run's end is not
	// recorded. entry is a record from the command on.
	journal, entry text
}

// whole tells whether what the image begins with lies in it. What those
// addresses lead to is its owner's.
//
//go:nosplit
//go:norace
func (img *image) whole() bool {
	t := [...]*text{&img.build, &img.boot, &img.key, &img.plan, &img.place, &img.controllers, &img.group, &img.denied, &img.noLeaf, &img.journal, &img.entry}
	for i := range t {
		if !img.holds(t[i].at, t[i].n) {
			return false
		}
	}
	l := [...]*nsexec.Strings{&img.words, &img.fixed, &img.set, &img.pass, &img.writes}
	for i := range l {
		if l[i].N > maxImage || !img.holds(l[i].At, l[i].N*unsafe.Sizeof(uintptr(0))) {
			return false
		}
	}
	return img.nstamps <= maxImage && img.holds(img.stamps, img.nstamps*unsafe.Sizeof(stamp{})) &&
		img.holds(uintptr(unsafe.Pointer(img.launch)), unsafe.Sizeof(nsexec.Image{}))
}

// holds tells whether n bytes at an address lie in the image.
//
//go:nosplit
//go:norace
func (img *image) holds(at, n uintptr) bool {
	end := base + uintptr(img.size)
	return n == 0 || at >= base && at <= end && n <= end-at
}

// stamp is a plan.Stamp.
type stamp struct {
	path                                       uintptr
	dev, ino                                   uint64
	size, mtimeSec, mtimeNs, ctimeSec, ctimeNs int64
	mode, uid                                  uint32
	absent, passage                            bool
}

// theImage is the image that was read.
//
//go:nosplit
//go:norace
func theImage() *image { return (*image)(pointer(base)) }

// pointer turns an address outside of Go's memory into a pointer.
//
//go:nosplit
//go:norace
func pointer(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

// byteAt reads the byte at p.
//
//go:nosplit
//go:norace
func byteAt(p uintptr) byte { return *(*byte)(pointer(p)) }

// length is that of the string at p, which ends with NUL.
//
//go:nosplit
//go:norace
func length(p uintptr) (n uintptr) {
	for byteAt(p+n) != 0 {
		n++
	}
	return n
}

// same tells whether n bytes at a and b are the same.
//
//go:nosplit
//go:norace
func same(a, b, n uintptr) bool {
	for i := range n {
		if byteAt(a+i) != byteAt(b+i) {
			return false
		}
	}
	return true
}

// is tells whether the string at p, which ends with NUL, is s.
//
//go:nosplit
//go:norace
func is(p uintptr, s string) bool {
	for i := range len(s) {
		if byteAt(p+uintptr(i)) != s[i] {
			return false
		}
	}
	return byteAt(p+uintptr(len(s))) == 0
}

// after gives what follows prefix in the string at p; 0: it does not begin so.
//
//go:nosplit
//go:norace
func after(p uintptr, prefix string) uintptr {
	for i := range len(prefix) {
		if byteAt(p+uintptr(i)) != prefix[i] {
			return 0
		}
	}
	return p + uintptr(len(prefix))
}

// line is a string that is being put together in the n bytes at at. What does
// not fit makes it full.
type line struct {
	at, n, size uintptr
	full        bool
}

//go:nosplit
//go:norace
func (l *line) add(c byte) {
	if l.n+1 >= l.size {
		l.full = true
		return
	}
	*(*byte)(pointer(l.at + l.n)) = c
	l.n++
	*(*byte)(pointer(l.at + l.n)) = 0
}

//go:nosplit
//go:norace
func (l *line) addString(s string) {
	for i := range len(s) {
		l.add(s[i])
	}
}

// addAt adds the string at p, which ends with NUL; 0 is none.
//
//go:nosplit
//go:norace
func (l *line) addAt(p uintptr) {
	if p == 0 {
		return
	}
	for ; byteAt(p) != 0; p++ {
		l.add(byteAt(p))
	}
}

// addNumber adds n in a base up to 36, as strconv.FormatUint would.
//
//go:nosplit
//go:norace
func (l *line) addNumber(n, radix uint64) {
	div := uint64(1)
	for n/div >= radix {
		div *= radix
	}
	for ; div > 0; div /= radix {
		d := byte(n / div % radix)
		if d < 10 {
			l.add('0' + d)
		} else {
			l.add('a' + d - 10)
		}
	}
}
