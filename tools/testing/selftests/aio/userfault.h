/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A page that whoever touches it sleeps for, until the test fills it: to have a
 * system call stop at a chosen place.
 */
#ifndef SELFTESTS_AIO_USERFAULT_H
#define SELFTESTS_AIO_USERFAULT_H

#include "aio_syscalls.h"

#include <linux/userfaultfd.h>

struct userfault {
	int fd;
	char *page;
	size_t size;
};

static inline int userfault_register(struct userfault *fault)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = {
		.range = { (uintptr_t)fault->page, fault->size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	if (ioctl(fault->fd, UFFDIO_API, &api))
		return -1;
	return ioctl(fault->fd, UFFDIO_REGISTER, &range);
}

/* Makes the page: 0, or -1 and skip_reason. */
static inline int userfault_open(struct userfault *fault)
{
	fault->size = sysconf(_SC_PAGESIZE);
	fault->page = map_memory(fault->size);
	fault->fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (fault->fd >= 0 && fault->page && !userfault_register(fault))
		return 0;
	snprintf(skip_reason, sizeof(skip_reason), "userfaultfd: %s", strerror(errno));
	return -1;
}

/* Does somebody sleep for the page at @fd within @ms milliseconds? */
static inline bool userfault_waits(int fd, int ms)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };
	struct uffd_msg msg;

	return poll(&pollfd, 1, ms) == 1 &&
	       read(fd, &msg, sizeof(msg)) == sizeof(msg) &&
	       msg.event == UFFD_EVENT_PAGEFAULT;
}

/* Fills the page, with zeroes after the @len bytes at @data, and ends all sleep. */
static inline int userfault_fill(const struct userfault *fault, const void *data,
				 size_t len)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)fault->page,
		.len = fault->size,
	};
	void *source = map_memory(fault->size);
	int ret;

	if (!source)
		return -1;
	memcpy(source, data, len);
	copy.src = (uintptr_t)source;
	ret = ioctl(fault->fd, UFFDIO_COPY, &copy);
	munmap(source, fault->size);
	return ret;
}

#endif /* SELFTESTS_AIO_USERFAULT_H */
