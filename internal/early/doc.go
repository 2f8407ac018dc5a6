// Package early carries out `sbx run` and `sbx exec` before Go's runtime has
// started, where the same call has been made before.
//
// Starting the runtime takes longer than making a sandbox. So a process that
// has carried a run out the long way leaves an image of it (Remember): the
// launch as nsexec lays it out, with everything that the way to it depended
// on. The next process of the same build begins in Entry, which the linker
// makes the executable's first instruction (-E; see the Makefile). It looks for
// an image of its call, compares everything that the image depends on with what
// is there now, launches, and ends with a workload that ends with 0. If anything at all is
// missing, different or unusual, it does nothing and goes on to the runtime, and
// sbx takes the long way. If something happens to the run that takes a decision
// (another status, a violation, a signal, a timeout, more than [patience] of time), the runtime
// starts as well, in the same process, and takes the run over: [Taken].
//
// So this package decides nothing: each answer in an image was given by the
// code that decides, to the same question. docs/adr/0021 has the reasons.
//
// What runs before the runtime is under the rules of nsexec's child: nosplit
// functions only, no allocation, no write of a pointer, raw system calls. There is no
// g, no stack check and no collector; package variables without pointers are
// the only memory. A panic there is a fault that kills the process, before
// anything was launched.
//
// Trust boundary. Who controls the input: the caller has arguments, environment,
// working directory and descriptors; who may write the state directory has the
// image. What privilege is held: the caller's own, which may be root's. What has
// been checked: nothing. What fails closed: an image is read only from a path of
// which every component belongs to root or the caller and can be written by
// nobody else; one that does not fit leads to the long way, which checks all
// again.
package early
