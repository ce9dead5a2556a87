// SPDX-License-Identifier: GPL-2.0-only
/*
 * PREAD, PWRITE, PREADV and PWRITEV on files and raw devices: the right data at
 * the right place, and results as read(2) and write(2) would give them.
 */
#include "aio_syscalls.h"
#include "kselftest_harness.h"

#define BLOCKS		16
#define SIZE		(BLOCKS * BLOCK)
#define SEED		1

#ifndef RWF_APPEND
#define RWF_APPEND	0x10
#endif

FIXTURE(rw)
{
	aio_context_t ctx;
	int fd;
	__u64 end;	/* where reads meet the end of file */
	char *buf;	/* SIZE bytes to write, filled with the pattern */
	char *back;	/* SIZE bytes to read into */
};

FIXTURE_VARIANT(rw)
{
	const struct aio_device *device;	/* NULL for a file */
	int flags;
};

FIXTURE_VARIANT_ADD(rw, buffered) { .flags = 0 };
FIXTURE_VARIANT_ADD(rw, direct) { .flags = O_DIRECT };
FIXTURE_VARIANT_ADD(rw, nvme) { .device = &nvme_scratch, .flags = O_DIRECT };
FIXTURE_VARIANT_ADD(rw, nullb) { .device = &nullb, .flags = O_DIRECT };

FIXTURE_SETUP(rw)
{
	self->buf = map_memory(SIZE);
	self->back = map_memory(SIZE);
	ASSERT_TRUE(!!self->buf);
	ASSERT_TRUE(!!self->back);
	fill_pattern(self->buf, SIZE, SEED, 0);

	if (variant->device) {
		self->fd = open_device(variant->device, O_RDWR | variant->flags);
		if (self->fd < 0)
			SKIP(return, "%s", skip_reason);
		self->end = device_size(self->fd);
		ASSERT_LT(SIZE, self->end);
		if (!keeps_data(self->fd))
			SKIP(return, "%s does not keep data",
			     device_path(variant->device));
	} else {
		self->fd = open_tmpfile(variant->flags);
		if (self->fd < 0)
			SKIP(return, "AIO_TMPDIR (%s): %s", tmpdir(), strerror(errno));
		self->end = SIZE;
		ASSERT_EQ(SIZE, pwrite(self->fd, self->back, SIZE, 0));
	}
	ASSERT_EQ(0, sys_io_setup(8, &self->ctx));
}

FIXTURE_TEARDOWN(rw)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
}

TEST_F(rw, reads_back_what_was_written)
{
	struct iocb iocb;

	prep_pwrite(&iocb, self->fd, self->buf, SIZE, 0);
	ASSERT_EQ(SIZE, submit_and_wait(self->ctx, &iocb));
	prep_pread(&iocb, self->fd, self->back, SIZE, 0);
	ASSERT_EQ(SIZE, submit_and_wait(self->ctx, &iocb));
	EXPECT_TRUE(has_pattern(self->back, SIZE, SEED, 0));
}

TEST_F(rw, goes_where_the_offset_says)
{
	struct iocb iocb;

	for (int i = BLOCKS - 1; i >= 0; i--) {
		prep_pwrite(&iocb, self->fd, self->buf + i * BLOCK, BLOCK, i * BLOCK);
		ASSERT_EQ(BLOCK, submit_and_wait(self->ctx, &iocb));
	}
	ASSERT_EQ(SIZE, pread(self->fd, self->back, SIZE, 0));
	EXPECT_TRUE(has_pattern(self->back, SIZE, SEED, 0));

	memset(self->back, 0, SIZE);
	prep_pread(&iocb, self->fd, self->back, BLOCK, 5 * BLOCK);
	ASSERT_EQ(BLOCK, submit_and_wait(self->ctx, &iocb));
	EXPECT_TRUE(has_pattern(self->back, BLOCK, SEED, 5 * BLOCK));
	EXPECT_EQ(0, self->back[BLOCK]);
}

/* Iovecs that cut @buf, of SIZE bytes, into pieces, last to first. */
static void cut_backwards(struct iovec *iov, int nr, char *buf)
{
	for (int i = 0; i < nr; i++) {
		iov[i].iov_base = buf + (nr - 1 - i) * (SIZE / nr);
		iov[i].iov_len = SIZE / nr;
	}
}

TEST_F(rw, vectors_are_taken_in_order)
{
	struct iovec iov[BLOCKS];
	struct iocb iocb;

	cut_backwards(iov, BLOCKS, self->buf);
	prep_pwritev(&iocb, self->fd, iov, BLOCKS, 0);
	ASSERT_EQ(SIZE, submit_and_wait(self->ctx, &iocb));
	cut_backwards(iov, BLOCKS, self->back);
	prep_preadv(&iocb, self->fd, iov, BLOCKS, 0);
	ASSERT_EQ(SIZE, submit_and_wait(self->ctx, &iocb));
	EXPECT_TRUE(has_pattern(self->back, SIZE, SEED, 0));

	ASSERT_EQ(BLOCK, pread(self->fd, self->back, BLOCK, 0));
	EXPECT_TRUE(has_pattern(self->back, BLOCK, SEED, SIZE - BLOCK));
}

/* The list of iovecs may go once io_submit() has returned. */
TEST_F(rw, iovecs_are_copied_at_submission)
{
	struct iovec iov[BLOCKS];
	struct io_event event;
	struct iocb iocb;

	ASSERT_EQ(SIZE, pwrite(self->fd, self->buf, SIZE, 0));
	for (int i = 0; i < BLOCKS; i++) {
		iov[i].iov_base = self->back + i * BLOCK;
		iov[i].iov_len = BLOCK;
	}
	prep_preadv(&iocb, self->fd, iov, BLOCKS, 0);
	ASSERT_EQ(1, submit_one(self->ctx, &iocb));
	memset(iov, 0xff, sizeof(iov));
	ASSERT_EQ(1, reap(self->ctx, 1, &event, 10 * MSEC_PER_SEC));
	EXPECT_EQ(SIZE, event.res);
	EXPECT_TRUE(has_pattern(self->back, SIZE, SEED, 0));
}

TEST_F(rw, short_read_at_the_end)
{
	struct iocb iocb;

	prep_pread(&iocb, self->fd, self->back, 2 * BLOCK, self->end - BLOCK);
	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &iocb));
}

TEST_F(rw, nothing_to_read_past_the_end)
{
	struct iocb iocb;

	prep_pread(&iocb, self->fd, self->back, BLOCK, self->end);
	EXPECT_EQ(0, submit_and_wait(self->ctx, &iocb));
	prep_pread(&iocb, self->fd, self->back, BLOCK, self->end + 10 * BLOCK);
	EXPECT_EQ(0, submit_and_wait(self->ctx, &iocb));
}

TEST_F(rw, zero_bytes)
{
	struct iocb iocb;

	prep_pread(&iocb, self->fd, self->back, 0, 0);
	EXPECT_EQ(0, submit_and_wait(self->ctx, &iocb));
	prep_preadv(&iocb, self->fd, NULL, 0, 0);
	EXPECT_EQ(0, submit_and_wait(self->ctx, &iocb));
}

TEST_F(rw, events_name_their_iocb)
{
	struct io_event event;
	struct iocb iocb;

	prep_pread(&iocb, self->fd, self->back, BLOCK, 0);
	iocb.aio_data = 0x123456789abcdef0ULL;
	memset(&event, 0xff, sizeof(event));
	ASSERT_EQ(1, submit_one(self->ctx, &iocb));
	ASSERT_EQ(1, reap(self->ctx, 1, &event, 10 * MSEC_PER_SEC));
	EXPECT_EQ((uintptr_t)&iocb, event.obj);
	EXPECT_EQ(0x123456789abcdef0ULL, event.data);
	EXPECT_EQ(BLOCK, event.res);
	EXPECT_EQ(0, event.res2);
}

TEST_F(rw, as_many_iovecs_as_readv_takes)
{
	struct iovec iov[IOV_MAX + 1];
	struct iocb iocb;

	for (int i = 0; i <= IOV_MAX; i++) {
		iov[i].iov_base = self->back + i % BLOCKS * BLOCK;
		iov[i].iov_len = i < BLOCKS ? BLOCK : 0;
	}
	prep_preadv(&iocb, self->fd, iov, IOV_MAX, 0);
	EXPECT_EQ(SIZE, submit_and_wait(self->ctx, &iocb));
	prep_preadv(&iocb, self->fd, iov, IOV_MAX + 1, 0);
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &iocb));
}

TEST_F(rw, bad_iovecs_are_refused_at_submission)
{
	struct iovec iov[2] = {
		{ self->back, BLOCK },
		{ self->back, (size_t)-1 },
	};
	struct iocb iocb;

	prep_preadv(&iocb, self->fd, iov, 2, 0);
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &iocb));
	prep_preadv(&iocb, self->fd, NULL, 1, 0);
	EXPECT_EQ(-EFAULT, submit_one(self->ctx, &iocb));
}

TEST_F(rw, a_buffer_that_is_not_there_is_a_result)
{
	char *hole = map_memory(BLOCK);
	struct iovec iov = { hole, BLOCK };
	struct iocb iocb;

	ASSERT_TRUE(!!hole);
	ASSERT_EQ(BLOCK, pwrite(self->fd, self->buf, BLOCK, 0));
	munmap(hole, BLOCK);
	prep_pread(&iocb, self->fd, hole, BLOCK, 0);
	EXPECT_EQ(-EFAULT, submit_and_wait(self->ctx, &iocb));
	prep_pwrite(&iocb, self->fd, hole, BLOCK, 0);
	EXPECT_EQ(-EFAULT, submit_and_wait(self->ctx, &iocb));
	prep_preadv(&iocb, self->fd, &iov, 1, 0);
	EXPECT_EQ(-EFAULT, submit_and_wait(self->ctx, &iocb));
}

TEST_F(rw, a_read_only_buffer_is_not_read_into)
{
	struct iocb iocb;

	ASSERT_EQ(BLOCK, pwrite(self->fd, self->buf, BLOCK, 0));
	ASSERT_EQ(0, mprotect(self->back, SIZE, PROT_READ));
	prep_pread(&iocb, self->fd, self->back, BLOCK, 0);
	EXPECT_EQ(-EFAULT, submit_and_wait(self->ctx, &iocb));
	prep_pwrite(&iocb, self->fd, self->back, BLOCK, 0);
	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &iocb));
}

TEST_F(rw, the_file_may_be_closed_in_flight)
{
	struct iocb iocbs[8];
	struct io_event events[8];

	for (int i = 0; i < 8; i++)
		prep_pread(&iocbs[i], self->fd, self->back + i * BLOCK, BLOCK, 0);
	ASSERT_EQ(8, submit_array(self->ctx, iocbs, 8));
	ASSERT_EQ(0, close(self->fd));
	ASSERT_EQ(8, reap(self->ctx, 8, events, 10 * MSEC_PER_SEC));
	for (int i = 0; i < 8; i++)
		EXPECT_EQ(BLOCK, events[i].res);
}

TEST(unaligned_direct_io_is_a_result)
{
	int fd = open_device(&nullb, O_RDONLY | O_DIRECT);
	char *buf = map_memory(SIZE);
	aio_context_t ctx = 0;
	struct iocb iocb;

	if (fd < 0)
		SKIP(return, "%s", skip_reason);
	ASSERT_TRUE(!!buf);
	ASSERT_EQ(0, sys_io_setup(1, &ctx));
	prep_pread(&iocb, fd, buf, 100, 0);
	EXPECT_EQ(-EINVAL, submit_and_wait(ctx, &iocb));
	prep_pread(&iocb, fd, buf, BLOCK, 100);
	EXPECT_EQ(-EINVAL, submit_and_wait(ctx, &iocb));
	prep_pread(&iocb, fd, buf + 1, BLOCK, 0);
	EXPECT_EQ(-EINVAL, submit_and_wait(ctx, &iocb));
	EXPECT_EQ(0, sys_io_destroy(ctx));
}

/* Without the flag, it would be the submitter who waits for the pipe. */
TEST(nowait_reads_of_an_empty_pipe_fail_at_once)
{
	aio_context_t ctx = 0;
	struct iocb iocb;
	char byte = 0;
	int fds[2];

	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
	ASSERT_EQ(0, sys_io_setup(1, &ctx));
	prep_pread(&iocb, fds[0], &byte, 1, 0);
	iocb.aio_rw_flags = RWF_NOWAIT;
	EXPECT_EQ(-EAGAIN, submit_and_wait(ctx, &iocb));
	ASSERT_EQ(1, write(fds[1], "x", 1));
	EXPECT_EQ(1, submit_and_wait(ctx, &iocb));
	EXPECT_EQ('x', byte);
	EXPECT_EQ(0, sys_io_destroy(ctx));
}

TEST(append_ignores_the_offset)
{
	char text[6] = "";
	aio_context_t ctx = 0;
	int fd = open_tmpfile(0);
	struct iocb iocb;

	ASSERT_LE(0, fd);
	ASSERT_EQ(3, write(fd, "abc", 3));
	ASSERT_EQ(0, sys_io_setup(1, &ctx));
	prep_pwrite(&iocb, fd, "def", 3, 0);
	iocb.aio_rw_flags = RWF_APPEND;
	ASSERT_EQ(3, submit_and_wait(ctx, &iocb));
	ASSERT_EQ(6, pread(fd, text, 6, 0));
	EXPECT_EQ(0, memcmp(text, "abcdef", 6));
	EXPECT_EQ(0, sys_io_destroy(ctx));
}

TEST_HARNESS_MAIN
