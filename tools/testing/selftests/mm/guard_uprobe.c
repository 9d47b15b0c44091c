// SPDX-License-Identifier: GPL-2.0
/*
 * A guard on the page of a probed instruction: the process that has it there
 * must not stop the probe for all others, nor keep it from being removed.
 *
 * Needs root, tracefs and CONFIG_UPROBE_EVENTS.
 */
#include "guard_util.h"

#include <sys/mount.h>
#include <sys/wait.h>

#define TRACING		"/sys/kernel/tracing"
#define EVENT		"guard_region/probed"

static int write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	ssize_t n;
	int ret;

	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	ret = n < 0 ? -errno : 0;
	close(fd);
	return ret;
}

/* How often the probe was hit, as the kernel counts it. */
static long hits(void)
{
	char line[512];
	long n = -1;
	FILE *f = fopen(TRACING "/uprobe_profile", "r");

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "%*s probed %ld", &n);
	if (f)
		fclose(f);
	return n;
}

/* Did the kernel say that it could not remove a probe, since kmsg was opened? */
static bool leak_reported(int kmsg)
{
	char record[2048];
	ssize_t n;

	while ((n = read(kmsg, record, sizeof(record) - 1)) > 0 ||
	       (n < 0 && errno == EPIPE)) {
		record[n > 0 ? n : 0] = 0;
		if (strstr(record, "leaking uprobe"))
			return true;
	}
	return false;
}

FIXTURE(uprobe) {
	char path[128];
	int fd;
	int kmsg;
	char *code;
	pid_t child;
	int go[2], done[2];
};

FIXTURE_SETUP(uprobe)
{
#if defined(__x86_64__) || defined(__i386__)
	static const char insns[] = { 0x90, 0xc3 };	/* nop; ret */
	const char *dir = getenv("GUARD_TEST_DIR");
	char probe[256];
	int ret;

	self->fd = -1;
	self->kmsg = -1;
	if (!guard_supported(FILE_PRIVATE))
		SKIP(return, "%s", guard_reason);
	if (geteuid())
		SKIP(return, "probes need root");
	mount("tracefs", TRACING, "tracefs", 0, NULL);
	if (access(TRACING "/uprobe_events", W_OK))
		SKIP(return, "no CONFIG_UPROBE_EVENTS in this kernel");

	snprintf(self->path, sizeof(self->path), "%s/guard_uprobe.%d",
		 dir ? dir : ".", getpid());
	self->fd = open(self->path, O_RDWR | O_CREAT | O_EXCL, 0700);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ftruncate(self->fd, page_size()));
	ASSERT_EQ((ssize_t)sizeof(insns),
		  pwrite(self->fd, insns, sizeof(insns), 0));
	self->code = mmap(NULL, page_size(), PROT_READ | PROT_EXEC,
			  MAP_PRIVATE, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->code);
	self->kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	ASSERT_LE(0, self->kmsg);
	lseek(self->kmsg, 0, SEEK_END);

	snprintf(probe, sizeof(probe), "p:%s %s:0x0\n", EVENT, self->path);
	ret = write_to(TRACING "/uprobe_events", probe);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, pipe(self->go));
	ASSERT_EQ(0, pipe(self->done));
#else
	SKIP(return, "has instructions for x86 only");
#endif
}

FIXTURE_TEARDOWN(uprobe)
{
	if (self->fd < 0)
		return;
	if (self->child > 0) {
		kill(self->child, SIGKILL);
		waitpid(self->child, NULL, 0);
	}
	write_to(TRACING "/events/" EVENT "/enable", "0");
	write_to(TRACING "/uprobe_events", "-:" EVENT "\n");
	unlink(self->path);
}

static void run(char *code)
{
	((void (*)(void))code)();
}

/* A process that maps the code, and guards it when it is told to. */
static bool other_process(char *code, pid_t *child, int go[2], int done[2])
{
	char c;

	*child = fork();
	if (!*child) {
		char ok = 'y';

		if (read(go[0], &c, 1) != 1 || guard_install(code, page_size()))
			ok = 'n';
		if (write(done[1], &ok, 1) == 1)
			pause();
		_exit(1);
	}
	return *child > 0;
}

static bool other_guards(int go[2], int done[2])
{
	char c = 0;

	return write(go[1], "g", 1) == 1 && read(done[0], &c, 1) == 1 &&
	       c == 'y';
}

TEST_F(uprobe, guard_before_register)
{
	ASSERT_TRUE(other_process(self->code, &self->child, self->go,
				  self->done));
	ASSERT_TRUE(other_guards(self->go, self->done));

	EXPECT_EQ(0, write_to(TRACING "/events/" EVENT "/enable", "1"));
	run(self->code);
	EXPECT_EQ(1, hits());
}

TEST_F(uprobe, guard_before_unregister)
{
	ASSERT_TRUE(other_process(self->code, &self->child, self->go,
				  self->done));
	ASSERT_EQ(0, write_to(TRACING "/events/" EVENT "/enable", "1"));
	run(self->code);
	ASSERT_EQ(1, hits());
	ASSERT_TRUE(other_guards(self->go, self->done));

	EXPECT_EQ(0, write_to(TRACING "/events/" EVENT "/enable", "0"));
	EXPECT_FALSE(leak_reported(self->kmsg));
	run(self->code);
	EXPECT_EQ(1, hits());
	EXPECT_EQ(0, write_to(TRACING "/uprobe_events", "-:" EVENT "\n"));
}

/* Neither when it is met and when it is asked for. */
TEST_F(uprobe, guard_comes_and_goes)
{
	self->child = fork();
	ASSERT_LE(0, self->child);
	if (!self->child) {
		while (!guard_install(self->code, page_size()) &&
		       !guard_remove(self->code, page_size()))
			;
		_exit(1);
	}
	for (int i = 0; i < 50; i++) {
		ASSERT_EQ(0, write_to(TRACING "/events/" EVENT "/enable", "1"));
		ASSERT_EQ(0, write_to(TRACING "/events/" EVENT "/enable", "0"));
		ASSERT_FALSE(leak_reported(self->kmsg));
	}
	EXPECT_EQ(0, waitpid(self->child, NULL, WNOHANG));
}

/*
 * A probe with a counter in user memory, and a guard on that: the probe cannot be
 * had here, though there is no guard on the instruction.  That is the second one:
 * a kernel that leaked the probe above finds it at the first, if this file's inode
 * happens to lie where that of the other file was, and says EINVAL.
 */
TEST_F(uprobe, guard_on_counter)
{
	char probe[256];
	char *counter;

	ASSERT_EQ(0, ftruncate(self->fd, 2 * page_size()));
	counter = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE,
		       self->fd, page_size());
	ASSERT_NE(MAP_FAILED, counter);
	ASSERT_EQ(0, guard_install(counter, page_size()));

	ASSERT_EQ(0, write_to(TRACING "/uprobe_events", "-:" EVENT "\n"));
	snprintf(probe, sizeof(probe), "p:%s %s:0x1(0x%lx)\n", EVENT,
		 self->path, (unsigned long)page_size());
	ASSERT_EQ(0, write_to(TRACING "/uprobe_events", probe));
	EXPECT_EQ(-EFAULT, write_to(TRACING "/events/" EVENT "/enable", "1"));
}

GUARD_HARNESS_MAIN
