/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Threads that do something to memory as fast as they can while a test puts
 * guards there and takes them away again.
 */
#ifndef _GUARD_STORM_H
#define _GUARD_STORM_H

#include "guard_util.h"

#include <pthread.h>
#include <sched.h>

/*
 * A page table full of pages takes long enough to discard that some page is
 * back by the time it is walked again: install has to retry most times, and
 * often so many times that it has to restart.
 */
#define STORM_PAGES	512
#define STORM_THREADS	2

/* Threads that fault in pages. */
struct storm {
	char *base;
	size_t npages;
	int stop;
	int wrong;		/* accesses that ended in any other signal */
	pthread_t threads[STORM_THREADS];
};

static inline bool storm_over(struct storm *storm)
{
	return __atomic_load_n(&storm->stop, __ATOMIC_RELAXED);
}

static inline void *storm_run(void *arg)
{
	struct storm *storm = arg;
	int wrong = 0;
	size_t i;

	while (!storm_over(storm)) {
		for (i = 0; i < storm->npages && !storm_over(storm); i++) {
			char *page = storm->base + i * page_size();
			struct touch t = touch(page, i % 4 ? TOUCH_WRITE :
							     TOUCH_READ);

			if (t.signo &&
			    (t.signo != SIGSEGV || t.addr != page))
				wrong++;
		}
	}
	__atomic_add_fetch(&storm->wrong, wrong, __ATOMIC_RELAXED);
	return NULL;
}

static inline bool storm_start(struct storm *storm, void *base, size_t npages)
{
	size_t i;

	memset(storm, 0, sizeof(*storm));
	storm->base = base;
	storm->npages = npages;
	/* Not in the threads: they would race. */
	page_size();
	touch_init();
	for (i = 0; i < STORM_THREADS; i++)
		if (pthread_create(&storm->threads[i], NULL, storm_run, storm))
			return false;
	return true;
}

static inline void storm_stop(struct storm *storm)
{
	size_t i;

	__atomic_store_n(&storm->stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < STORM_THREADS; i++)
		pthread_join(storm->threads[i], NULL);
}

/*
 * The caller on one CPU, the threads that it starts on the others: threads
 * that take turns on one do not race. With a single CPU nothing changes.
 */
struct cpu_split {
	cpu_set_t all, mine, others;
	bool apart;
};

static inline void cpu_split_init(struct cpu_split *s)
{
	int cpu = 0;

	s->apart = !sched_getaffinity(0, sizeof(s->all), &s->all) &&
		   CPU_COUNT(&s->all) > 1;
	if (!s->apart)
		return;
	while (!CPU_ISSET(cpu, &s->all))
		cpu++;
	CPU_ZERO(&s->mine);
	CPU_SET(cpu, &s->mine);
	s->others = s->all;
	CPU_CLR(cpu, &s->others);
}

static inline void cpu_split_run_on(const struct cpu_split *s,
				    const cpu_set_t *cpus)
{
	if (s->apart)
		sched_setaffinity(0, sizeof(*cpus), cpus);
}

/*
 * Small mappings in a row. Each gets a guard in its second page while a thread
 * changes something about the mapping and changes it back, all the time.
 *
 *   | flips | guard | gap | flips | guard | gap | ...
 */
struct pairs {
	const struct guard_map *map;	/* what to map, NPAIRS * 2 pages */
	size_t n;
	int (*flip)(char *pair);	/* there and back; 0 or -errno */
	char *area;
	pthread_t thread;
	size_t current;			/* which one flips now */
	int flips;			/* how often it has, since then */
	int stop;
	int failed;
};

static inline char *pair_at(const struct pairs *p, size_t i)
{
	return p->area + 3 * i * page_size();
}

static inline char *pair_guard(const struct pairs *p, size_t i)
{
	return pair_at(p, i) + page_size();
}

static inline size_t pairs_area_size(const struct pairs *p)
{
	return 3 * p->n * page_size();
}

static inline void *pairs_flipper(void *arg)
{
	struct pairs *p = arg;
	int ret;

	while (!__atomic_load_n(&p->stop, __ATOMIC_RELAXED)) {
		size_t i = __atomic_load_n(&p->current, __ATOMIC_ACQUIRE);

		ret = p->flip(pair_at(p, i));
		if (ret)
			p->failed = ret;
		__atomic_add_fetch(&p->flips, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* New mappings, which never had a guard, in place of what is there. */
static inline bool pairs_map(struct pairs *p)
{
	const struct guard_map *m = p->map;
	size_t psize = page_size(), i;

	for (i = 0; i < p->n; i++)
		if (mmap(pair_at(p, i), 2 * psize, m->prot,
			 m->flags | MAP_FIXED, m->fd, m->fd < 0 ? 0 :
			 2 * i * psize) != pair_at(p, i))
			return false;
	return true;
}

static inline bool pairs_start(struct pairs *p, const struct guard_map *map,
			       size_t n, int (*flip)(char *pair))
{
	memset(p, 0, sizeof(*p));
	p->map = map;
	p->n = n;
	p->flip = flip;
	p->area = mmap(NULL, pairs_area_size(p), PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p->area != MAP_FAILED && pairs_map(p) &&
	       !pthread_create(&p->thread, NULL, pairs_flipper, p);
}

static inline void pairs_stop(struct pairs *p)
{
	__atomic_store_n(&p->stop, 1, __ATOMIC_RELAXED);
	pthread_join(p->thread, NULL);
	munmap(p->area, pairs_area_size(p));
}

/* From now on that one flips, and does so already. */
static inline void pairs_move_on(struct pairs *p, size_t i)
{
	__atomic_store_n(&p->current, i, __ATOMIC_RELEASE);
	__atomic_store_n(&p->flips, 0, __ATOMIC_RELEASE);
	while (__atomic_load_n(&p->flips, __ATOMIC_ACQUIRE) < 2)
		sched_yield();
}

static inline int flip_mprotect(char *pair)
{
	return mprotect(pair, page_size(), PROT_READ) ||
	       mprotect(pair, page_size(), PROT_READ | PROT_WRITE) ?
	       -errno : 0;
}

#endif /* _GUARD_STORM_H */
