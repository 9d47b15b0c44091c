// SPDX-License-Identifier: GPL-2.0
/*
 * guardctl on a kernel that has guard regions, and on processes that have some.
 * KTAP; status 4 where the kernel has none, or does not show them.  The programs
 * guardctl and older are those in its own folder.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GUARD_INSTALL	102
#define GUARD_REMOVE	103
#define PM_GUARD	(1ULL << 58)
#define PAGE_IS_GUARD	(1 << 8)
#define TESTS		24
#define MAX		4096
#define HUGE_SECONDS	30

typedef unsigned long long u64;

struct seen {
	u64 start, end, pages;
	u64 vma_start, vma_end;
	char perms[5], gu[8], name[256];
};

static char guardctl[200], older[200];
static size_t page;
static bool kernel_has_gu;
static int test_nr, failures;

static char out[4 << 20], err[4096];
static struct seen want[MAX], got[MAX];
static int nr_want, nr_got;

static void give_up(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(1);
}

static void result(bool ok, const char *name)
{
	test_nr++;
	failures += !ok;
	printf("%sok %d %s\n", ok ? "" : "not ", test_nr, name);
	fflush(stdout);
}

static void skip(const char *name, const char *why)
{
	printf("ok %d %s # SKIP %s\n", ++test_nr, name, why);
}

/* Says what was not as expected; for use in conditions. */
__attribute__((format(printf, 2, 3)))
static bool check(bool ok, const char *fmt, ...)
{
	va_list ap;

	if (ok)
		return true;
	printf("# ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	return false;
}

static void slurp(int fd, char *buf, size_t size)
{
	ssize_t n = pread(fd, buf, size - 1, 0);

	buf[n > 0 ? n : 0] = 0;
	close(fd);
}

/* What to do when guardctl has opened a file: in between two steps of it. */
static void (*on_open)(const char *path);
static bool can_trace;

static void slurp_at(pid_t pid, u64 at, char *buf, size_t size)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDONLY);
	memset(buf, 0, size);
	if (fd < 0 || pread(fd, buf, size - 1, at) < 0)
		give_up(path);
	close(fd);
}

/* Until it ends: its wait status. */
static int trace(pid_t pid)
{
	struct __ptrace_syscall_info info;
	char path[64] = "";
	int status;

	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		if (WSTOPSIG(status) == SIGTRAP) {
			can_trace = true;
			ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
		} else if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) < 0) {
			give_up("PTRACE_GET_SYSCALL_INFO");
		} else if (info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == SYS_openat) {
			slurp_at(pid, info.entry.args[1], path, sizeof(path));
		} else if (info.op == PTRACE_SYSCALL_INFO_EXIT && *path) {
			on_open(path);
			*path = 0;
		}
		ptrace(PTRACE_SYSCALL, pid, 0, 0);
	}
	return status;
}

/* Run a command of words; its output is in out and err. Its status, or -signal. */
__attribute__((format(printf, 1, 2)))
static int run(const char *fmt, ...)
{
	int o = memfd_create("out", 0), e = memfd_create("err", 0), status, n = 0;
	char command[512], *argv[16], *rest = command;
	va_list ap;
	pid_t pid;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	while (n < 15 && (argv[n] = strsep(&rest, " ")))
		n++;
	argv[n] = NULL;
	fflush(stdout);
	pid = fork();
	if (o < 0 || e < 0 || pid < 0)
		give_up("cannot run guardctl");
	if (!pid) {
		dup2(o, 1);
		dup2(e, 2);
		if (on_open)
			ptrace(PTRACE_TRACEME, 0, 0, 0);
		execv(argv[0], argv);
		_exit(127);
	}
	if (on_open)
		status = trace(pid);
	else if (waitpid(pid, &status, 0) != pid)
		give_up("waitpid");
	slurp(o, out, sizeof(out));
	slurp(e, err, sizeof(err));
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* The guards that the JSON in out has. */
static void parse_json(void)
{
	struct seen now = {};

	nr_got = 0;
	for (char *p = out; (p = strstr(p, "{\"start\": \"")); p++) {
		struct seen s = now;
		u64 start, end;
		char gu[8];

		if (sscanf(p, "{\"start\": \"%llx\", \"end\": \"%llx\", \"pages\": %llu}",
			   &s.start, &s.end, &s.pages) == 3) {
			if (nr_got < MAX)
				got[nr_got++] = s;
		} else if (sscanf(p, "{\"start\": \"%llx\", \"end\": \"%llx\", \"perms\": \"%4[^\"]\", \"gu\": %7[a-z]",
				  &start, &end, s.perms, gu) == 4) {
			now = s;
			now.vma_start = start;
			now.vma_end = end;
			strcpy(now.gu, !strcmp(gu, "true") ? "yes" :
				       !strcmp(gu, "false") ? "no" : "unknown");
			now.name[0] = 0;
			sscanf(strstr(p, "\"name\": "), "\"name\": \"%255[^\"]", now.name);
		}
	}
}

/* Those that the table in out has. */
static void parse_table(void)
{
	struct seen now = {};
	char *line = out, *end;

	nr_got = 0;
	for (; (end = strchr(line, '\n')) && nr_got < MAX; line = end + 1) {
		*end = 0;
		if (*line == ' ' ?
		    sscanf(line, " %llx-%llx %llu", &now.start, &now.end, &now.pages) == 3 :
		    sscanf(line, "%llx-%llx %4s %7s %llx-%llx %llu %255[^\n]", &now.vma_start,
			   &now.vma_end, now.perms, now.gu, &now.start, &now.end, &now.pages,
			   now.name) == 8)
			got[nr_got++] = now;
	}
}

/* An ioctl that knows guards must be used. */
static bool right_method(void)
{
	u64 arg[12] = { [0] = sizeof(arg), [3] = page, [9] = PAGE_IS_GUARD,
			[11] = PAGE_IS_GUARD };
	int fd = open("/proc/self/pagemap", O_RDONLY);
	bool knows = !ioctl(fd, _IOWR('f', 16, arg), arg);

	close(fd);
	return check(strstr(out, knows ? "\"method\": \"PAGEMAP_SCAN\"" :
				 "\"method\": \"pagemap\""), "not by PAGEMAP_SCAN: %s", out);
}

static bool all_as_wanted(int status)
{
	bool ok = check(!status, "status %d: %s", status, err) &&
		  check(!*err, "stderr: %s", err) &&
		  check(nr_got == nr_want, "%d guards, not %d", nr_got, nr_want);

	for (int i = 0; ok && i < nr_want; i++) {
		const struct seen *g = &got[i], *w = &want[i];

		ok = check(g->start == w->start && g->end == w->end &&
			   g->pages == (w->end - w->start) / page,
			   "guard %d: %llx-%llx (%llu), not %llx-%llx", i, g->start, g->end,
			   g->pages, w->start, w->end) &&
		     check(g->vma_start <= g->start && g->end <= g->vma_end,
			   "guard %d is not in its mapping %llx-%llx", i, g->vma_start,
			   g->vma_end) &&
		     check(!strcmp(g->perms, w->perms), "guard %d: perms %s, not %s", i,
			   g->perms, w->perms) &&
		     check(!strcmp(g->gu, kernel_has_gu ? "yes" : "unknown"), "guard %d: gu %s",
			   i, g->gu) &&
		     check(strstr(g->name, w->name), "guard %d: name %s, not %s", i,
			   g->name, w->name);
	}
	return ok;
}

/* --------------------------------------------------- a process with guards */

static void install(char *at, size_t pages)
{
	if (madvise(at, pages * page, GUARD_INSTALL))
		give_up("MADV_GUARD_INSTALL");
}

/* Install, and expect it to be shown so. */
static void guard(char *map, size_t first, size_t pages, const char *perms, const char *name)
{
	struct seen *w = &want[nr_want++];

	install(map + first * page, pages);
	w->start = (uintptr_t)map + first * page;
	w->end = w->start + pages * page;
	strcpy(w->perms, perms);
	snprintf(w->name, sizeof(w->name), "%s", name);
}

/* With an inaccessible page before and after it: no other mapping touches it. */
static char *map(size_t pages, int prot, int flags, int fd)
{
	char *p = mmap(NULL, (pages + 2) * page, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p != MAP_FAILED)
		p = mmap(p + page, pages * page, prot, flags | MAP_FIXED |
			 (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
	if (p == MAP_FAILED)
		give_up("mmap");
	return p;
}

static int file_of(size_t pages, int fd)
{
	if (fd < 0 || ftruncate(fd, pages * page))
		give_up("file");
	return fd;
}

/* Far enough below the stack that is in use. */
__attribute__((noinline))
static char *deep_in_stack(void)
{
	static char *at;
	volatile char room[256 * 1024];

	for (size_t i = 0; i < sizeof(room); i += page)
		room[i] = 1;
	at = (char *)(((uintptr_t)room + sizeof(room) / 4) / page * page);
	return at;
}

static int by_start(const void *a, const void *b)
{
	const struct seen *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static char *anon;		/* guards on pages 1, 5 and 6, 15 of 16 */
static char *inaccessible;	/* PROT_NONE, the old way */

static void make_guards(void)
{
	char path[300], *p;
	const char *dir = getenv("GUARD_TEST_DIR");
	int fd;

	anon = map(16, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1);
	memset(anon, 1, 8 * page);
	guard(anon, 1, 1, "rw-p", "-");
	guard(anon, 5, 2, "rw-p", "-");
	guard(anon, 15, 1, "rw-p", "-");
	/* "Swapped" to PAGEMAP_SCAN is a guard as well as what is really so. */
	madvise(anon, 8 * page, MADV_PAGEOUT);

	p = map(8, PROT_READ, MAP_PRIVATE, -1);
	guard(p, 0, 8, "r--p", "-");
	install(p + 2 * page, 3);

	/* More than one PAGEMAP_SCAN returns, and of the last more than 512. */
	p = map(3500, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1);
	for (int i = 0; i < 3500; i += 2)
		guard(p, i, 1, "rw-p", "-");

	/* As glibc makes a thread stack. */
	p = map(64, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_STACK | MAP_NORESERVE, -1);
	guard(p, 0, 1, "rw-p", "-");
	guard(deep_in_stack(), 0, 2, "rw-p", "[stack]");

	fd = file_of(16, memfd_create("guardctl", 0));
	p = map(16, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	memset(p, 1, 16 * page);
	guard(p, 0, 3, "rw-s", "/memfd:guardctl");
	p = map(16, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	guard(p, 4, 1, "rw-p", "/memfd:guardctl");

	snprintf(path, sizeof(path), "%s/guardctl.XXXXXX", dir ? dir : "/tmp");
	fd = file_of(16, mkstemp(path));
	unlink(path);
	p = map(16, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	memset(p, 1, 16 * page);
	guard(p, 2, 2, "rw-s", path);
	p = map(16, PROT_READ, MAP_PRIVATE, fd);
	guard(p, 14, 2, "r--p", path);

	inaccessible = map(4, PROT_NONE, MAP_PRIVATE, -1);

	qsort(want, nr_want, sizeof(*want), by_start);
}

/* ------------------------------------------------------------- the kernel */

static bool shown(void)
{
	char *p = map(1, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1), line[512];
	u64 entry = 0, start, end;
	int fd = open("/proc/self/pagemap", O_RDONLY);
	bool here = false;
	FILE *f;

	if (madvise(p, page, GUARD_INSTALL)) {
		printf("1..0 # SKIP no guard regions: %s\n", strerror(errno));
		return false;
	}
	if (pread(fd, &entry, sizeof(entry), (uintptr_t)p / page * sizeof(entry)) !=
	    sizeof(entry) || !(entry & PM_GUARD)) {
		printf("1..0 # SKIP guard regions are not shown in pagemap\n");
		return false;
	}
	close(fd);
	f = fopen("/proc/self/smaps", "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%llx-%llx ", &start, &end) == 2)
			here = start <= (uintptr_t)p && (uintptr_t)p < end;
		else if (here && !strncmp(line, "VmFlags:", 8))
			kernel_has_gu = strstr(line, " gu");
	}
	if (f)
		fclose(f);
	madvise(p, page, GUARD_REMOVE);
	munmap(p, page);
	return true;
}

/* ------------------------------------------------------------------ tests */

static void test_address(const char *name, char *at, int want_status, const char *says)
{
	int status = run("%s -a %lx %d", guardctl, (unsigned long)(uintptr_t)at, getpid());
	bool ok = check(status == want_status, "status %d, not %d: %s", status, want_status, err) &&
		  check(strstr(out, says), "does not say '%s': %s", says, out);

	result(ok, name);
}

static int overflow_pipe[2];

static void on_segv(int sig, siginfo_t *si, void *context)
{
	(void)sig;
	(void)context;
	if (write(overflow_pipe[1], &si->si_addr, sizeof(si->si_addr)) < 0)
		_exit(1);
	for (;;)
		pause();
}

static volatile int no_end;

__attribute__((noinline))
static int recurse(void)
{
	volatile char frame[128];

	frame[0] = 1;
	return no_end ? 0 : recurse() + frame[0];
}

static void *overflow_thread(void *arg)
{
	static char alt[64 * 1024];
	stack_t ss = { .ss_sp = alt, .ss_size = sizeof(alt) };
	struct sigaction sa = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	(void)arg;
	sigaltstack(&ss, NULL);
	sigaction(SIGSEGV, &sa, NULL);
	recurse();
	return NULL;
}

/* The bug that one looks for with it: a thread that overflows its stack. */
static void test_overflow(void)
{
	char *stack = map(64, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_STACK, -1);
	void *at = NULL;
	char says[100];
	pthread_attr_t attr;
	pthread_t thread;
	int status;
	bool ok;
	pid_t pid;

	install(stack, 4);
	if (pipe(overflow_pipe))
		give_up("pipe");
	pid = fork();
	if (!pid) {
		close(overflow_pipe[0]);
		pthread_attr_init(&attr);
		pthread_attr_setstack(&attr, stack, 64 * page);
		pthread_create(&thread, &attr, overflow_thread, NULL);
		for (;;)
			pause();
	}
	close(overflow_pipe[1]);
	if (read(overflow_pipe[0], &at, sizeof(at)) != sizeof(at))
		give_up("no overflow");
	status = run("%s -a %p %d", guardctl, at, pid);
	snprintf(says, sizeof(says), "is in a guard: %lx-%lx (4 pages); mapping %lx-%lx rw-p",
		 (long)stack, (long)(stack + 4 * page), (long)stack, (long)(stack + 64 * page));
	ok = check(!status, "status %d: %s%s", status, out, err) &&
	     check(strstr(out, says), "does not say '%s': %s", says, out);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	munmap(stack, 64 * page);
	result(ok, "address.stack_overflow");
}

static void test_sums(void)
{
	char says[100];
	u64 pages = 0;
	int status;
	bool ok;

	for (int i = 0; i < nr_want; i++)
		pages += (want[i].end - want[i].start) / page;
	status = run("%s -s %d", guardctl, getpid());
	snprintf(says, sizeof(says), "(on_guards): %d guard regions, %llu pages (%llu KiB), in 9 of ",
		 nr_want, pages, pages * page / 1024);
	ok = check(!status, "status %d: %s", status, err) &&
	     check(strstr(out, says), "does not say '%s': %s", says, out) &&
	     check(strchr(out, '\n') == out + strlen(out) - 1, "not one line: %s", out);
	snprintf(says, sizeof(says), "\"have_guards\": 9, \"guards\": %d, \"pages\": %llu}",
		 nr_want, pages);
	status = run("%s -sj %d", guardctl, getpid());
	ok = ok && check(!status, "status %d: %s", status, err) &&
	     check(strstr(out, says), "does not say '%s': %s", says, out);
	result(ok, "summary");
}

/* A child that calls fn() again and again until it is killed. */
static pid_t start(void (*fn)(void))
{
	pid_t pid = fork();

	if (pid < 0)
		give_up("fork");
	if (!pid)
		for (;;)
			fn();
	return pid;
}

static void map_and_unmap(void)
{
	char *p = mmap(NULL, 64 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	if (p == MAP_FAILED)
		_exit(1);
	madvise(p + page, 3 * page, GUARD_INSTALL);
	munmap(p, 64 * page);
}

static void test_changing(void)
{
	pid_t pid = start(map_and_unmap);
	bool ok = true;

	for (int i = 0; ok && i < 20; i++) {
		int status = run("%s %s -j %d", guardctl, i & 1 ? "-A" : "--pagemap", pid);
		size_t len = strlen(out);

		ok = check(!status, "status %d: %s", status, err) &&
		     check(len > 2 && !strcmp(out + len - 2, "}\n"), "cut off: %s", out) &&
		     check(!*err == !!strstr(out, "\"changed\": false"), "%s%s", out, err) &&
		     check(!*err || strstr(err, "changed while it was read"), "%s", err);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	result(ok, "process.changing");
}

static bool opened(const char *path, pid_t pid, const char *file)
{
	char name[64];

	snprintf(name, sizeof(name), "/proc/%d/%s", pid, file);
	return !strcmp(path, name);
}

static char *spare[8];		/* of 4 pages */
static int nr_used;

/* Another guard that is newer than what smaps said, each time. */
static void guard_another(const char *path)
{
	if (opened(path, getpid(), "pagemap"))
		install(spare[nr_used++ % 8], 1);
}

/* As a thread's stack, and the next one's in the same place. */
static void map_again(const char *path)
{
	if (opened(path, getpid(), "smaps") &&
	    mmap(spare[0], 4 * page, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		give_up("mmap");
	if (opened(path, getpid(), "pagemap"))
		install(spare[0], 1);
}

/* No flag is lost, only seen too early. */
static void test_no_loss(const char *name, void (*hook)(const char *path), const char *says)
{
	int status;

	for (int i = 0; i < 8; i++)
		spare[i] = map(4, PROT_READ | PROT_WRITE, MAP_PRIVATE, -1);
	on_open = hook;
	status = run("%s %d", guardctl, getpid());
	on_open = NULL;
	if (!can_trace)
		skip(name, "no ptrace");
	else
		result(check(!status && !*err && strstr(out, says), "status %d: %s%s", status,
			     err, out), name);
	for (int i = 0; i < 8; i++)
		munmap(spare[i], 4 * page);
}

static pid_t runner;
static int run_on[2], has_run[2];	/* pipes: execve(), and: it is done */
static const char *before_read;

static void end_program(const char *path)
{
	char c;

	if (!before_read || !opened(path, runner, before_read))
		return;
	before_read = NULL;
	if (write(run_on[1], "", 1) != 1 || read(has_run[0], &c, 1) != 1)
		give_up("no execve");
}

/* A file that was opened and not yet read is that of the program before. */
static void test_execve(void)
{
	const char *const file[] = { "smaps", "pagemap", "maps" };
	bool ok = true;

	for (int i = 0; ok && i < 3; i++) {
		int status;
		char c;

		if (pipe(run_on) || pipe(has_run))
			give_up("pipe");
		runner = fork();
		if (!runner) {
			dup2(has_run[1], 1);
			if (read(run_on[0], &c, 1) == 1)
				execl("/proc/self/exe", "on_guards", "has-run", NULL);
			_exit(1);
		}
		close(run_on[0]);
		close(has_run[1]);
		before_read = file[i];
		on_open = end_program;
		status = run("%s %d", guardctl, runner);
		on_open = NULL;
		ok = check(!before_read, "%s was not opened", file[i]) &&
		     check(!status && !*err, "%s: status %d: %s", file[i], status, err);
		kill(runner, SIGKILL);
		waitpid(runner, NULL, 0);
		close(run_on[1]);
		close(has_run[0]);
	}
	if (!can_trace)
		skip("process.execve", "no ptrace");
	else
		result(ok, "process.execve");
}

static void end_soon(void)
{
	usleep(rand() % 3000);
	_exit(0);
}

static void test_ending(void)
{
	bool ok = true;

	for (int i = 0; ok && i < 30; i++) {
		pid_t pid = start(end_soon);
		int status = run("%s %s -j %d", guardctl, i & 1 ? "-A" : "--pagemap", pid);

		ok = check(!status || (status == 2 && strstr(err, "has ended")),
			   "status %d: %s", status, err);
		waitpid(pid, NULL, 0);
	}
	result(ok, "process.ending");
}

static void test_kernel_thread(void)
{
	char name[32] = "";
	int fd = open("/proc/2/comm", O_RDONLY), status;

	if (fd >= 0)
		slurp(fd, name, sizeof(name));
	status = run("%s 2", guardctl);
	if (strcmp(name, "kthreadd\n"))
		skip("process.kernel_thread", "process 2 is none");
	else if (strstr(err, "Permission denied"))
		skip("process.kernel_thread", "may not look at process 2");
	else
		result(check(status == 2 && strstr(err, "kernel thread"), "status %d: %s%s",
			     status, out, err), "process.kernel_thread");
}

/* A mapping that is far too large to be looked at page by page. */
static void test_huge(const char *name, const char *option)
{
	size_t pages = sizeof(long) == 8 ? 1UL << 33 : 1UL << 17;
	char *p = mmap(NULL, pages * page, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct timespec from, to;
	int status;
	bool ok;

	if (p == MAP_FAILED) {
		skip(name, "no address space");
		return;
	}
	nr_want = 0;
	guard(p, 0, 1, "rw-p", "");
	p[pages / 2 * page] = 1;
	guard(p, pages - 3, 2, "rw-p", "");
	clock_gettime(CLOCK_MONOTONIC, &from);
	status = run("%s -j %s %d", guardctl, option, getpid());
	clock_gettime(CLOCK_MONOTONIC, &to);
	parse_json();
	ok = all_as_wanted(status) &&
	     check(to.tv_sec - from.tv_sec < HUGE_SECONDS, "took %d s",
		   (int)(to.tv_sec - from.tv_sec));
	munmap(p, pages * page);
	result(ok, name);
}

int main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/');
	int status, dir;

	if (argc == 2 && !strcmp(argv[1], "has-run"))
		return write(1, "", 1) != 1 || pause();
	page = sysconf(_SC_PAGESIZE);
	if (argc != 1 || !slash) {
		fprintf(stderr, "usage: DIR/on_guards\n");
		return 2;
	}
	dir = slash + 1 - argv[0];
	snprintf(guardctl, sizeof(guardctl), "%.*sguardctl", dir, argv[0]);
	snprintf(older, sizeof(older), "%.*solder", dir, argv[0]);
	printf("TAP version 13\n");
	if (!shown())
		return 4;
	printf("1..%d\n", TESTS);
	make_guards();

	status = run("%s %d", guardctl, getpid());
	parse_table();
	result(all_as_wanted(status), "table");

	/* A mapping without a name is "-" in the table, and "" here. */
	for (int i = 0; i < nr_want; i++)
		if (!strcmp(want[i].name, "-"))
			want[i].name[0] = 0;
	status = run("%s --json %d", guardctl, getpid());
	parse_json();
	result(all_as_wanted(status) && right_method() &&
	       check(strstr(out, "\"changed\": false") != NULL, "%s", out), "json");
	status = run("%s --json --pagemap %d", guardctl, getpid());
	parse_json();
	result(all_as_wanted(status) && check(strstr(out, "\"method\": \"pagemap\"") != NULL, "%s",
					     out), "json.pagemap");
	status = run("%s no-scan %s --json %d", older, guardctl, getpid());
	parse_json();
	if (status == 4)
		skip("json.no_scan", "no seccomp");
	else
		result(all_as_wanted(status), "json.no_scan");
	test_sums();

	test_address("address.first_byte", anon + page, 0, " is in a guard: ");
	test_address("address.last_byte", anon + 2 * page - 1, 0, " (1 page); mapping ");
	test_address("address.second_guard", anon + 6 * page, 0, " (2 pages); mapping ");
	test_address("address.before", anon + page - 1, 1, " is not in a guard; mapping ");
	test_address("address.after", anon + 2 * page, 1, " is not in a guard; mapping ");
	test_address("address.end_of_mapping", anon + 16 * page - 1, 0, " (1 page); mapping ");
	test_address("address.next_mapping", anon + 16 * page, 1, " ---p, ");
	test_address("address.prot_none", inaccessible, 1, " ---p, ");
	test_address("address.not_mapped", (char *)page, 1, " is not in a guard; it is not mapped");
	test_overflow();

	/* It stays gu, and that is all. */
	for (int i = 0; i < nr_want; i++)
		if (madvise((char *)(uintptr_t)want[i].start, want[i].end - want[i].start,
			    GUARD_REMOVE))
			give_up("MADV_GUARD_REMOVE");
	status = run("%s %d", guardctl, getpid());
	result(check(!status && strstr(out, " 0 guard regions, 0 pages (0 KiB), in 0 of ") &&
		     strchr(out, '\n') == out + strlen(out) - 1, "status %d: %s%s", status, out,
		     err), "removed");

	test_huge("huge.scan", "-j");
	test_huge("huge.pagemap", "--pagemap");
	test_no_loss("process.new_guard", guard_another, " 1 guard region, ");
	/* With no flag to doubt, it looks only once. */
	test_no_loss("process.mapped_again", map_again,
		     kernel_has_gu ? " 0 guard regions, " : " 1 guard region, ");
	test_changing();
	test_ending();
	test_execve();
	test_kernel_thread();
	return failures > 0;
}
