// SPDX-License-Identifier: GPL-2.0
/*
 * Guard regions: VM_MAYBE_GUARD, seen as `gu` in smaps. When it is set and when
 * not, which VMAs have it after a split or a move, and that fork goes by it:
 * the guards of a file mapping are in the page tables and nowhere else.
 */
#define _GNU_SOURCE
#include "guard_flag.h"
#include "guard_layout.h"
#include "guard_system.h"

#include <elf.h>
#include <link.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define GUARDS		pages_mask(GUARD, NR_GUARDS)

FLAG_FIXTURE(flag, NR_PAGES)
GUARD_VARIANTS_RW(flag);
GUARD_VARIANTS_RO(flag);

TEST_F(flag, absent_before)
{
	struct guard_map *m = &self->map;

	EXPECT_FALSE(flag_set(m->base));
	map_populate(m, 0, NR_PAGES);
	EXPECT_FALSE(flag_set(m->base));
	ASSERT_EQ(0, madvise(m->base, m->size, MADV_DONTNEED));
	EXPECT_FALSE(flag_set(m->base));
	/* There is nothing to remove, and nothing is put in. */
	ASSERT_EQ(0, guard_remove(m->base, m->size));
	EXPECT_FALSE(flag_set(m->base));
}

TEST_F(flag, present_after_install)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, install_at(m, GUARD, 1));
	EXPECT_TRUE(flag_set(m->base));
	EXPECT_TRUE(flag_set(map_page(m, GUARD)));
	EXPECT_TRUE(flag_set(map_page(m, NR_PAGES - 1)));
	EXPECT_EQ(1, vma_count(m->base, m->size));
	EXPECT_TRUE(map_guards_are(m, pages_mask(GUARD, 1)));
}

TEST_F(flag, present_after_install_over_pages)
{
	struct guard_map *m = &self->map;

	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, guard_install(m->base, m->size));
	EXPECT_TRUE(flag_set(m->base));
	EXPECT_EQ(1, vma_count(m->base, m->size));
	EXPECT_TRUE(map_guards_are(m, pages_mask(0, NR_PAGES)));
}

/* It says "may": nobody looks whether that was the last guard. */
TEST_F(flag, kept_after_remove)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, install_at(m, GUARD, NR_GUARDS));
	ASSERT_EQ(0, guard_remove(m->base, m->size));
	EXPECT_TRUE(flag_set(m->base));
	EXPECT_TRUE(map_guards_are(m, 0));
	EXPECT_TRUE(map_rest_fresh(m, 0));
	EXPECT_TRUE(flag_set(m->base));
}

/* No length, nothing installed. */
TEST_F(flag, absent_after_empty_install)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, guard_install(m->base, 0));
	EXPECT_FALSE(flag_set(m->base));
	EXPECT_EQ(-EINVAL, guard_install(m->base + 1, page_size()));
	EXPECT_FALSE(flag_set(m->base));
}

/* Of a locked mapping the install is refused for what it is. */
TEST_F(flag, absent_after_refusal)
{
	struct guard_map *m = &self->map;

	if (syscall(__NR_mlock2, m->base, m->size, MLOCK_ONFAULT))
		SKIP(return, "cannot lock memory: %s", strerror(errno));
	EXPECT_EQ(-EINVAL, guard_install(m->base, m->size));
	EXPECT_FALSE(flag_set(m->base));
	ASSERT_EQ(0, munlock(m->base, m->size));
	EXPECT_FALSE(flag_set(m->base));
}

/* What is on either side of a hole has been done. */
TEST_F(flag, install_across_hole)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, munmap(map_page(m, GUARD), page_size()));
	EXPECT_FALSE(flag_set(m->base));
	EXPECT_EQ(-ENOMEM, install_at(m, GUARD - 1, 3));
	EXPECT_TRUE(flag_set(m->base));
	EXPECT_TRUE(flag_set(map_page(m, GUARD + 1)));
	EXPECT_TRUE(page_guarded(map_page(m, GUARD - 1)));
	EXPECT_TRUE(page_guarded(map_page(m, GUARD + 1)));
}

/*
 * Each VMA for itself:
 *
 *   | no flag | install | no flag |   then   | install across both borders |
 */
TEST_F(flag, only_where_installed)
{
	struct guard_map *m = &self->map;
	char *middle = map_page(m, GUARD), *right = map_page(m, AFTER);

	ASSERT_EQ(0, mprotect(middle, NR_GUARDS * page_size(), PROT_NONE));
	ASSERT_EQ(3, vma_count(m->base, m->size));
	ASSERT_EQ(0, install_at(m, GUARD, NR_GUARDS));
	EXPECT_FALSE(flag_set(m->base));
	EXPECT_TRUE(flag_set(middle));
	EXPECT_FALSE(flag_set(right));

	ASSERT_EQ(0, install_at(m, GUARD - 1, NR_GUARDS + 2));
	EXPECT_EQ(3, vma_count(m->base, m->size));
	EXPECT_TRUE(flag_set(m->base));
	EXPECT_TRUE(flag_set(right));
	EXPECT_TRUE(map_guards_are(m, pages_mask(GUARD - 1, NR_GUARDS + 2)));
}

/* Split, whichever part the guards are in: all parts have it. */
TEST_F(flag, parts_after_split)
{
	static const size_t where[] = { 0, GUARD, NR_PAGES - 1 };
	struct guard_map *m = &self->map;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(where); i++) {
		ASSERT_TRUE(map_again(m));
		ASSERT_FALSE(flag_set(m->base));
		ASSERT_EQ(0, install_at(m, where[i], 1));
		ASSERT_EQ(0, mprotect(map_page(m, 8), 8 * page_size(),
				      PROT_NONE));
		ASSERT_EQ(3, vma_count(m->base, m->size));
		EXPECT_TRUE(flag_set(m->base));
		EXPECT_TRUE(flag_set(map_page(m, 8)));
		EXPECT_TRUE(flag_set(map_page(m, 16)));
		EXPECT_TRUE(map_guards_are(m, 1U << where[i])) {
			TH_LOG("guard at page %zu", where[i]);
		}
	}
}

/* Split by taking out the middle, which need not be where the guard is. */
TEST_F(flag, halves_after_unmap)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, install_at(m, 1, 1));
	ASSERT_EQ(0, munmap(map_page(m, GUARD), page_size()));
	EXPECT_TRUE(flag_set(m->base));
	EXPECT_TRUE(flag_set(map_page(m, GUARD + 1)));
	EXPECT_TRUE(page_guarded(map_page(m, 1)));
}

/* A mapping over all of it is a new one. */
TEST_F(flag, absent_after_mapping_over)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, guard_install(m->base, m->size));
	ASSERT_TRUE(flag_set(m->base));
	ASSERT_TRUE(map_again(m));
	EXPECT_FALSE(flag_set(m->base));
	EXPECT_TRUE(map_guards_are(m, 0));
	EXPECT_TRUE(map_rest_fresh(m, 0));
}

/* No other advice, protection or lock takes it away. */
TEST_F(flag, survives_advice)
{
	static const int advices[] = {
		MADV_RANDOM, MADV_SEQUENTIAL, MADV_NORMAL, MADV_WILLNEED,
		MADV_DONTNEED, MADV_DONTFORK, MADV_DOFORK, MADV_DONTDUMP,
		MADV_DODUMP, MADV_COLD, MADV_PAGEOUT, MADV_FREE,
		MADV_MERGEABLE, MADV_UNMERGEABLE,
		MADV_HUGEPAGE, MADV_NOHUGEPAGE,
	};
	struct guard_map *m = &self->map;
	size_t i;

	ASSERT_EQ(0, install_at(m, GUARD, NR_GUARDS));
	for (i = 0; i < ARRAY_SIZE(advices); i++) {
		/* Not all of them are for all mappings. */
		madvise(m->base, m->size, advices[i]);
		EXPECT_TRUE(flag_set(m->base)) {
			TH_LOG("advice %d", advices[i]);
		}
	}
	ASSERT_EQ(0, mprotect(m->base, m->size, PROT_NONE));
	EXPECT_TRUE(flag_set(m->base));
	ASSERT_EQ(0, mprotect(m->base, m->size, m->prot));
	EXPECT_TRUE(flag_set(m->base));
	if (!syscall(__NR_mlock2, m->base, m->size, MLOCK_ONFAULT)) {
		EXPECT_TRUE(flag_set(m->base));
		ASSERT_EQ(0, munlock(m->base, m->size));
		EXPECT_TRUE(flag_set(m->base));
	}
	EXPECT_EQ(1, vma_count(m->base, m->size));
	EXPECT_TRUE(map_guards_are(m, GUARDS));
}

/* A place with a free page before it and one after. */
static char *free_place(size_t len)
{
	char *p = mmap(NULL, len + 2 * page_size(), PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	munmap(p, len + 2 * page_size());
	return p + page_size();
}

static int move_to(struct guard_map *m, char *to)
{
	if (!to || mremap(m->base, m->size, m->size,
			  MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
		return -1;
	m->base = to;
	return 0;
}

TEST_F(flag, moved)
{
	struct guard_map moved = self->map;

	ASSERT_EQ(0, install_at(&moved, GUARD, NR_GUARDS));
	ASSERT_EQ(0, move_to(&moved, free_place(moved.size)));
	EXPECT_TRUE(flag_set(moved.base));
	EXPECT_EQ(1, vma_count(moved.base, moved.size));
	EXPECT_TRUE(map_guards_are(&moved, GUARDS));
	munmap(moved.base, moved.size);
}

TEST_F(flag, moved_part)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();
	char *to = free_place(2 * psz);

	ASSERT_NE(NULL, to);
	ASSERT_EQ(0, install_at(m, GUARD, NR_GUARDS));
	ASSERT_EQ(to, mremap(map_page(m, GUARD + 1), 2 * psz, 2 * psz,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_TRUE(flag_set(to));
	EXPECT_TRUE(range_guarded(to, 2 * psz));
	EXPECT_TRUE(flag_set(m->base));
	EXPECT_TRUE(flag_set(map_page(m, GUARD + 3)));
	EXPECT_TRUE(page_guarded(map_page(m, GUARD)));
	EXPECT_TRUE(page_guarded(map_page(m, GUARD + 3)));
	munmap(to, 2 * psz);
}

TEST_F(flag, moved_dontunmap)
{
	struct guard_map *m = &self->map;
	struct guard_map moved = *m;

	ASSERT_EQ(0, install_at(m, GUARD, NR_GUARDS));
	moved.base = mremap(m->base, m->size, m->size,
			    MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	if (moved.base == MAP_FAILED && errno == EINVAL)
		SKIP(return, "no MREMAP_DONTUNMAP of such a mapping");
	ASSERT_NE(MAP_FAILED, moved.base);
	EXPECT_TRUE(flag_set(moved.base));
	EXPECT_TRUE(map_guards_are(&moved, GUARDS));
	/* The old one is empty; its flag may be what it likes. */
	EXPECT_TRUE(map_guards_are(m, 0));
	munmap(moved.base, moved.size);
}

TEST_F(flag, shrunk_and_expanded)
{
	struct guard_map *m = &self->map;
	size_t kept = AFTER * page_size();

	ASSERT_EQ(0, install_at(m, GUARD, NR_GUARDS));
	ASSERT_EQ(m->base, mremap(m->base, m->size, kept, 0));
	EXPECT_TRUE(flag_set(m->base));
	ASSERT_EQ(m->base, mremap(m->base, kept, m->size, 0));
	EXPECT_TRUE(flag_set(m->base));
	EXPECT_TRUE(flag_set(map_page(m, NR_PAGES - 1)));
	EXPECT_EQ(1, vma_count(m->base, m->size));
	EXPECT_TRUE(map_guards_are(m, GUARDS));
	EXPECT_TRUE(map_rest_fresh(m, GUARDS));
}

/*
 * Fork. The mapping is at most read, never written: so a private mapping of a
 * file has no anon_vma, and there is nothing but the flag to make fork copy
 * the guards.
 */
FLAG_FIXTURE(fork, NR_PAGES)
GUARD_VARIANTS_RW(fork);
GUARD_VARIANTS_RO(fork);

struct look {
	struct guard_map *map;
	uint32_t guards;
	bool (*flags)(struct guard_map *m);	/* NULL: all of one VMA */
	int depth;				/* of the descent still to go */
};

/*
 * The guards are there when the pages beside them are not yet, and still when
 * those have come in.
 */
static int child_looks(void *arg)
{
	struct look *look = arg;
	struct guard_map *m = look->map;
	struct look next = *look;
	int ret;

	if (look->depth) {
		next.depth--;
		ret = in_child(child_looks, &next);
		if (ret)
			return ret < 100 ? ret + 10 : ret;
	}
	if (look->flags ? !look->flags(m) : !flag_set(m->base))
		return 1;
	if (!map_guards_are(m, look->guards))
		return 2;
	if (!map_rest_fresh(m, look->guards))
		return 3;
	if (!map_guards_are(m, look->guards))
		return 4;
	return 0;
}

static int look_in_child(struct guard_map *m, uint32_t guards, int depth)
{
	struct look look = { .map = m, .guards = guards, .depth = depth };

	return in_child(child_looks, &look);
}

static void read_all(struct guard_map *m)
{
	size_t i;

	for (i = 0; i < m->npages; i++)
		touch(map_page(m, i), TOUCH_READ);
}

TEST_F(fork, child)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, install_at(m, GUARD, NR_GUARDS));
	EXPECT_EQ(0, look_in_child(m, GUARDS, 0));
	EXPECT_EQ(0, look_in_child(m, GUARDS, 0));
	EXPECT_TRUE(map_guards_are(m, GUARDS));
	EXPECT_TRUE(flag_set(m->base));
}

TEST_F(fork, child_of_used_mapping)
{
	struct guard_map *m = &self->map;

	read_all(m);
	ASSERT_EQ(0, install_at(m, GUARD, NR_GUARDS));
	read_all(m);
	EXPECT_EQ(0, look_in_child(m, GUARDS, 0));
	EXPECT_TRUE(map_guards_are(m, GUARDS));
	EXPECT_TRUE(map_rest_fresh(m, GUARDS));
}

/* Each of them looks only after its own child has. */
TEST_F(fork, grandchild)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, install_at(m, GUARD, NR_GUARDS));
	EXPECT_EQ(0, look_in_child(m, GUARDS, 1));
	EXPECT_EQ(0, look_in_child(m, GUARDS, 3));
	EXPECT_TRUE(map_guards_are(m, GUARDS));
}

/* The child has the flag, and so may its own have guards. */
static int child_installs_more(void *arg)
{
	struct guard_map *m = arg;

	if (install_at(m, 1, 1))
		return 101;
	return look_in_child(m, GUARDS | pages_mask(1, 1), 0);
}

TEST_F(fork, child_installs_more)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, install_at(m, GUARD, NR_GUARDS));
	EXPECT_EQ(0, in_child(child_installs_more, m));
	EXPECT_TRUE(map_guards_are(m, GUARDS));
}

/* Installed by the child, in a mapping that had no flag. */
static int child_installs_first(void *arg)
{
	struct guard_map *m = arg;

	if (flag_set(m->base))
		return 101;
	if (install_at(m, GUARD, NR_GUARDS))
		return 102;
	return look_in_child(m, GUARDS, 1);
}

TEST_F(fork, child_installs_first)
{
	struct guard_map *m = &self->map;

	read_all(m);
	EXPECT_EQ(0, in_child(child_installs_first, m));
	EXPECT_FALSE(flag_set(m->base));
	EXPECT_TRUE(map_guards_are(m, 0));
	EXPECT_TRUE(map_rest_fresh(m, 0));
}

/* Removed before: none in the child, and that it may have some is no matter. */
static int child_finds_none(void *arg)
{
	struct guard_map *m = arg;

	return map_guards_are(m, 0) && map_rest_fresh(m, 0) ? 0 : 1;
}

TEST_F(fork, removed_before)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, install_at(m, GUARD, NR_GUARDS));
	ASSERT_EQ(0, guard_remove(m->base, m->size));
	EXPECT_EQ(0, in_child(child_finds_none, m));
}

/* Of the three parts of a mapping that was split, all have it. */
static bool thirds_set(struct guard_map *m)
{
	return vma_count(m->base, m->size) == 3 && flag_set(m->base) &&
	       flag_set(map_page(m, 8)) && flag_set(map_page(m, 16));
}

/* Split without a change of what can be read. */
TEST_F(fork, after_split)
{
	struct guard_map *m = &self->map;
	struct look look = {
		.map = m, .guards = GUARDS, .flags = thirds_set, .depth = 1,
	};

	ASSERT_EQ(0, install_at(m, GUARD, NR_GUARDS));
	ASSERT_EQ(0, madvise(map_page(m, 8), 8 * page_size(), MADV_RANDOM));
	ASSERT_TRUE(thirds_set(m));
	EXPECT_EQ(0, in_child(child_looks, &look));
	EXPECT_TRUE(map_guards_are(m, GUARDS));

	/* Across the border: pages 7 and 8. */
	ASSERT_EQ(0, guard_remove(m->base, m->size));
	ASSERT_EQ(0, install_at(m, 7, 2));
	look.guards = pages_mask(7, 2);
	EXPECT_EQ(0, in_child(child_looks, &look));
}

/* Guards in one third, and it is merged with two that know of none. */
TEST_F(fork, after_merge)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size(), i, at;

	for (i = 0; i < 3; i++) {
		at = i * 8 + 3;
		ASSERT_TRUE(map_again(m));
		ASSERT_EQ(0, mprotect(map_page(m, 8), 8 * psz, PROT_NONE));
		ASSERT_EQ(3, vma_count(m->base, m->size));
		ASSERT_EQ(0, install_at(m, at, 2));
		ASSERT_EQ(0, mprotect(map_page(m, 8), 8 * psz, m->prot));
		/*
		 * Not all kernels merge what has an anon_vma with what has
		 * none; guard_merge sees to it that this is not the guards'.
		 */
		if (m->backing == ANON_PRIVATE && i == 1 &&
		    vma_count(m->base, m->size) == 3)
			continue;
		ASSERT_EQ(1, vma_count(m->base, m->size));
		EXPECT_EQ(0, look_in_child(m, pages_mask(at, 2), 1)) {
			TH_LOG("guards at page %zu", at);
		}
		EXPECT_TRUE(map_guards_are(m, pages_mask(at, 2)));
	}
}

TEST_F(fork, after_mremap)
{
	struct guard_map moved = self->map;

	ASSERT_EQ(0, install_at(&moved, GUARD, NR_GUARDS));
	ASSERT_EQ(0, move_to(&moved, free_place(moved.size)));
	EXPECT_EQ(0, look_in_child(&moved, GUARDS, 1));
	EXPECT_TRUE(map_guards_are(&moved, GUARDS));
	munmap(moved.base, moved.size);
}

TEST_F(fork, after_shrink_and_expand)
{
	struct guard_map *m = &self->map;
	size_t kept = AFTER * page_size();

	ASSERT_EQ(0, install_at(m, GUARD, NR_GUARDS));
	ASSERT_EQ(m->base, mremap(m->base, m->size, kept, 0));
	ASSERT_EQ(m->base, mremap(m->base, kept, m->size, 0));
	EXPECT_EQ(0, look_in_child(m, GUARDS, 1));
	EXPECT_TRUE(map_guards_are(m, GUARDS));
}

/* Into a page table that had no guard before: nothing else is near it. */
TEST_F(fork, after_mremap_into_new_table)
{
	/* At least what a page table maps: its entries have 8 bytes, or 4. */
	const size_t span = page_size() * page_size() / 4;
	struct guard_map moved = self->map;
	char *to = free_place(3 * span);

	ASSERT_NE(NULL, to);
	to += span - (uintptr_t)to % span;
	ASSERT_EQ(0, install_at(&moved, GUARD, NR_GUARDS));
	ASSERT_EQ(0, move_to(&moved, to));
	EXPECT_EQ(0, look_in_child(&moved, GUARDS, 1));
	EXPECT_TRUE(map_guards_are(&moved, GUARDS));
	munmap(moved.base, moved.size);
}

/*
 * Without pages of its own, the child gets the guards, and page faults bring it
 * the rest. What was written to a private mapping is copied as ever.
 */
static int child_has_only_markers(void *arg)
{
	struct guard_map *m = arg;
	const bool own = !backing_is_shared(m->backing) &&
			 (m->prot & PROT_WRITE);
	size_t i;

	for (i = 0; i < NR_PAGES; i++) {
		uint64_t entry = pagemap_entry(map_page(m, i));
		bool guard = GUARDS & (1U << i);

		if (!!(entry & PAGEMAP_BIT_GUARD) != guard)
			return 1;
		/* What is the child's own may be in swap; so looks a guard. */
		if (guard ? entry & PAGEMAP_BIT_PRESENT :
		    !!(entry & (PAGEMAP_BIT_PRESENT | PAGEMAP_BIT_SWAP)) != own)
			return 2;
	}
	if (!map_guards_are(m, GUARDS))
		return 3;
	return map_populated_intact(m, 0, GUARD) &&
	       map_populated_intact(m, AFTER, NR_PAGES - AFTER) ? 0 : 4;
}

TEST_F(fork, copies_only_markers)
{
	struct guard_map *m = &self->map;

	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, install_at(m, GUARD, NR_GUARDS));
	EXPECT_EQ(0, in_child(child_has_only_markers, m));
	EXPECT_TRUE(map_guards_are(m, GUARDS));
	EXPECT_TRUE(map_populated_intact(m, 0, GUARD));
}

/*
 * Set before what can fail: allocations are made to, one after the other, until
 * an install needs no more of them. Some can fail without harm.
 */
NO_MEMORY_FIXTURE(no_memory, flag_supported())

TEST_F_TIMEOUT(no_memory, set_though_failed, 120)
{
	struct guard_map *m = &self->map;
	int nth, ret, left, failed = 0;
	bool used = true;

	for (nth = 1; used && nth < 100; nth++) {
		ASSERT_EQ(0, munmap(m->base, m->size));
		ASSERT_EQ(m->base, mmap(m->base, m->size, m->prot,
					m->flags | MAP_FIXED, m->fd, 0));
		ASSERT_FALSE(flag_set(m->base));
		ASSERT_TRUE(fail_nth(self->fd, nth));
		ret = guard_install(m->base, m->size);
		left = fail_nth_left(self->fd);
		ASSERT_LE(0, left);
		used = !left;
		ASSERT_TRUE(fail_nth(self->fd, 0));
		if (ret) {
			EXPECT_EQ(-ENOMEM, ret);
			failed++;
		}
		EXPECT_TRUE(flag_set(m->base)) {
			TH_LOG("allocation %d failed", nth);
		}
	}
	EXPECT_FALSE(used);
	EXPECT_LE(no_memory_tables(), failed);
}

/*
 * Locking all that is mapped brings in all pages that can be had: all but the
 * guards, and none of them keeps back what is behind it. In a child, which has
 * little mapped.
 */
static int child_locks_all(void *arg)
{
	const uint32_t guards = GUARDS | pages_mask(1, 1) |
				pages_mask(NR_PAGES - 1, 1);
	struct guard_map *m = arg;
	size_t i;

	if (install_at(m, GUARD, NR_GUARDS) || install_at(m, 1, 1) ||
	    install_at(m, NR_PAGES - 1, 1))
		return 1;
	if (range_present(m->base, m->size))
		return 2;
	if (mlockall(MCL_CURRENT))
		return errno == ENOMEM || errno == EPERM ? 100 : 3;
	for (i = 0; i < NR_PAGES; i++)
		if (page_present(map_page(m, i)) == !!(guards & (1U << i)))
			return 10 + i;
	if (munlockall())
		return 4;
	if (!flag_set(m->base) || vma_count(m->base, m->size) != 1)
		return 5;
	if (!map_guards_are(m, guards) || !map_rest_fresh(m, guards))
		return 6;
	/* Who asks for these very pages is told. */
	if (sys_advise(m->base, m->size, MADV_POPULATE_READ) != -EFAULT)
		return 7;
	return 0;
}

TEST_F(flag, lock_all_populates)
{
	int ret = in_child(child_locks_all, &self->map);

	if (ret == 100)
		SKIP(return, "cannot lock all memory");
	EXPECT_EQ(0, ret);
}

/*
 * In smaps of another process: the child's, and in the end the parent's. Each
 * does its step, tells the other, and waits until that has had its look.
 */
static bool hand_over(int to, int from)
{
	char byte;

	return write(to, "", 1) == 1 && read(from, &byte, 1) == 1;
}

static bool other_has(pid_t pid, struct guard_map *m, bool set)
{
	struct smaps s = smaps_read(pid, m->base, m->size);

	return s.vmas == 1 && smaps_has(&s, m->base, "gu") == set &&
	       smaps_has(&s, m->base, "mr");
}

static int child_is_looked_at(struct guard_map *m, int to, int from)
{
	if (!other_has(getppid(), m, false))
		return 1;
	if (!hand_over(to, from) || install_at(m, GUARD, NR_GUARDS) ||
	    !hand_over(to, from) || guard_remove(m->base, m->size) ||
	    !hand_over(to, from))
		return 2;
	return other_has(getppid(), m, true) ? 0 : 3;
}

TEST_F(flag, of_another_process)
{
	struct guard_map *m = &self->map;
	int down[2], up[2], status = -1;
	char byte;
	pid_t pid;

	ASSERT_EQ(0, pipe(down));
	ASSERT_EQ(0, pipe(up));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* So that a parent that is gone is seen to be. */
		close(down[1]);
		_exit(child_is_looked_at(m, up[1], down[0]));
	}
	close(up[1]);

	ASSERT_EQ(1, read(up[0], &byte, 1));
	EXPECT_TRUE(other_has(pid, m, false));
	ASSERT_TRUE(hand_over(down[1], up[0]));
	EXPECT_TRUE(other_has(pid, m, true));
	EXPECT_FALSE(flag_set(m->base));
	ASSERT_TRUE(hand_over(down[1], up[0]));
	EXPECT_TRUE(other_has(pid, m, true));
	ASSERT_EQ(0, install_at(m, 0, 1));
	ASSERT_EQ(1, write(down[1], "", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/*
 * A child that is given nothing has no guards; and where it puts its own, they
 * are there, for its own child as well.
 */
static int child_is_wiped(void *arg)
{
	struct guard_map *m = arg;

	if (!map_guards_are(m, 0) || !map_rest_fresh(m, 0))
		return 101;
	if (madvise(m->base, m->size, MADV_KEEPONFORK) || install_at(m, 1, 2))
		return 102;
	return look_in_child(m, pages_mask(1, 2), 1);
}

TEST(wiped_on_fork)
{
	struct guard_map m;

	if (!flag_supported())
		SKIP(return, "%s", guard_reason);
	ASSERT_TRUE(map_make(&m, ANON_PRIVATE, NR_PAGES));
	ASSERT_EQ(0, install_at(&m, GUARD, NR_GUARDS));
	ASSERT_EQ(0, madvise(m.base, m.size, MADV_WIPEONFORK));
	EXPECT_TRUE(flag_set(m.base));
	EXPECT_EQ(0, in_child(child_is_wiped, &m));
	EXPECT_TRUE(flag_set(m.base));
	EXPECT_TRUE(map_guards_are(&m, GUARDS));
	ASSERT_EQ(0, madvise(m.base, m.size, MADV_KEEPONFORK));
	EXPECT_EQ(0, look_in_child(&m, GUARDS, 0));
	map_free(&m);
}

/*
 * A mapping that grows down by itself, the stack for one:
 *
 *   | nothing ...       | guards | used ... |
 *              grows <--|
 */
static int child_grows(void *arg)
{
	size_t psz = page_size();
	struct guard_map m = *(struct guard_map *)arg;
	char *low = m.base;

	if (install_at(&m, 0, 2) || !flag_set(low))
		return 101;
	/* The guards are inside, what is below is to be had. */
	if (!range_guarded(low, 2 * psz) || !page_writable(low - 3 * psz))
		return 102;
	m.base = low - 3 * psz;
	m.size += 3 * psz;
	m.npages += 3;
	if (vma_count(m.base, m.size) != 1 || !flag_set(m.base))
		return 103;
	if (!page_guarded(low) || !page_guarded(low + psz))
		return 104;
	if (install_at(&m, 0, 1))
		return 105;
	return look_in_child(&m, pages_mask(0, 1) | pages_mask(3, 2), 1);
}

TEST(grows_down)
{
	const size_t room = 1 << 20;
	struct guard_map m;
	char *p;

	if (!flag_supported())
		SKIP(return, "%s", guard_reason);
	ASSERT_TRUE(map_make(&m, ANON_PRIVATE, 8));
	/* Nothing but what cannot be accessed may be close below it. */
	p = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
		 MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	munmap(m.base, m.size);
	m.flags |= MAP_GROWSDOWN;
	m.base = p + room - m.size;
	ASSERT_EQ(0, munmap(p + page_size(), room - page_size()));
	ASSERT_TRUE(map_again(&m));
	EXPECT_EQ(0, in_child(child_grows, &m));
	EXPECT_FALSE(flag_set(m.base));
	munmap(p, room);
	map_free(&m);
}

static bool stack_find(struct guard_map *m)
{
	char here;
	struct vma_info vma;

	if (!vma_lookup(&here, &vma))
		return false;
	m->backing = ANON_PRIVATE;
	m->base = (char *)vma.start;
	m->npages = 8;
	m->size = 8 * page_size();
	m->prot = PROT_READ | PROT_WRITE;
	m->fd = -1;
	m->write_fd = -1;
	/* We are far above those. */
	return !strcmp(vma.name, "[stack]") && &here > m->base + 3 * m->size;
}

/* The stack itself; its lowest pages have come to be in use at most once. */
TEST(stack_grows_down)
{
	struct guard_map m;

	if (!flag_supported())
		SKIP(return, "%s", guard_reason);
	ASSERT_TRUE(stack_find(&m));
	EXPECT_FALSE(flag_set(m.base));
	ASSERT_EQ(0, sys_advise(m.base, m.size, MADV_DONTNEED));
	EXPECT_EQ(0, in_child(child_grows, &m));
}

/*
 * An anonymous mapping has an anon_vma as soon as it has guards, a private
 * mapping of a file only when it has been written to. User mode can see that
 * in what a core dump has of it, if it is to have private anonymous memory only:
 * all of a mapping with an anon_vma, nothing of one without.
 */
#define CORE_PATTERN	"/proc/sys/kernel/core_pattern"

FIXTURE(dump) {
	struct guard_map map;
	char pattern[256];
	char dir[PATH_MAX];
	int fd;			/* the last core */
	off_t offset;		/* where the mapping is in there */
};

FIXTURE_VARIANT(dump) {
	enum backing backing;
};

GUARD_VARIANT(dump, anon_private, ANON_PRIVATE);
GUARD_VARIANT(dump, shmem_private, SHMEM_PRIVATE);
GUARD_VARIANT(dump, file_private, FILE_PRIVATE);
GUARD_VARIANT(dump, file_private_ro, FILE_PRIVATE_RO);

FIXTURE_SETUP(dump)
{
	const char *where = getenv("GUARD_TEST_DIR");
	char pattern[PATH_MAX + 8];

	self->fd = -1;
	if (!flag_supported() || !guard_supported(variant->backing) ||
	    !map_make(&self->map, variant->backing, NR_PAGES))
		SKIP(return, "%s", guard_reason);
	if (!knob_text(CORE_PATTERN, self->pattern, sizeof(self->pattern)))
		SKIP(return, "no core dumps in this kernel");
	if (geteuid())
		SKIP(return, "needs root to say where a core goes");
	ASSERT_NE(NULL, realpath(where && *where ? where : ".", self->dir));
	strncat(self->dir, "/guard-core-XXXXXX",
		sizeof(self->dir) - strlen(self->dir) - 1);
	snprintf(pattern, sizeof(pattern), "%s/%%p", self->dir);
	if (strlen(pattern) > 127)
		SKIP(return, "GUARD_TEST_DIR is too long for core_pattern");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	snprintf(pattern, sizeof(pattern), "%s/%%p", self->dir);
	if (!knob_write(CORE_PATTERN, pattern)) {
		rmdir(self->dir);
		ASSERT_TRUE(false);
	}
}

FIXTURE_TEARDOWN_PARENT(dump)
{
	knob_write(CORE_PATTERN, self->pattern);
	rmdir(self->dir);
}

/* Where and how much of the mapping there is in a core; -1 if it has none. */
static long core_has(int fd, struct guard_map *m, off_t *offset)
{
	ElfW(Ehdr) head;
	ElfW(Phdr) seg;
	int i;

	if (pread(fd, &head, sizeof(head), 0) != sizeof(head) ||
	    memcmp(head.e_ident, ELFMAG, SELFMAG) || head.e_type != ET_CORE ||
	    head.e_phentsize != sizeof(seg))
		return -1;
	for (i = 0; i < head.e_phnum; i++) {
		if (pread(fd, &seg, sizeof(seg), head.e_phoff +
			  i * sizeof(seg)) != sizeof(seg))
			return -1;
		if (seg.p_type != PT_LOAD ||
		    seg.p_vaddr != (uintptr_t)m->base)
			continue;
		*offset = seg.p_offset;
		return seg.p_memsz == m->size ? (long)seg.p_filesz : -1;
	}
	return -1;
}

/*
 * The core of a child that has done act(); -1 when there is none. @core stays
 * open, to look into.
 */
static long dumped(const char *dir, struct guard_map *m,
		   int (*act)(struct guard_map *m), int *core, off_t *offset)
{
	const struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	char path[PATH_MAX + 16];
	int status;
	pid_t pid;

	if (*core >= 0)
		close(*core);
	pid = fork();
	if (!pid) {
		if (setrlimit(RLIMIT_CORE, &all) || prctl(PR_SET_DUMPABLE, 1) ||
		    !knob_write("/proc/self/coredump_filter", "0x1") || act(m))
			_exit(1);
		abort();
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	snprintf(path, sizeof(path), "%s/%d", dir, pid);
	*core = open(path, O_RDONLY | O_CLOEXEC);
	unlink(path);
	return *core < 0 || !WIFSIGNALED(status) ? -1 :
	       core_has(*core, m, offset);
}

static int act_read(struct guard_map *m)
{
	/* Not of anonymous memory: it need not be the zero page that comes. */
	if (!backing_is_anon(m->backing))
		read_all(m);
	return 0;
}

static int act_install(struct guard_map *m)
{
	return act_read(m) || install_at(m, GUARD, NR_GUARDS) || act_read(m);
}

static int act_write(struct guard_map *m)
{
	m->prot = PROT_READ | PROT_WRITE;
	return mprotect(m->base, m->size, m->prot) || populate_with_guards(m);
}

TEST_F(dump, anon_vma_only_if_anonymous)
{
	struct guard_map *m = &self->map;
	long all = m->size, with = backing_is_anon(m->backing) ? all : 0;

	EXPECT_EQ(0, dumped(self->dir, m, act_read, &self->fd, &self->offset));
	EXPECT_EQ(with, dumped(self->dir, m, act_install, &self->fd,
			       &self->offset));
	/* The control: it shows when there is one. */
	EXPECT_EQ(all, dumped(self->dir, m, act_write, &self->fd,
			      &self->offset));
}

/* Of guards, a core has zeros; of what is behind them, all of it. */
TEST_F(dump, steps_over_guards)
{
	struct guard_map *m = &self->map;
	char *core;
	size_t i;

	ASSERT_EQ((long)m->size, dumped(self->dir, m, act_write, &self->fd,
					&self->offset));
	core = mmap(NULL, m->size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, core);
	ASSERT_EQ((ssize_t)m->size, pread(self->fd, core, m->size,
					  self->offset));
	for (i = 0; i < NR_PAGES; i++)
		EXPECT_TRUE(page_holds(core + i * page_size(),
				       i < GUARD || i >= AFTER ?
				       MEMORY_SEED + i : 0)) {
			TH_LOG("page %zu", i);
		}
	munmap(core, m->size);
}

FLAG_HARNESS_MAIN
