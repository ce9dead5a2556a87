// SPDX-License-Identifier: GPL-2.0-only
/*
 * Direct I/O on files, polled and not: reads, overwrites, appends, holes, unwritten
 * extents, durable writes, errors. File systems do some of that by polling, some with
 * the help of a worker, and some before io_submit() returns: the results are the same,
 * and each I/O has one event.
 */
#include "aio_syscalls.h"
#include "direct_files.h"
#include "kselftest_harness.h"

#include <sys/sysmacros.h>

#define DEPTH		16
#define SECTOR		512
#define WAIT_MS		(10 * MSEC_PER_SEC)

FIXTURE_VARIANT_ADD(files, ext4_plain) { .fs = &ext4, .polled = false };
FIXTURE_VARIANT_ADD(files, ext4_polled) { .fs = &ext4, .polled = true };
FIXTURE_VARIANT_ADD(files, xfs_plain) { .fs = &xfs, .polled = false };
FIXTURE_VARIANT_ADD(files, xfs_polled) { .fs = &xfs, .polled = true };
FIXTURE_VARIANT_ADD(files, vfat_plain) { .fs = &vfat, .polled = false };
FIXTURE_VARIANT_ADD(files, vfat_polled) { .fs = &vfat, .polled = true };

/*
 * Does @opcode for every @step-th block from @first on, of the buffer at @buf and at the
 * same place in the file, all of them in flight together. Returns whether each had one
 * event with a block's worth of success.
 */
static bool transfer_blocks(FIXTURE_DATA(files) * self, bool polled, int opcode, char *buf,
			    int first, int step)
{
	struct io_event events[BLOCKS];
	struct iocb iocbs[BLOCKS];
	__u64 seen = 0;
	int nr = 0;

	for (int block = first; block < BLOCKS; block += step, nr++)
		prep(&iocbs[nr], polled, opcode, self->fd, buf + block * BLOCK, BLOCK,
		     block * BLOCK);
	if (submit_array(self->ctx, iocbs, nr) != nr ||
	    reap(self->ctx, nr, events, WAIT_MS) != nr)
		return false;
	for (int i = 0; i < nr; i++) {
		if (events[i].res != BLOCK)
			return false;
		seen |= 1ULL << ((struct iocb *)(uintptr_t)events[i].obj - iocbs);
	}
	return seen == (nr == 64 ? ~0ULL : (1ULL << nr) - 1) &&
	       !getevents_ms(self->ctx, 0, 1, events, 0);
}

/* Writes the whole pattern without AIO, so that it is on the disk. */
static bool fill_file(FIXTURE_DATA(files) * self)
{
	fill_pattern(self->buf, SIZE, self->seed, 0);
	return pwrite(self->buffered, self->buf, SIZE, 0) == SIZE &&
	       !fsync(self->buffered);
}

static bool file_has_pattern(FIXTURE_DATA(files) * self, __u64 seed, size_t len)
{
	memset(self->back, 0xff, SIZE);
	return pread(self->buffered, self->back, SIZE, 0) == (ssize_t)len &&
	       has_pattern(self->back, len, seed, 0);
}

static bool is_zero(const char *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i])
			return false;
	return true;
}

/* Are the odd blocks of the file the pattern's, and the even ones zero? */
static bool every_other_block_is_zero(FIXTURE_DATA(files) * self)
{
	if (pread(self->buffered, self->back, SIZE, 0) != SIZE)
		return false;
	for (int block = 0; block < BLOCKS; block++) {
		char *data = self->back + block * BLOCK;

		if (block % 2 ? !has_pattern(data, BLOCK, self->seed, block * BLOCK) :
				!is_zero(data, BLOCK))
			return false;
	}
	return true;
}

TEST_F(files, reads)
{
	ASSERT_TRUE(fill_file(self));
	ASSERT_TRUE(transfer_blocks(self, variant->polled, READ, self->back, 0, 1));
	EXPECT_TRUE(has_pattern(self->back, SIZE, self->seed, 0));
	EXPECT_EQ(SIZE, transfer(self, variant->polled, READ, self->buf, SIZE, 0));
	EXPECT_TRUE(has_pattern(self->buf, SIZE, self->seed, 0));
}

TEST_F(files, overwrites)
{
	ASSERT_TRUE(fill_file(self));
	fill_pattern(self->buf, SIZE, ++self->seed, 0);
	ASSERT_TRUE(transfer_blocks(self, variant->polled, WRITE, self->buf, 0, 1));
	EXPECT_TRUE(file_has_pattern(self, self->seed, SIZE));
	fill_pattern(self->buf, SIZE, ++self->seed, 0);
	EXPECT_EQ(SIZE, transfer(self, variant->polled, WRITE, self->buf, SIZE, 0));
	EXPECT_TRUE(file_has_pattern(self, self->seed, SIZE));
}

/* The event of a write that extends the file comes when it is extended. */
TEST_F(files, appends_one_by_one)
{
	struct stat st;

	fill_pattern(self->buf, SIZE, self->seed, 0);
	for (int i = 0; i < DEPTH; i++) {
		ASSERT_EQ(BLOCK, transfer(self, variant->polled, WRITE,
					  self->buf + i * BLOCK, BLOCK, i * BLOCK));
		ASSERT_EQ(0, fstat(self->fd, &st));
		ASSERT_EQ((i + 1) * BLOCK, st.st_size);
	}
	EXPECT_TRUE(file_has_pattern(self, self->seed, DEPTH * BLOCK));
}

TEST_F(files, appends_all_at_once)
{
	struct stat st;

	fill_pattern(self->buf, SIZE, self->seed, 0);
	ASSERT_TRUE(transfer_blocks(self, variant->polled, WRITE, self->buf, 0, 1));
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ(SIZE, st.st_size);
	EXPECT_TRUE(file_has_pattern(self, self->seed, SIZE));
}

TEST_F(files, holes)
{
	fill_pattern(self->buf, SIZE, self->seed, 0);
	ASSERT_EQ(0, ftruncate(self->fd, SIZE));
	memset(self->back, 0xff, SIZE);
	ASSERT_TRUE(transfer_blocks(self, variant->polled, READ, self->back, 0, 1));
	EXPECT_TRUE(is_zero(self->back, SIZE));
	ASSERT_TRUE(transfer_blocks(self, variant->polled, WRITE, self->buf, 1, 2));
	EXPECT_TRUE(every_other_block_is_zero(self));
}

TEST_F(files, unwritten_extents)
{
	fill_pattern(self->buf, SIZE, self->seed, 0);
	ASSERT_EQ(0, fallocate(self->fd, 0, 0, SIZE));
	memset(self->back, 0xff, SIZE);
	ASSERT_TRUE(transfer_blocks(self, variant->polled, READ, self->back, 0, 1));
	EXPECT_TRUE(is_zero(self->back, SIZE));
	ASSERT_TRUE(transfer_blocks(self, variant->polled, WRITE, self->buf, 1, 2));
	EXPECT_TRUE(every_other_block_is_zero(self));
}

/* One I/O that the file system has to take apart, as only some of it is written. */
TEST_F(files, several_extents_at_once)
{
	fill_pattern(self->buf, SIZE, self->seed, 0);
	ASSERT_EQ(0, ftruncate(self->fd, SIZE));
	ASSERT_TRUE(transfer_blocks(self, variant->polled, WRITE, self->buf, 1, 2));
	for (int i = 0; i < 8; i++) {
		memset(self->back, 0xff, SIZE);
		ASSERT_EQ(SIZE, transfer(self, variant->polled, READ, self->back, SIZE, 0));
		ASSERT_TRUE(has_pattern(self->back + BLOCK, BLOCK, self->seed, BLOCK));
		ASSERT_TRUE(is_zero(self->back + 2 * BLOCK, BLOCK));
	}
	EXPECT_TRUE(every_other_block_is_zero(self));
	EXPECT_EQ(SIZE, transfer(self, variant->polled, WRITE, self->buf, SIZE, 0));
	EXPECT_TRUE(file_has_pattern(self, self->seed, SIZE));
}

TEST_F(files, the_end)
{
	size_t end = 2 * BLOCK + 100;

	fill_pattern(self->buf, SIZE, self->seed, 0);
	ASSERT_EQ(end, pwrite(self->buffered, self->buf, end, 0));
	ASSERT_EQ(0, fsync(self->buffered));
	EXPECT_EQ(end, transfer(self, variant->polled, READ, self->back, 4 * BLOCK, 0));
	EXPECT_EQ(0, memcmp(self->back, self->buf, end));
	EXPECT_EQ(100, transfer(self, variant->polled, READ, self->back, BLOCK, 2 * BLOCK));
	EXPECT_EQ(0, memcmp(self->back, self->buf + 2 * BLOCK, 100));
	EXPECT_EQ(0, transfer(self, variant->polled, READ, self->back, BLOCK, 3 * BLOCK));
	EXPECT_EQ(0, transfer(self, variant->polled, READ, self->back, BLOCK, SIZE));
}

/* Less than a block of the file system, which it may have to wait for. */
TEST_F(files, sectors)
{
	ASSERT_TRUE(fill_file(self));
	fill_pattern(self->buf, SIZE, ++self->seed, 0);
	for (int i = 0; i < DEPTH; i++)
		ASSERT_EQ(SECTOR, transfer(self, variant->polled, WRITE,
					   self->buf + i * SECTOR, SECTOR, i * SECTOR));
	ASSERT_EQ(BLOCK, pread(self->buffered, self->back, BLOCK, 0));
	EXPECT_TRUE(has_pattern(self->back, BLOCK, self->seed, 0));

	/* Of an extent that is not written, and beyond the end. */
	ASSERT_EQ(0, fallocate(self->fd, 0, SIZE, BLOCK));
	EXPECT_EQ(SECTOR, transfer(self, variant->polled, WRITE, self->buf, SECTOR,
				   SIZE + SECTOR));
	EXPECT_EQ(SECTOR, transfer(self, variant->polled, WRITE, self->buf, SECTOR,
				   SIZE + BLOCK));
	ASSERT_EQ(BLOCK + SECTOR, pread(self->buffered, self->back, SIZE, SIZE));
	EXPECT_TRUE(is_zero(self->back, SECTOR));
	EXPECT_TRUE(has_pattern(self->back + SECTOR, SECTOR, self->seed, 0));
	EXPECT_TRUE(is_zero(self->back + 2 * SECTOR, BLOCK - 2 * SECTOR));
	EXPECT_TRUE(has_pattern(self->back + BLOCK, SECTOR, self->seed, 0));
}

/*
 * It ends where the file does, in the middle of a block: file systems zero the rest of
 * that, which is I/O of their own.
 */
TEST_F(files, a_sector_before_the_end)
{
	size_t end = 3 * SECTOR;
	long long start;
	struct stat st;

	fill_pattern(self->buf, end, self->seed, 0);
	ASSERT_EQ(end, pwrite(self->buffered, self->buf, end, 0));
	ASSERT_EQ(0, fsync(self->buffered));
	fill_pattern(self->back, SECTOR, self->seed + 1, 0);
	start = now_ms();
	EXPECT_EQ(SECTOR, transfer(self, variant->polled, WRITE, self->back, SECTOR,
				   end - SECTOR));
	EXPECT_GT(PROMPT_MS, now_ms() - start);
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ(end, st.st_size);
	ASSERT_EQ(end, pread(self->buffered, self->buf, SIZE, 0));
	EXPECT_TRUE(has_pattern(self->buf, end - SECTOR, self->seed, 0));
	EXPECT_TRUE(has_pattern(self->buf + end - SECTOR, SECTOR, self->seed + 1, 0));
}

/* Reads a block of the file as often as the disk takes polled I/O at once. */
static bool take_all_tags(FIXTURE_DATA(files) * self, const struct filesystem *fs,
			  bool polled, aio_context_t ctx)
{
	struct iocb iocbs[BLOCKS];

	if (fs->tags < 1 || fs->tags > BLOCKS)
		return false;
	for (int i = 0; i < fs->tags; i++)
		prep(&iocbs[i], polled, READ, self->fd, self->back, BLOCK, BLOCK);
	return submit_array(ctx, iocbs, fs->tags) == fs->tags;
}

/* Somebody else has all tags, and does not poll. */
TEST_F(files, sectors_beyond_the_tags)
{
	struct io_event events[BLOCKS];
	aio_context_t other = 0;
	int tags = variant->fs->tags;

	ASSERT_TRUE(fill_file(self));
	ASSERT_EQ(0, sys_io_setup(BLOCKS, &other));
	fill_pattern(self->buf, BLOCK, ++self->seed, 0);
	for (int at = 0; at < BLOCK; at += SECTOR) {
		ASSERT_TRUE(take_all_tags(self, variant->fs, variant->polled, other));
		EXPECT_EQ(SECTOR, transfer(self, variant->polled, WRITE, self->buf + at,
					   SECTOR, at));
		ASSERT_EQ(tags, reap(other, tags, events, WAIT_MS));
		for (int i = 0; i < tags; i++)
			EXPECT_EQ(BLOCK, events[i].res);
	}
	ASSERT_EQ(BLOCK, pread(self->buffered, self->back, BLOCK, 0));
	EXPECT_TRUE(has_pattern(self->back, BLOCK, self->seed, 0));
	EXPECT_EQ(0, sys_io_destroy(other));
}

/* What is in the page cache when it is read, or replaced, below it. */
TEST_F(files, beside_the_page_cache)
{
	char *map;

	ASSERT_TRUE(fill_file(self));
	fill_pattern(self->buf, SIZE, ++self->seed, 0);
	ASSERT_EQ(SIZE, pwrite(self->buffered, self->buf, SIZE, 0));
	ASSERT_TRUE(transfer_blocks(self, variant->polled, READ, self->back, 0, 1));
	EXPECT_TRUE(has_pattern(self->back, SIZE, self->seed, 0));

	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, self->buffered, 0);
	ASSERT_TRUE(map != MAP_FAILED);
	EXPECT_TRUE(has_pattern(map, SIZE, self->seed, 0));
	fill_pattern(map, SIZE, ++self->seed, 0);
	ASSERT_TRUE(transfer_blocks(self, variant->polled, READ, self->back, 0, 1));
	EXPECT_TRUE(has_pattern(self->back, SIZE, self->seed, 0));

	fill_pattern(self->buf, SIZE, ++self->seed, 0);
	ASSERT_TRUE(transfer_blocks(self, variant->polled, WRITE, self->buf, 0, 1));
	EXPECT_TRUE(has_pattern(map, SIZE, self->seed, 0));
	EXPECT_TRUE(file_has_pattern(self, self->seed, SIZE));
	munmap(map, SIZE);
}

/* Durable writes */

static bool write_durably(FIXTURE_DATA(files) * self, bool polled, int fd, int rw_flags)
{
	struct io_event events[DEPTH];
	struct iocb iocbs[DEPTH];
	struct stat st;

	fill_pattern(self->buf, SIZE, ++self->seed, 0);
	/* At first all of them extend the file, then they overwrite it. */
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < DEPTH; i++) {
			prep(&iocbs[i], polled, WRITE, fd, self->buf + i * BLOCK, BLOCK,
			     i * BLOCK);
			iocbs[i].aio_rw_flags = rw_flags;
		}
		if (submit_array(self->ctx, iocbs, DEPTH) != DEPTH ||
		    reap(self->ctx, DEPTH, events, WAIT_MS) != DEPTH)
			return false;
		for (int i = 0; i < DEPTH; i++)
			if (events[i].res != BLOCK)
				return false;
	}
	return !fstat(fd, &st) && st.st_size == DEPTH * BLOCK &&
	       file_has_pattern(self, self->seed, DEPTH * BLOCK) && !ftruncate(fd, 0);
}

TEST_F(files, durable_writes)
{
	EXPECT_TRUE(write_durably(self, variant->polled, self->fd, RWF_DSYNC));
	EXPECT_TRUE(write_durably(self, variant->polled, self->fd, RWF_SYNC));
	EXPECT_TRUE(write_durably(self, variant->polled,
				  reopen(self->fd, O_RDWR | O_DIRECT | O_DSYNC), 0));
	EXPECT_TRUE(write_durably(self, variant->polled,
				  reopen(self->fd, O_RDWR | O_DIRECT | O_SYNC), 0));
}

/* Errors */

TEST_F(files, who_would_not_wait_is_told_so)
{
	struct iocb iocb;
	long long ret;

	ASSERT_TRUE(fill_file(self));
	prep(&iocb, variant->polled, WRITE, self->fd, self->buf, BLOCK, SIZE);
	iocb.aio_rw_flags = RWF_NOWAIT;
	ret = submit_and_wait(self->ctx, &iocb);
	if (variant->fs == &vfat) {
		/* It does not know of such impatience, and says so at once. */
		EXPECT_EQ(-EOPNOTSUPP, ret);
		return;
	}
	EXPECT_EQ(-EAGAIN, ret);
	EXPECT_TRUE(file_has_pattern(self, self->seed, SIZE));
	prep(&iocb, variant->polled, READ, self->fd, self->back, BLOCK, 0);
	iocb.aio_rw_flags = RWF_NOWAIT;
	ret = submit_and_wait(self->ctx, &iocb);
	EXPECT_TRUE(ret == BLOCK || ret == -EAGAIN);
}

/* Takes all space that is left. */
static void fill_filesystem(const struct filesystem *fs)
{
	int fd = filesystem_open(fs, O_RDWR);
	__s64 offset = 0;

	for (__s64 len = 64 << 20; len >= SECTOR; len /= 2)
		while (!fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, len))
			offset += len;
}

TEST_F(files, no_space_left)
{
	ASSERT_TRUE(fill_file(self));
	fill_filesystem(variant->fs);
	EXPECT_EQ(-ENOSPC, transfer(self, variant->polled, WRITE, self->buf, SIZE,
				    100 * SIZE));
	EXPECT_TRUE(file_has_pattern(self, self->seed, SIZE));
	EXPECT_EQ(SIZE, transfer(self, variant->polled, WRITE, self->buf, SIZE, 0));
}

TEST_F(files, a_bad_buffer)
{
	char *hole = map_memory(2 * BLOCK);

	ASSERT_TRUE(fill_file(self));
	ASSERT_EQ(0, munmap(hole + BLOCK, BLOCK));
	EXPECT_EQ(-EFAULT, transfer(self, variant->polled, READ, hole + BLOCK, BLOCK, 0));
	EXPECT_EQ(-EFAULT, transfer(self, variant->polled, WRITE, hole + BLOCK, BLOCK, 0));
	/* Half of it is there: either answer will do, but only one. */
	EXPECT_NE(2 * BLOCK, transfer(self, variant->polled, READ, hole, 2 * BLOCK, 0));
	EXPECT_EQ(0, getevents_ms(self->ctx, 0, 1, &(struct io_event){ 0 }, 0));
	EXPECT_TRUE(file_has_pattern(self, self->seed, SIZE));
}

/* Has the disk fail all I/O to a block of the file, or no more. */
static int set_bad_block(const struct filesystem *fs, int fd, int block, bool bad)
{
	char path[PATH_MAX], range[64];
	int size = 0, place;
	__u64 first, last;

	if (ioctl(fd, FIGETBSZ, &size))
		return -errno;
	place = block * BLOCK / size;
	if (ioctl(fd, FIBMAP, &place))
		return -errno;
	first = (__u64)place * size / SECTOR;
	last = first + BLOCK / SECTOR - 1;
	snprintf(range, sizeof(range), "%c%llu-%llu", bad ? '+' : '-', first, last);
	snprintf(path, sizeof(path), CONFIGFS "/nullb/%s/badblocks", fs->disk);
	return write_text(path, range);
}

/* Does @opcode for half of the blocks; only @bad is to fail. */
static bool fails_for_one_block(FIXTURE_DATA(files) * self, bool polled, int opcode,
				int bad)
{
	struct io_event events[BLOCKS / 2];
	struct iocb iocbs[BLOCKS / 2];
	int nr = BLOCKS / 2;

	/* No two of them become one request. */
	for (int i = 0; i < nr; i++) {
		int offset = 2 * i * BLOCK;

		prep(&iocbs[i], polled, opcode, self->fd, self->buf + offset, BLOCK, offset);
		iocbs[i].aio_data = 2 * i;
	}
	if (submit_array(self->ctx, iocbs, nr) != nr ||
	    reap(self->ctx, nr, events, WAIT_MS) != nr)
		return false;
	for (int i = 0; i < nr; i++)
		if (events[i].res != ((int)events[i].data == bad ? -EIO : BLOCK))
			return false;
	return true;
}

TEST_F(files, a_device_error)
{
	int bad = 6;

	ASSERT_TRUE(fill_file(self));
	ASSERT_EQ(0, set_bad_block(variant->fs, self->fd, bad, true));
	EXPECT_TRUE(fails_for_one_block(self, variant->polled, READ, bad));
	EXPECT_TRUE(fails_for_one_block(self, variant->polled, WRITE, bad));
	ASSERT_EQ(0, set_bad_block(variant->fs, self->fd, bad, false));
	EXPECT_EQ(BLOCK, transfer(self, variant->polled, READ, self->back, BLOCK,
				  bad * BLOCK));
	EXPECT_TRUE(has_pattern(self->back, BLOCK, self->seed, bad * BLOCK));
}

/* All of it at once: what can be polled and what cannot, in one context. */
TEST_F(files, all_kinds_together)
{
	enum { READS, OVERWRITES, FILLS, CONVERSIONS, KINDS };
	struct io_event events[BLOCKS];
	struct iocb iocbs[BLOCKS];
	int quarter = SIZE / KINDS;

	fill_pattern(self->buf, SIZE, self->seed, 0);
	ASSERT_EQ(0, fallocate(self->fd, 0, 0, SIZE));
	ASSERT_EQ(quarter, pwrite(self->buffered, self->buf, quarter, 0));
	ASSERT_EQ(quarter, pwrite(self->buffered, self->back, quarter, quarter));
	ASSERT_EQ(0, fsync(self->buffered));
	/* Who cannot punch holes has one kind less. */
	fallocate(self->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FILLS * quarter,
		  quarter);
	for (int i = 0; i < BLOCKS; i++) {
		int kind = i % KINDS;
		int offset = kind * quarter + i / KINDS * BLOCK;

		prep(&iocbs[i], variant->polled, kind == READS ? READ : WRITE, self->fd,
		     (kind == READS ? self->back : self->buf) + offset, BLOCK, offset);
	}
	ASSERT_EQ(BLOCKS, submit_array(self->ctx, iocbs, BLOCKS));
	ASSERT_EQ(BLOCKS, reap(self->ctx, BLOCKS, events, WAIT_MS));
	EXPECT_EQ(0, getevents_ms(self->ctx, 0, 1, events, 0));
	for (int i = 0; i < BLOCKS; i++)
		EXPECT_EQ(BLOCK, events[i].res);
	EXPECT_TRUE(has_pattern(self->back, quarter, self->seed, 0));
	EXPECT_TRUE(file_has_pattern(self, self->seed, SIZE));
}

/* What is polled, and what completes by itself */

FIXTURE(polling)
{
	aio_context_t ctx;
	int fd;
	char *buf;
	char device[64];
};

FIXTURE_VARIANT(polling)
{
	const struct filesystem *fs;
	bool has_holes;		/* and keeps files in one piece */
};

FIXTURE_VARIANT_ADD(polling, ext4) { .fs = &ext4, .has_holes = true };
FIXTURE_VARIANT_ADD(polling, xfs) { .fs = &xfs, .has_holes = true };
FIXTURE_VARIANT_ADD(polling, vfat) { .fs = &vfat };

FIXTURE_SETUP(polling)
{
	if (!kernel_polls())
		SKIP(return, "%s", skip_reason);
	self->fd = filesystem_open(variant->fs, O_RDWR | O_DIRECT);
	if (self->fd < 0)
		SKIP(return, "%s", skip_reason);
	filesystem_device(variant->fs, self->device, sizeof(self->device));
	self->buf = map_memory(SIZE);
	ASSERT_TRUE(!!self->buf);
	ASSERT_EQ(SIZE, pwrite(self->fd, self->buf, SIZE, 0));
	ASSERT_EQ(0, fsync(self->fd));
	ASSERT_EQ(0, sys_io_setup(DEPTH, &self->ctx));
}

FIXTURE_TEARDOWN(polling)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
}

/* Longer than the disk needs by itself, shorter than polled I/O is left alone. */
#define NOTICE_MS	20

/*
 * Has polled I/O left in flight without anybody polling: it stays there if it is to
 * be polled. Returns how many of @rounds did.
 */
static int rounds_in_flight(FIXTURE_DATA(polling) * self, struct iocb *iocb, int rounds)
{
	struct io_event event;
	int waited = 0;

	for (int i = 0; i < rounds; i++) {
		if (submit_one(self->ctx, iocb) != 1)
			return -1;
		sleep_ms(NOTICE_MS);
		waited += requests_in_flight(self->device) > 0;
		if (reap(self->ctx, 1, &event, WAIT_MS) != 1 ||
		    event.res != (__s64)iocb->aio_nbytes)
			return -1;
	}
	return waited;
}

/* Of several rounds one may be found by somebody else: a slow machine has its moments. */
TEST_F(polling, reads_and_overwrites_are_polled)
{
	struct iocb iocb;

	prep(&iocb, true, READ, self->fd, self->buf, BLOCK, 0);
	EXPECT_LE(3, rounds_in_flight(self, &iocb, 5));
	/* What lies in several pieces takes several bios, which are not polled. */
	if (variant->has_holes) {
		prep(&iocb, true, READ, self->fd, self->buf, 4 * BLOCK, 0);
		EXPECT_LE(3, rounds_in_flight(self, &iocb, 5));
	}
	prep(&iocb, true, WRITE, self->fd, self->buf, BLOCK, 0);
	EXPECT_LE(3, rounds_in_flight(self, &iocb, 5));
}

TEST_F(polling, writes_that_allocate_complete_by_themselves)
{
	struct iocb iocb;

	prep(&iocb, true, WRITE, self->fd, self->buf, BLOCK, SIZE);
	EXPECT_EQ(0, rounds_in_flight(self, &iocb, 1));
	/* Where there are no holes, this allocates. */
	if (!variant->has_holes)
		return;
	ASSERT_EQ(0, ftruncate(self->fd, 3 * SIZE));
	iocb.aio_offset = 2 * SIZE;
	EXPECT_EQ(0, rounds_in_flight(self, &iocb, 1));
}

/* It shows only when the device gets the request. */
TEST(a_device_without_poll_queues_refuses)
{
	struct iocb iocb;
	aio_context_t ctx = 0;
	char path[PATH_MAX], *buf = map_memory(BLOCK);
	int fd = open_tmpfile(O_DIRECT);
	struct stat st;

	if (!kernel_polls())
		SKIP(return, "%s", skip_reason);
	if (fd < 0)
		SKIP(return, "AIO_TMPDIR (%s): %s", tmpdir(), strerror(errno));
	ASSERT_EQ(0, fstat(fd, &st));
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/queue/io_poll",
		 major(st.st_dev), minor(st.st_dev));
	if (read_number(path) != 0)
		SKIP(return, "AIO_TMPDIR (%s) is on no disk, or one with poll queues",
		     tmpdir());
	ASSERT_TRUE(!!buf);
	ASSERT_EQ(BLOCK, pwrite(fd, buf, BLOCK, 0));
	ASSERT_EQ(0, sys_io_setup(1, &ctx));
	for (int opcode = READ; opcode <= WRITE; opcode++) {
		prep(&iocb, true, opcode, fd, buf, BLOCK, 0);
		EXPECT_EQ(-EOPNOTSUPP, submit_and_wait(ctx, &iocb));
	}
	EXPECT_EQ(0, sys_io_destroy(ctx));
}

int main(int argc, char **argv)
{
	return filesystem_harness_run(argc, argv);
}
