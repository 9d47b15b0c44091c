/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shared helpers of the guard region tests (guard_*.c).
 *
 * Everything is static inline, so that each test stays one source file that
 * builds with nothing but libc and the uapi headers of whatever machine it is
 * built on, in a kernel tree or out of one.
 *
 * Conventions: what wraps a system call returns 0 or a negative errno, so that
 * a test can say ASSERT_EQ(-EINVAL, guard_install(...)); what tries something
 * is named for what it expects to see and returns a bool.
 */
#ifndef _GUARD_UTIL_H
#define _GUARD_UTIL_H

#include "../kselftest_harness.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <linux/magic.h>
#include <linux/types.h>
#include <linux/fs.h>

/* What the headers of an older machine lack. */
#ifndef MADV_COLD
#define MADV_COLD		20
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT		21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED	24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#endif
#ifndef MADV_GUARD_REMOVE
#define MADV_GUARD_REMOVE	103
#endif

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP	4
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT		0x01
#endif
#ifndef MCL_ONFAULT
#define MCL_ONFAULT		4
#endif

#ifndef __NR_mseal
#ifdef __alpha__
#define __NR_mseal		572
#else
#define __NR_mseal		462
#endif
#endif

#ifndef RAMFS_MAGIC
#define RAMFS_MAGIC		0x858458f6
#endif
#ifndef TMPFS_MAGIC
#define TMPFS_MAGIC		0x01021994
#endif

/* Bits of a /proc/PID/pagemap entry. */
#define PAGEMAP_BIT_GUARD	(1ULL << 58)
#define PAGEMAP_BIT_FILE	(1ULL << 61)
#define PAGEMAP_BIT_SWAP	(1ULL << 62)
#define PAGEMAP_BIT_PRESENT	(1ULL << 63)

/* The PAGEMAP_SCAN ioctl came in with 6.7. */
#ifndef PAGEMAP_SCAN
#define PAGEMAP_SCAN		_IOWR('f', 16, struct pm_scan_arg)
#define PAGE_IS_WPALLOWED	(1 << 0)
#define PAGE_IS_WRITTEN		(1 << 1)
#define PAGE_IS_FILE		(1 << 2)
#define PAGE_IS_PRESENT		(1 << 3)
#define PAGE_IS_SWAPPED		(1 << 4)
#define PAGE_IS_PFNZERO		(1 << 5)
#define PAGE_IS_HUGE		(1 << 6)
#define PAGE_IS_SOFT_DIRTY	(1 << 7)

struct page_region {
	__u64 start;
	__u64 end;
	__u64 categories;
};

#define PM_SCAN_WP_MATCHING	(1 << 0)
#define PM_SCAN_CHECK_WPASYNC	(1 << 1)

struct pm_scan_arg {
	__u64 size;
	__u64 flags;
	__u64 start;
	__u64 end;
	__u64 walk_end;
	__u64 vec;
	__u64 vec_len;
	__u64 max_pages;
	__u64 category_inverted;
	__u64 category_mask;
	__u64 category_anyof_mask;
	__u64 return_mask;
};
#endif /* PAGEMAP_SCAN */
#ifndef PAGE_IS_GUARD
#define PAGE_IS_GUARD		(1 << 8)
#endif

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#endif

static inline size_t page_size(void)
{
	static size_t size;

	if (!size)
		size = sysconf(_SC_PAGESIZE);
	return size;
}

/* System calls, as 0 or a negative errno. */

static inline int sys_advise(void *addr, size_t len, int advice)
{
	return madvise(addr, len, advice) ? -errno : 0;
}

static inline int guard_install(void *addr, size_t len)
{
	return sys_advise(addr, len, MADV_GUARD_INSTALL);
}

static inline int guard_remove(void *addr, size_t len)
{
	return sys_advise(addr, len, MADV_GUARD_REMOVE);
}

/* A page may be busy for a moment, which is for trying again. */
static inline int sys_collapse(void *addr, size_t len)
{
	int ret, tries;

	for (tries = 0; tries < 100; tries++) {
		ret = sys_advise(addr, len, MADV_COLLAPSE);
		if (ret != -EAGAIN && ret != -EBUSY)
			break;
		usleep(1000);
	}
	return ret;
}

static inline int sys_mseal(void *addr, size_t len)
{
	return syscall(__NR_mseal, addr, len, 0UL) ? -errno : 0;
}

/*
 * Touching memory. Each try is one access of one byte; a SIGSEGV or SIGBUS is
 * caught and noted. Usable from several threads at once.
 */
struct touch {
	int signo;		/* 0: the access went through */
	int code;
	char *addr;
};

static __thread sigjmp_buf touch_env;
static __thread volatile sig_atomic_t touch_armed;
static __thread struct touch touch_seen;

static inline void touch_handler(int signo, siginfo_t *info, void *context)
{
	(void)context;

	if (!touch_armed) {
		/* A fault of the test itself: die of it on the way back. */
		signal(signo, SIG_DFL);
		return;
	}
	touch_armed = 0;
	touch_seen.signo = signo;
	touch_seen.code = info->si_code;
	touch_seen.addr = info->si_addr;
	siglongjmp(touch_env, 1);
}

/* Call once per process (fork inherits it); every touch helper does. */
static inline void touch_init(void)
{
	static bool done;
	struct sigaction act = {
		.sa_sigaction = touch_handler,
		.sa_flags = SA_SIGINFO | SA_NODEFER,
	};

	if (done)
		return;
	sigemptyset(&act.sa_mask);
	if (sigaction(SIGSEGV, &act, NULL) || sigaction(SIGBUS, &act, NULL))
		abort();
	done = true;
}

enum touch_how {
	TOUCH_READ,
	TOUCH_WRITE,		/* stores 0x5a: only where it should fault */
	TOUCH_REWRITE,		/* stores back what is there: keeps contents */
	TOUCH_CALL,		/* jumps there */
	TOUCH_READ_WORD,	/* one load of eight bytes, aligned or not */
};

struct touch_word {
	uint64_t word;
} __attribute__((packed));

static inline struct touch touch(void *addr, enum touch_how how)
{
	volatile char *p = addr;

	touch_init();
	memset(&touch_seen, 0, sizeof(touch_seen));

	if (!sigsetjmp(touch_env, 1)) {
		touch_armed = 1;
		switch (how) {
		case TOUCH_READ:
			(void)*p;
			break;
		case TOUCH_WRITE:
			*p = 0x5a;
			break;
		case TOUCH_REWRITE:
			*p = *p;
			break;
		case TOUCH_CALL:
			((void (*)(void))(uintptr_t)addr)();
			break;
		case TOUCH_READ_WORD:
			(void)((volatile struct touch_word *)p)->word;
			break;
		}
	}
	touch_armed = 0;
	return touch_seen;
}

static inline bool touch_faults(void *addr, enum touch_how how)
{
	struct touch t = touch(addr, how);

	return t.signo == SIGSEGV && t.addr == addr;
}

static inline bool read_faults(void *addr)
{
	return touch_faults(addr, TOUCH_READ);
}

static inline bool write_faults(void *addr)
{
	return touch_faults(addr, TOUCH_WRITE);
}

/* A guarded page takes neither loads nor stores, at either end of it. */
static inline bool page_guarded(void *page)
{
	char *first = page;
	char *last = first + page_size() - 1;

	return read_faults(first) && read_faults(last) &&
	       write_faults(first) && write_faults(last);
}

static inline bool range_guarded(void *start, size_t len)
{
	char *p = start;
	size_t off;

	for (off = 0; off < len; off += page_size())
		if (!page_guarded(p + off))
			return false;
	return true;
}

static inline bool page_readable(void *page)
{
	char *first = page;

	return !touch(first, TOUCH_READ).signo &&
	       !touch(first + page_size() - 1, TOUCH_READ).signo;
}

static inline bool page_writable(void *page)
{
	char *first = page;

	return !touch(first, TOUCH_REWRITE).signo &&
	       !touch(first + page_size() - 1, TOUCH_REWRITE).signo;
}

static inline bool range_readable(void *start, size_t len)
{
	char *p = start;
	size_t off;

	for (off = 0; off < len; off += page_size())
		if (!page_readable(p + off))
			return false;
	return true;
}

/*
 * The kernel's own accesses, on the caller's behalf. The *_fails() ones ask
 * for -EFAULT and nothing moved, the *_works() ones for one byte moved.
 */

/* The kernel reads one byte at @addr; the return of write(2), or -errno. */
static inline ssize_t kernel_read(void *addr)
{
	int pipefd[2];
	ssize_t ret;

	if (pipe(pipefd))
		return -errno;
	ret = write(pipefd[1], addr, 1);
	if (ret < 0)
		ret = -errno;
	close(pipefd[0]);
	close(pipefd[1]);
	return ret;
}

/* The kernel writes one byte (0x5a) at @addr. */
static inline ssize_t kernel_write(void *addr)
{
	static const char byte = 0x5a;
	int pipefd[2];
	ssize_t ret;

	if (pipe(pipefd))
		return -errno;
	ret = write(pipefd[1], &byte, 1);
	if (ret == 1)
		ret = read(pipefd[0], addr, 1);
	if (ret < 0)
		ret = -errno;
	close(pipefd[0]);
	close(pipefd[1]);
	return ret;
}

static inline bool kernel_read_fails(void *addr)
{
	return kernel_read(addr) == -EFAULT;
}

static inline bool kernel_write_fails(void *addr)
{
	return kernel_write(addr) == -EFAULT;
}

static inline bool kernel_read_works(void *addr)
{
	return kernel_read(addr) == 1;
}

/* Patterns: every word of a page depends on the seed and on where it is. */

static inline uint64_t pattern_word(unsigned int seed, size_t index)
{
	return (seed * 0x9e3779b97f4a7c15ULL) ^ (index * 0x0101010101010101ULL);
}

static inline void page_fill(void *page, unsigned int seed)
{
	uint64_t *word = page;
	size_t i;

	for (i = 0; i < page_size() / sizeof(*word); i++)
		word[i] = pattern_word(seed, i);
}

/*
 * Does the page hold the pattern of @seed? Seed 0 stands for all zeros. False,
 * too, when it cannot be read.
 */
static inline bool page_holds(void *page, unsigned int seed)
{
	volatile uint64_t *word = page;
	size_t i;

	if (!page_readable(page))
		return false;
	for (i = 0; i < page_size() / sizeof(*word); i++)
		if (word[i] != (seed ? pattern_word(seed, i) : 0))
			return false;
	return true;
}

/* Page n of the range holds the pattern of seed + n (or zeros, for seed 0). */
static inline void range_fill(void *start, size_t npages, unsigned int seed)
{
	char *p = start;
	size_t i;

	for (i = 0; i < npages; i++)
		page_fill(p + i * page_size(), seed + i);
}

static inline bool range_holds(void *start, size_t npages, unsigned int seed)
{
	char *p = start;
	size_t i;

	for (i = 0; i < npages; i++)
		if (!page_holds(p + i * page_size(), seed ? seed + i : 0))
			return false;
	return true;
}

/* /proc/self/pagemap; all ones when it cannot be read. */
static inline uint64_t pagemap_entry(void *addr)
{
	uint64_t entry = ~0ULL;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return entry;
	if (pread(fd, &entry, sizeof(entry),
		  (uintptr_t)addr / page_size() * sizeof(entry)) !=
	    sizeof(entry))
		entry = ~0ULL;
	close(fd);
	return entry;
}

/* Is a page mapped at @addr? A guard, a swapped page and a hole are not. */
static inline bool page_present(void *addr)
{
	return pagemap_entry(addr) & PAGEMAP_BIT_PRESENT;
}

/* How many pages of the range are mapped. */
static inline long range_present(void *start, size_t len)
{
	char *p = start;
	size_t off;
	long n = 0;

	for (off = 0; off < len; off += page_size())
		n += page_present(p + off);
	return n;
}

/* How many pages of the range the page tables have a guard for; one read. */
static inline int pagemap_guards(void *start, size_t len)
{
	size_t npages = len / page_size(), i;
	size_t size = npages * sizeof(uint64_t);
	int n = 0;
	uint64_t *entries = malloc(size);
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (entries && fd >= 0 &&
	    pread(fd, entries, size, (uintptr_t)start / page_size() *
		  sizeof(*entries)) == (ssize_t)size)
		for (i = 0; i < npages; i++)
			n += !!(entries[i] & PAGEMAP_BIT_GUARD);
	if (fd >= 0)
		close(fd);
	free(entries);
	return n;
}

/* VMAs, as /proc/self/maps and smaps tell of them. */
struct vma_info {
	unsigned long start;
	unsigned long end;
	char perms[5];
	unsigned long offset;
	char name[256];
};

/*
 * Calls @fn for each VMA that overlaps [start, start + len) and returns how
 * many there were, or -errno. @fn may be NULL.
 */
static inline int vma_for_each(void *start, size_t len,
			       void (*fn)(const struct vma_info *, void *),
			       void *arg)
{
	unsigned long from = (unsigned long)start, to = from + len;
	struct vma_info vma;
	char line[512];
	int n = 0;
	FILE *f;

	f = fopen("/proc/self/maps", "re");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		vma.name[0] = '\0';
		if (sscanf(line, "%lx-%lx %4s %lx %*s %*s %255[^\n]",
			   &vma.start, &vma.end, vma.perms, &vma.offset,
			   vma.name) < 4)
			continue;
		if (vma.end <= from || vma.start >= to)
			continue;
		if (fn)
			fn(&vma, arg);
		n++;
	}
	fclose(f);
	return n;
}

/* How many VMAs the range is made of. */
static inline int vma_count(void *start, size_t len)
{
	return vma_for_each(start, len, NULL, NULL);
}

static inline void vma_copy(const struct vma_info *vma, void *arg)
{
	*(struct vma_info *)arg = *vma;
}

/* The VMA at @addr; false if there is none. */
static inline bool vma_lookup(void *addr, struct vma_info *vma)
{
	return vma_for_each(addr, 1, vma_copy, vma) == 1;
}

/* The text of one field of smaps ("Rss", "VmFlags", …) of the VMA at @addr. */
static inline bool smaps_text(void *addr, const char *field, char *buf,
			      size_t size)
{
	unsigned long want = (unsigned long)addr, start, end;
	size_t len = strlen(field);
	bool here = false, found = false;
	char line[512];
	FILE *f;

	f = fopen("/proc/self/smaps", "re");
	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
			here = want >= start && want < end;
			continue;
		}
		if (here && !strncmp(line, field, len) && line[len] == ':') {
			snprintf(buf, size, "%s", line + len + 1);
			found = true;
		}
	}
	fclose(f);
	return found;
}

/* A field in kB, as bytes; -1 if there is none. */
static inline long smaps_bytes(void *addr, const char *field)
{
	char text[512];
	long kb;

	if (!smaps_text(addr, field, text, sizeof(text)) ||
	    sscanf(text, " %ld kB", &kb) != 1)
		return -1;
	return kb * 1024;
}

/*
 * The number of a line "NAME NUMBER" or "NAME: NUMBER" of @path, such as
 * /proc/self/status or /proc/vmstat, in the unit that the file has; -1 if there
 * is none.
 */
static inline long proc_number(const char *path, const char *name)
{
	size_t len = strlen(name);
	char line[512];
	long n = -1;
	FILE *f;

	f = fopen(path, "re");
	if (!f)
		return -1;
	while (n < 0 && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, name, len) && strchr(": ", line[len]))
			sscanf(line + len + strspn(line + len, ": "), "%ld", &n);
	}
	fclose(f);
	return n;
}

/* Is the two-letter flag among the VmFlags of the VMA at @addr? */
static inline bool vma_has_flag(void *addr, const char *flag)
{
	char text[512], want[8];

	if (!smaps_text(addr, "VmFlags", text, sizeof(text)))
		return false;
	snprintf(want, sizeof(want), " %s ", flag);
	text[strcspn(text, "\n")] = ' ';
	return strstr(text, want);
}

/* Huge pages mapped as such in the VMA at @addr, in bytes, of any kind. */
static inline long huge_mapped_bytes(void *addr)
{
	static const char * const fields[] = {
		"AnonHugePages", "ShmemPmdMapped", "FilePmdMapped",
	};
	long sum = 0, n;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(fields); i++) {
		n = smaps_bytes(addr, fields[i]);
		if (n > 0)
			sum += n;
	}
	return sum;
}

/* The size of a PMD-sized huge page; 0 when the kernel has none. */
static inline size_t huge_page_size(void)
{
	static const char path[] =
		"/sys/kernel/mm/transparent_hugepage/hpage_pmd_size";
	unsigned long size = 0;
	FILE *f;

	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%lu", &size) != 1)
		size = 0;
	fclose(f);
	return size;
}

/* Why a helper could not do its part, for SKIP(). */
static char guard_reason[256];

static inline void __printf(1, 2)
guard_set_reason(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(guard_reason, sizeof(guard_reason), fmt, ap);
	va_end(ap);
}

/*
 * An empty file on a real file system, unlinked already: in $GUARD_TEST_DIR,
 * else in the working directory. -1 with the reason when there is none.
 */
static inline int local_file(void)
{
	const char *dir = getenv("GUARD_TEST_DIR");
	char path[PATH_MAX];
	struct statfs fs;
	int fd;

	if (!dir || !*dir)
		dir = ".";
	if (statfs(dir, &fs)) {
		guard_set_reason("GUARD_TEST_DIR %s: %s", dir, strerror(errno));
		return -1;
	}
	if ((unsigned long)fs.f_type == TMPFS_MAGIC ||
	    (unsigned long)fs.f_type == RAMFS_MAGIC) {
		guard_set_reason("%s is on tmpfs: set GUARD_TEST_DIR to a directory on a disk",
				 dir);
		return -1;
	}
	snprintf(path, sizeof(path), "%s/guard-test-XXXXXX", dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0) {
		guard_set_reason("no file in %s: %s", dir, strerror(errno));
		return -1;
	}
	unlink(path);
	return fd;
}

/* The same file once more, open for reading only. */
static inline int reopen_readonly(int fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/*
 * Mappings to test on.
 *
 *        margin    base                    base + size     margin
 *   | PROT_NONE | page 0 | page 1 | ... | page n - 1 | PROT_NONE |
 *
 * The PROT_NONE pages around it keep the mapping from merging with whatever
 * else is about, so that VMAs can be counted.
 *
 * Objects (files and memfds) are filled, page n with the pattern of
 * OBJECT_SEED + n, twice as far as they are mapped: they can be mapped
 * further without SIGBUS.
 */
enum backing {
	ANON_PRIVATE,
	ANON_SHARED,
	SHMEM_PRIVATE,
	SHMEM_SHARED,
	FILE_PRIVATE,
	FILE_SHARED,
	/* Mapped PROT_READ, from a descriptor open for reading only. */
	FILE_PRIVATE_RO,
	FILE_SHARED_RO,
};

#define OBJECT_SEED	1000000		/* what is in the object at first */
#define MEMORY_SEED	2000000		/* what the tests write to memory */

struct guard_map {
	enum backing backing;
	char *base;
	size_t size;
	size_t npages;
	int prot;
	int flags;
	int fd;			/* what is mapped, -1 when anonymous */
	int write_fd;		/* the same, writable */
	char *reserved;
	size_t reserved_size;
};

static inline bool backing_is_anon(enum backing b)
{
	return b == ANON_PRIVATE || b == ANON_SHARED;
}

static inline bool backing_is_file(enum backing b)
{
	return b >= FILE_PRIVATE;
}

static inline bool backing_is_shared(enum backing b)
{
	return b == ANON_SHARED || b == SHMEM_SHARED || b == FILE_SHARED ||
	       b == FILE_SHARED_RO;
}

static inline bool backing_is_readonly(enum backing b)
{
	return b == FILE_PRIVATE_RO || b == FILE_SHARED_RO;
}

/* The address of page @n. */
static inline char *map_page(const struct guard_map *m, size_t n)
{
	return m->base + n * page_size();
}

static inline int object_fill(int fd, size_t npages, unsigned int seed)
{
	char *buf = malloc(page_size());
	size_t i;
	int ret = buf ? 0 : -1;

	for (i = 0; i < npages && !ret; i++) {
		page_fill(buf, seed + i);
		if (pwrite(fd, buf, page_size(), i * page_size()) !=
		    (ssize_t)page_size())
			ret = -1;
	}
	free(buf);
	return ret;
}

/* What page @n of the object holds now, read through the descriptor. */
static inline bool object_holds(int fd, size_t n, unsigned int seed)
{
	char *buf = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool ret = false;

	if (buf == MAP_FAILED)
		return false;
	if (pread(fd, buf, page_size(), n * page_size()) ==
	    (ssize_t)page_size())
		ret = page_holds(buf, seed);
	munmap(buf, page_size());
	return ret;
}

static inline void map_free(struct guard_map *m)
{
	if (m->reserved)
		munmap(m->reserved, m->reserved_size);
	if (m->fd >= 0 && m->fd != m->write_fd)
		close(m->fd);
	if (m->write_fd >= 0)
		close(m->write_fd);
	m->reserved = NULL;
	m->fd = -1;
	m->write_fd = -1;
}

/*
 * Makes the mapping; its start is aligned to @align (0: to a page). False with
 * guard_reason set when this machine cannot have it.
 */
static inline bool map_make_aligned(struct guard_map *m, enum backing b,
				    size_t npages, size_t align)
{
	size_t psize = page_size();
	char *p;

	memset(m, 0, sizeof(*m));
	m->fd = -1;
	m->write_fd = -1;
	m->backing = b;
	m->npages = npages;
	m->size = npages * psize;
	m->prot = PROT_READ;
	if (!backing_is_readonly(b))
		m->prot |= PROT_WRITE;
	m->flags = backing_is_shared(b) ? MAP_SHARED : MAP_PRIVATE;

	if (backing_is_anon(b)) {
		m->flags |= MAP_ANONYMOUS;
	} else {
		if (backing_is_file(b)) {
			m->write_fd = local_file();
			if (m->write_fd < 0)
				return false;
		} else {
			m->write_fd = syscall(__NR_memfd_create, "guard-test",
					      1U /* MFD_CLOEXEC */);
			if (m->write_fd < 0)
				goto fail;
		}
		if (object_fill(m->write_fd, 2 * npages, OBJECT_SEED))
			goto fail;
		m->fd = m->write_fd;
		if (backing_is_readonly(b)) {
			m->fd = reopen_readonly(m->write_fd);
			if (m->fd < 0)
				goto fail;
		}
	}

	if (align < psize)
		align = psize;
	m->reserved_size = m->size + 2 * psize + align;
	p = mmap(NULL, m->reserved_size, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		goto fail;
	m->reserved = p;
	p = (char *)(((uintptr_t)p + psize + align - 1) / align * align);
	m->base = mmap(p, m->size, m->prot, m->flags | MAP_FIXED, m->fd, 0);
	if (m->base == MAP_FAILED)
		goto fail;
	return true;
fail:
	guard_set_reason("cannot make the mapping: %s", strerror(errno));
	map_free(m);
	return false;
}

/*
 * The first @size bytes of the object mapped once more, shared and read-only,
 * at a multiple of @size, which is a power of two. NULL on failure.
 */
static inline char *object_view(int fd, size_t size)
{
	char *p = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	char *q;

	if (p == MAP_FAILED)
		return NULL;
	q = (char *)(((uintptr_t)p + size - 1) / size * size);
	if (mmap(q, size, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) != q) {
		munmap(p, 2 * size);
		return NULL;
	}
	/* Nothing else stays. */
	if (q > p)
		munmap(p, q - p);
	munmap(q + size, p + size - q);
	return q;
}

/* Nobody has the object open for writing from here on. */
static inline void map_close_writable(struct guard_map *m)
{
	if (m->write_fd >= 0 && m->write_fd != m->fd) {
		fsync(m->write_fd);
		close(m->write_fd);
		m->write_fd = -1;
	}
}

static inline bool map_make(struct guard_map *m, enum backing b, size_t npages)
{
	return map_make_aligned(m, b, npages, 0);
}

/* What page n holds as long as nobody wrote to it: seed + n, or 0. */
static inline unsigned int map_fresh_seed(const struct guard_map *m, size_t n)
{
	return backing_is_anon(m->backing) ? 0 : OBJECT_SEED + n;
}

/*
 * Fills the pages [first, first + n) so that each is mapped: the writable
 * ones with the pattern of MEMORY_SEED + page, read-only ones by reading.
 */
static inline void map_populate(struct guard_map *m, size_t first, size_t n)
{
	size_t i;

	for (i = first; i < first + n; i++) {
		if (m->prot & PROT_WRITE)
			page_fill(map_page(m, i), MEMORY_SEED + i);
		else
			touch(map_page(m, i), TOUCH_READ);
	}
}

/* Are pages [first, first + n) as map_populate() left them? */
static inline bool map_populated_intact(const struct guard_map *m,
					size_t first, size_t n)
{
	size_t i;

	for (i = first; i < first + n; i++)
		if (!page_holds(map_page(m, i), m->prot & PROT_WRITE ?
				MEMORY_SEED + i : map_fresh_seed(m, i)))
			return false;
	return true;
}

/*
 * After pages were populated and then discarded from the page tables: what
 * was written stays if it went to a shared object, and is gone otherwise.
 */
static inline bool map_discarded(const struct guard_map *m, size_t first,
				 size_t n)
{
	bool kept = (m->prot & PROT_WRITE) && backing_is_shared(m->backing);
	size_t i;

	for (i = first; i < first + n; i++)
		if (!page_holds(map_page(m, i), kept ? MEMORY_SEED + i :
				map_fresh_seed(m, i)))
			return false;
	return true;
}

/* A guarded page through the eyes of a mapping that may be read-only. */
static inline bool map_guarded(const struct guard_map *m, size_t first,
			       size_t n)
{
	return range_guarded(map_page(m, first), n * page_size());
}

/*
 * Of a map of at most 32 pages, just those whose bit is set are guards: so
 * says pagemap, and so do they when touched. Pages may be unmapped.
 */
static inline bool map_guards_are(const struct guard_map *m, uint32_t mask)
{
	size_t i;

	for (i = 0; i < m->npages; i++) {
		bool guard = pagemap_entry(map_page(m, i)) &
			     PAGEMAP_BIT_GUARD;

		if (guard != !!(mask & (1U << i)) ||
		    (guard && !page_guarded(map_page(m, i))))
			return false;
	}
	return true;
}

/* Does the running kernel have guard regions, in this kind of mapping? */
static inline bool guard_supported(enum backing b)
{
	struct guard_map m;
	int ret;

	if (!map_make(&m, b, 1))
		return false;
	ret = guard_install(m.base, m.size);
	map_free(&m);
	if (ret == -EINVAL)
		guard_set_reason(b == ANON_PRIVATE ?
				 "no guard regions in this kernel" :
				 "no guard regions in such mappings in this kernel");
	/* Any other outcome is for a test to find wrong. */
	return ret != -EINVAL;
}

/*
 * Runs fn(arg) in a forked child. Returns what fn returned (0 to 127), or
 * 128 + signal if the child died of one.
 */
static inline int in_child(int (*fn)(void *), void *arg)
{
	pid_t pid;
	int status;

	fflush(stdout);
	fflush(stderr);
	pid = fork();
	if (pid < 0)
		return 127;
	if (!pid)
		_exit(fn(arg));
	while (waitpid(pid, &status, 0) != pid)
		if (errno != EINTR)
			return 127;
	if (WIFSIGNALED(status))
		return 128 + WTERMSIG(status);
	return WEXITSTATUS(status);
}

/*
 * GUARD_FIXTURE(name, npages) makes a fixture whose self->map is a mapping
 * of that many pages; GUARD_VARIANTS_RW(name) and GUARD_VARIANTS_RO(name) run
 * its tests on each backing. Read-only backings come apart, so that no test
 * has to skip what makes no sense for them.
 */
#define GUARD_FIXTURE(fixture_name, nr_pages)				\
	FIXTURE(fixture_name) {						\
		struct guard_map map;					\
	};								\
	FIXTURE_VARIANT(fixture_name) {					\
		enum backing backing;					\
	};								\
	FIXTURE_SETUP(fixture_name)					\
	{								\
		if (!guard_supported(variant->backing) ||		\
		    !map_make(&self->map, variant->backing, nr_pages))	\
			SKIP(return, "%s", guard_reason);		\
	}								\
	FIXTURE_TEARDOWN(fixture_name)					\
	{								\
		map_free(&self->map);					\
	}

#define GUARD_VARIANT(fixture_name, variant_name, kind)			\
	FIXTURE_VARIANT_ADD(fixture_name, variant_name) {		\
		.backing = kind,					\
	}

#define GUARD_VARIANTS_RW(fixture_name)					\
	GUARD_VARIANT(fixture_name, anon_private, ANON_PRIVATE);	\
	GUARD_VARIANT(fixture_name, anon_shared, ANON_SHARED);		\
	GUARD_VARIANT(fixture_name, shmem_private, SHMEM_PRIVATE);	\
	GUARD_VARIANT(fixture_name, shmem_shared, SHMEM_SHARED);	\
	GUARD_VARIANT(fixture_name, file_private, FILE_PRIVATE);	\
	GUARD_VARIANT(fixture_name, file_shared, FILE_SHARED)

#define GUARD_VARIANTS_RO(fixture_name)					\
	GUARD_VARIANT(fixture_name, file_private_ro, FILE_PRIVATE_RO);	\
	GUARD_VARIANT(fixture_name, file_shared_ro, FILE_SHARED_RO)

/* main(): the whole program skips (4) where there are no guard regions. */
#define GUARD_HARNESS_MAIN						\
	int main(int argc, char **argv)					\
	{								\
		if (argc == 1 && !guard_supported(ANON_PRIVATE)) {	\
			ksft_print_header();				\
			ksft_exit_skip("%s\n", guard_reason);		\
		}							\
		return test_harness_run(argc, argv);			\
	}

#endif /* _GUARD_UTIL_H */
