// SPDX-License-Identifier: GPL-2.0-only
/*
 * FSYNC and FDSYNC: accepted on what fsync(2) works on, refused with any field
 * set that they do not use.
 */
#include "aio_syscalls.h"
#include "kselftest_harness.h"

FIXTURE(fsync)
{
	aio_context_t ctx;
	int fd;
};

FIXTURE_VARIANT(fsync)
{
	int opcode;
};

FIXTURE_VARIANT_ADD(fsync, fsync) { .opcode = IOCB_CMD_FSYNC };
FIXTURE_VARIANT_ADD(fsync, fdsync) { .opcode = IOCB_CMD_FDSYNC };

FIXTURE_SETUP(fsync)
{
	ASSERT_EQ(0, sys_io_setup(8, &self->ctx));
	self->fd = open_tmpfile(0);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(fsync)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
}

TEST_F(fsync, succeeds_on_a_file)
{
	struct io_event event;
	struct iocb iocb;

	ASSERT_EQ(3, write(self->fd, "abc", 3));
	prep_fsync(&iocb, variant->opcode, self->fd);
	iocb.aio_data = 42;
	memset(&event, 0xff, sizeof(event));
	ASSERT_EQ(1, submit_one(self->ctx, &iocb));
	ASSERT_EQ(1, reap(self->ctx, 1, &event, 10 * MSEC_PER_SEC));
	EXPECT_EQ((uintptr_t)&iocb, event.obj);
	EXPECT_EQ(42, event.data);
	EXPECT_EQ(0, event.res);
	EXPECT_EQ(0, event.res2);
}

TEST_F(fsync, succeeds_on_a_device)
{
	int fd = open_device(&nullb, O_RDWR);
	struct iocb iocb;

	if (fd < 0)
		SKIP(return, "%s", skip_reason);
	prep_fsync(&iocb, variant->opcode, fd);
	EXPECT_EQ(0, submit_and_wait(self->ctx, &iocb));
}

TEST_F(fsync, needs_no_write_access)
{
	char path[64];
	struct iocb iocb;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	prep_fsync(&iocb, variant->opcode, fd);
	EXPECT_EQ(0, submit_and_wait(self->ctx, &iocb));
}

TEST_F(fsync, many_at_once)
{
	struct iocb iocbs[8];
	struct io_event events[8];

	for (int i = 0; i < 8; i++)
		prep_fsync(&iocbs[i], variant->opcode, self->fd);
	ASSERT_EQ(8, submit_array(self->ctx, iocbs, 8));
	ASSERT_EQ(8, reap(self->ctx, 8, events, 10 * MSEC_PER_SEC));
	for (int i = 0; i < 8; i++)
		EXPECT_EQ(0, events[i].res);
}

TEST_F(fsync, the_file_may_be_closed_in_flight)
{
	struct io_event event;
	struct iocb iocb;

	prep_fsync(&iocb, variant->opcode, self->fd);
	ASSERT_EQ(1, submit_one(self->ctx, &iocb));
	ASSERT_EQ(0, close(self->fd));
	ASSERT_EQ(1, reap(self->ctx, 1, &event, 10 * MSEC_PER_SEC));
	EXPECT_EQ(0, event.res);
}

TEST_F(fsync, refuses_fields_it_does_not_use)
{
	struct iocb iocb;

	prep_fsync(&iocb, variant->opcode, self->fd);
	iocb.aio_buf = 1;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &iocb));
	prep_fsync(&iocb, variant->opcode, self->fd);
	iocb.aio_offset = 1;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &iocb));
	prep_fsync(&iocb, variant->opcode, self->fd);
	iocb.aio_nbytes = 1;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &iocb));
	prep_fsync(&iocb, variant->opcode, self->fd);
	iocb.aio_rw_flags = RWF_DSYNC;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &iocb));
}

TEST_F(fsync, refuses_files_without_it)
{
	struct iocb iocb;
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	prep_fsync(&iocb, variant->opcode, fds[1]);
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &iocb));
	prep_fsync(&iocb, variant->opcode, -1);
	EXPECT_EQ(-EBADF, submit_one(self->ctx, &iocb));
}

TEST_F(fsync, refused_iocbs_give_their_slots_back)
{
	__u32 rounds = 4 * ring_of(self->ctx)->nr;
	struct iocb iocb;

	prep_fsync(&iocb, variant->opcode, self->fd);
	iocb.aio_nbytes = 1;
	for (__u32 i = 0; i < rounds; i++) {
		long ret = submit_one(self->ctx, &iocb);

		ASSERT_EQ(-EINVAL, ret);
	}
	prep_fsync(&iocb, variant->opcode, self->fd);
	EXPECT_EQ(0, submit_and_wait(self->ctx, &iocb));
}

TEST_HARNESS_MAIN
