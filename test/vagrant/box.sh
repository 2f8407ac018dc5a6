#!/bin/sh
# Builds the box sbx-debian12.box for the libvirt provider: MBR, extlinux and the
# root file system on one ext4 partition, as qcow2. It prints the box's path.
# The box is kept in the cache and built again when one of these scripts changes.
# Needs root (a loop device, a mount) and test/vm/setup.sh --vagrant; 3 to 5 minutes.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:/usr/sbin:/sbin
cache=${VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sbx-vm}/box
key=$(cat "$here/root.sh" "$here/box.sh" | sha256sum | cut -c 1-16)
box=$cache/sbx-debian12-$key.box
if [ -f "$box" ]; then echo "$box"; exit 0; fi

# The mounts below are seen by nobody else, and end with this script.
if [ -z "${SBX_BOX_PRIVATE-}" ]; then
	SBX_BOX_PRIVATE=1 exec unshare --mount --propagation private -- "$0" "$@"
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/build.XXXXXX")
loop=
cleanup() {
	umount "$work/mnt" 2>/dev/null || true
	[ -z "$loop" ] || losetup -d "$loop" || true
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

start=2048 # sectors of 512 bytes; room for the boot loader's first stage
truncate -s 3G "$work/disk.raw"
echo "$start,,83,*" | sfdisk -q "$work/disk.raw" >&2
loop=$(losetup -f --show -o $((start * 512)) "$work/disk.raw")
# extlinux does not read file systems with the 64bit feature.
mkfs.ext4 -q -L root -O '^64bit' "$loop" >&2
mkdir "$work/mnt" "$work/seed"
mount "$loop" "$work/mnt"
chmod 755 "$work" # apt's own user must be able to enter
"$here/root.sh" "$work/mnt" "$work/seed" >&2
kernel=$(cd "$work/mnt/boot" && ls vmlinuz-* | sort -V | tail -n 1)
cat > "$work/mnt/boot/extlinux.conf" <<C
DEFAULT linux
PROMPT 0
TIMEOUT 1
LABEL linux
  KERNEL /boot/$kernel
  INITRD /boot/initrd.img-${kernel#vmlinuz-}
  APPEND root=LABEL=root ro console=ttyS0 quiet net.ifnames=0 biosdevname=0 no_timer_check tsc=reliable random.trust_cpu=on
C
extlinux --install "$work/mnt/boot" >/dev/null 2>&1
fstrim "$work/mnt" # what the installation deleted would be packed too
umount "$work/mnt"
losetup -d "$loop"
loop=
dd if=/usr/lib/syslinux/mbr/mbr.bin of="$work/disk.raw" conv=notrunc bs=440 count=1 status=none
qemu-img convert -O qcow2 -c "$work/disk.raw" "$work/box.img" >&2
printf '{"provider":"libvirt","format":"qcow2","virtual_size":3}\n' > "$work/metadata.json"
printf 'Vagrant.configure("2") { |c| }\n' > "$work/Vagrantfile"
tar -C "$work" -czf "$work/box" metadata.json Vagrantfile box.img
mv "$work/box" "$box"
echo "$box"
