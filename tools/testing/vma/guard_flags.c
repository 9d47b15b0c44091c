// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of the flags that VMAs have after they were merged, split or modified,
 * and of linux/vma_flags.h. Included by vma.c, for its helpers. What differs in
 * mm/vma.h from one kernel to another, vma.c defines before:
 *
 *	GF_VMG_FLAGS	a member of struct vma_merge_struct: the flags,
 *	GF_VMG_MODIFIED	... the VMA that is modified,
 *	GF_VMG_GROWN	... and the one that vma_expand() makes larger
 *	gf_copy_vma()	copy_vma(), without the arguments that do not matter
 *	gf_modify_name()	what sets a name, if it takes flags as well
 */

#include <unistd.h>

#define GF_PREV		1	/* who has the sticky flag: bits of a mask */
#define GF_VMA		2
#define GF_NEXT		4
#define GF_ASKED	8
#define GF_ALL		16

#define GF_WANTED	(VM_READ | VM_MAYREAD | VM_MAYWRITE)
/* Other flags than wanted, some of which are to be cleared. */
#define GF_OLD		(VM_READ | VM_WRITE | VM_MAYREAD | VM_LOCKED)
/* What is not to be merged with. */
#define GF_FOREIGN	(GF_WANTED | VM_ACCOUNT)

#define GF_ADDR(page)	((unsigned long)(page) << PAGE_SHIFT)

static const vm_flags_t gf_sticky[] = {
	VM_MAYBE_GUARD, VM_SOFTDIRTY, VM_MAYBE_GUARD | VM_SOFTDIRTY,
};

/*
 * Three VMAs in a row, and a range in the middle one that is given the flags of
 * its neighbours, or of one of them, or of none:
 *
 * 012345678
 * PPPVVVVNN
 */
struct gf_shape {
	const char *name;
	int start, end;
	/* Neighbours with the flags that are asked for. */
	int same;
	/* Who goes into the result; 0 if nothing is merged. */
	int merged;
	/* The result. */
	int res_start, res_end;
};

static const struct gf_shape gf_shapes[] = {
	{ "left, full", 3, 7, GF_PREV, GF_PREV | GF_VMA, 0, 7 },
	{ "left, partial", 3, 6, GF_PREV, GF_PREV | GF_VMA, 0, 6 },
	{ "left, partial, next alike", 3, 6, GF_PREV | GF_NEXT,
	  GF_PREV | GF_VMA, 0, 6 },
	{ "right, full", 3, 7, GF_NEXT, GF_VMA | GF_NEXT, 3, 9 },
	{ "right, partial", 4, 7, GF_NEXT, GF_VMA | GF_NEXT, 4, 9 },
	{ "right, partial, prev alike", 4, 7, GF_PREV | GF_NEXT,
	  GF_VMA | GF_NEXT, 4, 9 },
	{ "both", 3, 7, GF_PREV | GF_NEXT, GF_PREV | GF_VMA | GF_NEXT, 0, 9 },
	{ "none, full", 3, 7, 0, 0, 3, 7 },
	{ "none, split at end", 3, 5, 0, 0, 3, 5 },
	{ "none, split at start", 5, 7, 0, 0, 5, 7 },
	{ "none, split in the middle", 4, 6, GF_PREV | GF_NEXT, 0, 4, 6 },
};

/* The ways to get there. */
enum gf_how {
	GF_MERGE_EXISTING,	/* Merges only, no splits. */
	GF_MODIFY,
#ifdef gf_modify_name
	GF_MODIFY_NAME,
#endif
	GF_MODIFY_UFFD,
	GF_NR_HOW,
};

/* ASSERT_TRUE() in a loop: tell which round it was. */
#define GF_ASSERT(_expr)						\
	do {								\
		bool _ok = (_expr);					\
									\
		if (!_ok)						\
			fprintf(stderr, "%s, how %d, sticky %lx of %x: %s\n", \
				shape->name, how, sticky, who, #_expr);	\
		ASSERT_TRUE(_ok);					\
	} while (0)

static struct vma_iterator gf_iter(struct mm_struct *mm)
{
	struct vma_iterator vmi;

	vma_iter_init(&vmi, mm, 0);
	return vmi;
}

static vm_flags_t gf_with(vm_flags_t flags, bool has, vm_flags_t sticky)
{
	return has ? flags | sticky : flags;
}

static struct vm_area_struct *gf_link(struct mm_struct *mm, int start, int end,
				      vm_flags_t flags)
{
	return alloc_and_link_vma(mm, GF_ADDR(start), GF_ADDR(end), start,
				  flags);
}

static bool gf_is(struct mm_struct *mm, int page, int start, int end,
		  vm_flags_t flags)
{
	struct vm_area_struct *vma = vma_lookup(mm, GF_ADDR(page));

	return vma && vma->vm_start == GF_ADDR(start) &&
		vma->vm_end == GF_ADDR(end) && vma->vm_flags == flags;
}

static struct vm_area_struct *gf_do(struct vma_iterator *vmi,
				    struct mm_struct *mm, enum gf_how how,
				    struct vm_area_struct *prev,
				    struct vm_area_struct *vma,
				    unsigned long start, unsigned long end,
				    vm_flags_t *flags)
{
	const struct vm_userfaultfd_ctx ctx = {};
	struct vma_merge_struct vmg = { .mm = mm, .vmi = vmi };
	struct vm_area_struct *res;

	vma_iter_set(vmi, start);
	switch (how) {
	case GF_MODIFY:
		return vma_modify_flags(vmi, prev, vma, start, end, flags);
#ifdef gf_modify_name
	case GF_MODIFY_NAME:
		return gf_modify_name(vmi, prev, vma, start, end, flags);
#endif
	case GF_MODIFY_UFFD:
		return vma_modify_flags_uffd(vmi, prev, vma, start, end, flags,
					     ctx, false);
	default:
		vmg_set_range(&vmg, start, end, start >> PAGE_SHIFT, *flags);
		vmg.prev = prev;
		vmg.GF_VMG_MODIFIED = vma;
		res = merge_existing(&vmg);
		*flags = vmg.GF_VMG_FLAGS;
		if (!res && vmg.state != VMA_MERGE_NOMERGE)
			return ERR_PTR(-ENOMEM);
		return res;
	}
}

static bool gf_one_shape(const struct gf_shape *shape, enum gf_how how,
			 vm_flags_t sticky, int who, bool fail)
{
	const unsigned long start = GF_ADDR(shape->start);
	const unsigned long end = GF_ADDR(shape->end);
	const vm_flags_t old_prev = gf_with(shape->same & GF_PREV ?
					    GF_WANTED : GF_FOREIGN,
					    who & GF_PREV, sticky);
	const vm_flags_t old_vma = gf_with(GF_OLD, who & GF_VMA, sticky);
	const vm_flags_t old_next = gf_with(shape->same & GF_NEXT ?
					    GF_WANTED : GF_FOREIGN,
					    who & GF_NEXT, sticky);
	const vm_flags_t asked = gf_with(GF_WANTED, who & GF_ASKED, sticky);
	struct mm_struct mm = {};
	struct vma_iterator vmi = gf_iter(&mm);
	struct vm_area_struct *prev, *vma, *next, *res;
	vm_flags_t flags = asked, expected;

	prev = gf_link(&mm, 0, 3, old_prev);
	vma = gf_link(&mm, 3, 7, old_vma);
	next = gf_link(&mm, 7, 9, old_next);
	GF_ASSERT(prev && vma && next);

	fail_prealloc = fail;
	res = gf_do(&vmi, &mm, how, shape->start > 3 ? vma : prev, vma, start,
		    end, &flags);
	fail_prealloc = false;

	if (fail) {
		GF_ASSERT(res == ERR_PTR(-ENOMEM));
		GF_ASSERT(flags == asked);
		GF_ASSERT(gf_is(&mm, 0, 0, 3, old_prev));
		GF_ASSERT(gf_is(&mm, 3, 3, 7, old_vma));
		GF_ASSERT(gf_is(&mm, 7, 7, 9, old_next));
		cleanup_mm(&mm, &vmi);
		return true;
	}

	if (!shape->merged) {
		/* Exactly as asked, and for the caller to set. */
		GF_ASSERT(flags == asked);
		GF_ASSERT(gf_is(&mm, 0, 0, 3, old_prev));
		GF_ASSERT(gf_is(&mm, 7, 7, 9, old_next));
		if (how == GF_MERGE_EXISTING) {
			GF_ASSERT(!res);
			GF_ASSERT(gf_is(&mm, 3, 3, 7, old_vma));
		} else {
			GF_ASSERT(res == vma);
			GF_ASSERT(gf_is(&mm, shape->start, shape->start,
					shape->end, old_vma));
			if (shape->start > 3)
				GF_ASSERT(gf_is(&mm, 3, 3, shape->start,
						old_vma));
			if (shape->end < 7)
				GF_ASSERT(gf_is(&mm, 6, shape->end, 7,
						old_vma));
		}
		cleanup_mm(&mm, &vmi);
		return true;
	}

	expected = gf_with(GF_WANTED, who & (shape->merged | GF_ASKED), sticky);
	GF_ASSERT(!IS_ERR_OR_NULL(res));
	GF_ASSERT(flags == expected);
	GF_ASSERT(res->vm_flags == expected);
	GF_ASSERT(res == (shape->merged & GF_PREV ? prev : next));
	GF_ASSERT(gf_is(&mm, shape->start, shape->res_start, shape->res_end,
			expected));

	/* What has no part in it is as it was. */
	if (!(shape->merged & GF_PREV))
		GF_ASSERT(gf_is(&mm, 0, 0, 3, old_prev));
	if (!(shape->merged & GF_NEXT))
		GF_ASSERT(gf_is(&mm, 7, 7, 9, old_next));
	if (shape->start > 3)
		GF_ASSERT(gf_is(&mm, 3, 3, shape->start, old_vma));
	if (shape->end < 7)
		GF_ASSERT(gf_is(&mm, 6, shape->end, 7, old_vma));

	cleanup_mm(&mm, &vmi);
	return true;
}

static bool gf_all_shapes(enum gf_how how, bool fail)
{
	int i, j, who;

	for (i = 0; i < ARRAY_SIZE(gf_shapes); i++) {
		/* Without a merge or split, nothing can fail. */
		if (fail && !gf_shapes[i].merged &&
		    (how == GF_MERGE_EXISTING ||
		     gf_shapes[i].end - gf_shapes[i].start == 4))
			continue;
		for (j = 0; j < ARRAY_SIZE(gf_sticky); j++) {
			for (who = 0; who < GF_ALL; who++) {
				if (!gf_one_shape(&gf_shapes[i], how,
						  gf_sticky[j], who, fail))
					return false;
			}
		}
	}
	return true;
}

static bool test_gf_merge_existing(void)
{
	return gf_all_shapes(GF_MERGE_EXISTING, false);
}

static bool test_gf_modify(void)
{
	int how;

	for (how = GF_MODIFY; how < GF_NR_HOW; how++) {
		if (!gf_all_shapes(how, false))
			return false;
	}
	return true;
}

static bool test_gf_fail(void)
{
	int how;

	for (how = 0; how < GF_NR_HOW; how++) {
		if (!gf_all_shapes(how, true))
			return false;
	}
	return true;
}

/* userfaultfd goes on without a merge that failed: then it is none. */
static bool test_gf_give_up(void)
{
	const struct vm_userfaultfd_ctx ctx = {};
	struct mm_struct mm = {};
	struct vma_iterator vmi = gf_iter(&mm);
	vm_flags_t flags = GF_WANTED;
	struct vm_area_struct *prev, *vma;

	prev = gf_link(&mm, 0, 3, GF_WANTED | VM_MAYBE_GUARD);
	vma = gf_link(&mm, 3, 7, GF_OLD);
	vma_iter_set(&vmi, GF_ADDR(3));
	fail_prealloc = true;
	ASSERT_EQ(vma_modify_flags_uffd(&vmi, prev, vma, GF_ADDR(3), GF_ADDR(7),
					&flags, ctx, true), vma);
	ASSERT_EQ(flags, GF_WANTED);
	ASSERT_TRUE(gf_is(&mm, 0, 0, 3, GF_WANTED | VM_MAYBE_GUARD));
	ASSERT_TRUE(gf_is(&mm, 3, 3, 7, GF_OLD));

	cleanup_mm(&mm, &vmi);
	return true;
}

/* A new range between two VMAs, of pages 3 to 6. */
static bool gf_one_new(int same, bool keep_next, vm_flags_t sticky, int who)
{
	const struct vm_operations_struct ops = { .close = dummy_close };
	const vm_flags_t old_prev = gf_with(same & GF_PREV ? GF_WANTED :
					    GF_FOREIGN, who & GF_PREV, sticky);
	const vm_flags_t old_next = gf_with(same & GF_NEXT ? GF_WANTED :
					    GF_FOREIGN, who & GF_NEXT, sticky);
	const int merged = keep_next ? same & ~GF_NEXT : same;
	const vm_flags_t expected = gf_with(GF_WANTED,
					    who & (merged | GF_ASKED), sticky);
	struct mm_struct mm = {};
	struct vma_iterator vmi = gf_iter(&mm);
	struct vma_merge_struct vmg = { .mm = &mm, .vmi = &vmi };
	struct vm_area_struct *prev, *next, *res;

	prev = gf_link(&mm, 0, 3, old_prev);
	next = gf_link(&mm, 7, 9, old_next);
	ASSERT_TRUE(prev && next);
	if (keep_next) {
		prev->vm_ops = &ops;
		next->vm_ops = &ops;
	}

	vmg_set_range(&vmg, GF_ADDR(3), GF_ADDR(7), 3,
		      gf_with(GF_WANTED, who & GF_ASKED, sticky));
	res = merge_new(&vmg);
	if (!merged) {
		ASSERT_EQ(res, NULL);
		ASSERT_EQ(vmg.GF_VMG_FLAGS, expected);
	} else {
		ASSERT_TRUE(gf_is(&mm, 4, merged & GF_PREV ? 0 : 3,
				  merged & GF_NEXT ? 9 : 7, expected));
	}
	if (!(merged & GF_PREV))
		ASSERT_TRUE(gf_is(&mm, 0, 0, 3, old_prev));
	if (!(merged & GF_NEXT))
		ASSERT_TRUE(gf_is(&mm, 7, 7, 9, old_next));

	cleanup_mm(&mm, &vmi);
	return true;
}

static bool test_gf_merge_new(void)
{
	int i, who;

	for (i = 0; i < ARRAY_SIZE(gf_sticky); i++) {
		for (who = 0; who < GF_ALL; who++) {
			vm_flags_t s = gf_sticky[i];

			ASSERT_TRUE(gf_one_new(0, false, s, who));
			ASSERT_TRUE(gf_one_new(GF_PREV, false, s, who));
			ASSERT_TRUE(gf_one_new(GF_NEXT, false, s, who));
			ASSERT_TRUE(gf_one_new(GF_PREV | GF_NEXT, false, s,
					       who));
			/* Next would be merged, but can't be removed. */
			ASSERT_TRUE(gf_one_new(GF_PREV | GF_NEXT, true, s,
					       who));
		}
	}
	return true;
}

static bool gf_one_expand(bool with_next, vm_flags_t sticky, int who)
{
	struct mm_struct mm = {};
	struct vma_iterator vmi = gf_iter(&mm);
	struct vma_merge_struct vmg = { .mm = &mm, .vmi = &vmi };
	vm_flags_t asked = gf_with(GF_WANTED, who & GF_ASKED, sticky);
	int merged = GF_VMA | GF_ASKED;

	vmg_set_range(&vmg, 0, GF_ADDR(5), 0, asked);
	vmg.GF_VMG_GROWN = gf_link(&mm, 0, 3,
				   gf_with(GF_WANTED, who & GF_VMA, sticky));
	if (with_next) {
		vmg.next = gf_link(&mm, 3, 5,
				   gf_with(GF_WANTED, who & GF_NEXT, sticky));
		merged |= GF_NEXT;
	}
	vma_iter_set(&vmi, 0);

	ASSERT_EQ(expand_existing(&vmg), 0);
	ASSERT_TRUE(gf_is(&mm, 0, 0, 5,
			  gf_with(GF_WANTED, who & merged, sticky)));

	cleanup_mm(&mm, &vmi);
	return true;
}

static bool test_gf_expand(void)
{
	int i, who;

	for (i = 0; i < ARRAY_SIZE(gf_sticky); i++) {
		for (who = 0; who < GF_ALL; who++) {
			ASSERT_TRUE(gf_one_expand(false, gf_sticky[i], who));
			ASSERT_TRUE(gf_one_expand(true, gf_sticky[i], who));
		}
	}
	return true;
}

/* mremap() to a larger size in place. */
static bool gf_one_extend(bool with_next, vm_flags_t sticky, int who)
{
	struct mm_struct mm = {};
	struct vma_iterator vmi = gf_iter(&mm);
	struct vm_area_struct *vma;
	int merged = GF_VMA;

	vma = gf_link(&mm, 0, 3, gf_with(GF_WANTED, who & GF_VMA, sticky));
	if (with_next) {
		gf_link(&mm, 5, 7, gf_with(GF_WANTED, who & GF_NEXT, sticky));
		merged |= GF_NEXT;
	}
	vma_iter_set(&vmi, GF_ADDR(3));

	ASSERT_EQ(vma_merge_extend(&vmi, vma, GF_ADDR(2)), vma);
	ASSERT_TRUE(gf_is(&mm, 4, 0, with_next ? 7 : 5,
			  gf_with(GF_WANTED, who & merged, sticky)));

	cleanup_mm(&mm, &vmi);
	return true;
}

static bool test_gf_merge_extend(void)
{
	int i, who;

	for (i = 0; i < ARRAY_SIZE(gf_sticky); i++) {
		for (who = 0; who < GF_ASKED; who++) {
			ASSERT_TRUE(gf_one_extend(false, gf_sticky[i], who));
			ASSERT_TRUE(gf_one_extend(true, gf_sticky[i], who));
		}
	}
	return true;
}

/* mremap() to another place: alone there, or with a neighbour. */
static bool gf_one_copy(bool with_next, vm_flags_t sticky, int who)
{
	struct mm_struct mm = {};
	struct vma_iterator vmi = gf_iter(&mm);
	vm_flags_t src = gf_with(GF_WANTED, who & GF_VMA, sticky);
	struct vm_area_struct *vma, *next, *res;
	int merged = GF_VMA;

	vma = gf_link(&mm, 0, 2, src);
	if (with_next) {
		next = gf_link(&mm, 6, 8,
			       gf_with(GF_WANTED, who & GF_NEXT, sticky));
		/* To be merged, they have to follow in the file, too. */
		next->vm_pgoff = 2;
		merged |= GF_NEXT;
	}

	res = gf_copy_vma(&vma, GF_ADDR(4), GF_ADDR(2), 0);
	ASSERT_NE(res, NULL);
	ASSERT_TRUE(gf_is(&mm, 4, 4, with_next ? 8 : 6,
			  gf_with(GF_WANTED, who & merged, sticky)));
	ASSERT_TRUE(gf_is(&mm, 0, 0, 2, src));

	cleanup_mm(&mm, &vmi);
	return true;
}

static bool test_gf_copy(void)
{
	int i, who;

	for (i = 0; i < ARRAY_SIZE(gf_sticky); i++) {
		for (who = 0; who < GF_ASKED; who++) {
			ASSERT_TRUE(gf_one_copy(false, gf_sticky[i], who));
			ASSERT_TRUE(gf_one_copy(true, gf_sticky[i], who));
		}
	}
	return true;
}

static bool test_gf_split(void)
{
	int i, below;

	for (i = 0; i < ARRAY_SIZE(gf_sticky); i++) {
		for (below = 0; below < 2; below++) {
			struct mm_struct mm = {};
			struct vma_iterator vmi = gf_iter(&mm);
			vm_flags_t flags = GF_OLD | gf_sticky[i];
			struct vm_area_struct *vma = gf_link(&mm, 0, 4, flags);

			vma_iter_set(&vmi, 0);
			ASSERT_EQ(split_vma(&vmi, vma, GF_ADDR(1), below), 0);
			ASSERT_TRUE(gf_is(&mm, 0, 0, 1, flags));
			ASSERT_TRUE(gf_is(&mm, 1, 1, 4, flags));
			ASSERT_EQ(cleanup_mm(&mm, &vmi), 2);
		}
	}
	return true;
}

/* Neighbours that may be merged one day should share their anon_vma now. */
static bool test_gf_anon_vma_compatible(void)
{
	struct mm_struct mm = {};
	struct vma_iterator vmi = gf_iter(&mm);
	struct vm_area_struct *a = gf_link(&mm, 0, 2, GF_WANTED);
	struct vm_area_struct *b = gf_link(&mm, 2, 4, GF_WANTED);
	int i;

	for (i = 0; i < ARRAY_SIZE(gf_sticky); i++) {
		b->__vm_flags = GF_WANTED | gf_sticky[i];
		ASSERT_TRUE(anon_vma_compatible(a, b));
		ASSERT_FALSE(anon_vma_compatible(b, a));
		b->__vm_flags |= VM_LOCKED;
		ASSERT_FALSE(anon_vma_compatible(a, b));
	}

	cleanup_mm(&mm, &vmi);
	return true;
}

/* Sets the bit if allowed; else nothing, and the first time it warns. */
static bool test_gf_set_atomic(void)
{
	const vm_flags_t before[] = { 0, GF_OLD, ~VM_MAYBE_GUARD, ~0UL };
	struct mm_struct mm = {};
	struct vm_area_struct *vma = alloc_vma(&mm, 0, GF_ADDR(1), 0, 0);
	FILE *warnings = tmpfile();
	int saved = dup(STDERR_FILENO);
	bool ok = true, tested = true;
	long len, once = 0;
	unsigned int i, bit;

	ASSERT_TRUE(vma && warnings && saved >= 0);
	dup2(fileno(warnings), STDERR_FILENO);
	for (i = 0; i < ARRAY_SIZE(before); i++) {
		for (bit = 0; bit < BITS_PER_LONG + 3; bit++) {
			vm_flags_t flags = before[i];

			vma->__vm_flags = flags;
			vma_flag_set_atomic(vma, bit);
			if (bit == VM_MAYBE_GUARD_BIT)
				flags |= VM_MAYBE_GUARD;
			ok = ok && vma->vm_flags == flags;
			if (!once)
				once = lseek(fileno(warnings), 0, SEEK_END);
		}
		vma->__vm_flags = before[i];
		for (bit = 0; bit < BITS_PER_LONG; bit++)
			tested = tested && vma_flag_test_atomic(vma, bit) ==
				 !!(before[i] & (1UL << bit));
	}
	len = lseek(fileno(warnings), 0, SEEK_END);
	dup2(saved, STDERR_FILENO);
	close(saved);
	fclose(warnings);
	vm_area_free(vma);

	ASSERT_TRUE(ok);
	ASSERT_TRUE(tested);
	ASSERT_TRUE(once > 0);
	ASSERT_EQ(len, once);
	return true;
}

static bool test_gf_sets(void)
{
	ASSERT_EQ(1UL << VM_MAYBE_GUARD_BIT, VM_MAYBE_GUARD);
	ASSERT_EQ(VM_ATOMIC_SET_ALLOWED, VM_MAYBE_GUARD);
	ASSERT_EQ(VM_STICKY, VM_MAYBE_GUARD | VM_SOFTDIRTY);
	ASSERT_EQ(VM_IGNORE_MERGE & VM_STICKY, VM_STICKY);
	ASSERT_EQ(VM_COPY_ON_FORK,
		  VM_PFNMAP | VM_MIXEDMAP | VM_UFFD_WP | VM_MAYBE_GUARD);
	return true;
}

#define GUARD_FLAGS_TESTS()						\
	do {								\
		TEST(gf_merge_existing);				\
		TEST(gf_modify);					\
		TEST(gf_fail);						\
		TEST(gf_give_up);					\
		TEST(gf_merge_new);					\
		TEST(gf_expand);					\
		TEST(gf_merge_extend);					\
		TEST(gf_copy);						\
		TEST(gf_split);						\
		TEST(gf_anon_vma_compatible);				\
		TEST(gf_set_atomic);					\
		TEST(gf_sets);						\
	} while (0)
