package plan

import "errors"

// The encoding is a magic, a format number, the length of the body, the body
// and its CRC-32C (against truncation and bit rot, not against an attacker:
// the file's owner is checked by whoever reads it). Integers are little
// endian and fixed width, strings and slices carry a 32-bit length.
const (
	magic = "SBXPLAN\x00"
	// Format grows with every change of the encoding; a plan of another
	// format is stale.
	Format = 7
	// MaxSize bounds an encoded plan in bytes. A plan of 4096 instructions
	// and 2,000 steps is under 1 MiB; at half of this bound large closures
	// with inlined files would not fit, at twice nothing would be gained.
	MaxSize = 4 << 20

	maxItems = 1 << 16
	head     = len(magic) + 4 + 4
)

// Sentinels of Decode. All of them mean: compile again.
var (
	ErrFormat  = errors.New("plan has another format")
	ErrCorrupt = errors.New("plan is corrupt")
)

// Encode returns the durable form of p.
func (p *Plan) Encode() ([]byte, error) {
	w := &writer{b: make([]byte, head, 16<<10)}
	p.walk(w)
	if w.err != nil {
		return nil, w.err
	}
	if len(w.b)+4 > MaxSize {
		return nil, errors.New("plan is larger than 4 MiB")
	}
	copy(w.b, magic)
	copy(w.b[len(magic):], append32(nil, Format))
	copy(w.b[len(magic)+4:], append32(nil, uint32(len(w.b)-head)))
	return append32(w.b, checksum(w.b[head:])), nil
}

// Decode reads what Encode wrote. It returns ErrFormat for another version
// and ErrCorrupt for everything else that is not exactly one plan; it never
// panics and allocates no more than a small multiple of len(b). The result
// refers to b: whoever decodes gives b away and does not change it any more.
//
// Trust boundary. Who controls the input: whoever can write the state
// directory. What privilege is held: the caller's, root in the worst case.
// What has been checked: nothing of the bytes; the reader has checked that
// the file's owner is root or the caller. What fails closed: any error here
// makes the plan stale, and it is compiled anew.
func Decode(b []byte) (*Plan, error) {
	if len(b) < head+4 || len(b) > MaxSize || string(b[:len(magic)]) != magic {
		return nil, ErrCorrupt
	}
	if get32(b[len(magic):]) != Format {
		return nil, ErrFormat
	}
	n := int(get32(b[len(magic)+4:]))
	if n != len(b)-head-4 || get32(b[head+n:]) != checksum(b[head:head+n]) {
		return nil, ErrCorrupt
	}
	r := &reader{b: b[head : head+n], s: view(b[head : head+n])}
	p := new(Plan)
	p.walk(r)
	if r.bad || r.off != len(r.s) {
		return nil, ErrCorrupt
	}
	return p, nil
}

// codec is written once for both directions, so that they cannot differ.
type codec interface {
	u64(*uint64)
	str(*string)
	bytes(*[]byte)
	// count codes a slice length; the reader bounds it by what is left.
	count(int) int
}

func (p *Plan) walk(c codec) {
	c.str(&p.Build)
	c.str(&p.BootID)
	c.str(&p.Command)
	c.str(&p.Version)
	c.str(&p.Revision)
	c.u64(&p.Generation)
	c.str(&p.Refusal)
	boolean(c, &p.Counts)
	boolean(c, &p.Journal)
	strs(c, &p.AllowUsers)
	strs(c, &p.AllowGroups)
	c.str(&p.Key)
	strs(c, &p.Registries)
	for i := range resize(c, &p.Stamps) {
		p.Stamps[i].walk(c)
	}
	c.str(&p.Exec.Path)
	c.str(&p.Exec.Inside)
	p.Exec.Identity.walk(c)
	strs(c, &p.Argv)
	p.walkParams(c)
	strs(c, &p.Env.Set)
	strs(c, &p.Env.Pass)
	for i := range resize(c, &p.View) {
		p.View[i].walk(c)
	}
	for i := range resize(c, &p.Masks) {
		c.str(&p.Masks[i].Path)
		boolean(c, &p.Masks[i].Cwd)
	}
	c.str(&p.Chdir)
	c.str(&p.Hostname)
	c.bytes(&p.Filter.Insns)
	for i := range resize(c, &p.Filter.ExecOnce) {
		num(c, &p.Filter.ExecOnce[i])
	}
	for _, list := range [...]*[]uint32{&p.Filter.Denied, &p.Filter.ByArgs} {
		for i := range resize(c, list) {
			num(c, &(*list)[i])
		}
	}
	boolean(c, &p.DenyWriteExecute)
	boolean(c, &p.Loopback)
	c.str(&p.User.Name)
	num(c, &p.User.UID)
	num(c, &p.User.GID)
	num(c, &p.Host.IDBase)
	num(c, &p.Host.OwnerUID)
	num(c, &p.Host.OwnerGID)
	c.str(&p.Host.OwnerName)
	boolean(c, &p.Host.NeedsDaemon)
	strs(c, &p.Host.Require)
	c.u64(&p.Capabilities)
	p.Limits.walk(c)
	for i := range resize(c, &p.Rlimits) {
		num(c, &p.Rlimits[i].Resource)
		c.u64(&p.Rlimits[i].Value)
		boolean(c, &p.Rlimits[i].Required)
	}
	strs(c, &p.Require)
}

func (s *Stamp) walk(c codec) {
	c.str(&s.Path)
	c.u64(&s.Dev)
	c.u64(&s.Ino)
	num(c, &s.Size)
	num(c, &s.MtimeNs)
	num(c, &s.CtimeNs)
	boolean(c, &s.Absent)
	boolean(c, &s.Passage)
	num(c, &s.Mode)
	num(c, &s.UID)
}

func (s *Step) walk(c codec) {
	num(c, &s.Kind)
	num(c, &s.Flags)
	num(c, &s.Mode)
	c.str(&s.Path)
	c.str(&s.Source)
	c.bytes(&s.Data)
	c.u64(&s.Size)
	c.u64(&s.Files)
	c.u64(&s.Dev)
	c.u64(&s.Ino)
}

func (l *Limits) walk(c codec) {
	c.u64(&l.MemoryMax)
	c.u64(&l.MemorySwapMax)
	boolean(c, &l.SwapSet)
	c.u64(&l.PidsMax)
	c.u64(&l.CPUQuota)
	c.u64(&l.CPUPeriod)
	c.u64(&l.CPUWeight)
	strs(c, &l.IOMax)
	num(c, &l.Timeout)
	c.u64(&l.OutputMax)
	strs(c, &l.Required)
}

// num codes any integer as 64 bits; a value that does not fit its type back
// again is corrupt.
func num[T ~uint8 | ~uint16 | ~uint32 | ~int64](c codec, v *T) {
	u := uint64(*v)
	c.u64(&u)
	*v = T(u)
	if r, ok := c.(*reader); ok && uint64(*v) != u {
		r.bad = true
	}
}

func boolean(c codec, v *bool) {
	var u uint64
	if *v {
		u = 1
	}
	c.u64(&u)
	*v = u == 1
	if r, ok := c.(*reader); ok && u > 1 {
		r.bad = true
	}
}

func strs(c codec, v *[]string) {
	for i := range resize(c, v) {
		c.str(&(*v)[i])
	}
}

// resize codes the length of *v, makes *v that long when reading and returns
// it.
func resize[T any](c codec, v *[]T) []T {
	n := c.count(len(*v))
	if n != len(*v) {
		*v = make([]T, n)
	}
	return *v
}

type writer struct {
	b   []byte
	err error
}

func (w *writer) u64(v *uint64) {
	w.b = append32(append32(w.b, uint32(*v)), uint32(*v>>32))
}

func (w *writer) str(v *string) {
	w.b = append32(w.b, uint32(len(*v)))
	w.b = append(w.b, *v...)
}

func (w *writer) bytes(v *[]byte) {
	w.b = append32(w.b, uint32(len(*v)))
	w.b = append(w.b, *v...)
}

func (w *writer) count(n int) int {
	if n > maxItems {
		w.err = errors.New("plan has more than 65536 entries in a list")
	}
	w.b = append32(w.b, uint32(n))
	return n
}

// reader goes through the body: b, and s, which is the same memory.
type reader struct {
	b   []byte
	s   string
	off int
	bad bool
}

func (r *reader) u64(v *uint64) {
	if r.bad || len(r.s)-r.off < 8 {
		r.bad, *v = true, 0
		return
	}
	var u uint64
	for i := 7; i >= 0; i-- {
		u = u<<8 | uint64(r.s[r.off+i])
	}
	*v = u
	r.off += 8
}

func (r *reader) length() int {
	if r.bad || len(r.s)-r.off < 4 {
		r.bad = true
		return 0
	}
	n := get32(r.b[r.off:])
	r.off += 4
	if uint64(n) > uint64(len(r.s)-r.off) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *reader) str(v *string) {
	n := r.length()
	*v = r.s[r.off : r.off+n]
	r.off += n
}

func (r *reader) bytes(v *[]byte) {
	n := r.length()
	if n > 0 {
		*v = r.b[r.off : r.off+n : r.off+n]
	}
	r.off += n
}

func (r *reader) count(int) int {
	// Every element takes at least 4 bytes, so the length check of a string
	// of that many bytes is a bound as well.
	n := r.length()
	if n > maxItems || n*4 > len(r.s)-r.off {
		r.bad = true
		return 0
	}
	return n
}

// encoding/binary would bring reflect into every invocation.
func append32(b []byte, v uint32) []byte {
	return append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
}

func get32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// checksum is CRC-32C by a nibble table: hash/crc32 would be linked into the
// hot path for nothing else, and a plan has some 10 KiB.
func checksum(b []byte) uint32 {
	c := ^uint32(0)
	for _, x := range b {
		c ^= uint32(x)
		c = c>>4 ^ crcTable[c&15]
		c = c>>4 ^ crcTable[c&15]
	}
	return ^c
}

// crcTable holds the remainders of the sixteen nibbles for the reflected
// Castagnoli polynomial 0x82f63b78.
var crcTable = [16]uint32{
	0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
	0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
}
