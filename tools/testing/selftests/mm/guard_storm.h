/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Threads that fault in pages as fast as they can while a test puts guards
 * in their place and takes them away again.
 */
#ifndef _GUARD_STORM_H
#define _GUARD_STORM_H

#include "guard_util.h"

#include <pthread.h>

/*
 * A page table full of pages takes long enough to discard that some page is
 * back by the time it is walked again: install has to retry most times, and
 * often so many times that it has to restart.
 */
#define STORM_PAGES	512
#define STORM_THREADS	2

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

#endif /* _GUARD_STORM_H */
