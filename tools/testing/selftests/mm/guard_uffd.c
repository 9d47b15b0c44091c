// SPDX-License-Identifier: GPL-2.0
/*
 * Guard regions in ranges registered with userfaultfd: a guard faults as
 * ever and is no business of the monitor's; nothing that a monitor can do
 * overwrites, drops or changes one.
 */
#include "guard_uffd.h"

#include <pthread.h>
#include <sys/time.h>

#define NPAGES		8
/* The guarded pages: one from before the registration, one from after it. */
#define EARLY		2
#define LATE		5

#define SOURCE_SEED	3000000		/* what UFFDIO_COPY copies */
#define SERVED_SEED	4000000		/* what the monitor thread hands out */

static const size_t guards[] = { EARLY, LATE };

/*
 * A call that a kernel gets so wrong that it never ends dies of SIGPROF, once
 * it has burnt two seconds of processor time.
 */
static void watchdog_set(int seconds)
{
	struct itimerval timer = { .it_value.tv_sec = seconds };

	setitimer(ITIMER_PROF, &timer, NULL);
}

static void watchdog_start(void)
{
	watchdog_set(2);
}

static void watchdog_stop(void)
{
	watchdog_set(0);
}

/* Monitor thread: lets every fault go on, and counts what it was told of. */
struct monitor {
	pthread_t thread;
	int fd;
	int stop[2];
	char *page;
	int missing;
	int minor;
	int wp;
	int child_fd;
	/* What to unregister in a child, and what to close when that is done. */
	struct guard_map *unregister;
	int done;
};

static void monitor_handle(struct monitor *mon, const struct uffd_msg *msg)
{
	char *page;

	if (msg->event == UFFD_EVENT_FORK) {
		__atomic_store_n(&mon->child_fd, (int)msg->arg.fork.ufd,
				 __ATOMIC_SEQ_CST);
		if (mon->unregister &&
		    !uffd_unregister(mon->child_fd, mon->unregister->base,
				     mon->unregister->size))
			close(mon->done);
		return;
	}
	if (msg->event != UFFD_EVENT_PAGEFAULT)
		return;

	page = (char *)(uintptr_t)(msg->arg.pagefault.address &
				   ~(__u64)(page_size() - 1));
	if (msg->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
		__atomic_add_fetch(&mon->wp, 1, __ATOMIC_SEQ_CST);
		uffd_protect(mon->fd, page, page_size(), false);
	} else if (msg->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR) {
		__atomic_add_fetch(&mon->minor, 1, __ATOMIC_SEQ_CST);
		uffd_continue(mon->fd, page, page_size());
	} else {
		__atomic_add_fetch(&mon->missing, 1, __ATOMIC_SEQ_CST);
		uffd_copy(mon->fd, page, mon->page, page_size(), 0);
	}
	/* Should that have failed, do not let the thread sleep for ever. */
	uffd_wake(mon->fd, page, page_size());
}

static void *monitor_run(void *arg)
{
	struct monitor *mon = arg;
	struct pollfd pfd[2] = {
		{ .fd = mon->fd, .events = POLLIN },
		{ .fd = mon->stop[0], .events = POLLIN },
	};
	struct uffd_msg msg;

	for (;;) {
		if (poll(pfd, 2, -1) < 0)
			continue;
		/* What came before the request to stop is dealt with first. */
		if (pfd[0].revents & POLLIN) {
			if (read(mon->fd, &msg, sizeof(msg)) == sizeof(msg))
				monitor_handle(mon, &msg);
			continue;
		}
		if (pfd[1].revents)
			return NULL;
	}
}

static int monitor_messages(struct monitor *mon)
{
	return __atomic_load_n(&mon->missing, __ATOMIC_SEQ_CST) +
	       __atomic_load_n(&mon->minor, __ATOMIC_SEQ_CST) +
	       __atomic_load_n(&mon->wp, __ATOMIC_SEQ_CST);
}

static bool monitor_start(struct monitor *mon, int fd)
{
	memset(mon, 0, sizeof(*mon));
	mon->fd = fd;
	mon->child_fd = -1;
	mon->page = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mon->page == MAP_FAILED)
		return false;
	page_fill(mon->page, SERVED_SEED);
	return !pipe(mon->stop) &&
	       !pthread_create(&mon->thread, NULL, monitor_run, mon);
}

/* It has dealt with all that it has read; from now on who faults waits. */
static void monitor_join(struct monitor *mon)
{
	close(mon->stop[1]);
	pthread_join(mon->thread, NULL);
}

static void monitor_free(struct monitor *mon)
{
	close(mon->stop[0]);
	if (mon->child_fd >= 0)
		close(mon->child_fd);
	munmap(mon->page, page_size());
}

static void monitor_stop(struct monitor *mon)
{
	monitor_join(mon);
	monitor_free(mon);
}

/* Pages to copy from. */
static char *make_source(size_t npages)
{
	char *p = mmap(NULL, npages * page_size(), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	range_fill(p, npages, SOURCE_SEED);
	return p;
}

/*
 * Registers the map, with one guard put in before and one after. Without
 * UFFD_FEATURE_SIGBUS, a page that is missing or write-protected holds up
 * who touches it until a monitor helps; with it, that is a SIGBUS.
 */
static int arm(struct guard_map *map, __u64 mode, __u64 features)
{
	int fd = uffd_open(features);
	int ret;

	if (fd < 0)
		return -1;
	ret = guard_install(map_page(map, EARLY), page_size());
	if (!ret)
		ret = uffd_register(fd, map->base, map->size, mode);
	if (!ret)
		ret = guard_install(map_page(map, LATE), page_size());
	if (ret) {
		guard_set_reason("cannot register mode 0x%llx or guard: %s",
				 (unsigned long long)mode, strerror(-ret));
		close(fd);
		return -1;
	}
	return fd;
}

/* Touching the page is stopped by userfaultfd, in SIGBUS mode. */
static bool read_traps(void *page)
{
	return touch(page, TOUCH_READ).signo == SIGBUS;
}

static bool write_traps(void *page)
{
	return touch(page, TOUCH_REWRITE).signo == SIGBUS;
}

/* Both guards are there, to the page tables and to who touches them. */
static bool guards_stand(const struct guard_map *map)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(guards); i++)
		if (!entry_is_guard(map_page(map, guards[i])) ||
		    !page_guarded(map_page(map, guards[i])))
			return false;
	return true;
}

/* guards_stand() for in_child(): nothing shared with the harness. */
static int child_checks_guards(void *arg)
{
	return guards_stand(arg) ? 0 : 1;
}

/*
 * What the tests are run on; prepare() says what the mapping is like at first,
 * and leaves in @seed what its pages hold then. The tests arm it.
 */
#define UFFD_FIXTURE(fixture_name, prepare)				\
	FIXTURE(fixture_name) {						\
		struct guard_map map;					\
		size_t psize;						\
		unsigned int seed;					\
		char *source;						\
		int fd;							\
	};								\
	FIXTURE_VARIANT(fixture_name) {					\
		enum backing backing;					\
	};								\
	FIXTURE_SETUP(fixture_name)					\
	{								\
		self->fd = -1;						\
		self->psize = page_size();				\
		if (!guard_supported(variant->backing) ||		\
		    !map_make(&self->map, variant->backing, NPAGES))	\
			SKIP(return, "%s", guard_reason);		\
		ASSERT_EQ(0, prepare(&self->map, &self->seed));		\
		self->source = make_source(NPAGES);			\
		ASSERT_NE(NULL, self->source);				\
	}								\
	FIXTURE_TEARDOWN(fixture_name)					\
	{								\
		if (self->fd >= 0)					\
			close(self->fd);				\
		map_free(&self->map);					\
	}

#define ARM(mode, features) do {					\
	self->fd = arm(&self->map, mode, features);			\
	if (self->fd < 0)						\
		SKIP(return, "%s", guard_reason);			\
} while (0)

#define MISSING		UFFDIO_REGISTER_MODE_MISSING
#define WP		UFFDIO_REGISTER_MODE_WP
#define MINOR		UFFDIO_REGISTER_MODE_MINOR

/*
 * Empty: no page mapped and none in the page cache, so that an access is a
 * missing fault everywhere.
 */
static int empty(struct guard_map *map, unsigned int *seed)
{
	*seed = 0;
	if (map->write_fd < 0)
		return 0;
	return ftruncate(map->write_fd, 0) ||
	       ftruncate(map->write_fd, map->size);
}

UFFD_FIXTURE(uffd, empty)
GUARD_VARIANT(uffd, anon_private, ANON_PRIVATE);
GUARD_VARIANT(uffd, anon_shared, ANON_SHARED);
GUARD_VARIANT(uffd, shmem_private, SHMEM_PRIVATE);
GUARD_VARIANT(uffd, shmem_shared, SHMEM_SHARED);

/* Of all accesses, only the one beside the guards is told to the monitor. */
TEST_F(uffd, guard_faults_without_message)
{
	struct monitor mon;
	size_t i;

	ARM(MISSING, 0);
	ASSERT_TRUE(monitor_start(&mon, self->fd));

	for (i = 0; i < ARRAY_SIZE(guards); i++) {
		char *guard = map_page(&self->map, guards[i]);

		EXPECT_TRUE(page_guarded(guard));
		EXPECT_TRUE(kernel_read_fails(guard));
		EXPECT_TRUE(kernel_write_fails(guard));
		EXPECT_EQ(-EFAULT, sys_advise(guard, self->psize,
					      MADV_POPULATE_READ));
		EXPECT_EQ(-EFAULT, sys_advise(guard, self->psize,
					      MADV_POPULATE_WRITE));
		EXPECT_TRUE(entry_is_guard(guard));
	}
	EXPECT_EQ(0, monitor_messages(&mon));

	EXPECT_TRUE(page_holds(map_page(&self->map, 0), SERVED_SEED));
	EXPECT_EQ(1, mon.missing);
	EXPECT_EQ(1, monitor_messages(&mon));
	EXPECT_TRUE(guards_stand(&self->map));
	monitor_stop(&mon);
}

/* With write-protection, too: a write to a guard is not a wp fault. */
TEST_F(uffd, guard_faults_without_wp_message)
{
	struct monitor mon;

	ARM(MISSING | WP, UFFD_FEATURE_WP_UNPOPULATED);
	ASSERT_TRUE(monitor_start(&mon, self->fd));
	ASSERT_EQ(0, uffd_protect(self->fd, self->map.base, self->map.size,
				  true));

	EXPECT_TRUE(guards_stand(&self->map));
	EXPECT_TRUE(kernel_read_fails(map_page(&self->map, EARLY)));
	EXPECT_TRUE(kernel_write_fails(map_page(&self->map, LATE)));
	EXPECT_EQ(0, monitor_messages(&mon));

	EXPECT_TRUE(page_writable(map_page(&self->map, 0)));
	EXPECT_NE(0, monitor_messages(&mon));
	EXPECT_TRUE(guards_stand(&self->map));
	monitor_stop(&mon);
}

/* A page that was a guard is missing like any other. */
TEST_F(uffd, removed_guard_is_missing)
{
	struct monitor mon;
	size_t i;

	ARM(MISSING, 0);
	ASSERT_TRUE(monitor_start(&mon, self->fd));
	for (i = 0; i < ARRAY_SIZE(guards); i++) {
		char *page = map_page(&self->map, guards[i]);

		ASSERT_EQ(0, guard_remove(page, self->psize));
		EXPECT_TRUE(entry_is_empty(page));
		EXPECT_EQ((int)i, mon.missing);
		EXPECT_TRUE(page_holds(page, SERVED_SEED));
		EXPECT_EQ((int)i + 1, mon.missing);
	}
	monitor_stop(&mon);
}

/*
 * A thread waits for the monitor, and the page becomes a guard meanwhile.
 * Once woken, the thread gets SIGSEGV, and no second message is sent.
 */
struct toucher {
	pthread_t thread;
	char *page;
	struct touch seen;
};

static void *toucher_run(void *arg)
{
	struct toucher *t = arg;

	t->seen = touch(t->page, TOUCH_READ);
	return NULL;
}

TEST_F(uffd, guard_under_waiting_fault)
{
	struct toucher t = { .page = map_page(&self->map, 0) };
	struct uffd_msg msg;

	touch_init();
	ARM(MISSING, 0);
	ASSERT_EQ(0, pthread_create(&t.thread, NULL, toucher_run, &t));
	ASSERT_TRUE(uffd_next_message(self->fd, &msg));
	ASSERT_EQ(UFFD_EVENT_PAGEFAULT, msg.event);

	EXPECT_EQ(0, guard_install(t.page, self->psize));
	EXPECT_EQ(0, uffd_wake(self->fd, t.page, self->psize));
	ASSERT_EQ(0, pthread_join(t.thread, NULL));

	EXPECT_EQ(SIGSEGV, t.seen.signo);
	EXPECT_EQ(t.page, t.seen.addr);
	EXPECT_FALSE(uffd_has_message(self->fd));
	EXPECT_TRUE(entry_is_guard(t.page));
}

/*
 * Filling a guard fails with EEXIST, leaves the guard and puts nothing behind
 * it, least of all into the page cache of a shared mapping.
 */
TEST_F(uffd, copy_onto_guard)
{
	size_t i;

	ARM(MISSING, UFFD_FEATURE_SIGBUS);
	for (i = 0; i < ARRAY_SIZE(guards); i++) {
		char *guard = map_page(&self->map, guards[i]);

		EXPECT_EQ(-EEXIST, uffd_copy(self->fd, guard, self->source,
					     self->psize, 0));
		EXPECT_FALSE(page_in_core(guard));
	}
	EXPECT_TRUE(guards_stand(&self->map));

	for (i = 0; i < ARRAY_SIZE(guards); i++) {
		char *page = map_page(&self->map, guards[i]);

		EXPECT_EQ(0, guard_remove(page, self->psize));
		EXPECT_TRUE(entry_is_empty(page));
		EXPECT_FALSE(page_in_core(page));
		EXPECT_EQ((long)self->psize,
			  uffd_copy(self->fd, page, self->source, self->psize,
				    0));
		EXPECT_TRUE(page_holds(page, SOURCE_SEED));
	}
}

TEST_F(uffd, copy_wp_onto_guard)
{
	ARM(MISSING | WP, UFFD_FEATURE_SIGBUS);
	EXPECT_EQ(-EEXIST, uffd_copy(self->fd, map_page(&self->map, EARLY),
				     self->source, self->psize,
				     UFFDIO_COPY_MODE_WP));
	EXPECT_EQ(-EEXIST, uffd_copy(self->fd, map_page(&self->map, LATE),
				     self->source, self->psize,
				     UFFDIO_COPY_MODE_WP));
	EXPECT_TRUE(guards_stand(&self->map));
	EXPECT_FALSE(page_in_core(map_page(&self->map, EARLY)));
	EXPECT_FALSE(page_in_core(map_page(&self->map, LATE)));
}

/*
 *   0    1    EARLY  3    4    LATE  6    7
 *   copied    EEXIST, then copied, then EEXIST, then copied
 */
TEST_F(uffd, copy_stops_at_guard)
{
	size_t after = EARLY + 1;
	size_t between = LATE - after;
	char *base = self->map.base;

	ARM(MISSING, UFFD_FEATURE_SIGBUS);

	EXPECT_EQ((long)(EARLY * self->psize),
		  uffd_copy(self->fd, base, self->source, self->map.size, 0));
	EXPECT_TRUE(range_holds(base, EARLY, SOURCE_SEED));
	EXPECT_TRUE(guards_stand(&self->map));
	EXPECT_TRUE(entries_are_empty(map_page(&self->map, after), between));
	EXPECT_FALSE(page_in_core(map_page(&self->map, after)));

	EXPECT_EQ(-EEXIST, uffd_copy(self->fd, map_page(&self->map, EARLY),
				     self->source, 2 * self->psize, 0));
	EXPECT_TRUE(entry_is_empty(map_page(&self->map, after)));

	EXPECT_EQ((long)(between * self->psize),
		  uffd_copy(self->fd, map_page(&self->map, after),
			    self->source + after * self->psize,
			    (NPAGES - after) * self->psize, 0));
	EXPECT_TRUE(range_holds(map_page(&self->map, after), between,
				SOURCE_SEED + after));
	EXPECT_TRUE(guards_stand(&self->map));
	EXPECT_TRUE(entries_are_empty(map_page(&self->map, LATE + 1),
				      NPAGES - LATE - 1));
	/* What was done first is still as it was. */
	EXPECT_TRUE(range_holds(base, EARLY, SOURCE_SEED));
}

TEST_F(uffd, zeropage_onto_guard)
{
	size_t i;

	ARM(MISSING, UFFD_FEATURE_SIGBUS);
	for (i = 0; i < ARRAY_SIZE(guards); i++) {
		char *guard = map_page(&self->map, guards[i]);

		EXPECT_EQ(-EEXIST, uffd_zeropage(self->fd, guard,
						 self->psize));
		EXPECT_FALSE(page_in_core(guard));
	}
	EXPECT_TRUE(guards_stand(&self->map));

	for (i = 0; i < ARRAY_SIZE(guards); i++) {
		char *page = map_page(&self->map, guards[i]);

		EXPECT_EQ(0, guard_remove(page, self->psize));
		EXPECT_TRUE(entry_is_empty(page));
		EXPECT_EQ((long)self->psize,
			  uffd_zeropage(self->fd, page, self->psize));
		EXPECT_TRUE(page_holds(page, 0));
	}
}

TEST_F(uffd, zeropage_stops_at_guard)
{
	ARM(MISSING, UFFD_FEATURE_SIGBUS);
	EXPECT_EQ((long)(EARLY * self->psize),
		  uffd_zeropage(self->fd, self->map.base, self->map.size));
	EXPECT_TRUE(range_holds(self->map.base, EARLY, 0));
	EXPECT_TRUE(guards_stand(&self->map));
	EXPECT_TRUE(entries_are_empty(map_page(&self->map, EARLY + 1),
				      LATE - EARLY - 1));
}

TEST_F(uffd, poison_onto_guard)
{
	size_t i;

	ARM(MISSING, UFFD_FEATURE_SIGBUS | UFFD_FEATURE_POISON);
	for (i = 0; i < ARRAY_SIZE(guards); i++)
		EXPECT_EQ(-EEXIST, uffd_poison(self->fd,
					       map_page(&self->map, guards[i]),
					       self->psize));
	EXPECT_TRUE(guards_stand(&self->map));

	EXPECT_EQ((long)(EARLY * self->psize),
		  uffd_poison(self->fd, self->map.base, self->map.size));
	EXPECT_TRUE(guards_stand(&self->map));
	EXPECT_TRUE(entries_are_empty(map_page(&self->map, EARLY + 1),
				      LATE - EARLY - 1));

	/* Nor did the poison get in behind: the page is as good as new. */
	EXPECT_EQ(0, guard_remove(map_page(&self->map, EARLY), self->psize));
	EXPECT_TRUE(entry_is_empty(map_page(&self->map, EARLY)));
}

/* A poisoned page is something there: install discards it. */
TEST_F(uffd, install_over_poison)
{
	char *page = self->map.base;

	ARM(MISSING, UFFD_FEATURE_SIGBUS | UFFD_FEATURE_POISON);
	ASSERT_EQ((long)self->psize, uffd_poison(self->fd, page, self->psize));
	ASSERT_EQ(SIGBUS, touch(page, TOUCH_READ).signo);

	watchdog_start();
	EXPECT_EQ(0, guard_install(page, self->psize));
	watchdog_stop();
	EXPECT_TRUE(entry_is_guard(page));
	EXPECT_TRUE(page_guarded(page));
	EXPECT_EQ(0, guard_remove(page, self->psize));
	EXPECT_TRUE(entry_is_empty(page));
}

/* Remove is for guards: poison stays. */
TEST_F(uffd, remove_leaves_poison)
{
	char *page = map_page(&self->map, EARLY + 1);

	ARM(MISSING, UFFD_FEATURE_POISON);
	ASSERT_EQ((long)self->psize, uffd_poison(self->fd, page, self->psize));
	EXPECT_EQ(0, guard_remove(self->map.base, self->map.size));
	EXPECT_TRUE(entry_is_empty(map_page(&self->map, EARLY)));
	EXPECT_TRUE(entry_is_empty(map_page(&self->map, LATE)));
	EXPECT_FALSE(entry_is_empty(page));
	EXPECT_EQ(SIGBUS, touch(page, TOUCH_READ).signo);
}

/*
 * Write-protection goes over guards both ways and changes none, with and
 * without markers for what is not populated.
 */
TEST_F(uffd, writeprotect_over_guard)
{
	char *populated = map_page(&self->map, 0);
	char *guard = map_page(&self->map, EARLY);
	int round;

	ARM(WP, UFFD_FEATURE_SIGBUS);
	page_fill(populated, MEMORY_SEED);

	for (round = 0; round < 2; round++) {
		EXPECT_EQ(0, uffd_protect(self->fd, self->map.base,
					  self->map.size, true));
		EXPECT_TRUE(entry_is_uffd_wp(populated));
		EXPECT_TRUE(write_traps(populated));
		EXPECT_TRUE(guards_stand(&self->map));
		EXPECT_EQ(0, uffd_protect(self->fd, self->map.base,
					  self->map.size, false));
		EXPECT_FALSE(entry_is_uffd_wp(populated));
		EXPECT_TRUE(guards_stand(&self->map));
	}
	EXPECT_TRUE(page_holds(populated, MEMORY_SEED));

	/* Only the guard itself. */
	EXPECT_EQ(0, uffd_protect(self->fd, guard, self->psize, true));
	EXPECT_EQ(0, uffd_protect(self->fd, guard, self->psize, false));
	EXPECT_TRUE(guards_stand(&self->map));

	EXPECT_EQ(0, guard_remove(guard, self->psize));
	EXPECT_TRUE(entry_is_empty(guard));
	EXPECT_TRUE(page_writable(guard));
}

TEST_F(uffd, writeprotect_markers_beside_guard)
{
	char *guard = map_page(&self->map, EARLY);
	int round;

	ARM(WP, UFFD_FEATURE_SIGBUS | UFFD_FEATURE_WP_UNPOPULATED);

	for (round = 0; round < 2; round++) {
		EXPECT_EQ(0, uffd_protect(self->fd, self->map.base,
					  self->map.size, true));
		EXPECT_TRUE(entry_is_uffd_wp(map_page(&self->map, EARLY - 1)));
		EXPECT_TRUE(entry_is_uffd_wp(map_page(&self->map, EARLY + 1)));
		EXPECT_TRUE(guards_stand(&self->map));
		EXPECT_EQ(0, uffd_protect(self->fd, self->map.base,
					  self->map.size, false));
		EXPECT_TRUE(entry_is_empty(map_page(&self->map, EARLY + 1)));
		EXPECT_TRUE(guards_stand(&self->map));
	}

	/* A guard that was protected over is not write-protected after it. */
	EXPECT_EQ(0, uffd_protect(self->fd, self->map.base, self->map.size,
				  true));
	EXPECT_EQ(0, guard_remove(guard, self->psize));
	EXPECT_TRUE(entry_is_empty(guard));
	EXPECT_TRUE(page_writable(guard));

	/* Remove is for guards: the markers stay. */
	EXPECT_EQ(0, guard_remove(self->map.base, self->map.size));
	EXPECT_TRUE(entry_is_uffd_wp(map_page(&self->map, EARLY + 1)));
	EXPECT_TRUE(write_traps(map_page(&self->map, EARLY + 1)));
}

/* Markers in the way of install; it must not retry for ever. */
TEST_F(uffd, install_over_wp_marker)
{
	char *page = map_page(&self->map, 0);

	ARM(WP, UFFD_FEATURE_SIGBUS | UFFD_FEATURE_WP_UNPOPULATED);
	ASSERT_EQ(0, uffd_protect(self->fd, page, 2 * self->psize, true));
	ASSERT_TRUE(entry_is_uffd_wp(page));

	watchdog_start();
	EXPECT_EQ(0, guard_install(page, self->psize));
	watchdog_stop();
	EXPECT_TRUE(entry_is_guard(page));
	EXPECT_TRUE(page_guarded(page));
	EXPECT_TRUE(entry_is_uffd_wp(map_page(&self->map, 1)));

	EXPECT_EQ(0, uffd_protect(self->fd, page, 2 * self->psize, false));
	EXPECT_TRUE(entry_is_guard(page));
	EXPECT_EQ(0, guard_remove(page, self->psize));
	EXPECT_TRUE(entry_is_empty(page));
	EXPECT_TRUE(page_writable(page));
}

/*
 * Discarding a write-protected page of a file leaves a marker behind, that
 * is in the way of install in its turn.
 */
TEST_F(uffd, install_over_wp_page)
{
	char *page = map_page(&self->map, 0);

	ARM(WP, UFFD_FEATURE_SIGBUS | UFFD_FEATURE_WP_UNPOPULATED);
	page_fill(page, MEMORY_SEED);
	ASSERT_EQ(0, uffd_protect(self->fd, page, self->psize, true));
	ASSERT_TRUE(page_present(page));
	ASSERT_TRUE(entry_is_uffd_wp(page));

	watchdog_start();
	EXPECT_EQ(0, guard_install(page, self->psize));
	watchdog_stop();
	EXPECT_TRUE(entry_is_guard(page));
	EXPECT_TRUE(page_guarded(page));

	EXPECT_EQ(0, uffd_protect(self->fd, page, self->psize, false));
	EXPECT_TRUE(entry_is_guard(page));
	EXPECT_EQ(0, guard_remove(page, self->psize));
	EXPECT_TRUE(entry_is_empty(page));
	/* The page cache of a shared mapping keeps what was there. */
	EXPECT_TRUE(page_holds(page, backing_is_shared(variant->backing) ?
			       MEMORY_SEED : 0));
}

/* A uffd-wp marker is as good as empty; only a guard is in the way. */
TEST_F(uffd, copy_onto_wp_marker)
{
	char *page = map_page(&self->map, 0);

	ARM(MISSING | WP, UFFD_FEATURE_SIGBUS | UFFD_FEATURE_WP_UNPOPULATED);
	ASSERT_EQ(0, uffd_protect(self->fd, self->map.base, self->map.size,
				  true));
	ASSERT_TRUE(entry_is_uffd_wp(page));

	EXPECT_EQ((long)self->psize,
		  uffd_copy(self->fd, page, self->source, self->psize, 0));
	EXPECT_TRUE(page_holds(page, SOURCE_SEED));

	EXPECT_EQ((long)self->psize,
		  uffd_copy(self->fd, map_page(&self->map, 1), self->source,
			    self->psize, UFFDIO_COPY_MODE_WP));
	EXPECT_TRUE(entry_is_uffd_wp(map_page(&self->map, 1)));
	EXPECT_TRUE(write_traps(map_page(&self->map, 1)));
	EXPECT_TRUE(guards_stand(&self->map));
}

TEST_F(uffd, unregister_leaves_guard)
{
	ARM(MISSING | WP, UFFD_FEATURE_SIGBUS | UFFD_FEATURE_WP_UNPOPULATED);
	ASSERT_EQ(0, uffd_protect(self->fd, self->map.base, self->map.size,
				  true));

	EXPECT_EQ(0, uffd_unregister(self->fd, self->map.base,
				     self->map.size));
	EXPECT_FALSE(entry_is_uffd_wp(map_page(&self->map, EARLY + 1)));
	EXPECT_TRUE(page_writable(map_page(&self->map, EARLY + 1)));
	EXPECT_TRUE(guards_stand(&self->map));
	EXPECT_EQ(0, guard_remove(self->map.base, self->map.size));
	EXPECT_TRUE(range_readable(self->map.base, self->map.size));
}

TEST_F(uffd, close_leaves_guard)
{
	ARM(MISSING | WP, UFFD_FEATURE_SIGBUS | UFFD_FEATURE_WP_UNPOPULATED);
	ASSERT_EQ(0, uffd_protect(self->fd, self->map.base, self->map.size,
				  true));

	close(self->fd);
	self->fd = -1;
	EXPECT_FALSE(entry_is_uffd_wp(map_page(&self->map, EARLY + 1)));
	EXPECT_TRUE(page_writable(map_page(&self->map, EARLY + 1)));
	EXPECT_TRUE(guards_stand(&self->map));
	EXPECT_EQ(0, guard_remove(self->map.base, self->map.size));
	EXPECT_TRUE(range_readable(self->map.base, self->map.size));
}

TEST_F(uffd, discard_leaves_guard)
{
	size_t i;

	ARM(MISSING | WP, UFFD_FEATURE_SIGBUS);
	for (i = 0; i < EARLY; i++)
		ASSERT_EQ((long)self->psize,
			  uffd_copy(self->fd, map_page(&self->map, i),
				    self->source, self->psize, 0));
	ASSERT_EQ(0, uffd_protect(self->fd, self->map.base, self->map.size,
				  true));

	EXPECT_EQ(0, sys_advise(self->map.base, self->map.size,
				MADV_DONTNEED));
	EXPECT_FALSE(page_present(map_page(&self->map, 0)));
	EXPECT_TRUE(guards_stand(&self->map));

	/* Shared memory keeps the protection in a marker: also around guards. */
	EXPECT_EQ(0, sys_advise(self->map.base, self->map.size,
				MADV_DONTNEED));
	EXPECT_EQ(0, uffd_protect(self->fd, self->map.base, self->map.size,
				  false));
	EXPECT_TRUE(guards_stand(&self->map));
	if (variant->backing != ANON_PRIVATE &&
	    variant->backing != SHMEM_PRIVATE) {
		EXPECT_EQ(0, sys_advise(self->map.base, self->map.size,
					MADV_REMOVE));
		EXPECT_FALSE(page_in_core(map_page(&self->map, 0)));
	}
	EXPECT_TRUE(guards_stand(&self->map));
	/* The discarded page is missing again, not readable. */
	EXPECT_TRUE(read_traps(map_page(&self->map, EARLY + 1)));
}

/* The child is not registered, and has the guards all the same. */
TEST_F(uffd, fork_keeps_guard)
{
	ARM(MISSING | WP, UFFD_FEATURE_SIGBUS | UFFD_FEATURE_WP_UNPOPULATED);
	EXPECT_EQ(0, in_child(child_checks_guards, &self->map));

	/* Write-protected neighbours, whose markers the child does not get. */
	ASSERT_EQ(0, uffd_protect(self->fd, self->map.base, self->map.size,
				  true));
	EXPECT_EQ(0, in_child(child_checks_guards, &self->map));
	EXPECT_TRUE(guards_stand(&self->map));
}

/* The child is registered, too: with a userfaultfd of its own. */
TEST_F(uffd, fork_event_keeps_guard)
{
	struct monitor mon;

	ARM(MISSING | WP, UFFD_FEATURE_EVENT_FORK |
	    UFFD_FEATURE_WP_UNPOPULATED);
	ASSERT_EQ(0, uffd_protect(self->fd, self->map.base, self->map.size,
				  true));
	touch_init();
	/* fork() waits for the monitor to take the event. */
	ASSERT_TRUE(monitor_start(&mon, self->fd));

	EXPECT_EQ(0, in_child(child_checks_guards, &self->map));
	EXPECT_TRUE(guards_stand(&self->map));
	/* The event may be read, and fork() be done, before child_fd is set. */
	monitor_join(&mon);
	EXPECT_LE(0, mon.child_fd);
	EXPECT_FALSE(uffd_has_message(mon.child_fd));
	EXPECT_EQ(0, monitor_messages(&mon));
	monitor_free(&mon);
}

struct unregistered {
	struct guard_map *map;
	int done[2];
};

static int unregistered_child_forks(void *arg)
{
	struct unregistered *u = arg;
	struct pollfd end = { .fd = u->done[0], .events = POLLIN };

	close(u->done[1]);
	if (poll(&end, 1, 10000) != 1)
		return 100;
	return in_child(child_checks_guards, u->map);
}

/*
 * For its registration, the child gets all there is in the page tables. Without
 * it, the guards are all that it passes on.
 */
TEST_F(uffd, fork_unregister_fork_keeps_guard)
{
	struct unregistered u = { .map = &self->map };
	struct monitor mon;

	ARM(MISSING | WP, UFFD_FEATURE_EVENT_FORK |
	    UFFD_FEATURE_WP_UNPOPULATED);
	ASSERT_EQ(0, pipe(u.done));
	touch_init();
	ASSERT_TRUE(monitor_start(&mon, self->fd));
	mon.done = u.done[1];
	mon.unregister = u.map;

	EXPECT_EQ(0, in_child(unregistered_child_forks, &u));
	EXPECT_TRUE(guards_stand(&self->map));
	monitor_join(&mon);
	monitor_free(&mon);
	close(u.done[0]);
}

/* Moved away from its registration, the range takes its guards along. */
TEST_F(uffd, mremap_keeps_guard)
{
	struct guard_map moved = self->map;

	ARM(MISSING | WP, UFFD_FEATURE_SIGBUS | UFFD_FEATURE_WP_UNPOPULATED);
	ASSERT_EQ(0, uffd_protect(self->fd, self->map.base, self->map.size,
				  true));

	moved.base = mmap(NULL, self->map.size, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, moved.base);
	ASSERT_EQ(moved.base, mremap(self->map.base, self->map.size,
				     self->map.size,
				     MREMAP_MAYMOVE | MREMAP_FIXED,
				     moved.base));
	EXPECT_TRUE(guards_stand(&moved));
	munmap(moved.base, moved.size);
}

/*
 * Shared memory that is in the page cache and not in the page tables: an
 * access is a minor fault.
 */
static int cached(struct guard_map *map, unsigned int *seed)
{
	*seed = OBJECT_SEED;
	if (map->backing != ANON_SHARED)
		return 0;
	*seed = MEMORY_SEED;
	map_populate(map, 0, NPAGES);
	return sys_advise(map->base, map->size, MADV_DONTNEED);
}

UFFD_FIXTURE(minor, cached)
GUARD_VARIANT(minor, anon_shared, ANON_SHARED);
GUARD_VARIANT(minor, shmem_private, SHMEM_PRIVATE);
GUARD_VARIANT(minor, shmem_shared, SHMEM_SHARED);

TEST_F(minor, guard_faults_without_message)
{
	struct monitor mon;

	ARM(MINOR, UFFD_FEATURE_MINOR_SHMEM);
	ASSERT_TRUE(monitor_start(&mon, self->fd));
	EXPECT_TRUE(guards_stand(&self->map));
	EXPECT_TRUE(kernel_read_fails(map_page(&self->map, EARLY)));
	EXPECT_TRUE(kernel_write_fails(map_page(&self->map, LATE)));
	EXPECT_EQ(0, monitor_messages(&mon));

	EXPECT_TRUE(page_holds(self->map.base, self->seed));
	EXPECT_EQ(1, mon.minor);

	/* Behind the guards is what was there before. */
	EXPECT_EQ(0, guard_remove(self->map.base, self->map.size));
	EXPECT_TRUE(range_holds(self->map.base, NPAGES, self->seed));
	EXPECT_EQ(NPAGES, mon.minor);
	EXPECT_EQ(NPAGES, monitor_messages(&mon));
	monitor_stop(&mon);
}

TEST_F(minor, continue_onto_guard)
{
	size_t i;

	ARM(MINOR, UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MINOR_SHMEM);
	for (i = 0; i < ARRAY_SIZE(guards); i++)
		EXPECT_EQ(-EEXIST,
			  uffd_continue(self->fd,
					map_page(&self->map, guards[i]),
					self->psize));
	EXPECT_TRUE(guards_stand(&self->map));

	for (i = 0; i < ARRAY_SIZE(guards); i++) {
		char *page = map_page(&self->map, guards[i]);

		EXPECT_EQ(0, guard_remove(page, self->psize));
		EXPECT_TRUE(entry_is_empty(page));
		EXPECT_EQ((long)self->psize,
			  uffd_continue(self->fd, page, self->psize));
		EXPECT_TRUE(page_holds(page, self->seed + guards[i]));
	}
}

TEST_F(minor, continue_stops_at_guard)
{
	ARM(MINOR, UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MINOR_SHMEM);
	EXPECT_EQ((long)(EARLY * self->psize),
		  uffd_continue(self->fd, self->map.base, self->map.size));
	EXPECT_TRUE(range_holds(self->map.base, EARLY, self->seed));
	EXPECT_TRUE(guards_stand(&self->map));
	EXPECT_TRUE(entries_are_empty(map_page(&self->map, EARLY + 1),
				      LATE - EARLY - 1));
	EXPECT_EQ((long)((LATE - EARLY - 1) * self->psize),
		  uffd_continue(self->fd, map_page(&self->map, EARLY + 1),
				(NPAGES - EARLY - 1) * self->psize));
	EXPECT_TRUE(guards_stand(&self->map));
}

TEST_F(minor, poison_onto_guard)
{
	ARM(MINOR, UFFD_FEATURE_SIGBUS | UFFD_FEATURE_POISON);
	EXPECT_EQ(-EEXIST, uffd_poison(self->fd, map_page(&self->map, EARLY),
				       self->psize));
	EXPECT_EQ(-EEXIST, uffd_poison(self->fd, map_page(&self->map, LATE),
				       self->psize));
	EXPECT_TRUE(guards_stand(&self->map));
}

/*
 * UFFDIO_MOVE, from anonymous memory that nobody registered.
 *
 *   src:  | filled, no guards               |
 *   map:  |   |   | EARLY |   |   | LATE | ...
 */
FIXTURE(move) {
	struct guard_map map;
	struct guard_map src;
	size_t psize;
	int fd;
};

FIXTURE_SETUP(move)
{
	self->fd = -1;
	self->psize = page_size();
	if (!guard_supported(ANON_PRIVATE) ||
	    !map_make(&self->map, ANON_PRIVATE, NPAGES) ||
	    !map_make(&self->src, ANON_PRIVATE, NPAGES))
		SKIP(return, "%s", guard_reason);
	self->fd = arm(&self->map, MISSING,
		       UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MOVE);
	if (self->fd < 0) {
		map_free(&self->map);
		map_free(&self->src);
		SKIP(return, "%s", guard_reason);
	}
	map_populate(&self->src, 0, NPAGES);
}

FIXTURE_TEARDOWN(move)
{
	close(self->fd);
	map_free(&self->map);
	map_free(&self->src);
}

TEST_F(move, onto_guard)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(guards); i++) {
		char *dst = map_page(&self->map, guards[i]);
		char *src = map_page(&self->src, guards[i]);

		EXPECT_EQ(-EEXIST, uffd_move(self->fd, dst, src, self->psize,
					     0));
		EXPECT_EQ(-EEXIST, uffd_move(self->fd, dst, src, self->psize,
					     UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES));
	}
	EXPECT_TRUE(guards_stand(&self->map));
	EXPECT_TRUE(map_populated_intact(&self->src, 0, NPAGES));
}

/* A hole moved onto a guard would be a guard lost. */
TEST_F(move, hole_onto_guard)
{
	char *src = map_page(&self->src, EARLY);

	ASSERT_EQ(0, sys_advise(src, self->psize, MADV_DONTNEED));
	EXPECT_EQ(-EEXIST, uffd_move(self->fd, map_page(&self->map, EARLY),
				     src, self->psize,
				     UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES));
	EXPECT_TRUE(guards_stand(&self->map));
	EXPECT_TRUE(entry_is_empty(src));
}

TEST_F(move, stops_at_guard)
{
	EXPECT_EQ((long)(EARLY * self->psize),
		  uffd_move(self->fd, self->map.base, self->src.base,
			    self->map.size, 0));
	EXPECT_TRUE(map_populated_intact(&self->map, 0, EARLY));
	EXPECT_TRUE(guards_stand(&self->map));
	EXPECT_TRUE(entries_are_empty(map_page(&self->map, EARLY + 1),
				      LATE - EARLY - 1));
	EXPECT_TRUE(entries_are_empty(self->src.base, EARLY));
	EXPECT_TRUE(map_populated_intact(&self->src, EARLY, NPAGES - EARLY));
}

/*
 * A guard is not memory that could be moved: the call fails (with EFAULT, as
 * for any marker), the guard stays where it is and none appears elsewhere.
 */
TEST_F(move, from_guard)
{
	char *src = map_page(&self->src, 0);
	char *dst = map_page(&self->map, 0);

	ASSERT_EQ(0, guard_install(src, self->psize));
	EXPECT_EQ(-EFAULT, uffd_move(self->fd, dst, src, self->psize, 0));
	EXPECT_TRUE(entry_is_guard(src));
	EXPECT_TRUE(entry_is_empty(dst));

	/* A guard is not a hole either. */
	EXPECT_EQ(-EFAULT, uffd_move(self->fd, dst, src, self->psize,
				     UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES));
	EXPECT_TRUE(entry_is_guard(src));
	EXPECT_TRUE(page_guarded(src));
	EXPECT_TRUE(entry_is_empty(dst));
	EXPECT_TRUE(read_traps(dst));
}

TEST_F(move, stops_at_guard_in_source)
{
	char *guard = map_page(&self->src, 1);

	ASSERT_EQ(0, guard_install(guard, self->psize));
	EXPECT_EQ((long)self->psize,
		  uffd_move(self->fd, self->map.base, self->src.base,
			    EARLY * self->psize,
			    UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES));
	EXPECT_TRUE(map_populated_intact(&self->map, 0, 1));
	EXPECT_TRUE(entry_is_empty(map_page(&self->map, 1)));
	EXPECT_TRUE(entry_is_guard(guard));
	EXPECT_TRUE(page_guarded(guard));
	EXPECT_TRUE(map_populated_intact(&self->src, 2, NPAGES - 2));
}

TEST_F(move, from_guard_onto_guard)
{
	char *src = map_page(&self->src, EARLY);

	ASSERT_EQ(0, guard_install(src, self->psize));
	EXPECT_GT(0, uffd_move(self->fd, map_page(&self->map, EARLY), src,
			       self->psize, 0));
	EXPECT_TRUE(entry_is_guard(src));
	EXPECT_TRUE(guards_stand(&self->map));
}

/* A whole huge page, onto a table of small ones with a guard in it. */
TEST_F(move, huge_page_onto_guard)
{
	size_t huge = huge_page_size();
	size_t middle, npages;
	struct guard_map src, dst;
	char *guard;

	if (!huge)
		SKIP(return, "no transparent huge pages in this kernel");
	npages = huge / self->psize;
	middle = npages / 2;
	ASSERT_TRUE(map_make_aligned(&src, ANON_PRIVATE, npages, huge));
	ASSERT_TRUE(map_make_aligned(&dst, ANON_PRIVATE, npages, huge));
	if (sys_advise(src.base, huge, MADV_HUGEPAGE))
		SKIP(goto out, "MADV_HUGEPAGE: %s", strerror(errno));
	map_populate(&src, 0, npages);
	if (huge_mapped_bytes(src.base) != (long)huge)
		SKIP(goto out, "could not get a huge page");

	guard = map_page(&dst, middle);
	ASSERT_EQ(0, sys_advise(dst.base, huge, MADV_HUGEPAGE));
	ASSERT_EQ(0, guard_install(guard, self->psize));
	ASSERT_EQ(0, uffd_register(self->fd, dst.base, huge, MISSING));

	EXPECT_EQ((long)(middle * self->psize),
		  uffd_move(self->fd, dst.base, src.base, huge, 0));
	EXPECT_TRUE(entry_is_guard(guard));
	EXPECT_TRUE(page_guarded(guard));
	EXPECT_TRUE(map_populated_intact(&dst, 0, middle));
	EXPECT_TRUE(map_populated_intact(&src, middle, npages - middle));
	EXPECT_TRUE(entry_is_empty(map_page(&dst, middle + 1)));
out:
	map_free(&src);
	map_free(&dst);
}

/*
 * Asynchronous write-protection takes every kind of mapping, ordinary files
 * too: it is how a checkpoint tool finds what was written.
 */
FIXTURE(async) {
	struct guard_map map;
	size_t psize;
	int fd;
};

FIXTURE_VARIANT(async) {
	enum backing backing;
};

GUARD_VARIANTS_RW(async);

FIXTURE_SETUP(async)
{
	self->fd = -1;
	self->psize = page_size();
	if (!guard_supported(variant->backing) ||
	    !map_make(&self->map, variant->backing, NPAGES))
		SKIP(return, "%s", guard_reason);
	self->fd = arm(&self->map, WP, UFFD_FEATURE_WP_ASYNC |
		       UFFD_FEATURE_WP_UNPOPULATED);
	if (self->fd < 0) {
		map_free(&self->map);
		SKIP(return, "%s", guard_reason);
	}
}

FIXTURE_TEARDOWN(async)
{
	close(self->fd);
	map_free(&self->map);
}

TEST_F(async, writeprotect_over_guard)
{
	char *populated = map_page(&self->map, 0);
	char *empty = map_page(&self->map, EARLY + 1);

	map_populate(&self->map, 0, 1);
	ASSERT_EQ(0, uffd_protect(self->fd, self->map.base, self->map.size,
				  true));
	EXPECT_TRUE(entry_is_uffd_wp(populated));
	EXPECT_TRUE(entry_is_uffd_wp(empty));
	EXPECT_TRUE(guards_stand(&self->map));

	/* A write is let through, and the protection with it. */
	EXPECT_TRUE(page_writable(populated));
	EXPECT_TRUE(page_writable(empty));
	EXPECT_FALSE(entry_is_uffd_wp(populated));
	EXPECT_FALSE(entry_is_uffd_wp(empty));
	EXPECT_TRUE(guards_stand(&self->map));

	EXPECT_EQ(0, uffd_protect(self->fd, self->map.base, self->map.size,
				  false));
	EXPECT_TRUE(guards_stand(&self->map));
	EXPECT_EQ(0, uffd_unregister(self->fd, self->map.base,
				     self->map.size));
	EXPECT_TRUE(guards_stand(&self->map));
	EXPECT_TRUE(map_populated_intact(&self->map, 0, 1));
}

TEST_F(async, install_over_wp_marker)
{
	char *page = map_page(&self->map, 0);

	ASSERT_EQ(0, uffd_protect(self->fd, page, self->psize, true));
	ASSERT_TRUE(entry_is_uffd_wp(page));
	ASSERT_FALSE(page_present(page));

	watchdog_start();
	EXPECT_EQ(0, guard_install(page, self->psize));
	watchdog_stop();
	EXPECT_TRUE(entry_is_guard(page));
	EXPECT_TRUE(page_guarded(page));
	EXPECT_EQ(0, guard_remove(page, self->psize));
	EXPECT_TRUE(entry_is_empty(page));
	EXPECT_TRUE(page_holds(page, map_fresh_seed(&self->map, 0)));
}

TEST_F(async, install_over_wp_page)
{
	char *page = map_page(&self->map, 0);

	map_populate(&self->map, 0, 1);
	ASSERT_EQ(0, uffd_protect(self->fd, page, self->psize, true));
	ASSERT_TRUE(entry_is_uffd_wp(page));
	ASSERT_TRUE(page_present(page));

	watchdog_start();
	EXPECT_EQ(0, guard_install(page, self->psize));
	watchdog_stop();
	EXPECT_TRUE(entry_is_guard(page));
	EXPECT_TRUE(page_guarded(page));
	EXPECT_EQ(0, guard_remove(page, self->psize));
	EXPECT_TRUE(map_discarded(&self->map, 0, 1));
}

/* The child has the guards of a write-protected range, and not its marks. */
TEST_F(async, fork_keeps_guard)
{
	map_populate(&self->map, 0, 1);
	ASSERT_EQ(0, uffd_protect(self->fd, self->map.base, self->map.size,
				  true));
	EXPECT_EQ(0, in_child(child_checks_guards, &self->map));
	EXPECT_TRUE(guards_stand(&self->map));
}

GUARD_HARNESS_MAIN
