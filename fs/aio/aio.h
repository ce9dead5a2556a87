/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the C shims and the Rust core of fs/aio call of each other.
 *
 * Everything the core exports is declared here, so that its signatures are
 * checked against these by #[export].
 */
#ifndef _FS_AIO_H
#define _FS_AIO_H

#include <linux/ktime.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/types.h>

struct file;
struct folio;

/**
 * struct aio_ring_file - the memory of a completion ring
 * @file: unlinked file whose page cache the ring is; what user space maps
 * @lock: held while the head is read and advanced, and over page migration
 * @tail_lock: held while events and the tail are written; taken with
 *	interrupts off, inside @lock
 * @nr_folios: number of elements of @folios
 * @folios: single-page folios of the ring, each holding a reference; replaced
 *	by page migration under both locks
 */
struct aio_ring_file {
	struct file *file;
	struct mutex lock;	/* the head, and all against migration */
	spinlock_t tail_lock;	/* events and the tail */
	unsigned int nr_folios;
	struct folio *folios[] __counted_by(nr_folios);
};

/* ring_file.c */
struct aio_ring_file *aio_ring_file_alloc(unsigned int nr_folios);
unsigned long aio_ring_file_map(struct aio_ring_file *ring);
void aio_ring_file_free(struct aio_ring_file *ring);

/* The core, quota.rs; shown and set by sysctl.c */
extern unsigned long aio_nr;
extern unsigned long aio_max_nr;
extern int aio_poll_allowed;

/* The core, aio.rs; user pointers are passed as addresses */
int aio_core_init(void);
long aio_setup_context(unsigned int nr_events, unsigned long ctxp, bool compat);
long aio_destroy_context(unsigned long ctx_id);
long aio_submit(unsigned long ctx_id, long nr, unsigned long iocbpp,
		bool compat);
long aio_cancel(unsigned long ctx_id, unsigned long iocb);
long aio_getevents(unsigned long ctx_id, long min_nr, long nr,
		   unsigned long events, ktime_t timeout);
int aio_ring_moved(struct mm_struct *mm, const struct file *file,
		   unsigned long start, unsigned long len);

#endif /* _FS_AIO_H */
