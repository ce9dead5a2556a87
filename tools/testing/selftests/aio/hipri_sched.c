// SPDX-License-Identifier: GPL-2.0-only
/*
 * A task that polls is a task like others: it gives way to them, can be frozen and
 * throttled, and sleeps where there is nothing to poll.
 */
#include "aio_syscalls.h"
#include "reader.h"
#include "slow_disk.h"
#include "kselftest_harness.h"

#include <sys/sysmacros.h>

#define WAIT_MS		(20 * MSEC_PER_SEC)
#define IN_FLIGHT	(SLOW_IOS / 2)

/* The CPU time that @clock has counted. */
static long long cpu_ms(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (long long)ts.tv_sec * MSEC_PER_SEC + ts.tv_nsec / NSEC_PER_MSEC;
}

TEST_F(slow, others_run_on_the_cpu_of_a_poller)
{
	struct reader reader = {
		.ctx = self->ctx, .min_nr = READER_EVENTS, .nr = READER_EVENTS,
		.ms = -1,
	};
	long long start, end;

	ASSERT_EQ(0, pin_to_one_cpu());
	ASSERT_EQ(IN_FLIGHT, submit_array(self->ctx, self->iocbs, IN_FLIGHT));
	ASSERT_EQ(0, reader_start(&reader));
	start = cpu_ms(CLOCK_THREAD_CPUTIME_ID);
	for (end = now_ms() + 200; now_ms() < end;)
		;
	/* Half of it is ours. */
	EXPECT_LT(50, cpu_ms(CLOCK_THREAD_CPUTIME_ID) - start);
	EXPECT_EQ(READER_EVENTS, reader_join(&reader));
}

/* With nothing in flight it sleeps, or else we would not get to submit more. */
TEST_F(slow, a_realtime_poller_lets_the_submitter_run)
{
	static const struct sched_param lowest = { .sched_priority = 1 };
	struct reader reader = { .ctx = self->ctx, .min_nr = 3, .nr = 3, .ms = -1 };
	clockid_t clock;

	ASSERT_EQ(0, pin_to_one_cpu());
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocbs[0]));
	ASSERT_EQ(0, reader_start(&reader));
	if (pthread_setschedparam(reader.thread, SCHED_FIFO, &lowest))
		SKIP(return, "SCHED_FIFO: not permitted");
	ASSERT_EQ(0, pthread_getcpuclockid(reader.thread, &clock));
	sleep_ms(300);
	/* It has polled for one I/O of SLOW_MS, and slept since. */
	EXPECT_GT(200, cpu_ms(clock));
	for (int i = 1; i < 3; i++)
		ASSERT_EQ(1, submit_one(self->ctx, &self->iocbs[i]));
	EXPECT_TRUE(reader_is_back(&reader, PROMPT_MS));
	ASSERT_EQ(0, sys_io_destroy(self->ctx));
	EXPECT_EQ(3, reader_join(&reader));
}

/* Control groups: a new one in a mount of our own */

struct cgroup {
	char mount[32];
	char path[64];
};

/* 0, or -1 and skip_reason. */
static int cgroup_make(struct cgroup *cgroup)
{
	snprintf(cgroup->mount, sizeof(cgroup->mount), "/tmp/aio-cgroup-XXXXXX");
	if (!mkdtemp(cgroup->mount) ||
	    mount("cgroup2", cgroup->mount, "cgroup2", 0, NULL)) {
		snprintf(skip_reason, sizeof(skip_reason), "cgroup2: %s",
			 strerror(errno));
		return -1;
	}
	snprintf(cgroup->path, sizeof(cgroup->path), "%s/aio", cgroup->mount);
	if (mkdir(cgroup->path, 0755)) {
		snprintf(skip_reason, sizeof(skip_reason), "%s: %s", cgroup->path,
			 strerror(errno));
		return -1;
	}
	return 0;
}

static void cgroup_remove(const struct cgroup *cgroup)
{
	rmdir(cgroup->path);
	umount(cgroup->mount);
	rmdir(cgroup->mount);
}

static int cgroup_write(const struct cgroup *cgroup, const char *file,
			const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", cgroup->path, file);
	return write_text(path, text);
}

static bool cgroup_becomes(const struct cgroup *cgroup, const char *event)
{
	long long deadline = now_ms() + PROMPT_MS;
	char path[128], text[256];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.events", cgroup->path);
	do {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		len = read(fd, text, sizeof(text) - 1);
		close(fd);
		text[len < 0 ? 0 : len] = 0;
		if (strstr(text, event))
			return true;
		sleep_ms(10);
	} while (now_ms() < deadline);
	return false;
}

FIXTURE(cgroup)
{
	struct cgroup cgroup;
	int fd;
	char *buf;
	struct iocb iocbs[IN_FLIGHT];
	struct io_event events[IN_FLIGHT];
};

FIXTURE_SETUP(cgroup)
{
	self->fd = open_slow_disk();
	if (self->fd < 0 || cgroup_make(&self->cgroup))
		SKIP(return, "%s", skip_reason);
	self->buf = map_memory(SLOW_IO);
	ASSERT_TRUE(!!self->buf);
	prep_slow_reads(self->iocbs, IN_FLIGHT, self->fd, self->buf);
}

FIXTURE_TEARDOWN(cgroup)
{
	cgroup_remove(&self->cgroup);
	close(self->fd);
	nullb_remove(SLOW_DISK);
}

/* Submits all, and reads until all have come, in full: 0, or 1. */
static int read_all(FIXTURE_DATA(cgroup) * self)
{
	aio_context_t ctx = 0;
	long done = 0;

	if (sys_io_setup(IN_FLIGHT, &ctx) ||
	    submit_array(ctx, self->iocbs, IN_FLIGHT) != IN_FLIGHT)
		return 1;
	while (done < IN_FLIGHT) {
		long got = getevents_ms(ctx, IN_FLIGHT - done, IN_FLIGHT - done,
					self->events + done, WAIT_MS);

		/* To be frozen is to be interrupted. */
		if (got > 0)
			done += got;
		else if (got != -EINTR)
			return 1;
	}
	for (int i = 0; i < IN_FLIGHT; i++) {
		struct iocb *iocb = (void *)(uintptr_t)self->events[i].obj;

		if (self->events[i].res != (__s64)iocb->aio_nbytes)
			return 1;
	}
	return 0;
}

/* Starts a process that reads all, in the group, and exits with 0 if it could. */
static pid_t read_all_in_group(FIXTURE_DATA(cgroup) * self)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	if (cgroup_write(&self->cgroup, "cgroup.procs", "0"))
		_exit(2);
	_exit(read_all(self));
}

/* Lets the group read from the disk @fd @times a second: 0, or -1 and skip_reason. */
static int cgroup_throttle(const struct cgroup *cgroup, int fd, int times)
{
	char limit[64], controllers[128];
	struct stat st;
	int ret;

	snprintf(controllers, sizeof(controllers), "%s/cgroup.subtree_control",
		 cgroup->mount);
	ret = write_text(controllers, "+io");
	if (ret) {
		snprintf(skip_reason, sizeof(skip_reason),
			 "the io controller of cgroup2: %s", strerror(-ret));
		return -1;
	}
	ret = fstat(fd, &st) ? -errno : 0;
	snprintf(limit, sizeof(limit), "%u:%u riops=%d", major(st.st_rdev),
		 minor(st.st_rdev), times);
	if (!ret)
		ret = cgroup_write(cgroup, "io.max", limit);
	if (!ret)
		return 0;
	snprintf(skip_reason, sizeof(skip_reason), "io.max of cgroup2: %s",
		 strerror(-ret));
	return -1;
}

TEST_F(cgroup, a_poller_can_be_frozen)
{
	int status;
	pid_t pid;

	pid = read_all_in_group(self);
	ASSERT_LT(0, pid);
	ASSERT_TRUE(cgroup_becomes(&self->cgroup, "populated 1"));
	sleep_ms(100);
	ASSERT_EQ(0, cgroup_write(&self->cgroup, "cgroup.freeze", "1"));
	EXPECT_TRUE(cgroup_becomes(&self->cgroup, "frozen 1"));
	sleep_ms(100);
	ASSERT_EQ(0, cgroup_write(&self->cgroup, "cgroup.freeze", "0"));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* Who may do few I/Os a second waits for them. */
TEST_F(cgroup, a_poller_can_be_throttled)
{
	long long start;
	int status;
	pid_t pid;

	if (cgroup_throttle(&self->cgroup, self->fd, IN_FLIGHT))
		SKIP(return, "%s", skip_reason);
	start = now_ms();
	pid = read_all_in_group(self);
	ASSERT_LT(0, pid);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	/* A second's worth, of which the first slices come at once. */
	EXPECT_LT(600, now_ms() - start);
}

/* It has to be split, which shows when the submitter has gone. */
TEST_F(cgroup, throttled_io_of_any_size_is_done)
{
	size_t size = 2 * SLOW_IO;
	int status;
	pid_t pid;

	if (cgroup_throttle(&self->cgroup, self->fd, IN_FLIGHT))
		SKIP(return, "%s", skip_reason);
	self->buf = map_memory(size);
	ASSERT_TRUE(!!self->buf);
	for (int i = 0; i < IN_FLIGHT; i++) {
		prep_pread(&self->iocbs[i], self->fd, self->buf, size, i * size);
		set_hipri(&self->iocbs[i]);
	}
	pid = read_all_in_group(self);
	ASSERT_LT(0, pid);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

#define FEW_TAGS	4
#define FEW_TAGS_DISK	"aiofewtags"

/* So does the want of a tag: somebody else has all of them, and hardly ever polls. */
TEST_F(cgroup, throttled_io_beyond_the_tags_is_done)
{
	static const struct nullb_setting settings[] = {
		{ "hw_queue_depth", FEW_TAGS },
		/* No two reads become one request. */
		{ "max_sectors", SLOW_IO / 512 },
		{ "size", 64 },
		{ NULL, 0 },
	};
	struct io_event events[FEW_TAGS];
	struct iocb iocbs[FEW_TAGS];
	aio_context_t other = 0;
	int status = -1;
	pid_t pid;
	int fd;

	fd = nullb_create(FEW_TAGS_DISK, settings);
	if (fd < 0)
		SKIP(return, "%s", skip_reason);
	if (cgroup_throttle(&self->cgroup, fd, IN_FLIGHT)) {
		close(fd);
		nullb_remove(FEW_TAGS_DISK);
		SKIP(return, "%s", skip_reason);
	}
	ASSERT_EQ(0, sys_io_setup(FEW_TAGS, &other));
	prep_slow_reads(iocbs, FEW_TAGS, fd, self->buf);
	prep_slow_reads(self->iocbs, IN_FLIGHT, fd, self->buf);
	ASSERT_EQ(FEW_TAGS, submit_array(other, iocbs, FEW_TAGS));
	pid = read_all_in_group(self);
	EXPECT_LT(0, pid);
	while (pid > 0 && !waitpid(pid, &status, WNOHANG)) {
		sleep_ms(50);
		EXPECT_EQ(FEW_TAGS, reap(other, FEW_TAGS, events, WAIT_MS));
		EXPECT_EQ(FEW_TAGS, submit_array(other, iocbs, FEW_TAGS));
	}
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, sys_io_destroy(other));
	close(fd);
	nullb_remove(FEW_TAGS_DISK);
}

TEST_HARNESS_MAIN
