// SPDX-License-Identifier: GPL-2.0
/*
 * Guard regions and swap: pages that are out when a guard takes their place,
 * and the walk of swapoff() over page tables that hold guards.
 *
 * The swap is a small file of the test's own, preferred to any other that is
 * on; that takes root.
 */
#include "guard_util.h"

#include <sched.h>
#include <sys/swap.h>

#define NPAGES		8
#define SWAP_PAGES	1024

/* In the middle of what is swapped out. */
#define GUARD		2
#define NGUARDS		3

FIXTURE(swap) {
	struct guard_map map;
	char path[PATH_MAX];
	bool on;
};

FIXTURE_VARIANT(swap) {
	enum backing backing;
};

GUARD_VARIANT(swap, anon_private, ANON_PRIVATE);
GUARD_VARIANT(swap, anon_shared, ANON_SHARED);
GUARD_VARIANT(swap, shmem_private, SHMEM_PRIVATE);
GUARD_VARIANT(swap, shmem_shared, SHMEM_SHARED);
/* Pages written to in a private mapping of a file are swapped, too. */
GUARD_VARIANT(swap, file_private, FILE_PRIVATE);

/* What mkswap(8) puts into the first page. */
static int swap_format(int fd)
{
	size_t psize = page_size(), i;
	char *page = calloc(1, psize);
	__u32 *info = (__u32 *)(page + 1024);
	int ret = page ? 0 : -1;

	/* Written out in full: a swap file has no holes. */
	for (i = 1; i < SWAP_PAGES && !ret; i++)
		if (pwrite(fd, page, psize, i * psize) != (ssize_t)psize)
			ret = -1;
	if (!ret) {
		info[0] = 1;			/* version */
		info[1] = SWAP_PAGES - 1;	/* last page */
		info[2] = 0;			/* bad pages */
		memcpy(page + psize - 10, "SWAPSPACE2", 10);
		if (pwrite(fd, page, psize, 0) != (ssize_t)psize ||
		    fsync(fd))
			ret = -1;
	}
	free(page);
	return ret;
}

/* Turns the swap on; false with the reason. */
static bool swap_on(char *path, size_t size)
{
	const char *dir = getenv("GUARD_TEST_DIR");
	int fd, ret;

	if (geteuid()) {
		guard_set_reason("swapon needs root");
		return false;
	}
	snprintf(path, size, "%s/guard-swap-XXXXXX", dir && *dir ? dir : ".");
	fd = mkstemp(path);
	if (fd < 0) {
		guard_set_reason("no file for swap: %s", strerror(errno));
		return false;
	}
	ret = swap_format(fd);
	close(fd);
	if (!ret)
		ret = swapon(path, SWAP_FLAG_PREFER | SWAP_FLAG_PRIO_MASK);
	if (ret) {
		guard_set_reason("swapon in GUARD_TEST_DIR: %s",
				 strerror(errno));
		unlink(path);
	}
	return !ret;
}

/*
 * Pages just made wait in a list of the processor's that made them, and
 * MADV_PAGEOUT knows where to look only on its own.
 */
static int stay_on_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

FIXTURE_SETUP(swap)
{
	if (!guard_supported(variant->backing) ||
	    !map_make(&self->map, variant->backing, NPAGES))
		SKIP(return, "%s", guard_reason);
	self->on = swap_on(self->path, sizeof(self->path));
	if (!self->on) {
		map_free(&self->map);
		SKIP(return, "%s", guard_reason);
	}
	ASSERT_EQ(0, stay_on_cpu());
	map_populate(&self->map, 0, NPAGES);
}

FIXTURE_TEARDOWN(swap)
{
	if (self->on)
		swapoff(self->path);
	unlink(self->path);
	map_free(&self->map);
}

static long swapped_bytes(const struct guard_map *map)
{
	return smaps_bytes(map->base, "Swap");
}

/*
 * Sends all pages but guards out. Pages just written may need a second try:
 * reclaim starts writing them first and takes them when that is done.
 */
static bool pages_out(const struct guard_map *map, size_t npages)
{
	long want = npages * page_size();
	int i;

	for (i = 0; i < 50 && swapped_bytes(map) < want; i++) {
		if (sys_advise(map->base, map->size, MADV_PAGEOUT))
			break;
		usleep(10000);
	}
	return swapped_bytes(map) >= want;
}

static bool guards_stand(const struct guard_map *map)
{
	return map_guards_are(map, ((1U << NGUARDS) - 1) << GUARD);
}

/* The pages that are no guards are as they were written. */
static bool others_intact(const struct guard_map *map)
{
	return map_populated_intact(map, 0, GUARD) &&
	       map_populated_intact(map, GUARD + NGUARDS,
				    NPAGES - GUARD - NGUARDS);
}

static int child_checks(void *arg)
{
	return guards_stand(arg) && others_intact(arg) ? 0 : 1;
}

static int install(struct guard_map *map)
{
	return guard_install(map_page(map, GUARD), NGUARDS * page_size());
}

#define PAGES_OUT(npages) do {						\
	if (!pages_out(&self->map, npages))				\
		SKIP(return, "could not get pages swapped out");	\
} while (0)

/* Discarded like pages that are in, and with them what they had in swap. */
TEST_F(swap, install_over_swapped)
{
	PAGES_OUT(NPAGES);
	EXPECT_EQ(0, install(&self->map));
	EXPECT_TRUE(guards_stand(&self->map));
	if (!backing_is_shared(variant->backing)) {
		EXPECT_EQ((long)((NPAGES - NGUARDS) * page_size()),
			  swapped_bytes(&self->map));
	}
	EXPECT_TRUE(others_intact(&self->map));

	EXPECT_EQ(0, guard_remove(self->map.base, self->map.size));
	EXPECT_TRUE(map_discarded(&self->map, GUARD, NGUARDS));
	EXPECT_TRUE(others_intact(&self->map));
}

/* Remove is for guards: what is in swap stays there. */
TEST_F(swap, remove_leaves_swapped)
{
	PAGES_OUT(NPAGES);
	EXPECT_EQ(0, guard_remove(self->map.base, self->map.size));
	EXPECT_EQ((long)self->map.size, swapped_bytes(&self->map));
	EXPECT_TRUE(map_populated_intact(&self->map, 0, NPAGES));
}

TEST_F(swap, pageout_leaves_guard)
{
	ASSERT_EQ(0, install(&self->map));
	PAGES_OUT(NPAGES - NGUARDS);
	EXPECT_TRUE(guards_stand(&self->map));
	EXPECT_TRUE(others_intact(&self->map));
}

TEST_F(swap, swapoff_leaves_guard)
{
	PAGES_OUT(NPAGES);
	ASSERT_EQ(0, install(&self->map));
	ASSERT_EQ(0, swapoff(self->path));
	self->on = false;
	/*
	 * How much came back is not checked: newer kernels put pages on other
	 * swap areas in spite of the priority.
	 */
	EXPECT_TRUE(guards_stand(&self->map));
	EXPECT_TRUE(others_intact(&self->map));
	EXPECT_EQ(0, guard_remove(self->map.base, self->map.size));
	EXPECT_TRUE(map_discarded(&self->map, GUARD, NGUARDS));
}

/* The child gets both kinds of entries that are not present. */
TEST_F(swap, fork)
{
	PAGES_OUT(NPAGES);
	ASSERT_EQ(0, install(&self->map));
	EXPECT_EQ(0, in_child(child_checks, &self->map));
	EXPECT_TRUE(guards_stand(&self->map));
	EXPECT_TRUE(others_intact(&self->map));
}

GUARD_HARNESS_MAIN
