// SPDX-License-Identifier: GPL-2.0
/*
 * guardctl: where the guard regions of a process are.
 *
 * A guard made with MADV_GUARD_INSTALL is in the page tables only: maps shows
 * the rw-p of the mapping around it, and whoever looks into a SIGSEGV there
 * sees nothing wrong.  smaps says which mappings may have guards ("gu"), pagemap
 * says where they are; this puts the two together.
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Kernel ABI, here as well since a system's headers may be older than it. */
#define GUARD_INSTALL		102	/* MADV_GUARD_INSTALL */
#define PM_GUARD		(1ULL << 58)
#define SCAN_SWAPPED		(1 << 4) /* PAGE_IS_SWAPPED */
#define SCAN_GUARD		(1 << 8) /* PAGE_IS_GUARD */
#define PROC_MAGIC		0x9fa0

typedef unsigned long long u64;

struct scan_region {
	u64 start, end, categories;
};

struct scan_arg {
	u64 size, flags, start, end, walk_end, vec, vec_len, max_pages;
	u64 category_inverted, category_mask, category_anyof_mask;
	u64 return_mask;
};

#define SCAN			_IOWR('f', 16, struct scan_arg)

/* A process that is not stopped is looked at again when it changed meanwhile. */
#define TRIES			3

/*
 * Of one PAGEMAP_SCAN.  Most kernels buffer 512: with more here, the tests meet
 * what happens when that is full and this is not.
 */
#define MAX_REGIONS		1024

enum { EX_GUARD, EX_NO_GUARD, EX_ENV };
enum gu { GU_UNKNOWN, GU_NO, GU_YES };

enum how {
	BY_SCAN,		/* the ioctl knows guards */
	BY_SWAPPED_AND_BIT,	/* it does not, but they are "swapped" to it */
	BY_BIT,			/* no ioctl, or not a true pagemap */
};

struct range {
	u64 start, end;
};

struct mapping {
	struct range at;
	char perms[5];
	enum gu gu;
	char *name;
	struct range *guards;
	size_t nr_guards;
};

struct mappings {
	struct mapping *v;
	size_t nr;
	bool any, gu;		/* in all of the file, not only in v */
};

static const char *proc_dir = "/proc";
static bool saved;		/* proc_dir has copies, not a procfs */
static int pid;
static u64 page_size;

static bool opt_addr, opt_all, opt_bit, opt_json, opt_summary;
static u64 addr;

static enum how how;
static bool changed;		/* ... while it was read, each time */

__attribute__((format(printf, 1, 2), noreturn))
static void die(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "guardctl: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	exit(EX_ENV);
}

static void *grown(void *p, size_t nr, size_t size)
{
	/* Room for a power of two, so only then is there anything to do. */
	if (nr & (nr - 1))
		return p;
	p = reallocarray(p, nr ? 2 * nr : 1, size);
	if (!p)
		die("out of memory");
	return p;
}

__attribute__((noreturn))
static void no_memory_of_its_own(void)
{
	die("process %d has no memory: it is a kernel thread, or has ended", pid);
}

__attribute__((noreturn))
static void die_of(const char *path, int err)
{
	char dir[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s/%d", proc_dir, pid);
	if (err == EACCES || err == EPERM)
		die("%s: %s: it takes root (CAP_SYS_PTRACE), or the user whose process it is",
		    path, strerror(err));
	if (saved || (err != ENOENT && err != ESRCH))
		die("%s: %s", path, strerror(err));
	if (access(dir, F_OK))
		die("no such process: %d (with hidepid, only root sees all)", pid);
	if (err == ENOENT)
		die("%s: not there: the kernel needs CONFIG_PROC_PAGE_MONITOR", path);
	no_memory_of_its_own();
}

static const char *proc_path(const char *file)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%d/%s", proc_dir, pid, file);
	return path;
}

/* Of maps or smaps; @only: of the mapping that has this address. */
static struct mappings read_mappings(const char *path, const u64 *only)
{
	struct mappings l = {};
	struct mapping *m = NULL;
	size_t size = 0;
	char *line = NULL;
	FILE *f = fopen(path, "re");

	if (!f)
		die_of(path, errno);
	while (getline(&line, &size, f) > 0) {
		struct range at;
		char perms[5];
		int name = 0;

		line[strcspn(line, "\n")] = 0;
		if (sscanf(line, "%llx-%llx %4s %*s %*s %*s %n",
			   &at.start, &at.end, perms, &name) == 3 && name) {
			m = NULL;
			l.any = true;
			if (only && (*only < at.start || *only >= at.end))
				continue;
			l.v = grown(l.v, l.nr, sizeof(*l.v));
			m = &l.v[l.nr++];
			*m = (struct mapping){ .at = at, .name = strdup(line + name) };
			memcpy(m->perms, perms, sizeof(perms));
			if (!m->name)
				die("out of memory");
		} else if (!strncmp(line, "VmFlags:", 8)) {
			/* Each flag has a blank before and after it. */
			bool gu = strstr(line, " gu ");

			l.gu |= gu;
			if (m)
				m->gu = gu ? GU_YES : GU_NO;
		}
	}
	if (ferror(f))
		die_of(path, errno);
	free(line);
	fclose(f);
	return l;
}

static void free_mappings(struct mappings *l)
{
	for (size_t i = 0; i < l->nr; i++) {
		free(l->v[i].name);
		free(l->v[i].guards);
	}
	free(l->v);
}

/* Those of the process, from its maps or smaps. */
static struct mappings read_process(const char *file)
{
	const u64 *only = opt_addr ? &addr : NULL;
	struct mappings l = read_mappings(proc_path(file), only);

	/* It may have been opened before an execve(), and read after it. */
	for (int try = 2; try <= TRIES && !l.any; try++)
		l = read_mappings(proc_path(file), only);
	if (!l.any)
		no_memory_of_its_own();
	return l;
}

static bool same_mapping(const struct mapping *a, const struct mapping *b)
{
	return a->at.start == b->at.start && a->at.end == b->at.end &&
	       !strcmp(a->perms, b->perms) && !strcmp(a->name, b->name);
}

static bool same_mappings(const struct mappings *a, const struct mappings *b)
{
	if (a->nr != b->nr)
		return false;
	for (size_t i = 0; i < a->nr; i++)
		if (!same_mapping(&a->v[i], &b->v[i]))
			return false;
	return true;
}

/* In order of addresses; what touches becomes one. */
static void add_guard(struct mapping *m, u64 start, u64 end)
{
	if (m->nr_guards && m->guards[m->nr_guards - 1].end == start) {
		m->guards[m->nr_guards - 1].end = end;
		return;
	}
	m->guards = grown(m->guards, m->nr_guards, sizeof(*m->guards));
	m->guards[m->nr_guards++] = (struct range){ start, end };
}

static void read_bits(int fd, struct mapping *m, u64 start, u64 end)
{
	static u64 entry[128 * 1024];	/* 512 MiB in one read */

	while (start < end) {
		size_t want = sizeof(entry) / sizeof(*entry);
		ssize_t got;

		if (want > (end - start) / page_size)
			want = (end - start) / page_size;
		got = pread(fd, entry, want * sizeof(*entry),
			    start / page_size * sizeof(*entry));
		if (got < 0)
			die_of(proc_path("pagemap"), errno);
		got /= sizeof(*entry);
		/* The process ended, or has no such addresses ([vsyscall]). */
		if (!got)
			return;
		for (ssize_t i = 0; i < got; i++, start += page_size)
			if (entry[i] & PM_GUARD)
				add_guard(m, start, start + page_size);
	}
}

static int scan(int fd, struct scan_arg *arg, u64 category)
{
	arg->size = sizeof(*arg);
	arg->category_mask = category;
	arg->return_mask = category;
	return ioctl(fd, SCAN, arg);
}

static bool can_scan(int fd, u64 category)
{
	struct scan_arg arg = { .end = page_size };

	/* That the process is gone says nothing of the kernel. */
	return scan(fd, &arg, category) >= 0 || errno == ESRCH;
}

static void find_guards(int fd, struct mapping *m)
{
	u64 start = m->at.start;

	if (how == BY_BIT) {
		read_bits(fd, m, start, m->at.end);
		return;
	}
	while (start < m->at.end) {
		struct scan_region r[MAX_REGIONS];
		struct scan_arg arg = {
			.start = start,
			.end = m->at.end,
			.vec = (uintptr_t)r,
			.vec_len = MAX_REGIONS,
		};
		int nr = scan(fd, &arg, how == BY_SCAN ? SCAN_GUARD : SCAN_SWAPPED);

		/* [vsyscall] is where a process can have nothing. */
		if (nr < 0 && errno == EFAULT)
			return;
		/* The process ended, or this was its memory before an execve(). */
		if (nr < 0 && errno == ESRCH) {
			changed = true;
			return;
		}
		if (nr < 0)
			die_of(proc_path("pagemap"), errno);
		for (int i = 0; i < nr; i++) {
			if (how == BY_SCAN)
				add_guard(m, r[i].start, r[i].end);
			else
				read_bits(fd, m, r[i].start, r[i].end);
		}
		/*
		 * A kernel whose own buffer is smaller than r may leave here
		 * where that was full, although it went on from there.
		 */
		if (nr && arg.walk_end < r[nr - 1].end)
			arg.walk_end = r[nr - 1].end;
		if (arg.walk_end <= start)
			die("PAGEMAP_SCAN does not get on at %llx", start);
		start = arg.walk_end;
	}
}

/*
 * What this kernel tells of a guard that is certainly there: one of our own.
 * Its version would say nothing, for the feature is backported.
 */
static struct probe {
	bool guards, bit, flag;
} *probe(void)
{
	static struct probe p;
	static char *page;
	struct mappings l;
	u64 at;
	struct mapping m = {};
	int fd;

	if (page)
		return &p;
	page = mmap(NULL, page_size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	p.guards = !madvise(page, page_size, GUARD_INSTALL);
	if (!p.guards && errno != EINVAL)
		die("madvise(MADV_GUARD_INSTALL): %s: so it stays unknown what this kernel tells",
		    strerror(errno));
	if (!p.guards)
		return &p;
	at = (uintptr_t)page;
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("/proc/self/pagemap: %s", strerror(errno));
	read_bits(fd, &m, at, at + page_size);
	p.bit = m.nr_guards;
	free(m.guards);
	close(fd);
	l = read_mappings("/proc/self/smaps", &at);
	p.flag = l.nr && l.v[0].gu == GU_YES;
	free_mappings(&l);
	return &p;
}

static void choose_how(int fd)
{
	if (!opt_bit && can_scan(fd, SCAN_GUARD)) {
		how = BY_SCAN;
		return;
	}
	how = can_scan(fd, SCAN_SWAPPED) ? BY_SWAPPED_AND_BIT : BY_BIT;
	if (saved || probe()->bit)
		return;
	if (!probe()->guards)
		die("this kernel has no guard regions, so no process has one (Linux 6.13 and later have them)");
	die("this kernel does not tell where guards are: it has neither bit 58 of pagemap (Linux 6.15) nor PAGE_IS_GUARD (6.16)");
}

/* A kernel without the flag shows it nowhere, and then it says nothing. */
static void forget_gu(struct mappings *l)
{
	if (l->gu || (!saved && probe()->flag))
		return;
	for (size_t i = 0; i < l->nr; i++)
		l->v[i].gu = GU_UNKNOWN;
}

static bool lacks_gu(const struct mapping *m)
{
	return m->nr_guards && m->gu == GU_NO;
}

static size_t count_lost(const struct mappings *l)
{
	size_t lost = 0;

	for (size_t i = 0; i < l->nr; i++)
		lost += lacks_gu(&l->v[i]);
	return lost;
}

/*
 * The flag is set before a guard is made, and stays as long as the VMA.  So it
 * is lost if it is missing after the guard was seen; that it was missing before
 * proves nothing, for the guard may be newer.  But a VMA that was unmapped and
 * mapped anew has lost nothing either, and looks the same: hence flag and guard
 * are read in turn, several times.  Only a process that does so at each of them
 * is still suspected, and the message leaves room for that.
 */
static void doubt_lost(int fd, struct mappings *l)
{
	for (int try = 1; try <= TRIES && count_lost(l); try++) {
		struct mappings now = read_process("smaps");
		size_t j = 0;

		for (size_t i = 0; i < l->nr; i++) {
			struct mapping *m = &l->v[i];

			if (!lacks_gu(m))
				continue;
			while (j < now.nr && now.v[j].at.start < m->at.start)
				j++;
			m->gu = j < now.nr && same_mapping(m, &now.v[j]) ?
				now.v[j].gu : GU_UNKNOWN;
			m->nr_guards = 0;
			find_guards(fd, m);
		}
		free_mappings(&now);
	}
}

static struct mappings look(void)
{
	struct mappings l, now;
	size_t lost;

	for (int try = 1; ; try++) {
		int fd;

		changed = false;
		l = read_process("smaps");
		fd = open(proc_path("pagemap"), O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			die_of(proc_path("pagemap"), errno);
		choose_how(fd);
		forget_gu(&l);
		for (size_t i = 0; i < l.nr; i++)
			find_guards(fd, &l.v[i]);
		doubt_lost(fd, &l);
		close(fd);

		/* Copies need not have it. */
		if (!saved || !access(proc_path("maps"), F_OK)) {
			now = read_process("maps");
			changed |= !same_mappings(&l, &now);
			free_mappings(&now);
		}
		if (!changed || try == TRIES)
			break;
		free_mappings(&l);
	}
	lost = count_lost(&l);
	if (changed)
		fprintf(stderr, "guardctl: process %d changed while it was read: stop it (kill -STOP) for an exact picture\n",
			pid);
	if (lost)
		fprintf(stderr, "guardctl: guards in %zu mapping(s) without \"gu\": if it is the same with the process stopped, the kernel has lost VM_MAYBE_GUARD, and may lose the guards on fork\n",
			lost);
	return l;
}

/* Bytes of the UTF-8 character at @s, 0 if it is none. */
static int utf8(const char *s)
{
	const unsigned char *c = (const unsigned char *)s;
	int len = *c < 0x80 ? 1 : *c < 0xc2 ? 0 : *c < 0xe0 ? 2 :
		  *c < 0xf0 ? 3 : *c < 0xf5 ? 4 : 0;

	for (int i = 1; i < len; i++)
		if ((c[i] & 0xc0) != 0x80)
			return 0;
	/* Overlong, a surrogate, beyond the last. */
	if ((*c == 0xe0 && c[1] < 0xa0) || (*c == 0xed && c[1] > 0x9f) ||
	    (*c == 0xf0 && c[1] < 0x90) || (*c == 0xf4 && c[1] > 0x8f))
		return 0;
	return len;
}

static bool is_control(const char *s)
{
	const unsigned char *c = (const unsigned char *)s;

	return *c < 0x20 || *c == 0x7f || (*c == 0xc2 && c[1] < 0xa0);
}

/* A file's name may hold anything: nothing that a terminal obeys gets out. */
static void print_name(const char *s)
{
	while (*s) {
		int len = utf8(s);

		if (!len || is_control(s)) {
			printf("\\%03o", (unsigned char)*s++);
			continue;
		}
		/* Not by what it returns: -1 on a full disk. */
		printf("%.*s", len, s);
		s += len;
	}
}

static void json_string(const char *s)
{
	putchar('"');
	while (*s) {
		int len = utf8(s);

		if (!len) {
			printf("\\ufffd");
			s++;
			continue;
		}
		/* The last byte of one beyond ASCII is its number, too. */
		if (is_control(s))
			printf("\\u%04x", (unsigned char)s[len - 1]);
		else
			printf("%s%.*s", *s == '"' || *s == '\\' ? "\\" : "", len, s);
		s += len;
	}
	putchar('"');
}

static u64 pages(const struct range *r)
{
	return (r->end - r->start) / page_size;
}

static char *text_of(const struct range *r, char buf[40])
{
	snprintf(buf, 40, "%08llx-%08llx", r->start, r->end);
	return buf;
}

static const char *gu_text(enum gu gu)
{
	return gu == GU_YES ? "yes" : gu == GU_NO ? "no" : "unknown";
}

static const char *command(void)
{
	static char buf[64];
	FILE *f = fopen(proc_path("comm"), "re");

	if (f) {
		size_t len = fread(buf, 1, sizeof(buf) - 1, f);

		/* It may have line feeds of its own. */
		buf[len && buf[len - 1] == '\n' ? len - 1 : len] = 0;
		fclose(f);
	}
	return buf;
}

struct sum {
	size_t mappings, maybe, with, guards;
	u64 pages;
	bool known;		/* ... which may have guards */
};

static struct sum sum_up(const struct mappings *l)
{
	struct sum s = { .mappings = l->nr };

	for (size_t i = 0; i < l->nr; i++) {
		const struct mapping *m = &l->v[i];

		s.known |= m->gu != GU_UNKNOWN;
		s.maybe += m->gu == GU_YES;
		s.with += m->nr_guards > 0;
		s.guards += m->nr_guards;
		for (size_t j = 0; j < m->nr_guards; j++)
			s.pages += pages(&m->guards[j]);
	}
	return s;
}

static void print_summary(const struct mappings *l)
{
	struct sum s = sum_up(l);

	printf("%d (", pid);
	print_name(command());
	printf("): %zu guard region%s, %llu page%s (%llu KiB), in %zu of %zu mappings; ",
	       s.guards, s.guards == 1 ? "" : "s", s.pages, s.pages == 1 ? "" : "s",
	       s.pages * page_size / 1024, s.with, s.mappings);
	if (s.known)
		printf("%zu may have guards (gu)\n", s.maybe);
	else
		printf("which may have guards is unknown (no gu in smaps)\n");
}

static bool is_shown(const struct mapping *m)
{
	return opt_all || m->nr_guards;
}

static void print_table(const struct mappings *l)
{
	char buf[40];
	bool head = false;

	for (size_t i = 0; i < l->nr; i++) {
		const struct mapping *m = &l->v[i];

		if (!is_shown(m))
			continue;
		if (!head)
			printf("%-25s  PERMS  %-7s  %-25s  %8s  NAME\n",
			       "MAPPING", "GU", "GUARD", "PAGES");
		head = true;
		printf("%-25s  %-5s  %-7s  ", text_of(&m->at, buf), m->perms,
		       gu_text(m->gu));
		if (m->nr_guards)
			printf("%-25s  %8llu  ", text_of(&m->guards[0], buf),
			       pages(&m->guards[0]));
		else
			printf("%-25s  %8s  ", "-", "-");
		print_name(*m->name ? m->name : "-");
		putchar('\n');
		for (size_t j = 1; j < m->nr_guards; j++)
			printf("%43s%-25s  %8llu\n", "", text_of(&m->guards[j], buf),
			       pages(&m->guards[j]));
	}
}

static void json_range(const struct range *r)
{
	/* Strings: a number of JSON is a double to many, and too small. */
	printf("\"start\": \"0x%llx\", \"end\": \"0x%llx\"", r->start, r->end);
}

static void json_guard(const struct range *r)
{
	putchar('{');
	json_range(r);
	printf(", \"pages\": %llu}", pages(r));
}

static void json_mapping(const struct mapping *m)
{
	putchar('{');
	json_range(&m->at);
	printf(", \"perms\": ");
	json_string(m->perms);
	printf(", \"gu\": %s, \"name\": ", m->gu == GU_YES ? "true" :
	       m->gu == GU_NO ? "false" : "null");
	json_string(m->name);
	printf(", \"guards\": [");
	for (size_t j = 0; j < m->nr_guards; j++) {
		if (j)
			printf(", ");
		json_guard(&m->guards[j]);
	}
	printf("]}");
}

static void json_head(void)
{
	printf("{\n  \"pid\": %d,\n  \"comm\": ", pid);
	json_string(command());
	printf(",\n  \"page_size\": %llu,\n  \"method\": \"%s\",\n  \"changed\": %s,\n",
	       page_size, how == BY_SCAN ? "PAGEMAP_SCAN" : "pagemap", changed ? "true" : "false");
}

static void json_all(const struct mappings *l)
{
	struct sum s = sum_up(l);
	bool any = false;

	json_head();
	printf("  \"summary\": {\"mappings\": %zu, \"may_have_guards\": ", s.mappings);
	if (s.known)
		printf("%zu", s.maybe);
	else
		printf("null");
	printf(", \"have_guards\": %zu, \"guards\": %zu, \"pages\": %llu}",
	       s.with, s.guards, s.pages);
	if (!opt_summary) {
		printf(",\n  \"mappings\": [");
		for (size_t i = 0; i < l->nr; i++) {
			if (!is_shown(&l->v[i]))
				continue;
			printf("%s\n    ", any ? "," : "");
			json_mapping(&l->v[i]);
			any = true;
		}
		printf("%s]", any ? "\n  " : "");
	}
	printf("\n}\n");
}

/* What is at the address; the exit status. */
static int tell_address(const struct mappings *l)
{
	const struct mapping *m = l->nr ? &l->v[0] : NULL;
	const struct range *g = NULL;
	char buf[40];

	for (size_t j = 0; m && j < m->nr_guards; j++)
		if (m->guards[j].start <= addr && addr < m->guards[j].end)
			g = &m->guards[j];

	if (opt_json) {
		json_head();
		printf("  \"address\": \"0x%llx\",\n  \"in_guard\": %s,\n  \"guard\": ",
		       addr, g ? "true" : "false");
		if (g)
			json_guard(g);
		else
			printf("null");
		printf(",\n  \"mapping\": ");
		if (m)
			json_mapping(m);
		else
			printf("null");
		printf("\n}\n");
		return g ? EX_GUARD : EX_NO_GUARD;
	}

	printf("%08llx", addr);
	if (g)
		printf(" is in a guard: %s (%llu page%s)", text_of(g, buf),
		       pages(g), pages(g) == 1 ? "" : "s");
	else
		printf(" is not in a guard");
	if (m) {
		printf("; mapping %s %s, gu %s, ", text_of(&m->at, buf), m->perms,
		       gu_text(m->gu));
		print_name(*m->name ? m->name : "-");
	} else {
		printf("; it is not mapped");
	}
	putchar('\n');
	return g ? EX_GUARD : EX_NO_GUARD;
}

static u64 parse_addr(const char *s)
{
	const char *digits = s;
	char *end;
	u64 at;

	if (digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X'))
		digits += 2;
	errno = 0;
	at = strtoull(digits, &end, 16);
	/* A sign, blanks and a second 0x are good enough for strtoull(). */
	if (!*digits || *end || errno ||
	    digits[strspn(digits, "0123456789abcdefABCDEF")])
		die("'%s' is no address: give it in hex, as in 0x7f12a4001000", s);
	return at;
}

static int parse_pid(const char *s)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(s, &end, 10);
	if (*s < '0' || *s > '9' || *end || errno || n <= 0 || n > INT_MAX)
		die("'%s' is no PID: give the number of a process, as ps shows it", s);
	return n;
}

static void flush_out(void)
{
	if (fflush(stdout) || ferror(stdout))
		die("cannot write: %s", strerror(errno));
}

static const char usage[] =
"usage: guardctl [-A | -s] [-j] PID        where the guard regions of a process are\n"
"       guardctl -a ADDR [-j] PID          is ADDR in one? status 0 yes, 1 no\n"
"\n"
"  -a, --address=ADDR  only this address, in hex\n"
"  -A, --all           mappings without guards, too\n"
"  -j, --json          as JSON\n"
"  -s, --summary       only the numbers\n"
"      --pagemap       by bit 58 of pagemap, even if PAGEMAP_SCAN knows guards\n"
"      --proc=DIR      another procfs than /proc, or saved copies of its files\n"
"  -h, --help          this text\n"
"\n"
"Status 2: bad usage, no such process, no permission, a kernel that does not tell.\n";

enum { OPT_PAGEMAP = 256, OPT_PROC };

__attribute__((noreturn))
static void bad_option(const struct option *o, const char *arg)
{
	/* Only of short options is it known which; there arg may be another. */
	for (; o->name; o++)
		if (o->val == optopt)
			die("--%s takes no value (see guardctl --help)", o->name);
	if (optopt)
		die("there is no option -%c (see guardctl --help)", optopt);
	die("there is no option %s (see guardctl --help)", arg);
}

static void parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "address",	required_argument,	NULL, 'a' },
		{ "all",	no_argument,		NULL, 'A' },
		{ "help",	no_argument,		NULL, 'h' },
		{ "json",	no_argument,		NULL, 'j' },
		{ "pagemap",	no_argument,		NULL, OPT_PAGEMAP },
		{ "proc",	required_argument,	NULL, OPT_PROC },
		{ "summary",	no_argument,		NULL, 's' },
		{}
	};
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":a:Ahjs", options, NULL)) != -1) {
		switch (c) {
		case 'a':
			opt_addr = true;
			addr = parse_addr(optarg);
			break;
		case 'A':
			opt_all = true;
			break;
		case 'h':
			fputs(usage, stdout);
			flush_out();
			exit(0);
		case 'j':
			opt_json = true;
			break;
		case 's':
			opt_summary = true;
			break;
		case OPT_PAGEMAP:
			opt_bit = true;
			break;
		case OPT_PROC:
			proc_dir = optarg;
			break;
		case ':':
			die("%s wants a value (see guardctl --help)", argv[optind - 1]);
		default:
			bad_option(options, argv[optind - 1]);
		}
	}
	if (argc - optind != 1)
		die("give one PID (see guardctl --help)");
	pid = parse_pid(argv[optind]);
	if (opt_addr && (opt_all || opt_summary))
		die("-a is about one address: it goes with neither -A nor -s");
	if (opt_all && opt_summary)
		die("-A is about the list that -s leaves out: give one of them");
}

int main(int argc, char **argv)
{
	struct mappings l;
	struct statfs fs;
	int status = 0;

	page_size = sysconf(_SC_PAGESIZE);
	parse_options(argc, argv);
	if (statfs(proc_dir, &fs))
		die("%s: %s", proc_dir, strerror(errno));
	saved = fs.f_type != PROC_MAGIC;
	if (saved && !strcmp(proc_dir, "/proc"))
		die("/proc is not mounted: mount -t proc proc /proc");

	l = look();
	if (opt_addr) {
		status = tell_address(&l);
	} else if (opt_json) {
		json_all(&l);
	} else {
		print_summary(&l);
		if (!opt_summary)
			print_table(&l);
	}
	free_mappings(&l);
	flush_out();
	return status;
}
