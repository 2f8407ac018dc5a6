// Package nsexec launches one sandbox: it clones PID 1 into new namespaces
// with raw system calls and without a second Go runtime. Use [Start] with a
// [Config]; the [Child] says by [Record] what became of it.
//
// The processes (the drawing is in ARCHITECTURE.md):
//
//	supervisor   the caller of Start; a Go program, outside
//	init         PID 1: a copy-on-write copy of the supervisor that runs
//	             nothing but a flat list of system calls and then a loop that
//	             reaps, forwards signals and takes violations
//	workload     PID 2: cloned by init, carries out its own list and
//	             executes the registered program by descriptor
//
// The promise: what a Plan says is in force before the first instruction of
// the program, or the launch fails with the name of the step; nothing
// optional is left out without a bit in Record.Degraded; the run ends with
// its supervisor. It does not choose what is in force, and it does not
// protect from the kernel.
package nsexec
