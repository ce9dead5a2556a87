// SPDX-License-Identifier: GPL-2.0-only
/*
 * The end of a polled context, by io_destroy(), exit, exec or a signal: all I/O
 * is complete, everything is given back, and nobody hangs. And on the way there:
 * no slot is lost.
 */
#include "aio_syscalls.h"
#include "reader.h"
#include "slow_disk.h"
#include "kselftest_harness.h"

#define MOST		1024
#define ROUNDS		25
#define WAIT_MS		(20 * MSEC_PER_SEC)

FIXTURE(teardown)
{
	aio_context_t ctx;
	int fd;
	char *buf;
	long aio_nr;		/* without this test's contexts */
	struct iocb *iocbs;	/* MOST polled reads of one block */
	struct io_event *events;
};

FIXTURE_VARIANT(teardown)
{
	const struct aio_device *device;
};

FIXTURE_VARIANT_ADD(teardown, nvme) { .device = &nvme };
FIXTURE_VARIANT_ADD(teardown, nullb) { .device = &nullb };

FIXTURE_SETUP(teardown)
{
	self->fd = open_polled(variant->device, O_RDONLY);
	if (self->fd < 0)
		SKIP(return, "%s", skip_reason);
	self->buf = map_memory(MOST * BLOCK);
	self->iocbs = calloc(MOST, sizeof(*self->iocbs));
	self->events = calloc(MOST, sizeof(*self->events));
	ASSERT_TRUE(self->buf && self->iocbs && self->events);
	for (int i = 0; i < MOST; i++) {
		prep_pread(&self->iocbs[i], self->fd, self->buf + i * BLOCK, BLOCK,
			   i * BLOCK);
		set_hipri(&self->iocbs[i]);
	}
	self->aio_nr = read_number(AIO_NR_PATH);
	ASSERT_EQ(0, requests_in_flight(device_path(variant->device)));
}

FIXTURE_TEARDOWN(teardown)
{
	if (self->ctx)
		sys_io_destroy(self->ctx);
	close(self->fd);
}

TEST_F(teardown, destroy_completes_what_is_in_flight)
{
	for (int nr = 1; nr <= MOST; nr *= 2) {
		aio_context_t ctx = 0;

		ASSERT_EQ(0, sys_io_setup(nr, &ctx));
		ASSERT_EQ(nr, submit_array(ctx, self->iocbs, nr));
		ASSERT_EQ(0, sys_io_destroy(ctx));
		ASSERT_EQ(0, requests_in_flight(device_path(variant->device)));
		ASSERT_EQ(self->aio_nr, read_number(AIO_NR_PATH));
	}
}

/* The kernel also polls for who does not, but not before this. */
#define LIVENESS_MS	100

TEST_F(teardown, destroy_polls_by_itself)
{
	long long before = now_ms();

	for (int i = 0; i < ROUNDS; i++) {
		aio_context_t ctx = 0;

		ASSERT_EQ(0, sys_io_setup(1, &ctx));
		ASSERT_EQ(1, submit_one(ctx, &self->iocbs[i]));
		ASSERT_EQ(0, sys_io_destroy(ctx));
	}
	EXPECT_GT(ROUNDS * LIVENESS_MS * 3 / 4, now_ms() - before);
}

TEST_F(teardown, destroy_drops_what_is_not_reaped)
{
	ASSERT_EQ(0, sys_io_setup(64, &self->ctx));
	ASSERT_EQ(64, submit_array(self->ctx, self->iocbs, 64));
	ASSERT_EQ(1, getevents_ms(self->ctx, 1, 1, self->events, -1));
	ASSERT_EQ(0, sys_io_destroy(self->ctx));
	EXPECT_EQ(-EINVAL, getevents_ms(self->ctx, 0, 1, self->events, 0));
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocbs[0]));
	EXPECT_EQ(-EINVAL, sys_io_destroy(self->ctx));
	self->ctx = 0;
}

TEST_F(teardown, destroy_after_the_close_of_the_file)
{
	ASSERT_EQ(0, sys_io_setup(64, &self->ctx));
	ASSERT_EQ(64, submit_array(self->ctx, self->iocbs, 64));
	ASSERT_EQ(0, close(self->fd));
	EXPECT_EQ(0, sys_io_destroy(self->ctx));
	self->ctx = 0;
}

/* How a process with I/O in flight may end. */

static void do_exit(void)
{
	_exit(0);
}

static void do_exec(void)
{
	/* Prints its usage, to nobody. */
	close(STDOUT_FILENO);
	close(STDERR_FILENO);
	execl("/proc/self/exe", "hipri_teardown", "-h", NULL);
}

static void do_die(void)
{
	raise(SIGKILL);
}

static void *die_in_a_thread(void *unused)
{
	raise(SIGKILL);
	return unused;
}

static void do_die_with_threads(void)
{
	pthread_t thread;

	if (!pthread_create(&thread, NULL, die_in_a_thread, NULL))
		pause();
}

#define CONTEXTS	16

/* Ends a process by @end with @nr of @iocbs in flight in each of its contexts. */
static int end_with_io(void (*end)(void), int contexts, struct iocb *iocbs, int nr)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		for (int i = 0; i < contexts; i++) {
			aio_context_t ctx = 0;

			if (sys_io_setup(nr, &ctx) || submit_array(ctx, iocbs, nr) != nr)
				_exit(1);
		}
		end();
		_exit(2);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGKILL ? 0 : -1;
	return WEXITSTATUS(status) == KSFT_SKIP ? 0 : WEXITSTATUS(status);
}

#define expect_all_given_back()						\
	do {								\
		EXPECT_TRUE(aio_nr_becomes(self->aio_nr));		\
		EXPECT_EQ(0, requests_in_flight(device_path(variant->device))); \
	} while (0)

TEST_F(teardown, exit_with_io_in_flight)
{
	for (int nr = 1; nr <= MOST; nr *= 4)
		ASSERT_EQ(0, end_with_io(do_exit, 1, self->iocbs, nr));
	expect_all_given_back();
}

TEST_F(teardown, exec_with_io_in_flight)
{
	for (int nr = 1; nr <= MOST; nr *= 4)
		ASSERT_EQ(0, end_with_io(do_exec, 1, self->iocbs, nr));
	expect_all_given_back();
}

TEST_F(teardown, kill_with_io_in_flight)
{
	for (int nr = 1; nr <= MOST; nr *= 4)
		ASSERT_EQ(0, end_with_io(do_die, 1, self->iocbs, nr));
	expect_all_given_back();
}

TEST_F(teardown, kill_of_a_threaded_process)
{
	ASSERT_EQ(0, end_with_io(do_die_with_threads, 1, self->iocbs, 256));
	expect_all_given_back();
}

TEST_F(teardown, many_contexts_at_once)
{
	ASSERT_EQ(0, end_with_io(do_exit, CONTEXTS, self->iocbs, 64));
	ASSERT_EQ(0, end_with_io(do_exec, CONTEXTS, self->iocbs, 64));
	ASSERT_EQ(0, end_with_io(do_die, CONTEXTS, self->iocbs, 64));
	expect_all_given_back();
}

TEST_F(teardown, exit_without_the_ring)
{
	pid_t pid = fork();
	int status;

	ASSERT_LE(0, pid);
	if (!pid) {
		aio_context_t ctx = 0;

		_exit(sys_io_setup(64, &ctx) ||
		      submit_array(ctx, self->iocbs, 64) != 64 ||
		      munmap(ring_of(ctx), sysconf(_SC_PAGESIZE)));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	expect_all_given_back();
}

TEST_F(teardown, a_child_takes_nothing_along)
{
	int status;
	pid_t pid;

	ASSERT_EQ(0, sys_io_setup(64, &self->ctx));
	ASSERT_EQ(64, submit_array(self->ctx, self->iocbs, 64));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(getevents_ms(self->ctx, 0, 1, self->events, 0) != -EINVAL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(64, reap(self->ctx, 64, self->events, WAIT_MS));
}

/* Others that use the context while it goes. */

struct user {
	aio_context_t ctx;
	struct iocb *iocbs;
	struct io_event *events;
	long ret;
	pthread_t thread;
};

static void *wait_for_too_many(void *arg)
{
	struct user *user = arg;

	user->ret = getevents_ms(user->ctx, MOST, MOST, user->events, -1);
	return NULL;
}

TEST_F(teardown, destroy_ends_a_sleeping_reader)
{
	struct user user = { .iocbs = self->iocbs, .events = self->events };

	ASSERT_EQ(0, sys_io_setup(64, &user.ctx));
	ASSERT_EQ(BLOCK, submit_and_wait(user.ctx, &self->iocbs[0]));
	ASSERT_EQ(0, pthread_create(&user.thread, NULL, wait_for_too_many, &user));
	sleep_ms(50);
	ASSERT_EQ(0, sys_io_destroy(user.ctx));
	ASSERT_EQ(0, pthread_join(user.thread, NULL));
	EXPECT_EQ(-EINVAL, user.ret);
}

static void *submit_until_refused(void *arg)
{
	struct user *user = arg;

	do {
		user->ret = submit_one(user->ctx, &user->iocbs[0]);
		if (user->ret == -EAGAIN)
			user->ret = getevents_ms(user->ctx, 1, MOST, user->events, -1);
	} while (user->ret > 0);
	return NULL;
}

TEST_F_TIMEOUT(teardown, destroy_under_a_submitter, 60)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct user user = { .iocbs = self->iocbs, .events = self->events };

		ASSERT_EQ(0, sys_io_setup(64, &user.ctx));
		ASSERT_EQ(BLOCK, submit_and_wait(user.ctx, &self->iocbs[0]));
		ASSERT_EQ(0, pthread_create(&user.thread, NULL, submit_until_refused,
					    &user));
		sleep_ms(i % 8);
		ASSERT_EQ(0, sys_io_destroy(user.ctx));
		ASSERT_EQ(0, pthread_join(user.thread, NULL));
		ASSERT_EQ(-EINVAL, user.ret);
		ASSERT_EQ(0, requests_in_flight(device_path(variant->device)));
	}
	expect_all_given_back();
}

static void *destroy(void *arg)
{
	struct user *user = arg;

	user->ret = sys_io_destroy(user->ctx);
	return NULL;
}

TEST_F_TIMEOUT(teardown, one_of_two_destroyers_wins, 60)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct user user = { 0 };
		long ret;

		ASSERT_EQ(0, sys_io_setup(64, &user.ctx));
		ASSERT_EQ(64, submit_array(user.ctx, self->iocbs, 64));
		ASSERT_EQ(0, pthread_create(&user.thread, NULL, destroy, &user));
		ret = sys_io_destroy(user.ctx);
		ASSERT_EQ(0, pthread_join(user.thread, NULL));
		ASSERT_EQ(-EINVAL, ret + user.ret);
		ASSERT_TRUE(!ret || !user.ret);
	}
	expect_all_given_back();
}

/* Cancellation */

TEST_F(teardown, polled_io_cannot_be_cancelled)
{
	ASSERT_EQ(0, sys_io_setup(64, &self->ctx));
	ASSERT_EQ(64, submit_array(self->ctx, self->iocbs, 64));
	for (int i = 0; i < 64; i++)
		ASSERT_EQ(-EINVAL, sys_io_cancel(self->ctx, &self->iocbs[i],
						 self->events));
	EXPECT_EQ(64, reap(self->ctx, 64, self->events, WAIT_MS));
	EXPECT_EQ(0, getevents_ms(self->ctx, 0, 1, self->events, 0));
}

/* Slots */

TEST_F_TIMEOUT(teardown, reaping_returns_the_slots, 60)
{
	__u32 nr;

	ASSERT_EQ(0, sys_io_setup(8, &self->ctx));
	nr = ring_of(self->ctx)->nr;
	for (__u32 i = 0; i < 4 * nr; i++) {
		ASSERT_EQ(8, submit_array(self->ctx, self->iocbs, 8));
		ASSERT_EQ(8, reap(self->ctx, 8, self->events, WAIT_MS));
	}
}

TEST_F_TIMEOUT(teardown, refusal_returns_the_slot, 60)
{
	struct iocb refused[4];
	__u32 nr;

	for (int i = 0; i < 4; i++)
		refused[i] = self->iocbs[0];
	refused[0].aio_offset = -1;
	refused[1].aio_fildes = -1;
	refused[2].aio_lio_opcode = IOCB_CMD_FSYNC;
	refused[3].aio_flags = 0;

	ASSERT_EQ(0, sys_io_setup(8, &self->ctx));
	ASSERT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocbs[0]));
	nr = ring_of(self->ctx)->nr;
	for (__u32 i = 0; i < 16 * nr; i++) {
		long ret = submit_one(self->ctx, &refused[i % 4]);

		ASSERT_GT(0, ret);
	}
	ASSERT_EQ(8, submit_array(self->ctx, self->iocbs, 8));
	EXPECT_EQ(8, reap(self->ctx, 8, self->events, WAIT_MS));
}

TEST_F_TIMEOUT(teardown, immediate_errors_return_the_slot, 60)
{
	struct iocb unaligned = self->iocbs[0];
	__u32 nr;

	unaligned.aio_offset = 1;
	ASSERT_EQ(0, sys_io_setup(8, &self->ctx));
	nr = ring_of(self->ctx)->nr;
	for (__u32 i = 0; i < 4 * nr; i++) {
		long long ret = submit_and_wait(self->ctx, &unaligned);

		ASSERT_EQ(-EINVAL, ret);
	}
	ASSERT_EQ(8, submit_array(self->ctx, self->iocbs, 8));
	EXPECT_EQ(8, reap(self->ctx, 8, self->events, WAIT_MS));
}

/* As many as io_setup() was asked for, no more than the ring would have held. */
TEST_F_TIMEOUT(teardown, over_submission_is_refused, 60)
{
	__u32 nr;

	ASSERT_EQ(0, pin_to_one_cpu());
	ASSERT_EQ(0, sys_io_setup(8, &self->ctx));
	nr = ring_of(self->ctx)->nr;
	ASSERT_GE(MOST, nr);
	for (int round = 0; round < 3; round++) {
		long taken = submit_array(self->ctx, self->iocbs, nr);

		EXPECT_LE(8, taken);
		EXPECT_GT(nr, taken);
		EXPECT_EQ(-EAGAIN, submit_one(self->ctx, &self->iocbs[0]));
		EXPECT_EQ(taken, reap(self->ctx, taken, self->events, WAIT_MS));
		EXPECT_EQ(0, getevents_ms(self->ctx, 0, 1, self->events, 0));
	}
}

/* A device that takes its time */

#define IN_FLIGHT	(SLOW_IOS / 2)

/* One pass over the device is not enough here. */
TEST_F(slow, destroy_waits_for_all)
{
	long long start;

	ASSERT_EQ(IN_FLIGHT, submit_array(self->ctx, self->iocbs, IN_FLIGHT));
	start = now_ms();
	EXPECT_EQ(0, sys_io_destroy(self->ctx));
	EXPECT_LE(IN_FLIGHT * SLOW_MS / 2, now_ms() - start);
	EXPECT_EQ(0, requests_in_flight(SLOW_DISK));
}

TEST_F(slow, destroy_ends_a_polling_reader)
{
	struct reader reader = {
		.ctx = self->ctx, .min_nr = SLOW_IOS, .nr = SLOW_IOS, .ms = -1,
		.to = self->events,
	};

	ASSERT_EQ(IN_FLIGHT, submit_array(self->ctx, self->iocbs, IN_FLIGHT));
	ASSERT_EQ(0, reader_start(&reader));
	sleep_ms(100);
	ASSERT_EQ(0, sys_io_destroy(self->ctx));
	reader_join(&reader);
	/* What it had before it was told so counts. */
	EXPECT_TRUE(reader.ret == -EINVAL ||
		    (reader.ret > 0 && reader.ret <= IN_FLIGHT));
	EXPECT_EQ(0, requests_in_flight(SLOW_DISK));
}

/* Kills a child after it had time to run @wait, and waits for its end. */
static bool killed_promptly(void (*wait)(FIXTURE_DATA(slow) *),
			    FIXTURE_DATA(slow) * self)
{
	pid_t pid = fork();
	long long start;
	int status;

	if (!pid) {
		wait(self);
		_exit(1);
	}
	if (pid < 0)
		return false;
	sleep_ms(200);
	start = now_ms();
	if (kill(pid, SIGKILL) || waitpid(pid, &status, 0) != pid)
		return false;
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL &&
	       now_ms() - start < SLOW_IOS * SLOW_MS + PROMPT_MS;
}

#define READERS		4

static void read_contexts(FIXTURE_DATA(slow) * self)
{
	struct reader readers[READERS];

	for (int i = 0; i < READERS; i++) {
		readers[i] = (struct reader) {
			.min_nr = READER_EVENTS, .nr = READER_EVENTS, .ms = -1,
		};
		if (sys_io_setup(SLOW_IOS, &readers[i].ctx) ||
		    submit_array(readers[i].ctx, self->iocbs, 8) != 8 ||
		    reader_start(&readers[i]))
			return;
	}
	pause();
}

TEST_F(slow, kill_under_readers_of_several_contexts)
{
	ASSERT_EQ(IN_FLIGHT, submit_array(self->ctx, self->iocbs, IN_FLIGHT));
	EXPECT_TRUE(killed_promptly(read_contexts, self));
	EXPECT_EQ(IN_FLIGHT, reap(self->ctx, IN_FLIGHT, self->events, WAIT_MS));
	EXPECT_EQ(0, requests_in_flight(SLOW_DISK));
}

static void read_one_context(FIXTURE_DATA(slow) * self)
{
	struct reader readers[READERS];
	aio_context_t ctx = 0;

	if (sys_io_setup(SLOW_IOS, &ctx) ||
	    submit_array(ctx, self->iocbs, IN_FLIGHT) != IN_FLIGHT)
		return;
	for (int i = 0; i < READERS; i++) {
		readers[i] = (struct reader) {
			.ctx = ctx, .min_nr = READER_EVENTS, .nr = READER_EVENTS,
			.ms = -1,
		};
		if (reader_start(&readers[i]))
			return;
	}
	pause();
}

/* One of them polls, the others wait for their turn. */
TEST_F(slow, kill_under_several_readers_of_a_context)
{
	EXPECT_TRUE(killed_promptly(read_one_context, self));
	EXPECT_EQ(0, requests_in_flight(SLOW_DISK));
}

TEST_HARNESS_MAIN
