/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The mapping that many guard region tests work on, and where its guards are:
 *
 *     0            8   9      12   13          23
 *   | pages in use   | guards    | pages in use  |
 */
#ifndef _GUARD_LAYOUT_H
#define _GUARD_LAYOUT_H

#include "guard_util.h"

#define NR_PAGES	24
#define GUARD		9		/* first guarded page */
#define NR_GUARDS	4
#define AFTER		(GUARD + NR_GUARDS)

static inline int populate_with_guards(struct guard_map *m)
{
	map_populate(m, 0, NR_PAGES);
	return guard_install(map_page(m, GUARD), NR_GUARDS * page_size());
}

/* The pages in use hold what was written, or what is there by itself. */
static inline bool outside_intact(struct guard_map *m)
{
	return map_populated_intact(m, 0, GUARD) &&
	       map_populated_intact(m, AFTER, NR_PAGES - AFTER);
}

/* Guards there, and none of the pages under them mapped. */
static inline bool guards_survive(struct guard_map *m)
{
	return !range_present(map_page(m, GUARD), NR_GUARDS * page_size()) &&
	       map_guarded(m, GUARD, NR_GUARDS);
}

static inline bool all_as_it_was(struct guard_map *m)
{
	return guards_survive(m) && outside_intact(m);
}

#endif /* _GUARD_LAYOUT_H */
