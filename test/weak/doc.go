// Package weak takes one measure of the sandbox away after the other and
// demands that a test falls each time: without that, a test that cannot fail
// would look like one that holds. It also lets every operation of a launch and
// every step of the supervisor fail once. Both need executables built with the
// tag weak (internal/weak); `make test-weak` does it all. Begin with the table
// in measures_test.go.
package weak
