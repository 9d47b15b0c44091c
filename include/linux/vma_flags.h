/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_VMA_FLAGS_H
#define _LINUX_VMA_FLAGS_H

/*
 * Sets of VMA flags that are treated alike, and access to single flags without
 * the mmap lock held for writing. The flags themselves are in linux/mm.h.
 *
 * The user-space tests in tools/testing/vma include this very file, so it uses
 * nothing but what they have as well: the flags, struct vm_area_struct, bit
 * operations and assertions.
 */

#include <linux/bitops.h>
#include <linux/mm.h>

/*
 * Flags that say "may be" of some part of a VMA: it may hold guards, or pages
 * that are soft-dirty. What is true of a part is true of the whole, so such a
 * flag does not keep two VMAs from being merged, and stays when they are.
 */
#define VM_STICKY		(VM_SOFTDIRTY | VM_MAYBE_GUARD)

/* Flags in which two VMAs can differ and still be merged. */
#define VM_IGNORE_MERGE		VM_STICKY

/*
 * Flags for which fork has to copy the page tables: what these stand for is
 * nowhere else, so a page fault in the child could not bring it back. For
 * VM_MAYBE_GUARD alone that is the markers, see vma_needs_only_markers().
 */
#define VM_COPY_ON_FORK		(VM_PFNMAP | VM_MIXEDMAP | VM_UFFD_WP | \
				 VM_MAYBE_GUARD)

/*
 * Flags that can be set by vma_flag_set_atomic(), one at a time. Of each of them
 * it has to be harmless if others see it late, unless they hold a lock that
 * orders them behind the setter.
 */
#define VM_ATOMIC_SET_ALLOWED	VM_MAYBE_GUARD

/**
 * vma_flag_set_atomic - set one flag of a VMA that others may be looking at
 * @vma:	the VMA
 * @bit:	the number of the flag, such as VM_MAYBE_GUARD_BIT; one of those in
 *		VM_ATOMIC_SET_ALLOWED
 *
 * All other changes of the flags read them, compute, and write all of them
 * back, and need the mmap lock held for writing from the read to the write.
 * This sets a single bit and leaves the others alone, so it can be done with
 * the mmap lock held for reading, in any number of threads at a time. It never
 * loses a change, and none is lost to it, as no writer is there.
 *
 * The read lock of the VMA alone would not do: writers lock the VMA only
 * between their read of the flags and their write, and would overwrite the bit.
 *
 * Others read the flags as a whole and without precaution. That is no more than
 * a data race on one bit, which they see before or after. With KCSAN_PERMISSIVE
 * it is taken for harmless while exactly one bit changes. Hence one bit a call,
 * and no set of flags that have to be seen together.
 *
 * No ordering is implied. Who has to see the flag once something else is there
 * to be seen needs a lock: see page_table_is_retractable().
 *
 * Context: the mmap lock is held, for reading or writing. Does not sleep. For a
 * flag that is not allowed it warns once and sets nothing.
 */
static inline void vma_flag_set_atomic(struct vm_area_struct *vma,
				       unsigned int bit)
{
	if (WARN_ON_ONCE(bit >= BITS_PER_LONG ||
			 !(VM_ATOMIC_SET_ALLOWED & (1UL << bit))))
		return;

	mmap_assert_locked(vma->vm_mm);
	set_bit(bit, (unsigned long *)&ACCESS_PRIVATE(vma, __vm_flags));
}

/**
 * vma_flag_test_atomic - look at a flag that may be set meanwhile
 * @vma:	the VMA
 * @bit:	the number of the flag
 *
 * The counterpart of vma_flag_set_atomic(): a single read that the compiler can
 * neither repeat nor leave out.
 *
 * Context: any that keeps @vma from being freed. What the answer is worth
 * depends on the locks held: without one that the setter takes after it has set
 * the flag, "not set" is only a hint.
 *
 * Return: true if the flag was set.
 */
static inline bool vma_flag_test_atomic(struct vm_area_struct *vma,
					unsigned int bit)
{
	return test_bit(bit, (unsigned long *)&ACCESS_PRIVATE(vma, __vm_flags));
}

#endif /* _LINUX_VMA_FLAGS_H */
