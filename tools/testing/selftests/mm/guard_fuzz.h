/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The operations of guard_fuzz: how they are written down, and which ones a
 * seed stands for. Nothing in here knows an address, or what came of an
 * operation, so a seed means the same on every kernel.
 */
#ifndef _GUARD_FUZZ_H
#define _GUARD_FUZZ_H

#include "guard_util.h"

#include <stddef.h>

/*
 * An arena is a row of pages that operations work on, numbered from 0. The
 * small one lies across the boundary of two page tables; the huge one begins
 * with a whole PMD's worth.
 */
#define SMALL_PAGES	96
#define HUGE_PAGES	576
#define PMD_PAGES	512
#define MAX_THREADS	16

/* Objects: what can be mapped. From OBJ_NEW on, each is shared anonymous. */
enum object_id {
	OBJ_ANON,		/* private anonymous memory, no object */
	OBJ_MEMFD1,
	OBJ_MEMFD2,
	OBJ_FILE1,
	OBJ_FILE2,
	OBJ_COMMON_MEMFD,	/* all threads map it, each its own part */
	OBJ_COMMON_FILE,
	OBJ_NEW,
	NR_OBJECTS = OBJ_NEW + 32,
};

/* The furthest page of an object that anything is done to. */
#define OBJECT_MAX	1024

enum op_code {
	OP_MMAP,
	OP_MUNMAP,
	OP_MPROTECT,
	OP_MREMAP,
	OP_MADVISE,
	OP_PMADVISE,
	OP_MLOCK,
	OP_MUNLOCK,
	OP_FORK,		/* the child does what is up to OP_EXIT */
	OP_EXIT,
	OP_TRUNCATE,
	OP_PUNCH,
	OP_PWRITE,
	OP_PREAD,
	OP_WRITE,
	OP_READ,
	OP_KREAD,
	OP_KWRITE,
	OP_REGISTER,
	OP_UNREGISTER,
	OP_COPY,
	OP_ZEROPAGE,
	OP_PROTECT,
	OP_CHECK,
	OP_SMAPS,
	NR_OPS,
};

/* Bits of op.how, with a meaning for each operation: see op_how below. */
#define MMAP_SHARED_	1
#define MMAP_READONLY	2	/* through a descriptor open for reading */
#define MMAP_POPULATE	4
#define MMAP_NOREPLACE	8
#define MREMAP_FIXED_	1
#define MREMAP_STAY	2	/* MREMAP_DONTUNMAP */
#define MREMAP_NOMOVE	4	/* no MREMAP_MAYMOVE, where it has to be */
#define MLOCK_2		1
#define MLOCK_FAULT	2	/* MLOCK_ONFAULT */
#define KACCESS_GUP	1	/* process_vm_readv() or _writev() */
#define UFFD_MISSING_	1
#define UFFD_WP_	2
#define PROTECT_SET	1
#define COPY_WP		1

/* What is odd about a range: the errors are part of the model. */
enum odd {
	ODD_NOT,
	ODD_START,		/* begins one byte into the page */
	ODD_END,		/* ends one byte before the end of the page */
	ODD_EMPTY,
	ODD_WRAPS,		/* around the end of the address space */
};

struct op {
	uint8_t code;
	uint8_t thread;
	uint8_t how;
	uint8_t odd;
	uint8_t prot;
	uint8_t obj;
	uint8_t touch;		/* look at some pages afterwards */
	int16_t adv;
	uint16_t p, n;		/* first page, how many */
	uint16_t to, m;		/* another range */
	uint16_t off;		/* page of the object */
	uint32_t seed;		/* of what is written */
};

struct fuzz_program {
	bool huge;
	int threads;
	uint64_t seed;		/* that it was made from */
	int n, room;
	struct op *ops;
};

static const char * const op_name[NR_OPS] = {
	[OP_MMAP] = "mmap",
	[OP_MUNMAP] = "munmap",
	[OP_MPROTECT] = "mprotect",
	[OP_MREMAP] = "mremap",
	[OP_MADVISE] = "madvise",
	[OP_PMADVISE] = "pmadvise",
	[OP_MLOCK] = "mlock",
	[OP_MUNLOCK] = "munlock",
	[OP_FORK] = "fork",
	[OP_EXIT] = "exit",
	[OP_TRUNCATE] = "truncate",
	[OP_PUNCH] = "punch",
	[OP_PWRITE] = "pwrite",
	[OP_PREAD] = "pread",
	[OP_WRITE] = "write",
	[OP_READ] = "read",
	[OP_KREAD] = "kread",
	[OP_KWRITE] = "kwrite",
	[OP_REGISTER] = "register",
	[OP_UNREGISTER] = "unregister",
	[OP_COPY] = "copy",
	[OP_ZEROPAGE] = "zeropage",
	[OP_PROTECT] = "protect",
	[OP_CHECK] = "check",
	[OP_SMAPS] = "smaps",
};

static const char * const op_how[NR_OPS][5] = {
	[OP_MMAP] = { "shared", "readonly", "populate", "noreplace" },
	[OP_MREMAP] = { "fixed", "dontunmap", "nomove" },
	[OP_MLOCK] = { "mlock2", "onfault" },
	[OP_KREAD] = { "gup" },
	[OP_KWRITE] = { "gup" },
	[OP_REGISTER] = { "missing", "wp" },
	[OP_COPY] = { "wp" },
	[OP_PROTECT] = { "set" },
};

static const char * const odd_name[] = {
	"not", "start", "end", "empty", "wraps",
};

static const char * const prot_name[] = { "none", "r", "w", "rw" };

static const char * const object_name[] = {
	"anon", "memfd1", "memfd2", "file1", "file2", "common-memfd",
	"common-file", "new",
};

/* How often each advice is given, once madvise() is what is to be done. */
static const struct {
	const char *name;
	int adv;
	int weight;
} advices[] = {
	{ "GUARD_INSTALL", MADV_GUARD_INSTALL, 30 },
	{ "GUARD_REMOVE", MADV_GUARD_REMOVE, 12 },
	{ "DONTNEED", MADV_DONTNEED, 5 },
	{ "DONTNEED_LOCKED", MADV_DONTNEED_LOCKED, 3 },
	{ "FREE", MADV_FREE, 4 },
	{ "COLD", MADV_COLD, 1 },
	{ "PAGEOUT", MADV_PAGEOUT, 4 },
	{ "WILLNEED", MADV_WILLNEED, 2 },
	{ "REMOVE", MADV_REMOVE, 4 },
	{ "POPULATE_READ", MADV_POPULATE_READ, 4 },
	{ "POPULATE_WRITE", MADV_POPULATE_WRITE, 4 },
	{ "COLLAPSE", MADV_COLLAPSE, 3 },
	{ "WIPEONFORK", MADV_WIPEONFORK, 3 },
	{ "KEEPONFORK", MADV_KEEPONFORK, 3 },
	{ "DONTFORK", MADV_DONTFORK, 1 },
	{ "DOFORK", MADV_DOFORK, 2 },
	{ "HUGEPAGE", MADV_HUGEPAGE, 2 },
	{ "NOHUGEPAGE", MADV_NOHUGEPAGE, 1 },
	{ "MERGEABLE", MADV_MERGEABLE, 1 },
	{ "UNMERGEABLE", MADV_UNMERGEABLE, 1 },
	{ "NORMAL", MADV_NORMAL, 1 },
	{ "SEQUENTIAL", MADV_SEQUENTIAL, 1 },
	{ "RANDOM", MADV_RANDOM, 1 },
	{ "DONTDUMP", MADV_DONTDUMP, 1 },
	{ "DODUMP", MADV_DODUMP, 1 },
	{ "unknown", 110, 1 },
	/*
	 * Not MADV_HWPOISON and MADV_SOFT_OFFLINE: each takes a page away from
	 * the machine for good.
	 */
};

static inline const char *advice_name(int adv)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(advices); i++)
		if (advices[i].adv == adv)
			return advices[i].name;
	return "?";
}

/* One line, as op_parse() reads it. */
static inline void op_print(char *buf, size_t size, const struct op *op)
{
	size_t len = snprintf(buf, size, "%s", op_name[op->code]);
	int bit;

#define PUT(...) do { \
	if (len < size) \
		len += snprintf(buf + len, size - len, __VA_ARGS__); \
} while (0)
	switch (op->code) {
	case OP_EXIT:
	case OP_FORK:
	case OP_CHECK:
	case OP_SMAPS:
		break;
	case OP_TRUNCATE:
		PUT(" obj=%s n=%u", object_name[op->obj], op->n);
		break;
	case OP_PUNCH:
		PUT(" obj=%s off=%u n=%u", object_name[op->obj], op->off,
		    op->n);
		break;
	case OP_PWRITE:
	case OP_PREAD:
		PUT(" obj=%s off=%u", object_name[op->obj], op->off);
		break;
	default:
		PUT(" p=%u n=%u", op->p, op->n);
	}
	if (op->code == OP_MMAP)
		PUT(" obj=%s off=%u", object_name[op->obj], op->off);
	if (op->code == OP_MMAP || op->code == OP_MPROTECT)
		PUT(" prot=%s", prot_name[op->prot]);
	if (op->code == OP_MREMAP || op->code == OP_PMADVISE)
		PUT(" to=%u m=%u", op->to, op->m);
	if (op->code == OP_MADVISE || op->code == OP_PMADVISE)
		PUT(" adv=%s", advice_name(op->adv));
	if (op->how) {
		PUT(" how=");
		for (bit = 0; bit < 4; bit++)
			if (op->how & (1 << bit))
				PUT("%s%s", op_how[op->code][bit],
				    op->how >> (bit + 1) ? "," : "");
	}
	if (op->seed)
		PUT(" seed=%u", op->seed);
	if (op->odd)
		PUT(" odd=%s", odd_name[op->odd]);
	if (op->touch)
		PUT(" touch=1");
	if (op->thread)
		PUT(" thread=%u", op->thread);
#undef PUT
}

static inline int word_index(const char * const *words, size_t n,
			     const char *word, size_t len)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (words[i] && strlen(words[i]) == len &&
		    !strncmp(words[i], word, len))
			return i;
	return -1;
}

/* One "key=value" into @op; false when it is no such thing. */
static inline bool op_parse_field(struct op *op, const char *key,
				  const char *value)
{
	static const struct {
		const char *key;
		size_t offset;
	} numbers[] = {
		{ "p", offsetof(struct op, p) },
		{ "n", offsetof(struct op, n) },
		{ "to", offsetof(struct op, to) },
		{ "m", offsetof(struct op, m) },
		{ "off", offsetof(struct op, off) },
	};
	char *end;
	unsigned long number = strtoul(value, &end, 10);
	bool is_number = *value && !*end;
	int index;
	size_t i, len;

	for (i = 0; i < ARRAY_SIZE(numbers); i++)
		if (!strcmp(key, numbers[i].key)) {
			*(uint16_t *)((char *)op + numbers[i].offset) = number;
			return is_number && number <= OBJECT_MAX;
		}
	if (!strcmp(key, "seed")) {
		op->seed = number;
		return is_number;
	}
	if (!strcmp(key, "touch")) {
		op->touch = number;
		return is_number;
	}
	if (!strcmp(key, "thread")) {
		op->thread = number;
		return is_number && number < MAX_THREADS;
	}
	if (!strcmp(key, "adv")) {
		for (i = 0; i < ARRAY_SIZE(advices); i++)
			if (!strcmp(value, advices[i].name)) {
				op->adv = advices[i].adv;
				return true;
			}
		return false;
	}
	if (!strcmp(key, "how")) {
		while (*value) {
			len = strcspn(value, ",");
			index = word_index(op_how[op->code], 4, value, len);
			if (index < 0)
				return false;
			op->how |= 1 << index;
			value += len + (value[len] == ',');
		}
		return true;
	}
	len = strlen(value);
	if (!strcmp(key, "prot")) {
		index = word_index(prot_name, ARRAY_SIZE(prot_name), value,
				   len);
		op->prot = index;
	} else if (!strcmp(key, "obj")) {
		index = word_index(object_name, ARRAY_SIZE(object_name), value,
				   len);
		op->obj = index;
	} else if (!strcmp(key, "odd")) {
		index = word_index(odd_name, ARRAY_SIZE(odd_name), value, len);
		op->odd = index;
	} else {
		index = -1;
	}
	return index >= 0;
}

/* What op_print() wrote; the line is taken apart. */
static inline bool op_parse(struct op *op, char *line)
{
	char *save, *value, *word = strtok_r(line, " \t\n", &save);
	int code;

	memset(op, 0, sizeof(*op));
	if (!word)
		return false;
	code = word_index(op_name, NR_OPS, word, strlen(word));
	if (code < 0)
		return false;
	op->code = code;
	for (word = strtok_r(NULL, " \t\n", &save); word;
	     word = strtok_r(NULL, " \t\n", &save)) {
		value = strchr(word, '=');
		if (!value)
			return false;
		*value = '\0';
		if (!op_parse_field(op, word, value + 1))
			return false;
	}
	/* A range without a page may begin where the arena ends. */
	return op->p < HUGE_PAGES && op->to <= HUGE_PAGES;
}

/* Random numbers, the same everywhere. */
static inline uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/*
 * What a seed likes to do. Each seed leaves out some things and does others
 * more often, so that what takes many steps of few kinds gets its chance.
 */
struct taste {
	uint64_t state;
	bool huge;
	int thread, threads;
	int npages;
	int op[NR_OPS];
	int advice[ARRAY_SIZE(advices)];
	int object[OBJ_NEW + 1];
	int prot[4];
	int odd, touch;		/* in a hundred */
	int in_child;		/* operations that the child has left */
};

static inline unsigned int below(struct taste *t, unsigned int n)
{
	return random_next(&t->state) % n;
}

static inline bool chance(struct taste *t, unsigned int in_a_hundred)
{
	return below(t, 100) < in_a_hundred;
}

static inline int pick(struct taste *t, const int *weights, int n)
{
	int i, sum = 0, r;

	for (i = 0; i < n; i++)
		sum += weights[i];
	r = below(t, sum);
	for (i = 0; i < n; i++) {
		r -= weights[i];
		if (r < 0)
			break;
	}
	return i;
}

/* Leaves it out, has it as it is, or has more of it. */
static inline void vary(struct taste *t, int *weight)
{
	static const int factor[] = { 0, 1, 1, 1, 2, 4 };

	*weight *= factor[below(t, ARRAY_SIZE(factor))];
}

static inline void taste_make(struct taste *t, uint64_t seed, bool huge,
			      int thread, int threads)
{
	static const int base[NR_OPS] = {
		[OP_MMAP] = 14,
		[OP_MUNMAP] = 3,
		[OP_MPROTECT] = 8,
		[OP_MREMAP] = 8,
		[OP_MADVISE] = 50,
		[OP_PMADVISE] = 3,
		[OP_MLOCK] = 2,
		[OP_MUNLOCK] = 3,
		[OP_FORK] = 2,
		[OP_TRUNCATE] = 1,
		[OP_PUNCH] = 2,
		[OP_PWRITE] = 2,
		[OP_PREAD] = 1,
		[OP_WRITE] = 14,
		[OP_READ] = 6,
		[OP_KREAD] = 2,
		[OP_KWRITE] = 2,
		[OP_REGISTER] = 3,
		[OP_UNREGISTER] = 2,
		[OP_COPY] = 5,
		[OP_ZEROPAGE] = 3,
		[OP_PROTECT] = 4,
		[OP_CHECK] = 4,
		[OP_SMAPS] = 3,
	};
	size_t i;

	memset(t, 0, sizeof(*t));
	t->state = seed * 0x2545f4914f6cdd1dULL + thread;
	t->huge = huge;
	t->npages = huge ? HUGE_PAGES : SMALL_PAGES;
	t->thread = thread;
	t->threads = threads;

	memcpy(t->op, base, sizeof(base));
	for (i = 0; i < NR_OPS; i++)
		if (i != OP_MMAP && i != OP_MADVISE && i != OP_WRITE &&
		    i != OP_CHECK && i != OP_SMAPS)
			vary(t, &t->op[i]);
	/* Without all of it, or with none of it. */
	if (chance(t, 40))
		for (i = OP_REGISTER; i <= OP_PROTECT; i++)
			t->op[i] = 0;
	/* What stays locked takes no guard. */
	if (t->op[OP_MLOCK] && !t->op[OP_MUNLOCK])
		t->op[OP_MUNLOCK] = base[OP_MUNLOCK];
	if (huge)
		t->op[OP_CHECK] = 1;

	for (i = 0; i < ARRAY_SIZE(advices); i++) {
		t->advice[i] = advices[i].weight;
		if (advices[i].adv == MADV_COLLAPSE && huge)
			t->advice[i] *= 4;
		if (advices[i].adv == MADV_HUGEPAGE && huge)
			t->advice[i] *= 2;
		if (advices[i].adv != MADV_GUARD_INSTALL)
			vary(t, &t->advice[i]);
	}

	for (i = OBJ_ANON; i <= OBJ_NEW; i++) {
		t->object[i] = i == OBJ_ANON ? 8 : 2;
		vary(t, &t->object[i]);
	}
	if (chance(t, 30)) {
		/* All of one kind: more merges. */
		memset(t->object, 0, sizeof(t->object));
		t->object[below(t, OBJ_NEW + 1)] = 1;
	}
	t->object[chance(t, 50) ? OBJ_ANON : OBJ_MEMFD1] += 1;

	t->prot[PROT_NONE] = 1;
	t->prot[PROT_READ] = 2;
	t->prot[PROT_READ | PROT_WRITE] = 8;
	t->odd = below(t, 3) * 3;
	t->touch = below(t, 4) * 25;
}

/* Some pages of the arena: few most times, many sometimes. */
static inline void pick_range(struct taste *t, uint16_t *p, uint16_t *n)
{
	unsigned int max = t->npages, r = below(t, 100);

	if (t->huge && r < 30) {
		*p = 0;
		*n = PMD_PAGES;
		if (r >= 20)
			*p = below(t, 2) * PMD_PAGES / 2;
		if (r >= 20)
			*n = PMD_PAGES / 2;
		return;
	}
	if (r < 50)
		*n = 1 + below(t, 4);
	else if (r < 85)
		*n = 1 + below(t, 16);
	else
		*n = 1 + below(t, max / 2);
	*p = below(t, max - *n + 1);
}

/* An object that has a descriptor. */
static inline int pick_object(struct taste *t)
{
	return OBJ_MEMFD1 + below(t, OBJ_COMMON_FILE - OBJ_MEMFD1 + 1);
}

static inline void pick_odd(struct taste *t, struct op *op)
{
	if (chance(t, t->odd))
		op->odd = ODD_START + below(t, ODD_WRAPS);
}

static inline void gen_mmap(struct taste *t, struct op *op)
{
	op->obj = pick(t, t->object, OBJ_NEW + 1);
	op->prot = pick(t, t->prot, 4);
	if (t->op[OP_MMAP] && chance(t, 15)) {
		op->p = 0;
		op->n = t->npages;
	}
	if (op->obj == OBJ_NEW)
		op->how |= MMAP_SHARED_;
	else if (op->obj != OBJ_ANON && chance(t, 55))
		op->how |= MMAP_SHARED_;
	/* Most at one place in the file, so that neighbours can merge. */
	if (op->obj != OBJ_ANON && op->obj != OBJ_NEW)
		op->off = chance(t, 75) ? op->p : below(t, t->npages);
	if (op->obj == OBJ_MEMFD2 || op->obj == OBJ_FILE2)
		if (chance(t, 30))
			op->how |= MMAP_READONLY;
	if (chance(t, 15))
		op->how |= MMAP_POPULATE;
	if (chance(t, 5))
		op->how |= MMAP_NOREPLACE;
	if ((op->how & MMAP_READONLY) && (op->how & MMAP_NOREPLACE))
		op->how &= ~MMAP_READONLY;
}

static inline void gen_mremap(struct taste *t, struct op *op)
{
	unsigned int r = below(t, 100);

	if (op->n > 32 && !t->huge)
		op->n = 1 + op->n % 32;
	op->m = op->n;
	if (r < 25) {
		/* Smaller or larger where it is. */
		op->m = 1 + below(t, op->n + 8);
	} else if (r < 65) {
		op->how = MREMAP_FIXED_;
	} else if (r < 75) {
		op->how = MREMAP_FIXED_;
		op->m = 1 + below(t, op->n + 4);
	} else if (r < 85) {
		op->how = MREMAP_FIXED_ | MREMAP_STAY;
	} else if (r < 95) {
		/* A second mapping of the same object. */
		op->how = MREMAP_FIXED_;
		op->m = 1 + below(t, op->n);
		op->n = 0;
	} else {
		op->how = below(t, 8);
		op->m = below(t, op->n + 2);
	}
	if (op->how & (MREMAP_FIXED_ | MREMAP_STAY)) {
		if (op->m > t->npages)
			op->m = t->npages;
		op->to = below(t, t->npages - op->m + 1);
	} else if (op->p + op->m > t->npages + 1) {
		op->m = t->npages + 1 - op->p;
	}
}

/* The next operation of this thread. */
static inline void gen_op(struct taste *t, struct op *op)
{
	memset(op, 0, sizeof(*op));
	op->thread = t->thread;
	if (t->in_child && !--t->in_child) {
		op->code = OP_EXIT;
		return;
	}
	do {
		op->code = pick(t, t->op, NR_OPS);
	} while (op->code == OP_FORK && t->in_child);

	pick_range(t, &op->p, &op->n);
	op->touch = chance(t, t->touch);
	switch (op->code) {
	case OP_MMAP:
		gen_mmap(t, op);
		pick_odd(t, op);
		break;
	case OP_MPROTECT:
		op->prot = pick(t, t->prot, 4);
		pick_odd(t, op);
		break;
	case OP_MREMAP:
		gen_mremap(t, op);
		if (chance(t, t->odd))
			op->odd = ODD_START + below(t, 2);
		break;
	case OP_MADVISE:
		op->adv = advices[pick(t, t->advice, ARRAY_SIZE(advices))].adv;
		pick_odd(t, op);
		break;
	case OP_PMADVISE:
		pick_range(t, &op->to, &op->m);
		switch (below(t, 6)) {
		case 0:
			op->adv = MADV_COLD;
			break;
		case 1:
			op->adv = MADV_PAGEOUT;
			break;
		case 2:
			op->adv = MADV_GUARD_REMOVE;
			break;
		default:
			op->adv = MADV_GUARD_INSTALL;
		}
		pick_odd(t, op);
		break;
	case OP_MLOCK:
		op->how = below(t, 4);
		if (chance(t, t->odd))
			op->odd = ODD_START + below(t, 3);
		break;
	case OP_MUNLOCK:
		/* Most of the time all of it, or little would be unlocked. */
		if (chance(t, 60)) {
			op->p = 0;
			op->n = t->npages;
		}
		if (chance(t, t->odd))
			op->odd = ODD_START + below(t, 3);
		break;
	case OP_MUNMAP:
	case OP_UNREGISTER:
		pick_odd(t, op);
		break;
	case OP_FORK:
		t->in_child = 1 + (chance(t, 50) ? below(t, 8) : 0);
		break;
	case OP_TRUNCATE:
		op->obj = OBJ_MEMFD1 + below(t, OBJ_FILE2 - OBJ_MEMFD1 + 1);
		/* A huge page may go on behind the end of the file. */
		op->n = t->huge ? below(t, 3) * PMD_PAGES :
				  below(t, t->npages + 8);
		break;
	case OP_PUNCH:
		op->obj = pick_object(t);
		op->off = op->p;
		break;
	case OP_PWRITE:
	case OP_PREAD:
		op->obj = pick_object(t);
		op->off = op->p;
		break;
	case OP_WRITE:
	case OP_READ:
		op->n = 1 + op->n % 12;
		if (op->p + op->n > t->npages)
			op->p = t->npages - op->n;
		break;
	case OP_KREAD:
	case OP_KWRITE:
		op->n = 1;
		op->how = below(t, 2);
		break;
	case OP_REGISTER:
		op->how = chance(t, 95) ? 1 + below(t, 3) : 0;
		pick_odd(t, op);
		break;
	case OP_COPY:
	case OP_ZEROPAGE:
		op->n = chance(t, 60) ? 1 : 1 + op->n % 8;
		if (op->p + op->n > t->npages)
			op->p = t->npages - op->n;
		if (op->code == OP_COPY)
			op->how = chance(t, 30) ? COPY_WP : 0;
		pick_odd(t, op);
		break;
	case OP_PROTECT:
		op->how = chance(t, 60) ? PROTECT_SET : 0;
		pick_odd(t, op);
		break;
	}
	if (op->code == OP_WRITE || op->code == OP_KWRITE ||
	    op->code == OP_PWRITE || op->code == OP_COPY)
		op->seed = 1 + (uint32_t)random_next(&t->state) % 4000000000U;
}

static inline struct op *program_add(struct fuzz_program *prog)
{
	if (prog->n == prog->room) {
		prog->room = prog->room ? 2 * prog->room : 1024;
		prog->ops = realloc(prog->ops, prog->room *
				    sizeof(*prog->ops));
		if (!prog->ops)
			abort();
	}
	return &prog->ops[prog->n++];
}

/* @n operations for each thread. */
static inline void program_make(struct fuzz_program *prog, uint64_t seed,
				int n, int threads, bool huge)
{
	struct taste t;
	struct op *op;
	int i, thread;

	memset(prog, 0, sizeof(*prog));
	prog->seed = seed;
	prog->threads = threads;
	prog->huge = huge;
	for (thread = 0; thread < threads; thread++) {
		taste_make(&t, seed, huge, thread, threads);
		/* Something to begin with. */
		op = program_add(prog);
		memset(op, 0, sizeof(*op));
		op->code = OP_MMAP;
		op->thread = thread;
		op->n = t.npages;
		op->prot = PROT_READ | PROT_WRITE;
		gen_mmap(&t, op);
		op->how &= ~(MMAP_READONLY | MMAP_NOREPLACE);
		for (i = 1; i < n; i++)
			gen_op(&t, program_add(prog));
	}
}

#endif /* _GUARD_FUZZ_H */
