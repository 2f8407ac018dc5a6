package main

// What passes between the host and the guest:
//
//	host                                   guest
//	                  result: ready   <──  booted; from here on a saved machine goes on
//	job: one job, as a JSON line      ──>
//	                  result: started <──  the job is read; it will not be tried again
//	disk "job": a tar of files        ──>  unpacked on /
//	                stdout, stderr    <──  of the program, as it comes
//	                         files    <──  a tar of /vm/out, after the program ended
//	                  result: ended   <──  exit status; then the machine resets, which ends QEMU
//
// A connection that ends without "ended" is a crash.

// Names of the virtio-serial ports. QEMU gets them in this order.
const (
	portResult = "result"
	portStdout = "stdout"
	portStderr = "stderr"
	portFiles  = "files"
	portJob    = "job"
)

var ports = []string{portResult, portStdout, portStderr, portFiles, portJob}

// Serial numbers of the virtio disks, by which the guest finds them.
const (
	diskJob     = "job"
	diskScratch = "scratch"
)

// Places in the guest.
const (
	guestProgram = "/vm/prog"    // the program under test
	guestOut     = "/vm/out"     // what comes back to the host
	guestModules = "/vm/modules" // kernel modules, loaded in the order of their names
	guestScratch = "/scratch"    // the ext4 disk
	guestCgroup  = "/sys/fs/cgroup"
	guestLeaf    = guestCgroup + "/test" // where the program starts
)

// job is what differs from run to run, besides the files.
type job struct {
	Args []string `json:"args"` // never empty
	Env  []string `json:"env"`  // "name=value", complete: nothing is inherited
	Dir  string   `json:"dir"`  // working directory, which the tar creates
	Dirs []string `json:"dirs"` // to create below guestOut before the start
	Now  int64    `json:"now"`  // wall clock in nanoseconds since 1970
	Seed []byte   `json:"seed"` // for the guest's random numbers, which a saved machine would repeat
}

// state is a step of the guest; the zero value is no step.
type state string

const (
	stateReady   state = "ready"
	stateStarted state = "started"
	stateEnded   state = "ended"
	stateBroken  state = "broken" // the guest's own side failed: Error says how
)

// report is one JSON line on the port "result".
type report struct {
	State  state   `json:"state"`
	Exit   int     `json:"exit"`   // with ended: the status, 128+n after signal n
	Error  string  `json:"error"`  // with broken
	Uptime float64 `json:"uptime"` // seconds since the guest's kernel started
}
