// SPDX-License-Identifier: GPL-2.0
/*
 * Guards that are installed while retract_page_tables() is at work; and what
 * others may see of an install.
 *
 * Between its look without locks, which is a hint, and the one under
 * the PTE lock, which decides, it tells the MMU notifiers. So a notifier of the
 * mm is in the gap, each time, and can have a guard installed there: what would
 * be a race that nobody wins on purpose is an ordinary test. The other end of
 * the notification comes when the page table is gone.
 *
 * In the races there are two mappings of one file in one mm. MADV_COLLAPSE of
 * the second one makes the page cache huge, and then retracts the page table of
 * the first.
 */

#include <kunit/test.h>
#include <linux/completion.h>
#include <linux/file.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/uaccess.h>
#include <asm/tlbflush.h>

#include "../internal.h"

/* Where nothing else is in an mm that has just been made. */
#define SEEN_ADDR	((unsigned long)SZ_1G)
/* Two huge pages further, so that the mappings do not touch. */
#define COLLAPSED_ADDR	(SEEN_ADDR + 2 * HPAGE_PMD_SIZE)
/* Retracted after the first one, in the test that has it. */
#define LAST_ADDR	(COLLAPSED_ADDR + 2 * HPAGE_PMD_SIZE)
/* Some page in the middle. */
#define GUARD_ADDR	(SEEN_ADDR + 17 * PAGE_SIZE)

enum guard_race_when {
	GUARD_NEVER,
	GUARD_BEFORE,
	GUARD_REMOVED,
	GUARD_REMOVED_LOCKED,		/* ... and the mmap lock is held for writing */
	GUARD_REMOVED_BETWEEN_LOOKS,	/* ... and another comes between the looks */
	GUARD_BETWEEN_LOOKS,
	GUARD_AFTER,
};

struct guard_race {
	struct mmu_notifier notifier;
	struct file *file;
	struct task_struct *collapser;
	enum guard_race_when when;
	/* Calls of the notifier for the page table of SEEN_ADDR. */
	int started, ended;

	/*
	 * The notifier is called with the i_mmap lock held, inside of which the
	 * mmap lock is not to be taken. So another thread does the install.
	 */
	struct mm_struct *mm;
	bool quit;
	int install_ret;
	struct completion go;
	struct completion done;

	/* Likewise for who holds the mmap lock. */
	struct completion locked;
	struct completion unlock;
	bool unlocked_late;
};

static void guard_race_hold(struct guard_race *race)
{
	mmap_write_lock(race->mm);
	complete(&race->locked);
	/* Not for ever: the collapse is going to need the lock. */
	race->unlocked_late = !wait_for_completion_timeout(&race->unlock, 60 * HZ);
	mmap_write_unlock(race->mm);
}

static int guard_race_installer(void *data)
{
	struct guard_race *race = data;

	wait_for_completion(&race->go);
	if (!race->quit && race->when == GUARD_REMOVED_LOCKED) {
		guard_race_hold(race);
	} else if (!race->quit) {
		kthread_use_mm(race->mm);
		race->install_ret = do_madvise(race->mm, GUARD_ADDR, PAGE_SIZE,
					       MADV_GUARD_INSTALL);
		kthread_unuse_mm(race->mm);
	}
	complete_all(&race->done);
	return 0;
}

static void guard_race_install(struct guard_race *race)
{
	complete(&race->go);
	wait_for_completion(&race->done);
}

/* Is this retract_page_tables()? try_to_unmap() goes page by page. */
static bool guard_race_is_retraction(struct guard_race *race,
				     const struct mmu_notifier_range *range,
				     unsigned long addr)
{
	return current == race->collapser &&
		range->event == MMU_NOTIFY_CLEAR &&
		range->start == addr && range->end == addr + HPAGE_PMD_SIZE;
}

static int guard_race_start(struct mmu_notifier *notifier,
			    const struct mmu_notifier_range *range)
{
	struct guard_race *race = container_of(notifier, struct guard_race,
					       notifier);

	if (guard_race_is_retraction(race, range, SEEN_ADDR) &&
	    !race->started++ && (race->when == GUARD_BETWEEN_LOOKS ||
				 race->when == GUARD_REMOVED_BETWEEN_LOOKS))
		guard_race_install(race);

	/* The page tables come in the order in which they were mapped. */
	if (race->when != GUARD_REMOVED_LOCKED)
		return 0;
	if (guard_race_is_retraction(race, range, COLLAPSED_ADDR)) {
		complete(&race->go);
		wait_for_completion(&race->locked);
	} else if (guard_race_is_retraction(race, range, LAST_ADDR)) {
		complete(&race->unlock);
	}
	return 0;
}

static void guard_race_end(struct mmu_notifier *notifier,
			   const struct mmu_notifier_range *range)
{
	struct guard_race *race = container_of(notifier, struct guard_race,
					       notifier);

	if (guard_race_is_retraction(race, range, SEEN_ADDR) &&
	    !race->ended++ && race->when == GUARD_AFTER)
		guard_race_install(race);
}

static const struct mmu_notifier_ops guard_race_ops = {
	.invalidate_range_start	= guard_race_start,
	.invalidate_range_end	= guard_race_end,
};

static void guard_race_put_file(void *data)
{
	fput(data);
}

static void guard_race_unregister(void *data)
{
	struct mmu_notifier *notifier = data;

	mmu_notifier_unregister(notifier, notifier->mm);
}

static void guard_race_stop_installer(void *data)
{
	struct guard_race *race = data;

	/* It has installed, or never will. */
	race->quit = true;
	complete(&race->go);
	wait_for_completion(&race->done);
}

static void guard_race_at_exit(struct kunit *test, kunit_action_t *action,
			       void *data)
{
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, action, data));
}

/* Have @notifier called for the mm of the test, until that is over. */
static void guard_race_register(struct kunit *test,
				struct mmu_notifier *notifier)
{
	KUNIT_ASSERT_EQ(test, 0, mmu_notifier_register(notifier, current->mm));
	guard_race_at_exit(test, guard_race_unregister, notifier);
}

static void guard_race_mmap(struct kunit *test, struct file *file,
			    unsigned long addr, unsigned long size,
			    unsigned long flags)
{
	unsigned long at = kunit_vm_mmap(test, file, addr, size,
					 PROT_READ | PROT_WRITE,
					 flags | MAP_FIXED_NOREPLACE, 0);

	KUNIT_ASSERT_EQ(test, at, addr);
}

static void guard_race_map(struct kunit *test, struct file *file,
			   unsigned long addr, unsigned long flags)
{
	unsigned long offset;
	char c;

	guard_race_mmap(test, file, addr, HPAGE_PMD_SIZE, flags);
	/* To read leaves a private mapping without pages of its own. */
	for (offset = 0; offset < HPAGE_PMD_SIZE; offset += PAGE_SIZE)
		KUNIT_ASSERT_EQ(test, 0,
				get_user(c, (char __user *)(addr + offset)));
	(void)c;
}

/* Shared anonymous memory is a file of shmem; have it for the other mapping. */
static void guard_race_get_file(struct kunit *test)
{
	struct guard_race *race = test->priv;
	struct vm_area_struct *vma;

	mmap_read_lock(race->mm);
	vma = vma_lookup(race->mm, COLLAPSED_ADDR);
	if (vma && vma->vm_file)
		race->file = get_file(vma->vm_file);
	mmap_read_unlock(race->mm);
	KUNIT_ASSERT_NOT_NULL(test, race->file);
	guard_race_at_exit(test, guard_race_put_file, race->file);
}

/* The page table that SEEN_ADDR has now, if any. */
static pgtable_t guard_race_table(struct kunit *test)
{
	struct guard_race *race = test->priv;
	pmd_t *pmd = mm_find_pmd(race->mm, SEEN_ADDR);
	pmd_t pmdval;

	KUNIT_ASSERT_NOT_NULL(test, pmd);
	pmdval = pmdp_get_lockless(pmd);
	if (!pmd_present(pmdval) || pmd_leaf(pmdval))
		return NULL;
	return pmd_pgtable(pmdval);
}

/* Whether there is a guard at @addr; -1 without a page table. */
static int guard_race_guard_at(struct mm_struct *mm, unsigned long addr)
{
	pmd_t *pmd = mm_find_pmd(mm, addr);
	pte_t *pte = pmd ? pte_offset_map(pmd, addr) : NULL;
	int guard;

	if (!pte)
		return -1;
	guard = is_guard_pte_marker(ptep_get_lockless(pte));
	pte_unmap(pte);
	return guard;
}

/* The number of guards in the range of the first mapping. */
static int guard_race_guards(struct kunit *test)
{
	struct guard_race *race = test->priv;
	unsigned long addr;
	int guards = 0;

	if (!guard_race_table(test))
		return 0;
	for (addr = SEEN_ADDR; addr < SEEN_ADDR + HPAGE_PMD_SIZE;
	     addr += PAGE_SIZE) {
		int guard = guard_race_guard_at(race->mm, addr);

		KUNIT_ASSERT_LE(test, 0, guard);
		guards += guard;
	}
	return guards;
}

static void guard_race_run(struct kunit *test, enum guard_race_when when)
{
	const unsigned long *flags = test->param_value;
	struct guard_race *race;
	struct task_struct *installer;
	struct vm_area_struct *vma;
	pgtable_t before, after;
	const bool guarded = when == GUARD_BEFORE || when == GUARD_AFTER ||
			     when == GUARD_BETWEEN_LOOKS ||
			     when == GUARD_REMOVED_BETWEEN_LOOKS;
	/* What the first look does not stop is notified, once. */
	const bool notified = when != GUARD_BEFORE && when != GUARD_REMOVED_LOCKED;
	/* A new table, for the guard that came after, can be at the old place. */
	const bool retracted = when == GUARD_AFTER || (!guarded && notified);

	if (!has_transparent_hugepage())
		kunit_skip(test, "no huge pages on this machine");
	if (HPAGE_PMD_SIZE > SZ_32M)
		kunit_skip(test, "huge pages of this size take too much memory");

	race = kunit_kzalloc(test, sizeof(*race), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, race);
	test->priv = race;
	race->notifier.ops = &guard_race_ops;
	race->collapser = current;
	race->when = when;
	init_completion(&race->go);
	init_completion(&race->done);
	init_completion(&race->locked);
	init_completion(&race->unlock);

	guard_race_map(test, NULL, COLLAPSED_ADDR, MAP_SHARED | MAP_ANONYMOUS);
	race->mm = current->mm;
	guard_race_get_file(test);
	guard_race_map(test, race->file, SEEN_ADDR, *flags);
	if (when == GUARD_REMOVED_LOCKED)
		guard_race_map(test, race->file, LAST_ADDR, MAP_SHARED);

	guard_race_register(test, &race->notifier);
	installer = kthread_run(guard_race_installer, race, "guard_race");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, installer);
	guard_race_at_exit(test, guard_race_stop_installer, race);

	before = guard_race_table(test);
	KUNIT_ASSERT_NOT_NULL(test, before);
	if (when == GUARD_BEFORE)
		guard_race_install(race);
	if (when == GUARD_REMOVED || when == GUARD_REMOVED_LOCKED ||
	    when == GUARD_REMOVED_BETWEEN_LOOKS) {
		KUNIT_ASSERT_EQ(test, 0, do_madvise(race->mm, GUARD_ADDR,
						    PAGE_SIZE,
						    MADV_GUARD_INSTALL));
		KUNIT_ASSERT_EQ(test, 0, do_madvise(race->mm, GUARD_ADDR,
						    PAGE_SIZE,
						    MADV_GUARD_REMOVE));
	}
	KUNIT_ASSERT_EQ(test, 0, do_madvise(race->mm, COLLAPSED_ADDR,
					    HPAGE_PMD_SIZE, MADV_COLLAPSE));
	after = guard_race_table(test);
	KUNIT_EXPECT_EQ(test, 0, race->install_ret);
	KUNIT_EXPECT_EQ(test, guarded, guard_race_guards(test));

	KUNIT_EXPECT_EQ(test, notified, race->started);
	KUNIT_EXPECT_EQ(test, notified, race->ended);
	KUNIT_EXPECT_FALSE(test, race->unlocked_late);

	if (!retracted)
		KUNIT_EXPECT_PTR_EQ(test, before, after);
	else if (!guarded)
		KUNIT_EXPECT_NULL(test, after);
	else
		KUNIT_EXPECT_NOT_NULL(test, after);

	/* What keeps the table is no anon_vma. */
	mmap_read_lock(race->mm);
	vma = vma_lookup(race->mm, SEEN_ADDR);
	KUNIT_EXPECT_NOT_NULL(test, vma);
	if (vma) {
		KUNIT_EXPECT_NULL(test, vma->anon_vma);
		KUNIT_EXPECT_EQ(test, when != GUARD_NEVER,
				!!(vma->vm_flags & VM_MAYBE_GUARD));
	}
	mmap_read_unlock(race->mm);
}

static void race_no_guard(struct kunit *test)
{
	guard_race_run(test, GUARD_NEVER);
}

static void race_before(struct kunit *test)
{
	guard_race_run(test, GUARD_BEFORE);
}

static void race_removed(struct kunit *test)
{
	guard_race_run(test, GUARD_REMOVED);
}

static void race_removed_locked(struct kunit *test)
{
	guard_race_run(test, GUARD_REMOVED_LOCKED);
}

static void race_removed_between_looks(struct kunit *test)
{
	guard_race_run(test, GUARD_REMOVED_BETWEEN_LOOKS);
}

static void race_between_looks(struct kunit *test)
{
	guard_race_run(test, GUARD_BETWEEN_LOOKS);
}

static void race_after(struct kunit *test)
{
	guard_race_run(test, GUARD_AFTER);
}

/*
 * A page in the way makes an install zap it, and tell the notifiers, when there
 * is a guard before that page already. The VMA must have the flag by then.
 */
struct guard_first {
	struct mmu_notifier notifier;
	struct task_struct *installer;
	int calls, guards, flags;
};

static int guard_first_start(struct mmu_notifier *notifier,
			     const struct mmu_notifier_range *range)
{
	struct guard_first *first = container_of(notifier, struct guard_first,
						 notifier);
	struct vm_area_struct *vma;

	if (current != first->installer || range->event != MMU_NOTIFY_CLEAR ||
	    range->start < SEEN_ADDR || range->end > SEEN_ADDR + 2 * PAGE_SIZE)
		return 0;

	first->calls++;
	first->guards += guard_race_guard_at(notifier->mm, SEEN_ADDR) > 0;
	/* The installer, which this is, has the mmap lock. */
	vma = vma_lookup(notifier->mm, SEEN_ADDR);
	first->flags += vma && (vma->vm_flags & VM_MAYBE_GUARD);
	return 0;
}

static const struct mmu_notifier_ops guard_first_ops = {
	.invalidate_range_start	= guard_first_start,
};

static void flag_before_guard(struct kunit *test)
{
	struct guard_first *first;
	char c;

	first = kunit_kzalloc(test, sizeof(*first), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, first);
	guard_race_mmap(test, NULL, SEEN_ADDR, 2 * PAGE_SIZE,
			MAP_SHARED | MAP_ANONYMOUS);
	KUNIT_ASSERT_EQ(test, 0,
			get_user(c, (char __user *)(SEEN_ADDR + PAGE_SIZE)));
	(void)c;

	first->notifier.ops = &guard_first_ops;
	first->installer = current;
	guard_race_register(test, &first->notifier);

	KUNIT_EXPECT_EQ(test, 0, do_madvise(current->mm, SEEN_ADDR,
					    2 * PAGE_SIZE, MADV_GUARD_INSTALL));
	KUNIT_EXPECT_EQ(test, 1, first->calls);
	KUNIT_EXPECT_EQ(test, 1, first->guards);
	KUNIT_EXPECT_EQ(test, 1, first->flags);
}

/*
 * Something that is in the way each time the installer has made room: it must
 * let go of the mmap lock before long, for those who wait to write.
 */
struct guard_busy {
	struct mmu_notifier notifier;
	struct task_struct *installer;
	struct mm_struct *mm;
	struct completion go;
	struct completion done;
	bool quit;
	bool written;
	int calls;
};

/*
 * The lock need not go to the writer at once: readers may pass a writer that
 * has not waited for 4 ms. That is some dozen calls; this is a second or two.
 */
#define GUARD_BUSY_CALLS	20000

static int guard_busy_writer(void *data)
{
	struct guard_busy *busy = data;

	wait_for_completion(&busy->go);
	if (!busy->quit) {
		mmap_write_lock(busy->mm);
		WRITE_ONCE(busy->written, true);
		mmap_write_unlock(busy->mm);
	}
	complete_all(&busy->done);
	return 0;
}

static void guard_busy_stop_writer(void *data)
{
	struct guard_busy *busy = data;

	busy->quit = true;
	complete(&busy->go);
	wait_for_completion(&busy->done);
}

/* A marker that is not a guard: it is in the way, and needs no fault. */
static void guard_busy_fill(struct mm_struct *mm, unsigned long addr)
{
	pmd_t *pmd = mm_find_pmd(mm, addr);
	spinlock_t *ptl;	/* the PTE lock */
	pte_t *pte = pmd ? pte_offset_map_lock(mm, pmd, addr, &ptl) : NULL;

	if (pte) {
		set_pte_at(mm, addr, pte, make_pte_marker(PTE_MARKER_POISONED));
		pte_unmap_unlock(pte, ptl);
	}
}

static void guard_busy_end(struct mmu_notifier *notifier,
			   const struct mmu_notifier_range *range)
{
	struct guard_busy *busy = container_of(notifier, struct guard_busy,
					       notifier);

	if (current != busy->installer || range->event != MMU_NOTIFY_CLEAR ||
	    range->start > SEEN_ADDR || range->end <= SEEN_ADDR)
		return;

	if (!busy->calls++) {
		complete(&busy->go);
		while (!READ_ONCE(busy->written) &&
		       !mmap_lock_is_contended(busy->mm))
			cond_resched();
	}
	if (!READ_ONCE(busy->written) && busy->calls < GUARD_BUSY_CALLS)
		guard_busy_fill(busy->mm, SEEN_ADDR);
}

static const struct mmu_notifier_ops guard_busy_ops = {
	.invalidate_range_end	= guard_busy_end,
};

static void retries_let_writers_in(struct kunit *test)
{
	struct guard_busy *busy;
	struct task_struct *writer;
	int ret;
	char c;

	busy = kunit_kzalloc(test, sizeof(*busy), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, busy);
	guard_race_mmap(test, NULL, SEEN_ADDR, PAGE_SIZE,
			MAP_SHARED | MAP_ANONYMOUS);
	KUNIT_ASSERT_EQ(test, 0, get_user(c, (char __user *)SEEN_ADDR));
	(void)c;

	busy->notifier.ops = &guard_busy_ops;
	busy->installer = current;
	busy->mm = current->mm;
	init_completion(&busy->go);
	init_completion(&busy->done);
	guard_race_register(test, &busy->notifier);
	writer = kthread_run(guard_busy_writer, busy, "guard_busy");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, writer);
	guard_race_at_exit(test, guard_busy_stop_writer, busy);

	/* As the way back to user space does it, where it is left to that. */
	do {
		ret = do_madvise(busy->mm, SEEN_ADDR, PAGE_SIZE,
				 MADV_GUARD_INSTALL);
		flush_signals(current);
	} while (ret == -ERESTARTNOINTR);

	KUNIT_EXPECT_EQ(test, 0, ret);
	KUNIT_EXPECT_EQ(test, 1, guard_race_guard_at(busy->mm, SEEN_ADDR));
	KUNIT_EXPECT_LT(test, busy->calls, GUARD_BUSY_CALLS);
	KUNIT_EXPECT_TRUE(test, READ_ONCE(busy->written));
}

/*
 * A page that is gone from its entry can be in a TLB for a while: then there is
 * a flush to come, by reclaim or by who zapped it. The install must not leave it
 * to them. It is seen where secondary TLBs are told.
 */
struct guard_flush {
	struct mmu_notifier notifier;
	struct task_struct *installer;
	int flushes;
};

static void guard_flush_seen(struct mmu_notifier *notifier,
			     struct mm_struct *mm, unsigned long start,
			     unsigned long end)
{
	struct guard_flush *flush = container_of(notifier, struct guard_flush,
						 notifier);

	if (current == flush->installer && start <= SEEN_ADDR &&
	    end >= SEEN_ADDR + PAGE_SIZE)
		flush->flushes++;
}

static const struct mmu_notifier_ops guard_flush_ops = {
	.arch_invalidate_secondary_tlbs	= guard_flush_seen,
};

/* The flushes that an install makes where nothing is mapped. */
static int guard_flush_install(struct kunit *test, struct guard_flush *flush)
{
	int before;

	KUNIT_ASSERT_EQ(test, 0, do_madvise(current->mm, SEEN_ADDR, PAGE_SIZE,
					    MADV_GUARD_REMOVE));
	before = flush->flushes;
	KUNIT_ASSERT_EQ(test, 0, do_madvise(current->mm, SEEN_ADDR, PAGE_SIZE,
					    MADV_GUARD_INSTALL));
	KUNIT_EXPECT_EQ(test, 1, guard_race_guard_at(current->mm, SEEN_ADDR));
	return flush->flushes - before;
}

static void install_flushes_what_is_due(struct kunit *test)
{
	struct guard_flush *flush;
	int due;

	flush = kunit_kzalloc(test, sizeof(*flush), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, flush);
	guard_race_mmap(test, NULL, SEEN_ADDR, PAGE_SIZE,
			MAP_SHARED | MAP_ANONYMOUS);
	flush->notifier.ops = &guard_flush_ops;
	flush->installer = current;
	guard_race_register(test, &flush->notifier);

	flush_tlb_mm(current->mm);
	if (!flush->flushes)
		kunit_skip(test, "this architecture tells nobody of its flushes");
	KUNIT_EXPECT_EQ(test, 0, guard_flush_install(test, flush));

	/* As while another thread is in MADV_DONTNEED. */
	inc_tlb_flush_pending(current->mm);
	due = guard_flush_install(test, flush);
	dec_tlb_flush_pending(current->mm);
	KUNIT_EXPECT_EQ(test, 1, due);

#ifdef CONFIG_ARCH_WANT_BATCHED_UNMAP_TLB_FLUSH
	/* As when try_to_unmap() has left it for later; it is due once. */
	atomic_inc(&current->mm->tlb_flush_batched);
	KUNIT_EXPECT_EQ(test, 1, guard_flush_install(test, flush));
#endif
	KUNIT_EXPECT_EQ(test, 0, guard_flush_install(test, flush));
}

static const unsigned long guard_race_flags[] = { MAP_SHARED, MAP_PRIVATE };

static void guard_race_describe(const unsigned long *flags, char *desc)
{
	strscpy(desc, *flags == MAP_SHARED ? "shared" : "private",
		KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(guard_race, guard_race_flags, guard_race_describe);

static struct kunit_case guard_race_cases[] = {
	KUNIT_CASE_PARAM(race_no_guard, guard_race_gen_params),
	KUNIT_CASE_PARAM(race_before, guard_race_gen_params),
	KUNIT_CASE_PARAM(race_removed, guard_race_gen_params),
	KUNIT_CASE_PARAM(race_removed_locked, guard_race_gen_params),
	KUNIT_CASE_PARAM(race_removed_between_looks, guard_race_gen_params),
	KUNIT_CASE_PARAM(race_between_looks, guard_race_gen_params),
	KUNIT_CASE_PARAM(race_after, guard_race_gen_params),
	KUNIT_CASE(flag_before_guard),
	KUNIT_CASE(retries_let_writers_in),
	KUNIT_CASE(install_flushes_what_is_due),
	{}
};

static struct kunit_suite guard_race_suite = {
	.name = "mm_guard_race",
	.test_cases = guard_race_cases,
};

kunit_test_suites(&guard_race_suite);
