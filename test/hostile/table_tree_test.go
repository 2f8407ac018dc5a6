package hostile_test

import (
	"os"
	"testing"

	"github.com/sbx-project/sbx/internal/testenv"
)

func needRoot(t *testing.T) { testenv.Root(t) }

func planted0(t *testing.T, _ caller) { needRoot(t) }

// Lines 1 to 4.
var identityTable = []group{
	{line: 1, class: 'E', bare: true, acts: "uid-is-zero euid-is-zero gid-is-zero"},
	{line: 1, class: 'E', acts: "setuid-0 setreuid-0 setresuid-0 setgid-0 setresgid-0 setfsuid-0 setfsgid-0"},
	{line: 1, class: 'E', bare: true, acts: "setresuid-other setgroups-0"},
	{line: 1, class: 'E', bare: true, needs: planted0, acts: "read-root-0600 read-root-0600-rw write-root-0644 chmod-root-file create-in-root-dir"},
	{line: 2, class: 'S', bare: true, acts: "cap-permitted cap-effective cap-bounding no-new-privs seccomp-mode no-new-privs-clear capset-sys-admin securebits-set"},
	{line: 2, class: 'S', acts: "cap-inheritable cap-ambient securebits-keep capset-all ambient-raise"},
	{line: 2, class: 'S', acts: "extra-groups"},
	{line: 2, class: 'S', needs: planted0, acts: "exec-suid-root exec-sgid-root exec-file-cap exec-suid-root-rw"},
	{line: 3, class: 'E', bare: true, acts: `chmod-suid fchmod-suid fchmodat-suid fchmodat2-suid fchmodat2-empty-suid chmod-procfd-suid
		chmod-stray-suid chmod-sgid open-suid open-stray-suid openat-sgid openat-suid creat-suid openat2-suid tmpfile-suid
		mkdir-sgid mkdirat-sgid mknod-suid mknodat-suid mknod-mem mknodat-kmsg mknod-whiteout rename-whiteout mknod-block
		xattr-capability xattr-capability-v3 xattr-trusted chown-root fchown-root fchownat-root lchown-root chown-nobody
		immutable-setflags immutable-fssetxattr append-only-setflags`},
	{line: 3, class: 'E', acts: "chmod-i386-suid xattrat-capability immutable-file-setattr project-id"},
	{line: 3, class: 'E', bare: true, needs: planted0, acts: "link-suid-root write-suid-root truncate-suid-root chmod-suid-root linkat-suid-root"},
	{line: 4, class: 'S', acts: `raise-cpu raise-fsize raise-core raise-nproc raise-nofile raise-memlock raise-as raise-sigpending raise-msgqueue
		raise-nice raise-rtprio setrlimit-core setrlimit-nofile prlimit-stray-nofile`},
	{line: 4, class: 'S', bare: true, acts: "sched-fifo sched-rr sched-fifo-stray sched-attr-fifo sched-attr-nice nice-process nice-group ioprio-realtime"},
	{line: 4, class: 'S', acts: "sched-attr-deadline sched-attr-util nice-user ioprio-realtime-user oom-adj-down"},
	{line: 4, class: 'S', acts: "oom-score-down oom-score-init init-limit init-nice init-sched init-affinity init-ioprio"},
}

func submount(t *testing.T, s *suite) options { return options{wrap: []string{"+submount", s.ro}} }

func late(t *testing.T, s *suite) options { return options{wrap: []string{"+late", s.ro}} }

func needMounts(t *testing.T, _ caller) { needRoot(t) }

// Lines 5 to 9.
var filesTable = []group{
	{line: 5, class: 'S', bare: true, acts: `unshare-user unshare-mnt unshare-pid unshare-net unshare-ipc unshare-uts unshare-cgroup unshare-time
		
		clone-user clone-mnt clone-pid clone-net clone-ipc clone-uts clone-cgroup
		clone-stray-user clone-stray-mnt clone-stray-pid clone-stray-net clone-stray-ipc clone-stray-uts clone-stray-cgroup
		clone3-user clone3-mnt clone3-pid clone3-net clone3-ipc clone3-uts clone3-cgroup clone3-time clone-vfork-user
		setns-net setns-user setns-mnt userns-chain private-user private-pid private-net private-cgroup private-time`},
	{line: 5, class: 'S', acts: "unshare-stray-user unshare-stray-mnt unshare-stray-pid unshare-stray-net unshare-stray-ipc unshare-stray-uts unshare-stray-cgroup unshare-stray-time unshare-i386-user clone-i386-user clone3-i386-user unshare-x32-user clone-x32-user setns-pidfd-init private-mnt private-ipc private-uts"},
	{line: 6, class: 'E', bare: true, acts: `secret-open secret-stat secret-access secret-statx secret-openat2 secret-statfs secret-xattr secret-path-fd
		secret-write secret-inotify secret-utime secret-link secret-dir-list secret-dir-chdir secret-dir-stat
		via-dotdot via-deep-dotdot via-symlink via-self-root via-self-cwd via-fd-dotdot via-thread-root via-relative via-proc-fd
		via-rootfd-dotdot via-all-proc-fds chroot-escape host-home host-root host-boot host-srv host-shadow host-log
		host-lib-dpkg host-passwd create-in-parent`},
	{line: 6, class: 'E', bare: true, weak: true, acts: "via-init-root via-task-root"},
	{line: 6, class: 'E', needs: planted0, acts: "via-file-handle"},
	{line: 6, class: 'E', acts: `secret-rename via-init-cwd via-oldroot parent-list create-in-root create-in-etc create-in-usr create-in-usr-bin create-in-dev create-in-pts create-in-proc
		create-in-run create-in-var create-in-home create-in-var-tmp create-in-sys create-in-bundle host-ssh host-crontab host-sudoers host-run-lock host-fstab`},
	{line: 7, class: 'E', bare: true, acts: `ro-write ro-truncate-open ro-rdwr ro-append ro-create ro-unlink ro-rename ro-mkdir ro-rmdir ro-chmod ro-utime ro-setxattr
		ro-truncate ro-symlink ro-link ro-mkfifo ro-tmpfile ro-exchange ro-reopen-procfd ro-reopen-path-fd ro-fchmod ro-chmod-procfd ro-futime
		ro-link-out ro-link-fd-out ro-rename-out ro-rename-in ro-chown ro-setflags ro-openat2 ro-usr-write`},
	{line: 7, class: 'E', acts: "ro-fallocate ro-clone-range ro-copy-range ro-map-shared ro-usr-create ro-etc-write"},
	{line: 7, class: 'E', needs: needMounts, setup: submount, acts: `ro-sub-write ro-sub-truncate-open ro-sub-rdwr ro-sub-append ro-sub-create ro-sub-unlink ro-sub-rename
		ro-sub-mkdir ro-sub-rmdir ro-sub-chmod ro-sub-utime ro-sub-setxattr ro-sub-truncate ro-sub-symlink ro-sub-link ro-sub-mkfifo ro-sub-tmpfile
		ro-sub-exchange ro-sub-reopen-procfd ro-sub-reopen-path-fd ro-sub-fchmod ro-sub-chmod-procfd ro-sub-futime ro-sub-link-out ro-sub-link-fd-out
		umount-sub`},
	{line: 7, class: 'E', bare: true, acts: "open-tree-setattr open-tree-attr mount-bind mount-tmpfs mount-shared umount-proc remount-root remount-proc"},
	{line: 7, class: 'E', acts: "remount-bind remount-super mount-setattr mount-setattr-recursive fspick-reconfigure umount-tree remount-i386"},
	{line: 7, class: 'E', bare: true, acts: "ro-fifo-write"},
	{line: 7, class: 'E', bare: true, needs: open("a FIFO in a read tree can be read"), acts: "ro-fifo-read"},
	{line: 8, class: 'E', bare: true, needs: needMounts, setup: submount, acts: "hidden-beneath"},
	{line: 8, class: 'E', long: true, needs: needMounts, setup: late, acts: "late-mount"},
	{line: 12, class: 'E', bare: true, needs: planted0, acts: "ro-device-node rw-device-node"},
	{line: 9, class: 'H', bare: true, acts: `unix-stream-ro unix-stream-rw unix-seqpacket-ro unix-dgram-connect-ro unix-dgram-sendto-ro unix-dgram-sendmsg-ro unix-dgram-sendmmsg-ro
		unix-dgram-sendto-rw unix-pair-dgram-connect unix-pair-dgram-sendto unix-pair-dgram-sendmsg unix-pair-raw-sendmsg unix-pair-dgram-cloexec unix-pair-dgram-stray
		unix-socket-stray unix-abstract-stream unix-abstract-stray unix-bind-rw`},
	{line: 9, class: 'H', acts: "unix-socket-i386 socketcall-unix socketcall-abstract"},
	{line: 9, class: 'E', bare: true, setup: withSocket, needs: open("a connected local stream given as 0, 1 or 2 is the caller's word"), acts: "stdin-socket"},
}

// withSocket gives a socket of the host as standard input.
func withSocket(t *testing.T, s *suite) options {
	a, b, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return options{stdin: a}
}

func withDir(t *testing.T, s *suite) options {
	d, err := os.Open(s.out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return options{stdin: d}
}
