// SPDX-License-Identifier: GPL-2.0
/*
 * Guard regions: what the other advices, holes, truncation, reclaim, KSM and
 * page migration do to one, which is nothing.
 */
#define _GNU_SOURCE
#include "guard_layout.h"
#include "guard_system.h"

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif
#ifndef FALLOC_FL_KEEP_SIZE
#define FALLOC_FL_KEEP_SIZE	0x01
#endif
#ifndef FALLOC_FL_PUNCH_HOLE
#define FALLOC_FL_PUNCH_HOLE	0x02
#endif

GUARD_FIXTURE(advice, NR_PAGES)
GUARD_VARIANTS_RW(advice);
GUARD_VARIANTS_RO(advice);

/* Backings with an object that can be truncated and punched. */
GUARD_FIXTURE(object, NR_PAGES)
GUARD_VARIANT(object, shmem_private, SHMEM_PRIVATE);
GUARD_VARIANT(object, shmem_shared, SHMEM_SHARED);
GUARD_VARIANT(object, file_private, FILE_PRIVATE);
GUARD_VARIANT(object, file_shared, FILE_SHARED);
GUARD_VARIANTS_RO(object);

static bool outside_discarded(struct guard_map *m)
{
	return map_discarded(m, 0, GUARD) &&
	       map_discarded(m, AFTER, NR_PAGES - AFTER);
}

/* Over everything, over nothing but guards, and over a part of them. */
static int advise_all_ways(struct guard_map *m, int advice)
{
	size_t psz = page_size();
	int ret;

	ret = sys_advise(m->base, m->size, advice);
	if (!ret)
		ret = sys_advise(map_page(m, GUARD), NR_GUARDS * psz, advice);
	if (!ret)
		ret = sys_advise(map_page(m, GUARD - 2), 3 * psz, advice);
	if (!ret)
		ret = sys_advise(map_page(m, AFTER - 1), 3 * psz, advice);
	return ret;
}

TEST_F(advice, dontneed)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	ASSERT_EQ(0, advise_all_ways(m, MADV_DONTNEED));
	EXPECT_TRUE(guards_survive(m));
	EXPECT_TRUE(outside_discarded(m));
	EXPECT_TRUE(guards_survive(m));
}

/* On a locked mapping, where MADV_DONTNEED is refused. */
TEST_F(advice, dontneed_locked)
{
	struct guard_map *m = &self->map;
	int ret;

	ASSERT_EQ(0, populate_with_guards(m));
	if (syscall(__NR_mlock2, m->base, m->size, MLOCK_ONFAULT))
		SKIP(return, "cannot lock memory: %s", strerror(errno));
	ret = advise_all_ways(m, MADV_DONTNEED_LOCKED);
	if (ret == -EINVAL)
		SKIP(return, "no MADV_DONTNEED_LOCKED in this kernel");
	ASSERT_EQ(0, ret);
	EXPECT_TRUE(guards_survive(m));
	EXPECT_TRUE(outside_discarded(m));
	EXPECT_TRUE(guards_survive(m));
}

/* Freed pages keep what they hold until reclaim wants them, or are zero. */
TEST_F(advice, free)
{
	struct guard_map *m = &self->map;
	size_t i;

	ASSERT_EQ(0, populate_with_guards(m));
	if (m->backing != ANON_PRIVATE) {
		EXPECT_EQ(-EINVAL, sys_advise(m->base, m->size, MADV_FREE));
		EXPECT_TRUE(guards_survive(m));
		EXPECT_TRUE(outside_intact(m));
		return;
	}
	ASSERT_EQ(0, advise_all_ways(m, MADV_FREE));
	EXPECT_TRUE(guards_survive(m));
	for (i = 0; i < NR_PAGES; i++)
		if (i < GUARD || i >= AFTER)
			EXPECT_TRUE(page_holds(map_page(m, i),
					       MEMORY_SEED + i) ||
				    page_holds(map_page(m, i), 0));

	/* And once reclaim did want them. */
	sys_advise(m->base, m->size, MADV_PAGEOUT);
	EXPECT_TRUE(guards_survive(m));
}

TEST_F(advice, cold)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	ASSERT_EQ(0, advise_all_ways(m, MADV_COLD));
	EXPECT_TRUE(guards_survive(m));
	EXPECT_TRUE(outside_intact(m));
}

/* Reclaim of the neighbours, dirty and clean. */
TEST_F(advice, pageout)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	ASSERT_EQ(0, advise_all_ways(m, MADV_PAGEOUT));
	EXPECT_TRUE(guards_survive(m));
	EXPECT_TRUE(outside_intact(m));

	if (m->write_fd >= 0)
		fsync(m->write_fd);
	ASSERT_EQ(0, advise_all_ways(m, MADV_PAGEOUT));
	EXPECT_TRUE(guards_survive(m));
	EXPECT_TRUE(outside_intact(m));
	EXPECT_TRUE(guards_survive(m));
}

TEST_F(advice, willneed)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	ASSERT_EQ(0, madvise(m->base, m->size, MADV_DONTNEED));
	/* -EBADF: what the kernel says of anonymous memory without swap. */
	if (sys_advise(m->base, m->size, MADV_WILLNEED))
		EXPECT_TRUE(m->backing == ANON_PRIVATE);
	EXPECT_TRUE(guards_survive(m));
	EXPECT_TRUE(outside_discarded(m));
	EXPECT_TRUE(guards_survive(m));
}

/* Advices that change the VMA: the guards and the contents stay. */
TEST_F(advice, vma_hints)
{
	static const struct {
		int set, clear;
		const char *name;
		bool may_fail;		/* configuration, or kind of mapping */
	} hints[] = {
		{ MADV_RANDOM, MADV_NORMAL, "MADV_RANDOM", false },
		{ MADV_SEQUENTIAL, MADV_NORMAL, "MADV_SEQUENTIAL", false },
		{ MADV_DONTFORK, MADV_DOFORK, "MADV_DONTFORK", false },
		{ MADV_DONTDUMP, MADV_DODUMP, "MADV_DONTDUMP", false },
		{ MADV_HUGEPAGE, MADV_NOHUGEPAGE, "MADV_HUGEPAGE", true },
		{ MADV_MERGEABLE, MADV_UNMERGEABLE, "MADV_MERGEABLE", true },
		{ MADV_WIPEONFORK, MADV_KEEPONFORK, "MADV_WIPEONFORK", true },
	};
	struct guard_map *m = &self->map;
	size_t psz = page_size(), i;

	ASSERT_EQ(0, populate_with_guards(m));
	for (i = 0; i < ARRAY_SIZE(hints); i++) {
		int ret = sys_advise(m->base, m->size, hints[i].set);

		if (!hints[i].may_fail)
			EXPECT_EQ(0, ret);
		EXPECT_TRUE(guards_survive(m) && outside_intact(m)) {
			TH_LOG("after %s", hints[i].name);
		}
		if (ret)
			continue;
		/* Back, in the half that ends between two guards first. */
		EXPECT_EQ(0, sys_advise(m->base, (GUARD + 2) * psz,
					hints[i].clear));
		EXPECT_TRUE(guards_survive(m) && outside_intact(m)) {
			TH_LOG("after half of %s undone", hints[i].name);
		}
		EXPECT_EQ(0, sys_advise(m->base, m->size, hints[i].clear));
		EXPECT_TRUE(guards_survive(m) && outside_intact(m)) {
			TH_LOG("after %s undone", hints[i].name);
		}
	}
	EXPECT_EQ(1, vma_count(m->base, m->size));
}

/* Populating stops at a guard, with what is before it populated. */
TEST_F(advice, populate_read)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size(), i;
	int ret;

	ret = sys_advise(m->base, psz, MADV_POPULATE_READ);
	if (ret == -EINVAL)
		SKIP(return, "no MADV_POPULATE_READ in this kernel");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, guard_install(map_page(m, GUARD), NR_GUARDS * psz));

	EXPECT_EQ(-EFAULT, sys_advise(m->base, m->size, MADV_POPULATE_READ));
	EXPECT_EQ(GUARD, range_present(m->base, GUARD * psz));
	EXPECT_TRUE(guards_survive(m));
	for (i = GUARD; i < AFTER; i++)
		EXPECT_EQ(-EFAULT, sys_advise(map_page(m, i), psz,
					      MADV_POPULATE_READ));
	EXPECT_EQ(0, sys_advise(map_page(m, AFTER), (NR_PAGES - AFTER) * psz,
				MADV_POPULATE_READ));
	EXPECT_TRUE(guards_survive(m));
	for (i = 0; i < NR_PAGES; i++)
		if (i < GUARD || i >= AFTER)
			EXPECT_TRUE(page_holds(map_page(m, i),
					       map_fresh_seed(m, i)));
}

TEST_F(advice, populate_write)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size(), i;
	int ret;

	ret = sys_advise(m->base, psz, MADV_POPULATE_READ);
	if (ret == -EINVAL)
		SKIP(return, "no MADV_POPULATE_WRITE in this kernel");
	ASSERT_EQ(0, guard_install(map_page(m, GUARD), NR_GUARDS * psz));

	ret = sys_advise(m->base, m->size, MADV_POPULATE_WRITE);
	if (m->prot & PROT_WRITE) {
		EXPECT_EQ(-EFAULT, ret);
		EXPECT_EQ(GUARD, range_present(m->base, GUARD * psz));
		EXPECT_EQ(0, sys_advise(map_page(m, AFTER),
					(NR_PAGES - AFTER) * psz,
					MADV_POPULATE_WRITE));
	} else {
		EXPECT_EQ(-EINVAL, ret);
	}
	EXPECT_TRUE(guards_survive(m));
	for (i = GUARD; i < AFTER; i++)
		EXPECT_NE(0, sys_advise(map_page(m, i), psz,
					MADV_POPULATE_WRITE));
	EXPECT_TRUE(guards_survive(m));
	for (i = 0; i < NR_PAGES; i++)
		if (i < GUARD || i >= AFTER)
			EXPECT_TRUE(page_holds(map_page(m, i),
					       map_fresh_seed(m, i)));
}

/* MADV_REMOVE: a hole in the object, for shared and writable mappings. */
TEST_F(advice, remove_hole)
{
	struct guard_map *m = &self->map;
	int ret;

	ASSERT_EQ(0, populate_with_guards(m));
	ret = sys_advise(m->base, m->size, MADV_REMOVE);
	if (!backing_is_shared(m->backing) || !(m->prot & PROT_WRITE)) {
		EXPECT_NE(0, ret);
		EXPECT_TRUE(guards_survive(m));
		EXPECT_TRUE(outside_intact(m));
		return;
	}
	if (ret == -EOPNOTSUPP)
		SKIP(return, "this file system punches no holes");
	ASSERT_EQ(0, ret);
	EXPECT_TRUE(guards_survive(m));
	EXPECT_TRUE(range_holds(m->base, GUARD, 0));
	EXPECT_TRUE(range_holds(map_page(m, AFTER), NR_PAGES - AFTER, 0));
	EXPECT_TRUE(guards_survive(m));

	/* The object has the hole under the guards, too. */
	ASSERT_EQ(0, guard_remove(m->base, m->size));
	EXPECT_TRUE(range_holds(m->base, NR_PAGES, 0));
}

static int punch(struct guard_map *m, size_t first, size_t n)
{
	return fallocate(m->write_fd,
			 FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 first * page_size(), n * page_size()) ? -errno : 0;
}

/*
 * A hole punched through the descriptor. Pages of a private mapping's own are
 * left in place by it; those that it had from the object are not.
 */
TEST_F(object, hole_punch)
{
	struct guard_map *m = &self->map;
	bool own = !backing_is_shared(m->backing) && (m->prot & PROT_WRITE);
	int ret;

	ASSERT_EQ(0, populate_with_guards(m));
	ret = punch(m, GUARD - 2, NR_GUARDS + 3);
	if (ret == -EOPNOTSUPP)
		SKIP(return, "this file system punches no holes");
	ASSERT_EQ(0, ret);
	EXPECT_TRUE(guards_survive(m));
	EXPECT_TRUE(map_populated_intact(m, 0, GUARD - 2));
	EXPECT_TRUE(map_populated_intact(m, AFTER + 1, NR_PAGES - AFTER - 1));
	if (own) {
		EXPECT_TRUE(map_populated_intact(m, GUARD - 2, 2));
		EXPECT_TRUE(map_populated_intact(m, AFTER, 1));
	} else {
		EXPECT_TRUE(range_holds(map_page(m, GUARD - 2), 2, 0));
		EXPECT_TRUE(range_holds(map_page(m, AFTER), 1, 0));
	}

	/* Under guards only. */
	ASSERT_EQ(0, punch(m, GUARD, NR_GUARDS));
	EXPECT_TRUE(guards_survive(m));
	ASSERT_EQ(0, guard_remove(m->base, m->size));
	EXPECT_TRUE(range_holds(map_page(m, GUARD), NR_GUARDS, 0));
}

/*
 * Beyond the end of the object a page is SIGBUS and a guard is a guard. When
 * the object grows again, pages are zero and guards still there.
 */
TEST_F(object, truncate_to_nothing)
{
	struct guard_map *m = &self->map;
	size_t i;

	ASSERT_EQ(0, populate_with_guards(m));
	ASSERT_EQ(0, ftruncate(m->write_fd, 0));
	EXPECT_TRUE(guards_survive(m));
	for (i = 0; i < NR_PAGES; i++)
		if (i < GUARD || i >= AFTER)
			EXPECT_EQ(SIGBUS,
				  touch(map_page(m, i), TOUCH_READ).signo);
	EXPECT_TRUE(guards_survive(m));

	ASSERT_EQ(0, ftruncate(m->write_fd, m->size));
	EXPECT_TRUE(guards_survive(m));
	EXPECT_TRUE(range_holds(m->base, GUARD, 0));
	EXPECT_TRUE(range_holds(map_page(m, AFTER), NR_PAGES - AFTER, 0));
	EXPECT_TRUE(guards_survive(m));
	ASSERT_EQ(0, guard_remove(m->base, m->size));
	EXPECT_TRUE(range_holds(m->base, NR_PAGES, 0));
}

/* An end between two guards, within a page. */
TEST_F(object, truncate_among_guards)
{
	struct guard_map *m = &self->map;
	size_t end = (GUARD + 1) * page_size() + 100, i;

	ASSERT_EQ(0, populate_with_guards(m));
	ASSERT_EQ(0, ftruncate(m->write_fd, end));
	EXPECT_TRUE(guards_survive(m));
	EXPECT_TRUE(map_populated_intact(m, 0, GUARD));
	for (i = AFTER; i < NR_PAGES; i++)
		EXPECT_EQ(SIGBUS, touch(map_page(m, i), TOUCH_READ).signo);
	ASSERT_EQ(0, ftruncate(m->write_fd, m->size));
	EXPECT_TRUE(guards_survive(m));
	EXPECT_TRUE(range_holds(map_page(m, AFTER), NR_PAGES - AFTER, 0));
	EXPECT_TRUE(guards_survive(m));
}

/* The page cache beneath goes and comes back. */
TEST_F(object, page_cache_dropped)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	ASSERT_EQ(0, fsync(m->write_fd));
	ASSERT_EQ(0, madvise(m->base, m->size, MADV_DONTNEED));
	posix_fadvise(m->write_fd, 0, 0, POSIX_FADV_DONTNEED);
	EXPECT_TRUE(guards_survive(m));
	EXPECT_TRUE(outside_discarded(m));
	EXPECT_TRUE(guards_survive(m));
	ASSERT_EQ(0, guard_remove(m->base, m->size));
	EXPECT_TRUE(map_discarded(m, GUARD, NR_GUARDS));
}

TEST_F(advice, mincore)
{
	struct guard_map *m = &self->map;
	unsigned char vec[NR_PAGES];
	size_t i;

	ASSERT_EQ(0, populate_with_guards(m));
	memset(vec, 0xaa, sizeof(vec));
	ASSERT_EQ(0, mincore(m->base, m->size, vec));
	for (i = 0; i < NR_PAGES; i++) {
		if (i < GUARD || i >= AFTER) {
			EXPECT_EQ(1, vec[i] & 1);
		} else if (m->backing == ANON_PRIVATE) {
			/* Else the page cache may be asked, and have it. */
			EXPECT_EQ(0, vec[i] & 1);
		}
	}
	EXPECT_TRUE(guards_survive(m));
	EXPECT_TRUE(outside_intact(m));
}

/* What would take a page out of use finds none. */
TEST_F(advice, memory_failure)
{
	static const int advices[] = { MADV_SOFT_OFFLINE, MADV_HWPOISON };
	struct guard_map *m = &self->map;
	size_t i, j;

	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_EQ(0, populate_with_guards(m));
	for (i = 0; i < ARRAY_SIZE(advices); i++) {
		for (j = GUARD; j < AFTER; j++) {
			int ret = sys_advise(map_page(m, j), page_size(),
					     advices[i]);

			if (ret == -EINVAL || ret == -EPERM)
				SKIP(return, "no memory failure handling in this kernel");
			EXPECT_EQ(-EFAULT, ret);
		}
		EXPECT_TRUE(guards_survive(m));
	}
	EXPECT_TRUE(outside_intact(m));
}

#ifndef MPOL_PREFERRED
#define MPOL_DEFAULT		0
#define MPOL_PREFERRED		1
#define MPOL_MF_STRICT		(1 << 0)
#define MPOL_MF_MOVE		(1 << 1)
#endif

/* Page migration: asked where the pages are, and told to move them. */
TEST_F(advice, migration)
{
	struct guard_map *m = &self->map;
	unsigned long node0 = 1;
	void *pages[NR_PAGES];
	int status[NR_PAGES], nodes[NR_PAGES] = { 0 };
	size_t i;

	ASSERT_EQ(0, populate_with_guards(m));
	for (i = 0; i < NR_PAGES; i++)
		pages[i] = map_page(m, i);
	if (syscall(__NR_move_pages, 0, (unsigned long)NR_PAGES, pages, NULL,
		    status, 0))
		SKIP(return, "move_pages(): %s", strerror(errno));
	for (i = 0; i < NR_PAGES; i++) {
		if (i < GUARD || i >= AFTER) {
			EXPECT_LE(0, status[i]);
		} else {
			EXPECT_GT(0, status[i]);
		}
	}
	syscall(__NR_move_pages, 0, (unsigned long)NR_PAGES, pages, nodes,
		status, MPOL_MF_MOVE);
	for (i = GUARD; i < AFTER; i++)
		EXPECT_GT(0, status[i]);
	EXPECT_TRUE(guards_survive(m));

	/* Walks the page tables, and queues what is not where it should be. */
	syscall(__NR_mbind, m->base, m->size, MPOL_PREFERRED, &node0, 8UL,
		MPOL_MF_STRICT | MPOL_MF_MOVE);
	EXPECT_TRUE(guards_survive(m));
	syscall(__NR_mbind, m->base, m->size, MPOL_DEFAULT, NULL, 0UL, 0);
	EXPECT_TRUE(guards_survive(m));
	EXPECT_TRUE(outside_intact(m));
}

/* Compaction migrates what it can; page tables with markers are no harm. */
TEST_F(advice, compaction)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	if (!knob_write("/proc/sys/vm/compact_memory", "1"))
		SKIP(return, "cannot ask for compaction: needs root and CONFIG_COMPACTION");
	EXPECT_TRUE(guards_survive(m));
	EXPECT_TRUE(outside_intact(m));
}

/*
 * KSM: equal pages around guards are merged, the guards are left. The switch
 * is the system's: put back as it was.
 */
#define KSM_KNOB(name)	"/sys/kernel/mm/ksm/" name

FIXTURE(ksm) {
	struct guard_map map;
	char run[16], sleep[16], scan[16];
};

FIXTURE_SETUP(ksm)
{
	if (!guard_supported(ANON_PRIVATE))
		SKIP(return, "%s", guard_reason);
	if (!knob_read(KSM_KNOB("run"), self->run, sizeof(self->run)))
		SKIP(return, "no KSM in this kernel");
	knob_read(KSM_KNOB("sleep_millisecs"), self->sleep, 16);
	knob_read(KSM_KNOB("pages_to_scan"), self->scan, 16);
	ASSERT_TRUE(map_make(&self->map, ANON_PRIVATE, NR_PAGES));
	if (!knob_write(KSM_KNOB("run"), "1"))
		SKIP(return, "needs root to switch KSM on");
	knob_write(KSM_KNOB("sleep_millisecs"), "0");
	knob_write(KSM_KNOB("pages_to_scan"), "1000");
}

FIXTURE_TEARDOWN_PARENT(ksm)
{
	knob_write(KSM_KNOB("run"), self->run);
	knob_write(KSM_KNOB("sleep_millisecs"), self->sleep);
	knob_write(KSM_KNOB("pages_to_scan"), self->scan);
}

TEST_F_TIMEOUT(ksm, merges_around, 120)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size(), i;
	long seen;

	for (i = 0; i < NR_PAGES; i++)
		page_fill(map_page(m, i), 4711);
	ASSERT_EQ(0, guard_install(map_page(m, GUARD), NR_GUARDS * psz));
	ASSERT_EQ(0, madvise(m->base, m->size, MADV_MERGEABLE));

	/* A page is merged in the second full scan that finds it. */
	seen = knob_number(KSM_KNOB("full_scans"));
	ASSERT_LE(0, seen);
	ASSERT_TRUE(knob_reaches(KSM_KNOB("full_scans"), seen + 4, 3000));
	EXPECT_TRUE(guards_survive(m));
	for (i = 0; i < NR_PAGES; i++)
		if (i < GUARD || i >= AFTER)
			EXPECT_TRUE(page_holds(map_page(m, i), 4711));

	/* Over merged pages, and what was merged is taken apart again. */
	ASSERT_EQ(0, guard_install(map_page(m, 2), 2 * psz));
	ASSERT_EQ(0, madvise(m->base, m->size, MADV_UNMERGEABLE));
	EXPECT_TRUE(guards_survive(m));
	EXPECT_TRUE(map_guarded(m, 2, 2));
	EXPECT_TRUE(page_holds(map_page(m, 1), 4711));
	EXPECT_TRUE(page_holds(map_page(m, 4), 4711));
	ASSERT_EQ(0, guard_remove(m->base, m->size));
	EXPECT_TRUE(range_holds(map_page(m, GUARD), NR_GUARDS, 0));
}

/*
 * Collapsing: a range with a guard in it is never made one huge page, nor is
 * a page table that holds a guard dropped for one.
 */
FIXTURE(collapse) {
	struct guard_map map;
	size_t hsz, per;
};

FIXTURE_VARIANT(collapse) {
	enum backing backing;
};

GUARD_VARIANT(collapse, anon_private, ANON_PRIVATE);
GUARD_VARIANT(collapse, anon_shared, ANON_SHARED);
GUARD_VARIANT(collapse, shmem_private, SHMEM_PRIVATE);
GUARD_VARIANT(collapse, shmem_shared, SHMEM_SHARED);
GUARD_VARIANTS_RO(collapse);

/* 0, 1 with guard_reason set when it cannot be tested, or -errno. */
static int collapse_prepare(struct guard_map *m, enum backing b, size_t *hsz,
			    size_t *per)
{
	int ret;

	if (!guard_supported(b))
		return 1;
	*hsz = huge_page_size();
	if (!*hsz) {
		guard_set_reason("no transparent huge pages in this kernel");
		return 1;
	}
	*per = *hsz / page_size();
	if (!map_make_aligned(m, b, 2 * *per, *hsz))
		return 1;
	map_close_writable(m);
	/* Pages of a private mapping's own would be in the way: only read. */
	if (b == SHMEM_PRIVATE)
		m->prot = PROT_READ;
	/* The second half is there to tell whether it can be done at all. */
	map_populate(m, *per, *per);
	ret = sys_collapse(map_page(m, *per), *hsz);
	if (ret == -EINVAL) {
		guard_set_reason("no MADV_COLLAPSE of such a mapping");
		return 1;
	}
	return ret;
}

FIXTURE_SETUP(collapse)
{
	int ret = collapse_prepare(&self->map, variant->backing, &self->hsz,
				   &self->per);

	if (ret > 0)
		SKIP(return, "%s", guard_reason);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(collapse)
{
	map_free(&self->map);
}

static bool nothing_collapsed(struct guard_map *m, size_t per, size_t at)
{
	/* Only the second half may be mapped huge. */
	return !page_present(map_page(m, at)) && map_guarded(m, at, 1) &&
	       huge_mapped_bytes(m->base) <= (long)(per * page_size());
}

/* A guard among populated pages: at the start, in the middle, at the end. */
TEST_F_TIMEOUT(collapse, populated, 120)
{
	struct guard_map *m = &self->map;
	const size_t where[] = { 0, self->per / 2 + 1, self->per - 1 };
	size_t i, at, again;

	for (i = 0; i < ARRAY_SIZE(where); i++) {
		at = where[i];
		map_populate(m, 0, self->per);
		ASSERT_EQ(0, guard_install(map_page(m, at), page_size()));
		for (again = 0; again < 3; again++) {
			EXPECT_NE(0, sys_advise(m->base, self->hsz,
						MADV_COLLAPSE)) {
				TH_LOG("guard at page %zu, try %zu", at, again);
			}
			EXPECT_TRUE(nothing_collapsed(m, self->per, at));
		}
		EXPECT_TRUE(map_populated_intact(m, 0, at));
		EXPECT_TRUE(map_populated_intact(m, at + 1,
						 self->per - at - 1));
		EXPECT_TRUE(nothing_collapsed(m, self->per, at));
		ASSERT_EQ(0, guard_remove(m->base, self->hsz));
		EXPECT_TRUE(map_discarded(m, at, 1));
	}
}

/* Guards, and nothing else mapped in the page table. */
TEST_F_TIMEOUT(collapse, guards_only, 120)
{
	struct guard_map *m = &self->map;
	size_t at = self->per / 2, again;

	ASSERT_EQ(0, guard_install(map_page(m, at), page_size()));
	for (again = 0; again < 3; again++) {
		EXPECT_NE(0, sys_advise(m->base, self->hsz, MADV_COLLAPSE)) {
			TH_LOG("try %zu", again);
		}
		EXPECT_TRUE(nothing_collapsed(m, self->per, at));
	}
	ASSERT_EQ(0, guard_install(m->base, self->hsz));
	EXPECT_NE(0, sys_advise(m->base, self->hsz, MADV_COLLAPSE));
	EXPECT_TRUE(map_guarded(m, 0, 1));
	EXPECT_TRUE(nothing_collapsed(m, self->per, at));
	EXPECT_TRUE(map_guarded(m, self->per - 1, 1));
}

/*
 * Shared memory collapsed through another mapping of it, which has no guards:
 * the page tables of ours must outlive that.
 */
FIXTURE(collapse_object) {
	struct guard_map map;
	size_t hsz, per;
};

FIXTURE_VARIANT(collapse_object) {
	enum backing backing;
};

GUARD_VARIANT(collapse_object, shmem_private, SHMEM_PRIVATE);
GUARD_VARIANT(collapse_object, shmem_shared, SHMEM_SHARED);
GUARD_VARIANTS_RO(collapse_object);

FIXTURE_SETUP(collapse_object)
{
	int ret = collapse_prepare(&self->map, variant->backing, &self->hsz,
				   &self->per);

	if (ret > 0)
		SKIP(return, "%s", guard_reason);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(collapse_object)
{
	map_free(&self->map);
}

TEST_F_TIMEOUT(collapse_object, through_another_mapping, 120)
{
	struct guard_map *m = &self->map;
	size_t at = self->per / 2;
	char *view = object_view(m->fd, self->hsz);

	ASSERT_NE(NULL, view);
	ASSERT_TRUE(range_readable(view, self->hsz));

	ASSERT_EQ(0, guard_install(map_page(m, at), page_size()));
	EXPECT_EQ(0, sys_collapse(view, self->hsz));
	EXPECT_TRUE(nothing_collapsed(m, self->per, at));
	EXPECT_TRUE(page_holds(map_page(m, at - 1), OBJECT_SEED + at - 1));
	EXPECT_TRUE(page_holds(map_page(m, at + 1), OBJECT_SEED + at + 1));
	EXPECT_TRUE(nothing_collapsed(m, self->per, at));
	munmap(view, self->hsz);
}

/*
 * Swap, in a file of the test's own. The walk of swapoff(2) meets the markers
 * among the swapped pages.
 */
FIXTURE(swap) {
	struct guard_map map;
	char path[PATH_MAX];
};

FIXTURE_VARIANT(swap) {
	enum backing backing;
};

GUARD_VARIANT(swap, anon_private, ANON_PRIVATE);
GUARD_VARIANT(swap, anon_shared, ANON_SHARED);
GUARD_VARIANT(swap, shmem_private, SHMEM_PRIVATE);
GUARD_VARIANT(swap, shmem_shared, SHMEM_SHARED);
GUARD_VARIANT(swap, file_private, FILE_PRIVATE);

FIXTURE_SETUP(swap)
{
	if (!guard_supported(variant->backing) ||
	    !map_make(&self->map, variant->backing, NR_PAGES))
		SKIP(return, "%s", guard_reason);
	ASSERT_EQ(0, stay_on_cpu());
	if (!swap_on(self->path, sizeof(self->path), 64))
		SKIP(return, "%s", guard_reason);
}

FIXTURE_TEARDOWN_PARENT(swap)
{
	swap_off(self->path);
}

TEST_F_TIMEOUT(swap, pages_swapped_out, 120)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	ASSERT_TRUE(pages_out(m, NR_PAGES - NR_GUARDS));
	EXPECT_TRUE(guards_survive(m));

	/* Install over swapped pages; the others come in again unharmed. */
	ASSERT_EQ(0, guard_install(map_page(m, 2), 2 * page_size()));
	EXPECT_TRUE(map_guarded(m, 2, 2));
	EXPECT_TRUE(map_populated_intact(m, 0, 2));
	EXPECT_TRUE(map_populated_intact(m, 4, GUARD - 4));
	EXPECT_TRUE(guards_survive(m));
	ASSERT_EQ(0, guard_remove(map_page(m, 2), 2 * page_size()));
	EXPECT_TRUE(map_discarded(m, 2, 2));
}

TEST_F_TIMEOUT(swap, swapoff_meets_guards, 120)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	ASSERT_TRUE(pages_out(m, NR_PAGES - NR_GUARDS));
	ASSERT_EQ(0, swapoff(self->path));
	EXPECT_TRUE(guards_survive(m));
	EXPECT_TRUE(outside_intact(m));
	ASSERT_EQ(0, guard_remove(m->base, m->size));
	EXPECT_TRUE(map_discarded(m, GUARD, NR_GUARDS));
}

GUARD_HARNESS_MAIN
