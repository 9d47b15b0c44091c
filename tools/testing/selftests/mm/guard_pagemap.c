// SPDX-License-Identifier: GPL-2.0
/*
 * Guard regions through the eyes of those who look at page tables from the
 * outside: /proc/PID/pagemap and its PAGEMAP_SCAN ioctl, smaps, clear_refs,
 * mincore().
 */
#include "guard_uffd.h"

#include <sys/prctl.h>

#define NPAGES		16
#define POPULATED	8	/* pages [0, POPULATED) are, but for guards */

/*
 *   0   1   2   3   4   5   6   7 | 8   9  10  11  12  13  14  15
 *   p   G   p   p   p   G   G   p | -   -   -   -   G   -   -   -
 */
static bool is_guarded(size_t page)
{
	return page == 1 || page == 5 || page == 6 || page == 12;
}

#define NGUARDS		4

struct span {
	size_t first;
	size_t end;
};

static const struct span guard_spans[] = { { 1, 2 }, { 5, 7 }, { 12, 13 } };
static const struct span other_spans[] = {
	{ 0, 1 }, { 2, 5 }, { 7, 12 }, { 13, NPAGES },
};

static int guards_make(struct guard_map *map)
{
	size_t i;
	int ret;

	map_populate(map, 0, POPULATED);
	for (i = 0; i < NPAGES; i++) {
		if (!is_guarded(i))
			continue;
		ret = guard_install(map_page(map, i), page_size());
		if (ret)
			return ret;
	}
	return 0;
}

/* All guards, and nothing but them, fault and have the bit. */
static bool guards_stand(const struct guard_map *map)
{
	size_t i;

	for (i = 0; i < NPAGES; i++) {
		bool bit = pagemap_entry(map_page(map, i)) &
			   PAGEMAP_BIT_GUARD;

		if (bit != is_guarded(i))
			return false;
		if (is_guarded(i) ? !page_guarded(map_page(map, i)) :
				    !page_readable(map_page(map, i)))
			return false;
	}
	return true;
}

static int child_checks_guards(void *arg)
{
	return guards_stand(arg) ? 0 : 1;
}

GUARD_FIXTURE(pagemap, NPAGES);
GUARD_VARIANTS_RW(pagemap);
GUARD_VARIANTS_RO(pagemap);

TEST_F(pagemap, bit_is_exact)
{
	size_t i;

	ASSERT_EQ(0, guards_make(&self->map));
	for (i = 0; i < NPAGES; i++) {
		uint64_t entry = pagemap_entry(map_page(&self->map, i));

		if (is_guarded(i)) {
			EXPECT_TRUE(!!(entry & PAGEMAP_BIT_GUARD));
			EXPECT_FALSE(!!(entry & PAGEMAP_BIT_PRESENT));
			EXPECT_FALSE(!!(entry & PAGEMAP_BIT_FILE));
			EXPECT_FALSE(!!(entry & PAGEMAP_BIT_UFFD_WP));
		} else {
			EXPECT_FALSE(!!(entry & PAGEMAP_BIT_GUARD));
			if (i < POPULATED)
				EXPECT_TRUE(!!(entry & PAGEMAP_BIT_PRESENT));
		}
	}
	EXPECT_TRUE(guards_stand(&self->map));
}

/* As tools read it: many entries at once. */
TEST_F(pagemap, one_read)
{
	uint64_t entries[NPAGES];
	size_t i;
	int fd;

	ASSERT_EQ(0, guards_make(&self->map));
	fd = open("/proc/self/pagemap", O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ((ssize_t)sizeof(entries),
		  pread(fd, entries, sizeof(entries),
			(uintptr_t)self->map.base / page_size() *
			sizeof(entries[0])));
	close(fd);
	for (i = 0; i < NPAGES; i++)
		EXPECT_EQ(is_guarded(i), !!(entries[i] & PAGEMAP_BIT_GUARD));
}

TEST_F(pagemap, bit_goes_with_guard)
{
	size_t i;

	ASSERT_EQ(0, guards_make(&self->map));
	ASSERT_EQ(0, guard_remove(self->map.base, self->map.size));
	for (i = 0; i < NPAGES; i++) {
		if (is_guarded(i))
			EXPECT_TRUE(entry_is_empty(map_page(&self->map, i)));
		EXPECT_FALSE(!!(pagemap_entry(map_page(&self->map, i)) &
				PAGEMAP_BIT_GUARD));
	}
	EXPECT_TRUE(range_readable(self->map.base, self->map.size));

	/* Mapped over, the guards are gone as well. */
	ASSERT_EQ(0, guard_install(self->map.base, self->map.size));
	ASSERT_EQ(self->map.base,
		  mmap(self->map.base, self->map.size, self->map.prot,
		       self->map.flags | MAP_FIXED, self->map.fd, 0));
	EXPECT_TRUE(entries_are_empty(self->map.base, NPAGES));
}

/* Becomes nobody, if it is not yet, and may look at itself nevertheless. */
static bool drop_privileges(void)
{
	if (!geteuid() && (setgid(65534) || setresuid(65534, 65534, 65534)))
		return false;
	/* Else /proc/self is root's after the change of uid. */
	return !prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static int scan(int fd, struct pm_scan_arg *arg);

static int child_looks_unprivileged(void *arg)
{
	const struct guard_map *map = arg;
	uint64_t pfn = (1ULL << 55) - 1;
	struct page_region regions[NPAGES];
	struct pm_scan_arg req = {
		.start = (uintptr_t)map->base,
		.end = (uintptr_t)map->base + map->size,
		.vec = (uintptr_t)regions,
		.vec_len = NPAGES,
		.category_mask = PAGE_IS_GUARD,
		.return_mask = PAGE_IS_GUARD,
	};
	size_t i;
	int fd, ret;

	if (!drop_privileges())
		return 2;
	for (i = 0; i < NPAGES; i++) {
		uint64_t entry = pagemap_entry(map_page(map, i));

		if (!!(entry & PAGEMAP_BIT_GUARD) != is_guarded(i))
			return 3;
		/* Neither a page's frame nor what a marker is made of. */
		if (entry & pfn)
			return 4;
	}

	fd = open("/proc/self/pagemap", O_RDONLY);
	if (fd < 0)
		return 5;
	ret = scan(fd, &req);
	if (ret != ARRAY_SIZE(guard_spans) && ret != -EINVAL && ret != -ENOTTY)
		return 6;
	return 0;
}

TEST_F(pagemap, bit_needs_no_privilege)
{
	ASSERT_EQ(0, guards_make(&self->map));
	EXPECT_EQ(0, in_child(child_looks_unprivileged, &self->map));
}

/* Of another process: a debugger or a checkpoint tool looks at it so. */
TEST_F(pagemap, bit_in_other_process)
{
	uint64_t entries[NPAGES];
	char path[64];
	size_t i;
	pid_t pid;
	int fd;

	ASSERT_EQ(0, guards_make(&self->map));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		for (;;)
			pause();
	}
	/* The parent's are gone: what is seen are the child's. */
	ASSERT_EQ(0, guard_remove(self->map.base, self->map.size));

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY);
	EXPECT_LE(0, fd);
	EXPECT_EQ((ssize_t)sizeof(entries),
		  pread(fd, entries, sizeof(entries),
			(uintptr_t)self->map.base / page_size() *
			sizeof(entries[0])));
	close(fd);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	for (i = 0; i < NPAGES; i++)
		EXPECT_EQ(is_guarded(i), !!(entries[i] & PAGEMAP_BIT_GUARD));
}

/* A guard counts as nothing: not as resident, not as swapped. */
TEST_F(pagemap, smaps_does_not_count_guards)
{
	long psize = page_size();
	long rss, pss;

	map_populate(&self->map, 0, NPAGES);
	rss = smaps_bytes(self->map.base, "Rss");
	pss = smaps_bytes(self->map.base, "Pss");
	ASSERT_EQ((long)self->map.size, rss);
	ASSERT_EQ((long)self->map.size, pss);

	ASSERT_EQ(0, guard_install(map_page(&self->map, 4), 4 * psize));
	EXPECT_EQ(rss - 4 * psize, smaps_bytes(self->map.base, "Rss"));
	EXPECT_EQ(pss - 4 * psize, smaps_bytes(self->map.base, "Pss"));
	EXPECT_EQ(0, smaps_bytes(self->map.base, "Swap"));
	EXPECT_EQ(0, smaps_bytes(self->map.base, "SwapPss"));

	ASSERT_EQ(0, guard_install(self->map.base, self->map.size));
	EXPECT_EQ(0, smaps_bytes(self->map.base, "Rss"));
	EXPECT_EQ(0, smaps_bytes(self->map.base, "Pss"));
	EXPECT_EQ(0, smaps_bytes(self->map.base, "Swap"));
	EXPECT_EQ(0, smaps_bytes(self->map.base, "SwapPss"));
	EXPECT_EQ(0, smaps_bytes(self->map.base, "Referenced"));
	EXPECT_EQ(0, smaps_bytes(self->map.base, "Locked"));
}

/* Forgetting what was referenced or written does not touch guards. */
TEST_F(pagemap, clear_refs_leaves_guard)
{
	const char *what;
	int fd;

	ASSERT_EQ(0, guards_make(&self->map));
	fd = open("/proc/self/clear_refs", O_WRONLY);
	if (fd < 0)
		SKIP(return, "clear_refs: %s", strerror(errno));
	for (what = "1234"; *what; what++) {
		EXPECT_EQ(1, write(fd, what, 1));
		EXPECT_TRUE(guards_stand(&self->map));
	}
	close(fd);
}

/* mincore() gets over guards, and memory that is not there is not in core. */
TEST_F(pagemap, mincore_over_guard)
{
	unsigned char vec[NPAGES + 1];
	size_t i;

	ASSERT_EQ(0, guards_make(&self->map));
	memset(vec, 0xaa, sizeof(vec));
	EXPECT_EQ(0, mincore(self->map.base, self->map.size, vec));
	for (i = 0; i < NPAGES; i++) {
		if (i < POPULATED && !is_guarded(i))
			EXPECT_EQ(1, vec[i] & 1);
		if (is_guarded(i) && variant->backing == ANON_PRIVATE)
			EXPECT_EQ(0, vec[i] & 1);
		EXPECT_EQ(0, vec[i] & ~1);
	}
	EXPECT_EQ(0xaa, vec[NPAGES]);
	EXPECT_TRUE(guards_stand(&self->map));
}

/*
 * PAGEMAP_SCAN.
 */
FIXTURE(scan) {
	struct guard_map map;
	struct page_region regions[2 * NPAGES];
	struct pm_scan_arg arg;
	int fd;
};

FIXTURE_VARIANT(scan) {
	enum backing backing;
};

GUARD_VARIANTS_RW(scan);
GUARD_VARIANTS_RO(scan);

static int scan(int fd, struct pm_scan_arg *arg)
{
	int ret;

	arg->size = sizeof(*arg);
	ret = ioctl(fd, PAGEMAP_SCAN, arg);
	return ret < 0 ? -errno : ret;
}

/* A pagemap that knows the category; -1 with the reason if it does not. */
static int scan_open(void)
{
	struct pm_scan_arg arg = {
		.category_mask = PAGE_IS_GUARD,
		.return_mask = PAGE_IS_GUARD,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	int ret;

	if (fd < 0) {
		guard_set_reason("pagemap: %s", strerror(errno));
		return -1;
	}
	ret = scan(fd, &arg);
	if (ret < 0) {
		guard_set_reason(ret == -ENOTTY ?
				 "no PAGEMAP_SCAN in this kernel" :
				 "PAGEMAP_SCAN without PAGE_IS_GUARD");
		close(fd);
		return -1;
	}
	return fd;
}

FIXTURE_SETUP(scan)
{
	self->fd = -1;
	if (!guard_supported(variant->backing))
		SKIP(return, "%s", guard_reason);
	self->fd = scan_open();
	if (self->fd < 0)
		SKIP(return, "%s", guard_reason);
	if (!map_make(&self->map, variant->backing, NPAGES)) {
		close(self->fd);
		SKIP(return, "%s", guard_reason);
	}
	ASSERT_EQ(0, guards_make(&self->map));
	self->arg = (struct pm_scan_arg){
		.start = (uintptr_t)self->map.base,
		.end = (uintptr_t)self->map.base + self->map.size,
		.vec = (uintptr_t)self->regions,
		.vec_len = ARRAY_SIZE(self->regions),
	};
}

FIXTURE_TEARDOWN(scan)
{
	close(self->fd);
	map_free(&self->map);
}

/* The regions are just these spans, each with just these categories. */
static bool regions_are(const struct guard_map *map,
			const struct page_region *regions,
			const struct span *spans, size_t n, __u64 categories)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (regions[i].start !=
		    (uintptr_t)map_page(map, spans[i].first) ||
		    regions[i].end != (uintptr_t)map_page(map, spans[i].end) ||
		    regions[i].categories != categories)
			return false;
	return true;
}

/* The categories reported for page @n; 0 when it is in no region. */
static int categories_of(const struct guard_map *map,
			 const struct page_region *regions, int count, size_t n)
{
	uintptr_t addr = (uintptr_t)map_page(map, n);
	int i;

	for (i = 0; i < count; i++)
		if (addr >= regions[i].start && addr < regions[i].end)
			return regions[i].categories;
	return 0;
}

#define EXPECT_SPANS(spans, categories) do {				\
	EXPECT_EQ((int)ARRAY_SIZE(spans), scan(self->fd, &self->arg));	\
	EXPECT_TRUE(regions_are(&self->map, self->regions, spans,	\
				ARRAY_SIZE(spans), categories));	\
	EXPECT_EQ(self->arg.end, self->arg.walk_end);			\
} while (0)

TEST_F(scan, required)
{
	self->arg.category_mask = PAGE_IS_GUARD;
	self->arg.return_mask = PAGE_IS_GUARD;
	EXPECT_SPANS(guard_spans, PAGE_IS_GUARD);
	EXPECT_TRUE(guards_stand(&self->map));
}

TEST_F(scan, anyof)
{
	self->arg.category_anyof_mask = PAGE_IS_GUARD;
	self->arg.return_mask = PAGE_IS_GUARD;
	EXPECT_SPANS(guard_spans, PAGE_IS_GUARD);

	/* Together with pages that are something else. */
	self->arg.category_anyof_mask = PAGE_IS_GUARD | PAGE_IS_HUGE;
	EXPECT_SPANS(guard_spans, PAGE_IS_GUARD);
}

TEST_F(scan, excluded)
{
	self->arg.category_inverted = PAGE_IS_GUARD;
	self->arg.category_mask = PAGE_IS_GUARD;
	self->arg.return_mask = PAGE_IS_GUARD;
	EXPECT_SPANS(other_spans, 0);
}

/* Only what was asked for is told. */
TEST_F(scan, not_returned)
{
	self->arg.category_mask = PAGE_IS_GUARD;
	self->arg.return_mask = PAGE_IS_PRESENT;
	EXPECT_SPANS(guard_spans, 0);
}

/* A guard is neither present nor a page of a file, nor zero, nor huge. */
TEST_F(scan, categories)
{
	int count, i;

	self->arg.category_anyof_mask = PAGE_IS_GUARD | PAGE_IS_PRESENT;
	self->arg.return_mask = PAGE_IS_GUARD | PAGE_IS_PRESENT |
				PAGE_IS_FILE | PAGE_IS_PFNZERO | PAGE_IS_HUGE;
	count = scan(self->fd, &self->arg);
	ASSERT_LT(0, count);
	for (i = 0; i < NPAGES; i++) {
		int is = categories_of(&self->map, self->regions, count, i);

		if (is_guarded(i)) {
			EXPECT_EQ(PAGE_IS_GUARD, is);
		} else {
			EXPECT_FALSE(is & PAGE_IS_GUARD);
			if (i < POPULATED)
				EXPECT_TRUE(is & PAGE_IS_PRESENT);
		}
	}

	/* Both at once, no page is. */
	self->arg.category_anyof_mask = 0;
	self->arg.category_mask = PAGE_IS_GUARD | PAGE_IS_PRESENT;
	EXPECT_EQ(0, scan(self->fd, &self->arg));
}

TEST_F(scan, neighbours_are_one_region)
{
	struct span all = { 0, NPAGES };

	self->arg.category_mask = PAGE_IS_GUARD;
	self->arg.return_mask = PAGE_IS_GUARD;
	ASSERT_EQ(0, guard_install(self->map.base, self->map.size));
	EXPECT_EQ(1, scan(self->fd, &self->arg));
	EXPECT_TRUE(regions_are(&self->map, self->regions, &all, 1,
				PAGE_IS_GUARD));

	ASSERT_EQ(0, guard_remove(self->map.base, self->map.size));
	EXPECT_EQ(0, scan(self->fd, &self->arg));
}

TEST_F(scan, goes_on_where_it_stopped)
{
	static const struct span first[] = { { 1, 2 }, { 5, 6 } };
	static const struct span rest[] = { { 6, 7 }, { 12, 13 } };

	self->arg.category_mask = PAGE_IS_GUARD;
	self->arg.return_mask = PAGE_IS_GUARD;

	self->arg.max_pages = 2;
	EXPECT_EQ(2, scan(self->fd, &self->arg));
	EXPECT_TRUE(regions_are(&self->map, self->regions, first, 2,
				PAGE_IS_GUARD));
	EXPECT_EQ((uintptr_t)map_page(&self->map, 6), self->arg.walk_end);

	self->arg.start = self->arg.walk_end;
	self->arg.max_pages = 0;
	EXPECT_EQ(2, scan(self->fd, &self->arg));
	EXPECT_TRUE(regions_are(&self->map, self->regions, rest, 2,
				PAGE_IS_GUARD));
}

/* No room for the second region: the walk ends before it. */
TEST_F(scan, short_vector)
{
	self->arg.category_mask = PAGE_IS_GUARD;
	self->arg.return_mask = PAGE_IS_GUARD;
	self->arg.vec_len = 1;
	EXPECT_EQ(1, scan(self->fd, &self->arg));
	EXPECT_TRUE(regions_are(&self->map, self->regions, guard_spans, 1,
				PAGE_IS_GUARD));
	EXPECT_LE((uintptr_t)map_page(&self->map, 2), self->arg.walk_end);
	EXPECT_GE((uintptr_t)map_page(&self->map, 5), self->arg.walk_end);

	self->arg.start = self->arg.walk_end;
	EXPECT_EQ(1, scan(self->fd, &self->arg));
	EXPECT_TRUE(regions_are(&self->map, self->regions, guard_spans + 1, 1,
				PAGE_IS_GUARD));
}

/*
 * One page of a huge page becomes a guard: that one page is found, and what
 * is left is neither huge nor guarded.
 */
TEST(huge_page_around_guard)
{
	size_t huge = huge_page_size();
	struct page_region regions[4];
	struct pm_scan_arg arg = {
		.vec = (uintptr_t)regions,
		.vec_len = ARRAY_SIZE(regions),
		.category_mask = PAGE_IS_GUARD,
		.return_mask = PAGE_IS_GUARD | PAGE_IS_HUGE | PAGE_IS_PRESENT,
	};
	struct guard_map map;
	size_t npages, middle, i;
	struct span guard;
	int fd;

	if (!guard_supported(ANON_PRIVATE))
		SKIP(return, "%s", guard_reason);
	if (!huge)
		SKIP(return, "no transparent huge pages in this kernel");
	fd = scan_open();
	if (fd < 0)
		SKIP(return, "%s", guard_reason);
	npages = 2 * huge / page_size();
	middle = npages / 4;
	ASSERT_TRUE(map_make_aligned(&map, ANON_PRIVATE, npages, huge));
	if (sys_advise(map.base, map.size, MADV_HUGEPAGE))
		SKIP(goto out, "no MADV_HUGEPAGE in this kernel");
	map_populate(&map, 0, npages);
	if (huge_mapped_bytes(map.base) != (long)map.size)
		SKIP(goto out, "could not get huge pages");

	arg.start = (uintptr_t)map.base;
	arg.end = arg.start + map.size;
	EXPECT_EQ(0, scan(fd, &arg));

	/* In the first of two huge pages. */
	ASSERT_EQ(0, guard_install(map_page(&map, middle), page_size()));
	guard = (struct span){ middle, middle + 1 };
	EXPECT_EQ(1, scan(fd, &arg));
	EXPECT_TRUE(regions_are(&map, regions, &guard, 1, PAGE_IS_GUARD));

	for (i = 0; i < npages; i++) {
		__u64 want = i == middle ? PAGEMAP_BIT_GUARD : 0;

		if ((pagemap_entry(map_page(&map, i)) & PAGEMAP_BIT_GUARD) !=
		    want)
			break;
	}
	EXPECT_EQ(npages, i);

	/* The whole of the second. */
	ASSERT_EQ(0, guard_install(map.base + huge, huge));
	guard = (struct span){ npages / 2, npages };
	EXPECT_EQ(2, scan(fd, &arg));
	EXPECT_TRUE(regions_are(&map, regions + 1, &guard, 1, PAGE_IS_GUARD));
	EXPECT_TRUE(map_populated_intact(&map, 0, middle));
out:
	map_free(&map);
	close(fd);
}

/*
 * PAGEMAP_SCAN may write-protect what it finds (asynchronous userfaultfd):
 * that is nothing to do to a guard.
 */
FIXTURE(scan_protect) {
	struct guard_map map;
	struct page_region regions[2 * NPAGES];
	struct pm_scan_arg arg;
	int uffd;
	int fd;
};

FIXTURE_VARIANT(scan_protect) {
	enum backing backing;
};

GUARD_VARIANTS_RW(scan_protect);

FIXTURE_SETUP(scan_protect)
{
	self->uffd = -1;
	self->fd = -1;
	if (!guard_supported(variant->backing))
		SKIP(return, "%s", guard_reason);
	self->fd = scan_open();
	if (self->fd < 0)
		SKIP(return, "%s", guard_reason);
	self->uffd = uffd_open(UFFD_FEATURE_WP_ASYNC |
			       UFFD_FEATURE_WP_UNPOPULATED);
	if (self->uffd < 0)
		SKIP(return, "%s", guard_reason);
	if (!map_make(&self->map, variant->backing, NPAGES))
		SKIP(return, "%s", guard_reason);
	ASSERT_EQ(0, uffd_register(self->uffd, self->map.base, self->map.size,
				   UFFDIO_REGISTER_MODE_WP));
	ASSERT_EQ(0, guards_make(&self->map));
	self->arg = (struct pm_scan_arg){
		.start = (uintptr_t)self->map.base,
		.end = (uintptr_t)self->map.base + self->map.size,
		.vec = (uintptr_t)self->regions,
		.vec_len = ARRAY_SIZE(self->regions),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
	};
}

FIXTURE_TEARDOWN(scan_protect)
{
	close(self->uffd);
	close(self->fd);
	map_free(&self->map);
}

/* Whatever comes after such a scan: guards are guards until removed. */
#define EXPECT_HARMLESS() do {						\
	struct guard_map *m = &self->map;				\
									\
	EXPECT_TRUE(entry_is_uffd_wp(map_page(m, 0)));			\
	EXPECT_TRUE(guards_stand(m));					\
	EXPECT_EQ(0, in_child(child_checks_guards, m));			\
	EXPECT_EQ(0, guard_install(map_page(m, 5), page_size()));	\
	EXPECT_EQ(0, mprotect(m->base, m->size, PROT_READ));		\
	EXPECT_EQ(0, mprotect(m->base, m->size, m->prot));		\
	EXPECT_TRUE(guards_stand(m));					\
	EXPECT_EQ(0, guard_remove(map_page(m, 5), page_size()));	\
	EXPECT_TRUE(entry_is_empty(map_page(m, 5)));			\
	EXPECT_EQ(0, guard_install(map_page(m, 5), page_size()));	\
	EXPECT_EQ(0, uffd_protect(self->uffd, m->base, m->size, false)); \
	EXPECT_TRUE(guards_stand(m));					\
	EXPECT_EQ(0, uffd_unregister(self->uffd, m->base, m->size));	\
	EXPECT_TRUE(guards_stand(m));					\
	EXPECT_EQ(0, guard_remove(m->base, m->size));			\
	EXPECT_TRUE(entry_is_empty(map_page(m, 6)));			\
	EXPECT_TRUE(range_readable(m->base, m->size));			\
} while (0)

/* Without a vector. */
TEST_F(scan_protect, all)
{
	self->arg.vec = 0;
	self->arg.vec_len = 0;
	ASSERT_EQ(0, scan(self->fd, &self->arg));
	EXPECT_HARMLESS();
}

/* What was written since. */
TEST_F(scan_protect, written)
{
	self->arg.category_mask = PAGE_IS_WRITTEN;
	self->arg.return_mask = PAGE_IS_WRITTEN;
	ASSERT_LT(0, scan(self->fd, &self->arg));
	ASSERT_LE(0, scan(self->fd, &self->arg));
	EXPECT_HARMLESS();
}

/* Guards among other things, with their categories. */
TEST_F(scan_protect, guards_and_pages)
{
	int count;

	self->arg.category_anyof_mask = PAGE_IS_GUARD | PAGE_IS_PRESENT;
	self->arg.return_mask = PAGE_IS_GUARD | PAGE_IS_PRESENT;
	count = scan(self->fd, &self->arg);
	ASSERT_LT(0, count);
	EXPECT_EQ(PAGE_IS_GUARD, categories_of(&self->map, self->regions,
					       count, 1));
	EXPECT_EQ(PAGE_IS_PRESENT, categories_of(&self->map, self->regions,
						 count, 2));
	/* They still say so the second time. */
	count = scan(self->fd, &self->arg);
	ASSERT_LT(0, count);
	EXPECT_EQ(PAGE_IS_GUARD, categories_of(&self->map, self->regions,
					       count, 1));
	EXPECT_HARMLESS();
}

/* Only the guards. */
TEST_F(scan_protect, guards_only)
{
	self->arg.category_mask = PAGE_IS_GUARD;
	self->arg.return_mask = PAGE_IS_GUARD;
	EXPECT_EQ((int)ARRAY_SIZE(guard_spans), scan(self->fd, &self->arg));
	EXPECT_EQ((int)ARRAY_SIZE(guard_spans), scan(self->fd, &self->arg));
	EXPECT_FALSE(entry_is_uffd_wp(map_page(&self->map, 0)));
	ASSERT_EQ(0, uffd_protect(self->uffd, self->map.base, self->map.size,
				  true));

	/* The markers where there is no page to protect are not guards. */
	ASSERT_TRUE(entry_is_uffd_wp(map_page(&self->map, NPAGES - 1)));
	self->arg.flags = 0;
	EXPECT_EQ((int)ARRAY_SIZE(guard_spans), scan(self->fd, &self->arg));
	EXPECT_TRUE(regions_are(&self->map, self->regions, guard_spans,
				ARRAY_SIZE(guard_spans), PAGE_IS_GUARD));
	EXPECT_HARMLESS();
}

GUARD_HARNESS_MAIN
