// SPDX-License-Identifier: GPL-2.0
/*
 * Guard regions: what is refused, with which error, and what has been done by
 * then. What is refused must leave the memory as it was.
 */
#define _GNU_SOURCE
#include "guard_layout.h"
#include "guard_system.h"

#include <time.h>

#ifndef MAP_HUGETLB
#define MAP_HUGETLB	0x40000
#endif

GUARD_FIXTURE(errors, NR_PAGES)
GUARD_VARIANTS_RW(errors);
GUARD_VARIANTS_RO(errors);

/* Nothing of the mapping has changed since map_populate() of all of it. */
static bool untouched(struct guard_map *m)
{
	return range_present(m->base, m->size) == NR_PAGES &&
	       map_populated_intact(m, 0, NR_PAGES);
}

TEST_F(errors, unaligned_start)
{
	static const size_t offsets[] = { 1, 8, 511, 4095 };
	struct guard_map *m = &self->map;
	size_t psz = page_size(), i;

	map_populate(m, 0, NR_PAGES);
	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		char *p = map_page(m, 3) + offsets[i];

		EXPECT_EQ(-EINVAL, guard_install(p, psz));
		EXPECT_EQ(-EINVAL, guard_install(p, 1));
		EXPECT_EQ(-EINVAL, guard_install(p, 0));
		EXPECT_EQ(-EINVAL, guard_remove(p, psz));
	}
	EXPECT_TRUE(untouched(m));

	ASSERT_EQ(0, guard_install(map_page(m, 3), psz));
	EXPECT_EQ(-EINVAL, guard_remove(map_page(m, 3) + 1, psz));
	EXPECT_TRUE(map_guarded(m, 3, 1));
}

/* Ends that wrap around, and lengths that do when they are rounded up. */
TEST_F(errors, bad_length)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();
	const size_t lengths[] = {
		SIZE_MAX,
		SIZE_MAX - 1,
		SIZE_MAX - psz + 2,
		-(size_t)m->base,
		-(size_t)m->base + psz,
		SIZE_MAX - 2 * psz + 1,
	};
	size_t i;

	map_populate(m, 0, NR_PAGES);
	for (i = 0; i < ARRAY_SIZE(lengths); i++) {
		EXPECT_EQ(-EINVAL, guard_install(m->base, lengths[i])) {
			TH_LOG("length %#zx", lengths[i]);
		}
		EXPECT_EQ(-EINVAL, guard_remove(m->base, lengths[i]));
	}
	EXPECT_TRUE(untouched(m));
}

TEST_F(errors, zero_length)
{
	struct guard_map *m = &self->map;

	map_populate(m, 0, NR_PAGES);
	EXPECT_EQ(0, guard_install(m->base, 0));
	EXPECT_EQ(0, guard_remove(m->base, 0));
	EXPECT_TRUE(untouched(m));

	/* Where there is nothing mapped as well. */
	ASSERT_EQ(0, guard_install(map_page(m, 2), page_size()));
	EXPECT_EQ(0, guard_remove(map_page(m, 2), 0));
	EXPECT_TRUE(map_guarded(m, 2, 1));
	ASSERT_EQ(0, munmap(m->base, page_size()));
	EXPECT_EQ(0, guard_install(m->base, 0));
	EXPECT_EQ(0, guard_remove(m->base, 0));
}

TEST_F(errors, length_rounds_up)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();

	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, guard_install(map_page(m, 3), 1));
	EXPECT_TRUE(map_guarded(m, 3, 1));
	EXPECT_TRUE(map_populated_intact(m, 4, 1));
	ASSERT_EQ(0, guard_install(map_page(m, 6), psz + 1));
	EXPECT_TRUE(map_guarded(m, 6, 2));
	EXPECT_TRUE(map_populated_intact(m, 8, 1));
	ASSERT_EQ(0, guard_install(map_page(m, 10), 3 * psz - 1));
	EXPECT_TRUE(map_guarded(m, 10, 3));
	EXPECT_TRUE(map_populated_intact(m, 13, NR_PAGES - 13));

	ASSERT_EQ(0, guard_remove(map_page(m, 10), psz + 1));
	EXPECT_TRUE(map_discarded(m, 10, 2));
	EXPECT_TRUE(map_guarded(m, 12, 1));
	EXPECT_TRUE(map_populated_intact(m, 0, 3));
	EXPECT_TRUE(map_populated_intact(m, 4, 2));
	EXPECT_TRUE(map_populated_intact(m, 8, 2));
}

/*
 * A hole: -ENOMEM, and what is mapped on both sides of it is done.
 *
 *   | pages | hole | pages |
 */
TEST_F(errors, hole_in_the_middle)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();

	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, munmap(map_page(m, GUARD), NR_GUARDS * psz));
	EXPECT_EQ(-ENOMEM, guard_install(map_page(m, 2), (NR_PAGES - 4) * psz));
	EXPECT_TRUE(map_guarded(m, 2, GUARD - 2));
	EXPECT_TRUE(map_guarded(m, AFTER, NR_PAGES - AFTER - 2));
	EXPECT_TRUE(map_populated_intact(m, 0, 2));
	EXPECT_TRUE(map_populated_intact(m, NR_PAGES - 2, 2));
	EXPECT_EQ(0, vma_count(map_page(m, GUARD), NR_GUARDS * psz));

	EXPECT_EQ(-ENOMEM, guard_remove(map_page(m, 4), (NR_PAGES - 8) * psz));
	EXPECT_TRUE(map_guarded(m, 2, 2));
	EXPECT_TRUE(map_discarded(m, 4, GUARD - 4));
	EXPECT_TRUE(map_discarded(m, AFTER, NR_PAGES - AFTER - 4));
	EXPECT_TRUE(map_guarded(m, NR_PAGES - 4, 2));
}

TEST_F(errors, hole_at_the_start)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();

	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, munmap(m->base, 3 * psz));
	EXPECT_EQ(-ENOMEM, guard_install(m->base, 8 * psz));
	EXPECT_TRUE(map_guarded(m, 3, 5));
	EXPECT_TRUE(map_populated_intact(m, 8, NR_PAGES - 8));
	EXPECT_EQ(-ENOMEM, guard_remove(m->base, 5 * psz));
	EXPECT_TRUE(map_discarded(m, 3, 2));
	EXPECT_TRUE(map_guarded(m, 5, 3));
}

TEST_F(errors, hole_at_the_end)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();

	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, munmap(map_page(m, NR_PAGES - 3), 3 * psz));
	EXPECT_EQ(-ENOMEM, guard_install(map_page(m, NR_PAGES - 8), 8 * psz));
	EXPECT_TRUE(map_guarded(m, NR_PAGES - 8, 5));
	EXPECT_TRUE(map_populated_intact(m, 0, NR_PAGES - 8));
	EXPECT_EQ(-ENOMEM, guard_remove(map_page(m, NR_PAGES - 5), 5 * psz));
	EXPECT_TRUE(map_guarded(m, NR_PAGES - 8, 3));
	EXPECT_TRUE(map_discarded(m, NR_PAGES - 5, 2));
}

TEST_F(errors, nothing_but_a_hole)
{
	struct guard_map *m = &self->map;

	ASSERT_EQ(0, munmap(m->base, m->size));
	EXPECT_EQ(-ENOMEM, guard_install(m->base, m->size));
	EXPECT_EQ(-ENOMEM, guard_remove(m->base, m->size));
}

/* Two holes, and VMAs that differ: each part is done all the same. */
TEST_F(errors, several_holes_and_vmas)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();

	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, munmap(map_page(m, 4), psz));
	ASSERT_EQ(0, munmap(map_page(m, 12), psz));
	ASSERT_EQ(0, mprotect(map_page(m, 8), psz, PROT_NONE));
	EXPECT_EQ(-ENOMEM, guard_install(m->base, m->size));
	EXPECT_TRUE(map_guarded(m, 0, 4));
	EXPECT_TRUE(map_guarded(m, 5, 7));
	EXPECT_TRUE(map_guarded(m, 13, NR_PAGES - 13));
	ASSERT_EQ(0, mprotect(map_page(m, 8), psz, m->prot));
	EXPECT_TRUE(map_guarded(m, 8, 1));
	EXPECT_EQ(-ENOMEM, guard_remove(m->base, m->size));
	EXPECT_TRUE(map_discarded(m, 0, 4));
	EXPECT_TRUE(map_discarded(m, 5, 7));
	EXPECT_TRUE(map_discarded(m, 13, NR_PAGES - 13));
}

/* Locked memory: no installing, but removing. */
TEST_F(errors, locked)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();

	map_populate(m, 0, NR_PAGES);
	if (mlock(m->base, m->size))
		SKIP(return, "cannot lock memory: %s", strerror(errno));
	EXPECT_EQ(-EINVAL, guard_install(m->base, m->size));
	EXPECT_EQ(-EINVAL, guard_install(map_page(m, GUARD), psz));
	EXPECT_TRUE(untouched(m));
	EXPECT_EQ(0, guard_remove(m->base, m->size));
	EXPECT_TRUE(untouched(m));
	ASSERT_EQ(0, munlock(m->base, m->size));
	EXPECT_EQ(0, guard_install(map_page(m, GUARD), psz));
	EXPECT_TRUE(map_guarded(m, GUARD, 1));
}

TEST_F(errors, locked_onfault)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();

	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, guard_install(map_page(m, GUARD), NR_GUARDS * psz));
	if (syscall(__NR_mlock2, m->base, m->size, MLOCK_ONFAULT))
		SKIP(return, "cannot lock memory: %s", strerror(errno));
	EXPECT_EQ(-EINVAL, guard_install(m->base, m->size));
	EXPECT_TRUE(map_populated_intact(m, 0, GUARD));
	EXPECT_TRUE(map_guarded(m, GUARD, NR_GUARDS));
	EXPECT_EQ(0, guard_remove(map_page(m, GUARD), 2 * psz));
	EXPECT_TRUE(map_discarded(m, GUARD, 2));
	EXPECT_TRUE(map_guarded(m, GUARD + 2, NR_GUARDS - 2));
	EXPECT_EQ(-EINVAL, guard_install(map_page(m, GUARD), psz));
	EXPECT_TRUE(map_discarded(m, GUARD, 1));
}

/* Memory that is locked from the beginning. */
TEST(locked_by_mlockall_future)
{
	size_t psz = page_size();
	char *p;

	if (!guard_supported(ANON_PRIVATE))
		SKIP(return, "%s", guard_reason);
	if (mlockall(MCL_FUTURE))
		SKIP(return, "cannot lock memory: %s", strerror(errno));
	p = mmap(NULL, 4 * psz, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(-EINVAL, guard_install(p, psz));
	EXPECT_TRUE(page_holds(p, 0));
	EXPECT_EQ(0, guard_remove(p, psz));
	munlockall();
	munmap(p, 4 * psz);
}

/*
 * Sealed memory. Only anonymous memory that cannot be written is protected
 * against losing what it holds.
 */
GUARD_FIXTURE(sealed, NR_PAGES)
GUARD_VARIANT(sealed, anon_private, ANON_PRIVATE);

#define SKIP_UNLESS_SEALED(addr, len)					\
	do {								\
		int ret = sys_mseal(addr, len);				\
									\
		if (ret == -ENOSYS || ret == -EPERM)			\
			SKIP(return, "no mseal() in this kernel");	\
		ASSERT_EQ(0, ret);					\
	} while (0)

TEST_F(sealed, install_on_readonly)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();

	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, guard_install(map_page(m, GUARD), NR_GUARDS * psz));
	ASSERT_EQ(0, mprotect(m->base, m->size, PROT_READ));
	SKIP_UNLESS_SEALED(m->base, m->size);

	EXPECT_EQ(-EPERM, guard_install(m->base, m->size));
	EXPECT_EQ(-EPERM, guard_install(map_page(m, 2), psz));
	EXPECT_EQ(-EPERM, guard_install(map_page(m, GUARD), psz));
	EXPECT_TRUE(map_populated_intact(m, 0, GUARD));
	EXPECT_TRUE(map_guarded(m, GUARD, NR_GUARDS));
	EXPECT_TRUE(map_populated_intact(m, AFTER, NR_PAGES - AFTER));

	/* Nothing is lost by removing. */
	EXPECT_EQ(0, guard_remove(map_page(m, GUARD), psz));
	EXPECT_TRUE(page_holds(map_page(m, GUARD), 0));
	EXPECT_TRUE(map_guarded(m, GUARD + 1, NR_GUARDS - 1));
}

TEST_F(sealed, install_on_prot_none)
{
	struct guard_map *m = &self->map;

	map_populate(m, 0, NR_PAGES);
	ASSERT_EQ(0, mprotect(m->base, m->size, PROT_NONE));
	SKIP_UNLESS_SEALED(m->base, m->size);
	EXPECT_EQ(-EPERM, guard_install(m->base, m->size));
	EXPECT_EQ(NR_PAGES, range_present(m->base, m->size));
}

TEST_F(sealed, install_on_writable)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();

	map_populate(m, 0, NR_PAGES);
	SKIP_UNLESS_SEALED(m->base, m->size);
	EXPECT_EQ(0, guard_install(map_page(m, GUARD), NR_GUARDS * psz));
	EXPECT_TRUE(map_guarded(m, GUARD, NR_GUARDS));
	EXPECT_TRUE(map_populated_intact(m, 0, GUARD));
	EXPECT_EQ(0, guard_remove(map_page(m, GUARD), NR_GUARDS * psz));
	EXPECT_TRUE(map_discarded(m, GUARD, NR_GUARDS));
}

/* Shared memory holds what it holds elsewhere: a seal is no matter. */
TEST(sealed_shared_readonly)
{
	struct guard_map m;

	if (!guard_supported(SHMEM_SHARED))
		SKIP(return, "%s", guard_reason);
	ASSERT_TRUE(map_make(&m, SHMEM_SHARED, NR_PAGES));
	map_populate(&m, 0, NR_PAGES);
	ASSERT_EQ(0, mprotect(m.base, m.size, PROT_READ));
	SKIP_UNLESS_SEALED(m.base, m.size);
	EXPECT_EQ(0, guard_install(m.base, m.size));
	EXPECT_TRUE(map_guarded(&m, 0, NR_PAGES));
	EXPECT_EQ(0, guard_remove(m.base, m.size));
	EXPECT_TRUE(map_discarded(&m, 0, NR_PAGES));
}

/* A sealed part in the range: nothing of that is done. */
TEST(sealed_part)
{
	struct guard_map m;
	size_t psz = page_size();

	if (!guard_supported(ANON_PRIVATE))
		SKIP(return, "%s", guard_reason);
	ASSERT_TRUE(map_make(&m, ANON_PRIVATE, NR_PAGES));
	map_populate(&m, 0, NR_PAGES);
	ASSERT_EQ(0, mprotect(map_page(&m, GUARD), NR_GUARDS * psz, PROT_READ));
	SKIP_UNLESS_SEALED(map_page(&m, GUARD), NR_GUARDS * psz);
	EXPECT_EQ(-EPERM, guard_install(m.base, m.size));
	EXPECT_TRUE(map_populated_intact(&m, GUARD, NR_GUARDS));
	EXPECT_EQ(NR_GUARDS, range_present(map_page(&m, GUARD),
					   NR_GUARDS * psz));
}

/*
 * Huge pages of hugetlbfs. Root reserves some where there are none, and gives
 * them back.
 */
#define NR_HUGEPAGES	"/proc/sys/vm/nr_hugepages"

FIXTURE(hugetlb) {
	char *base;
	size_t size;
	long reserved;		/* what was there, -1: not changed */
};

FIXTURE_VARIANT(hugetlb) {
	int flags;
};

FIXTURE_VARIANT_ADD(hugetlb, private) {
	.flags = MAP_PRIVATE,
};

FIXTURE_VARIANT_ADD(hugetlb, shared) {
	.flags = MAP_SHARED,
};

static bool set_nr_hugepages(long n)
{
	FILE *f = fopen(NR_HUGEPAGES, "we");
	bool ok;

	if (!f)
		return false;
	ok = fprintf(f, "%ld\n", n) > 0;
	return !fclose(f) && ok;
}

static size_t hugetlb_size(void)
{
	long kb = proc_number("/proc/meminfo", "Hugepagesize");

	return kb < 0 ? 0 : kb * 1024;
}

FIXTURE_SETUP(hugetlb)
{
	FILE *f;

	self->reserved = -1;
	if (!guard_supported(ANON_PRIVATE))
		SKIP(return, "%s", guard_reason);
	self->size = 2 * hugetlb_size();
	f = fopen(NR_HUGEPAGES, "re");
	if (!f || !self->size)
		SKIP(return, "no hugetlb in this kernel");
	if (fscanf(f, "%ld", &self->reserved) != 1)
		self->reserved = -1;
	fclose(f);

	self->base = mmap(NULL, self->size, PROT_READ | PROT_WRITE,
			  variant->flags | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (self->base == MAP_FAILED && self->reserved >= 0) {
		if (set_nr_hugepages(self->reserved + 2))
			self->base = mmap(NULL, self->size,
					  PROT_READ | PROT_WRITE,
					  variant->flags | MAP_ANONYMOUS |
					  MAP_HUGETLB, -1, 0);
		if (self->base == MAP_FAILED)
			set_nr_hugepages(self->reserved);
	} else {
		self->reserved = -1;
	}
	if (self->base == MAP_FAILED)
		SKIP(return, "no huge pages of hugetlbfs to be had");
}

FIXTURE_TEARDOWN_PARENT(hugetlb)
{
	if (self->reserved >= 0)
		set_nr_hugepages(self->reserved);
}

TEST_F(hugetlb, refused)
{
	memset(self->base, 0x77, self->size);
	EXPECT_EQ(-EINVAL, guard_install(self->base, self->size));
	EXPECT_EQ(-EINVAL, guard_install(self->base, self->size / 2));
	EXPECT_EQ(-EINVAL, guard_install(self->base, page_size()));
	EXPECT_EQ(-EINVAL, guard_remove(self->base, self->size));
	EXPECT_EQ(0x77, self->base[0]);
	EXPECT_EQ(0x77, self->base[self->size - 1]);
}

/* Never touched: no page table to find out from. */
TEST_F(hugetlb, refused_untouched)
{
	EXPECT_EQ(-EINVAL, guard_install(self->base, self->size));
	EXPECT_EQ(-EINVAL, guard_install(self->base + page_size(),
					 page_size()));
	EXPECT_EQ(-EINVAL, guard_remove(self->base, self->size));
	EXPECT_EQ(0, self->base[self->size - 1]);
}

/*
 * Mappings that a driver or the kernel made (VM_SPECIAL), found by a flag in
 * smaps: io, de (DONTEXPAND), pf (PFNMAP), mm (MIXEDMAP).
 */
static bool is_special(void *addr)
{
	return vma_has_flag(addr, "io") || vma_has_flag(addr, "de") ||
	       vma_has_flag(addr, "pf") || vma_has_flag(addr, "mm");
}

struct named_vma {
	const char *name;
	struct vma_info vma;
	bool found;
};

static void match_name(const struct vma_info *vma, void *arg)
{
	struct named_vma *want = arg;

	if (!want->found && !strcmp(vma->name, want->name)) {
		want->vma = *vma;
		want->found = true;
	}
}

/* What the kernel put there itself. A sealed one would be refused for that. */
static int try_named(const char *name, int advice)
{
	struct named_vma want = { .name = name };
	char *start;

	vma_for_each(NULL, SIZE_MAX, match_name, &want);
	start = (char *)want.vma.start;
	if (!want.found || !is_special(start) || vma_has_flag(start, "sl"))
		return -ENOENT;
	return sys_advise(start, page_size(), advice);
}

TEST(special_kernel_mappings)
{
	static const char * const names[] = { "[vvar]", "[vdso]" };
	int found = 0, ret;
	size_t i;

	if (!guard_supported(ANON_PRIVATE))
		SKIP(return, "%s", guard_reason);
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		ret = try_named(names[i], MADV_GUARD_INSTALL);
		if (ret == -ENOENT)
			continue;
		found++;
		EXPECT_EQ(-EINVAL, ret);
		EXPECT_EQ(-EINVAL, try_named(names[i], MADV_GUARD_REMOVE));
	}
	/* And the time can still be told through them. */
	EXPECT_LT(0, time(NULL));
	if (!found)
		SKIP(return, "no mapping of the kernel's own here");
}

/* The ring of asynchronous I/O is mapped by the kernel, at its handle. */
TEST(special_aio_ring)
{
	unsigned long ctx = 0;

	if (!guard_supported(ANON_PRIVATE))
		SKIP(return, "%s", guard_reason);
	if (syscall(__NR_io_setup, 16, &ctx))
		SKIP(return, "no io_setup(): %s", strerror(errno));
	ASSERT_TRUE(is_special((char *)ctx));
	EXPECT_EQ(-EINVAL, guard_install((char *)ctx, page_size()));
	EXPECT_EQ(-EINVAL, guard_remove((char *)ctx, page_size()));
	EXPECT_TRUE(page_readable((char *)ctx));
	EXPECT_EQ(0, syscall(__NR_io_destroy, ctx));
}

#ifndef __NR_io_uring_setup
#define __NR_io_uring_setup	425
#endif

/* The rings of io_uring: a mapping of pages of the kernel. */
TEST(special_io_uring_ring)
{
	/* struct io_uring_params: 120 bytes, all of them zero will do. */
	char params[120] = { 0 };
	size_t psz = page_size();
	char *ring;
	int fd;

	if (!guard_supported(ANON_PRIVATE))
		SKIP(return, "%s", guard_reason);
	fd = syscall(__NR_io_uring_setup, 4, params);
	if (fd < 0)
		SKIP(return, "no io_uring: %s", strerror(errno));
	ring = mmap(NULL, psz, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, ring);
	ASSERT_TRUE(is_special(ring));
	EXPECT_EQ(-EINVAL, guard_install(ring, psz));
	EXPECT_EQ(-EINVAL, guard_remove(ring, psz));
	EXPECT_TRUE(page_readable(ring));
	munmap(ring, psz);
	close(fd);
}

/*
 * A refused VMA in the range ends the call there. Nothing is said of what
 * comes before; itself and what comes after is as it was.
 *
 *   | pages | locked | pages |
 */
TEST_F(errors, refused_part_ends_it)
{
	struct guard_map *m = &self->map;
	size_t psz = page_size();

	map_populate(m, 0, NR_PAGES);
	if (mlock(map_page(m, GUARD), NR_GUARDS * psz))
		SKIP(return, "cannot lock memory: %s", strerror(errno));
	EXPECT_EQ(-EINVAL, guard_install(m->base, m->size));
	EXPECT_TRUE(map_populated_intact(m, GUARD, NR_PAGES - GUARD));
	ASSERT_EQ(0, munlock(m->base, m->size));
}

/* The page tables' memory is given back: many rounds, nothing left over. */
TEST(page_tables_are_freed)
{
	const size_t size = 256 << 20;
	long before = -1, after = -1;
	size_t i;
	char *p;

	if (!guard_supported(ANON_PRIVATE))
		SKIP(return, "%s", guard_reason);
	for (i = 0; i < 8; i++) {
		p = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		ASSERT_NE(MAP_FAILED, p);
		ASSERT_EQ(0, guard_install(p, size));
		EXPECT_TRUE(read_faults(p));
		EXPECT_TRUE(read_faults(p + size - 1));
		ASSERT_EQ(0, munmap(p, size));

		after = proc_number("/proc/self/status", "VmPTE");
		ASSERT_LT(0, after);
		if (!i)
			before = after;
	}
	ASSERT_LT(0, before);
	EXPECT_EQ(before, after);
}

/*
 * No memory for a page table, or for what else an install needs: the Nth
 * allocation of the call is made to fail, for every N. -ENOMEM, no guard where
 * there was no room for one, and the next try works.
 */
NO_MEMORY_FIXTURE(no_memory, true)

TEST_F_TIMEOUT(no_memory, install, 120)
{
	struct guard_map *m = &self->map;
	int nth, ret, left, failed = 0;
	bool used = true;

	for (nth = 1; used && nth < 100; nth++) {
		ASSERT_TRUE(fail_nth(self->fd, nth));
		ret = guard_install(m->base, m->size);
		left = fail_nth_left(self->fd);
		ASSERT_LE(0, left);
		used = !left;
		ASSERT_TRUE(fail_nth(self->fd, 0));

		if (ret) {
			EXPECT_EQ(-ENOMEM, ret);
			EXPECT_TRUE(used);
			failed++;
			/* From the front: the last page cannot have one. */
			EXPECT_FALSE(read_faults(map_page(m, m->npages - 1)));
		}
		EXPECT_EQ(1, vma_count(m->base, m->size));
		/* Whatever it got done can be finished, and undone. */
		ASSERT_EQ(0, guard_install(m->base, m->size));
		EXPECT_TRUE(map_guarded(m, 0, 1));
		EXPECT_TRUE(map_guarded(m, m->npages - 1, 1));
		ASSERT_EQ(0, guard_remove(m->base, m->size));
		EXPECT_TRUE(page_holds(m->base, map_fresh_seed(m, 0)));
		/* Page tables go only with the mapping: a new one. */
		ASSERT_EQ(0, munmap(m->base, m->size));
		ASSERT_EQ(m->base, mmap(m->base, m->size, m->prot,
					m->flags | MAP_FIXED, m->fd, 0));
	}
	EXPECT_FALSE(used);
	EXPECT_LE(no_memory_tables(), failed);
}

GUARD_HARNESS_MAIN
