// Package selftest asserts, inside a guest of vmexec, that the guest really has
// what the integration tests build on: limits that bite, namespaces, a listener
// for seccomp, a disk for idmapped mounts. Its tests need the build tag vmself, so
// that go test ./... on the host does not take a host for a guest:
//
//	make vm-self
package selftest
