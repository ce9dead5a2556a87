// SPDX-License-Identifier: GPL-2.0-only
/*
 * io_submit(): what it refuses, in which order, and how much of a batch it took.
 */
#include "aio_syscalls.h"
#include "kselftest_harness.h"

#include <linux/ioprio.h>

/* Above every address of user space, for 32 bit programs too. */
#define KERNEL_ADDRESS		0x8000000000000000ULL

/* No RWF_ flag of any kernel so far. */
#define RWF_UNKNOWN		0x40000000

#define NOBODY			65534

FIXTURE(submit)
{
	aio_context_t ctx;
	int fd;
	int not_open;
	char *buf;
	struct iocb iocb;	/* a read that is accepted as it is */
};

FIXTURE_SETUP(submit)
{
	ASSERT_EQ(0, sys_io_setup(8, &self->ctx));
	self->fd = open_tmpfile(0);
	ASSERT_LE(0, self->fd);
	self->not_open = dup(self->fd);
	ASSERT_EQ(0, close(self->not_open));
	self->buf = map_memory(BLOCK);
	ASSERT_TRUE(!!self->buf);
	ASSERT_EQ(BLOCK, pwrite(self->fd, self->buf, BLOCK, 0));
	prep_pread(&self->iocb, self->fd, self->buf, BLOCK, 0);
}

FIXTURE_TEARDOWN(submit)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
}

TEST_F(submit, accepts_the_fixture)
{
	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocb));
}

TEST_F(submit, refuses_bad_contexts)
{
	struct iocb *list[] = { &self->iocb };
	aio_context_t gone = 0;

	EXPECT_EQ(-EINVAL, sys_io_submit(0, 1, list));
	EXPECT_EQ(-EINVAL, sys_io_submit(~0UL, 1, list));
	EXPECT_EQ(-EINVAL, sys_io_submit(0, 0, list));
	EXPECT_EQ(-EINVAL, sys_io_submit(0, 1, NULL));
	EXPECT_EQ(-EINVAL, sys_io_submit(self->ctx + 4, 1, list));

	ASSERT_EQ(0, sys_io_setup(1, &gone));
	ASSERT_EQ(0, sys_io_destroy(gone));
	EXPECT_EQ(-EINVAL, sys_io_submit(gone, 1, list));
}

TEST_F(submit, refuses_a_negative_count)
{
	struct iocb *list[] = { &self->iocb };

	EXPECT_EQ(-EINVAL, sys_io_submit(self->ctx, -1, list));
	EXPECT_EQ(-EINVAL, sys_io_submit(self->ctx, LONG_MIN, list));
}

TEST_F(submit, zero_count_reads_nothing)
{
	EXPECT_EQ(0, sys_io_submit(self->ctx, 0, NULL));
}

TEST_F(submit, bad_pointers_fault)
{
	struct iocb *null[] = { NULL };
	char *guarded = map_before_guard();
	struct iocb *half = (void *)(guarded + sysconf(_SC_PAGESIZE) - 32);
	struct iocb *list[] = { half };

	ASSERT_TRUE(!!guarded);
	EXPECT_EQ(-EFAULT, sys_io_submit(self->ctx, 1, NULL));
	EXPECT_EQ(-EFAULT, sys_io_submit(self->ctx, 1, null));
	EXPECT_EQ(-EFAULT, sys_io_submit(self->ctx, 1, list));
}

TEST_F(submit, the_list_may_end_at_a_guard_page)
{
	char *guarded = map_before_guard();
	struct iocb **list;

	ASSERT_TRUE(!!guarded);
	list = (void *)(guarded + sysconf(_SC_PAGESIZE) - sizeof(*list));
	list[0] = &self->iocb;
	EXPECT_EQ(1, sys_io_submit(self->ctx, 2, list));
}

TEST_F(submit, reserved2_comes_before_the_file)
{
	self->iocb.aio_reserved2 = 1;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
	self->iocb.aio_fildes = self->not_open;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
}

TEST_F(submit, sizes_that_overflow_come_before_the_file)
{
	self->iocb.aio_nbytes = 1ULL << 63;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
	self->iocb.aio_nbytes = UINT64_MAX;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
	self->iocb.aio_fildes = self->not_open;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
}

TEST_F(submit, bad_files)
{
	int path = open("/", O_PATH | O_CLOEXEC);

	ASSERT_LE(0, path);
	self->iocb.aio_fildes = self->not_open;
	EXPECT_EQ(-EBADF, submit_one(self->ctx, &self->iocb));
	self->iocb.aio_fildes = -1;
	EXPECT_EQ(-EBADF, submit_one(self->ctx, &self->iocb));
	self->iocb.aio_fildes = path;
	EXPECT_EQ(-EBADF, submit_one(self->ctx, &self->iocb));
}

TEST_F(submit, unknown_opcodes)
{
	static const int opcodes[] = { 4, 6, 9, 0x7fff, 0xffff };

	for (size_t i = 0; i < ARRAY_SIZE(opcodes); i++) {
		self->iocb.aio_lio_opcode = opcodes[i];
		EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
	}
	self->iocb.aio_fildes = self->not_open;
	EXPECT_EQ(-EBADF, submit_one(self->ctx, &self->iocb));
}

TEST_F(submit, files_opened_the_wrong_way)
{
	char path[64];
	int wronly, rdonly;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	wronly = open(path, O_WRONLY | O_CLOEXEC);
	rdonly = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, wronly);
	ASSERT_LE(0, rdonly);

	self->iocb.aio_fildes = wronly;
	EXPECT_EQ(-EBADF, submit_one(self->ctx, &self->iocb));
	self->iocb.aio_lio_opcode = IOCB_CMD_PWRITE;
	self->iocb.aio_fildes = rdonly;
	EXPECT_EQ(-EBADF, submit_one(self->ctx, &self->iocb));
}

TEST_F(submit, directories_are_not_read)
{
	int dir = open(tmpdir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ASSERT_LE(0, dir);
	self->iocb.aio_fildes = dir;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
}

TEST_F(submit, negative_offsets)
{
	self->iocb.aio_offset = -1;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
	self->iocb.aio_offset = INT64_MIN;
	self->iocb.aio_lio_opcode = IOCB_CMD_PWRITE;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
}

TEST_F(submit, buffers_of_the_kernel)
{
	long ret;

	self->iocb.aio_buf = KERNEL_ADDRESS;
	ret = submit_one(self->ctx, &self->iocb);
	/* A 32 bit kernel finds first that it cannot hold the address. */
	if (ret != -EINVAL || sizeof(long) == 8)
		EXPECT_EQ(-EFAULT, ret);
}

TEST_F(submit, resfd_must_be_an_eventfd)
{
	set_resfd(&self->iocb, self->not_open);
	EXPECT_EQ(-EBADF, submit_one(self->ctx, &self->iocb));
	set_resfd(&self->iocb, self->fd);
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
}

TEST_F(submit, resfd_is_ignored_without_its_flag)
{
	self->iocb.aio_resfd = self->not_open;
	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocb));
}

TEST_F(submit, resfd_comes_before_the_opcode)
{
	self->iocb.aio_lio_opcode = 0xffff;
	set_resfd(&self->iocb, self->not_open);
	EXPECT_EQ(-EBADF, submit_one(self->ctx, &self->iocb));
}

TEST_F(submit, unknown_flags_are_ignored)
{
	self->iocb.aio_flags = 0xffffff00;
	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocb));
}

/*
 * Bit 2 may be garbage in an old program. A kernel that does not know it as a flag
 * ignores it; one that does has something to say of a file that it cannot poll.
 */
TEST_F(submit, the_bit_of_hipri_is_ignored_or_refused)
{
	self->iocb.aio_flags = IOCB_FLAG_HIPRI;
	EXPECT_EQ(kernel_polls() ? -EOPNOTSUPP : BLOCK,
		  submit_and_wait(self->ctx, &self->iocb));
}

TEST_F(submit, ioprio_is_checked)
{
	self->iocb.aio_flags = IOCB_FLAG_IOPRIO;
	self->iocb.aio_reqprio = IOPRIO_PRIO_VALUE(7, 0);
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
	self->iocb.aio_reqprio = IOPRIO_PRIO_VALUE(IOPRIO_CLASS_NONE, 1);
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
	self->iocb.aio_reqprio = IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 4);
	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocb));
}

TEST_F(submit, ioprio_is_ignored_without_its_flag)
{
	self->iocb.aio_reqprio = IOPRIO_PRIO_VALUE(7, 0);
	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocb));
}

TEST_F(submit, realtime_ioprio_needs_privilege)
{
	if (geteuid())
		SKIP(return, "needs root to drop its privilege");
	self->iocb.aio_flags = IOCB_FLAG_IOPRIO;
	self->iocb.aio_reqprio = IOPRIO_PRIO_VALUE(IOPRIO_CLASS_RT, 0);
	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocb));
	ASSERT_EQ(0, setresuid(NOBODY, NOBODY, NOBODY));
	EXPECT_EQ(-EPERM, submit_one(self->ctx, &self->iocb));
}

TEST_F(submit, unknown_rw_flags_come_before_the_open_mode)
{
	char path[64];

	self->iocb.aio_rw_flags = RWF_UNKNOWN;
	EXPECT_EQ(-EOPNOTSUPP, submit_one(self->ctx, &self->iocb));

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	self->iocb.aio_fildes = open(path, O_WRONLY | O_CLOEXEC);
	EXPECT_EQ(-EOPNOTSUPP, submit_one(self->ctx, &self->iocb));
}

TEST_F(submit, ioprio_comes_before_rw_flags)
{
	self->iocb.aio_flags = IOCB_FLAG_IOPRIO;
	self->iocb.aio_reqprio = IOPRIO_PRIO_VALUE(7, 0);
	self->iocb.aio_rw_flags = RWF_UNKNOWN;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
}

TEST_F(submit, rwf_hipri_is_accepted)
{
	self->iocb.aio_rw_flags = RWF_HIPRI;
	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocb));
}

TEST_F(submit, the_key_is_written)
{
	self->iocb.aio_key = 0xdead;
	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocb));
	EXPECT_EQ(0, self->iocb.aio_key);

	/* Before the opcode is looked at, too. */
	self->iocb.aio_key = 0xdead;
	self->iocb.aio_lio_opcode = 0xffff;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
	EXPECT_EQ(0, self->iocb.aio_key);
}

TEST_F(submit, a_read_only_iocb_faults)
{
	long page = sysconf(_SC_PAGESIZE);
	struct iocb *iocb = map_memory(page);

	ASSERT_TRUE(!!iocb);
	*iocb = self->iocb;
	ASSERT_EQ(0, mprotect(iocb, page, PROT_READ));
	EXPECT_EQ(-EFAULT, submit_one(self->ctx, iocb));

	/* The file is looked at before the key is written. */
	ASSERT_EQ(0, mprotect(iocb, page, PROT_READ | PROT_WRITE));
	iocb->aio_fildes = self->not_open;
	ASSERT_EQ(0, mprotect(iocb, page, PROT_READ));
	EXPECT_EQ(-EBADF, submit_one(self->ctx, iocb));
}

TEST_F(submit, a_batch_ends_at_its_first_error)
{
	struct iocb good = self->iocb, bad = self->iocb, late = self->iocb;
	struct iocb *list[] = { &good, &bad, &late };
	struct io_event events[3];

	bad.aio_fildes = self->not_open;
	EXPECT_EQ(1, sys_io_submit(self->ctx, 3, list));
	EXPECT_EQ(-EBADF, sys_io_submit(self->ctx, 2, list + 1));
	ASSERT_EQ(1, reap(self->ctx, 1, events, 10 * MSEC_PER_SEC));
	EXPECT_EQ((uintptr_t)&good, events[0].obj);
	EXPECT_EQ(0, getevents_ms(self->ctx, 0, 3, events, 0));
}

TEST_F(submit, a_batch_ends_at_a_bad_pointer)
{
	struct iocb *list[] = { &self->iocb, NULL, &self->iocb };

	EXPECT_EQ(1, sys_io_submit(self->ctx, 3, list));
	EXPECT_EQ(-EFAULT, sys_io_submit(self->ctx, 2, list + 1));
}

TEST_F(submit, refused_iocbs_give_their_slots_back)
{
	__u32 rounds = 4 * ring_of(self->ctx)->nr;
	struct iocb bad = self->iocb;

	bad.aio_fildes = self->not_open;
	for (__u32 i = 0; i < rounds; i++) {
		long ret = submit_one(self->ctx, &bad);

		ASSERT_EQ(-EBADF, ret);
	}
	bad = self->iocb;
	bad.aio_rw_flags = RWF_UNKNOWN;
	for (__u32 i = 0; i < rounds; i++) {
		long ret = submit_one(self->ctx, &bad);

		ASSERT_EQ(-EOPNOTSUPP, ret);
	}
	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocb));
}

/*
 * A context takes at least what io_setup() was asked for and never more than
 * its ring holds, and takes as much again when that was reaped.
 */
TEST_F(submit, over_submission_is_refused)
{
	__u32 nr = ring_of(self->ctx)->nr;
	struct io_event *events = calloc(nr, sizeof(*events));
	struct iocb *iocbs = calloc(nr, sizeof(*iocbs));

	ASSERT_TRUE(!!events);
	ASSERT_TRUE(!!iocbs);
	ASSERT_EQ(0, pin_to_one_cpu());
	for (int round = 0; round < 3; round++) {
		long taken;

		for (__u32 i = 0; i < nr; i++)
			iocbs[i] = self->iocb;
		taken = submit_array(self->ctx, iocbs, nr);
		EXPECT_LE(8, taken);
		EXPECT_GT(nr, taken);
		EXPECT_EQ(-EAGAIN, submit_one(self->ctx, &self->iocb));
		EXPECT_EQ(taken, reap(self->ctx, taken, events, 10 * MSEC_PER_SEC));
		EXPECT_EQ(0, getevents_ms(self->ctx, 0, nr, events, 0));
	}
	free(iocbs);
	free(events);
}

struct submitter {
	aio_context_t ctx;
	struct iocb *iocb;
	long ret;
};

static int submit_in_child(void *arg)
{
	struct submitter *submitter = arg;

	submitter->ret = submit_one(submitter->ctx, submitter->iocb);
	return 0;
}

TEST_F(submit, whoever_shares_the_memory_shares_the_context)
{
	struct submitter submitter = { self->ctx, &self->iocb, 0 };
	size_t stack_size = 1 << 16;
	char *stack = map_memory(stack_size);
	struct io_event event;
	int status;
	pid_t pid;

	ASSERT_TRUE(!!stack);
	pid = clone(submit_in_child, stack + stack_size,
		    CLONE_VM | CLONE_FILES | SIGCHLD, &submitter);
	ASSERT_LT(0, pid);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(1, submitter.ret);
	EXPECT_EQ(1, reap(self->ctx, 1, &event, 10 * MSEC_PER_SEC));
	EXPECT_EQ(BLOCK, event.res);
}

TEST_HARNESS_MAIN
