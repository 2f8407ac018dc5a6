package filter

import "golang.org/x/sys/unix"

// placeholder stands for each of the six constants until the launch replaces
// them. As the high word of a path it cannot match: assembleOnce also asks
// that the highest byte of the path be zero.
const placeholder = 1<<32 - 1

// highestByte is never set in the high word of an address of user space:
// amd64 has at most 56 bits of them (five-level paging), arm64 52.
const highestByte = 0xff000000

// assembleOnce writes the check of the one execveat(2) that may pass, and
// otherwise answers refused. The launch draws three addresses at random and
// puts path, argv and envp there; they vanish with the exec, so nobody can
// make a second call that passes.
//
// All words are compared, by SUB and OR, before the only jump: were the first
// difference to end the check, its timing would tell one word's guess right
// from wrong, and an errno verdict lets a workload guess again and again.
// (Seccomp's BPF has no XOR; the accumulated differences stay in X.)
//
// The six marks, in the order path low, path high, argv low, argv high, envp
// low, envp high, are the SUB instructions whose constants the launch
// replaces.
func assembleOnce(a *assembler, refused uint32) label {
	const (
		path = 1 + iota
		argv
		envp
		flags
	)
	word := func(argument, half uint32) uint32 { return offArgs + 8*argument + 4*half }

	// Backwards: read from the last statement to the first.
	a.branch(opEqual, 0, returns(unix.SECCOMP_RET_ALLOW), returns(refused))
	for _, argument := range []uint32{envp, argv, path} {
		for _, half := range []uint32{1, 0} {
			if argument != envp || half != 1 {
				a.emit(opToX, 0)
			}
			a.emit(opOrX, 0)
			a.emit(opSub, placeholder)
			a.mark()
			a.emit(opLoad, word(argument, half))
		}
	}
	a.emit(opToX, 0)
	a.emit(opOrX, 0)
	a.emit(opAnd, highestByte)
	a.emit(opLoad, word(path, 1))
	a.emit(opToX, 0)
	a.emit(opSub, unix.AT_EMPTY_PATH)
	a.emit(opLoad, word(flags, 0))
	return a.here()
}
