// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of VM_MAYBE_GUARD where it takes no process to see what is done with
 * it: fork, and khugepaged. What becomes of flags in a merge is tested in
 * tools/testing/vma, guards as such in tools/testing/selftests/mm.
 */

#include <kunit/test.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/swap.h>
#include <linux/swapops.h>

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

/* Nothing but markers, where VM_MAYBE_GUARD is all there is to copy for. */
static void guard_fork_copies_markers(struct kunit *test)
{
	const vm_flags_t others = VM_COPY_ON_FORK & ~VM_MAYBE_GUARD;
	struct guard_fixture *f = test->priv;
	unsigned int bit;

	for (bit = 0; bit < BITS_PER_LONG; bit++) {
		const vm_flags_t flag = BIT(bit);

		f->vma->anon_vma = NULL;
		vm_flags_init(f->child, flag | VM_MAYBE_GUARD);
		KUNIT_EXPECT_EQ_MSG(test,
				    vma_needs_only_markers(f->child, f->vma),
				    !(flag & others), "flag %lx", flag);
		vm_flags_init(f->child, flag & ~VM_MAYBE_GUARD);
		KUNIT_EXPECT_FALSE_MSG(test,
				       vma_needs_only_markers(f->child, f->vma),
				       "flag %lx alone", flag);

		/* The parent may have uffd-wp and the child not. */
		vm_flags_init(f->vma, flag | VM_MAYBE_GUARD);
		vm_flags_init(f->child, VM_MAYBE_GUARD);
		KUNIT_EXPECT_TRUE_MSG(test,
				      vma_needs_only_markers(f->child, f->vma),
				      "flag %lx of the parent", flag);

		f->vma->anon_vma = f->anon_vma;
		KUNIT_EXPECT_FALSE_MSG(test,
				       vma_needs_only_markers(f->child, f->vma),
				       "anon_vma, flag %lx", flag);
	}
}

/* Entries of several kinds, none of which is a marker. */
static pte_t guard_entry(unsigned int kind)
{
	switch (kind % 4) {
	case 0:
		return mk_pte(ZERO_PAGE(0), vm_get_page_prot(VM_READ));
	case 1:
		return swp_entry_to_pte(swp_entry(0, 1));
	case 2:
		return __pte(0);
	default:
		return mk_pte(ZERO_PAGE(0), PAGE_NONE);
	}
}

static void guard_next_marker(struct kunit *test)
{
	const pte_marker markers[] = { PTE_MARKER_GUARD, PTE_MARKER_POISONED,
				       PTE_MARKER_UFFD_WP };
	const int nr = 40;
	int first, last, at, i, kind;
	pte_t *ptes, *found;

	ptes = kunit_kcalloc(test, nr, sizeof(*ptes), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ptes);

	/* All present, and then a mixture. */
	for (kind = 0; kind < 2; kind++) {
		for (i = 0; i < nr; i++)
			ptes[i] = guard_entry(kind * i);
		for (first = 0; first <= nr; first++)
			for (last = first; last <= nr; last++) {
				found = pte_next_marker(ptes + first,
							ptes + last);
				KUNIT_EXPECT_PTR_EQ(test, ptes + last, found);
			}

		for (at = 0; at < nr; at++) {
			ptes[at] = make_pte_marker(markers[at % 3]);
			for (first = 0; first <= at; first++)
				for (last = at + 1; last <= nr; last++) {
					found = pte_next_marker(ptes + first,
								ptes + last);
					KUNIT_EXPECT_PTR_EQ(test, ptes + at,
							    found);
				}
			KUNIT_EXPECT_PTR_EQ(test, ptes + at,
					    pte_next_marker(ptes, ptes + at));
			ptes[at] = guard_entry(kind * at);
		}

		/* The first of several. */
		for (i = 0; i < nr; i += 7)
			ptes[i] = make_pte_marker(PTE_MARKER_GUARD);
		for (i = 0; i < nr; i += 7)
			KUNIT_EXPECT_PTR_EQ(test, ptes + i,
					    pte_next_marker(ptes + max(i - 6, 0),
							    ptes + nr));
	}
}

static void guard_retractable(struct kunit *test)
{
#if defined(CONFIG_TRANSPARENT_HUGEPAGE) && defined(CONFIG_SHMEM)
	struct guard_fixture *f = test->priv;
	/* What makes it fail. Guards are looked for in the page table. */
	const vm_flags_t in_tables = VM_COPY_ON_FORK &
				     ~(VM_PFNMAP | VM_MIXEDMAP | VM_MAYBE_GUARD);
	const bool uffd = IS_ENABLED(CONFIG_USERFAULTFD);
	unsigned int bit, i;

	for (i = 0; i < 8; i++) {
		const bool anon = i & 1, wp = i & 2, guard = i & 4;

		f->vma->anon_vma = anon ? f->anon_vma : NULL;
		vm_flags_init(f->vma, VM_READ | VM_SHARED |
			      (wp ? VM_UFFD_WP : 0) |
			      (guard ? VM_MAYBE_GUARD : 0));
		KUNIT_EXPECT_EQ_MSG(test, file_backed_vma_is_retractable(f->vma),
				    !(anon || (wp && uffd)),
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
	KUNIT_CASE(guard_fork_copies_markers),
	KUNIT_CASE(guard_next_marker),
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
