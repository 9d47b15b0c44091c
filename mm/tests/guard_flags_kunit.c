// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of linux/vma_flags.h: the accessors for single flags, and what is in
 * the sets of flags.
 */

#include <kunit/test.h>
#include <linux/bug.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/sched/mm.h>

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

struct guard_flags_fixture {
	struct mm_struct *mm;
	struct vm_area_struct *vma;
};

static int guard_flags_init(struct kunit *test)
{
	struct guard_flags_fixture *f = kunit_kzalloc(test, sizeof(*f),
						      GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	test->priv = f;
	f->vma = kunit_kzalloc(test, sizeof(*f->vma), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, f->vma);

	f->mm = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, f->mm);
	vma_init(f->vma, f->mm);
	warnings = 0;
	return 0;
}

static void guard_flags_exit(struct kunit *test)
{
	struct guard_flags_fixture *f = test->priv;

	if (f && f->mm)
		mmput(f->mm);
}

static void guard_set_allowed(struct kunit *test)
{
	struct guard_flags_fixture *f = test->priv;
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
	struct guard_flags_fixture *f = test->priv;
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
	struct guard_flags_fixture *f = test->priv;
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

static struct kunit_case guard_flags_cases[] = {
	KUNIT_CASE(guard_set_allowed),
	KUNIT_CASE(guard_set_refused),
	KUNIT_CASE(guard_test_each_bit),
	KUNIT_CASE(guard_flag_sets),
	{}
};

static struct kunit_suite guard_flags_suite = {
	.name = "mm_guard_flags",
	.init = guard_flags_init,
	.exit = guard_flags_exit,
	.test_cases = guard_flags_cases,
};

kunit_test_suites(&guard_flags_suite);
