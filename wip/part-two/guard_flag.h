/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For the tests of VM_MAYBE_GUARD, which smaps shows as `gu`: set, there may
 * be guards in the VMA; not set, there are none.
 */
#ifndef _GUARD_FLAG_H
#define _GUARD_FLAG_H

#include "guard_util.h"

static inline bool flag_set(void *addr)
{
	return vma_has_flag(addr, "gu");
}

/* Guard regions came before the flag, so a kernel may have just the former. */
static inline bool flag_supported(void)
{
	struct guard_map m;
	bool set;

	if (!guard_supported(ANON_PRIVATE) || !map_make(&m, ANON_PRIVATE, 1))
		return false;
	set = !guard_install(m.base, m.size) && flag_set(m.base);
	map_free(&m);
	if (!set)
		guard_set_reason("no VM_MAYBE_GUARD in this kernel: no gu in smaps after an install");
	return set;
}

#define FLAG_FIXTURE(fixture_name, nr_pages)				\
	FIXTURE(fixture_name) {						\
		struct guard_map map;					\
	};								\
	FIXTURE_VARIANT(fixture_name) {					\
		enum backing backing;					\
	};								\
	FIXTURE_SETUP(fixture_name)					\
	{								\
		if (!flag_supported() ||				\
		    !guard_supported(variant->backing) ||		\
		    !map_make(&self->map, variant->backing, nr_pages))	\
			SKIP(return, "%s", guard_reason);		\
	}								\
	FIXTURE_TEARDOWN(fixture_name)					\
	{								\
		map_free(&self->map);					\
	}

/* A new mapping in place of the old one, which takes all guards with it. */
static inline bool map_again(struct guard_map *m)
{
	return mmap(m->base, m->size, m->prot, m->flags | MAP_FIXED, m->fd,
		    0) == m->base;
}

/* All pages that are no guards have what they have if nobody wrote to them. */
static inline bool map_rest_fresh(struct guard_map *m, uint32_t guards)
{
	size_t i;

	for (i = 0; i < m->npages; i++)
		if (!(guards & (1U << i)) &&
		    !page_holds(map_page(m, i), map_fresh_seed(m, i)))
			return false;
	return true;
}

/* Bits [first, first + n) of a map_guards_are() mask. */
static inline uint32_t pages_mask(size_t first, size_t n)
{
	return ((1U << n) - 1) << first;
}

/* Install on these pages only; 0 or -errno. */
static inline int install_at(struct guard_map *m, size_t first, size_t n)
{
	return guard_install(map_page(m, first), n * page_size());
}

#define FLAG_HARNESS_MAIN						\
	int main(int argc, char **argv)					\
	{								\
		if (argc == 1 && !flag_supported()) {			\
			ksft_print_header();				\
			ksft_exit_skip("%s\n", guard_reason);		\
		}							\
		return test_harness_run(argc, argv);			\
	}

#endif /* _GUARD_FLAG_H */
