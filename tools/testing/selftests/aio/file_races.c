// SPDX-License-Identifier: GPL-2.0-only
/*
 * Direct I/O on files, polled and not, while somebody else reads, writes, extends or
 * changes the same file: whoever looks sees the data of before or of after.
 */
#include "aio_syscalls.h"
#include "direct_files.h"
#include "kselftest_harness.h"

#include <sys/statvfs.h>

#define ROUNDS		100
#define SECTOR		512
#define WAIT_MS		(10 * MSEC_PER_SEC)

FIXTURE_VARIANT_ADD(files, ext4_plain) { .fs = &ext4, .polled = false };
FIXTURE_VARIANT_ADD(files, ext4_polled) { .fs = &ext4, .polled = true };
FIXTURE_VARIANT_ADD(files, xfs_plain) { .fs = &xfs, .polled = false };
FIXTURE_VARIANT_ADD(files, xfs_polled) { .fs = &xfs, .polled = true };

/* Somebody else, who does the same again and again until told to stop. */
struct other {
	bool (*again)(struct other *other);	/* false where something is wrong */
	int fd;
	__u64 seed;
	int place;		/* a block, for the tests to use */
	char *buf;		/* SIZE bytes */
	bool stop;
	bool wrong;
	pthread_t thread;
};

static void *go_on(void *arg)
{
	struct other *other = arg;

	while (!other->wrong && !__atomic_load_n(&other->stop, __ATOMIC_ACQUIRE))
		other->wrong = !other->again(other);
	return NULL;
}

/* Starts the thread. Returns whether it runs. */
static bool other_start(struct other *other)
{
	other->buf = map_memory(SIZE);
	return other->buf && !pthread_create(&other->thread, NULL, go_on, other);
}

/* Stops the thread and returns whether all it saw was right. */
static bool other_stop(struct other *other)
{
	__atomic_store_n(&other->stop, true, __ATOMIC_RELEASE);
	pthread_join(other->thread, NULL);
	munmap(other->buf, SIZE);
	return !other->wrong;
}

static bool is_zero(const char *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i])
			return false;
	return true;
}

/* Reads the block at the end, which is there with its data or not at all. */
static bool read_the_next_block(struct other *other)
{
	__u64 offset = (__u64)other->place * BLOCK;
	ssize_t got = pread(other->fd, other->buf, BLOCK, offset);

	if (!got)
		return true;
	other->place++;
	return got == BLOCK && has_pattern(other->buf, BLOCK, other->seed, offset);
}

TEST_F(files, appends_while_somebody_reads_at_the_end)
{
	struct other direct = {
		.again = read_the_next_block, .fd = self->fd, .seed = self->seed,
	};
	struct other buffered = {
		.again = read_the_next_block, .fd = self->buffered, .seed = self->seed,
	};

	fill_pattern(self->buf, SIZE, self->seed, 0);
	ASSERT_TRUE(other_start(&direct));
	ASSERT_TRUE(other_start(&buffered));
	for (int i = 0; i < BLOCKS; i++)
		ASSERT_EQ(BLOCK, transfer(self, variant->polled, WRITE,
					  self->buf + i * BLOCK, BLOCK, i * BLOCK));
	EXPECT_TRUE(other_stop(&direct));
	EXPECT_TRUE(other_stop(&buffered));
}

/* Allocates the block that is about to be appended, or just has been. */
static bool allocate_the_next_block(struct other *other)
{
	int place = __atomic_load_n(&other->place, __ATOMIC_ACQUIRE);

	return !fallocate(other->fd, 0, place * BLOCK, BLOCK);
}

TEST_F(files, appends_while_somebody_allocates)
{
	struct other other = { .again = allocate_the_next_block, .fd = self->buffered };

	fill_pattern(self->buf, SIZE, self->seed, 0);
	ASSERT_TRUE(other_start(&other));
	for (int i = 0; i < BLOCKS; i++) {
		__atomic_store_n(&other.place, i, __ATOMIC_RELEASE);
		ASSERT_EQ(BLOCK, transfer(self, variant->polled, WRITE,
					  self->buf + i * BLOCK, BLOCK, i * BLOCK));
	}
	EXPECT_TRUE(other_stop(&other));
	ASSERT_EQ(SIZE, pread(self->fd, self->back, SIZE, 0));
	EXPECT_TRUE(has_pattern(self->back, SIZE, self->seed, 0));
}

/* Several writes beyond the end, in any order: the file ends where the last one does. */
TEST_F(files, extending_writes_in_any_order)
{
	static const int ends[] = { 3, 1, 7, 2, 5 };	/* in sectors, behind the block */
	struct io_event events[ARRAY_SIZE(ends)];
	struct iocb iocbs[ARRAY_SIZE(ends)];
	int nr = ARRAY_SIZE(ends);
	struct stat st;
	__s64 last;

	fill_pattern(self->buf, SIZE, self->seed, 0);
	for (int round = 0; round < ROUNDS / 4; round++) {
		for (int i = 0; i < nr; i++) {
			int block = (i * 7 + round) % BLOCKS, len = ends[i] * SECTOR;

			prep(&iocbs[i], variant->polled, WRITE, self->fd,
			     self->buf + block * BLOCK, len, block * BLOCK);
		}
		last = 0;
		ASSERT_EQ(0, ftruncate(self->fd, 0));
		ASSERT_EQ(nr, submit_array(self->ctx, iocbs, nr));
		ASSERT_EQ(nr, reap(self->ctx, nr, events, WAIT_MS));
		for (int i = 0; i < nr; i++) {
			struct iocb *iocb = (void *)(uintptr_t)events[i].obj;
			__s64 end = iocb->aio_offset + iocb->aio_nbytes;

			ASSERT_EQ(iocb->aio_nbytes, events[i].res);
			last = end > last ? end : last;
			ASSERT_EQ(iocb->aio_nbytes,
				  pread(self->buffered, self->back, iocb->aio_nbytes,
					iocb->aio_offset));
			ASSERT_TRUE(has_pattern(self->back, iocb->aio_nbytes, self->seed,
						iocb->aio_offset));
		}
		ASSERT_EQ(0, fstat(self->fd, &st));
		ASSERT_EQ(last, st.st_size);
	}
}

/* Reads a block that was a hole, or still is one. */
static bool read_hole_or_data(struct other *other)
{
	__u64 offset = (__u64)__atomic_load_n(&other->place, __ATOMIC_ACQUIRE) * BLOCK;

	return pread(other->fd, other->buf, BLOCK, offset) == BLOCK &&
	       (is_zero(other->buf, BLOCK) ||
		has_pattern(other->buf, BLOCK, other->seed, offset));
}

static void fill_under_readers(struct __test_metadata *_metadata,
			       FIXTURE_DATA(files) * self, bool polled)
{
	struct other direct = {
		.again = read_hole_or_data, .fd = self->fd, .seed = self->seed,
	};
	struct other buffered = {
		.again = read_hole_or_data, .fd = self->buffered, .seed = self->seed,
	};

	fill_pattern(self->buf, SIZE, self->seed, 0);
	ASSERT_TRUE(other_start(&direct));
	ASSERT_TRUE(other_start(&buffered));
	for (int i = 0; i < BLOCKS; i++) {
		__atomic_store_n(&direct.place, i, __ATOMIC_RELEASE);
		__atomic_store_n(&buffered.place, i, __ATOMIC_RELEASE);
		ASSERT_EQ(BLOCK, transfer(self, polled, WRITE, self->buf + i * BLOCK,
					  BLOCK, i * BLOCK));
		/* From here on it is data for everyone. */
		ASSERT_EQ(BLOCK, pread(self->buffered, self->back, BLOCK, i * BLOCK));
		ASSERT_TRUE(has_pattern(self->back, BLOCK, self->seed, i * BLOCK));
	}
	EXPECT_TRUE(other_stop(&direct));
	EXPECT_TRUE(other_stop(&buffered));
}

TEST_F(files, fills_holes_while_somebody_reads)
{
	ASSERT_EQ(0, ftruncate(self->fd, SIZE));
	fill_under_readers(_metadata, self, variant->polled);
}

TEST_F(files, fills_unwritten_extents_while_somebody_reads)
{
	ASSERT_EQ(0, fallocate(self->fd, 0, 0, SIZE));
	fill_under_readers(_metadata, self, variant->polled);
}

/* Reads the whole file by the page cache, and ahead. */
static bool read_on(struct other *other)
{
	return pread(other->fd, other->buf, SIZE, 0) == SIZE;
}

/* What is in the page cache by then is not what is read after the write. */
TEST_F(files, overwrites_while_somebody_reads_ahead)
{
	struct other other = { .again = read_on, .fd = self->buffered };

	ASSERT_EQ(SIZE, pwrite(self->buffered, self->buf, SIZE, 0));
	ASSERT_EQ(0, fsync(self->buffered));
	ASSERT_TRUE(other_start(&other));
	for (int round = 0; round < ROUNDS; round++) {
		__u64 seed = self->seed + round;
		int block = round % BLOCKS;

		fill_pattern(self->buf, BLOCK, seed, 0);
		ASSERT_EQ(BLOCK, transfer(self, variant->polled, WRITE, self->buf, BLOCK,
					  block * BLOCK));
		ASSERT_EQ(BLOCK, pread(self->buffered, self->back, BLOCK, block * BLOCK));
		ASSERT_TRUE(has_pattern(self->back, BLOCK, seed, 0));
	}
	EXPECT_TRUE(other_stop(&other));
}

/* Dirties pages that direct I/O wants to be rid of. */
static bool dirty_pages(struct other *other)
{
	return pwrite(other->fd, other->buf, SIZE, 0) == SIZE;
}

/*
 * Who wins is open. To have been beaten is an error for who writes by the page cache, if
 * it calls fsync(), and none for the direct I/O.
 */
TEST_F(files, overwrites_while_somebody_dirties_the_page_cache)
{
	struct other other = { .again = dirty_pages, .fd = self->buffered };
	struct io_event event;

	ASSERT_EQ(SIZE, pwrite(self->buffered, self->buf, SIZE, 0));
	ASSERT_EQ(0, fsync(self->buffered));
	ASSERT_TRUE(other_start(&other));
	for (int round = 0; round < ROUNDS; round++)
		ASSERT_EQ(BLOCK, transfer(self, variant->polled, WRITE, self->buf, BLOCK,
					  round % BLOCKS * BLOCK));
	EXPECT_TRUE(other_stop(&other));
	EXPECT_EQ(0, getevents_ms(self->ctx, 0, 1, &event, 0));
}

/* Has the open file do direct I/O, or not, in turns. */
static bool toggle_direct(struct other *other)
{
	int flags = fcntl(other->fd, F_GETFL);

	return flags >= 0 && !fcntl(other->fd, F_SETFL, flags ^ O_DIRECT);
}

TEST_F(files, io_while_somebody_toggles_direct_io)
{
	struct other other = { .again = toggle_direct, .fd = self->fd };
	long long deadline = now_ms() + PROMPT_MS;

	fill_pattern(self->buf, SIZE, self->seed, 0);
	ASSERT_EQ(SIZE, pwrite(self->fd, self->buf, SIZE, 0));
	ASSERT_TRUE(other_start(&other));
	for (int done = 0; done < 4 * ROUNDS;) {
		int offset = done % BLOCKS * BLOCK;
		int opcode = done / BLOCKS % 2 ? WRITE : READ;
		long long ret = transfer(self, variant->polled, opcode,
					 opcode == READ ? self->back : self->buf + offset,
					 BLOCK, offset);

		ASSERT_GT(deadline, now_ms());
		/* What is not direct cannot be polled: at another time. */
		if (variant->polled && ret == -EOPNOTSUPP)
			continue;
		ASSERT_EQ(BLOCK, ret);
		if (opcode == READ)
			ASSERT_TRUE(has_pattern(self->back, BLOCK, self->seed, offset));
		done++;
	}
	EXPECT_TRUE(other_stop(&other));
	ASSERT_EQ(SIZE, pread(self->buffered, self->back, SIZE, 0));
	EXPECT_TRUE(has_pattern(self->back, SIZE, self->seed, 0));
}

/* Each block is overwritten as soon as it was written: the last one stays. */
TEST_F(files, overwrites_in_turns)
{
	struct io_event events[BLOCKS];
	struct iocb iocbs[BLOCKS];
	int turns[BLOCKS] = { 0 };
	int in_flight = BLOCKS;

	ASSERT_EQ(0, fallocate(self->fd, 0, 0, SIZE));
	for (int i = 0; i < BLOCKS; i++) {
		fill_pattern(self->buf + i * BLOCK, BLOCK, self->seed, i * BLOCK);
		prep(&iocbs[i], variant->polled, WRITE, self->fd, self->buf + i * BLOCK,
		     BLOCK, i * BLOCK);
	}
	ASSERT_EQ(BLOCKS, submit_array(self->ctx, iocbs, BLOCKS));
	while (in_flight) {
		long got = getevents_ms(self->ctx, 1, BLOCKS, events, WAIT_MS);

		ASSERT_LT(0, got);
		for (long n = 0; n < got; n++) {
			struct iocb *iocb = (void *)(uintptr_t)events[n].obj;
			int i = iocb - iocbs;

			ASSERT_EQ(BLOCK, events[n].res);
			if (++turns[i] == 4) {
				in_flight--;
				continue;
			}
			fill_pattern(self->buf + i * BLOCK, BLOCK,
				     self->seed + turns[i], i * BLOCK);
			ASSERT_EQ(1, submit_one(self->ctx, iocb));
		}
	}
	ASSERT_EQ(SIZE, pread(self->buffered, self->back, SIZE, 0));
	EXPECT_TRUE(has_pattern(self->back, SIZE, self->seed + 3, 0));
}

/* Is what was free once free again? It may take the file system a moment. */
static bool is_free_again(int fd, unsigned long blocks)
{
	long long deadline = now_ms() + PROMPT_MS;
	struct statvfs st;

	do {
		syncfs(fd);
		if (!fstatvfs(fd, &st) && st.f_bfree >= blocks)
			return true;
		sleep_ms(10);
	} while (now_ms() < deadline);
	return false;
}

/* Its I/O has the last reference to the file, which is unlinked and goes with it. */
TEST_F(files, io_that_outlives_its_file)
{
	struct io_event events[8];
	struct iocb iocbs[8];
	struct statvfs before;

	ASSERT_EQ(0, fstatvfs(self->fd, &before));
	for (int round = 0; round < ROUNDS / 4; round++) {
		int fd = filesystem_open(variant->fs, O_RDWR | O_DIRECT);

		ASSERT_LE(0, fd);
		ASSERT_EQ(SIZE, pwrite(fd, self->buf, SIZE, 0));
		for (int i = 0; i < 8; i++)
			prep(&iocbs[i], variant->polled, i % 2 ? READ : WRITE, fd,
			     self->buf + i * BLOCK, BLOCK, i * BLOCK);
		ASSERT_EQ(8, submit_array(self->ctx, iocbs, 8));
		ASSERT_EQ(0, close(fd));
		ASSERT_EQ(8, reap(self->ctx, 8, events, WAIT_MS));
		for (int i = 0; i < 8; i++)
			ASSERT_EQ(BLOCK, events[i].res);
	}
	/* But for a file or two, and what the file system itself has grown by. */
	EXPECT_TRUE(is_free_again(self->fd, before.f_bfree - 2 * SIZE / before.f_frsize));
}

/* Several threads and files: written, overwritten and read, in order and at random */

#define WORKERS		3
#define WORK_DEPTH	16

struct worker {
	const struct filesystem *fs;
	bool polled;
	__u64 seed;
	bool wrong;
	pthread_t thread;
};

/* Does @opcode for each block of @fd, every @stride-th one after the other. */
static bool do_stage(struct worker *worker, aio_context_t ctx, int fd, int opcode,
		     char *buf, int stride)
{
	struct io_event events[WORK_DEPTH];
	struct iocb iocbs[WORK_DEPTH];

	for (int done = 0; done < BLOCKS; done += WORK_DEPTH) {
		for (int i = 0; i < WORK_DEPTH; i++) {
			int block = (done + i) * stride % BLOCKS;

			prep(&iocbs[i], worker->polled, opcode, fd, buf + block * BLOCK,
			     BLOCK, block * BLOCK);
		}
		if (submit_array(ctx, iocbs, WORK_DEPTH) != WORK_DEPTH ||
		    reap(ctx, WORK_DEPTH, events, WAIT_MS) != WORK_DEPTH)
			return false;
		for (int i = 0; i < WORK_DEPTH; i++)
			if (events[i].res != BLOCK)
				return false;
	}
	return true;
}

static bool do_all_stages(struct worker *worker, aio_context_t ctx, int fd, char *buf)
{
	/* Odd ones visit each block. */
	static const int strides[] = { 1, 13 };

	for (size_t i = 0; i < ARRAY_SIZE(strides); i++) {
		fill_pattern(buf, SIZE, worker->seed + i, 0);
		if (!do_stage(worker, ctx, fd, WRITE, buf, strides[i]))
			return false;
		memset(buf, 0, SIZE);
		if (!do_stage(worker, ctx, fd, READ, buf, strides[i]) ||
		    !has_pattern(buf, SIZE, worker->seed + i, 0))
			return false;
	}
	return true;
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	int fd = filesystem_open(worker->fs, O_RDWR | O_DIRECT);
	char *buf = map_memory(SIZE);
	aio_context_t ctx = 0;

	worker->wrong = fd < 0 || !buf || sys_io_setup(WORK_DEPTH, &ctx) ||
			!do_all_stages(worker, ctx, fd, buf);
	sys_io_destroy(ctx);
	close(fd);
	return NULL;
}

TEST_F(files, several_threads_and_files)
{
	struct worker workers[WORKERS];

	for (int i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker) {
			.fs = variant->fs, .polled = variant->polled,
			.seed = self->seed + 100 * i,
		};
		ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL, work, &workers[i]));
	}
	for (int i = 0; i < WORKERS; i++) {
		ASSERT_EQ(0, pthread_join(workers[i].thread, NULL));
		EXPECT_FALSE(workers[i].wrong);
	}
}

/* Files that share their blocks until they are written to */

FIXTURE(clones)
{
	aio_context_t ctx;
	int fd;
	int clone;
	char *buf;
	char *back;
	__u64 seed;
};

FIXTURE_VARIANT(clones)
{
	bool polled;
};

FIXTURE_VARIANT_ADD(clones, plain) { .polled = false };
FIXTURE_VARIANT_ADD(clones, polled) { .polled = true };

FIXTURE_SETUP(clones)
{
	if (variant->polled && !kernel_polls())
		SKIP(return, "%s", skip_reason);
	self->fd = filesystem_open(&xfs, O_RDWR | O_DIRECT);
	self->clone = filesystem_open(&xfs, O_RDWR | O_DIRECT);
	if (self->fd < 0 || self->clone < 0)
		SKIP(return, "%s", skip_reason);
	self->buf = map_memory(SIZE);
	self->back = map_memory(SIZE);
	ASSERT_TRUE(self->buf && self->back);
	self->seed = now_ms();
	ASSERT_EQ(0, sys_io_setup(BLOCKS, &self->ctx));
}

FIXTURE_TEARDOWN(clones)
{
	sys_io_destroy(self->ctx);
	close(self->clone);
	close(self->fd);
}

/* The blocks that two files share are overwritten in one of them, all at once. */
TEST_F(clones, keep_what_the_original_loses)
{
	struct io_event events[BLOCKS];
	struct iocb iocbs[BLOCKS];

	for (int round = 0; round < 5; round++, self->seed++) {
		fill_pattern(self->buf, SIZE, self->seed, 0);
		ASSERT_EQ(SIZE, pwrite(self->fd, self->buf, SIZE, 0));
		ASSERT_EQ(0, ioctl(self->clone, FICLONE, self->fd));
		fill_pattern(self->buf, SIZE, ~self->seed, 0);
		for (int i = 0; i < BLOCKS; i++) {
			int block = i * 13 % BLOCKS;

			prep(&iocbs[i], variant->polled, WRITE, self->fd,
			     self->buf + block * BLOCK, BLOCK, block * BLOCK);
		}
		ASSERT_EQ(BLOCKS, submit_array(self->ctx, iocbs, BLOCKS));
		ASSERT_EQ(BLOCKS, reap(self->ctx, BLOCKS, events, WAIT_MS));
		for (int i = 0; i < BLOCKS; i++)
			ASSERT_EQ(BLOCK, events[i].res);
		ASSERT_EQ(SIZE, pread(self->fd, self->back, SIZE, 0));
		EXPECT_TRUE(has_pattern(self->back, SIZE, ~self->seed, 0));
		ASSERT_EQ(SIZE, pread(self->clone, self->back, SIZE, 0));
		EXPECT_TRUE(has_pattern(self->back, SIZE, self->seed, 0));
	}
}

int main(int argc, char **argv)
{
	return filesystem_harness_run(argc, argv);
}
