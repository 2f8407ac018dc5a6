package feature

// probe is a feature and how to try it.
type probe struct {
	Feature
	try func(host) (present bool, detail string)
}

// delegate is the fix for a controller that this process cannot use.
const delegate = "boot with systemd.unified_cgroup_hierarchy=1 (cgroup v2 alone); for a service add the unit line Delegate=yes"

// probes in the order in which doctor shows them. Sources of the minimum
// kernels: man pages of namespaces(7), cgroups(7), seccomp(2),
// mount_setattr(2), landlock(7), PR_SET_MDWE(2const), proc(5).
var probes = []probe{
	{Feature{
		Name: "userns", MinKernel: "3.8",
		Cost: "an ordinary user cannot run anything; root runs without idmapped trees and without the second wall around privileges",
		Fix:  "sysctl user.max_user_namespaces=15000; on Debian sysctl kernel.unprivileged_userns_clone=1; on Ubuntu sysctl kernel.apparmor_restrict_unprivileged_userns=0 or an AppArmor profile with userns",
	}, tryUserNS},
	{Feature{
		Name: "timens", MinKernel: "5.6",
		Cost: "the uptime of the host shows inside",
		Fix:  "a kernel built with CONFIG_TIME_NS",
	}, nsFile("time")},
	{Feature{
		Name: "cgroup2", MinKernel: "4.5",
		Cost: "no accounting by group and no cgroup.kill; the end of init still ends the run",
		Fix:  "mount -t cgroup2 none /sys/fs/cgroup, or " + delegate,
	}, func(h host) (bool, string) { return h.cgroup != "", h.cgroupDetail }},
	{Feature{Name: "cgroup.memory", MinKernel: "4.5", Cost: "memory is summed by the supervisor, and only when it looks", Fix: delegate}, controller("memory")},
	{Feature{Name: "cgroup.pids", MinKernel: "4.5", Cost: "processes are bounded by RLIMIT_NPROC, or only counted", Fix: delegate}, controller("pids")},
	{Feature{Name: "cgroup.cpu", MinKernel: "4.15", Cost: "cpu_max and cpu_weight are not held", Fix: delegate}, controller("cpu")},
	{Feature{Name: "cgroup.io", MinKernel: "4.5", Cost: "io_max is not held", Fix: delegate}, controller("io")},
	{Feature{
		Name: "cgroup.kill", MinKernel: "5.14",
		Cost: "a run is ended through its PID namespace alone",
		Fix:  delegate,
	}, tryCgroupKill},
	{Feature{
		Name: "seccomp", MinKernel: "4.14",
		Cost: "nothing runs: the filter is never left out",
		Fix:  "a kernel built with CONFIG_SECCOMP_FILTER",
	}, seccompAction("kill_process", retKillProcess)},
	{Feature{
		Name: "seccomp.notify", MinKernel: "5.0",
		Cost: "nothing runs: without a listener a refused call of a child would not end the run",
		Fix:  "a kernel built with CONFIG_SECCOMP_FILTER, and a container runtime whose own filter lets seccomp(2) pass",
	}, seccompAction("user_notif", retUserNotif)},
	{Feature{
		Name: "idmap", MinKernel: "5.12",
		Cost: "write trees of others than the run's own user, and trees shown as owner, are refused; what an ordinary user starts has his own id and needs it for nothing",
		Fix:  "start as root, with user.max_user_namespaces above 0, on a file system that has idmapped mounts (ext4, xfs, btrfs; tmpfs from 6.3)",
	}, tryIdmap},
	{Feature{
		Name: "landlock", MinKernel: "5.19",
		Cost: "one wall less around files: those given as 0, 1 and 2 can be opened anew with the run's rights, and FIFOs that are shown read-only written to",
		Fix:  "a kernel built with CONFIG_SECURITY_LANDLOCK and landlock in lsm= on its command line",
	}, tryLandlock},
	{Feature{
		Name: "mdwe", MinKernel: "6.3",
		Cost: "write-and-execute memory is refused by argument rules, which make mmap and mprotect slower",
		Fix:  "a newer kernel",
	}, tryMDWE},
	{Feature{
		Name: "proc.subset", MinKernel: "5.8",
		Cost: "a run whose policy says proc: subset, the default, does not start; proc: full shows more of the host",
		Fix:  "a newer kernel; inside a container, one whose /proc is not masked",
	}, tryProcSubset},
}
