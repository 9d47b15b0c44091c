// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of VM_MAYBE_GUARD where it takes no process to see what is done with
 * it: the accessors in linux/vma_flags.h, fork, and khugepaged. What becomes of
 * flags in a merge is tested in tools/testing/vma, guards as such in
 * tools/testing/selftests/mm.
 */

#include <kunit/test.h>
#include <linux/bug.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/sched/mm.h>

#include "../internal.h"

/*
 * Some calls below are to warn. Count the warnings of the accessors instead of
 * having them on the console, where they look like a failure; and "once" would
 * depend on what ran before. So that header has to be the last.
 */
static unsigned int warnings;

#undef WARN_ON_ONCE
#define WARN_ON_ONCE(condition) ({		\
	bool __cond = !!(condition);		\
						\
	warnings += __cond;			\
	__cond;					\
})

#include <linux/vma_flags.h>

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
	warnings = 0;
	return 0;
}

static void guard_exit(struct kunit *test)
{
	struct guard_fixture *f = test->priv;

	if (f && f->mm)
		mmput(f->mm);
}

static void guard_set_allowed(struct kunit *test)
{
	struct guard_fixture *f = test->priv;
	const vm_flags_t flags = VM_READ | VM_SHARED | VM_MAYREAD;

	vm_flags_init(f->vma, flags);
	KUNIT_EXPECT_FALSE(test, vma_flag_test_atomic(f->vma,
						      VM_MAYBE_GUARD_BIT));

	mmap_read_lock(f->mm);
	vma_flag_set_atomic(f->vma, VM_MAYBE_GUARD_BIT);
	KUNIT_EXPECT_TRUE(test, vma_flag_test_atomic(f->vma,
						     VM_MAYBE_GUARD_BIT));
	KUNIT_EXPECT_EQ(test, f->vma->vm_flags, flags | VM_MAYBE_GUARD);

	/* Again: nothing changes. */
	vma_flag_set_atomic(f->vma, VM_MAYBE_GUARD_BIT);
	KUNIT_EXPECT_EQ(test, f->vma->vm_flags, flags | VM_MAYBE_GUARD);
	mmap_read_unlock(f->mm);

	KUNIT_EXPECT_EQ(test, warnings, 0);
}

static void guard_set_refused(struct kunit *test)
{
	struct guard_fixture *f = test->priv;
	unsigned int bit, refused = 0;

	mmap_read_lock(f->mm);
	/* Numbers beyond the last bit, too. */
	for (bit = 0; bit < BITS_PER_LONG + 3; bit++) {
		if (bit == VM_MAYBE_GUARD_BIT)
			continue;
		vm_flags_init(f->vma, VM_NONE);
		vma_flag_set_atomic(f->vma, bit);
		KUNIT_EXPECT_EQ_MSG(test, f->vma->vm_flags, VM_NONE,
				    "bit %u was set", bit);
		KUNIT_EXPECT_EQ_MSG(test, warnings, ++refused,
				    "bit %u: no warning", bit);
	}
	mmap_read_unlock(f->mm);
}

static void guard_test_each_bit(struct kunit *test)
{
	struct guard_fixture *f = test->priv;
	unsigned int bit, other;

	for (bit = 0; bit < BITS_PER_LONG; bit++) {
		vm_flags_init(f->vma, BIT(bit));
		for (other = 0; other < BITS_PER_LONG; other++)
			KUNIT_EXPECT_EQ(test, bit == other,
					vma_flag_test_atomic(f->vma, other));
	}
}

static void guard_flag_sets(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, VM_MAYBE_GUARD, BIT(VM_MAYBE_GUARD_BIT));
	KUNIT_EXPECT_EQ(test, VM_ATOMIC_SET_ALLOWED, VM_MAYBE_GUARD);
	KUNIT_EXPECT_EQ(test, VM_STICKY, VM_MAYBE_GUARD | VM_SOFTDIRTY);
	/* What does not prevent a merge must not get lost in it. */
	KUNIT_EXPECT_EQ(test, VM_IGNORE_MERGE, VM_STICKY);
	KUNIT_EXPECT_EQ(test, VM_COPY_ON_FORK, VM_PFNMAP | VM_MIXEDMAP |
			VM_UFFD_WP | VM_MAYBE_GUARD);
}

/* By the flags of the child, or the parent's anon_vma. */
static void guard_fork_copies(struct kunit *test)
{
	struct guard_fixture *f = test->priv;
	unsigned int bit;

	for (bit = 0; bit < BITS_PER_LONG; bit++) {
		const vm_flags_t flag = BIT(bit);
		const bool copy = flag & (VM_PFNMAP | VM_MIXEDMAP | VM_UFFD_WP |
					  VM_MAYBE_GUARD);

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
		if (BIT(bit) & (VM_UFFD_WP | VM_MAYBE_GUARD))
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
	KUNIT_CASE(guard_set_allowed),
	KUNIT_CASE(guard_set_refused),
	KUNIT_CASE(guard_test_each_bit),
	KUNIT_CASE(guard_flag_sets),
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
