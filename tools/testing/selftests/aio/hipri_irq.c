// SPDX-License-Identifier: GPL-2.0-only
/*
 * Polled means polled: I/O with IOCB_FLAG_HIPRI raises no interrupt on the data
 * queues of an NVMe device, and the same I/O without it does.
 */
#include "aio_syscalls.h"
#include "kselftest_harness.h"

#define DEPTH		16
#define ROUNDS		64

/*
 * The sum over all CPUs of the interrupts on the data queues of @controller, as
 * "nvme0", or -1. Queue 0 is for administration and does not count.
 */
static long data_queue_interrupts(const char *controller)
{
	FILE *file = fopen("/proc/interrupts", "re");
	char *line = NULL, *name, *word, *rest;
	size_t size = 0;
	char prefix[64];
	long sum = -1;

	if (!file)
		return -1;
	snprintf(prefix, sizeof(prefix), "%sq", controller);
	while (getline(&line, &size, file) > 0) {
		name = strstr(line, prefix);
		if (!name || strtol(name + strlen(prefix), NULL, 10) == 0)
			continue;
		if (sum < 0)
			sum = 0;
		/* "24:  count of CPU 0  count of CPU 1 ...  kind  name" */
		word = strchr(line, ':');
		if (!word)
			continue;
		for (word++;; word = rest) {
			long count = strtol(word, &rest, 10);

			if (rest == word || (*rest != ' ' && *rest != '\t'))
				break;
			sum += count;
		}
	}
	free(line);
	fclose(file);
	return sum;
}

FIXTURE(irq)
{
	aio_context_t ctx;
	int fd;
	char *buf;
	char controller[16];	/* its name in /proc/interrupts */
	struct iocb iocbs[DEPTH];
	struct io_event events[DEPTH];
};

FIXTURE_SETUP(irq)
{
	unsigned int number;
	const char *name;

	self->fd = open_device(&nvme, O_RDONLY | O_DIRECT);
	if (self->fd < 0)
		SKIP(return, "%s", skip_reason);
	name = strrchr(device_path(&nvme), '/');
	if (!name || sscanf(name, "/nvme%u", &number) != 1)
		SKIP(return, "%s is no NVMe namespace", device_path(&nvme));
	snprintf(self->controller, sizeof(self->controller), "nvme%u", number);
	if (data_queue_interrupts(self->controller) < 0)
		SKIP(return, "/proc/interrupts does not list the queues of %s",
		     self->controller);
	self->buf = map_memory(DEPTH * BLOCK);
	ASSERT_TRUE(!!self->buf);
	ASSERT_EQ(0, sys_io_setup(DEPTH, &self->ctx));
}

FIXTURE_TEARDOWN(irq)
{
	sys_io_destroy(self->ctx);
	close(self->fd);
}

/* Reads DEPTH * ROUNDS blocks. Returns the interrupts they raised, or -1 on an error. */
static long interrupts_of_reads(FIXTURE_DATA(irq) * self, int flags)
{
	long before = data_queue_interrupts(self->controller);

	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < DEPTH; i++) {
			prep_pread(&self->iocbs[i], self->fd, self->buf + i * BLOCK,
				   BLOCK, (round * DEPTH + i) * BLOCK);
			self->iocbs[i].aio_flags = flags;
		}
		if (submit_array(self->ctx, self->iocbs, DEPTH) != DEPTH ||
		    reap(self->ctx, DEPTH, self->events, 10 * MSEC_PER_SEC) != DEPTH)
			return -1;
		for (int i = 0; i < DEPTH; i++)
			if (self->events[i].res != BLOCK)
				return -1;
	}
	return data_queue_interrupts(self->controller) - before;
}

TEST_F(irq, polled_io_raises_none)
{
	if (!can_poll(&nvme))
		SKIP(return, "%s", skip_reason);
	EXPECT_EQ(0, interrupts_of_reads(self, IOCB_FLAG_HIPRI));
}

TEST_F(irq, plain_io_raises_some)
{
	EXPECT_LE(ROUNDS / 2, interrupts_of_reads(self, 0));
}

TEST_HARNESS_MAIN
