/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A device that takes its time: polled I/O waits for it with the poller awake.
 */
#ifndef SELFTESTS_AIO_SLOW_DISK_H
#define SELFTESTS_AIO_SLOW_DISK_H

#include "aio_syscalls.h"
#include "kselftest_harness.h"

/* It takes one I/O of SLOW_IO bytes in SLOW_MS milliseconds. */
#define SLOW_DISK		"aioslow"
#define SLOW_IO			(16 * 1024)
#define SLOW_MS			20

#define SLOW_IOS		60	/* that is about a second */

static inline int open_slow_disk(void)
{
	static const struct nullb_setting settings[] = {
		{ "mbps", 1 },
		/* A request of more than a tick's worth would never be taken. */
		{ "max_sectors", SLOW_IO / 512 },
		{ "size", 64 },
		{ NULL, 0 },
	};

	return nullb_create(SLOW_DISK, settings);
}

/* Prepares @nr polled reads, all of them to the SLOW_IO bytes at @buf. */
static inline void prep_slow_reads(struct iocb *iocbs, int nr, int fd, void *buf)
{
	for (int i = 0; i < nr; i++) {
		prep_pread(&iocbs[i], fd, buf, SLOW_IO, i * SLOW_IO);
		set_hipri(&iocbs[i]);
	}
}

/* Polled reads of the slow disk, not submitted yet. */
FIXTURE(slow)
{
	aio_context_t ctx;
	int fd;
	char *buf;
	struct iocb iocbs[SLOW_IOS];
	struct io_event events[SLOW_IOS];
};

FIXTURE_SETUP(slow)
{
	self->fd = open_slow_disk();
	if (self->fd < 0)
		SKIP(return, "%s", skip_reason);
	self->buf = map_memory(SLOW_IO);
	ASSERT_TRUE(!!self->buf);
	prep_slow_reads(self->iocbs, SLOW_IOS, self->fd, self->buf);
	ASSERT_EQ(0, sys_io_setup(SLOW_IOS, &self->ctx));
}

FIXTURE_TEARDOWN(slow)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
	nullb_remove(SLOW_DISK);
}

#endif /* SELFTESTS_AIO_SLOW_DISK_H */
