#!/bin/sh
# Called by run.sh in the private namespaces: starts libvirtd, brings the machine
# up, runs the tests or the given command, destroys the machine.
set -eu
[ "$$" = 1 ] || { echo "inside.sh: not process 1: run.sh is the one to call" >&2; exit 1; }
here=$(cd "$(dirname "$0")" && pwd)
state=$SBX_VAGRANT_STATE
PATH=$PATH:/usr/sbin:/sbin
begin=$(date +%s)
lap() { echo "## $(($(date +%s) - begin)) s: $*" >&2; }

ip link set lo up
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/libvirt
mkdir -p "$state/var/images" "$state/var/qemu" "$state/var/dnsmasq" "$state/var/boot" "$state/etc" "$state/home"
mount --bind "$state/var" /var/lib/libvirt
cp -a /etc/libvirt/. "$state/etc/"
# No security driver, no cgroups of the host's, no helper daemons: the machine is
# alone in its namespaces.
cat > "$state/etc/qemu.conf" <<'C'
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
security_default_confined = 0
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
seccomp_sandbox = 0
C
mount --bind "$state/etc" /etc/libvirt
libvirtd -d -p /run/libvirtd.pid
ready=
for _ in $(seq 150); do
	if virsh -c qemu:///system version >/dev/null 2>&1; then ready=1; break; fi
	sleep 0.1
done
[ -n "$ready" ] || { echo "inside.sh: libvirtd does not answer" >&2; exit 1; }
virsh -c qemu:///system pool-define-as default dir --target /var/lib/libvirt/images >/dev/null
virsh -c qemu:///system pool-start default >/dev/null
lap "libvirtd is ready"

export VAGRANT_HOME="$state/home" VAGRANT_DOTFILE_PATH="$state/dot" VAGRANT_DEFAULT_PROVIDER=libvirt
export VAGRANT_CHECKPOINT_DISABLE=1 VAGRANT_NO_COLOR=1 SBX_BOX=sbx/debian12
cd "$here/../.."
vagrant box add --name "$SBX_BOX" "$SBX_BOX_FILE" >&2
lap "the box is added"
# The namespaces would end it too; asked first, its disk is closed in order.
trap 'vagrant destroy -f >/dev/null 2>&1 || true' EXIT
status=0
vagrant up --no-tty >&2 || status=$?
lap "vagrant up: status $status"
if [ "$status" != 0 ]; then
	virsh -c qemu:///system list --all >&2
	tail -n 40 /var/log/libvirt/qemu/*.log >&2 2>/dev/null || true
	exit "$status"
fi
vagrant ssh -c "${1:-sh /vagrant/test/vagrant/guest.sh}" || status=$?
lap "in the machine: status $status"
exit "$status"
