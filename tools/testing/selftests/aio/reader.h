/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A thread in io_getevents().
 */
#ifndef SELFTESTS_AIO_READER_H
#define SELFTESTS_AIO_READER_H

#include "aio_syscalls.h"

/* Room for events in a struct reader; what is beyond it needs an array of its own. */
#define READER_EVENTS		16

struct reader {
	aio_context_t ctx;
	long min_nr;
	long nr;
	long ms;			/* how long it waits; for ever if negative */
	struct io_event *to;		/* where events go; NULL for @events */
	struct io_event events[READER_EVENTS];
	long ret;			/* what the call returned, once it is back */
	bool back;
	pthread_t thread;
};

static inline void *read_events(void *arg)
{
	struct reader *reader = arg;

	reader->ret = getevents_ms(reader->ctx, reader->min_nr, reader->nr,
				   reader->to ? reader->to : reader->events,
				   reader->ms);
	__atomic_store_n(&reader->back, true, __ATOMIC_RELEASE);
	return NULL;
}

/* Starts the thread: 0 or an error number. */
static inline int reader_start(struct reader *reader)
{
	return pthread_create(&reader->thread, NULL, read_events, reader);
}

/* Waits for the thread and returns what its call returned. */
static inline long reader_join(struct reader *reader)
{
	pthread_join(reader->thread, NULL);
	return reader->ret;
}

/* Is the call over within @ms milliseconds? */
static inline bool reader_is_back(const struct reader *reader, long ms)
{
	long long deadline = now_ms() + ms;

	while (!__atomic_load_n(&reader->back, __ATOMIC_ACQUIRE)) {
		if (now_ms() > deadline)
			return false;
		sleep_ms(1);
	}
	return true;
}

/* Gives a thread time to fall asleep: late is no failure, only less of a test. */
static inline void let_it_sleep(void)
{
	sleep_ms(50);
}

#endif /* SELFTESTS_AIO_READER_H */
