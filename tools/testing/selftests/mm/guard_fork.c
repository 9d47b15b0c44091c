// SPDX-License-Identifier: GPL-2.0
/*
 * Guard regions and fork: the child has what the parent had, of every kind of
 * mapping, and from then on each has its own.
 */
#define _GNU_SOURCE
#include "guard_layout.h"

#include <sys/prctl.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK	18
#define MADV_KEEPONFORK	19
#endif

GUARD_FIXTURE(fork, NR_PAGES)
GUARD_VARIANTS_RW(fork);
GUARD_VARIANTS_RO(fork);

/*
 * What children find comes back as an exit status: 0, or a number that names
 * the line that was wrong.
 */
static int child_looks(void *arg)
{
	struct guard_map *m = arg;
	size_t i;

	if (!map_guarded(m, GUARD, NR_GUARDS))
		return 1;
	if (range_present(map_page(m, GUARD), NR_GUARDS * page_size()))
		return 2;
	for (i = GUARD; i < AFTER; i++)
		if (!kernel_read_fails(map_page(m, i)) ||
		    !kernel_write_fails(map_page(m, i)))
			return 3;
	if (!outside_intact(m))
		return 4;
	if (vma_count(m->base, m->size) != 1)
		return 5;
	if (!map_guarded(m, GUARD, NR_GUARDS))
		return 6;
	return 0;
}

TEST_F(fork, child_has_guards)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	EXPECT_EQ(0, in_child(child_looks, m));
	EXPECT_TRUE(all_as_it_was(m));
	/* Once more: the first fork left the parent able to do it again. */
	EXPECT_EQ(0, in_child(child_looks, m));
}

/* Nothing but markers in the page table, which fork might think to leave. */
static int child_looks_only_guards(void *arg)
{
	struct guard_map *m = arg;
	size_t i;

	if (!map_guarded(m, GUARD, NR_GUARDS))
		return 1;
	for (i = 0; i < NR_PAGES; i++)
		if ((i < GUARD || i >= AFTER) &&
		    !page_holds(map_page(m, i), map_fresh_seed(m, i)))
			return 2;
	return map_guarded(m, GUARD, NR_GUARDS) ? 0 : 3;
}

TEST_F(fork, child_has_guards_of_untouched_mapping)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, guard_install(map_page(m, GUARD),
				   NR_GUARDS * page_size()));
	EXPECT_EQ(0, in_child(child_looks_only_guards, m));
	EXPECT_EQ(0, child_looks_only_guards(m));
}

/* A mapping of guards from end to end. */
static int child_looks_all_guards(void *arg)
{
	struct guard_map *m = arg;

	return map_guarded(m, 0, NR_PAGES) ? 0 : 1;
}

TEST_F(fork, child_has_guards_all_over)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, guard_install(m->base, m->size));
	EXPECT_EQ(0, in_child(child_looks_all_guards, m));
}

static int grandparent(void *arg)
{
	int ret = in_child(child_looks, arg);

	return ret ? 64 + ret : child_looks(arg);
}

TEST_F(fork, grandchild_has_guards)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	EXPECT_EQ(0, in_child(grandparent, m));
	EXPECT_TRUE(all_as_it_was(m));
}

/* The child of a child that had them from its parent and never looked. */
static int grandparent_passes_on(void *arg)
{
	return in_child(child_looks_only_guards, arg);
}

TEST_F(fork, grandchild_has_guards_of_untouched_mapping)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, guard_install(map_page(m, GUARD),
				   NR_GUARDS * page_size()));
	EXPECT_EQ(0, in_child(grandparent_passes_on, m));
}

/* Guards that the parent removed before are no guards in the child. */
static int child_finds_none(void *arg)
{
	struct guard_map *m = arg;

	return map_discarded(m, GUARD, NR_GUARDS) && outside_intact(m) ? 0 : 1;
}

TEST_F(fork, removed_before)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	ASSERT_TRUE(map_guarded(m, GUARD, NR_GUARDS));
	ASSERT_EQ(0, guard_remove(m->base, m->size));
	EXPECT_EQ(0, in_child(child_finds_none, m));
}

/* The child removes its own and uses the pages. */
static int child_removes(void *arg)
{
	struct guard_map *m = arg;

	if (guard_remove(m->base, m->size))
		return 1;
	if (!map_discarded(m, GUARD, NR_GUARDS) || !outside_intact(m))
		return 2;
	if (m->prot & PROT_WRITE && !backing_is_shared(m->backing)) {
		range_fill(m->base, NR_PAGES, 5);
		if (!range_holds(m->base, NR_PAGES, 5))
			return 3;
	}
	return 0;
}

TEST_F(fork, child_removes_parent_keeps)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	EXPECT_EQ(0, in_child(child_removes, m));
	EXPECT_TRUE(all_as_it_was(m));
}

/* Page tables are each process's own, even those of shared memory. */
static int child_installs(void *arg)
{
	struct guard_map *m = arg;

	if (guard_install(m->base, m->size))
		return 1;
	return map_guarded(m, 0, NR_PAGES) ? 0 : 2;
}

TEST_F(fork, child_installs_parent_unaffected)
{
	struct guard_map *m = &self->map;

	map_populate(m, 0, NR_PAGES);
	EXPECT_EQ(0, in_child(child_installs, m));
	EXPECT_TRUE(map_populated_intact(m, 0, NR_PAGES));
	ASSERT_EQ(0, guard_install(map_page(m, GUARD),
				   NR_GUARDS * page_size()));
	EXPECT_EQ(0, in_child(child_installs, m));
	EXPECT_TRUE(all_as_it_was(m));
}

/*
 * A child that waits until the parent has done something, then looks.
 * between() runs in the parent, after the fork.
 */
static int with_waiting_child(struct guard_map *m, int (*child)(void *),
			      int (*between)(struct guard_map *))
{
	int go[2], status, ret;
	char byte;
	pid_t pid;

	if (pipe(go))
		return 120;
	pid = fork();
	if (pid < 0)
		return 121;
	if (!pid) {
		close(go[1]);
		/* The end of the pipe is the word to go. */
		if (read(go[0], &byte, 1) != 0)
			_exit(122);
		_exit(child(m));
	}
	close(go[0]);
	ret = between(m);
	close(go[1]);
	if (waitpid(pid, &status, 0) != pid)
		return 123;
	if (ret)
		return 100 + ret;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 124;
}

static int parent_removes(struct guard_map *m)
{
	if (guard_remove(m->base, m->size))
		return 1;
	/* Used again, so that a table in common would show it. */
	if (!map_discarded(m, GUARD, NR_GUARDS))
		return 2;
	return 0;
}

TEST_F(fork, parent_removes_child_keeps)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	EXPECT_EQ(0, with_waiting_child(m, child_looks, parent_removes));
	EXPECT_TRUE(outside_intact(m));
}

static int parent_installs(struct guard_map *m)
{
	return guard_install(m->base, m->size) ? 1 : 0;
}

static int child_finds_pages(void *arg)
{
	struct guard_map *m = arg;

	return map_populated_intact(m, 0, NR_PAGES) ? 0 : 1;
}

/* What the parent discards of memory that is COW-shared, the child keeps. */
TEST_F(fork, parent_installs_child_unaffected)
{
	struct guard_map *m = &self->map;

	map_populate(m, 0, NR_PAGES);
	EXPECT_EQ(0, with_waiting_child(m, child_finds_pages,
					parent_installs));
	EXPECT_TRUE(map_guarded(m, 0, NR_PAGES));
}

static int parent_unmaps(struct guard_map *m)
{
	return munmap(m->base, m->size) ? 1 : 0;
}

TEST_F(fork, parent_unmaps_child_keeps)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	EXPECT_EQ(0, with_waiting_child(m, child_looks, parent_unmaps));
}

/* Copy on write around guards, in both directions. */
GUARD_FIXTURE(cow, NR_PAGES)
GUARD_VARIANT(cow, anon_private, ANON_PRIVATE);
GUARD_VARIANT(cow, shmem_private, SHMEM_PRIVATE);
GUARD_VARIANT(cow, file_private, FILE_PRIVATE);

static bool outside_holds(struct guard_map *m, unsigned int seed)
{
	return range_holds(m->base, GUARD, seed) &&
	       range_holds(map_page(m, AFTER), NR_PAGES - AFTER, seed + AFTER);
}

static void outside_fill(struct guard_map *m, unsigned int seed)
{
	range_fill(m->base, GUARD, seed);
	range_fill(map_page(m, AFTER), NR_PAGES - AFTER, seed + AFTER);
}

static int child_writes(void *arg)
{
	struct guard_map *m = arg;

	outside_fill(m, 3000);
	if (!map_guarded(m, GUARD, NR_GUARDS))
		return 1;
	return outside_holds(m, 3000) ? 0 : 2;
}

TEST_F(cow, child_writes)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	EXPECT_EQ(0, in_child(child_writes, m));
	EXPECT_TRUE(all_as_it_was(m));
}

static int parent_writes(struct guard_map *m)
{
	return child_writes(m);
}

TEST_F(cow, parent_writes)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	EXPECT_EQ(0, with_waiting_child(m, child_looks, parent_writes));
	EXPECT_TRUE(map_guarded(m, GUARD, NR_GUARDS));
	EXPECT_TRUE(outside_holds(m, 3000));
}

/* Shared memory: what the child writes is seen, and not through a guard. */
static int child_writes_shared(void *arg)
{
	struct guard_map *m = arg;

	outside_fill(m, 3000);
	if (guard_remove(map_page(m, GUARD), page_size()))
		return 1;
	page_fill(map_page(m, GUARD), 4000);
	return 0;
}

GUARD_FIXTURE(shared, NR_PAGES)
GUARD_VARIANT(shared, anon_shared, ANON_SHARED);
GUARD_VARIANT(shared, shmem_shared, SHMEM_SHARED);
GUARD_VARIANT(shared, file_shared, FILE_SHARED);

TEST_F(shared, child_writes_under_guard)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	EXPECT_EQ(0, in_child(child_writes_shared, m));
	EXPECT_TRUE(map_guarded(m, GUARD, NR_GUARDS));
	EXPECT_TRUE(outside_holds(m, 3000));
	ASSERT_EQ(0, guard_remove(map_page(m, GUARD), page_size()));
	EXPECT_TRUE(page_holds(map_page(m, GUARD), 4000));
	EXPECT_TRUE(map_guarded(m, GUARD + 1, NR_GUARDS - 1));
}

/* A child that is given nothing is given no guards either. */
static int child_finds_zeros(void *arg)
{
	struct guard_map *m = arg;

	return range_holds(m->base, NR_PAGES, 0) ? 0 : 1;
}

TEST(wipe_on_fork)
{
	struct guard_map m;

	if (!guard_supported(ANON_PRIVATE))
		SKIP(return, "%s", guard_reason);
	ASSERT_TRUE(map_make(&m, ANON_PRIVATE, NR_PAGES));
	ASSERT_EQ(0, populate_with_guards(&m));
	ASSERT_EQ(0, madvise(m.base, m.size, MADV_WIPEONFORK));
	EXPECT_EQ(0, in_child(child_finds_zeros, &m));
	EXPECT_TRUE(all_as_it_was(&m));

	/* Advised first, installed then. */
	ASSERT_EQ(0, guard_install(m.base, m.size));
	EXPECT_EQ(0, in_child(child_finds_zeros, &m));
	EXPECT_TRUE(map_guarded(&m, 0, NR_PAGES));

	ASSERT_EQ(0, madvise(m.base, m.size, MADV_KEEPONFORK));
	EXPECT_EQ(0, in_child(child_looks_all_guards, &m));
	map_free(&m);
}

static int child_finds_no_mapping(void *arg)
{
	struct guard_map *m = arg;

	if (vma_count(map_page(m, 1), m->size - page_size()))
		return 1;
	/* The page that was not advised. */
	return page_guarded(m->base) ? 0 : 2;
}

TEST_F(fork, dontfork)
{
	struct guard_map *m = &self->map;

	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, guard_install(m->base, m->size));
	ASSERT_EQ(0, madvise(map_page(m, 1), m->size - page_size(),
			     MADV_DONTFORK));
	EXPECT_EQ(0, in_child(child_finds_no_mapping, m));
	EXPECT_TRUE(map_guarded(m, 0, NR_PAGES));
	ASSERT_EQ(0, madvise(m->base, m->size, MADV_DOFORK));
	EXPECT_EQ(0, in_child(child_looks_all_guards, m));
}

/* A locked mapping: the child's is not, and has the guards. */
TEST_F(fork, locked_in_parent)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, populate_with_guards(m));
	if (syscall(__NR_mlock2, m->base, m->size, MLOCK_ONFAULT))
		SKIP(return, "cannot lock memory: %s", strerror(errno));
	EXPECT_EQ(0, in_child(child_looks, m));
	ASSERT_EQ(0, munlock(m->base, m->size));
	EXPECT_TRUE(all_as_it_was(m));
}

/* A child on the parent's own memory, and one that leaves it by exec. */
TEST_F(fork, vfork_and_exec)
{
	struct guard_map *m = &self->map;
	int status;
	pid_t pid;

	ASSERT_EQ(0, populate_with_guards(m));
	pid = vfork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(7);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	EXPECT_TRUE(all_as_it_was(m));

	pid = vfork();
	ASSERT_LE(0, pid);
	if (!pid) {
		execl("/proc/self/exe", "guard_fork", "--exit-7", NULL);
		_exit(8);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	EXPECT_TRUE(all_as_it_was(m));
}

/* Many page tables, guards here and there, the rest of them not there. */
#define LARGE_PAGES	1600

GUARD_FIXTURE(large, LARGE_PAGES)
GUARD_VARIANTS_RW(large);
GUARD_VARIANTS_RO(large);

static const size_t large_guards[] = { 0, 511, 512, 777, 1024, 1599 };

static int child_looks_large(void *arg)
{
	struct guard_map *m = arg;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(large_guards); i++) {
		size_t at = large_guards[i];

		if (!map_guarded(m, at, 1))
			return 1 + i;
		if (at && at != 512 &&
		    !page_holds(map_page(m, at - 1), map_fresh_seed(m, at - 1)))
			return 32 + i;
	}
	return 0;
}

TEST_F(large, many_page_tables)
{
	struct guard_map *m = &self->map;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(large_guards); i++)
		ASSERT_EQ(0, guard_install(map_page(m, large_guards[i]),
					   page_size()));
	EXPECT_EQ(0, in_child(child_looks_large, m));
	EXPECT_EQ(0, child_looks_large(m));
}

int main(int argc, char **argv)
{
	/* What vfork_and_exec runs. */
	if (argc == 2 && !strcmp(argv[1], "--exit-7"))
		return 7;
	if (argc == 1 && !guard_supported(ANON_PRIVATE)) {
		ksft_print_header();
		ksft_exit_skip("%s\n", guard_reason);
	}
	return test_harness_run(argc, argv);
}
