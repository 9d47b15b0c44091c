// SPDX-License-Identifier: GPL-2.0
/*
 * A fuzzer with a model. Random operations on a small arena of pages, and for
 * each of its pages a model of what it is: mapped to what, with which flags,
 * guarded or not, holding what. The model says what each operation has to
 * return; what the pages are afterwards is compared by touching them, with
 * pagemap, with maps and with smaps, here and in forked children.
 *
 * Where the kernel may choose (after MADV_FREE, say) the model knows both
 * possibilities. What it never leaves open is where the guards are.
 *
 * Without arguments it is a test with a few seeds; "guard_fuzz -h" tells how
 * to give it more to do, and how to do again what it printed on a failure.
 */
#include "guard_fuzz.h"
#include "guard_uffd.h"
#include "guard_flag.h"

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define PREFIX		"# "

/* In seconds: how long one operation may take before it is called hung. */
#define WATCHDOG	60
/* In seconds: what still runs so long after a SIGKILL is stuck for good. */
#define KILL_WAIT	10
/*
 * How often a failing sequence is tried again to make it shorter: less often as
 * a test, which has a time limit, and a tenth of that if the failure is a hang.
 */
#define MAX_TRIES	400
#define TEST_TRIES	60
#define HUNG_SHARE	10

#ifndef PROCMAP_QUERY
#define PROCMAP_QUERY	_IOWR('f', 17, struct procmap_query)
#define PROCMAP_QUERY_VMA_READABLE		0x01
#define PROCMAP_QUERY_VMA_WRITABLE		0x02
#define PROCMAP_QUERY_VMA_SHARED		0x08
#define PROCMAP_QUERY_COVERING_OR_NEXT_VMA	0x10

struct procmap_query {
	__u64 size;
	__u64 query_flags;
	__u64 query_addr;
	__u64 vma_start;
	__u64 vma_end;
	__u64 vma_flags;
	__u64 vma_page_size;
	__u64 vma_offset;
	__u64 inode;
	__u32 dev_major;
	__u32 dev_minor;
	__u32 vma_name_size;
	__u32 build_id_size;
	__u64 vma_name_addr;
	__u64 build_id_addr;
};
#endif

#ifndef UFFD_FEATURE_SIGBUS
#define UFFD_FEATURE_SIGBUS	(1 << 7)
#endif

/* What this kernel and this user can do; the rest is left out. */
static struct {
	bool flag;		/* `gu` in smaps */
	bool file;
	bool punch_file;
	bool thp;
	bool ksm;
	bool lock;
	bool swap_advice;	/* MADV_WILLNEED on anonymous memory */
	bool uffd;
	bool uffd_wp;
	bool uffd_wp_unpopulated;
	bool self_advice;	/* process_madvise() on oneself */
	bool mremap_checks_first;
	bool mremap_many;	/* moves more than one VMA at once */
	bool mremap_unlocks;	/* MREMAP_DONTUNMAP: not just what was moved */
	bool left_out[NR_OPS];
} can;

static bool verbose;
static int max_tries = MAX_TRIES;

/* ------------------------------------------------------------ the model */

/* What a VMA has, of which smaps tells. */
enum {
	VMA_READ	= 1 << 0,
	VMA_WRITE	= 1 << 1,
	VMA_SHARED	= 1 << 2,
	VMA_MAYSHARE	= 1 << 3,
	VMA_MAYWRITE	= 1 << 4,
	VMA_LOCKED	= 1 << 5,
	VMA_ONFAULT	= 1 << 6,
	VMA_SEQ		= 1 << 7,
	VMA_RAND	= 1 << 8,
	VMA_DONTFORK	= 1 << 9,
	VMA_DONTDUMP	= 1 << 10,
	VMA_WIPE	= 1 << 11,
	VMA_HUGE	= 1 << 12,
	VMA_NOHUGE	= 1 << 13,
	VMA_MERGEABLE	= 1 << 14,
	VMA_MISSING	= 1 << 15,
	VMA_UFFD_WP	= 1 << 16,
	VMA_GUARD	= 1 << 17,	/* only as seen, not in the model */
};

#define VMA_UFFD	(VMA_MISSING | VMA_UFFD_WP)
#define VMA_LOCKS	(VMA_LOCKED | VMA_ONFAULT)

static const struct {
	char name[3];
	unsigned int flag;
} vma_flag_names[] = {
	{ "rd", VMA_READ }, { "wr", VMA_WRITE }, { "sh", VMA_SHARED },
	{ "ms", VMA_MAYSHARE }, { "mw", VMA_MAYWRITE }, { "lo", VMA_LOCKED },
	{ "lf", VMA_ONFAULT }, { "sr", VMA_SEQ }, { "rr", VMA_RAND },
	{ "dc", VMA_DONTFORK }, { "dd", VMA_DONTDUMP }, { "wf", VMA_WIPE },
	{ "hg", VMA_HUGE }, { "nh", VMA_NOHUGE }, { "mg", VMA_MERGEABLE },
	{ "um", VMA_MISSING }, { "uw", VMA_UFFD_WP }, { "gu", VMA_GUARD },
};

/* Has a page of a private mapping something of its own? */
enum own {
	OWN_NOT,		/* zeros, or what the object has */
	OWN_YES,		/* it has: what @seed stands for */
	OWN_MAYBE,		/* either */
};

#define UNMAPPED	(-1)

struct page {
	int16_t obj;		/* or UNMAPPED */
	uint16_t off;		/* page of the object */
	uint16_t vma;		/* first page of the VMA, as the kernel has it */
	uint8_t guard;
	uint8_t own;
	uint8_t tainted;	/* its VMA had a guard, or a part of it had */
	uint32_t flags;
	uint32_t seed;
};

/* Shared by all processes of an arena, and so is what the model has of it. */
struct object {
	int fd, readonly_fd;
	int base;		/* page of the file that is our page 0 */
	int size;		/* pages; beyond is SIGBUS */
	int low;		/* the smallest that the size has been */
	bool shmem;
	ino_t inode;
	uint32_t seed[OBJECT_MAX];
};

/* What a run tells the process that started it. */
struct report {
	int failed;
	bool stuck;		/* hung, and could not be killed */
	int op, thread, depth;
	char kind[64];		/* the same for the same kind of failure */
	char text[1024];
	int at[MAX_THREADS];
	unsigned long steps;	/* grows as long as anything is done */
	unsigned long done, left_out, forks;
	unsigned long by_op[NR_OPS];
};

struct arena {
	char *base;
	int npages;
	const struct fuzz_program *prog;
	int thread;
	int at;			/* index of the operation under way */
	int depth;		/* of forks */
	struct report *report;
	struct object *object;	/* NR_OBJECTS of them */
	bool inherited[NR_OBJECTS];	/* an ancestor may have it mapped */
	int pagemap, maps, smaps, pidfd, uffd, scratch;
	int pipe[2];
	char *source;		/* pages that UFFDIO_COPY copies */
	unsigned int parity;
	int from_lo, from_hi;	/* the VMA that mremap() moved from */
	sigjmp_buf bail;
	struct page page[HUGE_PAGES];
	uint64_t entry[HUGE_PAGES];	/* of pagemap */
	char text[1 << 16];
};

#define SOURCE_PAGES	16

static char *page_at(const struct arena *a, int i)
{
	return a->base + i * page_size();
}

static bool is_mapped(const struct arena *a, int i)
{
	return i < a->npages && a->page[i].obj != UNMAPPED;
}

static bool is_shared(const struct page *pg)
{
	return pg->flags & VMA_MAYSHARE;
}

/* Just behind the VMA that page @i is in. */
static int vma_end(const struct arena *a, int i)
{
	int vma = a->page[i].vma;

	while (is_mapped(a, i) && a->page[i].vma == vma)
		i++;
	return i;
}

static int vma_end_within(const struct arena *a, int i, int end)
{
	int to = vma_end(a, i);

	return to < end ? to : end;
}

static struct object *object_of(const struct arena *a, const struct page *pg)
{
	return pg->obj > 0 ? &a->object[pg->obj] : NULL;
}

static bool beyond_end(const struct arena *a, const struct page *pg)
{
	return pg->obj > 0 && pg->off >= a->object[pg->obj].size;
}

/*
 * Behind the end, but maybe in a huge page that begins before it: then it can
 * be accessed, and there is no telling what it holds.
 */
static bool beyond_huge(const struct arena *a, const struct page *pg)
{
	return beyond_end(a, pg) && a->npages == HUGE_PAGES &&
	       a->object[pg->obj].size % PMD_PAGES;
}

/* What the page holds when it has nothing of its own. */
static uint32_t base_seed(const struct arena *a, const struct page *pg)
{
	if (pg->obj <= 0 || beyond_end(a, pg))
		return 0;
	return a->object[pg->obj].seed[pg->off];
}

static void describe(const struct arena *a, int i, char *buf, size_t size)
{
	const struct page *pg = &a->page[i];
	size_t len, f;

	if (!is_mapped(a, i)) {
		snprintf(buf, size, "page %d: unmapped", i);
		return;
	}
	len = snprintf(buf, size, "page %d: %s", i,
		       object_name[pg->obj < OBJ_NEW ? pg->obj : OBJ_NEW]);
	if (pg->obj > 0)
		len += snprintf(buf + len, size - len, "%s+%d/%d",
				pg->obj >= OBJ_NEW ? "-shared" : "", pg->off,
				a->object[pg->obj].size);
	for (f = 0; f < ARRAY_SIZE(vma_flag_names); f++)
		if (pg->flags & vma_flag_names[f].flag)
			len += snprintf(buf + len, size - len, " %s",
					vma_flag_names[f].name);
	if (pg->guard)
		snprintf(buf + len, size - len, " GUARD");
	else if (pg->own)
		snprintf(buf + len, size - len, " %s %u or not %u",
			 pg->own == OWN_YES ? "own" : "maybe", pg->seed,
			 base_seed(a, pg));
	else
		snprintf(buf + len, size - len, " seed %u", base_seed(a, pg));
}

/* -------------------------------------------------------------- failing */

/* Notes the first failure and ends the process or thread's run. */
static void __printf(3, 4) __noreturn
fail(struct arena *a, const char *kind, const char *fmt, ...)
{
	struct report *r = a->report;
	int none = 0;
	va_list ap;

	if (__atomic_compare_exchange_n(&r->failed, &none, 1, false,
					__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
		r->op = a->at;
		r->thread = a->thread;
		r->depth = a->depth;
		snprintf(r->kind, sizeof(r->kind), "%s", kind);
		va_start(ap, fmt);
		vsnprintf(r->text, sizeof(r->text), fmt, ap);
		va_end(ap);
	}
	if (a->depth)
		_exit(1);
	siglongjmp(a->bail, 1);
}

/* A set of results: success is bit 0, -errno bit errno. */
#define WANT(e)		(1ULL << (e))
#define WANT_ANYTHING	(~0ULL)

static bool allowed(uint64_t want, long ret)
{
	return ret <= 0 && ret > -64 && (want & WANT(-ret));
}

static void want_text(uint64_t want, char *buf, size_t size)
{
	size_t len = 0;
	int e;

	buf[0] = '\0';
	for (e = 0; e < 64; e++)
		if ((want & WANT(e)) && len < size)
			len += snprintf(buf + len, size - len, "%s%s",
					len ? " or " : "",
					e ? strerror(e) : "success");
}

static void expect(struct arena *a, const struct op *op, long ret,
		   uint64_t want)
{
	char text[128], kind[64];

	if (allowed(want, ret))
		return;
	snprintf(kind, sizeof(kind), "result of %s %s", op_name[op->code],
		 op->code == OP_MADVISE ? advice_name(op->adv) : "");
	want_text(want, text, sizeof(text));
	fail(a, kind, "expected %s, got %s (%ld)", text,
	     ret > 0 ? "something else" : !ret ? "success" : strerror(-ret),
	     ret);
}

/* ------------------------------------------------------------- touching */

/*
 * Pages are marked in three words and are zeros otherwise: the kernel moves
 * pages as wholes, so that is enough, and fast.
 */
static const unsigned int marks[] = { 0, 1, 2 };

static size_t mark_index(int i)
{
	return i * (page_size() / sizeof(uint64_t) - 1) / 2;
}

static void mark_page(void *page, uint32_t seed)
{
	uint64_t *word = page;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(marks); i++)
		word[mark_index(i)] = seed ?
				      pattern_word(seed, mark_index(i)) : 0;
}

struct mark {
	uint64_t word[ARRAY_SIZE(marks)];
};

static bool mark_is(const struct mark *m, uint32_t seed)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(marks); i++)
		if (m->word[i] != (seed ? pattern_word(seed, mark_index(i)) :
				   0))
			return false;
	return true;
}

static void mark_text(const struct mark *m, char *buf, size_t size)
{
	/* The inverse of the factor in pattern_word(), modulo 2^64. */
	uint64_t seed = m->word[0] * 0xf1de83e19937733dULL;

	if (mark_is(m, 0))
		snprintf(buf, size, "zeros");
	else if (seed == (uint32_t)seed && mark_is(m, seed))
		snprintf(buf, size, "seed %u", (uint32_t)seed);
	else
		snprintf(buf, size, "%016llx %016llx %016llx",
			 (unsigned long long)m->word[0],
			 (unsigned long long)m->word[1],
			 (unsigned long long)m->word[2]);
}

/*
 * As touch(), for more than a byte, and without a system call to save the
 * signal mask, which stays as it is. Returns the signal, 0 if there was none. In
 * 32 bits a word is two accesses, in whichever order.
 */
static int touch_mark(void *page, struct mark *m, bool store)
{
	volatile uint64_t *word = page;
	size_t i;

	touch_seen.signo = 0;
	if (!sigsetjmp(touch_env, 0)) {
		touch_armed = 1;
		for (i = 0; i < ARRAY_SIZE(marks); i++)
			if (store)
				word[mark_index(i)] = m->word[i];
			else
				m->word[i] = word[mark_index(i)];
	}
	touch_armed = 0;
	if (touch_seen.signo &&
	    (uintptr_t)touch_seen.addr - (uintptr_t)page >= sizeof(*word))
		return -1;
	return touch_seen.signo;
}

/* What an access may end in. */
#define FAULT_NONE	1
#define FAULT_SEGV	2
#define FAULT_BUS	4

static const char *fault_text(unsigned int fault)
{
	static const char * const text[] = {
		"nothing", "success", "SIGSEGV", "success or SIGSEGV",
		"SIGBUS", "success or SIGBUS", "SIGSEGV or SIGBUS",
	};

	return fault < ARRAY_SIZE(text) ? text[fault] : "?";
}

static unsigned int signal_fault(int signo)
{
	return !signo ? FAULT_NONE : signo == SIGSEGV ? FAULT_SEGV :
	       signo == SIGBUS ? FAULT_BUS : 8;
}

static uint64_t entry_now(struct arena *a, int i)
{
	uint64_t entry = 0;

	if (pread(a->pagemap, &entry, sizeof(entry),
		  (uintptr_t)page_at(a, i) / page_size() * sizeof(entry)) !=
	    sizeof(entry))
		fail(a, "pagemap", "cannot be read: %s", strerror(errno));
	return entry;
}

/*
 * What an access has to end in; more than one bit where userfaultfd's answer
 * depends on what the model does not know: whether there is a page of zeros,
 * or none.
 */
static unsigned int fault_of(struct arena *a, int i, bool write)
{
	const struct page *pg = &a->page[i];
	unsigned int fault = FAULT_NONE;
	uint64_t entry;

	if (!is_mapped(a, i) || pg->guard)
		return FAULT_SEGV;
	if (!(pg->flags & (write ? VMA_WRITE : VMA_READ)))
		return FAULT_SEGV;
	if (beyond_end(a, pg))
		return beyond_huge(a, pg) ? FAULT_NONE | FAULT_BUS : FAULT_BUS;
	if (!(pg->flags & VMA_UFFD))
		return FAULT_NONE;

	entry = entry_now(a, i);
	if ((pg->flags & VMA_MISSING) && !(entry & PAGEMAP_BIT_PRESENT)) {
		if (pg->own == OWN_YES || base_seed(a, pg))
			;
		else if (pg->obj != OBJ_ANON || (entry & PAGEMAP_BIT_SWAP))
			fault = FAULT_NONE | FAULT_BUS;
		else
			fault = FAULT_BUS;
	}
	if (pg->own == OWN_MAYBE && (pg->flags & VMA_MISSING))
		fault = FAULT_NONE | FAULT_BUS;
	if (write && (pg->flags & VMA_UFFD_WP) &&
	    (entry & PAGEMAP_BIT_UFFD_WP))
		fault = FAULT_BUS;
	return fault;
}

static void check_contents(struct arena *a, int i, const struct mark *m)
{
	struct page *pg = &a->page[i];
	uint32_t base = base_seed(a, pg);
	char found[80], text[256];

	if (beyond_huge(a, pg))
		return;
	if (pg->own && mark_is(m, pg->seed)) {
		/* What was freed may still go; what is a copy is one. */
		if (pg->own == OWN_MAYBE && pg->obj != OBJ_ANON &&
		    pg->seed != base)
			pg->own = OWN_YES;
		return;
	}
	if (pg->own != OWN_YES && mark_is(m, base)) {
		pg->own = OWN_NOT;
		return;
	}
	mark_text(m, found, sizeof(found));
	describe(a, i, text, sizeof(text));
	fail(a, "contents", "%s: holds %s", text, found);
}

static void __noreturn
fail_access(struct arena *a, int i, const char *what, unsigned int wanted,
	    int signo, const struct mark *m)
{
	const struct page *pg = &a->page[i];
	char text[256], found[80] = "";

	if (m && !signo)
		mark_text(m, found, sizeof(found));
	describe(a, i, text, sizeof(text));
	fail(a, is_mapped(a, i) && pg->guard ? "access to a guard" :
	     "access to a page", "%s: %s ends in %s %s%s, not in %s", text,
	     what, fault_text(signal_fault(signo)), found,
	     signo < 0 ? "(with another address)" : "", fault_text(wanted));
}

/* Reads the page. Guards are written to as well, every other time. */
static void check_page(struct arena *a, int i)
{
	unsigned int fault = fault_of(a, i, false);
	struct mark m;
	int signo;

	signo = touch_mark(page_at(a, i), &m, false);
	if (!(signal_fault(signo) & fault))
		fail_access(a, i, "reading", fault, signo, &m);
	if (!signo) {
		check_contents(a, i, &m);
		return;
	}
	if (fault == FAULT_SEGV && (++a->parity & 1)) {
		signo = touch(page_at(a, i), TOUCH_WRITE).signo;
		if (signo != SIGSEGV)
			fail_access(a, i, "writing", fault, signo, NULL);
	}
}

/* What is between the marks is zeros, always. */
static void check_rest(struct arena *a, int i)
{
	const uint64_t *word = (void *)page_at(a, i);
	size_t j, n = page_size() / sizeof(*word);
	char text[256];

	if (fault_of(a, i, false) != FAULT_NONE)
		return;
	for (j = 0; j < n; j++)
		if (word[j] && j != mark_index(0) && j != mark_index(1) &&
		    j != mark_index(2)) {
			describe(a, i, text, sizeof(text));
			fail(a, "contents", "%s: word %zu is %llx", text, j,
			     (unsigned long long)word[j]);
		}
}

/* ------------------------------------------------ as the kernel sees it */

/* The page tables of the whole arena, without touching it. */
static void check_pagemap(struct arena *a)
{
	ssize_t size = a->npages * sizeof(a->entry[0]);
	char text[256];
	int i;

	if (pread(a->pagemap, a->entry, size, (uintptr_t)a->base /
		  page_size() * sizeof(a->entry[0])) != size)
		fail(a, "pagemap", "cannot be read: %s", strerror(errno));
	for (i = 0; i < a->npages; i++) {
		const struct page *pg = &a->page[i];
		uint64_t entry = a->entry[i];
		bool guard = entry & PAGEMAP_BIT_GUARD;
		bool wanted = is_mapped(a, i) && pg->guard;

		if (guard != wanted) {
			describe(a, i, text, sizeof(text));
			fail(a, guard ? "guard where there should be none" :
			     "guard gone", "%s: pagemap has %016llx", text,
			     (unsigned long long)entry);
		}
		if (guard && (entry & (PAGEMAP_BIT_PRESENT | PAGEMAP_BIT_FILE |
				       PAGEMAP_BIT_UFFD_WP))) {
			describe(a, i, text, sizeof(text));
			fail(a, "guard and more", "%s: pagemap has %016llx",
			     text, (unsigned long long)entry);
		}
		if (is_mapped(a, i) && pg->own == OWN_YES &&
		    !(entry & (PAGEMAP_BIT_PRESENT | PAGEMAP_BIT_SWAP))) {
			describe(a, i, text, sizeof(text));
			fail(a, "page gone", "%s: pagemap has %016llx", text,
			     (unsigned long long)entry);
		}
	}
}

static void check_vma(struct arena *a, const struct procmap_query *q,
		      int from, int to)
{
	unsigned int flags = 0;
	bool tainted = false;
	char text[256];
	int i;

	if (q->vma_flags & PROCMAP_QUERY_VMA_READABLE)
		flags |= VMA_READ;
	if (q->vma_flags & PROCMAP_QUERY_VMA_WRITABLE)
		flags |= VMA_WRITE;
	if (q->vma_flags & PROCMAP_QUERY_VMA_SHARED)
		flags |= VMA_MAYSHARE;
	for (i = from; i < to; i++) {
		struct page *pg = &a->page[i];
		struct object *o = object_of(a, pg);
		uint64_t offset = q->vma_offset + (i - from) * page_size();

		/* An anonymous object has a number when it is mapped. */
		if (o && !o->inode)
			o->inode = q->inode;
		if (!is_mapped(a, i) ||
		    (pg->flags & (VMA_READ | VMA_WRITE | VMA_MAYSHARE)) !=
		    flags || (o ? o->inode : 0) != q->inode ||
		    (o && offset != (o->base + pg->off) * page_size())) {
			describe(a, i, text, sizeof(text));
			fail(a, "maps",
			     "%s: in VMA %d-%d, %s%s%s, offset %llu, inode %llu (not %llu)",
			     text, from, to - 1, flags & VMA_READ ? "r" : "-",
			     flags & VMA_WRITE ? "w" : "-",
			     flags & VMA_MAYSHARE ? "s" : "p",
			     (unsigned long long)(offset / page_size()),
			     (unsigned long long)q->inode,
			     (unsigned long long)(o ? o->inode : 0));
		}
		pg->vma = from;
		tainted |= pg->tainted;
	}
	/* A flag on the VMA is one on all of its pages, from now on. */
	for (i = from; tainted && i < to; i++)
		a->page[i].tainted = true;
}

static void check_unmapped(struct arena *a, int from, int to)
{
	char text[256];
	int i;

	for (i = from; i < to; i++)
		if (is_mapped(a, i)) {
			describe(a, i, text, sizeof(text));
			fail(a, "maps", "%s: is not mapped", text);
		}
}

/* The VMAs at and beside pages [lo, hi). */
static void check_maps(struct arena *a, int lo, int hi)
{
	struct procmap_query q;
	int i, from, to;

	i = lo > 0 ? lo - 1 : 0;
	hi = hi < a->npages ? hi + 1 : a->npages;
	while (i < hi) {
		memset(&q, 0, sizeof(q));
		q.size = sizeof(q);
		q.query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA;
		q.query_addr = (uintptr_t)page_at(a, i);
		if (ioctl(a->maps, PROCMAP_QUERY, &q)) {
			if (errno != ENOENT)
				fail(a, "maps", "PROCMAP_QUERY: %s",
				     strerror(errno));
			q.vma_start = (uintptr_t)page_at(a, hi);
		}
		if (q.vma_start >= (uintptr_t)page_at(a, hi)) {
			check_unmapped(a, i, hi);
			return;
		}
		from = (q.vma_start - (uintptr_t)a->base) / page_size();
		to = (q.vma_end - (uintptr_t)a->base) / page_size();
		if (q.vma_start < (uintptr_t)a->base || to > a->npages)
			fail(a, "maps", "a VMA reaches out of the arena: pages %d to %d",
			     from, to - 1);
		check_unmapped(a, i, from);
		check_vma(a, &q, from, to);
		i = to;
	}
}

static void check_vma_flags(struct arena *a, int from, int to,
			    unsigned int flags)
{
	bool guards = false, tainted = false, gu = flags & VMA_GUARD;
	char text[256];
	size_t f;
	int i;

	flags &= ~VMA_GUARD;
	for (i = from; i < to; i++) {
		const struct page *pg = &a->page[i];

		if (!is_mapped(a, i) || pg->flags != flags) {
			char found[80] = "";

			for (f = 0; f < ARRAY_SIZE(vma_flag_names); f++)
				if (flags & vma_flag_names[f].flag)
					strcat(strcat(found, " "),
					       vma_flag_names[f].name);
			describe(a, i, text, sizeof(text));
			fail(a, "flags of a VMA", "%s: smaps has%s, of pages %d to %d",
			     text, found, from, to - 1);
		}
		guards |= pg->guard;
		tainted |= pg->tainted;
	}
	if (!can.flag)
		return;
	if (guards && !gu)
		fail(a, "no gu", "VMA %d-%d: guards in it, and no gu in smaps",
		     from, to - 1);
	if (gu && !tainted)
		fail(a, "gu without a cause", "VMA %d-%d: gu in smaps, and never a guard in it",
		     from, to - 1);
}

static unsigned int parse_vma_flags(const char *line)
{
	unsigned int flags = 0;
	size_t f;

	for (; *line && *line != '\n'; line++)
		for (f = 0; f < ARRAY_SIZE(vma_flag_names); f++)
			if (line[-1] == ' ' &&
			    line[0] == vma_flag_names[f].name[0] &&
			    line[1] == vma_flag_names[f].name[1])
				flags |= vma_flag_names[f].flag;
	return flags;
}

/* One line of smaps; false when there is nothing left to read it for. */
static bool smaps_line(struct arena *a, const char *line, int *from, int *to)
{
	unsigned long start, end, base = (unsigned long)a->base;
	char *p;

	if (*line < 'A' || *line > 'Z') {
		start = strtoul(line, &p, 16);
		end = strtoul(p + 1, NULL, 16);
		if (start >= (unsigned long)page_at(a, a->npages))
			return false;
		*from = *to = 0;
		if (start >= base) {
			*from = (start - base) / page_size();
			*to = (end - base) / page_size();
		}
	} else if (*to && !strncmp(line, "VmFlags: ", 9)) {
		check_vma_flags(a, *from, *to, parse_vma_flags(line + 9));
	}
	return true;
}

static void check_smaps(struct arena *a)
{
	size_t have = 0, used;
	int from = 0, to = 0;
	char *eol;
	ssize_t n;

	if (lseek(a->smaps, 0, SEEK_SET))
		fail(a, "smaps", "cannot be rewound: %s", strerror(errno));
	for (;;) {
		n = read(a->smaps, a->text + have, sizeof(a->text) - have - 1);
		if (n < 0)
			fail(a, "smaps", "cannot be read: %s",
			     strerror(errno));
		if (!n)
			return;
		have += n;
		used = 0;
		while ((eol = memchr(a->text + used, '\n', have - used))) {
			*eol = '\0';
			if (!smaps_line(a, a->text + used, &from, &to))
				return;
			used = eol + 1 - a->text;
		}
		have -= used;
		memmove(a->text, a->text + used, have);
	}
}

static void check_all(struct arena *a)
{
	int i;

	check_maps(a, 0, a->npages);
	check_pagemap(a);
	for (i = 0; i < a->npages; i++)
		check_page(a, i);
	check_pagemap(a);
}

static void check_objects(struct arena *a)
{
	size_t psize = page_size();
	struct object *o;
	struct mark m;
	char *buf = a->source, found[80];
	int i, j, k;

	for (i = OBJ_MEMFD1; i < OBJ_NEW; i++) {
		o = &a->object[i];
		if (o->fd < 0)
			continue;
		for (j = 0; j < o->size; j++) {
			if (pread(o->fd, buf, psize, (o->base + j) * psize) !=
			    (ssize_t)psize)
				fail(a, "object", "page %d of %s cannot be read",
				     j, object_name[i]);
			for (k = 0; k < 3; k++)
				m.word[k] = ((uint64_t *)buf)[mark_index(k)];
			if (mark_is(&m, o->seed[j]))
				continue;
			mark_text(&m, found, sizeof(found));
			fail(a, "object", "page %d of %s holds %s, not seed %u",
			     j, object_name[i], found, o->seed[j]);
		}
	}
}

static void open_views(struct arena *a)
{
	a->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	a->maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	a->smaps = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
	a->pidfd = syscall(__NR_pidfd_open, getpid(), 0);
	if (a->pagemap < 0 || a->maps < 0 || a->smaps < 0)
		fail(a, "setup", "no /proc/self/pagemap, maps or smaps: %s",
		     strerror(errno));
}

static void close_views(struct arena *a)
{
	close(a->pagemap);
	close(a->maps);
	close(a->smaps);
	if (a->pidfd >= 0)
		close(a->pidfd);
}

/* ----------------------------------------------------------- operations */

static void make_unmapped(struct arena *a, int from, int to)
{
	int i;

	for (i = from; i < to && i < a->npages; i++) {
		memset(&a->page[i], 0, sizeof(a->page[i]));
		a->page[i].obj = UNMAPPED;
	}
}

static void discard(struct page *pg)
{
	pg->own = OWN_NOT;
	pg->seed = 0;
}

/* A private page is written to, or copied so that it can be. */
static void make_own(struct page *pg, enum own what, uint32_t seed)
{
	pg->own = what;
	pg->seed = seed;
}

static void page_written(struct arena *a, int i, uint32_t seed)
{
	struct page *pg = &a->page[i];

	if (beyond_huge(a, pg))
		return;
	if (is_shared(pg))
		object_of(a, pg)->seed[pg->off] = seed;
	else
		make_own(pg, OWN_YES, seed);
}

/*
 * A write was refused by userfaultfd: it may have got as far as to make a
 * copy of what is in the object. At a guard it gets nowhere.
 */
static void page_not_written(struct arena *a, int i)
{
	struct page *pg = &a->page[i];

	if (is_mapped(a, i) && !pg->guard && pg->obj > 0 && !is_shared(pg) &&
	    pg->own == OWN_NOT && (pg->flags & VMA_UFFD))
		make_own(pg, OWN_MAYBE, base_seed(a, pg));
}

static void change_flags(struct arena *a, int from, int to,
			 unsigned int clear, unsigned int set)
{
	int i;

	for (i = from; i < to; i++) {
		a->page[i].flags &= ~clear;
		a->page[i].flags |= set;
	}
}

enum populate {
	POPULATE_LOCK,		/* as mlock() and MAP_POPULATE do */
	POPULATE_READ,
	POPULATE_WRITE,
};

/*
 * What faulting in the mapped pages of [from, to) returns and does, up to the
 * first page that cannot be had.
 */
static uint64_t populate(struct arena *a, int from, int to, enum populate how)
{
	bool write = how == POPULATE_WRITE, sure = true;
	uint64_t want = 0;
	unsigned int fault;
	int i;

	for (i = from; i < to; i++) {
		struct page *pg = &a->page[i];

		if (!is_mapped(a, i)) {
			if (how == POPULATE_LOCK)
				continue;
			return want | WANT(ENOMEM);
		}
		if (how == POPULATE_LOCK) {
			if (pg->flags & VMA_ONFAULT)
				continue;
			if (!(pg->flags & (VMA_READ | VMA_WRITE)))
				return want | WANT(EFAULT);
			write = (pg->flags & (VMA_WRITE | VMA_SHARED)) ==
				VMA_WRITE;
		} else if (!(pg->flags & (write ? VMA_WRITE : VMA_READ))) {
			return want | WANT(EINVAL);
		}
		fault = fault_of(a, i, write);
		if (fault & ~FAULT_NONE) {
			want |= WANT(EFAULT);
			if (write)
				page_not_written(a, i);
			if (!(fault & FAULT_NONE))
				return want;
			sure = false;
		}
		if (write && !is_shared(pg) && pg->own == OWN_NOT)
			make_own(pg, sure ? OWN_YES : OWN_MAYBE,
				 base_seed(a, pg));
	}
	return want | WANT(0);
}

/* The length in bytes that goes with @n pages, as odd as asked for. */
static size_t odd_len(const struct op *op, int n)
{
	switch (op->odd) {
	case ODD_END:
		return n ? n * page_size() - 1 : 0;
	case ODD_EMPTY:
		return 0;
	case ODD_WRAPS:
		return -page_size();
	}
	return n * page_size();
}

static char *odd_start(struct arena *a, const struct op *op)
{
	return page_at(a, op->p) + (op->odd == ODD_START);
}

static int op_end(const struct op *op)
{
	return op->p + op->n;
}

static int end_in_arena(const struct arena *a, const struct op *op)
{
	return op_end(op) < a->npages ? op_end(op) : a->npages;
}

/* A free place in the table of objects, for shared anonymous memory. */
static int object_new(struct arena *a, int size)
{
	bool used[NR_OBJECTS];
	struct object *o;
	int i;

	memcpy(used, a->inherited, sizeof(used));
	for (i = 0; i < a->npages; i++)
		if (a->page[i].obj > 0)
			used[a->page[i].obj] = true;
	for (i = OBJ_NEW; i < NR_OBJECTS; i++)
		if (!used[i])
			break;
	if (i == NR_OBJECTS)
		return UNMAPPED;
	o = &a->object[i];
	memset(o, 0, sizeof(*o));
	o->fd = -1;
	o->readonly_fd = -1;
	o->size = size;
	o->low = size;
	o->shmem = true;
	return i;
}

/* Each returns false when it has to be left out. */
static bool do_mmap(struct arena *a, const struct op *op)
{
	bool readonly = op->how & MMAP_READONLY;
	bool shared = op->how & MMAP_SHARED_;
	int flags = shared ? MAP_SHARED : MAP_PRIVATE;
	int i, n = op->n, fd = -1, obj = op->obj;
	size_t len = odd_len(op, n);
	struct object *o = NULL;
	unsigned int vma_flags;
	uint64_t want = WANT(0);
	off_t offset = 0;
	bool taken = false;
	char *ret;

	if (op_end(op) > a->npages || op->off + n > OBJECT_MAX ||
	    op->odd == ODD_WRAPS)
		return false;
	if (obj == OBJ_NEW && op->odd != ODD_START && op->odd != ODD_EMPTY) {
		obj = object_new(a, n);
		if (obj == UNMAPPED)
			return false;
	}
	if (obj == OBJ_ANON || obj >= OBJ_NEW) {
		flags |= MAP_ANONYMOUS;
	} else {
		o = &a->object[obj];
		fd = readonly ? o->readonly_fd : o->fd;
		if (fd < 0)
			return false;
		offset = (off_t)(o->base + op->off) * page_size();
	}
	flags |= op->how & MMAP_NOREPLACE ? MAP_FIXED_NOREPLACE : MAP_FIXED;
	if (op->how & MMAP_POPULATE)
		flags |= MAP_POPULATE;

	for (i = op->p; i < op_end(op); i++)
		taken |= is_mapped(a, i);
	if (op->odd == ODD_START || !len)
		want = WANT(EINVAL);
	else if ((op->how & MMAP_NOREPLACE) && taken)
		want = WANT(EEXIST);
	else if (readonly && shared && (op->prot & PROT_WRITE))
		want = WANT(EACCES);

	ret = mmap(odd_start(a, op), len, op->prot, flags, fd, offset);
	expect(a, op, ret == MAP_FAILED ? -errno :
	       ret == page_at(a, op->p) ? 0 : 1, want);
	if (want != WANT(0))
		return true;

	vma_flags = VMA_MAYWRITE;
	if (shared)
		vma_flags = VMA_MAYSHARE | (readonly ? 0 : VMA_SHARED |
					    VMA_MAYWRITE);
	if (op->prot & PROT_READ)
		vma_flags |= VMA_READ;
	if (op->prot & PROT_WRITE)
		vma_flags |= VMA_WRITE;
	make_unmapped(a, op->p, op_end(op));
	for (i = 0; i < n; i++) {
		a->page[op->p + i].obj = obj;
		a->page[op->p + i].off = op->off + i;
		a->page[op->p + i].flags = vma_flags;
	}
	if (op->how & MMAP_POPULATE)
		populate(a, op->p, op_end(op), POPULATE_LOCK);
	return true;
}

static bool do_munmap(struct arena *a, const struct op *op)
{
	uint64_t want = WANT(0);

	if (op_end(op) > a->npages)
		return false;
	if (op->odd == ODD_NOT || op->odd == ODD_END)
		make_unmapped(a, op->p, op_end(op));
	else
		want = WANT(EINVAL);
	expect(a, op, munmap(odd_start(a, op), odd_len(op, op->n)) ?
	       -errno : 0, want);
	return true;
}

static uint64_t model_mprotect(struct arena *a, int from, int to, int prot)
{
	int i, end;

	if (!is_mapped(a, from))
		return WANT(ENOMEM);
	for (i = from; i < to; i = end) {
		unsigned int old, flags = 0;
		int j;

		if (!is_mapped(a, i))
			return WANT(ENOMEM);
		end = vma_end_within(a, i, to);
		old = a->page[i].flags;
		if ((prot & PROT_WRITE) && !(old & VMA_MAYWRITE))
			return WANT(EACCES);
		if (prot & PROT_READ)
			flags |= VMA_READ;
		if (prot & PROT_WRITE)
			flags |= VMA_WRITE;
		for (j = i; j < end; j++) {
			a->page[j].flags &= ~(VMA_READ | VMA_WRITE);
			a->page[j].flags |= flags;
		}
		if ((old & (VMA_WRITE | VMA_SHARED | VMA_LOCKED)) ==
		    VMA_LOCKED && (flags & VMA_WRITE))
			populate(a, i, end, POPULATE_LOCK);
	}
	return WANT(0);
}

static bool do_mprotect(struct arena *a, const struct op *op)
{
	uint64_t want = WANT(0);

	if (op_end(op) > a->npages)
		return false;
	if (op->odd == ODD_START)
		want = WANT(EINVAL);
	else if (op->odd == ODD_WRAPS)
		want = WANT(ENOMEM);
	else if (op->odd != ODD_EMPTY)
		want = model_mprotect(a, op->p, op_end(op), op->prot);
	expect(a, op, mprotect(odd_start(a, op), odd_len(op, op->n),
			       op->prot) ? -errno : 0, want);
	return true;
}

/* The pages that a mapping grows by; the first of it is @first. */
static void model_grow(struct arena *a, const struct page *first, int to,
		       int skip, int n)
{
	int i;

	for (i = skip; i < n; i++) {
		struct page *pg = &a->page[to + i];

		*pg = *first;
		pg->off = first->off + i;
		pg->guard = 0;
		discard(pg);
	}
}

/* In place. */
static uint64_t model_resize(struct arena *a, int p, int n, int m)
{
	int i;

	if (n >= m) {
		make_unmapped(a, p + m, p + n);
		return WANT(0);
	}
	if (!n && !is_shared(&a->page[p]))
		return WANT(EINVAL);
	if (p + n > vma_end(a, p))
		return WANT(EFAULT);
	if (!n || p + n != vma_end(a, p) || p + m > a->npages)
		return WANT(ENOMEM);
	for (i = p + n; i < p + m; i++)
		if (is_mapped(a, i))
			return WANT(ENOMEM);
	model_grow(a, &a->page[p], p, n, m);
	if (a->page[p].flags & VMA_LOCKED)
		populate(a, p + n, p + m, POPULATE_LOCK);
	return WANT(0);
}

static uint64_t move_error(struct arena *a, int p, int n)
{
	if (!n && !is_shared(&a->page[p]))
		return WANT(EINVAL);
	if (p + n > vma_end(a, p))
		return WANT(EFAULT);
	return WANT(0);
}

/* To another place. */
static uint64_t model_move(struct arena *a, const struct op *op)
{
	static __thread struct page moved[HUGE_PAGES];
	int i, p = op->p, n = op->n, m = op->m, to = op->to, keep;
	struct page first;
	uint64_t want;

	if (can.mremap_checks_first) {
		want = move_error(a, p, n < m ? n : m);
		if (want != WANT(0))
			return want;
	}
	/* What is in the way goes, even if it comes to nothing then. */
	make_unmapped(a, to, to + m);
	if (n > m) {
		make_unmapped(a, p + m, p + n);
		n = m;
	}
	want = move_error(a, p, n);
	if (want != WANT(0))
		return want;

	first = a->page[p];
	for (i = p; i > 0 && is_mapped(a, i - 1) &&
	     a->page[i - 1].vma == first.vma; i--)
		;
	a->from_lo = i;
	a->from_hi = vma_end(a, p);
	keep = n;
	for (i = 0; i < keep; i++) {
		moved[i] = a->page[p + i];
		moved[i].flags &= ~VMA_UFFD;
	}
	if (op->how & MREMAP_STAY) {
		for (i = p; i < p + n; i++) {
			discard(&a->page[i]);
			a->page[i].guard = 0;
			a->page[i].flags &= ~VMA_LOCKS;
		}
		if (can.mremap_unlocks)
			change_flags(a, a->from_lo, a->from_hi, VMA_LOCKS, 0);
	} else {
		make_unmapped(a, p, p + n);
	}
	memcpy(&a->page[to], moved, keep * sizeof(*moved));
	first.flags &= ~VMA_UFFD;
	model_grow(a, &first, to, keep, m);
	if ((first.flags & VMA_LOCKED) && m > op->n)
		populate(a, to + keep, to + m, POPULATE_LOCK);
	return WANT(0);
}

/*
 * What the new mapping was merged with shares its flags, and it leaves
 * userfaultfd and takes that along. It can have been merged with the very VMA
 * that it comes from, before the old place was unmapped:
 *
 *   | before |  new   |      from       |
 *   |            one VMA                |
 *   |     one VMA      |  old  | another|
 */
static void model_moved(struct arena *a, int to, bool uffd)
{
	int i, from = a->page[to].vma, end = vma_end(a, to);
	bool tainted = a->page[to].tainted, both = false;

	for (i = from; i < end; i++)
		if (i >= a->from_lo && i < a->from_hi)
			both = true;
	for (i = 0; i < a->npages; i++) {
		if (!is_mapped(a, i) ||
		    !((i >= from && i < end) ||
		      (both && i >= a->from_lo && i < a->from_hi)))
			continue;
		a->page[i].tainted |= tainted;
		if (uffd)
			a->page[i].flags &= ~VMA_UFFD;
	}
}

static bool do_mremap(struct arena *a, const struct op *op)
{
	size_t old_len = odd_len(op, op->n), new_len = odd_len(op, op->m);
	int p = op->p, n = op->n, m = op->m, flags = 0;
	bool fixed = op->how & MREMAP_FIXED_, stay = op->how & MREMAP_STAY;
	bool uffd = is_mapped(a, p) && (a->page[p].flags & VMA_UFFD);
	bool overlap = fixed && p + n > op->to && op->to + m > p;
	uint64_t want;
	char *ret, *to = page_at(a, op->to);

	if (op->odd > ODD_END || p + n > a->npages)
		return false;
	/* The kernel would choose a place. */
	if (stay && !fixed)
		return false;
	if (fixed ? op->to + m > a->npages : p + m > a->npages + 1)
		return false;
	/* The source would be gone. */
	if (!n && p >= op->to && p < op->to + m)
		return false;
	if (is_mapped(a, p) && a->page[p].off + m > OBJECT_MAX)
		return false;
	/* Here one kernel does it and the other does not, in part. */
	if (fixed && can.mremap_many && is_mapped(a, p) &&
	    p + n > vma_end(a, p) && n <= m)
		return false;

	if (fixed)
		flags |= MREMAP_FIXED;
	if (stay)
		flags |= MREMAP_DONTUNMAP;
	if ((fixed || stay) && !(op->how & MREMAP_NOMOVE))
		flags |= MREMAP_MAYMOVE;

	if ((fixed || stay) && (op->how & MREMAP_NOMOVE))
		want = WANT(EINVAL);
	else if (stay && n != m)
		want = WANT(EINVAL);
	else if (op->odd == ODD_START || !m)
		want = WANT(EINVAL);
	else if (!is_mapped(a, p))
		/* Which of the two is found first is up to the kernel. */
		want = WANT(EFAULT) | (overlap ? WANT(EINVAL) : 0);
	else if (fixed && overlap)
		want = WANT(EINVAL);
	else if (fixed)
		want = model_move(a, op);
	else
		want = model_resize(a, p, n, m);

	ret = mremap(odd_start(a, op), old_len, new_len, flags, to);
	expect(a, op, ret == MAP_FAILED ? -errno :
	       ret == (fixed ? to : page_at(a, p)) ? 0 : 1, want);

	if (fixed)
		check_maps(a, op->to, op->to + m);
	check_maps(a, p, p + (m > n ? m : n));
	if (fixed && want == WANT(0))
		model_moved(a, op->to, uffd);
	return true;
}

static void model_guard(struct arena *a, int from, int to)
{
	int i, vma = a->page[from].vma;

	for (i = vma; is_mapped(a, i) && a->page[i].vma == vma; i++)
		a->page[i].tainted = true;
	for (i = from; i < to; i++) {
		discard(&a->page[i]);
		a->page[i].guard = 1;
	}
}

static void punch(struct object *o, int off, int n)
{
	int i;

	for (i = off; i < off + n && i < o->size; i++)
		o->seed[i] = 0;
}

/* MADV_REMOVE */
static uint64_t model_remove(struct arena *a, int from, int to)
{
	const struct page *pg = &a->page[from];

	if ((pg->flags & VMA_LOCKED) || pg->obj == OBJ_ANON)
		return WANT(EINVAL);
	if (!(pg->flags & VMA_SHARED) || !(pg->flags & VMA_MAYWRITE))
		return WANT(EACCES);
	punch(object_of(a, pg), pg->off, to - from);
	return WANT(0);
}

/* The part of the range that is in one VMA. */
static uint64_t model_advice(struct arena *a, int from, int to, int advice)
{
	const struct page *first = &a->page[from];
	bool locked = first->flags & VMA_LOCKED;
	int i;

	switch (advice) {
	case MADV_GUARD_INSTALL:
		if (locked)
			return WANT(EINVAL);
		model_guard(a, from, to);
		break;
	case MADV_GUARD_REMOVE:
		for (i = from; i < to; i++)
			a->page[i].guard = 0;
		break;
	case MADV_DONTNEED:
	case MADV_DONTNEED_LOCKED:
		if (locked && advice == MADV_DONTNEED)
			return WANT(EINVAL);
		for (i = from; i < to; i++)
			discard(&a->page[i]);
		break;
	case MADV_FREE:
		if (locked || first->obj != OBJ_ANON)
			return WANT(EINVAL);
		for (i = from; i < to; i++)
			if (a->page[i].own == OWN_YES)
				a->page[i].own = OWN_MAYBE;
		break;
	case MADV_COLD:
	case MADV_PAGEOUT:
		if (locked)
			return WANT(EINVAL);
		break;
	case MADV_WILLNEED:
		if (first->obj == OBJ_ANON && !can.swap_advice)
			return WANT(EBADF);
		break;
	case MADV_REMOVE:
		return model_remove(a, from, to);
	case MADV_WIPEONFORK:
		if (first->obj != OBJ_ANON)
			return WANT(EINVAL);
		change_flags(a, from, to, 0, VMA_WIPE);
		break;
	case MADV_KEEPONFORK:
		change_flags(a, from, to, VMA_WIPE, 0);
		break;
	case MADV_DONTFORK:
		change_flags(a, from, to, 0, VMA_DONTFORK);
		break;
	case MADV_DOFORK:
		change_flags(a, from, to, VMA_DONTFORK, 0);
		break;
	case MADV_HUGEPAGE:
		change_flags(a, from, to, VMA_NOHUGE, VMA_HUGE);
		break;
	case MADV_NOHUGEPAGE:
		change_flags(a, from, to, VMA_HUGE, VMA_NOHUGE);
		break;
	case MADV_MERGEABLE:
		if (!is_shared(first))
			change_flags(a, from, to, 0, VMA_MERGEABLE);
		break;
	case MADV_UNMERGEABLE:
		change_flags(a, from, to, VMA_MERGEABLE, 0);
		break;
	case MADV_NORMAL:
		change_flags(a, from, to, VMA_SEQ | VMA_RAND, 0);
		break;
	case MADV_SEQUENTIAL:
		change_flags(a, from, to, VMA_RAND, VMA_SEQ);
		break;
	case MADV_RANDOM:
		change_flags(a, from, to, VMA_SEQ, VMA_RAND);
		break;
	case MADV_DONTDUMP:
		change_flags(a, from, to, 0, VMA_DONTDUMP);
		break;
	case MADV_DODUMP:
		change_flags(a, from, to, VMA_DONTDUMP, 0);
		break;
	}
	return WANT(0);
}

/*
 * Whether to collapse is up to the kernel, but never over a guard: a range
 * that is a whole table with one in it cannot be a success.
 */
static uint64_t model_collapse(struct arena *a, int from, int to)
{
	int i, guards = 0;

	if (a->npages < PMD_PAGES || from || to < PMD_PAGES)
		return WANT_ANYTHING;
	if (!is_mapped(a, 0) || vma_end(a, 0) < PMD_PAGES)
		return WANT_ANYTHING;
	for (i = 0; i < PMD_PAGES; i++)
		guards += a->page[i].guard;
	return guards ? WANT_ANYTHING & ~WANT(0) : WANT_ANYTHING;
}

static bool advice_known(int advice)
{
	switch (advice) {
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
	case MADV_COLLAPSE:
		return can.thp;
	case MADV_MERGEABLE:
	case MADV_UNMERGEABLE:
		return can.ksm;
	case 110:
		return false;
	}
	return true;
}

static uint64_t model_madvise(struct arena *a, int from, int to, int advice,
			      int odd)
{
	bool hole = false;
	uint64_t want;
	int i, end;

	if (!advice_known(advice) || odd == ODD_START || odd == ODD_WRAPS)
		return WANT(EINVAL);
	if (odd == ODD_EMPTY || from == to)
		return WANT(0);
	if (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE)
		return populate(a, from, to, advice == MADV_POPULATE_READ ?
				POPULATE_READ : POPULATE_WRITE);
	if (advice == MADV_COLLAPSE)
		return model_collapse(a, from, to);
	for (i = from; i < to; i = end) {
		end = i + 1;
		if (!is_mapped(a, i)) {
			hole = true;
			continue;
		}
		end = vma_end_within(a, i, to);
		want = model_advice(a, i, end, advice);
		if (want != WANT(0))
			return want;
	}
	return hole ? WANT(ENOMEM) : WANT(0);
}

static bool do_madvise(struct arena *a, const struct op *op)
{
	uint64_t want;
	int i;

	if (op_end(op) > a->npages)
		return false;
	if (op->adv == MADV_REMOVE && !can.punch_file)
		for (i = op->p; i < op_end(op); i++)
			if (a->page[i].obj > 0 &&
			    !object_of(a, &a->page[i])->shmem)
				return false;
	want = model_madvise(a, op->p, op_end(op), op->adv, op->odd);
	expect(a, op, sys_advise(odd_start(a, op), odd_len(op, op->n),
				 op->adv), want);
	return true;
}

/* A vector of three ranges, the first once more at the end. */
static bool do_pmadvise(struct arena *a, const struct op *op)
{
	struct iovec vec[3] = {
		{ odd_start(a, op), odd_len(op, op->n) },
		{ page_at(a, op->to), op->m * page_size() },
		{ odd_start(a, op), odd_len(op, op->n) },
	};
	ssize_t ret, done = 0;
	uint64_t want = WANT(0);
	size_t i;

	if (!can.self_advice || a->pidfd < 0 || op->odd == ODD_WRAPS ||
	    op_end(op) > a->npages || op->to + op->m > a->npages)
		return false;
	for (i = 0; i < ARRAY_SIZE(vec); i++) {
		want = i == 1 ?
		       model_madvise(a, op->to, op->to + op->m, op->adv, 0) :
		       model_madvise(a, op->p, op_end(op), op->adv, op->odd);
		if (want != WANT(0))
			break;
		done += vec[i].iov_len;
	}
	ret = syscall(__NR_process_madvise, a->pidfd, vec, ARRAY_SIZE(vec),
		      op->adv, 0);
	if (ret < 0)
		ret = -errno;
	if (!done)
		expect(a, op, ret, want);
	else if (ret != done)
		fail(a, "result of pmadvise", "expected %zd bytes, got %zd",
		     done, ret);
	return true;
}

static uint64_t model_mlock(struct arena *a, int from, int to,
			    unsigned int flags)
{
	int i;

	for (i = from; i < to; i++) {
		if (!is_mapped(a, i))
			return WANT(ENOMEM);
		a->page[i].flags &= ~VMA_LOCKS;
		a->page[i].flags |= flags;
	}
	return WANT(0);
}

static bool do_mlock(struct arena *a, const struct op *op)
{
	unsigned int flags = VMA_LOCKED;
	char *start = odd_start(a, op);
	size_t len = odd_len(op, op->n);
	int from = op->p, to = op_end(op), ret;
	bool lock = op->code == OP_MLOCK;
	uint64_t want, got;

	if (!can.lock || to > a->npages || op->odd == ODD_WRAPS)
		return false;
	if (op->odd == ODD_EMPTY)
		to = from;
	/* Rounds to whole pages, at both ends. */
	if (op->odd == ODD_START)
		len--;
	if (lock && (op->how & MLOCK_2) && (op->how & MLOCK_FAULT))
		flags |= VMA_ONFAULT;
	want = model_mlock(a, from, to, lock ? flags : 0);
	if (want == WANT(0) && lock) {
		got = populate(a, from, to, POPULATE_LOCK);
		want = got & WANT(0);
		if (got & WANT(EFAULT))
			want |= WANT(ENOMEM);
	}
	if (!lock)
		ret = munlock(start, len);
	else if (op->how & MLOCK_2)
		ret = syscall(__NR_mlock2, start, len,
			      op->how & MLOCK_FAULT ? MLOCK_ONFAULT : 0);
	else
		ret = mlock(start, len);
	expect(a, op, ret ? -errno : 0, want);
	return true;
}

/* Private pages behind the end of the object go, if they are copies. */
static void model_cut(struct arena *a, int obj, int size)
{
	int i;

	for (i = 0; i < a->npages; i++)
		if (a->page[i].obj == obj && a->page[i].off >= size)
			discard(&a->page[i]);
}

static bool do_truncate(struct arena *a, const struct op *op)
{
	struct object *o = &a->object[op->obj];
	int i;

	if (op->obj < OBJ_MEMFD1 || op->obj > OBJ_FILE2 || o->fd < 0)
		return false;
	expect(a, op, ftruncate(o->fd, op->n * page_size()) ? -errno : 0,
	       WANT(0));
	for (i = op->n; i < OBJECT_MAX; i++)
		o->seed[i] = 0;
	o->size = op->n;
	if (o->size < o->low)
		o->low = o->size;
	model_cut(a, op->obj, o->size);
	return true;
}

static bool do_punch(struct arena *a, const struct op *op)
{
	struct object *o = &a->object[op->obj];

	if (op->obj < OBJ_MEMFD1 || op->obj > OBJ_COMMON_FILE || o->fd < 0 ||
	    !op->n || op->off + op->n > OBJECT_MAX ||
	    (!o->shmem && !can.punch_file))
		return false;
	expect(a, op, fallocate(o->fd, FALLOC_FL_PUNCH_HOLE |
				FALLOC_FL_KEEP_SIZE,
				(off_t)(o->base + op->off) * page_size(),
				op->n * page_size()) ? -errno : 0, WANT(0));
	punch(o, op->off, op->n);
	return true;
}

static bool do_pwrite(struct arena *a, const struct op *op)
{
	struct object *o = &a->object[op->obj];
	ssize_t psize = page_size();

	if (op->obj < OBJ_MEMFD1 || op->obj > OBJ_COMMON_FILE || o->fd < 0 ||
	    op->off >= OBJECT_MAX)
		return false;
	if (op->off >= o->size && a->npages == HUGE_PAGES)
		return false;
	mark_page(a->source, op->seed);
	if (pwrite(o->fd, a->source, psize, (o->base + op->off) * psize) !=
	    psize)
		fail(a, "result of pwrite", "%s", strerror(errno));
	if (op->off >= o->size)
		o->size = op->off + 1;
	o->seed[op->off] = op->seed;
	return true;
}

static bool do_pread(struct arena *a, const struct op *op)
{
	struct object *o = &a->object[op->obj];
	ssize_t n, psize = page_size();
	char found[80];
	struct mark m;
	int k;

	if (op->obj < OBJ_MEMFD1 || op->obj > OBJ_COMMON_FILE || o->fd < 0)
		return false;
	n = pread(o->fd, a->source, psize, (o->base + op->off) * psize);
	if (n != (op->off < o->size ? psize : 0))
		fail(a, "result of pread", "%zd bytes of page %d of %d", n,
		     op->off, o->size);
	for (k = 0; n && k < 3; k++)
		m.word[k] = ((uint64_t *)a->source)[mark_index(k)];
	if (n && !mark_is(&m, o->seed[op->off])) {
		mark_text(&m, found, sizeof(found));
		fail(a, "object", "page %d of %s holds %s, not seed %u",
		     op->off, object_name[op->obj], found, o->seed[op->off]);
	}
	return true;
}

static bool do_write(struct arena *a, const struct op *op)
{
	unsigned int fault;
	struct mark m;
	int i, k, signo;

	for (i = op->p; i < end_in_arena(a, op); i++) {
		uint32_t seed = op->seed + i - op->p;

		for (k = 0; k < 3; k++)
			m.word[k] = pattern_word(seed, mark_index(k));
		fault = fault_of(a, i, true);
		signo = touch_mark(page_at(a, i), &m, true);
		if (!(signal_fault(signo) & fault))
			fail_access(a, i, "writing", fault, signo, NULL);
		if (signo)
			page_not_written(a, i);
		else
			page_written(a, i, seed);
	}
	return true;
}

static bool do_read(struct arena *a, const struct op *op)
{
	int i;

	for (i = op->p; i < end_in_arena(a, op); i++)
		check_page(a, i);
	return true;
}

/* The kernel's own accesses to one page. */
static bool do_kernel_access(struct arena *a, const struct op *op)
{
	bool write = op->code == OP_KWRITE;
	ssize_t psize = page_size(), ret;
	char *page = page_at(a, op->p);
	struct iovec local = { a->source, psize };
	struct iovec remote = { page, psize };
	unsigned int fault;
	uint64_t want = 0;
	struct mark m;
	int k;

	if (op->p >= a->npages)
		return false;
	fault = fault_of(a, op->p, write);
	if (fault & FAULT_NONE)
		want |= WANT(0);
	if (fault & ~FAULT_NONE)
		want |= WANT(EFAULT);
	if (write)
		mark_page(a->source, op->seed);

	if (op->how & KACCESS_GUP) {
		ret = syscall(write ? __NR_process_vm_writev :
			      __NR_process_vm_readv, getpid(), &local, 1UL,
			      &remote, 1UL, 0UL);
	} else if (write) {
		if (pwrite(a->scratch, a->source, psize, 0) != psize)
			fail(a, "setup", "scratch: %s", strerror(errno));
		ret = pread(a->scratch, page, psize, 0);
	} else {
		ret = pwrite(a->scratch, page, psize, 0);
		if (ret == psize &&
		    pread(a->scratch, a->source, psize, 0) != psize)
			fail(a, "setup", "scratch: %s", strerror(errno));
	}
	expect(a, op, ret == psize ? 0 : ret < 0 ? -errno : ret, want);

	if (write) {
		if (ret == psize)
			page_written(a, op->p, op->seed);
		else
			page_not_written(a, op->p);
	} else if (ret == psize) {
		for (k = 0; k < 3; k++)
			m.word[k] = ((uint64_t *)a->source)[mark_index(k)];
		check_contents(a, op->p, &m);
	}
	return true;
}

static uint64_t model_register(struct arena *a, int from, int to,
			       unsigned int mode)
{
	bool found = false;
	int i;

	if (!mode)
		return WANT(EINVAL);
	for (i = from; i < to; i++) {
		const struct page *pg = &a->page[i];
		struct object *o = object_of(a, pg);

		if (!is_mapped(a, i))
			continue;
		if (o && !o->shmem)
			return WANT(EINVAL);
		if (!(pg->flags & VMA_MAYWRITE))
			return WANT(EPERM);
		found = true;
	}
	if (!found)
		return WANT(EINVAL);
	for (i = from; i < to; i++)
		if (is_mapped(a, i))
			change_flags(a, i, i + 1, 0, mode);
	return WANT(0);
}

/*
 * Is any of it registered already, in other modes? To register that again is
 * left out, for kernels are not of one mind: 6.12 changes the modes, unless
 * all that are asked for are there, and newer ones may refuse.
 */
static bool registered_otherwise(const struct arena *a, int from, int to,
				 unsigned int mode)
{
	int i;

	for (i = from; i < to; i++) {
		unsigned int now = a->page[i].flags & VMA_UFFD;

		if (is_mapped(a, i) && now && now != mode)
			return true;
	}
	return false;
}

static bool uffd_usable(struct arena *a, const struct op *op)
{
	/* A child's would be its parent's. */
	return a->uffd >= 0 && !a->depth && op_end(op) <= a->npages;
}

static bool do_register(struct arena *a, const struct op *op)
{
	unsigned int mode = 0, flags = 0;
	uint64_t want;

	if (!uffd_usable(a, op))
		return false;
	if (op->how & UFFD_MISSING_) {
		mode |= UFFDIO_REGISTER_MODE_MISSING;
		flags |= VMA_MISSING;
	}
	if (op->how & UFFD_WP_) {
		mode |= UFFDIO_REGISTER_MODE_WP;
		flags |= VMA_UFFD_WP;
		if (!can.uffd_wp)
			return false;
	}
	if (!op->odd && flags &&
	    registered_otherwise(a, op->p, op_end(op), flags))
		return false;
	want = op->odd ? WANT(EINVAL) :
	       model_register(a, op->p, op_end(op), flags);
	expect(a, op, uffd_register(a->uffd, odd_start(a, op),
				    odd_len(op, op->n), mode), want);
	return true;
}

static uint64_t model_unregister(struct arena *a, int from, int to)
{
	bool found = false;
	int i;

	for (i = from; i < to; i++) {
		struct object *o = object_of(a, &a->page[i]);

		if (!is_mapped(a, i))
			continue;
		if (o && !o->shmem)
			return WANT(EINVAL);
		found = true;
	}
	if (!found)
		return WANT(EINVAL);
	for (i = from; i < to; i++)
		a->page[i].flags &= ~VMA_UFFD;
	return WANT(0);
}

static bool do_unregister(struct arena *a, const struct op *op)
{
	uint64_t want;

	if (!uffd_usable(a, op))
		return false;
	want = op->odd ? WANT(EINVAL) :
	       model_unregister(a, op->p, op_end(op));
	expect(a, op, uffd_unregister(a->uffd, odd_start(a, op),
				      odd_len(op, op->n)), want);
	return true;
}

/* What filling one page may return. */
static uint64_t want_fill(struct arena *a, int i, bool copy)
{
	const struct page *pg = &a->page[i];
	uint64_t entry = entry_now(a, i);

	/* Which one depends on the kernel. */
	if (beyond_end(a, pg))
		return WANT(EFAULT) | WANT(ENOMEM);
	if (pg->guard || (entry & PAGEMAP_BIT_PRESENT))
		return WANT(EEXIST);
	if (is_shared(pg))
		return base_seed(a, pg) ? WANT(EEXIST) :
					  WANT(0) | WANT(EEXIST);
	if (pg->own == OWN_MAYBE)
		return WANT(0) | WANT(EEXIST);
	if (pg->own == OWN_YES)
		return WANT(EEXIST);
	if (!(entry & PAGEMAP_BIT_SWAP))
		return WANT(0);
	/* A write-protected page that is swapped out, or a marker. */
	if (!(entry & PAGEMAP_BIT_UFFD_WP))
		return WANT(EEXIST);
	return copy ? WANT(0) | WANT(EEXIST) : WANT(EEXIST);
}

static uint64_t fill_error(struct arena *a, const struct op *op)
{
	if (op->odd || !op->n)
		return WANT(EINVAL);
	if (!is_mapped(a, op->p) || op_end(op) > vma_end(a, op->p) ||
	    !(a->page[op->p].flags & VMA_UFFD))
		return WANT(ENOENT);
	if (op->code == OP_COPY && (op->how & COPY_WP) &&
	    !(a->page[op->p].flags & VMA_UFFD_WP))
		return WANT(EINVAL);
	return 0;
}

static bool do_fill(struct arena *a, const struct op *op)
{
	bool copy = op->code == OP_COPY;
	uint64_t want[SOURCE_PAGES], error;
	size_t len = odd_len(op, op->n);
	char *start = odd_start(a, op);
	long ret;
	int i, n;

	if (!uffd_usable(a, op) || op->n > SOURCE_PAGES)
		return false;
	for (i = 0; copy && i < op->n; i++)
		mark_page(a->source + i * page_size(), op->seed + i);
	error = fill_error(a, op);
	for (i = 0; !error && i < op->n; i++)
		want[i] = want_fill(a, op->p + i, copy);

	if (copy)
		ret = uffd_copy(a->uffd, start, a->source, len,
				op->how & COPY_WP ? UFFDIO_COPY_MODE_WP : 0);
	else
		ret = uffd_zeropage(a->uffd, start, len);
	if (error) {
		expect(a, op, ret, error);
		return true;
	}

	/* Some pages were filled, then one could not be. */
	n = ret > 0 ? ret / page_size() : 0;
	for (i = 0; i < n; i++) {
		if (!(want[i] & WANT(0))) {
			char text[256];

			describe(a, op->p + i, text, sizeof(text));
			fail(a, "filled what was there", "%s: %s of it succeeded",
			     text, op_name[op->code]);
		}
		page_written(a, op->p + i, copy ? op->seed + i : 0);
	}
	if (n < op->n && (!(want[n] & ~WANT(0)) ||
			  (!n && (!ret || !allowed(want[n], ret))))) {
		char text[256];

		describe(a, op->p + n, text, sizeof(text));
		fail(a, "not filled", "%s: %s of it failed, %ld in all", text,
		     op_name[op->code], ret);
	}
	return true;
}

static bool do_protect(struct arena *a, const struct op *op)
{
	uint64_t want = WANT(ENOENT);
	int i;

	if (!uffd_usable(a, op) || !can.uffd_wp)
		return false;
	for (i = op->p; i < op_end(op); i++) {
		if (!is_mapped(a, i))
			continue;
		want = WANT(0);
		if (!(a->page[i].flags & VMA_UFFD_WP)) {
			want = WANT(ENOENT);
			break;
		}
	}
	if (op->odd)
		want = WANT(EINVAL);
	expect(a, op, uffd_protect(a->uffd, odd_start(a, op),
				   odd_len(op, op->n),
				   op->how & PROTECT_SET), want);
	return true;
}

/* -------------------------------------------------------------- running */

static void run_from(struct arena *a, int i);

/* What a child has of all that. */
static void model_fork(struct arena *a)
{
	int i;

	memset(a->inherited, 0, sizeof(a->inherited));
	for (i = 0; i < a->npages; i++) {
		struct page *pg = &a->page[i];

		if (!is_mapped(a, i))
			continue;
		a->inherited[pg->obj] = true;
		if (pg->flags & VMA_DONTFORK) {
			make_unmapped(a, i, i + 1);
			continue;
		}
		if (pg->flags & VMA_WIPE) {
			discard(pg);
			pg->guard = 0;
		}
		pg->flags &= ~(VMA_LOCKS | VMA_UFFD);
	}
}

/* The operation after the end of what the child at @i does. */
static int after_child(const struct arena *a, int i)
{
	int depth = 1;

	for (i++; i < a->prog->n && depth; i++) {
		if (a->prog->ops[i].thread != a->thread)
			continue;
		if (a->prog->ops[i].code == OP_FORK)
			depth++;
		if (a->prog->ops[i].code == OP_EXIT)
			depth--;
	}
	return i;
}

static void in_the_child(struct arena *a, int i)
{
	bool inherited[NR_OBJECTS];
	int k;

	/* Nobody else would end it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	a->depth++;
	close_views(a);
	open_views(a);
	memcpy(inherited, a->inherited, sizeof(inherited));
	model_fork(a);
	for (k = 0; k < NR_OBJECTS; k++)
		a->inherited[k] |= inherited[k];
	check_all(a);
	check_smaps(a);
	run_from(a, i + 1);
	check_all(a);
	check_smaps(a);
	_exit(0);
}

/* Returns where to go on. */
static int do_fork(struct arena *a, int i)
{
	int low[OBJ_NEW], k, status;
	pid_t pid;

	if (a->depth >= 2)
		return after_child(a, i);
	for (k = OBJ_MEMFD1; k < OBJ_NEW; k++) {
		low[k] = a->object[k].low;
		a->object[k].low = a->object[k].size;
	}
	__atomic_add_fetch(&a->report->forks, 1, __ATOMIC_RELAXED);
	pid = fork();
	if (pid < 0)
		fail(a, "fork", "%s", strerror(errno));
	if (!pid)
		in_the_child(a, i);
	while (waitpid(pid, &status, 0) != pid)
		if (errno != EINTR)
			fail(a, "fork", "no child: %s", strerror(errno));
	if (WIFSIGNALED(status))
		fail(a, "child killed", "child died of signal %d",
		     WTERMSIG(status));
	/* It has reported itself. */
	if (WEXITSTATUS(status))
		fail(a, "child failed", "child's exit status is %d",
		     WEXITSTATUS(status));
	/* A child that cuts an object cuts its parent's copies, too. */
	for (k = OBJ_MEMFD1; k < OBJ_NEW; k++) {
		model_cut(a, k, a->object[k].low);
		if (low[k] < a->object[k].low)
			a->object[k].low = low[k];
	}
	return after_child(a, i);
}

static bool (* const op_fn[NR_OPS])(struct arena *a, const struct op *op) = {
	[OP_MMAP] = do_mmap,
	[OP_MUNMAP] = do_munmap,
	[OP_MPROTECT] = do_mprotect,
	[OP_MREMAP] = do_mremap,
	[OP_MADVISE] = do_madvise,
	[OP_PMADVISE] = do_pmadvise,
	[OP_MLOCK] = do_mlock,
	[OP_MUNLOCK] = do_mlock,
	[OP_TRUNCATE] = do_truncate,
	[OP_PUNCH] = do_punch,
	[OP_PWRITE] = do_pwrite,
	[OP_PREAD] = do_pread,
	[OP_WRITE] = do_write,
	[OP_READ] = do_read,
	[OP_KREAD] = do_kernel_access,
	[OP_KWRITE] = do_kernel_access,
	[OP_REGISTER] = do_register,
	[OP_UNREGISTER] = do_unregister,
	[OP_COPY] = do_fill,
	[OP_ZEROPAGE] = do_fill,
	[OP_PROTECT] = do_protect,
};

/* What may change how the VMAs are. */
static bool changes_maps(int code)
{
	switch (code) {
	case OP_MMAP:
	case OP_MUNMAP:
	case OP_MPROTECT:
	case OP_MREMAP:
	case OP_MADVISE:
	case OP_MLOCK:
	case OP_MUNLOCK:
	case OP_REGISTER:
	case OP_UNREGISTER:
		return true;
	}
	return false;
}

/* The pages at the ends of the range, inside and outside. */
static void touch_some(struct arena *a, const struct op *op)
{
	int i, at[] = { op->p - 1, op->p, op_end(op) - 1, op_end(op) };
	size_t k;

	if (op->code == OP_MREMAP)
		at[0] = op->to;
	for (k = 0; k < ARRAY_SIZE(at); k++) {
		i = at[k];
		if (i >= 0 && i < a->npages)
			check_page(a, i);
	}
}

static void step(struct arena *a, const struct op *op)
{
	struct report *r = a->report;
	bool done;

	if (op->code == OP_CHECK) {
		check_all(a);
		return;
	}
	if (op->code == OP_SMAPS) {
		check_smaps(a);
		return;
	}
	done = !can.left_out[op->code] && op_fn[op->code](a, op);
	__atomic_add_fetch(done ? &r->done : &r->left_out, 1,
			   __ATOMIC_RELAXED);
	if (!done)
		return;
	__atomic_add_fetch(&r->by_op[op->code], 1, __ATOMIC_RELAXED);
	if (changes_maps(op->code))
		check_maps(a, op->p, op_end(op));
	if (op->touch)
		touch_some(a, op);
	check_pagemap(a);
}

static void run_from(struct arena *a, int i)
{
	char line[256];

	while (i < a->prog->n) {
		const struct op *op = &a->prog->ops[i];

		if (op->thread != a->thread) {
			i++;
			continue;
		}
		if (!a->depth && a->report->failed)
			return;
		a->at = i;
		a->report->at[a->thread] = i;
		__atomic_add_fetch(&a->report->steps, 1, __ATOMIC_RELAXED);
		if (verbose) {
			op_print(line, sizeof(line), op);
			fprintf(stderr, "%d.%d %d: %s\n", a->thread, a->depth,
				i, line);
		}
		if (op->code == OP_FORK && !can.left_out[OP_FORK]) {
			i = do_fork(a, i);
			continue;
		}
		if (op->code == OP_FORK) {
			i = after_child(a, i);
			continue;
		}
		if (op->code == OP_EXIT) {
			if (a->depth)
				return;
		} else {
			step(a, op);
		}
		i++;
	}
}

static void object_open(struct object *o, int fd, int size, bool shmem)
{
	struct stat st;

	o->fd = fd;
	o->readonly_fd = fd < 0 ? -1 : reopen_readonly(fd);
	o->shmem = shmem;
	o->size = size;
	o->low = size;
	if (fd >= 0 && !fstat(fd, &st))
		o->inode = st.st_ino;
}

/* Most of its pages have something in them, some are holes. */
static bool object_begin(struct arena *a, int id)
{
	struct object *o = &a->object[id];
	ssize_t psize = page_size();
	int i;

	if (o->fd < 0)
		return true;
	if (!o->base && ftruncate(o->fd, o->size * psize))
		return false;
	for (i = 0; i < a->npages && i < o->size; i++) {
		if (i % 5 == 4)
			continue;
		o->seed[i] = OBJECT_SEED + id * OBJECT_MAX + i;
		mark_page(a->source, o->seed[i]);
		if (pwrite(o->fd, a->source, psize, (o->base + i) * psize) !=
		    psize)
			return false;
	}
	return true;
}

static int memfd_open(const char *name)
{
	return syscall(__NR_memfd_create, name, 1U /* MFD_CLOEXEC */);
}

struct common {
	int memfd, file;
};

/*
 * A place to put mappings into, between two pages that nothing in it can be
 * merged with. Begins at the boundary of a PMD, or before one.
 */
static bool arena_place(struct arena *a)
{
	size_t psize = page_size(), align = PMD_PAGES * psize;
	size_t size = a->npages * psize;
	int fd = memfd_open("guard-fuzz-fence");
	char *p;

	p = mmap(NULL, size + 3 * align, PROT_NONE, MAP_PRIVATE |
		 MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED || fd < 0)
		return false;
	a->base = (char *)(((uintptr_t)p + 2 * align - 1) / align * align);
	if (a->npages < PMD_PAGES)
		a->base += align - size / 2;
	if (mmap(a->base - psize, psize, PROT_NONE, MAP_SHARED | MAP_FIXED,
		 fd, psize) == MAP_FAILED ||
	    mmap(a->base + size, psize, PROT_NONE, MAP_SHARED | MAP_FIXED,
		 fd, 4 * psize) == MAP_FAILED)
		return false;
	close(fd);
	return true;
}

static struct arena *arena_make(const struct fuzz_program *prog, int thread,
				struct report *report,
				const struct common *common)
{
	struct arena *a = mmap(NULL, sizeof(*a), PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	__u64 features = UFFD_FEATURE_SIGBUS;
	int i, size;

	if (a == MAP_FAILED)
		return NULL;
	a->npages = prog->huge ? HUGE_PAGES : SMALL_PAGES;
	a->prog = prog;
	a->thread = thread;
	a->report = report;
	make_unmapped(a, 0, a->npages);
	a->object = mmap(NULL, NR_OBJECTS * sizeof(*a->object), PROT_READ |
			 PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	a->source = mmap(NULL, SOURCE_PAGES * page_size(), PROT_READ |
			 PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	a->scratch = memfd_open("guard-fuzz-scratch");
	if (a->object == MAP_FAILED || a->source == MAP_FAILED ||
	    a->scratch < 0 || !arena_place(a))
		return NULL;

	size = prog->huge ? OBJECT_MAX : 2 * SMALL_PAGES / 3;
	for (i = OBJ_MEMFD1; i <= OBJ_MEMFD2; i++)
		object_open(&a->object[i], memfd_open("guard-fuzz"), size,
			    true);
	for (i = OBJ_FILE1; i <= OBJ_FILE2; i++)
		object_open(&a->object[i], can.file ? local_file() : -1, size,
			    false);
	object_open(&a->object[OBJ_COMMON_MEMFD], dup(common->memfd),
		    OBJECT_MAX, true);
	object_open(&a->object[OBJ_COMMON_FILE], common->file < 0 ? -1 :
		    dup(common->file), OBJECT_MAX, false);
	for (i = OBJ_COMMON_MEMFD; i <= OBJ_COMMON_FILE; i++)
		a->object[i].base = (1 + thread) * OBJECT_MAX;
	for (i = OBJ_MEMFD1; i < OBJ_NEW; i++)
		if (!object_begin(a, i))
			return NULL;

	a->uffd = -1;
	if (can.uffd) {
		/* Every other seed has markers where nothing is. */
		if (can.uffd_wp_unpopulated && (prog->seed & 1))
			features |= UFFD_FEATURE_WP_UNPOPULATED;
		a->uffd = uffd_open(features);
	}
	return a;
}

static void *run_thread(void *arg)
{
	struct arena *a = arg;
	int i;

	if (sigsetjmp(a->bail, 0))
		return NULL;
	open_views(a);
	check_maps(a, 0, a->npages);
	run_from(a, 0);
	if (a->report->failed)
		return NULL;
	check_all(a);
	for (i = 0; i < a->npages; i++)
		check_rest(a, i);
	check_smaps(a);
	check_objects(a);
	return NULL;
}

/* The process that does it all: exits with 0, or with 1 and a report. */
static void __noreturn
run_process(const struct fuzz_program *prog, struct report *report)
{
	off_t size = (MAX_THREADS + 1) * OBJECT_MAX * page_size();
	struct common common = { .memfd = memfd_open("guard-fuzz"),
				 .file = can.file ? local_file() : -1 };
	pthread_t thread[MAX_THREADS];
	struct arena *a[MAX_THREADS];
	pthread_attr_t attr;
	bool made = common.memfd >= 0 && !ftruncate(common.memfd, size);
	int i;

	touch_init();
	if (common.file >= 0 && ftruncate(common.file, size))
		made = false;
	for (i = 0; made && i < prog->threads; i++) {
		a[i] = arena_make(prog, i, report, &common);
		made = a[i];
	}
	/* Not before: whatever is mapped in between would go in there. */
	for (i = 0; made && i < prog->threads; i++)
		made = !munmap(a[i]->base, a[i]->npages * page_size());
	if (!made) {
		report->failed = 1;
		snprintf(report->kind, sizeof(report->kind), "setup");
		snprintf(report->text, sizeof(report->text),
			 "cannot make the arenas: %s", strerror(errno));
		_exit(1);
	}
	if (prog->threads == 1) {
		run_thread(a[0]);
		_exit(report->failed);
	}
	/* Stacks that are too large to be put into an arena's hole. */
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 2 * HUGE_PAGES * page_size());
	for (i = 0; i < prog->threads; i++)
		if (pthread_create(&thread[i], &attr, run_thread, a[i]))
			abort();
	for (i = 0; i < prog->threads; i++)
		pthread_join(thread[i], NULL);
	_exit(report->failed);
}

/*
 * Runs the program in a process of its own. True if all was as it should be,
 * else the report says what was not.
 */
static bool run_program(const struct fuzz_program *prog,
			struct report *report, int seconds)
{
	unsigned long steps = 0;
	int status = 0, quiet = 0;
	struct pollfd pfd;
	pid_t pid;

	memset(report, 0, sizeof(*report));
	fflush(NULL);
	pid = fork();
	if (!pid)
		run_process(prog, report);
	if (pid < 0)
		abort();
	pfd.fd = syscall(__NR_pidfd_open, pid, 0);
	pfd.events = POLLIN;
	while (!poll(&pfd, 1, 1000)) {
		quiet++;
		if (report->steps != steps)
			quiet = 0;
		steps = report->steps;
		if (quiet >= seconds)
			break;
	}
	if (quiet >= seconds) {
		kill(pid, SIGKILL);
		report->stuck = !poll(&pfd, 1, 1000 * KILL_WAIT);
	}
	close(pfd.fd);
	while (!report->stuck && waitpid(pid, &status, 0) != pid)
		;
	if (report->failed || (quiet < seconds && !status))
		return !report->failed;

	/* It could not tell of that itself. */
	report->failed = 1;
	report->op = report->at[0];
	if (quiet >= seconds) {
		snprintf(report->kind, sizeof(report->kind), "hung");
		snprintf(report->text, sizeof(report->text),
			 "nothing done for %d seconds%s", seconds,
			 report->stuck ? ", and cannot be killed" : "");
	} else if (WIFSIGNALED(status)) {
		snprintf(report->kind, sizeof(report->kind),
			 "killed by signal %d", WTERMSIG(status));
		snprintf(report->text, sizeof(report->text),
			 "the process died of signal %d", WTERMSIG(status));
	} else {
		snprintf(report->kind, sizeof(report->kind), "exit status");
		snprintf(report->text, sizeof(report->text),
			 "the process exited with %d", WEXITSTATUS(status));
	}
	return false;
}

/* ------------------------------------------------------- making it short */

struct shrink {
	struct fuzz_program prog;	/* fails */
	struct report *report;		/* of the last try */
	char kind[64];
	int tries, max;
};

/* Does it still fail, and in the same way? */
static bool still_fails(struct shrink *s, const struct fuzz_program *prog)
{
	/* What is a race need not fail each time. */
	int again = prog->threads > 1 ? 3 : 1;

	while (again-- && s->tries < s->max) {
		s->tries++;
		if (!run_program(prog, s->report, strcmp(s->kind, "hung") ?
				 WATCHDOG : 5) &&
		    !strcmp(s->kind, s->report->kind))
			return true;
		/* Not one more of these. */
		if (s->report->stuck)
			s->max = s->tries;
	}
	return false;
}

/* Without operations [from, from + n), if it fails without them. */
static bool shrink_without(struct shrink *s, int from, int n)
{
	struct fuzz_program prog = s->prog;

	prog.n = s->prog.n - n;
	prog.ops = malloc((prog.n + 1) * sizeof(*prog.ops));
	if (!prog.ops)
		return false;
	memcpy(prog.ops, s->prog.ops, from * sizeof(*prog.ops));
	memcpy(prog.ops + from, s->prog.ops + from + n,
	       (prog.n - from) * sizeof(*prog.ops));
	if (still_fails(s, &prog)) {
		free(s->prog.ops);
		s->prog = prog;
		return true;
	}
	free(prog.ops);
	return false;
}

/* Fewer pages in an operation, and nothing that is of no consequence. */
static void shrink_op(struct shrink *s, int i)
{
	struct op *op = &s->prog.ops[i], old = *op;

	if (op->touch) {
		op->touch = 0;
		if (!still_fails(s, &s->prog))
			*op = old;
		old = *op;
	}
	if (op->n > 1 && op->code != OP_MREMAP) {
		op->n = 1;
		if (!still_fails(s, &s->prog))
			*op = old;
	}
}

/* A thread's operations by themselves, as the only thread's. */
static bool shrink_to_thread(struct shrink *s, int thread)
{
	struct fuzz_program prog = s->prog;
	int i;

	prog.ops = malloc(prog.n * sizeof(*prog.ops));
	if (!prog.ops)
		return false;
	prog.n = 0;
	prog.threads = 1;
	for (i = 0; i < s->prog.n; i++)
		if (s->prog.ops[i].thread == thread) {
			prog.ops[prog.n] = s->prog.ops[i];
			prog.ops[prog.n++].thread = 0;
		}
	if (still_fails(s, &prog)) {
		free(s->prog.ops);
		s->prog = prog;
		return true;
	}
	free(prog.ops);
	return false;
}

/* @first is the report of the failure; the program is made shorter. */
static void shrink(struct shrink *s, const struct report *first)
{
	int chunk, i, thread = first->thread;
	bool removed;

	snprintf(s->kind, sizeof(s->kind), "%s", first->kind);
	s->max = strcmp(s->kind, "hung") ? max_tries : max_tries / HUNG_SHARE;
	if (s->prog.threads > 1)
		shrink_to_thread(s, thread);
	else if (first->op + 1 < s->prog.n)
		shrink_without(s, first->op + 1, s->prog.n - first->op - 1);

	for (chunk = s->prog.n / 2; chunk; chunk = removed ? chunk : chunk / 2) {
		removed = false;
		for (i = s->prog.n - chunk; i > -chunk && s->tries < s->max;
		     i -= chunk) {
			int from = i < 0 ? 0 : i, n = i < 0 ? chunk + i : chunk;

			if (n < s->prog.n && shrink_without(s, from, n))
				removed = true;
		}
		if (chunk > s->prog.n / 2)
			removed = false;
	}
	for (i = 0; i < s->prog.n && s->tries < s->max; i++)
		shrink_op(s, i);
}

static void say(const char *text)
{
	printf(PREFIX "%s\n", text);
}

static void say_report(const struct fuzz_program *prog,
		       const struct report *r)
{
	char line[256];

	printf(PREFIX "operation %d of thread %d%s: %s: %s\n", r->op,
	       r->thread, r->depth ? ", in a child" : "", r->kind, r->text);
	if (r->op < prog->n) {
		op_print(line, sizeof(line), &prog->ops[r->op]);
		printf(PREFIX "  at: %s\n", line);
	}
}

static void say_program(const struct fuzz_program *prog)
{
	char line[256];
	int i;

	printf(PREFIX "setup seed=%llu threads=%d huge=%d\n",
	       (unsigned long long)prog->seed, prog->threads, prog->huge);
	for (i = 0; i < prog->n; i++) {
		op_print(line, sizeof(line), &prog->ops[i]);
		say(line);
	}
}

/* The option that leaves out what is left out now, if anything is. */
static void print_left_out(void)
{
	const char *before = " -d ";
	int i;

	for (i = 0; i < NR_OPS; i++)
		if (can.left_out[i]) {
			printf("%s%s", before, op_name[i]);
			before = ",";
		}
}

/* Tells of a failure and of the shortest way to it that could be found. */
static void explain(struct fuzz_program *prog, struct report *report)
{
	struct shrink s = { .prog = *prog, .report = report };
	struct report first = *report;

	say_report(prog, &first);
	fflush(stdout);
	if (first.stuck)
		return;
	shrink(&s, &first);
	*prog = s.prog;
	if (prog->threads == 1 && !report->stuck) {
		/* What it says when it is short. */
		if (run_program(prog, report, WATCHDOG))
			say("but not each time");
		else
			say_report(prog, report);
	}
	printf(PREFIX "%d operations, after %d tries; again with guard_fuzz",
	       prog->n, s.tries);
	print_left_out();
	printf(" -x and these lines:\n");
	say_program(prog);
}

/* ------------------------------------------------- what this kernel can */

static bool advice_valid(int advice)
{
	char *p = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE |
		       MAP_ANONYMOUS, -1, 0);
	int ret = sys_advise(p, page_size(), advice);

	munmap(p, page_size());
	return !ret;
}

static bool procmap_query_works(void)
{
	struct procmap_query q = {
		.size = sizeof(q),
		.query_addr = (uintptr_t)&can,
	};
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	bool ret = fd >= 0 && !ioctl(fd, PROCMAP_QUERY, &q);

	close(fd);
	return ret;
}

/*
 * What a move of two VMAs at once does: works, fails, or fails having unmapped
 * what was in its way.
 *
 *   | r-- | rw- |  hole  | rw- | rw- |
 */
static void probe_mremap(void)
{
	size_t psize = page_size();
	char *p = mmap(NULL, 5 * psize, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		       MAP_ANONYMOUS, -1, 0);
	unsigned char vec;

	if (p == MAP_FAILED || munmap(p + 2 * psize, psize) ||
	    mprotect(p, psize, PROT_READ))
		return;
	if (mremap(p, 2 * psize, 2 * psize, MREMAP_MAYMOVE | MREMAP_FIXED,
		   p + 3 * psize) != MAP_FAILED)
		can.mremap_many = true;
	/* The same with more to it than a move. */
	p = mmap(NULL, 8 * psize, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		 MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED || munmap(p + 2 * psize, psize) ||
	    mprotect(p, psize, PROT_READ))
		return;
	if (mremap(p, 2 * psize, 3 * psize, MREMAP_MAYMOVE | MREMAP_FIXED,
		   p + 4 * psize) == MAP_FAILED)
		can.mremap_checks_first = !mincore(p + 4 * psize, psize, &vec);
	munmap(p, 8 * psize);
}

/* 6.17 and later forget that only a part of the VMA was moved. */
static void probe_mremap_lock(void)
{
	size_t psize = page_size();
	char *p = mmap(NULL, 8 * psize, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		       MAP_ANONYMOUS, -1, 0);

	if (!can.lock || p == MAP_FAILED ||
	    syscall(__NR_mlock2, p, 4 * psize, MLOCK_ONFAULT) ||
	    mremap(p, psize, psize, MREMAP_MAYMOVE | MREMAP_FIXED |
		   MREMAP_DONTUNMAP, p + 6 * psize) == MAP_FAILED)
		return;
	can.mremap_unlocks = !vma_has_flag(p + psize, "lo");
	if (can.mremap_unlocks)
		say("this kernel: MREMAP_DONTUNMAP of a part unlocks the whole VMA");
	munmap(p, 8 * psize);
}

/*
 * Up to 7.3, an install over what is write-protected in shared memory begins
 * again for ever. Only a signal ends it, here one that kills.
 */
static int install_over_wp(void *arg)
{
	size_t psize = page_size();
	char *page = mmap(NULL, psize, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = uffd_open(UFFD_FEATURE_SIGBUS |
			   UFFD_FEATURE_PAGEFAULT_FLAG_WP |
			   UFFD_FEATURE_WP_HUGETLBFS_SHMEM);

	(void)arg;
	if (page == MAP_FAILED || fd < 0 ||
	    uffd_register(fd, page, psize, UFFDIO_REGISTER_MODE_WP))
		return 0;
	*page = 1;
	if (uffd_protect(fd, page, psize, true))
		return 0;
	signal(SIGALRM, SIG_DFL);
	alarm(10);
	guard_install(page, psize);
	return 0;
}

static void probe_uffd(void)
{
	int fd = uffd_open(UFFD_FEATURE_SIGBUS);

	if (fd < 0) {
		printf(PREFIX "left out: userfaultfd: %s\n", guard_reason);
		return;
	}
	can.uffd = true;
	close(fd);
	fd = uffd_open(UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP |
		       UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
	if (fd < 0) {
		say("left out: write protection by userfaultfd");
		return;
	}
	close(fd);
	if (in_child(install_over_wp, NULL)) {
		say("left out: uffd-wp, over which this kernel installs for ever");
		return;
	}
	can.uffd_wp = true;
	fd = uffd_open(UFFD_FEATURE_SIGBUS | UFFD_FEATURE_WP_UNPOPULATED);
	if (fd < 0)
		return;
	can.uffd_wp_unpopulated = true;
	close(fd);
}

static void probe_lock(void)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	size_t size = MAX_THREADS * HUGE_PAGES * page_size();
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		       MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	setrlimit(RLIMIT_MEMLOCK, &limit);
	/* So much could come together. */
	can.lock = !syscall(__NR_mlock2, p, size, MLOCK_ONFAULT);
	if (!can.lock)
		printf(PREFIX "left out: mlock: %s\n", strerror(errno));
	munmap(p, size);
}

static void probe_file(void)
{
	int fd = local_file();

	if (fd < 0) {
		printf(PREFIX "left out: files: %s\n", guard_reason);
		return;
	}
	can.file = true;
	if (!ftruncate(fd, 2 * page_size()) &&
	    !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
		       page_size()))
		can.punch_file = true;
	else
		say("left out: holes in files");
	close(fd);
}

static void probe(void)
{
	struct iovec vec;
	int pidfd;

	probe_file();
	probe_uffd();
	probe_lock();
	probe_mremap();
	probe_mremap_lock();
	can.flag = flag_supported();
	if (!can.flag)
		say("left out: gu in smaps");
	can.thp = advice_valid(MADV_NOHUGEPAGE);
	can.ksm = advice_valid(MADV_UNMERGEABLE);
	can.swap_advice = advice_valid(MADV_WILLNEED);
	if (!can.thp)
		say("left out: huge pages");

	vec.iov_len = page_size();
	vec.iov_base = mmap(NULL, vec.iov_len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pidfd = syscall(__NR_pidfd_open, getpid(), 0);
	can.self_advice = syscall(__NR_process_madvise, pidfd, &vec, 1,
				  MADV_GUARD_INSTALL, 0) ==
			  (ssize_t)vec.iov_len;
	munmap(vec.iov_base, vec.iov_len);
	close(pidfd);
	if (!can.self_advice)
		say("left out: process_madvise on oneself");
}

/* ----------------------------------------------------------- the driver */

static struct report *report_make(void)
{
	struct report *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (r == MAP_FAILED)
		abort();
	return r;
}

struct totals {
	unsigned long done, left_out, forks, failed;
	unsigned long by_op[NR_OPS];
};

/* One seed; false, having told of it, if it failed. */
static bool run_seed(uint64_t seed, int n, int threads, bool huge,
		     struct totals *totals)
{
	struct report *report = report_make();
	struct fuzz_program prog;
	bool ok;
	int i;

	program_make(&prog, seed, n, threads, huge);
	ok = run_program(&prog, report, WATCHDOG);
	if (totals) {
		totals->done += report->done;
		totals->left_out += report->left_out;
		totals->forks += report->forks;
		totals->failed += !ok;
		for (i = 0; i < NR_OPS; i++)
			totals->by_op[i] += report->by_op[i];
	}
	if (!ok) {
		printf(PREFIX "guard_fuzz -s %llu -n %d -t %d%s",
		       (unsigned long long)seed, n, threads, huge ? " -H" : "");
		print_left_out();
		printf(" fails:\n");
		explain(&prog, report);
	}
	free(prog.ops);
	munmap(report, sizeof(*report));
	return ok;
}

static void __noreturn show_usage(void)
{
	fprintf(stderr,
		"usage: guard_fuzz [-s SEED] [-r ROUNDS] [-n OPS] [-t THREADS] [-H]\n"
		"                  [-k FAILURES] [-d OP,...] [-v]\n"
		"       guard_fuzz [-d OP,...] [-v] -x FILE\n"
		"  -s  first seed (1)             -r  so many seeds, one after the other (1)\n"
		"  -n  operations of each (2000)  -t  threads, each with an arena (1, up to %d)\n"
		"  -H  an arena with a huge page  -k  go on until so many seeds failed (1)\n"
		"  -d  leave out these operations -v  each operation on stderr\n"
		"  -x  do what FILE says (- is stdin), as printed after a failure\n"
		"Files are made in $GUARD_TEST_DIR. Exit status: 0, 1 if a seed failed,\n"
		"2 for bad arguments, 4 if the kernel has no guard regions.\n",
		MAX_THREADS);
	exit(2);
}

static void __printf(1, 2) __noreturn bad(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "guard_fuzz: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	exit(2);
}

static unsigned long long read_number(const char *text, unsigned long long max)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (!*text || *end || errno || value > max)
		bad("not a number from 0 to %llu: %s", max, text);
	return value;
}

static void leave_out(char *words)
{
	char *save, *word;
	int code;

	for (word = strtok_r(words, ",", &save); word;
	     word = strtok_r(NULL, ",", &save)) {
		code = word_index(op_name, NR_OPS, word, strlen(word));
		if (code < 0)
			bad("no such operation: %s", word);
		can.left_out[code] = true;
	}
}

/* What say_program() has printed, be it with what a log puts before it. */
static void program_read(struct fuzz_program *prog, const char *path)
{
	FILE *f = strcmp(path, "-") ? fopen(path, "re") : stdin;
	unsigned long long seed;
	char buf[512], copy[512], *line;
	int at = 0, huge, threads;
	struct op op;

	if (!f)
		bad("%s: %s", path, strerror(errno));
	memset(prog, 0, sizeof(*prog));
	prog->threads = 1;
	while (fgets(buf, sizeof(buf), f)) {
		at++;
		line = buf + strspn(buf, " \t#");
		line[strcspn(line, "\n")] = '\0';
		if (!*line)
			continue;
		if (sscanf(line, "setup seed=%llu threads=%d huge=%d", &seed,
			   &threads, &huge) == 3) {
			if (threads < 1 || threads > MAX_THREADS)
				bad("%s:%d: %d threads", path, at, threads);
			prog->seed = seed;
			prog->threads = threads;
			prog->huge = huge;
			continue;
		}
		memcpy(copy, line, strlen(line) + 1);
		if (!op_parse(&op, copy))
			bad("%s:%d: not an operation: %s", path, at, line);
		if (op.thread >= prog->threads)
			bad("%s:%d: no such thread: %s", path, at, line);
		*program_add(prog) = op;
	}
	if (f != stdin)
		fclose(f);
	if (!prog->n)
		bad("%s: no operations in it", path);
}

static void do_again(const char *path)
{
	struct report *report = report_make();
	struct fuzz_program prog;
	bool ok;

	program_read(&prog, path);
	ok = run_program(&prog, report, WATCHDOG);
	if (!ok)
		say_report(&prog, report);
	ksft_test_result(ok, "replay of %d operations\n", prog.n);
	free(prog.ops);
	ksft_finished();
}

static void say_totals(const struct totals *t)
{
	int i;

	printf(PREFIX "%lu operations, %lu forks; %lu left out\n", t->done,
	       t->forks, t->left_out);
	printf(PREFIX "of them:");
	for (i = 0; i < NR_OPS; i++)
		if (t->by_op[i])
			printf(" %s %lu", op_name[i], t->by_op[i]);
	printf("\n");
}

static int fuzz(int argc, char **argv)
{
	unsigned long long seed = 1, rounds = 1, i;
	int opt, n = 2000, threads = 1, failures = 1;
	struct totals totals = { 0 };
	const char *file = NULL;
	bool huge = false;

	while ((opt = getopt(argc, argv, "s:r:n:t:k:d:x:Hvh")) != -1) {
		switch (opt) {
		case 's':
			seed = read_number(optarg, ~0ULL);
			break;
		case 'r':
			rounds = read_number(optarg, ~0ULL);
			break;
		case 'n':
			n = read_number(optarg, 10000000);
			break;
		case 't':
			threads = read_number(optarg, MAX_THREADS);
			break;
		case 'k':
			failures = read_number(optarg, INT_MAX);
			break;
		case 'd':
			leave_out(optarg);
			break;
		case 'x':
			file = optarg;
			break;
		case 'H':
			huge = true;
			break;
		case 'v':
			verbose = true;
			break;
		default:
			show_usage();
		}
	}
	if (optind < argc || !threads || !n || !rounds || !failures)
		show_usage();

	ksft_print_header();
	ksft_set_plan(1);
	probe();
	if (file)
		do_again(file);
	for (i = 0; i < rounds && totals.failed < (unsigned long)failures; i++) {
		run_seed(seed + i, n, threads, huge, &totals);
		if ((i + 1) % 100 == 0) {
			printf(PREFIX "%llu seeds, %lu operations\n", i + 1,
			       totals.done);
			fflush(stdout);
		}
	}
	say_totals(&totals);
	ksft_test_result(!totals.failed, "seeds from %llu, %llu of %llu\n",
			 seed, i, rounds);
	ksft_finished();
}

/* The tests: a few seeds of each sort, so that each is over in seconds. */
#define SEEDS	4

FIXTURE(fuzz) {
};

FIXTURE_VARIANT(fuzz) {
	uint64_t seed;		/* the first one */
	int ops, threads;
	bool huge, uffd;
};

FIXTURE_VARIANT_ADD(fuzz, one_thread) {
	.seed = 1,
	.ops = 400,
	.threads = 1,
};

FIXTURE_VARIANT_ADD(fuzz, two_threads) {
	.seed = 1,
	.ops = 200,
	.threads = 2,
};

FIXTURE_VARIANT_ADD(fuzz, huge) {
	.seed = 1,
	.ops = 150,
	.threads = 1,
	.huge = true,
};

/* Seeds that do not leave out userfaultfd. */
FIXTURE_VARIANT_ADD(fuzz, uffd) {
	.seed = 6,
	.ops = 400,
	.threads = 1,
	.uffd = true,
};

FIXTURE_SETUP(fuzz)
{
	int i;

	/* Here and not in main(): what it says comes behind the header. */
	probe();
	max_tries = TEST_TRIES;
	if (variant->huge && !can.thp)
		SKIP(return, "no transparent huge pages in this kernel");
	if (variant->uffd && !can.uffd)
		SKIP(return, "no userfaultfd");
	for (i = OP_REGISTER; i <= OP_PROTECT; i++)
		can.left_out[i] = !variant->uffd;
}

FIXTURE_TEARDOWN(fuzz)
{
}

TEST_F_TIMEOUT(fuzz, seeds, 600)
{
	int i;

	for (i = 0; i < SEEDS; i++) {
		ASSERT_TRUE(run_seed(variant->seed + i, variant->ops,
				     variant->threads, variant->huge, NULL));
	}
}

int main(int argc, char **argv)
{
	/* The first kernels with guards had them in anonymous memory only. */
	if (!guard_supported(ANON_PRIVATE) || !guard_supported(SHMEM_SHARED)) {
		ksft_print_header();
		ksft_exit_skip("%s\n", guard_reason);
	}
	if (!procmap_query_works()) {
		ksft_print_header();
		ksft_exit_skip("no PROCMAP_QUERY in this kernel\n");
	}
	if (argc > 1)
		return fuzz(argc, argv);
	return test_harness_run(argc, argv);
}
