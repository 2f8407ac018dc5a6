package hostile_test

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func socketPair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket"), nil
}

// upAWhile waits until the uptime of a guest, which is only just there, can be
// told from that of a run.
func upAWhile(t *testing.T, _ *suite) options {
	for uptime() < 20 {
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(time.Second):
		}
	}
	return options{}
}

// Lines 10 to 14.
var hostTable = []group{
	{line: 10, class: 'E', bare: true, acts: `write-core-pattern write-sysctl-hostname write-sysctl-shmmax write-sysctl-drop-caches
		write-sysctl-overcommit write-sysctl-ip-forward write-irq-affinity write-proc-self-comm write-proc-timerslack`},
	{line: 10, class: 'E', acts: `write-modprobe-path write-sysctl-sysrq write-sysctl-userns write-sysrq-trigger write-sysctl-domainname write-sysctl-memfd-noexec write-sysctl-ns-last-pid write-binfmt-misc write-mtrr write-acpi-wakeup
		write-proc-uid-map write-proc-init-uid-map write-proc-setgroups write-proc-timens`},
	{line: 10, class: 'H', bare: true, acts: "read-cmdline read-interrupts read-iomem read-ioports read-vmallocinfo read-diskstats read-partitions read-swaps read-buddyinfo read-zoneinfo read-proc-cgroups read-softirqs"},
	{line: 10, class: 'H', acts: `read-kmsg read-dev-kmsg read-kcore read-slabinfo read-kpagecount read-kpageflags read-keys read-key-users read-timer-list read-sched-debug
		read-modules read-kallsyms read-config read-pagetypeinfo read-bus-pci read-consoles read-version-signature read-net-arp-host`},
	{line: 10, class: 'E', bare: true, acts: "host-pids kill-host-pid kill-host-group pidfd-host-pid sigqueue-host-pid getpgid-host-pid"},
	{line: 10, class: 'E', acts: "kill-everything"},
	{line: 10, class: 'E', bare: true, acts: "fresh-proc fresh-sysfs fresh-tmpfs fresh-cgroup2 fsopen-proc fsopen-sysfs fsopen-cgroup2 fresh-devpts proc-sys-write"},
	{line: 10, class: 'E', acts: "fresh-cgroup1 fresh-mqueue fresh-overlay"},
	{line: 11, class: 'E', bare: true, acts: "cgroup-write sys-write"},
	{line: 11, class: 'E', acts: `write-cgroup-procs write-cgroup-unified-procs write-release-agent write-sys-power write-sys-uevent write-sys-tracing write-sys-debug write-sys-module-param
		read-sys-release-agent`},
	{line: 11, class: 'H', acts: "read-sys-dmi read-sys-uevent-helper read-sys-vmcoreinfo read-sys-firmware read-sys-block read-sys-net-mac"},
	{line: 12, class: 'E', bare: true, acts: "dev-list dev-tty0 entropy-add entropy-count"},
	{line: 12, class: 'E', acts: `dev-mem dev-port dev-disk-vda dev-disk-sda dev-loop-control dev-loop0 dev-fuse dev-tun dev-vsock dev-vhost-vsock dev-vhost-net dev-kvm dev-tty1 dev-ttyS0
		dev-console dev-hvc0 dev-mapper dev-btrfs dev-hwrng dev-rtc dev-snapshot dev-uinput dev-cpu-dma dev-autofs dev-nvram dev-userfaultfd dev-udmabuf dev-vcs dev-rfkill dev-ppp
		dev-tty-opens host-pts`},
	{line: 14, class: 'H', bare: true, acts: "host-name boot-id proc-cmdline proc-hostname"},
	{line: 14, class: 'H', acts: "domain-name set-host-name set-domain-name machine-id machine-id-dbus etc-hostname etc-hosts"},
	{line: 14, class: 'H', bare: true, setup: upAWhile, acts: "uptime-boottime uptime-monotonic uptime-monotonic-raw uptime-coarse uptime-sysinfo uptime-proc uptime-btime"},
	{line: 14, class: 'H', setup: upAWhile, acts: "uptime-start-time"},
}

// Lines 15 to 19.
var surfaceTable = []group{
	{line: 15, class: 'S', acts: `i386-getpid i386-write i386-open i386-execve i386-ipc i386-socketcall i386-mount i386-ptrace i386-keyctl i386-unshare i386-mmap
		i386-personality i386-vm86 i386-modify-ldt i386-set-thread-area i386-in-child
		x32-getpid x32-read x32-ioctl x32-execve x32-ptrace x32-mount x32-bpf x32-process-vm-readv x32-keyctl x32-waitid
		family-x32-inet family-i386-inet family-i386-vsock socketcall-vsock socketcall-inet socketcall-netlink`},
	{line: 15, class: 'S', needs: realProcessor, acts: emulated},
	{line: 16, class: 'E', bare: true, acts: "family-inet-stray family-netlink-stray stray-personality stray-mmap-wx stray-open"},
	{line: 16, class: 'E', acts: `family-vsock-stray family-alg-stray stray-keyctl stray-ptrace stray-bpf stray-prctl-mm stray-seccomp stray-memfd stray-io-uring stray-userfaultfd stray-perf
		number-high-mount number-high-ptrace number-negative number-sign-bit number-huge family-sweep-stray`},
	{line: 17, class: 'S', bare: true, acts: "family-unix family-inet family-inet-udp family-inet6 family-inet-raw family-netlink-route family-netlink-uevent family-netlink-generic family-sweep"},
	{line: 17, class: 'E', acts: `family-vsock family-vsock-dgram family-netlink-audit family-netlink-netfilter family-netlink-crypto family-packet family-packet-old family-alg family-key`},
	{line: 17, class: 'S', acts: `family-ping family-bluetooth family-can family-xdp family-tipc family-smc family-rds family-mctp family-qipcrtr family-kcm family-x25 family-ax25 family-appletalk
		family-nfc family-pppox family-llc family-phonet family-ieee802154 socketpair-vsock socketpair-tipc`},
	{line: 18, class: 'S', bare: true, acts: `guard-bpf-map guard-bpf-prog guard-ptrace-traceme guard-ptrace-attach guard-process-vm-readv guard-process-vm-writev
		guard-personality-norandom guard-personality-readexec guard-personality-linux32 guard-name-to-handle guard-open-by-handle guard-mount
		guard-fsopen guard-fsmount guard-fsconfig guard-fspick guard-open-tree guard-open-tree-clone guard-move-mount guard-mount-setattr guard-pivot-root guard-chroot guard-setns
		guard-swapon guard-swapoff guard-reboot guard-syslog-size guard-clock-settime guard-settimeofday guard-adjtimex guard-clock-adjtime
		guard-modify-ldt-read guard-vmsplice guard-pidfd-getfd-self
		guard-seccomp-listener guard-seccomp-filter guard-prctl-seccomp guard-process-madvise guard-process-mrelease`},
	{line: 18, class: 'S', bare: true, weak: true, acts: "guard-kcmp guard-pidfd-getfd-init"},
	{line: 18, class: 'S', acts: `guard-io-uring-setup guard-io-uring-enter guard-io-uring-register guard-userfaultfd guard-userfaultfd-kernel guard-perf
		guard-add-key guard-request-key guard-keyctl-session guard-keyctl-user guard-keyctl-join guard-keyctl-read guard-keyctl-persistent guard-ptrace-seize-init
		guard-personality-uname26 guard-umount guard-quotactl guard-quotactl-fd guard-acct guard-syslog-read guard-fanotify-init guard-fanotify-mark guard-modify-ldt-write
		guard-mbind guard-set-mempolicy guard-migrate-pages guard-move-pages guard-get-mempolicy guard-set-mempolicy-home guard-init-module guard-finit-module guard-delete-module
		guard-create-module guard-kexec-load guard-kexec-file-load guard-own-listener guard-lookup-dcookie guard-uselib guard-nfsservctl guard-sysfs guard-ustat guard-sysctl
		guard-withdraw guard-vhangup guard-memfd-secret guard-remap-file-pages guard-ioperm guard-iopl guard-prctl-mm`},
	{line: 19, class: 'S', bare: true, acts: "new-listmount new-statmount new-lsm-list new-lsm-get-self new-mseal new-setxattrat new-getxattrat new-open-tree-attr new-mount-setattr new-pidfd-getfd"},
	{line: 19, class: 'S', acts: `number-hole-335 number-hole-400 new-lsm-set-self new-listxattrat new-removexattrat new-file-getattr new-file-setattr new-listns new-memfd-secret
		new-process-mrelease new-quotactl-fd new-set-mempolicy-home new-sweep-470-600 new-sweep-537-600`},
}
