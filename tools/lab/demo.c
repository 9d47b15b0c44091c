// SPDX-License-Identifier: GPL-2.0
/*
 * What a guard region is, for a human reader: each step says what it does and
 * what came of it.  KTAP results come at the end, so that a harness can judge
 * it; the story is in KTAP's comments.
 *
 * Runs on any kernel without root; static, for the lab's guest.  The first
 * argument is the directory for the file mapping (default /mnt/ext4, then /tmp);
 * a second one, "gu", makes it a failure if the kernel lacks VM_MAYBE_GUARD.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#define MADV_GUARD_REMOVE	103
#endif

#define PAGES		16
#define GUARD		6	/* first page of the guard region */
#define GUARD_PAGES	4
#define PAGEMAP_GUARD	58
#define STEPS		12

static size_t page;
static bool want_gu;
static int step_nr, failures;
static bool step_ok;
static struct { const char *name; bool ok; } results[STEPS];

/* ------------------------------------------------------------- telling */

static void say(const char *fmt, ...)
{
	va_list ap;

	printf("#      ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

static void step(const char *what)
{
	step_nr++;
	step_ok = true;
	printf("#\n# %2d. %s\n", step_nr, what);
}

/* A promise: kept, or the step has failed. */
static bool promise(bool kept, const char *fmt, ...)
{
	va_list ap;

	printf("#      %s ", kept ? "[ok]" : "[BROKEN]");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	step_ok &= kept;
	return kept;
}

static void step_end(const char *name)
{
	results[step_nr - 1].name = name;
	results[step_nr - 1].ok = step_ok;
	failures += !step_ok;
}

static void give_up(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ------------------------------------------------------------- looking */

static sigjmp_buf recover;
static void *volatile fault_addr;
static volatile sig_atomic_t fault_code;

static void on_segv(int sig, siginfo_t *si, void *context)
{
	(void)sig;
	(void)context;
	fault_addr = si->si_addr;
	fault_code = si->si_code;
	siglongjmp(recover, 1);
}

/* True when the access went well; else fault_addr says where it did not. */
static bool touch(volatile char *p, bool write)
{
	fault_addr = NULL;
	if (sigsetjmp(recover, 1))
		return false;
	if (write)
		*p = 'x';
	else
		(void)*p;
	return true;
}

/* How many VMAs the range is made of; prints them when @show. */
static int count_vmas(char *start, size_t len, bool show)
{
	uintptr_t from = (uintptr_t)start, to = from + len, lo, hi;
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	int count = 0;

	if (!f)
		give_up("/proc/self/maps");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &lo, &hi) != 2 ||
		    hi <= from || lo >= to)
			continue;
		count++;
		line[strcspn(line, "\n")] = 0;
		if (show)
			say("  %s", line);
	}
	fclose(f);
	return count;
}

/* That line of smaps of the VMA that @addr is in. */
static void smaps_line(char *addr, const char *name, char *buf, size_t size)
{
	uintptr_t lo, hi, at = (uintptr_t)addr;
	FILE *f = fopen("/proc/self/smaps", "r");
	bool here = false;
	char line[512];

	buf[0] = 0;
	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &lo, &hi) == 2)
			here = lo <= at && at < hi;
		else if (here && !strncmp(line, name, strlen(name))) {
			line[strcspn(line, "\n")] = 0;
			snprintf(buf, size, "%s", line);
			break;
		}
	}
	fclose(f);
}

static void vmflags(char *addr, char *buf, size_t size)
{
	smaps_line(addr, "VmFlags:", buf, size);
}

/* In KiB. */
static size_t huge_mapped(char *addr)
{
	char line[512];
	size_t size;

	smaps_line(addr, "ShmemPmdMapped:", line, sizeof(line));
	return sscanf(line, "ShmemPmdMapped: %zu", &size) == 1 ? size : 0;
}

/* One character for each page, from bit 58 of pagemap. */
static bool pagemap_picture(char *start, int pages, char *picture)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	bool ok = fd >= 0;

	for (int i = 0; i < pages; i++) {
		uint64_t e = 0;
		off_t at = (uintptr_t)(start + i * page) / page * sizeof(e);

		ok = ok && pread(fd, &e, sizeof(e), at) == sizeof(e);
		picture[i] = e >> PAGEMAP_GUARD & 1 ? 'G' : e >> 63 ? 'p' : '.';
	}
	picture[pages] = 0;
	if (fd >= 0)
		close(fd);
	return ok;
}

/* Run @fn in a child; its return value, or -1 when it died. */
static int in_child(int (*fn)(char *map), char *map)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		give_up("fork");
	if (!pid)
		_exit(fn(map));
	if (waitpid(pid, &status, 0) != pid)
		give_up("waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static char *guard_of(char *map)
{
	return map + GUARD * page;
}

static int child_faults(char *map)
{
	for (int i = 0; i < GUARD_PAGES; i++)
		if (touch(guard_of(map) + i * page, true))
			return 1;
	return touch(map, true) ? 0 : 2;
}

static void promise_faults(char *addr, bool write, const char *what)
{
	bool ok = touch(addr, write);

	promise(!ok && fault_addr == addr, "%s: %s, si_addr %p%s", what,
		ok ? "went through" : "SIGSEGV", fault_addr,
		!ok && fault_addr == addr ? " is the address touched" : "");
}

/* --------------------------------------------------------------- steps */

static int install(char *map)
{
	return madvise(guard_of(map), GUARD_PAGES * page, MADV_GUARD_INSTALL);
}

static int remove_guard(char *map)
{
	return madvise(guard_of(map), GUARD_PAGES * page, MADV_GUARD_REMOVE);
}

static char *anon_map(void)
{
	char *map = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		give_up("mmap");
	return map;
}

static int file_map(const char *dir, char **map)
{
	char path[300];
	int fd;

	snprintf(path, sizeof(path), "%s/guard-demo.XXXXXX", dir);
	fd = mkstemp(path);
	if (fd < 0)
		return -1;
	unlink(path);
	for (size_t i = 0; i < PAGES * page; i++)
		if (write(fd, "f", 1) != 1)
			give_up("writing the file");
	*map = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (*map == MAP_FAILED)
		give_up("mmap of the file");
	return fd;
}

static bool has_gu(char *addr)
{
	char flags[512];

	vmflags(addr, flags, sizeof(flags));
	return strstr(flags, " gu");
}

/* Two pieces of shared memory, each as large as a huge page and aligned. */
static char *huge_map(size_t huge)
{
	char *room = mmap(NULL, 3 * huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = memfd_create("guard-demo", 0);
	char *map;

	if (room == MAP_FAILED || fd < 0 || ftruncate(fd, 2 * huge))
		give_up("memfd");
	map = (char *)(((uintptr_t)room + huge - 1) / huge * huge);
	map = mmap(map, 2 * huge, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	if (map == MAP_FAILED)
		give_up("mmap of a memfd");
	close(fd);
	return map;
}

static int collapse(char *map, size_t len)
{
	int r, tries;

	/* Pages that are busy for a moment make it fail. */
	for (tries = 0; tries < 100; tries++) {
		r = madvise(map, len, MADV_COLLAPSE);
		if (!r || (errno != EAGAIN && errno != EBUSY))
			break;
		usleep(1000);
	}
	return r;
}

static size_t huge_page_size(void)
{
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "r");
	size_t size = 0;

	if (f) {
		if (fscanf(f, "%zu", &size) != 1)
			size = 0;
		fclose(f);
	}
	return size;
}

/* A neighbour of our own, so that no other mapping merges with the demo's. */
static char *fenced_anon_map(void)
{
	char *fence = mmap(NULL, (PAGES + 2) * page, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *map;

	if (fence == MAP_FAILED)
		give_up("mmap");
	map = mmap(fence + page, PAGES * page, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (map == MAP_FAILED)
		give_up("mmap");
	return map;
}

static void demo(const char *dir)
{
	char picture[PAGES + 1], flags[512], *map, *other, *file;
	int fd, vmas, pipe_fd[2], r;
	size_t huge;
	ssize_t n;

	map = fenced_anon_map();
	memset(map, 'a', PAGES * page);

	step("A guard region in the middle of a mapping: madvise(..., 102)");
	say("%d pages of anonymous memory at %p, all written to", PAGES, map);
	r = install(map);
	promise(!r, "madvise(page %d, %d pages, MADV_GUARD_INSTALL) = %d", GUARD, GUARD_PAGES, r);
	step_end("install");

	step("What /proc/self/maps shows: the mapping is not cut");
	vmas = count_vmas(map, PAGES * page, true);
	promise(vmas == 1, "%d VMA with the guard region in it", vmas);
	other = fenced_anon_map();
	if (mprotect(guard_of(other), GUARD_PAGES * page, PROT_NONE))
		give_up("mprotect");
	say("the old way, mprotect(PROT_NONE) on the same pages of another mapping:");
	vmas = count_vmas(other, PAGES * page, true);
	promise(vmas == 3, "%d VMAs, each costs kernel memory and a place in the tree", vmas);
	step_end("maps_one_vma");

	step("What /proc/self/smaps shows");
	vmflags(map, flags, sizeof(flags));
	promise(flags[0], "%s", flags[0] ? flags : "no VmFlags line");
	if (strstr(flags, " gu")) {
		say("\"gu\": there may be guards in this mapping");
		vmflags(other, flags, sizeof(flags));
		promise(!strstr(flags, " gu"), "and the mapping without one does not have it");
	} else {
		say("no \"gu\": this kernel has guard regions, but not the VM_MAYBE_GUARD");
		say("flag that tells of them");
		if (want_gu)
			promise(false, "it should have it");
	}
	step_end("smaps");

	step("Touching the guard region: SIGSEGV, and where");
	promise_faults(guard_of(map), false, "read of its first byte");
	promise_faults(guard_of(map) + GUARD_PAGES * page - 1, true, "write to its last byte");
	promise(touch(guard_of(map) - 1, true) && touch(guard_of(map) + GUARD_PAGES * page, true),
		"the bytes just before and just after it: accessible");
	step_end("fault");

	step("The kernel is stopped too: write(2) from the guard region");
	if (pipe(pipe_fd))
		give_up("pipe");
	n = write(pipe_fd[1], guard_of(map), 1);
	promise(n == -1 && errno == EFAULT, "write(pipe, guard, 1) = %zd (%s)", n,
		n < 0 ? strerrorname_np(errno) : "no error");
	n = write(pipe_fd[1], map, 1);
	promise(n == 1, "write(pipe, first page, 1) = %zd", n);
	close(pipe_fd[0]);
	close(pipe_fd[1]);
	step_end("kernel_access");

	step("What /proc/self/pagemap shows: bit 58, without privilege");
	promise(pagemap_picture(map, PAGES, picture), "pagemap can be read");
	say("pages:  %s   (p present, G guard)", picture);
	promise(!strcmp(picture, "ppppppGGGGpppppp"), "bit 58 on the guard's pages and no other");
	step_end("pagemap");

	step("fork: the child has the parent's guard region");
	r = in_child(child_faults, map);
	promise(r == 0, "the child %s", r == 0 ? "faults on each page of it, and not beside it" :
		r == 1 ? "reached a guarded page" : "lost a page it should have");
	step_end("fork");

	step("Other advice and mprotect do not take it away");
	r = madvise(map, PAGES * page, MADV_DONTNEED);
	promise(!r && !touch(guard_of(map), false), "still there after MADV_DONTNEED of everything");
	r = mprotect(map, PAGES * page, PROT_READ) ||
	    mprotect(map, PAGES * page, PROT_READ | PROT_WRITE);
	promise(!r && !touch(guard_of(map), true), "still there after mprotect there and back");
	step_end("survives");

	step("VMAs with and without guards are merged");
	other = fenced_anon_map();
	memset(other, 'b', PAGES * page);
	if (mprotect(other, PAGES / 2 * page, PROT_READ))
		give_up("mprotect");
	vmas = count_vmas(other, PAGES * page, true);
	r = madvise(other + (PAGES - 2) * page, page, MADV_GUARD_INSTALL);
	promise(vmas == 2 && !r, "%d VMAs, made so by mprotect; a guard in the second one", vmas);
	if (want_gu)
		promise(!has_gu(other) && has_gu(other + (PAGES - 1) * page),
			"the second has \"gu\", the first has not");
	if (mprotect(other, PAGES / 2 * page, PROT_READ | PROT_WRITE))
		give_up("mprotect");
	vmas = count_vmas(other, PAGES * page, true);
	promise(vmas == 1, "%d VMA when the protection is the same again", vmas);
	if (want_gu)
		promise(has_gu(other), "and it has \"gu\"");
	promise(!touch(other + (PAGES - 2) * page, false), "the guard is still there");
	step_end("merge");

	step("Removing it: madvise(..., 103)");
	r = remove_guard(map);
	promise(!r, "madvise(..., MADV_GUARD_REMOVE) = %d", r);
	promise(touch(guard_of(map), true) && touch(guard_of(map) + (GUARD_PAGES - 1) * page, true),
		"its pages are ordinary memory again");
	pagemap_picture(map, PAGES, picture);
	promise(!strchr(picture, 'G'), "pages:  %s   (. not there yet)", picture);
	step_end("remove");

	step("The same in a shared mapping of a file");
	fd = file_map(dir, &file);
	if (fd < 0)
		give_up(dir);
	r = install(file);
	promise(!r, "a file in %s, mapped shared: MADV_GUARD_INSTALL = %d", dir, r);
	vmas = count_vmas(file, PAGES * page, true);
	promise(vmas == 1, "%d VMA", vmas);
	if (want_gu)
		promise(has_gu(file), "with \"gu\"");
	promise_faults(guard_of(file), true, "write to it");
	r = in_child(child_faults, file);
	promise(r == 0, "the child of a fork %s", r == 0 ? "faults there too" : "does not fault");
	n = pread(fd, picture, 1, GUARD * page);
	promise(n == 1 && picture[0] == 'f', "the file's own data is untouched: read(2) gives '%c'",
		n == 1 ? picture[0] : '?');
	r = remove_guard(file);
	promise(!r && touch(guard_of(file), false) && *guard_of(file) == 'f',
		"removed, the data is to be seen through the mapping again");
	close(fd);
	step_end("file");

	step("Huge pages: not over a guard, but beside it");
	huge = huge_page_size();
	if (!huge) {
		say("this kernel has no huge pages");
	} else {
		map = huge_map(huge);
		memset(map, 'h', 2 * huge);
		other = map + huge / 2;
		r = madvise(other, page, MADV_GUARD_INSTALL);
		promise(!r, "%zu KiB of shared memory, a guard in the first half: %d",
			2 * huge / 1024, r);
		r = collapse(map, huge);
		promise(r == -1, "MADV_COLLAPSE of the first half is refused: %s",
			r ? strerrorname_np(errno) : "no, it is not");
		promise(!touch(other, false) && other[-1] == 'h' && other[page] == 'h',
			"the guard is still there, and the data beside it");
		r = collapse(map + huge, huge);
		promise(!r && map[huge] == 'h', "MADV_COLLAPSE of the second half: %d", r);
		promise(huge_mapped(map) * 1024 == huge, "%zu KiB of it are a huge page (smaps)",
			huge_mapped(map));
	}
	step_end("collapse");
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO };
	const char *dir = argc > 1 ? argv[1] : access("/mnt/ext4", W_OK) ? "/tmp" : "/mnt/ext4";
	struct utsname u;
	char *map;

	setvbuf(stdout, NULL, _IOLBF, 0);
	page = sysconf(_SC_PAGESIZE);
	want_gu = argc > 2 && !strcmp(argv[2], "gu");
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	uname(&u);

	printf("TAP version 13\n");
	printf("# Guard regions on %s %s\n", u.sysname, u.release);
	map = anon_map();
	if (install(map)) {
		if (errno == EINVAL)
			printf("# Guard regions: not supported by this kernel (EINVAL)\n"
			       "1..0 # SKIP not supported by this kernel\n");
		else
			give_up("MADV_GUARD_INSTALL");
		return 4;
	}
	munmap(map, PAGES * page);

	demo(dir);
	printf("#\n# %s\n#\n1..%d\n", failures ? "A PROMISE WAS BROKEN" : "All promises kept.", STEPS);
	for (int i = 0; i < STEPS; i++)
		printf("%s %d %s\n", results[i].ok ? "ok" : "not ok", i + 1, results[i].name);
	return failures ? 1 : 0;
}
