// SPDX-License-Identifier: GPL-2.0-only
/*
 * The completion ring as user space sees it: what is in it, reaping without the
 * kernel, moving it, losing it, and writing nonsense to it.
 */
#include "aio_syscalls.h"
#include "kselftest_harness.h"

#define EVENTS		8

FIXTURE(ring)
{
	aio_context_t ctx;
	struct aio_ring *ring;
	size_t size;		/* of the mapping, in bytes */
	struct iocb iocb;	/* completes at once */
	struct io_event event;
};

FIXTURE_SETUP(ring)
{
	size_t page = sysconf(_SC_PAGESIZE);
	int fds[2];

	ASSERT_EQ(0, sys_io_setup(EVENTS, &self->ctx));
	self->ring = ring_of(self->ctx);
	self->size = sizeof(struct aio_ring) +
		     self->ring->nr * sizeof(struct io_event);
	self->size = (self->size + page - 1) / page * page;
	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
	ASSERT_EQ(1, write(fds[1], "x", 1));
	prep_poll(&self->iocb, fds[0], POLLIN);
}

FIXTURE_TEARDOWN(ring)
{
	sys_io_destroy(self->ctx);
}

TEST_F(ring, header_of_a_new_ring)
{
	EXPECT_EQ(AIO_RING_MAGIC, self->ring->magic);
	EXPECT_LE(EVENTS, self->ring->nr);
	EXPECT_EQ(0, self->ring->head);
	EXPECT_EQ(0, self->ring->tail);
	EXPECT_EQ(1, self->ring->compat_features & ~AIO_RING_COMPAT_HIPRI);
	EXPECT_EQ(0, self->ring->incompat_features);
	EXPECT_EQ(32, self->ring->header_length);
}

TEST_F(ring, fills_its_pages)
{
	size_t header = self->ring->header_length;

	EXPECT_EQ((self->size - header) / sizeof(struct io_event), self->ring->nr);
}

TEST_F(ring, holds_what_was_asked_for)
{
	static const unsigned int counts[] = { 1, 63, 128, 1000, 10000 };

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		aio_context_t ctx = 0;

		ASSERT_EQ(0, sys_io_setup(counts[i], &ctx));
		EXPECT_LE(2 * counts[i], ring_of(ctx)->nr);
		ASSERT_EQ(0, sys_io_destroy(ctx));
	}
}

TEST_F(ring, carries_the_events)
{
	self->iocb.aio_data = 5;
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
	ASSERT_EQ(1, ring_load(&self->ring->tail));
	EXPECT_EQ(0, self->ring->head);
	EXPECT_EQ((uintptr_t)&self->iocb, self->ring->events[0].obj);
	EXPECT_EQ(5, self->ring->events[0].data);
	EXPECT_EQ(POLLIN, self->ring->events[0].res);

	ASSERT_EQ(1, getevents_ms(self->ctx, 1, 1, &self->event, 0));
	EXPECT_EQ(1, ring_load(&self->ring->head));
}

/* Takes one event out of the ring, as libaio, fio and others do it. */
static bool reap_in_user_space(struct aio_ring *ring, struct io_event *event)
{
	__u32 head = ring->head;

	if (head == ring_load(&ring->tail))
		return false;
	*event = ring->events[head];
	__atomic_store_n(&ring->head, (head + 1) % ring->nr, __ATOMIC_RELEASE);
	return true;
}

TEST_F(ring, reaping_in_user_space_returns_the_slots)
{
	for (__u32 i = 0; i < 10 * self->ring->nr; i++) {
		self->iocb.aio_data = i;
		ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
		ASSERT_TRUE(reap_in_user_space(self->ring, &self->event));
		ASSERT_EQ(i, self->event.data);
	}
	EXPECT_FALSE(reap_in_user_space(self->ring, &self->event));
	EXPECT_EQ(0, getevents_ms(self->ctx, 0, 1, &self->event, 0));
}

TEST_F(ring, reaping_a_full_ring_in_user_space)
{
	__u32 nr = self->ring->nr;
	struct iocb *iocbs = calloc(nr, sizeof(*iocbs));

	ASSERT_TRUE(!!iocbs);
	ASSERT_EQ(0, pin_to_one_cpu());
	for (int round = 0; round < 5; round++) {
		long taken, reaped = 0;

		for (__u32 i = 0; i < nr; i++)
			iocbs[i] = self->iocb;
		taken = submit_array(self->ctx, iocbs, nr);
		EXPECT_LE(EVENTS, taken);
		EXPECT_GT(nr, taken);
		while (reap_in_user_space(self->ring, &self->event))
			reaped++;
		EXPECT_EQ(taken, reaped);
	}
	free(iocbs);
}

TEST_F(ring, wraps_around)
{
	for (__u32 i = 0; i < 3 * self->ring->nr; i++) {
		ASSERT_EQ(i % self->ring->nr, ring_load(&self->ring->tail));
		ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
		ASSERT_EQ(1, getevents_ms(self->ctx, 1, 1, &self->event, 0));
	}
}

TEST_F(ring, moves_and_takes_its_context_along)
{
	void *to = mmap(NULL, self->size, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	aio_context_t old = self->ctx;

	ASSERT_TRUE(to != MAP_FAILED);
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
	ASSERT_TRUE(mremap(self->ring, self->size, self->size,
			   MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	self->ctx = (uintptr_t)to;
	EXPECT_EQ(-EINVAL, submit_one(old, &self->iocb));
	EXPECT_EQ(-EINVAL, sys_io_destroy(old));
	EXPECT_EQ(1, getevents_ms(self->ctx, 1, 1, &self->event, 0));
	EXPECT_EQ(POLLIN, submit_and_wait(self->ctx, &self->iocb));
	EXPECT_EQ(0, sys_io_destroy(self->ctx));
}

/* The kernel writes events by a way of its own, and reads the number by the user's. */
TEST_F(ring, protection_hides_the_context_at_most)
{
	ASSERT_EQ(0, mprotect(self->ring, self->size, PROT_READ));
	EXPECT_EQ(POLLIN, submit_and_wait(self->ctx, &self->iocb));
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));

	ASSERT_EQ(0, mprotect(self->ring, self->size, PROT_NONE));
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
	EXPECT_EQ(-EINVAL, getevents_ms(self->ctx, 0, 1, &self->event, 0));
	EXPECT_EQ(-EINVAL, sys_io_destroy(self->ctx));

	ASSERT_EQ(0, mprotect(self->ring, self->size, PROT_READ | PROT_WRITE));
	EXPECT_EQ(1, getevents_ms(self->ctx, 1, 1, &self->event, 0));
	EXPECT_EQ(POLLIN, submit_and_wait(self->ctx, &self->iocb));
}

TEST_F(ring, does_not_grow)
{
	EXPECT_TRUE(mremap(self->ring, self->size, 2 * self->size,
			   MREMAP_MAYMOVE) == MAP_FAILED);
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(POLLIN, submit_and_wait(self->ctx, &self->iocb));
}

TEST_F(ring, a_child_has_no_context)
{
	pid_t pid = fork();
	int status;

	ASSERT_LE(0, pid);
	if (!pid) {
		unsigned char resident;

		_exit(submit_one(self->ctx, &self->iocb) != -EINVAL ||
		      getevents_ms(self->ctx, 0, 1, &self->event, 0) != -EINVAL ||
		      sys_io_destroy(self->ctx) != -EINVAL ||
		      mincore(self->ring, 1, &resident) != -1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(POLLIN, submit_and_wait(self->ctx, &self->iocb));
}

TEST_F(ring, without_its_mapping_there_is_no_context)
{
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
	ASSERT_EQ(0, munmap(self->ring, self->size));
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
	EXPECT_EQ(-EINVAL, getevents_ms(self->ctx, 0, 1, &self->event, 0));
	EXPECT_EQ(-EINVAL, sys_io_destroy(self->ctx));
}

TEST_F(ring, exit_frees_what_was_unmapped)
{
	long before = read_number(AIO_NR_PATH);
	pid_t pid = fork();
	int status;

	ASSERT_LE(0, pid);
	if (!pid) {
		aio_context_t ctx = 0;

		_exit(sys_io_setup(1, &ctx) || submit_one(ctx, &self->iocb) != 1 ||
		      munmap(ring_of(ctx), self->size));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_TRUE(aio_nr_becomes(before));
}

/* The kernel believes only its own copy of everything but head and id. */
TEST_F(ring, nonsense_in_the_header_does_not_matter)
{
	struct aio_ring saved = *self->ring;

	self->ring->nr = 1;
	self->ring->magic = 0;
	self->ring->compat_features = ~0U;
	self->ring->incompat_features = ~0U;
	self->ring->header_length = 0;
	for (__u32 i = 0; i < 2 * saved.nr; i++) {
		long long ret = submit_and_wait(self->ctx, &self->iocb);

		ASSERT_EQ(POLLIN, ret);
	}
}

TEST_F(ring, nonsense_in_head_harms_only_its_writer)
{
	static const __u32 heads[] = { 1, 1000, 0x7fffffff, 0x80000000, ~0U };
	struct io_event *events = calloc(self->ring->nr, sizeof(*events));

	ASSERT_TRUE(!!events);
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
		aio_context_t ctx = 0;
		struct aio_ring *ring;
		long got;

		ASSERT_EQ(0, sys_io_setup(EVENTS, &ctx));
		ring = ring_of(ctx);
		ASSERT_EQ(1, submit_one(ctx, &self->iocb));
		ring->head = heads[i];
		got = getevents_ms(ctx, 0, ring->nr, events, 0);
		EXPECT_LE(0, got);
		EXPECT_GE(ring->nr, got);
		ring->head = heads[i];
		for (__u32 n = 0; n < 2 * ring->nr; n++) {
			long ret = submit_one(ctx, &self->iocb);

			EXPECT_TRUE(ret == 1 || ret == -EAGAIN);
		}
		EXPECT_EQ(0, sys_io_destroy(ctx));
	}
	free(events);
}

TEST_F(ring, tail_is_read_from_the_ring_and_clamped)
{
	struct io_event *events = calloc(self->ring->nr, sizeof(*events));
	long got;

	ASSERT_TRUE(!!events);
	self->ring->tail = ~0U;
	got = getevents_ms(self->ctx, 0, self->ring->nr, events, 0);
	EXPECT_LE(0, got);
	EXPECT_GE(self->ring->nr, got);
	free(events);
}

TEST_F(ring, a_wrong_id_finds_no_context)
{
	__u32 id = self->ring->id;

	self->ring->id = ~0U;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
	self->ring->id = id + 1;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
	self->ring->id = id;
	EXPECT_EQ(POLLIN, submit_and_wait(self->ctx, &self->iocb));
}

/* Compaction moves the pages of the ring while it is in use. */
static void *compact(void *arg)
{
	for (int i = 0; i < 10; i++)
		write_number("/proc/sys/vm/compact_memory", 1);
	__atomic_store_n((bool *)arg, true, __ATOMIC_RELEASE);
	return NULL;
}

TEST_F(ring, page_migration_loses_no_event)
{
	bool done = false;
	pthread_t thread;
	__u64 i = 0;

	if (access("/proc/sys/vm/compact_memory", W_OK))
		SKIP(return, "/proc/sys/vm/compact_memory: %s", strerror(errno));
	ASSERT_EQ(0, pthread_create(&thread, NULL, compact, &done));
	while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
		self->iocb.aio_data = ++i;
		ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
		ASSERT_EQ(1, reap(self->ctx, 1, &self->event, 10 * MSEC_PER_SEC));
		ASSERT_EQ(i, self->event.data);
	}
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_LT(0, i);
}

TEST_HARNESS_MAIN
