#!/bin/sh
# Gets what the tests in guests need: QEMU and a few tools by apt-get install,
# and into the cache, unpacked and not installed, Debian's kernels, and its systemd
# with all that it depends on. Runs again at no cost; --update looks for newer
# point releases of them, --vagrant adds what test/vagrant needs.
# Needs Debian 12 on amd64 with its security archive; sudo when not root.
set -eu

packages='qemu-system-x86 kmod busybox-static zstd lz4 e2fsprogs'
commands='qemu-system-x86_64 depmod busybox zstd lz4 mkfs.ext4'
# What tests run besides sbx itself; vm.mk puts them into the guest.
tools='jq git'
# For test/vagrant: a box built here, and a libvirt that is started by hand.
vagrant_packages='vagrant vagrant-libvirt libvirt-daemon-system libvirt-clients dnsmasq-base iptables qemu-utils mmdebstrap extlinux syslinux-common fdisk rsync openssh-client'
vagrant_commands='vagrant libvirtd virsh dnsmasq iptables qemu-img mmdebstrap extlinux sfdisk rsync ssh'
# Name in the cache, and the package that depends on the newest point release.
kernels='6.12=linux-image-6.12-cloud-amd64 6.1=linux-image-cloud-amd64'

cache=${VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sbx-vm}
PATH=$PATH:/usr/sbin:/sbin
update=
case ${1-} in
'') ;;
--update) update=1 ;;
--vagrant)
	packages="$packages $vagrant_packages"
	commands="$commands $vagrant_commands"
	;;
*) echo "usage: setup.sh [--update | --vagrant]" >&2; exit 2 ;;
esac

say() { echo "vm-setup: $*" >&2; }
die() { say "$@"; exit 1; }
as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"
	elif command -v sudo >/dev/null; then sudo "$@"
	else die "must run as root, there is no sudo: $*"
	fi
}
need_apt() {
	command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
		die "no apt-get here. Needed: the commands $commands $tools, and below $cache/kernels/{6.12,6.1} an unpacked kernel package each, with boot/vmlinuz-* and lib/modules/*/modules.dep, and in $cache/systemd an unpacked systemd with its libraries"
}
lists() {
	[ -z "${listed-}" ] || return 0
	as_root apt-get update -q || die "apt-get update failed"
	listed=1
}

missing=
for c in $commands $tools; do command -v "$c" >/dev/null || missing="$missing $c"; done
# The guest has no libraries before the tests bring theirs: busybox must be static.
if command -v busybox >/dev/null && ldd "$(command -v busybox)" >/dev/null 2>&1; then missing="$missing busybox(static)"; fi
if [ -n "$missing" ]; then
	need_apt
	say "installing for:$missing"
	lists
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $packages $tools
fi

mkdir -p "$cache/kernels"
cd "$cache/kernels"
for k in $kernels; do
	name=${k%%=*} meta=${k#*=}
	if [ -z "$update" ] && ls "$name"/boot/vmlinuz-* >/dev/null 2>&1; then continue; fi
	need_apt
	[ "$(dpkg --print-architecture)" = amd64 ] || die "the harness boots amd64 kernels only"
	newest() { apt-cache depends "$meta" 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1; }
	package=
	[ -n "$update" ] || package=$(newest)
	if [ -z "$package" ]; then lists; package=$(newest); fi
	[ -n "$package" ] || die "apt knows no $meta: Debian 12 and its security archive have it"
	if [ ! -d "$package" ]; then
		say "fetching $package"
		tmp=$(mktemp -d "$cache/fetch.XXXXXX")
		trap 'rm -rf "$tmp"' EXIT
		# apt fetches as its own user where it may enter the directory.
		chmod 755 "$tmp"
		(cd "$tmp" && apt-get download -q "$package") || { lists; (cd "$tmp" && apt-get download -q "$package"); } || die "apt-get download $package failed"
		dpkg -x "$tmp"/*.deb "$tmp/root"
		depmod -b "$tmp/root" "$(ls "$tmp/root/lib/modules")"
		mv "$tmp/root" "$package"
		rm -rf "$tmp"
		trap - EXIT
	fi
	ln -sfn "$package" "$name"
	say "kernel $name is $package"
done

# The packages that apt would install where nothing is: the host's own systemd may
# be another one, or none. Nothing of theirs is run here.
if [ -n "$update" ] || [ ! -e "$cache/systemd/lib/systemd/systemd" ]; then
	need_apt
	[ "$(dpkg --print-architecture)" = amd64 ] || die "the harness boots amd64 guests only"
	tmp=$(mktemp -d "$cache/fetch.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	chmod 755 "$tmp"
	mkdir -p "$tmp/debs/partial" "$tmp/root"
	download() {
		apt-get -q -y -o Debug::NoLocking=1 -o Dir::State::status=/dev/null -o Dir::Cache::archives="$tmp/debs" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
			--no-install-recommends --download-only install systemd >/dev/null
	}
	say "fetching systemd"
	download || { lists; download; } || die "apt-get --download-only install systemd failed"
	for deb in "$tmp"/debs/*.deb; do dpkg -x "$deb" "$tmp/root"; done
	name=$(cd "$tmp/debs" && ls systemd_*.deb | sed 's/_amd64.deb$//')
	rm -rf "$cache/$name"
	mv "$tmp/root" "$cache/$name"
	rm -rf "$tmp"
	trap - EXIT
	ln -sfn "$name" "$cache/systemd"
	say "systemd is $name"
fi
say "ready in $cache"
