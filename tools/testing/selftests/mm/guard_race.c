// SPDX-License-Identifier: GPL-2.0
/*
 * Guard regions put in and taken out while other threads do their worst to
 * the same memory. Loops are bounded by counts, not by time.
 *
 * What is asked in each round: install returns 0 (no restart code or other
 * passing trouble gets out), and once it has returned 0, every page of the
 * range is a guard and stays one until it is removed.
 */
#include "guard_storm.h"

#include <stddef.h>

#define ROUNDS		40
#define NPAGES		64

/* A thread that repeats something beside the test until told to stop. */
struct beside {
	pthread_t thread;
	void (*fn)(struct beside *b);
	struct guard_map *map;
	int stop;
	int failed;		/* first errno of what should not fail */
};

static void *beside_run(void *arg)
{
	struct beside *b = arg;

	while (!__atomic_load_n(&b->stop, __ATOMIC_RELAXED))
		b->fn(b);
	return NULL;
}

static bool beside_start(struct beside *b, struct guard_map *map,
			 void (*fn)(struct beside *b))
{
	memset(b, 0, sizeof(*b));
	b->map = map;
	b->fn = fn;
	return !pthread_create(&b->thread, NULL, beside_run, b);
}

static void beside_stop(struct beside *b)
{
	__atomic_store_n(&b->stop, 1, __ATOMIC_RELAXED);
	pthread_join(b->thread, NULL);
}

static void beside_result(struct beside *b, int ret)
{
	if (ret && !b->failed)
		b->failed = errno;
}

GUARD_FIXTURE(race, NPAGES);
GUARD_VARIANTS_RW(race);

/* One round of what is asked; 0 or the negative errno of the first trouble. */
static int round_trip(char *base, size_t len)
{
	int ret = guard_install(base, len);

	if (ret)
		return ret;
	if (pagemap_guards(base, len) != (int)(len / page_size()) ||
	    !page_guarded(base) || !page_guarded(base + len - page_size()))
		return -ENOTUNIQ;	/* not all are guards */
	return guard_remove(base, len);
}

/* Rounds until one fails; what that one said, or 0 if none did. */
static int round_trips(char *base, size_t len, int rounds)
{
	int i, ret = 0;

	for (i = 0; i < rounds && !ret; i++)
		ret = round_trip(base, len);
	return ret;
}

TEST_F(race, faults)
{
	struct guard_map map;
	struct storm storm;

	ASSERT_TRUE(map_make(&map, variant->backing, STORM_PAGES));
	ASSERT_TRUE(storm_start(&storm, map.base, map.npages));
	EXPECT_EQ(0, round_trips(map.base, map.size, ROUNDS));

	/* And with guards that nobody takes away under the threads. */
	EXPECT_EQ(0, guard_install(map.base, map.size));
	EXPECT_TRUE(range_guarded(map.base, map.size));
	EXPECT_EQ(STORM_PAGES, pagemap_guards(map.base, map.size));
	storm_stop(&storm);
	EXPECT_EQ(0, storm.wrong);
	EXPECT_EQ(STORM_PAGES, pagemap_guards(map.base, map.size));
	map_free(&map);
}

/* Discarding pages is no reason to lose a guard. */
static void discard(struct beside *b)
{
	beside_result(b, madvise(b->map->base, b->map->size, MADV_DONTNEED));
}

TEST_F(race, discard)
{
	struct storm storm;
	struct beside b;

	ASSERT_TRUE(storm_start(&storm, self->map.base, self->map.npages));
	ASSERT_TRUE(beside_start(&b, &self->map, discard));
	EXPECT_EQ(0, round_trips(self->map.base, self->map.size, ROUNDS));
	beside_stop(&b);
	storm_stop(&storm);
	EXPECT_EQ(0, b.failed);
	EXPECT_EQ(0, storm.wrong);
}

/*
 * MADV_DONTNEED takes page after page out of the page tables, and flushes the
 * TLB at the end of the range. An install in between, where it has been, finds
 * nothing in its way. Once that has returned, no CPU may get at the page.
 */
#define LATE_PAGES	4096
#define LATE_ROUNDS	48

struct late_flush {
	struct guard_map map;
	/* 1: do it; 2: in it; 0: done. */
	int discard;
	int read;
	int guarded;		/* the install has returned */
	int behind;		/* rounds in which a read got behind the guard */
};

static struct late_flush *late_of(struct beside *b)
{
	return (void *)((char *)b->map - offsetof(struct late_flush, map));
}

static int late_get(int *what)
{
	return __atomic_load_n(what, __ATOMIC_ACQUIRE);
}

static void late_set(int *what, int value)
{
	__atomic_store_n(what, value, __ATOMIC_RELEASE);
}

static void late_discard(struct beside *b)
{
	struct late_flush *late = late_of(b);

	if (!late_get(&late->discard)) {
		usleep(50);
		return;
	}
	late_set(&late->discard, 2);
	discard(b);
	late_set(&late->discard, 0);
}

/* Until the page faults; without system calls, which may flush as well. */
static void late_read(struct beside *b)
{
	struct late_flush *late = late_of(b);
	volatile char *page = b->map->base;
	int guarded;

	if (!late_get(&late->read)) {
		usleep(50);
		return;
	}
	if (!sigsetjmp(touch_env, 1)) {
		touch_armed = 1;
		do {
			guarded = late_get(&late->guarded);
			(void)*page;
			late_set(&late->read, 2);
		} while (!guarded);
		touch_armed = 0;
		late->behind++;
	}
	late_set(&late->read, 0);
}

FIXTURE(tlb) {
	struct late_flush late;
};

FIXTURE_SETUP(tlb)
{
	if (!guard_supported(ANON_PRIVATE) ||
	    !map_make(&self->late.map, ANON_PRIVATE, LATE_PAGES))
		SKIP(return, "%s", guard_reason);
}

FIXTURE_TEARDOWN(tlb)
{
	map_free(&self->late.map);
}

/* With lockdep, in QEMU on a busy host, each round takes a second. */
TEST_F_TIMEOUT(tlb, late_flush, 300)
{
	/* To get a CPU while the two others are busy, if that is allowed. */
	const struct sched_param first = { .sched_priority = 1 };
	struct late_flush *late = &self->late;
	struct beside discarder, reader;
	char *page = late->map.base;
	struct cpu_split cpus;
	int i;

	/* A huge page is flushed at once. */
	madvise(page, late->map.size, MADV_NOHUGEPAGE);
	touch_init();
	cpu_split_init(&cpus);
	cpu_split_run_on(&cpus, &cpus.mine);
	ASSERT_TRUE(beside_start(&discarder, &late->map, late_discard));
	cpu_split_run_on(&cpus, &cpus.others);
	ASSERT_TRUE(beside_start(&reader, &late->map, late_read));
	cpu_split_run_on(&cpus, &cpus.all);
	sched_setscheduler(0, SCHED_FIFO, &first);

	for (i = 0; i < LATE_ROUNDS; i++) {
		ASSERT_EQ(0, guard_remove(page, page_size()));
		memset(page, 1, late->map.size);
		late_set(&late->guarded, 0);
		late_set(&late->read, 1);
		while (late_get(&late->read) != 2)
			usleep(50);
		late_set(&late->discard, 1);
		while (late_get(&late->discard) == 1)
			usleep(50);
		/* Sooner or later: where it has got to is a matter of luck. */
		usleep(25 << (i % 8));
		ASSERT_EQ(0, guard_install(page, page_size()));
		late_set(&late->guarded, 1);
		while (late_get(&late->read) || late_get(&late->discard))
			usleep(50);
	}
	beside_stop(&reader);
	beside_stop(&discarder);
	EXPECT_EQ(0, discarder.failed);
	EXPECT_EQ(0, late->behind);
}

/*
 * The first half changes its protection all the time, so that the mapping is
 * two VMAs or one, depending on when one looks.
 */
static void flip_protection(struct beside *b)
{
	beside_result(b, mprotect(b->map->base, b->map->size / 2, PROT_READ));
	beside_result(b, mprotect(b->map->base, b->map->size / 2,
				  PROT_READ | PROT_WRITE));
}

TEST_F(race, mprotect)
{
	struct beside b;

	ASSERT_TRUE(beside_start(&b, &self->map, flip_protection));
	EXPECT_EQ(0, round_trips(self->map.base, self->map.size, 4 * ROUNDS));
	beside_stop(&b);
	EXPECT_EQ(0, b.failed);
}

/*
 * The same for guards in a child: an install beside a change of protection
 * must leave the VMA in a state that makes fork copy its page tables. Each of
 * many small mappings gets one guard while its other page is changed, then
 * one fork tells of them all.
 */
#define NPAIRS		(NPAGES / 2)
#define PAIR_ROUNDS	4

static int child_checks_pairs(void *arg)
{
	const struct pairs *p = arg;
	size_t i;

	for (i = 0; i < p->n; i++)
		if (pagemap_guards(pair_guard(p, i), page_size()) != 1 ||
		    !page_guarded(pair_guard(p, i)))
			return 1;
	return 0;
}

TEST_F(race, mprotect_and_fork)
{
	int round, lost = 0;
	struct pairs p;
	size_t i;

	touch_init();
	ASSERT_TRUE(pairs_start(&p, &self->map, NPAIRS, flip_mprotect));
	for (round = 0; round < PAIR_ROUNDS && !lost; round++) {
		ASSERT_TRUE(pairs_map(&p));
		for (i = 0; i < NPAIRS; i++) {
			pairs_move_on(&p, i);
			ASSERT_EQ(0, guard_install(pair_guard(&p, i),
						   page_size()));
		}
		lost = in_child(child_checks_pairs, &p);
	}
	EXPECT_EQ(0, lost);
	pairs_stop(&p);
	EXPECT_EQ(0, p.failed);
}

/*
 * The mapping is moved away and back in the meantime. It is either there for
 * the whole of an install or not at all.
 */
struct meeting {
	pthread_barrier_t barrier;
	struct guard_map *map;
	char *elsewhere;
	int failed;
};

static void *mover(void *arg)
{
	struct meeting *m = arg;
	size_t size = m->map->size;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&m->barrier);
		if (mremap(m->map->base, size, size, MREMAP_MAYMOVE |
			   MREMAP_FIXED, m->elsewhere) != m->elsewhere ||
		    mremap(m->elsewhere, size, size, MREMAP_MAYMOVE |
			   MREMAP_FIXED, m->map->base) != m->map->base)
			m->failed = errno;
		pthread_barrier_wait(&m->barrier);
	}
	return NULL;
}

TEST_F(race, mremap)
{
	struct meeting m = { .map = &self->map };
	pthread_t thread;
	int i, ret;

	m.elsewhere = mmap(NULL, self->map.size, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, m.elsewhere);
	ASSERT_EQ(0, pthread_barrier_init(&m.barrier, NULL, 2));
	ASSERT_EQ(0, pthread_create(&thread, NULL, mover, &m));
	for (i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&m.barrier);
		ret = guard_install(self->map.base, self->map.size);
		pthread_barrier_wait(&m.barrier);
		if (ret) {
			EXPECT_EQ(-ENOMEM, ret);
			EXPECT_EQ(0, pagemap_guards(self->map.base,
						    self->map.size));
			continue;
		}
		EXPECT_EQ(NPAGES, pagemap_guards(self->map.base,
						 self->map.size));
		EXPECT_TRUE(page_guarded(self->map.base));
		EXPECT_EQ(0, guard_remove(self->map.base, self->map.size));
	}
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&m.barrier);
	EXPECT_EQ(0, m.failed);
	munmap(m.elsewhere, self->map.size);
}

/*
 * Two threads install at once, over each other, in a mapping that nobody has
 * touched yet: whatever an install has to make first, both of them make.
 *
 *   | first thread        |
 *          |        second thread |
 */
static void *second_installer(void *arg)
{
	struct meeting *m = arg;
	size_t third = NPAGES / 4;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&m->barrier);
		if (guard_install(map_page(m->map, third),
				  (NPAGES - third) * page_size()))
			m->failed = errno;
		pthread_barrier_wait(&m->barrier);
		/* The other one checks, and makes everything new. */
		pthread_barrier_wait(&m->barrier);
	}
	return NULL;
}

TEST_F(race, two_installers)
{
	struct meeting m = { .map = &self->map };
	size_t first = (NPAGES - NPAGES / 4) * page_size();
	pthread_t thread;
	int i;

	ASSERT_EQ(0, pthread_barrier_init(&m.barrier, NULL, 2));
	ASSERT_EQ(0, pthread_create(&thread, NULL, second_installer, &m));
	for (i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&m.barrier);
		EXPECT_EQ(0, guard_install(self->map.base, first));
		pthread_barrier_wait(&m.barrier);
		EXPECT_EQ(NPAGES, pagemap_guards(self->map.base,
						 self->map.size));
		EXPECT_EQ(self->map.base,
			  mmap(self->map.base, self->map.size, self->map.prot,
			       self->map.flags | MAP_FIXED, self->map.fd, 0));
		pthread_barrier_wait(&m.barrier);
	}
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&m.barrier);
	EXPECT_EQ(0, m.failed);
}

/*
 * A thread puts guard after guard; the child of a fork in the midst of that
 * has every one whose install had returned by then.
 */
struct row {
	struct guard_map map;
	size_t done;
	size_t at_fork;
	int failed;
};

static void *row_installer(void *arg)
{
	struct row *row = arg;
	size_t i;

	for (i = 0; i < row->map.npages; i++) {
		if (guard_install(map_page(&row->map, i), page_size()))
			row->failed = errno;
		__atomic_store_n(&row->done, i + 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static int child_checks_row(void *arg)
{
	const struct row *row = arg;
	size_t n = row->at_fork;

	if (!n)
		return 0;
	return pagemap_guards(row->map.base, n * page_size()) == (int)n &&
	       page_guarded(map_page(&row->map, n - 1)) ? 0 : 1;
}

TEST_F(race, fork)
{
	struct row row = { .done = 0 };
	pthread_t thread;
	int lost = 0;

	ASSERT_TRUE(map_make(&row.map, variant->backing, 2048));
	touch_init();
	ASSERT_EQ(0, pthread_create(&thread, NULL, row_installer, &row));
	while (row.at_fork < row.map.npages && !lost) {
		row.at_fork = __atomic_load_n(&row.done, __ATOMIC_ACQUIRE);
		lost = in_child(child_checks_row, &row);
	}
	EXPECT_EQ(0, lost);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, row.failed);
	EXPECT_EQ((int)row.map.npages,
		  pagemap_guards(row.map.base, row.map.size));
	map_free(&row.map);
}

/* What can happen to a file meanwhile: no page cache, but guards as ever. */
FIXTURE(object) {
	struct guard_map map;
};

FIXTURE_VARIANT(object) {
	enum backing backing;
};

GUARD_VARIANT(object, shmem_private, SHMEM_PRIVATE);
GUARD_VARIANT(object, shmem_shared, SHMEM_SHARED);
GUARD_VARIANT(object, file_private, FILE_PRIVATE);
GUARD_VARIANT(object, file_shared, FILE_SHARED);

FIXTURE_SETUP(object)
{
	if (!guard_supported(variant->backing) ||
	    !map_make(&self->map, variant->backing, NPAGES))
		SKIP(return, "%s", guard_reason);
}

FIXTURE_TEARDOWN(object)
{
	map_free(&self->map);
}

static void cut_and_grow(struct beside *b)
{
	beside_result(b, ftruncate(b->map->write_fd, 0));
	beside_result(b, ftruncate(b->map->write_fd, b->map->size));
}

static void *touch_all(void *arg)
{
	struct storm *storm = arg;
	size_t i;

	/* SIGBUS beyond the end is as it should be. */
	while (!storm_over(storm))
		for (i = 0; i < storm->npages; i++)
			touch(storm->base + i * page_size(), TOUCH_WRITE);
	return NULL;
}

TEST_F(object, truncate)
{
	struct storm storm = {
		.base = self->map.base,
		.npages = NPAGES,
	};
	pthread_t thread;
	struct beside b;

	page_size();
	touch_init();
	ASSERT_EQ(0, pthread_create(&thread, NULL, touch_all, &storm));
	ASSERT_TRUE(beside_start(&b, &self->map, cut_and_grow));
	EXPECT_EQ(0, round_trips(self->map.base, self->map.size, ROUNDS));
	beside_stop(&b);
	__atomic_store_n(&storm.stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, b.failed);
}

static void punch_hole(struct beside *b)
{
	beside_result(b, fallocate(b->map->write_fd, FALLOC_FL_PUNCH_HOLE |
				   FALLOC_FL_KEEP_SIZE, 0, b->map->size));
}

TEST_F(object, punch_hole)
{
	struct storm storm;
	struct beside b;

	if (fallocate(self->map.write_fd, FALLOC_FL_PUNCH_HOLE |
		      FALLOC_FL_KEEP_SIZE, 0, self->map.size))
		SKIP(return, "no holes in this file system");
	ASSERT_TRUE(storm_start(&storm, self->map.base, NPAGES));
	ASSERT_TRUE(beside_start(&b, &self->map, punch_hole));
	EXPECT_EQ(0, round_trips(self->map.base, self->map.size, ROUNDS));
	beside_stop(&b);
	storm_stop(&storm);
	EXPECT_EQ(0, b.failed);
	EXPECT_EQ(0, storm.wrong);
}

/* A storm over one page, on other CPUs than the caller's. */
static bool storm_elsewhere(struct storm *storm, char *page)
{
	struct cpu_split cpus;
	bool started;

	cpu_split_init(&cpus);
	cpu_split_run_on(&cpus, &cpus.others);
	started = storm_start(storm, page, 1);
	cpu_split_run_on(&cpus, &cpus.mine);
	return started;
}

/*
 * The object loses its pages while another mapping uses the one that the guard
 * is in the place of. The kernel empties the page tables for the whole range
 * first, and removes page by page then. A page that the other mapping has got
 * back by that time is taken from it singly: another path, through all of the
 * mappings again, and no reason to lose a guard either.
 *
 * The guard is on the last page, so that there is time for that.
 */
static int removals(struct guard_map *map, int (*remove)(struct guard_map *))
{
	size_t psize = page_size(), last = map->npages - 1;
	char *guard = map_page(map, last), *other;
	struct storm storm;
	int i, ret;

	other = mmap(NULL, map->size, PROT_READ, MAP_SHARED, map->fd, 0);
	if (other == MAP_FAILED)
		return -errno;
	if (!storm_elsewhere(&storm, other + last * psize)) {
		munmap(other, map->size);
		return -EAGAIN;
	}
	ret = guard_install(guard, psize);
	for (i = 0; i < ROUNDS / 2 && !ret; i++) {
		/* What is in no page table at all needs no emptying. */
		if (object_fill(map->write_fd, map->npages, OBJECT_SEED) ||
		    touch(other, TOUCH_READ).signo)
			ret = -EIO;
		else
			ret = remove(map);
		if (!ret && (pagemap_guards(guard, psize) != 1 ||
			     !page_guarded(guard)))
			ret = -ENOTUNIQ;	/* no guard any more */
	}
	storm_stop(&storm);
	munmap(other, map->size);
	return ret;
}

static int remove_by_hole(struct guard_map *map)
{
	/*
	 * Being written, the pages of a file have to be waited for when the
	 * page tables are empty already. For shmem this does nothing.
	 */
	if (sync_file_range(map->write_fd, 0, map->size,
			    SYNC_FILE_RANGE_WRITE))
		return -errno;
	return fallocate(map->write_fd, FALLOC_FL_PUNCH_HOLE |
			 FALLOC_FL_KEEP_SIZE, 0, map->size) ? -errno : 0;
}

TEST_F(object, hole_in_other_mapping)
{
	if (fallocate(self->map.write_fd, FALLOC_FL_PUNCH_HOLE |
		      FALLOC_FL_KEEP_SIZE, 0, self->map.size))
		SKIP(return, "no holes in this file system");
	EXPECT_EQ(0, removals(&self->map, remove_by_hole));
}

static int remove_by_truncate(struct guard_map *map)
{
	/*
	 * Meanwhile the other mapping gets SIGBUS, so that only a fault that
	 * came before that and takes its time brings a page back: rare.
	 */
	return ftruncate(map->write_fd, 0) ||
	       ftruncate(map->write_fd, map->size) ? -errno : 0;
}

TEST_F(object, truncate_in_other_mapping)
{
	EXPECT_EQ(0, removals(&self->map, remove_by_truncate));
}

/* A write that goes around the page cache invalidates what is in there. */
GUARD_FIXTURE(disk, NPAGES);
GUARD_VARIANT(disk, file_private, FILE_PRIVATE);
GUARD_VARIANT(disk, file_shared, FILE_SHARED);

static int open_direct(struct guard_map *map)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", map->write_fd);
	return open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
}

static int remove_by_direct_write(struct guard_map *map)
{
	int fd = open_direct(map), ret = 0;
	char *buf = mmap(NULL, map->size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (fd < 0 || buf == MAP_FAILED ||
	    pwrite(fd, buf, map->size, 0) != (ssize_t)map->size)
		ret = -EIO;
	if (buf != MAP_FAILED)
		munmap(buf, map->size);
	if (fd >= 0)
		close(fd);
	return ret;
}

TEST_F(disk, direct_write_in_other_mapping)
{
	int fd = open_direct(&self->map);

	if (fd < 0)
		SKIP(return, "no direct I/O in this file system");
	close(fd);
	EXPECT_EQ(0, removals(&self->map, remove_by_direct_write));
}

/*
 * Another thread asks for a huge page in place of the table that the guard
 * is in; it may get it only while there is no guard.
 */
FIXTURE(huge) {
	struct guard_map map;
	size_t size;
};

FIXTURE_VARIANT(huge) {
	enum backing backing;
};

GUARD_VARIANT(huge, anon_private, ANON_PRIVATE);
GUARD_VARIANT(huge, shmem_private, SHMEM_PRIVATE);
GUARD_VARIANT(huge, shmem_shared, SHMEM_SHARED);

FIXTURE_SETUP(huge)
{
	self->size = huge_page_size();
	if (!self->size)
		SKIP(return, "no transparent huge pages in this kernel");
	if (!guard_supported(variant->backing) ||
	    !map_make_aligned(&self->map, variant->backing,
			      self->size / page_size(), self->size))
		SKIP(return, "%s", guard_reason);
}

FIXTURE_TEARDOWN(huge)
{
	map_free(&self->map);
}

/* Fails most times: there is nothing to learn from it. */
static void collapse(struct beside *b)
{
	madvise(b->map->base, b->map->size, MADV_COLLAPSE);
}

/* Each install waits for collapses, in shared memory for seconds. */
TEST_F_TIMEOUT(huge, collapse, 120)
{
	size_t psize = page_size();
	char *guard = map_page(&self->map, self->map.npages / 2);
	struct beside b;
	int i, j, gone = 0;

	touch_init();
	ASSERT_TRUE(beside_start(&b, &self->map, collapse));
	for (i = 0; i < 2 * ROUNDS && !gone; i++) {
		/* A private page, so that there is a table to begin with. */
		touch(map_page(&self->map, i % 8), TOUCH_WRITE);
		ASSERT_EQ(0, guard_install(guard, psize));
		for (j = 0; j < 16 && !gone; j++)
			gone = pagemap_guards(guard, psize) != 1;
		EXPECT_TRUE(page_guarded(guard));
		ASSERT_EQ(0, guard_remove(guard, psize));
	}
	EXPECT_EQ(0, gone);
	beside_stop(&b);
}

GUARD_HARNESS_MAIN
