#!/bin/sh
# Runs in the box: the integration tests as a transient unit with a delegated
# cgroup, as the real service would have one. The binaries come with the rsync
# folder, as the vagrant user's; sbx wants its own and its programs' directories to be root's.
set -eu
src=/vagrant/bin
[ -x "$src/integration.test" ] || { echo "guest.sh: no $src/integration.test: run make test-vagrant" >&2; exit 1; }
sudo rm -rf /opt/sbx
sudo install -d -o root -g root /opt/sbx/bin /opt/sbx/integration
sudo install -o root -g root -m 755 "$src/sbx" "$src/sbxd" "$src/integration.test" /opt/sbx/bin/
if [ -d /vagrant/test/integration/testdata ]; then
	sudo cp -r --no-preserve=ownership /vagrant/test/integration/testdata /opt/sbx/integration/
fi
exec sudo systemd-run --quiet --collect --wait --pipe --unit=sbx-test \
	-p Delegate=yes -p TasksMax=infinity -p WorkingDirectory=/opt/sbx/integration \
	-E SBX_TEST_ROOT=1 -E SBX_TEST_BIN=/opt/sbx/bin -E HOME=/root \
	/opt/sbx/bin/integration.test -test.v -test.timeout=30m
