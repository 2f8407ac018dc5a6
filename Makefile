# Targets for people and for CI, which calls only these. See CONTRIBUTING.md.
#
#   make build           bin/sbx and bin/sbxd
#   make setup           what building and testing need (apt; quick when all is there)
#   make demo            the main things once, with their real output
#   make test            everything: checks, unit, integration, guests; ends with what was skipped
#   make test-host       the same without the guests
#   make test-vm         test/integration in QEMU guests (test/vm/vm.mk has more)
#   make test-vm-systemd test/systemd: the units of dist in a guest that has systemd
#   make test-weak       each measure of the sandbox taken away once: which test falls; each step of a launch fails once
#   make soak            SOAK runs in a row (100,000): memory, descriptors, groups, mounts, kernel log unchanged; the registry killed 500 times, and a storm
#   make race            the packages that do not clone, under the race detector, shuffled, twice
#   make bench           what is promised about speed (BENCHFLAGS=-enforce to fail on it)
#   make bench-once      every Go benchmark once: they still work
#   make fuzz            every fuzz target for FUZZTIME
#   make lint            gofmt, go vet, staticcheck, and our own rules (internal/deptest)
#   make generate        what is generated and committed

SHELL = /bin/bash
.SHELLFLAGS = -o pipefail -ec

FUZZTIME ?= 10s
SOAK ?= 100000
BENCHFLAGS ?=
BENCHTIME ?= 1x
# 2026.2.2; run from the module proxy at this version and no other.
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2

# A working directory that git does not trust must not decide what is built.
export GOFLAGS := -buildvcs=false $(filter-out -buildvcs=%,$(GOFLAGS))

LDFLAGS = -s -w -X github.com/sbx-project/sbx/internal/buildinfo.Build=$(BUILD_ID)

.DEFAULT_GOAL = build
.PHONY: build setup demo test test-host test-weak soak race bench bench-once fuzz lint generate clean

# sbx is what every invocation pays for: no cgo, and a first instruction of its
# own (internal/early), without which it is slower and the same. sbxd links
# libseccomp.
build: BUILD_ID = $(shell scripts/build-id)
build: ENTRY = $(if $(filter amd64,$(shell go env GOARCH)),-E github.com/sbx-project/sbx/internal/early.Entry)
build:
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS) $(ENTRY)' -o bin/sbx ./cmd/sbx
	CGO_ENABLED=1 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/sbxd ./cmd/sbxd

setup:
	scripts/setup

demo: setup build
	scripts/demo

test: setup build
	scripts/test

test-host: setup build
	SBX_TEST_GUESTS=0 scripts/test

# As root. It says for each measure which test falls, and fails if none does.
test-weak: setup
	SBX_TEST_ROOT=1 go test -count=1 -tags weak -run 'Faults|Matters' ./nsexec
	SBX_TEST_ROOT=1 go test -count=1 -timeout 20m -tags weak -v ./test/weak | grep --line-buffered -v '^ *\(===\|---\) *\(RUN\|PASS\)'

soak: setup build
	scripts/soak $(SOAK)

race: setup
	scripts/race

bench: setup build
	go run ./bench $(BENCHFLAGS)

bench-once: setup build
	scripts/bench-once

fuzz: setup
	scripts/fuzz $(FUZZTIME)

lint: setup
	scripts/lint $(STATICCHECK)

generate:
	go generate ./...

clean:
	rm -rf bin

include test/vm/vm.mk
