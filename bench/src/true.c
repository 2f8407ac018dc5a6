/* The measured workload: ends at once, without a C library, so that what is
   measured is the launcher. Build: -nostdlib -static. */
void _start(void)
{
#if defined(__x86_64__)
	__asm__ volatile("xor %%edi, %%edi; mov $231, %%eax; syscall" ::: "memory");
#elif defined(__aarch64__)
	__asm__ volatile("mov x0, #0; mov x8, #94; svc #0" ::: "memory");
#else
#error "exit_group is not known for this architecture"
#endif
	__builtin_unreachable();
}
