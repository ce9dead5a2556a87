// SPDX-License-Identifier: GPL-2.0-only
/*
 * Polled I/O that its owner does not poll for: nobody else waits for it longer than a
 * moment, be it for the I/O itself, for its tag, or for the device to be idle.
 *
 * The disks are null_blk's, which fail I/O that is not polled for within five seconds:
 * without that, most of what can go wrong here would be for ever.
 */
#include "aio_syscalls.h"
#include "device_mapper.h"
#include "filesystem.h"
#include "kselftest_harness.h"

#define BLOCKS		64
#define SIZE		(BLOCKS * BLOCK)
#define UNREAPED	8
#define SECTOR		512
#define WAIT_MS		(10 * MSEC_PER_SEC)

#define DISK		"aioidle"
#define MAPPED		"aio-idle"

/* Expects that @call returns what it should, and that nobody keeps it waiting. */
#define expect_in_time(expected, call)					\
	do {								\
		long long start_ = now_ms();				\
									\
		EXPECT_EQ(expected, call);				\
		EXPECT_GT(PROMPT_MS, now_ms() - start_);		\
	} while (0)

/* Polled I/O of every other block, so that no two become one request. */
static void prep_apart(struct iocb *iocbs, int nr, int opcode, int fd, char *buf)
{
	for (int i = 0; i < nr; i++) {
		prep_rw(&iocbs[i], opcode, fd, buf + i * BLOCK, BLOCK, 2 * i * BLOCK);
		set_hipri(&iocbs[i]);
	}
}

/* Does each of the @nr I/Os in flight have one event, and a good one? */
static bool all_are_done(aio_context_t ctx, int nr)
{
	struct io_event events[BLOCKS];

	if (reap(ctx, nr, events, WAIT_MS) != nr)
		return false;
	for (int i = 0; i < nr; i++)
		if (events[i].res != BLOCK)
			return false;
	return !getevents_ms(ctx, 0, 1, events, 0);
}

/* Files, with some of their I/O in flight */

FIXTURE(file)
{
	aio_context_t ctx;
	int fd;
	char *buf;
	struct iocb iocbs[UNREAPED];
};

FIXTURE_VARIANT(file)
{
	const struct filesystem *fs;
};

FIXTURE_VARIANT_ADD(file, ext4) { .fs = &ext4 };
FIXTURE_VARIANT_ADD(file, xfs) { .fs = &xfs };

FIXTURE_SETUP(file)
{
	if (!kernel_polls())
		SKIP(return, "%s", skip_reason);
	self->fd = filesystem_open(variant->fs, O_RDWR | O_DIRECT);
	if (self->fd < 0)
		SKIP(return, "%s", skip_reason);
	self->buf = map_memory(SIZE);
	ASSERT_TRUE(!!self->buf);
	ASSERT_EQ(SIZE, pwrite(self->fd, self->buf, SIZE, 0));
	ASSERT_EQ(0, fsync(self->fd));
	ASSERT_EQ(0, sys_io_setup(BLOCKS, &self->ctx));
}

FIXTURE_TEARDOWN(file)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
}

static bool leave_unreaped(FIXTURE_DATA(file) * self, int opcode)
{
	prep_apart(self->iocbs, UNREAPED, opcode, self->fd, self->buf);
	return submit_array(self->ctx, self->iocbs, UNREAPED) == UNREAPED;
}

TEST_F(file, its_owner_truncates_it)
{
	ASSERT_TRUE(leave_unreaped(self, IOCB_CMD_PREAD));
	expect_in_time(0, ftruncate(self->fd, SIZE / 2));
	EXPECT_TRUE(all_are_done(self->ctx, UNREAPED));
}

TEST_F(file, its_owner_punches_a_hole)
{
	int how = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	ASSERT_TRUE(leave_unreaped(self, IOCB_CMD_PREAD));
	expect_in_time(0, fallocate(self->fd, how, SIZE / 2, BLOCK));
	EXPECT_TRUE(all_are_done(self->ctx, UNREAPED));
}

TEST_F(file, its_owner_extends_it)
{
	ASSERT_TRUE(leave_unreaped(self, IOCB_CMD_PREAD));
	expect_in_time(BLOCK, pwrite(self->fd, self->buf, BLOCK, 2 * SIZE));
	EXPECT_TRUE(all_are_done(self->ctx, UNREAPED));
}

TEST_F(file, its_owner_extends_it_by_polled_io)
{
	struct iocb iocb;

	ASSERT_TRUE(leave_unreaped(self, IOCB_CMD_PREAD));
	prep_pwrite(&iocb, self->fd, self->buf, BLOCK, 2 * SIZE);
	set_hipri(&iocb);
	expect_in_time(1, submit_one(self->ctx, &iocb));
	EXPECT_TRUE(all_are_done(self->ctx, UNREAPED + 1));
}

TEST_F(file, its_owner_writes_less_than_a_block)
{
	ASSERT_EQ(0, fallocate(self->fd, 0, SIZE, BLOCK));
	ASSERT_TRUE(leave_unreaped(self, IOCB_CMD_PREAD));
	expect_in_time(SECTOR, pwrite(self->fd, self->buf, SECTOR, SIZE));
	EXPECT_TRUE(all_are_done(self->ctx, UNREAPED));
}

TEST_F(file, somebody_truncates_it_while_its_owner_is_stopped)
{
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		aio_context_t ctx = 0;

		prep_apart(self->iocbs, UNREAPED, IOCB_CMD_PREAD, self->fd, self->buf);
		if (sys_io_setup(UNREAPED, &ctx) ||
		    submit_array(ctx, self->iocbs, UNREAPED) != UNREAPED)
			_exit(1);
		raise(SIGSTOP);
		_exit(!all_are_done(ctx, UNREAPED));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
	ASSERT_TRUE(WIFSTOPPED(status));
	expect_in_time(0, ftruncate(self->fd, SIZE / 2));
	ASSERT_EQ(0, kill(pid, SIGCONT));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_F(file, its_owner_freezes_the_file_system)
{
	ASSERT_TRUE(leave_unreaped(self, IOCB_CMD_PWRITE));
	expect_in_time(0, ioctl(self->fd, FIFREEZE, 0));
	ASSERT_EQ(0, ioctl(self->fd, FITHAW, 0));
	EXPECT_TRUE(all_are_done(self->ctx, UNREAPED));
}

/*
 * A circle of three threads, of whom each waits for the next: one punches a hole, with
 * the file's pages locked, and waits for the I/O; one reads into such a page, with the
 * address space locked, and waits for the page; and we end the context, for which the
 * address space has to be locked.
 */

struct puncher {
	int fd;
	int ret;
	pthread_t thread;
};

static void *punch(void *arg)
{
	struct puncher *puncher = arg;

	puncher->ret = fallocate(puncher->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 SIZE / 2, BLOCK);
	return NULL;
}

struct page_reader {
	int fd;
	char *page;
	ssize_t ret;
	pthread_t thread;
};

static void *read_into_page(void *arg)
{
	struct page_reader *reader = arg;

	reader->ret = pread(reader->fd, reader->page, BLOCK, 0);
	return NULL;
}

TEST_F(file, its_context_ends_behind_a_fault)
{
	struct page_reader reader = { .fd = open_device(&nullb, O_RDONLY | O_DIRECT) };
	struct puncher puncher = { .fd = self->fd };

	if (reader.fd < 0)
		SKIP(return, "%s", skip_reason);
	reader.page = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd,
			   (BLOCKS - 1) * BLOCK);
	ASSERT_TRUE(reader.page != MAP_FAILED);
	/* In memory, but not in a page table: so that who writes to it has to ask. */
	ASSERT_EQ(0, reader.page[0]);
	ASSERT_EQ(0, madvise(reader.page, BLOCK, MADV_DONTNEED));

	ASSERT_TRUE(leave_unreaped(self, IOCB_CMD_PREAD));
	ASSERT_EQ(0, pthread_create(&puncher.thread, NULL, punch, &puncher));
	sleep_ms(20);
	ASSERT_EQ(0, pthread_create(&reader.thread, NULL, read_into_page, &reader));
	sleep_ms(20);
	expect_in_time(0, sys_io_destroy(self->ctx));
	ASSERT_EQ(0, pthread_join(puncher.thread, NULL));
	EXPECT_EQ(0, puncher.ret);
	ASSERT_EQ(0, pthread_join(reader.thread, NULL));
	EXPECT_EQ(BLOCK, reader.ret);
	munmap(reader.page, BLOCK);
}

/* It is polled in its first part, and the file system waits for the whole. */
TEST_F(file, a_write_from_a_written_block_into_an_unwritten_one)
{
	__u64 seed = now_ms();
	struct iocb iocb;

	fill_pattern(self->buf, 2 * BLOCK, seed, 0);
	ASSERT_EQ(0, fallocate(self->fd, 0, SIZE, 4 * BLOCK));
	prep_pwrite(&iocb, self->fd, self->buf, BLOCK + SECTOR, SIZE - BLOCK);
	set_hipri(&iocb);
	expect_in_time(BLOCK + SECTOR, submit_and_wait(self->ctx, &iocb));
	ASSERT_EQ(2 * BLOCK, pread(self->fd, self->buf, 2 * BLOCK, SIZE - BLOCK));
	EXPECT_TRUE(has_pattern(self->buf, BLOCK + SECTOR, seed, 0));
	EXPECT_EQ(0, self->buf[BLOCK + SECTOR]);
}

/* For ext4 the file ends where the disk knows of it, and what is behind extends it. */
TEST_F(file, a_write_to_a_file_that_grew_by_the_page_cache)
{
	char path[64];
	struct iocb iocb;
	int buffered;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	buffered = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, buffered);
	ASSERT_EQ(SIZE, pwrite(buffered, self->buf, SIZE, SIZE));
	prep_pwrite(&iocb, self->fd, self->buf, BLOCK, SIZE);
	set_hipri(&iocb);
	expect_in_time(BLOCK, submit_and_wait(self->ctx, &iocb));
	close(buffered);
}

/* The file system polls the first part, and writes the rest through the page cache. */
TEST(a_write_that_falls_back_to_the_page_cache)
{
	int fd, flags, before = 2 * BLOCK;
	char *buf = map_memory(SIZE);
	__u64 seed = now_ms();
	aio_context_t ctx = 0;
	struct iocb iocb;

	fd = filesystem_open(&ext4, O_RDWR | O_DIRECT);
	if (fd < 0 || !kernel_polls())
		SKIP(return, "%s", skip_reason);
	ASSERT_TRUE(!!buf);
	ASSERT_EQ(0, sys_io_setup(1, &ctx));
	ASSERT_EQ(before, pwrite(fd, buf, before, 0));
	ASSERT_EQ(0, fsync(fd));
	/* ext4 does so for holes of files without extents, as small ones can be. */
	ASSERT_EQ(0, ioctl(fd, FS_IOC_GETFLAGS, &flags));
	flags &= ~FS_EXTENT_FL;
	ASSERT_EQ(0, ioctl(fd, FS_IOC_SETFLAGS, &flags));
	ASSERT_EQ(0, ftruncate(fd, SIZE));

	fill_pattern(buf, 2 * before, seed, 0);
	prep_pwrite(&iocb, fd, buf, 2 * before, 0);
	set_hipri(&iocb);
	expect_in_time(2 * before, submit_and_wait(ctx, &iocb));
	ASSERT_EQ(2 * before, pread(fd, buf, 2 * before, 0));
	EXPECT_TRUE(has_pattern(buf, 2 * before, seed, 0));
	EXPECT_EQ(0, sys_io_destroy(ctx));
	close(fd);
}

/* More I/O of a file than the disk has tags for, held by I/O that only we could reap. */
TEST(files_beyond_the_tags_of_their_disk)
{
	int fd = filesystem_open(&ext4_of_few_tags, O_RDWR | O_DIRECT);
	struct iocb iocbs[BLOCKS / 2];
	char *buf = map_memory(SIZE);
	aio_context_t ctx = 0;
	int nr = BLOCKS / 2;

	if (fd < 0 || !kernel_polls())
		SKIP(return, "%s", skip_reason);
	ASSERT_TRUE(!!buf);
	ASSERT_EQ(SIZE, pwrite(fd, buf, SIZE, 0));
	ASSERT_EQ(0, sys_io_setup(nr, &ctx));
	for (int opcode = IOCB_CMD_PREAD; opcode <= IOCB_CMD_PWRITE; opcode++) {
		prep_apart(iocbs, nr, opcode, fd, buf);
		expect_in_time(nr, submit_array(ctx, iocbs, nr));
		EXPECT_TRUE(all_are_done(ctx, nr));
	}
	EXPECT_EQ(0, sys_io_destroy(ctx));
	close(fd);
}

/* I/O whose owner does nothing at all */

FIXTURE(sleeper)
{
	aio_context_t ctx;
	int fd;
	char *buf;
};

FIXTURE_VARIANT(sleeper)
{
	const struct aio_device *device;
};

FIXTURE_VARIANT_ADD(sleeper, nvme) { .device = &nvme };
FIXTURE_VARIANT_ADD(sleeper, nullb) { .device = &nullb };

FIXTURE_SETUP(sleeper)
{
	self->fd = open_polled(variant->device, O_RDONLY);
	if (self->fd < 0)
		SKIP(return, "%s", skip_reason);
	self->buf = map_memory(UNREAPED * BLOCK);
	ASSERT_TRUE(!!self->buf);
	ASSERT_EQ(0, sys_io_setup(UNREAPED, &self->ctx));
}

FIXTURE_TEARDOWN(sleeper)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
}

/* The device is done with it in time, and the owner learns of it as soon as it asks. */
TEST_F(sleeper, does_not_keep_the_device_busy)
{
	const char *device = device_path(variant->device);
	long long deadline = now_ms() + PROMPT_MS;
	struct io_event events[UNREAPED];
	struct iocb iocbs[UNREAPED];

	prep_apart(iocbs, UNREAPED, IOCB_CMD_PREAD, self->fd, self->buf);
	ASSERT_EQ(UNREAPED, submit_array(self->ctx, iocbs, UNREAPED));
	while (requests_in_flight(device) && now_ms() < deadline)
		sleep_ms(10);
	EXPECT_EQ(0, requests_in_flight(device));
	EXPECT_EQ(UNREAPED, getevents_ms(self->ctx, UNREAPED, UNREAPED, events, 0));
	for (int i = 0; i < UNREAPED; i++)
		EXPECT_EQ(BLOCK, events[i].res);
}

/* Disks, with some of their I/O in flight */

FIXTURE(disk)
{
	aio_context_t ctx;
	int fd;
	char *buf;
	struct iocb iocbs[UNREAPED];
};

FIXTURE_SETUP(disk)
{
	self->buf = map_memory(UNREAPED * BLOCK);
	ASSERT_TRUE(!!self->buf);
	ASSERT_EQ(0, sys_io_setup(UNREAPED, &self->ctx));
}

FIXTURE_TEARDOWN(disk)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
	nullb_remove(DISK);
}

/* Makes the disk and leaves @nr reads of it in flight: 0, or -1 and skip_reason. */
static int leave_on_disk(FIXTURE_DATA(disk) * self, const struct nullb_setting *settings,
			 int nr)
{
	self->fd = nullb_create(DISK, settings);
	if (self->fd < 0)
		return -1;
	prep_apart(self->iocbs, nr, IOCB_CMD_PREAD, self->fd, self->buf);
	if (submit_array(self->ctx, self->iocbs, nr) == nr)
		return 0;
	snprintf(skip_reason, sizeof(skip_reason), "io_submit: not all was taken");
	return -1;
}

static const struct nullb_setting small[] = { { "size", 64 }, { NULL, 0 } };

/* To set the number of requests, the queue is frozen until all of them are complete. */
TEST_F(disk, its_queue_is_frozen)
{
	char path[PATH_MAX];

	if (leave_on_disk(self, small, UNREAPED))
		SKIP(return, "%s", skip_reason);
	snprintf(path, sizeof(path), "/sys/block/%s/queue/nr_requests", DISK);
	expect_in_time(0, write_number(path, 32));
	EXPECT_TRUE(all_are_done(self->ctx, UNREAPED));
}

/* Is mq-deadline in the list of elevators @path? */
static bool has_elevator(const char *path)
{
	char list[256] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool has = read(fd, list, sizeof(list) - 1) > 0 && strstr(list, "mq-deadline");

	close(fd);
	return has;
}

TEST_F(disk, its_elevator_is_switched)
{
	char path[PATH_MAX];

	if (leave_on_disk(self, small, UNREAPED))
		SKIP(return, "%s", skip_reason);
	snprintf(path, sizeof(path), "/sys/block/%s/queue/scheduler", DISK);
	if (!has_elevator(path))
		SKIP(return, "there is no mq-deadline");
	expect_in_time(0, write_text(path, "mq-deadline"));
	EXPECT_TRUE(all_are_done(self->ctx, UNREAPED));
}

TEST_F(disk, it_goes_away)
{
	struct io_event events[UNREAPED];

	if (leave_on_disk(self, small, UNREAPED))
		SKIP(return, "%s", skip_reason);
	expect_in_time(0, nullb_set(DISK, "power", 0));
	EXPECT_EQ(UNREAPED, reap(self->ctx, UNREAPED, events, WAIT_MS));
	EXPECT_EQ(0, getevents_ms(self->ctx, 0, 1, events, 0));
}

/* Whoever wants the cache flushed waits for a durable write that is on its way. */
TEST_F(disk, somebody_flushes_its_cache)
{
	static const struct nullb_setting cached[] = {
		{ "memory_backed", 1 },
		{ "cache_size", 1 },
		{ "fua", 0 },
		{ "size", 64 },
		{ NULL, 0 },
	};
	long long start;
	int status;
	pid_t pid;

	if (leave_on_disk(self, cached, 0))
		SKIP(return, "%s", skip_reason);
	ASSERT_EQ(BLOCK, pwrite(self->fd, self->buf, BLOCK, 0));
	prep_apart(self->iocbs, 1, IOCB_CMD_PWRITE, self->fd, self->buf);
	self->iocbs[0].aio_rw_flags = RWF_DSYNC;
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocbs[0]));
	start = now_ms();
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(fsync(self->fd) != 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_GT(PROMPT_MS, now_ms() - start);
	EXPECT_EQ(0, status);
	EXPECT_TRUE(all_are_done(self->ctx, 1));
}

/* Tags that all queues share are held by I/O of a context that nobody polls. */
TEST_F(disk, somebody_needs_its_tags)
{
	static const struct nullb_setting shared[] = {
		{ "hw_queue_depth", 4 },
		{ "shared_tag_bitmap", 1 },
		{ "size", 64 },
		{ NULL, 0 },
	};
	aio_context_t other = 0;
	struct iocb iocb;

	if (leave_on_disk(self, shared, 4))
		SKIP(return, "%s", skip_reason);
	ASSERT_EQ(0, sys_io_setup(1, &other));
	prep_apart(&iocb, 1, IOCB_CMD_PREAD, self->fd, self->buf);
	expect_in_time(BLOCK, submit_and_wait(other, &iocb));
	EXPECT_EQ(0, sys_io_destroy(other));
	EXPECT_TRUE(all_are_done(self->ctx, 4));

	ASSERT_EQ(4, submit_array(self->ctx, self->iocbs, 4));
	expect_in_time(BLOCK, pread(self->fd, self->buf, BLOCK, 0));
	EXPECT_TRUE(all_are_done(self->ctx, 4));
}

/*
 * An elevator makes one request of neighbours of two contexts, and only the first of
 * them can be asked about: the owner of the other one depends on it.
 */
TEST_F(disk, its_elevator_merges_it_with_io_of_others)
{
	static const struct nullb_setting one_tag[] = {
		{ "hw_queue_depth", 1 },
		{ "size", 64 },
		{ NULL, 0 },
	};
	aio_context_t other = 0;
	char path[PATH_MAX];
	struct iocb iocb;

	if (leave_on_disk(self, one_tag, 0))
		SKIP(return, "%s", skip_reason);
	snprintf(path, sizeof(path), "/sys/block/%s/queue/scheduler", DISK);
	if (!has_elevator(path))
		SKIP(return, "there is no mq-deadline");
	ASSERT_EQ(0, write_text(path, "mq-deadline"));
	ASSERT_EQ(0, sys_io_setup(1, &other));
	prep_apart(self->iocbs, 2, IOCB_CMD_PREAD, self->fd, self->buf);
	ASSERT_EQ(2, submit_array(self->ctx, self->iocbs, 2));
	iocb = self->iocbs[1];
	iocb.aio_offset += BLOCK;
	expect_in_time(BLOCK, submit_and_wait(other, &iocb));
	EXPECT_EQ(0, sys_io_destroy(other));
	EXPECT_TRUE(all_are_done(self->ctx, 2));
}

TEST_F(disk, a_device_on_it_is_suspended)
{
	static const struct dm_piece piece = { "/dev/" DISK, 0, 16 << 20 };
	char path[64];
	int fd;

	if (leave_on_disk(self, small, 0) ||
	    dm_make(MAPPED, &piece, 1, path, sizeof(path)))
		SKIP(return, "%s", skip_reason);
	fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	ASSERT_LE(0, fd);
	prep_apart(self->iocbs, UNREAPED, IOCB_CMD_PREAD, fd, self->buf);
	ASSERT_EQ(UNREAPED, submit_array(self->ctx, self->iocbs, UNREAPED));
	expect_in_time(0, dm_suspend(MAPPED));
	ASSERT_EQ(0, dm_resume(MAPPED));
	EXPECT_TRUE(all_are_done(self->ctx, UNREAPED));
	close(fd);
	EXPECT_EQ(0, dm_remove(MAPPED));
}

/* A processor */

static int set_affinity(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	return sched_setaffinity(0, sizeof(cpus), &cpus);
}

static int set_online(int cpu, int online)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	return write_number(path, online);
}

/* The last processor of a queue waits, before it goes, for what is in flight there. */
TEST_F(disk, the_processor_of_its_queue_goes_offline)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct nullb_setting settings[] = {
		{ "poll_queues", cpus },
		{ "size", 64 },
		{ NULL, 0 },
	};
	int last = cpus - 1;

	if (!last)
		SKIP(return, "there is one processor only");
	if (leave_on_disk(self, settings, 0))
		SKIP(return, "a poll queue for each processor (null_blk.poll_queues): %s",
		     skip_reason);
	if (set_online(last, 1))
		SKIP(return, "processor %d does not go offline", last);
	ASSERT_EQ(0, set_affinity(last));
	prep_apart(self->iocbs, UNREAPED, IOCB_CMD_PREAD, self->fd, self->buf);
	ASSERT_EQ(UNREAPED, submit_array(self->ctx, self->iocbs, UNREAPED));
	ASSERT_EQ(0, set_affinity(0));
	expect_in_time(0, set_online(last, 0));
	EXPECT_TRUE(all_are_done(self->ctx, UNREAPED));
	EXPECT_EQ(0, set_online(last, 1));
}

int main(int argc, char **argv)
{
	return filesystem_harness_run(argc, argv);
}
