// SPDX-License-Identifier: GPL-2.0
/*
 * Races with guard regions in great number. guard_race.c asks the same of the
 * kernel, but in rounds few enough for every day.
 *
 *	guard_stress [-n ROUNDS] [-s SEED] [TEST...]
 *
 *   mixed	everything that can be done to one mapping, by several threads
 *		at once; after each round, is each page what was asked for?
 *   collapse	a guard is put in while another thread collapses the range
 *   lost_flag	a guard is put in while another thread changes the VMA's flags
 *
 * A TEST is one of these or the full name of one of their results, such as
 * lost_flag.shmem_shared.mlock. The seed is for what is done, not for when:
 * that is up to the scheduler, and lost_flag has nothing else to it. Rounds are
 * counted, never timed; the alarm is for a kernel that hangs.
 */
#include "guard_flag.h"
#include "guard_storm.h"

#include <ctype.h>

#define DEFAULT_SEED	1

struct options {
	unsigned long rounds;	/* 0: the test's own default */
	unsigned int seed;
};

enum outcome { PASSED, FAILED, SKIPPED };	/* guard_reason tells why */

struct test {
	const char *name;
	enum outcome (*run)(const struct test *t, const struct options *opts);
	enum backing backing;
	int (*flip)(char *pair);
};

/* A kernel that hangs must not hang whoever runs the tests. */
#define HANG_SECONDS	240

static const struct test *running;

static void hang(int signo)
{
	static const char text[] = "Bail out! nothing goes on any more: ";

	(void)signo;
	if (write(STDOUT_FILENO, text, sizeof(text) - 1) < 0 ||
	    write(STDOUT_FILENO, running->name, strlen(running->name)) < 0 ||
	    write(STDOUT_FILENO, "\n", 1) < 0)
		_exit(KSFT_FAIL);
	_exit(KSFT_FAIL);
}

/* Random numbers below @n, the same ones for the same seed. */
static unsigned int below(unsigned int *seed, unsigned int n)
{
	return rand_r(seed) % n;
}

/* Threads must have seeds of their own, and not be in step. */
static unsigned int seed_for(unsigned int seed, unsigned int which)
{
	return (seed + 1) * 2654435761U ^ (which + 1) * 0x9e3779b9U;
}

/*
 * guard_util.h opens pagemap for each look. There are too many looks here for
 * that, and threads are better off without malloc(): it maps memory.
 */
static int pagemap_fd = -1;

static bool pagemap_read(const char *start, size_t npages, uint64_t *entries)
{
	size_t size = npages * sizeof(*entries);

	return pread(pagemap_fd, entries, size, (uintptr_t)start /
		     page_size() * sizeof(*entries)) == (ssize_t)size;
}

static bool is_guard(const char *page)
{
	uint64_t entry;

	return pagemap_read(page, 1, &entry) && (entry & PAGEMAP_BIT_GUARD);
}

/* Another process has to open its own. */
static bool pagemap_reopen(void)
{
	if (pagemap_fd >= 0)
		close(pagemap_fd);
	pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	return pagemap_fd >= 0;
}

/* Which pages are in a VMA with VM_MAYBE_GUARD; smaps is read once for all. */
static bool flags_read(const char *start, size_t npages, bool *flags)
{
	unsigned long from = (unsigned long)start, vma_start = 0, vma_end = 0;
	unsigned long to = from + npages * page_size(), addr, first, last;
	char line[512];
	FILE *f;

	memset(flags, 0, npages * sizeof(*flags));
	f = fopen("/proc/self/smaps", "re");
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		/* Other lines begin like numbers, too: "Anonymous". */
		if (sscanf(line, "%lx-%lx ", &first, &last) == 2) {
			vma_start = first;
			vma_end = last;
			continue;
		}
		if (strncmp(line, "VmFlags:", 8) || !strstr(line, " gu "))
			continue;
		for (addr = vma_start < from ? from : vma_start;
		     addr < vma_end && addr < to; addr += page_size())
			flags[(addr - from) / page_size()] = true;
	}
	fclose(f);
	return true;
}

/*
 * Two threads that meet once a round: the other one begins to act when told
 * to, and it is known when it has begun and when it is done.
 */
struct duel {
	pthread_t thread;
	struct cpu_split cpus;
	void (*act)(struct duel *d);
	void *arg;
	int result;
	unsigned int told, begun, done;
	int stop;
};

/* The number of looks that it took, as a measure of how long it took. */
static unsigned int wait_until(const unsigned int *count, unsigned int n)
{
	unsigned int looks = 0;

	while (__atomic_load_n(count, __ATOMIC_ACQUIRE) != n)
		if (!(++looks % 4096))
			sched_yield();
	return looks;
}

static void look_idly(unsigned int looks)
{
	static const unsigned int nothing;

	while (looks--)
		__atomic_load_n(&nothing, __ATOMIC_ACQUIRE);
}

static void *duel_run(void *arg)
{
	struct duel *d = arg;
	unsigned int n;

	for (n = 1;; n++) {
		wait_until(&d->told, n);
		if (__atomic_load_n(&d->stop, __ATOMIC_RELAXED))
			return NULL;
		__atomic_store_n(&d->begun, n, __ATOMIC_RELEASE);
		d->act(d);
		__atomic_store_n(&d->done, n, __ATOMIC_RELEASE);
	}
}

static bool duel_start(struct duel *d, void (*act)(struct duel *d), void *arg)
{
	bool started;

	memset(d, 0, sizeof(*d));
	d->act = act;
	d->arg = arg;
	cpu_split_init(&d->cpus);
	cpu_split_run_on(&d->cpus, &d->cpus.others);
	started = !pthread_create(&d->thread, NULL, duel_run, d);
	cpu_split_run_on(&d->cpus, &d->cpus.mine);
	return started;
}

/* Returns when the other thread has begun. */
static void duel_begin(struct duel *d)
{
	__atomic_store_n(&d->told, d->told + 1, __ATOMIC_RELEASE);
	wait_until(&d->begun, d->told);
}

static unsigned int duel_end(struct duel *d)
{
	return wait_until(&d->done, d->told);
}

static void duel_stop(struct duel *d)
{
	__atomic_store_n(&d->stop, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&d->told, d->told + 1, __ATOMIC_RELEASE);
	pthread_join(d->thread, NULL);
	cpu_split_run_on(&d->cpus, &d->cpus.all);
}

/*
 * collapse: the object is a huge page in the page cache, mapped by a page
 * table. MADV_COLLAPSE looks whether all entries of the table are of that huge
 * page, drops the table, and maps the huge page. If it lets go of the table's
 * lock after the look, then a guard put in there and then goes with the table.
 *
 * So that there is a table each time, the guard of the round before is taken
 * away only just before the collapse: while it is in there, page faults map
 * small pages around it. The more there are, the longer the look takes.
 *
 *   main thread:   fault .. remove            install   look      look
 *   other thread:                  | MADV_COLLAPSE          |
 *
 * Whether the collapse is refused tells if the install came too early or too
 * late, so the wait before it is kept at the edge between the two. The second
 * look is when the collapse is over: a guard still there then stays.
 */
#define COLLAPSE_ROUNDS		2000
#define COLLAPSE_FAULTS		4
#define COLLAPSE_SPLIT		256	/* how often it is small pages again */

struct collapse {
	struct guard_map map;
	unsigned int seed;
	size_t at;			/* page with the guard */
	unsigned int wait[2];		/* for huge and small pages, in looks */
	unsigned long collapsed, refused, lost, wrong;
};

static void collapse_act(struct duel *d)
{
	struct collapse *c = d->arg;

	d->result = sys_advise(c->map.base, c->map.size, MADV_COLLAPSE);
}

/* The same until it works: now and then a page is in use for a moment. */
static int collapse_now(struct collapse *c)
{
	int tries = 100, ret;

	do {
		ret = sys_advise(c->map.base, c->map.size, MADV_COLLAPSE);
	} while (ret && --tries);
	return ret;
}

/* A hole in a huge page of the page cache breaks it up. Fill it again. */
static bool collapse_split(struct collapse *c)
{
	size_t psize = page_size(), n = below(&c->seed, c->map.npages);
	uint64_t page[psize / sizeof(uint64_t)];

	page_fill(page, OBJECT_SEED + n);
	return !fallocate(c->map.write_fd, FALLOC_FL_PUNCH_HOLE |
			  FALLOC_FL_KEEP_SIZE, n * psize, psize) &&
	       pwrite(c->map.write_fd, page, psize, n * psize) ==
	       (ssize_t)psize;
}

static void collapse_round(struct collapse *c, struct duel *d, bool split)
{
	unsigned int *wait = &c->wait[split];
	bool there;
	char *guard;
	int i;

	if (split && !collapse_split(c))
		c->wrong++;
	for (i = 0; i < COLLAPSE_FAULTS; i++)
		touch(map_page(&c->map, below(&c->seed, c->map.npages)),
		      TOUCH_READ);
	if (guard_remove(map_page(&c->map, c->at), page_size()))
		c->wrong++;
	c->at = below(&c->seed, c->map.npages);
	guard = map_page(&c->map, c->at);

	duel_begin(d);
	look_idly(*wait / 2 + below(&c->seed, *wait + 1));
	if (guard_install(guard, page_size()))
		c->wrong++;
	there = is_guard(guard);
	duel_end(d);
	if (!there || !is_guard(guard) || !read_faults(guard))
		c->lost++;
	if (d->result) {
		c->refused++;
		*wait += *wait / 16 + 1;
	} else {
		c->collapsed++;
		*wait -= *wait / 16;
	}
}

/* The guard is the only one, and all other pages are the object's. */
static bool collapse_intact(struct collapse *c)
{
	return range_holds(c->map.base, c->at, OBJECT_SEED) &&
	       range_holds(map_page(&c->map, c->at + 1),
			   c->map.npages - c->at - 1, OBJECT_SEED + c->at + 1);
}

static enum outcome collapse_run(const struct test *t,
				 const struct options *opts)
{
	unsigned long rounds = opts->rounds ?: COLLAPSE_ROUNDS, round;
	size_t psize = page_size(), size = huge_page_size();
	struct collapse c = {
		.seed = seed_for(opts->seed, 0),
		.wait = { 1000, 10000 },
	};
	struct duel d;
	int ret;

	if (!size) {
		guard_set_reason("no transparent huge pages in this kernel");
		return SKIPPED;
	}
	if (!map_make_aligned(&c.map, t->backing, size / psize, size))
		return SKIPPED;
	ret = collapse_now(&c);
	if (ret) {
		guard_set_reason("MADV_COLLAPSE: %s", strerror(-ret));
		map_free(&c.map);
		return SKIPPED;
	}
	if (!duel_start(&d, collapse_act, &c)) {
		map_free(&c.map);
		return FAILED;
	}
	for (round = 0; round < rounds; round++) {
		bool split = round % COLLAPSE_SPLIT == COLLAPSE_SPLIT - 1;

		collapse_round(&c, &d, split);
		if (split || round == rounds - 1) {
			alarm(HANG_SECONDS);
			if (!collapse_intact(&c))
				c.wrong++;
		}
	}
	duel_stop(&d);
	map_free(&c.map);
	ksft_print_msg("%s: %lu rounds, %lu collapsed, %lu refused\n", t->name,
		       rounds, c.collapsed, c.refused);
	ksft_print_msg("%s: guards lost: %lu, otherwise wrong: %lu\n", t->name,
		       c.lost, c.wrong);
	if (c.lost || c.wrong)
		return FAILED;
	/* Always too early or always too late: there was no race. */
	if (!c.collapsed || !c.refused) {
		guard_set_reason("of %lu collapses %lu were refused: no race",
				 rounds, c.refused);
		return SKIPPED;
	}
	return PASSED;
}

/*
 * lost_flag: mprotect() and the like read the flags of a VMA, work out what
 * they are to be, and write all of them back. An install that is let in
 * between sets VM_MAYBE_GUARD in vain: the guard is there, the flag is not, and
 * fork leaves it out of the child.
 */
#define LOST_FLAG_ROUNDS	1024
#define LOST_FLAG_PAIRS		64	/* rounds for one look at smaps, one fork */

static int flip_mprotect_both(char *pair)
{
	size_t size = 2 * page_size();

	return mprotect(pair, size, PROT_READ) ||
	       mprotect(pair, size, PROT_READ | PROT_WRITE) ? -errno : 0;
}

static int flip_mlock(char *pair)
{
	return mlock(pair, page_size()) || munlock(pair, page_size()) ?
	       -errno : 0;
}

static int flip_advice(char *pair)
{
	return madvise(pair, page_size(), MADV_RANDOM) ||
	       madvise(pair, page_size(), MADV_NORMAL) ? -errno : 0;
}

struct lost_flag {
	struct pairs pairs;
	size_t used;			/* of the pairs, in this round */
	unsigned int *child_lost;	/* shared with the child */
	unsigned long no_guard, no_flag, child, wrong;
};

static int lost_flag_child(void *arg)
{
	struct lost_flag *l = arg;
	size_t i;

	if (!pagemap_reopen())
		return 1;
	for (i = 0; i < l->used; i++) {
		char *guard = pair_guard(&l->pairs, i);

		if (!is_guard(guard) || !read_faults(guard))
			(*l->child_lost)++;
	}
	return 0;
}

static void lost_flag_check(struct lost_flag *l)
{
	bool flags[3 * LOST_FLAG_PAIRS];
	size_t i;

	if (!flags_read(l->pairs.area, 3 * l->used, flags))
		l->wrong++;
	for (i = 0; i < l->used; i++) {
		char *guard = pair_guard(&l->pairs, i);

		if (!is_guard(guard) || !read_faults(guard))
			l->no_guard++;
		else if (!flags[(guard - l->pairs.area) / page_size()])
			l->no_flag++;
	}
	*l->child_lost = 0;
	if (in_child(lost_flag_child, l))
		l->wrong++;
	l->child += *l->child_lost;
}

static enum outcome lost_flag_run(const struct test *t,
				  const struct options *opts)
{
	unsigned long rounds = opts->rounds ?: LOST_FLAG_ROUNDS, left = rounds;
	struct lost_flag l = { .used = 0 };
	struct cpu_split cpus;
	struct guard_map map;
	bool started;
	size_t i;

	if (!flag_supported() ||
	    !map_make(&map, t->backing, 2 * LOST_FLAG_PAIRS))
		return SKIPPED;
	l.child_lost = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (l.child_lost == MAP_FAILED)
		return FAILED;
	cpu_split_init(&cpus);
	cpu_split_run_on(&cpus, &cpus.others);
	started = pairs_start(&l.pairs, &map, LOST_FLAG_PAIRS, t->flip);
	cpu_split_run_on(&cpus, &cpus.mine);
	if (!started)
		return FAILED;
	while (left) {
		alarm(HANG_SECONDS);
		if (!pairs_map(&l.pairs))
			l.wrong++;
		l.used = left < LOST_FLAG_PAIRS ? left : LOST_FLAG_PAIRS;
		for (i = 0; i < l.used; i++) {
			pairs_move_on(&l.pairs, i);
			if (guard_install(pair_guard(&l.pairs, i),
					  page_size()))
				l.wrong++;
		}
		lost_flag_check(&l);
		left -= l.used;
	}
	pairs_stop(&l.pairs);
	cpu_split_run_on(&cpus, &cpus.all);
	munmap(l.child_lost, page_size());
	map_free(&map);
	if (l.pairs.failed) {
		ksft_print_msg("%s: the other thread: %s\n", t->name,
			       strerror(-l.pairs.failed));
		l.wrong++;
	}
	ksft_print_msg("%s: %lu rounds; flag lost: %lu, guard gone in a child: %lu\n",
		       t->name, rounds, l.no_flag, l.child);
	ksft_print_msg("%s: guard not there: %lu, otherwise wrong: %lu\n",
		       t->name, l.no_guard, l.wrong);
	return l.no_flag || l.child || l.no_guard || l.wrong ? FAILED : PASSED;
}

/*
 * mixed: each block of pages belongs to one thread, which alone puts guards
 * there and takes them away. So it is known of each page at any time whether it
 * is to be a guard. Everything else is done by anyone to everything: page
 * faults, protection, locking, advice, huge pages, fork.
 *
 *   | owner | owner | mover | none | owner | owner | mover | none | ...
 *
 * The mover also moves its blocks away and back; the last one, which is its
 * own too, it cuts off the mapping and adds again. The blocks of none have
 * guards that stay for the whole of a round, so that a child forked in the
 * midst of it can be asked for them.
 *
 * Nobody writes anything to a page but what it holds.
 */
#define MIXED_ROUNDS	12
#define MIXED_BLOCK	16		/* pages */
#define MIXED_OPS	24		/* at most, of a thread in a round */
#define MIXED_SAMPLE	24		/* pages touched after each round */

enum role { OWNER_1, OWNER_2, MOVER, NONE, NR_OWNERS = NONE + 1 };

struct mixed {
	const char *name;
	struct guard_map map;
	size_t block_size;		/* in bytes */
	char *room;			/* for a block that is moved away */
	bool has_flag;
	bool *guard;			/* per page; written by its owner only */
	bool *flags;
	uint64_t *entries;
	pthread_barrier_t barrier;
	unsigned int seed;
	unsigned int round;
	bool fleeting;			/* no guard in the first half stays */
	bool locks;			/* some of it may be locked, or was */
	bool stop;
	unsigned long installs, refused, removes, moves, cuts, collapses, forks;
	unsigned long wrong;
};

struct worker {
	pthread_t thread;
	struct mixed *m;
	enum role role;
	unsigned int which, seed;
	void (*act)(struct worker *w);
};

static void count(unsigned long *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
}

static void mixed_wrong(struct mixed *m, size_t page, const char *what)
{
	/* One line, one call: lines of threads must not mix. */
	if (__atomic_fetch_add(&m->wrong, 1, __ATOMIC_RELAXED) < 10)
		printf("# %s: round %u, page %zu: %s\n", m->name, m->round,
		       page, what);
}

static size_t mixed_blocks(const struct mixed *m)
{
	return m->map.npages / MIXED_BLOCK;
}

static enum role mixed_owner(const struct mixed *m, size_t block)
{
	return block == mixed_blocks(m) - 1 ? MOVER : block % NR_OWNERS;
}

/* There a huge page can be had any time, but for a moment. */
static bool mixed_fleeting(const struct mixed *m, size_t page)
{
	return m->fleeting && page < m->map.npages / 2;
}

/* A block of that owner's; its first page. */
static size_t mixed_block(struct mixed *m, enum role owner, unsigned int *seed)
{
	size_t block;

	do {
		block = below(seed, mixed_blocks(m));
	} while (mixed_owner(m, block) != owner);
	return block * MIXED_BLOCK;
}

/* Some pages of the @n from @first on. */
static size_t some_pages(unsigned int *seed, size_t *first, size_t n)
{
	size_t off = below(seed, n);

	*first += off;
	return 1 + below(seed, n - off);
}

/* At @start, is what should be in pages [first, first + n)? */
static void mixed_look(struct mixed *m, const char *start, size_t first,
		       size_t n)
{
	uint64_t entries[MIXED_BLOCK];
	size_t i;

	if (!pagemap_read(start, n, entries)) {
		mixed_wrong(m, first, "cannot read pagemap");
		return;
	}
	for (i = 0; i < n; i++)
		if (!!(entries[i] & PAGEMAP_BIT_GUARD) != m->guard[first + i])
			mixed_wrong(m, first + i, m->guard[first + i] ?
				    "no guard any more" :
				    "a guard that nobody put there");
}

static void mixed_install(struct mixed *m, size_t first, size_t n)
{
	char *start = map_page(&m->map, first);
	int ret = guard_install(start, n * page_size());
	bool guard = true;

	count(&m->installs);
	if (ret == -EINVAL && __atomic_load_n(&m->locks, __ATOMIC_ACQUIRE)) {
		/* Locked, but perhaps not all of it: undo what was done. */
		count(&m->refused);
		guard = false;
		ret = guard_remove(start, n * page_size());
	}
	if (ret)
		mixed_wrong(m, first, "install failed");
	memset(m->guard + first, guard, n);
	mixed_look(m, start, first, n);
}

static void mixed_remove(struct mixed *m, size_t first, size_t n)
{
	char *start = map_page(&m->map, first);

	count(&m->removes);
	if (guard_remove(start, n * page_size()))
		mixed_wrong(m, first, "remove failed");
	memset(m->guard + first, false, n);
	mixed_look(m, start, first, n);
}

static void mixed_discard(struct mixed *m, size_t first, size_t n)
{
	char *start = map_page(&m->map, first);
	int ret = sys_advise(start, n * page_size(), MADV_DONTNEED);

	/* Not of what is locked. */
	if (ret && (ret != -EINVAL ||
		    !__atomic_load_n(&m->locks, __ATOMIC_ACQUIRE)))
		mixed_wrong(m, first, "MADV_DONTNEED failed");
	mixed_look(m, start, first, n);
}

static void mixed_touch(struct mixed *m, size_t page)
{
	char *addr = map_page(&m->map, page);

	if (m->guard[page] ? !page_guarded(addr) : !page_readable(addr))
		mixed_wrong(m, page, m->guard[page] ? "a guard does not fault" :
			    "no guard, and faults");
}

static void owner_step(struct worker *w)
{
	size_t first = mixed_block(w->m, w->role, &w->seed);
	size_t n = some_pages(&w->seed, &first, MIXED_BLOCK);

	switch (below(&w->seed, 8)) {
	case 0:
	case 1:
	case 2:
		mixed_install(w->m, first, n);
		if (mixed_fleeting(w->m, first))
			mixed_remove(w->m, first, n);
		break;
	case 3:
	case 4:
		mixed_remove(w->m, first, n);
		break;
	case 5:
		mixed_discard(w->m, first, n);
		break;
	default:
		mixed_touch(w->m, first);
	}
}

static void owner_act(struct worker *w)
{
	int n = 1 + below(&w->seed, MIXED_OPS);

	while (n--)
		owner_step(w);
}

/* What is at the room's address is dropped by mremap(), even in vain. */
static bool mixed_make_room(struct mixed *m)
{
	char *p = mmap(m->room, m->block_size, PROT_NONE, MAP_PRIVATE |
		       MAP_ANONYMOUS | (m->room ? MAP_FIXED : 0), -1, 0);

	if (p == MAP_FAILED)
		return false;
	m->room = p;
	return true;
}

static void mover_move(struct worker *w)
{
	struct mixed *m = w->m;
	size_t first = mixed_block(m, MOVER, &w->seed);
	char *home = map_page(&m->map, first);

	/* In vain if it is more than one VMA just now. */
	if (mremap(home, m->block_size, m->block_size,
		   MREMAP_MAYMOVE | MREMAP_FIXED, m->room) == m->room) {
		count(&m->moves);
		mixed_look(m, m->room, first, MIXED_BLOCK);
		if (mremap(m->room, m->block_size, m->block_size,
			   MREMAP_MAYMOVE | MREMAP_FIXED, home) != home)
			mixed_wrong(m, first, "cannot be moved back");
	} else if (errno != EFAULT && errno != EAGAIN) {
		mixed_wrong(m, first, "cannot be moved");
	}
	if (!mixed_make_room(m))
		mixed_wrong(m, first, "no room any more");
	mixed_look(m, home, first, MIXED_BLOCK);
}

static void mover_cut(struct worker *w)
{
	struct mixed *m = w->m;
	size_t psize = page_size(), first = m->map.npages - MIXED_BLOCK;
	/* The page before is always one VMA. */
	char *last = map_page(&m->map, first - 1);

	if (mremap(last, psize + m->block_size, psize, 0) != last) {
		if (errno != EFAULT)
			mixed_wrong(m, first, "cannot be cut off");
		return;
	}
	count(&m->cuts);
	memset(m->guard + first, false, MIXED_BLOCK);
	if (mremap(last, psize, psize + m->block_size, 0) != last)
		mixed_wrong(m, first, "cannot be added again");
	mixed_look(m, last + psize, first, MIXED_BLOCK);
}

static void mover_act(struct worker *w)
{
	int n = 1 + below(&w->seed, MIXED_OPS);

	while (n--) {
		switch (below(&w->seed, 4)) {
		case 0:
			mover_move(w);
			break;
		case 1:
			mover_cut(w);
			break;
		default:
			owner_step(w);
		}
	}
}

static void fault_act(struct worker *w)
{
	struct mixed *m = w->m;
	int n = 1 + below(&w->seed, 4 * MIXED_OPS);
	/* Private pages are in the way of huge pages of a file. */
	bool write = below(&w->seed, 2);

	while (n--) {
		size_t page = below(&w->seed, m->map.npages);
		char *addr = map_page(&m->map, page);
		struct touch t = touch(addr, write ? TOUCH_REWRITE :
						     TOUCH_READ);

		/* A guard, or not writable, or not there at the moment. */
		if (t.signo && (t.signo != SIGSEGV || t.addr != addr))
			mixed_wrong(m, page, "an odd signal");
	}
}

static void change_act(struct worker *w)
{
	struct mixed *m = w->m;
	int n = 1 + below(&w->seed, MIXED_OPS), ret;
	bool locks = below(&w->seed, 2);

	if (locks)
		__atomic_store_n(&m->locks, true, __ATOMIC_RELEASE);
	while (n--) {
		size_t first = 0, pages = m->map.npages;
		size_t len;
		char *start;

		/* All of it now and then: no huge page is across VMAs. */
		if (below(&w->seed, 2))
			pages = some_pages(&w->seed, &first, pages);
		start = map_page(&m->map, first);
		len = pages * page_size();

		errno = 0;
		switch (below(&w->seed, locks ? 6 : 4)) {
		case 0:
			ret = mprotect(start, len, PROT_READ);
			break;
		case 1:
			ret = mprotect(start, len, PROT_READ | PROT_WRITE);
			break;
		case 2:
			ret = madvise(start, len, MADV_RANDOM);
			break;
		case 3:
			ret = madvise(start, len, MADV_NORMAL);
			break;
		case 4:
			/* Locks it, and fails: guards cannot be faulted in. */
			mlock(start, len);
			ret = 0;
			break;
		default:
			ret = munlock(start, len);
		}
		/* Where the mover has left a hole. */
		if (ret && errno != ENOMEM)
			mixed_wrong(m, first, strerror(errno));
	}
}

static void collapse_some(struct worker *w)
{
	struct mixed *m = w->m;
	size_t size = huge_page_size() ?: m->map.size;
	int n = 1 + below(&w->seed, MIXED_OPS / 2);

	while (n--) {
		char *start = m->map.base +
			      below(&w->seed, m->map.size / size) * size;

		if (!madvise(start, size, MADV_COLLAPSE))
			count(&m->collapses);
	}
}

static int fork_child(void *arg)
{
	struct mixed *m = arg;
	size_t block;

	m->wrong = 0;
	if (!pagemap_reopen())
		return 1;
	for (block = 0; block < mixed_blocks(m); block++) {
		size_t first = block * MIXED_BLOCK;

		if (mixed_owner(m, block) != NONE)
			continue;
		mixed_look(m, map_page(&m->map, first), first, MIXED_BLOCK);
		mixed_touch(m, first);
	}
	return m->wrong ? 1 : 0;
}

static void fork_act(struct worker *w)
{
	int n = 1 + below(&w->seed, 2);

	while (n--) {
		count(&w->m->forks);
		if (in_child(fork_child, w->m))
			mixed_wrong(w->m, 0, "wrong in a child, see above");
	}
}

static void (* const mixed_acts[])(struct worker *w) = {
	[OWNER_1] = owner_act,
	[OWNER_2] = owner_act,
	[MOVER] = mover_act,
	fault_act,
	change_act,
	collapse_some,
	fork_act,
};

#define MIXED_WORKERS	ARRAY_SIZE(mixed_acts)

static void *mixed_worker(void *arg)
{
	struct worker *w = arg;
	struct mixed *m = w->m;

	for (;;) {
		pthread_barrier_wait(&m->barrier);
		if (m->stop)
			return NULL;
		w->seed = seed_for(seed_for(m->seed, m->round), w->which);
		mixed_acts[w->which](w);
		pthread_barrier_wait(&m->barrier);
	}
}

/* With nothing else going on: is each page what it should be? */
static void mixed_check(struct mixed *m)
{
	size_t npages = m->map.npages, i;
	unsigned int seed = seed_for(seed_for(m->seed, m->round),
				     MIXED_WORKERS);

	for (i = 0; i < npages; i += MIXED_BLOCK)
		mixed_look(m, map_page(&m->map, i), i, MIXED_BLOCK);
	if (m->has_flag) {
		if (!flags_read(m->map.base, npages, m->flags))
			mixed_wrong(m, 0, "cannot read smaps");
		for (i = 0; i < npages; i++)
			if (m->guard[i] && !m->flags[i])
				mixed_wrong(m, i, "a guard, and no gu");
	}
	for (i = 0; i < MIXED_SAMPLE; i++) {
		size_t page = below(&seed, npages);

		mixed_touch(m, page);
		if (!m->guard[page] && !page_holds(map_page(&m->map, page),
						   map_fresh_seed(&m->map,
								  page)))
			mixed_wrong(m, page, "wrong contents");
	}
}

static int mixed_check_child(void *arg)
{
	struct mixed *m = arg;

	m->wrong = 0;
	if (!pagemap_reopen())
		return 1;
	mixed_check(m);
	return m->wrong ? 1 : 0;
}

/*
 * What a huge page needs in the first half: that it is in one VMA. In anonymous
 * memory also a page that can be written to, if only one.
 */
static void mixed_prepare_huge(struct mixed *m)
{
	struct guard_map *map = &m->map;

	if (mprotect(map->base, map->size / 2, map->prot) ||
	    madvise(map->base, map->size / 2, MADV_NORMAL))
		mixed_wrong(m, 0, "cannot be made one VMA");
	if (map->backing == ANON_PRIVATE)
		touch(map->base, TOUCH_REWRITE);
}

/* The next round begins with one VMA or many, new or old. */
static void mixed_prepare(struct mixed *m, unsigned int *seed)
{
	struct guard_map *map = &m->map;
	size_t first, n, block;

	if (munlock(map->base, map->size))
		mixed_wrong(m, 0, "cannot be unlocked");
	m->locks = false;
	m->fleeting = below(seed, 2);
	if (!m->round || !below(seed, 4)) {
		if (!map_again(map))
			mixed_wrong(m, 0, "cannot be mapped again");
		memset(m->guard, false, map->npages);
	} else if (below(seed, 2)) {
		if (mprotect(map->base, map->size, map->prot))
			mixed_wrong(m, 0, "mprotect failed");
	}
	for (block = 0; block < mixed_blocks(m); block++) {
		first = block * MIXED_BLOCK;
		if (mixed_fleeting(m, first)) {
			mixed_remove(m, first, MIXED_BLOCK);
		} else if (mixed_owner(m, block) == NONE) {
			n = some_pages(seed, &first, MIXED_BLOCK);
			if (below(seed, 2))
				mixed_install(m, first, n);
			else
				mixed_remove(m, first, n);
		}
	}
	if (m->fleeting)
		mixed_prepare_huge(m);
}

static void mixed_rounds(struct mixed *m, unsigned long rounds)
{
	unsigned int seed = seed_for(m->seed, MIXED_WORKERS + 1);

	for (m->round = 0; m->round < rounds; m->round++) {
		alarm(HANG_SECONDS);
		mixed_prepare(m, &seed);
		pthread_barrier_wait(&m->barrier);
		pthread_barrier_wait(&m->barrier);
		mixed_check(m);
		if (in_child(mixed_check_child, m))
			mixed_wrong(m, 0, "wrong in the last child");
	}
}

static enum outcome mixed_run(const struct test *t, const struct options *opts)
{
	size_t huge = huge_page_size() ?: 512 * page_size(), i;
	struct mixed m = {
		.name = t->name,
		.seed = opts->seed,
		.block_size = MIXED_BLOCK * page_size(),
		.has_flag = flag_supported(),
	};
	struct worker workers[MIXED_WORKERS];
	unsigned long rounds = opts->rounds ?: MIXED_ROUNDS;

	if (!guard_supported(t->backing) ||
	    !map_make_aligned(&m.map, t->backing, 2 * huge / page_size(), huge))
		return SKIPPED;
	m.guard = calloc(m.map.npages, sizeof(*m.guard));
	m.flags = calloc(m.map.npages, sizeof(*m.flags));
	if (!m.guard || !m.flags || !mixed_make_room(&m) ||
	    pthread_barrier_init(&m.barrier, NULL, MIXED_WORKERS + 1))
		return FAILED;
	touch_init();
	for (i = 0; i < MIXED_WORKERS; i++) {
		workers[i] = (struct worker){ .m = &m, .which = i, .role = i };
		/* There is no way back: the others wait, and on our stack. */
		if (pthread_create(&workers[i].thread, NULL, mixed_worker,
				   &workers[i]))
			ksft_exit_fail_msg("%s: cannot start a thread\n",
					   t->name);
	}
	mixed_rounds(&m, rounds);
	m.stop = true;
	pthread_barrier_wait(&m.barrier);
	for (i = 0; i < MIXED_WORKERS; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_barrier_destroy(&m.barrier);
	munmap(m.room, m.block_size);
	free(m.guard);
	free(m.flags);
	map_free(&m.map);
	ksft_print_msg("%s: %lu rounds, %lu installs (%lu refused, locked), %lu removes\n",
		       t->name, rounds, m.installs, m.refused, m.removes);
	ksft_print_msg("%s: %lu moves, %lu cuts, %lu collapses, %lu forks%s; wrong: %lu\n",
		       t->name, m.moves, m.cuts, m.collapses, m.forks,
		       m.has_flag ? "" : ", no gu in this kernel", m.wrong);
	return m.wrong ? FAILED : PASSED;
}

#define MIXED(name, backing)						\
	{ "mixed." name, mixed_run, backing, NULL }
#define COLLAPSE(name, backing)						\
	{ "collapse." name, collapse_run, backing, NULL }
#define LOST_FLAG(name, backing, flip)					\
	{ "lost_flag." name, lost_flag_run, backing, flip }

static const struct test tests[] = {
	MIXED("anon_private", ANON_PRIVATE),
	MIXED("anon_shared", ANON_SHARED),
	MIXED("shmem_private", SHMEM_PRIVATE),
	MIXED("shmem_shared", SHMEM_SHARED),
	MIXED("file_private", FILE_PRIVATE),
	MIXED("file_shared", FILE_SHARED),
	COLLAPSE("shmem_private", SHMEM_PRIVATE),
	COLLAPSE("shmem_shared", SHMEM_SHARED),
	LOST_FLAG("anon_private.mprotect", ANON_PRIVATE, flip_mprotect),
	LOST_FLAG("anon_private.mprotect_both", ANON_PRIVATE,
		  flip_mprotect_both),
	LOST_FLAG("anon_private.mlock", ANON_PRIVATE, flip_mlock),
	LOST_FLAG("anon_private.advice", ANON_PRIVATE, flip_advice),
	LOST_FLAG("shmem_shared.mprotect", SHMEM_SHARED, flip_mprotect),
	LOST_FLAG("shmem_shared.mprotect_both", SHMEM_SHARED,
		  flip_mprotect_both),
	LOST_FLAG("shmem_shared.mlock", SHMEM_SHARED, flip_mlock),
	LOST_FLAG("shmem_shared.advice", SHMEM_SHARED, flip_advice),
};

/* "lost_flag" stands for all of lost_flag.*; no @words, for everything. */
static bool test_wanted(const struct test *t, char **words, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		size_t len = strlen(words[i]);

		if (len && !strncmp(t->name, words[i], len) &&
		    (!t->name[len] || t->name[len] == '.'))
			return true;
	}
	return !n;
}

static void __noreturn bad_usage(const char *what, const char *word)
{
	fprintf(stderr, "guard_stress: %s '%s'\n", what, word);
	fprintf(stderr, "usage: guard_stress [-n ROUNDS] [-s SEED] [TEST...]\n");
	exit(KSFT_FAIL);
}

static unsigned long read_number(const char *text, unsigned long min)
{
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (!isdigit(*text) || *end || errno || n < min || n > INT_MAX)
		bad_usage("no number for that:", text);
	return n;
}

int main(int argc, char **argv)
{
	struct options opts = { .seed = DEFAULT_SEED };
	unsigned int i, plan = 0;
	int opt, word;

	opterr = 0;
	while ((opt = getopt(argc, argv, "n:s:")) != -1) {
		if (opt == 'n')
			opts.rounds = read_number(optarg, 1);
		else if (opt == 's')
			opts.seed = read_number(optarg, 0);
		else
			bad_usage("bad option", argv[optind - 1]);
	}
	for (word = optind; word < argc; word++) {
		for (i = 0; i < ARRAY_SIZE(tests); i++)
			if (test_wanted(&tests[i], argv + word, 1))
				break;
		if (i == ARRAY_SIZE(tests))
			bad_usage("no test", argv[word]);
	}

	/* The harness's own main() is not for tests with arguments. */
	(void)test_harness_run;
	ksft_print_header();
	/* The first kernels with guards had them in anonymous memory only. */
	if (!guard_supported(ANON_PRIVATE) || !guard_supported(SHMEM_SHARED))
		ksft_exit_skip("%s\n", guard_reason);
	for (i = 0; i < ARRAY_SIZE(tests); i++)
		plan += test_wanted(&tests[i], argv + optind, argc - optind);
	ksft_set_plan(plan);
	ksft_print_msg("seed %u\n", opts.seed);
	touch_init();
	signal(SIGALRM, hang);
	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		const struct test *t = &tests[i];

		if (!test_wanted(t, argv + optind, argc - optind))
			continue;
		running = t;
		alarm(HANG_SECONDS);
		switch (pagemap_reopen() ? t->run(t, &opts) : FAILED) {
		case PASSED:
			ksft_test_result_pass("%s\n", t->name);
			break;
		case FAILED:
			ksft_test_result_fail("%s\n", t->name);
			break;
		case SKIPPED:
			ksft_test_result_code(KSFT_SKIP, t->name, "%s",
					      guard_reason);
		}
		alarm(0);
	}
	ksft_finished();
}
