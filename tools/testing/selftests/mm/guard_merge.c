// SPDX-License-Identifier: GPL-2.0
/*
 * Guard regions: VM_MAYBE_GUARD when VMAs become one. It does not keep them
 * apart, and what comes of it has the flag if any part had.
 *
 * Every test does the same thing again and again with guards in other parts,
 * and each time first without: that control shows that such a merge is possible.
 * Where anonymous memory has guards it has an anon_vma, so the control has
 * written to it there: some merges are not made then, with guards or without.
 *
 * The other half of it: of flags that are not sticky, each that is cleared is
 * cleared, no matter whether the VMA was split, merged or left as it was.
 */
#define _GNU_SOURCE
#include "guard_flag.h"
#include "guard_system.h"
#include "guard_uffd.h"

#include <sys/prctl.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA		0x53564d41
#define PR_SET_VMA_ANON_NAME	0
#endif

#define PART		8		/* pages of each part */
#define NR_PARTS	3
#define NR_PAGES	(NR_PARTS * PART)
#define LEFT		1U		/* bits for the parts */
#define MIDDLE		2U
#define RIGHT		4U
#define PART_BITS	8U		/* how many ways to choose parts */

FLAG_FIXTURE(merge, NR_PAGES)
GUARD_VARIANTS_RW(merge);
GUARD_VARIANTS_RO(merge);

static char *part(struct guard_map *m, size_t n)
{
	return map_page(m, n * PART);
}

static size_t part_size(void)
{
	return PART * page_size();
}

/* The pages guarded when the parts of @parts are: two in each. */
static uint32_t part_guards(unsigned int parts)
{
	uint32_t guards = 0;
	size_t i;

	for (i = 0; i < NR_PARTS; i++)
		if (parts & (1U << i))
			guards |= pages_mask(i * PART + 3, 2);
	return guards;
}

static int install_parts(struct guard_map *m, unsigned int parts)
{
	size_t i;
	int ret;

	for (i = 0; i < NR_PARTS; i++) {
		if (!(parts & (1U << i)))
			continue;
		ret = install_at(m, i * PART + 3, 2);
		if (ret)
			return ret;
	}
	return 0;
}

/*
 * With @guards false the same for the control: as much as an install does to a
 * VMA but for the guards, which is to give anonymous memory its anon_vma.
 */
static int put_in_parts(struct guard_map *m, unsigned int parts, bool guards)
{
	size_t i;

	if (guards)
		return install_parts(m, parts);
	if (m->backing != ANON_PRIVATE)
		return 0;
	for (i = 0; i < NR_PARTS; i++)
		if ((parts & (1U << i)) &&
		    touch(part(m, i), TOUCH_REWRITE).signo)
			return -EFAULT;
	return 0;
}

static bool part_set(const struct smaps *s, struct guard_map *m, size_t n)
{
	return smaps_has(s, part(m, n), "gu");
}

/*
 * Not all is the same in each control only where put_in_parts() does something
 * for it.
 */
static bool control_needed(struct guard_map *m, unsigned int parts)
{
	return !parts || m->backing == ANON_PRIVATE;
}

/*
 * What the control came to: the number of VMAs, where @want are in order and
 * nothing but an anon_vma can have come in between; -1 if that is wrong.
 */
static int control_vmas(struct guard_map *m, int want)
{
	struct smaps s = smaps_of(m);
	size_t n;

	for (n = 0; n < NR_PARTS; n++)
		if (part_set(&s, m, n))
			return -1;
	return s.vmas == want || m->backing == ANON_PRIVATE ? s.vmas : -1;
}

/* The flag in the three parts, as bits; none of these if not @vmas VMAs. */
static unsigned int flag_in(struct guard_map *m, const char *flag, int vmas)
{
	struct smaps s = smaps_of(m);
	unsigned int parts = 0;
	size_t n;

	if (s.vmas != vmas)
		return ~0U;
	for (n = 0; n < NR_PARTS; n++)
		if (smaps_has(&s, part(m, n), flag))
			parts |= 1U << n;
	return parts;
}

/* So many VMAs; the flag is set in these parts, and not in the others. */
static bool parts_set(struct guard_map *m, int vmas, unsigned int parts)
{
	return flag_in(m, "gu", vmas) == parts;
}

/* One VMA, and the flag and the guards are what they are to be. */
static bool merged(struct guard_map *m, unsigned int parts)
{
	return parts_set(m, 1, parts ? PART_BITS - 1 : 0) &&
	       map_is(m, part_guards(parts));
}

/* As many VMAs as the control is; where that is one, merged() as well. */
static bool merged_as(struct guard_map *m, unsigned int parts, int control)
{
	struct smaps s;
	size_t i;

	if (control == 1)
		return merged(m, parts);
	s = smaps_of(m);
	for (i = 0; i < NR_PARTS; i++)
		if ((parts & (1U << i)) && !part_set(&s, m, i))
			return false;
	return s.vmas == control && map_is(m, part_guards(parts));
}

/*
 * What makes VMAs differ, and what makes them alike again: the paths through
 * the kernel are not the same.
 */
struct how {
	const char *name;
	int (*apply)(void *addr, size_t len);
	int (*undo)(void *addr, size_t len);
	bool locks;		/* no install where it was applied */
};

static int apply_protect(void *addr, size_t len)
{
	return mprotect(addr, len, PROT_NONE);
}

/* Where the control has to write. */
static int apply_protect_exec(void *addr, size_t len)
{
	return mprotect(addr, len, PROT_READ | PROT_WRITE | PROT_EXEC);
}

static int undo_protect_ro(void *addr, size_t len)
{
	return mprotect(addr, len, PROT_READ);
}

static int undo_protect(void *addr, size_t len)
{
	return mprotect(addr, len, PROT_READ | PROT_WRITE);
}

static int apply_random(void *addr, size_t len)
{
	return madvise(addr, len, MADV_RANDOM);
}

static int undo_random(void *addr, size_t len)
{
	return madvise(addr, len, MADV_NORMAL);
}

static int apply_dontdump(void *addr, size_t len)
{
	return madvise(addr, len, MADV_DONTDUMP);
}

static int undo_dontdump(void *addr, size_t len)
{
	return madvise(addr, len, MADV_DODUMP);
}

static int apply_lock(void *addr, size_t len)
{
	return syscall(__NR_mlock2, addr, len, MLOCK_ONFAULT);
}

static int undo_lock(void *addr, size_t len)
{
	return munlock(addr, len);
}

/* MPOL_BIND and MPOL_DEFAULT; there is a node 0 everywhere. */
static int apply_policy(void *addr, size_t len)
{
	unsigned long node0 = 1;

	return syscall(__NR_mbind, addr, len, 2, &node0, 8UL, 0);
}

static int undo_policy(void *addr, size_t len)
{
	return syscall(__NR_mbind, addr, len, 0, NULL, 0UL, 0);
}

static int apply_name(void *addr, size_t len)
{
	return prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, addr, len, "guards");
}

static int undo_name(void *addr, size_t len)
{
	return prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, addr, len, NULL);
}

static int uffd = -1;

static int apply_uffd(void *addr, size_t len)
{
	if (uffd < 0)
		uffd = uffd_open(0);
	return uffd < 0 ? -1 : uffd_register(uffd, addr, len,
					     UFFDIO_REGISTER_MODE_WP);
}

static int undo_uffd(void *addr, size_t len)
{
	return uffd_unregister(uffd, addr, len);
}

static const struct how hows[] = {
	{ "mprotect", apply_protect, undo_protect, false },
	{ "madvise", apply_random, undo_random, false },
	{ "dontdump", apply_dontdump, undo_dontdump, false },
	{ "mlock", apply_lock, undo_lock, true },
	{ "mbind", apply_policy, undo_policy, false },
	{ "anon name", apply_name, undo_name, false },
	{ "userfaultfd", apply_uffd, undo_uffd, false },
};

/*
 * The control of what follows: the part comes to be a VMA of its own, and is
 * none when it is undone. False where the kernel does not do that anyway.
 */
static bool how_works(struct guard_map *m, const struct how *how, size_t n,
		      unsigned int split)
{
	return map_again(m) && !how->apply(part(m, n), part_size()) &&
	       parts_set(m, split, 0) &&
	       !how->undo(part(m, n), part_size()) && merged(m, 0);
}

static struct how how_of(struct guard_map *m, size_t i)
{
	struct how how = hows[i];

	if (how.undo == undo_protect && !(m->prot & PROT_WRITE))
		how.undo = undo_protect_ro;
	if (how.apply == apply_protect && m->backing == ANON_PRIVATE)
		how.apply = apply_protect_exec;
	return how;
}

/* Part @n is made to differ, and to be as its neighbours again. */
static int control_one(struct guard_map *m, const struct how *how, size_t n,
		       unsigned int parts)
{
	if (!map_again(m) || how->apply(part(m, n), part_size()) ||
	    put_in_parts(m, parts, false) ||
	    how->undo(part(m, n), part_size()))
		return -1;
	return control_vmas(m, 1);
}

/*
 * The middle becomes as its neighbours again:
 *
 *   | left | middle | right |   ->   |         one          |
 */
TEST_F_TIMEOUT(merge, three_way, 180)
{
	struct guard_map *m = &self->map;
	unsigned int parts, done = 0;
	int control = -1, merges = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(hows); i++) {
		struct how how = how_of(m, i);

		if (!how_works(m, &how, 1, 3))
			continue;
		done |= 1U << i;
		for (parts = 0; parts < PART_BITS; parts++) {
			if (how.locks && (parts & MIDDLE))
				continue;
			if (control_needed(m, parts))
				control = control_one(m, &how, 1, parts);
			ASSERT_LT(0, control);

			ASSERT_TRUE(map_again(m));
			ASSERT_EQ(0, how.apply(part(m, 1), part_size()));
			ASSERT_EQ(0, install_parts(m, parts));
			EXPECT_TRUE(parts_set(m, 3, parts));
			ASSERT_EQ(0, how.undo(part(m, 1), part_size()));
			merges += control == 1;
			EXPECT_TRUE(merged_as(m, parts, control)) {
				TH_LOG("%s, guards in parts %#x: %d VMAs, not %d",
				       how.name, parts,
				       vma_count(m->base, m->size), control);
			}
		}
	}
	/* mprotect, madvise, dontdump: these have no excuse. */
	EXPECT_EQ(7U, done & 7);
	/* Without guards, and with them on the left or on the right. */
	EXPECT_LE(3 * 3, merges);
}

/*
 * The same to the left and to the right of it only:
 *
 *   | part 0, 1 | part 2 |    and    | part 0 | part 1, 2 |
 */
TEST_F_TIMEOUT(merge, pairs, 180)
{
	struct guard_map *m = &self->map;
	unsigned int parts, done = 0;
	int control = -1;
	size_t i, n;

	for (i = 0; i < ARRAY_SIZE(hows); i++) {
		struct how how = how_of(m, i);

		for (n = 0; n < NR_PARTS; n += 2) {
			if (!how_works(m, &how, n, 2))
				continue;
			done |= 1U << i;
			for (parts = 0; parts < PART_BITS; parts++) {
				const unsigned int here = 1U << n;
				unsigned int set = parts & here;

				if (how.locks && set)
					continue;
				if (control_needed(m, parts))
					control = control_one(m, &how, n,
							      parts);
				ASSERT_LT(0, control);

				ASSERT_TRUE(map_again(m));
				ASSERT_EQ(0, how.apply(part(m, n),
						       part_size()));
				ASSERT_EQ(0, install_parts(m, parts));
				if (parts & ~here)
					set |= PART_BITS - 1 - here;
				EXPECT_TRUE(parts_set(m, 2, set));
				ASSERT_EQ(0, how.undo(part(m, n),
						      part_size()));
				EXPECT_TRUE(merged_as(m, parts, control)) {
					TH_LOG("%s of part %zu, guards in %#x",
					       how.name, n, parts);
				}
			}
		}
	}
	EXPECT_EQ(7U, done & 7);
}

/*
 * Guards on both sides in anonymous memory: of one VMA once, so of one
 * anon_vma. And everywhere else just as well.
 */
TEST_F_TIMEOUT(merge, split_with_guards, 180)
{
	struct guard_map *m = &self->map;
	unsigned int parts, done = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(hows); i++) {
		struct how how = how_of(m, i);

		if (!how_works(m, &how, 1, 3))
			continue;
		done |= 1U << i;
		for (parts = 1; parts < PART_BITS; parts++) {
			ASSERT_TRUE(map_again(m));
			ASSERT_EQ(0, install_parts(m, parts));
			ASSERT_EQ(0, how.apply(part(m, 1), part_size()));
			ASSERT_TRUE(parts_set(m, 3, PART_BITS - 1));
			ASSERT_EQ(0, how.undo(part(m, 1), part_size()));
			EXPECT_TRUE(merged(m, parts)) {
				TH_LOG("%s, guards in parts %#x", how.name,
				       parts);
			}
		}
	}
	EXPECT_EQ(7U, done & 7);
}

/*
 * The border between two VMAs moves by half a part, in either direction:
 *
 *   | part 0 ->|   part 1, 2 |    and    |  part 0, 1 |<- part 2 |
 */
struct border {
	size_t other;		/* two parts from here on are made to differ, */
	size_t moved;		/* and half a part from this page on no more */
	size_t same;		/* the part that did not differ */
};

static const struct border borders[] = {
	{ .other = 1, .moved = PART, .same = 0 },
	{ .other = 0, .moved = 2 * PART - PART / 2, .same = 2 },
};

static int move_border(struct guard_map *m, const struct how *how,
		       const struct border *b, unsigned int parts, bool guards)
{
	if (!map_again(m) || how->apply(part(m, b->other), 2 * part_size()) ||
	    put_in_parts(m, parts, guards) ||
	    how->undo(map_page(m, b->moved), part_size() / 2))
		return -1;
	return 0;
}

/* The flag in the part that grew, in what it grew by, and in the rest. */
static bool border_moved(struct guard_map *m, const struct border *b,
			 unsigned int parts, int control)
{
	unsigned int others = parts & ~(1U << b->same);
	struct smaps s = smaps_of(m);
	/* The middle part has been cut in half; look at the half that stays. */
	char *rest = b->same ? map_page(m, b->moved) - page_size() :
		     map_page(m, b->moved + PART / 2);

	if (s.vmas != control ||
	    (control == 2 && part_set(&s, m, b->same) != !!parts))
		return false;
	return smaps_has(&s, map_page(m, b->moved), "gu") ==
	       !!(control == 2 ? parts : others) &&
	       smaps_has(&s, rest, "gu") == !!others &&
	       part_set(&s, m, 2 - b->same) == !!others;
}

TEST_F_TIMEOUT(merge, border_moves, 180)
{
	struct guard_map *m = &self->map;
	unsigned int parts, done = 0;
	int control = -1;
	size_t i, n;

	for (i = 0; i < ARRAY_SIZE(hows); i++) {
		struct how how = how_of(m, i);

		if (!how_works(m, &how, 0, 2) || !how_works(m, &how, 2, 2))
			continue;
		done |= 1U << i;
		for (n = 0; n < 2 * PART_BITS; n++) {
			const struct border *b = &borders[n / PART_BITS];

			parts = n % PART_BITS;
			if (how.locks && (parts & ~(1U << b->same)))
				continue;
			if (control_needed(m, parts)) {
				ASSERT_EQ(0, move_border(m, &how, b, parts,
							 false));
				control = control_vmas(m, 2);
				ASSERT_LT(0, control);
			}
			ASSERT_EQ(0, move_border(m, &how, b, parts, true));
			EXPECT_TRUE(border_moved(m, b, parts, control)) {
				TH_LOG("%s, parts %zu and %zu, guards in %#x",
				       how.name, b->other, b->other + 1, parts);
			}
			ASSERT_EQ(0, how.undo(part(m, b->other),
					      2 * part_size()));
			EXPECT_TRUE(map_is(m, part_guards(parts)));
		}
	}
	EXPECT_EQ(7U, done & 7);
}

/* Guards that were there and are no more: it is not looked at, and still set. */
TEST_F(merge, after_remove)
{
	struct guard_map *m = &self->map;
	struct how how = how_of(m, 0);
	int control;
	size_t n;

	for (n = 0; n < NR_PARTS; n++) {
		control = control_one(m, &how, 1, 1U << n);
		ASSERT_LT(0, control);

		ASSERT_TRUE(map_again(m));
		ASSERT_EQ(0, how.apply(part(m, 1), part_size()));
		ASSERT_EQ(0, install_parts(m, 1U << n));
		ASSERT_EQ(0, guard_remove(m->base, m->size));
		ASSERT_EQ(0, how.undo(part(m, 1), part_size()));
		EXPECT_EQ(control, vma_count(m->base, m->size));
		EXPECT_TRUE(flag_set(part(m, n)));
		if (control == 1)
			EXPECT_TRUE(flag_set(m->base));
		EXPECT_TRUE(map_guards_are(m, 0));
		EXPECT_TRUE(map_rest_fresh(m, 0));
	}
}

/*
 * Sealed one after the other; unsealed they are only by the end of us. What is
 * sealed and cannot be written takes no guards: so those in the middle part
 * only, which is sealed last, and before it is.
 */
static int sealed_vmas(struct guard_map *s, enum backing b, bool guards)
{
	unsigned int parts = guards ? MIDDLE : 0;

	if (!map_make(s, b, NR_PAGES))
		return -1;
	if (sys_mseal(part(s, 0), part_size()) ||
	    sys_mseal(part(s, 2), part_size()))
		return -2;
	if (put_in_parts(s, MIDDLE, guards) || !parts_set(s, 3, parts) ||
	    sys_mseal(part(s, 1), part_size()) ||
	    !map_guards_are(s, part_guards(parts)))
		return -3;
	return vma_count(s->base, s->size);
}

TEST_F(merge, sealed)
{
	struct guard_map control, m;
	int vmas = sealed_vmas(&control, variant->backing, false);

	if (vmas == -2)
		SKIP(return, "no mseal");
	ASSERT_LT(0, vmas);
	ASSERT_EQ(vmas, control_vmas(&control, 1));
	ASSERT_EQ(vmas, sealed_vmas(&m, variant->backing, true));
	EXPECT_TRUE(merged_as(&m, MIDDLE, vmas));
}

/*
 * New mappings that fit beside what is there. Not so anonymous shared memory,
 * of which each mapping is its own object.
 */
FLAG_FIXTURE(beside, NR_PAGES)
GUARD_VARIANT(beside, anon_private, ANON_PRIVATE);
GUARD_VARIANT(beside, shmem_private, SHMEM_PRIVATE);
GUARD_VARIANT(beside, shmem_shared, SHMEM_SHARED);
GUARD_VARIANT(beside, file_private, FILE_PRIVATE);
GUARD_VARIANT(beside, file_shared, FILE_SHARED);
GUARD_VARIANTS_RO(beside);

/* mmap() of part @n where it belongs. */
static bool map_part_as(struct guard_map *m, size_t n, int prot)
{
	return mmap(part(m, n), part_size(), prot, m->flags | MAP_FIXED, m->fd,
		    m->fd < 0 ? 0 : (off_t)(n * part_size())) == part(m, n);
}

static bool map_part(struct guard_map *m, size_t n)
{
	return map_part_as(m, n, m->prot);
}

/* To the left, to the right, into a gap, and over what was there. */
TEST_F(beside, mmap)
{
	struct guard_map *m = &self->map;
	unsigned int parts;
	size_t n, over;

	for (n = 0; n < NR_PARTS; n++) {
		for (parts = 0; parts < PART_BITS; parts++) {
			/* Of one VMA with guards, two are left. */
			for (over = 0; over < 2; over++) {
				unsigned int rest = parts & ~(1U << n);
				unsigned int set = parts ? PART_BITS - 1 : 0;

				ASSERT_TRUE(map_again(m));
				ASSERT_EQ(0, install_parts(m, parts));
				if (!over)
					ASSERT_EQ(0, munmap(part(m, n),
							    part_size()));
				ASSERT_TRUE(map_part(m, n));
				EXPECT_TRUE(parts_set(m, 1, set));
				EXPECT_TRUE(map_is(m, part_guards(rest))) {
					TH_LOG("part %zu, guards in %#x", n,
					       parts);
				}
			}
		}
	}
}

/* Guards in one of two, which a new mapping in the gap joins. */
TEST_F(beside, mmap_joins)
{
	struct guard_map *m = &self->map;
	int control, merges = 0;
	unsigned int parts;

	for (parts = 0; parts < PART_BITS; parts++) {
		if (parts & MIDDLE)
			continue;
		ASSERT_TRUE(map_again(m));
		ASSERT_EQ(0, munmap(part(m, 1), part_size()));
		ASSERT_EQ(0, put_in_parts(m, parts, false));
		ASSERT_TRUE(map_part(m, 1));
		control = control_vmas(m, 1);
		ASSERT_LT(0, control);
		merges += control == 1;

		ASSERT_TRUE(map_again(m));
		ASSERT_EQ(0, munmap(part(m, 1), part_size()));
		ASSERT_EQ(0, install_parts(m, parts));
		EXPECT_TRUE(parts_set(m, 2, parts));
		ASSERT_TRUE(map_part(m, 1));
		EXPECT_TRUE(merged_as(m, parts, control)) {
			TH_LOG("guards in parts %#x", parts);
		}
	}
	/* All but two anon_vmas. */
	EXPECT_LE(3, merges);
}

static char *away(void)
{
	char *p = mmap(NULL, part_size() + 2 * page_size(), PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	munmap(p, part_size() + 2 * page_size());
	return p + page_size();
}

static bool move_part(void *from, void *to)
{
	return mremap(from, part_size(), part_size(),
		      MREMAP_MAYMOVE | MREMAP_FIXED, to) == to;
}

/* A part goes and comes back. */
TEST_F(beside, mremap_back)
{
	struct guard_map *m = &self->map;
	unsigned int parts;
	size_t n;
	char *to;

	for (n = 0; n < NR_PARTS; n++) {
		for (parts = 0; parts < PART_BITS; parts++) {
			ASSERT_TRUE(map_again(m));
			ASSERT_EQ(0, install_parts(m, parts));
			to = away();
			ASSERT_NE(NULL, to);
			ASSERT_TRUE(move_part(part(m, n), to));
			EXPECT_EQ(!!parts, flag_set(to));
			ASSERT_TRUE(move_part(to, part(m, n)));
			EXPECT_TRUE(merged(m, parts)) {
				TH_LOG("part %zu, guards in %#x", n, parts);
			}
		}
	}
}

/* Expanded in place until it meets the next:  | left | ->  | right | */
TEST_F(beside, mremap_expand)
{
	struct guard_map *m = &self->map;
	unsigned int parts;
	int control;

	for (parts = 0; parts < PART_BITS; parts++) {
		if (parts & MIDDLE)
			continue;
		ASSERT_TRUE(map_again(m));
		ASSERT_EQ(0, munmap(part(m, 1), part_size()));
		ASSERT_EQ(0, put_in_parts(m, parts, false));
		ASSERT_EQ(m->base, mremap(m->base, part_size(),
					  2 * part_size(), 0));
		control = control_vmas(m, 1);
		ASSERT_LT(0, control);

		ASSERT_TRUE(map_again(m));
		ASSERT_EQ(0, munmap(part(m, 1), part_size()));
		ASSERT_EQ(0, install_parts(m, parts));
		ASSERT_EQ(m->base, mremap(m->base, part_size(),
					  2 * part_size(), 0));
		EXPECT_TRUE(merged_as(m, parts, control)) {
			TH_LOG("guards in parts %#x", parts);
		}
	}
}

/*
 * The other flag that is sticky says that there may be pages written to since
 * somebody asked for it to be cleared. A new VMA has it. No guards here: this is
 * for who saves what has changed, and would miss what a merge made look clean.
 */
FIXTURE(soft_dirty) {
	struct guard_map map;
};

FIXTURE_VARIANT(soft_dirty) {
	enum backing backing;
};

GUARD_VARIANT(soft_dirty, anon_private, ANON_PRIVATE);
GUARD_VARIANT(soft_dirty, shmem_private, SHMEM_PRIVATE);
GUARD_VARIANT(soft_dirty, shmem_shared, SHMEM_SHARED);
GUARD_VARIANT(soft_dirty, file_private, FILE_PRIVATE);
GUARD_VARIANT(soft_dirty, file_shared, FILE_SHARED);
GUARD_VARIANTS_RO(soft_dirty);

FIXTURE_SETUP(soft_dirty)
{
	if (!map_make(&self->map, variant->backing, NR_PAGES))
		SKIP(return, "%s", guard_reason);
	if (!vma_has_flag(self->map.base, "sd"))
		SKIP(return, "no CONFIG_MEM_SOFT_DIRTY");
}

FIXTURE_TEARDOWN(soft_dirty)
{
	map_free(&self->map);
}

static bool soft_dirty_clear(void)
{
	return knob_write("/proc/self/clear_refs", "4");
}

/* The middle comes to be as its neighbours, of which these are new. */
TEST_F(soft_dirty, new_beside)
{
	static const unsigned int news[] = { LEFT, RIGHT, LEFT | RIGHT };
	struct guard_map *m = &self->map;
	unsigned int done = 0;
	size_t i, k, n;

	for (i = 0; i < ARRAY_SIZE(hows); i++) {
		struct how how = how_of(m, i);

		if (!how_works(m, &how, 1, 3))
			continue;
		done |= 1U << i;
		for (k = 0; k < ARRAY_SIZE(news); k++) {
			ASSERT_TRUE(map_again(m));
			ASSERT_EQ(0, how.apply(part(m, 1), part_size()));
			ASSERT_TRUE(soft_dirty_clear());
			for (n = 0; n < NR_PARTS; n += 2)
				if (news[k] & (1U << n))
					ASSERT_TRUE(map_part(m, n));
			ASSERT_EQ(news[k], flag_in(m, "sd", 3));
			ASSERT_EQ(0, how.undo(part(m, 1), part_size()));
			EXPECT_EQ(PART_BITS - 1, flag_in(m, "sd", 1)) {
				TH_LOG("%s between %#x", how.name, news[k]);
			}
		}
	}
	EXPECT_EQ(7U, done & 7);
}

/* These parts are new, and come to be as the others; or the other way round. */
TEST_F(soft_dirty, new_joins)
{
	struct guard_map *m = &self->map;
	unsigned int parts, later;
	size_t n, joins;
	int vmas;

	for (parts = 1; parts < PART_BITS - 1; parts++) {
		vmas = parts == MIDDLE || parts == (LEFT | RIGHT) ? 3 : 2;
		for (joins = 0; joins < 2; joins++) {
			later = joins ? parts : PART_BITS - 1 - parts;
			ASSERT_TRUE(map_again(m));
			for (n = 0; n < NR_PARTS; n++)
				if (later & (1U << n))
					ASSERT_EQ(0, mprotect(part(m, n),
							      part_size(),
							      PROT_NONE));
			ASSERT_TRUE(soft_dirty_clear());
			ASSERT_EQ(0U, flag_in(m, "sd", vmas));
			for (n = 0; n < NR_PARTS; n++)
				if (parts & (1U << n))
					ASSERT_TRUE(map_part_as(m, n, joins ?
								PROT_NONE :
								m->prot));
			ASSERT_EQ(parts, flag_in(m, "sd", vmas));
			for (n = 0; n < NR_PARTS; n++)
				if (later & (1U << n))
					ASSERT_EQ(0, mprotect(part(m, n),
							      part_size(),
							      m->prot));
			EXPECT_EQ(PART_BITS - 1, flag_in(m, "sd", 1)) {
				TH_LOG("new parts %#x, which %s", parts,
				       joins ? "join" : "are joined");
			}
		}
	}
}

/*
 * Of objects only: anonymous memory with guards keeps the offset that it had
 * where they were put in, and fits nowhere else.
 */
FLAG_FIXTURE(object, NR_PAGES)
GUARD_VARIANT(object, shmem_private, SHMEM_PRIVATE);
GUARD_VARIANT(object, shmem_shared, SHMEM_SHARED);
GUARD_VARIANT(object, file_private, FILE_PRIVATE);
GUARD_VARIANT(object, file_shared, FILE_SHARED);
GUARD_VARIANTS_RO(object);

/* Guards put in while it is away: on one side, on the other, on both. */
TEST_F(object, mremap_into_place)
{
	struct guard_map *m = &self->map;
	unsigned int parts;
	size_t n;
	char *to;

	for (n = 0; n < NR_PARTS; n++) {
		for (parts = 0; parts < PART_BITS; parts++) {
			bool here = parts & (1U << n);

			ASSERT_TRUE(map_again(m));
			to = away();
			ASSERT_NE(NULL, to);
			ASSERT_TRUE(move_part(part(m, n), to));
			ASSERT_EQ(0, install_parts(m, parts & ~(1U << n)));
			if (here)
				ASSERT_EQ(0, guard_install(to + 3 * page_size(),
							   2 * page_size()));
			EXPECT_EQ(here, flag_set(to));
			ASSERT_TRUE(move_part(to, part(m, n)));
			EXPECT_TRUE(merged(m, parts)) {
				TH_LOG("part %zu, guards in %#x", n, parts);
			}
		}
	}
}

/*
 * The same pages twice, side by side: VMAs that are alike and cannot be merged.
 * remap_file_pages() goes over them, and what it makes is new. It is for shared
 * mappings of files that are open for writing.
 */
FLAG_FIXTURE(order, NR_PAGES)
GUARD_VARIANT(order, anon_shared, ANON_SHARED);
GUARD_VARIANT(order, shmem_shared, SHMEM_SHARED);
GUARD_VARIANT(order, file_shared, FILE_SHARED);

static int remap_parts(struct guard_map *m, size_t n, size_t parts, size_t from)
{
	return syscall(__NR_remap_file_pages, part(m, n), parts * part_size(),
		       0UL, from * PART, 0UL) ? -errno : 0;
}

TEST_F(order, remap_file_pages)
{
	struct guard_map *m = &self->map;
	unsigned int parts, left;

	for (parts = 0; parts < PART_BITS; parts++) {
		/* With the guards there, and with only the flag left of them. */
		for (left = 0; left < 2; left++) {
			ASSERT_TRUE(map_again(m));
			ASSERT_EQ(0, remap_parts(m, 1, 1, 0));
			ASSERT_EQ(0, install_parts(m, parts));
			if (!left)
				ASSERT_EQ(0, guard_remove(m->base, m->size));
			ASSERT_TRUE(parts_set(m, NR_PARTS, parts));
			EXPECT_EQ(0, remap_parts(m, 0, NR_PARTS, 0)) {
				TH_LOG("guards in %#x", parts);
			}
			EXPECT_TRUE(parts_set(m, 1, 0));
			EXPECT_TRUE(map_is(m, 0));
		}
	}
}

/*
 * The heap, in a child: its allocator is not to know. 100 and up: it cannot be
 * done here; else the number of the step that went wrong.
 */
#define HEAP_PAGES	16

static int heap(void *arg)
{
	size_t psz = page_size();
	bool guards = *(bool *)arg;
	char *base;

	base = (char *)(((uintptr_t)sbrk(0) + psz - 1) / psz * psz);
	if (brk(base + HEAP_PAGES * psz))
		return 100;
	if (flag_set(base))
		return 1;
	/* smaps may have been read with memory from here. */
	if (guards && (guard_install(base + (HEAP_PAGES - 2) * psz, psz) ||
		       !flag_set(base + (HEAP_PAGES - 1) * psz)))
		return 2;
	if (brk(base + 2 * HEAP_PAGES * psz))
		return 101;
	if (vma_count(base, 2 * HEAP_PAGES * psz) != 1)
		return 3;
	if (flag_set(base + (2 * HEAP_PAGES - 1) * psz) != guards)
		return 4;
	if (guards && !page_guarded(base + (HEAP_PAGES - 2) * psz))
		return 5;
	/* The guard goes, the flag stays. */
	if (brk(base + (HEAP_PAGES - 4) * psz) ||
	    brk(base + 3 * HEAP_PAGES * psz))
		return 102;
	if (vma_count(base, 3 * HEAP_PAGES * psz) != 1)
		return 6;
	if (flag_set(base + (2 * HEAP_PAGES - 1) * psz) != guards)
		return 7;
	return range_holds(base + HEAP_PAGES * psz, HEAP_PAGES, 0) ? 0 : 8;
}

/*
 * stdio takes its buffers from the heap: with room of its own there, the break
 * is for the test alone.
 */
static int heap_prepared(void *arg)
{
	void *room = malloc(64 << 10);

	free(room);
	return heap(arg);
}

TEST(brk_heap)
{
	bool guards = false;
	int ret;

	if (!flag_supported())
		SKIP(return, "%s", guard_reason);
	ret = in_child(heap_prepared, &guards);
	if (ret >= 100)
		SKIP(return, "the heap cannot grow here");
	EXPECT_EQ(0, ret);
	guards = true;
	EXPECT_EQ(0, in_child(heap_prepared, &guards));
}

/*
 * Flags that are not sticky. Each is set and cleared on all of the VMA, on a
 * part, on a part of where it was set; with guards in the VMA and without.
 */
static int apply_sequential(void *addr, size_t len)
{
	return madvise(addr, len, MADV_SEQUENTIAL);
}

static int apply_dontfork(void *addr, size_t len)
{
	return madvise(addr, len, MADV_DONTFORK);
}

static int undo_dontfork(void *addr, size_t len)
{
	return madvise(addr, len, MADV_DOFORK);
}

static int apply_wipe(void *addr, size_t len)
{
	return madvise(addr, len, MADV_WIPEONFORK);
}

static int undo_wipe(void *addr, size_t len)
{
	return madvise(addr, len, MADV_KEEPONFORK);
}

static int apply_huge(void *addr, size_t len)
{
	return madvise(addr, len, MADV_HUGEPAGE);
}

static int undo_huge(void *addr, size_t len)
{
	return madvise(addr, len, MADV_NOHUGEPAGE);
}

static int apply_mergeable(void *addr, size_t len)
{
	return madvise(addr, len, MADV_MERGEABLE);
}

static int undo_mergeable(void *addr, size_t len)
{
	return madvise(addr, len, MADV_UNMERGEABLE);
}

/* To be seen as flags that are there, so the other way round. */
static int apply_readable(void *addr, size_t len)
{
	return mprotect(addr, len, PROT_READ);
}

static int undo_readable(void *addr, size_t len)
{
	return mprotect(addr, len, PROT_NONE);
}

static int apply_writable(void *addr, size_t len)
{
	return mprotect(addr, len, PROT_READ | PROT_WRITE);
}

static int undo_writable(void *addr, size_t len)
{
	return mprotect(addr, len, PROT_READ);
}

static const struct {
	const char *flag;
	int (*apply)(void *addr, size_t len);
	int (*undo)(void *addr, size_t len);
	bool always;		/* no mapping and no kernel without it */
} clears[] = {
	{ "rr", apply_random, undo_random, true },
	{ "sr", apply_sequential, undo_random, true },
	{ "dc", apply_dontfork, undo_dontfork, true },
	{ "dd", apply_dontdump, undo_dontdump, true },
	{ "rd", apply_readable, undo_readable, true },
	{ "lo", apply_lock, undo_lock, false },
	{ "wr", apply_writable, undo_writable, false },
	{ "wf", apply_wipe, undo_wipe, false },
	{ "hg", apply_huge, undo_huge, false },
	{ "mg", apply_mergeable, undo_mergeable, false },
	{ "uw", apply_uffd, undo_uffd, false },
};

TEST_F_TIMEOUT(merge, other_flags_are_cleared, 180)
{
	struct guard_map *m = &self->map;
	const unsigned int all = LEFT | MIDDLE | RIGHT;
	unsigned int guards;
	size_t i, n, psz = part_size();

	for (i = 0; i < ARRAY_SIZE(clears); i++) {
		const char *flag = clears[i].flag;
		int (*apply)(void *, size_t) = clears[i].apply;
		int (*undo)(void *, size_t) = clears[i].undo;

		for (guards = 0; guards < PART_BITS; guards++) {
			ASSERT_TRUE(map_again(m));
			ASSERT_EQ(0, install_parts(m, guards));
			if (apply(m->base, m->size)) {
				EXPECT_FALSE(clears[i].always) {
					TH_LOG("%s: %s", flag, strerror(errno));
				}
				break;
			}
			if (flag_in(m, flag, 1) != all) {
				EXPECT_FALSE(clears[i].always);
				break;
			}

			/* Unchanged but for the flag. */
			ASSERT_EQ(0, undo(m->base, m->size));
			EXPECT_EQ(0U, flag_in(m, flag, 1)) {
				TH_LOG("%s of the whole, guards %#x", flag,
				       guards);
			}

			/* Split off, and merged again. */
			for (n = 0; n < NR_PARTS; n++) {
				ASSERT_EQ(0, apply(part(m, n), psz));
				EXPECT_EQ(1U << n, flag_in(m, flag,
							   n == 1 ? 3 : 2));
				ASSERT_EQ(0, undo(part(m, n), psz));
				EXPECT_EQ(0U, flag_in(m, flag, 1)) {
					TH_LOG("%s of part %zu, guards %#x",
					       flag, n, guards);
				}
			}

			/* A part of it cleared, the rest, and all of that. */
			for (n = 0; n < NR_PARTS; n++) {
				ASSERT_EQ(0, apply(m->base, m->size));
				ASSERT_EQ(0, undo(part(m, n), psz));
				EXPECT_EQ(all & ~(1U << n),
					  flag_in(m, flag, n == 1 ? 3 : 2)) {
					TH_LOG("%s but for part %zu, guards %#x",
					       flag, n, guards);
				}
				ASSERT_EQ(0, undo(m->base, m->size));
				EXPECT_EQ(0U, flag_in(m, flag, 1));
			}
			EXPECT_EQ(guards ? all : 0, flag_in(m, "gu", 1));
			ASSERT_EQ(0, mprotect(m->base, m->size, m->prot));
			EXPECT_EQ(guards ? all : 0, flag_in(m, "gu", 1));
			EXPECT_TRUE(map_guards_are(m, part_guards(guards)));
		}
	}
}

FLAG_HARNESS_MAIN
