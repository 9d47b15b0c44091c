// SPDX-License-Identifier: GPL-2.0
/*
 * Guard regions and the making of huge pages: a page table with a guard in it is
 * not dropped for a huge page that came to be elsewhere, and the others of the
 * mapping are. The huge page may be made by MADV_COLLAPSE here or in another
 * process, or by khugepaged.
 */
#define _GNU_SOURCE
#include "guard_flag.h"
#include "guard_system.h"

#define THP		"/sys/kernel/mm/transparent_hugepage/"

struct huge_map {
	struct guard_map map;
	size_t hsz;		/* size of a huge page */
	size_t per;		/* pages in it */
};

/*
 * Two huge pages' worth, page n with OBJECT_SEED + n in it, all mapped by small
 * pages. Only ever read: with pages of its own, a private mapping would keep
 * its page tables for these.
 */
static bool huge_map_make(struct huge_map *h, enum backing b)
{
	if (!flag_supported() || !guard_supported(b))
		return false;
	h->hsz = huge_page_size();
	if (!h->hsz) {
		guard_set_reason("no transparent huge pages in this kernel");
		return false;
	}
	h->per = h->hsz / page_size();
	if (!map_make_aligned(&h->map, b, 2 * h->per, h->hsz))
		return false;
	if (backing_is_anon(b))
		range_fill(h->map.base, 2 * h->per, OBJECT_SEED);
	map_close_writable(&h->map);
	return range_readable(h->map.base, h->map.size);
}

/* Pages [first, first + n) are as huge_map_make() left them. */
static bool holds(struct huge_map *h, size_t first, size_t n)
{
	return range_holds(map_page(&h->map, first), n, OBJECT_SEED + first);
}

/* The first huge page's worth has this one guard, and data beside it. */
static bool one_guard(struct huge_map *h, size_t at)
{
	return pagemap_guards(h->map.base, h->hsz) == 1 &&
	       page_guarded(map_page(&h->map, at)) &&
	       flag_set(h->map.base) && holds(h, 0, at) &&
	       holds(h, at + 1, h->per - at - 1) &&
	       pagemap_guards(h->map.base, h->hsz) == 1 &&
	       page_guarded(map_page(&h->map, at));
}

/*
 * Is the first half of the object one huge page by now? A new mapping of it
 * will tell; it takes no page tables from others.
 */
static bool object_huge(struct huge_map *h)
{
	char *view = object_view(h->map.fd, h->hsz);
	bool ret;

	if (!view)
		return false;
	ret = page_readable(view) && huge_mapped_bytes(view) > 0;
	munmap(view, h->hsz);
	return ret;
}

/* A mapping of the first half of the object without a guard, and collapse it. */
static int collapse_object(void *arg)
{
	struct huge_map *h = arg;
	char *view = object_view(h->map.fd, h->hsz);

	if (!view || !range_readable(view, h->hsz))
		return 1;
	if (sys_collapse(view, h->hsz))
		return 2;
	return range_holds(view, h->per, OBJECT_SEED) ? 0 : 3;
}

/* Page tables of this process, in bytes; not positive if it cannot be told. */
static long page_tables(void)
{
	return proc_number("/proc/self/status", "VmPTE") * 1024;
}

/*
 * What the lowest one adds to that: not a page everywhere, and 0 where it is less
 * than a KiB. Pages are touched that have none in common. That may take tables of
 * the higher levels as well, but not in both of the last two.
 */
static long page_table_size(size_t hsz)
{
	const size_t size = 3 * hsz;
	char *area = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	long before, added, least = 0;
	size_t at;

	if (area == MAP_FAILED)
		return 0;
	madvise(area, size, MADV_NOHUGEPAGE);
	for (at = 0; at < size; at += hsz) {
		before = page_tables();
		area[at] = 1;
		added = page_tables() - before;
		if (at == hsz || (at && added < least))
			least = added;
	}
	munmap(area, size);
	return least;
}

FIXTURE(collapse) {
	struct huge_map h;
};

FIXTURE_VARIANT(collapse) {
	enum backing backing;
};

GUARD_VARIANT(collapse, shmem_private, SHMEM_PRIVATE);
GUARD_VARIANT(collapse, shmem_shared, SHMEM_SHARED);
GUARD_VARIANTS_RO(collapse);

/* The control: the second half of it can be collapsed. */
FIXTURE_SETUP(collapse)
{
	struct huge_map *h = &self->h;
	int ret;

	if (!huge_map_make(h, variant->backing))
		SKIP(return, "%s", guard_reason);
	ret = sys_collapse(map_page(&h->map, h->per), h->hsz);
	if (ret == -EINVAL)
		SKIP(return, "no MADV_COLLAPSE of such a mapping");
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(collapse)
{
	map_free(&self->h.map);
}

/* With a guard in the range, wherever it is: refused, again and again. */
TEST_F_TIMEOUT(collapse, on_guard, 120)
{
	struct huge_map *h = &self->h;
	const size_t where[] = { 0, h->per / 2 + 1, h->per - 1 };
	size_t i, again;

	for (i = 0; i < ARRAY_SIZE(where); i++) {
		ASSERT_EQ(0, install_at(&h->map, where[i], 1));
		for (again = 0; again < 3; again++) {
			EXPECT_NE(0, sys_advise(h->map.base, h->hsz,
						MADV_COLLAPSE)) {
				TH_LOG("guard at page %zu", where[i]);
			}
			EXPECT_TRUE(one_guard(h, where[i]));
		}
		ASSERT_EQ(0, guard_remove(h->map.base, h->hsz));
		EXPECT_TRUE(holds(h, where[i], 1));
	}
}

static long collapse_allocs(void)
{
	return proc_number("/proc/vmstat", "thp_collapse_alloc");
}

/*
 * In anonymous memory it is the entries that decide, and the guard is seen
 * before a huge page is allocated in vain. Others may allocate some meanwhile,
 * but not at each try.
 */
TEST(anonymous_on_guard)
{
	struct huge_map h;
	int again, in_vain = 0;

	if (!huge_map_make(&h, ANON_PRIVATE))
		SKIP(return, "%s", guard_reason);
	ASSERT_EQ(0, install_at(&h.map, h.per / 2, 1));
	for (again = 0; again < 8; again++) {
		long before = collapse_allocs();

		EXPECT_NE(0, sys_advise(h.map.base, h.hsz, MADV_COLLAPSE));
		in_vain += collapse_allocs() != before;
		EXPECT_TRUE(one_guard(&h, h.per / 2));
	}
	EXPECT_GT(again, in_vain);
	map_free(&h.map);
}

/* The VMA has the flag, the range has no guard: that is no reason to refuse. */
TEST_F_TIMEOUT(collapse, beside_guard, 120)
{
	struct huge_map *h = &self->h;
	const size_t where[] = { h->per, 2 * h->per - 1 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(where); i++) {
		char *guard = map_page(&h->map, where[i]);

		ASSERT_EQ(0, guard_install(guard, page_size()));
		EXPECT_EQ(0, sys_collapse(h->map.base, h->hsz));
		EXPECT_TRUE(holds(h, 0, h->per));
		EXPECT_TRUE(page_guarded(guard));
		EXPECT_EQ(1, pagemap_guards(h->map.base, h->map.size));
		EXPECT_TRUE(flag_set(h->map.base));
		EXPECT_TRUE(object_huge(h));
		ASSERT_EQ(0, guard_remove(guard, page_size()));
	}
}

/* Guards were there and are not any more. */
TEST_F_TIMEOUT(collapse, after_remove, 120)
{
	struct huge_map *h = &self->h;

	ASSERT_EQ(0, install_at(&h->map, h->per / 2, 1));
	ASSERT_EQ(0, guard_remove(h->map.base, h->map.size));
	EXPECT_EQ(0, sys_collapse(h->map.base, h->hsz));
	EXPECT_TRUE(flag_set(h->map.base));
	EXPECT_EQ(0, pagemap_guards(h->map.base, h->map.size));
	EXPECT_TRUE(holds(h, 0, 2 * h->per));
	EXPECT_TRUE(object_huge(h));
}

/* Over both huge pages, one of which has a guard. */
TEST_F_TIMEOUT(collapse, across_guard, 120)
{
	struct huge_map *h = &self->h;
	size_t at = h->per - 1, again;

	ASSERT_EQ(0, install_at(&h->map, at, 1));
	for (again = 0; again < 3; again++) {
		EXPECT_NE(0, sys_advise(h->map.base, h->map.size,
					MADV_COLLAPSE));
		EXPECT_TRUE(one_guard(h, at));
	}
	EXPECT_TRUE(holds(h, h->per, h->per));

	/* And over the border of the two. */
	ASSERT_EQ(0, guard_remove(h->map.base, h->map.size));
	ASSERT_EQ(0, install_at(&h->map, h->per - 1, 2));
	for (again = 0; again < 3; again++) {
		EXPECT_NE(0, sys_advise(h->map.base, h->map.size,
					MADV_COLLAPSE));
		EXPECT_EQ(2, pagemap_guards(h->map.base, h->map.size));
		EXPECT_TRUE(map_guarded(&h->map, h->per - 1, 2));
	}
	EXPECT_TRUE(holds(h, 0, h->per - 1));
	EXPECT_TRUE(holds(h, h->per + 1, h->per - 1));
}

/*
 * Another process collapses the object, through a mapping of its own. The
 * control first: without a guard we lose a page table to that.
 */
TEST_F_TIMEOUT(collapse, by_other_process_control, 120)
{
	struct huge_map *h = &self->h;
	const long size = page_table_size(h->hsz);
	long before;

	if (size <= 0)
		SKIP(return, "page tables are too small to be seen in VmPTE");
	ASSERT_FALSE(flag_set(h->map.base));
	before = page_tables();
	ASSERT_EQ(0, in_child(collapse_object, h));
	EXPECT_EQ(before - size, page_tables());
	EXPECT_TRUE(holds(h, 0, h->per));
}

TEST_F_TIMEOUT(collapse, by_other_process, 120)
{
	struct huge_map *h = &self->h;
	size_t at = h->per / 2;
	long before;

	ASSERT_EQ(0, install_at(&h->map, at, 1));
	before = page_tables();
	ASSERT_EQ(0, in_child(collapse_object, h));
	EXPECT_EQ(before, page_tables());
	EXPECT_TRUE(one_guard(h, at));
	EXPECT_TRUE(object_huge(h));
	EXPECT_TRUE(one_guard(h, at));
}

/*
 * The guard is in the other half, and does not keep the page table of this one:
 * not here, and not in a child that has read it all.
 */
static int loses_table(struct huge_map *h, long before, long size)
{
	if (page_tables() != before - size)
		return 1;
	if (!page_guarded(map_page(&h->map, h->per + 1)) ||
	    pagemap_guards(h->map.base, h->map.size) != 1)
		return 2;
	return holds(h, 0, h->per) ? 0 : 3;
}

TEST_F_TIMEOUT(collapse, by_other_process_beside_guard, 120)
{
	struct huge_map *h = &self->h;
	const long size = page_table_size(h->hsz);
	int go[2], ready[2], status;
	long before;
	char byte;
	pid_t pid;

	if (size <= 0)
		SKIP(return, "page tables are too small to be seen in VmPTE");
	ASSERT_EQ(0, install_at(&h->map, h->per + 1, 1));
	ASSERT_TRUE(flag_set(h->map.base));
	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(go[1]);
		close(ready[0]);
		if (!range_readable(h->map.base, h->hsz))
			_exit(10);
		before = page_tables();
		/* The end of the one pipe says ready, of the other go. */
		close(ready[1]);
		if (read(go[0], &byte, 1) != 0)
			_exit(11);
		_exit(loses_table(h, before, size));
	}
	close(go[0]);
	close(ready[1]);
	ASSERT_EQ(0, read(ready[0], &byte, 1));

	before = page_tables();
	ASSERT_EQ(0, in_child(collapse_object, h));
	EXPECT_EQ(0, loses_table(h, before, size));
	close(go[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	close(ready[0]);
}

/* Nothing in the page table but the guard. */
TEST_F_TIMEOUT(collapse, by_other_process_only_guard, 120)
{
	struct huge_map *h = &self->h;
	size_t at = h->per - 1;

	ASSERT_EQ(0, guard_install(h->map.base, h->hsz));
	ASSERT_EQ(0, guard_remove(h->map.base, h->hsz - page_size()));
	ASSERT_EQ(0, in_child(collapse_object, h));
	EXPECT_TRUE(one_guard(h, at));
}

/*
 * The flag came by a merge: the guard is in what was the second VMA, whose part
 * is now of the first.
 */
TEST_F_TIMEOUT(collapse, by_other_process_after_merge, 120)
{
	struct huge_map *h = &self->h;
	size_t half = h->hsz / 2, at = h->per / 2 + 3;
	char *part = h->map.base + half;

	ASSERT_EQ(0, mprotect(part, half, PROT_NONE));
	ASSERT_EQ(0, install_at(&h->map, at, 1));
	ASSERT_FALSE(flag_set(h->map.base));
	ASSERT_EQ(0, mprotect(part, half, h->map.prot));
	ASSERT_EQ(1, vma_count(h->map.base, h->map.size));
	ASSERT_EQ(0, in_child(collapse_object, h));
	EXPECT_TRUE(one_guard(h, at));
}

/* Parent and child have the guard; a third process collapses for both. */
static int child_of_collapse(void *arg)
{
	struct huge_map *h = arg;
	int ret = in_child(collapse_object, h);

	if (ret)
		return 10 + ret;
	return one_guard(h, h->per / 2) ? 0 : 1;
}

TEST_F_TIMEOUT(collapse, by_grandchild, 120)
{
	struct huge_map *h = &self->h;

	ASSERT_EQ(0, install_at(&h->map, h->per / 2, 1));
	EXPECT_EQ(0, in_child(child_of_collapse, h));
	EXPECT_TRUE(one_guard(h, h->per / 2));
}

/* The child has the guard, the parent has not any more, and collapses its own. */
TEST_F_TIMEOUT(collapse, child_keeps_guard, 120)
{
	struct huge_map *h = &self->h;
	size_t at = h->per / 2;
	int go[2], status, ret;
	char byte;
	pid_t pid;

	ASSERT_EQ(0, install_at(&h->map, at, 1));
	ASSERT_EQ(0, pipe(go));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(go[1]);
		/* The end of the pipe is the word to go. */
		if (read(go[0], &byte, 1) != 0)
			_exit(2);
		_exit(!one_guard(h, at));
	}
	close(go[0]);
	EXPECT_EQ(0, guard_remove(h->map.base, h->hsz));
	EXPECT_TRUE(holds(h, 0, h->per));
	ret = sys_collapse(h->map.base, h->hsz);
	close(go[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, ret);
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	EXPECT_TRUE(object_huge(h));
}

/*
 * khugepaged, made to hurry. It does it by itself where it is advised; two
 * mappings, one of them with no guard to tell that it has come by:
 *
 *   control: | no guards        |      tested: | a guard | no guards |
 */
static const char * const knob_names[] = {
	THP "enabled",
	THP "shmem_enabled",
	THP "khugepaged/scan_sleep_millisecs",
	THP "khugepaged/alloc_sleep_millisecs",
	THP "khugepaged/pages_to_scan",
	/* Holes are no matter; the control must not depend on them. */
	THP "khugepaged/max_ptes_none",
};

static const char * const knob_hurry[] = {
	"madvise", "advise", "10", "10", "1000000", "511",
};

#define NR_KNOBS	ARRAY_SIZE(knob_names)
#define FULL_SCANS	THP "khugepaged/full_scans"
/* Every 20 ms: that is half a minute of an idle machine. */
#define POLLS		1500

static void knobs_restore(char saved[NR_KNOBS][128])
{
	size_t i;

	for (i = 0; i < NR_KNOBS; i++)
		knob_write(knob_names[i], saved[i]);
}

FIXTURE(khugepaged) {
	struct huge_map control;
	struct huge_map h;
	char saved[NR_KNOBS][128];
};

FIXTURE_VARIANT(khugepaged) {
	enum backing backing;
};

GUARD_VARIANT(khugepaged, anon_private, ANON_PRIVATE);
GUARD_VARIANT(khugepaged, shmem_private, SHMEM_PRIVATE);
GUARD_VARIANT(khugepaged, shmem_shared, SHMEM_SHARED);
GUARD_VARIANTS_RO(khugepaged);

FIXTURE_SETUP(khugepaged)
{
	size_t i;
	int ret;

	/* Before the settings, so that all pages are small. */
	if (!huge_map_make(&self->control, variant->backing) ||
	    !huge_map_make(&self->h, variant->backing))
		SKIP(return, "%s", guard_reason);
	/* What MADV_COLLAPSE takes for impossible, khugepaged does not try. */
	if (backing_is_file(variant->backing)) {
		ret = sys_collapse(self->control.map.base, self->control.hsz);
		if (ret == -EINVAL)
			SKIP(return, "no huge pages in such a mapping");
		ASSERT_EQ(0, ret);
	}
	for (i = 0; i < NR_KNOBS; i++)
		if (!knob_read(knob_names[i], self->saved[i],
			       sizeof(self->saved[i])) ||
		    !knob_write(knob_names[i], self->saved[i]))
			SKIP(return, "cannot set %s: needs root",
			     knob_names[i]);
	for (i = 0; i < NR_KNOBS && knob_write(knob_names[i], knob_hurry[i]); i++)
		;
	/* A setup that fails has no teardown. */
	if (i < NR_KNOBS)
		knobs_restore(self->saved);
	ASSERT_EQ(NR_KNOBS, i);
}

FIXTURE_TEARDOWN_PARENT(khugepaged)
{
	knobs_restore(self->saved);
}

/* Until all of the mapping is huge pages. */
static bool wait_huge(struct huge_map *h)
{
	int polls;

	for (polls = 0; polls < POLLS; polls++) {
		/* An object's page tables are dropped, to be filled anew. */
		touch(h->map.base, TOUCH_READ);
		touch(map_page(&h->map, h->per), TOUCH_READ);
		if (huge_mapped_bytes(h->map.base) == (long)h->map.size)
			return true;
		usleep(20000);
	}
	return false;
}

static bool wait_object_huge(struct huge_map *h)
{
	int polls;

	for (polls = 0; polls < POLLS; polls++) {
		if (object_huge(h))
			return true;
		usleep(20000);
	}
	return false;
}

/* Until @n scans of everything have begun and ended. */
static bool wait_scans(int n)
{
	return knob_reaches(FULL_SCANS, knob_number(FULL_SCANS) + n + 1, POLLS);
}

TEST_F_TIMEOUT(khugepaged, by_itself, 280)
{
	struct huge_map *h = &self->h, *c = &self->control;
	size_t at = h->per / 2;
	int again;

	ASSERT_EQ(0, install_at(&h->map, at, 1));
	/*
	 * Twice: 6.19 decides whether the process is one for khugepaged by what
	 * the mapping was before the advice, if it is one of shared memory.
	 */
	for (again = 0; again < 2; again++) {
		ASSERT_EQ(0, madvise(h->map.base, h->map.size, MADV_HUGEPAGE));
		ASSERT_EQ(0, madvise(c->map.base, c->map.size, MADV_HUGEPAGE));
	}
	ASSERT_LE(0, knob_number(FULL_SCANS));
	ASSERT_TRUE(wait_huge(c));
	ASSERT_TRUE(wait_scans(3));

	EXPECT_TRUE(one_guard(h, at));
	EXPECT_TRUE(holds(h, h->per, h->per));
	EXPECT_TRUE(holds(c, 0, 2 * c->per));
	/* All pages are in use now. More scans: they change nothing. */
	ASSERT_TRUE(wait_scans(3));
	EXPECT_TRUE(one_guard(h, at));
	EXPECT_LE(huge_mapped_bytes(h->map.base), (long)h->hsz);
	/* It was made huge in the page cache, and our page table was left. */
	if (!backing_is_anon(variant->backing)) {
		EXPECT_TRUE(wait_object_huge(h));
		EXPECT_TRUE(one_guard(h, at));
	}
	ASSERT_EQ(0, guard_remove(h->map.base, h->map.size));
	EXPECT_EQ(0, pagemap_guards(h->map.base, h->map.size));
}

FLAG_HARNESS_MAIN
