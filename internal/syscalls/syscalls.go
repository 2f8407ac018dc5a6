// Package syscalls names the system calls of Linux on amd64 and arm64, and
// sorts them into groups. The tables are committed data, the same on every
// host whatever its libraries, so that a policy means the same everywhere;
// [Kernel] says which release they cover. Start with [Number] and [Group].
//
// A call newer than the table has no name here; policies can write its
// number. The package holds no rule of its own but one: [Group] never returns
// a guarded call (see [Guarded]).
//
// Nothing is computed at start: the tables are constants and arrays, which
// matters to the command, whose start every run pays for.
package syscalls

//go:generate go run gen/main.go

// absent marks, in the tables, a call that an architecture does not have or a
// number that no call has.
const absent = 0xffff

// tables returns the number of each name and the name of each number.
func tables(arch string) (numbers, names []uint16) {
	switch arch {
	case "amd64":
		return amd64Number[:], amd64Name[:]
	case "arm64":
		return arm64Number[:], arm64Name[:]
	}
	return nil, nil
}

// Arches returns the architectures of the tables, as GOARCH names them.
func Arches() []string { return []string{"amd64", "arm64"} }

// Number returns the number of the call name on arch (amd64 or arm64, as
// GOARCH names them). It is false for an unknown architecture and for a name
// that arch does not have, for instance open on arm64.
func Number(arch, name string) (uint32, bool) {
	numbers, _ := tables(arch)
	i, ok := index(name)
	if !ok || numbers == nil || numbers[i] == absent {
		return 0, false
	}
	return uint32(numbers[i]), true
}

// Name returns the name of call nr on arch. It is false for an unknown
// architecture, a hole of the table, and a number above [Last].
func Name(arch string, nr uint32) (string, bool) {
	_, names := tables(arch)
	if uint64(nr) >= uint64(len(names)) || names[nr] == absent {
		return "", false
	}
	return nameAtIndex(int(names[nr])), true
}

// Known reports whether any architecture of the tables has the call name. A
// policy may name a call that only the other architecture has.
func Known(name string) bool {
	_, ok := index(name)
	return ok
}

// Last returns the highest number of arch's table, or 0 for an unknown
// architecture.
func Last(arch string) uint32 {
	_, names := tables(arch)
	if names == nil {
		return 0
	}
	return uint32(len(names) - 1)
}

// Names returns the names of arch's calls in the order of their numbers, nil
// for an unknown architecture. The caller owns the slice.
func Names(arch string) []string {
	_, byNumber := tables(arch)
	var out []string
	for _, i := range byNumber {
		if i != absent {
			out = append(out, nameAtIndex(int(i)))
		}
	}
	return out
}

// index finds name among the sorted names.
func index(name string) (int, bool) {
	low, high := 0, len(nameAt)-1
	for low < high {
		middle := int(uint(low+high) / 2)
		if nameAtIndex(middle) < name {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < len(nameAt)-1 && nameAtIndex(low) == name
}

func nameAtIndex(i int) string { return nameBlob[nameAt[i]:nameAt[i+1]] }
