// SPDX-License-Identifier: GPL-2.0-only
/*
 * Polled reads and writes: the right data at any queue depth, in any shape, and
 * for anything unusual the result that plain I/O has.
 */
#include "aio_syscalls.h"
#include "kselftest_harness.h"

#define KIB		1024
#define MIB		(1024 * KIB)
#define WAIT_MS		(20 * MSEC_PER_SEC)

/* Queue depth: that many blocks written, read back and compared. */

FIXTURE(depth)
{
	aio_context_t ctx;
	int fd;
	char *buf;
	struct iocb *iocbs;
	struct io_event *events;
};

FIXTURE_VARIANT(depth)
{
	const struct aio_device *device;
	int depth;
};

FIXTURE_VARIANT_ADD(depth, nvme_1) { .device = &nvme_scratch, .depth = 1 };
FIXTURE_VARIANT_ADD(depth, nvme_2) { .device = &nvme_scratch, .depth = 2 };
FIXTURE_VARIANT_ADD(depth, nvme_16) { .device = &nvme_scratch, .depth = 16 };
FIXTURE_VARIANT_ADD(depth, nvme_33) { .device = &nvme_scratch, .depth = 33 };
FIXTURE_VARIANT_ADD(depth, nvme_128) { .device = &nvme_scratch, .depth = 128 };
FIXTURE_VARIANT_ADD(depth, nvme_1024) { .device = &nvme_scratch, .depth = 1024 };
FIXTURE_VARIANT_ADD(depth, nullb_1) { .device = &nullb, .depth = 1 };
FIXTURE_VARIANT_ADD(depth, nullb_2) { .device = &nullb, .depth = 2 };
FIXTURE_VARIANT_ADD(depth, nullb_16) { .device = &nullb, .depth = 16 };
FIXTURE_VARIANT_ADD(depth, nullb_33) { .device = &nullb, .depth = 33 };
FIXTURE_VARIANT_ADD(depth, nullb_128) { .device = &nullb, .depth = 128 };
FIXTURE_VARIANT_ADD(depth, nullb_1024) { .device = &nullb, .depth = 1024 };

FIXTURE_SETUP(depth)
{
	self->fd = open_polled(variant->device, O_RDWR);
	if (self->fd < 0)
		SKIP(return, "%s", skip_reason);
	self->buf = map_memory(variant->depth * BLOCK);
	self->iocbs = calloc(variant->depth, sizeof(*self->iocbs));
	self->events = calloc(variant->depth, sizeof(*self->events));
	ASSERT_TRUE(self->buf && self->iocbs && self->events);
	ASSERT_EQ(0, sys_io_setup(variant->depth, &self->ctx));
}

FIXTURE_TEARDOWN(depth)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
}

/* Prepares one polled @opcode for each block of @buf, last block first. */
static void prep_blocks(struct iocb *iocbs, int nr, int opcode, int fd, char *buf)
{
	for (int i = 0; i < nr; i++) {
		int block = nr - 1 - i;

		prep_rw(&iocbs[i], opcode, fd, buf + block * BLOCK, BLOCK,
			(__s64)block * BLOCK);
		iocbs[i].aio_data = block;
		set_hipri(&iocbs[i]);
	}
}

/* Is there one event, with a block's worth of success, for each of @iocbs? */
static bool all_done_once(const struct iocb *iocbs, const struct io_event *events,
			  int nr)
{
	bool *seen = calloc(nr, sizeof(*seen));
	bool ok = seen;

	for (int i = 0; ok && i < nr; i++) {
		const struct iocb *iocb = (void *)(uintptr_t)events[i].obj;
		long index = iocb - iocbs;

		ok = index >= 0 && index < nr && !seen[index] &&
		     iocb->aio_data == events[i].data &&
		     events[i].res == BLOCK && !events[i].res2;
		if (ok)
			seen[index] = true;
	}
	free(seen);
	return ok;
}

TEST_F_TIMEOUT(depth, every_io_has_one_event, 60)
{
	int nr = variant->depth;

	for (int round = 0; round < 5; round++) {
		prep_blocks(self->iocbs, nr, IOCB_CMD_PREAD, self->fd, self->buf);
		ASSERT_EQ(nr, submit_array(self->ctx, self->iocbs, nr));
		ASSERT_EQ(nr, reap(self->ctx, nr, self->events, WAIT_MS));
		ASSERT_TRUE(all_done_once(self->iocbs, self->events, nr));
		ASSERT_EQ(0, getevents_ms(self->ctx, 0, nr, self->events, 0));
	}
}

TEST_F_TIMEOUT(depth, reads_back_what_was_written, 60)
{
	__u64 seed = now_ms();
	int nr = variant->depth;

	if (!keeps_data(self->fd))
		SKIP(return, "%s does not keep data", device_path(variant->device));
	/* There must be something else to overwrite. */
	ASSERT_EQ(nr * BLOCK, pwrite(self->fd, self->buf, nr * BLOCK, 0));
	fill_pattern(self->buf, nr * BLOCK, seed, 0);
	prep_blocks(self->iocbs, nr, IOCB_CMD_PWRITE, self->fd, self->buf);
	ASSERT_EQ(nr, submit_array(self->ctx, self->iocbs, nr));
	ASSERT_EQ(nr, reap(self->ctx, nr, self->events, WAIT_MS));
	ASSERT_TRUE(all_done_once(self->iocbs, self->events, nr));

	memset(self->buf, 0, nr * BLOCK);
	prep_blocks(self->iocbs, nr, IOCB_CMD_PREAD, self->fd, self->buf);
	ASSERT_EQ(nr, submit_array(self->ctx, self->iocbs, nr));
	ASSERT_EQ(nr, reap(self->ctx, nr, self->events, WAIT_MS));
	ASSERT_TRUE(all_done_once(self->iocbs, self->events, nr));
	EXPECT_TRUE(has_pattern(self->buf, nr * BLOCK, seed, 0));

	/* Not only to itself: to everyone who reads. */
	memset(self->buf, 0, nr * BLOCK);
	ASSERT_EQ(nr * BLOCK, pread(self->fd, self->buf, nr * BLOCK, 0));
	EXPECT_TRUE(has_pattern(self->buf, nr * BLOCK, seed, 0));
}

/* Keeps the queue full, as real programs do: reap some, submit as many. */
TEST_F_TIMEOUT(depth, the_queue_is_kept_full, 60)
{
	int nr = variant->depth;
	long total = 0;

	prep_blocks(self->iocbs, nr, IOCB_CMD_PREAD, self->fd, self->buf);
	ASSERT_EQ(nr, submit_array(self->ctx, self->iocbs, nr));
	while (total < 4 * nr) {
		long got = getevents_ms(self->ctx, 1, nr / 4 + 1, self->events, WAIT_MS);

		ASSERT_LT(0, got);
		for (long i = 0; i < got; i++) {
			struct iocb *iocb = (void *)(uintptr_t)self->events[i].obj;

			ASSERT_EQ(BLOCK, self->events[i].res);
			ASSERT_EQ(1, submit_one(self->ctx, iocb));
		}
		total += got;
	}
	ASSERT_EQ(nr, reap(self->ctx, nr, self->events, WAIT_MS));
	EXPECT_TRUE(all_done_once(self->iocbs, self->events, nr));
}

/* Shapes: vectors and sizes, on a device that keeps data. */

#define SHAPE_SIZE	(4 * MIB)

FIXTURE(shape)
{
	aio_context_t ctx;
	int fd;
	char *buf;
	__u64 seed;
};

FIXTURE_VARIANT(shape)
{
	const struct aio_device *device;
};

FIXTURE_VARIANT_ADD(shape, nvme) { .device = &nvme_scratch };
FIXTURE_VARIANT_ADD(shape, nullb) { .device = &nullb };

FIXTURE_SETUP(shape)
{
	self->fd = open_polled(variant->device, O_RDWR);
	if (self->fd < 0)
		SKIP(return, "%s", skip_reason);
	if (!keeps_data(self->fd))
		SKIP(return, "%s does not keep data", device_path(variant->device));
	self->buf = map_memory(SHAPE_SIZE);
	ASSERT_TRUE(!!self->buf);
	ASSERT_EQ(SHAPE_SIZE, pwrite(self->fd, self->buf, SHAPE_SIZE, 0));
	self->seed = now_ms();
	ASSERT_EQ(0, sys_io_setup(8, &self->ctx));
}

FIXTURE_TEARDOWN(shape)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
}

/* Writes and reads @nr iovecs of @len bytes each with polled I/O. */
static bool vectors_keep_data(aio_context_t ctx, int fd, char *buf, int nr,
			      size_t len, __u64 seed)
{
	struct iovec iov[IOV_MAX];
	long long size = (long long)nr * len;
	struct iocb iocb;

	/* Backwards in memory, so that no two can be merged into one. */
	for (int i = 0; i < nr; i++) {
		iov[i].iov_base = buf + (nr - 1 - i) * len;
		iov[i].iov_len = len;
	}
	fill_pattern(buf, size, seed, 0);
	prep_pwritev(&iocb, fd, iov, nr, 0);
	set_hipri(&iocb);
	if (submit_and_wait(ctx, &iocb) != size)
		return false;
	memset(buf, 0, size);
	prep_preadv(&iocb, fd, iov, nr, 0);
	set_hipri(&iocb);
	if (submit_and_wait(ctx, &iocb) != size || !has_pattern(buf, size, seed, 0))
		return false;

	/* The first iovec went to the start of the device. */
	memset(buf, 0, len);
	return pread(fd, buf, len, 0) == (ssize_t)len &&
	       has_pattern(buf, len, seed, size - len);
}

TEST_F_TIMEOUT(shape, a_few_iovecs, 60)
{
	EXPECT_TRUE(vectors_keep_data(self->ctx, self->fd, self->buf, 1, BLOCK, self->seed));
	EXPECT_TRUE(vectors_keep_data(self->ctx, self->fd, self->buf, 2, BLOCK, self->seed));
	EXPECT_TRUE(vectors_keep_data(self->ctx, self->fd, self->buf, 16, BLOCK, self->seed));
}

TEST_F_TIMEOUT(shape, more_iovecs_than_a_bio_holds, 60)
{
	EXPECT_TRUE(vectors_keep_data(self->ctx, self->fd, self->buf, 256, BLOCK, self->seed));
	EXPECT_TRUE(vectors_keep_data(self->ctx, self->fd, self->buf, 257, BLOCK, self->seed));
	EXPECT_TRUE(vectors_keep_data(self->ctx, self->fd, self->buf, 600, BLOCK, self->seed));
	EXPECT_TRUE(vectors_keep_data(self->ctx, self->fd, self->buf, IOV_MAX, BLOCK,
				      self->seed));
}

/* From less than a page to more than any device takes in one request. */
TEST_F_TIMEOUT(shape, any_size, 60)
{
	for (size_t size = 512; size <= SHAPE_SIZE; size *= 2) {
		struct iocb iocb;

		fill_pattern(self->buf, size, self->seed + size, 0);
		prep_pwrite(&iocb, self->fd, self->buf, size, 0);
		set_hipri(&iocb);
		ASSERT_EQ(size, submit_and_wait(self->ctx, &iocb));
		memset(self->buf, 0, size);
		prep_pread(&iocb, self->fd, self->buf, size, 0);
		set_hipri(&iocb);
		ASSERT_EQ(size, submit_and_wait(self->ctx, &iocb));
		ASSERT_TRUE(has_pattern(self->buf, size, self->seed + size, 0));
	}
}

TEST_F_TIMEOUT(shape, large_and_small_together, 60)
{
	struct io_event events[8];
	struct iocb iocbs[8];

	fill_pattern(self->buf, SHAPE_SIZE, self->seed, 0);
	ASSERT_EQ(SHAPE_SIZE, pwrite(self->fd, self->buf, SHAPE_SIZE, 0));
	memset(self->buf, 0, SHAPE_SIZE);
	for (int i = 0; i < 8; i++) {
		int offset = i * SHAPE_SIZE / 8;

		prep_pread(&iocbs[i], self->fd, self->buf + offset,
			   i % 2 ? SHAPE_SIZE / 8 : BLOCK, offset);
		set_hipri(&iocbs[i]);
	}
	ASSERT_EQ(8, submit_array(self->ctx, iocbs, 8));
	ASSERT_EQ(8, reap(self->ctx, 8, events, WAIT_MS));
	for (int i = 0; i < 8; i++) {
		struct iocb *iocb = (void *)(uintptr_t)events[i].obj;

		EXPECT_EQ(iocb->aio_nbytes, events[i].res);
		EXPECT_TRUE(has_pattern((void *)(uintptr_t)iocb->aio_buf,
					iocb->aio_nbytes, self->seed,
					iocb->aio_offset));
	}
}

TEST_F_TIMEOUT(shape, a_durable_write, 60)
{
	struct iocb iocb;

	fill_pattern(self->buf, BLOCK, self->seed, 0);
	prep_pwrite(&iocb, self->fd, self->buf, BLOCK, 0);
	iocb.aio_rw_flags = RWF_DSYNC;
	set_hipri(&iocb);
	ASSERT_EQ(BLOCK, submit_and_wait(self->ctx, &iocb));
	memset(self->buf, 0, BLOCK);
	ASSERT_EQ(BLOCK, pread(self->fd, self->buf, BLOCK, 0));
	EXPECT_TRUE(has_pattern(self->buf, BLOCK, self->seed, 0));
}

TEST_F_TIMEOUT(shape, the_file_may_be_closed_in_flight, 60)
{
	struct iocb iocbs[8];
	struct io_event events[8];

	for (int i = 0; i < 8; i++) {
		prep_pread(&iocbs[i], self->fd, self->buf + i * BLOCK, BLOCK, 0);
		set_hipri(&iocbs[i]);
	}
	ASSERT_EQ(8, submit_array(self->ctx, iocbs, 8));
	ASSERT_EQ(0, close(self->fd));
	ASSERT_EQ(8, reap(self->ctx, 8, events, WAIT_MS));
	EXPECT_TRUE(all_done_once(iocbs, events, 8));
}

/* Whatever is unusual: polled and plain I/O say the same of it. */

FIXTURE(unusual)
{
	aio_context_t polled;
	aio_context_t plain;
	int fd;
	__u64 end;
	char *buf;
};

FIXTURE_VARIANT(unusual)
{
	const struct aio_device *device;
};

FIXTURE_VARIANT_ADD(unusual, nvme) { .device = &nvme };
FIXTURE_VARIANT_ADD(unusual, nullb) { .device = &nullb };

FIXTURE_SETUP(unusual)
{
	self->fd = open_polled(variant->device, O_RDONLY);
	if (self->fd < 0)
		SKIP(return, "%s", skip_reason);
	self->end = device_size(self->fd);
	self->buf = map_memory(MIB);
	ASSERT_TRUE(!!self->buf);
	ASSERT_EQ(0, sys_io_setup(8, &self->polled));
	ASSERT_EQ(0, sys_io_setup(8, &self->plain));
}

FIXTURE_TEARDOWN(unusual)
{
	sys_io_destroy(self->polled);
	sys_io_destroy(self->plain);
	close(self->fd);
}

/* Runs @iocb both ways. Returns the common result, or INT64_MIN if they differ. */
static long long both_ways(struct iocb *iocb, aio_context_t polled,
			   aio_context_t plain)
{
	struct iocb hipri = *iocb;
	long long expected = submit_and_wait(plain, iocb);
	long long seen;

	set_hipri(&hipri);
	seen = submit_and_wait(polled, &hipri);
	if (seen == expected)
		return seen;
	ksft_print_msg("plain: %lld, polled: %lld\n", expected, seen);
	return INT64_MIN;
}

TEST_F(unusual, reads_around_the_end)
{
	struct iocb iocb;

	prep_pread(&iocb, self->fd, self->buf, 2 * BLOCK, self->end - BLOCK);
	EXPECT_EQ(BLOCK, both_ways(&iocb, self->polled, self->plain));
	prep_pread(&iocb, self->fd, self->buf, BLOCK, self->end);
	EXPECT_EQ(0, both_ways(&iocb, self->polled, self->plain));
	prep_pread(&iocb, self->fd, self->buf, BLOCK, self->end + 10 * BLOCK);
	EXPECT_EQ(0, both_ways(&iocb, self->polled, self->plain));
}

TEST_F(unusual, nothing_to_read)
{
	struct iocb iocb;

	prep_pread(&iocb, self->fd, self->buf, 0, 0);
	EXPECT_EQ(0, both_ways(&iocb, self->polled, self->plain));
	prep_preadv(&iocb, self->fd, NULL, 0, 0);
	EXPECT_EQ(0, both_ways(&iocb, self->polled, self->plain));
}

TEST_F(unusual, unaligned_reads)
{
	struct iocb iocb;

	prep_pread(&iocb, self->fd, self->buf, 100, 0);
	EXPECT_EQ(-EINVAL, both_ways(&iocb, self->polled, self->plain));
	prep_pread(&iocb, self->fd, self->buf, BLOCK, 100);
	EXPECT_EQ(-EINVAL, both_ways(&iocb, self->polled, self->plain));
	prep_pread(&iocb, self->fd, self->buf + 1, BLOCK, 0);
	EXPECT_EQ(-EINVAL, both_ways(&iocb, self->polled, self->plain));
}

TEST_F(unusual, bad_buffers)
{
	struct iovec iov = { self->buf, BLOCK };
	struct iocb iocb;

	ASSERT_EQ(0, mprotect(self->buf, BLOCK, PROT_READ));
	prep_pread(&iocb, self->fd, self->buf, BLOCK, 0);
	EXPECT_EQ(-EFAULT, both_ways(&iocb, self->polled, self->plain));
	ASSERT_EQ(0, munmap(self->buf, BLOCK));
	EXPECT_EQ(-EFAULT, both_ways(&iocb, self->polled, self->plain));
	prep_preadv(&iocb, self->fd, &iov, 1, 0);
	EXPECT_EQ(-EFAULT, both_ways(&iocb, self->polled, self->plain));
}

TEST_F(unusual, bad_iovecs)
{
	struct iovec iov = { self->buf, (size_t)-1 };
	struct iocb iocb;

	prep_preadv(&iocb, self->fd, &iov, 1, 0);
	EXPECT_EQ(-EINVAL, both_ways(&iocb, self->polled, self->plain));
	prep_preadv(&iocb, self->fd, NULL, 1, 0);
	EXPECT_EQ(-EFAULT, both_ways(&iocb, self->polled, self->plain));
	prep_preadv(&iocb, self->fd, &iov, IOV_MAX + 1, 0);
	EXPECT_EQ(-EINVAL, both_ways(&iocb, self->polled, self->plain));
}

TEST_F(unusual, flags_of_the_read)
{
	struct iocb iocb;

	prep_pread(&iocb, self->fd, self->buf, BLOCK, 0);
	iocb.aio_rw_flags = RWF_NOWAIT;
	EXPECT_EQ(BLOCK, both_ways(&iocb, self->polled, self->plain));
	iocb.aio_rw_flags = RWF_HIPRI;
	EXPECT_EQ(BLOCK, both_ways(&iocb, self->polled, self->plain));
	prep_pread(&iocb, self->fd, self->buf, BLOCK, -1);
	EXPECT_EQ(-EINVAL, both_ways(&iocb, self->polled, self->plain));
}

/* Two devices in one context: neither may starve the other. */
TEST(two_devices_in_one_context)
{
	struct io_event events[16];
	struct iocb iocbs[16];
	aio_context_t ctx = 0;
	char *buf = map_memory(16 * BLOCK);
	int fds[2];

	fds[0] = open_polled(&nvme, O_RDONLY);
	if (fds[0] < 0)
		SKIP(return, "%s", skip_reason);
	fds[1] = open_polled(&nullb, O_RDONLY);
	if (fds[1] < 0)
		SKIP(return, "%s", skip_reason);
	ASSERT_TRUE(!!buf);
	ASSERT_EQ(0, sys_io_setup(16, &ctx));
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < 16; i++) {
			prep_pread(&iocbs[i], fds[i % 2], buf + i * BLOCK, BLOCK, 0);
			set_hipri(&iocbs[i]);
		}
		ASSERT_EQ(16, submit_array(ctx, iocbs, 16));
		ASSERT_EQ(16, reap(ctx, 16, events, WAIT_MS));
		ASSERT_TRUE(all_done_once(iocbs, events, 16));
	}
	EXPECT_EQ(0, sys_io_destroy(ctx));
}

/* A device with four tags: polled I/O holds them until someone polls. */

#define TAGS		4
#define DISK		"aiotags"

FIXTURE(tags)
{
	aio_context_t ctx;
	int fd;
	char *buf;
};

FIXTURE_SETUP(tags)
{
	static const struct nullb_setting settings[] = {
		{ "hw_queue_depth", TAGS },
		{ "memory_backed", 1 },
		{ "size", 64 },
		{ NULL, 0 },
	};

	self->fd = nullb_create(DISK, settings);
	if (self->fd < 0)
		SKIP(return, "%s", skip_reason);
	self->buf = map_memory(256 * BLOCK);
	ASSERT_TRUE(!!self->buf);
	fill_pattern(self->buf, 256 * BLOCK, TAGS, 0);
	ASSERT_EQ(256 * BLOCK, pwrite(self->fd, self->buf, 256 * BLOCK, 0));
	ASSERT_EQ(0, sys_io_setup(256, &self->ctx));
}

FIXTURE_TEARDOWN(tags)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
	nullb_remove(DISK);
}

TEST_F(tags, one_batch_beyond_them)
{
	struct io_event events[256];
	struct iocb iocbs[256];

	for (int nr = 1; nr <= 256; nr *= 2) {
		prep_blocks(iocbs, nr, IOCB_CMD_PREAD, self->fd, self->buf);
		ASSERT_EQ(nr, submit_array(self->ctx, iocbs, nr));
		ASSERT_EQ(nr, reap(self->ctx, nr, events, WAIT_MS));
		ASSERT_TRUE(all_done_once(iocbs, events, nr));
	}
}

#define VECTORS		32
#define PARTS		4

/*
 * I/O that was tried, found no tag and is tried again starts where it did before:
 * each part of the data is where it belongs.
 */
TEST_F(tags, vectors_beyond_them_keep_their_data)
{
	struct iovec iov[VECTORS][PARTS];
	struct io_event events[VECTORS];
	struct iocb iocbs[VECTORS];

	memset(self->buf, 0, 256 * BLOCK);
	for (int i = 0; i < VECTORS; i++) {
		/* Every other PARTS blocks, so that no two become one request. */
		for (int part = 0; part < PARTS; part++) {
			int place = (2 * i + 1) * PARTS - 1 - part;

			iov[i][part].iov_base = self->buf + place * BLOCK;
			iov[i][part].iov_len = BLOCK;
		}
		prep_preadv(&iocbs[i], self->fd, iov[i], PARTS, 2 * i * PARTS * BLOCK);
		set_hipri(&iocbs[i]);
	}
	ASSERT_EQ(VECTORS, submit_array(self->ctx, iocbs, VECTORS));
	ASSERT_EQ(VECTORS, reap(self->ctx, VECTORS, events, WAIT_MS));
	for (int i = 0; i < VECTORS; i++) {
		ASSERT_EQ(PARTS * BLOCK, events[i].res);
		for (int part = 0; part < PARTS; part++)
			ASSERT_TRUE(has_pattern(iov[i][part].iov_base, BLOCK, TAGS,
						(2 * i * PARTS + part) * BLOCK));
	}
}

TEST_F(tags, one_at_a_time_beyond_them)
{
	struct io_event events[64];
	struct iocb iocbs[64];

	prep_blocks(iocbs, 64, IOCB_CMD_PWRITE, self->fd, self->buf);
	for (int i = 0; i < 64; i++) {
		long ret = submit_one(self->ctx, &iocbs[i]);

		ASSERT_EQ(1, ret);
	}
	ASSERT_EQ(64, reap(self->ctx, 64, events, WAIT_MS));
	EXPECT_TRUE(all_done_once(iocbs, events, 64));
}

TEST_F(tags, held_by_another_context)
{
	struct io_event events[TAGS];
	struct iocb iocbs[TAGS];
	aio_context_t other = 0;
	struct iocb late;

	ASSERT_EQ(0, sys_io_setup(1, &other));
	prep_blocks(iocbs, TAGS, IOCB_CMD_PREAD, self->fd, self->buf);
	prep_blocks(&late, 1, IOCB_CMD_PREAD, self->fd, self->buf);
	ASSERT_EQ(TAGS, submit_array(self->ctx, iocbs, TAGS));
	EXPECT_EQ(BLOCK, submit_and_wait(other, &late));
	ASSERT_EQ(TAGS, reap(self->ctx, TAGS, events, WAIT_MS));
	EXPECT_TRUE(all_done_once(iocbs, events, TAGS));
	EXPECT_EQ(0, sys_io_destroy(other));
}

/* Who asked not to wait may be told so, but each I/O is answered once. */
TEST_F(tags, nowait_beyond_them)
{
	struct io_event events[32];
	struct iocb iocbs[32];
	int done = 0;

	prep_blocks(iocbs, 32, IOCB_CMD_PREAD, self->fd, self->buf);
	for (int i = 0; i < 32; i++) {
		iocbs[i].aio_rw_flags = RWF_NOWAIT;
		ASSERT_EQ(1, submit_one(self->ctx, &iocbs[i]));
	}
	ASSERT_EQ(32, reap(self->ctx, 32, events, WAIT_MS));
	for (int i = 0; i < 32; i++) {
		done += events[i].res == BLOCK;
		EXPECT_TRUE(events[i].res == BLOCK || events[i].res == -EAGAIN);
		if (events[i].res == -EAGAIN)
			events[i].res = BLOCK;
	}
	EXPECT_LE(TAGS, done);
	EXPECT_TRUE(all_done_once(iocbs, events, 32));
}

TEST_F(tags, large_io_beyond_them)
{
	struct io_event events[8];
	struct iocb iocbs[8];

	for (int i = 0; i < 8; i++) {
		prep_pread(&iocbs[i], self->fd, self->buf, 256 * BLOCK, 0);
		set_hipri(&iocbs[i]);
	}
	ASSERT_EQ(8, submit_array(self->ctx, iocbs, 8));
	ASSERT_EQ(8, reap(self->ctx, 8, events, WAIT_MS));
	for (int i = 0; i < 8; i++)
		EXPECT_EQ(256 * BLOCK, events[i].res);
}

/* Blocks that the device cannot read or write, among others */

#define BAD_DISK	"aiobad"
#define BAD		5	/* the block */

FIXTURE(bad)
{
	aio_context_t ctx;
	int fd;
	char *buf;
};

FIXTURE_VARIANT(bad)
{
	bool polled;
};

FIXTURE_VARIANT_ADD(bad, plain) { .polled = false };
FIXTURE_VARIANT_ADD(bad, polled) { .polled = true };

FIXTURE_SETUP(bad)
{
	static const struct nullb_setting settings[] = { { "size", 64 }, { NULL, 0 } };
	char range[32];

	if (variant->polled && !kernel_polls())
		SKIP(return, "%s", skip_reason);
	self->fd = nullb_make(BAD_DISK, settings);
	if (self->fd < 0)
		SKIP(return, "%s", skip_reason);
	snprintf(range, sizeof(range), "+%d-%d", BAD * BLOCK / 512,
		 (BAD + 1) * BLOCK / 512 - 1);
	ASSERT_EQ(0, write_text(CONFIGFS "/nullb/" BAD_DISK "/badblocks", range));
	self->buf = map_memory(2 * BAD * BLOCK);
	ASSERT_TRUE(!!self->buf);
	ASSERT_EQ(0, sys_io_setup(2 * BAD, &self->ctx));
}

FIXTURE_TEARDOWN(bad)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
	nullb_remove(BAD_DISK);
}

TEST_F(bad, is_the_result_of_its_io_only)
{
	struct io_event events[2 * BAD];
	struct iocb iocbs[2 * BAD];

	for (int opcode = IOCB_CMD_PREAD; opcode <= IOCB_CMD_PWRITE; opcode++) {
		prep_blocks(iocbs, 2 * BAD, opcode, self->fd, self->buf);
		/* One by one: neighbours would become one request, and fail together. */
		for (int i = 0; i < 2 * BAD; i++) {
			if (!variant->polled)
				iocbs[i].aio_flags = 0;
			ASSERT_EQ(1, submit_one(self->ctx, &iocbs[i]));
		}
		ASSERT_EQ(2 * BAD, reap(self->ctx, 2 * BAD, events, WAIT_MS));
		for (int i = 0; i < 2 * BAD; i++)
			EXPECT_EQ(events[i].data == BAD ? -EIO : BLOCK, events[i].res);
	}
}

TEST_F(bad, fails_a_larger_io_as_a_whole)
{
	struct iocb iocb;

	prep_pread(&iocb, self->fd, self->buf, 2 * BAD * BLOCK, 0);
	if (variant->polled)
		set_hipri(&iocb);
	EXPECT_EQ(-EIO, submit_and_wait(self->ctx, &iocb));
}

/* A zoned device, whose writes of several parts the kernel holds back and orders. */

#define ZONED_DISK	"aiozoned"
#define ZONE_MIB	4

TEST(zoned_writes_of_many_parts)
{
	static const struct nullb_setting settings[] = {
		{ "memory_backed", 1 },
		{ "zoned", 1 },
		{ "zone_size", ZONE_MIB },
		{ "size", 64 },
		{ NULL, 0 },
	};
	char *buf = map_memory(ZONE_MIB * MIB);
	struct iovec iov[16][PARTS];
	struct io_event events[16];
	struct iocb iocbs[16];
	aio_context_t ctx = 0;
	int fd;

	fd = nullb_create(ZONED_DISK, settings);
	if (fd < 0)
		SKIP(return, "a zoned null_blk: %s", skip_reason);
	ASSERT_TRUE(!!buf);
	ASSERT_EQ(0, sys_io_setup(16, &ctx));
	fill_pattern(buf, 16 * PARTS * BLOCK, TAGS, 0);
	/* Each at the write pointer that the ones before it leave behind. */
	for (int i = 0; i < 16; i++) {
		for (int part = 0; part < PARTS; part++) {
			iov[i][part].iov_base = buf + (i * PARTS + part) * BLOCK;
			iov[i][part].iov_len = BLOCK;
		}
		prep_pwritev(&iocbs[i], fd, iov[i], PARTS, i * PARTS * BLOCK);
		set_hipri(&iocbs[i]);
	}
	ASSERT_EQ(16, submit_array(ctx, iocbs, 16));
	ASSERT_EQ(16, reap(ctx, 16, events, WAIT_MS));
	for (int i = 0; i < 16; i++)
		EXPECT_EQ(PARTS * BLOCK, events[i].res);

	/* And one that is more than a request, to the zone behind. */
	prep_pwrite(&iocbs[0], fd, buf, ZONE_MIB * MIB, ZONE_MIB * MIB);
	set_hipri(&iocbs[0]);
	EXPECT_EQ(ZONE_MIB * MIB, submit_and_wait(ctx, &iocbs[0]));

	memset(buf, 0, 16 * PARTS * BLOCK);
	prep_pread(&iocbs[0], fd, buf, 16 * PARTS * BLOCK, 0);
	set_hipri(&iocbs[0]);
	EXPECT_EQ(16 * PARTS * BLOCK, submit_and_wait(ctx, &iocbs[0]));
	EXPECT_TRUE(has_pattern(buf, 16 * PARTS * BLOCK, TAGS, 0));
	EXPECT_EQ(0, sys_io_destroy(ctx));
	close(fd);
	nullb_remove(ZONED_DISK);
}

TEST_HARNESS_MAIN
