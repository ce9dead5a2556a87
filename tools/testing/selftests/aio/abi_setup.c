// SPDX-License-Identifier: GPL-2.0-only
/*
 * io_setup() and io_destroy(): what they refuse, in which order, and what they
 * account in fs.aio-nr.
 */
#include "aio_syscalls.h"
#include "kselftest_harness.h"

/* io_setup() doubles the count; the ring may not exceed 256 MiB. */
#define TOO_MANY_EVENTS		(0x10000000U / sizeof(struct io_event))

TEST(setup_returns_a_context)
{
	aio_context_t ctx = 0;

	ASSERT_EQ(0, sys_io_setup(1, &ctx));
	EXPECT_NE(0, ctx);
	EXPECT_EQ(0, sys_io_destroy(ctx));
}

TEST(setup_refuses_a_context_in_use)
{
	aio_context_t ctx = 1;

	EXPECT_EQ(-EINVAL, sys_io_setup(1, &ctx));
	EXPECT_EQ(1, ctx);
}

TEST(setup_refuses_zero_events)
{
	aio_context_t ctx = 0;

	EXPECT_EQ(-EINVAL, sys_io_setup(0, &ctx));
	EXPECT_EQ(0, ctx);
}

TEST(setup_refuses_a_ring_too_large)
{
	aio_context_t ctx = 0;

	EXPECT_EQ(-EINVAL, sys_io_setup(TOO_MANY_EVENTS, &ctx));
	EXPECT_EQ(-EINVAL, sys_io_setup(UINT_MAX, &ctx));
	EXPECT_EQ(0, ctx);
}

TEST(setup_refuses_a_count_that_wraps_to_zero)
{
	aio_context_t ctx = 0;

	EXPECT_EQ(-EAGAIN, sys_io_setup(0x80000000U, &ctx));
}

TEST(setup_refuses_more_than_aio_max_nr)
{
	long max = read_number(AIO_MAX_NR_PATH);
	aio_context_t ctx = 0;

	if (max < 0 || max >= (long)TOO_MANY_EVENTS / 2)
		SKIP(return, AIO_MAX_NR_PATH ": %ld, beyond what io_setup() takes", max);
	EXPECT_EQ(-EAGAIN, sys_io_setup(max + 1, &ctx));
	EXPECT_EQ(0, ctx);
}

TEST(setup_reads_the_pointer_first)
{
	EXPECT_EQ(-EFAULT, sys_io_setup(1, NULL));
	EXPECT_EQ(-EFAULT, sys_io_setup(0, NULL));
	EXPECT_EQ(-EFAULT, sys_io_setup(UINT_MAX, NULL));
}

TEST(setup_that_cannot_store_the_handle_leaves_nothing)
{
	long page = sysconf(_SC_PAGESIZE);
	aio_context_t *ctx = map_memory(page);
	long before = read_number(AIO_NR_PATH);

	ASSERT_TRUE(!!ctx);
	ASSERT_EQ(0, mprotect(ctx, page, PROT_READ));
	EXPECT_EQ(-EFAULT, sys_io_setup(8, ctx));
	EXPECT_EQ(0, *ctx);
	EXPECT_TRUE(aio_nr_becomes(before));
}

TEST(destroy_refuses_what_is_no_context)
{
	aio_context_t *zeroes = map_memory(sysconf(_SC_PAGESIZE));
	aio_context_t ctx = 0;

	ASSERT_TRUE(!!zeroes);
	EXPECT_EQ(-EINVAL, sys_io_destroy(0));
	EXPECT_EQ(-EINVAL, sys_io_destroy(~0UL));
	EXPECT_EQ(-EINVAL, sys_io_destroy((uintptr_t)zeroes));

	/* The same with a context in slot 0, whose number the zeroes name. */
	ASSERT_EQ(0, sys_io_setup(1, &ctx));
	EXPECT_EQ(-EINVAL, sys_io_destroy((uintptr_t)zeroes));
	EXPECT_EQ(0, sys_io_destroy(ctx));
}

TEST(destroy_works_once)
{
	aio_context_t ctx = 0;

	ASSERT_EQ(0, sys_io_setup(1, &ctx));
	EXPECT_EQ(0, sys_io_destroy(ctx));
	EXPECT_EQ(-EINVAL, sys_io_destroy(ctx));
}

TEST(destroy_unmaps_the_ring)
{
	unsigned char resident;
	aio_context_t ctx = 0;

	ASSERT_EQ(0, sys_io_setup(1, &ctx));
	ASSERT_EQ(0, sys_io_destroy(ctx));
	EXPECT_EQ(-1, mincore(ring_of(ctx), 1, &resident));
	EXPECT_EQ(ENOMEM, errno);
}

TEST(aio_nr_counts_the_events_asked_for)
{
	long before = read_number(AIO_NR_PATH);
	aio_context_t ctx = 0;

	ASSERT_LE(0, before);
	ASSERT_EQ(0, sys_io_setup(123, &ctx));
	EXPECT_EQ(before + 123, read_number(AIO_NR_PATH));
	ASSERT_EQ(0, sys_io_destroy(ctx));
	EXPECT_EQ(before, read_number(AIO_NR_PATH));
}

TEST(aio_nr_returns_when_the_process_exits)
{
	long before = read_number(AIO_NR_PATH);
	aio_context_t ctx = 0;
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(sys_io_setup(77, &ctx) ? 1 : 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_TRUE(aio_nr_becomes(before));
}

TEST(many_contexts_are_distinct)
{
	aio_context_t ctx[100] = { 0 };
	long before = read_number(AIO_NR_PATH);

	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(0, sys_io_setup(1, &ctx[i]));
		for (int j = 0; j < i; j++)
			ASSERT_NE(ctx[j], ctx[i]);
	}
	for (int i = 0; i < 100; i += 2) {
		long ret = sys_io_destroy(ctx[i]);

		EXPECT_EQ(0, ret);
	}
	for (int i = 0; i < 100; i += 2) {
		ctx[i] = 0;
		ASSERT_EQ(0, sys_io_setup(1, &ctx[i]));
	}
	for (int i = 99; i >= 0; i--) {
		long ret = sys_io_destroy(ctx[i]);

		EXPECT_EQ(0, ret);
	}
	EXPECT_EQ(before, read_number(AIO_NR_PATH));
}

/* The quota of the system, lowered to ten events above what is in use. */
FIXTURE(quota)
{
	long max;
};

FIXTURE_SETUP(quota)
{
	long used = read_number(AIO_NR_PATH);

	self->max = read_number(AIO_MAX_NR_PATH);
	if (write_number(AIO_MAX_NR_PATH, used + 10))
		SKIP(return, AIO_MAX_NR_PATH ": cannot be changed, needs root");
}

FIXTURE_TEARDOWN(quota)
{
	write_number(AIO_MAX_NR_PATH, self->max);
}

TEST_F(quota, exhausted_by_one_too_many)
{
	aio_context_t full = 0, more = 0;

	ASSERT_EQ(0, sys_io_setup(10, &full));
	EXPECT_EQ(-EAGAIN, sys_io_setup(1, &more));
	EXPECT_EQ(0, more);
	ASSERT_EQ(0, sys_io_destroy(full));
	EXPECT_EQ(0, sys_io_setup(1, &more));
	EXPECT_EQ(0, sys_io_destroy(more));
}

TEST_F(quota, failed_setup_takes_nothing)
{
	long before = read_number(AIO_NR_PATH);
	aio_context_t ctx = 0;

	for (int i = 0; i < 20; i++) {
		long ret = sys_io_setup(11, &ctx);

		EXPECT_EQ(-EAGAIN, ret);
	}
	EXPECT_EQ(before, read_number(AIO_NR_PATH));
	EXPECT_EQ(0, sys_io_setup(10, &ctx));
	EXPECT_EQ(0, sys_io_destroy(ctx));
}

TEST_HARNESS_MAIN
