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

/*
 * What smaps says of the VMAs that a range is made of, all of one reading; at
 * most eight of them.
 */
struct smaps {
	int vmas;		/* -1: could not be read, or more than that */
	struct {
		unsigned long start;
		unsigned long end;
		char flags[512];	/* a blank before and after each */
	} vma[8];
};

/* Of this process or, if @pid is not 0, of another. */
static inline struct smaps smaps_read(pid_t pid, const void *start, size_t len)
{
	unsigned long from = (unsigned long)start, to = from + len;
	unsigned long vma_start, vma_end = 0;
	struct smaps s = { .vmas = 0 };
	char path[64], line[512], buf[4096];
	bool here = false;
	FILE *f;

	snprintf(path, sizeof(path), pid ? "/proc/%d/smaps" :
		 "/proc/self/smaps", pid);
	f = fopen(path, "re");
	if (!f)
		return (struct smaps){ .vmas = -1 };
	/* The default is small, and each call has the kernel find its place. */
	setvbuf(f, buf, _IOFBF, sizeof(buf));
	while (vma_end < to && fgets(line, sizeof(line), f)) {
		/* The names of fields begin with a capital letter. */
		if (line[0] >= 'A' && line[0] <= 'Z') {
			if (!here || strncmp(line, "VmFlags:", 8))
				continue;
			line[strcspn(line, "\n")] = ' ';
			snprintf(s.vma[s.vmas - 1].flags,
				 sizeof(s.vma[0].flags), "%s", line + 8);
			/* The last of its fields. */
			vma_end = s.vma[s.vmas - 1].end;
			continue;
		}
		here = false;
		if (sscanf(line, "%lx-%lx ", &vma_start, &vma_end) != 2)
			continue;
		here = vma_end > from && vma_start < to;
		if (here) {
			if (s.vmas == ARRAY_SIZE(s.vma)) {
				s.vmas = -1;
				break;
			}
			s.vma[s.vmas].start = vma_start;
			s.vma[s.vmas++].end = vma_end;
			vma_end = 0;
		}
	}
	fclose(f);
	return s;
}

static inline struct smaps smaps_of(const struct guard_map *m)
{
	return smaps_read(0, m->base, m->size);
}

/* Has the VMA at @addr this flag? */
static inline bool smaps_has(const struct smaps *s, const void *addr,
			     const char *flag)
{
	unsigned long want = (unsigned long)addr;
	char word[8];
	int i;

	snprintf(word, sizeof(word), " %s ", flag);
	for (i = 0; i < s->vmas; i++)
		if (want >= s->vma[i].start && want < s->vma[i].end)
			return strstr(s->vma[i].flags, word);
	return false;
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
		guard_set_reason("no VM_MAYBE_GUARD in this kernel (gu in smaps)");
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

/*
 * map_guards_are() and map_rest_fresh() in one, for use in loops: pagemap is
 * read once, and guards are touched once at either end.
 */
static inline bool map_is(struct guard_map *m, uint32_t guards)
{
	uint64_t entries[32];
	const uint64_t *word;
	unsigned int seed;
	size_t i, j;
	ssize_t n;
	int fd;

	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = pread(fd, entries, m->npages * sizeof(*entries),
		  (uintptr_t)m->base / page_size() * sizeof(*entries));
	close(fd);
	if (n != (ssize_t)(m->npages * sizeof(*entries)))
		return false;
	for (i = 0; i < m->npages; i++) {
		bool guard = guards & (1U << i);

		if (guard != !!(entries[i] & PAGEMAP_BIT_GUARD))
			return false;
		if (guard && (!read_faults(map_page(m, i)) ||
			      !write_faults(map_page(m, i + 1) - 1)))
			return false;
	}

	/* All the others with one preparation for faults. */
	touch_init();
	if (sigsetjmp(touch_env, 1))
		return false;
	touch_armed = 1;
	for (i = 0; i < m->npages; i++) {
		if (guards & (1U << i))
			continue;
		word = (const uint64_t *)map_page(m, i);
		seed = map_fresh_seed(m, i);
		for (j = 0; j < page_size() / sizeof(*word); j++)
			if (word[j] != (seed ? pattern_word(seed, j) : 0))
				goto out;
	}
out:
	touch_armed = 0;
	return i == m->npages;
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
