/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What guard region tests change of the whole system: switches in /sys and
 * /proc, a swap file, allocations that are made to fail. It takes root, and it
 * has to be put back: in FIXTURE_TEARDOWN_PARENT, which runs even if the test
 * dies.
 */
#ifndef _GUARD_SYSTEM_H
#define _GUARD_SYSTEM_H

#include "guard_util.h"

#include <sched.h>
#include <sys/swap.h>

static inline bool knob_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return ok;
}

/* All of it, without the end of the line. */
static inline bool knob_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, text, size - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return true;
}

/* As knob_write() takes it: of "always [madvise] never", what is in brackets. */
static inline bool knob_read(const char *path, char *text, size_t size)
{
	char *from, *to;

	if (!knob_text(path, text, size))
		return false;
	from = strchr(text, '[');
	to = from ? strchr(from, ']') : NULL;
	if (to) {
		*to = '\0';
		memmove(text, from + 1, to - from);
	}
	return true;
}

/* -1 if it cannot be read. */
static inline long knob_number(const char *path)
{
	char text[64];

	return knob_read(path, text, sizeof(text)) ? atol(text) : -1;
}

/* Looks until the knob's number is at least @want; @polls times at most. */
static inline bool knob_reaches(const char *path, long want, int polls)
{
	while (knob_number(path) < want) {
		if (!polls--)
			return false;
		usleep(20000);
	}
	return true;
}

/* What mkswap(8) puts into the first page. */
static inline int swap_format(int fd, size_t npages)
{
	size_t psize = page_size(), i;
	char *page = calloc(1, psize);
	__u32 *info = (__u32 *)(page + 1024);
	int ret = page ? 0 : -1;

	/* Written out in full: a swap file has no holes. */
	for (i = 1; i < npages && !ret; i++)
		if (pwrite(fd, page, psize, i * psize) != (ssize_t)psize)
			ret = -1;
	if (!ret) {
		info[0] = 1;			/* version */
		info[1] = npages - 1;		/* last page */
		info[2] = 0;			/* bad pages */
		memcpy(page + psize - 10, "SWAPSPACE2", 10);
		if (pwrite(fd, page, psize, 0) != (ssize_t)psize ||
		    fsync(fd))
			ret = -1;
	}
	free(page);
	return ret;
}

/*
 * Swap in a new file, of this many pages and the header; preferred to whatever
 * else there is. False with guard_reason set, and @path empty, if it cannot be.
 */
static inline bool swap_on(char *path, size_t size, size_t npages)
{
	const char *dir = getenv("GUARD_TEST_DIR");
	int fd, ret;

	path[0] = '\0';
	if (geteuid()) {
		guard_set_reason("needs root to swap");
		return false;
	}
	/* The file needs a name to be swapped off by; this is the check. */
	fd = local_file();
	if (fd < 0)
		return false;
	close(fd);
	snprintf(path, size, "%s/guard-swap-XXXXXX", dir && *dir ? dir : ".");
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0) {
		guard_set_reason("no file for swap: %s", strerror(errno));
		path[0] = '\0';
		return false;
	}
	ret = swap_format(fd, npages + 1);
	close(fd);
	if (!ret)
		ret = swapon(path, SWAP_FLAG_PREFER | SWAP_FLAG_PRIO_MASK);
	if (ret) {
		guard_set_reason("cannot swap to a file in GUARD_TEST_DIR: %s",
				 strerror(errno));
		unlink(path);
		path[0] = '\0';
	}
	return !ret;
}

/* Also after a swapoff() of the test's own, or when there never was any. */
static inline void swap_off(const char *path)
{
	if (!path[0])
		return;
	swapoff(path);
	unlink(path);
}

/*
 * Pages just made wait in a list of the processor's that made them, and
 * MADV_PAGEOUT knows where to look only on its own.
 */
static inline int stay_on_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

static inline long swapped_bytes(const struct guard_map *map)
{
	return smaps_bytes(map->base, "Swap");
}

/* Reads each page, and leaves guards as they are. */
static inline void map_touch(const struct guard_map *map)
{
	size_t i;

	for (i = 0; i < map->npages; i++)
		page_readable(map_page(map, i));
}

/*
 * Sends all pages but guards out, @npages of them. Pages just written may need
 * more than one try: reclaim starts writing them and takes them when that is
 * done.
 *
 * Reclaim may also unmap a page and keep it, for somebody has a reference. In a
 * shared mapping nothing is left then that MADV_PAGEOUT could find, until the
 * page is touched.
 */
static inline bool pages_out(const struct guard_map *map, size_t npages)
{
	long want = npages * page_size();
	int i;

	for (i = 1; i <= 500 && swapped_bytes(map) < want; i++) {
		if (i % 50 == 0)
			map_touch(map);
		if (sys_advise(map->base, map->size, MADV_PAGEOUT))
			break;
		usleep(10000);
	}
	return swapped_bytes(map) >= want;
}

/* Allocations that are made to fail, one at a time: CONFIG_FAULT_INJECTION. */
#define FAIL_PAGE_ALLOC	"/sys/kernel/debug/fail_page_alloc/"
#define FAIL_SLAB	"/sys/kernel/debug/failslab/"

static inline void failing_stop(void)
{
	knob_write(FAIL_PAGE_ALLOC "ignore-gfp-wait", "Y");
	knob_write(FAIL_PAGE_ALLOC "min-order", "1");
	knob_write(FAIL_SLAB "ignore-gfp-wait", "Y");
	knob_write(FAIL_PAGE_ALLOC "verbose", "2");
	knob_write(FAIL_SLAB "verbose", "2");
}

/* Returns a descriptor for fail_nth(), or -1 with guard_reason set. */
static inline int failing_start(void)
{
	int fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		guard_set_reason("no fail-nth: %s", strerror(errno));
		return -1;
	}
	/* Allocations that may wait are left alone unless told otherwise. */
	if (!knob_write(FAIL_PAGE_ALLOC "ignore-gfp-wait", "N") ||
	    !knob_write(FAIL_PAGE_ALLOC "min-order", "0")) {
		guard_set_reason("needs root, debugfs and CONFIG_FAIL_PAGE_ALLOC");
		failing_stop();
		close(fd);
		return -1;
	}
	knob_write(FAIL_SLAB "ignore-gfp-wait", "N");
	/* No stack trace of each on the console. */
	knob_write(FAIL_PAGE_ALLOC "verbose", "0");
	knob_write(FAIL_SLAB "verbose", "0");
	return fd;
}

/* The @nth allocation of this thread from here on fails; 0: none does. */
static inline bool fail_nth(int fd, int nth)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", nth);
	return pwrite(fd, text, strlen(text), 0) > 0;
}

/* What is left to count down: 0 when it did fail one; -1 on an error. */
static inline int fail_nth_left(int fd)
{
	char text[16];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return -1;
	text[n] = '\0';
	return atoi(text);
}

/*
 * With pages of 4 KiB these are four page tables that nothing else is in, wherever
 * they start: those at the ends are shared with the neighbours, and stay from
 * round to round. Larger pages have larger page tables.
 */
#define NO_MEMORY_PAGES	2600

/* At least so many, by the most entries that a page can have. */
static inline int no_memory_tables(void)
{
	return (int)(NO_MEMORY_PAGES / (page_size() / sizeof(long))) - 1;
}

/* self->map of that size, and self->fd for fail_nth(). */
#define NO_MEMORY_FIXTURE(fixture_name, supported)			\
	FIXTURE(fixture_name) {						\
		struct guard_map map;					\
		int fd;							\
	};								\
	FIXTURE_VARIANT(fixture_name) {					\
		enum backing backing;					\
	};								\
	GUARD_VARIANTS_RW(fixture_name);				\
	GUARD_VARIANTS_RO(fixture_name);				\
	FIXTURE_SETUP(fixture_name)					\
	{								\
		if (!(supported) || !guard_supported(variant->backing))	\
			SKIP(return, "%s", guard_reason);		\
		ASSERT_TRUE(map_make(&self->map, variant->backing,	\
				     NO_MEMORY_PAGES));			\
		self->fd = failing_start();				\
		if (self->fd < 0)					\
			SKIP(return, "%s", guard_reason);		\
	}								\
	FIXTURE_TEARDOWN_PARENT(fixture_name)				\
	{								\
		failing_stop();						\
	}

#endif /* _GUARD_SYSTEM_H */
