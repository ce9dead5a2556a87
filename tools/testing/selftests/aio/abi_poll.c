// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOCB_CMD_POLL and io_cancel(): one event for each poll, none lost, whatever
 * happens to the file meanwhile.
 */
#include "aio_syscalls.h"
#include "kselftest_harness.h"

#include <sys/epoll.h>
#include <sys/signalfd.h>

#define STACK_SIZE	(64 * 1024)

/*
 * All that a pipe says of data or room. A wake-up reports what it was for, also
 * the part that was not asked for, so ask for the whole to know the answer.
 */
#define READABLE	(POLLIN | POLLRDNORM)
#define WRITABLE	(POLLOUT | POLLWRNORM)

FIXTURE(poll)
{
	aio_context_t ctx;
	int in, out;		/* the ends of an empty pipe: read from in */
	struct iocb iocb;	/* waits for in to become readable */
	struct io_event event;
};

FIXTURE_SETUP(poll)
{
	int fds[2];

	ASSERT_EQ(0, sys_io_setup(8, &self->ctx));
	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC | O_NONBLOCK));
	self->in = fds[0];
	self->out = fds[1];
	prep_poll(&self->iocb, self->in, READABLE);
}

FIXTURE_TEARDOWN(poll)
{
	sys_io_destroy(self->ctx);
}

TEST_F(poll, is_complete_when_the_file_is_ready)
{
	ASSERT_EQ(1, write(self->out, "x", 1));
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
	ASSERT_EQ(1, getevents_ms(self->ctx, 1, 1, &self->event, 0));
	EXPECT_EQ(READABLE, self->event.res);
	EXPECT_EQ(0, self->event.res2);
	EXPECT_EQ((uintptr_t)&self->iocb, self->event.obj);
}

TEST_F(poll, waits_until_the_file_is_ready)
{
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
	EXPECT_EQ(0, getevents_ms(self->ctx, 1, 1, &self->event, 20));
	ASSERT_EQ(1, write(self->out, "x", 1));
	ASSERT_EQ(1, reap(self->ctx, 1, &self->event, 10 * MSEC_PER_SEC));
	EXPECT_EQ(READABLE, self->event.res);
}

TEST_F(poll, fires_once)
{
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
	ASSERT_EQ(1, write(self->out, "x", 1));
	ASSERT_EQ(1, write(self->out, "x", 1));
	ASSERT_EQ(1, reap(self->ctx, 1, &self->event, 10 * MSEC_PER_SEC));
	EXPECT_EQ(0, getevents_ms(self->ctx, 1, 1, &self->event, 20));
}

TEST_F(poll, ignores_events_not_asked_for)
{
	prep_poll(&self->iocb, self->in, POLLPRI);
	ASSERT_EQ(1, write(self->out, "x", 1));
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
	EXPECT_EQ(0, getevents_ms(self->ctx, 1, 1, &self->event, 20));
}

TEST_F(poll, hangup_is_always_reported)
{
	prep_poll(&self->iocb, self->in, 0);
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
	EXPECT_EQ(0, getevents_ms(self->ctx, 1, 1, &self->event, 0));
	ASSERT_EQ(0, close(self->out));
	ASSERT_EQ(1, reap(self->ctx, 1, &self->event, 10 * MSEC_PER_SEC));
	EXPECT_EQ(POLLHUP, self->event.res);
}

TEST_F(poll, survives_the_close_of_its_file)
{
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
	ASSERT_EQ(0, close(self->in));
	EXPECT_EQ(0, getevents_ms(self->ctx, 1, 1, &self->event, 20));
	ASSERT_EQ(1, write(self->out, "x", 1));
	ASSERT_EQ(1, reap(self->ctx, 1, &self->event, 10 * MSEC_PER_SEC));
	EXPECT_EQ(READABLE, self->event.res);
}

TEST_F(poll, everyone_who_waits_is_told)
{
	struct iocb iocbs[8];
	struct io_event events[8];

	for (int i = 0; i < 8; i++)
		prep_poll(&iocbs[i], self->in, READABLE);
	ASSERT_EQ(8, submit_array(self->ctx, iocbs, 8));
	ASSERT_EQ(1, write(self->out, "x", 1));
	EXPECT_EQ(8, reap(self->ctx, 8, events, 10 * MSEC_PER_SEC));
}

TEST_F(poll, waits_for_room_in_a_full_pipe)
{
	char page[BLOCK] = { 0 };

	while (write(self->out, page, sizeof(page)) > 0)
		;
	prep_poll(&self->iocb, self->out, WRITABLE);
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
	EXPECT_EQ(0, getevents_ms(self->ctx, 1, 1, &self->event, 20));
	while (read(self->in, page, sizeof(page)) > 0)
		;
	ASSERT_EQ(1, reap(self->ctx, 1, &self->event, 10 * MSEC_PER_SEC));
	EXPECT_EQ(WRITABLE, self->event.res);
}

TEST_F(poll, works_on_eventfd_and_epoll)
{
	struct epoll_event interest = { .events = EPOLLIN };
	int efd = eventfd(0, EFD_CLOEXEC);
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct io_event events[2];
	struct iocb iocbs[2];
	__u64 one = 1;

	ASSERT_LE(0, efd);
	ASSERT_LE(0, epoll);
	ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, efd, &interest));
	prep_poll(&iocbs[0], efd, POLLIN);
	prep_poll(&iocbs[1], epoll, POLLIN);
	ASSERT_EQ(2, submit_array(self->ctx, iocbs, 2));
	EXPECT_EQ(0, getevents_ms(self->ctx, 1, 2, events, 20));
	ASSERT_EQ(8, write(efd, &one, sizeof(one)));
	ASSERT_EQ(2, reap(self->ctx, 2, events, 10 * MSEC_PER_SEC));
	EXPECT_TRUE(events[0].res & POLLIN);
	EXPECT_TRUE(events[1].res & POLLIN);
}

TEST_F(poll, refuses_fields_it_does_not_use)
{
	self->iocb.aio_offset = 1;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
	prep_poll(&self->iocb, self->in, READABLE);
	self->iocb.aio_nbytes = 1;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
	prep_poll(&self->iocb, self->in, READABLE);
	self->iocb.aio_rw_flags = RWF_NOWAIT;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
	prep_poll(&self->iocb, self->in, POLLIN | 0x10000);
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
}

TEST_F(poll, files_without_a_queue_are_ready_or_refused)
{
	int fd = open_tmpfile(0);

	ASSERT_LE(0, fd);
	prep_poll(&self->iocb, fd, POLLIN | POLLOUT);
	EXPECT_EQ(POLLIN | POLLOUT, submit_and_wait(self->ctx, &self->iocb));
	prep_poll(&self->iocb, fd, POLLPRI);
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
}

/* A FIFO open for both has two wait queues; only one can be waited on. */
TEST_F(poll, files_with_two_queues_are_ready_or_refused)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/aio-selftest-fifo-%d", tmpdir(), getpid());
	ASSERT_EQ(0, mkfifo(path, 0600));
	fd = open(path, O_RDWR | O_CLOEXEC);
	unlink(path);
	ASSERT_LE(0, fd);
	prep_poll(&self->iocb, fd, POLLOUT);
	EXPECT_EQ(POLLOUT, submit_and_wait(self->ctx, &self->iocb));
	prep_poll(&self->iocb, fd, POLLIN);
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
}

TEST_F(poll, cancel_delivers_an_event)
{
	struct io_event unused;

	self->iocb.aio_data = 7;
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
	EXPECT_EQ(-EINPROGRESS, sys_io_cancel(self->ctx, &self->iocb, &unused));
	ASSERT_EQ(1, reap(self->ctx, 1, &self->event, 10 * MSEC_PER_SEC));
	EXPECT_EQ((uintptr_t)&self->iocb, self->event.obj);
	EXPECT_EQ(7, self->event.data);
	EXPECT_EQ(0, self->event.res);

	/* It is gone now, and the pipe does not complete it again. */
	EXPECT_EQ(-EINVAL, sys_io_cancel(self->ctx, &self->iocb, &unused));
	ASSERT_EQ(1, write(self->out, "x", 1));
	EXPECT_EQ(0, getevents_ms(self->ctx, 1, 1, &self->event, 20));
}

TEST_F(poll, cancel_takes_the_one_that_is_named)
{
	struct io_event events[3];
	struct iocb iocbs[3];

	for (int i = 0; i < 3; i++)
		prep_poll(&iocbs[i], self->in, READABLE);
	ASSERT_EQ(3, submit_array(self->ctx, iocbs, 3));
	EXPECT_EQ(-EINPROGRESS, sys_io_cancel(self->ctx, &iocbs[1], events));
	ASSERT_EQ(1, reap(self->ctx, 1, events, 10 * MSEC_PER_SEC));
	EXPECT_EQ((uintptr_t)&iocbs[1], events[0].obj);
	ASSERT_EQ(1, write(self->out, "x", 1));
	ASSERT_EQ(2, reap(self->ctx, 2, events, 10 * MSEC_PER_SEC));
	EXPECT_EQ(READABLE, events[0].res);
	EXPECT_EQ(READABLE, events[1].res);
}

TEST_F(poll, cancel_refuses_what_is_not_waiting)
{
	struct iocb never = self->iocb;
	struct io_event event;
	aio_context_t other = 0;

	EXPECT_EQ(-EFAULT, sys_io_cancel(self->ctx, NULL, &event));
	EXPECT_EQ(-EFAULT, sys_io_cancel(0, NULL, &event));
	EXPECT_EQ(-EINVAL, sys_io_cancel(self->ctx, &never, &event));

	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
	EXPECT_EQ(-EINVAL, sys_io_cancel(0, &self->iocb, &event));
	ASSERT_EQ(0, sys_io_setup(1, &other));
	EXPECT_EQ(-EINVAL, sys_io_cancel(other, &self->iocb, &event));
	self->iocb.aio_key = 1;
	EXPECT_EQ(-EINVAL, sys_io_cancel(self->ctx, &self->iocb, &event));
	self->iocb.aio_key = 0;
	EXPECT_EQ(-EINPROGRESS, sys_io_cancel(self->ctx, &self->iocb, NULL));
}

TEST_F(poll, destroy_cancels)
{
	long long start = now_ms();

	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
	EXPECT_EQ(0, sys_io_destroy(self->ctx));
	EXPECT_GT(PROMPT_MS, now_ms() - start);
	/* The request held the last other reference to the reading end. */
	ASSERT_EQ(0, close(self->in));
	signal(SIGPIPE, SIG_IGN);
	EXPECT_EQ(-1, write(self->out, "x", 1));
	EXPECT_EQ(EPIPE, errno);
}

TEST_F(poll, exit_cancels)
{
	pid_t pid = fork();
	int status;

	ASSERT_LE(0, pid);
	if (!pid) {
		aio_context_t ctx = 0;

		_exit(sys_io_setup(1, &ctx) || submit_one(ctx, &self->iocb) != 1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/*
 * Each poll is submitted just as another thread writes: a wake-up that comes
 * between the look at the file and the wait for it must not be lost.
 */
#define WAKE_UPS	2000

struct writer {
	int fd;
	pthread_barrier_t *start;
};

static void *write_at_each_start(void *arg)
{
	struct writer *writer = arg;

	for (int i = 0; i < WAKE_UPS; i++) {
		pthread_barrier_wait(writer->start);
		if (write(writer->fd, "x", 1) != 1)
			return (void *)1;
	}
	return NULL;
}

TEST_F_TIMEOUT(poll, no_wake_up_is_lost, 120)
{
	pthread_barrier_t start;
	struct writer writer = { self->out, &start };
	pthread_t thread;
	void *failed;
	char byte;

	ASSERT_EQ(0, pthread_barrier_init(&start, NULL, 2));
	ASSERT_EQ(0, pthread_create(&thread, NULL, write_at_each_start, &writer));
	for (int i = 0; i < WAKE_UPS; i++) {
		pthread_barrier_wait(&start);
		ASSERT_EQ(READABLE, submit_and_wait(self->ctx, &self->iocb));
		ASSERT_EQ(1, read(self->in, &byte, 1));
	}
	ASSERT_EQ(0, pthread_join(thread, &failed));
	EXPECT_FALSE(!!failed);
}

struct canceller {
	aio_context_t ctx;
	struct iocb *iocb;
	pthread_barrier_t *start;
};

static void *cancel_at_each_start(void *arg)
{
	struct canceller *canceller = arg;
	struct io_event unused;

	for (int i = 0; i < WAKE_UPS; i++) {
		pthread_barrier_wait(canceller->start);
		sys_io_cancel(canceller->ctx, canceller->iocb, &unused);
	}
	return NULL;
}

/* Whoever wins, wake-up or cancellation: there is exactly one event. */
TEST_F_TIMEOUT(poll, cancel_and_wake_up_race_for_one_event, 120)
{
	pthread_barrier_t start;
	struct canceller canceller = { self->ctx, &self->iocb, &start };
	pthread_t thread;
	char byte;

	ASSERT_EQ(0, pthread_barrier_init(&start, NULL, 2));
	ASSERT_EQ(0, pthread_create(&thread, NULL, cancel_at_each_start, &canceller));
	for (int i = 0; i < WAKE_UPS; i++) {
		ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
		pthread_barrier_wait(&start);
		ASSERT_EQ(1, write(self->out, "x", 1));
		ASSERT_EQ(1, reap(self->ctx, 1, &self->event, 10 * MSEC_PER_SEC));
		ASSERT_EQ(0, getevents_ms(self->ctx, 0, 1, &self->event, 0));
		ASSERT_EQ(1, read(self->in, &byte, 1));
	}
	ASSERT_EQ(0, pthread_join(thread, NULL));
}

struct signaller {
	int round;		/* to send a signal in */
	int sent;		/* rounds over */
};

/* Sends a signal in each round, a little later each time. */
static void *signal_in_each_round(void *arg)
{
	struct signaller *signaller = arg;

	for (int i = 1; i <= WAKE_UPS; i++) {
		while (__atomic_load_n(&signaller->round, __ATOMIC_ACQUIRE) < i)
			;
		for (int wait = i % 400 * 4; wait > 0; wait--)
			__atomic_signal_fence(__ATOMIC_SEQ_CST);
		kill(getpid(), SIGUSR1);
		__atomic_store_n(&signaller->sent, i, __ATOMIC_RELEASE);
	}
	return NULL;
}

/*
 * A wake-up of a signalfd does not say what for, and who is asked then is not
 * the task whose signal it is. So the poll goes on waiting after it; also if it
 * came before the poll was on the list of those that can be cancelled.
 */
TEST_F_TIMEOUT(poll, waits_and_can_be_cancelled_after_an_early_wake_up, 120)
{
	struct signaller signaller = {};
	struct signalfd_siginfo info;
	struct io_event unused;
	pthread_t thread;
	sigset_t signals;
	int cancelled = 0;
	int fd;

	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, &signals, NULL));
	fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	ASSERT_LE(0, fd);
	prep_poll(&self->iocb, fd, POLLIN);
	ASSERT_EQ(0, pthread_create(&thread, NULL, signal_in_each_round, &signaller));
	for (int i = 1; i <= WAKE_UPS; i++) {
		__atomic_store_n(&signaller.round, i, __ATOMIC_RELEASE);
		ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
		while (__atomic_load_n(&signaller.sent, __ATOMIC_ACQUIRE) < i)
			sched_yield();
		ASSERT_EQ(sizeof(info), read(fd, &info, sizeof(info)));
		if (getevents_ms(self->ctx, 0, 1, &self->event, 0) == 1)
			continue;
		ASSERT_EQ(-EINPROGRESS, sys_io_cancel(self->ctx, &self->iocb, &unused));
		ASSERT_EQ(1, reap(self->ctx, 1, &self->event, 10 * MSEC_PER_SEC));
		cancelled++;
	}
	ASSERT_EQ(0, pthread_join(thread, NULL));
	/* Else the signals came too early for the test to tell anything. */
	EXPECT_LT(0, cancelled);
}

struct signal_poller {
	aio_context_t ctx;
	struct iocb *iocb;
};

/* Polls its own signals, and leaves: the queue it waits on goes with it. */
static int poll_signalfd_and_exit(void *arg)
{
	struct signal_poller *poller = arg;
	sigset_t signals;
	int fd;

	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	fd = signalfd(-1, &signals, SFD_CLOEXEC);
	if (fd < 0)
		return 1;
	prep_poll(poller->iocb, fd, POLLIN);
	return submit_one(poller->ctx, poller->iocb) != 1;
}

TEST_F(poll, a_queue_that_goes_away_completes_the_poll)
{
	struct signal_poller poller = { self->ctx, &self->iocb };
	char *stack = map_memory(STACK_SIZE);

	ASSERT_TRUE(!!stack);
	for (int i = 0; i < 50; i++) {
		int status;
		pid_t pid = clone(poll_signalfd_and_exit, stack + STACK_SIZE,
				  CLONE_VM | SIGCHLD, &poller);

		ASSERT_LT(0, pid);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
		ASSERT_EQ(1, reap(self->ctx, 1, &self->event, 10 * MSEC_PER_SEC));
		ASSERT_EQ((uintptr_t)&self->iocb, self->event.obj);
	}
	EXPECT_EQ(0, getevents_ms(self->ctx, 0, 1, &self->event, 0));
}

TEST_HARNESS_MAIN
