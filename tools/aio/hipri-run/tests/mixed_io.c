// SPDX-License-Identifier: GPL-2.0-only
/*
 * mixed_io FILE [direct]: puts I/O of every kind into the same contexts, reads
 * and writes of FILE, fsync, POLL, eventfds, buffered I/O, by several threads,
 * and prints what comes of it.
 *
 * It is run with and without hipri-run, which must make no difference to what
 * it prints. It makes its system calls by syscall(2), and overwrites FILE.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096
#define BLOCKS 256
#define MILLISECOND 1000000L

static const char *path;
static int file;
static const char *scenario;

static void die(const char *what)
{
	printf("%s: %s: %s\n", scenario, what, strerror(errno));
	exit(1);
}

static void check(bool holds, const char *what)
{
	if (holds)
		return;
	printf("%s: not so: %s\n", scenario, what);
	exit(1);
}

/* ---- the calls; all return the kernel's number or a negative errno ---- */

static long negative(long result)
{
	return result < 0 ? -errno : result;
}

static aio_context_t set_up(unsigned int events)
{
	aio_context_t context = 0;

	if (syscall(SYS_io_setup, events, &context))
		die("io_setup");
	return context;
}

static long destroy(aio_context_t context)
{
	return negative(syscall(SYS_io_destroy, context));
}

static long submit(aio_context_t context, long nr, struct iocb **iocbs)
{
	return negative(syscall(SYS_io_submit, context, nr, iocbs));
}

static long submit_one(aio_context_t context, struct iocb *iocb)
{
	return submit(context, 1, &iocb);
}

static long getevents(aio_context_t context, long min, long nr,
		      struct io_event *events, struct timespec *timeout)
{
	return negative(syscall(SYS_io_getevents, context, min, nr, events,
				timeout));
}

static long pgetevents(aio_context_t context, long min, long nr,
		       struct io_event *events, struct timespec *timeout,
		       uint64_t *mask)
{
	struct {
		uint64_t *mask;
		size_t size;
	} signals = { mask, sizeof(*mask) };

	return negative(syscall(SYS_io_pgetevents, context, min, nr, events,
				timeout, &signals));
}

static long cancel(aio_context_t context, struct iocb *iocb)
{
	struct io_event event;

	return negative(syscall(SYS_io_cancel, context, iocb, &event));
}

/* ---- I/O ---- */

static void *block_of_memory(void)
{
	void *block;

	if (posix_memalign(&block, BLOCK, BLOCK))
		die("memory");
	return block;
}

/* What block @index of the file holds, whoever wrote it. */
static void fill(uint64_t *block, uint64_t index)
{
	for (size_t i = 0; i < BLOCK / sizeof(*block); i++)
		block[i] = index << 32 | i;
}

static bool is_filled(const uint64_t *block, uint64_t index)
{
	for (size_t i = 0; i < BLOCK / sizeof(*block); i++)
		if (block[i] != (index << 32 | i))
			return false;
	return true;
}

static struct iocb io(int opcode, int fd, void *buffer, int index)
{
	struct iocb iocb = {
		.aio_data = index,
		.aio_lio_opcode = opcode,
		.aio_fildes = fd,
		.aio_buf = (uintptr_t)buffer,
		.aio_nbytes = BLOCK,
		.aio_offset = (int64_t)index * BLOCK,
	};

	return iocb;
}

static struct iocb op(int opcode, int fd, int data)
{
	struct iocb iocb = {
		.aio_data = data,
		.aio_lio_opcode = opcode,
		.aio_fildes = fd,
		.aio_buf = opcode == IOCB_CMD_POLL ? POLLIN : 0,
	};

	return iocb;
}

static int by_data(const void *a, const void *b)
{
	const struct io_event *x = a, *y = b;

	return (x->data > y->data) - (x->data < y->data);
}

static void print_events(const char *what, long nr, struct io_event *events)
{
	printf("%s: %s: %ld", scenario, what, nr);
	if (nr > 0)
		qsort(events, nr, sizeof(*events), by_data);
	for (long i = 0; i < nr; i++)
		printf(" [%" PRIu64 " %" PRId64 "]", (uint64_t)events[i].data,
		       (int64_t)events[i].res);
	printf("\n");
}

static void print(const char *what, long result)
{
	printf("%s: %s: %ld\n", scenario, what, result);
}

static int make_eventfd(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	if (fd < 0)
		die("eventfd");
	return fd;
}

static void make_ready(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		die("write to eventfd");
}

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void nap(long nanoseconds)
{
	struct timespec time = { .tv_nsec = nanoseconds };

	nanosleep(&time, NULL);
}

/* ---- scenarios ---- */

/* All kinds in one batch, waited for together. */
static void one_batch(void)
{
	aio_context_t context = set_up(16);
	void *buffers[3] = { block_of_memory(), block_of_memory(),
			     block_of_memory() };
	struct iocb iocbs[] = {
		io(IOCB_CMD_PREAD, file, buffers[0], 1),
		op(IOCB_CMD_FSYNC, file, 100),
		io(IOCB_CMD_PWRITE, file, buffers[1], 2),
		io(IOCB_CMD_PREAD, file, buffers[2], 3),
		op(IOCB_CMD_FDSYNC, file, 101),
	};
	struct iocb *batch[5];
	struct io_event events[8];

	fill(buffers[1], 2);
	for (int i = 0; i < 5; i++)
		batch[i] = &iocbs[i];
	print("submitted", submit(context, 5, batch));
	print_events("events", getevents(context, 5, 8, events, NULL), events);
	check(is_filled(buffers[0], 1) && is_filled(buffers[2], 3),
	      "the data is right");
	print("destroyed", destroy(context));
	print("destroyed again", destroy(context));
}

/* The first that is wrong ends a batch. */
static void wrong_batch(void)
{
	aio_context_t context = set_up(16);
	struct iocb iocbs[] = {
		io(IOCB_CMD_PREAD, file, block_of_memory(), 1),
		op(IOCB_CMD_FSYNC, file, 100),
		op(99, file, 101),
		io(IOCB_CMD_PREAD, file, block_of_memory(), 2),
		op(IOCB_CMD_FSYNC, -1, 102),
	};
	struct iocb *batch[5];
	struct io_event events[8];
	struct timespec at_once = { 0 };

	for (int i = 0; i < 5; i++)
		batch[i] = &iocbs[i];
	print("submitted", submit(context, 5, batch));
	print("rest", submit(context, 3, batch + 2));
	print("closed file", submit(context, 1, batch + 4));
	batch[1] = NULL;
	print("null iocb", submit(context, 2, batch));
	print("fewer than none", submit(context, -1, batch));
	print("no context", submit(0, 1, batch));
	print_events("events", getevents(context, 3, 8, events, NULL), events);
	print("min over nr", getevents(context, 3, 2, events, NULL));
	print("negative nr", getevents(context, 0, -1, events, NULL));
	print("none left", getevents(context, 0, 8, events, NULL));
	print("none at once", getevents(context, 1, 8, events, &at_once));
	destroy(context);
}

/* An eventfd is told of its own I/O, and of nothing else. */
static void announced(void)
{
	aio_context_t context = set_up(16);
	void *buffer = block_of_memory();
	struct iocb reading = io(IOCB_CMD_PREAD, file, block_of_memory(), 1);
	struct iocb writing = io(IOCB_CMD_PWRITE, file, buffer, 2);
	struct io_event events[8];
	int fd = make_eventfd();
	uint64_t told = 0;

	fill(buffer, 2);
	writing.aio_flags = IOCB_FLAG_RESFD;
	writing.aio_resfd = fd;
	print("read", submit_one(context, &reading));
	print("write", submit_one(context, &writing));
	print_events("events", getevents(context, 2, 8, events, NULL), events);
	check(read(fd, &told, sizeof(told)) == sizeof(told), "it was told");
	print("told", told);
	close(fd);
	destroy(context);
}

/* A POLL that waits keeps nobody from the rest, and timeouts are true. */
static void timeouts(void)
{
	aio_context_t context = set_up(16);
	int fd = make_eventfd();
	struct iocb polling = op(IOCB_CMD_POLL, fd, 100);
	struct iocb reading = io(IOCB_CMD_PREAD, file, block_of_memory(), 1);
	struct io_event events[8];
	struct timespec soon = { .tv_nsec = 150 * MILLISECOND };
	struct timespec late = { .tv_sec = 1 };
	int64_t start;

	print("poll", submit_one(context, &polling));
	print("read", submit_one(context, &reading));
	start = now();
	print_events("both", getevents(context, 2, 8, events, &late), events);
	check(now() - start >= late.tv_sec * 1000 * MILLISECOND,
	      "it waited for both");
	start = now();
	print("nothing", getevents(context, 1, 8, events, &soon));
	check(now() - start >= soon.tv_nsec, "it waited");
	print("nothing at all", getevents(context, 0, 8, events, NULL));
	make_ready(fd);
	print_events("poll", getevents(context, 1, 8, events, NULL), events);
	close(fd);
	destroy(context);
}

/* A POLL can be cancelled, a read that is done cannot. */
static void cancelling(void)
{
	aio_context_t context = set_up(16);
	int fd = make_eventfd();
	struct iocb polling = op(IOCB_CMD_POLL, fd, 100);
	struct iocb reading = io(IOCB_CMD_PREAD, file, block_of_memory(), 1);
	struct io_event events[8];

	print("read", submit_one(context, &reading));
	print("poll", submit_one(context, &polling));
	print_events("read", getevents(context, 1, 8, events, NULL), events);
	print("cancel read", cancel(context, &reading));
	print("cancel poll", cancel(context, &polling));
	print_events("poll", getevents(context, 1, 8, events, NULL), events);
	print("cancel again", cancel(context, &polling));
	close(fd);
	destroy(context);
}

static volatile sig_atomic_t rung;

static void ring(int signal)
{
	(void)signal;
	rung++;
}

static void set_alarm(long nanoseconds)
{
	struct itimerval timer = { .it_value.tv_usec = nanoseconds / 1000 };

	setitimer(ITIMER_REAL, &timer, NULL);
}

/* A signal ends a wait, unless the wait is safe from it. */
static void signals(void)
{
	aio_context_t context = set_up(16);
	int fd = make_eventfd();
	int readable = make_eventfd();
	struct iocb polling = op(IOCB_CMD_POLL, fd, 100);
	struct iocb complete = op(IOCB_CMD_POLL, readable, 101);
	struct iocb reading = io(IOCB_CMD_PREAD, file, block_of_memory(), 1);
	struct io_event events[8];
	struct timespec soon = { .tv_nsec = 300 * MILLISECOND };
	struct sigaction action = { .sa_handler = ring };
	uint64_t no_alarm = 1ull << (SIGALRM - 1);
	sigset_t set;

	make_ready(readable);
	sigaction(SIGALRM, &action, NULL);
	submit_one(context, &reading);
	submit_one(context, &polling);
	set_alarm(900 * MILLISECOND);
	print_events("with one event", getevents(context, 2, 8, events, NULL),
		     events);
	set_alarm(200 * MILLISECOND);
	print("without", getevents(context, 1, 8, events, NULL));
	set_alarm(100 * MILLISECOND);
	print("safe", pgetevents(context, 1, 8, events, &soon, &no_alarm));
	print("rung", rung);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	set_alarm(100 * MILLISECOND);
	no_alarm = 0;
	print("unsafe", pgetevents(context, 1, 8, events, NULL, &no_alarm));
	print("rung", rung);
	sigprocmask(SIG_SETMASK, NULL, &set);
	print("still blocked", sigismember(&set, SIGALRM));
	submit_one(context, &complete);
	raise(SIGALRM);
	print_events("raised before",
		     pgetevents(context, 2, 8, events, NULL, &no_alarm),
		     events);
	print("rung", rung);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	close(fd);
	close(readable);
	destroy(context);
}

struct reaper {
	aio_context_t context;
	long min;
	long got;
	struct io_event events[8];
	volatile bool waits;
};

static void *reap(void *argument)
{
	struct reaper *reaper = argument;

	reaper->waits = true;
	reaper->got = getevents(reaper->context, reaper->min, reaper->min,
				reaper->events, NULL);
	return NULL;
}

/* Starts a thread that waits, and returns when it probably does. */
static pthread_t start(struct reaper *reaper, aio_context_t context, long min)
{
	pthread_t thread;

	memset(reaper, 0, sizeof(*reaper));
	reaper->context = context;
	reaper->min = min;
	if (pthread_create(&thread, NULL, reap, reaper))
		die("thread");
	while (!reaper->waits)
		sched_yield();
	nap(20 * MILLISECOND);
	return thread;
}

static void finish(const char *what, pthread_t thread, struct reaper *reaper)
{
	pthread_join(thread, NULL);
	print_events(what, reaper->got, reaper->events);
}

/* Whoever waits gets what others submit, whatever it is. */
static void waiting(void)
{
	static const char *const order[][2] = {
		{ "read first", "fsync" }, { "fsync first", "read" }
	};

	for (int fsync_first = 0; fsync_first < 2; fsync_first++) {
		aio_context_t context = set_up(16);
		int fd = make_eventfd();
		struct iocb iocbs[] = {
			io(IOCB_CMD_PREAD, file, block_of_memory(), 1),
			op(IOCB_CMD_FSYNC, file, 100),
			op(IOCB_CMD_POLL, fd, 101),
			io(IOCB_CMD_PREAD, file, block_of_memory(), 2),
			io(IOCB_CMD_PREAD, file, block_of_memory(), 3),
		};
		struct reaper one, two;
		pthread_t first, second;

		/* A context that nothing was submitted to. */
		first = start(&one, context, 1);
		submit_one(context, &iocbs[fsync_first]);
		finish(order[fsync_first][0], first, &one);
		/* One that had one kind. */
		first = start(&one, context, 1);
		submit_one(context, &iocbs[!fsync_first]);
		finish(order[fsync_first][1], first, &one);
		/* One with a POLL that goes on, and two that wait. */
		submit_one(context, &iocbs[2]);
		first = start(&one, context, 1);
		second = start(&two, context, 1);
		submit_one(context, &iocbs[3]);
		submit_one(context, &iocbs[4]);
		pthread_join(first, NULL);
		pthread_join(second, NULL);
		check(one.got == 1 && two.got == 1, "both got one");
		check(one.events[0].data + two.events[0].data == 5,
		      "each read was read once");
		first = start(&one, context, 2);
		iocbs[0].aio_data = 4;
		submit_one(context, &iocbs[0]);
		nap(20 * MILLISECOND);
		make_ready(fd);
		finish("read and poll", first, &one);
		close(fd);
		destroy(context);
	}
}

/* A POLL waits, alone; the first read must not wait for it. */
static void first_read(void)
{
	for (long min = 1; min <= 2; min++) {
		aio_context_t context = set_up(16);
		int fd = make_eventfd();
		struct iocb polling = op(IOCB_CMD_POLL, fd, 100);
		struct iocb reads[] = {
			io(IOCB_CMD_PREAD, file, block_of_memory(), 1),
			io(IOCB_CMD_PREAD, file, block_of_memory(), 2),
		};
		struct reaper reaper;
		pthread_t thread;

		submit_one(context, &polling);
		thread = start(&reaper, context, min);
		submit_one(context, &reads[0]);
		if (min == 2)
			submit_one(context, &reads[1]);
		finish("reads", thread, &reaper);
		print("destroyed", destroy(context));
		close(fd);
	}
}

/* Who waits for a context learns of its end. */
static void destroying(void)
{
	for (int with_read = 0; with_read < 2; with_read++) {
		aio_context_t context = set_up(16);
		int fd = make_eventfd();
		struct iocb polling = op(IOCB_CMD_POLL, fd, 100);
		struct iocb reading = io(IOCB_CMD_PREAD, file,
					 block_of_memory(), 1);
		struct reaper reaper;
		struct io_event event;
		pthread_t thread;

		if (with_read) {
			submit_one(context, &reading);
			getevents(context, 1, 1, &event, NULL);
		}
		submit_one(context, &polling);
		thread = start(&reaper, context, 1);
		print("destroyed", destroy(context));
		finish("waited", thread, &reaper);
		print("after", getevents(context, 0, 1, &event, NULL));
		close(fd);
	}
}

#define SUBMITTERS 4
#define REAPERS 2
#define EACH 250

static aio_context_t shared;
static long outstanding;
static bool bad;

struct work {
	struct iocb iocb;
	uint64_t *buffer;
	int index;
};

static void *submit_many(void *argument)
{
	unsigned int seed = (uintptr_t)argument;
	int fd = make_eventfd();

	for (int i = 0; i < EACH; i++) {
		struct work *work = calloc(1, sizeof(*work));

		work->buffer = block_of_memory();
		work->index = rand_r(&seed) % BLOCKS;
		switch (rand_r(&seed) % 8) {
		case 0:
			work->iocb = op(IOCB_CMD_FSYNC, file, 0);
			break;
		case 1:
			make_ready(fd);
			work->iocb = op(IOCB_CMD_POLL, fd, 0);
			break;
		case 2:
			fill(work->buffer, work->index);
			work->iocb = io(IOCB_CMD_PWRITE, file, work->buffer,
					work->index);
			work->iocb.aio_flags = IOCB_FLAG_RESFD;
			work->iocb.aio_resfd = fd;
			break;
		case 3:
		case 4:
			fill(work->buffer, work->index);
			work->iocb = io(IOCB_CMD_PWRITE, file, work->buffer,
					work->index);
			break;
		default:
			work->iocb = io(IOCB_CMD_PREAD, file, work->buffer,
					work->index);
		}
		work->iocb.aio_data = (uintptr_t)work;
		while (submit_one(shared, &work->iocb) != 1)
			sched_yield();
	}
	return NULL;
}

static bool is_right(struct io_event *event)
{
	struct work *work = (struct work *)(uintptr_t)event->data;
	int64_t expected = BLOCK;

	if (event->obj != (uintptr_t)&work->iocb)
		return false;
	if (work->iocb.aio_lio_opcode == IOCB_CMD_FSYNC)
		expected = 0;
	if (work->iocb.aio_lio_opcode == IOCB_CMD_POLL)
		expected = POLLIN;
	if (event->res != expected)
		return false;
	return work->iocb.aio_lio_opcode != IOCB_CMD_PREAD ||
	       is_filled(work->buffer, work->index);
}

static void *reap_many(void *argument)
{
	struct io_event events[8];
	struct timespec soon = { .tv_nsec = 50 * MILLISECOND };

	(void)argument;
	while (__atomic_load_n(&outstanding, __ATOMIC_SEQ_CST) > 0) {
		long got = getevents(shared, 1, 8, events, &soon);

		if (got < 0)
			__atomic_store_n(&bad, true, __ATOMIC_SEQ_CST);
		for (long i = 0; i < got; i++)
			if (!is_right(&events[i]))
				__atomic_store_n(&bad, true, __ATOMIC_SEQ_CST);
		if (got > 0)
			__atomic_fetch_sub(&outstanding, got, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

/* Many threads at once. */
static void crowd(void)
{
	pthread_t threads[SUBMITTERS + REAPERS];
	struct io_event event;

	shared = set_up(64);
	outstanding = SUBMITTERS * EACH;
	for (long i = 0; i < SUBMITTERS + REAPERS; i++)
		if (pthread_create(&threads[i], NULL,
				   i < SUBMITTERS ? submit_many : reap_many,
				   (void *)(i + 1)))
			die("thread");
	for (int i = 0; i < SUBMITTERS + REAPERS; i++)
		pthread_join(threads[i], NULL);
	check(!bad, "every event is right");
	print("left", outstanding);
	print("more", getevents(shared, 0, 1, &event, NULL));
	destroy(shared);
}

struct ring {
	uint32_t id, nr, head, tail, magic, compat, incompat, length;
};

/* As libaio does with a timeout of 0: no call if the ring is empty. */
static long look_into_ring(aio_context_t context, struct io_event *event)
{
	volatile struct ring *ring = (volatile struct ring *)context;
	struct timespec at_once = { 0 };

	if (ring->magic == 0xa10a10a1 && ring->head == ring->tail)
		return 0;
	return getevents(context, 0, 1, event, &at_once);
}

/* Who looks into the ring misses nothing. */
static void ring_readers(void)
{
	for (int fsync_first = 0; fsync_first < 2; fsync_first++) {
		aio_context_t context = set_up(16);
		struct iocb iocbs[] = {
			io(IOCB_CMD_PREAD, file, block_of_memory(), 1),
			op(IOCB_CMD_FSYNC, file, 100),
		};
		struct io_event events[4];
		long got = 0;

		for (int i = 0; i < 3; i++) {
			/* One kind, the other one, the first again. */
			submit_one(context, &iocbs[i % 2 ^ fsync_first]);
			while (!look_into_ring(context, &events[got]))
				sched_yield();
			got++;
		}
		print_events("events", got, events);
		destroy(context);
	}
}

/* Two files in one context, one of them not open for direct I/O. */
static void buffered(void)
{
	aio_context_t context = set_up(16);
	int other = open(path, O_RDWR | O_CLOEXEC);
	void *buffers[4];
	struct iocb iocbs[4], *batch[4];
	struct io_event events[8];

	for (int i = 0; i < 4; i++) {
		buffers[i] = block_of_memory();
		iocbs[i] = io(IOCB_CMD_PREAD, i % 2 ? other : file, buffers[i],
			      i);
		batch[i] = &iocbs[i];
	}
	print("submitted", submit(context, 4, batch));
	print_events("events", getevents(context, 4, 8, events, NULL), events);
	for (int i = 0; i < 4; i++)
		check(is_filled(buffers[i], i), "the data is right");
	close(other);
	destroy(context);
}

#define EVENTS 64

/* A context takes what it was made for, of whatever kind, and not for ever. */
static void full(void)
{
	aio_context_t context = set_up(EVENTS);
	int fd = make_eventfd();
	struct iocb reading = io(IOCB_CMD_PREAD, file, block_of_memory(), 1);
	static struct iocb polls[16 * EVENTS];
	struct io_event event;
	long taken, result = 1;

	print("read", submit_one(context, &reading));
	for (taken = 1; taken < EVENTS; taken++) {
		polls[taken] = op(IOCB_CMD_POLL, fd, 100);
		check(submit_one(context, &polls[taken]) == 1, "there is room");
	}
	print("event", getevents(context, 1, 1, &event, NULL));
	print("read", submit_one(context, &reading));
	for (; result == 1 && taken < 16 * EVENTS; taken++) {
		polls[taken] = op(IOCB_CMD_POLL, fd, 100);
		result = submit_one(context, &polls[taken]);
	}
	print("full", result);
	print("destroyed", destroy(context));
	close(fd);
}

/* Nothing is left of a context that is destroyed: the system has a limit. */
static void again_and_again(void)
{
	long events = 0;

	for (int i = 0; i < 20; i++) {
		aio_context_t context = set_up(4096);
		struct iocb reading = io(IOCB_CMD_PREAD, file,
					 block_of_memory(), 1);
		struct iocb syncing = op(IOCB_CMD_FSYNC, file, 100);
		struct io_event read[2];

		submit_one(context, &reading);
		submit_one(context, &syncing);
		events += getevents(context, 2, 2, read, NULL);
		destroy(context);
	}
	print("events", events);
	print("room for a large one", destroy(set_up(16384)));
}

/* A child has no contexts, and can make its own. */
static void child(void)
{
	aio_context_t context = set_up(16);
	struct iocb reading = io(IOCB_CMD_PREAD, file, block_of_memory(), 1);
	struct iocb syncing = op(IOCB_CMD_FSYNC, file, 100);
	struct io_event events[8];
	int status;
	pid_t pid;

	submit_one(context, &reading);
	submit_one(context, &syncing);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		aio_context_t own;

		print("parent's", destroy(context));
		own = set_up(16);
		submit_one(own, &syncing);
		submit_one(own, &reading);
		print_events("child", getevents(own, 2, 8, events, NULL),
			     events);
		fflush(stdout);
		/* One with I/O in flight is left to the kernel. */
		submit_one(own, &reading);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	print("status", status);
	print_events("parent", getevents(context, 2, 8, events, NULL), events);
	destroy(context);
}

static const struct {
	const char *name;
	void (*run)(void);
} scenarios[] = {
	{ "one batch", one_batch },
	{ "wrong batch", wrong_batch },
	{ "announced", announced },
	{ "timeouts", timeouts },
	{ "cancelling", cancelling },
	{ "signals", signals },
	{ "waiting", waiting },
	{ "first read", first_read },
	{ "destroying", destroying },
	{ "crowd", crowd },
	{ "ring readers", ring_readers },
	{ "buffered", buffered },
	{ "full", full },
	{ "again and again", again_and_again },
	{ "child", child },
};

static void write_file(void)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	uint64_t *block = block_of_memory();

	if (fd < 0)
		die(path);
	for (int i = 0; i < BLOCKS; i++) {
		fill(block, i);
		if (pwrite(fd, block, BLOCK, (off_t)i * BLOCK) != BLOCK)
			die("pwrite");
	}
	fsync(fd);
	close(fd);
}

int main(int argc, char **argv)
{
	bool direct = argc == 3 && !strcmp(argv[2], "direct");

	scenario = "start";
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 2 && !direct) {
		fprintf(stderr, "usage: mixed_io FILE [direct]\n");
		return 2;
	}
	path = argv[1];
	write_file();
	file = open(path, O_RDWR | O_CLOEXEC | (direct ? O_DIRECT : 0));
	if (file < 0)
		die(path);
	/* Nothing here takes long, so what takes long hangs. */
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(*scenarios); i++) {
		scenario = scenarios[i].name;
		scenarios[i].run();
	}
	printf("done\n");
	return 0;
}
