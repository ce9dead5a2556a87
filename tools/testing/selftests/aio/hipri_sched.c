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

/* Submits all, and reads until all have come: 0, or 1. */
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
	for (int i = 0; i < IN_FLIGHT; i++)
		if (self->events[i].res != SLOW_IO)
			return 1;
	return 0;
}

TEST_F(cgroup, a_poller_can_be_frozen)
{
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (cgroup_write(&self->cgroup, "cgroup.procs", "0"))
			_exit(2);
		_exit(read_all(self));
	}
	ASSERT_TRUE(cgroup_becomes(&self->cgroup, "populated 1"));
	sleep_ms(100);
	ASSERT_EQ(0, cgroup_write(&self->cgroup, "cgroup.freeze", "1"));
	EXPECT_TRUE(cgroup_becomes(&self->cgroup, "frozen 1"));
	sleep_ms(100);
	ASSERT_EQ(0, cgroup_write(&self->cgroup, "cgroup.freeze", "0"));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* Who may do few I/Os a second waits for them, polling. */
TEST_F(cgroup, a_poller_can_be_throttled)
{
	char limit[64], controllers[128];
	long long start;
	int status, ret;
	struct stat st;
	pid_t pid;

	snprintf(controllers, sizeof(controllers), "%s/cgroup.subtree_control",
		 self->cgroup.mount);
	ret = write_text(controllers, "+io");
	if (ret)
		SKIP(return, "the io controller of cgroup2: %s", strerror(-ret));
	ASSERT_EQ(0, fstat(self->fd, &st));
	snprintf(limit, sizeof(limit), "%u:%u riops=%d", major(st.st_rdev),
		 minor(st.st_rdev), IN_FLIGHT);
	ret = cgroup_write(&self->cgroup, "io.max", limit);
	if (ret)
		SKIP(return, "io.max of cgroup2: %s", strerror(-ret));
	start = now_ms();
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (cgroup_write(&self->cgroup, "cgroup.procs", "0"))
			_exit(2);
		_exit(read_all(self));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	/* A second's worth, of which the first slices come at once. */
	EXPECT_LT(600, now_ms() - start);
}

TEST_HARNESS_MAIN
