// SPDX-License-Identifier: GPL-2.0
/*
 * What guard regions cost, in a guest whose clock counts instructions.
 *
 *	bench clock|fork|range|many|threads|retract|unused|beside [MEBIBYTES]
 *
 * Prints lines "bench WHAT X VALUE...": X is the size, or 1 where there is
 * none, and each VALUE a repeat.  What the kernel lacks is left out.
 *
 * Under QEMU's -icount shift=0 the time stamp counter goes up by one with each
 * instruction; "clock" shows that it does.  This process is real-time, so that
 * nothing else runs while it measures, its children least of all.  Only
 * interrupts remain: hence repeats, and the median of them.
 *
 * For a guest, which tools/lab/bench has prepared; it changes no setting.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#define MADV_GUARD_REMOVE	103
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif

#define REPEATS		5
#define PAGE		4096UL
#define MIB		(1UL << 20)
#define TABLE		(2 * MIB)	/* what one page table maps */

static unsigned long max_mib;
static int have_guards;

static void fail(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	fflush(stdout);
	_exit(1);
}

/*
 * Kept until the end: who reads it would run beside what is measured, and puts
 * it on two serial ports.
 */
static char out[1 << 18];
static size_t out_len;

static void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	out_len += vsnprintf(out + out_len, sizeof(out) - out_len, format, args);
	va_end(args);
	if (out_len >= sizeof(out) - 256)
		fail("too many figures");
}

static void figures(const char *what, unsigned long x, const double *v, int n)
{
	say("# bench %s %lu", what, x);
	for (int i = 0; i < n; i++)
		say(" %.10g", v[i]);
	say("\n");
}

static void figure(const char *what, unsigned long x, double v)
{
	figures(what, x, &v, 1);
}

static inline uint64_t now(void)
{
	return __rdtsc();
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd >= 0) {
		if (write(fd, text, strlen(text)) < 0)
			say("# cannot write %s: %s\n", path, strerror(errno));
		close(fd);
	}
}

static void alone(void)
{
	struct sched_param p = { .sched_priority = 1 };

	if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &p))
		fail("SCHED_FIFO");
}

/* Value of a line "NAME: 12 kB", or of a column of /proc/slabinfo. */
static long field(const char *path, const char *name, int column)
{
	char line[512];
	long value = -1;
	FILE *f = fopen(path, "r");

	if (!f)
		return -1;
	while (value < 0 && fgets(line, sizeof(line), f)) {
		size_t n = strlen(name);
		char *p = line + n;

		if (strncmp(line, name, n) || (*p != ':' && *p != ' ' && *p != '\t'))
			continue;
		for (int i = 0; i < column; i++) {
			p += strspn(p, ": \t");
			p += strcspn(p, " \t\n");
		}
		value = atol(p + strspn(p, ": \t"));
	}
	fclose(f);
	return value;
}

static long vm_pte(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	return field(path, "VmPTE", 0);
}

static long vmas(void)
{
	static char buf[65536];
	int fd = open("/proc/self/maps", O_RDONLY);
	long lines = 0;
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++)
			lines += buf[i] == '\n';
	close(fd);
	return lines;
}

static long slab_kib(void)
{
	write_file("/proc/sys/vm/stat_refresh", "1");
	return field("/proc/meminfo", "Slab", 0);
}

/* --- mappings */

static const char *const kinds[] = { "anon", "shmem", "file" };
enum { ANON, SHMEM, FILE_, KINDS };
static int backing[KINDS] = { -1, -1, -1 };

/*
 * shmem is shared and written to; file is private and only read, as libraries
 * are.  Their page cache is filled the first time and then stays.
 */
static void need_backing(int kind, size_t size)
{
	const char *dir = getenv("GUARD_TEST_DIR");
	char path[256];

	if (kind == ANON || backing[kind] >= 0)
		return;
	if (kind == SHMEM) {
		backing[kind] = memfd_create("bench", 0);
	} else {
		snprintf(path, sizeof(path), "%s/bench", dir ? dir : "/tmp");
		backing[kind] = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
		unlink(path);
	}
	if (backing[kind] < 0 || ftruncate(backing[kind], size))
		fail(kinds[kind]);
}

/* Aligned to page tables, with nothing of ours beside it. */
static char *map(int kind, size_t size)
{
	char *p = mmap(NULL, size + 2 * TABLE, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *at = (char *)(((uintptr_t)p + 2 * TABLE - PAGE) & ~(TABLE - 1));

	if (p == MAP_FAILED ||
	    mmap(at, size, PROT_READ | PROT_WRITE, MAP_FIXED |
		 (kind == SHMEM ? MAP_SHARED : MAP_PRIVATE) |
		 (kind == ANON ? MAP_ANONYMOUS | MAP_NORESERVE : 0), backing[kind], 0) == MAP_FAILED)
		fail("mmap");
	munmap(p, at - p);
	munmap(at + size, p + size + 2 * TABLE - (at + size));
	/* The same on all kernels: small pages. */
	madvise(at, size, MADV_NOHUGEPAGE);
	if (kind == FILE_)
		madvise(at, size, MADV_RANDOM);
	return at;
}

static void touch(int kind, char *p, size_t size)
{
	for (size_t i = 0; i < size; i += PAGE) {
		if (kind == FILE_)
			*(volatile char *)(p + i);
		else
			*(volatile char *)(p + i) = 1;
	}
}

static void guard(char *p, size_t size)
{
	if (madvise(p, size, MADV_GUARD_INSTALL))
		fail("MADV_GUARD_INSTALL");
}

static void no_guard(char *p, size_t size)
{
	if (madvise(p, size, MADV_GUARD_REMOVE))
		fail("MADV_GUARD_REMOVE");
}

/* --- clock: 2,000,000 instructions and what the clocks say of them */

static void do_clock(void)
{
	double v[REPEATS], ns[REPEATS];

	for (int i = 0; i < REPEATS; i++) {
		struct timespec a, b;
		unsigned long n = 1000000;
		uint64_t t = now();

		asm volatile("1: dec %0; jnz 1b" : "+r" (n));
		v[i] = now() - t;
		n = 1000000;
		clock_gettime(CLOCK_MONOTONIC, &a);
		asm volatile("1: dec %0; jnz 1b" : "+r" (n));
		clock_gettime(CLOCK_MONOTONIC, &b);
		ns[i] = (b.tv_sec - a.tv_sec) * 1e9 + b.tv_nsec - a.tv_nsec;
	}
	figures("clock.tsc", 1, v, REPEATS);
	figures("clock.monotonic", 1, ns, REPEATS);
}

/* --- fork: the call in the parent; the child ends at once */

static uint64_t one_fork(void)
{
	uint64_t t = now();
	/* Without what glibc does around it. */
	pid_t pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (!pid)
		syscall(SYS_exit_group, 0);
	t = now() - t;
	if (pid < 0 || waitpid(pid, NULL, 0) != pid)
		fail("fork");
	return t;
}

static void do_fork(void)
{
	/* One guard, one in each page table, one in each 16 pages. */
	static const char *const guards[] = { "0", "1", "table", "16" };

	for (int kind = 0; kind < KINDS; kind++) {
		need_backing(kind, max_mib * MIB);
		for (int g = 0; g < (have_guards ? 4 : 1); g++) {
			for (size_t size = TABLE; size <= max_mib * MIB; size *= 2) {
				char *p = map(kind, size), what[64];
				double v[REPEATS];

				touch(kind, p, size);
				if (g == 1)
					guard(p + size / 2 + 5 * PAGE, PAGE);
				for (size_t i = 5 * PAGE; g > 1 && i < size;
				     i += g == 2 ? TABLE : 16 * PAGE)
					guard(p + i, PAGE);
				one_fork();
				for (int i = 0; i < REPEATS; i++)
					v[i] = one_fork();
				snprintf(what, sizeof(what), "fork.%s.%s", kinds[kind], guards[g]);
				figures(what, size / PAGE, v, REPEATS);
				munmap(p, size);
			}
		}
	}
}

/* --- range: one call for many pages; call: one page with its table there */

static double timed(char *p, size_t size, int advice, int prot)
{
	uint64_t t = now();
	int r = advice ? madvise(p, size, advice) : mprotect(p, size, prot);

	t = now() - t;
	if (r)
		fail(advice ? "madvise" : "mprotect");
	return t;
}

/* The calls on @size bytes in the midst of a mapping, one repeat of each. */
enum { EMPTY, REMOVE, FULL, AGAIN, PROT_EMPTY, PROT_FULL, UNPROT, DISCARD, CALLS };
static const char *const calls[] = {
	"install.empty", "remove", "install.full", "install.again",
	"mprotect.empty", "mprotect.full", "mprotect.back", "dontneed",
};

static void one_range(int kind, size_t size, double *v)
{
	/* A table's worth on both sides: the VMA can be split, the table exists. */
	size_t all = size + 2 * TABLE;
	char *m, *p;

	if (have_guards) {
		m = map(kind, all);
		p = m + TABLE;
		if (size < TABLE)
			touch(kind, p + TABLE - PAGE, PAGE);
		v[EMPTY] = timed(p, size, MADV_GUARD_INSTALL, 0);
		v[REMOVE] = timed(p, size, MADV_GUARD_REMOVE, 0);
		touch(kind, p, size);
		v[FULL] = timed(p, size, MADV_GUARD_INSTALL, 0);
		v[AGAIN] = timed(p, size, MADV_GUARD_INSTALL, 0);
		munmap(m, all);
	}
	m = map(kind, all);
	p = m + TABLE;
	if (size < TABLE)
		touch(kind, p + TABLE - PAGE, PAGE);
	v[PROT_EMPTY] = timed(p, size, 0, PROT_NONE);
	timed(p, size, 0, PROT_READ | PROT_WRITE);
	touch(kind, p, size);
	v[PROT_FULL] = timed(p, size, 0, PROT_NONE);
	v[UNPROT] = timed(p, size, 0, PROT_READ | PROT_WRITE);
	touch(kind, p, size);
	v[DISCARD] = timed(p, size, MADV_DONTNEED, 0);
	munmap(m, all);
}

static void do_range(void)
{
	double v[CALLS], all[CALLS][REPEATS];
	char what[64];

	for (int kind = 0; kind < FILE_; kind++) {
		need_backing(kind, max_mib * MIB + 2 * TABLE);
		for (size_t size = PAGE; size <= max_mib * MIB; size *= 4) {
			one_range(kind, size, v);
			for (int i = 0; i < REPEATS; i++) {
				one_range(kind, size, v);
				for (int c = 0; c < CALLS; c++)
					all[c][i] = v[c];
			}
			for (int c = have_guards ? 0 : PROT_EMPTY; c < CALLS; c++) {
				snprintf(what, sizeof(what), "range.%s.%s", kinds[kind], calls[c]);
				figures(what, size / PAGE, all[c], REPEATS);
			}
		}
	}
}

/* --- many: 10,000 guards, 10,000 mprotect()ed pages, each by a call */

#define MANY	10000UL

static void one_many(const char *name, int protect, int repeat)
{
	char *p = map(ANON, 2 * MANY * PAGE), what[64];
	long n = vmas(), pte = vm_pte(getpid()), slab = slab_kib();
	long objects = field("/proc/slabinfo", "vm_area_struct", 0);
	double t = now();

	for (unsigned long i = 0; i < MANY; i++) {
		char *at = p + 2 * i * PAGE;

		if (protect ? mprotect(at, PAGE, PROT_NONE) : madvise(at, PAGE, MADV_GUARD_INSTALL))
			fail(name);
	}
	t = now() - t;
	/* The memory of the first round: it may stay with the slabs later on. */
	if (repeat < 0) {
		snprintf(what, sizeof(what), "many.%s.vmas", name);
		figure(what, 1, vmas() - n);
		snprintf(what, sizeof(what), "many.%s.slab_kib", name);
		figure(what, 1, slab_kib() - slab);
		snprintf(what, sizeof(what), "many.%s.pte_kib", name);
		figure(what, 1, vm_pte(getpid()) - pte);
		if (objects >= 0) {
			snprintf(what, sizeof(what), "many.%s.vma_objects", name);
			figure(what, 1, field("/proc/slabinfo", "vm_area_struct", 0) - objects);
		}
	} else {
		snprintf(what, sizeof(what), "many.%s.instructions", name);
		figure(what, 1, t);
		t = now();
		munmap(p, 2 * MANY * PAGE);
		t = now() - t;
		snprintf(what, sizeof(what), "many.%s.munmap", name);
		figure(what, 1, t);
		return;
	}
	munmap(p, 2 * MANY * PAGE);
}

static void do_many(void)
{
	long size = field("/proc/slabinfo", "vm_area_struct", 2);

	if (size < 0) {
		char buf[32] = "";
		int fd = open("/sys/kernel/slab/vm_area_struct/object_size", O_RDONLY);

		if (fd >= 0 && read(fd, buf, sizeof(buf) - 1) > 0)
			size = atol(buf);
		close(fd);
	}
	if (size > 0)
		figure("sizeof.vm_area_struct", 1, size);
	for (int i = -1; i < REPEATS; i++) {
		if (have_guards)
			one_many("guards", 0, i);
		one_many("mprotect", 1, i);
	}
}

/* --- threads: with whatever libc this was started with */

#define THREADS		1000
#define STACK		(64 * 1024)

static pthread_barrier_t all_there, all_seen;

static void *thread(void *arg)
{
	pthread_barrier_wait(&all_there);
	pthread_barrier_wait(&all_seen);
	return arg;
}

static void threads_here(void)
{
	static pthread_t t[THREADS];
	long n = vmas(), pte = vm_pte(getpid()), slab = slab_kib();
	long rss = field("/proc/self/status", "VmRSS", 0);
	pthread_attr_t attr;
	double start;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	pthread_barrier_init(&all_there, NULL, THREADS + 1);
	pthread_barrier_init(&all_seen, NULL, THREADS + 1);
	start = now();
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&t[i], &attr, thread, NULL))
			fail("pthread_create");
	figure("threads.create", 1, now() - start);
	pthread_barrier_wait(&all_there);
	figure("threads.vmas", 1, vmas() - n);
	figure("threads.pte_kib", 1, vm_pte(getpid()) - pte);
	figure("threads.slab_kib", 1, slab_kib() - slab);
	figure("threads.rss_kib", 1, field("/proc/self/status", "VmRSS", 0) - rss);
	pthread_barrier_wait(&all_seen);
	start = now();
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	figure("threads.join", 1, now() - start);
}

static void do_threads(void)
{
	/* Each in a process of its own: glibc keeps stacks for the next time. */
	for (int i = 0; i < REPEATS; i++) {
		int status;
		pid_t pid;

		fflush(stdout);
		pid = fork();
		if (!pid) {
			execl("/lab/libc/ld-linux-x86-64.so.2", "ld-linux", "--library-path",
			      "/lab/libc", "/lab/libc/bench", "threads-here", NULL);
			_exit(127);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
			fail("bench threads-here with the new libc");
	}
}

/* --- retract: page tables that go when another process collapses the file */

#define RANGES	32

static void do_retract(void)
{
	/* A guard in none, the first, a middle and two ranges. */
	static const int guards[][2] = { { -1, -1 }, { 0, -1 }, { 13, -1 }, { 7, 30 } };
	int n = have_guards ? 4 : 1, up[2], down[2], fd, collapsed = 0;
	pid_t pid[4];
	long pte[4];
	char c = 0, *p;

	fd = backing[SHMEM] = memfd_create("bench", 0);
	if (fd < 0 || ftruncate(fd, RANGES * TABLE) || pipe(up) || pipe(down))
		fail("memfd");
	for (int i = 0; i < n; i++) {
		pid[i] = fork();
		if (pid[i])
			continue;
		p = map(SHMEM, RANGES * TABLE);
		touch(SHMEM, p, RANGES * TABLE);
		for (int g = 0; g < 2; g++)
			if (guards[i][g] >= 0)
				guard(p + guards[i][g] * TABLE + 5 * PAGE, PAGE);
		close(down[1]);
		if (write(up[1], &c, 1) != 1 || read(down[0], &c, 1) < 0)
			_exit(1);
		_exit(0);
	}
	for (int i = 0; i < n; i++)
		if (read(up[0], &c, 1) != 1)
			fail("a child");
	p = map(SHMEM, RANGES * TABLE);
	madvise(p, RANGES * TABLE, MADV_HUGEPAGE);
	touch(SHMEM, p, RANGES * TABLE);
	for (int i = 0; i < n; i++)
		pte[i] = vm_pte(pid[i]);
	for (int r = 0; r < RANGES; r++)
		for (int tries = 0; tries < 5; tries++)
			if (!madvise(p + r * TABLE, TABLE, MADV_COLLAPSE)) {
				collapsed++;
				break;
			}
	figure("retract.collapsed", 1, collapsed);
	for (int i = 0; i < n; i++) {
		int ranges = RANGES - (guards[i][0] >= 0) - (guards[i][1] >= 0);
		double share = (pte[i] - vm_pte(pid[i])) / 4.0 / ranges;

		figure(i ? "retract.guard" : "retract.none", 1, share * 100);
	}
	close(down[1]);
	for (int i = 0; i < n; i++)
		waitpid(pid[i], NULL, 0);
}

/* --- unused: what those pay who have no guards */

static char *area, *other;

static void u_mmap(void)
{
	char *p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(p, 16 * PAGE);
}

static void u_mmap_touch(void)
{
	char *p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	touch(ANON, p, 16 * PAGE);
	munmap(p, 16 * PAGE);
}

static void u_munmap_middle(void)
{
	munmap(area + 32 * PAGE, PAGE);
	mmap(area + 32 * PAGE, PAGE, PROT_READ | PROT_WRITE,
	     MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void u_fault_anon(void)
{
	madvise(area, 16 * PAGE, MADV_DONTNEED);
	touch(ANON, area, 16 * PAGE);
}

static void u_fault_shared(void)
{
	madvise(other, 16 * PAGE, MADV_DONTNEED);
	touch(SHMEM, other, 16 * PAGE);
}

static void u_mprotect(void)
{
	mprotect(area, 64 * PAGE, PROT_READ);
	mprotect(area, 64 * PAGE, PROT_READ | PROT_WRITE);
}

static void u_mprotect_split(void)
{
	mprotect(area + 8 * PAGE, PAGE, PROT_READ);
	mprotect(area + 8 * PAGE, PAGE, PROT_READ | PROT_WRITE);
}

static void u_mlock(void)
{
	mlock(area, 16 * PAGE);
	munlock(area, 16 * PAGE);
}

static void u_mremap(void)
{
	char *p = area + 1024 * PAGE;

	mremap(area, 64 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p);
	mremap(p, 64 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, area);
}

static void u_mremap_size(void)
{
	mremap(area, 64 * PAGE, 128 * PAGE, 0);
	mremap(area, 128 * PAGE, 64 * PAGE, 0);
}

static void u_brk(void)
{
	static char *end;

	if (!end)
		end = sbrk(0);
	brk(end + 16 * PAGE);
	brk(end);
}

static void u_fork(void)
{
	pid_t pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (!pid)
		syscall(SYS_exit_group, 0);
	waitpid(pid, NULL, 0);
}

static void u_fork_exec(void)
{
	pid_t pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (!pid) {
		execl("/proc/self/exe", "bench", "nothing", NULL);
		syscall(SYS_exit_group, 1);
	}
	waitpid(pid, NULL, 0);
}

/* A process whose VMAs come and go, some of them for each byte that it reads. */
static void come_and_go(int ask, int answer)
{
	enum { SLOTS = 256 };
	static char used[SLOTS];
	char c, *slots = mmap(NULL, 2 * SLOTS * PAGE, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(slots, 2 * SLOTS * PAGE);
	while (read(ask, &c, 1) == 1) {
		for (int k = 1 + rand() % 32; k; k--) {
			int i = rand() % SLOTS;
			/* With a gap each, so that they do not merge. */
			char *p = slots + 2 * i * PAGE;

			used[i] = !used[i];
			if (!used[i])
				munmap(p, PAGE);
			else if (mmap(p, PAGE, PROT_READ | PROT_WRITE, MAP_FIXED |
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
				*p = 1;
		}
		if (write(answer, &c, 1) != 1)
			break;
	}
	_exit(0);
}

/*
 * What an allocation costs depends on how full the slab is from which it is, and
 * what suits one batch suits the next: a boot would have costs of its own, by up to
 * 0.6 % others than the next one's.  So VMAs come and go between the batches, by the
 * same random numbers on each kernel.  Then RCU has the time to free what waits for
 * it: from 10,000 on, which this process can hold up, each call_rcu() costs more.
 */
static void stir(void)
{
	static int ask[2], answer[2];
	char c = 0;

	if (!ask[1]) {
		if (pipe(ask) || pipe(answer))
			fail("pipe");
		if (!fork()) {
			close(ask[1]);
			come_and_go(ask[0], answer[1]);
		}
	}
	if (write(ask[1], &c, 1) != 1 || read(answer[0], &c, 1) != 1)
		fail("who stirs has died");
	usleep(40000);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void do_unused(void)
{
	static const struct {
		const char *name;
		void (*fn)(void);
		int times;
	} u[] = {
		{ "mmap+munmap", u_mmap, 16 },
		{ "mmap+touch+munmap", u_mmap_touch, 2 },
		{ "munmap-in-the-middle", u_munmap_middle, 16 },
		{ "fault-anon", u_fault_anon, 2 },
		{ "fault-shared", u_fault_shared, 4 },
		{ "mprotect", u_mprotect, 4 },
		{ "mprotect-split", u_mprotect_split, 8 },
		{ "mlock", u_mlock, 4 },
		{ "mremap-move", u_mremap, 4 },
		{ "mremap-size", u_mremap_size, 4 },
		{ "brk", u_brk, 16 },
		{ "fork+exit", u_fork, 1 },
		{ "fork+exec", u_fork_exec, 1 },
	};

	need_backing(SHMEM, TABLE);
	other = map(SHMEM, 64 * PAGE);
	touch(SHMEM, other, 64 * PAGE);
	for (unsigned int i = 0; i < sizeof(u) / sizeof(*u); i++) {
		double v[REPEATS];
		char what[64];

		area = map(ANON, 64 * PAGE);
		touch(ANON, area, 64 * PAGE);
		/*
		 * A tenth of a percent is to be seen.  What happens now and then
		 * and belongs to it, such as a new slab, has to be in, and the
		 * interrupts out: each repeat is the mean of the lesser four
		 * fifths of batches that are short beside the time between two
		 * interrupts.  Of forks, with all that the kernel puts off at
		 * the end of a process, it is the least of more.
		 */
		int batches = u[i].times > 1 ? 200 : 300;
		int keep = u[i].times > 1 ? 160 : 1;

		for (int r = -1; r < REPEATS; r++) {
			double b[300], sum = 0;

			for (int k = 0; k < batches; k++) {
				uint64_t t;

				stir();
				t = now();
				for (int n = 0; n < u[i].times; n++)
					u[i].fn();
				b[k] = now() - t;
			}
			qsort(b, batches, sizeof(*b), by_value);
			for (int k = 0; k < keep; k++)
				sum += b[k];
			if (r >= 0)
				v[r] = sum / keep / u[i].times;
		}
		snprintf(what, sizeof(what), "unused.%s", u[i].name);
		figures(what, 1, v, REPEATS);
		munmap(area, 64 * PAGE);
	}
}

/*
 * --- beside: faults in a mapping while another CPU works on the rest of it,
 * against faults while that CPU does the same to memory of another process.
 */

enum { IDLE, INSTALL, PROTECT };
enum { SAME, OTHER };
static volatile int *job;	/* of each worker, shared with the other process */
static char *rest;
static size_t rest_size;

static void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail("no second CPU");
}

static void *worker(void *arg)
{
	int who = arg != NULL;

	on_cpu(1);
	while (job[who] >= 0) {
		if (job[who] == INSTALL) {
			guard(rest, rest_size);
			no_guard(rest, rest_size);
		} else if (job[who] == PROTECT) {
			mprotect(rest, rest_size, PROT_NONE);
			mprotect(rest, rest_size, PROT_READ | PROT_WRITE);
		} else {
			usleep(1000);
		}
	}
	return NULL;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static double faults(char *p)
{
	double start = seconds(), end = start;
	unsigned long n = 0;

	while (end < start + 0.5) {
		madvise(p, 64 * PAGE, MADV_DONTNEED);
		touch(ANON, p, 64 * PAGE);
		n += 64;
		end = seconds();
	}
	return n / (end - start);
}

static void do_beside(void)
{
	static const char *const jobs[] = { "", "install", "mprotect" };
	double v[3][REPEATS];
	pthread_t t;
	pid_t pid;
	char *p;

	rest_size = max_mib * MIB;
	p = map(ANON, rest_size + TABLE);
	rest = p + TABLE;
	job = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (job == MAP_FAILED)
		fail("mmap");
	pid = fork();
	if (!pid) {
		worker(&pid);
		_exit(0);
	}
	if (pid < 0 || pthread_create(&t, NULL, worker, NULL))
		fail("a worker");
	on_cpu(0);
	for (int r = -1; r < REPEATS; r++) {
		for (int j = have_guards ? INSTALL : PROTECT; j <= PROTECT; j++) {
			double rate[2];

			for (int who = OTHER; who >= SAME; who--) {
				job[who] = j;
				usleep(20000);
				rate[who] = faults(p);
				job[who] = IDLE;
				usleep(20000);
			}
			if (r >= 0)
				v[j][r] = 100 * rate[SAME] / rate[OTHER];
		}
	}
	job[SAME] = job[OTHER] = -1;
	pthread_join(t, NULL);
	waitpid(pid, NULL, 0);
	for (int j = have_guards ? INSTALL : PROTECT; j <= PROTECT; j++) {
		char what[64];

		snprintf(what, sizeof(what), "beside.%s.share", jobs[j]);
		figures(what, 1, v[j], REPEATS);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*fn)(void);
		unsigned long mib;	/* if nothing is said */
	} tests[] = {
		{ "clock", do_clock, 0 },
		{ "fork", do_fork, 256 },
		{ "range", do_range, 64 },
		{ "many", do_many, 0 },
		{ "threads", do_threads, 0 },
		{ "retract", do_retract, 0 },
		{ "unused", do_unused, 0 },
		{ "beside", do_beside, 256 },
	};
	char *p;

	if (argc > 1 && !strcmp(argv[1], "nothing"))
		_exit(0);
	if (argc > 1 && !strcmp(argv[1], "threads-here")) {
		alone();
		threads_here();
		fputs(out, stdout);
		return 0;
	}
	for (unsigned int i = 0; argc > 1 && i < sizeof(tests) / sizeof(*tests); i++) {
		if (strcmp(argv[1], tests[i].name))
			continue;
		max_mib = argc > 2 ? strtoul(argv[2], NULL, 0) : tests[i].mib;
		printf("TAP version 13\n1..1\n");
		fflush(stdout);
		p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		have_guards = !madvise(p, PAGE, MADV_GUARD_INSTALL);
		munmap(p, PAGE);
		/* Two threads that are to share two CPUs need no priority. */
		if (tests[i].fn != do_beside && tests[i].fn != do_threads)
			alone();
		tests[i].fn();
		fputs(out, stdout);
		printf("ok 1 %s\n", tests[i].name);
		return 0;
	}
	fprintf(stderr, "usage: bench clock|fork|range|many|threads|retract|unused|beside [MEBIBYTES]\n");
	return 2;
}
