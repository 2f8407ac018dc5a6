package cgroup

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// killRounds bounds the fallback of Kill. Each round kills every process that
// the one before did not see; a fork bomb of some hundred processes under
// pids.max ends within a few.
const killRounds = 1000

// Kill sends SIGKILL to every process of the leaf and of groups below it, by
// cgroup.kill (Linux 5.14), which also catches what is being forked. Where
// that file is missing the processes are killed one by one until none is
// listed. It does not wait for them to be gone: Delete does. Safe for
// concurrent use, until Delete or Close.
func (l *Leaf) Kill() error { return kill(l.fd, l.Path()) }

func kill(fd int, path string) error {
	err := writeFile(fd, "cgroup.kill", "1")
	if isErrno(err, unix.ENOENT) {
		err = killEach(fd)
	}
	return wrap("kill cgroup", path, gone(err))
}

// killEach is Kill without cgroup.kill. A process is killed through a
// descriptor (Linux 5.3) that was opened before the second look at
// cgroup.procs: a pid listed then was the same process all along, so a reused
// number is never hit.
func killEach(fd int) error {
	// A frozen group cannot fork away from us, and SIGKILL ends frozen
	// processes (cgroup-v2.rst, cgroup.freeze, Linux 5.2). Without it the
	// rounds below do.
	_ = writeFile(fd, "cgroup.freeze", "1")
	for range killRounds {
		pids, err := procs(fd, 0)
		if err != nil || len(pids) == 0 {
			return err
		}
		handles := make(map[int]int, len(pids))
		for _, pid := range pids {
			if h, err := unix.PidfdOpen(pid, 0); err == nil {
				handles[pid] = h
			}
		}
		again, err := procs(fd, 0)
		for _, pid := range again {
			if h, ok := handles[pid]; ok {
				_ = unix.PidfdSendSignal(h, unix.SIGKILL, nil, 0)
			}
		}
		waitGone(handles)
		for _, h := range handles {
			unix.Close(h)
		}
		if err != nil {
			return err
		}
	}
	return ErrPopulated
}

// waitGone gives killed processes up to a millisecond to leave the list: a
// pidfd is readable when its process has ended.
func waitGone(handles map[int]int) {
	for _, h := range handles {
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(h), Events: unix.POLLIN}}, 1)
		return
	}
}

// Procs lists the processes of the leaf and of groups below it, in the pid
// namespace of the caller; what is not visible there is left out. Order is the
// kernel's; a process that moves while it is read may be missing.
func (l *Leaf) Procs() ([]int, error) {
	pids, err := procs(l.fd, 0)
	return pids, wrap("list cgroup", l.Path(), err)
}

func procs(fd, depth int) ([]int, error) {
	text, err := readFile(fd, "cgroup.procs")
	if err != nil {
		return nil, gone(err)
	}
	var pids []int
	for line := range strings.Lines(text) {
		if pid, err := strconv.Atoi(strings.TrimSuffix(line, "\n")); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	// Two entries are the directory's own "." and "..": each child group
	// adds one link (fs/kernfs/inode.c, kernfs_refresh_inode).
	if links(fd) <= 2 || depth == maxDepth {
		return pids, nil
	}
	names, err := children(fd)
	if err != nil {
		return pids, gone(err)
	}
	for _, name := range names {
		child, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		below, err := procs(child, depth+1)
		unix.Close(child)
		if err != nil {
			return pids, err
		}
		pids = append(pids, below...)
	}
	return pids, nil
}

// links is the link count of an open directory, 2 and one for each directory
// below it; 0 when it cannot be had.
func links(fd int) uint64 {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return 0
	}
	return uint64(st.Nlink)
}
