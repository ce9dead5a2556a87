// SPDX-License-Identifier: GPL-2.0-only
/*
 * Polled I/O among others: threads that share a context, and contexts that share a
 * device. Whoever asks the device finds everybody's completions, and each of them
 * still reaches its owner, once, with its data.
 */
#include "aio_syscalls.h"
#include "reader.h"
#include "slow_disk.h"
#include "kselftest_harness.h"

#define EVENTS		16
#define WAIT_MS		(20 * MSEC_PER_SEC)

/* Threads of one context */

FIXTURE(context)
{
	aio_context_t ctx;
	int fd;
	char *buf;
	struct iocb iocbs[EVENTS];
	struct io_event events[EVENTS];
};

FIXTURE_VARIANT(context)
{
	const struct aio_device *device;
};

FIXTURE_VARIANT_ADD(context, nvme) { .device = &nvme };
FIXTURE_VARIANT_ADD(context, nullb) { .device = &nullb };

FIXTURE_SETUP(context)
{
	self->fd = open_polled(variant->device, O_RDONLY);
	if (self->fd < 0)
		SKIP(return, "%s", skip_reason);
	self->buf = map_memory(EVENTS * BLOCK);
	ASSERT_TRUE(!!self->buf);
	prep_polled_reads(self->iocbs, EVENTS, self->fd, self->buf);
	ASSERT_EQ(0, sys_io_setup(EVENTS, &self->ctx));
	/* The context is polled from here on. */
	ASSERT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocbs[0]));
}

FIXTURE_TEARDOWN(context)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
}

/* Keeps the CPU busy for @ms milliseconds. */
static void spin_ms(long ms)
{
	long long deadline = now_ms() + ms;

	while (now_ms() < deadline)
		;
}

/*
 * A reader finds more than it has room for while another one sleeps: the rest is
 * for that one. The submission wakes the sleeper, which gets to run only after us,
 * when all has been found already.
 */
TEST_F(context, what_one_reader_leaves_another_gets)
{
	struct reader sleeper = {
		.ctx = self->ctx, .min_nr = 1, .nr = 1, .ms = -1,
	};

	ASSERT_EQ(0, pin_to_one_cpu());
	ASSERT_EQ(0, reader_start(&sleeper));
	let_it_sleep();
	if (run_before_others())
		SKIP(return, "SCHED_FIFO: %s", strerror(errno));
	ASSERT_EQ(2, submit_array(self->ctx, self->iocbs, 2));
	spin_ms(5);
	ASSERT_EQ(1, getevents_ms(self->ctx, 1, 1, self->events, -1));
	EXPECT_TRUE(reader_is_back(&sleeper, PROMPT_MS));
	ASSERT_EQ(0, sys_io_destroy(self->ctx));
	EXPECT_EQ(1, reader_join(&sleeper));
}

/* A reader whose address space changes while it polls. */

struct patient_reader {
	aio_context_t ctx;	/* where it is now */
	long wanted;
	long got;
	long error;		/* what it could not make up for */
	pthread_t thread;
};

static void *read_all_events(void *arg)
{
	struct patient_reader *reader = arg;
	struct io_event events[EVENTS];

	while (reader->got < reader->wanted && !reader->error) {
		aio_context_t ctx = __atomic_load_n(&reader->ctx, __ATOMIC_ACQUIRE);
		long got = getevents_ms(ctx, 1, EVENTS, events, WAIT_MS);

		/* The ring may have gone elsewhere, and a child have ended. */
		if (got > 0)
			reader->got += got;
		else if (got != -EINVAL && got != -EINTR)
			reader->error = got ? got : -ETIME;
	}
	return NULL;
}

static size_t ring_size(aio_context_t ctx)
{
	size_t size = sizeof(struct aio_ring) +
		      ring_of(ctx)->nr * sizeof(struct io_event);
	size_t page = sysconf(_SC_PAGESIZE);

	return (size + page - 1) / page * page;
}

#define MOVES		200

TEST_F(context, the_ring_moves_under_a_reader)
{
	struct patient_reader reader = { .ctx = self->ctx, .wanted = MOVES };
	size_t size = ring_size(self->ctx);

	ASSERT_EQ(0, pthread_create(&reader.thread, NULL, read_all_events, &reader));
	for (int i = 0; i < MOVES; i++) {
		void *to = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
				-1, 0);
		long got;

		/* There is no room when the reader is slow. */
		while ((got = submit_one(self->ctx, &self->iocbs[i % EVENTS])) == -EAGAIN)
			usleep(1000);
		ASSERT_EQ(1, got);
		ASSERT_TRUE(mremap(ring_of(self->ctx), size, size,
				   MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
		self->ctx = (uintptr_t)to;
		__atomic_store_n(&reader.ctx, self->ctx, __ATOMIC_RELEASE);
	}
	ASSERT_EQ(0, pthread_join(reader.thread, NULL));
	EXPECT_EQ(0, reader.error);
	EXPECT_EQ(MOVES, reader.got);
}

/* Compaction moves the pages of the ring. */
static void *compact(void *arg)
{
	for (int i = 0; i < 3; i++)
		write_number("/proc/sys/vm/compact_memory", 1);
	__atomic_store_n((bool *)arg, true, __ATOMIC_RELEASE);
	return NULL;
}

TEST_F(context, page_migration_loses_no_event)
{
	bool done = false;
	pthread_t thread;

	if (access("/proc/sys/vm/compact_memory", W_OK))
		SKIP(return, "/proc/sys/vm/compact_memory: %s", strerror(errno));
	ASSERT_EQ(0, pthread_create(&thread, NULL, compact, &done));
	while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
		ASSERT_EQ(EVENTS, submit_array(self->ctx, self->iocbs, EVENTS));
		ASSERT_EQ(EVENTS, reap(self->ctx, EVENTS, self->events, WAIT_MS));
	}
	ASSERT_EQ(0, pthread_join(thread, NULL));
}

/* Each child is born while a reader polls, and has no context. */
TEST_F(context, forks_while_a_reader_polls)
{
	struct patient_reader reader = { .ctx = self->ctx, .wanted = EVENTS };
	int status;
	pid_t pid;

	ASSERT_EQ(0, pthread_create(&reader.thread, NULL, read_all_events, &reader));
	for (int i = 0; i < EVENTS; i++) {
		ASSERT_EQ(1, submit_one(self->ctx, &self->iocbs[i]));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			_exit(getevents_ms(self->ctx, 0, 1, self->events, 0) != -EINVAL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
	}
	ASSERT_EQ(0, pthread_join(reader.thread, NULL));
	EXPECT_EQ(0, reader.error);
	EXPECT_EQ(EVENTS, reader.got);
}

/*
 * The file is closed as soon as its I/O is submitted, so that the I/O has the last
 * reference to it, and somebody else's polling may complete the I/O at any time:
 * even before the submitter is done with it.
 */

struct poller {
	struct iocb iocb;
	bool stop;
	bool bad;
	pthread_t thread;
};

static void *poll_with_own_context(void *arg)
{
	struct poller *poller = arg;
	aio_context_t ctx = 0;

	if (sys_io_setup(1, &ctx))
		poller->bad = true;
	while (!poller->bad && !__atomic_load_n(&poller->stop, __ATOMIC_ACQUIRE))
		poller->bad = submit_and_wait(ctx, &poller->iocb) != BLOCK;
	sys_io_destroy(ctx);
	return NULL;
}

TEST_F(context, completed_by_another_poller_during_submission)
{
	struct poller poller = { .iocb = self->iocbs[0] };

	ASSERT_EQ(0, pthread_create(&poller.thread, NULL, poll_with_own_context,
				    &poller));
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < 4; i++) {
			int fd = open_device(variant->device, O_RDONLY | O_DIRECT);
			struct iocb *iocb = &self->iocbs[i];

			ASSERT_LE(0, fd);
			iocb->aio_fildes = fd;
			ASSERT_EQ(1, submit_one(self->ctx, iocb));
			ASSERT_EQ(0, close(fd));
		}
		ASSERT_EQ(4, reap(self->ctx, 4, self->events, WAIT_MS));
		for (int i = 0; i < 4; i++)
			ASSERT_EQ(BLOCK, self->events[i].res);
	}
	__atomic_store_n(&poller.stop, true, __ATOMIC_RELEASE);
	ASSERT_EQ(0, pthread_join(poller.thread, NULL));
	EXPECT_FALSE(poller.bad);
}

/*
 * Polling for one's own I/O finds that of another process, and hands it over before
 * the call returns: the other one has it without any device to ask.
 */
TEST_F(context, what_is_found_for_others_is_handed_over)
{
	int to_child[2], to_parent[2], status;
	char token;
	pid_t pid;

	ASSERT_EQ(0, pipe2(to_child, O_CLOEXEC));
	ASSERT_EQ(0, pipe2(to_parent, O_CLOEXEC));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		aio_context_t ctx = 0;
		long got;

		if (sys_io_setup(8, &ctx) || submit_array(ctx, self->iocbs, 8) != 8 ||
		    write(to_parent[1], "", 1) != 1 || read(to_child[0], &token, 1) != 1)
			_exit(100);
		/* One look, at a device that has nothing left. */
		got = requests_in_flight(device_path(variant->device));
		_exit(got ? 101 : getevents_ms(ctx, 8, 8, self->events, 0));
	}
	ASSERT_EQ(1, read(to_parent[0], &token, 1));
	/* What is behind it in the queue is found no earlier. */
	spin_ms(50);
	ASSERT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocbs[8]));
	ASSERT_EQ(1, write(to_child[1], "", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(8, WEXITSTATUS(status));
}

/* Contexts of one device, each with its own data */

#define OWNERS		3
#define OWNED		64	/* blocks of each */
#define IN_FLIGHT	8
#define READS		400

struct owner {
	int fd;
	int number;
	bool bad;
	pthread_t thread;
};

static __u64 first_block(const struct owner *owner)
{
	return (__u64)owner->number * OWNED;
}

/* Has @event's I/O put into its buffer what is in its block? */
static bool has_its_data(const struct owner *owner, const struct io_event *event)
{
	const struct iocb *iocb = (void *)(uintptr_t)event->obj;

	return event->res == BLOCK &&
	       has_pattern((void *)(uintptr_t)iocb->aio_buf, BLOCK, owner->number,
			   iocb->aio_offset);
}

static bool read_own_blocks(const struct owner *owner, aio_context_t ctx, char *buf)
{
	struct iocb iocbs[IN_FLIGHT];
	struct io_event event;

	for (int i = 0; i < READS + IN_FLIGHT; i++) {
		struct iocb *iocb = &iocbs[i % IN_FLIGHT];

		if (i >= IN_FLIGHT) {
			if (getevents_ms(ctx, 1, 1, &event, WAIT_MS) != 1 ||
			    !has_its_data(owner, &event))
				return false;
			iocb = (void *)(uintptr_t)event.obj;
		}
		if (i >= READS)
			continue;
		prep_pread(iocb, owner->fd, buf + (iocb - iocbs) * BLOCK, BLOCK,
			   (first_block(owner) + i * 7 % OWNED) * BLOCK);
		set_hipri(iocb);
		memset((void *)(uintptr_t)iocb->aio_buf, 0, BLOCK);
		if (submit_one(ctx, iocb) != 1)
			return false;
	}
	return true;
}

static void *own_blocks(void *arg)
{
	struct owner *owner = arg;
	char *buf = map_memory(IN_FLIGHT * BLOCK);
	aio_context_t ctx = 0;

	owner->bad = !buf || sys_io_setup(IN_FLIGHT, &ctx) ||
		     !read_own_blocks(owner, ctx, buf) ||
		     getevents_ms(ctx, 0, 1, &(struct io_event){ 0 }, 0);
	sys_io_destroy(ctx);
	return NULL;
}

FIXTURE(device)
{
	int fd;
};

FIXTURE_VARIANT(device)
{
	const struct aio_device *device;
};

FIXTURE_VARIANT_ADD(device, nvme) { .device = &nvme_scratch };
FIXTURE_VARIANT_ADD(device, nullb) { .device = &nullb };

FIXTURE_SETUP(device)
{
	self->fd = open_polled(variant->device, O_RDWR);
	if (self->fd < 0)
		SKIP(return, "%s", skip_reason);
	if (!keeps_data(self->fd))
		SKIP(return, "%s does not keep data", device_path(variant->device));
}

FIXTURE_TEARDOWN(device)
{
	close(self->fd);
}

TEST_F_TIMEOUT(device, each_context_gets_its_own_data, 60)
{
	struct owner owners[OWNERS];
	char *buf = map_memory(OWNED * BLOCK);

	ASSERT_TRUE(!!buf);
	for (int i = 0; i < OWNERS; i++) {
		__u64 start;

		owners[i] = (struct owner) { .fd = self->fd, .number = i };
		start = first_block(&owners[i]) * BLOCK;
		fill_pattern(buf, OWNED * BLOCK, i, start);
		ASSERT_EQ(OWNED * BLOCK, pwrite(self->fd, buf, OWNED * BLOCK, start));
	}
	for (int i = 0; i < OWNERS; i++)
		ASSERT_EQ(0, pthread_create(&owners[i].thread, NULL, own_blocks,
					    &owners[i]));
	for (int i = 0; i < OWNERS; i++) {
		ASSERT_EQ(0, pthread_join(owners[i].thread, NULL));
		EXPECT_FALSE(owners[i].bad);
	}
}

/* A fast device beside a slow one in a context: neither waits for the other. */
TEST_F(slow, does_not_hold_up_a_fast_device)
{
	int fd = open_polled(&nvme, O_RDONLY), fast = 0, slow = 0;
	struct iocb iocb;

	if (fd < 0)
		SKIP(return, "%s", skip_reason);
	prep_pread(&iocb, fd, self->buf, BLOCK, 0);
	set_hipri(&iocb);
	ASSERT_EQ(SLOW_IOS / 2, submit_array(self->ctx, self->iocbs, SLOW_IOS / 2));
	ASSERT_EQ(1, submit_one(self->ctx, &iocb));
	while (fast < 20) {
		ASSERT_EQ(1, getevents_ms(self->ctx, 1, 1, self->events, WAIT_MS));
		if (self->events[0].obj != (uintptr_t)&iocb) {
			slow++;
			continue;
		}
		fast++;
		ASSERT_EQ(1, submit_one(self->ctx, &iocb));
	}
	EXPECT_GT(SLOW_IOS / 2, slow);
}

#define HANDED_OVER	20	/* slow I/Os: they take longer than a reader to leave */

/*
 * A reader leaves with what it wanted while slow I/O is in flight, which another one
 * sleeps for. That was woken by the submission, and gets to run only when nothing is
 * new or complete any more. Returns how many milliseconds later it has an event, or
 * -errno.
 */
static long long handover_ms(FIXTURE_DATA(slow) * self, struct iocb *fast)
{
	static const struct sched_param none = { .sched_priority = 0 };
	/* It outlives us where something is wrong. */
	static struct reader sleeper;
	long long start;
	long got;

	sleeper = (struct reader) {
		.ctx = self->ctx, .min_nr = 1, .nr = 1, .ms = WAIT_MS,
	};
	if (reader_start(&sleeper))
		return -EAGAIN;
	let_it_sleep();
	if (run_before_others())
		return -errno;
	if (submit_array(self->ctx, self->iocbs, HANDED_OVER) != HANDED_OVER ||
	    submit_one(self->ctx, fast) != 1)
		return -EIO;
	got = getevents_ms(self->ctx, 1, HANDED_OVER, self->events, -1);
	start = now_ms();
	if (got < 1 || reader_join(&sleeper) != 1)
		return -EIO;
	start = now_ms() - start;
	if (sched_setscheduler(0, SCHED_OTHER, &none))
		return -errno;
	/* What neither of them has, of the slow ones and the fast one. */
	got = HANDED_OVER - got;
	return reap(self->ctx, got, self->events, WAIT_MS) == got ? start : -EIO;
}

#define ROUNDS		5	/* a host that is busy may be late, but not always */
#define WORKER_MS	100	/* then a worker may poll for who does not */

TEST_F(slow, what_one_reader_leaves_in_flight_another_polls_for)
{
	int fd = open_polled(&nvme, O_RDONLY);
	long long ms = WORKER_MS;
	struct iocb fast;

	if (fd < 0)
		SKIP(return, "%s", skip_reason);
	prep_pread(&fast, fd, self->buf, BLOCK, 0);
	set_hipri(&fast);
	ASSERT_EQ(0, pin_to_one_cpu());
	/* The context is polled from here on. */
	ASSERT_EQ(BLOCK, submit_and_wait(self->ctx, &fast));
	for (int i = 0; i < ROUNDS && ms >= WORKER_MS; i++) {
		ms = handover_ms(self, &fast);
		if (ms == -EPERM)
			SKIP(return, "SCHED_FIFO: %s", strerror(EPERM));
		ASSERT_LE(0, ms);
	}
	EXPECT_GT(WORKER_MS, ms);
}

TEST_HARNESS_MAIN
