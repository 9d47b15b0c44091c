// SPDX-License-Identifier: GPL-2.0
/*
 * Run one test program in the guest and report on it in KTAP.
 *
 *	runtest NUMBER NAME SECONDS PROGRAM [ARG...]
 *
 * The program's output comes out on stdout, indented as a KTAP subtest, and
 * as a copy in the kernel log, so that a splat there can be told to belong to
 * a test.  Nothing that the program started outlives it: this process is the
 * reaper of its orphans and kills them.
 *
 * The result line carries what the program cannot say of itself: "exit N",
 * "signal N" or "timeout N".
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* The kernel refuses a longer record. */
#define KMSG_MAX	900
/* Time for the killed to go, before they are called unkillable. */
#define REAP_SECONDS	15

static int kmsg = -1;

static void say(const char *line)
{
	char buf[KMSG_MAX];
	int len;

	printf("%s\n", line);
	fflush(stdout);
	if (kmsg < 0)
		return;
	len = snprintf(buf, sizeof(buf), "<5>ktap> %s", line);
	if (len >= (int)sizeof(buf))
		len = sizeof(buf) - 1;
	/* A full log drops a line: no reason to fail. */
	if (write(kmsg, buf, len) < 0)
		return;
}

/* One line of the program's output, two blanks in. */
static void relay(const char *line, size_t len)
{
	char *buf;

	if (asprintf(&buf, "  %.*s", (int)len, line) < 0)
		return;
	say(buf);
	free(buf);
}

struct line {
	char buf[4096];
	size_t len;
};

static void flush_line(struct line *l)
{
	relay(l->buf, l->len);
	l->len = 0;
}

static void feed(struct line *l, const char *data, ssize_t n)
{
	for (ssize_t i = 0; i < n; i++) {
		if (data[i] == '\n') {
			flush_line(l);
			continue;
		}
		/* A carriage return or a NUL would break the line for a reader. */
		l->buf[l->len++] = data[i] && data[i] != '\r' ? data[i] : ' ';
		if (l->len == sizeof(l->buf))
			flush_line(l);
	}
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void show_file(int pid, const char *what)
{
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, what);
	f = fopen(path, "r");
	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		char buf[400];

		line[strcspn(line, "\n")] = 0;
		snprintf(buf, sizeof(buf), "# lab: %d %s: %s", pid, what, line);
		say(buf);
	}
	fclose(f);
}

/* Call @fn for each of our children; the orphans among our descendants are. */
static int for_each_child(void (*fn)(int pid))
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	int count = 0;

	if (!d)
		return 0;
	while ((e = readdir(d))) {
		char path[300], buf[512], *p;
		int pid = atoi(e->d_name), ppid, fd;
		ssize_t n;

		if (pid <= 0)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		fd = open(path, O_RDONLY);
		if (fd < 0)
			continue;
		n = read(fd, buf, sizeof(buf) - 1);
		close(fd);
		if (n <= 0)
			continue;
		buf[n] = 0;
		/* The name may hold anything, blanks and brackets too. */
		p = strrchr(buf, ')');
		if (!p || sscanf(p + 1, " %*c %d", &ppid) != 1 || ppid != getpid())
			continue;
		count++;
		fn(pid);
	}
	closedir(d);
	return count;
}

static void kill_it(int pid)
{
	kill(pid, SIGKILL);
}

static void show_it(int pid)
{
	show_file(pid, "comm");
	show_file(pid, "wchan");
	show_file(pid, "stack");
}

/* Kill all that is left of the program.  False when something cannot be. */
static int reap_all(void)
{
	double end = now() + REAP_SECONDS;

	while (for_each_child(kill_it)) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (now() > end) {
			say("# lab: processes that cannot be killed:");
			for_each_child(show_it);
			return 0;
		}
		usleep(10000);
	}
	return 1;
}

int main(int argc, char **argv)
{
	struct line line = { .len = 0 };
	int fd[2], status = 0, ended = 0, timeout, open_pipe = 1;
	double start, end;
	char res[1024], how[64];
	pid_t pid;

	if (argc < 5) {
		fprintf(stderr, "usage: runtest NUMBER NAME SECONDS PROGRAM [ARG...]\n");
		return 2;
	}
	timeout = atoi(argv[3]);
	kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (pipe2(fd, O_CLOEXEC)) {
		perror("runtest: pipe");
		return 2;
	}
	snprintf(res, sizeof(res), "  # Subtest: %s", argv[2]);
	say(res);

	start = now();
	pid = fork();
	if (pid < 0) {
		perror("runtest: fork");
		return 2;
	}
	if (!pid) {
		int null = open("/dev/null", O_RDONLY);

		setsid();
		dup2(null, 0);
		dup2(fd[1], 1);
		dup2(fd[1], 2);
		execv(argv[4], argv + 4);
		dprintf(2, "# lab: cannot run %s: %s\n", argv[4], strerror(errno));
		_exit(127);
	}
	close(fd[1]);

	end = start + timeout;
	/*
	 * The end of the program counts, not that of the pipe: a process that
	 * it left behind may hold the other end for ever.
	 */
	while (open_pipe || !ended) {
		struct pollfd p = { .fd = open_pipe ? fd[0] : -1, .events = POLLIN };
		char buf[4096];
		int r = poll(&p, 1, 50);
		int was_ended = ended;

		/* Before the read: what was written before the end is then seen. */
		if (!ended && waitpid(pid, &status, WNOHANG) == pid)
			ended = 1;
		if (r > 0) {
			ssize_t n = read(fd[0], buf, sizeof(buf));

			if (n > 0)
				feed(&line, buf, n);
			else
				open_pipe = 0;
		} else if (was_ended) {
			break;
		}
		if (!ended && now() > end)
			break;
	}
	if (line.len)
		flush_line(&line);

	if (!ended) {
		snprintf(how, sizeof(how), "timeout %d", timeout);
		say("# lab: time limit; what it was doing:");
		for_each_child(show_it);
	} else if (WIFSIGNALED(status)) {
		snprintf(how, sizeof(how), "signal %d", WTERMSIG(status));
	} else {
		snprintf(how, sizeof(how), "exit %d", WEXITSTATUS(status));
	}
	if (!reap_all() && ended)
		snprintf(how, sizeof(how), "unkillable");

	snprintf(res, sizeof(res), "%s %s %s # %s %.1f s%s",
		 strcmp(how, "exit 0") && strcmp(how, "exit 4") ? "not ok" : "ok",
		 argv[1], argv[2], how, now() - start,
		 strcmp(how, "exit 4") ? "" : " # SKIP");
	say(res);
	tcdrain(1);
	return strcmp(how, "exit 0") ? 1 : 0;
}
