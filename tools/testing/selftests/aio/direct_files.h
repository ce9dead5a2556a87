/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Files for direct I/O, polled or not, on each of the file systems that a program adds
 * as a variant.
 */
#ifndef SELFTESTS_AIO_DIRECT_FILES_H
#define SELFTESTS_AIO_DIRECT_FILES_H

#include "aio_syscalls.h"
#include "filesystem.h"
#include "kselftest_harness.h"

#define BLOCKS		64
#define SIZE		(BLOCKS * BLOCK)

#define READ		IOCB_CMD_PREAD
#define WRITE		IOCB_CMD_PWRITE

FIXTURE(files)
{
	aio_context_t ctx;
	int fd;		/* of an empty file, for direct I/O */
	int buffered;	/* the same file for other I/O */
	char *buf;	/* SIZE bytes */
	char *back;	/* SIZE bytes to read into */
	__u64 seed;
};

FIXTURE_VARIANT(files)
{
	const struct filesystem *fs;
	bool polled;
};

/* Opens the file behind @fd again. */
static inline int reopen(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_CLOEXEC | flags);
}

FIXTURE_SETUP(files)
{
	if (variant->polled && !kernel_polls())
		SKIP(return, "%s", skip_reason);
	self->fd = filesystem_open(variant->fs, O_RDWR | O_DIRECT);
	if (self->fd < 0)
		SKIP(return, "%s", skip_reason);
	self->buffered = reopen(self->fd, O_RDWR);
	ASSERT_LE(0, self->buffered);
	self->buf = map_memory(SIZE);
	self->back = map_memory(SIZE);
	ASSERT_TRUE(self->buf && self->back);
	self->seed = now_ms();
	ASSERT_EQ(0, sys_io_setup(BLOCKS, &self->ctx));
}

FIXTURE_TEARDOWN(files)
{
	sys_io_destroy(self->ctx);
	close(self->buffered);
	close(self->fd);
}

static inline void prep(struct iocb *iocb, bool polled, int opcode, int fd, void *buf,
			size_t len, __s64 offset)
{
	prep_rw(iocb, opcode, fd, buf, len, offset);
	if (polled)
		set_hipri(iocb);
}

/* Does one I/O and returns its result. */
static inline long long transfer(FIXTURE_DATA(files) * self, bool polled, int opcode,
				 void *buf, size_t len, __s64 offset)
{
	struct iocb iocb;

	prep(&iocb, polled, opcode, self->fd, buf, len, offset);
	return submit_and_wait(self->ctx, &iocb);
}

#endif /* SELFTESTS_AIO_DIRECT_FILES_H */
