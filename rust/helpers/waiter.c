// SPDX-License-Identifier: GPL-2.0

#include <linux/hrtimer.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/wait.h>

/* The caller has the barrier that this needs. */
__rust_helper bool rust_helper_waitqueue_active(struct wait_queue_head *wq_head)
{
	return waitqueue_active(wq_head); /* see above for the barrier */
}

__rust_helper void
rust_helper_init_waitqueue_func_entry(struct wait_queue_entry *wq_entry,
				      wait_queue_func_t func)
{
	init_waitqueue_func_entry(wq_entry, func);
}

__rust_helper bool rust_helper_list_empty(const struct list_head *head)
{
	return list_empty(head);
}

__rust_helper void rust_helper_list_del_init(struct list_head *entry)
{
	list_del_init(entry);
}

__rust_helper void rust_helper_list_del_init_careful(struct list_head *entry)
{
	list_del_init_careful(entry);
}

__rust_helper void
rust_helper_hrtimer_set_expires_range_ns(struct hrtimer *timer, ktime_t time,
					 u64 delta)
{
	hrtimer_set_expires_range_ns(timer, time, delta);
}

#ifndef CONFIG_DEBUG_OBJECTS_TIMERS
__rust_helper void
rust_helper_destroy_hrtimer_on_stack(struct hrtimer *timer)
{
	destroy_hrtimer_on_stack(timer);
}
#endif

__rust_helper void rust_helper_sched_annotate_sleep(void)
{
	sched_annotate_sleep();
}

__rust_helper __poll_t rust_helper_vfs_poll(struct file *file,
					    struct poll_table_struct *pt)
{
	return vfs_poll(file, pt);
}

__rust_helper u16 rust_helper_mangle_poll(__poll_t val)
{
	return mangle_poll(val);
}

__rust_helper __poll_t rust_helper_demangle_poll(u16 val)
{
	return demangle_poll(val);
}
