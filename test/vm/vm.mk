# Tests in QEMU guests; included by the Makefile. See test/vm/main.go.
#
#   make vm-setup                 QEMU and the kernels (apt), once
#   make vm-self [KERNEL=6.1]     does the harness itself hold what it promises
#   make test-vm                  test/integration on both kernels, from saved machines, but for VM_OF_THE_HOST
#   make test-vm-matrix           the same, booted cold
#   make test-vm-hostile          test/hostile and test/agree in full: every act by one caller on each kernel
#   make test-vm-systemd          test/systemd, the units of dist, in a guest whose process 1 is Debian's systemd
#   make test-vagrant             test/integration under systemd in a Vagrant box: rare, minutes
#
# By hand, with any flags of go test:
#
#   make vm-tools
#   go test -count=1 -v -run TestLimits -exec "$(make -s vm-exec KERNEL=6.1)" ./test/integration
#
# -count=1 because go test would otherwise show a cached result of the other kernel.
# Variables: KERNEL, VM_ARGS (more flags of vmexec, as -v), VM_FILES (more files
# for the guest, src[=dst],...), VM_TESTFLAGS (flags of go test).

KERNEL ?= 6.12
VM_KERNELS ?= 6.12 6.1
VM_ARGS ?=
VM_TESTFLAGS ?=
VM_TIMEOUT ?= 30m
VMEXEC_BIN = $(CURDIR)/bin/vmexec

# Real programs for the guest, besides the busybox that it has: what scripts of
# the tests call by these names is then what a Debian has.
VM_PROGRAMS ?= /usr/bin/dash=/usr/bin/sh $(wildcard /usr/bin/bash /usr/bin/dash /usr/bin/cat /usr/bin/env /usr/bin/git /usr/bin/grep /usr/bin/id /usr/bin/jq /usr/bin/ls /usr/bin/sleep /usr/bin/tar)

comma := ,
empty :=
space := $(empty) $(empty)
VM_GUEST_FILES = $(subst $(space),$(comma),$(strip $(CURDIR)/bin/sbx=/vm/bin/sbx $(CURDIR)/bin/sbxd=/vm/bin/sbxd $(VM_PROGRAMS) $(VM_FILES)))

# Programs in C of the tests, which a guest has no compiler for. The flags are
# those of the tests' own main_test.go.
VM_C_PROGRAMS = bin/hostile bin/agree-probe
VM_C_FILES = $(subst $(space),$(comma),$(foreach p,$(VM_C_PROGRAMS),$(CURDIR)/$(p)=/vm/$(p)))
VM_C_ENV = SBX_TEST_SLOW=1 SBX_TEST_HOSTILE=/vm/bin/hostile SBX_TEST_PROBE=/vm/bin/agree-probe

# Tests of the daemon and the registry that take an emulated processor minutes,
# or want the programs of a Debian, and depend on no kernel.
VM_OF_THE_HOST = Activated ActivatedOther AfterProbation BesideDaemon BrokenUpdateKeepsWhatRuns ConfigurationIsFollowed DaemonKilled DaemonKilledWhileChanging \
	DaemonQuarantines Distrusted Drain DrainUnderCalls EarlyCounts EarlyKilled EarlyServed Floors KilledWhileLoading Load NewestSnapshotDamaged Operate OthersDaemon \
	PlanDamaged PlanOfAnother PolicyChanged ProgramSwappedInALoop QuarantineRefuses ReloadVerb RevertBudget RevertToldOnce Rollback RunKeepsItsBundle RunningIsSmall \
	RunsUnderReload Same SameClosedPipe SameSignals SameStatusDescriptor SameStopped SecretParameter SignedOnly Status TCPWithTLS UnauditedRunDoesNotStart \
	VerbsOnRuns ViolationsAfterProbation WaitingIsSmall WarmIsUsed
VM_SKIP = ^Test($(subst $(space),|,$(strip $(VM_OF_THE_HOST))))$$

# For test/systemd, which installs what dist/README.md says.
VM_SYSTEMD_FILES = $(CURDIR)/dist=/vm/dist
VM_SYSTEMD_ENV = SBX_TEST_SYSTEMD=1 SBX_TEST_DIST=/vm/dist

# The program for go test -exec. VM_FILES is on the line, so not in the environment.
VMEXEC = $(VMEXEC_BIN) -kernel $(KERNEL) -files $(VM_GUEST_FILES) $(VM_ARGS)
vm_test = SBX_TEST_ROOT=1 SBX_TEST_BIN=/vm/bin go test -count=1 -timeout $(VM_TIMEOUT) $(VM_TESTFLAGS)
vm_integration = $(vm_test) -skip '$(VM_SKIP)' -exec "$(VMEXEC_BIN) -kernel $(1) -files $(VM_GUEST_FILES) $(VM_ARGS) $(2)" ./test/integration/...

.PHONY: vm-setup vm-tools vm-programs vm-exec vm-hostile-files vm-hostile-env vm-of-the-host vm-systemd-exec vm-systemd-env vm-self test-vm test-vm-matrix test-vm-hostile test-vm-systemd test-vagrant

vm-setup:
	test/vm/setup.sh

# Static: it is the guest's init too.
vm-tools:
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o $(VMEXEC_BIN) ./test/vm

vm-programs: $(VM_C_PROGRAMS)

bin/hostile: $(wildcard test/hostile/testdata/src/*.[ch])
	@mkdir -p bin
	gcc -std=gnu17 -O1 -Wall -Wextra -Werror -Wno-unused-parameter -static -no-pie -o $@ $(filter %.c,$^) -lutil

bin/agree-probe: test/agree/testdata/probe.c
	@mkdir -p bin
	gcc -std=gnu17 -O1 -Wall -Wextra -Werror -nostdlib -static -no-pie -ffreestanding -fno-stack-protector -fno-tree-loop-distribute-patterns -Wl,--build-id=none -o $@ $<

vm-exec:
	@echo "$(VMEXEC)"

# What the tests with programs in C need: more files, as VM_FILES, and variables.
vm-hostile-files:
	@echo "$(VM_C_FILES)"

vm-hostile-env:
	@echo "$(VM_C_ENV)"

# What go test -skip leaves out of test/integration in a guest.
vm-of-the-host:
	@echo '$(VM_SKIP)'

# The same for a guest with systemd and the units of dist.
vm-systemd-exec:
	@$(MAKE) --no-print-directory -s vm-exec VM_ARGS='-systemd $(VM_ARGS)' VM_FILES='$(VM_SYSTEMD_FILES)'

vm-systemd-env:
	@echo "$(VM_SYSTEMD_ENV)"

vm-self: vm-tools vm-setup
	SBX_TEST_ROOT=1 SBX_SELFTEST_NOW=$$(date +%s) go test -count=1 -tags vmself -exec "$(VMEXEC_BIN) -kernel $(KERNEL) $(VM_ARGS)" ./test/vm/selftest
	for systemd in '' 1; do CGO_ENABLED=0 SBX_VMEXEC=$(VMEXEC_BIN) VM_KERNEL=$(KERNEL) VM_SYSTEMD=$$systemd go test -count=1 -tags vmself ./test/vm || exit 1; done

test-vm: build vm-tools vm-setup
	set -e; $(foreach k,$(VM_KERNELS),echo "linux $(k)"; $(call vm_integration,$(k),);)

test-vm-matrix: build vm-tools vm-setup
	set -e; $(foreach k,$(VM_KERNELS),echo "linux $(k), cold"; $(call vm_integration,$(k),-cold);)

test-vm-hostile: build vm-tools vm-setup vm-programs
	set -e; $(foreach k,$(VM_KERNELS),echo "linux $(k)"; $(VM_C_ENV) SBX_TEST_ROOT=1 SBX_TEST_BIN=/vm/bin go test -count=1 -p 1 -timeout 30m $(VM_TESTFLAGS) \
		-exec "$$($(MAKE) --no-print-directory -s vm-exec KERNEL=$(k) VM_FILES='$(VM_C_FILES)')" ./test/hostile ./test/agree;)

test-vm-systemd: build vm-tools vm-setup
	$(VM_SYSTEMD_ENV) $(vm_test) -exec "$$($(MAKE) --no-print-directory -s vm-systemd-exec)" ./test/systemd

# Builds the box when there is none yet.
test-vagrant: build
	test/vm/setup.sh --vagrant
	go test -c -o bin/integration.test ./test/integration
	test/vagrant/run.sh
