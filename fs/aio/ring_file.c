// SPDX-License-Identifier: GPL-2.0-only
/*
 * The file behind a completion ring.
 *
 * A ring is the page cache of a file on an internal pseudo file system, which
 * io_setup() maps into the caller and the kernel writes to through its own
 * mapping. Being ordinary pages of a file, the ring's can be migrated.
 */
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/file.h>
#include <linux/init.h>
#include <linux/magic.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/pseudo_fs.h>
#include <linux/slab.h>

#include "aio.h"

/* Also the magic number in the ring's header. */
#define AIO_FS_MAGIC	0xa10a10a1

/**
 * struct aio_ring_inode - inode of a ring's file
 * @vfs_inode: what the VFS sees
 * @lock: protects @ring against its end
 * @ring: the ring, from when all its folios are there until it is freed; the
 *	file may outlive it in a mapping
 */
struct aio_ring_inode {
	struct inode vfs_inode;
	spinlock_t lock;	/* ring */
	struct aio_ring_file *ring;
};

static struct kmem_cache *aio_inode_cache;
static struct vfsmount *aio_mnt;

static struct aio_ring_inode *to_ring_inode(struct inode *inode)
{
	return container_of(inode, struct aio_ring_inode, vfs_inode);
}

static int aio_ring_mremap(struct vm_area_struct *vma)
{
	return aio_ring_moved(vma->vm_mm, vma->vm_file, vma->vm_start,
			      vma->vm_end - vma->vm_start);
}

static const struct vm_operations_struct aio_ring_vm_ops = {
	.mremap		= aio_ring_mremap,
#ifdef CONFIG_MMU
	.fault		= filemap_fault,
	.map_pages	= filemap_map_pages,
	.page_mkwrite	= filemap_page_mkwrite,
#endif
};

static int aio_ring_mmap_prepare(struct vm_area_desc *desc)
{
	vma_desc_set_flags(desc, VMA_DONTEXPAND_BIT, VMA_DONTCOPY_BIT);
	desc->vm_ops = &aio_ring_vm_ops;
	return 0;
}

static const struct file_operations aio_ring_fops = {
	.mmap_prepare	= aio_ring_mmap_prepare,
};

#ifdef CONFIG_MIGRATION
static int aio_replace_folio(struct aio_ring_file *ring,
			     struct address_space *mapping, struct folio *dst,
			     struct folio *src, pgoff_t index)
{
	unsigned long flags;
	int ret;

	/* Migrated by somebody else since the caller found it. */
	if (ring->folios[index] != src)
		return -EAGAIN;

	folio_get(dst);
	ret = folio_migrate_mapping(mapping, dst, src, 1);
	if (ret) {
		folio_put(dst);
		return ret;
	}

	/* No event may be written between the copy and the switch. */
	spin_lock_irqsave(&ring->tail_lock, flags);
	folio_copy(dst, src);
	folio_migrate_flags(dst, src);
	ring->folios[index] = dst;
	spin_unlock_irqrestore(&ring->tail_lock, flags);

	folio_put(src);
	return 0;
}

static int aio_migrate_folio(struct address_space *mapping, struct folio *dst,
			     struct folio *src, enum migrate_mode mode)
{
	struct aio_ring_inode *inode = to_ring_inode(mapping->host);
	struct aio_ring_file *ring;
	int ret = -EINVAL;

	spin_lock(&inode->lock);
	ring = inode->ring;
	if (!ring || src->index >= ring->nr_folios)
		goto unlock;

	/* A reader may hold it over a fault: do not sleep on that here. */
	ret = -EAGAIN;
	if (mutex_trylock(&ring->lock)) {
		ret = aio_replace_folio(ring, mapping, dst, src, src->index);
		mutex_unlock(&ring->lock);
	}
unlock:
	spin_unlock(&inode->lock);
	return ret;
}
#else
#define aio_migrate_folio NULL
#endif

/*
 * All folios of a live ring are in the page cache, so one that has to be read
 * is one of a ring that was truncated under the fault.
 */
static int aio_read_folio(struct file *file, struct folio *folio)
{
	folio_unlock(folio);
	return -EIO;
}

static const struct address_space_operations aio_ring_aops = {
	.read_folio	= aio_read_folio,
	.dirty_folio	= noop_dirty_folio,
	.migrate_folio	= aio_migrate_folio,
};

static struct file *aio_open_file(unsigned int nr_folios)
{
	struct inode *inode = alloc_anon_inode(aio_mnt->mnt_sb);
	struct file *file;

	if (IS_ERR(inode))
		return ERR_CAST(inode);

	inode->i_mapping->a_ops = &aio_ring_aops;
	inode->i_size = (loff_t)nr_folios << PAGE_SHIFT;

	file = alloc_file_pseudo(inode, aio_mnt, "[aio]", O_RDWR,
				 &aio_ring_fops);
	if (IS_ERR(file))
		iput(inode);
	return file;
}

static int aio_fill_file(struct aio_ring_file *ring)
{
	unsigned int i;

	for (i = 0; i < ring->nr_folios; i++) {
		struct folio *folio;

		folio = __filemap_get_folio(ring->file->f_mapping, i,
					    FGP_LOCK | FGP_ACCESSED | FGP_CREAT,
					    GFP_USER | __GFP_ZERO);
		if (IS_ERR(folio))
			return PTR_ERR(folio);
		folio_end_read(folio, true);
		ring->folios[i] = folio;
	}
	return 0;
}

/**
 * aio_ring_file_alloc - create a zeroed ring
 * @nr_folios: its size in pages
 *
 * Return: the ring, to be freed with aio_ring_file_free(), or NULL.
 */
struct aio_ring_file *aio_ring_file_alloc(unsigned int nr_folios)
{
	struct aio_ring_file *ring;
	struct aio_ring_inode *inode;

	ring = kzalloc_flex(*ring, folios, nr_folios);
	if (!ring)
		return NULL;
	ring->nr_folios = nr_folios;
	mutex_init(&ring->lock);
	spin_lock_init(&ring->tail_lock);

	ring->file = aio_open_file(nr_folios);
	if (IS_ERR(ring->file)) {
		kfree(ring);
		return NULL;
	}
	if (aio_fill_file(ring)) {
		aio_ring_file_free(ring);
		return NULL;
	}

	/* From here on its folios may move. */
	inode = to_ring_inode(file_inode(ring->file));
	spin_lock(&inode->lock);
	inode->ring = ring;
	spin_unlock(&inode->lock);
	return ring;
}

/**
 * aio_ring_file_map - map a ring into the current task, shared and writable
 * @ring: the ring
 *
 * Return: the address of the mapping, -EINTR if the task is being killed, or
 * -ENOMEM.
 */
unsigned long aio_ring_file_map(struct aio_ring_file *ring)
{
	struct mm_struct *mm = current->mm;
	unsigned long addr, populate;

	if (!mm)
		return -ENOMEM;
	if (mmap_write_lock_killable(mm))
		return -EINTR;
	addr = do_mmap(ring->file, 0, (unsigned long)ring->nr_folios << PAGE_SHIFT,
		       PROT_READ | PROT_WRITE, MAP_SHARED, EMPTY_VMA_FLAGS, 0,
		       &populate, NULL);
	mmap_write_unlock(mm);
	return IS_ERR_VALUE(addr) ? -ENOMEM : addr;
}

/**
 * aio_ring_file_free - end a ring
 * @ring: the ring, unused by anybody; a mapping that is left loses its pages
 */
void aio_ring_file_free(struct aio_ring_file *ring)
{
	struct aio_ring_inode *inode = to_ring_inode(file_inode(ring->file));
	unsigned int i;

	truncate_setsize(&inode->vfs_inode, 0);

	/* Waits for a migration, and keeps later ones away from the ring. */
	spin_lock(&inode->lock);
	inode->ring = NULL;
	spin_unlock(&inode->lock);
	fput(ring->file);

	for (i = 0; i < ring->nr_folios && ring->folios[i]; i++)
		folio_put(ring->folios[i]);
	kfree(ring);
}

static struct inode *aio_alloc_inode(struct super_block *sb)
{
	struct aio_ring_inode *inode;

	inode = alloc_inode_sb(sb, aio_inode_cache, GFP_KERNEL);
	if (!inode)
		return NULL;
	inode->ring = NULL;
	return &inode->vfs_inode;
}

static void aio_free_inode(struct inode *inode)
{
	kmem_cache_free(aio_inode_cache, to_ring_inode(inode));
}

static void aio_inode_init_once(void *object)
{
	struct aio_ring_inode *inode = object;

	inode_init_once(&inode->vfs_inode);
	spin_lock_init(&inode->lock);
}

static const struct super_operations aio_super_ops = {
	.alloc_inode	= aio_alloc_inode,
	.free_inode	= aio_free_inode,
	.statfs		= simple_statfs,
};

static int aio_init_fs_context(struct fs_context *fc)
{
	struct pseudo_fs_context *pfc = init_pseudo(fc, AIO_FS_MAGIC);

	if (!pfc)
		return -ENOMEM;
	pfc->ops = &aio_super_ops;
	return 0;
}

static struct file_system_type aio_fs_type = {
	.name			= "aio",
	.init_fs_context	= aio_init_fs_context,
	.kill_sb		= kill_anon_super,
};

static int __init aio_init(void)
{
	aio_inode_cache = kmem_cache_create("aio_inode_cache",
					    sizeof(struct aio_ring_inode), 0,
					    SLAB_RECLAIM_ACCOUNT | SLAB_PANIC |
					    SLAB_ACCOUNT,
					    aio_inode_init_once);
	aio_mnt = kern_mount(&aio_fs_type);
	if (IS_ERR(aio_mnt))
		panic("aio: cannot mount the file system of the rings");
	if (aio_core_init())
		panic("aio: cannot create the slab caches");
	return 0;
}
device_initcall(aio_init);
