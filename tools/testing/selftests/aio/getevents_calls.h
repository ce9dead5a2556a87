/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * io_getevents() and its kin, for tests that run with each of them.
 */
#ifndef SELFTESTS_AIO_GETEVENTS_CALLS_H
#define SELFTESTS_AIO_GETEVENTS_CALLS_H

#include "aio_syscalls.h"

enum getevents_call {
	GETEVENTS,
	PGETEVENTS,
	PGETEVENTS_TIME64,
};

/* A timeout that each of the calls can take. */
struct timeout {
	long sec;
	long nsec;
};

static const struct timeout zero __maybe_unused;
static const struct timeout tenth __maybe_unused = {
	.nsec = 100 * NSEC_PER_MSEC,
};

static const struct timeout second __maybe_unused = { .sec = 1 };
static const struct timeout minute __maybe_unused = { .sec = 60 };

/* Waits for @timeout, or for ever if there is none. */
static inline long get(enum getevents_call call, aio_context_t ctx, long min_nr,
		       long nr, struct io_event *events,
		       const struct timeout *timeout)
{
	struct word_timespec word = { 0 };

	if (timeout) {
		word.tv_sec = timeout->sec;
		word.tv_nsec = timeout->nsec;
	}
#ifdef __NR_io_pgetevents_time64
	if (call == PGETEVENTS_TIME64) {
		struct time64_timespec wide = { word.tv_sec, word.tv_nsec };

		return sys_io_pgetevents_time64(ctx, min_nr, nr, events,
						timeout ? &wide : NULL, NULL);
	}
#endif
	if (call == PGETEVENTS)
		return sys_io_pgetevents(ctx, min_nr, nr, events,
					 timeout ? &word : NULL, NULL);
	return sys_io_getevents(ctx, min_nr, nr, events, timeout ? &word : NULL);
}

/* Has @victim stopped and continued a little later: the pid of who does it, or -1. */
static inline pid_t stop_and_continue(pid_t victim)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	sleep_ms(200);
	kill(victim, SIGSTOP);
	sleep_ms(100);
	kill(victim, SIGCONT);
	_exit(0);
}

#endif /* SELFTESTS_AIO_GETEVENTS_CALLS_H */
