// SPDX-License-Identifier: GPL-2.0-only
/*
 * Somebody sleeps in a page fault in the middle of a system call: others go on with
 * the context and the device meanwhile.
 */
#include "aio_syscalls.h"
#include "reader.h"
#include "userfault.h"
#include "kselftest_harness.h"

#define EVENTS		16
#define WAIT_MS		(20 * MSEC_PER_SEC)

FIXTURE(fault)
{
	aio_context_t ctx;
	int fd;
	char *buf;
	struct userfault fault;
	struct iocb iocbs[EVENTS];
	struct io_event events[EVENTS];
};

FIXTURE_VARIANT(fault)
{
	const struct aio_device *device;
};

FIXTURE_VARIANT_ADD(fault, nvme) { .device = &nvme };
FIXTURE_VARIANT_ADD(fault, nullb) { .device = &nullb };

FIXTURE_SETUP(fault)
{
	self->fd = open_polled(variant->device, O_RDONLY);
	if (self->fd < 0 || userfault_open(&self->fault))
		SKIP(return, "%s", skip_reason);
	self->buf = map_memory(EVENTS * BLOCK);
	ASSERT_TRUE(!!self->buf);
	prep_polled_reads(self->iocbs, EVENTS, self->fd, self->buf);
	ASSERT_EQ(0, sys_io_setup(EVENTS, &self->ctx));
}

FIXTURE_TEARDOWN(fault)
{
	close(self->fault.fd);
	sys_io_destroy(self->ctx);
	close(self->fd);
}

/* A reader that finds an event and cannot store it until the page is filled. */
static bool reader_is_stuck(struct reader *reader, const struct userfault *fault)
{
	reader->min_nr = 1;
	reader->nr = 1;
	reader->ms = -1;
	reader->to = (void *)fault->page;
	return !reader_start(reader) && userfault_waits(fault->fd, WAIT_MS);
}

TEST_F(fault, a_reader_in_it_holds_up_no_other_reader)
{
	struct reader stuck = { .ctx = self->ctx };

	ASSERT_EQ(1, submit_one(self->ctx, &self->iocbs[0]));
	ASSERT_TRUE(reader_is_stuck(&stuck, &self->fault));
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocbs[1]));
	EXPECT_EQ(1, getevents_ms(self->ctx, 1, EVENTS, self->events, PROMPT_MS));
	EXPECT_EQ((uintptr_t)&self->iocbs[1], self->events[0].obj);

	ASSERT_EQ(0, userfault_fill(&self->fault, "", 0));
	ASSERT_EQ(1, reader_join(&stuck));
	EXPECT_EQ((uintptr_t)&self->iocbs[0], stuck.to->obj);
	EXPECT_EQ(0, getevents_ms(self->ctx, 0, EVENTS, self->events, 0));
}

static void get_stuck(FIXTURE_DATA(fault) * self)
{
	aio_context_t ctx = 0;
	struct userfault own;

	if (!userfault_open(&own) && !sys_io_setup(8, &ctx) &&
	    submit_array(ctx, self->iocbs, 8) == 8)
		getevents_ms(ctx, 1, 1, (void *)own.page, -1);
}

TEST_F(fault, a_kill_ends_it)
{
	long aio_nr = read_number(AIO_NR_PATH);
	long long start;
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		get_stuck(self);
		_exit(1);
	}
	sleep_ms(200);
	start = now_ms();
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	EXPECT_GT(PROMPT_MS, now_ms() - start);
	EXPECT_TRUE(aio_nr_becomes(aio_nr));
	EXPECT_EQ(0, requests_in_flight(device_path(variant->device)));
}

/* What it found on the way, it has handed over before. */
TEST_F(fault, a_reader_in_it_keeps_nothing_from_other_contexts)
{
	struct reader stuck = { .ctx = self->ctx };
	aio_context_t other = 0;

	ASSERT_EQ(0, sys_io_setup(8, &other));
	ASSERT_EQ(8, submit_array(other, self->iocbs, 8));
	/* What is behind them in the queue is found no earlier. */
	sleep_ms(50);
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocbs[8]));
	ASSERT_TRUE(reader_is_stuck(&stuck, &self->fault));
	EXPECT_EQ(0, requests_in_flight(device_path(variant->device)));
	EXPECT_EQ(8, getevents_ms(other, 8, 8, self->events, 0));
	EXPECT_EQ(0, sys_io_destroy(other));

	ASSERT_EQ(0, userfault_fill(&self->fault, "", 0));
	EXPECT_EQ(1, reader_join(&stuck));
}

/* A submitter that stops in the middle of a batch */

struct submitter {
	aio_context_t ctx;
	struct iocb *list[4];
	long ret;
	pthread_t thread;
};

static void *submit_list(void *arg)
{
	struct submitter *submitter = arg;

	submitter->ret = sys_io_submit(submitter->ctx, ARRAY_SIZE(submitter->list),
				       submitter->list);
	return NULL;
}

static void expect_the_others_to_be_read(struct __test_metadata *_metadata,
					 FIXTURE_DATA(fault) * self,
					 struct iocb *third)
{
	struct submitter submitter = {
		.ctx = self->ctx,
		.list = {
			&self->iocbs[0], &self->iocbs[1], third, &self->iocbs[3],
		},
	};

	ASSERT_EQ(0, pthread_create(&submitter.thread, NULL, submit_list, &submitter));
	ASSERT_TRUE(userfault_waits(self->fault.fd, WAIT_MS));
	EXPECT_EQ(2, reap(self->ctx, 2, self->events, PROMPT_MS));

	ASSERT_EQ(0, userfault_fill(&self->fault, &self->iocbs[2],
				    sizeof(self->iocbs[2])));
	ASSERT_EQ(0, pthread_join(submitter.thread, NULL));
	EXPECT_EQ(4, submitter.ret);
	EXPECT_EQ(2, reap(self->ctx, 2, self->events, WAIT_MS));
	EXPECT_EQ(0, getevents_ms(self->ctx, 0, EVENTS, self->events, 0));
}

TEST_F(fault, a_submitter_in_it_for_an_iocb_holds_back_no_other)
{
	expect_the_others_to_be_read(_metadata, self, (void *)self->fault.page);
}

TEST_F(fault, a_submitter_in_it_for_a_buffer_holds_back_no_other)
{
	struct iocb third = self->iocbs[2];

	third.aio_buf = (uintptr_t)self->fault.page;
	expect_the_others_to_be_read(_metadata, self, &third);
}

/*
 * An address space outlives its process while somebody else looks at it. The last
 * to leave has all of its I/O to complete: a task with contexts of its own.
 */

#define LEFT_BEHIND	64

FIXTURE(last_user)
{
	aio_context_t ctx;
	int fd;
	struct userfault fault;
	struct iocb iocbs[LEFT_BEHIND];
	long aio_nr;
};

FIXTURE_VARIANT(last_user)
{
	bool polled;
};

FIXTURE_VARIANT_ADD(last_user, plain) { .polled = false };
FIXTURE_VARIANT_ADD(last_user, polled) { .polled = true };

FIXTURE_SETUP(last_user)
{
	char *buf = map_memory(BLOCK);

	self->fd = variant->polled ? open_polled(&nullb, O_RDONLY) :
				     open_device(&nullb, O_RDONLY | O_DIRECT);
	if (self->fd < 0 || userfault_open(&self->fault))
		SKIP(return, "%s", skip_reason);
	ASSERT_TRUE(!!buf);
	for (int i = 0; i < LEFT_BEHIND; i++) {
		prep_pread(&self->iocbs[i], self->fd, buf, BLOCK, i * BLOCK);
		if (variant->polled)
			set_hipri(&self->iocbs[i]);
	}
	ASSERT_EQ(0, sys_io_setup(1, &self->ctx));
	self->aio_nr = read_number(AIO_NR_PATH);
}

FIXTURE_TEARDOWN(last_user)
{
	close(self->fault.fd);
	sys_io_destroy(self->ctx);
	close(self->fd);
}

/* Reads what maps the pages of another process, and keeps its memory meanwhile. */
struct onlooker {
	int pagemap;
	char *to;
	ssize_t ret;
	pthread_t thread;
};

static void *look_on(void *arg)
{
	struct onlooker *onlooker = arg;

	onlooker->ret = pread(onlooker->pagemap, onlooker->to, sizeof(__u64), 0);
	return NULL;
}

/* A child with I/O in flight: its pid, or -1. */
static pid_t fork_with_io(FIXTURE_DATA(last_user) * self)
{
	int fds[2];
	pid_t pid;
	char token;
	bool told;

	if (pipe2(fds, O_CLOEXEC))
		return -1;
	pid = fork();
	if (!pid) {
		aio_context_t ctx = 0;

		if (sys_io_setup(LEFT_BEHIND, &ctx) ||
		    submit_array(ctx, self->iocbs, LEFT_BEHIND) != LEFT_BEHIND ||
		    write(fds[1], "", 1) != 1)
			_exit(1);
		pause();
	}
	close(fds[1]);
	told = read(fds[0], &token, 1) == 1;
	close(fds[0]);
	return told ? pid : -1;
}

TEST_F(last_user, completes_the_io_of_a_process_that_is_gone)
{
	struct onlooker onlooker = { .to = self->fault.page };
	char path[64];
	int status;
	pid_t pid;

	pid = fork_with_io(self);
	ASSERT_LT(0, pid);
	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	onlooker.pagemap = open(path, O_RDONLY | O_CLOEXEC);
	if (onlooker.pagemap < 0)
		SKIP(kill(pid, SIGKILL); return, "%s: %s", path, strerror(errno));
	ASSERT_EQ(0, pthread_create(&onlooker.thread, NULL, look_on, &onlooker));
	ASSERT_TRUE(userfault_waits(self->fault.fd, WAIT_MS));

	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(self->aio_nr + LEFT_BEHIND, read_number(AIO_NR_PATH));
	ASSERT_EQ(0, userfault_fill(&self->fault, "", 0));
	ASSERT_EQ(0, pthread_join(onlooker.thread, NULL));
	EXPECT_EQ(sizeof(__u64), onlooker.ret);
	EXPECT_EQ(self->aio_nr, read_number(AIO_NR_PATH));
	EXPECT_EQ(0, requests_in_flight(device_path(&nullb)));
	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocbs[0]));
}

TEST_HARNESS_MAIN
