package nsexec

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/weak"
)

// IDsPerRun is the size of one run's block of host ids, which is numbered by
// init's pid. Its first id is the run's, its second one stands for ids on disk
// that nobody in the run may be.
const IDsPerRun = 32

// HostIDs are a run's ids outside.
type HostIDs struct {
	// UID and GID are those of the workload; never 0.
	UID, GID uint32
	// Nobody is an id that no process and no file has. In an idmapped tree it
	// stands for an owner on disk whom nobody in the run may be.
	Nobody uint32
}

// WriteMaps gives the user namespace that init has entered (a NeedMaps
// record) its maps: InsideID is the run's uid and gid outside, and nothing
// else is mapped. Needs CAP_SETUID and CAP_SETGID.
func (c *Child) WriteMaps(run HostIDs) error {
	if (run.UID == 0 || run.GID == 0) && !weak.Off("ids") {
		return errors.New("nsexec: a run never has id 0 (this is a bug)")
	}
	base := "/proc/" + strconv.Itoa(c.PID)
	if err := weak.Err("maps"); err != nil {
		return err
	}
	if err := writeFile(base+"/uid_map", ids(InsideID, run.UID)); err != nil {
		return err
	}
	return writeFile(base+"/gid_map", ids(InsideID, run.GID))
}

// Proceed lets init go on after WriteMaps, or after nothing when it waits
// for the descriptors fds (the user namespaces of mapped trees, in order).
// unix.EPIPE: init has gone; its last record says why.
func (c *Child) Proceed(fds ...int) error {
	if err := weak.Err("proceed"); err != nil {
		return err
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	err := unix.Sendmsg(c.control, []byte{1}, oob, nil, unix.MSG_NOSIGNAL)
	if err == unix.ECONNRESET { // gone, and it had not read all
		err = unix.EPIPE
	}
	return err
}

func writeFile(path, s string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte(s))
		unix.Close(fd)
	}
	if err != nil {
		return errors.New("write " + strconv.Quote(path) + ": " + err.Error())
	}
	return nil
}
