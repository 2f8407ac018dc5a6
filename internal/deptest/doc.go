// Package deptest holds the rules of this repository that a machine can check:
// who may import whom, and a few about the text of the sources. There is no
// code here, only tests: see imports_test.go for the boundaries, each with its
// reason, and sources_test.go for the rest.
//
// A rule that names a package or a file fails when that has vanished, so that
// a rename cannot switch it off.
package deptest
