#!/bin/sh
# Brings the Vagrantfile's machine up with a box built here, runs the integration
# tests in it under systemd and destroys it. All of it (libvirtd, dnsmasq, bridge,
# firewall rules, QEMU) lives in private mount, network and PID namespaces
# and is gone when this ends, whatever happens. Nothing is reachable from the
# machine but this script. Needs root and test/vm/setup.sh --vagrant.
#   run.sh [COMMAND]     COMMAND runs in the machine in place of the tests
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ "$(id -u)" = 0 ] || { echo "run.sh: needs root: it starts a libvirtd of its own" >&2; exit 1; }
SBX_BOX_FILE=$("$here/box.sh")
SBX_VAGRANT_STATE=$(mktemp -d)
export SBX_BOX_FILE SBX_VAGRANT_STATE
trap 'rm -rf "$SBX_VAGRANT_STATE"' EXIT
trap 'exit 1' INT TERM
unshare --mount --net --pid --fork --mount-proc --kill-child --propagation private -- "$here/inside.sh" "$@"
