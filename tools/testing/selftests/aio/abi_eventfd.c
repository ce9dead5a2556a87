// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOCB_FLAG_RESFD: an eventfd counts the completions, each after its event is
 * there to be reaped.
 */
#include "aio_syscalls.h"
#include "kselftest_harness.h"

#include <sys/epoll.h>

#define BATCH		16

FIXTURE(eventfd)
{
	aio_context_t ctx;
	int fd;
	int efd;
	char *buf;
	struct iocb iocbs[BATCH];
	struct io_event events[BATCH];
};

FIXTURE_SETUP(eventfd)
{
	ASSERT_EQ(0, sys_io_setup(BATCH, &self->ctx));
	self->buf = map_memory(BLOCK);
	ASSERT_TRUE(!!self->buf);
	self->fd = open_tmpfile(O_DIRECT);
	if (self->fd < 0)
		SKIP(return, "AIO_TMPDIR (%s): %s", tmpdir(), strerror(errno));
	ASSERT_EQ(BLOCK, pwrite(self->fd, self->buf, BLOCK, 0));
	self->efd = eventfd(0, EFD_CLOEXEC);
	ASSERT_LE(0, self->efd);
	for (int i = 0; i < BATCH; i++) {
		prep_pread(&self->iocbs[i], self->fd, self->buf, BLOCK, 0);
		set_resfd(&self->iocbs[i], self->efd);
	}
}

FIXTURE_TEARDOWN(eventfd)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
	close(self->efd);
}

TEST_F(eventfd, counts_each_completion_once)
{
	__u64 sum = 0;

	ASSERT_EQ(BATCH, submit_array(self->ctx, self->iocbs, BATCH));
	while (sum < BATCH) {
		__u64 count;

		ASSERT_EQ(8, read(self->efd, &count, sizeof(count)));
		sum += count;
		/* What was counted can be reaped without waiting. */
		ASSERT_EQ(count, getevents_ms(self->ctx, count, count,
					      self->events, 0));
	}
	EXPECT_EQ(BATCH, sum);
	sleep_ms(20);
	EXPECT_EQ(0, poll(&(struct pollfd){ .fd = self->efd, .events = POLLIN }, 1, 0));
}

TEST_F(eventfd, wakes_epoll)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	ASSERT_LE(0, epoll);
	ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, self->efd, &event));
	EXPECT_EQ(0, epoll_wait(epoll, &event, 1, 0));
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocbs[0]));
	EXPECT_EQ(1, epoll_wait(epoll, &event, 1, 10000));
	EXPECT_EQ(1, reap(self->ctx, 1, self->events, 0));
}

TEST_F(eventfd, only_marked_iocbs_signal)
{
	__u64 count;

	for (int i = 1; i < BATCH; i++)
		self->iocbs[i].aio_flags = 0;
	ASSERT_EQ(BATCH, submit_array(self->ctx, self->iocbs, BATCH));
	ASSERT_EQ(BATCH, reap(self->ctx, BATCH, self->events, 10 * MSEC_PER_SEC));
	/* An event is there before its signal. */
	sleep_ms(20);
	ASSERT_EQ(8, read(self->efd, &count, sizeof(count)));
	EXPECT_EQ(1, count);
}

TEST_F(eventfd, signals_for_fsync)
{
	__u64 count;

	prep_fsync(&self->iocbs[0], IOCB_CMD_FSYNC, self->fd);
	set_resfd(&self->iocbs[0], self->efd);
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocbs[0]));
	ASSERT_EQ(8, read(self->efd, &count, sizeof(count)));
	EXPECT_EQ(1, count);
	EXPECT_EQ(1, reap(self->ctx, 1, self->events, 0));
}

TEST_F(eventfd, signals_for_failed_io)
{
	__u64 count;

	self->iocbs[0].aio_buf = 1;
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocbs[0]));
	ASSERT_EQ(8, read(self->efd, &count, sizeof(count)));
	ASSERT_EQ(1, reap(self->ctx, 1, self->events, 0));
	EXPECT_GT(0, (long long)self->events[0].res);
}

TEST_F(eventfd, refused_iocbs_do_not_signal)
{
	self->iocbs[0].aio_offset = -1;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocbs[0]));
	sleep_ms(20);
	EXPECT_EQ(0, poll(&(struct pollfd){ .fd = self->efd, .events = POLLIN }, 1, 0));
}

TEST_F(eventfd, may_be_closed_in_flight)
{
	ASSERT_EQ(BATCH, submit_array(self->ctx, self->iocbs, BATCH));
	ASSERT_EQ(0, close(self->efd));
	EXPECT_EQ(BATCH, reap(self->ctx, BATCH, self->events, 10 * MSEC_PER_SEC));
}

/* The completion runs under the lock of the very eventfd it signals. */
TEST_F(eventfd, poll_may_signal_what_it_polls)
{
	__u64 count = 1;

	prep_poll(&self->iocbs[0], self->efd, POLLIN);
	set_resfd(&self->iocbs[0], self->efd);
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocbs[0]));
	ASSERT_EQ(8, write(self->efd, &count, sizeof(count)));
	ASSERT_EQ(1, reap(self->ctx, 1, self->events, 10 * MSEC_PER_SEC));
	EXPECT_EQ(POLLIN, self->events[0].res);
	sleep_ms(20);
	ASSERT_EQ(8, read(self->efd, &count, sizeof(count)));
	EXPECT_EQ(2, count);
}

TEST_HARNESS_MAIN
