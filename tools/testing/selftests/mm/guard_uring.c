// SPDX-License-Identifier: GPL-2.0
/*
 * Guard regions through io_uring's IORING_OP_MADVISE. The rings are worked by
 * hand: the tests need no library.
 */
#include "guard_storm.h"

#include <linux/io_uring.h>

#ifndef __NR_io_uring_setup
#define __NR_io_uring_setup	425
#define __NR_io_uring_enter	426
#endif

#define NPAGES		16
#define RING_ENTRIES	16

struct ring {
	int fd;
	struct io_uring_params params;
	char *sq;
	char *cq;
	size_t sq_size;
	size_t cq_size;
	struct io_uring_sqe *sqes;
	unsigned int queued;
};

static unsigned int *ring_word(char *base, __u32 offset)
{
	return (unsigned int *)(base + offset);
}

/* False with the reason when the kernel has no ring for us. */
static bool ring_open(struct ring *ring)
{
	struct io_uring_params *p = &ring->params;

	memset(ring, 0, sizeof(*ring));
	ring->fd = syscall(__NR_io_uring_setup, RING_ENTRIES, p);
	if (ring->fd < 0) {
		guard_set_reason("io_uring_setup: %s", strerror(errno));
		return false;
	}
	ring->sq_size = p->sq_off.array + p->sq_entries * sizeof(__u32);
	ring->cq_size = p->cq_off.cqes +
			p->cq_entries * sizeof(struct io_uring_cqe);
	ring->sq = mmap(NULL, ring->sq_size, PROT_READ | PROT_WRITE,
			MAP_SHARED, ring->fd, IORING_OFF_SQ_RING);
	ring->cq = mmap(NULL, ring->cq_size, PROT_READ | PROT_WRITE,
			MAP_SHARED, ring->fd, IORING_OFF_CQ_RING);
	ring->sqes = mmap(NULL, p->sq_entries * sizeof(*ring->sqes),
			  PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd,
			  IORING_OFF_SQES);
	if (ring->sq == MAP_FAILED || ring->cq == MAP_FAILED ||
	    (void *)ring->sqes == MAP_FAILED) {
		guard_set_reason("io_uring rings: %s", strerror(errno));
		close(ring->fd);
		return false;
	}
	return true;
}

static void ring_close(struct ring *ring)
{
	munmap(ring->sq, ring->sq_size);
	munmap(ring->cq, ring->cq_size);
	munmap(ring->sqes, ring->params.sq_entries * sizeof(*ring->sqes));
	close(ring->fd);
}

/* Puts one advice into the queue. @flags: IOSQE_*. */
static void ring_queue(struct ring *ring, void *addr, size_t len, int advice,
		       __u8 flags, __u64 id)
{
	unsigned int *tail = ring_word(ring->sq, ring->params.sq_off.tail);
	unsigned int mask = *ring_word(ring->sq,
				       ring->params.sq_off.ring_mask);
	unsigned int *array = ring_word(ring->sq, ring->params.sq_off.array);
	unsigned int slot = *tail & mask;
	struct io_uring_sqe *sqe = &ring->sqes[slot];

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_MADVISE;
	sqe->flags = flags;
	sqe->fd = -1;
	sqe->addr = (uintptr_t)addr;
	sqe->len = len;
	sqe->fadvise_advice = advice;
	sqe->user_data = id;
	array[slot] = slot;
	/* The kernel looks at the entry once it sees the tail. */
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	ring->queued++;
}

/* Submits what is queued and waits for all of it; 0 or -errno. */
static int ring_submit(struct ring *ring)
{
	unsigned int *head = ring_word(ring->cq, ring->params.cq_off.head);
	unsigned int *tail = ring_word(ring->cq, ring->params.cq_off.tail);
	unsigned int submit = ring->queued, want = ring->queued;
	int ret;

	while (submit || __atomic_load_n(tail, __ATOMIC_ACQUIRE) - *head <
			 want) {
		ret = syscall(__NR_io_uring_enter, ring->fd, submit, want,
			      IORING_ENTER_GETEVENTS, NULL, 0);
		if (ret < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		submit -= ret;
	}
	ring->queued = 0;
	return 0;
}

/* Takes the next completion; false when there is none. */
static bool ring_reap(struct ring *ring, struct io_uring_cqe *cqe)
{
	unsigned int *head = ring_word(ring->cq, ring->params.cq_off.head);
	unsigned int *tail = ring_word(ring->cq, ring->params.cq_off.tail);
	unsigned int mask = *ring_word(ring->cq,
				       ring->params.cq_off.ring_mask);
	struct io_uring_cqe *cqes;

	if (*head == __atomic_load_n(tail, __ATOMIC_ACQUIRE))
		return false;
	cqes = (struct io_uring_cqe *)(ring->cq + ring->params.cq_off.cqes);
	*cqe = cqes[*head & mask];
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return true;
}

/* One advice from start to end: what its completion says. */
static int ring_advise(struct ring *ring, void *addr, size_t len, int advice)
{
	struct io_uring_cqe cqe;
	int ret;

	ring_queue(ring, addr, len, advice, 0, 1);
	ret = ring_submit(ring);
	if (ret)
		return ret;
	return ring_reap(ring, &cqe) ? cqe.res : -EPROTO;
}

FIXTURE(uring) {
	struct guard_map map;
	struct ring ring;
	size_t psize;
};

FIXTURE_VARIANT(uring) {
	enum backing backing;
};

GUARD_VARIANTS_RW(uring);

FIXTURE_SETUP(uring)
{
	self->psize = page_size();
	if (!guard_supported(variant->backing) ||
	    !map_make(&self->map, variant->backing, NPAGES))
		SKIP(return, "%s", guard_reason);
	if (!ring_open(&self->ring)) {
		map_free(&self->map);
		SKIP(return, "%s", guard_reason);
	}
	map_populate(&self->map, 0, NPAGES);
	/* The operation itself may be missing. */
	if (ring_advise(&self->ring, self->map.base, self->psize,
			MADV_NORMAL) == -EOPNOTSUPP) {
		ring_close(&self->ring);
		map_free(&self->map);
		SKIP(return, "no IORING_OP_MADVISE in this kernel");
	}
}

FIXTURE_TEARDOWN(uring)
{
	ring_close(&self->ring);
	map_free(&self->map);
}

#define INSTALL(page, n)						\
	ring_advise(&self->ring, map_page(&self->map, page),		\
		    (n) * self->psize, MADV_GUARD_INSTALL)
#define REMOVE(page, n)							\
	ring_advise(&self->ring, map_page(&self->map, page),		\
		    (n) * self->psize, MADV_GUARD_REMOVE)

TEST_F(uring, install_and_remove)
{
	EXPECT_EQ(0, INSTALL(2, 3));
	EXPECT_TRUE(map_guards_are(&self->map, 0x001c));
	EXPECT_TRUE(map_populated_intact(&self->map, 0, 2));
	EXPECT_TRUE(map_populated_intact(&self->map, 5, NPAGES - 5));
	EXPECT_EQ(0, INSTALL(2, 3));
	EXPECT_TRUE(map_guards_are(&self->map, 0x001c));

	EXPECT_EQ(0, REMOVE(3, 5));
	EXPECT_TRUE(map_guards_are(&self->map, 0x0004));
	EXPECT_EQ(0, REMOVE(0, NPAGES));
	EXPECT_TRUE(map_guards_are(&self->map, 0));
	EXPECT_TRUE(map_discarded(&self->map, 2, 3));
	EXPECT_TRUE(map_populated_intact(&self->map, 5, NPAGES - 5));
}

TEST_F(uring, errors)
{
	char *page = map_page(&self->map, 3);

	EXPECT_EQ(-EINVAL, ring_advise(&self->ring, page + 1, self->psize,
				       MADV_GUARD_INSTALL));
	EXPECT_EQ(-EINVAL, ring_advise(&self->ring, page + 1, self->psize,
				       MADV_GUARD_REMOVE));
	EXPECT_TRUE(map_guards_are(&self->map, 0));

	ASSERT_EQ(0, munmap(page, self->psize));
	EXPECT_EQ(-ENOMEM, INSTALL(3, 1));
	EXPECT_EQ(-ENOMEM, INSTALL(2, 3));
	EXPECT_TRUE(map_guards_are(&self->map, 0x0014));
	EXPECT_EQ(-ENOMEM, REMOVE(2, 3));
	EXPECT_TRUE(map_guards_are(&self->map, 0));

	if (mlock(map_page(&self->map, 8), self->psize))
		SKIP(return, "mlock: %s", strerror(errno));
	EXPECT_EQ(-EINVAL, INSTALL(8, 1));
	EXPECT_EQ(0, REMOVE(8, 1));
	EXPECT_TRUE(map_guards_are(&self->map, 0));
	EXPECT_TRUE(map_populated_intact(&self->map, 5, NPAGES - 5));
}

/* Many at once, side by side; each completion comes, and says 0. */
TEST_F(uring, batch)
{
	struct io_uring_cqe cqe;
	unsigned int seen = 0;
	size_t i;

	for (i = 0; i < RING_ENTRIES; i++)
		ring_queue(&self->ring, map_page(&self->map, i % NPAGES),
			   self->psize, MADV_GUARD_INSTALL, 0, i);
	ASSERT_EQ(0, ring_submit(&self->ring));
	while (ring_reap(&self->ring, &cqe)) {
		EXPECT_EQ(0, cqe.res);
		seen |= 1U << cqe.user_data;
	}
	EXPECT_EQ((1U << RING_ENTRIES) - 1, seen);
	EXPECT_TRUE(map_guards_are(&self->map, 0xffff));
}

/* One after the other; what fails breaks the chain, and is the one that did. */
TEST_F(uring, chain)
{
	struct io_uring_cqe cqe;
	int res[4] = { 1, 1, 1, 1 };

	ring_queue(&self->ring, map_page(&self->map, 0), 4 * self->psize,
		   MADV_GUARD_INSTALL, IOSQE_IO_LINK, 0);
	ring_queue(&self->ring, map_page(&self->map, 1), self->psize,
		   MADV_GUARD_REMOVE, IOSQE_IO_LINK, 1);
	ring_queue(&self->ring, map_page(&self->map, 2), self->psize,
		   MADV_GUARD_REMOVE, IOSQE_IO_LINK, 2);
	ring_queue(&self->ring, map_page(&self->map, 2), self->psize,
		   MADV_GUARD_INSTALL, 0, 3);
	ASSERT_EQ(0, ring_submit(&self->ring));
	while (ring_reap(&self->ring, &cqe))
		res[cqe.user_data] = cqe.res;
	EXPECT_EQ(0, res[0]);
	EXPECT_EQ(0, res[1]);
	EXPECT_EQ(0, res[2]);
	EXPECT_EQ(0, res[3]);
	EXPECT_TRUE(map_guards_are(&self->map, 0x000d));
}

/*
 * Threads that fault in what is being guarded. Whoever completes the request
 * has no system call to restart: that must stay inside, too. A completion is
 * 0, or an error that is in the manual; most are 0, and then every page is a
 * guard.
 */
#define STORM_ROUNDS	40

TEST_F(uring, faults_in_the_way)
{
	int undone = 0, wrong = 0, ret, i;
	struct guard_map map;
	struct storm storm;

	ASSERT_TRUE(map_make(&map, variant->backing, STORM_PAGES));
	ASSERT_TRUE(storm_start(&storm, map.base, map.npages));

	for (i = 0; i < STORM_ROUNDS; i++) {
		ret = ring_advise(&self->ring, map.base, map.size,
				  MADV_GUARD_INSTALL);
		if (!ret)
			undone += pagemap_guards(map.base, map.size) !=
				  STORM_PAGES;
		else if (ret != -EINTR && ret != -EAGAIN)
			wrong = ret;
		ret = ring_advise(&self->ring, map.base, map.size,
				  MADV_GUARD_REMOVE);
		if (ret)
			wrong = ret;
	}
	storm_stop(&storm);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, undone);
	/* However often it gave up, now there is no reason to. */
	EXPECT_EQ(0, ring_advise(&self->ring, map.base, map.size,
				 MADV_GUARD_INSTALL));
	EXPECT_EQ(STORM_PAGES, pagemap_guards(map.base, map.size));
	EXPECT_EQ(0, storm.wrong);
	map_free(&map);
}

GUARD_HARNESS_MAIN
