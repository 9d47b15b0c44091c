/* SPDX-License-Identifier: GPL-2.0 */
/*
 * userfaultfd for the guard region tests.
 *
 * As in guard_util.h, what wraps an ioctl returns what it did or a negative
 * errno. The ones that fill page after page return the bytes done, also when
 * they stopped half-way.
 */
#ifndef _GUARD_UFFD_H
#define _GUARD_UFFD_H

#include "guard_util.h"

#include <poll.h>
#include <linux/userfaultfd.h>

/* What the headers of an older machine lack. */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY		1
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW		_IO(0xAA, 0x00)
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED	(1 << 13)
#endif
#ifndef UFFD_FEATURE_POISON
#define UFFD_FEATURE_POISON		(1 << 14)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC		(1 << 15)
#endif
#ifndef UFFD_FEATURE_MOVE
#define UFFD_FEATURE_MOVE		(1 << 16)
#endif
#ifndef UFFDIO_POISON
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};

#define UFFDIO_POISON			_IOWR(0xAA, 0x08, struct uffdio_poison)
#endif
#ifndef UFFDIO_MOVE
struct uffdio_move {
	__u64 dst;
	__u64 src;
	__u64 len;
	__u64 mode;
	__s64 move;
};

#define UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES	((__u64)1 << 1)
#define UFFDIO_MOVE			_IOWR(0xAA, 0x05, struct uffdio_move)
#endif

#define PAGEMAP_BIT_UFFD_WP		(1ULL << 57)

/*
 * A new, non-blocking userfaultfd with these features; -1 and guard_reason
 * set when there is none to be had. Whoever may not have one that handles
 * faults of the kernel, too, gets one for user mode only.
 */
static inline int uffd_open(__u64 features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int flags = O_CLOEXEC | O_NONBLOCK;
	int dev, fd = -1;

	dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (dev >= 0) {
		fd = ioctl(dev, USERFAULTFD_IOC_NEW, flags);
		close(dev);
	}
	if (fd < 0)
		fd = syscall(__NR_userfaultfd, flags);
	if (fd < 0)
		fd = syscall(__NR_userfaultfd, flags | UFFD_USER_MODE_ONLY);
	if (fd < 0) {
		guard_set_reason("no userfaultfd: %s", strerror(errno));
		return -1;
	}
	if (ioctl(fd, UFFDIO_API, &api)) {
		guard_set_reason("userfaultfd features 0x%llx: %s",
				 (unsigned long long)features, strerror(errno));
		close(fd);
		return -1;
	}
	return fd;
}

static inline struct uffdio_range uffd_range(void *addr, size_t len)
{
	return (struct uffdio_range){
		.start = (uintptr_t)addr,
		.len = len,
	};
}

static inline int uffd_register(int fd, void *addr, size_t len, __u64 mode)
{
	struct uffdio_register arg = {
		.range = uffd_range(addr, len),
		.mode = mode,
	};

	return ioctl(fd, UFFDIO_REGISTER, &arg) ? -errno : 0;
}

static inline int uffd_unregister(int fd, void *addr, size_t len)
{
	struct uffdio_range arg = uffd_range(addr, len);

	return ioctl(fd, UFFDIO_UNREGISTER, &arg) ? -errno : 0;
}

static inline int uffd_wake(int fd, void *addr, size_t len)
{
	struct uffdio_range arg = uffd_range(addr, len);

	return ioctl(fd, UFFDIO_WAKE, &arg) ? -errno : 0;
}

static inline int uffd_protect(int fd, void *addr, size_t len, bool set)
{
	struct uffdio_writeprotect arg = {
		.range = uffd_range(addr, len),
		.mode = set ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(fd, UFFDIO_WRITEPROTECT, &arg) ? -errno : 0;
}

/*
 * What a filling ioctl did, from its return and the field it reports in. The
 * two have to agree: -EPROTO says that they do not.
 */
static inline long uffd_filled(int ret, __s64 field, size_t len)
{
	if (!ret)
		return field == (__s64)len ? field : -EPROTO;
	if (errno == EAGAIN && field > 0)
		return field < (__s64)len ? field : -EPROTO;
	if (field && field != -errno)
		return -EPROTO;
	return -errno;
}

static inline long uffd_copy(int fd, void *dst, void *src, size_t len,
			     __u64 mode)
{
	struct uffdio_copy arg = {
		.dst = (uintptr_t)dst,
		.src = (uintptr_t)src,
		.len = len,
		.mode = mode,
	};
	int ret = ioctl(fd, UFFDIO_COPY, &arg);

	return uffd_filled(ret, arg.copy, len);
}

static inline long uffd_zeropage(int fd, void *dst, size_t len)
{
	struct uffdio_zeropage arg = { .range = uffd_range(dst, len) };
	int ret = ioctl(fd, UFFDIO_ZEROPAGE, &arg);

	return uffd_filled(ret, arg.zeropage, len);
}

static inline long uffd_continue(int fd, void *dst, size_t len)
{
	struct uffdio_continue arg = { .range = uffd_range(dst, len) };
	int ret = ioctl(fd, UFFDIO_CONTINUE, &arg);

	return uffd_filled(ret, arg.mapped, len);
}

static inline long uffd_poison(int fd, void *dst, size_t len)
{
	struct uffdio_poison arg = { .range = uffd_range(dst, len) };
	int ret = ioctl(fd, UFFDIO_POISON, &arg);

	return uffd_filled(ret, arg.updated, len);
}

static inline long uffd_move(int fd, void *dst, void *src, size_t len,
			     __u64 mode)
{
	struct uffdio_move arg = {
		.dst = (uintptr_t)dst,
		.src = (uintptr_t)src,
		.len = len,
		.mode = mode,
	};
	int ret = ioctl(fd, UFFDIO_MOVE, &arg);

	return uffd_filled(ret, arg.move, len);
}

/* Is a message waiting to be read? */
static inline bool uffd_has_message(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, 0) == 1 && (pfd.revents & POLLIN);
}

/* Waits for a message; false if what was read is not one. */
static inline bool uffd_next_message(int fd, struct uffd_msg *msg)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	while (poll(&pfd, 1, -1) != 1)
		if (errno != EINTR)
			return false;
	return read(fd, msg, sizeof(*msg)) == sizeof(*msg);
}

/* The page tables say that @page is a guard and nothing but a guard. */
static inline bool entry_is_guard(void *page)
{
	uint64_t entry = pagemap_entry(page);

	return (entry & PAGEMAP_BIT_GUARD) &&
	       !(entry & (PAGEMAP_BIT_PRESENT | PAGEMAP_BIT_FILE |
			  PAGEMAP_BIT_UFFD_WP));
}

/* The page tables have nothing at all for @page: no page, no marker. */
static inline bool entry_is_empty(void *page)
{
	return !(pagemap_entry(page) &
		 (PAGEMAP_BIT_PRESENT | PAGEMAP_BIT_SWAP | PAGEMAP_BIT_FILE |
		  PAGEMAP_BIT_GUARD | PAGEMAP_BIT_UFFD_WP));
}

static inline bool entries_are_empty(char *page, size_t npages)
{
	size_t i;

	for (i = 0; i < npages; i++)
		if (!entry_is_empty(page + i * page_size()))
			return false;
	return true;
}

/* Write-protected by userfaultfd, be it a page or a marker for none. */
static inline bool entry_is_uffd_wp(void *page)
{
	return pagemap_entry(page) & PAGEMAP_BIT_UFFD_WP;
}

/* Is there memory for @page, mapped or in the page cache? */
static inline bool page_in_core(void *page)
{
	unsigned char vec = 0;

	return !mincore(page, page_size(), &vec) && (vec & 1);
}

#endif /* _GUARD_UFFD_H */
