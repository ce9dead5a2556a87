// SPDX-License-Identifier: GPL-2.0-only
/*
 * The system calls of asynchronous I/O, in all the shapes that tasks of
 * different word and time sizes use: each brings its arguments into one shape
 * and calls the core.
 */
#include <linux/aio.h>
#include <linux/compat.h>
#include <linux/errno.h>
#include <linux/export.h>
#include <linux/sched/signal.h>
#include <linux/syscalls.h>
#include <linux/time64.h>
#include <linux/uaccess.h>

#include "aio.h"

/* Defined by the core. */
EXPORT_SYMBOL(kiocb_set_cancel_fn);

SYSCALL_DEFINE2(io_setup, unsigned int, nr_events, aio_context_t __user *, ctxp)
{
	return aio_setup_context(nr_events, (unsigned long)ctxp, false);
}

SYSCALL_DEFINE1(io_destroy, aio_context_t, ctx)
{
	return aio_destroy_context(ctx);
}

SYSCALL_DEFINE3(io_submit, aio_context_t, ctx_id, long, nr,
		struct iocb __user * __user *, iocbpp)
{
	return aio_submit(ctx_id, nr, (unsigned long)iocbpp, false);
}

SYSCALL_DEFINE3(io_cancel, aio_context_t, ctx_id, struct iocb __user *, iocb,
		struct io_event __user *, result)
{
	return aio_cancel(ctx_id, (unsigned long)iocb);
}

static long wait_for_events(aio_context_t ctx_id, long min_nr, long nr,
			    struct io_event __user *events,
			    const struct timespec64 *ts)
{
	return aio_getevents(ctx_id, min_nr, nr, (unsigned long)events,
			     ts ? timespec64_to_ktime(*ts) : KTIME_MAX);
}

static long getevents(aio_context_t ctx_id, long min_nr, long nr,
		      struct io_event __user *events,
		      const struct timespec64 *ts)
{
	int ret = wait_for_events(ctx_id, min_nr, nr, events, ts);

	if (!ret && signal_pending(current))
		ret = -EINTR;
	return ret;
}

/* As getevents(), with a signal mask in force that set_user_sigmask() set. */
static long pgetevents(aio_context_t ctx_id, long min_nr, long nr,
		       struct io_event __user *events,
		       const struct timespec64 *ts)
{
	int ret = wait_for_events(ctx_id, min_nr, nr, events, ts);
	bool interrupted = signal_pending(current);

	restore_saved_sigmask_unless(interrupted);
	if (interrupted && !ret)
		ret = -ERESTARTNOHAND;
	return ret;
}

struct __aio_sigset {
	const sigset_t __user	*sigmask;
	size_t			sigsetsize;
};

static int set_sigmask(const struct __aio_sigset __user *usig)
{
	struct __aio_sigset ksig = { };

	if (usig && copy_from_user(&ksig, usig, sizeof(ksig)))
		return -EFAULT;
	return set_user_sigmask(ksig.sigmask, ksig.sigsetsize);
}

#ifdef CONFIG_64BIT
SYSCALL_DEFINE5(io_getevents, aio_context_t, ctx_id, long, min_nr, long, nr,
		struct io_event __user *, events,
		struct __kernel_timespec __user *, timeout)
{
	struct timespec64 ts;

	if (timeout && unlikely(get_timespec64(&ts, timeout)))
		return -EFAULT;
	return getevents(ctx_id, min_nr, nr, events, timeout ? &ts : NULL);
}
#endif

SYSCALL_DEFINE6(io_pgetevents, aio_context_t, ctx_id, long, min_nr, long, nr,
		struct io_event __user *, events,
		struct __kernel_timespec __user *, timeout,
		const struct __aio_sigset __user *, usig)
{
	struct timespec64 ts;
	int ret;

	if (timeout && unlikely(get_timespec64(&ts, timeout)))
		return -EFAULT;
	ret = set_sigmask(usig);
	if (ret)
		return ret;
	return pgetevents(ctx_id, min_nr, nr, events, timeout ? &ts : NULL);
}

#if defined(CONFIG_COMPAT_32BIT_TIME) && !defined(CONFIG_64BIT)
SYSCALL_DEFINE6(io_pgetevents_time32, aio_context_t, ctx_id, long, min_nr,
		long, nr, struct io_event __user *, events,
		struct old_timespec32 __user *, timeout,
		const struct __aio_sigset __user *, usig)
{
	struct timespec64 ts;
	int ret;

	if (timeout && unlikely(get_old_timespec32(&ts, timeout)))
		return -EFAULT;
	ret = set_sigmask(usig);
	if (ret)
		return ret;
	return pgetevents(ctx_id, min_nr, nr, events, timeout ? &ts : NULL);
}
#endif

#ifdef CONFIG_COMPAT_32BIT_TIME
SYSCALL_DEFINE5(io_getevents_time32, __u32, ctx_id, __s32, min_nr, __s32, nr,
		struct io_event __user *, events,
		struct old_timespec32 __user *, timeout)
{
	struct timespec64 ts;

	if (timeout && get_old_timespec32(&ts, timeout))
		return -EFAULT;
	return getevents(ctx_id, min_nr, nr, events, timeout ? &ts : NULL);
}
#endif

#ifdef CONFIG_COMPAT
COMPAT_SYSCALL_DEFINE2(io_setup, unsigned int, nr_events, u32 __user *, ctx32p)
{
	return aio_setup_context(nr_events, (unsigned long)ctx32p, true);
}

COMPAT_SYSCALL_DEFINE3(io_submit, compat_aio_context_t, ctx_id, int, nr,
		       compat_uptr_t __user *, iocbpp)
{
	return aio_submit(ctx_id, nr, (unsigned long)iocbpp, true);
}

struct __compat_aio_sigset {
	compat_uptr_t	sigmask;
	compat_size_t	sigsetsize;
};

static int set_compat_sigmask(const struct __compat_aio_sigset __user *usig)
{
	struct __compat_aio_sigset ksig = { };

	if (usig && copy_from_user(&ksig, usig, sizeof(ksig)))
		return -EFAULT;
	return set_compat_user_sigmask(compat_ptr(ksig.sigmask),
				       ksig.sigsetsize);
}

#ifdef CONFIG_COMPAT_32BIT_TIME
COMPAT_SYSCALL_DEFINE6(io_pgetevents, compat_aio_context_t, ctx_id,
		       compat_long_t, min_nr, compat_long_t, nr,
		       struct io_event __user *, events,
		       struct old_timespec32 __user *, timeout,
		       const struct __compat_aio_sigset __user *, usig)
{
	struct timespec64 ts;
	int ret;

	if (timeout && get_old_timespec32(&ts, timeout))
		return -EFAULT;
	ret = set_compat_sigmask(usig);
	if (ret)
		return ret;
	return pgetevents(ctx_id, min_nr, nr, events, timeout ? &ts : NULL);
}
#endif

COMPAT_SYSCALL_DEFINE6(io_pgetevents_time64, compat_aio_context_t, ctx_id,
		       compat_long_t, min_nr, compat_long_t, nr,
		       struct io_event __user *, events,
		       struct __kernel_timespec __user *, timeout,
		       const struct __compat_aio_sigset __user *, usig)
{
	struct timespec64 ts;
	int ret;

	if (timeout && get_timespec64(&ts, timeout))
		return -EFAULT;
	ret = set_compat_sigmask(usig);
	if (ret)
		return ret;
	return pgetevents(ctx_id, min_nr, nr, events, timeout ? &ts : NULL);
}
#endif /* CONFIG_COMPAT */
