/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every AIO test needs: the raw system calls, iocbs, the ring's header, and
 * the files and devices to do I/O on.
 *
 * Functions named sys_*() return the result of the system call, or -errno.
 */
#ifndef SELFTESTS_AIO_SYSCALLS_H
#define SELFTESTS_AIO_SYSCALLS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/aio_abi.h>
#include <linux/fs.h>

#include "kselftest_harness.h"

/* Newer than the uapi headers this may be compiled against. */
#ifndef IOCB_FLAG_HIPRI
#define IOCB_FLAG_HIPRI			0x4
#endif
#ifndef IOCB_FLAG_IOPRIO
#define IOCB_FLAG_IOPRIO		0x2
#endif
#ifndef AIO_RING_COMPAT_HIPRI
#define AIO_RING_COMPAT_HIPRI		0x2
#endif
#ifndef AIO_RING_INCOMPAT_POLLED
#define AIO_RING_INCOMPAT_POLLED	0x1
#endif

#define AIO_RING_MAGIC			0xa10a10a1

#define AIO_NR_PATH			"/proc/sys/fs/aio-nr"
#define AIO_MAX_NR_PATH			"/proc/sys/fs/aio-max-nr"
#define AIO_POLL_PATH			"/proc/sys/fs/aio-poll"

#define BLOCK				4096
#define NSEC_PER_MSEC			1000000L
#define MSEC_PER_SEC			1000L

/*
 * How many times longer than elsewhere everything may take here: more than once where
 * the kernel watches itself, as KASAN has it do.
 */
static inline int time_scale(void)
{
	const char *scale = getenv("TIME_SCALE");

	return scale && atoi(scale) > 1 ? atoi(scale) : 1;
}

/* Constructors without a priority come last: all tests are registered. */
static void __attribute__((constructor)) stretch_timeouts(void)
{
	struct __fixture_metadata *fixture;
	struct __test_metadata *test;

	for (fixture = __fixture_list; fixture; fixture = fixture->next)
		for (test = fixture->tests; test; test = test->next)
			test->timeout *= time_scale();
}

/* What a call that must not wait may take on a slow, busy machine. */
#define PROMPT_MS			(4000 * time_scale())

/* The head of the mapping whose address io_setup() returns. */
struct aio_ring {
	__u32 id;
	__u32 nr;
	__u32 head;
	__u32 tail;
	__u32 magic;
	__u32 compat_features;
	__u32 incompat_features;
	__u32 header_length;
	struct io_event events[];
};

/* System calls */

static inline long errno_result(long ret)
{
	return ret < 0 ? -errno : ret;
}

static inline long sys_io_setup(unsigned int nr_events, aio_context_t *ctx)
{
	return errno_result(syscall(__NR_io_setup, nr_events, ctx));
}

static inline long sys_io_destroy(aio_context_t ctx)
{
	return errno_result(syscall(__NR_io_destroy, ctx));
}

static inline long sys_io_submit(aio_context_t ctx, long nr, struct iocb **iocbs)
{
	return errno_result(syscall(__NR_io_submit, ctx, nr, iocbs));
}

static inline long sys_io_cancel(aio_context_t ctx, struct iocb *iocb,
				 struct io_event *result)
{
	return errno_result(syscall(__NR_io_cancel, ctx, iocb, result));
}

/* The timeout of the native calls: both fields are of the ABI's word size. */
struct word_timespec {
	long tv_sec;
	long tv_nsec;
};

/* The timeout of the calls that know 64 bit time everywhere. */
struct time64_timespec {
	long long tv_sec;
	long long tv_nsec;
};

struct aio_sigset {
	const void *mask;
	size_t size;
};

/* A signal set as the kernel lays it out; glibc's is larger. */
#define KERNEL_SIGSET_SIZE		8

static inline long sys_io_getevents(aio_context_t ctx, long min_nr, long nr,
				    struct io_event *events,
				    const struct word_timespec *timeout)
{
	return errno_result(syscall(__NR_io_getevents, ctx, min_nr, nr, events,
				    timeout));
}

static inline long sys_io_pgetevents(aio_context_t ctx, long min_nr, long nr,
				     struct io_event *events,
				     const struct word_timespec *timeout,
				     const struct aio_sigset *sigset)
{
	return errno_result(syscall(__NR_io_pgetevents, ctx, min_nr, nr, events,
				    timeout, sigset));
}

#ifdef __NR_io_pgetevents_time64
static inline long sys_io_pgetevents_time64(aio_context_t ctx, long min_nr,
					    long nr, struct io_event *events,
					    const struct time64_timespec *timeout,
					    const struct aio_sigset *sigset)
{
	return errno_result(syscall(__NR_io_pgetevents_time64, ctx, min_nr, nr,
				    events, timeout, sigset));
}
#endif

/* Waits at most @ms milliseconds; forever when @ms is negative. */
static inline long getevents_ms(aio_context_t ctx, long min_nr, long nr,
				struct io_event *events, long ms)
{
	struct word_timespec ts = {
		.tv_sec = ms / MSEC_PER_SEC,
		.tv_nsec = ms % MSEC_PER_SEC * NSEC_PER_MSEC,
	};

	return sys_io_getevents(ctx, min_nr, nr, events, ms < 0 ? NULL : &ts);
}

/* iocbs */

static inline void prep_rw(struct iocb *iocb, int opcode, int fd,
			   const void *buf, __u64 nbytes, __s64 offset)
{
	memset(iocb, 0, sizeof(*iocb));
	iocb->aio_lio_opcode = opcode;
	iocb->aio_fildes = fd;
	iocb->aio_buf = (uintptr_t)buf;
	iocb->aio_nbytes = nbytes;
	iocb->aio_offset = offset;
}

static inline void prep_pread(struct iocb *iocb, int fd, void *buf,
			      size_t nbytes, __s64 offset)
{
	prep_rw(iocb, IOCB_CMD_PREAD, fd, buf, nbytes, offset);
}

static inline void prep_pwrite(struct iocb *iocb, int fd, const void *buf,
			       size_t nbytes, __s64 offset)
{
	prep_rw(iocb, IOCB_CMD_PWRITE, fd, buf, nbytes, offset);
}

static inline void prep_preadv(struct iocb *iocb, int fd,
			       const struct iovec *iov, int nr, __s64 offset)
{
	prep_rw(iocb, IOCB_CMD_PREADV, fd, iov, nr, offset);
}

static inline void prep_pwritev(struct iocb *iocb, int fd,
				const struct iovec *iov, int nr, __s64 offset)
{
	prep_rw(iocb, IOCB_CMD_PWRITEV, fd, iov, nr, offset);
}

static inline void prep_fsync(struct iocb *iocb, int opcode, int fd)
{
	prep_rw(iocb, opcode, fd, NULL, 0, 0);
}

static inline void prep_poll(struct iocb *iocb, int fd, unsigned int events)
{
	prep_rw(iocb, IOCB_CMD_POLL, fd, (void *)(uintptr_t)events, 0, 0);
}

static inline void set_resfd(struct iocb *iocb, int fd)
{
	iocb->aio_flags |= IOCB_FLAG_RESFD;
	iocb->aio_resfd = fd;
}

static inline void set_hipri(struct iocb *iocb)
{
	iocb->aio_flags |= IOCB_FLAG_HIPRI;
}

/* @nr polled reads of consecutive blocks of @fd into those of @buf. */
static inline void prep_polled_reads(struct iocb *iocbs, int nr, int fd, char *buf)
{
	for (int i = 0; i < nr; i++) {
		prep_pread(&iocbs[i], fd, buf + i * BLOCK, BLOCK, i * BLOCK);
		set_hipri(&iocbs[i]);
	}
}

static inline long submit_one(aio_context_t ctx, struct iocb *iocb)
{
	return sys_io_submit(ctx, 1, &iocb);
}

/*
 * Submits the @nr iocbs at @iocbs in as few calls as the kernel accepts. Returns
 * how many went in before the first error, or that error when none did.
 */
static inline long submit_array(aio_context_t ctx, struct iocb *iocbs, long nr)
{
	struct iocb **list = calloc(nr, sizeof(*list));
	long done = 0, ret = 0;

	if (!list)
		return -ENOMEM;
	for (long i = 0; i < nr; i++)
		list[i] = &iocbs[i];
	while (done < nr) {
		ret = sys_io_submit(ctx, nr - done, list + done);
		if (ret <= 0)
			break;
		done += ret;
	}
	free(list);
	return done ? done : ret;
}

/*
 * Reaps until @nr events are at @events or nothing came for @ms milliseconds.
 * Returns how many came, or the error of io_getevents() when none did.
 */
static inline long reap(aio_context_t ctx, long nr, struct io_event *events,
			long ms)
{
	long done = 0, ret = 0;

	while (done < nr) {
		ret = getevents_ms(ctx, 1, nr - done, events + done, ms);
		if (ret <= 0)
			break;
		done += ret;
	}
	return done ? done : ret;
}

/* Submits @iocb and returns the result of its event, or why there is none. */
static inline long long submit_and_wait(aio_context_t ctx, struct iocb *iocb)
{
	struct io_event event;
	long ret = submit_one(ctx, iocb);

	if (ret != 1)
		return ret;
	ret = reap(ctx, 1, &event, 10 * MSEC_PER_SEC);
	if (ret != 1)
		return ret ? ret : -ETIME;
	return event.obj == (uintptr_t)iocb ? event.res : -EBADMSG;
}

/* The ring */

static inline struct aio_ring *ring_of(aio_context_t ctx)
{
	return (struct aio_ring *)(uintptr_t)ctx;
}

/* The kernel writes the ring while we look. */
static inline __u32 ring_load(const __u32 *field)
{
	return __atomic_load_n(field, __ATOMIC_ACQUIRE);
}

/* Time and signals */

static inline long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (long long)ts.tv_sec * MSEC_PER_SEC + ts.tv_nsec / NSEC_PER_MSEC;
}

static inline void sleep_ms(long ms)
{
	struct timespec ts = {
		.tv_sec = ms / MSEC_PER_SEC,
		.tv_nsec = ms % MSEC_PER_SEC * NSEC_PER_MSEC,
	};

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

static int caught_signals __maybe_unused;

/* How many signals came since catch_signal(). */
static inline int signals_caught(void)
{
	return __atomic_load_n(&caught_signals, __ATOMIC_RELAXED);
}

static inline void count_signal(int sig)
{
	(void)sig;
	__atomic_add_fetch(&caught_signals, 1, __ATOMIC_RELAXED);
}

/* Counts @sig instead of dying of it; system calls are interrupted. */
static inline int catch_signal(int sig)
{
	struct sigaction action = { .sa_handler = count_signal };

	__atomic_store_n(&caught_signals, 0, __ATOMIC_RELAXED);
	return sigaction(sig, &action, NULL);
}

/* Sends SIGALRM to this process every @ms milliseconds, at first in @ms. */
static inline int alarm_every_ms(long ms)
{
	struct timeval tv = {
		.tv_sec = ms / MSEC_PER_SEC,
		.tv_usec = ms % MSEC_PER_SEC * 1000,
	};
	struct itimerval timer = { .it_interval = tv, .it_value = tv };

	return setitimer(ITIMER_REAL, &timer, NULL);
}

/* Free slots are counted by CPU: exact limits show only on a single one. */
static inline int pin_to_one_cpu(void)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	return sched_setaffinity(0, sizeof(cpus), &cpus);
}

/* No ordinary task runs on this CPU from here on unless we sleep: 0, or -1 and errno. */
static inline int run_before_others(void)
{
	static const struct sched_param lowest = { .sched_priority = 1 };

	return sched_setscheduler(0, SCHED_FIFO, &lowest);
}

/* Numbers in files of proc and sysfs */

/* Returns the number at the head of @path, or -errno. */
static inline long read_number(const char *path)
{
	FILE *file = fopen(path, "re");
	long value;
	int fields;

	if (!file)
		return -errno;
	fields = fscanf(file, "%ld", &value);
	fclose(file);
	return fields == 1 ? value : -EINVAL;
}

/* Writes @text to @path at once: 0 or -errno. */
static inline int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t len = strlen(text);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, len) != len)
		ret = -errno;
	close(fd);
	return ret;
}

static inline int write_number(const char *path, long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", value);
	return write_text(path, text);
}

/* A context is freed after its last reference: give the kernel time for it. */
static inline bool aio_nr_becomes(long expected)
{
	long long deadline = now_ms() + PROMPT_MS;

	while (read_number(AIO_NR_PATH) != expected) {
		if (now_ms() > deadline)
			return false;
		sleep_ms(10);
	}
	return true;
}

/* Memory */

/* Zeroed, page-aligned memory of @size bytes, or NULL. */
static inline void *map_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* A page of memory that no system call can write to, after one it can. */
static inline void *map_before_guard(void)
{
	long page = sysconf(_SC_PAGESIZE);
	char *memory = map_memory(2 * page);

	if (!memory || mprotect(memory + page, page, PROT_NONE))
		return NULL;
	return memory;
}

/* Data that tells where it belongs: each 64 bit word is a hash of its place. */
static inline __u64 pattern_word(__u64 seed, __u64 position)
{
	__u64 word = (position + 1) * 0x9e3779b97f4a7c15ULL + seed;

	word ^= word >> 29;
	return word * 0xbf58476d1ce4e5b9ULL;
}

static inline void fill_pattern(void *buf, size_t len, __u64 seed,
				__u64 offset)
{
	__u64 *words = buf;

	for (size_t i = 0; i < len / sizeof(*words); i++)
		words[i] = pattern_word(seed, offset + i * sizeof(*words));
}

static inline bool has_pattern(const void *buf, size_t len, __u64 seed,
			       __u64 offset)
{
	const __u64 *words = buf;

	for (size_t i = 0; i < len / sizeof(*words); i++)
		if (words[i] != pattern_word(seed, offset + i * sizeof(*words)))
			return false;
	return true;
}

/* Files and devices */

/* A directory for files, on a file system with O_DIRECT. */
static inline const char *tmpdir(void)
{
	const char *dir = getenv("AIO_TMPDIR");

	return dir ? dir : "/tmp";
}

/* An unnamed, empty file in tmpdir(), or -1 and errno. */
static inline int open_tmpfile(int flags)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/aio-selftest-XXXXXX", tmpdir());
	fd = mkostemp(path, O_CLOEXEC | flags);
	if (fd >= 0)
		unlink(path);
	return fd;
}

/* A block device named by an environment variable. */
struct aio_device {
	const char *variable;
	const char *fallback;	/* the path when the variable is not set, or NULL */
};

/* An NVMe namespace with poll queues; tests only read it. */
static const struct aio_device nvme __maybe_unused = {
	.variable = "AIO_NVME",
	.fallback = "/dev/nvme0n1",
};

/* The same to write to: only who names a device has said that its data may go. */
static const struct aio_device nvme_scratch __maybe_unused = {
	.variable = "AIO_NVME",
};

/* A null_blk device with poll queues. */
static const struct aio_device nullb __maybe_unused = {
	.variable = "AIO_NULLB",
	.fallback = "/dev/nullb0",
};

/* A null_blk device without poll queues. */
static const struct aio_device nullb_nopoll __maybe_unused = {
	.variable = "AIO_NULLB_NOPOLL",
};

static inline const char *device_path(const struct aio_device *device)
{
	const char *path = getenv(device->variable);

	return path ? path : device->fallback;
}

/* Does the block device @path have poll queues? */
static inline bool has_poll_queues(const char *path)
{
	const char *name = strrchr(path, '/');
	char attribute[PATH_MAX];

	snprintf(attribute, sizeof(attribute), "/sys/class/block/%s/queue/io_poll",
		 name ? name + 1 : path);
	return read_number(attribute) == 1;
}

/* Why what a test needs is not there: for SKIP(). */
static char skip_reason[256] __maybe_unused;

/* Opens @device: a file descriptor, or -1 and skip_reason. */
static inline int open_device(const struct aio_device *device, int flags)
{
	const char *path = device_path(device);
	int fd;

	if (!path) {
		snprintf(skip_reason, sizeof(skip_reason), "%s is not set",
			 device->variable);
		return -1;
	}
	fd = open(path, O_CLOEXEC | flags);
	if (fd < 0)
		snprintf(skip_reason, sizeof(skip_reason), "%s (%s): %s", path,
			 device->variable, strerror(errno));
	return fd;
}

/* Does the kernel say that it knows IOCB_FLAG_HIPRI? If not, skip_reason does. */
static inline bool kernel_polls(void)
{
	aio_context_t ctx = 0;
	bool polls = false;

	if (!sys_io_setup(1, &ctx)) {
		polls = ring_of(ctx)->compat_features & AIO_RING_COMPAT_HIPRI;
		sys_io_destroy(ctx);
	}
	if (!polls)
		snprintf(skip_reason, sizeof(skip_reason),
			 "the kernel does not advertise IOCB_FLAG_HIPRI");
	return polls;
}

/* Can I/O on @device be polled? If not, skip_reason says why. */
static inline bool can_poll(const struct aio_device *device)
{
	const char *path = device_path(device);

	if (!kernel_polls())
		return false;
	/* That it is not there at all is for open_device() to say. */
	if (!path || access(path, F_OK) || has_poll_queues(path))
		return true;
	snprintf(skip_reason, sizeof(skip_reason), "%s (%s) has no poll queues",
		 path, device->variable);
	return false;
}

/* Opens @device for polled I/O: a file descriptor, or -1 and skip_reason. */
static inline int open_polled(const struct aio_device *device, int flags)
{
	return can_poll(device) ? open_device(device, O_DIRECT | flags) : -1;
}

/* The requests the device @path has not completed, or -errno. */
static inline long requests_in_flight(const char *path)
{
	const char *name = strrchr(path, '/');
	char attribute[PATH_MAX];
	long reads, writes;
	FILE *file;
	int fields;

	snprintf(attribute, sizeof(attribute), "/sys/class/block/%s/inflight",
		 name ? name + 1 : path);
	file = fopen(attribute, "re");
	if (!file)
		return -errno;
	fields = fscanf(file, "%ld %ld", &reads, &writes);
	fclose(file);
	return fields == 2 ? reads + writes : -EINVAL;
}

static inline __u64 device_size(int fd)
{
	__u64 size = 0;

	if (ioctl(fd, BLKGETSIZE64, &size))
		return 0;
	return size;
}

/* Does the device behind @fd return what was written? null_blk may not. */
static inline bool keeps_data(int fd)
{
	char *buf = map_memory(BLOCK);
	__u64 seed = now_ms();
	bool keeps = false;

	if (!buf)
		return false;
	fill_pattern(buf, BLOCK, seed, 0);
	if (pwrite(fd, buf, BLOCK, 0) == BLOCK) {
		memset(buf, 0, BLOCK);
		keeps = pread(fd, buf, BLOCK, 0) == BLOCK &&
			has_pattern(buf, BLOCK, seed, 0);
	}
	munmap(buf, BLOCK);
	return keeps;
}

/* null_blk devices made to measure, by configfs */

#define CONFIGFS			"/sys/kernel/config"

struct nullb_setting {
	const char *name;
	long value;
};

static inline int nullb_set(const char *disk, const char *name, long value)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), CONFIGFS "/nullb/%s/%s", disk, name);
	return write_number(path, value);
}

static inline void nullb_remove(const char *disk)
{
	char path[PATH_MAX];

	nullb_set(disk, "power", 0);
	snprintf(path, sizeof(path), CONFIGFS "/nullb/%s", disk);
	rmdir(path);
}

static inline int nullb_configure(const char *disk,
				  const struct nullb_setting *settings)
{
	char path[PATH_MAX];
	int ret;

	snprintf(path, sizeof(path), CONFIGFS "/nullb/%s", disk);
	if (mkdir(path, 0755))
		return -errno;
	ret = nullb_set(disk, "poll_queues", 1);
	for (; !ret && settings->name; settings++)
		ret = nullb_set(disk, settings->name, settings->value);
	return ret ? ret : nullb_set(disk, "power", 1);
}

/*
 * Makes the null_blk device @disk with one poll queue and the settings at
 * @settings, which end with a NULL name, and opens it for direct I/O. Returns a
 * file descriptor, or -1 and skip_reason.
 */
static inline int nullb_make(const char *disk,
			     const struct nullb_setting *settings)
{
	char path[PATH_MAX];
	int ret;

	if (access(CONFIGFS "/nullb", F_OK))
		mount("configfs", CONFIGFS, "configfs", 0, NULL);
	nullb_remove(disk);
	ret = nullb_configure(disk, settings);
	if (ret) {
		snprintf(skip_reason, sizeof(skip_reason), CONFIGFS "/nullb/%s: %s",
			 disk, strerror(-ret));
		return -1;
	}
	snprintf(path, sizeof(path), "/dev/%s", disk);
	ret = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (ret < 0)
		snprintf(skip_reason, sizeof(skip_reason), "/dev/%s: %s", disk,
			 strerror(errno));
	return ret;
}

/* The same for polled I/O, which the kernel may not know. */
static inline int nullb_create(const char *disk,
			       const struct nullb_setting *settings)
{
	return kernel_polls() ? nullb_make(disk, settings) : -1;
}

#endif /* SELFTESTS_AIO_SYSCALLS_H */
