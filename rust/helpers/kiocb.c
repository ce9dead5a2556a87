// SPDX-License-Identifier: GPL-2.0

#include <linux/blkdev.h>
#include <linux/fs.h>
#include <linux/uio.h>

__rust_helper int rust_helper_kiocb_set_rw_flags(struct kiocb *kiocb,
						 rwf_t flags, int rw_type)
{
	return kiocb_set_rw_flags(kiocb, flags, rw_type);
}

__rust_helper void rust_helper_kiocb_start_write(struct kiocb *kiocb)
{
	kiocb_start_write(kiocb);
}

__rust_helper void rust_helper_kiocb_end_write(struct kiocb *kiocb)
{
	kiocb_end_write(kiocb);
}

__rust_helper bool rust_helper_kiocb_is_regular(const struct kiocb *kiocb)
{
	return S_ISREG(file_inode(kiocb->ki_filp)->i_mode);
}

/* True unless the file is a block device whose queue has no poll queues. */
__rust_helper bool rust_helper_file_queue_can_poll(struct file *file)
{
	struct inode *inode = file->f_mapping->host;

	if (!IS_ENABLED(CONFIG_BLOCK) || !S_ISBLK(inode->i_mode))
		return true;
	return bdev_get_queue(I_BDEV(inode))->limits.features & BLK_FEAT_POLL;
}

__rust_helper bool rust_helper_bio_is_polled(const struct bio *bio)
{
	return READ_ONCE(bio->bi_opf) & REQ_POLLED;
}

__rust_helper bool rust_helper_io_comp_batch_pending(struct io_comp_batch *iob)
{
	return !rq_list_empty(&iob->req_list);
}

__rust_helper size_t rust_helper_iov_iter_count(const struct iov_iter *i)
{
	return iov_iter_count(i);
}

__rust_helper size_t rust_helper_iov_iter_nr_segs(const struct iov_iter *i)
{
	return i->nr_segs;
}

__rust_helper void *rust_helper_folio_address(const struct folio *folio)
{
	return folio_address(folio);
}
