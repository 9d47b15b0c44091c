// SPDX-License-Identifier: GPL-2.0
/*
 * Guard regions through process_madvise(): vectors of ranges of the caller's
 * own memory, and nobody else's.
 */
#include "guard_storm.h"

#ifndef __NR_pidfd_open
#define __NR_pidfd_open			434
#endif
#ifndef __NR_process_madvise
#define __NR_process_madvise		440
#endif
#ifndef PIDFD_SELF_THREAD
#define PIDFD_SELF_THREAD		-10000
#endif
#ifndef PIDFD_SELF_THREAD_GROUP
#define PIDFD_SELF_THREAD_GROUP		-10001
#endif

#define NPAGES		16
#define MAX_VEC		1024		/* UIO_MAXIOV */

/* Bytes advised, or a negative errno. */
static ssize_t advise_vec(int pidfd, const struct iovec *vec, size_t n,
			  int advice, unsigned int flags)
{
	ssize_t ret = syscall(__NR_process_madvise, pidfd, vec, n, advice,
			      flags);

	return ret < 0 ? -errno : ret;
}

FIXTURE(pmadvise) {
	struct guard_map map;
	size_t psize;
	int pidfd;
};

FIXTURE_VARIANT(pmadvise) {
	enum backing backing;
};

GUARD_VARIANTS_RW(pmadvise);

FIXTURE_SETUP(pmadvise)
{
	self->psize = page_size();
	if (!guard_supported(variant->backing))
		SKIP(return, "%s", guard_reason);
	self->pidfd = syscall(__NR_pidfd_open, getpid(), 0);
	if (self->pidfd < 0)
		SKIP(return, "pidfd_open: %s", strerror(errno));
	if (advise_vec(self->pidfd, NULL, 0, MADV_COLD, 0) == -ENOSYS)
		SKIP(return, "no process_madvise() in this kernel");
	if (!map_make(&self->map, variant->backing, NPAGES))
		SKIP(return, "%s", guard_reason);
	map_populate(&self->map, 0, NPAGES);
}

FIXTURE_TEARDOWN(pmadvise)
{
	close(self->pidfd);
	map_free(&self->map);
}

static struct iovec pages(const struct guard_map *map, size_t first, size_t n)
{
	return (struct iovec){
		.iov_base = map_page(map, first),
		.iov_len = n * page_size(),
	};
}

#define INSTALL(vec, n) \
	advise_vec(self->pidfd, vec, n, MADV_GUARD_INSTALL, 0)
#define REMOVE(vec, n) \
	advise_vec(self->pidfd, vec, n, MADV_GUARD_REMOVE, 0)
#define PAGES(n)	((ssize_t)((n) * self->psize))

/* In any order, also twice over. */
TEST_F(pmadvise, vector)
{
	struct iovec vec[] = {
		pages(&self->map, 10, 2),
		pages(&self->map, 1, 3),
		pages(&self->map, 15, 1),
		pages(&self->map, 3, 2),
	};

	EXPECT_EQ(PAGES(8), INSTALL(vec, 4));
	EXPECT_TRUE(map_guards_are(&self->map, 0x8c1e));
	EXPECT_TRUE(map_populated_intact(&self->map, 5, 5));

	/* Once more changes nothing. */
	EXPECT_EQ(PAGES(8), INSTALL(vec, 4));
	EXPECT_TRUE(map_guards_are(&self->map, 0x8c1e));

	/* Remove some, and pages that are no guards. */
	vec[0] = pages(&self->map, 3, 4);
	EXPECT_EQ(PAGES(4), REMOVE(vec, 1));
	EXPECT_TRUE(map_guards_are(&self->map, 0x8c06));
	EXPECT_TRUE(map_populated_intact(&self->map, 5, 5));
	EXPECT_TRUE(map_discarded(&self->map, 3, 2));
}

TEST_F(pmadvise, single)
{
	struct iovec vec = pages(&self->map, 0, NPAGES);

	EXPECT_EQ(PAGES(NPAGES), INSTALL(&vec, 1));
	EXPECT_TRUE(map_guards_are(&self->map, 0xffff));
	EXPECT_EQ(PAGES(NPAGES), REMOVE(&vec, 1));
	EXPECT_TRUE(map_guards_are(&self->map, 0));
	EXPECT_TRUE(map_discarded(&self->map, 0, NPAGES));
}

/*
 *    element 0     1          2             3
 *   | 0   1 | - | 3 | ...  | 8  hole  10 | ... | 14 |
 *
 * The mapped parts of the bad element are done, but it does not count; what
 * comes after it is left alone.
 */
TEST_F(pmadvise, hole)
{
	struct iovec vec[] = {
		pages(&self->map, 0, 2),
		pages(&self->map, 3, 1),
		pages(&self->map, 8, 3),
		pages(&self->map, 14, 1),
	};

	ASSERT_EQ(0, munmap(map_page(&self->map, 9), self->psize));

	EXPECT_EQ(PAGES(3), INSTALL(vec, 4));
	EXPECT_TRUE(map_guards_are(&self->map, 0x050b));
	EXPECT_TRUE(map_populated_intact(&self->map, 14, 1));

	/* With nothing done before it, the error itself. */
	EXPECT_EQ(-ENOMEM, INSTALL(vec + 2, 2));
	EXPECT_TRUE(map_guards_are(&self->map, 0x050b));

	ASSERT_EQ(PAGES(1), INSTALL(vec + 3, 1));
	EXPECT_EQ(PAGES(3), REMOVE(vec, 4));
	EXPECT_TRUE(map_guards_are(&self->map, 0x4000));
	EXPECT_EQ(-ENOMEM, REMOVE(vec + 2, 2));
	EXPECT_TRUE(map_guards_are(&self->map, 0x4000));
}

TEST_F(pmadvise, unmapped_element)
{
	struct iovec vec[] = {
		pages(&self->map, 0, 1),
		pages(&self->map, 8, 2),
		pages(&self->map, 14, 1),
	};

	ASSERT_EQ(0, munmap(map_page(&self->map, 8), 2 * self->psize));
	EXPECT_EQ(PAGES(1), INSTALL(vec, 3));
	EXPECT_TRUE(map_guards_are(&self->map, 0x0001));
	EXPECT_EQ(-ENOMEM, INSTALL(vec + 1, 2));
	EXPECT_TRUE(map_guards_are(&self->map, 0x0001));
}

TEST_F(pmadvise, unaligned_element)
{
	struct iovec vec[] = {
		pages(&self->map, 0, 2),
		pages(&self->map, 5, 1),
		pages(&self->map, 8, 1),
	};

	vec[1].iov_base = map_page(&self->map, 5) + 1;
	EXPECT_EQ(PAGES(2), INSTALL(vec, 3));
	EXPECT_TRUE(map_guards_are(&self->map, 0x0003));
	EXPECT_EQ(-EINVAL, INSTALL(vec + 1, 2));
	EXPECT_EQ(PAGES(2), REMOVE(vec, 3));
	EXPECT_EQ(-EINVAL, REMOVE(vec + 1, 2));
	EXPECT_TRUE(map_guards_are(&self->map, 0));
	EXPECT_TRUE(map_populated_intact(&self->map, 2, NPAGES - 2));
}

/* Memory that guards are refused in: install stops there, remove does not. */
TEST_F(pmadvise, locked_element)
{
	struct iovec vec[] = {
		pages(&self->map, 0, 2),
		pages(&self->map, 5, 1),
		pages(&self->map, 8, 1),
	};

	if (mlock(map_page(&self->map, 5), self->psize))
		SKIP(return, "mlock: %s", strerror(errno));
	EXPECT_EQ(PAGES(2), INSTALL(vec, 3));
	EXPECT_TRUE(map_guards_are(&self->map, 0x0003));
	EXPECT_EQ(-EINVAL, INSTALL(vec + 1, 2));
	EXPECT_TRUE(map_guards_are(&self->map, 0x0003));
	EXPECT_EQ(PAGES(4), REMOVE(vec, 3));
	EXPECT_TRUE(map_guards_are(&self->map, 0));
	EXPECT_TRUE(map_populated_intact(&self->map, 2, NPAGES - 2));
}

/* Vectors that are bad as a whole: nothing is done of any element. */
TEST_F(pmadvise, bad_vector)
{
	struct iovec vec[] = {
		pages(&self->map, 0, 1),
		pages(&self->map, 2, 1),
	};

	EXPECT_EQ(-EINVAL, advise_vec(self->pidfd, vec, 2, MADV_GUARD_INSTALL,
				      1));
	EXPECT_EQ(-EFAULT, INSTALL((struct iovec *)8, 2));
	EXPECT_EQ(-EBADF, advise_vec(-1, vec, 2, MADV_GUARD_INSTALL, 0));
	EXPECT_EQ(-EBADF, advise_vec(STDERR_FILENO, vec, 2,
				     MADV_GUARD_INSTALL, 0));

	/* A length that is none; it is not worth looking at the rest. */
	vec[1].iov_len = -self->psize;
	EXPECT_EQ(-EINVAL, INSTALL(vec, 2));
	/* An address that no process has. */
	vec[1].iov_base = (void *)-self->psize;
	vec[1].iov_len = self->psize;
	EXPECT_GT(0, INSTALL(vec, 2));
	EXPECT_TRUE(map_guards_are(&self->map, 0));
	EXPECT_TRUE(map_populated_intact(&self->map, 0, NPAGES));
}

/* A vector that lies in a guard cannot be read. */
TEST_F(pmadvise, vector_in_guard)
{
	struct iovec *vec = (struct iovec *)map_page(&self->map, 4);

	ASSERT_EQ(0, guard_install(vec, self->psize));
	EXPECT_EQ(-EFAULT, INSTALL(vec, 1));
	EXPECT_TRUE(map_guards_are(&self->map, 0x0010));
}

TEST_F(pmadvise, empty)
{
	struct iovec vec[] = {
		pages(&self->map, 0, 0),
		pages(&self->map, 2, 1),
		pages(&self->map, 4, 0),
		pages(&self->map, 6, 1),
		pages(&self->map, 8, 0),
	};

	EXPECT_EQ(0, INSTALL(vec, 0));
	EXPECT_EQ(0, INSTALL(NULL, 0));
	EXPECT_EQ(0, INSTALL(vec, 1));
	EXPECT_EQ(0, REMOVE(vec, 1));
	EXPECT_TRUE(map_guards_are(&self->map, 0));

	EXPECT_EQ(PAGES(2), INSTALL(vec, 5));
	EXPECT_TRUE(map_guards_are(&self->map, 0x0044));
	EXPECT_EQ(PAGES(2), REMOVE(vec, 5));
	EXPECT_TRUE(map_guards_are(&self->map, 0));
}

/* Lengths are rounded up to pages, and reported as they were given. */
TEST_F(pmadvise, length_rounded_up)
{
	struct iovec vec[] = {
		pages(&self->map, 0, 1),
		pages(&self->map, 2, 1),
	};

	vec[0].iov_len = 1;
	vec[1].iov_len = self->psize + 1;
	EXPECT_EQ(PAGES(1) + 2, INSTALL(vec, 2));
	EXPECT_TRUE(map_guards_are(&self->map, 0x000d));
	EXPECT_EQ(PAGES(1) + 2, REMOVE(vec, 2));
	EXPECT_TRUE(map_guards_are(&self->map, 0));
}

/* As long as a vector may be, and one longer. */
TEST_F(pmadvise, longest_vector)
{
	struct iovec *vec = calloc(MAX_VEC + 1, sizeof(*vec));
	size_t i;

	ASSERT_NE(NULL, vec);
	for (i = 0; i <= MAX_VEC; i++)
		vec[i] = pages(&self->map, i % NPAGES, 1);

	EXPECT_EQ(-EINVAL, INSTALL(vec, MAX_VEC + 1));
	EXPECT_TRUE(map_guards_are(&self->map, 0));
	EXPECT_TRUE(map_populated_intact(&self->map, 0, NPAGES));

	EXPECT_EQ(PAGES(MAX_VEC), INSTALL(vec, MAX_VEC));
	EXPECT_TRUE(map_guards_are(&self->map, 0xffff));
	EXPECT_EQ(-EINVAL, REMOVE(vec, MAX_VEC + 1));
	EXPECT_TRUE(map_guards_are(&self->map, 0xffff));
	EXPECT_EQ(PAGES(MAX_VEC), REMOVE(vec, MAX_VEC));
	EXPECT_TRUE(map_guards_are(&self->map, 0));
	free(vec);
}

/*
 * Another process: refused, whoever asks, and nothing in it changes. The
 * child has a guard of its own in page 1.
 */
TEST_F(pmadvise, other_process)
{
	struct iovec vec = pages(&self->map, 0, NPAGES);
	int ready[2], go[2], status, pidfd;
	char byte = 0;
	pid_t pid;

	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(go));
	touch_init();
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		bool good;

		close(go[1]);
		good = !guard_install(map_page(&self->map, 1), page_size());
		if (write(ready[1], &byte, 1) != 1)
			_exit(2);
		if (read(go[0], &byte, 1) != 1)
			_exit(3);
		good = good && map_guards_are(&self->map, 0x0002) &&
		       map_populated_intact(&self->map, 2, NPAGES - 2);
		_exit(good ? 0 : 1);
	}
	EXPECT_EQ(1, read(ready[0], &byte, 1));
	pidfd = syscall(__NR_pidfd_open, pid, 0);
	EXPECT_LE(0, pidfd);

	EXPECT_EQ(-EINVAL, advise_vec(pidfd, &vec, 1, MADV_GUARD_INSTALL, 0));
	EXPECT_EQ(-EINVAL, advise_vec(pidfd, &vec, 1, MADV_GUARD_REMOVE, 0));
	/* Just as any other advice that is for oneself only. */
	EXPECT_EQ(-EINVAL, advise_vec(pidfd, &vec, 1, MADV_DOFORK, 0));

	EXPECT_EQ(1, write(go[1], &byte, 1));
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	/* Nor did it land in our own memory. */
	EXPECT_TRUE(map_guards_are(&self->map, 0));
	EXPECT_TRUE(map_populated_intact(&self->map, 0, NPAGES));
	close(pidfd);
}

/* What is no process any more has no memory. */
TEST_F(pmadvise, dead_process)
{
	struct iovec vec = pages(&self->map, 0, 1);
	int pidfd;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(0);
	pidfd = syscall(__NR_pidfd_open, pid, 0);
	ASSERT_LE(0, pidfd);
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_GT(0, advise_vec(pidfd, &vec, 1, MADV_GUARD_INSTALL, 0));
	EXPECT_TRUE(map_guards_are(&self->map, 0));
	close(pidfd);
}

struct thread_call {
	int pidfd;
	struct iovec vec;
	ssize_t ret;
};

static void *thread_installs(void *arg)
{
	struct thread_call *call = arg;

	call->ret = advise_vec(call->pidfd, &call->vec, 1, MADV_GUARD_INSTALL,
			       0);
	return NULL;
}

/* A thread that is not the first one is still the same process. */
TEST_F(pmadvise, from_thread)
{
	struct thread_call call = {
		.pidfd = self->pidfd,
		.vec = pages(&self->map, 3, 2),
	};
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, thread_installs, &call));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(PAGES(2), call.ret);
	EXPECT_TRUE(map_guards_are(&self->map, 0x0018));
}

TEST_F(pmadvise, pidfd_self)
{
	struct iovec vec = pages(&self->map, 3, 2);
	struct thread_call call = {
		.pidfd = PIDFD_SELF_THREAD_GROUP,
		.vec = pages(&self->map, 8, 1),
	};
	pthread_t thread;

	if (advise_vec(PIDFD_SELF_THREAD_GROUP, &vec, 1, MADV_COLD, 0) ==
	    -EBADF)
		SKIP(return, "no PIDFD_SELF in this kernel");
	EXPECT_EQ(PAGES(2), advise_vec(PIDFD_SELF_THREAD_GROUP, &vec, 1,
				       MADV_GUARD_INSTALL, 0));
	EXPECT_TRUE(map_guards_are(&self->map, 0x0018));
	EXPECT_EQ(PAGES(2), advise_vec(PIDFD_SELF_THREAD, &vec, 1,
				       MADV_GUARD_REMOVE, 0));
	EXPECT_TRUE(map_guards_are(&self->map, 0));

	ASSERT_EQ(0, pthread_create(&thread, NULL, thread_installs, &call));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(PAGES(1), call.ret);
	EXPECT_TRUE(map_guards_are(&self->map, 0x0100));
}

/*
 * Faults in the way of each element, and signals with a handler on top of
 * that: each call does all of the vector, and restarting stays a matter of
 * the kernel's.
 */
#define STORM_ROUNDS	40

struct signaller {
	pthread_t thread;
	pthread_t target;
	int stop;
};

static void *signaller_run(void *arg)
{
	struct signaller *sig = arg;

	while (!__atomic_load_n(&sig->stop, __ATOMIC_RELAXED)) {
		pthread_kill(sig->target, SIGUSR1);
		usleep(50);
	}
	return NULL;
}

static void signal_taken(int signo)
{
	(void)signo;
}

TEST_F(pmadvise, signals_and_faults)
{
	/* No SA_RESTART: an interrupted call would have to say so. */
	struct sigaction act = { .sa_handler = signal_taken };
	struct signaller sig = { .target = pthread_self() };
	struct guard_map map;
	struct storm storm;
	struct iovec vec[4];
	sigset_t usr1;
	ssize_t ret = 0;
	int i;

	ASSERT_TRUE(map_make(&map, variant->backing, STORM_PAGES));
	for (i = 0; i < 4; i++)
		vec[i] = pages(&map, i * STORM_PAGES / 4, STORM_PAGES / 4);

	ASSERT_EQ(0, sigaction(SIGUSR1, &act, NULL));
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr1, NULL);
	ASSERT_TRUE(storm_start(&storm, map.base, map.npages));
	ASSERT_EQ(0, pthread_create(&sig.thread, NULL, signaller_run, &sig));
	pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);

	for (i = 0; i < STORM_ROUNDS; i++) {
		ret = INSTALL(vec, 4);
		if (ret != PAGES(STORM_PAGES) ||
		    pagemap_guards(map.base, map.size) != STORM_PAGES)
			break;
		ret = REMOVE(vec, 4);
		if (ret != PAGES(STORM_PAGES))
			break;
	}
	EXPECT_EQ(PAGES(STORM_PAGES), ret);
	EXPECT_EQ(STORM_ROUNDS, i);

	__atomic_store_n(&sig.stop, 1, __ATOMIC_RELAXED);
	pthread_join(sig.thread, NULL);
	storm_stop(&storm);
	EXPECT_EQ(0, storm.wrong);
	map_free(&map);
}

GUARD_HARNESS_MAIN
