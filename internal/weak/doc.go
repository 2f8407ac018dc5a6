// Package weak takes measures away, and makes steps fail, so that tests can be
// seen to notice. Only a build with the tag weak does: begin with [Off] in
// weak.go. In every other build [Off] and [Err] are constants, and what they
// guard is not compiled (a test looks into the executables).
//
// The promise is to `make test-weak`: each measure of the sandbox has a name
// here, and a test that falls without it (test/weak).
package weak
