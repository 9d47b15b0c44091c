// SPDX-License-Identifier: GPL-2.0
/*
 * Is the guard of a thread stack a mapping of its own?
 *
 *	glibc-stacks VMAS GU
 *
 * VMAS: the mappings that a stack and its guard are to occupy, 1 or 2.
 * GU: "gu" if the mapping with the stack is to have that in its VmFlags, "no-gu"
 * if not. The guard page itself is looked for in pagemap, bit 58.
 *
 * Two children overflow the stack of one of the threads, one that dies of it and
 * one that looks where. They are forked by that thread, so it is the guard of
 * the parent that has to be there in the child.
 *
 * To be linked dynamically: it is about the libc it is run with.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS		8
#define STACK		(256 * 1024)
#define PM_GUARD	(1ULL << 58)

struct stack {
	int nr;
	uintptr_t guard, start, end;	/* the guard is below the stack */
	int vmas, prot_none, gu, guard_pages, pages;
	uintptr_t vma_start, vma_end;	/* that of the stack itself */
	int died_of, code, in_guard;
};

static struct stack stacks[THREADS];
static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t all;
static int tests, failed;

static void test(int good, const char *name)
{
	printf("%sok %d %s\n", good ? "" : "not ", ++tests, name);
	failed += !good;
}

static void look(struct stack *s)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long start, end;
	char line[512], perms[8];
	int ours = 0;

	if (!f) {
		perror("# smaps");
		exit(1);
	}
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %7s", &start, &end, perms) == 3) {
			ours = start < s->end && end > s->guard;
			if (!ours)
				continue;
			s->vmas++;
			s->prot_none += !strncmp(perms, "---", 3);
			if (start < s->end && end >= s->end) {
				s->vma_start = start;
				s->vma_end = end;
			}
			printf("# thread %d: %lx-%lx %s, %lu KiB\n", s->nr, start,
			       end, perms, (end - start) / 1024);
		} else if (ours && !strncmp(line, "VmFlags:", 8)) {
			printf("# thread %d: %s", s->nr, line);
			s->gu += strstr(line, " gu") != NULL;
		}
	}
	fclose(f);
}

static void look_at_guard(struct stack *s)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	long page = sysconf(_SC_PAGESIZE);
	uint64_t entry;

	for (uintptr_t p = s->guard; p < s->start; p += page) {
		s->pages++;
		if (pread(fd, &entry, 8, p / page * 8) == 8 && entry & PM_GUARD)
			s->guard_pages++;
	}
	close(fd);
}

static struct stack *me;

static void on_segv(int sig, siginfo_t *si, void *context)
{
	uintptr_t at = (uintptr_t)si->si_addr;

	/* The answer of the child: where, and the reason that was given. */
	_exit((at >= me->guard && at < me->start ? 16 : 0) | (si->si_code & 15));
}

/* Frames smaller than the guard, so that none steps over it. */
static int __attribute__((noinline)) overflow(volatile char *above)
{
	volatile char frame[256];

	frame[0] = above[0];
	if (frame[0])	/* never, but who compiles this must not know */
		return 0;
	return overflow(frame) + frame[0];
}

static int overflow_in_child(struct stack *s, int handler)
{
	static char alt[64 * 1024];
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		char c = 0;

		if (handler) {
			stack_t ss = { .ss_sp = alt, .ss_size = sizeof(alt) };
			struct sigaction sa = {
				.sa_sigaction = on_segv,
				.sa_flags = SA_SIGINFO | SA_ONSTACK,
			};

			me = s;
			sigaltstack(&ss, NULL);
			sigaction(SIGSEGV, &sa, NULL);
		}
		alarm(60);
		_exit(overflow(&c));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return status;
}

static void *thread(void *arg)
{
	struct stack *s = arg;
	pthread_attr_t attr;
	size_t size, guard;
	void *addr;
	int status;

	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstack(&attr, &addr, &size);
	pthread_attr_getguardsize(&attr, &guard);
	pthread_attr_destroy(&attr);
	s->guard = (uintptr_t)addr - guard;
	s->start = (uintptr_t)addr;
	s->end = (uintptr_t)addr + size;

	/* With all of them there, so that all see the same mappings. */
	pthread_barrier_wait(&all);
	pthread_mutex_lock(&one);
	look(s);
	look_at_guard(s);
	printf("# thread %d: stack %lx-%lx, guard of %d page(s) below: %d VMA(s), %d with gu, %d PROT_NONE, %d guard(s) in pagemap\n",
	       s->nr, (unsigned long)s->start, (unsigned long)s->end, s->pages,
	       s->vmas, s->gu, s->prot_none, s->guard_pages);
	if (s->nr == THREADS / 2) {
		status = overflow_in_child(s, 0);
		s->died_of = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
		status = overflow_in_child(s, 1);
		if (WIFEXITED(status)) {
			s->code = WEXITSTATUS(status) & 15;
			s->in_guard = WEXITSTATUS(status) & 16;
		}
	}
	pthread_mutex_unlock(&one);
	pthread_barrier_wait(&all);
	return NULL;
}

int main(int argc, char **argv)
{
	struct stack *v = &stacks[THREADS / 2];
	int want_vmas, want_gu, i, j;
	int vmas = 0, gu = 0, none = 0, guards = 0, pages = 0, distinct = 0;
	pthread_t t[THREADS];
	pthread_attr_t attr;
	struct utsname u;

	if (argc != 3) {
		fprintf(stderr, "usage: glibc-stacks VMAS gu|no-gu\n");
		return 2;
	}
	want_vmas = atoi(argv[1]);
	want_gu = !strcmp(argv[2], "gu");
	uname(&u);
	/* In a file or a pipe too, what a child prints must not come twice. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n1..6\n# glibc %s on %s\n", gnu_get_libc_version(),
	       u.release);

	pthread_barrier_init(&all, NULL, THREADS);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	for (i = 0; i < THREADS; i++) {
		stacks[i].nr = i;
		if (pthread_create(&t[i], &attr, thread, &stacks[i])) {
			printf("Bail out! no thread\n");
			return 1;
		}
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);

	for (i = 0; i < THREADS; i++) {
		vmas += stacks[i].vmas == want_vmas;
		gu += stacks[i].gu == want_gu;
		none += stacks[i].prot_none == want_vmas - 1;
		guards += stacks[i].guard_pages;
		pages += stacks[i].pages;
		/* Stacks side by side may be one VMA together. */
		for (j = 0; j < i; j++)
			if (stacks[j].vma_start == stacks[i].vma_start)
				break;
		distinct += j == i;
	}
	printf("# %d stacks lie in %d VMAs, and their guards in %s\n", THREADS, distinct,
	       want_vmas == 1 ? "the same" : "others");
	test(vmas == THREADS, want_vmas == 1 ? "each stack with its guard is one VMA"
					      : "each stack with its guard is two VMAs");
	test(none == THREADS, want_vmas == 1 ? "no PROT_NONE" : "one of them is PROT_NONE");
	test(gu == THREADS, want_gu ? "gu in VmFlags" : "no gu in VmFlags");
	test(pages && guards == (want_vmas == 1 ? pages : 0),
	     want_vmas == 1 ? "all guard pages are guards in pagemap"
			    : "no guards in pagemap");
	test(v->died_of == SIGSEGV, "stack overflow in a child: it dies of SIGSEGV");
	printf("# si_code %d\n", v->code);
	test(v->in_guard, "stack overflow in a child: si_addr is in the guard");
	return failed ? 1 : 0;
}
