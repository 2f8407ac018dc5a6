#!/bin/sh
# Run by Vagrant as root in the machine: what sbx and its tests need beyond a
# minimal Debian. The box of box.sh has it, so nothing is fetched there.
set -eu
missing=
for c in jq git rsync; do command -v "$c" >/dev/null || missing="$missing $c"; done
ldconfig -p | grep -q 'libseccomp\.so\.2' || missing="$missing libseccomp2"
if [ -n "$missing" ]; then
	apt-get update -q
	# Word splitting wanted: one argument per package.
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
fi
