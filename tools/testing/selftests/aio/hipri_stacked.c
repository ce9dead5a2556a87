// SPDX-License-Identifier: GPL-2.0-only
/*
 * Devices on devices: partitions, the device mapper and loop devices. They poll what is
 * below them, if all of that can be polled, and refuse otherwise.
 */
#include "aio_syscalls.h"
#include "device_mapper.h"
#include "kselftest_harness.h"

#include <linux/blkpg.h>
#include <linux/loop.h>

#define MIB		(1024 * 1024)
#define PIECE		(16 * MIB)
#define OFFSET		(3 * MIB)	/* of what is above in what is below */
#define SIZE		(256 * 1024)
#define BLOCKS		(SIZE / BLOCK)
#define WAIT_MS		(10 * MSEC_PER_SEC)

#define FIRST		"aiofirst"
#define SECOND		"aiosecond"
#define MAPPED		"aio-selftest"

/* What is above */
enum kind {
	PARTITION,	/* of one disk */
	LINEAR,		/* a piece of one disk */
	CONCATENATION,	/* of a piece each of two disks */
};

FIXTURE(stacked)
{
	aio_context_t ctx;
	int first;		/* the disk below */
	int second;		/* another one, of a concatenation only */
	int fd;			/* what is above */
	char *buf;
	char *back;
	__u64 seed;
};

FIXTURE_VARIANT(stacked)
{
	enum kind kind;
	bool polled;
	long tags;		/* of each of the disks below */
};

FIXTURE_VARIANT_ADD(stacked, partition_plain) {
	.kind = PARTITION, .polled = false, .tags = 64,
};

FIXTURE_VARIANT_ADD(stacked, partition_polled) {
	.kind = PARTITION, .polled = true, .tags = 64,
};

FIXTURE_VARIANT_ADD(stacked, linear_plain) {
	.kind = LINEAR, .polled = false, .tags = 64,
};

FIXTURE_VARIANT_ADD(stacked, linear_polled) {
	.kind = LINEAR, .polled = true, .tags = 64,
};

FIXTURE_VARIANT_ADD(stacked, linear_polled_few_tags) {
	.kind = LINEAR, .polled = true, .tags = 4,
};

FIXTURE_VARIANT_ADD(stacked, concatenation_plain) {
	.kind = CONCATENATION, .polled = false, .tags = 64,
};

FIXTURE_VARIANT_ADD(stacked, concatenation_polled) {
	.kind = CONCATENATION, .polled = true, .tags = 64,
};

/* Makes a partition of PIECE bytes at OFFSET of @disk: 0, or -1 and skip_reason. */
static int make_partition(int disk)
{
	struct blkpg_partition partition = {
		.start = OFFSET, .length = PIECE, .pno = 1,
	};
	struct blkpg_ioctl_arg add = {
		.op = BLKPG_ADD_PARTITION, .datalen = sizeof(partition),
		.data = &partition,
	};

	if (!ioctl(disk, BLKPG, &add))
		return 0;
	snprintf(skip_reason, sizeof(skip_reason), "BLKPG: %s", strerror(errno));
	return -1;
}

/* Makes what is above, and puts its path into @path: 0, or -1 and skip_reason. */
static int make_above(enum kind kind, int first, char *path, size_t size)
{
	static const struct dm_piece pieces[] = {
		{ "/dev/" FIRST, OFFSET, PIECE },
		{ "/dev/" SECOND, OFFSET, PIECE },
	};

	if (kind == PARTITION) {
		snprintf(path, size, "/dev/" FIRST "1");
		return make_partition(first);
	}
	return dm_make(MAPPED, pieces, kind == LINEAR ? 1 : 2, path, size);
}

/* Opens what was made, which appears a little later. */
static int open_above(const char *path)
{
	long long deadline = now_ms() + PROMPT_MS;
	int fd;

	do {
		fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
		if (fd >= 0)
			return fd;
		sleep_ms(10);
	} while (now_ms() < deadline);
	return -1;
}

/* Writes zeroes, so that a disk has the memory that a polled write needs. */
static bool prefill(int fd)
{
	char *zeroes = map_memory(MIB);

	return zeroes && pwrite(fd, zeroes, MIB, OFFSET) == MIB &&
	       pwrite(fd, zeroes, MIB, OFFSET + PIECE - MIB) == MIB &&
	       !munmap(zeroes, MIB);
}

FIXTURE_SETUP(stacked)
{
	const struct nullb_setting settings[] = {
		{ "memory_backed", 1 },
		{ "size", 64 },
		{ "hw_queue_depth", variant->tags },
		{ NULL, 0 },
	};
	char path[64];

	if (variant->polled && !kernel_polls())
		SKIP(return, "%s", skip_reason);
	dm_remove(MAPPED);
	self->first = nullb_make(FIRST, settings);
	if (variant->kind == CONCATENATION)
		self->second = nullb_make(SECOND, settings);
	if (self->first < 0 || self->second < 0 ||
	    make_above(variant->kind, self->first, path, sizeof(path)))
		SKIP(return, "%s", skip_reason);
	ASSERT_TRUE(prefill(self->first));
	if (variant->kind == CONCATENATION)
		ASSERT_TRUE(prefill(self->second));
	self->fd = open_above(path);
	ASSERT_LE(0, self->fd);
	self->buf = map_memory(SIZE);
	self->back = map_memory(SIZE);
	ASSERT_TRUE(self->buf && self->back);
	self->seed = now_ms();
	fill_pattern(self->buf, SIZE, self->seed, 0);
	ASSERT_EQ(0, sys_io_setup(BLOCKS, &self->ctx));
}

FIXTURE_TEARDOWN(stacked)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
	dm_remove(MAPPED);
	close(self->first);
	nullb_remove(FIRST);
	if (variant->kind == CONCATENATION) {
		close(self->second);
		nullb_remove(SECOND);
	}
}

static void prep(struct iocb *iocb, bool polled, int opcode, int fd, void *buf,
		 size_t len, __s64 offset)
{
	prep_rw(iocb, opcode, fd, buf, len, offset);
	if (polled)
		set_hipri(iocb);
}

/* Does @opcode for each block of the SIZE bytes at @buf, from @start on, all at once. */
static bool transfer_blocks(FIXTURE_DATA(stacked) * self, bool polled, int opcode,
			    char *buf, __s64 start)
{
	struct io_event events[BLOCKS];
	struct iocb iocbs[BLOCKS];

	for (int i = 0; i < BLOCKS; i++)
		prep(&iocbs[i], polled, opcode, self->fd, buf + i * BLOCK, BLOCK,
		     start + i * BLOCK);
	/* No two neighbours in a row: each is a request. */
	for (int i = 0; i < BLOCKS / 2; i += 2) {
		struct iocb iocb = iocbs[i];

		iocbs[i] = iocbs[BLOCKS - 1 - i];
		iocbs[BLOCKS - 1 - i] = iocb;
	}
	if (submit_array(self->ctx, iocbs, BLOCKS) != BLOCKS ||
	    reap(self->ctx, BLOCKS, events, WAIT_MS) != BLOCKS)
		return false;
	for (int i = 0; i < BLOCKS; i++)
		if (events[i].res != BLOCK)
			return false;
	return !getevents_ms(self->ctx, 0, 1, events, 0);
}

static long long transfer(FIXTURE_DATA(stacked) * self, bool polled, int opcode,
			  char *buf, size_t len, __s64 offset)
{
	struct iocb iocb;

	prep(&iocb, polled, opcode, self->fd, buf, len, offset);
	return submit_and_wait(self->ctx, &iocb);
}

TEST_F(stacked, reads_back_what_was_written)
{
	ASSERT_TRUE(transfer_blocks(self, variant->polled, IOCB_CMD_PWRITE, self->buf, 0));
	ASSERT_TRUE(transfer_blocks(self, variant->polled, IOCB_CMD_PREAD, self->back, 0));
	EXPECT_TRUE(has_pattern(self->back, SIZE, self->seed, 0));
	/* It is where it belongs. */
	memset(self->back, 0, SIZE);
	ASSERT_EQ(SIZE, pread(self->first, self->back, SIZE, OFFSET));
	EXPECT_TRUE(has_pattern(self->back, SIZE, self->seed, 0));
}

TEST_F(stacked, io_of_another_kind)
{
	struct iocb iocb;

	/* Large, */
	EXPECT_EQ(SIZE, transfer(self, variant->polled, IOCB_CMD_PWRITE, self->buf, SIZE, 0));
	EXPECT_EQ(SIZE, transfer(self, variant->polled, IOCB_CMD_PREAD, self->back, SIZE, 0));
	EXPECT_TRUE(has_pattern(self->back, SIZE, self->seed, 0));

	/* and durable. */
	fill_pattern(self->buf, BLOCK, ++self->seed, 0);
	prep(&iocb, variant->polled, IOCB_CMD_PWRITE, self->fd, self->buf, BLOCK, 0);
	iocb.aio_rw_flags = RWF_DSYNC;
	ASSERT_EQ(BLOCK, submit_and_wait(self->ctx, &iocb));
	ASSERT_EQ(BLOCK, pread(self->first, self->back, BLOCK, OFFSET));
	EXPECT_TRUE(has_pattern(self->back, BLOCK, self->seed, 0));
}

/* It ends there, or another disk begins, and the I/O is split between the two. */
TEST_F(stacked, around_the_end_of_the_first_piece)
{
	__s64 start = PIECE - SIZE / 2;

	if (variant->kind != CONCATENATION) {
		EXPECT_EQ(SIZE / 2, transfer(self, variant->polled, IOCB_CMD_PREAD,
					     self->back, SIZE, start));
		EXPECT_EQ(0, transfer(self, variant->polled, IOCB_CMD_PREAD, self->back,
				      BLOCK, PIECE));
		EXPECT_EQ(-ENOSPC, transfer(self, variant->polled, IOCB_CMD_PWRITE,
					    self->buf, BLOCK, PIECE));
		return;
	}
	EXPECT_EQ(SIZE, transfer(self, variant->polled, IOCB_CMD_PWRITE, self->buf, SIZE,
				 start));
	EXPECT_EQ(SIZE, transfer(self, variant->polled, IOCB_CMD_PREAD, self->back, SIZE,
				 start));
	EXPECT_TRUE(has_pattern(self->back, SIZE, self->seed, 0));
	ASSERT_TRUE(transfer_blocks(self, variant->polled, IOCB_CMD_PREAD, self->back, start));
	EXPECT_TRUE(has_pattern(self->back, SIZE, self->seed, 0));
	ASSERT_EQ(SIZE / 2, pread(self->second, self->back, SIZE / 2, OFFSET));
	EXPECT_TRUE(has_pattern(self->back, SIZE / 2, self->seed, SIZE / 2));
}

/* A mapped device on one disk, and what is special about it */

FIXTURE(mapped)
{
	aio_context_t ctx;
	int disk;
	int fd;
	char *buf;
};

FIXTURE_VARIANT(mapped)
{
	bool polled;
};

FIXTURE_VARIANT_ADD(mapped, plain) { .polled = false };
FIXTURE_VARIANT_ADD(mapped, polled) { .polled = true };

FIXTURE_SETUP(mapped)
{
	static const struct nullb_setting settings[] = { { "size", 64 }, { NULL, 0 } };
	/* Devices with a piece of the second kind do not know of NOWAIT. */
	static const struct dm_piece pieces[] = {
		{ "/dev/" FIRST, OFFSET, PIECE },
		{ NULL, 0, PIECE },
	};
	char path[64];

	if (variant->polled && !kernel_polls())
		SKIP(return, "%s", skip_reason);
	dm_remove(MAPPED);
	self->disk = nullb_make(FIRST, settings);
	if (self->disk < 0 || dm_make(MAPPED, pieces, 2, path, sizeof(path)))
		SKIP(return, "%s", skip_reason);
	self->fd = open_above(path);
	ASSERT_LE(0, self->fd);
	self->buf = map_memory(2 * BLOCK);
	ASSERT_TRUE(!!self->buf);
	ASSERT_EQ(0, sys_io_setup(1, &self->ctx));
}

FIXTURE_TEARDOWN(mapped)
{
	dm_resume(MAPPED);
	sys_io_destroy(self->ctx);
	close(self->fd);
	dm_remove(MAPPED);
	close(self->disk);
	nullb_remove(FIRST);
}

TEST_F(mapped, knows_no_impatience)
{
	struct iocb iocb;

	prep(&iocb, variant->polled, IOCB_CMD_PREAD, self->fd, self->buf, BLOCK, 0);
	iocb.aio_rw_flags = RWF_NOWAIT;
	EXPECT_EQ(-EOPNOTSUPP, submit_one(self->ctx, &iocb));
	iocb.aio_rw_flags = 0;
	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &iocb));
}

TEST_F(mapped, fails_in_part)
{
	struct iocb iocb;

	prep(&iocb, variant->polled, IOCB_CMD_PREAD, self->fd, self->buf, BLOCK, PIECE);
	EXPECT_EQ(-EIO, submit_and_wait(self->ctx, &iocb));
	iocb.aio_lio_opcode = IOCB_CMD_PWRITE;
	EXPECT_EQ(-EIO, submit_and_wait(self->ctx, &iocb));
	iocb.aio_nbytes = 2 * BLOCK;
	iocb.aio_offset = PIECE - BLOCK;
	EXPECT_EQ(-EIO, submit_and_wait(self->ctx, &iocb));
	iocb.aio_nbytes = BLOCK;
	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &iocb));
}

TEST_F(mapped, has_io_wait_while_it_is_suspended)
{
	struct io_event event;
	struct iocb iocb;

	prep(&iocb, variant->polled, IOCB_CMD_PREAD, self->fd, self->buf, BLOCK, 0);
	ASSERT_EQ(BLOCK, submit_and_wait(self->ctx, &iocb));
	ASSERT_EQ(0, dm_suspend(MAPPED));
	EXPECT_EQ(1, submit_one(self->ctx, &iocb));
	EXPECT_EQ(0, getevents_ms(self->ctx, 1, 1, &event, 100));
	ASSERT_EQ(0, dm_resume(MAPPED));
	ASSERT_EQ(1, getevents_ms(self->ctx, 1, 1, &event, WAIT_MS));
	EXPECT_EQ(BLOCK, event.res);
}

/* Two disks, and what a target of the device mapper makes of them */

struct pair {
	int first;
	int second;
	int fd;			/* what is above */
};

/* Returns 0, or -1 and skip_reason. */
static int pair_make(struct pair *pair, const struct nullb_setting *settings,
		     const char *target, const char *parameters)
{
	const struct dm_piece piece = {
		.len = PIECE, .target = target, .parameters = parameters,
	};
	char path[64];

	if (!kernel_polls())
		return -1;
	dm_remove(MAPPED);
	pair->first = nullb_make(FIRST, settings);
	pair->second = nullb_make(SECOND, settings);
	if (pair->first < 0 || pair->second < 0 ||
	    dm_make(MAPPED, &piece, 1, path, sizeof(path)))
		return -1;
	pair->fd = open_above(path);
	return 0;
}

static void pair_remove(struct pair *pair)
{
	close(pair->fd);
	dm_remove(MAPPED);
	close(pair->first);
	close(pair->second);
	nullb_remove(FIRST);
	nullb_remove(SECOND);
}

/* Stripes of two disks that have few tags */

#define STRIPE		4096

FIXTURE(striped)
{
	aio_context_t ctx;
	struct pair pair;
	char *buf;
};

FIXTURE_SETUP(striped)
{
	static const struct nullb_setting settings[] = {
		{ "size", 64 },
		{ "hw_queue_depth", 4 },
		{ NULL, 0 },
	};
	static const char parameters[] = "2 8 /dev/" FIRST " 0 /dev/" SECOND " 0";

	if (pair_make(&self->pair, settings, "striped", parameters))
		SKIP(return, "%s", skip_reason);
	ASSERT_LE(0, self->pair.fd);
	self->buf = map_memory(SIZE);
	ASSERT_TRUE(!!self->buf);
	ASSERT_EQ(0, sys_io_setup(1, &self->ctx));
}

FIXTURE_TEARDOWN(striped)
{
	sys_io_destroy(self->ctx);
	pair_remove(&self->pair);
}

/* The last of its parts need the tags that the first ones hold. */
TEST_F(striped, one_io_takes_more_tags_than_there_are)
{
	long long start = now_ms();
	struct iocb iocb;

	prep(&iocb, true, IOCB_CMD_PREAD, self->pair.fd, self->buf, SIZE, 0);
	EXPECT_EQ(SIZE, submit_and_wait(self->ctx, &iocb));
	EXPECT_GT(PROMPT_MS, now_ms() - start);

	/* What is not split is no different from ever. */
	prep(&iocb, true, IOCB_CMD_PREAD, self->pair.fd, self->buf, STRIPE, 0);
	EXPECT_EQ(STRIPE, submit_and_wait(self->ctx, &iocb));
}

/* On what cannot be polled */

FIXTURE(unpolled)
{
	aio_context_t ctx;
	int disk;
	char *buf;
};

FIXTURE_SETUP(unpolled)
{
	static const struct nullb_setting settings[] = {
		{ "poll_queues", 0 },
		{ "size", 64 },
		{ NULL, 0 },
	};

	self->disk = nullb_create(FIRST, settings);
	if (self->disk < 0)
		SKIP(return, "%s", skip_reason);
	self->buf = map_memory(BLOCK);
	ASSERT_TRUE(!!self->buf);
	ASSERT_EQ(0, sys_io_setup(1, &self->ctx));
}

FIXTURE_TEARDOWN(unpolled)
{
	sys_io_destroy(self->ctx);
	close(self->disk);
	nullb_remove(FIRST);
}

/* Is polled I/O to @fd refused, and I/O that is not polled taken all the same? */
static bool refuses_to_poll(aio_context_t ctx, int fd, char *buf)
{
	struct iocb iocb;

	prep(&iocb, true, IOCB_CMD_PREAD, fd, buf, BLOCK, 0);
	if (submit_one(ctx, &iocb) != -EOPNOTSUPP)
		return false;
	prep(&iocb, false, IOCB_CMD_PREAD, fd, buf, BLOCK, 0);
	return submit_and_wait(ctx, &iocb) == BLOCK;
}

TEST_F(unpolled, a_partition)
{
	int fd;

	if (make_partition(self->disk))
		SKIP(return, "%s", skip_reason);
	fd = open_above("/dev/" FIRST "1");
	ASSERT_LE(0, fd);
	EXPECT_TRUE(refuses_to_poll(self->ctx, fd, self->buf));
	close(fd);
}

TEST_F(unpolled, a_mapped_device)
{
	static const struct dm_piece piece = { "/dev/" FIRST, OFFSET, PIECE };
	char path[64];
	int fd;

	if (dm_make(MAPPED, &piece, 1, path, sizeof(path)))
		SKIP(return, "%s", skip_reason);
	fd = open_above(path);
	ASSERT_LE(0, fd);
	EXPECT_TRUE(refuses_to_poll(self->ctx, fd, self->buf));
	close(fd);
	EXPECT_EQ(0, dm_remove(MAPPED));
}

/* One of its two disks could be polled. */
TEST_F(unpolled, half_of_a_mapped_device)
{
	static const struct nullb_setting polled[] = { { "size", 64 }, { NULL, 0 } };
	static const struct dm_piece pieces[] = {
		{ "/dev/" SECOND, OFFSET, PIECE },
		{ "/dev/" FIRST, OFFSET, PIECE },
	};
	int fd, second = nullb_create(SECOND, polled);
	char path[64];

	if (second < 0 || dm_make(MAPPED, pieces, 2, path, sizeof(path)))
		SKIP(return, "%s", skip_reason);
	fd = open_above(path);
	ASSERT_LE(0, fd);
	EXPECT_TRUE(refuses_to_poll(self->ctx, fd, self->buf));
	close(fd);
	EXPECT_EQ(0, dm_remove(MAPPED));
	close(second);
	nullb_remove(SECOND);
}

/* Disks that can be polled, below what does other I/O in place of that which it gets */

FIXTURE(replaced)
{
	aio_context_t ctx;
	struct pair pair;
	char *buf;
};

FIXTURE_VARIANT(replaced)
{
	const char *target;
	const char *parameters;
};

FIXTURE_VARIANT_ADD(replaced, crypt) {
	.target = "crypt",
	.parameters = "aes-cbc-plain64 000102030405060708090a0b0c0d0e0f 0 /dev/" FIRST " 0",
};

FIXTURE_VARIANT_ADD(replaced, raid1) {
	.target = "raid",
	.parameters = "raid1 2 0 nosync 2 - /dev/" FIRST " - /dev/" SECOND,
};

FIXTURE_SETUP(replaced)
{
	static const struct nullb_setting settings[] = { { "size", 64 }, { NULL, 0 } };

	if (pair_make(&self->pair, settings, variant->target, variant->parameters))
		SKIP(return, "%s", skip_reason);
	ASSERT_LE(0, self->pair.fd);
	self->buf = map_memory(BLOCK);
	ASSERT_TRUE(!!self->buf);
	ASSERT_EQ(0, sys_io_setup(1, &self->ctx));
}

FIXTURE_TEARDOWN(replaced)
{
	sys_io_destroy(self->ctx);
	pair_remove(&self->pair);
}

/* Nobody would find it. */
TEST_F(replaced, is_not_polled)
{
	EXPECT_TRUE(refuses_to_poll(self->ctx, self->pair.fd, self->buf));
}

TEST_F(unpolled, a_loop_device)
{
	struct loop_config config = { .fd = self->disk, .block_size = BLOCK };
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	char path[64];
	int fd;

	if (control < 0)
		SKIP(return, "/dev/loop-control: %s", strerror(errno));
	snprintf(path, sizeof(path), "/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
	fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioctl(fd, LOOP_CONFIGURE, &config));
	EXPECT_TRUE(refuses_to_poll(self->ctx, fd, self->buf));
	EXPECT_EQ(0, ioctl(fd, LOOP_CLR_FD));
	close(fd);
}

TEST_HARNESS_MAIN
