// Package elfclosure lists the files that the dynamic loader maps when a
// program starts: its ELF interpreter and every library that it needs, found
// in the order of ld.so(8). Use [New] for a [Resolver] and [Resolver.File]
// for a program.
//
// It only reads: nothing is executed, unlike ldd(1), whose manual page warns
// about programs that are not trusted. It reads what the kernel and the
// loader read, the program headers, never the section headers, so that a file
// cannot show one list here and another to the loader. Every count and length
// is bounded.
//
// It does not find what a program opens while it runs (dlopen(3): name
// service modules, character conversion, extension modules); those must be
// declared.
package elfclosure
