#!/bin/sh
# Fills ROOT, an empty file system, with the Debian 12 of the box: systemd, ssh, the
# kernel 6.12 of the security archive, the user vagrant with sudo. SEED is an
# empty directory for its own use. SBX_MIRROR replaces deb.debian.org.
# usage: root.sh ROOT SEED
set -eu
root=$1 seed=$2
mirror=${SBX_MIRROR:-http://deb.debian.org}
key=$(find /usr/share -path '*vagrant*' -name vagrant.pub 2>/dev/null | head -n 1)
[ -n "$key" ] || { echo "root.sh: no vagrant.pub below /usr/share: run test/vm/setup.sh --vagrant" >&2; exit 1; }
cp "$key" "$seed/vagrant.pub"
cat > "$seed/configure" <<'C'
#!/bin/sh
# Run by mmdebstrap with the new root as $1.
set -eu
chroot "$1" useradd -m -s /bin/bash vagrant
echo 'vagrant ALL=(ALL) NOPASSWD: ALL' > "$1/etc/sudoers.d/vagrant"
chmod 440 "$1/etc/sudoers.d/vagrant"
# Vagrant's own public key, known to everybody: the box listens on a private network only.
mkdir -p -m 700 "$1/home/vagrant/.ssh"
cp "${0%/*}/vagrant.pub" "$1/home/vagrant/.ssh/authorized_keys"
chmod 600 "$1/home/vagrant/.ssh/authorized_keys"
chroot "$1" chown -R vagrant:vagrant /home/vagrant/.ssh
printf 'auto lo\niface lo inet loopback\nallow-hotplug eth0\niface eth0 inet dhcp\n' > "$1/etc/network/interfaces"
echo sbxtest > "$1/etc/hostname"
echo '127.0.0.1 localhost sbxtest' > "$1/etc/hosts"
echo 'LABEL=root / ext4 defaults,noatime 0 1' > "$1/etc/fstab"
echo 'UseDNS no' >> "$1/etc/ssh/sshd_config"
for unit in apt-daily.timer apt-daily-upgrade.timer; do ln -sf /dev/null "$1/etc/systemd/system/$unit"; done
rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin
C
chmod +x "$seed/configure"
mmdebstrap --variant=minbase --mode=root --format=directory \
	--aptopt='Acquire::Languages "none"' \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
	--include=systemd-sysv,udev,dbus,openssh-server,sudo,iproute2,ifupdown,isc-dhcp-client,linux-image-6.12-cloud-amd64,initramfs-tools,zstd,rsync,kmod,procps,libseccomp2,jq,git,ca-certificates \
	--customize-hook="$seed/configure" \
	bookworm "$root" \
	"deb $mirror/debian bookworm main" \
	"deb $mirror/debian bookworm-updates main" \
	"deb $mirror/debian-security bookworm-security main"
