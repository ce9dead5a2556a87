/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM aio

#if !defined(_TRACE_AIO_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_AIO_H

#include <linux/aio_abi.h>
#include <linux/tracepoint.h>

/* For tools that read trace data outside of the kernel */
TRACE_DEFINE_ENUM(IOCB_CMD_PREAD);
TRACE_DEFINE_ENUM(IOCB_CMD_PWRITE);
TRACE_DEFINE_ENUM(IOCB_CMD_FSYNC);
TRACE_DEFINE_ENUM(IOCB_CMD_FDSYNC);
TRACE_DEFINE_ENUM(IOCB_CMD_POLL);
TRACE_DEFINE_ENUM(IOCB_CMD_NOOP);
TRACE_DEFINE_ENUM(IOCB_CMD_PREADV);
TRACE_DEFINE_ENUM(IOCB_CMD_PWRITEV);

#define show_aio_opcode(opcode)					\
	__print_symbolic(opcode,				\
		{ IOCB_CMD_PREAD,	"PREAD" },		\
		{ IOCB_CMD_PWRITE,	"PWRITE" },		\
		{ IOCB_CMD_FSYNC,	"FSYNC" },		\
		{ IOCB_CMD_FDSYNC,	"FDSYNC" },		\
		{ IOCB_CMD_POLL,	"POLL" },		\
		{ IOCB_CMD_NOOP,	"NOOP" },		\
		{ IOCB_CMD_PREADV,	"PREADV" },		\
		{ IOCB_CMD_PWRITEV,	"PWRITEV" })

#define show_aio_flags(flags)					\
	__print_flags(flags, "|",				\
		{ IOCB_FLAG_RESFD,	"RESFD" },		\
		{ IOCB_FLAG_IOPRIO,	"IOPRIO" },		\
		{ IOCB_FLAG_HIPRI,	"HIPRI" })

/**
 * aio_submit - an iocb has got its slot and is about to be started
 *
 * @ctx:	what user space calls the context
 * @obj:	address of the iocb
 * @data:	aio_data
 * @opcode:	IOCB_CMD_*
 * @flags:	IOCB_FLAG_*
 * @fd:		file descriptor
 * @offset:	position in the file
 * @nbytes:	length, of the buffer or of the array of vectors
 *
 * There may be no aio_complete to it: it can still be refused.
 */
TRACE_EVENT(aio_submit,

	TP_PROTO(unsigned long ctx, u64 obj, u64 data, u16 opcode, u32 flags,
		 u32 fd, s64 offset, u64 nbytes),

	TP_ARGS(ctx, obj, data, opcode, flags, fd, offset, nbytes),

	TP_STRUCT__entry(
		__field(unsigned long,	ctx)
		__field(u64,		obj)
		__field(u64,		data)
		__field(s64,		offset)
		__field(u64,		nbytes)
		__field(u32,		flags)
		__field(u32,		fd)
		__field(u16,		opcode)
	),

	TP_fast_assign(
		__entry->ctx	= ctx;
		__entry->obj	= obj;
		__entry->data	= data;
		__entry->offset	= offset;
		__entry->nbytes	= nbytes;
		__entry->flags	= flags;
		__entry->fd	= fd;
		__entry->opcode	= opcode;
	),

	TP_printk("ctx 0x%lx, obj 0x%llx, data 0x%llx, %s fd %d, offset %lld, nbytes %llu, flags %s",
		  __entry->ctx, __entry->obj, __entry->data,
		  show_aio_opcode(__entry->opcode), __entry->fd,
		  __entry->offset, __entry->nbytes,
		  show_aio_flags(__entry->flags))
);

/**
 * aio_queue - a request of a polled context is in flight
 *
 * @ctx:	what user space calls the context
 * @obj:	address of the iocb
 * @polled:	false if it could not be issued for polling, and completes by
 *		interrupt
 */
TRACE_EVENT(aio_queue,

	TP_PROTO(unsigned long ctx, u64 obj, bool polled),

	TP_ARGS(ctx, obj, polled),

	TP_STRUCT__entry(
		__field(unsigned long,	ctx)
		__field(u64,		obj)
		__field(bool,		polled)
	),

	TP_fast_assign(
		__entry->ctx	= ctx;
		__entry->obj	= obj;
		__entry->polled	= polled;
	),

	TP_printk("ctx 0x%lx, obj 0x%llx, polled %d",
		  __entry->ctx, __entry->obj, __entry->polled)
);

/**
 * aio_poll - a reader of a polled context has polled
 *
 * @ctx:	what user space calls the context
 * @passes:	how often it asked a device
 * @ready:	completed requests, found or there before
 */
TRACE_EVENT(aio_poll,

	TP_PROTO(unsigned long ctx, u64 passes, u64 ready),

	TP_ARGS(ctx, passes, ready),

	TP_STRUCT__entry(
		__field(unsigned long,	ctx)
		__field(u64,		passes)
		__field(u64,		ready)
	),

	TP_fast_assign(
		__entry->ctx	= ctx;
		__entry->passes	= passes;
		__entry->ready	= ready;
	),

	TP_printk("ctx 0x%lx, passes %llu, ready %llu",
		  __entry->ctx, __entry->passes, __entry->ready)
);

/**
 * aio_complete - a request has completed
 *
 * @ctx:	what user space calls the context
 * @obj:	address of the iocb
 * @data:	aio_data
 * @res:	bytes, or a negative error number
 */
TRACE_EVENT(aio_complete,

	TP_PROTO(unsigned long ctx, u64 obj, u64 data, s64 res),

	TP_ARGS(ctx, obj, data, res),

	TP_STRUCT__entry(
		__field(unsigned long,	ctx)
		__field(u64,		obj)
		__field(u64,		data)
		__field(s64,		res)
	),

	TP_fast_assign(
		__entry->ctx	= ctx;
		__entry->obj	= obj;
		__entry->data	= data;
		__entry->res	= res;
	),

	TP_printk("ctx 0x%lx, obj 0x%llx, data 0x%llx, res %lld",
		  __entry->ctx, __entry->obj, __entry->data, __entry->res)
);

/**
 * aio_reap - io_getevents(2) has read events
 *
 * @ctx:	what user space calls the context
 * @min_nr:	how many it waited for
 * @nr:		how many there was room for
 * @ret:	how many there were, or a negative error number
 */
TRACE_EVENT(aio_reap,

	TP_PROTO(unsigned long ctx, u64 min_nr, u64 nr, s64 ret),

	TP_ARGS(ctx, min_nr, nr, ret),

	TP_STRUCT__entry(
		__field(unsigned long,	ctx)
		__field(u64,		min_nr)
		__field(u64,		nr)
		__field(s64,		ret)
	),

	TP_fast_assign(
		__entry->ctx	= ctx;
		__entry->min_nr	= min_nr;
		__entry->nr	= nr;
		__entry->ret	= ret;
	),

	TP_printk("ctx 0x%lx, min_nr %llu, nr %llu, ret %lld",
		  __entry->ctx, __entry->min_nr, __entry->nr, __entry->ret)
);

#endif /* _TRACE_AIO_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
