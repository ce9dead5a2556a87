// SPDX-License-Identifier: GPL-2.0-only
/*
 * fs.aio-poll: whether polling is allowed, and whether a reader sleeps before it polls.
 */
#include "aio_syscalls.h"

#include <sys/resource.h>

#define EVENTS	4
#define READS	300

/* Values of the sysctl. */
#define REFUSE	0
#define POLL	1
#define HYBRID	2

FIXTURE(sysctl)
{
	aio_context_t ctx;
	int fd;
	char *buf;
	long before;
	struct iocb iocb;
};

/* A device that takes long enough to be worth a sleep, unlike null_blk. */
FIXTURE_SETUP(sysctl)
{
	self->fd = open_polled(&nvme, O_RDONLY);
	if (self->fd < 0)
		SKIP(return, "%s", skip_reason);
	self->before = read_number(AIO_POLL_PATH);
	ASSERT_LE(0, self->before);
	if (write_number(AIO_POLL_PATH, POLL))
		SKIP(return, AIO_POLL_PATH ": cannot be changed, needs root");
	self->buf = map_memory(BLOCK);
	ASSERT_TRUE(!!self->buf);
	prep_pread(&self->iocb, self->fd, self->buf, BLOCK, 0);
	set_hipri(&self->iocb);
	ASSERT_EQ(0, sys_io_setup(EVENTS, &self->ctx));
}

FIXTURE_TEARDOWN(sysctl)
{
	write_number(AIO_POLL_PATH, self->before);
	sys_io_destroy(self->ctx);
	close(self->fd);
}

/* Whether polling is allowed */

TEST_F(sysctl, turns_polling_off_and_on)
{
	ASSERT_EQ(0, write_number(AIO_POLL_PATH, REFUSE));
	EXPECT_EQ(-EOPNOTSUPP, submit_one(self->ctx, &self->iocb));
	ASSERT_EQ(0, write_number(AIO_POLL_PATH, POLL));
	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocb));
}

TEST_F(sysctl, plain_io_does_not_care)
{
	ASSERT_EQ(0, write_number(AIO_POLL_PATH, REFUSE));
	EXPECT_EQ(-EOPNOTSUPP, submit_one(self->ctx, &self->iocb));
	self->iocb.aio_flags = 0;
	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocb));
}

TEST_F(sysctl, io_in_flight_is_reaped)
{
	struct io_event event;

	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
	ASSERT_EQ(0, write_number(AIO_POLL_PATH, REFUSE));
	ASSERT_EQ(1, reap(self->ctx, 1, &event, 10 * MSEC_PER_SEC));
	EXPECT_EQ(BLOCK, event.res);
	EXPECT_EQ(-EOPNOTSUPP, submit_one(self->ctx, &self->iocb));
}

/* Hybrid polling */

/* How often this task gave up its processor by itself so far. */
static long voluntary_switches(void)
{
	struct rusage usage = {};

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_nvcsw;
}

/* How often the reader of one I/O after another slept. */
static long sleeps(struct __test_metadata *_metadata, FIXTURE_DATA(sysctl) *self)
{
	long before = voluntary_switches();

	for (int i = 0; i < READS; i++)
		ASSERT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocb));
	return voluntary_switches() - before;
}

TEST_F(sysctl, a_reader_sleeps_before_it_polls)
{
	ASSERT_EQ(0, write_number(AIO_POLL_PATH, HYBRID));
	EXPECT_LE(READS / 4, sleeps(_metadata, self));
}

TEST_F(sysctl, a_reader_does_not_sleep_unasked)
{
	EXPECT_GE(READS / 10, sleeps(_metadata, self));
}

TEST_F(sysctl, a_reader_that_does_not_wait_does_not_sleep)
{
	struct io_event event;
	long before;
	long got;

	ASSERT_EQ(0, write_number(AIO_POLL_PATH, HYBRID));
	/* So that it is known how long a read takes. */
	ASSERT_LE(1, sleeps(_metadata, self));
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
	before = voluntary_switches();
	do {
		got = reap(self->ctx, 1, &event, 0);
	} while (!got);
	EXPECT_GE(1, voluntary_switches() - before);
	ASSERT_EQ(1, got);
	EXPECT_EQ(BLOCK, event.res);
}

TEST_F(sysctl, there_is_no_third_way)
{
	ASSERT_EQ(0, write_number(AIO_POLL_PATH, HYBRID));
	EXPECT_NE(0, write_number(AIO_POLL_PATH, HYBRID + 1));
	EXPECT_EQ(HYBRID, read_number(AIO_POLL_PATH));
}

TEST_HARNESS_MAIN
