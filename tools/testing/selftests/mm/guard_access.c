// SPDX-License-Identifier: GPL-2.0
/*
 * Guard regions: what an access to one does, from user mode and through the
 * kernel, and what install and remove do to what is in the range.
 */
#define _GNU_SOURCE
/* Addresses are offsets in /proc/PID/mem, above 2 GiB in 32 bits too. */
#define _FILE_OFFSET_BITS 64
#include "guard_system.h"

#define NR_PAGES	24
#define GUARD		9		/* first guarded page */
#define NR_GUARDS	3
#define AFTER		(GUARD + NR_GUARDS)

GUARD_FIXTURE(access, NR_PAGES)
GUARD_VARIANTS_RW(access);
GUARD_VARIANTS_RO(access);

/* Backings to which the process writes. */
GUARD_FIXTURE(data, NR_PAGES)
GUARD_VARIANTS_RW(data);

/* Backings with an object behind them, whose page cache is hot. */
GUARD_FIXTURE(object, NR_PAGES)
GUARD_VARIANT(object, shmem_private, SHMEM_PRIVATE);
GUARD_VARIANT(object, shmem_shared, SHMEM_SHARED);
GUARD_VARIANT(object, file_private, FILE_PRIVATE);
GUARD_VARIANT(object, file_shared, FILE_SHARED);
GUARD_VARIANTS_RO(object);

/*
 *      0            8 9        11 12          23
 *    | pages ... | A | guards | B | pages ... |
 */
TEST_F(access, user_access_faults)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size(), i;

	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, guard_install(map_page(m, GUARD), NR_GUARDS * psz));

	for (i = GUARD; i < AFTER; i++) {
		char *p = map_page(m, i);

		/* touch_faults() compares si_addr, to the byte. */
		EXPECT_TRUE(touch_faults(p, TOUCH_READ));
		EXPECT_TRUE(touch_faults(p + 1, TOUCH_READ));
		EXPECT_TRUE(touch_faults(p + psz / 2 + 3, TOUCH_READ));
		EXPECT_TRUE(touch_faults(p + psz - 1, TOUCH_READ));
		EXPECT_TRUE(touch_faults(p, TOUCH_WRITE));
		EXPECT_TRUE(touch_faults(p + psz / 2 + 3, TOUCH_WRITE));
		EXPECT_TRUE(touch_faults(p + psz - 1, TOUCH_WRITE));
		/* Again: the first fault must not have let it in. */
		EXPECT_TRUE(touch_faults(p, TOUCH_READ));
	}
	EXPECT_TRUE(map_populated_intact(m, 0, GUARD));
	EXPECT_TRUE(map_populated_intact(m, AFTER, NR_PAGES - AFTER));
}

TEST_F(access, never_touched_faults)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, guard_install(map_page(m, GUARD),
				   NR_GUARDS * page_size()));
	EXPECT_TRUE(map_guarded(m, GUARD, NR_GUARDS));
	EXPECT_TRUE(range_readable(m->base, GUARD * page_size()));
	EXPECT_TRUE(range_readable(map_page(m, AFTER),
				   (NR_PAGES - AFTER) * page_size()));
	EXPECT_TRUE(map_guarded(m, GUARD, NR_GUARDS));
}

TEST_F(access, edges)
{
	struct guard_map *m = &self->map;
	char *start = map_page(m, GUARD);
	char *end = map_page(m, AFTER);
	struct touch across;

	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, guard_install(start, end - start));

	EXPECT_EQ(0, touch(start - 1, TOUCH_READ).signo);
	EXPECT_TRUE(touch_faults(start, TOUCH_READ));
	EXPECT_TRUE(touch_faults(end - 1, TOUCH_READ));
	EXPECT_EQ(0, touch(end, TOUCH_READ).signo);
	if (m->prot & PROT_WRITE) {
		EXPECT_EQ(0, touch(start - 1, TOUCH_REWRITE).signo);
		EXPECT_EQ(0, touch(end, TOUCH_REWRITE).signo);
	}

	/* One load that begins on the page before the first guard. */
	across = touch(start - 4, TOUCH_READ_WORD);
	EXPECT_EQ(SIGSEGV, across.signo);
	EXPECT_LE((void *)(start - 4), (void *)across.addr);
	EXPECT_GT((void *)(start + 4), (void *)across.addr);

	EXPECT_TRUE(map_populated_intact(m, 0, GUARD));
	EXPECT_TRUE(map_populated_intact(m, AFTER, NR_PAGES - AFTER));
}

/* The first and the last page of a mapping are as good as any other. */
TEST_F(access, whole_mapping)
{
	struct guard_map *m = &self->map;

	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, guard_install(m->base, m->size));
	EXPECT_TRUE(map_guarded(m, 0, NR_PAGES));
	EXPECT_EQ(0, range_present(m->base, m->size));

	ASSERT_EQ(0, guard_remove(m->base, m->size));
	EXPECT_TRUE(map_discarded(m, 0, NR_PAGES));
}

/* Instruction fetch. */
TEST_F(access, call_faults)
{
#if defined(__x86_64__) || defined(__i386__)
	static const unsigned char code[] = { 0xc3 };		/* ret */
#elif defined(__aarch64__)
	static const unsigned char code[] = { 0xc0, 0x03, 0x5f, 0xd6 };
#elif defined(__riscv)
	static const unsigned char code[] = { 0x67, 0x80, 0x00, 0x00 };
#else
	static const unsigned char code[] = { 0 };

	SKIP(return, "no code to call on this architecture");
#endif
	struct guard_map *m = &self->map;
	size_t i;

	for (i = 0; i < NR_PAGES; i++) {
		char *p = map_page(m, i);

		if (m->prot & PROT_WRITE)
			memcpy(p, code, sizeof(code));
		else
			ASSERT_EQ((ssize_t)sizeof(code),
				  pwrite(m->write_fd, code, sizeof(code),
					 i * page_size()));
		__builtin___clear_cache(p, p + sizeof(code));
	}
	if (mprotect(m->base, m->size, PROT_READ | PROT_EXEC))
		SKIP(return, "cannot map it executable: %s", strerror(errno));

	for (i = 0; i < NR_PAGES; i++)
		ASSERT_EQ(0, touch(map_page(m, i), TOUCH_CALL).signo);

	ASSERT_EQ(0, guard_install(map_page(m, GUARD),
				   NR_GUARDS * page_size()));
	for (i = 0; i < NR_PAGES; i++) {
		char *p = map_page(m, i);

		if (i >= GUARD && i < AFTER) {
			EXPECT_TRUE(touch_faults(p, TOUCH_CALL));
		} else {
			EXPECT_EQ(0, touch(p, TOUCH_CALL).signo);
		}
	}
}

TEST_F(access, read_and_write_fail)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size(), i;

	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, guard_install(map_page(m, GUARD), NR_GUARDS * psz));

	for (i = GUARD; i < AFTER; i++) {
		char *p = map_page(m, i);

		EXPECT_TRUE(kernel_read_fails(p));
		EXPECT_TRUE(kernel_read_fails(p + psz - 1));
		EXPECT_TRUE(kernel_write_fails(p));
		EXPECT_TRUE(kernel_write_fails(p + psz - 1));
		/* A string the kernel fetches. */
		EXPECT_EQ(-1, open(p, O_RDONLY));
		EXPECT_EQ(EFAULT, errno);
	}
	EXPECT_TRUE(kernel_read_works(map_page(m, GUARD) - 1));
	EXPECT_TRUE(kernel_read_works(map_page(m, AFTER)));

	EXPECT_TRUE(map_guarded(m, GUARD, NR_GUARDS));
	EXPECT_TRUE(map_populated_intact(m, 0, GUARD));
	EXPECT_TRUE(map_populated_intact(m, AFTER, NR_PAGES - AFTER));
}

/* A buffer of which the second half is guarded gives at most the first. */
TEST_F(access, read_and_write_stop_short)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();
	char *before = map_page(m, GUARD - 1);
	char *buf = malloc(2 * psz);
	int pipefd[2];
	ssize_t n;

	ASSERT_NE(NULL, buf);
	ASSERT_EQ(0, pipe(pipefd));
	ASSERT_EQ(0, fcntl(pipefd[0], F_SETFL, O_NONBLOCK));
	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, guard_install(map_page(m, GUARD), NR_GUARDS * psz));

	n = write(pipefd[1], before, 2 * psz);
	if (n < 0) {
		EXPECT_EQ(EFAULT, errno);
	} else {
		EXPECT_LE((size_t)n, psz);
	}
	/* And no byte more than was said comes out of the pipe. */
	EXPECT_LE(read(pipefd[0], buf, 2 * psz), n);
	if (n > 0)
		EXPECT_EQ(0, memcmp(buf, before, n));

	if (m->prot & PROT_WRITE) {
		memset(buf, 0, 2 * psz);
		ASSERT_EQ((ssize_t)(2 * psz), write(pipefd[1], buf, 2 * psz));
		n = read(pipefd[0], before, 2 * psz);
		if (n < 0) {
			EXPECT_EQ(EFAULT, errno);
		} else {
			EXPECT_LE((size_t)n, psz);
		}
	}
	EXPECT_TRUE(map_guarded(m, GUARD, NR_GUARDS));
	close(pipefd[0]);
	close(pipefd[1]);
	free(buf);
}

static ssize_t vm_copy(bool to_map, void *remote, void *local, size_t len)
{
	struct iovec r = { remote, len }, l = { local, len };
	ssize_t n;

	n = to_map ? process_vm_writev(getpid(), &l, 1, &r, 1, 0) :
		     process_vm_readv(getpid(), &l, 1, &r, 1, 0);
	return n < 0 ? -errno : n;
}

TEST_F(access, process_vm_fails)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();
	char *guard = map_page(m, GUARD);
	char *buf = malloc(2 * psz);
	ssize_t n;

	ASSERT_NE(NULL, buf);
	map_populate(m, 0, NR_PAGES);
	n = vm_copy(false, guard, buf, psz);
	if (n == -ENOSYS)
		SKIP(return, "no process_vm_readv()");
	ASSERT_EQ((ssize_t)psz, n);
	ASSERT_EQ(0, guard_install(guard, NR_GUARDS * psz));

	EXPECT_EQ(-EFAULT, vm_copy(false, guard, buf, psz));
	EXPECT_EQ(-EFAULT, vm_copy(false, guard + psz - 1, buf, 1));
	EXPECT_EQ(-EFAULT, vm_copy(true, guard, buf, psz));
	/* The guard on the local side. */
	EXPECT_EQ(-EFAULT, vm_copy(false, m->base, guard, psz));
	EXPECT_EQ(-EFAULT, vm_copy(true, buf, guard, psz));

	/* Begun on the page before. */
	memset(buf, 0, 2 * psz);
	n = vm_copy(false, guard - psz, buf, 2 * psz);
	EXPECT_EQ((ssize_t)psz, n);
	EXPECT_EQ(0, memcmp(buf, guard - psz, psz));

	EXPECT_TRUE(map_guarded(m, GUARD, NR_GUARDS));
	EXPECT_TRUE(map_populated_intact(m, 0, GUARD));
	EXPECT_TRUE(map_populated_intact(m, AFTER, NR_PAGES - AFTER));
	free(buf);
}

/* The page of another process: GUP on an mm that is not current's. */
static int read_child(struct guard_map *m, ssize_t *vm, ssize_t *mem)
{
	struct iovec l, r;
	char path[64], byte;
	int to[2], fd, status;
	pid_t pid;

	if (pipe(to))
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		close(to[1]);
		/* Wait for the parent to close its end. */
		if (read(to[0], &byte, 1) != 0)
			_exit(2);
		_exit(!map_guarded(m, GUARD, NR_GUARDS));
	}
	close(to[0]);

	l = (struct iovec){ &byte, 1 };
	r = (struct iovec){ map_page(m, GUARD), 1 };
	*vm = process_vm_readv(pid, &l, 1, &r, 1, 0);
	if (*vm < 0)
		*vm = -errno;
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	*mem = pread(fd, &byte, 1, (off_t)(uintptr_t)map_page(m, GUARD));
	if (*mem < 0)
		*mem = -errno;
	close(fd);
	close(to[1]);
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(access, other_process_fails)
{
	struct guard_map *m = &self->map;
	ssize_t vm = 0, mem = 0;

	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, guard_install(map_page(m, GUARD),
				   NR_GUARDS * page_size()));
	/* 0: the child found its guards in place afterwards. */
	EXPECT_EQ(0, read_child(m, &vm, &mem));
	if (vm != -ENOSYS)
		EXPECT_EQ(-EFAULT, vm);
	EXPECT_LT(mem, 0);
	EXPECT_NE(-EBADF, mem);
}

TEST_F(access, proc_mem_fails)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();
	char *guard = map_page(m, GUARD);
	char *buf = calloc(1, 2 * psz);
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

	ASSERT_NE(NULL, buf);
	ASSERT_LE(0, fd);
	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ((ssize_t)psz, pread(fd, buf, psz, (off_t)(uintptr_t)guard));
	ASSERT_EQ(0, guard_install(guard, NR_GUARDS * psz));

	EXPECT_GT(0, pread(fd, buf, psz, (off_t)(uintptr_t)guard));
	EXPECT_GT(0, pwrite(fd, buf, psz, (off_t)(uintptr_t)guard));
	EXPECT_GT(0, pread(fd, buf, 1, (off_t)(uintptr_t)(guard + psz - 1)));
	EXPECT_EQ((ssize_t)psz, pread(fd, buf, 2 * psz,
				      (off_t)(uintptr_t)(guard - psz)));
	EXPECT_EQ(0, memcmp(buf, guard - psz, psz));

	/* These accesses are forced: no protection opens the page to them. */
	ASSERT_EQ(0, mprotect(m->base, m->size, PROT_NONE));
	EXPECT_GT(0, pread(fd, buf, psz, (off_t)(uintptr_t)guard));
	EXPECT_GT(0, pwrite(fd, buf, psz, (off_t)(uintptr_t)guard));
	ASSERT_EQ(0, mprotect(m->base, m->size, m->prot));

	EXPECT_TRUE(map_guarded(m, GUARD, NR_GUARDS));
	EXPECT_TRUE(map_populated_intact(m, 0, GUARD));
	EXPECT_TRUE(map_populated_intact(m, AFTER, NR_PAGES - AFTER));
	close(fd);
	free(buf);
}

/* Page pinning, by vmsplice(2): fast GUP, then the slow way. */
TEST_F(access, vmsplice_fails)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();
	struct iovec iov = { map_page(m, GUARD), psz };
	char *buf = malloc(2 * psz);
	int pipefd[2];

	ASSERT_NE(NULL, buf);
	ASSERT_EQ(0, pipe(pipefd));
	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, guard_install(map_page(m, GUARD), NR_GUARDS * psz));

	EXPECT_EQ(-1, vmsplice(pipefd[1], &iov, 1, 0));
	EXPECT_EQ(EFAULT, errno);

	iov.iov_base = map_page(m, GUARD - 1);
	iov.iov_len = 2 * psz;
	EXPECT_EQ((ssize_t)psz, vmsplice(pipefd[1], &iov, 1, 0));
	ASSERT_EQ((ssize_t)psz, read(pipefd[0], buf, 2 * psz));
	EXPECT_EQ(0, memcmp(buf, map_page(m, GUARD - 1), psz));

	EXPECT_TRUE(map_guarded(m, GUARD, NR_GUARDS));
	close(pipefd[0]);
	close(pipefd[1]);
	free(buf);
}

/* Direct I/O pins the pages: for reading (a write) and writing (a read). */
TEST_F(access, direct_io_fails)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();
	char *guard = map_page(m, GUARD);
	char path[64];
	int fd, direct;

	fd = local_file();
	if (fd < 0)
		SKIP(return, "%s", guard_reason);
	ASSERT_EQ(0, object_fill(fd, 4, OBJECT_SEED));
	ASSERT_EQ(0, fsync(fd));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	direct = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (direct < 0)
		SKIP(return, "no direct I/O on this file system: %s",
		     strerror(errno));
	map_populate(m, 0, NR_PAGES);
	if (pwrite(direct, m->base, psz, 0) != (ssize_t)psz)
		SKIP(return, "no direct I/O in pages here: %s",
		     strerror(errno));

	ASSERT_EQ(0, guard_install(guard, NR_GUARDS * psz));
	EXPECT_EQ(-1, pwrite(direct, guard, psz, psz));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pread(direct, guard, psz, psz));
	EXPECT_EQ(EFAULT, errno);
	/* The file has what it had. */
	EXPECT_TRUE(object_holds(fd, 1, OBJECT_SEED + 1));

	EXPECT_TRUE(map_guarded(m, GUARD, NR_GUARDS));
	EXPECT_TRUE(map_populated_intact(m, 0, GUARD));
	EXPECT_TRUE(map_populated_intact(m, AFTER, NR_PAGES - AFTER));
	close(direct);
	close(fd);
}

/*
 * No way to ask for a page gives one: nothing is mapped afterwards, nothing is
 * counted, and what is below the guard was not written to.
 */
TEST_F(access, failed_access_populates_nothing)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size(), i;
	char *buf = calloc(1, psz);
	int mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	int pipefd[2];

	ASSERT_NE(NULL, buf);
	ASSERT_LE(0, mem);
	ASSERT_EQ(0, pipe(pipefd));
	ASSERT_EQ(0, guard_install(m->base, m->size));

	for (i = 0; i < NR_PAGES; i++) {
		char *p = map_page(m, i);
		struct iovec iov = { p, psz };

		EXPECT_TRUE(page_guarded(p));
		EXPECT_TRUE(kernel_read_fails(p));
		EXPECT_TRUE(kernel_write_fails(p));
		EXPECT_GT(0, vm_copy(false, p, buf, psz));
		EXPECT_GT(0, vm_copy(true, p, buf, psz));
		EXPECT_GT(0, pread(mem, buf, psz, (off_t)(uintptr_t)p));
		EXPECT_GT(0, pwrite(mem, buf, psz, (off_t)(uintptr_t)p));
		EXPECT_GT(0, vmsplice(pipefd[1], &iov, 1, 0));
		EXPECT_FALSE(page_present(p));
	}
	EXPECT_EQ(0, smaps_bytes(m->base, "Rss"));
	EXPECT_TRUE(map_guarded(m, 0, NR_PAGES));

	ASSERT_EQ(0, guard_remove(m->base, m->size));
	EXPECT_EQ(0, range_present(m->base, m->size));
	for (i = 0; i < NR_PAGES; i++)
		EXPECT_TRUE(page_holds(map_page(m, i), map_fresh_seed(m, i)));
	close(pipefd[0]);
	close(pipefd[1]);
	close(mem);
	free(buf);
}

/*
 *     0   1   2   3   4   5  ...
 *   |   | G |   | G |   | G |          touch the ones between
 *
 * A read fault maps the neighbours that are in the page cache along with the
 * page that was asked for. It must not map them over a guard.
 */
TEST_F(object, fault_around_steps_over)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size(), i;

	for (i = 1; i < NR_PAGES; i += 2)
		ASSERT_EQ(0, guard_install(map_page(m, i), psz));

	for (i = 0; i < NR_PAGES; i += 2) {
		EXPECT_EQ(0, touch(map_page(m, i), TOUCH_READ).signo);
		EXPECT_TRUE(page_present(map_page(m, i)));
	}
	for (i = 0; i < NR_PAGES; i++) {
		if (i % 2) {
			EXPECT_FALSE(page_present(map_page(m, i)));
			EXPECT_TRUE(map_guarded(m, i, 1));
		} else {
			EXPECT_TRUE(page_holds(map_page(m, i),
					       OBJECT_SEED + i));
		}
	}
	/* And each page that was stepped over is the right one after all. */
	ASSERT_EQ(0, guard_remove(m->base, m->size));
	for (i = 0; i < NR_PAGES; i++)
		EXPECT_TRUE(page_holds(map_page(m, i), OBJECT_SEED + i));
}

/* One guard in the middle of what one fault maps, reached from each side. */
TEST_F(object, fault_around_single_guard)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size(), at;

	for (at = 1; at < NR_PAGES - 1; at++) {
		ASSERT_EQ(0, guard_install(map_page(m, at), psz));
		ASSERT_EQ(0, madvise(m->base, m->size, MADV_DONTNEED));
		touch(map_page(m, at - 1), TOUCH_READ);
		EXPECT_FALSE(page_present(map_page(m, at)));
		ASSERT_EQ(0, madvise(m->base, m->size, MADV_DONTNEED));
		touch(map_page(m, at + 1), TOUCH_READ);
		EXPECT_FALSE(page_present(map_page(m, at)));
		EXPECT_TRUE(map_guarded(m, at, 1));
		ASSERT_EQ(0, guard_remove(map_page(m, at), psz));
	}
}

/* Guards are put in, are kept and work whatever the protection is. */
TEST_F(access, prot_none)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();

	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, mprotect(m->base, m->size, PROT_NONE));
	ASSERT_EQ(0, guard_install(map_page(m, GUARD), NR_GUARDS * psz));
	EXPECT_TRUE(range_guarded(m->base, m->size));
	ASSERT_EQ(0, mprotect(m->base, m->size, m->prot));

	EXPECT_TRUE(map_guarded(m, GUARD, NR_GUARDS));
	EXPECT_TRUE(map_populated_intact(m, 0, GUARD));
	EXPECT_TRUE(map_populated_intact(m, AFTER, NR_PAGES - AFTER));

	ASSERT_EQ(0, mprotect(m->base, m->size, PROT_NONE));
	ASSERT_EQ(0, guard_remove(m->base, m->size));
	ASSERT_EQ(0, mprotect(m->base, m->size, m->prot));
	EXPECT_TRUE(map_populated_intact(m, 0, GUARD));
	EXPECT_TRUE(map_discarded(m, GUARD, NR_GUARDS));
	EXPECT_TRUE(map_populated_intact(m, AFTER, NR_PAGES - AFTER));
}

/* Page granularity: every other page. */
TEST_F(access, alternating)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size(), i;

	map_populate(m, 0, NR_PAGES);
	for (i = 0; i < NR_PAGES; i += 2)
		ASSERT_EQ(0, guard_install(map_page(m, i), psz));
	for (i = 0; i < NR_PAGES; i++) {
		if (i % 2) {
			EXPECT_TRUE(map_populated_intact(m, i, 1));
		} else {
			EXPECT_TRUE(map_guarded(m, i, 1));
		}
	}

	/* Install over guards and pages; then again, over guards only. */
	ASSERT_EQ(0, guard_install(map_page(m, 4), 8 * psz));
	EXPECT_TRUE(map_guarded(m, 4, 8));
	ASSERT_EQ(0, guard_install(map_page(m, 4), 8 * psz));
	EXPECT_TRUE(map_guarded(m, 4, 8));
	EXPECT_TRUE(map_populated_intact(m, 3, 1));
	EXPECT_TRUE(map_populated_intact(m, 13, 1));

	/* Remove over guards and pages; then again, over pages only. */
	ASSERT_EQ(0, guard_remove(m->base, m->size));
	for (i = 0; i < NR_PAGES; i++) {
		if (i % 2 && !(i >= 4 && i < 12)) {
			EXPECT_TRUE(map_populated_intact(m, i, 1));
		} else {
			EXPECT_TRUE(map_discarded(m, i, 1));
		}
	}
	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, guard_remove(m->base, m->size));
	EXPECT_EQ(NR_PAGES, range_present(m->base, m->size));
	EXPECT_TRUE(map_populated_intact(m, 0, NR_PAGES));
}

/* A part of a guarded range is removed: the rest stays. */
TEST_F(access, remove_part)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();

	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, guard_install(m->base, m->size));
	ASSERT_EQ(0, guard_remove(map_page(m, 5), 3 * psz));
	EXPECT_TRUE(map_guarded(m, 0, 5));
	EXPECT_TRUE(map_discarded(m, 5, 3));
	EXPECT_TRUE(map_guarded(m, 8, NR_PAGES - 8));
}

/* Guards that were removed leave nothing there, until it is touched. */
TEST_F(access, remove_leaves_nothing_there)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, guard_install(m->base, m->size));
	EXPECT_TRUE(map_guarded(m, 0, NR_PAGES));
	ASSERT_EQ(0, guard_remove(m->base, m->size));
	EXPECT_EQ(0, range_present(m->base, m->size));
	EXPECT_EQ(0, smaps_bytes(m->base, "Rss"));
	EXPECT_FALSE(!!(pagemap_entry(m->base) &
			(PAGEMAP_BIT_SWAP | PAGEMAP_BIT_GUARD)));
	EXPECT_TRUE(range_readable(m->base, m->size));
}

/* Remove where there never was a guard, page table or no page table. */
TEST_F(access, remove_without_guards)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, guard_remove(m->base, m->size));
	EXPECT_EQ(0, range_present(m->base, m->size));
	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, guard_remove(m->base, m->size));
	EXPECT_EQ(NR_PAGES, range_present(m->base, m->size));
	EXPECT_EQ((long)m->size, smaps_bytes(m->base, "Rss"));
	EXPECT_TRUE(map_populated_intact(m, 0, NR_PAGES));
}

/*
 * Install discards what the page table has: memory of the process's own is
 * gone, what is in a shared object or beneath a private page is there again.
 */
TEST_F(data, install_discards)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size(), i;
	bool shared = backing_is_shared(m->backing);

	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ((long)m->size, smaps_bytes(m->base, "Rss"));
	ASSERT_EQ(0, guard_install(map_page(m, GUARD), NR_GUARDS * psz));

	EXPECT_EQ(0, range_present(map_page(m, GUARD), NR_GUARDS * psz));
	EXPECT_EQ((long)(m->size - NR_GUARDS * psz),
		  smaps_bytes(m->base, "Rss"));
	if (m->fd >= 0)
		for (i = 0; i < NR_PAGES; i++)
			EXPECT_TRUE(object_holds(m->fd, i, shared ?
						 MEMORY_SEED + i :
						 OBJECT_SEED + i));

	ASSERT_EQ(0, guard_remove(map_page(m, GUARD), NR_GUARDS * psz));
	for (i = 0; i < NR_PAGES; i++) {
		if (i < GUARD || i >= AFTER || shared) {
			EXPECT_TRUE(page_holds(map_page(m, i),
					       MEMORY_SEED + i));
		} else {
			EXPECT_TRUE(page_holds(map_page(m, i),
					       m->fd < 0 ? 0 :
					       OBJECT_SEED + i));
		}
	}
	/* The pages are ordinary ones again. */
	map_populate(m, 0, NR_PAGES);
	EXPECT_TRUE(map_populated_intact(m, 0, NR_PAGES));
}

/* A dirty page of a shared file under a guard still reaches the file. */
GUARD_FIXTURE(dirty, NR_PAGES)
GUARD_VARIANT(dirty, shmem_shared, SHMEM_SHARED);
GUARD_VARIANT(dirty, file_shared, FILE_SHARED);

TEST_F(dirty, page_is_not_lost)
{
	struct guard_map *m = &self->map;
	size_t i;

	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, guard_install(m->base, m->size));
	ASSERT_EQ(0, msync(m->base, m->size, MS_SYNC));
	ASSERT_EQ(0, fsync(m->fd));
	posix_fadvise(m->fd, 0, 0, POSIX_FADV_DONTNEED);
	for (i = 0; i < NR_PAGES; i++)
		EXPECT_TRUE(object_holds(m->fd, i, MEMORY_SEED + i));
	EXPECT_TRUE(map_guarded(m, 0, NR_PAGES));
}

/* Writes through the descriptor go on under the guard. */
TEST_F(object, object_lives_on)
{
	struct guard_map *m = &self->map;
	size_t i;

	ASSERT_EQ(0, guard_install(m->base, m->size));
	ASSERT_EQ(0, object_fill(m->write_fd, NR_PAGES, 77));
	EXPECT_TRUE(map_guarded(m, 0, NR_PAGES));
	ASSERT_EQ(0, guard_remove(m->base, m->size));
	for (i = 0; i < NR_PAGES; i++)
		EXPECT_TRUE(page_holds(map_page(m, i), 77 + i));
}

/* A second mapping of the same object has no guards and no loss. */
TEST_F(object, other_mapping_unaffected)
{
	struct guard_map *m = &self->map;
	size_t i;
	char *p;

	p = mmap(NULL, m->size, PROT_READ, MAP_SHARED, m->fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	for (i = 0; i < NR_PAGES; i++)
		ASSERT_TRUE(page_holds(p + i * page_size(), OBJECT_SEED + i));
	ASSERT_EQ(0, guard_install(m->base, m->size));
	EXPECT_EQ(NR_PAGES, range_present(p, m->size));
	for (i = 0; i < NR_PAGES; i++)
		EXPECT_TRUE(page_holds(p + i * page_size(), OBJECT_SEED + i));
	EXPECT_TRUE(map_guarded(m, 0, NR_PAGES));
	munmap(p, m->size);
}

/* Anonymous memory that was only read: the zero page is mapped there. */
TEST_F(access, over_pages_only_read)
{
	struct guard_map *m = &self->map;
	size_t i;

	ASSERT_TRUE(range_readable(m->base, m->size));
	ASSERT_EQ(0, guard_install(map_page(m, GUARD),
				   NR_GUARDS * page_size()));
	EXPECT_TRUE(map_guarded(m, GUARD, NR_GUARDS));
	ASSERT_EQ(0, guard_remove(m->base, m->size));
	for (i = 0; i < NR_PAGES; i++)
		EXPECT_TRUE(page_holds(map_page(m, i), map_fresh_seed(m, i)));
}

static long status_bytes(const char *field)
{
	long kb = proc_number("/proc/self/status", field);

	return kb < 0 ? -1 : kb * 1024;
}

/*
 * The counters of the process. They are kept per CPU and read without adding
 * up: so many rounds that a page more or less in each would show all the same.
 */
TEST_F_TIMEOUT(access, rss_counters_balance, 120)
{
	const size_t rounds = 400;
	struct guard_map *m = &self->map;
	long before, after, slack;
	size_t i;

	slack = rounds * m->size / 4;
	before = status_bytes("VmRSS");
	ASSERT_LT(0, before);
	for (i = 0; i < rounds; i++) {
		map_populate(m, 0, NR_PAGES);
		ASSERT_EQ(0, guard_install(m->base, m->size));
		ASSERT_EQ(0, guard_install(m->base, m->size));
		ASSERT_EQ(0, guard_remove(m->base, m->size));
	}
	after = status_bytes("VmRSS");
	/* A counter that ran below zero reads as zero. */
	EXPECT_LT(0, after);
	EXPECT_LT(labs(after - before), slack);

	/* The same with nothing beneath, where a wrong count goes down. */
	for (i = 0; i < rounds; i++) {
		ASSERT_EQ(0, guard_install(m->base, m->size));
		ASSERT_EQ(0, guard_remove(m->base, m->size));
	}
	after = status_bytes("VmRSS");
	EXPECT_LT(0, after);
	EXPECT_LT(labs(after - before), slack);
	EXPECT_EQ(0, smaps_bytes(m->base, "Rss"));
}

/*
 * Long ranges: more than three page tables, ends that are aligned to none, and
 * page tables there, partly filled and not there.
 */
#define LARGE_PAGES	1600
#define LARGE_FIRST	3
#define LARGE_GUARDS	1543

GUARD_FIXTURE(large, LARGE_PAGES)
GUARD_VARIANTS_RW(large);
GUARD_VARIANTS_RO(large);

/* Readable pages of [first, first + n): one touch for each. */
static long large_readable(struct guard_map *m, size_t first, size_t n)
{
	long count = 0;
	size_t i;

	for (i = first; i < first + n; i++)
		count += !read_faults(map_page(m, i));
	return count;
}

TEST_F_TIMEOUT(large, many_page_tables, 120)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();
	size_t after = LARGE_FIRST + LARGE_GUARDS;

	/* The first page table full, the second with one page, then none. */
	map_populate(m, 0, 520);
	map_populate(m, 900, 1);
	map_populate(m, after, 2);

	ASSERT_EQ(0, guard_install(map_page(m, LARGE_FIRST),
				   LARGE_GUARDS * psz));
	EXPECT_EQ(0, large_readable(m, LARGE_FIRST, LARGE_GUARDS));
	EXPECT_EQ(0, range_present(map_page(m, LARGE_FIRST),
				   LARGE_GUARDS * psz));
	EXPECT_TRUE(map_guarded(m, LARGE_FIRST, 1));
	EXPECT_TRUE(map_guarded(m, after - 1, 1));
	EXPECT_TRUE(map_populated_intact(m, 0, LARGE_FIRST));
	EXPECT_TRUE(map_populated_intact(m, after, 2));
	EXPECT_EQ((long)(LARGE_PAGES - after),
		  large_readable(m, after, LARGE_PAGES - after));

	/* A long stretch out of the middle. */
	ASSERT_EQ(0, guard_remove(map_page(m, 100), 1000 * psz));
	EXPECT_TRUE(map_discarded(m, 100, 420));
	EXPECT_EQ(1000, large_readable(m, 100, 1000));
	EXPECT_EQ(0, large_readable(m, LARGE_FIRST, 100 - LARGE_FIRST));
	EXPECT_EQ(0, large_readable(m, 1100, after - 1100));

	ASSERT_EQ(0, guard_remove(m->base, m->size));
	EXPECT_EQ(LARGE_PAGES, large_readable(m, 0, LARGE_PAGES));
}

/*
 * Huge pages. Three of them, the first aligned:
 *
 *   | huge 0        | huge 1        | huge 2        |
 */
FIXTURE(huge) {
	struct guard_map map;
	size_t hsz;		/* bytes of a huge page */
	size_t per;		/* pages of a huge page */
};

FIXTURE_VARIANT(huge) {
	enum backing backing;
};

GUARD_VARIANT(huge, anon_private, ANON_PRIVATE);
GUARD_VARIANT(huge, anon_shared, ANON_SHARED);
GUARD_VARIANT(huge, shmem_private, SHMEM_PRIVATE);
GUARD_VARIANT(huge, shmem_shared, SHMEM_SHARED);
GUARD_VARIANTS_RO(huge);

FIXTURE_SETUP(huge)
{
	struct guard_map *m = &self->map;
	size_t i;
	int tries;

	if (!guard_supported(variant->backing))
		SKIP(return, "%s", guard_reason);
	self->hsz = huge_page_size();
	if (!self->hsz)
		SKIP(return, "no transparent huge pages in this kernel");
	self->per = self->hsz / page_size();
	if (!map_make_aligned(m, variant->backing, 3 * self->per, self->hsz))
		SKIP(return, "%s", guard_reason);

	/* Of a file, only clean pages that nobody can write to. */
	map_close_writable(m);
	/* A write to a private mapping would take a huge page apart. */
	if (m->backing == SHMEM_PRIVATE)
		m->prot = PROT_READ;
	madvise(m->base, m->size, MADV_HUGEPAGE);
	map_populate(m, 0, m->npages);
	/* Where a fault gives none, collapsing may; it may need tries. */
	for (tries = 0; tries < 20; tries++) {
		if (huge_mapped_bytes(m->base) == (long)m->size)
			break;
		madvise(m->base, m->size, MADV_COLLAPSE);
		for (i = 0; i < m->npages; i += self->per)
			touch(map_page(m, i), TOUCH_READ);
	}
	if (huge_mapped_bytes(m->base) != (long)m->size) {
		map_free(m);
		SKIP(return, "cannot get huge pages in such a mapping");
	}
	ASSERT_TRUE(map_populated_intact(m, 0, m->npages));
}

FIXTURE_TEARDOWN(huge)
{
	map_free(&self->map);
}

/* A guard in the middle: the huge page is split, nothing around it is lost. */
TEST_F_TIMEOUT(huge, guard_inside_splits, 120)
{
	struct guard_map *m = &self->map;
	size_t at = self->per + self->per / 2 + 1;

	ASSERT_EQ(0, guard_install(map_page(m, at), page_size()));
	EXPECT_TRUE(map_guarded(m, at, 1));
	EXPECT_TRUE(map_populated_intact(m, 0, at));
	EXPECT_TRUE(map_populated_intact(m, at + 1, m->npages - at - 1));
	/* The other two are whole. */
	EXPECT_LE((long)(2 * self->hsz), huge_mapped_bytes(m->base));
	EXPECT_GT((long)(3 * self->hsz), huge_mapped_bytes(m->base));
	EXPECT_TRUE(map_guarded(m, at, 1));

	ASSERT_EQ(0, guard_remove(map_page(m, at), page_size()));
	EXPECT_TRUE(map_discarded(m, at, 1));
	EXPECT_TRUE(map_populated_intact(m, 0, at));
	EXPECT_TRUE(map_populated_intact(m, at + 1, m->npages - at - 1));
}

TEST_F_TIMEOUT(huge, guard_over_whole, 120)
{
	struct guard_map *m = &self->map;
	size_t per = self->per;

	ASSERT_EQ(0, guard_install(map_page(m, per), self->hsz));
	EXPECT_EQ((long)(2 * self->hsz), huge_mapped_bytes(m->base));
	EXPECT_EQ((long)(2 * self->hsz), smaps_bytes(m->base, "Rss"));
	EXPECT_EQ(0, large_readable(m, per, per));
	EXPECT_TRUE(map_populated_intact(m, 0, per));
	EXPECT_TRUE(map_populated_intact(m, 2 * per, per));
	EXPECT_EQ(0, large_readable(m, per, per));

	ASSERT_EQ(0, guard_remove(m->base, m->size));
	EXPECT_TRUE(map_discarded(m, per, per));
}

/* From inside the first to inside the last. */
TEST_F_TIMEOUT(huge, guard_across, 120)
{
	struct guard_map *m = &self->map;
	size_t first = self->per - 7, last = 2 * self->per + 5;

	ASSERT_EQ(0, guard_install(map_page(m, first),
				   (last - first) * page_size()));
	EXPECT_EQ(0, large_readable(m, first, last - first));
	EXPECT_TRUE(map_populated_intact(m, 0, first));
	EXPECT_TRUE(map_populated_intact(m, last, m->npages - last));
	EXPECT_EQ(0, large_readable(m, first, last - first));

	ASSERT_EQ(0, guard_remove(m->base, m->size));
	EXPECT_TRUE(map_discarded(m, first, last - first));
}

/* Remove meets huge pages and leaves them alone, unsplit. */
TEST_F(huge, remove_leaves_huge_pages)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, guard_remove(m->base, m->size));
	ASSERT_EQ(0, guard_remove(map_page(m, 3), page_size()));
	EXPECT_EQ((long)m->size, huge_mapped_bytes(m->base));
	EXPECT_TRUE(map_populated_intact(m, 0, m->npages));
}

/* The huge zero page, of anonymous memory that was only read. */
TEST(huge_zero_page)
{
	size_t hsz = huge_page_size(), n = hsz / page_size();
	struct guard_map m;

	if (!guard_supported(ANON_PRIVATE))
		SKIP(return, "%s", guard_reason);
	if (!hsz)
		SKIP(return, "no transparent huge pages in this kernel");
	ASSERT_TRUE(map_make_aligned(&m, ANON_PRIVATE, 2 * n, hsz));
	ASSERT_EQ(0, madvise(m.base, m.size, MADV_HUGEPAGE));
	touch(m.base, TOUCH_READ);
	touch(m.base + hsz, TOUCH_READ);

	ASSERT_EQ(0, guard_install(map_page(&m, n / 2), page_size()));
	EXPECT_TRUE(map_guarded(&m, n / 2, 1));
	EXPECT_TRUE(range_holds(m.base, n / 2, 0));
	EXPECT_TRUE(range_holds(map_page(&m, n / 2 + 1), n / 2 - 1, 0));
	ASSERT_EQ(0, guard_install(map_page(&m, n), hsz));
	EXPECT_EQ(0, large_readable(&m, n, n));
	map_free(&m);
}

/*
 * Memory that could be huge gets ordinary pages around a guard: a fault next
 * to one, and one that would fill a whole huge page.
 */
TEST(fault_does_not_fill_over_guard)
{
	size_t hsz = huge_page_size(), n = hsz / page_size(), i;
	struct guard_map m;

	if (!guard_supported(ANON_PRIVATE))
		SKIP(return, "%s", guard_reason);
	if (!hsz)
		SKIP(return, "no transparent huge pages in this kernel");
	ASSERT_TRUE(map_make_aligned(&m, ANON_PRIVATE, 2 * n, hsz));
	ASSERT_EQ(0, madvise(m.base, m.size, MADV_HUGEPAGE));

	ASSERT_EQ(0, guard_install(map_page(&m, n / 2), page_size()));
	for (i = 0; i < n; i++)
		if (i != n / 2)
			page_fill(map_page(&m, i), MEMORY_SEED + i);
	EXPECT_TRUE(map_guarded(&m, n / 2, 1));
	EXPECT_EQ(0, huge_mapped_bytes(m.base));
	EXPECT_TRUE(map_populated_intact(&m, 0, n / 2));
	EXPECT_TRUE(map_populated_intact(&m, n / 2 + 1, n / 2 - 1));
	map_free(&m);
}

/*
 * Folios of 64 KiB: a fault fills sixteen pages at once, where all sixteen are
 * empty. Their switch is the system's: put back as it was.
 */
FIXTURE(small_folio) {
	struct guard_map map;
	char was[128];
	char path[128];
};

FIXTURE_VARIANT(small_folio) {
	enum backing backing;
	const char *knob;
	const char *value;
};

FIXTURE_VARIANT_ADD(small_folio, anon_private) {
	.backing = ANON_PRIVATE,
	.knob = "enabled",
	.value = "madvise",
};

FIXTURE_VARIANT_ADD(small_folio, shmem_shared) {
	.backing = SHMEM_SHARED,
	.knob = "shmem_enabled",
	.value = "advise",
};

FIXTURE_SETUP(small_folio)
{
	if (!guard_supported(variant->backing))
		SKIP(return, "%s", guard_reason);
	snprintf(self->path, sizeof(self->path),
		 "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/%s",
		 variant->knob);
	if (!knob_read(self->path, self->was, sizeof(self->was)))
		SKIP(return, "no folios of 64 KiB in this kernel");
	ASSERT_TRUE(map_make_aligned(&self->map, variant->backing, 48,
				     64 * 1024));
	if (!knob_write(self->path, variant->value))
		SKIP(return, "needs root to switch folios of 64 KiB on");
}

FIXTURE_TEARDOWN_PARENT(small_folio)
{
	if (self->was[0])
		knob_write(self->path, self->was);
}

TEST_F(small_folio, fault_steps_over)
{
	struct guard_map *m = &self->map;
	size_t i, other = 0;

	if (m->backing == SHMEM_SHARED) {
		/* Empty, so that the fault allocates. */
		ASSERT_EQ(0, ftruncate(m->fd, 0));
		ASSERT_EQ(0, ftruncate(m->fd, m->size));
	}
	ASSERT_EQ(0, madvise(m->base, m->size, MADV_HUGEPAGE));

	/* The middle sixteen have a guard in them. */
	ASSERT_EQ(0, guard_install(map_page(m, 21), page_size()));
	touch(map_page(m, 19), TOUCH_WRITE);
	EXPECT_TRUE(map_guarded(m, 21, 1));
	touch(map_page(m, 24), TOUCH_WRITE);
	EXPECT_TRUE(map_guarded(m, 21, 1));
	EXPECT_FALSE(page_present(map_page(m, 21)));

	/* The first sixteen have none: did the kernel do it at all? */
	touch(map_page(m, 3), TOUCH_WRITE);
	for (i = 0; i < 16; i++)
		other += page_present(map_page(m, i));
	EXPECT_EQ(0, touch(map_page(m, 3), TOUCH_READ).signo);
	if (other != 16)
		SKIP(return, "guard kept, but no folio of 64 KiB was to be had");
}

GUARD_HARNESS_MAIN
