// SPDX-License-Identifier: GPL-2.0-only
/*
 * A context is polled or not: its first accepted I/O says which, for good, and a
 * refused I/O says nothing.
 */
#include "aio_syscalls.h"
#include "kselftest_harness.h"

#define EVENTS		8
#define RACES		60

FIXTURE(mode)
{
	aio_context_t ctx;
	int fd;
	char *buf;
	struct iocb polled;	/* a read that is accepted as it is */
	struct iocb plain;	/* the same without IOCB_FLAG_HIPRI */
	struct io_event events[EVENTS];
};

FIXTURE_VARIANT(mode)
{
	const struct aio_device *device;
};

FIXTURE_VARIANT_ADD(mode, nvme) { .device = &nvme };
FIXTURE_VARIANT_ADD(mode, nullb) { .device = &nullb };

FIXTURE_SETUP(mode)
{
	self->fd = open_polled(variant->device, O_RDONLY);
	if (self->fd < 0)
		SKIP(return, "%s", skip_reason);
	self->buf = map_memory(BLOCK);
	ASSERT_TRUE(!!self->buf);
	prep_pread(&self->plain, self->fd, self->buf, BLOCK, 0);
	self->polled = self->plain;
	set_hipri(&self->polled);
	ASSERT_EQ(0, sys_io_setup(EVENTS, &self->ctx));
}

FIXTURE_TEARDOWN(mode)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
}

/* Are polled I/Os accepted and others not? */
static bool is_polled(aio_context_t ctx, struct iocb *polled, struct iocb *plain)
{
	return submit_and_wait(ctx, polled) == BLOCK &&
	       submit_one(ctx, plain) == -EINVAL;
}

static bool is_plain(aio_context_t ctx, struct iocb *polled, struct iocb *plain)
{
	return submit_and_wait(ctx, plain) == BLOCK &&
	       submit_one(ctx, polled) == -EINVAL;
}

TEST_F(mode, polled_io_makes_it_polled)
{
	ASSERT_EQ(BLOCK, submit_and_wait(self->ctx, &self->polled));
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->plain));
	EXPECT_TRUE(is_polled(self->ctx, &self->polled, &self->plain));
}

TEST_F(mode, plain_io_makes_it_plain)
{
	ASSERT_EQ(BLOCK, submit_and_wait(self->ctx, &self->plain));
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->polled));
	EXPECT_TRUE(is_plain(self->ctx, &self->polled, &self->plain));
}

TEST_F(mode, each_context_has_its_own)
{
	aio_context_t other = 0;

	ASSERT_EQ(0, sys_io_setup(EVENTS, &other));
	ASSERT_EQ(BLOCK, submit_and_wait(self->ctx, &self->polled));
	ASSERT_EQ(BLOCK, submit_and_wait(other, &self->plain));
	EXPECT_TRUE(is_polled(self->ctx, &self->polled, &self->plain));
	EXPECT_TRUE(is_plain(other, &self->polled, &self->plain));
	EXPECT_EQ(0, sys_io_destroy(other));
}

TEST_F(mode, a_new_context_forgets_the_old_one)
{
	for (int i = 0; i < 20; i++) {
		struct iocb *first = i % 2 ? &self->plain : &self->polled;

		ASSERT_EQ(BLOCK, submit_and_wait(self->ctx, first));
		ASSERT_EQ(0, sys_io_destroy(self->ctx));
		self->ctx = 0;
		ASSERT_EQ(0, sys_io_setup(EVENTS, &self->ctx));
	}
}

TEST_F(mode, outlives_the_io)
{
	for (int i = 0; i < 20; i++) {
		long long ret = submit_and_wait(self->ctx, &self->polled);

		ASSERT_EQ(BLOCK, ret);
	}
	EXPECT_EQ(0, getevents_ms(self->ctx, 0, EVENTS, self->events, 0));
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->plain));
}

TEST_F(mode, holds_while_io_is_in_flight)
{
	ASSERT_EQ(1, submit_one(self->ctx, &self->polled));
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->plain));
	ASSERT_EQ(1, submit_one(self->ctx, &self->polled));
	EXPECT_EQ(2, reap(self->ctx, 2, self->events, 10 * MSEC_PER_SEC));
}

TEST_F(mode, polled_refuses_fsync_and_poll)
{
	struct iocb iocb;
	int fds[2];

	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
	ASSERT_EQ(BLOCK, submit_and_wait(self->ctx, &self->polled));
	prep_fsync(&iocb, IOCB_CMD_FSYNC, self->fd);
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &iocb));
	prep_fsync(&iocb, IOCB_CMD_FDSYNC, self->fd);
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &iocb));
	prep_poll(&iocb, fds[0], POLLIN);
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &iocb));
	EXPECT_EQ(0, getevents_ms(self->ctx, 0, EVENTS, self->events, 0));
}

TEST_F(mode, fsync_and_poll_make_it_plain)
{
	static const int opcodes[] = { IOCB_CMD_FSYNC, IOCB_CMD_FDSYNC, IOCB_CMD_POLL };
	int fds[2];

	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
	for (size_t i = 0; i < ARRAY_SIZE(opcodes); i++) {
		aio_context_t ctx = 0;
		struct iocb iocb;

		ASSERT_EQ(0, sys_io_setup(EVENTS, &ctx));
		if (opcodes[i] == IOCB_CMD_POLL)
			prep_poll(&iocb, fds[0], POLLIN);
		else
			prep_fsync(&iocb, opcodes[i], self->fd);
		ASSERT_EQ(1, submit_one(ctx, &iocb));
		EXPECT_EQ(-EINVAL, submit_one(ctx, &self->polled));
		EXPECT_EQ(0, sys_io_destroy(ctx));
	}
}

TEST_F(mode, a_mixed_batch_ends_where_it_mixes)
{
	struct iocb first = self->polled, second = self->polled;
	struct iocb *list[] = { &first, &second, &self->plain, &self->polled };

	EXPECT_EQ(2, sys_io_submit(self->ctx, 4, list));
	EXPECT_EQ(-EINVAL, sys_io_submit(self->ctx, 2, list + 2));
	EXPECT_EQ(2, reap(self->ctx, 2, self->events, 10 * MSEC_PER_SEC));
	EXPECT_EQ(0, getevents_ms(self->ctx, 0, EVENTS, self->events, 0));
}

TEST_F(mode, a_plain_batch_ends_at_polled_io)
{
	struct iocb *list[] = { &self->plain, &self->polled };

	EXPECT_EQ(1, sys_io_submit(self->ctx, 2, list));
	EXPECT_EQ(-EINVAL, sys_io_submit(self->ctx, 1, list + 1));
	EXPECT_EQ(1, reap(self->ctx, 1, self->events, 10 * MSEC_PER_SEC));
}

/* Ways to have an I/O of either kind refused, all of them before it starts. */
static void spoil(struct iocb *iocb, int way, struct iovec *bad)
{
	switch (way) {
	case 0:
		iocb->aio_reserved2 = 1;
		break;
	case 1:
		iocb->aio_fildes = -1;
		break;
	case 2:
		iocb->aio_lio_opcode = 0xffff;
		break;
	case 3:
		iocb->aio_offset = -1;
		break;
	case 4:
		iocb->aio_rw_flags = 1 << 30;
		break;
	case 5:
		iocb->aio_lio_opcode = IOCB_CMD_PWRITE;	/* open for reading only */
		break;
	case 6:
		iocb->aio_lio_opcode = IOCB_CMD_PREADV;
		iocb->aio_buf = (uintptr_t)bad;
		iocb->aio_nbytes = 1;
		break;
	case 7:
		iocb->aio_lio_opcode = IOCB_CMD_FSYNC;	/* with a buffer */
		break;
	case 8:
		iocb->aio_lio_opcode = IOCB_CMD_POLL;	/* with an offset */
		iocb->aio_offset = 1;
		break;
	}
}

#define WAYS_TO_SPOIL	9

TEST_F(mode, refused_polled_io_does_not_fix_it)
{
	struct iovec bad = { self->buf, (size_t)-1 };

	for (int way = 0; way < WAYS_TO_SPOIL; way++) {
		struct iocb refused = self->polled;
		aio_context_t ctx = 0;

		spoil(&refused, way, &bad);
		ASSERT_EQ(0, sys_io_setup(EVENTS, &ctx));
		EXPECT_GT(0, submit_one(ctx, &refused));
		EXPECT_TRUE(is_plain(ctx, &self->polled, &self->plain))
			TH_LOG("after polled I/O spoilt in way %d", way);
		EXPECT_EQ(0, sys_io_destroy(ctx));
	}
}

TEST_F(mode, refused_plain_io_does_not_fix_it)
{
	struct iovec bad = { self->buf, (size_t)-1 };

	for (int way = 0; way < WAYS_TO_SPOIL; way++) {
		struct iocb refused = self->plain;
		aio_context_t ctx = 0;

		spoil(&refused, way, &bad);
		ASSERT_EQ(0, sys_io_setup(EVENTS, &ctx));
		EXPECT_GT(0, submit_one(ctx, &refused));
		EXPECT_TRUE(is_polled(ctx, &self->polled, &self->plain))
			TH_LOG("after plain I/O spoilt in way %d", way);
		EXPECT_EQ(0, sys_io_destroy(ctx));
	}
}

TEST_F(mode, unsupported_polled_io_does_not_fix_it)
{
	struct iocb buffered = self->polled;
	int fds[2], fd;

	fd = open_device(variant->device, O_RDONLY);
	if (fd < 0)
		SKIP(return, "%s", skip_reason);
	buffered.aio_fildes = fd;
	EXPECT_EQ(-EOPNOTSUPP, submit_one(self->ctx, &buffered));
	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
	buffered.aio_fildes = fds[0];
	EXPECT_EQ(-EOPNOTSUPP, submit_one(self->ctx, &buffered));
	EXPECT_TRUE(is_plain(self->ctx, &self->polled, &self->plain));
}

/* The refused I/O is not the first one here: nothing may change either. */
TEST_F(mode, refused_io_does_not_change_it)
{
	struct iocb refused = self->plain;

	ASSERT_EQ(BLOCK, submit_and_wait(self->ctx, &self->polled));
	refused.aio_fildes = -1;
	EXPECT_GT(0, submit_one(self->ctx, &refused));
	EXPECT_TRUE(is_polled(self->ctx, &self->polled, &self->plain));
}

struct racer {
	pthread_barrier_t *start;
	aio_context_t *ctx;
	struct iocb *iocb;
	long ret;
};

static void *submit_at_each_start(void *arg)
{
	struct racer *racer = arg;

	for (int i = 0; i < RACES; i++) {
		pthread_barrier_wait(racer->start);
		racer->ret = submit_one(*racer->ctx, racer->iocb);
		pthread_barrier_wait(racer->start);
	}
	return NULL;
}

TEST_F_TIMEOUT(mode, the_first_of_two_threads_fixes_it, 120)
{
	pthread_barrier_t start;
	aio_context_t ctx = 0;
	struct racer racer = { &start, &ctx, &self->polled, 0 };
	pthread_t thread;

	ASSERT_EQ(0, pthread_barrier_init(&start, NULL, 2));
	ASSERT_EQ(0, pthread_create(&thread, NULL, submit_at_each_start, &racer));
	for (int i = 0; i < RACES; i++) {
		struct iocb *winner;
		long ret;

		ctx = 0;
		ASSERT_EQ(0, sys_io_setup(EVENTS, &ctx));
		pthread_barrier_wait(&start);
		ret = submit_one(ctx, &self->plain);
		pthread_barrier_wait(&start);
		if (ret == 1) {
			ASSERT_EQ(-EINVAL, racer.ret);
			winner = &self->plain;
		} else {
			ASSERT_EQ(-EINVAL, ret);
			ASSERT_EQ(1, racer.ret);
			winner = &self->polled;
		}
		ASSERT_EQ(1, reap(ctx, 1, self->events, 10 * MSEC_PER_SEC));
		ASSERT_EQ((uintptr_t)winner, self->events[0].obj);
		ASSERT_EQ(BLOCK, submit_and_wait(ctx, winner));
		ASSERT_EQ(0, sys_io_destroy(ctx));
	}
	ASSERT_EQ(0, pthread_join(thread, NULL));
}

TEST_HARNESS_MAIN
