// SPDX-License-Identifier: GPL-2.0
/*
 * older KIND PROGRAM [ARG...]: run it as if on an older kernel, by a seccomp
 * filter that answers as that kernel would.
 *
 *	no-scan		no PAGEMAP_SCAN (a backport to a kernel before 6.7)
 *	not-shown	guards, but nothing that shows them (6.13)
 *	no-guards	nothing (6.12)
 *
 * Status 4 if there is no seccomp.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GUARD_INSTALL	102
#define PAGEMAP_SCAN	0xc0606610

#define DATA(what)	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, what))
#define IF(value, no)	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, no)
#define RETURN(what)	BPF_STMT(BPF_RET | BPF_K, what)

int main(int argc, char **argv)
{
	struct sock_filter filter[] = {
		DATA(nr),
		IF(__NR_ioctl, 3),
		DATA(args[1]),		/* its low half, on little endian */
		IF(PAGEMAP_SCAN, 5),
		RETURN(SECCOMP_RET_ERRNO | ENOTTY),
		IF(__NR_madvise, 3),
		DATA(args[2]),
		IF(GUARD_INSTALL, 1),
		RETURN(SECCOMP_RET_ALLOW),
		RETURN(SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(filter) / sizeof(*filter), filter };
	const char *kind = argc > 2 ? argv[1] : "";

	if (!strcmp(kind, "no-guards")) {
		filter[8].k = SECCOMP_RET_ERRNO | EINVAL;
	} else if (!strcmp(kind, "not-shown")) {
		/* Returns 0 and does nothing: a guard that nobody sees. */
		filter[8].k = SECCOMP_RET_ERRNO;
	} else if (strcmp(kind, "no-scan")) {
		fprintf(stderr, "usage: older no-scan|not-shown|no-guards PROGRAM [ARG...]\n");
		return 2;
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog)) {
		fprintf(stderr, "older: seccomp: %s\n", strerror(errno));
		return 4;
	}
	execv(argv[2], argv + 2);
	fprintf(stderr, "older: %s: %s\n", argv[2], strerror(errno));
	return 127;
}
