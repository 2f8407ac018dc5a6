// Package integration holds the tests of the built executables on a real
// kernel: they run sbx as a person would, as root and as an ordinary user, and
// look from outside at what it promises. They import no mechanism.
//
// The executables come from the directory in SBX_TEST_BIN; where it is not set
// they are built once. The workload of most tests is a copy of the test binary
// itself, so nothing but it and the executables has to be in a guest. A guest
// or a person may name a place for the test trees in SBX_TEST_DIR: every
// directory above it must let uid 1000 pass. SBX_TEST_PYTHON names a directory
// with Python's package "test", where Debian's libpython3-testsuite is not
// installed. SBX_TEST_SOAK=1 makes the long
// loops as long as a release wants them.
package integration
