package snapshot

import "math/bits"

// hash is of a name under a seed that is drawn when a view begins. A lookup
// spends most of its time here and in memory: hash/maphash takes 5.5 ns for a
// name of 20 bytes where this takes 2.5 (BenchmarkHash). It is the folded
// multiplication of wyhash (https://github.com/wangyi-fudan/wyhash): every 16
// bytes one multiplication, the last ones overlapping those before.
//
// Collisions cost time and nothing else: names are compared. Who could choose
// names that collide is who may write the registry.
func hash(seed uint64, s string) uint64 {
	n := len(s)
	switch {
	case n > 16:
		h := fold(word(s)^seed, word(s[8:])^second)
		for rest := s[16:]; len(rest) > 16; rest = rest[16:] {
			h = fold(word(rest)^h, word(rest[8:])^second)
		}
		last := s[n-16:]
		return fold(word(last)^third, word(last[8:])^seed) ^ h ^ uint64(n)
	case n >= 8:
		return fold(word(s)^seed, word(s[n-8:])^second^uint64(n))
	case n >= 4:
		return fold(uint64(half(s))<<32^seed^uint64(half(s[n-4:])), second^uint64(n))
	case n > 0:
		return fold(uint64(s[0])<<16^uint64(s[n>>1])<<8^uint64(s[n-1])^seed, second^uint64(n))
	}
	return seed
}

// Odd numbers with about as many ones as zeros: the fractions of the square
// roots of 3 and 5.
const (
	second = 0xbb67ae8584caa73b
	third  = 0x3c6ef372fe94f82b
)

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// word and half are one load each: the compiler puts the bytes together.
func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func half(s string) uint32 {
	_ = s[3]
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}
