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

#define SLOW_IOS		100	/* that is about two seconds */

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
	for (int i = 0; i < SLOW_IOS; i++) {
		prep_pread(&self->iocbs[i], self->fd, self->buf, SLOW_IO, i * SLOW_IO);
		set_hipri(&self->iocbs[i]);
	}
	ASSERT_EQ(0, sys_io_setup(SLOW_IOS, &self->ctx));
}

FIXTURE_TEARDOWN(slow)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
	nullb_remove(SLOW_DISK);
}

#endif /* SELFTESTS_AIO_SLOW_DISK_H */
