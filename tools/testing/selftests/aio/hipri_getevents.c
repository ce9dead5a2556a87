// SPDX-License-Identifier: GPL-2.0-only
/*
 * io_getevents() on a polled context: the contract of a plain one, though it
 * drives the device itself: how long it takes, what ends it, nothing lost.
 */
#include "aio_syscalls.h"
#include "getevents_calls.h"
#include "reader.h"
#include "slow_disk.h"
#include "kselftest_harness.h"

#define EVENTS		16
#define WAIT_MS		(20 * MSEC_PER_SEC)

/* On a device that completes at once. */

FIXTURE(fast)
{
	aio_context_t ctx;
	int fd;
	char *buf;
	struct iocb iocbs[EVENTS];
	struct io_event events[EVENTS];
};

FIXTURE_VARIANT(fast)
{
	const struct aio_device *device;
};

FIXTURE_VARIANT_ADD(fast, nvme) { .device = &nvme };
FIXTURE_VARIANT_ADD(fast, nullb) { .device = &nullb };

FIXTURE_SETUP(fast)
{
	self->fd = open_polled(variant->device, O_RDONLY);
	if (self->fd < 0)
		SKIP(return, "%s", skip_reason);
	self->buf = map_memory(EVENTS * BLOCK);
	ASSERT_TRUE(!!self->buf);
	prep_polled_reads(self->iocbs, EVENTS, self->fd, self->buf);
	for (int i = 0; i < EVENTS; i++)
		self->iocbs[i].aio_data = 100 + i;
	ASSERT_EQ(0, sys_io_setup(EVENTS, &self->ctx));
	/* The context is polled from here on. */
	ASSERT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocbs[0]));
}

FIXTURE_TEARDOWN(fast)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
}

TEST_F(fast, events_name_their_iocb)
{
	memset(self->events, 0xff, sizeof(self->events));
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocbs[3]));
	ASSERT_EQ(1, getevents_ms(self->ctx, 1, 1, self->events, -1));
	EXPECT_EQ((uintptr_t)&self->iocbs[3], self->events[0].obj);
	EXPECT_EQ(103, self->events[0].data);
	EXPECT_EQ(BLOCK, self->events[0].res);
	EXPECT_EQ(0, self->events[0].res2);
}

TEST_F(fast, refuses_bad_counts)
{
	EXPECT_EQ(-EINVAL, getevents_ms(self->ctx, -1, 1, self->events, 0));
	EXPECT_EQ(-EINVAL, getevents_ms(self->ctx, 2, 1, self->events, 0));
	EXPECT_EQ(-EINVAL, getevents_ms(self->ctx, 0, -1, self->events, 0));
}

/* Neither waits; whoever calls again and again gets there. */
TEST_F(fast, no_minimum_and_no_time_make_progress)
{
	long long deadline = now_ms() + PROMPT_MS;
	long got = 0;

	ASSERT_EQ(2, submit_array(self->ctx, self->iocbs, 2));
	while (got < 1 && now_ms() < deadline)
		got = getevents_ms(self->ctx, 0, 1, self->events, -1);
	EXPECT_EQ(1, got);
	got = 0;
	while (got < 1 && now_ms() < deadline)
		got = getevents_ms(self->ctx, 1, 1, self->events, 0);
	EXPECT_EQ(1, got);
}

TEST_F(fast, room_for_nothing_takes_nothing)
{
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocbs[0]));
	EXPECT_EQ(0, getevents_ms(self->ctx, 0, 0, NULL, -1));
	EXPECT_EQ(1, getevents_ms(self->ctx, 1, 1, self->events, -1));
}

TEST_F(fast, the_rest_comes_next_time)
{
	int seen[EVENTS] = { 0 };

	ASSERT_EQ(EVENTS, submit_array(self->ctx, self->iocbs, EVENTS));
	for (int i = 0; i < EVENTS; i++) {
		ASSERT_EQ(1, getevents_ms(self->ctx, 1, 1, self->events, -1));
		seen[self->events[0].data - 100]++;
	}
	for (int i = 0; i < EVENTS; i++)
		EXPECT_EQ(1, seen[i]);
	EXPECT_EQ(0, getevents_ms(self->ctx, 0, EVENTS, self->events, 0));
}

TEST_F(fast, all_at_once)
{
	ASSERT_EQ(EVENTS, submit_array(self->ctx, self->iocbs, EVENTS));
	EXPECT_EQ(EVENTS, getevents_ms(self->ctx, EVENTS, EVENTS, self->events, -1));
}

TEST_F(fast, empty_zero_timeout)
{
	long long start = now_ms();

	EXPECT_EQ(0, getevents_ms(self->ctx, 1, 1, self->events, 0));
	EXPECT_EQ(0, getevents_ms(self->ctx, 0, 1, self->events, -1));
	EXPECT_GT(PROMPT_MS, now_ms() - start);
}

static long long cpu_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (long long)ts.tv_sec * MSEC_PER_SEC + ts.tv_nsec / NSEC_PER_MSEC;
}

TEST_F(fast, empty_sleeps_until_the_timeout)
{
	long long start = now_ms();
	long long cpu_start = cpu_ms();

	EXPECT_EQ(0, getevents_ms(self->ctx, 1, 1, self->events, 500));
	EXPECT_LE(499, now_ms() - start);
	EXPECT_GT(PROMPT_MS, now_ms() - start);
	/* There is nothing to poll: no reason to burn the CPU. */
	EXPECT_GT(250, cpu_ms() - cpu_start);
}

TEST_F(fast, timeout_returns_what_there_is)
{
	long long start = now_ms();

	ASSERT_EQ(2, submit_array(self->ctx, self->iocbs, 2));
	EXPECT_EQ(2, getevents_ms(self->ctx, 3, EVENTS, self->events, 200));
	EXPECT_LE(199, now_ms() - start);
	EXPECT_GT(PROMPT_MS, now_ms() - start);
}

TEST_F(fast, empty_is_ended_by_a_signal)
{
	ASSERT_EQ(0, catch_signal(SIGALRM));
	ASSERT_EQ(0, alarm_every_ms(50));
	EXPECT_EQ(-EINTR, getevents_ms(self->ctx, 1, 1, self->events, -1));
	EXPECT_EQ(-EINTR, getevents_ms(self->ctx, 1, 1, self->events, WAIT_MS));
	EXPECT_EQ(-EINTR, sys_io_pgetevents(self->ctx, 1, 1, self->events, NULL, NULL));
}

TEST_F(fast, pgetevents_lets_a_pending_signal_in)
{
	__u64 nothing_blocked = 0;
	struct aio_sigset sigset = { &nothing_blocked, KERNEL_SIGSET_SIZE };
	sigset_t alarm;

	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	ASSERT_EQ(0, catch_signal(SIGALRM));
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &alarm, NULL));
	ASSERT_EQ(0, raise(SIGALRM));
	EXPECT_EQ(-EINTR, sys_io_pgetevents(self->ctx, 1, 1, self->events, NULL,
					    &sigset));
	EXPECT_EQ(1, signals_caught());
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, NULL, &alarm));
	EXPECT_TRUE(sigismember(&alarm, SIGALRM));
}

TEST_F(fast, a_signal_does_not_lose_events)
{
	ASSERT_EQ(0, catch_signal(SIGALRM));
	ASSERT_EQ(2, submit_array(self->ctx, self->iocbs, 2));
	ASSERT_EQ(0, alarm_every_ms(200));
	EXPECT_EQ(2, getevents_ms(self->ctx, 3, EVENTS, self->events, -1));
	EXPECT_LE(1, signals_caught());
}

/* A stream of signals may end any call at any point. */
TEST_F(fast, many_signals_lose_no_event)
{
	long total = 0, submitted = 0;

	ASSERT_EQ(0, catch_signal(SIGALRM));
	ASSERT_EQ(0, alarm_every_ms(1));
	while (total < 2000) {
		long got;

		while (submitted - total < EVENTS) {
			ASSERT_EQ(1, submit_one(self->ctx, &self->iocbs[0]));
			submitted++;
		}
		got = getevents_ms(self->ctx, EVENTS, EVENTS, self->events, WAIT_MS);
		if (got == -EINTR)
			continue;
		ASSERT_LT(0, got);
		total += got;
	}
	while (total < submitted) {
		long got = getevents_ms(self->ctx, 1, EVENTS, self->events, WAIT_MS);

		if (got == -EINTR)
			continue;
		ASSERT_LT(0, got);
		total += got;
	}
	EXPECT_EQ(submitted, total);
}

TEST_F(fast, a_fault_loses_no_event)
{
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocbs[5]));
	EXPECT_EQ(-EFAULT, getevents_ms(self->ctx, 1, 1, NULL, -1));
	EXPECT_EQ(-EFAULT, getevents_ms(self->ctx, 1, 1, NULL, 200));
	ASSERT_EQ(1, getevents_ms(self->ctx, 1, 1, self->events, WAIT_MS));
	EXPECT_EQ(105, self->events[0].data);
	EXPECT_EQ(0, getevents_ms(self->ctx, 0, 1, self->events, 0));
}

TEST_F(fast, a_fault_loses_none_of_many)
{
	ASSERT_EQ(EVENTS, submit_array(self->ctx, self->iocbs, EVENTS));
	EXPECT_EQ(-EFAULT, getevents_ms(self->ctx, EVENTS, EVENTS, NULL, -1));
	ASSERT_EQ(EVENTS, reap(self->ctx, EVENTS, self->events, WAIT_MS));
	EXPECT_EQ(0, getevents_ms(self->ctx, 0, 1, self->events, 0));
}

/*
 * The first event fits, the second does not. Whether the first is delivered
 * depends on when each was seen to complete; that none is lost does not.
 */
TEST_F(fast, a_fault_in_the_middle_loses_no_event)
{
	long page = sysconf(_SC_PAGESIZE);
	char *guarded = map_before_guard();
	struct io_event *last;
	int seen[2] = { 0 };
	long got;

	ASSERT_TRUE(!!guarded);
	last = (void *)(guarded + page - sizeof(*last));
	ASSERT_EQ(2, submit_array(self->ctx, self->iocbs, 2));
	got = getevents_ms(self->ctx, 2, 2, last, WAIT_MS);
	ASSERT_TRUE(got == -EFAULT || got == 1);
	if (got == 1)
		seen[last[0].data - 100]++;
	else
		got = 0;

	ASSERT_EQ(0, mprotect(guarded + page, page, PROT_READ | PROT_WRITE));
	ASSERT_EQ(2 - got, getevents_ms(self->ctx, 2 - got, 2, last, WAIT_MS));
	for (long i = 0; i < 2 - got; i++)
		seen[last[i].data - 100]++;
	EXPECT_EQ(1, seen[0]);
	EXPECT_EQ(1, seen[1]);
}

TEST_F(fast, wakes_for_io_submitted_later)
{
	struct reader reader = { .ctx = self->ctx, .min_nr = 3, .nr = 3, .ms = -1 };

	ASSERT_EQ(0, reader_start(&reader));
	for (int i = 0; i < 3; i++) {
		sleep_ms(50);
		ASSERT_EQ(1, submit_one(self->ctx, &self->iocbs[i]));
	}
	EXPECT_EQ(3, reader_join(&reader));
}

/* It sleeps before the context has a mode at all. */
TEST_F(fast, wakes_for_the_first_io_of_a_context)
{
	struct reader reader = { .min_nr = 1, .nr = 1, .ms = -1 };

	ASSERT_EQ(0, sys_io_setup(1, &reader.ctx));
	ASSERT_EQ(0, reader_start(&reader));
	sleep_ms(50);
	ASSERT_EQ(1, submit_one(reader.ctx, &self->iocbs[0]));
	EXPECT_EQ(1, reader_join(&reader));
	EXPECT_EQ(0, sys_io_destroy(reader.ctx));
}

#define SHARERS		3
#define SHARED_IOS	3000

struct sharer {
	aio_context_t ctx;
	int *seen;		/* how often each I/O was reaped */
	int *total;
	bool bad;
	pthread_t thread;
};

static void *reap_shared(void *arg)
{
	struct sharer *sharer = arg;
	struct io_event events[4];

	while (__atomic_load_n(sharer->total, __ATOMIC_ACQUIRE) < SHARED_IOS) {
		long got = getevents_ms(sharer->ctx, 1, 4, events, 100);

		for (long i = 0; i < got; i++) {
			if (events[i].res != BLOCK || events[i].data >= SHARED_IOS)
				sharer->bad = true;
			else
				__atomic_add_fetch(&sharer->seen[events[i].data], 1,
						   __ATOMIC_RELAXED);
			__atomic_add_fetch(sharer->total, 1, __ATOMIC_RELEASE);
		}
		if (got < 0)
			sharer->bad = true;
	}
	return NULL;
}

TEST_F_TIMEOUT(fast, concurrent_readers_share_without_loss, 120)
{
	int *seen = calloc(SHARED_IOS, sizeof(*seen));
	struct sharer sharers[SHARERS];
	int total = 0;

	ASSERT_TRUE(!!seen);
	for (int i = 0; i < SHARERS; i++) {
		sharers[i] = (struct sharer) {
			.ctx = self->ctx, .seen = seen, .total = &total,
		};
		ASSERT_EQ(0, pthread_create(&sharers[i].thread, NULL, reap_shared,
					    &sharers[i]));
	}
	for (int i = 0; i < SHARED_IOS; i++) {
		struct iocb iocb = self->iocbs[0];
		long ret;

		iocb.aio_data = i;
		do {
			ret = submit_one(self->ctx, &iocb);
		} while (ret == -EAGAIN && !sched_yield());
		ASSERT_EQ(1, ret);
	}
	for (int i = 0; i < SHARERS; i++) {
		ASSERT_EQ(0, pthread_join(sharers[i].thread, NULL));
		EXPECT_FALSE(sharers[i].bad);
	}
	for (int i = 0; i < SHARED_IOS; i++)
		ASSERT_EQ(1, seen[i]);
	EXPECT_EQ(SHARED_IOS, total);
}

/* On a device that lets them wait. */

TEST_F(slow, waits_for_all)
{
	long long start = now_ms();

	ASSERT_EQ(10, submit_array(self->ctx, self->iocbs, 10));
	EXPECT_EQ(10, getevents_ms(self->ctx, 10, 10, self->events, -1));
	EXPECT_LE(5 * SLOW_MS, now_ms() - start);
	for (int i = 0; i < 10; i++)
		EXPECT_EQ(SLOW_IO, self->events[i].res);
}

TEST_F(slow, no_minimum_returns_at_once)
{
	ASSERT_EQ(EVENTS, submit_array(self->ctx, self->iocbs, EVENTS));
	EXPECT_GT(EVENTS, getevents_ms(self->ctx, 0, EVENTS, self->events, -1));
}

TEST_F(slow, zero_timeout_returns_at_once)
{
	ASSERT_EQ(EVENTS, submit_array(self->ctx, self->iocbs, EVENTS));
	EXPECT_GT(EVENTS, getevents_ms(self->ctx, EVENTS, EVENTS, self->events, 0));
}

TEST_F(slow, timeout_ends_the_polling)
{
	long long start;
	long got;

	ASSERT_EQ(SLOW_IOS, submit_array(self->ctx, self->iocbs, SLOW_IOS));
	start = now_ms();
	got = getevents_ms(self->ctx, SLOW_IOS, SLOW_IOS, self->events, 200);
	EXPECT_LE(199, now_ms() - start);
	EXPECT_LE(0, got);
	EXPECT_GT(SLOW_IOS, got);
	EXPECT_EQ(SLOW_IOS - got, reap(self->ctx, SLOW_IOS - got, self->events, WAIT_MS));
}

TEST_F(slow, a_signal_ends_the_polling)
{
	long got;

	ASSERT_EQ(0, catch_signal(SIGALRM));
	ASSERT_EQ(SLOW_IOS, submit_array(self->ctx, self->iocbs, SLOW_IOS));
	ASSERT_EQ(0, alarm_every_ms(200));
	got = getevents_ms(self->ctx, SLOW_IOS, SLOW_IOS, self->events, -1);
	ASSERT_EQ(0, alarm_every_ms(0));
	EXPECT_LE(1, signals_caught());
	EXPECT_TRUE(got == -EINTR || (got > 0 && got < SLOW_IOS));
	if (got < 0)
		got = 0;
	EXPECT_EQ(SLOW_IOS - got, reap(self->ctx, SLOW_IOS - got, self->events, WAIT_MS));
}

TEST_F(slow, kill_ends_the_polling)
{
	long long start;
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		aio_context_t ctx = 0;

		if (sys_io_setup(SLOW_IOS, &ctx) ||
		    submit_array(ctx, self->iocbs, SLOW_IOS) != SLOW_IOS)
			_exit(1);
		/* One more than there will ever be. */
		getevents_ms(ctx, SLOW_IOS + 1, SLOW_IOS + 1, self->events, -1);
		_exit(2);
	}
	sleep_ms(200);
	start = now_ms();
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	EXPECT_GT(SLOW_IOS * SLOW_MS + PROMPT_MS, now_ms() - start);
}

TEST_F(slow, counts_io_submitted_meanwhile)
{
	struct reader reader = { .ctx = self->ctx, .min_nr = 12, .nr = 12, .ms = -1 };

	ASSERT_EQ(4, submit_array(self->ctx, self->iocbs, 4));
	ASSERT_EQ(0, reader_start(&reader));
	for (int i = 4; i < 12; i++) {
		long ret = submit_one(self->ctx, &self->iocbs[i]);

		ASSERT_EQ(1, ret);
	}
	EXPECT_EQ(12, reader_join(&reader));
}

/* A second reader is not bound by what the first one waits for. */
TEST_F(slow, a_second_reader_keeps_its_timeout)
{
	struct reader reader = {
		.ctx = self->ctx, .min_nr = EVENTS, .nr = EVENTS, .ms = 1000,
	};
	long long start;
	long got;

	ASSERT_EQ(SLOW_IOS, submit_array(self->ctx, self->iocbs, SLOW_IOS));
	ASSERT_EQ(0, reader_start(&reader));
	sleep_ms(50);
	start = now_ms();
	got = getevents_ms(self->ctx, SLOW_IOS, SLOW_IOS, self->events, 100);
	EXPECT_LE(99, now_ms() - start);
	EXPECT_GT(SLOW_IOS * SLOW_MS, now_ms() - start);
	reader_join(&reader);
	EXPECT_LE(0, got);
	EXPECT_LE(0, reader.ret);
	EXPECT_GT(SLOW_IOS, got + reader.ret);
	got += reader.ret;
	EXPECT_EQ(SLOW_IOS - got, reap(self->ctx, SLOW_IOS - got, self->events, WAIT_MS));
}

TEST_F(slow, a_second_reader_keeps_its_signals)
{
	struct reader reader = {
		.ctx = self->ctx, .min_nr = EVENTS, .nr = EVENTS, .ms = -1,
	};
	sigset_t alarm;
	long got;

	/* The signal is for the main thread only. */
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	ASSERT_EQ(0, catch_signal(SIGALRM));
	ASSERT_EQ(SLOW_IOS, submit_array(self->ctx, self->iocbs, SLOW_IOS));
	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, &alarm, NULL));
	ASSERT_EQ(0, reader_start(&reader));
	ASSERT_EQ(0, pthread_sigmask(SIG_UNBLOCK, &alarm, NULL));
	sleep_ms(50);
	ASSERT_EQ(0, alarm_every_ms(50));
	got = getevents_ms(self->ctx, SLOW_IOS, SLOW_IOS, self->events, -1);
	ASSERT_EQ(0, alarm_every_ms(0));
	EXPECT_TRUE(got == -EINTR || (got > 0 && got < SLOW_IOS));
	EXPECT_EQ(EVENTS, reader_join(&reader));
}

/* Each of the calls: their timeouts differ in size, and in what a signal makes of them. */

FIXTURE(calls)
{
	aio_context_t ctx;
	int fd;
	char *buf;
	struct iocb iocbs[SLOW_IOS];
	struct io_event events[SLOW_IOS];
};

FIXTURE_VARIANT(calls)
{
	enum getevents_call call;
};

FIXTURE_VARIANT_ADD(calls, getevents) { .call = GETEVENTS };
FIXTURE_VARIANT_ADD(calls, pgetevents) { .call = PGETEVENTS };
#ifdef __NR_io_pgetevents_time64
FIXTURE_VARIANT_ADD(calls, pgetevents_time64) { .call = PGETEVENTS_TIME64 };
#endif

FIXTURE_SETUP(calls)
{
	self->fd = open_slow_disk();
	if (self->fd < 0)
		SKIP(return, "%s", skip_reason);
	self->buf = map_memory(SLOW_IO);
	ASSERT_TRUE(!!self->buf);
	prep_slow_reads(self->iocbs, SLOW_IOS, self->fd, self->buf);
	ASSERT_EQ(0, sys_io_setup(SLOW_IOS, &self->ctx));
	/* The context is polled from here on. */
	ASSERT_EQ(SLOW_IO, submit_and_wait(self->ctx, &self->iocbs[0]));
}

FIXTURE_TEARDOWN(calls)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
	nullb_remove(SLOW_DISK);
}

TEST_F(calls, timeout_is_kept_while_it_sleeps)
{
	long long start = now_ms();

	EXPECT_EQ(0, get(variant->call, self->ctx, 1, 1, self->events, &tenth));
	EXPECT_LE(99, now_ms() - start);
	EXPECT_GT(PROMPT_MS, now_ms() - start);
}

TEST_F(calls, timeout_is_kept_while_it_polls)
{
	long long start;
	long got;

	ASSERT_EQ(SLOW_IOS / 2, submit_array(self->ctx, self->iocbs, SLOW_IOS / 2));
	start = now_ms();
	got = get(variant->call, self->ctx, SLOW_IOS / 2, SLOW_IOS / 2, self->events, &tenth);
	EXPECT_LE(99, now_ms() - start);
	EXPECT_LE(0, got);
	EXPECT_GT(SLOW_IOS / 2, got);
	EXPECT_LE(0, get(variant->call, self->ctx, 1, 1, self->events, &zero));
}

/* Only the p-calls resume after a signal that no handler sees. */
TEST_F(calls, stop_and_continue)
{
	pid_t pid = stop_and_continue(getpid());
	int status;

	ASSERT_LT(0, pid);
	EXPECT_EQ(variant->call == GETEVENTS ? -EINTR : 0,
		  get(variant->call, self->ctx, 1, 1, self->events, &second));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
}

/* I/O that completes by interrupt only, late: more iovecs than a bio holds. */

#define LATE_DISK	"aiolate"
#define LATE_MS		300
#define LATE_IOVECS	300

FIXTURE(late)
{
	aio_context_t ctx;
	int fd;
	char *buf;
	struct iovec iov[LATE_IOVECS];
	struct iocb iocb;
	struct io_event event;
};

FIXTURE_SETUP(late)
{
	static const struct nullb_setting settings[] = {
		{ "irqmode", 2 },
		{ "completion_nsec", LATE_MS * NSEC_PER_MSEC },
		{ "size", 64 },
		{ NULL, 0 },
	};

	self->fd = nullb_create(LATE_DISK, settings);
	if (self->fd < 0)
		SKIP(return, "%s", skip_reason);
	self->buf = map_memory(LATE_IOVECS * BLOCK);
	ASSERT_TRUE(!!self->buf);
	for (int i = 0; i < LATE_IOVECS; i++) {
		self->iov[i].iov_base = self->buf + (LATE_IOVECS - 1 - i) * BLOCK;
		self->iov[i].iov_len = BLOCK;
	}
	prep_preadv(&self->iocb, self->fd, self->iov, LATE_IOVECS, 0);
	set_hipri(&self->iocb);
	ASSERT_EQ(0, sys_io_setup(EVENTS, &self->ctx));
}

FIXTURE_TEARDOWN(late)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
	nullb_remove(LATE_DISK);
}

TEST_F(late, is_waited_for_asleep)
{
	long long start = now_ms();
	long long cpu_start;

	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
	cpu_start = cpu_ms();
	ASSERT_EQ(1, getevents_ms(self->ctx, 1, 1, &self->event, -1));
	EXPECT_LE(LATE_MS - 1, now_ms() - start);
	/* There is nothing to poll: no reason to burn the CPU. */
	EXPECT_GT(LATE_MS / 2, cpu_ms() - cpu_start);
	EXPECT_EQ(LATE_IOVECS * BLOCK, self->event.res);
}

TEST_F(late, timeout_is_kept)
{
	long long start = now_ms();

	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
	EXPECT_EQ(0, getevents_ms(self->ctx, 1, 1, &self->event, LATE_MS / 3));
	EXPECT_LE(LATE_MS / 3 - 1, now_ms() - start);
	EXPECT_EQ(1, getevents_ms(self->ctx, 1, 1, &self->event, WAIT_MS));
}

TEST_F(late, destroy_waits_for_it)
{
	long long start = now_ms();

	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
	EXPECT_EQ(0, sys_io_destroy(self->ctx));
	EXPECT_LE(LATE_MS - 1, now_ms() - start);
}

TEST_HARNESS_MAIN
