// SPDX-License-Identifier: GPL-2.0-only
/*
 * io_getevents() and io_pgetevents(): how long they wait, what ends the wait,
 * and that no event is lost, whatever they return.
 *
 * The I/O is IOCB_CMD_POLL on an empty pipe: it completes when a test wants it.
 */
#include "aio_syscalls.h"
#include "getevents_calls.h"
#include "kselftest_harness.h"

#define EVENTS		8

FIXTURE(getevents)
{
	aio_context_t ctx;
	struct iocb iocbs[EVENTS];
	struct io_event events[EVENTS];
	int in, out;
};

FIXTURE_VARIANT(getevents)
{
	enum getevents_call call;
};

FIXTURE_VARIANT_ADD(getevents, getevents) { .call = GETEVENTS };
FIXTURE_VARIANT_ADD(getevents, pgetevents) { .call = PGETEVENTS };
#ifdef __NR_io_pgetevents_time64
FIXTURE_VARIANT_ADD(getevents, pgetevents_time64) { .call = PGETEVENTS_TIME64 };
#endif

FIXTURE_SETUP(getevents)
{
	int fds[2];

	ASSERT_EQ(0, sys_io_setup(EVENTS, &self->ctx));
	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
	self->in = fds[0];
	self->out = fds[1];
	for (int i = 0; i < EVENTS; i++) {
		prep_poll(&self->iocbs[i], self->in, POLLIN);
		self->iocbs[i].aio_data = 100 + i;
	}
}

FIXTURE_TEARDOWN(getevents)
{
	sys_io_destroy(self->ctx);
}

/* The same with a timeout that need not be readable. */
static long get_with_pointer(enum getevents_call call, aio_context_t ctx,
			     struct io_event *event, void *timeout)
{
#ifdef __NR_io_pgetevents_time64
	if (call == PGETEVENTS_TIME64)
		return sys_io_pgetevents_time64(ctx, 0, 1, event, timeout, NULL);
#endif
	if (call == PGETEVENTS)
		return sys_io_pgetevents(ctx, 0, 1, event, timeout, NULL);
	return sys_io_getevents(ctx, 0, 1, event, timeout);
}

/* Submits the @nr polls at @iocbs on a file that makes them complete at once. */
static bool complete(aio_context_t ctx, struct iocb *iocbs, int nr)
{
	bool ok;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		return false;
	/* A pipe without a writer is ready at once. */
	close(fds[1]);
	for (int i = 0; i < nr; i++)
		iocbs[i].aio_fildes = fds[0];
	ok = submit_array(ctx, iocbs, nr) == nr;
	close(fds[0]);
	return ok;
}

TEST_F(getevents, refuses_bad_counts)
{
	EXPECT_EQ(-EINVAL, get(variant->call, self->ctx, -1, 1, self->events, &zero));
	EXPECT_EQ(-EINVAL, get(variant->call, self->ctx, 2, 1, self->events, &zero));
	EXPECT_EQ(-EINVAL, get(variant->call, self->ctx, 0, -1, self->events, &zero));
	EXPECT_EQ(-EINVAL, get(variant->call, self->ctx, -1, -1, self->events, &zero));
	EXPECT_EQ(-EINVAL, get(variant->call, self->ctx, LONG_MIN, 1, self->events, &zero));
}

TEST_F(getevents, refuses_bad_contexts)
{
	EXPECT_EQ(-EINVAL, get(variant->call, 0, 0, 1, self->events, &zero));
	EXPECT_EQ(-EINVAL, get(variant->call, ~0UL, 0, 1, self->events, &zero));
	EXPECT_EQ(-EINVAL, get(variant->call, 0, 0, 0, NULL, &zero));
}

TEST_F(getevents, reads_the_timeout_first)
{
	void *bad = (void *)1;

	EXPECT_EQ(-EFAULT, get_with_pointer(variant->call, self->ctx, self->events, bad));
	EXPECT_EQ(-EFAULT, get_with_pointer(variant->call, 0, self->events, bad));
}

TEST_F(getevents, asked_for_nothing_waits_for_nothing)
{
	EXPECT_EQ(0, get(variant->call, self->ctx, 0, 0, NULL, NULL));
	EXPECT_EQ(0, get(variant->call, self->ctx, 0, EVENTS, self->events, NULL));
}

TEST_F(getevents, room_for_nothing_takes_nothing)
{
	ASSERT_TRUE(complete(self->ctx, self->iocbs, 1));
	EXPECT_EQ(0, get(variant->call, self->ctx, 0, 0, NULL, NULL));
	EXPECT_EQ(1, get(variant->call, self->ctx, 1, 1, self->events, &zero));
}

TEST_F(getevents, zero_timeout_returns_at_once)
{
	long long start = now_ms();

	ASSERT_EQ(1, submit_one(self->ctx, &self->iocbs[0]));
	EXPECT_EQ(0, get(variant->call, self->ctx, 1, 1, self->events, &zero));
	EXPECT_GT(PROMPT_MS, now_ms() - start);
}

TEST_F(getevents, timeout_is_kept)
{
	long long start = now_ms();

	EXPECT_EQ(0, get(variant->call, self->ctx, 1, 1, self->events, &tenth));
	EXPECT_LE(99, now_ms() - start);
	EXPECT_GT(PROMPT_MS, now_ms() - start);
}

TEST_F(getevents, timeout_returns_what_there_is)
{
	long long start = now_ms();

	ASSERT_TRUE(complete(self->ctx, self->iocbs, 2));
	EXPECT_EQ(2, get(variant->call, self->ctx, 3, EVENTS, self->events, &tenth));
	EXPECT_LE(99, now_ms() - start);
	EXPECT_GT(PROMPT_MS, now_ms() - start);
}

/* The sum with the current time counts as overflown: the wait has no end. */
TEST_F(getevents, a_negative_timeout_is_none)
{
	static const struct timeout past = { .sec = -1 };

	ASSERT_EQ(0, catch_signal(SIGALRM));
	ASSERT_EQ(0, alarm_every_ms(100));
	EXPECT_EQ(-EINTR, get(variant->call, self->ctx, 1, 1, self->events, &past));
	ASSERT_TRUE(complete(self->ctx, self->iocbs, 1));
	EXPECT_EQ(1, get(variant->call, self->ctx, 1, 1, self->events, &past));
}

TEST_F(getevents, enough_events_end_the_wait)
{
	ASSERT_TRUE(complete(self->ctx, self->iocbs, 3));
	EXPECT_EQ(3, get(variant->call, self->ctx, 2, EVENTS, self->events, NULL));
}

TEST_F(getevents, the_rest_comes_next_time)
{
	ASSERT_TRUE(complete(self->ctx, self->iocbs, 5));
	ASSERT_EQ(2, get(variant->call, self->ctx, 1, 2, self->events, NULL));
	ASSERT_EQ(3, get(variant->call, self->ctx, 1, EVENTS, self->events + 2, NULL));
	for (int i = 0; i < 5; i++) {
		EXPECT_EQ((uintptr_t)&self->iocbs[i], self->events[i].obj);
		EXPECT_EQ(100 + i, self->events[i].data);
		EXPECT_EQ(0, self->events[i].res2);
	}
	EXPECT_EQ(0, get(variant->call, self->ctx, 0, EVENTS, self->events, NULL));
}

TEST_F(getevents, a_fault_loses_no_event)
{
	ASSERT_TRUE(complete(self->ctx, self->iocbs, 1));
	EXPECT_EQ(-EFAULT, get(variant->call, self->ctx, 1, 1, NULL, NULL));
	EXPECT_EQ(-EFAULT, get(variant->call, self->ctx, 1, 1, NULL, &tenth));
	ASSERT_EQ(1, get(variant->call, self->ctx, 1, 1, self->events, &zero));
	EXPECT_EQ((uintptr_t)&self->iocbs[0], self->events[0].obj);
}

/* The first event fits, the second does not: both stay. */
TEST_F(getevents, a_fault_in_the_middle_loses_no_event)
{
	long page = sysconf(_SC_PAGESIZE);
	char *guarded = map_before_guard();
	struct io_event *last;

	ASSERT_TRUE(!!guarded);
	last = (void *)(guarded + page - sizeof(*last));
	ASSERT_TRUE(complete(self->ctx, self->iocbs, 2));
	EXPECT_EQ(-EFAULT, get(variant->call, self->ctx, 2, 2, last, &zero));
	ASSERT_EQ(0, mprotect(guarded + page, page, PROT_READ | PROT_WRITE));
	ASSERT_EQ(2, get(variant->call, self->ctx, 2, 2, last, &zero));
	EXPECT_EQ((uintptr_t)&self->iocbs[0], last[0].obj);
	EXPECT_EQ((uintptr_t)&self->iocbs[1], last[1].obj);
}

TEST_F(getevents, a_signal_ends_the_wait)
{
	ASSERT_EQ(0, catch_signal(SIGALRM));
	ASSERT_EQ(0, alarm_every_ms(50));
	EXPECT_EQ(-EINTR, get(variant->call, self->ctx, 1, 1, self->events, NULL));
	EXPECT_LE(1, signals_caught());
	EXPECT_EQ(-EINTR, get(variant->call, self->ctx, 1, 1, self->events, &minute));
}

TEST_F(getevents, a_signal_does_not_lose_events)
{
	ASSERT_EQ(0, catch_signal(SIGALRM));
	ASSERT_TRUE(complete(self->ctx, self->iocbs, 2));
	ASSERT_EQ(0, alarm_every_ms(50));
	EXPECT_EQ(2, get(variant->call, self->ctx, 3, EVENTS, self->events, NULL));
	EXPECT_LE(1, signals_caught());
}

struct waiter {
	enum getevents_call call;
	aio_context_t ctx;
	long min_nr;
	long nr;
	struct io_event events[EVENTS];
	long ret;
	pthread_t thread;
};

static void *wait_for_events(void *arg)
{
	struct waiter *waiter = arg;

	waiter->ret = get(waiter->call, waiter->ctx, waiter->min_nr, waiter->nr,
			  waiter->events, NULL);
	return NULL;
}

/* Gives a thread time to fall asleep: late is no failure, only less of a test. */
static void let_it_sleep(void)
{
	sleep_ms(50);
}

TEST_F(getevents, wakes_for_io_submitted_later)
{
	struct waiter waiter = {
		.call = variant->call, .ctx = self->ctx, .min_nr = 2, .nr = 2,
	};

	ASSERT_EQ(0, pthread_create(&waiter.thread, NULL, wait_for_events, &waiter));
	let_it_sleep();
	ASSERT_TRUE(complete(self->ctx, self->iocbs, 1));
	let_it_sleep();
	ASSERT_TRUE(complete(self->ctx, self->iocbs + 1, 1));
	ASSERT_EQ(0, pthread_join(waiter.thread, NULL));
	EXPECT_EQ(2, waiter.ret);
}

TEST_F(getevents, wakes_for_io_completed_later)
{
	struct waiter waiter = {
		.call = variant->call, .ctx = self->ctx,
		.min_nr = EVENTS, .nr = EVENTS,
	};

	ASSERT_EQ(EVENTS, submit_array(self->ctx, self->iocbs, EVENTS));
	ASSERT_EQ(0, pthread_create(&waiter.thread, NULL, wait_for_events, &waiter));
	let_it_sleep();
	ASSERT_EQ(1, write(self->out, "x", 1));
	ASSERT_EQ(0, pthread_join(waiter.thread, NULL));
	EXPECT_EQ(EVENTS, waiter.ret);
}

/* One event is enough for one of them and must not be kept from it. */
TEST_F(getevents, waiters_wait_for_their_own_number)
{
	struct waiter one = {
		.call = variant->call, .ctx = self->ctx, .min_nr = 1, .nr = 1,
	};
	struct waiter three = {
		.call = variant->call, .ctx = self->ctx, .min_nr = 3, .nr = 3,
	};

	ASSERT_EQ(0, pthread_create(&three.thread, NULL, wait_for_events, &three));
	let_it_sleep();
	ASSERT_EQ(0, pthread_create(&one.thread, NULL, wait_for_events, &one));
	let_it_sleep();
	ASSERT_TRUE(complete(self->ctx, self->iocbs, 1));
	ASSERT_EQ(0, pthread_join(one.thread, NULL));
	ASSERT_TRUE(complete(self->ctx, self->iocbs + 1, 3));
	ASSERT_EQ(0, pthread_join(three.thread, NULL));
	EXPECT_EQ(1, one.ret);
	EXPECT_EQ(3, three.ret);
}

TEST_F(getevents, concurrent_waiters_share_without_loss)
{
	struct waiter waiters[EVENTS];
	int seen[EVENTS] = { 0 };

	for (int i = 0; i < EVENTS; i++) {
		waiters[i] = (struct waiter) {
			.call = variant->call, .ctx = self->ctx, .min_nr = 1, .nr = 1,
		};
		ASSERT_EQ(0, pthread_create(&waiters[i].thread, NULL, wait_for_events,
					    &waiters[i]));
	}
	ASSERT_TRUE(complete(self->ctx, self->iocbs, EVENTS));
	for (int i = 0; i < EVENTS; i++) {
		ASSERT_EQ(0, pthread_join(waiters[i].thread, NULL));
		ASSERT_EQ(1, waiters[i].ret);
		seen[waiters[i].events[0].data - 100]++;
	}
	for (int i = 0; i < EVENTS; i++)
		EXPECT_EQ(1, seen[i]);
}

TEST_F(getevents, destroy_ends_the_wait)
{
	struct waiter waiter = {
		.call = variant->call, .ctx = self->ctx, .min_nr = 1, .nr = 1,
	};

	ASSERT_EQ(0, pthread_create(&waiter.thread, NULL, wait_for_events, &waiter));
	let_it_sleep();
	ASSERT_EQ(0, sys_io_destroy(self->ctx));
	ASSERT_EQ(0, pthread_join(waiter.thread, NULL));
	EXPECT_EQ(-EINVAL, waiter.ret);
}

/* Only the p-calls resume after a signal that no handler sees. */
TEST_F(getevents, stop_and_continue)
{
	pid_t pid = stop_and_continue(getpid());
	int status;

	ASSERT_LT(0, pid);
	EXPECT_EQ(variant->call == GETEVENTS ? -EINTR : 0,
		  get(variant->call, self->ctx, 1, 1, self->events, &second));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
}

/* The signal mask of io_pgetevents() */

FIXTURE(sigmask)
{
	aio_context_t ctx;
	struct io_event event;
	__u64 nothing_blocked;
	struct aio_sigset sigset;
};

FIXTURE_SETUP(sigmask)
{
	sigset_t alarm;

	ASSERT_EQ(0, sys_io_setup(1, &self->ctx));
	ASSERT_EQ(0, catch_signal(SIGALRM));
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &alarm, NULL));
	self->sigset.mask = &self->nothing_blocked;
	self->sigset.size = KERNEL_SIGSET_SIZE;
}

FIXTURE_TEARDOWN(sigmask)
{
	sys_io_destroy(self->ctx);
}

static bool alarm_is_blocked(void)
{
	sigset_t blocked;

	sigprocmask(SIG_BLOCK, NULL, &blocked);
	return sigismember(&blocked, SIGALRM);
}

TEST_F(sigmask, lets_a_pending_signal_in)
{
	ASSERT_EQ(0, raise(SIGALRM));
	EXPECT_EQ(0, signals_caught());
	EXPECT_EQ(-EINTR, sys_io_pgetevents(self->ctx, 1, 1, &self->event, NULL,
					    &self->sigset));
	EXPECT_EQ(1, signals_caught());
	EXPECT_TRUE(alarm_is_blocked());
}

TEST_F(sigmask, is_restored_after_a_timeout)
{
	struct word_timespec tenth_of_a_second = { 0, 100 * NSEC_PER_MSEC };

	EXPECT_EQ(0, sys_io_pgetevents(self->ctx, 1, 1, &self->event,
				       &tenth_of_a_second, &self->sigset));
	EXPECT_TRUE(alarm_is_blocked());
	ASSERT_EQ(0, raise(SIGALRM));
	EXPECT_EQ(0, signals_caught());
}

TEST_F(sigmask, without_one_signals_stay_blocked)
{
	struct word_timespec tenth_of_a_second = { 0, 100 * NSEC_PER_MSEC };
	struct aio_sigset none = { NULL, KERNEL_SIGSET_SIZE };

	ASSERT_EQ(0, raise(SIGALRM));
	EXPECT_EQ(0, sys_io_pgetevents(self->ctx, 1, 1, &self->event,
				       &tenth_of_a_second, &none));
	EXPECT_EQ(0, sys_io_pgetevents(self->ctx, 1, 1, &self->event,
				       &tenth_of_a_second, NULL));
	EXPECT_EQ(0, signals_caught());
}

TEST_F(sigmask, is_checked)
{
	struct aio_sigset bad = self->sigset;

	EXPECT_EQ(-EFAULT, sys_io_pgetevents(self->ctx, 0, 1, &self->event, NULL,
					     (void *)1));
	bad.size = KERNEL_SIGSET_SIZE + 1;
	EXPECT_EQ(-EINVAL, sys_io_pgetevents(self->ctx, 0, 1, &self->event, NULL, &bad));
	bad.size = KERNEL_SIGSET_SIZE;
	bad.mask = (void *)1;
	EXPECT_EQ(-EFAULT, sys_io_pgetevents(self->ctx, 0, 1, &self->event, NULL, &bad));
	/* A mask that is not there has no size either. */
	bad.mask = NULL;
	bad.size = 1;
	EXPECT_EQ(0, sys_io_pgetevents(self->ctx, 0, 1, &self->event, NULL, &bad));
}

TEST_HARNESS_MAIN
