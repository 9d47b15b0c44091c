// SPDX-License-Identifier: GPL-2.0
/*
 * Guard regions: VM_MAYBE_GUARD, seen as `gu` in smaps. When it is set and when
 * not, which VMAs have it after a split or a move, and that fork goes by it:
 * the guards of a file mapping are in the page tables and nowhere else.
 */
#define _GNU_SOURCE
#include "guard_flag.h"

#define NR_PAGES	24
#define GUARD		9		/* first guarded page */
#define NR_GUARDS	4
#define AFTER		(GUARD + NR_GUARDS)
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
 * its page tables.
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

/*
 * Set before what can fail: allocations are made to, one after the other, until
 * an install gets through.
 */
#define FAULTS		"/sys/kernel/debug/fail_page_alloc/"
/* Four page tables of its own: see guard_errors. */
#define NO_MEMORY_PAGES	2600

FIXTURE(no_memory) {
	struct guard_map map;
	int fd;
};

FIXTURE_VARIANT(no_memory) {
	enum backing backing;
};

GUARD_VARIANTS_RW(no_memory);
GUARD_VARIANTS_RO(no_memory);

static bool knob_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return ok;
}

FIXTURE_SETUP(no_memory)
{
	self->fd = -1;
	self->map.fd = -1;
	self->map.write_fd = -1;
	if (!flag_supported() || !guard_supported(variant->backing))
		SKIP(return, "%s", guard_reason);
	if (!knob_write(FAULTS "ignore-gfp-wait", "N") ||
	    !knob_write(FAULTS "min-order", "0"))
		SKIP(return, "needs root, debugfs and CONFIG_FAIL_PAGE_ALLOC");
	knob_write(FAULTS "verbose", "0");
	self->fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (self->fd < 0)
		SKIP(return, "no fail-nth: %s", strerror(errno));
	if (!map_make(&self->map, variant->backing, NO_MEMORY_PAGES))
		SKIP(return, "%s", guard_reason);
}

FIXTURE_TEARDOWN(no_memory)
{
	if (self->fd >= 0)
		close(self->fd);
	map_free(&self->map);
	knob_write(FAULTS "ignore-gfp-wait", "Y");
	knob_write(FAULTS "min-order", "1");
	knob_write(FAULTS "verbose", "2");
}

TEST_F_TIMEOUT(no_memory, set_though_failed, 120)
{
	struct guard_map *m = &self->map;
	int nth, ret = -1, failed = 0;
	char text[16];

	for (nth = 1; ret && nth < 100; nth++) {
		ASSERT_EQ(0, munmap(m->base, m->size));
		ASSERT_EQ(m->base, mmap(m->base, m->size, m->prot,
					m->flags | MAP_FIXED, m->fd, 0));
		ASSERT_FALSE(flag_set(m->base));
		snprintf(text, sizeof(text), "%d", nth);
		ASSERT_LT(0, pwrite(self->fd, text, strlen(text), 0));
		ret = guard_install(m->base, m->size);
		ASSERT_LT(0, pwrite(self->fd, "0", 1, 0));
		if (ret) {
			EXPECT_EQ(-ENOMEM, ret);
			failed++;
		}
		EXPECT_TRUE(flag_set(m->base)) {
			TH_LOG("allocation %d failed", nth);
		}
	}
	EXPECT_EQ(0, ret);
	EXPECT_LE(4, failed);
}

FLAG_HARNESS_MAIN
