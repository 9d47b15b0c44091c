// SPDX-License-Identifier: GPL-2.0
/*
 * Guard regions: what changes to the mapping do to them. They stay with the
 * page tables through mprotect, mremap, mlock, split and merge, and go only
 * with the memory itself.
 */
#define _GNU_SOURCE
#include "guard_layout.h"

#include <pthread.h>
#include <sys/resource.h>

GUARD_FIXTURE(vma, NR_PAGES)
GUARD_VARIANTS_RW(vma);
GUARD_VARIANTS_RO(vma);

/*
 * What map_populate() left in @n pages from page @first of the mapping, now
 * found at @addr.
 */
static bool moved_intact(struct guard_map *m, char *addr, size_t first,
			 size_t n)
{
	struct guard_map at = *m;

	at.base = addr - first * page_size();
	return map_populated_intact(&at, first, n);
}

/* The same memory, nothing in the page table: what comes when it is read. */
static bool moved_fresh(struct guard_map *m, char *addr, size_t first, size_t n)
{
	struct guard_map at = *m;

	at.base = addr - first * page_size();
	return map_discarded(&at, first, n);
}

TEST_F(vma, stays_one_vma)
{
	struct guard_map *m = &self->map;
	struct vma_info before, after;
	size_t i;

	ASSERT_TRUE(vma_lookup(m->base, &before));
	ASSERT_EQ(1, vma_count(m->base, m->size));
	ASSERT_EQ(0, populate_with_guards(m));
	for (i = 0; i < GUARD; i += 2)
		ASSERT_EQ(0, guard_install(map_page(m, i), page_size()));

	EXPECT_TRUE(map_guarded(m, GUARD, NR_GUARDS));
	EXPECT_EQ(1, vma_count(m->base, m->size));
	ASSERT_TRUE(vma_lookup(map_page(m, GUARD), &after));
	EXPECT_EQ(before.start, after.start);
	EXPECT_EQ(before.end, after.end);
	EXPECT_EQ(before.offset, after.offset);
	EXPECT_STREQ(before.perms, after.perms);
	EXPECT_STREQ(before.name, after.name);
	EXPECT_EQ((unsigned long)m->base, after.start);
	EXPECT_EQ((unsigned long)(m->base + m->size), after.end);

	ASSERT_EQ(0, guard_remove(m->base, m->size));
	EXPECT_EQ(1, vma_count(m->base, m->size));
}

/* No protection makes a guard accessible, and none makes it go away. */
TEST_F(vma, mprotect_whole)
{
	static const int prots[] = {
		PROT_NONE,
		PROT_READ,
		PROT_WRITE,
		PROT_READ | PROT_WRITE,
		PROT_EXEC,
		PROT_READ | PROT_EXEC,
		PROT_READ | PROT_WRITE | PROT_EXEC,
	};
	struct guard_map *m = &self->map;
	int done = 0;
	size_t i, j;

	ASSERT_EQ(0, populate_with_guards(m));
	for (i = 0; i < ARRAY_SIZE(prots); i++) {
		if (mprotect(m->base, m->size, prots[i])) {
			/* A file that cannot be written, or not executed. */
			EXPECT_TRUE(backing_is_file(m->backing));
			continue;
		}
		done++;
		for (j = GUARD; j < AFTER; j++) {
			EXPECT_TRUE(page_guarded(map_page(m, j))) {
				TH_LOG("protection %d", prots[i]);
			}
			EXPECT_TRUE(kernel_read_fails(map_page(m, j)));
			EXPECT_TRUE(kernel_write_fails(map_page(m, j)));
		}
		ASSERT_EQ(0, mprotect(m->base, m->size, m->prot));
		EXPECT_TRUE(all_as_it_was(m)) {
			TH_LOG("after protection %d and back", prots[i]);
		}
	}
	EXPECT_LE(2, done);
	EXPECT_EQ(1, vma_count(m->base, m->size));
}

/*
 * Split by mprotect, at borders of the guards, within them and around them,
 * and merged again:
 *
 *   | r  |  other protection  |  r |
 */
TEST_F(vma, split_and_merge)
{
	static const struct {
		size_t first, n;
	} parts[] = {
		{ GUARD, NR_GUARDS },
		{ GUARD + 1, 2 },
		{ GUARD - 2, 3 },
		{ AFTER - 1, 3 },
		{ GUARD - 1, NR_GUARDS + 2 },
		{ 2, 3 },
	};
	struct guard_map *m = &self->map;
	size_t psz = page_size(), i;

	ASSERT_EQ(0, populate_with_guards(m));
	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		ASSERT_EQ(0, mprotect(map_page(m, parts[i].first),
				      parts[i].n * psz, PROT_NONE));
		EXPECT_EQ(3, vma_count(m->base, m->size));
		EXPECT_TRUE(map_guarded(m, GUARD, NR_GUARDS));
		ASSERT_EQ(0, mprotect(map_page(m, parts[i].first),
				      parts[i].n * psz, m->prot));
		EXPECT_EQ(1, vma_count(m->base, m->size));
		EXPECT_TRUE(all_as_it_was(m)) {
			TH_LOG("part %zu", i);
		}
	}
}

/* Both halves of a split VMA can be worked on by themselves. */
TEST_F(vma, split_then_install_and_remove)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();

	ASSERT_EQ(0, populate_with_guards(m));
	ASSERT_EQ(0, mprotect(map_page(m, GUARD + 2), psz, PROT_NONE));
	ASSERT_EQ(3, vma_count(m->base, m->size));
	/* Across all three. */
	ASSERT_EQ(0, guard_install(map_page(m, GUARD - 1),
				   (NR_GUARDS + 2) * psz));
	ASSERT_EQ(0, guard_remove(map_page(m, GUARD), 2 * psz));
	ASSERT_EQ(0, mprotect(map_page(m, GUARD + 2), psz, m->prot));
	ASSERT_EQ(1, vma_count(m->base, m->size));
	EXPECT_TRUE(map_guarded(m, GUARD - 1, 1));
	EXPECT_TRUE(map_discarded(m, GUARD, 2));
	EXPECT_TRUE(map_guarded(m, GUARD + 2, NR_GUARDS - 1));
	EXPECT_TRUE(map_populated_intact(m, 0, GUARD - 1));
	EXPECT_TRUE(map_populated_intact(m, AFTER + 1, NR_PAGES - AFTER - 1));
}

/*
 * New memory on either side merges with the mapping and is ordinary memory:
 *
 *   | new | guards ... guards | new |
 *
 * Not so anonymous shared memory, of which each mapping is its own object.
 */
GUARD_FIXTURE(merge, NR_PAGES)
GUARD_VARIANT(merge, anon_private, ANON_PRIVATE);
GUARD_VARIANT(merge, shmem_private, SHMEM_PRIVATE);
GUARD_VARIANT(merge, shmem_shared, SHMEM_SHARED);
GUARD_VARIANT(merge, file_private, FILE_PRIVATE);
GUARD_VARIANT(merge, file_shared, FILE_SHARED);
GUARD_VARIANTS_RO(merge);

TEST_F(merge, with_neighbours)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();
	char *left = m->base, *right = map_page(m, NR_PAGES - 1);
	off_t last = m->fd < 0 ? 0 : (NR_PAGES - 1) * psz;

	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, guard_install(m->base, m->size));
	ASSERT_EQ(0, munmap(left, psz));
	ASSERT_EQ(0, munmap(right, psz));
	ASSERT_EQ(left, mmap(left, psz, m->prot, m->flags | MAP_FIXED, m->fd,
			     0));
	ASSERT_EQ(right, mmap(right, psz, m->prot, m->flags | MAP_FIXED, m->fd,
			      last));
	EXPECT_EQ(1, vma_count(m->base, m->size));
	EXPECT_TRUE(map_discarded(m, 0, 1));
	EXPECT_TRUE(map_discarded(m, NR_PAGES - 1, 1));
	EXPECT_TRUE(map_guarded(m, 1, NR_PAGES - 2));
}

/* A place of @n pages with nothing in it. */
static char *free_place(size_t n)
{
	char *p = mmap(NULL, n * page_size(), PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	munmap(p, n * page_size());
	return p;
}

TEST_F(vma, mremap_move_whole)
{
	struct guard_map *m = &self->map;
	char *to = free_place(NR_PAGES + 2);
	struct guard_map moved = *m;

	ASSERT_NE(NULL, to);
	to += page_size();
	ASSERT_EQ(0, populate_with_guards(m));
	ASSERT_EQ(to, mremap(m->base, m->size, m->size,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	moved.base = to;
	EXPECT_TRUE(all_as_it_was(&moved));
	EXPECT_EQ(1, vma_count(to, m->size));
	EXPECT_EQ(0, vma_count(m->base, m->size));
	/* They can be removed at the new place. */
	ASSERT_EQ(0, guard_remove(to, m->size));
	EXPECT_TRUE(map_discarded(&moved, GUARD, NR_GUARDS));
	munmap(to, m->size);
}

/* The part that is moved begins and ends among the guards. */
TEST_F(vma, mremap_move_part)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();
	char *to = free_place(4);

	ASSERT_NE(NULL, to);
	to += psz;
	ASSERT_EQ(0, populate_with_guards(m));
	ASSERT_EQ(to, mremap(map_page(m, GUARD + 1), 2 * psz, 2 * psz,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_TRUE(range_guarded(to, 2 * psz));
	EXPECT_EQ(1, vma_count(to, 2 * psz));
	EXPECT_TRUE(map_guarded(m, GUARD, 1));
	EXPECT_TRUE(map_guarded(m, AFTER - 1, 1));
	EXPECT_EQ(0, vma_count(map_page(m, GUARD + 1), 2 * psz));
	EXPECT_TRUE(outside_intact(m));

	/* And back into its place: one VMA, as it was. */
	ASSERT_EQ(map_page(m, GUARD + 1),
		  mremap(to, 2 * psz, 2 * psz, MREMAP_MAYMOVE | MREMAP_FIXED,
			 map_page(m, GUARD + 1)));
	EXPECT_TRUE(all_as_it_was(m));
}

/* Shrunk within the guards: what is cut off is gone for good. */
TEST_F(vma, mremap_shrink_and_expand)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();
	size_t kept = (GUARD + 2) * psz;

	ASSERT_EQ(0, populate_with_guards(m));
	ASSERT_EQ(m->base, mremap(m->base, m->size, kept, 0));
	EXPECT_TRUE(map_guarded(m, GUARD, 2));
	EXPECT_TRUE(map_populated_intact(m, 0, GUARD));
	EXPECT_EQ(0, vma_count(map_page(m, GUARD + 2), m->size - kept));

	/* In place, over what was just cut off. */
	ASSERT_EQ(m->base, mremap(m->base, kept, m->size, 0));
	EXPECT_EQ(1, vma_count(m->base, m->size));
	EXPECT_TRUE(map_guarded(m, GUARD, 2));
	EXPECT_TRUE(map_populated_intact(m, 0, GUARD));
	EXPECT_TRUE(map_discarded(m, GUARD + 2, NR_PAGES - GUARD - 2));
	EXPECT_TRUE(map_guarded(m, GUARD, 2));
}

/* Expanded where there is no room: moved. */
TEST_F(vma, mremap_expand_moving)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size(), i;
	struct guard_map moved = *m;
	char *to;

	/* Guards up to the very end: those next to the new memory. */
	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, guard_install(map_page(m, GUARD),
				   (NR_PAGES - GUARD) * psz));
	EXPECT_EQ(MAP_FAILED, mremap(m->base, m->size, m->size + 3 * psz, 0));
	EXPECT_TRUE(map_guarded(m, GUARD, NR_PAGES - GUARD));

	to = mremap(m->base, m->size, m->size + 3 * psz, MREMAP_MAYMOVE);
	ASSERT_NE(MAP_FAILED, to);
	ASSERT_NE(m->base, to);
	moved.base = to;
	EXPECT_TRUE(map_guarded(&moved, GUARD, NR_PAGES - GUARD));
	EXPECT_TRUE(map_populated_intact(&moved, 0, GUARD));
	EXPECT_EQ(1, vma_count(to, m->size + 3 * psz));
	for (i = NR_PAGES; i < NR_PAGES + 3; i++) {
		/* Shared anonymous memory ends where it ended. */
		if (m->backing == ANON_SHARED) {
			EXPECT_EQ(SIGBUS,
				  touch(map_page(&moved, i), TOUCH_READ).signo);
		} else {
			EXPECT_TRUE(page_holds(map_page(&moved, i),
					       map_fresh_seed(m, i)));
		}
	}
	munmap(to, m->size + 3 * psz);
}

/* The guards go with the page tables; the old place is as new. */
TEST_F(vma, mremap_dontunmap)
{
	struct guard_map *m = &self->map;
	struct guard_map moved = *m;
	char *to;

	ASSERT_EQ(0, populate_with_guards(m));
	to = mremap(m->base, m->size, m->size,
		    MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	if (to == MAP_FAILED && errno == EINVAL)
		SKIP(return, "no MREMAP_DONTUNMAP of such a mapping");
	ASSERT_NE(MAP_FAILED, to);
	ASSERT_NE(m->base, to);
	moved.base = to;
	EXPECT_TRUE(all_as_it_was(&moved));
	EXPECT_EQ(0, range_present(m->base, m->size));
	EXPECT_TRUE(map_discarded(m, 0, NR_PAGES));
	EXPECT_TRUE(all_as_it_was(&moved) || backing_is_shared(m->backing));
	EXPECT_TRUE(map_guarded(&moved, GUARD, NR_GUARDS));
	munmap(to, m->size);
}

/* Other memory moved over guards replaces them. */
TEST_F(vma, mremap_over_guards)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();
	char *p;

	ASSERT_EQ(0, populate_with_guards(m));
	p = mmap(NULL, 2 * psz, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	range_fill(p, 2, 31);
	ASSERT_EQ(map_page(m, GUARD + 1),
		  mremap(p, 2 * psz, 2 * psz, MREMAP_MAYMOVE | MREMAP_FIXED,
			 map_page(m, GUARD + 1)));
	EXPECT_TRUE(range_holds(map_page(m, GUARD + 1), 2, 31));
	EXPECT_TRUE(page_writable(map_page(m, GUARD + 1)));
	EXPECT_TRUE(map_guarded(m, GUARD, 1));
	EXPECT_TRUE(map_guarded(m, AFTER - 1, 1));
	EXPECT_TRUE(outside_intact(m));
}

/*
 * Whole page tables at a time: old and new place are aligned to what one of
 * them maps, and guards are at the start, at the end and across their borders.
 */
#define TABLE_PAGES	512

FIXTURE(tables) {
	struct guard_map map;
};

FIXTURE_VARIANT(tables) {
	enum backing backing;
};

GUARD_VARIANTS_RW(tables);
GUARD_VARIANTS_RO(tables);

FIXTURE_SETUP(tables)
{
	if (!guard_supported(variant->backing) ||
	    !map_make_aligned(&self->map, variant->backing, 3 * TABLE_PAGES,
			      TABLE_PAGES * page_size()))
		SKIP(return, "%s", guard_reason);
}

FIXTURE_TEARDOWN(tables)
{
	map_free(&self->map);
}

TEST_F_TIMEOUT(tables, mremap_move, 120)
{
	static const struct {
		size_t first, n;
	} guards[] = {
		{ 0, 1 },
		{ TABLE_PAGES - 2, 4 },
		{ 2 * TABLE_PAGES - 1, 1 },
		{ 3 * TABLE_PAGES - 1, 1 },
	};
	struct guard_map *m = &self->map;
	size_t psz = page_size(), align = TABLE_PAGES * psz, i;
	struct guard_map moved = *m;
	char *place, *to;

	map_populate(m, 0, m->npages);
	for (i = 0; i < ARRAY_SIZE(guards); i++)
		ASSERT_EQ(0, guard_install(map_page(m, guards[i].first),
					   guards[i].n * psz));
	place = free_place(5 * TABLE_PAGES);
	ASSERT_NE(NULL, place);
	to = (char *)(((uintptr_t)place + align - 1) / align * align);
	ASSERT_EQ(to, mremap(m->base, m->size, m->size,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	moved.base = to;
	for (i = 0; i < ARRAY_SIZE(guards); i++)
		EXPECT_TRUE(map_guarded(&moved, guards[i].first, guards[i].n));
	EXPECT_TRUE(map_populated_intact(&moved, 1, TABLE_PAGES - 3));
	EXPECT_TRUE(map_populated_intact(&moved, TABLE_PAGES + 2,
					 TABLE_PAGES - 3));
	EXPECT_TRUE(map_populated_intact(&moved, 2 * TABLE_PAGES,
					 TABLE_PAGES - 1));

	/* To a place that is not aligned: entry by entry. */
	place = free_place(4 * TABLE_PAGES);
	ASSERT_NE(NULL, place);
	to = (char *)(((uintptr_t)place + align - 1) / align * align) + psz;
	ASSERT_EQ(to, mremap(moved.base, m->size, m->size,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	moved.base = to;
	for (i = 0; i < ARRAY_SIZE(guards); i++)
		EXPECT_TRUE(map_guarded(&moved, guards[i].first, guards[i].n));
	EXPECT_TRUE(map_populated_intact(&moved, TABLE_PAGES + 2,
					 TABLE_PAGES - 3));
	munmap(to, m->size);
}

/*
 * Locked after the guards were put in. Populating fails at a guard, and mlock()
 * may say so, but what the range is then is left to the kernel's version; that
 * the guards are kept, and the rest is there, is not.
 */
TEST_F(vma, mlock_after)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	if (mlock(m->base, m->size) && errno != ENOMEM && errno != EFAULT)
		SKIP(return, "cannot lock memory: %s", strerror(errno));
	EXPECT_TRUE(all_as_it_was(m));
	ASSERT_EQ(0, munlock(m->base, m->size));
	EXPECT_FALSE(vma_has_flag(m->base, "lo"));
	EXPECT_TRUE(all_as_it_was(m));
	EXPECT_EQ(1, vma_count(m->base, m->size));
}

TEST_F(vma, mlock_onfault_after)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	if (syscall(__NR_mlock2, m->base, m->size, MLOCK_ONFAULT))
		SKIP(return, "cannot lock memory: %s", strerror(errno));
	EXPECT_TRUE(vma_has_flag(m->base, "lo"));
	EXPECT_TRUE(all_as_it_was(m));
	/* A locked guarded page is removed, and then comes in as any other. */
	ASSERT_EQ(0, guard_remove(map_page(m, GUARD), page_size()));
	EXPECT_TRUE(map_discarded(m, GUARD, 1));
	EXPECT_TRUE(map_guarded(m, GUARD + 1, NR_GUARDS - 1));
	ASSERT_EQ(0, munlock(m->base, m->size));
	EXPECT_TRUE(map_guarded(m, GUARD + 1, NR_GUARDS - 1));
}

/* Only guards are locked, and only a part of them: the VMA is split. */
TEST_F(vma, mlock_part)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();

	ASSERT_EQ(0, populate_with_guards(m));
	if (syscall(__NR_mlock2, map_page(m, GUARD + 1), 2 * psz,
		    MLOCK_ONFAULT))
		SKIP(return, "cannot lock memory: %s", strerror(errno));
	EXPECT_EQ(3, vma_count(m->base, m->size));
	EXPECT_TRUE(all_as_it_was(m));
	ASSERT_EQ(0, munlock(map_page(m, GUARD + 1), 2 * psz));
	EXPECT_EQ(1, vma_count(m->base, m->size));
	EXPECT_TRUE(all_as_it_was(m));
}

TEST_F(vma, mlockall_after)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	if (mlockall(MCL_CURRENT) && errno != EFAULT)
		SKIP(return, "cannot lock all memory: %s", strerror(errno));
	EXPECT_TRUE(all_as_it_was(m));
	ASSERT_EQ(0, munlockall());
	EXPECT_TRUE(all_as_it_was(m));

	if (mlockall(MCL_CURRENT | MCL_ONFAULT))
		SKIP(return, "cannot lock all memory: %s", strerror(errno));
	EXPECT_TRUE(all_as_it_was(m));
	ASSERT_EQ(0, munlockall());
	EXPECT_TRUE(all_as_it_was(m));
}

TEST_F(vma, munmap_takes_them)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	ASSERT_TRUE(map_guarded(m, GUARD, NR_GUARDS));
	ASSERT_EQ(0, munmap(m->base, m->size));
	ASSERT_EQ(m->base, mmap(m->base, m->size, m->prot,
				m->flags | MAP_FIXED, m->fd, 0));
	if (m->backing == ANON_SHARED) {
		EXPECT_TRUE(range_holds(m->base, NR_PAGES, 0));
	} else {
		EXPECT_TRUE(map_discarded(m, 0, NR_PAGES));
	}
}

/* A part of them: the others stay. */
TEST_F(vma, munmap_part)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();

	ASSERT_EQ(0, populate_with_guards(m));
	ASSERT_EQ(0, munmap(map_page(m, GUARD + 1), 2 * psz));
	EXPECT_TRUE(map_guarded(m, GUARD, 1));
	EXPECT_TRUE(map_guarded(m, AFTER - 1, 1));
	EXPECT_TRUE(outside_intact(m));
	EXPECT_EQ(map_page(m, GUARD + 1),
		  mmap(map_page(m, GUARD + 1), 2 * psz, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	EXPECT_TRUE(range_holds(map_page(m, GUARD + 1), 2, 0));
	EXPECT_TRUE(map_guarded(m, GUARD, 1));
	EXPECT_TRUE(map_guarded(m, AFTER - 1, 1));
}

/* MAP_FIXED over guards, of the same kind: it may well merge. */
TEST_F(vma, mapped_over)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();
	char *p = map_page(m, GUARD + 1);

	ASSERT_EQ(0, populate_with_guards(m));
	ASSERT_EQ(p, mmap(p, 2 * psz, m->prot, m->flags | MAP_FIXED, m->fd,
			  m->fd < 0 ? 0 : (GUARD + 1) * psz));
	if (m->backing == ANON_SHARED) {
		EXPECT_TRUE(range_holds(p, 2, 0));
	} else {
		EXPECT_TRUE(moved_fresh(m, p, GUARD + 1, 2));
		EXPECT_EQ(1, vma_count(m->base, m->size));
	}
	EXPECT_TRUE(map_guarded(m, GUARD, 1));
	EXPECT_TRUE(map_guarded(m, AFTER - 1, 1));
	EXPECT_TRUE(moved_intact(m, m->base, 0, GUARD));
	EXPECT_TRUE(outside_intact(m));
}

/* Dying with guards in place; what dmesg says of it is for others to see. */
static int exit_with_guards(void *arg)
{
	struct guard_map *m = arg;

	return !populate_with_guards(m) && all_as_it_was(m) ? 0 : 1;
}

TEST_F(vma, exit_with_guards)
{
	EXPECT_EQ(0, in_child(exit_with_guards, &self->map));
}

/* The heap, in a child: its allocator is not to know. */
#define HEAP_PAGES	16

static int heap(void *arg)
{
	size_t psz = page_size();
	char *start, *base;
	int vmas;

	(void)arg;
	start = sbrk(0);
	base = (char *)(((uintptr_t)start + psz - 1) / psz * psz);
	if (brk(base + HEAP_PAGES * psz))
		return 4;
	range_fill(base, HEAP_PAGES, MEMORY_SEED);
	vmas = vma_count(base, HEAP_PAGES * psz);

	/* Guards up to the end of it. */
	if (guard_install(base + 4 * psz, 2 * psz) ||
	    guard_install(base + (HEAP_PAGES - 1) * psz, psz))
		return 1;
	if (vma_count(base, HEAP_PAGES * psz) != vmas)
		return 2;

	/* Grown: new memory after a guard. */
	if (brk(base + 2 * HEAP_PAGES * psz))
		return 3;
	if (!range_guarded(base + 4 * psz, 2 * psz) ||
	    !page_guarded(base + (HEAP_PAGES - 1) * psz))
		return 5;
	if (!range_holds(base + HEAP_PAGES * psz, HEAP_PAGES, 0))
		return 6;
	if (!range_holds(base, 4, MEMORY_SEED) ||
	    !range_holds(base + 6 * psz, HEAP_PAGES - 7, MEMORY_SEED + 6))
		return 7;
	if (vma_count(base, 2 * HEAP_PAGES * psz) != vmas)
		return 8;

	/* Shrunk below the last guard and grown again: that one is gone. */
	if (brk(base + (HEAP_PAGES - 1) * psz) ||
	    brk(base + HEAP_PAGES * psz))
		return 9;
	if (!page_holds(base + (HEAP_PAGES - 1) * psz, 0))
		return 10;
	if (!range_guarded(base + 4 * psz, 2 * psz))
		return 11;
	if (guard_remove(base, HEAP_PAGES * psz) ||
	    !range_holds(base + 4 * psz, 2, 0))
		return 12;
	return 0;
}

TEST(brk_heap)
{
	int ret;

	if (!guard_supported(ANON_PRIVATE))
		SKIP(return, "%s", guard_reason);
	/* stdio and malloc must not ask for memory while it is in use. */
	ret = in_child(heap, NULL);
	if (ret == 4)
		SKIP(return, "the heap cannot grow here");
	EXPECT_EQ(0, ret);
}

/*
 * A stack that grows down by itself, with guards in it:
 *
 *   | nothing ...            | page 0 | G | page 2 | ... |
 *             grows <---------
 */
TEST(growsdown)
{
	const size_t room = 8 << 20, pages = 8;
	size_t psz = page_size(), i;
	char *place, *stack;

	if (!guard_supported(ANON_PRIVATE))
		SKIP(return, "%s", guard_reason);
	place = mmap(NULL, room, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, place);
	stack = place + room - pages * psz;
	/* Free below, for the gap that is kept to other mappings. */
	ASSERT_EQ(0, munmap(place + psz, room - psz));
	ASSERT_EQ(stack, mmap(stack, pages * psz, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED |
			      MAP_GROWSDOWN, -1, 0));
	range_fill(stack, pages, MEMORY_SEED);
	ASSERT_EQ(0, guard_install(stack + psz, psz));
	EXPECT_TRUE(page_guarded(stack + psz));
	EXPECT_EQ(1, vma_count(stack, pages * psz));

	/* It still grows, and the guard is where it was. */
	EXPECT_EQ(0, touch(stack - 3 * psz, TOUCH_WRITE).signo);
	EXPECT_TRUE(page_holds(stack - psz, 0));
	EXPECT_TRUE(page_guarded(stack + psz));
	EXPECT_EQ(1, vma_count(stack - 3 * psz, (pages + 3) * psz));
	EXPECT_TRUE(page_holds(stack, MEMORY_SEED));
	EXPECT_TRUE(range_holds(stack + 2 * psz, pages - 2, MEMORY_SEED + 2));

	/* A guard in the lowest page: an access to it does not grow it. */
	ASSERT_EQ(0, guard_install(stack - 3 * psz, psz));
	EXPECT_TRUE(page_guarded(stack - 3 * psz));
	EXPECT_TRUE(page_guarded(stack - 3 * psz));
	EXPECT_EQ(0, vma_count(stack - 4 * psz, psz));
	for (i = 2; i < pages; i++)
		EXPECT_TRUE(page_holds(stack + i * psz, MEMORY_SEED + i));
	munmap(place, room);
}

/* A thread's stack: its overflow runs into the guard, and nowhere else. */
#define STACK_PAGES	32
#define STACK_GUARDS	2

static char *thread_stack;

static void overflow_handler(int signo, siginfo_t *info, void *context)
{
	char *addr = info->si_addr;

	(void)context;
	if (signo == SIGSEGV && addr >= thread_stack &&
	    addr < thread_stack + STACK_GUARDS * page_size())
		_exit(0);
	_exit(2);
}

static __attribute__((noinline)) int recurse(volatile char *above)
{
	volatile char frame[256];

	if (!above)
		return 0;
	frame[0] = above[0];
	/* The addition keeps this from being a loop. */
	return recurse(frame) + frame[0];
}

static void *overflow(void *arg)
{
	static char alt[65536];
	stack_t ss = { .ss_sp = alt, .ss_size = sizeof(alt) };
	struct sigaction act = {
		.sa_sigaction = overflow_handler,
		.sa_flags = SA_SIGINFO | SA_ONSTACK,
	};
	volatile char c = 0;

	(void)arg;
	if (sigaltstack(&ss, NULL) || sigaction(SIGSEGV, &act, NULL))
		_exit(3);
	recurse(&c);
	_exit(4);
}

static int thread_overflows(void *arg)
{
	size_t size = STACK_PAGES * page_size();
	pthread_attr_t attr;
	pthread_t thread;

	(void)arg;
	thread_stack = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK |
			    MAP_NORESERVE, -1, 0);
	if (thread_stack == MAP_FAILED)
		return 5;
	if (guard_install(thread_stack, STACK_GUARDS * page_size()))
		return 6;
	if (pthread_attr_init(&attr) ||
	    pthread_attr_setstack(&attr, thread_stack, size) ||
	    pthread_create(&thread, &attr, overflow, NULL))
		return 7;
	pthread_join(thread, NULL);
	return 8;
}

TEST(thread_stack_overflow)
{
	if (!guard_supported(ANON_PRIVATE))
		SKIP(return, "%s", guard_reason);
	EXPECT_EQ(0, in_child(thread_overflows, NULL));
}

GUARD_HARNESS_MAIN
