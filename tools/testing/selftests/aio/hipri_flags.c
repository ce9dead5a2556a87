// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOCB_FLAG_HIPRI: on what it is refused, with which error, and how user space
 * learns of it.
 */
#include "aio_syscalls.h"
#include "kselftest_harness.h"

#include <linux/ioprio.h>
#include <sys/socket.h>

#define EVENTS		8

FIXTURE(flags)
{
	aio_context_t ctx;
	int fd;
	char *buf;
	struct iocb iocb;	/* a polled read that is accepted as it is */
	struct io_event event;
};

FIXTURE_VARIANT(flags)
{
	const struct aio_device *device;
};

FIXTURE_VARIANT_ADD(flags, nvme) { .device = &nvme };
FIXTURE_VARIANT_ADD(flags, nullb) { .device = &nullb };

FIXTURE_SETUP(flags)
{
	self->fd = open_polled(variant->device, O_RDONLY);
	if (self->fd < 0)
		SKIP(return, "%s", skip_reason);
	self->buf = map_memory(BLOCK);
	ASSERT_TRUE(!!self->buf);
	prep_pread(&self->iocb, self->fd, self->buf, BLOCK, 0);
	set_hipri(&self->iocb);
	ASSERT_EQ(0, sys_io_setup(EVENTS, &self->ctx));
}

FIXTURE_TEARDOWN(flags)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
}

TEST_F(flags, accepted_on_reads)
{
	struct iovec iov = { self->buf, BLOCK };

	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocb));
	prep_preadv(&self->iocb, self->fd, &iov, 1, 0);
	set_hipri(&self->iocb);
	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocb));
}

TEST_F(flags, refused_on_fsync)
{
	struct iocb iocb;

	prep_fsync(&iocb, IOCB_CMD_FSYNC, self->fd);
	set_hipri(&iocb);
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &iocb));
	prep_fsync(&iocb, IOCB_CMD_FDSYNC, self->fd);
	set_hipri(&iocb);
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &iocb));
}

TEST_F(flags, refused_on_poll)
{
	struct iocb iocb;
	int fds[2];

	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
	prep_poll(&iocb, fds[1], POLLOUT);
	set_hipri(&iocb);
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &iocb));
}

TEST_F(flags, refused_on_unknown_opcodes)
{
	self->iocb.aio_lio_opcode = 0xffff;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
}

/* Nobody polls who waits for an eventfd. */
TEST_F(flags, refused_with_resfd)
{
	int efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	__u64 count;

	ASSERT_LE(0, efd);
	set_resfd(&self->iocb, efd);
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
	EXPECT_EQ(-1, read(efd, &count, sizeof(count)));
	EXPECT_EQ(0, getevents_ms(self->ctx, 0, 1, &self->event, 0));
}

TEST_F(flags, unsupported_without_o_direct)
{
	int fd;

	fd = open_device(variant->device, O_RDONLY);
	if (fd < 0)
		SKIP(return, "%s", skip_reason);
	self->iocb.aio_fildes = fd;
	EXPECT_EQ(-EOPNOTSUPP, submit_one(self->ctx, &self->iocb));
}

TEST_F(flags, unsupported_on_a_buffered_file)
{
	self->iocb.aio_fildes = open_tmpfile(0);
	ASSERT_LE(0, (int)self->iocb.aio_fildes);
	EXPECT_EQ(-EOPNOTSUPP, submit_one(self->ctx, &self->iocb));
}

TEST_F(flags, unsupported_on_pipes)
{
	int fds[2];

	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
	self->iocb.aio_fildes = fds[0];
	EXPECT_EQ(-EOPNOTSUPP, submit_one(self->ctx, &self->iocb));

	/* O_DIRECT on a pipe means packets. */
	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC | O_DIRECT));
	self->iocb.aio_fildes = fds[0];
	EXPECT_EQ(-EOPNOTSUPP, submit_one(self->ctx, &self->iocb));
}

TEST_F(flags, unsupported_on_sockets)
{
	int fds[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	self->iocb.aio_fildes = fds[0];
	EXPECT_EQ(-EOPNOTSUPP, submit_one(self->ctx, &self->iocb));
}

/* tmpfs opens with O_DIRECT and has nothing to poll. */
TEST_F(flags, unsupported_on_tmpfs)
{
	int fd = memfd_create("aio-selftest", MFD_CLOEXEC);
	char path[64];

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, BLOCK));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	self->iocb.aio_fildes = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if ((int)self->iocb.aio_fildes < 0)
		SKIP(return, "tmpfs without O_DIRECT: %s", strerror(errno));
	EXPECT_EQ(-EOPNOTSUPP, submit_one(self->ctx, &self->iocb));
}

/* Directories of an overlay, in one that is removed in the end. */
struct overlay {
	char root[PATH_MAX / 4];
	char path[4][PATH_MAX / 2];	/* lower, upper, work, merged */
};

/* 0, or -1 and skip_reason. */
static int overlay_mount(struct overlay *overlay)
{
	static const char *const names[] = { "lower", "upper", "work", "merged" };
	char options[2 * PATH_MAX];

	snprintf(overlay->root, sizeof(overlay->root), "%s/aio-overlay-XXXXXX",
		 tmpdir());
	if (!mkdtemp(overlay->root))
		overlay->root[0] = 0;
	for (int i = 0; i < 4; i++) {
		snprintf(overlay->path[i], sizeof(overlay->path[i]), "%s/%s",
			 overlay->root, names[i]);
		mkdir(overlay->path[i], 0755);
	}
	snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s",
		 overlay->path[0], overlay->path[1], overlay->path[2]);
	if (!mount("overlay", overlay->path[3], "overlay", 0, options))
		return 0;
	snprintf(skip_reason, sizeof(skip_reason), "overlay: %s", strerror(errno));
	return -1;
}

static void overlay_unmount(const struct overlay *overlay)
{
	char path[PATH_MAX];

	umount(overlay->path[3]);
	snprintf(path, sizeof(path), "%s/work", overlay->path[2]);
	rmdir(path);
	for (int i = 0; i < 4; i++)
		rmdir(overlay->path[i]);
	rmdir(overlay->root);
}

/* What is below an overlay may be polled, but not through it. */
TEST_F(flags, unsupported_on_overlays)
{
	struct overlay overlay;
	char path[PATH_MAX];
	int fd;

	if (overlay_mount(&overlay))
		SKIP(overlay_unmount(&overlay); return, "%s", skip_reason);
	snprintf(path, sizeof(path), "%s/file", overlay.path[3]);
	fd = open(path, O_CREAT | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);
	EXPECT_LE(0, fd);
	unlink(path);
	self->iocb.aio_fildes = fd;
	EXPECT_EQ(-EOPNOTSUPP, submit_one(self->ctx, &self->iocb));
	close(fd);
	overlay_unmount(&overlay);
}

/* It may show only when the device gets the request: then as the result. */
TEST_F(flags, unsupported_without_poll_queues)
{
	int fd;

	fd = open_device(&nullb_nopoll, O_RDONLY | O_DIRECT);
	if (fd < 0)
		SKIP(return, "%s", skip_reason);
	self->iocb.aio_fildes = fd;
	ASSERT_FALSE(has_poll_queues(device_path(&nullb_nopoll)));
	EXPECT_EQ(-EOPNOTSUPP, submit_and_wait(self->ctx, &self->iocb));
}

TEST_F(flags, bad_files_are_bad_files)
{
	self->iocb.aio_fildes = -1;
	EXPECT_EQ(-EBADF, submit_one(self->ctx, &self->iocb));
}

TEST_F(flags, unknown_flags_beside_it_are_ignored)
{
	self->iocb.aio_flags |= 0xffffff00;
	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocb));
}

TEST_F(flags, rwf_hipri_is_ignored)
{
	struct iocb polled = self->iocb;
	struct iocb plain = self->iocb;

	/* On plain I/O it does not poll, */
	plain.aio_flags = 0;
	plain.aio_rw_flags = RWF_HIPRI;
	ASSERT_EQ(BLOCK, submit_and_wait(self->ctx, &plain));
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &polled));
	EXPECT_EQ(AIO_RING_MAGIC, ring_of(self->ctx)->magic);

	/* and on polled I/O it does not matter. */
	ASSERT_EQ(0, sys_io_destroy(self->ctx));
	self->ctx = 0;
	ASSERT_EQ(0, sys_io_setup(EVENTS, &self->ctx));
	polled.aio_rw_flags = RWF_HIPRI;
	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &polled));
}

TEST_F(flags, unknown_rw_flags_are_refused)
{
	self->iocb.aio_rw_flags = 1 << 30;
	EXPECT_EQ(-EOPNOTSUPP, submit_one(self->ctx, &self->iocb));
}

TEST_F(flags, ioprio_is_checked)
{
	self->iocb.aio_flags |= IOCB_FLAG_IOPRIO;
	self->iocb.aio_reqprio = IOPRIO_PRIO_VALUE(7, 0);
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
	self->iocb.aio_reqprio = IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 0);
	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocb));
}

/* The ring */

TEST_F(flags, ring_tells_that_the_context_is_polled)
{
	struct aio_ring *ring = ring_of(self->ctx);
	__u32 id = ring->id;

	EXPECT_EQ(AIO_RING_MAGIC, ring_load(&ring->magic));
	EXPECT_EQ(0, ring_load(&ring->incompat_features));
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
	EXPECT_EQ(0, ring_load(&ring->magic));
	EXPECT_EQ(AIO_RING_INCOMPAT_POLLED, ring_load(&ring->incompat_features));
	EXPECT_EQ(AIO_RING_COMPAT_HIPRI,
		  ring_load(&ring->compat_features) & AIO_RING_COMPAT_HIPRI);
	EXPECT_EQ(id, ring_load(&ring->id));
	ASSERT_EQ(1, reap(self->ctx, 1, &self->event, 10 * MSEC_PER_SEC));
}

TEST_F(flags, ring_of_a_plain_context_is_untouched)
{
	struct aio_ring *ring = ring_of(self->ctx);

	self->iocb.aio_flags = 0;
	ASSERT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocb));
	EXPECT_EQ(AIO_RING_MAGIC, ring_load(&ring->magic));
	EXPECT_EQ(0, ring_load(&ring->incompat_features));
}

TEST_F(flags, ring_is_untouched_by_refused_io)
{
	struct aio_ring *ring = ring_of(self->ctx);

	self->iocb.aio_offset = -1;
	EXPECT_EQ(-EINVAL, submit_one(self->ctx, &self->iocb));
	EXPECT_EQ(AIO_RING_MAGIC, ring_load(&ring->magic));
	EXPECT_EQ(0, ring_load(&ring->incompat_features));
}

TEST_F(flags, ring_never_carries_polled_events)
{
	struct aio_ring *ring = ring_of(self->ctx);

	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
		ASSERT_EQ(0, ring_load(&ring->head));
		ASSERT_EQ(0, ring_load(&ring->tail));
		ASSERT_EQ(1, reap(self->ctx, 1, &self->event, 10 * MSEC_PER_SEC));
		ASSERT_EQ(0, ring_load(&ring->head));
		ASSERT_EQ(0, ring_load(&ring->tail));
	}
}

TEST_F(flags, ring_may_be_scribbled_on)
{
	struct aio_ring *ring = ring_of(self->ctx);
	__u32 id = ring->id;

	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
	memset(ring, 0xff, sysconf(_SC_PAGESIZE));
	ring->id = id;
	ASSERT_EQ(1, reap(self->ctx, 1, &self->event, 10 * MSEC_PER_SEC));
	EXPECT_EQ((uintptr_t)&self->iocb, self->event.obj);
	for (int i = 0; i < 100; i++) {
		long long ret = submit_and_wait(self->ctx, &self->iocb);

		ASSERT_EQ(BLOCK, ret);
	}
}

TEST_F(flags, ring_moves_and_takes_its_context_along)
{
	struct aio_ring *ring = ring_of(self->ctx);
	size_t page = sysconf(_SC_PAGESIZE);
	size_t size = sizeof(*ring) + ring->nr * sizeof(struct io_event);
	void *to;

	size = (size + page - 1) / page * page;
	to = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(to != MAP_FAILED);
	ASSERT_EQ(1, submit_one(self->ctx, &self->iocb));
	ASSERT_TRUE(mremap(ring, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	self->ctx = (uintptr_t)to;
	ASSERT_EQ(1, reap(self->ctx, 1, &self->event, 10 * MSEC_PER_SEC));
	EXPECT_EQ(BLOCK, submit_and_wait(self->ctx, &self->iocb));
	EXPECT_EQ(0, sys_io_destroy(self->ctx));
}

TEST_HARNESS_MAIN
