// SPDX-License-Identifier: GPL-2.0
/*
 * Guard regions and swap: pages that are out when a guard takes their place,
 * and the walk of swapoff() over page tables that hold guards.
 *
 * The swap is a small file of the test's own, preferred to any other that is
 * on; that takes root.
 */
#include "guard_system.h"

#define NPAGES		8
#define SWAP_PAGES	1023

/* In the middle of what is swapped out. */
#define GUARD		2
#define NGUARDS		3

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
/* Pages written to in a private mapping of a file are swapped, too. */
GUARD_VARIANT(swap, file_private, FILE_PRIVATE);

FIXTURE_SETUP(swap)
{
	if (!guard_supported(variant->backing) ||
	    !map_make(&self->map, variant->backing, NPAGES))
		SKIP(return, "%s", guard_reason);
	ASSERT_EQ(0, stay_on_cpu());
	if (!swap_on(self->path, sizeof(self->path), SWAP_PAGES))
		SKIP(return, "%s", guard_reason);
	map_populate(&self->map, 0, NPAGES);
}

FIXTURE_TEARDOWN_PARENT(swap)
{
	swap_off(self->path);
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

/* Discarded like pages that are in, and with them what they had in swap. */
TEST_F(swap, install_over_swapped)
{
	ASSERT_TRUE(pages_out(&self->map, NPAGES));
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
	ASSERT_TRUE(pages_out(&self->map, NPAGES));
	EXPECT_EQ(0, guard_remove(self->map.base, self->map.size));
	EXPECT_EQ((long)self->map.size, swapped_bytes(&self->map));
	EXPECT_TRUE(map_populated_intact(&self->map, 0, NPAGES));
}

TEST_F(swap, pageout_leaves_guard)
{
	ASSERT_EQ(0, install(&self->map));
	ASSERT_TRUE(pages_out(&self->map, NPAGES - NGUARDS));
	EXPECT_TRUE(guards_stand(&self->map));
	EXPECT_TRUE(others_intact(&self->map));
}

TEST_F(swap, swapoff_leaves_guard)
{
	ASSERT_TRUE(pages_out(&self->map, NPAGES));
	ASSERT_EQ(0, install(&self->map));
	ASSERT_EQ(0, swapoff(self->path));
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
	ASSERT_TRUE(pages_out(&self->map, NPAGES));
	ASSERT_EQ(0, install(&self->map));
	EXPECT_EQ(0, in_child(child_checks, &self->map));
	EXPECT_TRUE(guards_stand(&self->map));
	EXPECT_TRUE(others_intact(&self->map));
}

GUARD_HARNESS_MAIN
