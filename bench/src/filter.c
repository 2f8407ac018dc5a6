/* Reads system call numbers, one a line, and writes the seccomp program that
   libseccomp makes of them in its default form: those are allowed, everything
   else kills the process. */
#include <seccomp.h>
#include <stdio.h>

int main(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int nr, left_out = 0;

	if (!ctx)
		return 1;
	while (scanf("%d", &nr) == 1)
		if (seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0) != 0)
			left_out++;
	if (left_out)
		fprintf(stderr, "%d calls are not known to libseccomp\n", left_out);
	return seccomp_export_bpf(ctx, 1) != 0;
}
