package wire

import "errors"

// ErrMalformed says that a message is not what its type promises.
var ErrMalformed = errors.New("malformed message")

// maxItems bounds a list: of arguments and variables the kernel takes some
// 200,000 in 2 MiB at the shortest; nobody was seen to need a tenth of it.
const maxItems = 1 << 16

// codec is written once for both directions, so that they cannot differ.
type codec interface {
	u64(*uint64)
	str(*string)
	// count codes the length of a list; the reader bounds it by what is left.
	count(n *uint32)
}

type writer struct{ b []byte }

func (w *writer) u64(v *uint64) {
	for i := 0; i < 64; i += 8 {
		w.b = append(w.b, byte(*v>>i))
	}
}

func (w *writer) count(n *uint32) {
	for i := 0; i < 32; i += 8 {
		w.b = append(w.b, byte(*n>>i))
	}
}

func (w *writer) str(s *string) {
	n := uint32(len(*s))
	w.count(&n)
	w.b = append(w.b, *s...)
}

// reader takes values off the front of s. After the first that is not there
// all others are zero, and bad stays set.
type reader struct {
	s   string
	bad bool
}

func (r *reader) take(n int) string {
	if r.bad || n > len(r.s) {
		r.bad = true
		return ""
	}
	out := r.s[:n]
	r.s = r.s[n:]
	return out
}

func (r *reader) u64(v *uint64) {
	b := r.take(8)
	*v = 0
	for i := 0; i < len(b); i++ {
		*v |= uint64(b[i]) << (8 * i)
	}
}

func (r *reader) count(n *uint32) {
	b := r.take(4)
	*n = 0
	for i := 0; i < len(b); i++ {
		*n |= uint32(b[i]) << (8 * i)
	}
	// Every element takes a byte at least.
	if *n > maxItems || int(*n) > len(r.s) {
		r.bad, *n = true, 0
	}
}

func (r *reader) str(s *string) {
	b := r.take(4)
	n := uint32(0)
	for i := 0; i < len(b); i++ {
		n |= uint32(b[i]) << (8 * i)
	}
	*s = r.take(int(n))
}

// list codes a list whose elements code themselves.
func list[T any](c codec, items *[]T, element func(*T)) {
	n := uint32(len(*items))
	c.count(&n)
	if r, ok := c.(*reader); ok {
		if *items = nil; n > 0 && !r.bad {
			*items = make([]T, n)
		}
	}
	for i := range *items {
		element(&(*items)[i])
	}
}

func strs(c codec, items *[]string) { list(c, items, c.str) }

// num codes any integer type as 64 bits; the reader refuses what the type
// does not hold.
func num[T ~int | ~int32 | ~int64 | ~uint8 | ~uint32 | ~uint64](c codec, v *T) {
	u := uint64(*v)
	c.u64(&u)
	if r, ok := c.(*reader); ok {
		if *v = T(u); uint64(*v) != u {
			r.bad, *v = true, 0
		}
	}
}

func boolean(c codec, v *bool) {
	u := uint64(0)
	if *v {
		u = 1
	}
	c.u64(&u)
	if r, ok := c.(*reader); ok {
		if u > 1 {
			r.bad = true
		}
		*v = u == 1
	}
}

// word codes a string type.
func word[T ~string](c codec, v *T) {
	s := string(*v)
	c.str(&s)
	*v = T(s)
}

// encode gives the bytes of what walk codes.
func encode(walk func(codec)) []byte {
	w := &writer{b: make([]byte, 0, 4096)}
	walk(w)
	return w.b
}

// decode reads exactly what encode wrote, or fails with ErrMalformed. The
// result shares no memory with b.
func decode(b []byte, walk func(codec)) error {
	r := &reader{s: string(b)}
	walk(r)
	if r.bad || r.s != "" {
		return ErrMalformed
	}
	return nil
}
