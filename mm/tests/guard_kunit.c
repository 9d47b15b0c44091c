// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of VM_MAYBE_GUARD where it takes no process to see what is done with
 * it: fork, and khugepaged. What becomes of flags in a merge is tested in
 * tools/testing/vma, guards as such in tools/testing/selftests/mm.
 */

#include <kunit/test.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>

/* For internal.h, and the sets of flags. */
#include "../vma_internal.h"

struct guard_fixture {
	struct mm_struct *mm;
	struct vm_area_struct *vma;
	struct vm_area_struct *child;
	/* Any pointer that is not NULL; nobody looks into it. */
	struct anon_vma *anon_vma;
};

static int guard_init(struct kunit *test)
{
	struct guard_fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	test->priv = f;
	f->vma = kunit_kzalloc(test, sizeof(*f->vma), GFP_KERNEL);
	f->child = kunit_kzalloc(test, sizeof(*f->child), GFP_KERNEL);
	f->anon_vma = kunit_kzalloc(test, sizeof(long), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, f->vma);
	KUNIT_ASSERT_NOT_NULL(test, f->child);
	KUNIT_ASSERT_NOT_NULL(test, f->anon_vma);

	f->mm = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, f->mm);
	vma_init(f->vma, f->mm);
	vma_init(f->child, f->mm);
	return 0;
}

static void guard_exit(struct kunit *test)
{
	struct guard_fixture *f = test->priv;

	if (f && f->mm)
		mmput(f->mm);
}

/* By the flags of the child, or the parent's anon_vma. */
static void guard_fork_copies(struct kunit *test)
{
	const vm_flags_t lost = VM_PFNMAP | VM_MIXEDMAP | VM_UFFD_WP |
				VM_MAYBE_GUARD;
	struct guard_fixture *f = test->priv;
	unsigned int bit;

	KUNIT_EXPECT_EQ(test, VM_COPY_ON_FORK & lost, lost);
	for (bit = 0; bit < BITS_PER_LONG; bit++) {
		const vm_flags_t flag = BIT(bit);
		const bool copy = flag & VM_COPY_ON_FORK;

		vm_flags_init(f->vma, flag);
		vm_flags_init(f->child, flag);
		KUNIT_EXPECT_EQ_MSG(test, vma_needs_copy(f->child, f->vma),
				    copy, "flag %lx", flag);

		/* As uffd-wp, which the child need not have. */
		vm_flags_init(f->child, VM_NONE);
		KUNIT_EXPECT_FALSE_MSG(test, vma_needs_copy(f->child, f->vma),
				       "flag %lx of the parent", flag);

		vm_flags_init(f->vma, VM_NONE);
		vm_flags_init(f->child, flag);
		KUNIT_EXPECT_EQ_MSG(test, vma_needs_copy(f->child, f->vma),
				    copy, "flag %lx of the child", flag);
	}

	vm_flags_init(f->child, VM_NONE);
	f->vma->anon_vma = f->anon_vma;
	KUNIT_EXPECT_TRUE(test, vma_needs_copy(f->child, f->vma));
}

static void guard_retractable(struct kunit *test)
{
#if defined(CONFIG_TRANSPARENT_HUGEPAGE) && defined(CONFIG_SHMEM)
	struct guard_fixture *f = test->priv;
	/* What of VM_COPY_ON_FORK can be in a file mapping of ordinary pages. */
	const vm_flags_t in_tables = VM_COPY_ON_FORK &
				     ~(VM_PFNMAP | VM_MIXEDMAP);
	const bool uffd = IS_ENABLED(CONFIG_USERFAULTFD);
	unsigned int bit, i;

	for (i = 0; i < 8; i++) {
		const bool anon = i & 1, wp = i & 2, guard = i & 4;

		f->vma->anon_vma = anon ? f->anon_vma : NULL;
		vm_flags_init(f->vma, VM_READ | VM_SHARED |
			      (wp ? VM_UFFD_WP : 0) |
			      (guard ? VM_MAYBE_GUARD : 0));
		KUNIT_EXPECT_EQ_MSG(test, file_backed_vma_is_retractable(f->vma),
				    !(anon || (wp && uffd) || guard),
				    "anon_vma %d, uffd-wp %d, guard %d",
				    anon, wp, guard);
	}

	/* No other flag matters. */
	f->vma->anon_vma = NULL;
	for (bit = 0; bit < BITS_PER_LONG; bit++) {
		if (BIT(bit) & in_tables)
			continue;
		vm_flags_init(f->vma, BIT(bit));
		KUNIT_EXPECT_TRUE_MSG(test,
				      file_backed_vma_is_retractable(f->vma),
				      "flag %lx", BIT(bit));
	}
#else
	kunit_skip(test, "needs TRANSPARENT_HUGEPAGE and SHMEM");
#endif
}

static struct kunit_case guard_cases[] = {
	KUNIT_CASE(guard_fork_copies),
	KUNIT_CASE(guard_retractable),
	{}
};

static struct kunit_suite guard_suite = {
	.name = "mm_guard",
	.init = guard_init,
	.exit = guard_exit,
	.test_cases = guard_cases,
};

kunit_test_suites(&guard_suite);
