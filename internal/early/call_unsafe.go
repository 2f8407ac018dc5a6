package early

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/nsexec"
)

// call is what this process was asked for.
type call struct {
	argv, envp nsexec.Strings
	// area and areaSize are where the kernel laid arguments and environment.
	area, areaSize uintptr
	exec, direct   bool
	// reports: the run's report goes to a descriptor, which the runtime writes.
	reports bool
	// word is the first word of the name, or the program; policy that of exec,
	// registry the directory that was named: 0 where none was.
	word, policy, registry uintptr
	// args are the words behind it.
	args nsexec.Strings
	uid  uintptr
	// The variables on which the way to a plan depends.
	vars [len(variables)]uintptr
	key  line
}

// variables of the environment that say where registries, state and sockets
// are.
var variables = [...]string{"SBX_REGISTRY", "SBX_STATE", "SBX_RUNTIME", "HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"}

const (
	varRegistry = iota
	varState
	varRuntime
	varHome
	varConfig
	varXDG
	varXDGRuntime
)

// read takes the call from the stack that execve(2) left; false: it is none
// that there can be an image of.
//
//go:nosplit
//go:norace
func (c *call) read(sp uintptr) bool {
	const word = unsafe.Sizeof(uintptr(0))
	c.argv = nsexec.Strings{At: sp + word, N: *(*uintptr)(pointer(sp))}
	if c.argv.N < 3 {
		return false
	}
	c.envp.At = c.argv.At + (c.argv.N+1)*word
	for *(*uintptr)(pointer(c.envp.At + c.envp.N*word)) != 0 {
		c.envp.N++
	}
	return c.auxiliary() && c.parse() && c.environment() && c.ids()
}

// auxiliary finds where arguments and environment are, and refuses a process
// whose rights are not its caller's.
//
//go:nosplit
//go:norace
func (c *call) auxiliary() bool {
	const word = unsafe.Sizeof(uintptr(0))
	if c.area = c.argv.String(0); byteAt(c.area) == 0 {
		return false // an empty argument vector, which sbx refuses
	}
	for aux := c.envp.At + (c.envp.N+1)*word; ; aux += 2 * word {
		tag, value := *(*uintptr)(pointer(aux)), *(*uintptr)(pointer(aux + word))
		const null, secure, execfn = 0, 23, 31 // getauxval(3)
		switch tag {
		case secure:
			if value != 0 {
				return false
			}
		case execfn:
			if value > c.area {
				c.areaSize = value - c.area
			}
		}
		if tag == null {
			break
		}
	}
	return c.areaSize > 0
}

// parse takes the command line, as far as its flags change nothing about the
// run.
//
//go:nosplit
//go:norace
func (c *call) parse() bool {
	switch verb := c.argv.String(1); {
	case is(verb, "run"):
	case is(verb, "exec"):
		c.exec = true
	default:
		return false
	}
	i := uintptr(2)
	for ; i < c.argv.N; i++ {
		a := c.argv.String(i)
		if is(a, "--") {
			i++
			break
		}
		if byteAt(a) != '-' || byteAt(a+1) == 0 {
			break
		}
		switch policy, registry := after(a, "--policy="), after(a, "--registry="); {
		case is(a, "--direct"):
			c.direct = true
		case is(a, "-q"), is(a, "--quiet"):
		case is(a, "--status-fd") && i+1 < c.argv.N:
			i++
			c.reports = true
			if !isWritable(c.argv.String(i)) {
				return false
			}
		case c.exec && policy != 0:
			c.policy = policy
		case c.exec && is(a, "--policy") && i+1 < c.argv.N:
			i++
			c.policy = c.argv.String(i)
		case registry != 0:
			c.registry = registry
		case is(a, "--registry") && i+1 < c.argv.N:
			i++
			c.registry = c.argv.String(i)
		default:
			return false
		}
	}
	if i >= c.argv.N || empty(c.policy) || empty(c.registry) {
		return false
	}
	c.word = c.argv.String(i)
	c.args = nsexec.Strings{At: c.argv.At + (i+1)*unsafe.Sizeof(i), N: c.argv.N - i - 1}
	return true
}

// empty tells whether a value was given, and is empty.
//
//go:nosplit
//go:norace
func empty(value uintptr) bool { return value != 0 && byteAt(value) == 0 }

// isWritable tells whether the number is that of a descriptor that is open for
// writing, and none of a stream.
//
//go:nosplit
//go:norace
func isWritable(number uintptr) bool {
	n := uintptr(0)
	for ; byteAt(number) >= '0' && byteAt(number) <= '9' && n < 1<<20; number++ {
		n = 10*n + uintptr(byteAt(number)-'0')
	}
	if byteAt(number) != 0 || n <= 2 {
		return false
	}
	flags, _, e := syscall.RawSyscall(unix.SYS_FCNTL, n, unix.F_GETFL, 0)
	return e == 0 && flags&unix.O_ACCMODE != unix.O_RDONLY
}

// environment finds the variables. As for os.Getenv the first one of a name
// counts.
//
//go:nosplit
//go:norace
func (c *call) environment() bool {
	for i := range c.envp.N {
		e := c.envp.String(i)
		if byteAt(e) != 'S' && byteAt(e) != 'H' && byteAt(e) != 'X' {
			continue
		}
		for v := range variables {
			if value := after(e, variables[v]); value != 0 && byteAt(value) == '=' && c.vars[v] == 0 {
				c.vars[v] = value + 1
			}
		}
	}
	return true
}

// ids: real and effective ids must be the same.
//
//go:nosplit
//go:norace
func (c *call) ids() bool {
	uid, _, _ := syscall.RawSyscall(unix.SYS_GETUID, 0, 0, 0)
	euid, _, _ := syscall.RawSyscall(unix.SYS_GETEUID, 0, 0, 0)
	gid, _, _ := syscall.RawSyscall(unix.SYS_GETGID, 0, 0, 0)
	egid, _, _ := syscall.RawSyscall(unix.SYS_GETEGID, 0, 0, 0)
	c.uid = euid
	c.key = line{at: uintptr(unsafe.Pointer(&keyMemory)), size: unsafe.Sizeof(keyMemory)}
	return uid == euid && gid == egid && c.ask(uint64(uid), uint64(gid))
}

// separator stands between the parts of a key; no part has it, as it ends
// strings.
const separator = 0

// ask puts the key together: everything that this process was given and on
// which it depends what is run, but for the arguments.
//
//go:nosplit
//go:norace
func (c *call) ask(uid, gid uint64) bool {
	k := &c.key
	verb := byte('r')
	if c.exec {
		verb = 'e'
	}
	k.add(verb)
	if c.direct {
		k.add('d')
	}
	k.add(separator)
	k.addNumber(uid, 10)
	k.add(separator)
	k.addNumber(gid, 10)
	k.add(separator)
	k.addAt(c.word)
	k.add(separator)
	k.addAt(c.policy)
	k.add(separator)
	k.addAt(c.registry)
	for v := range c.vars {
		k.add(separator)
		if c.vars[v] != 0 {
			k.add('=') // set, and be it to nothing
			k.addAt(c.vars[v])
		}
	}
	k.add(separator)
	n, _, e := syscall.RawSyscall(unix.SYS_GETCWD, uintptr(unsafe.Pointer(&cwdMemory)), unsafe.Sizeof(cwdMemory), 0)
	if e != 0 || n <= 1 || cwdMemory[0] != '/' {
		return false
	}
	k.addAt(uintptr(unsafe.Pointer(&cwdMemory)))
	return !k.full
}

// file puts the image's path together. Which one it is a hash of the key says;
// two keys with the same one take turns.
//
//go:nosplit
//go:norace
func (c *call) file(path *line) bool {
	absolute := uintptr(0)
	switch {
	case c.vars[varState] != 0 && byteAt(c.vars[varState]) == '/':
		path.addAt(c.vars[varState])
	case c.uid == 0:
		path.addString("/var/lib/sbx")
	default:
		absolute = c.vars[varXDG]
		if absolute != 0 && byteAt(absolute) == '/' {
			path.addAt(absolute)
			path.addString("/sbx")
			break
		}
		absolute = c.vars[varHome]
		if absolute == 0 || byteAt(absolute) != '/' {
			return false
		}
		path.addAt(absolute)
		path.addString("/.local/state/sbx")
	}
	h := uint64(14695981039346656037) // FNV-1a
	for i := range c.key.n {
		h = (h ^ uint64(byteAt(c.key.at+i))) * 1099511628211
	}
	path.addString("/")
	path.addString(directory)
	path.addString("/")
	const files = 256 // 40 KiB each: 10 MiB are the most that images take
	path.addNumber(h>>32%files, 16)
	return !path.full
}

// directory is where images are in the state directory.
const directory = "launch"
